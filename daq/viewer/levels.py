"""Colour levels of images and maps: percentiles, computed seldom, NaN left out."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

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
