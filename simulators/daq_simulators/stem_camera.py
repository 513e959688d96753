"""A 5D-STEM camera: diffraction patterns of a metallic glass, scanned again and again.

The defaults give what Nakazawa and others (2024) published for Zr50Cu40Al10 at 633 K. What is
simulated, each in a module of its own: a `probe` that is scanned over one `glass_object` whose
atoms move (`kww_process`) by a clock that temperature and age set (`material_time`); their
`diffraction` under a `halo`; and an `electron_detector` that counts electrons one by one.
"""

from __future__ import annotations

import datetime
import functools
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pydantic

import daq

if TYPE_CHECKING:
    from daq_simulators.diffraction import Diffraction

Floats = npt.NDArray[np.float64]

ELECTRON = 1.602176634e-19
"""C."""

FINEST_CELL = 0.18
"""Cells of the calculated pattern are about this part of the aperture wide."""

BINNED_PIXEL = 0.232
"""1/nm; the pixel for which the truth gives V, that of 4 x 4 binning as published."""


class StemCamera(daq.Source):
    """Patterns of a simulated glass: stream ``""`` with the field ``frame`` [y, x], counts.

    Records come scan after scan, row after row, columns fastest. Vacuum and edge are on the left,
    the right half is thick. Record n depends on the configuration and n alone, so a source that
    was restarted goes on with the same records, at once. Time stamps are simulated time, the
    beginning of each exposure; the object of one scan is that of the middle of the scan.

    A dropped record is `daq.Missing`. In the place of a repeated one comes the last frame again,
    with the time stamp that it had. Bad pixels, the shadow of the beam stop and the gain are the
    stream's ``mask`` and ``gain``, unless ``calibration`` is "none".

    With ``temperature_steps`` or ``thermometer`` there is a second stream, ``temperature``:
    readings of the specimen's temperature in K, float64, one when a scan begins, one when the last
    one ends, and others evenly between.
    """

    name = "stem_camera"

    class Config(daq.Config):
        """What ``[sources.NAME]`` with ``type = "stem_camera"`` may say."""

        # the scan
        scan: tuple[pydantic.PositiveInt, pydantic.PositiveInt] = daq.setting(
            (60, 120), "", "probe positions, [y, x], fast axis last"
        )
        step: float = daq.setting(0.16, "nm", "distance of two probe positions", gt=0)
        scans: int = daq.setting(106, "", "how often everything is scanned", ge=1)
        dwell_time: float = daq.setting(1e-3, "s", "exposure of a pattern", gt=0)
        scan_time: float | None = daq.setting(
            None, "s", "from one scan to the next; by default dwell times and 33 ms a row", gt=0
        )
        speed: float = daq.setting(
            1.0, "", "1: the instrument's pace; X: X times that; 0: as fast as it goes", ge=0
        )
        # beam and camera
        frame: tuple[pydantic.PositiveInt, pydantic.PositiveInt] = daq.setting(
            (264, 264), "px", "shape of a frame, [y, x]"
        )
        pixel_size: float = daq.setting(0.058, "1/nm", "size of a pixel; Q is 1/d", gt=0)
        centre: tuple[float, float] | None = daq.setting(
            None, "px", "[y, x] of the direct beam; by default the middle"
        )
        ellipticity: float = daq.setting(
            1.0, "", "long axis over short axis of the rings; 1: circles", ge=1, le=1.5
        )
        ellipticity_angle: float = daq.setting(0.0, "degrees", "of the long axis: 0 right, 90 down")
        aperture: float = daq.setting(
            0.638, "1/nm", "semi-angle: 1.6 mrad at 200 kV, a probe of 0.80 nm FWHM", gt=0
        )
        beam_current: float = daq.setting(8.9, "pA", "of the probe", gt=0)
        dose: float | None = daq.setting(
            None, "electrons", "incident per pattern; by default from current and dwell time", gt=0
        )
        dtype: Literal["u1", "u2"] = daq.setting("u2", "", "unsigned, 8 or 16 bits; it saturates")
        counts_per_electron: int = daq.setting(1, "counts", "what one electron adds", ge=1, le=255)
        gain_sd: float = daq.setting(
            0.02, "", "relative spread of the pixels' sensitivity", ge=0, le=0.2
        )
        dead_fraction: float = daq.setting(
            1e-4, "", "part of the pixels that count nothing", ge=0, lt=1
        )
        calibration: Literal["given", "none"] = daq.setting(
            "given", "", "given: the stream says its mask and gain"
        )
        beam_stop_radius: float = daq.setting(1.2, "1/nm", "of its disc; 0: no beam stop", ge=0)
        beam_stop_arm: float = daq.setting(0.5, "1/nm", "width of its arm", ge=0)
        beam_stop_angle: float = daq.setting(
            180.0, "degrees", "where the arm points: 0 right, 90 down"
        )
        dropped_fraction: float = daq.setting(0.0, "", "part of the records lost", ge=0, lt=1)
        repeated_fraction: float = daq.setting(
            0.0, "", "part of the records that are the one before, again", ge=0, lt=1
        )
        # the specimen
        halo_peak: float = daq.setting(4.4, "1/nm", "first sharp diffraction peak", gt=0)
        halo_sigma: float = daq.setting(0.47, "1/nm", "its width", gt=0)
        background: float = daq.setting(
            0.25, "", "part of the intensity at the peak that is falling background", ge=0, lt=1
        )
        ring_fraction: float = daq.setting(
            0.05, "", "part of the beam that falls within 0.2 1/nm of the peak", ge=0, le=0.1
        )
        thickness: float = daq.setting(45.0, "nm", "in the middle of the right half", gt=0)
        thickness_gradient: float = daq.setting(1.0, "nm/nm", "along x, in the right half", ge=0)
        edge: float = daq.setting(
            0.1, "", "part of the width that is vacuum; 0: no edge", ge=0, lt=0.5
        )
        edge_roughness: float = daq.setting(0.3, "nm", "rms displacement of the edge", ge=0)
        friedel: float = daq.setting(0.0, "", "correlation of the speckles at Q and -Q", ge=0, le=1)
        # structure and dynamics
        median_tau: float = daq.setting(
            1000.0, "s", "relaxation time at the reference temperature, at the beginning", gt=0
        )
        ln_tau_sd: float = daq.setting(0.75, "", "spread of ln tau, seen by the probe", ge=0, le=3)
        tau_correlation_length: float = daq.setting(
            1.5, "nm", "over which ln tau (and w, gamma) correlates to 1/e", ge=0
        )
        gamma: float = daq.setting(1.0, "", "stretching exponent", ge=0.3, le=2)
        gamma_sd: float = daq.setting(0.0, "", "its spread", ge=0, le=0.5)
        w: float = daq.setting(
            0.87, "", "coherent weight at the reference temperature, mean", ge=0, le=1
        )
        w_sd: float = daq.setting(0.05, "", "its spread", ge=0, le=0.5)
        w_slope: float = daq.setting(-7.5e-4, "1/K", "its change with temperature")
        coupling: float = daq.setting(
            0.5, "", "Pearson's correlation of ln tau and w over the scan", ge=-1, le=1
        )
        temperature: float = daq.setting(633.0, "K", "of the specimen", gt=0)
        temperature_steps: list[tuple[pydantic.PositiveInt, pydantic.PositiveFloat]] = daq.setting(
            [], "scan, K", "[scan, temperature] from each of these scans on, in order"
        )
        ramp_rate: float | None = daq.setting(
            None, "K/s", "of the way to the next temperature; by default it is there at once", gt=0
        )
        thermometer: bool = daq.setting(
            False, "", "give the stream temperature; with temperature_steps it is always there"
        )
        temperature_interval: float | None = daq.setting(
            None, "s", "between two readings, at most; by default a quarter of a scan", gt=0
        )
        temperature_noise: float = daq.setting(0.1, "K", "of a reading, rms", ge=0)
        reference_temperature: float = daq.setting(633.0, "K", "where tau and w are given", gt=0)
        activation_energy: float = daq.setting(97.0, "kJ/mol", "of tau", ge=0)
        ageing: float = daq.setting(0.0, "", "mu: tau grows as ((t_w + t) / t_w)^mu", ge=0, le=3)
        waiting_time: float = daq.setting(3600.0, "s", "t_w, the age at the beginning", gt=0)
        drift: tuple[float, float] = daq.setting(
            (0.0, 0.0), "nm/s", "velocity of the specimen, [y, x]"
        )
        drift_walk: float = daq.setting(
            0.0, "nm/sqrt(s)", "its random walk, rms along each axis", ge=0
        )
        seed: int = daq.setting(0, "", "of everything random", ge=0)
        batch: int = daq.setting(64, "", "records that travel together", ge=1, le=4096)
        start_time: pydantic.AwareDatetime | Literal["now"] = daq.setting(
            datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), "",
            'time stamp of record 0; "now" is the moment of opening, which a restart does not keep',
        )  # fmt: skip

        @pydantic.model_validator(mode="after")
        def _possible(self) -> StemCamera.Config:
            if self.period < self.scan[0] * self.scan[1] * self.dwell_time * (1 - 1e-9):
                raise ValueError(
                    f"scan_time: {self.scan[0]} x {self.scan[1]} patterns of {self.dwell_time:g} s "
                    f"take {self.scan[0] * self.scan[1] * self.dwell_time:g} s"
                )
            begins = [scan for scan, _ in self.temperature_steps]
            if begins != sorted(set(begins)):
                raise ValueError("temperature_steps: the scans must be in order, each once")
            if self.temperature_interval and self.temperature_interval < self.dwell_time:
                raise ValueError("temperature_interval: shorter than the exposure of a pattern")
            if self.aperture < self.pixel_size:
                raise ValueError("aperture: smaller than a pixel, speckles could not be seen")
            if max(self.frame) > 2048:
                raise ValueError("frame: at most 2048 x 2048 pixels")
            return self

        @property
        def period(self) -> float:
            """From the beginning of one scan to that of the next, s."""
            rows, columns = self.scan
            return self.scan_time or rows * (columns * self.dwell_time + 1 / 30)

        @property
        def count(self) -> int:
            """Number of records to come."""
            return self.scans * self.scan[0] * self.scan[1]

        @property
        def has_thermometer(self) -> bool:
            """There is a stream of temperatures."""
            return self.thermometer or bool(self.temperature_steps)

        @property
        def readings_per_scan(self) -> int:
            """Readings of the temperature from the beginning of one scan to that of the next."""
            if self.temperature_interval is None:
                return 4
            return math.ceil(self.period / self.temperature_interval * (1 - 1e-9))

        @property
        def electrons(self) -> float:
            """Electrons incident per pattern."""
            return self.dose or self.beam_current * 1e-12 * self.dwell_time / ELECTRON

    def open(self, config: Any) -> Sequence[daq.Stream]:
        """Make specimen and camera from the seed and describe the streams."""
        self._config = config
        self._camera = Camera(config)
        self._epoch = _nanoseconds(config.start_time)
        size, centre = config.pixel_size, self._camera.centre
        temperature = {"temperature": config.temperature} if not config.temperature_steps else {}
        constants = {}
        if config.calibration == "given":
            good = self._camera.sensitivity > 0
            gain = np.ones(config.frame, np.float32)
            gain[good] = 1 / self._camera.sensitivity[good]
            constants = {"gain": gain, "mask": ~good}
        self._stream = daq.Stream(
            "",
            {
                "frame": daq.Field(
                    np.dtype(config.dtype).str, config.frame, "counts", "diffraction pattern"
                )
            },
            axes={
                "frame": [
                    {"name": name, "units": "1/nm", "offset": -middle * size, "step": size}
                    for name, middle in zip(("q_y", "q_x"), centre, strict=True)
                ]
            },
            scan={"shape": list(config.scan), "step": config.step},
            attributes={
                "instrument": "5D-STEM camera (simulated)",
                "pixel_size": size,
                "centre": list(centre),
                "dwell_time": config.dwell_time,
                "scan_time": config.period,
                "electrons_incident": config.electrons,
                "counts_per_electron": config.counts_per_electron,
                "aperture": config.aperture,
                **temperature,
                "seed": config.seed,
            },
            expect=config.count,
            constants=constants,
        )  # fmt: skip
        self._reading_times, self._readings = self._camera.readings()
        if not config.has_thermometer:
            return [self._stream]
        thermometer = daq.Stream(
            "temperature",
            {"temperature": daq.Field("<f8", (), "K", "temperature of the specimen")},
            attributes={
                "instrument": "thermometer of the heating holder (simulated)",
                "interval": config.period / config.readings_per_scan,
            },
            expect=len(self._readings),
        )
        return [self._stream, thermometer]

    def batches(self, start: Mapping[str, int]) -> Iterator[daq.Batch | daq.Missing]:
        """Yield the records from ``start`` on, at the pace of ``speed``.

        Readings of the temperature come between batches of frames, those taken before the next
        frame: the one that ends a scan follows on its last frame.
        """
        config, camera = self._config, self._camera
        measured = start.get("temperature", 0)
        begin = start.get("", 0)
        began = time.monotonic()
        # what comes before `begin` has passed already
        passed = float(camera.seconds(max(0, begin - 1))) if begin else -config.dwell_time
        for first in (*range(begin, config.count, config.batch), config.count):
            if (readings := self._measured(measured, float(camera.seconds(first)))) is not None:
                yield readings
                measured += readings.count
            stop = min(first + config.batch, config.count)
            if first == stop:
                return
            if config.speed:
                lasts = float(camera.seconds(stop - 1)) - passed
                if self.context.wait_until(began + lasts / config.speed):
                    return
            lost = camera.dropped(first, stop)
            borders = np.flatnonzero(np.diff(lost)) + 1
            for part in np.split(np.arange(first, stop), borders):
                if self.context.stopping:
                    return
                if lost[part[0] - first]:
                    yield daq.Missing("", len(part), "dropped by the camera", int(part[0]))
                else:
                    yield self._batch(int(part[0]), len(part))

    def truth(self) -> Mapping[str, npt.NDArray[Any]]:
        """Return what is known.

        Maps, float64 [row, column], without drift and at the beginning, NaN in the vacuum:
        ``tau`` s and ``gamma`` of the field's correlation exp(-(t/tau)^gamma), ``ln_tau`` its mean
        under the probe, ``w``, ``thickness`` nm, and ``V`` = the part of w^2 that is left in pixels
        of about 0.23 1/nm, that is, after binning ``binning`` x ``binning`` pixels into one.
        For the middle of each scan: ``drift`` nm [scan, (y, x)] of the specimen,
        ``material_time`` s, ``temperature`` K. Of the camera: ``response`` float32 [y, x], the
        chance to count an electron over its mean; ``dropped`` and ``repeated``, the indices of
        records.
        """
        camera, config = self._camera, self._config
        maps = dict(camera.specimen.truth)
        scans = np.arange(config.scans)
        middle = (scans + 0.5) * config.period
        binning = max(1, round(BINNED_PIXEL / config.pixel_size))
        return {
            **maps,
            "V": maps["w"] ** 2 * camera.kept_by_binning(binning),
            "binning": np.array(binning),
            "drift": camera.drift(middle),
            "material_time": camera.clock.at(middle),
            "temperature": camera.heating.at(middle),
            "response": camera.sensitivity,
            "dropped": np.flatnonzero(camera.dropped(0, config.count)),
            "repeated": np.flatnonzero(camera.repeated(0, config.count)),
        }

    def _measured(self, first: int, until: float) -> daq.Batch | None:
        """Readings from number ``first`` on, taken until ``until`` s; None where there is none."""
        stop = int(np.searchsorted(self._reading_times, until, side="right"))
        if stop <= first:
            return None
        times = self._epoch + np.round(self._reading_times[first:stop] * 1e9).astype(np.int64)
        return daq.Batch(
            "temperature", {"temperature": self._readings[first:stop], "time": times}, first
        )

    def _batch(self, first: int, count: int) -> daq.Batch:
        arrays = self.context.empty(self._stream, count)
        frames, times = arrays["frame"], arrays["time"]
        for i in range(count):
            shown = self._camera.shown(first + i)
            if i and shown < first + i and shown >= first:
                frames[i] = frames[shown - first]
            else:
                self._camera.expose(shown, frames[i])
            times[i] = self._epoch + round(float(self._camera.seconds(shown)) * 1e9)
        return daq.Batch("", arrays, first)


class Camera:
    """What happens to record n: where the probe stands, what is seen, what is counted."""

    def __init__(self, config: Any) -> None:
        from daq_simulators.electron_detector import Cells
        from daq_simulators.glass_object import Glass, GlassObject, Wedge
        from daq_simulators.halo import BeamStop, Halo
        from daq_simulators.heating import Heating
        from daq_simulators.material_time import MaterialTime
        from daq_simulators.probe import Probe

        self._config = config
        seeds = np.random.SeedSequence(config.seed).spawn(5)
        self._thermometer_seed = seeds[4]
        self._electrons_seed, self._dropped_seed, self._repeated_seed = seeds[0].generate_state(
            3, np.uint64
        )
        self.centre: tuple[float, float] = config.centre or tuple(
            (size - 1) / 2 for size in config.frame
        )
        rows, columns = config.scan
        self._rows, self._columns = np.arange(rows) * config.step, np.arange(columns) * config.step
        steps = [(scan * config.period, kelvin) for scan, kelvin in config.temperature_steps]
        self.heating = Heating(config.temperature, steps, config.ramp_rate)
        self.clock = MaterialTime(
            self.heating.stairs(), config.reference_temperature, config.activation_energy,
            config.waiting_time, config.ageing,
        )  # fmt: skip
        middle = (np.arange(config.scans) + 0.5) * config.period
        # rows are seen one after another, and the glass does not wait
        self._material_times = self.clock.at(self.seconds(np.arange(config.scans * rows) * columns))
        self._temperatures = self.heating.at(middle)
        walk = np.random.default_rng(seeds[1]).standard_normal((config.scans, 2))
        walk = np.cumsum(walk * config.drift_walk * np.sqrt(config.period), axis=0)
        self._walk = np.concatenate([np.zeros((1, 2)), walk])

        self.cells = Cells.for_frame(config.frame, config.pixel_size, FINEST_CELL * config.aperture)
        if 4 * config.aperture > self.cells.size * self.cells.cell:
            raise ValueError(
                f"frames of {max(config.frame) * config.pixel_size:.3g} 1/nm are too small for an "
                f"aperture of {config.aperture:g} 1/nm: at least {4 * config.aperture:.3g} 1/nm"
            )
        self.probe = Probe(config.aperture, self.cells.cell, self.cells.size)
        # drift is straight between the ends of scans
        ends = -self.drift(np.arange(config.scans + 1) * config.period)
        reach = [(float(d.min()), float(d.max())) for d in ends.T]
        self.specimen = GlassObject(
            seeds[2], self.probe, (self._rows, self._columns), (reach[0], reach[1]),
            Glass(
                config.median_tau, config.ln_tau_sd, config.gamma, config.gamma_sd, config.w,
                config.w_sd, config.tau_correlation_length, config.coupling,
            ),
            Wedge(
                config.thickness, config.thickness_gradient, config.edge, config.edge_roughness,
                columns * config.step,
            ),
            pairing=float(np.sqrt(config.friedel)),
        )  # fmt: skip
        self._stop = BeamStop(config.beam_stop_radius, config.beam_stop_arm, config.beam_stop_angle)
        self._halo = Halo(
            config.halo_peak, config.halo_sigma, config.background, config.ring_fraction
        )
        self._make_detector(np.random.default_rng(seeds[3]))

    def seconds(self, record: npt.ArrayLike) -> Floats:
        """Return when the exposure of records begins, s since the beginning."""
        config = self._config
        rows, columns = config.scan
        scan, position = np.divmod(np.asarray(record, np.int64), rows * columns)
        row, column = np.divmod(position, columns)
        # what the dwell times leave of the period is the way back of the probe after each row
        return np.asarray(
            scan * config.period + row * (config.period / rows) + column * config.dwell_time
        )

    def drift(self, seconds: npt.ArrayLike) -> Floats:
        """Return how far the specimen has moved: nm [..., (y, x)]."""
        times = np.asarray(seconds, np.float64)
        knots = np.arange(len(self._walk)) * self._config.period
        walked = [np.interp(times, knots, self._walk[:, axis]) for axis in (0, 1)]
        steady = np.multiply.outer(times, np.array(self._config.drift))
        return np.asarray(np.stack(walked, axis=-1) + steady)

    def temperature(self, scan: int) -> float:
        """Return the temperature in the middle of a scan, K."""
        return float(self._temperatures[scan])

    def readings(self) -> tuple[Floats, Floats]:
        """Return what the thermometer says: times in s since the beginning, and K."""
        config = self._config
        if not config.has_thermometer:
            return np.empty(0), np.empty(0)
        scan, part = np.divmod(
            np.arange(config.scans * config.readings_per_scan + 1), config.readings_per_scan
        )
        # as `seconds` calculates: the first reading of a scan is at its first frame, to the bit
        times = scan * config.period + part * (config.period / config.readings_per_scan)
        noise = np.random.default_rng(self._thermometer_seed).standard_normal(len(times))
        return times, self.heating.at(times) + config.temperature_noise * noise

    def dropped(self, first: int, stop: int) -> npt.NDArray[np.bool_]:
        """Tell which of the records from ``first`` to ``stop`` are lost."""
        return self._chance(self._dropped_seed, first, stop, self._config.dropped_fraction)

    def repeated(self, first: int, stop: int) -> npt.NDArray[np.bool_]:
        """Tell which of the records from ``first`` to ``stop`` show the one before."""
        again = self._chance(self._repeated_seed, first, stop, self._config.repeated_fraction)
        again[: 1 if first == 0 else 0] = False
        return again & ~self.dropped(first, stop)

    def shown(self, record: int) -> int:
        """Return the record whose frame is seen in the place of ``record``."""
        if self._config.repeated_fraction:
            while self.repeated(record, record + 1)[0] or (
                record and self.dropped(record, record + 1)[0]
            ):
                record -= 1
        return record

    def intensity(self, record: int) -> npt.NDArray[np.float32]:
        """Return the mean numbers of electrons in the cells [y, x], valid until the next call."""
        config = self._config
        rows, columns = config.scan
        scan, position = divmod(record, rows * columns)
        row, column = divmod(position, columns)
        down, across = self.drift(self.seconds(record)).tolist()
        w_change = config.w_slope * (self.temperature(scan) - config.reference_temperature)
        return self._diffraction.intensity(
            float(self._material_times[scan * rows + row]), self._rows[row] - down, self._columns[column] - across,
            w_change,
        )  # fmt: skip

    def expected(self, record: int) -> Floats:
        """Return the mean counts of a record without counting noise: float64 [y, x]."""
        from daq_simulators.electron_detector import SURE

        landed = self._landed
        electrons = landed[0].T @ self.intensity(record).astype(np.float64) @ landed[1]
        return np.asarray(electrons * (self._config.counts_per_electron / SURE) * self._response)

    def expose(self, record: int, frame: npt.NDArray[Any]) -> None:
        """Fill ``frame`` with the counts of a record."""
        from daq_simulators.electron_detector import count_electrons, stream_of

        frame[...] = 0
        count_electrons(
            self.intensity(record), np.uint64(stream_of(self._electrons_seed, record)),
            *self._landing,
            self._response, self._config.counts_per_electron, np.iinfo(frame.dtype).max, frame,
        )  # fmt: skip

    def kept_by_binning(self, pixels: int) -> float:
        """Return the part of the contrast of speckles that binning by ``pixels`` keeps."""
        kept = self.probe.speckle()
        for axis, (landing, size) in enumerate(zip(self._landing, self._config.frame, strict=True)):
            first = size // 2 // pixels * pixels
            weight = ((landing >= first) & (landing < first + pixels)).sum(axis=1)
            # how often two electrons in one binned pixel come from cells at a distance
            pairs = np.fft.ifft(np.abs(np.fft.fft(weight)) ** 2).real / weight.sum() ** 2.0
            kept = kept * np.expand_dims(pairs, 1 - axis)
        return float(kept.sum())

    @functools.cached_property
    def _diffraction(self) -> Diffraction:
        from daq_simulators.diffraction import Diffraction

        config, cells = self._config, self.cells
        y, x = (
            cells.coordinates(axis, centre, config.pixel_size)
            for axis, centre in enumerate(self.centre)
        )
        q = np.hypot(y[:, None], x[None, :])
        ring_q = q if config.ellipticity == 1 else self._on_rings(y[:, None], x[None, :])
        electrons = config.electrons * cells.cell**2 / self._mean_response * self._sees
        beam = np.clip((config.aperture - q) / cells.cell + 0.5, 0, 1) / (
            np.pi * config.aperture**2
        )
        return Diffraction(
            self.probe,
            self.specimen,
            (-y[0] / cells.cell, -x[0] / cells.cell),
            (electrons * self._halo.density(ring_q)).astype(np.float32),
            (electrons * beam).astype(np.float32),
            config.thickness,
            self._halo.scattered(),
        )

    def _on_rings(self, y: Floats, x: Floats) -> Floats:
        """Return the radius of the circle, 1/nm, that the camera shows at (y, x) as an ellipse."""
        turn = math.radians(self._config.ellipticity_angle)
        along = x * math.cos(turn) + y * math.sin(turn)
        beside = y * math.cos(turn) - x * math.sin(turn)
        ratio = self._config.ellipticity
        return np.asarray(np.sqrt(along**2 / ratio + beside**2 * ratio))

    @functools.cached_property
    def _landed(self) -> list[Floats]:
        """For both axes [cell, pixel]: which part of the electrons of a cell lands in a pixel."""
        return [
            np.array([np.bincount(row[row >= 0], minlength=size) for row in landing]) / 256
            for landing, size in zip(self._landing, self._config.frame, strict=True)
        ]

    def _make_detector(self, draw: np.random.Generator) -> None:
        from daq_simulators.electron_detector import SURE

        config = self._config
        height, width = config.frame
        sensitivity = 1 + config.gain_sd * draw.standard_normal(config.frame).clip(-4, 4)
        dead = draw.random(config.frame) < config.dead_fraction
        y = (np.arange(height) - self.centre[0])[:, None] * config.pixel_size
        x = (np.arange(width) - self.centre[1])[None, :] * config.pixel_size
        sensitivity[dead | self._stop.covers(y, x)] = 0
        chance = sensitivity / max(1e-9, sensitivity.max())
        self._response = np.round(chance * SURE).astype(np.uint32)
        good = self._response > 0
        mean = float(self._response[good].mean()) / SURE if good.any() else 1.0
        self._mean_response = mean
        self.sensitivity = (self._response / (SURE * mean)).astype(np.float32)
        """Chance of each pixel [y, x] to count an electron, over the mean of the good ones."""

        land_y, land_x = (self.cells.landing(axis, size) for axis, size in enumerate(config.frame))
        self._landing = (land_y, land_x)
        # no electrons are drawn in cells from which none reaches a good pixel
        seeing = np.pad(good, ((0, 1), (0, 1)))  # index -1 is outside
        sees = np.zeros((self.cells.size, self.cells.size), np.bool_)
        for down in np.unique(land_y, axis=1).T:
            for across in np.unique(land_x, axis=1).T:
                sees |= seeing[np.ix_(down, across)]
        self._sees = sees

    def _chance(
        self, seed: np.uint64, first: int, stop: int, fraction: float
    ) -> npt.NDArray[np.bool_]:
        from daq_simulators.electron_detector import uniforms

        if not fraction:
            return np.zeros(stop - first, np.bool_)
        return np.asarray(uniforms(seed, first, stop - first) < fraction)


def _nanoseconds(start: datetime.datetime | str) -> int:
    if isinstance(start, str):
        return time.time_ns()
    return int(np.datetime64(start.astimezone(datetime.UTC).replace(tzinfo=None), "ns").astype(int))
