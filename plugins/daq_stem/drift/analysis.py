"""How the specimen drifts, measured on virtual images of each scan."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pydantic

import daq
from daq_stem.drift.registration import Registration
from daq_stem.ecm.scan_conditions import placement
from daq_stem.geometry.detector import Detector, detector_for, image_field
from daq_stem.scans import ScanPiece, Scans

USABLE = 0.5
"""A scan of which less than this part is usable gives no shift."""


class Drift(daq.Analysis):
    """Where the specimen stands in each scan, in nm from where it stood in the first.

    Takes a camera that scans. Of each scan it makes virtual images, one for each azimuthal
    sector of ``q_range``, and registers them together, see `daq_stem.drift.registration`. Their
    speckles (0.8 nm) hold for longer than a scan lasts, so no edge is needed; an edge in
    the field helps. Gives two streams, one record for each scan:

    ``shifts``
        ``scan``; ``shift_y`` and ``shift_x``, nm: what stood at p in the first scan stands at
        p + shift. ``shift_errors``, nm, 1 sigma along each axis, with what has accumulated since
        the first scan. ``residual``, nm, rms along each axis: how far places are from there.
    ``image``
        ``image`` [y, x], the sum of all sectors, in the frame of the first scan (the nearest
        pattern of each position); NaN where nothing was measured.

    A scan is missing (``valid`` False) where less than half of its records are usable, and where
    it resembles nothing before. Shifts count from the first scan that is not. The time of a
    record is that of the last usable pattern. A last scan that was broken off counts as any.

    A shift is the mean over a scan, so that of its middle. A specimen that moves steadily shears
    all scans alike, which no shift needs to undo; only what changes from scan to scan is left
    over, and counted in ``residual``.

    On simulated scans of 60 x 60 positions at the published dose, median tau 1000 s, a specimen
    that wanders by 0.5 nm: rms error 0.005-0.02 nm per axis over 30 to 106 scans, with and without
    an edge, in steps of 0.002-0.003 nm a scan; it grows as the square root of the scans. Scans
    of less than about 4 x 4 nm hold too few speckles for errors that cover (1.2 times too small at
    2 x 6 nm).
    """

    name = "drift"

    class Config(daq.Config):
        """What ``[analyses.NAME]`` with ``type = "drift"`` may say."""

        field: str | None = daq.setting(None, "", "image field; by default the largest")
        q_range: tuple[pydantic.NonNegativeFloat, pydantic.PositiveFloat] = daq.setting(
            (3.0, 5.8), "1/nm", "[inner, outer] radius of the ring whose electrons are counted"
        )
        sectors: int = daq.setting(8, "", "of the ring; an image is made of each", ge=1, le=64)
        memory: float = daq.setting(
            2.0, "scans", "for how long speckles are taken to be the same", ge=1, le=1000
        )
        scan: tuple[pydantic.PositiveInt, pydantic.PositiveInt] | None = daq.setting(
            None, "", "positions, [y, x]; by default what the stream says"
        )
        step: float | None = daq.setting(
            None, "nm", "distance of two positions; by default what the stream says", gt=0
        )
        centre: tuple[float, float] | None = daq.setting(
            None, "px", "[y, x] of the direct beam; by default what the stream says"
        )
        pixel_size: float | None = daq.setting(
            None, "1/nm", "of the detector; by default what the stream says", gt=0
        )

        @pydantic.model_validator(mode="after")
        def _in_order(self) -> Drift.Config:
            if self.q_range[0] >= self.q_range[1]:
                raise ValueError("q_range: the inner radius must be the smaller one")
            return self

    def open(self, streams: Mapping[str, daq.Stream], config: Any) -> Sequence[daq.Stream]:
        """Find the ring on the detector and the scan; ValueError where they are not known."""
        if len(streams) != 1:
            raise ValueError(f"drift takes one input, the camera, not {len(streams)}")
        (stream,) = streams.values()
        field = image_field(stream, config.field)
        size = config.pixel_size or stream.attributes.get("pixel_size")
        detector = detector_for(stream, field, config.centre, size, "1/nm")
        self._scans = Scans(stream, config.scan)
        rows, columns = self._scans.shape
        if min(rows, columns) < SMALLEST:
            raise ValueError(
                f"{stream.name}: a scan of {rows} x {columns} positions is too small to be "
                f"registered, at least {SMALLEST} x {SMALLEST} are needed"
            )
        self._step = _step_of(stream, config.step)
        labels = sectors_of_ring(detector, config.q_range, config.sectors)
        self._bins = daq.PixelBins(stream, field, labels, config.sectors)
        self._seeing = self._bins.pixels > 0
        if not self._seeing.any():
            inner, outer = config.q_range
            raise ValueError(f"q_range: no good pixel from {inner:g} to {outer:g} 1/nm")
        self._registration = Registration((rows, columns), self._step, config.memory)
        self._scan = -1
        self._sums = np.zeros((self._scans.positions, int(self._seeing.sum())))
        self._usable = np.zeros(self._scans.positions, np.bool_)
        self._time = daq.NO_TIME
        return self._outputs(stream, stream.fields[field].units)

    def process(self, batch: daq.Batch) -> Iterable[daq.Batch]:
        """Sum the patterns; register where a scan ends."""
        for piece in self._scans.pieces(batch):
            self._take(piece)
            if piece.ends:
                yield from self._end_of_scan()

    def close(self) -> Iterable[daq.Batch]:
        """Register a scan that was broken off."""
        if self._scan >= 0:
            yield from self._end_of_scan()

    @classmethod
    def memory(cls, streams: Mapping[str, daq.Stream], config: Any) -> int:
        """Return 8 bytes x positions x (45 for each sector + 100), and 40 a pixel of a pattern."""
        (stream,) = streams.values()
        rows, columns = Scans(stream, config.scan).shape
        pixels = math.prod(stream.fields[image_field(stream, config.field)].shape)
        return int(8 * rows * columns * (45 * config.sectors + 100) + 40 * pixels)

    def _take(self, piece: ScanPiece) -> None:
        self._scan = piece.scan
        sums = self._bins.sums(piece.batch)[:, self._seeing]
        usable = piece.usable & np.isfinite(sums).all(axis=1)
        here = slice(piece.first, piece.first + len(piece.batch))
        self._sums[here] = sums
        self._usable[here] = usable
        if usable.any():
            self._time = int(piece.batch.time[usable][-1])

    def _end_of_scan(self) -> Iterable[daq.Batch]:
        """Give the records of the scan that ends here, and begin the next."""
        usable = self._usable.reshape(self._scans.shape)
        self._sums[~self._usable] = 0.0
        found = None
        if usable.mean() >= USABLE:
            images = np.ascontiguousarray(self._sums.T).reshape(-1, *self._scans.shape)
            found = self._registration.add(images, usable)
        valid = np.array([found is not None])
        time = np.array([self._time])
        if found is None:
            y = x = errors = residual = np.nan
            image = np.full(self._scans.shape, np.nan)
        else:
            (y, x), errors, residual = found.shift, found.errors, found.residual
            total = np.where(self._usable, self._sums.sum(axis=1), np.nan)
            source = placement(self._scans.shape, self._step, (y, x)).source
            image = np.where(source >= 0, total[source], np.nan).reshape(self._scans.shape)
        numbers = {"shift_y": y, "shift_x": x, "shift_errors": errors, "residual": residual}
        shifts = {name: np.array([value]) for name, value in numbers.items()}
        scan = np.array([self._scan], np.int64)
        yield daq.Batch("shifts", {"time": time, "scan": scan, **shifts}, valid=valid)
        yield daq.Batch("image", {"time": time, "image": image[None]}, valid=valid)
        self._scan, self._time = -1, daq.NO_TIME
        self._usable[:] = False

    def _outputs(self, stream: daq.Stream, units: str) -> list[daq.Stream]:
        expect = None if stream.expect is None else -(-stream.expect // self._scans.positions)
        places = [
            {"name": name, "units": "nm", "offset": 0, "step": self._step} for name in ("y", "x")
        ]
        return [
            daq.Stream(
                "shifts",
                {
                    "shift_y": daq.Field("<f8", (), "nm", "shift since the first scan, y"),
                    "shift_x": daq.Field("<f8", (), "nm", "shift since the first scan, x"),
                    "shift_errors": daq.Field("<f8", (), "nm", "1 sigma of the shift, each axis"),
                    "residual": daq.Field("<f8", (), "nm", "left over, rms along each axis"),
                    "scan": daq.Field("<i8", (), "", "number of the scan"),
                },
                expect=expect,
            ),
            daq.Stream(
                "image",
                {"image": daq.Field("<f8", self._scans.shape, units, "virtual image")},
                axes={"image": places},
                expect=expect,
            ),
        ]


SMALLEST = 12
"""Positions along each axis: fewer hold too few speckles."""


def sectors_of_ring(
    detector: Detector, q_range: tuple[float, float], sectors: int
) -> npt.NDArray[np.int64]:
    """Return [y, x] the sector of each pixel of a ring, 0 to ``sectors`` - 1, -1 outside.

    Sector k covers the azimuth from k to k + 1 times 360 degrees / ``sectors``, from +x towards +y.
    """
    height, width = detector.shape
    y = np.arange(height)[:, None] - detector.centre[0]
    x = np.arange(width)[None, :] - detector.centre[1]
    turn = np.mod(np.arctan2(y, x) / (2 * np.pi), 1.0)
    sector = np.minimum((turn * sectors).astype(np.int64), sectors - 1)
    return np.where(detector.within(*q_range), sector, -1)


def _step_of(stream: daq.Stream, given: float | None) -> float:
    step = given or (stream.scan or {}).get("step")
    if not isinstance(step, int | float) or not step > 0:
        raise ValueError(
            f"{stream.name} does not say how far two scan positions are from each other: "
            "give step (nm)"
        )
    return float(step)
