"""Which lines of a scan buffer are new and whole."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

Grids = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True, slots=True)
class Seen:
    """What one look found: rows of the buffer that are whole, in the order of the scan.

    ``restarted``: another scan has begun since the look before; ``rows`` is empty then.
    """

    rows: tuple[int, ...]
    restarted: bool = False


class LineFinder:
    """Compares looks at a scan buffer, and tells the rows that are whole.

    A look is all grids [grid, row, column] (each channel and direction), grabbed one after the other. A row is
    new where a pixel of it differs from the look before, bit by bit, and it is not blank (all NaN). It is
    whole when one of these holds:

    - a later row of the scan was new in the look before, or is so in the first grid of this one; all
      grids of this look were then grabbed after the row had ended. NaN in it stays
    - the buffer was cleared when the scan began, and no pixel of the row is NaN in any grid

    So a row that was stopped in its middle never is whole; nor is the last row of a scan where old rows are not
    cleared but overwritten. Another scan has begun where a row that was given has changed, one has become blank, or the direction has.
    That look gives nothing: its grids may be of two scans. A row may thus come one look later, never with parts of
    two scans, as long as a line takes longer than the grids of one look.
    """

    def __init__(self) -> None:
        self._last: Grids | None = None
        self._new = np.zeros(0, bool)
        self._given = np.zeros(0, bool)
        self._cleared = self._upwards = False

    def begin(self, grids: Grids, *, running: bool, existing: bool, upwards: bool) -> Seen:
        """Take the first look.

        Rows that are there belong to the scan that runs where the buffer was cleared for it. Where nothing
        runs they count with ``existing`` only; else what changes from now on is new.
        """
        blank = np.isnan(grids).all((0, 2))
        count = bool(blank.any()) if running else existing
        self._cleared = bool(blank.any()) or count
        self._new = ~blank if count else np.zeros(len(blank), bool)
        self._given = np.zeros(len(blank), bool)
        self._last, self._upwards = grids.copy(), upwards
        return self._whole(grids, np.zeros(len(blank), bool), upwards)

    def look(self, grids: Grids, *, upwards: bool) -> Seen:
        """Take the next look, of the same shape."""
        assert self._last is not None, "begin with begin"
        differs = (grids.view(np.uint32) != self._last.view(np.uint32)).any(2)
        blank = np.isnan(grids).all(2)
        fresh = differs & ~blank
        self._last = grids.copy()
        turned, self._upwards = upwards != self._upwards, upwards
        if turned or (self._given & differs.any(0)).any() or (differs & blank).any():
            self._cleared = bool(blank.any())
            # where nothing was cleared, rows that were not whole may be the end of the scan before
            mine = fresh.any(0) if self._cleared else self._given & fresh.any(0)
            self._new, self._given = mine, np.zeros(len(mine), bool)
            return Seen((), True)
        passed = self._new | fresh[0]
        self._new = self._new | fresh.any(0)
        return self._whole(grids, passed, upwards)

    def take_as_given(self, row: int) -> None:
        """Do not give a row of the first look: it was given in an earlier life."""
        self._given[row] = True

    def _whole(self, grids: Grids, passed: npt.NDArray[np.bool_], upwards: bool) -> Seen:
        """Give the new rows that are whole; ``passed`` are rows that were begun before all grids."""
        order = np.arange(len(self._new))
        if upwards:
            order = order[::-1]
        waiting = self._new & ~self._given
        whole = waiting & ~np.isnan(grids).any((0, 2)) & self._cleared
        reached = np.flatnonzero(passed[order])
        if len(reached):
            earlier = np.zeros(len(self._new), bool)
            earlier[order[: reached[-1]]] = True
            whole |= waiting & earlier
        self._given |= whole
        return Seen(tuple(order[whole[order]].tolist()))
