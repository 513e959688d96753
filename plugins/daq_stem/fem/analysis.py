"""Fluctuation electron microscopy: how strongly the speckles of each place vary, live."""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pydantic

import daq
from daq_stem.ecm.scan_conditions import Condition, ScanConditions, camera_of, placement
from daq_stem.geometry.annulus import binned_annulus, binning_for
from daq_stem.geometry.detector import detector_for, image_field
from daq_stem.scans import ScanPiece, Scans

Floats = npt.NDArray[np.float64]

SETS = 3
"""The whole ring, sector set 0, sector set 1."""

MOMENTS = 3
"""See `ring_moments`."""


class Fem(daq.Analysis):
    """The variance V of the intensity in rings of the diffraction pattern, at each position.

    V(Q, r) = <I^2> / <I>^2 - 1 (Nakazawa2024, eq. 5), means over the binned pixels of a ring
    that is one binned pixel wide, of each pattern; averaged over the patterns of a position. V(r)
    is the mean of V(Q, r) over the rings of ``q_range``. (The ratio of means over time would
    depend on how many independent patterns there were, so on tau.)

    Inputs: a camera; if wanted a drift stream and a temperature stream (see `ScanConditions`).
    Positions are those of the specimen in the first scan; each scan gives the nearest pattern. A
    scan whose shift is not known is placed by the last known one. The sums over time begin anew
    when the temperature stage changes; scans between stages (stage -1) enter nowhere, and show
    what there is.

    What is taken off, and what is not:

    - Counting. I is the mean over the good pixels of a binned pixel; electrons counted with the
      gain g give it the variance mean(g) * ``variance_per_count`` * I / n_good. It is taken off
      <I^2> and, divided by the pixels of the ring, off <I>^2, which leaves no bias at any dose.
      ``V_raw`` is without this. Noise that neighbouring pixels share is not known here.
    - The static pattern. Slope of the halo within a ring, a centre or an ellipse slightly off
      are variance too. Each pattern is divided by s(Q, phi) = a + b Q + first and second
      harmonics of phi, mean 1, fitted in each ring to the mean pattern of the glass in all scans
      so far. With N independent places in a scan the fit takes 5 of about 40 N speckles with it:
      V is too low by a part of 0.1 / N.
    - Hot pixels and shadows that the mask does not tell: binned pixels whose mean is ``outlier``
      times the median of their ring, or less than its ``outlier``-th part, are left out.
    - Not taken off, nor from the published V: the few independent speckles N_s of a ring. <I>
      follows them, and of a contrast c there is c (1 + (3 c - 4 sqrt(c) - 1) / N_s): some 0.92 on
      simulated patterns of the published geometry (N_s 27 to 52), which is 0.72 w^2 for a
      coherent weight w. Sector sets, with fewer speckles, come out lower yet. Binning has kept
      0.78 of the contrast before. beta of `ecm` has lost the same part.

    Lost and repeated records are left out, and patterns of which half or more is not finite;
    elsewhere, binned pixels that are not finite are left out. Positions with less than
    ``minimum_intensity`` of the median intensity (vacuum, thin edge) are NaN.

    Gives one record per scan, in order, not valid before anything was measured:

    ``maps``
        ``V``, ``V_raw``, ``intensity`` (mean over the annulus, counts in a pixel) float64 [y, x];
        ``count`` int64 [y, x], patterns that entered; ``scan``, ``stage``, ``temperature`` K.
    ``profile``
        ``V``, ``V_raw``, ``intensity`` float64 [q], means over the positions that are not NaN;
        ``pixels`` int64 [q], binned pixels that counted. The constant ``q`` has the middles of
        the rings, 1/nm.
    ``sectors``
        ``V`` float64 [2, y, x] from two sets of azimuthal sectors that share no speckles, see
        `sectors`.

    ``profile`` and ``sectors`` have ``scan``, ``stage`` and ``temperature`` as well. ``time`` is
    that of the last usable record of the scan.
    """

    name = "fem"

    class Config(daq.Config):
        """What ``[analyses.NAME]`` with ``type = "fem"`` may say."""

        field: str | None = daq.setting(None, "", "image field; by default the largest")
        q_range: tuple[pydantic.PositiveFloat, pydantic.PositiveFloat] = daq.setting(
            (3.0, 5.8), "1/nm", "from where to where there are rings; Q is 1/d"
        )
        binning: int | None = daq.setting(
            None, "px", "pixels along each side of a binned one; by default up to 0.24 1/nm", ge=1
        )
        centre: tuple[float, float] | None = daq.setting(
            None, "px", "[y, x]; by default the stream's attribute centre, its axes, the middle"
        )
        pixel_size: float | None = daq.setting(
            None, "1/nm", "by default the stream's attribute pixel_size, or from its axes", gt=0
        )
        scan: tuple[pydantic.PositiveInt, pydantic.PositiveInt] | None = daq.setting(
            None, "", "[rows, columns]; by default as the stream says"
        )
        step: float | None = daq.setting(
            None, "nm", "distance of two positions; by default as the stream says", gt=0
        )
        variance_per_count: float | None = daq.setting(
            None, "counts", "variance over mean of the raw counts of a pixel under even light; by "
            "default the stream's attribute counts_per_electron, or 1", ge=0,
        )  # fmt: skip
        minimum_intensity: float = daq.setting(
            0.25, "", "of the median over positions; those with less are NaN", ge=0, lt=1
        )
        outlier: float = daq.setting(
            8.0, "", "binned pixels this many times over or under their ring are left out", gt=1
        )
        temperature_tolerance: float = daq.setting(
            2.0, "K", "a change of temperature by more begins another stage", gt=0
        )

        @pydantic.model_validator(mode="after")
        def _in_order(self) -> Fem.Config:
            if self.q_range[0] >= self.q_range[1]:
                raise ValueError("q_range: the smaller radius comes first")
            return self

    def open(self, streams: Mapping[str, daq.Stream], config: Any) -> Sequence[daq.Stream]:
        """Find camera, rings and scan; ValueError where they do not fit."""
        self._conditions = ScanConditions(streams, config.temperature_tolerance)
        camera = self._conditions.camera
        self._camera, self._config = camera.name, config
        self._field = image_field(camera, config.field)
        self._scans = Scans(camera, config.scan)
        told = None if camera.scan is None else camera.scan.get("step")
        if config.step is None and told is None and self._conditions.has_drift:
            raise ValueError(f"{camera.name} does not say how far positions are apart: give step")
        self._step = float(config.step or told or 1.0)
        variance = config.variance_per_count
        if variance is None:
            variance = float(camera.attributes.get("counts_per_electron", 1.0))
        self._rings = _rings(camera, self._field, config, variance)
        self._bins = daq.PixelBins(
            camera, self._field, self._rings.labels, self._rings.pixels, np.float32
        )

        self._static = _StaticPattern(self._rings, config.outlier)
        self._scan: _Scan | None = None
        self._patterns: npt.NDArray[np.float32] | None = None
        self._waiting: deque[_Reduced] = deque()
        self._stage = -1
        self._sums = _Sums(self._scans.positions, self._rings.count)
        _warm_up(self._rings)
        units = "" if config.step is None and told is None else "nm"
        return self._outputs(camera, units, variance)

    def process(self, batch: daq.Batch) -> Iterable[daq.Batch]:
        """Take patterns, shifts or temperatures; give the scans about which all is known."""
        if batch.stream != self._camera:
            self._conditions.push(batch)
            yield from self._given()
            return
        for piece in self._scans.pieces(batch):
            if self._scan is None:
                self._scan = _Scan(
                    piece.scan, self._scans.positions, self._rings.pixels, self._patterns
                )
                self._patterns = self._scan.patterns
            self._scan.take(piece, self._bins)
            if piece.ends:
                self._reduce()
        yield from self._given()

    def ended(self, stream: str) -> Iterable[daq.Batch]:
        """Give what waited for this input; of the camera, its last, unfinished scan."""
        self._conditions.ended(stream)
        if stream == self._camera and self._scan is not None:
            self._reduce()
        yield from self._given()

    @classmethod
    def memory(cls, streams: Mapping[str, daq.Stream], config: Any) -> int:
        """Return the bytes needed.

        positions (4 pixels + 3 * 80 rings) + 48 pixels of a frame: one scan of binned pixels, the
        moments of the sums and of two scans that wait for drift or temperature, and labels.
        """
        camera = camera_of(streams)
        field = image_field(camera, config.field)
        rings = _rings(camera, field, config, 1.0)
        positions = Scans(camera, config.scan).positions
        frame = math.prod(camera.fields[field].shape)
        return positions * (4 * rings.pixels + 3 * 80 * rings.count) + 48 * frame

    def _reduce(self) -> None:
        """A scan is complete: only the moments of its rings are kept."""
        assert self._scan is not None
        scan, self._scan = self._scan, None
        self._waiting.append(self._static.reduce(scan, self._config.minimum_intensity))

    def _given(self) -> Iterable[daq.Batch]:
        while self._waiting:
            scan = self._waiting[0]
            seen = scan.usable.any()
            if seen and not self._conditions.ready(scan.scan, scan.end):
                return
            self._waiting.popleft()
            if not seen:
                yield from self._lost()
                continue
            condition = self._conditions.take(scan.scan, scan.begin, scan.end)
            if condition.stage >= 0:
                if condition.stage != self._stage:
                    self._stage = condition.stage
                    self._sums = _Sums(self._scans.positions, self._rings.count)
                place = placement(self._scans.shape, self._step, condition.shift)
                self._sums.add(scan, place.source)
            if self._sums.count.any():
                yield from self._results(scan, condition)
            else:
                yield from self._lost()

    def _lost(self) -> Iterable[daq.Batch]:
        for name, fields in self._fields.items():
            arrays = {
                key: np.full((1, *field.shape), field.fill, field.numpy_dtype)
                for key, field in fields.items()
            }
            arrays["time"] = np.full(1, daq.NO_TIME)
            yield daq.Batch(name, arrays, valid=np.zeros(1, bool))

    def _results(self, scan: _Reduced, condition: Condition) -> Iterable[daq.Batch]:
        shape = self._scans.shape
        sums = self._sums
        v, v_raw, per_ring, intensity = sums.results(scan.pixels)
        dim = ~(intensity >= self._config.minimum_intensity * _median(intensity))
        v[dim], v_raw[dim], per_ring[dim], intensity[dim] = np.nan, np.nan, np.nan, np.nan
        own = {
            "time": np.array([scan.end]),
            "scan": np.array([scan.scan]),
            "stage": np.array([condition.stage]),
            "temperature": np.array([condition.temperature]),
        }
        yield daq.Batch(
            "maps",
            {
                **own,
                "V": v[:, 0].reshape(1, *shape),
                "V_raw": v_raw.reshape(1, *shape),
                "intensity": intensity.reshape(1, *shape),
                "count": sums.count.reshape(1, *shape).copy(),
            },
        )
        profile = _mean(per_ring, 0)
        yield daq.Batch(
            "profile",
            {
                **own,
                "V": profile[None, :, 0],
                "V_raw": profile[None, :, 1],
                "intensity": profile[None, :, 2],
                "pixels": scan.pixels[None],
            },
        )
        yield daq.Batch("sectors", {**own, "V": v[:, 1:].T.reshape(1, 2, *shape)})

    def _outputs(self, camera: daq.Stream, units: str, variance: float) -> list[daq.Stream]:
        shape, config = self._scans.shape, self._config
        counts = camera.fields[self._field].units
        own = {
            "scan": daq.Field("<i8", (), "", "number of the scan"),
            "stage": daq.Field("<i8", (), "", "temperature stage, -1 between two"),
            "temperature": daq.Field("<f8", (), "K", "temperature"),
        }
        rings = self._rings.count
        self._fields: dict[str, dict[str, daq.Field]] = {
            "maps": {
                "V": daq.Field("<f8", shape, "", "variance V"),
                "V_raw": daq.Field("<f8", shape, "", "variance V with counting noise"),
                "intensity": daq.Field("<f8", shape, counts, "intensity of the annulus"),
                "count": daq.Field("<i8", shape, "", "patterns that entered"),
                **own,
            },
            "profile": {
                "V": daq.Field("<f8", (rings,), "", "variance V"),
                "V_raw": daq.Field("<f8", (rings,), "", "variance V with counting noise"),
                "intensity": daq.Field("<f8", (rings,), counts, "intensity"),
                "pixels": daq.Field("<i8", (rings,), "", "binned pixels that counted"),
                **own,
            },
            "sectors": {
                "V": daq.Field("<f8", (2, *shape), "", "variance V of both sector sets"),
                **own,
            },
        }
        positions = [
            {"name": name, "units": units, "offset": 0, "step": self._step} for name in ("y", "x")
        ]
        q = [{"name": "q", "units": "1/nm", "values": "q"}]
        sets = {"name": "sector_set", "units": "", "offset": 0, "step": 1}
        axes: dict[str, dict[str, list[dict[str, Any]]]] = {
            "maps": {name: positions for name in ("V", "V_raw", "intensity", "count")},
            "profile": {name: q for name in ("V", "V_raw", "intensity", "pixels")},
            "sectors": {"V": [sets, *positions]},
        }
        expect = None if camera.expect is None else -(-camera.expect // self._scans.positions)
        attributes = {
            "q_range": list(config.q_range),
            "ring_width": self._rings.width,
            "binning": self._rings.binning,
            "variance_per_count": variance,
            "averaging": "V of each pattern and ring, mean over time, then over rings",
        }
        return [
            daq.Stream(
                name, fields, axes[name], None, attributes, expect,
                {"q": self._rings.middles} if name == "profile" else {},
            )
            for name, fields in self._fields.items()
        ]  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class _Rings:
    """The binned pixels [pixel] of all rings.

    ``scale`` turns the sum of a binned pixel into its mean, ``noise`` that mean into the variance
    of counting; ``design`` has the functions [pixel, 6] of the static pattern.
    """

    count: int
    binning: int
    width: float
    middles: Floats
    labels: npt.NDArray[np.int64]
    ring: npt.NDArray[np.int64]
    sector: npt.NDArray[np.int64]
    scale: Floats
    noise: Floats
    design: Floats

    @property
    def pixels(self) -> int:
        return len(self.ring)


def _rings(camera: daq.Stream, field: str, config: Any, variance: float) -> _Rings:
    detector = detector_for(camera, field, config.centre, config.pixel_size, "1/nm")
    corrections = daq.corrections_for(camera)
    bad, gain = np.zeros(detector.shape, bool), np.ones(detector.shape)
    if corrections is not None and corrections.field == field:
        bad = corrections.bad
        gain = corrections.gain.astype(np.float64).reshape(detector.shape)
    inner, outer = config.q_range
    binning = binning_for(detector, config.binning)
    annulus = binned_annulus(detector, inner, outer, binning, bad)
    count = max(1, round((outer - inner) / (binning * detector.pixel_size)))
    width = (outer - inner) / count
    middles = inner + (np.arange(count) + 0.5) * width
    # rounded, as radii are: which ring a pixel on a border is in is no matter of the last bit
    number = np.round((annulus.q - inner) / width, 9)
    ring = np.clip(number.astype(np.int64), 0, count - 1)
    held = np.bincount(ring, minlength=count)
    if held.min() < 8:
        q = middles[np.argmin(held)]
        raise ValueError(
            f"the ring at {q:.3g} 1/nm holds {held.min()} good binned pixels, at least 8 are "
            "needed: choose another q_range, or a smaller binning"
        )
    first, second = annulus.sets
    sector = np.repeat([0, 1, 2], [first, second, annulus.pixels - first - second])
    # pixels of one sector set in one ring lie side by side: the loops over them are fast
    order = np.lexsort((ring, sector))
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    labels = np.where(annulus.labels < 0, -1, place[annulus.labels])
    kept = (annulus.labels >= 0) & ~bad
    gains = np.bincount(annulus.labels[kept], weights=gain[kept], minlength=annulus.pixels)
    phi = np.arctan2(annulus.q_y, annulus.q_x)
    design = np.stack(
        [np.ones(annulus.pixels), (annulus.q - middles[ring]) / width,
         np.cos(phi), np.sin(phi), np.cos(2 * phi), np.sin(2 * phi)], axis=1,
    )  # fmt: skip
    return _Rings(
        count, binning, width, middles, labels, ring[order], sector[order], (1.0 / annulus.good)[order],
        (variance * gains / annulus.good**2)[order], design[order],
    )  # fmt: skip


def _runs(ring: npt.NDArray[np.int64], sector: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Pixels that follow on each other in one ring and sector set: see `ring_moments`."""
    changes = (np.diff(ring) != 0) | (np.diff(sector) != 0)
    borders = np.concatenate([[0], np.flatnonzero(changes) + 1, [len(ring)]])
    first, stop = borders[:-1], borders[1:]
    runs = np.stack([first, stop, sector[first], ring[first]], axis=1)
    return np.ascontiguousarray(runs[ring[first] >= 0])


class _Scan:
    """The binned pixels of one scan while it comes; ``patterns`` is memory to use again."""

    def __init__(
        self, scan: int, positions: int, pixels: int, patterns: npt.NDArray[np.float32] | None
    ) -> None:
        self.scan = scan
        # new memory from the system costs more than what is done with it
        self.patterns = np.zeros((positions, pixels), np.float32) if patterns is None else patterns
        self.usable = np.zeros(positions, np.bool_)
        self.time = np.full(positions, daq.NO_TIME)

    def take(self, piece: ScanPiece, bins: daq.PixelBins) -> None:
        if not piece.usable.any():
            return
        place = slice(piece.first, piece.first + len(piece.batch))
        self.patterns[place] = bins.sums(piece.batch)
        self.usable[place] = piece.usable
        self.time[place] = piece.batch.time


@dataclasses.dataclass(frozen=True, slots=True)
class _Reduced:
    """The moments of one scan, by position of the scan; ``pixels`` [ring] that entered."""

    scan: int
    begin: int
    end: int
    usable: npt.NDArray[np.bool_]
    moments: Floats
    mean: Floats
    pixels: npt.NDArray[np.int64]


class _StaticPattern:
    """The mean pattern of the glass in all scans so far, to be divided out of each."""

    def __init__(self, rings: _Rings, outlier: float) -> None:
        self._rings, self._outlier = rings, outlier
        self._total = np.zeros(rings.pixels)
        self._count = np.zeros(rings.pixels, np.int64)

    def reduce(self, scan: _Scan, minimum: float) -> _Reduced:
        from daq_stem.fem.ring_moments import add_patterns, annular_means, ring_moments

        rings = self._rings
        bright = annular_means(scan.patterns, scan.usable, rings.scale)
        usable = np.isfinite(bright)
        glass = bright >= minimum * _median(bright)
        add_patterns(scan.patterns, glass, self._total, self._count)
        static, ring = self._divisor()
        moments, mean = ring_moments(
            scan.patterns, usable, _runs(ring, rings.sector), rings.scale / static,
            rings.noise / static, rings.count,
        )  # fmt: skip
        times = scan.time[usable]
        begin, end = (int(times[0]), int(times[-1])) if len(times) else (0, 0)
        pixels = np.bincount(ring[ring >= 0], minlength=rings.count)
        return _Reduced(scan.scan, begin, end, usable, moments, mean, pixels)

    def _divisor(self) -> tuple[Floats, npt.NDArray[np.int64]]:
        """The static pattern [pixel], mean 1 in each ring, and the ring, -1 for outliers."""
        rings = self._rings
        mean = self._total * rings.scale / np.maximum(self._count, 1)
        static, ring = np.ones(rings.pixels), rings.ring.copy()
        for number in range(rings.count):
            inside = rings.ring == number
            values = mean[inside]
            usual = float(np.median(values))
            if usual > 0:
                odd = (values > self._outlier * usual) | (values < usual / self._outlier)
                ring[np.flatnonzero(inside)[odd]] = -1
            kept = ring == number
            level = mean[kept].mean() if kept.any() else 0.0
            if level > 0:
                design = rings.design[kept]
                design = design if len(design) >= 24 else design[:, :2]
                fitted = design @ np.linalg.lstsq(design, mean[kept] / level, rcond=1e-6)[0]
                fitted = np.maximum(fitted, 0.05)
                static[kept] = fitted / fitted.mean()
        return static, ring


class _Sums:
    """Sums over time of the moments at each position of the specimen."""

    def __init__(self, positions: int, rings: int) -> None:
        self.count = np.zeros(positions, np.int64)
        self._moments = np.zeros((positions, SETS, rings, MOMENTS))
        self._mean = np.zeros((positions, rings))

    def add(self, scan: _Reduced, source: npt.NDArray[np.int64]) -> None:
        """Add a scan; ``source`` [position] is where each position stood, -1 outside."""
        from daq_stem.fem.ring_moments import add_moments

        add_moments(
            source, scan.usable, scan.moments, scan.mean, self._moments, self._mean, self.count
        )

    def results(self, pixels: npt.NDArray[np.int64]) -> tuple[Floats, Floats, Floats, Floats]:
        """Return V [position, set], V_raw [position], (V, V_raw, <I>) of the rings, and <I>.

        The third is [position, ring, 3]; the last, [position], of the whole annulus, whose rings
        hold ``pixels`` [ring].
        """
        from daq_stem.fem.ring_moments import RATIO, RATIO_RAW, SEEN

        moments = np.moveaxis(self._moments, 3, 0)
        v = _mean_contrast(moments[RATIO], moments[SEEN])
        v_raw = _mean_contrast(moments[RATIO_RAW, :, 0], moments[SEEN, :, 0])
        with np.errstate(invalid="ignore"):
            mean = self._mean / self.count[:, None]
        per_ring = np.stack([v[:, 0], v_raw, mean], axis=2)
        intensity = (mean * pixels).sum(axis=1) / max(1, int(pixels.sum()))
        return _mean(v, 2), _mean(v_raw, 1), per_ring, intensity


def _mean_contrast(ratios: Floats, seen: Floats) -> Floats:
    """Mean of <I^2> / <I>^2 - 1; NaN where there was no intensity."""
    found = np.full(seen.shape, np.nan)
    np.divide(ratios, seen, out=found, where=seen > 0)
    return found - 1.0


def _mean(values: Floats, axis: int) -> Floats:
    """Mean of what is finite; NaN where nothing is."""
    finite = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        total = np.where(finite, values, 0.0).sum(axis=axis)
        return np.asarray(total / finite.sum(axis=axis))


def _median(values: Floats) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else 0.0


def _warm_up(rings: _Rings) -> None:
    """Compile, or load what was compiled, before the first pattern is there."""
    scan = _Scan(0, 1, rings.pixels, None)
    scan.usable[:] = True
    reduced = _StaticPattern(rings, 2.0).reduce(scan, 0.0)
    _Sums(1, rings.count).add(reduced, np.zeros(1, np.int64))
