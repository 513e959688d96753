"""The map that grows as a scan runs, record by record or row by row, the newest over the older."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

MAX_PIXELS = 1 << 22
"""Pixels of a canvas; a larger scan keeps every second (third ...) position of each axis."""


class MapCanvas:
    """A float32 picture [y, x] of a scan, NaN where nothing has been measured.

    Record ``index`` lies at ``divmod(index % (ny * nx), nx)``; the next scan overwrites the one
    before position by position. A record may also be a whole row (`row_length`), then it lies in
    row ``index % ny``. Memory: 4 bytes a pixel, at most ``max_pixels`` of them.

    Parameters
    ----------
    shape
        Of the scan, slow axis first: [..., y, x]; leading axes count scans. [y] for whole rows.
    row_length
        Values per record where a record is one row, else None.
    """

    def __init__(
        self, shape: tuple[int, ...], row_length: int | None = None, max_pixels: int = MAX_PIXELS
    ) -> None:
        self.rows = shape[-1] if row_length is not None else shape[-2]
        self.columns = shape[-1] if row_length is None else row_length
        self.by_row = row_length is not None
        self.stride = 1
        while -(-self.rows // self.stride) * -(-self.columns // self.stride) > max_pixels:
            self.stride += 1
        self.newest = -1
        size = (-(-self.rows // self.stride), -(-self.columns // self.stride))
        self.values: npt.NDArray[np.float32] = np.full(size, np.nan, np.float32)

    @property
    def scan_records(self) -> int:
        """Records in one scan."""
        return self.rows if self.by_row else self.rows * self.columns

    @property
    def progress(self) -> tuple[int, float]:
        """The number of the scan that runs (from 1), and how much of it is there (0 to 1)."""
        if self.newest < 0:
            return 0, 0.0
        scan, position = divmod(self.newest, self.scan_records)
        return scan + 1, (position + 1) / self.scan_records

    def place(self, index: npt.NDArray[np.int64], values: npt.NDArray[np.float32]) -> None:
        """Put records at their positions.

        Parameters
        ----------
        index
            Of each record, ascending.
        values
            [record], or [record, x] where a record is a row; NaN for records without a value.
            Records that come late never overwrite those of a newer scan.
        """
        if len(index) == 0:
            return
        size, newest = self.scan_records, max(self.newest, int(index[-1]))
        # Only what is newest at its position: the last `size` indices up to the newest.
        current = index > newest - size
        index, values = index[current], values[current]
        self.newest = newest
        position = index % size
        if self.by_row:
            rows, every = position, self.stride
            taken = rows % every == 0
            self.values[rows[taken] // every] = values[taken][:, ::every]
            return
        rows, columns = np.divmod(position, self.columns)
        if self.stride > 1:
            taken = (rows % self.stride == 0) & (columns % self.stride == 0)
            rows, columns, values = rows[taken], columns[taken], values[taken]
        self.values[rows // self.stride, columns // self.stride] = values


class RowCanvas:
    """A float32 picture [y, x] of the newest scan, from records that are whole rows of it.

    Each row says which one it is and to which scan it belongs; a new scan begins with an empty
    picture, and a row that is scanned again lies over the older one. Memory: 4 bytes a pixel, at most
    ``max_pixels`` of them.

    Parameters
    ----------
    shape
        Of the scan, [rows, columns].
    """

    def __init__(self, shape: tuple[int, int], max_pixels: int = MAX_PIXELS) -> None:
        self.rows, self.columns = shape
        self.stride = 1
        while -(-self.rows // self.stride) * -(-self.columns // self.stride) > max_pixels:
            self.stride += 1
        size = (-(-self.rows // self.stride), -(-self.columns // self.stride))
        self.values: npt.NDArray[np.float32] = np.full(size, np.nan, np.float32)
        self.newest = -1
        """Index of the newest record."""
        self.scan: int | None = None
        self.row: int | None = None
        """Row of the newest record."""
        self._index = np.full(self.rows, -1, np.int64)

    @property
    def done(self) -> float:
        """How much of the scan is there, 0 to 1."""
        return float(np.count_nonzero(self._index >= 0) / self.rows)

    def place(
        self,
        index: npt.NDArray[np.int64],
        row: npt.NDArray[np.int64],
        scan: npt.NDArray[np.int64],
        values: npt.NDArray[np.float32],
    ) -> None:
        """Put rows at their places.

        Parameters
        ----------
        index
            Of each record, ascending. What comes late never hides what is newer.
        row, scan
            Row of the picture, and number of the scan. Rows that are not in the picture are left out.
        values
            [record, column].
        """
        inside = (row >= 0) & (row < self.rows)
        index, row, scan, values = index[inside], row[inside], scan[inside], values[inside]
        if len(index) == 0:
            return
        if index[-1] > self.newest:
            self.newest, self.row = int(index[-1]), int(row[-1])
            if self.scan != scan[-1]:
                self.scan = int(scan[-1])
                self.values.fill(np.nan)
                self._index.fill(-1)
        taken = (scan == self.scan) & (index > self._index[row])
        index, row, values = index[taken], row[taken], values[taken]
        self._index[row] = index
        drawn = row % self.stride == 0
        self.values[row[drawn] // self.stride] = values[drawn][:, :: self.stride]
