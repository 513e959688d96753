"""Collects readings into sweeps: frequencies up or down, at one temperature, of one sample.

A new sweep begins where ``sample`` or ``segment`` changes, where the temperature leaves the mean
of the sweep by more than a tolerance, and where the frequency turns round. A reading that was lost
or is no number ends nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from daq_mechanical.moduli import Floats, Moduli, doubts_of


@dataclasses.dataclass(frozen=True, slots=True)
class Sweep:
    """A sweep, whole or so far; arrays [n] float64 in the order of arrival.

    Parameters
    ----------
    number
        Counted from the first reading on.
    sample, segment
        As the stream has them; -1 where it has none.
    temperature
        Mean, K.
    time
        ns since 1970 UTC, of the last reading.
    frequency
        Hz.
    storage, loss
        Pa.
    tan_delta
        As the instrument gave it; NaN where it did not.
    negative
        Readings left out since a modulus was not above 0.
    whole
        Another sweep has begun, or the stream has ended.
    """

    number: int
    sample: int
    segment: int
    temperature: float
    time: int
    frequency: Floats
    storage: Floats
    loss: Floats
    tan_delta: Floats
    negative: int
    whole: bool

    def __len__(self) -> int:
        return len(self.frequency)

    @property
    def doubts(self) -> int:
        """What is doubtful about it, see `daq_mechanical.moduli.DOUBTS`."""
        return doubts_of(self.frequency, self.storage, self.loss, self.tan_delta, self.negative)


class SweepCutter:
    """Takes readings and gives sweeps.

    Parameters
    ----------
    tolerance
        K that a reading may be away from the mean of its sweep.
    """

    def __init__(self, tolerance: float) -> None:
        self._tolerance = tolerance
        self._rows: list[Moduli] = []
        self._number = self._negative = 0
        self._direction = 0.0
        self._sum = 0.0

    def push(self, rows: Moduli, negative: npt.NDArray[np.int64]) -> Iterator[Sweep]:
        """Take good readings, and the indices of those that were left out for a modulus <= 0.

        Yields the sweep so far after each good reading, and once more as whole when it has ended.
        """
        left_out = iter(negative.tolist())
        waiting = next(left_out, None)
        for i in range(len(rows)):
            row = rows.where(np.arange(i, i + 1))
            if self._rows and self._leaves(row):
                yield from self.close()
            while waiting is not None and waiting < int(row.index[0]):
                self._negative += 1
                waiting = next(left_out, None)
            if self._rows and not self._direction:
                self._direction = float(np.sign(row.frequency[0] - self._rows[-1].frequency[0]))
            self._rows.append(row)
            self._sum += float(row.temperature[0])
            yield self._sweep(False)
        self._negative += (waiting is not None) + len(list(left_out))

    def close(self) -> Iterator[Sweep]:
        """Yield the sweep that grew as whole, and begin another."""
        if self._rows:
            yield self._sweep(True)
            self._number += 1
        self._rows, self._negative = [], 0
        self._direction = self._sum = 0.0

    def _leaves(self, row: Moduli) -> bool:
        last = self._rows[-1]
        turn = (row.frequency[0] - last.frequency[0]) * self._direction
        away = abs(row.temperature[0] - self._sum / len(self._rows))
        return bool(
            row.sample[0] != last.sample[0]
            or row.segment[0] != last.segment[0]
            or away > self._tolerance
            or turn < 0
        )

    def _sweep(self, whole: bool) -> Sweep:
        rows = self._rows
        last = rows[-1]

        def column(name: str) -> Floats:
            return np.array([getattr(row, name)[0] for row in rows])

        return Sweep(
            self._number, int(last.sample[0]), int(last.segment[0]), self._sum / len(rows),
            int(last.time[0]), column("frequency"), column("storage"), column("loss"),
            column("tan_delta"), self._negative, whole,
        )  # fmt: skip
