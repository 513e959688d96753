"""Records cut into scans: which scan, which position, and whether a record can be used."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

import daq


@dataclasses.dataclass(frozen=True, slots=True)
class ScanPiece:
    """Consecutive records of one scan.

    Parameters
    ----------
    scan
        Number of the scan, from 0.
    first
        Position of the first record in the scan, row by row.
    batch
        The records.
    usable
        [record] bool: not lost, and later than the record before it. A camera that repeats a frame
        repeats its time stamp: such a frame belongs to another position.
    ends
        The last record of the scan is among them.
    """

    scan: int
    first: int
    batch: daq.Batch
    usable: npt.NDArray[np.bool_]
    ends: bool


class Scans:
    """Cuts the records of a camera into scans; ``shape`` is (rows, columns).

    Raises ValueError where the stream does not say the shape of its scan and none is given.
    """

    def __init__(self, stream: daq.Stream, shape: Sequence[int] | None = None) -> None:
        found = shape or stream.scan_shape
        if found is None or len(found) != 2:
            raise ValueError(
                f"{stream.name} does not say how it was scanned: give scan = [rows, columns]"
            )
        self.shape = (int(found[0]), int(found[1]))
        self.positions = math.prod(self.shape)
        self._last = daq.NO_TIME

    def pieces(self, batch: daq.Batch) -> Iterator[ScanPiece]:
        """Yield the records of a batch, cut where a scan ends."""
        assert batch.first is not None
        start = 0
        while start < len(batch):
            scan, first = divmod(batch.first + start, self.positions)
            stop = min(len(batch), start + self.positions - first)
            part = batch.slice(start, stop)
            yield ScanPiece(
                scan, first, part, self._usable(part), first + len(part) == self.positions
            )
            start = stop

    def _usable(self, batch: daq.Batch) -> npt.NDArray[np.bool_]:
        times = np.where(batch.valid, batch.time, daq.NO_TIME)
        latest = np.maximum.accumulate(np.append(self._last, times))
        self._last = int(latest[-1])
        return np.asarray(batch.valid & (times > latest[:-1]))
