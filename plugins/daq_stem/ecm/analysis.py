"""Electron correlation microscopy: relaxation times at every scan position while it is scanned."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pydantic

import daq
from daq_stem.ecm.outputs import TOLD, output_streams
from daq_stem.ecm.scan_conditions import Condition, ScanConditions, camera_of, placement
from daq_stem.geometry.annulus import binned_annulus, binning_for
from daq_stem.geometry.detector import detector_for, image_field
from daq_stem.scans import ScanPiece, Scans

SAMPLED = 32
"""Patterns of a scan in the mean that is shown."""

MOST_SCANS = 256
"""Scans kept where the stream does not say how many will come."""


class Ecm(daq.Analysis):
    """Two-time correlations, relaxation times and their errors, for each annulus and position.

    Takes the camera, and if they are there a drift stream (`Drift`) and a temperature. At every
    position and for each annulus: G(t1, t2) = <I1 I2> / (<I1> <I2>) over the binned pixels
    (Nakazawa2024, eq. 1), g at a delay (eq. 2) and the fit g - 1 = beta exp(-2 (t/tau)^gamma)
    (eq. 3), after each scan. gamma is the one that all positions share, as measured
    (`common_shape`), unless it is configured. Time is the frames' own; lost, repeated and empty frames are left
    out. A pattern is divided by its own mean over the annulus and by the static pattern, which
    leaves a baseline of 0 that need not be fitted. Delays lie on a fixed grid (`delays`). The
    correlation starts anew when the temperature changes to another stage.

    Errors: a least-squares error of tau is too small by more than ten times, because speckles are
    few. Their number is measured, positions with such speckles and known tau are simulated with the
    same time stamps (`Replicas`), and the interval holds every tau that makes the estimate likely
    (`LnTauErrors`). ``tau`` is the median-unbiased estimate. One record per scan of each stream:

    ``maps``
        float64 [band, y, x]: ``tau`` s, ``tau_errors`` s (half of the 68 % interval of ln tau,
        times tau), ``tau_lower`` and ``tau_upper`` s (its ends), ``gamma``, ``beta``; ``flag``:
        0 determined, 1 lower bound (95 %: ``tau`` and ``tau_lower`` are it), 2 at a bound (faster
        than can be told: ``tau`` and ``tau_upper`` are an upper bound), 3 not converged, or too few
        scans yet, 4 masked (vacuum).
    ``sectors``
        ``ln_tau`` [band, set, y, x], ln(tau/s) from two sets of pixels that share no speckle
        (`sectors`), as fitted, and its ``flag``.
    ``g2``
        Mean over positions, [band, delay]: ``g2``, ``g2_errors`` (jackknife over regions),
        ``fit``; ``delay_difference`` s, ``pairs`` [delay]; ``tau`` s, ``gamma``, ``beta``,
        ``baseline`` of the fit. A spread of tau makes the mean look stretched.
    ``two_time``
        Mean G of this scan with each scan kept before it, [band, scan], and ``age`` s of those:
        the records together are the two-time matrix.
    ``ageing``
        ``tau``, ``tau_errors`` [band, window] of the mean G(t1, t2), against ``waiting_time`` s.
    ``summary``
        [band]: ``mean_ln_tau`` of the normal population that would give such estimates
        (`matched_population`), its error for the positions scanned, ``ln_tau_sd`` (estimation error taken off), ``n_effective``
        independent positions, ``independent_speckles`` of the annulus, ``beta``,
        ``gamma`` and its error where it is common; ``share`` [band,
        flag] of the glass positions (masked: of all); ``usable``, the part of the records used.
    ``pattern``
        Mean of some patterns of the scan, with the annuli as the constant ``annulus``.

    Kept of the last ``history`` scans are the pixels of the annuli, not the frames.
    """

    name = "ecm"

    class Config(daq.Config):
        """What ``[analyses.NAME]`` with ``type = "ecm"`` may say."""

        field: str | None = daq.setting(None, "", "image field; by default the largest")
        bands: list[tuple[pydantic.PositiveFloat, pydantic.PositiveFloat]] = daq.setting(
            [(4.2, 4.6)], "1/nm", "annuli, [[inner, outer], ...], Q = 1/d", min_length=1
        )
        pixel_size: float | None = daq.setting(
            None, "1/nm", "by default from the stream's axes or attributes", gt=0
        )
        centre: tuple[float, float] | None = daq.setting(
            None, "px", "[y, x] of the direct beam; by default from the stream"
        )
        binning: int | None = daq.setting(
            None, "px", "pixels binned along each axis; by default up to 0.24 1/nm", ge=1, le=64
        )
        scan: tuple[pydantic.PositiveInt, pydantic.PositiveInt] | None = daq.setting(
            None, "", "positions [y, x]; by default from the stream"
        )
        step: float | None = daq.setting(
            None, "nm", "distance of positions; by default from the stream", gt=0
        )
        gamma: pydantic.PositiveFloat | Literal["common", "free"] = daq.setting(
            "common", "",
            'of the maps: "common" measures the one that all positions share; a number fixes it (1 is '
            'published); "free" fits each position (needs long series)',
        )  # fmt: skip
        baseline: Literal["fixed", "free"] = daq.setting(
            "fixed", "", "fixed at 0 after the static pattern is divided out; free for long series"
        )
        static_pattern: Literal["radial", "pixel", "none"] = daq.setting(
            "radial", "",
            "divided out: the mean profile over Q, or the mean of each pixel (many positions)",
        )  # fmt: skip
        minimum_intensity: float = daq.setting(
            0.25, "", "positions with less than this part of the median are masked", ge=0, lt=1
        )
        longest: float = daq.setting(
            30.0, "", "tau beyond this many times the length of the series is a lower bound", gt=1
        )
        history: int | None = daq.setting(
            None, "scans", "kept; by default all that the stream announces, or 256", ge=4, le=4096
        )
        temperature_tolerance: float = daq.setting(
            2.0, "K", "a change by more than this begins a new stage", gt=0
        )
        variance_per_count: float | None = daq.setting(
            None, "counts", "of the camera; by default its counts per electron, or 1", gt=0
        )
        waiting_times: int = daq.setting(6, "", "windows of ``ageing``", ge=1, le=64)
        replicas: int = daq.setting(96, "", "simulated to learn errors, times 20", ge=16, le=4096)
        seed: int = daq.setting(0, "", "of the replicas", ge=0)

        @pydantic.model_validator(mode="after")
        def _sensible(self) -> Ecm.Config:
            for inner, outer in self.bands:
                if inner >= outer:
                    raise ValueError(f"bands: [{inner:g}, {outer:g}]: the inner one comes first")
            if not isinstance(self.gamma, str) and not 0.2 <= self.gamma <= 2:
                raise ValueError("gamma: between 0.2 and 2, or common, or free")
            return self

    def open(self, streams: Mapping[str, daq.Stream], config: Any) -> Sequence[daq.Stream]:
        """Find camera, geometry and annuli; ValueError where they do not fit."""
        from daq_stem.ecm.annulus_series import Settings

        self._config = config
        self._conditions = ScanConditions(streams, config.temperature_tolerance)
        camera = self._camera = self._conditions.camera
        self._field = image_field(camera, config.field)
        self._scans = Scans(camera, config.scan)
        self._step = _step(camera, config)
        detector = _detector(camera, config)
        binning = binning_for(detector, config.binning)
        corrections = daq.corrections_for(camera)
        bad = np.zeros(detector.shape, bool) if corrections is None else corrections.bad
        self._annuli = [binned_annulus(detector, *band, binning, bad) for band in config.bands]
        self._bins = [daq.PixelBins(camera, self._field, a.labels) for a in self._annuli]
        # means of good pixels, as counts of a whole binned pixel
        self._scale = [binning**2 / annulus.good for annulus in self._annuli]
        scans, rows = _scans_kept(camera, config), self._scans
        self._settings = Settings(
            rows.shape, self._step, _gamma(config),
            config.gamma == "common", config.baseline == "free", config.static_pattern, config.minimum_intensity,
            config.longest, scans, _variance_per_count(camera, config),
            self._conditions.has_drift, config.waiting_times, config.replicas,
            [config.seed],
        )  # fmt: skip
        self._stage = -1
        self._series: list[Any] = []
        self._queue: deque[_Scan] = deque()
        self._scan = _Scan(0, rows.positions, [a.pixels for a in self._annuli])
        self._sampled_every = max(1, rows.positions // SAMPLED)
        self._frame_shape = detector.shape
        self._bad = bad
        self._start(0)
        self._warm_up()
        expect = camera.expect
        return output_streams(
            camera, self._field, detector, self._annuli, bad, config, rows.shape, self._step, scans,
            None if expect is None else -(-expect // rows.positions),
        )  # fmt: skip

    def process(self, batch: daq.Batch) -> Iterable[daq.Batch]:
        """Take patterns, or what is told of scans; give the results of scans that are complete."""
        if batch.stream != self._camera.name:
            self._conditions.push(batch)
        else:
            for piece in self._scans.pieces(batch):
                self._take(piece)
                if piece.ends:
                    self._finish_scan(piece.scan)
        yield from self._ready()

    def ended(self, stream: str) -> Iterable[daq.Batch]:
        """Do not wait for drift or temperature any more; a scan cut short is the last one."""
        if stream == self._camera.name:
            if self._scan.seen:
                self._finish_scan(self._scan.number)
        else:
            self._conditions.ended(stream)
        yield from self._ready()

    def close(self) -> Iterable[daq.Batch]:
        """Give the results of what is left."""
        yield from self._ready(everything=True)

    @classmethod
    def memory(cls, streams: Mapping[str, daq.Stream], config: Any) -> int:
        """Return the bytes needed.

        For each band of n binned pixels: p positions x h scans x (4 n + 21) bytes for the
        patterns, likewise for some 2000 replicas, and 24 p n for scans that wait; mostly
        4 p h n, 0.7 GB for 7200 positions, 106 scans and 212 pixels.
        """
        from daq_stem.ecm.annulus_series import AnnulusSeries

        camera = camera_of(streams)
        scans = _scans_kept(camera, config)
        positions = Scans(camera, config.scan).positions
        detector = _detector(camera, config)
        binning = binning_for(detector, config.binning)
        total = 16 * math.prod(detector.shape)
        for inner, outer in config.bands:
            annulus = binned_annulus(
                detector, inner, outer, binning, np.zeros(detector.shape, bool)
            )
            gamma = _gamma(config)
            total += 24 * positions * annulus.pixels
            total += AnnulusSeries.memory(positions, annulus.pixels, scans, gamma, config.replicas)
        return total

    def _take(self, piece: ScanPiece) -> None:
        scan, batch = self._scan, piece.batch
        scan.number = piece.scan
        stop = piece.first + len(batch)
        for patterns, bins, scale in zip(scan.patterns, self._bins, self._scale, strict=True):
            patterns[piece.first : stop] = bins.sums(batch) * scale
        scan.usable[piece.first : stop] = piece.usable
        scan.times[piece.first : stop] = batch.time
        scan.seen += len(batch)
        every = self._sampled_every
        for at in range(-piece.first % every, len(batch), every):
            if piece.usable[at]:
                scan.add_frame(batch.slice(at, at + 1)[self._field][0])

    def _finish_scan(self, number: int) -> None:
        self._queue.append(self._scan)
        self._scan = _Scan(
            number + 1, self._scans.positions, [a.pixels for a in self._annuli]
        )  # fmt: skip

    def _ready(self, everything: bool = False) -> Iterable[daq.Batch]:
        while self._queue:
            scan = self._queue[0]
            if not (everything or self._conditions.ready(scan.number, scan.end)):
                return
            self._queue.popleft()
            yield from self._results(scan)

    def _results(self, scan: _Scan) -> Iterable[daq.Batch]:
        condition = self._conditions.take(scan.number, scan.begin, scan.end)
        told = {
            "time": np.array([scan.end], np.int64),
            "scan": np.array([scan.number], np.int64),
            "stage": np.array([condition.stage], np.int64),
            "temperature": np.array([condition.temperature]),
        }
        lost = condition.stage < 0 or not scan.usable.any()
        if not lost:
            if condition.stage != self._stage:
                self._start(condition.stage)
            self._correlate(scan, condition)
        valid = np.array([not lost])
        for name, fields in self._fields(scan).items():
            known = {key: told[key] for key in TOLD[name]}
            yield daq.Batch(
                name, {**known, **{key: value[None] for key, value in fields.items()}}, valid=valid
            )

    def _correlate(self, scan: _Scan, condition: Condition) -> None:
        placed = placement(self._scans.shape, self._step, condition.shift)
        for patterns, series in zip(scan.patterns, self._series, strict=True):
            series.add(
                patterns, scan.usable, scan.times, placed.source, placed.residual,
                condition.shift_error,
            )  # fmt: skip

    def _start(self, stage: int) -> None:
        from daq_stem.ecm.annulus_series import AnnulusSeries

        gammas = [series.gamma for series in self._series] or [None] * len(self._annuli)
        # the memory of the last stage is given back first
        self._series = []
        self._stage = stage
        for number, annulus in enumerate(self._annuli):
            seed = [*self._settings.seed, stage, number]
            self._series.append(
                AnnulusSeries(annulus, _with_seed(self._settings, seed), gammas[number])
            )

    def _fields(self, scan: _Scan) -> dict[str, dict[str, npt.NDArray[Any]]]:
        """Everything but what is told of the scan, by stream."""
        shape, kept = self._scans.shape, self._settings.scans
        maps = [series.maps() for series in self._series]
        means = [series.mean_correlation() for series in self._series]
        populations = [s.population(m) for s, m in zip(self._series, maps, strict=True)]
        ageing = [series.ageing() for series in self._series]
        rows = np.full((len(maps), kept), np.nan)
        ages = np.full(kept, np.nan)
        for at, series in enumerate(self._series):
            row = series.two_time_row()
            rows[at, : len(row)] = row
        known = self._series[0].ages[:-1]
        ages[: len(known)] = known
        shares = [
            np.append(
                np.bincount(m.flag, minlength=5)[:4] / max(1, int((m.flag < 4).sum())),
                np.mean(m.flag == 4),
            )
            for m in maps
        ]

        def stacked(name: str) -> npt.NDArray[Any]:
            return np.stack([getattr(m, name).reshape(shape) for m in maps])

        return {
            "maps": {
                name: stacked(name)
                for name in ("tau", "tau_errors", "tau_lower", "tau_upper", "gamma", "beta", "flag")
            },
            "sectors": {
                "ln_tau": np.stack([m.sector_ln_tau.reshape(2, *shape) for m in maps]),
                "flag": np.stack([m.sector_flag.reshape(2, *shape) for m in maps]),
            },
            "g2": {
                "g2": np.stack([m.g2 for m in means]),
                "g2_errors": np.stack([m.errors for m in means]),
                "fit": np.stack([m.fit for m in means]),
                "delay_difference": means[0].delay,
                "pairs": means[0].pairs,
                **{
                    name: np.array([getattr(m, name) for m in means])
                    for name in ("tau", "gamma", "beta", "baseline")
                },
            },
            "two_time": {"two_time": rows, "age": ages},
            "ageing": {
                "waiting_time": ageing[0][0],
                "tau": np.stack([a[1] for a in ageing]),
                "tau_errors": np.stack([a[2] for a in ageing]),
            },
            "summary": {
                **{
                    name: np.array([population[name] for population in populations])
                    for name in populations[0]
                },
                "share": np.stack(shares),
                "usable": np.array(scan.usable.sum() / len(scan.usable)),
            },
            "pattern": {"mean": scan.mean_frame(self._frame_shape, self._bad)},
        }

    def _warm_up(self) -> None:
        """Compile, or load what was compiled, before the first pattern is there."""
        from daq_stem.ecm.warm_up import compile_correlation

        compile_correlation()


class _Scan:
    """A scan as it comes in: patterns of every band, until all is known of it."""

    def __init__(self, number: int, positions: int, pixels: Sequence[int]) -> None:
        self.number = number
        self.patterns = [np.zeros((positions, count)) for count in pixels]
        self.usable = np.zeros(positions, np.bool_)
        self.times = np.full(positions, daq.NO_TIME, np.int64)
        self.seen = 0
        self._frames = 0
        self._sum: npt.NDArray[np.float64] | None = None

    @property
    def begin(self) -> int:
        """Time of the first usable record, ns; NO_TIME if there is none."""
        return int(self.times[self.usable][0]) if self.usable.any() else daq.NO_TIME

    @property
    def end(self) -> int:
        """Time of the last usable record, ns; NO_TIME if there is none."""
        return int(self.times[self.usable][-1]) if self.usable.any() else daq.NO_TIME

    def add_frame(self, frame: npt.NDArray[Any]) -> None:
        """Add a frame to the mean that is shown."""
        self._sum = frame.astype(np.float64) if self._sum is None else self._sum + frame
        self._frames += 1

    def mean_frame(
        self, shape: tuple[int, int], bad: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.float32]:
        """Return the mean of the frames added; NaN for bad pixels."""
        mean = np.full(shape, np.nan) if self._sum is None else self._sum / self._frames
        return np.where(bad, np.nan, mean).astype(np.float32)


def _detector(camera: daq.Stream, config: Any) -> Any:
    field = image_field(camera, config.field)
    return detector_for(camera, field, config.centre, config.pixel_size, "1/nm")


def _gamma(config: Any) -> float | None:
    """The exponent to begin with; None where each position has its own."""
    return {"common": 1.0, "free": None}.get(config.gamma, config.gamma)


def _step(camera: daq.Stream, config: Any) -> float:
    step = config.step or (camera.scan or {}).get("step")
    return float(step) if isinstance(step, int | float) and step > 0 else 1.0


def _scans_kept(camera: daq.Stream, config: Any) -> int:
    if config.history:
        return int(config.history)
    if camera.expect is None:
        return MOST_SCANS
    positions = Scans(camera, config.scan).positions
    return max(4, min(MOST_SCANS, -(-camera.expect // positions)))


def _variance_per_count(camera: daq.Stream, config: Any) -> float:
    told = config.variance_per_count or camera.attributes.get("counts_per_electron")
    return float(told) if isinstance(told, int | float) and told > 0 else 1.0


def _with_seed(settings: Any, seed: list[int]) -> Any:
    import dataclasses

    return dataclasses.replace(settings, seed=seed)
