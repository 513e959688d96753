"""How views say numbers, states and samples; and the colours of temperatures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

import daq

DOT: Final = " \u00b7 "


def number(value: float, digits: int = 3) -> str:
    """Return a number with a few significant digits; a dash for NaN, ``3.1e12`` for a large one."""
    if not np.isfinite(value):
        return "\u2013"
    if value == 0:
        return "0"
    if not 1e-4 <= abs(value) < 1e6:
        mantissa, power = f"{value:.{digits - 1}e}".split("e")
        return f"{mantissa}e{int(power)}".replace("-", "\u2212")
    decimals = max(0, digits - 1 - int(np.floor(np.log10(abs(value)))))
    return f"{value:.{decimals}f}".replace("-", "\u2212")


def with_error(value: float, error: float) -> str:
    """Return ``value \u00b1 error``, both to the last digit that the error leaves.

    That is the second one of an error that begins with 1 or 2, else the first.
    """
    if not np.isfinite(value):
        return "\u2013"
    if not (np.isfinite(error) and error > 0):
        return number(value)
    size = max(abs(value), error)
    if not 1e-4 <= size < 1e6:
        power = int(np.floor(np.log10(size)))
        return f"({with_error(value / 10.0**power, error / 10.0**power)})e{power}".replace("e-", "e\u2212")  # fmt: skip
    power = int(np.floor(np.log10(error)))
    decimals = max(0, (1 if error < 2.95 * 10.0**power else 0) - power)
    return f"{value:.{decimals}f} \u00b1 {error:.{decimals}f}".replace("-", "\u2212")


def shorter(parts: Sequence[str]) -> list[str]:
    """Return the parts that are not empty joined: all of them, then one less each, from the last."""
    there = [part for part in parts if part]
    return [DOT.join(there[:n]) for n in range(len(there), 0, -1)] or [""]


def duration(seconds: float) -> str:
    """Return a time as it is said: ``90 s``, ``30 min``, ``4.5 h``."""
    if not np.isfinite(seconds):
        return "\u2013"
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"


def newest(batch: daq.Batch) -> int | None:
    """Return the place of the newest record that was not lost, or None."""
    good = np.flatnonzero(batch.valid)
    return int(good[-1]) if len(good) else None


def pair(batch: daq.Batch, name: str, at: int, scale: float = 1.0) -> str:
    """Return a field with its error."""
    return with_error(scale * float(batch[name][at]), scale * float(batch[f"{name}_errors"][at]))


def sample_of(batch: daq.Batch, at: int) -> str:
    """Return which sample a record is of; nothing where there is only one, or none is told."""
    samples = np.unique(batch["sample"][batch.valid])
    return f"sample {int(batch['sample'][at])}" if len(samples) > 1 else ""


def ramp_of_colours(theme: Any, part: float) -> str:
    """Return the colour of something between lowest (0, blue) and highest (1, red)."""
    stops = [_rgb(colour) for colour in (theme.blue, theme.green, theme.amber, theme.red)]
    place = 3 * float(np.clip(part, 0.0, 1.0))
    first = min(int(place), 2)
    mixed = stops[first] + (place - first) * (stops[first + 1] - stops[first])
    return "#" + "".join(f"{round(float(v)):02x}" for v in mixed)


def parts(values: Any) -> Any:
    """Return where each value [n] lies between the lowest (0) and the highest (1)."""
    array = np.asarray(values, np.float64)
    width = float(np.ptp(array)) if len(array) else 0.0
    return (array - array.min()) / width if width > 0 else np.full(len(array), 0.5)


def scale_key(
    theme: Any, values: Sequence[float], words: Sequence[str]
) -> list[list[tuple[str, str]]]:
    """Return keys of a ramp of colours over rising values: all of them, a few, the ends."""
    entries = [
        (ramp_of_colours(theme, float(part)), word)
        for part, word in zip(parts(values), words, strict=True)
    ]
    few = entries[:: max(1, -(-len(entries) // 5))]
    return [entries if len(entries) <= 12 else few, few, [entries[0], entries[-1]]]


def _rgb(colour: str) -> Any:
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], np.float64)
