"""Sums of ring sectors over parts of a scan."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import daq
from daq_stem.calibration.file import circular_coordinates, geometry
from daq_stem.geometry.azimuthal_sectors import AzimuthalSectors
from daq_stem.scans import ScanPiece


class RegionSums:
    """Adds patterns in bins of pixels, for each of ``parts`` = (rows, columns) of a scan.

    Attributes
    ----------
    sums, count
        float64 [part, bin] and int64 [part]: what was added, of how many patterns.
    time
        Of the last pattern.
    open_scan
        Records came that belong to a scan that has not ended.
    """

    def __init__(self, scan: tuple[int, int], parts: tuple[int, int], bins: daq.PixelBins) -> None:
        rows, columns = scan
        if parts[0] > rows or parts[1] > columns:
            raise ValueError(
                f"regions: {list(parts)} are more than the positions of the scan, "
                f"{rows} x {columns}"
            )
        self._bins = bins
        y, x = np.divmod(np.arange(rows * columns), columns)
        self._part = (y * parts[0] // rows) * parts[1] + x * parts[1] // columns
        self._parts = math.prod(parts)
        self.open_scan = False
        self._empty()

    def add(self, piece: ScanPiece) -> None:
        """Add the usable records; those with a good pixel that is not finite are left out."""
        self.open_scan = True
        if not piece.usable.any():
            return
        sums = self._bins.sums(piece.batch)
        good = piece.usable & np.isfinite(sums).all(axis=1)
        if not good.any():
            return
        part = self._part[piece.first : piece.first + len(piece.batch)][good]
        # one record after the other, whatever the batch
        np.add.at(self.sums, part, sums[good])
        np.add.at(self.count, part, 1)
        self.time = int(piece.batch.time[np.flatnonzero(good)[-1]])

    def end_scan(self, *, keep: bool) -> None:
        """Begin the next scan; without ``keep`` from nothing."""
        self.open_scan = False
        if not keep:
            self._empty()

    def _empty(self) -> None:
        self.sums = np.zeros((self._parts, self._bins.count))
        self.count = np.zeros(self._parts, np.int64)
        self.time = daq.NO_TIME


def sectors_for(camera: daq.Stream, field: str, config: Any) -> AzimuthalSectors:
    """Return the rings that a configuration asks for; ValueError where the frame has too few."""
    detector, ellipse = geometry(
        camera, field, config.calibration, config.centre, config.pixel_size
    )
    y, x = circular_coordinates(detector, ellipse)
    corrections = daq.corrections_for(camera)
    good = np.ones(detector.shape, bool)
    if corrections is not None and corrections.field == field:
        good = ~corrections.bad
    border = min(
        min(middle, size - 1 - middle)
        for middle, size in zip(detector.centre, detector.shape, strict=True)
    )
    q_range = config.q_range or (2.0, border * detector.pixel_size)
    step = config.q_step or detector.pixel_size
    if q_range[1] - q_range[0] < 4 * step:
        raise ValueError(
            f"q_range: from {q_range[0]:.3g} to {q_range[1]:.3g} 1/nm there are fewer than 4 rings "
            f"of {step:.3g} 1/nm in this frame"
        )
    return AzimuthalSectors(y, x, good, (float(q_range[0]), float(q_range[1])), float(step))
