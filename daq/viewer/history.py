"""The history of one number against time, in bounded memory, with no peak lost."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from daq.streams import NO_TIME

MAX_POINTS = 20_000
"""Points that a trace keeps of one field."""

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


class TraceHistory:
    """Points (index, time, value, error) of one field, at most ``limit`` of them.

    Beyond ``limit`` the points are thinned: of each ``bucket`` consecutive records the smallest
    and the largest value stay, each at its own time, so that a spike stays visible however long
    the run. ``bucket`` is a power of two and doubles as needed; records that came since the last
    thinning stay whole. Memory: 32 bytes a point.

    Parameters
    ----------
    limit
        Points kept; a single `add` may exceed it until it returns.
    """

    def __init__(self, limit: int = MAX_POINTS) -> None:
        if limit < 8:
            raise ValueError("a history needs room for 8 points")
        self.limit = limit
        self.bucket = 1
        self.size = 0
        self._index: Integers = np.empty(0, np.int64)
        self._time: Integers = np.empty(0, np.int64)
        self._value: Floats = np.empty(0, np.float64)
        self._error: Floats = np.empty(0, np.float64)

    @property
    def nbytes(self) -> int:
        """Bytes that the history takes."""
        return sum(a.nbytes for a in (self._index, self._time, self._value, self._error))

    def points(self) -> tuple[Integers, Floats, Floats]:
        """Return copies of time (ns since 1970 UTC), value and error (NaN where there is none)."""
        n = self.size
        return self._time[:n].copy(), self._value[:n].copy(), self._error[:n].copy()

    def add(self, index: Integers, time: Integers, value: Floats, error: Floats | None) -> None:
        """Add records; older ones than the newest known are put where they belong.

        Parameters
        ----------
        index, time, value, error
            One entry per record, `index` ascending; NaN in `value` breaks the line. A record
            without a time stamp (`daq.NO_TIME`) breaks the line at the time before it.
        """
        if len(index) == 0:
            return
        errors = np.full(len(index), np.nan) if error is None else error
        lost = time == NO_TIME
        if lost.any():
            before = int(self._time[self.size - 1]) if self.size else NO_TIME
            last = np.maximum.accumulate(np.where(lost, -1, np.arange(len(time))))
            time = np.where(last >= 0, time[np.maximum(last, 0)], before)
            value = np.where(lost, np.nan, value)
            keep = time != NO_TIME
            index, time, value, errors = index[keep], time[keep], value[keep], errors[keep]
            if len(index) == 0:
                return
        late = self.size > 0 and int(index[0]) <= int(self._index[self.size - 1])
        self._reserve(self.size + len(index))
        new = slice(self.size, self.size + len(index))
        self._index[new], self._time[new] = index, time
        self._value[new], self._error[new] = value, errors
        self.size += len(index)
        if late:
            _, order = np.unique(self._index[: self.size], return_index=True)
            self._keep(order)
        if self.size > self.limit:
            self._thin()

    def _reserve(self, size: int) -> None:
        if size <= len(self._index):
            return
        capacity = min(max(size, 2 * len(self._index), 256), max(size, self.limit))
        for name in ("_index", "_time", "_value", "_error"):
            old = getattr(self, name)
            grown = np.empty(capacity, old.dtype)
            grown[: self.size] = old[: self.size]
            setattr(self, name, grown)

    def _keep(self, order: npt.NDArray[np.intp]) -> None:
        n = len(order)
        for array in (self._index, self._time, self._value, self._error):
            array[:n] = array[: self.size][order]
        self.size = n

    def _thin(self) -> None:
        index, value = self._index[: self.size], self._value[: self.size]
        while True:
            starts = np.flatnonzero(np.diff(index // self.bucket, prepend=-1))
            if 2 * len(starts) <= self.limit // 2:
                break
            self.bucket *= 2
        # Infinities stand for NaN so that a bucket of nothing but NaN keeps one and the line breaks.
        low, high = (
            np.where(np.isnan(value), np.inf, value),
            np.where(np.isnan(value), -np.inf, value),
        )
        groups = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, self.size)))
        smallest = low == np.minimum.reduceat(low, starts)[groups]
        largest = high == np.maximum.reduceat(high, starts)[groups]
        kept = np.zeros(self.size, bool)
        for mask in (smallest, largest):
            where = np.flatnonzero(mask)
            _, first = np.unique(groups[where], return_index=True)
            kept[where[first]] = True
        self._keep(np.flatnonzero(kept))
        if len(self._index) > self.limit:
            for name in ("_index", "_time", "_value", "_error"):
                setattr(self, name, getattr(self, name)[: self.limit].copy())
