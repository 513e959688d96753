"""Colour levels of images and maps: percentiles, computed seldom, NaN left out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from daq.viewer import labels

INTERVAL = 0.5
"""Seconds between two computations of the levels."""

SAMPLE = 1 << 16
"""Pixels that a percentile is taken from."""

LOGARITHMIC_RANGE = 50.0
"""Top over middle from which an image is drawn on a logarithmic scale at first."""

LOW, HIGH = 0.5, 99.8
"""Percentiles shown: a dead or a hot pixel does not set the scale."""


def percentile_levels(
    image: npt.NDArray[Any], low: float = LOW, high: float = HIGH
) -> tuple[float, float] | None:
    """Return the values at two percentiles of the finite pixels, never equal; None without any.

    Images larger than `SAMPLE` pixels are sampled at an odd stride.
    """
    flat = image.reshape(-1)
    step = max(1, flat.size // SAMPLE) | 1
    sample = np.asarray(flat[::step], np.float64)
    sample = sample[np.isfinite(sample)]
    if sample.size == 0 and step > 1:
        sample = np.asarray(flat, np.float64)
        sample = sample[np.isfinite(sample)]
    if sample.size == 0:
        return None
    bottom, top = (float(v) for v in np.percentile(sample, (low, high)))
    if top <= bottom:  # Nearly all the same: sparse counts, a constant.
        bottom, top = float(sample.min()), float(sample.max())
    if top <= bottom:
        width = abs(bottom) * 0.01 or 1.0
        return (bottom, bottom + width) if bottom == 0 else (bottom - width, bottom + width)
    return bottom, top


def asks_for_logarithm(image: npt.NDArray[Any]) -> bool:
    """Tell whether only a logarithm shows an image: positive, its top far above its middle."""
    levels = percentile_levels(image, 50.0, HIGH)
    if levels is None or levels[0] <= 0 or levels[1] < LOGARITHMIC_RANGE * levels[0]:
        return False
    return bool(np.nanmin(image) >= 0)


def logarithm(image: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return log10 of an image; zero and below get that of the smallest positive value, NaN stays."""
    values = np.asarray(image, np.float32)
    positive = values[values > 0]
    if positive.size == 0:
        return np.where(np.isnan(values), values, np.float32(0))
    found: npt.NDArray[np.float32] = np.log10(np.maximum(values, positive.min()))
    return found


def decade_ticks(low: float, high: float, most: int = 6) -> list[tuple[float, str]]:
    """Return ticks for a logarithmic scale from 10^low to 10^high: (log10 of a round value, label).

    All digits, or 1, 2, 3, 5, 7, or 1, 2, 5, or 1, 3, or powers of ten alone, whichever are at most ``most``;
    where fewer than three such values lie in so narrow a range, evenly spaced ones.
    """
    if not (-300 < low <= high < 300):
        return []
    tolerance = 1e-9 * max(1.0, abs(low), abs(high))
    decades = range(math.floor(low), math.ceil(high) + 1)
    for steps in ((1, 2, 3, 4, 5, 6, 7, 8, 9), (1, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        places = [
            (math.log10(step) + decade, f"{step}e{decade}") for decade in decades for step in steps
        ]
        inside = [p for p in places if low - tolerance <= p[0] <= high + tolerance]
        if min(3, most) <= len(inside) <= most:
            return [(place, labels.significant(float(value), 1)) for place, value in inside]
        if len(inside) < 3:
            break
    if high - low > 1:
        every = max(1, math.ceil((high - low) / most))
        powers = [k for k in decades if low <= k <= high and k % every == 0]
        return [(float(k), labels.significant(10.0**k, 1)) for k in powers]
    # Even steps of the value itself.
    bottom, top = 10.0**low, 10.0**high
    if not top - bottom > 1e-12 * top:  # no numbers lie between
        return [(low, labels.significant(bottom, 3))]
    step = 10.0 ** math.floor(math.log10((top - bottom) / 2))
    step = next(step * k for k in (1, 2, 5, 10) if (top - bottom) / (step * k) <= most)
    values = np.arange(math.ceil(bottom / step), math.floor(top / step) + 1) * step
    digits = max(2, 1 + math.floor(math.log10(top)) - math.floor(math.log10(step)))
    return [(math.log10(v), labels.significant(v, digits)) for v in values.tolist() if v > 0]


class Levels:
    """The levels of one panel: follow the data at 2 Hz or less, or stay where they are locked.

    ``lock`` keeps them; ``logarithmic`` says that images are given as `logarithm`.
    """

    def __init__(self, interval: float = INTERVAL) -> None:
        self.interval = interval
        self.locked = False
        self.value: tuple[float, float] | None = None
        self._computed = -np.inf

    def of(self, image: npt.NDArray[Any], now: float) -> tuple[float, float] | None:
        """Return the levels for an image shown at ``now`` (s); None while nothing is finite."""
        if self.value is None or (not self.locked and now - self._computed >= self.interval):
            found = percentile_levels(image)
            if found is not None:
                self.value, self._computed = found, now
        return self.value

    def lock(self, levels: tuple[float, float] | None = None) -> None:
        """Keep the levels as they are, or as given."""
        self.locked = True
        self.value = levels or self.value

    def follow(self) -> None:
        """Follow the data again, from now on."""
        self.locked, self.value, self._computed = False, None, -np.inf
