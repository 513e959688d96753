"""What the heating holder does: the temperature of the specimen, step after step."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

STAIR = 0.25
"""K; a ramp is approximated by stairs of at most this height where only stairs will do."""


class Heating:
    """T(t): from each given moment on towards another temperature, at once or at a rate.

    Parameters
    ----------
    start
        Temperature at time 0 in K.
    steps
        (time in s, temperature in K), in order. A step that begins before the one before it
        has arrived begins from where the temperature is.
    rate
        In K/s; None: at once.
    """

    def __init__(
        self, start: float, steps: Sequence[tuple[float, float]], rate: float | None = None
    ) -> None:
        self._rate = math.inf if rate is None else rate
        self._begins, self._from, self._to = np.zeros(1), np.array([start]), np.array([start])
        for begin, kelvin in steps:
            reached = self.at(begin)
            self._begins = np.append(self._begins, begin)
            self._from, self._to = np.append(self._from, reached), np.append(self._to, kelvin)

    def at(self, seconds: npt.ArrayLike) -> Floats:
        """Return the temperature in K, float64, at times in s (not negative)."""
        times = np.asarray(seconds, np.float64)
        step = np.searchsorted(self._begins, times, side="right") - 1
        rise = self._to[step] - self._from[step]
        if math.isinf(self._rate):
            return np.asarray(self._to[step])
        climbed = np.minimum(np.abs(rise), self._rate * (times - self._begins[step]))
        return np.asarray(self._from[step] + np.sign(rise) * climbed)

    def stairs(self) -> list[tuple[float, float]]:
        """Return (time in s, temperature in K) of stairs that follow it, the first at 0 s."""
        ends = np.append(self._begins[1:], np.inf)
        found: list[tuple[float, float]] = []
        for begin, end, start, to in zip(self._begins, ends, self._from, self._to, strict=True):
            lasts = min(abs(to - start) / self._rate, end - begin)
            count = math.ceil(lasts * self._rate / STAIR) if lasts else 0
            edges = begin + lasts * np.arange(count) / max(1, count)
            # each stair has the temperature of its middle
            found += zip(edges.tolist(), self.at(edges + lasts / max(1, 2 * count)), strict=True)
            if begin + lasts < end:
                found.append((float(begin + lasts), to))
        return [(time, float(kelvin)) for time, kelvin in found]
