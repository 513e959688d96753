"""Cuts a calorimeter's readings into ramps: one heating or cooling of one sample each.

A new ramp begins where the stream says so (``segment``, ``sample``), and else where the
temperature turns round, jumps, or the clock goes back (two runs in one stream). Why it began is
told with it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Final

import numpy as np

from daq_thermal.flags import BEGIN, CLOCK, JUMPED, SAMPLE, SEGMENT, TURNED
from daq_thermal.readings import Floats, Rows

TURN: Final = 2.0
"""K that the temperature must come back before that is a turn."""
JUMP: Final = 20.0
"""K between two readings that no instrument heats or cools."""


@dataclasses.dataclass(frozen=True, slots=True)
class Ramp:
    """Readings of one ramp, cleaned; arrays [n] float64.

    Parameters
    ----------
    number
        Of the ramp, counted from the first reading on.
    cause
        Why it began, see `daq_thermal.flags`.
    sample
        Number of the sample, as the stream has it; else 0, one more after each `CLOCK` or `JUMPED`.
    heating
        How many heatings of this sample came before; of a cooling, of those heatings the last.
    seconds
        Since the first reading of the ramp.
    temperature
        K, growing from reading to reading where it is heated, falling where it is cooled.
    heat_flow
        W/g, endothermic positive.
    rate
        K/s, positive where it is heated: the median over the ramp. 0: neither.
    repeated, backward
        Readings left out: of the same temperature as the one before, against the direction.
    left_out
        Readings of the ramp, and before its first, that were lost or not finite.
    annealing_temperature, annealing_time
        K, s; NaN where not known.
    time
        ns since 1970 UTC of the last reading.
    """

    number: int
    cause: int
    sample: int
    heating: int
    seconds: Floats
    temperature: Floats
    heat_flow: Floats
    rate: float
    repeated: int
    backward: int
    left_out: int
    annealing_temperature: float
    annealing_time: float
    time: int

    def __len__(self) -> int:
        return len(self.temperature)


class RampCutter:
    """Takes `Rows` and gives ramps, whole ones and the one that grows."""

    def __init__(self) -> None:
        self._parts: list[Rows] = []
        self._last: Rows | None = None
        self._number, self._cause = 0, BEGIN
        self._before: int | None = None
        self._runs = 0
        self._heatings: dict[int, int] = {}

    def push(self, rows: Rows) -> Iterator[Ramp]:
        """Take the next readings, yield each ramp that has ended."""
        start = 0
        for at, cause in self._breaks(rows):
            self._take(rows.part(start, at))
            yield from self._turned()
            yield from self._end(cause)
            start = at
        self._take(rows.part(start, None))
        if len(rows):
            self._last = rows.part(len(rows) - 1, None)
        yield from self._turned()

    def growing(self) -> Ramp | None:
        """Return the ramp so far; None before its first reading."""
        return self._ramp() if self._parts else None

    def close(self) -> Iterator[Ramp]:
        """Yield the last ramp."""
        yield from self._end(BEGIN)

    def _breaks(self, rows: Rows) -> list[tuple[int, int]]:
        """Where a ramp ends for other reasons than a turn: (position, cause)."""
        if self._last is None or not len(rows):
            return breaks(rows)
        return [(at - 1, cause) for at, cause in breaks(Rows.joined([self._last, rows]))]

    def _take(self, rows: Rows) -> None:
        if len(rows):
            self._parts.append(rows)

    def _turned(self) -> Iterator[Ramp]:
        """Cut where the temperature came back, where no segments are told."""
        while self._parts and self._parts[0].segment[0] < 0:
            rows = self._joined()
            T = rows.temperature
            direction = _direction(T)
            if direction == 0:
                return
            run = T * direction
            back = np.flatnonzero(np.maximum.accumulate(run) - run > TURN)
            if not len(back):
                return
            corner = int(np.argmax(run[: back[0] + 1])) + 1
            rest = rows.part(corner, None)
            self._parts = [rows.part(0, corner)]
            yield from self._end(TURNED)
            self._parts = [rest]

    def _joined(self) -> Rows:
        if len(self._parts) > 1:
            self._parts = [Rows.joined(self._parts)]
        return self._parts[0]

    def _end(self, cause: int) -> Iterator[Ramp]:
        if self._parts:
            ramp = self._ramp()
            if ramp.rate > 0:
                self._heatings[ramp.sample] = ramp.heating + 1
            self._before = int(self._joined().index[-1])
            yield ramp
            self._number += 1
        self._parts = []
        self._cause = cause
        if cause in (JUMPED, CLOCK):
            self._runs += 1

    def _ramp(self) -> Ramp:
        rows = self._joined()
        sample = int(rows.sample[0])
        sample = self._runs if sample < 0 else sample
        T = rows.temperature
        direction = _direction(T)
        run = T * (direction or 1)
        ahead = np.concatenate([[True], run[1:] > np.maximum.accumulate(run)[:-1]])
        repeated = int(np.count_nonzero(np.diff(T) == 0))
        kept = rows.where(ahead)
        seconds = (kept.time - rows.time[0]) / 1e9
        before = self._heatings.get(sample, 0)
        previous = int(rows.index[0]) - 1 if self._before is None else self._before
        return Ramp(
            self._number,
            self._cause,
            sample,
            before if direction > 0 else before - 1,
            seconds,
            kept.temperature,
            kept.heat_flow,
            _rate(seconds, kept.temperature) if direction else 0.0,
            repeated,
            len(rows) - len(kept) - repeated,
            int(rows.index[-1]) - previous - len(rows),
            float(rows.annealing_temperature[0]),
            float(rows.annealing_time[0]),
            int(rows.time[-1]),
        )


def breaks(rows: Rows) -> list[tuple[int, int]]:
    """Return where the stream says, or the clock or a jump shows, that another ramp begins.

    Positions of first readings, and causes (`daq_thermal.flags`); of several the weightiest.
    """
    if len(rows) < 2:
        return []
    causes = np.zeros(len(rows) - 1, np.int64)
    # the weightiest last: it overwrites the others
    causes[np.diff(rows.segment) != 0] = SEGMENT
    causes[np.abs(np.diff(rows.temperature)) > JUMP] = JUMPED
    causes[np.diff(rows.time) < 0] = CLOCK
    causes[np.diff(rows.sample) != 0] = SAMPLE
    return [(int(at) + 1, int(causes[at])) for at in np.flatnonzero(causes)]


def _direction(T: Floats) -> int:
    """Return 1 heating, -1 cooling, 0 as long as that cannot be told."""
    far = np.flatnonzero(np.abs(T - T[0]) > TURN)
    return int(np.sign(T[far[0]] - T[0])) if len(far) else 0


def _rate(seconds: Floats, T: Floats) -> float:
    """Return the median slope over a twentieth of the readings, K/s; 0 where time stands still."""
    lag = max(1, len(T) // 20)
    if len(T) <= lag:
        return 0.0
    rise, dt = T[lag:] - T[:-lag], seconds[lag:] - seconds[:-lag]
    good = dt > 0
    return float(np.median(rise[good] / dt[good])) if good.any() else 0.0
