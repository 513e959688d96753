"""Straight pieces of a trace: slopes, lines through ranges, areas, crossings.

All of it is of c = heat flow / heating rate, J/(g K), against T, K; pure functions of the readings.
"""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np

from daq_thermal.readings import Floats

LINE: Final = 5
"""Readings that a line needs."""


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """c = value + slope (T - at); ``begin`` and ``end`` K, the range it was laid through."""

    at: float = np.nan
    value: float = np.nan
    slope: float = np.nan
    begin: float = np.nan
    end: float = np.nan

    def __call__(self, T: Floats | float) -> Floats:
        """Return the line at T."""
        return np.asarray(self.value + self.slope * (np.asarray(T, np.float64) - self.at))


NO_LINE: Final = Line()


def pieces(T: Floats, c: Floats, half_width: float) -> tuple[Floats, Floats]:
    """Return value and slope at each reading of the straight line through its neighbours.

    Neighbours are those within ``half_width`` K, and always the next one on either side.
    """
    low = np.searchsorted(T, T - half_width, side="left")
    high = np.searchsorted(T, T + half_width, side="right")
    here = np.arange(len(T))
    low, high = np.minimum(low, (here - 1).clip(0)), np.maximum(high, (here + 2).clip(0, len(T)))
    # about the middle, so that sums of squares keep their digits
    x, y = T - T[len(T) // 2], c - c[len(c) // 2]

    def summed(values: Floats) -> Floats:
        running = np.concatenate([[0.0], np.cumsum(values)])
        return np.asarray(running[high] - running[low])

    n, sx, sy = (high - low).astype(np.float64), summed(x), summed(y)
    sxx, sxy = summed(x * x) - sx * sx / n, summed(x * y) - sx * sy / n
    slope = sxy / np.where(sxx > 0, sxx, np.nan)
    return sy / n + slope * (x - sx / n) + c[len(c) // 2], slope


def straight(
    T: Floats, c: Floats, begin: float, end: float, slope: float | None = None
) -> Line | None:
    """Return the least-squares line through the readings from ``begin`` to ``end`` K, or None.

    With ``slope`` it is held at that.
    """
    inside = (begin <= T) & (end >= T)
    if np.count_nonzero(inside) < LINE:
        return None
    x, y = T[inside], c[inside]
    at, value = float(np.mean(x)), float(np.mean(y))
    if slope is None:
        slope = float(np.sum((x - at) * (y - value)) / np.sum((x - at) ** 2))
    return Line(at, value, slope, begin, end)


def area(T: Floats, y: Floats, begin: float, end: float) -> float:
    """Return the integral of y dT from ``begin`` to ``end`` K: trapezia, ends interpolated."""
    inside = (begin < T) & (end > T)
    x = np.concatenate([[begin], T[inside], [end]])
    values = np.concatenate([[np.interp(begin, T, y)], y[inside], [np.interp(end, T, y)]])
    return float(np.sum(np.diff(x) * (values[1:] + values[:-1])) / 2)


def crossing(one: Line, other: Line) -> float:
    """Return where two lines meet, K."""
    gap = other(one.at) - one.value
    return float(one.at + gap / (one.slope - other.slope)) if one.slope != other.slope else np.nan


def vertex(T: Floats, value: Floats, i: int) -> float:
    """Return where the parabola through three readings around i has its vertex, K."""
    if not 0 < i < len(T) - 1:
        return float(T[i])
    left, right = T[i] - T[i - 1], T[i + 1] - T[i]
    down, up = (value[i] - value[i - 1]) / left, (value[i + 1] - value[i]) / right
    bend = (up - down) / (left + right)
    if bend == 0:
        return float(T[i])
    return float(T[i] - (down + bend * left) / (2 * bend))
