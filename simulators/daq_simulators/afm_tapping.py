"""An atomic force microscope in tapping mode (AM-AFM) over metallic glass of known heterogeneity.

The defaults are those of Zhu2016: k 5 N/m, f0 160 kHz, A/A0 0.85; height, phase and amplitude are
recorded together. What is simulated, each in a module of its own: surfaces (`afm_surface`),
regions of high dissipation (`afm_regions`), annealed pieces (`afm_annealing`), the tip over them
(`afm_tip`), the cantilever (`afm_cantilever`), scans and their faults (`afm_scan`).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pydantic

import daq
from daq_simulators.afm_annealing import Piece, pieces
from daq_simulators.afm_cantilever import (
    Cantilever,
    Convention,
    Mechanism,
    phase_attributes,
    shown_phase,
)
from daq_simulators.afm_noise import background, offsets
from daq_simulators.afm_regions import RegionLaw, covered, draw_regions
from daq_simulators.afm_scan import Image, LineSource, ScanConfig, Sweep, directions, generator
from daq_simulators.afm_surface import Complexes, RandomSurfaces, SelfAffine, coupled, white_waves
from daq_simulators.afm_tip import Tip

Floats = npt.NDArray[np.float64]

HEIGHT: Final = 0
DISSIPATION: Final = 1
UNITS: Final = {"height": "nm", "phase": "deg", "amplitude": "nm"}


class AfmTapping(LineSource):
    """Lines of height (nm), phase (deg) and amplitude (nm), trace and retrace.

    Stream ``""``, see `LineSource`; fields ``<channel>`` and ``<channel>_retrace`` [column]
    float32; with annealed pieces also ``annealing_time`` s and ``annealing_temperature`` K (NaN as
    quenched), float64, and ``sample`` int32. Scans come piece after piece, place after place.

    The dissipated energy is ``dissipation`` (1 + ``dissipation_spread`` g), g a self-affine
    surface, plus ``region_dissipation`` in regions; what is below 0 or above what the set point
    allows is cut. At other amplitude ratios it changes by its ``mechanism``. The phase follows
    from it and from the amplitude of the moment (eq. 3-10). Height and g are independent, or
    correlate by ``height_coupling``.
    """

    name = "afm_tapping"

    class Config(ScanConfig):
        """What ``[sources.NAME]`` with ``type = "afm_tapping"`` may say."""

        # the cantilever
        spring_constant: float = daq.setting(5.0, "N/m", "k", gt=0)
        resonance_frequency: float = daq.setting(160e3, "Hz", "free", gt=0)
        drive_frequency: float | None = daq.setting(None, "Hz", "by default at resonance", gt=0)
        quality_factor: float = daq.setting(400.0, "", "Q", gt=0)
        free_amplitude: float = daq.setting(10.0, "nm", "A0, at resonance", gt=0)
        amplitude_ratio: float = daq.setting(0.85, "", "A/A0, the set point", gt=0, lt=1)
        amplitude_ratios: list[tuple[pydantic.NonNegativeInt, pydantic.PositiveFloat]] = (
            daq.setting([], "scan, A/A0", "[scan, ratio] from each of these scans on, in order")
        )
        regime: Literal["repulsive", "attractive"] = daq.setting(
            "repulsive", "", "phase below or above 90 degrees"
        )
        mechanism: Mechanism = daq.setting(
            "viscoelasticity", "", "how the dissipation changes with the amplitude ratio"
        )
        phase_convention: Convention = daq.setting(
            "lag", "",
            "what the controller shows: lag, 90 at resonance; bruker, 0 and repulsive above; "
            "zero, 0 and attractive above; unknown, as lag without saying so",
        )  # fmt: skip
        feedback_noise: float = daq.setting(
            0.02, "nm", "of the amplitude, rms; the phase follows it", ge=0
        )
        amplitude_noise: float = daq.setting(0.0, "nm", "of reading the amplitude, rms", ge=0)
        phase_noise: float = daq.setting(0.2, "deg", "of a pixel of the phase, rms", ge=0)
        phase_line_noise: float = daq.setting(0.0, "deg", "offset from line to line, rms", ge=0)
        tip_radius: float = daq.setting(1.0, "nm", "of the new tip", gt=0)
        tip_wear: float = daq.setting(
            0.0, "nm/h", "at A/A0 0.85; e times as fast for each 0.1 below", ge=0
        )
        # the specimen
        height_sigma: float = daq.setting(0.3, "nm", "rms height", ge=0)
        height_correlation_length: float = daq.setting(15.0, "nm", "of the height", gt=0)
        height_hurst_exponent: float = daq.setting(0.8, "", "of the height", gt=0, le=1)
        height_coupling: float = daq.setting(
            0.0, "", "Pearson's correlation of height and dissipation", ge=-1, le=1
        )
        dissipation: float = daq.setting(1.9, "eV", "mean per cycle, at amplitude_ratio", ge=0)
        dissipation_spread: float = daq.setting(0.12, "", "relative standard deviation", ge=0, le=1)
        correlation_length: float = daq.setting(6.13, "nm", "xi of the dissipation", gt=0)
        hurst_exponent: float = daq.setting(0.7, "", "alpha of the dissipation", gt=0, le=1)
        place_spread: float = daq.setting(
            0.0, "", "relative spread of xi from place to place", ge=0, le=0.3
        )
        anisotropy: float = daq.setting(
            0.0, "", "modulation of the power spectrum with direction, plastic flow", ge=0, le=1
        )
        anisotropy_order: Literal[2, 4] = daq.setting(4, "", "2: two lobes; 4: quadrupolar")
        anisotropy_angle: float = daq.setting(45.0, "deg", "of a lobe, from +x towards +y")
        region_fraction: float = daq.setting(
            0.0, "", "of the area, in regions of high dissipation", ge=0, le=0.25
        )
        region_dissipation: float = daq.setting(0.8, "eV", "what they dissipate in addition")
        region_radius: float = daq.setting(2.0, "nm", "equivalent radius, mean", gt=0)
        region_radius_sd: float = daq.setting(0.4, "nm", "its spread", ge=0)
        region_exponent: float | None = daq.setting(
            None, "", "a: N(>= R) ~ R^-(a - 1) from region_radius on, instead of a Gaussian", gt=1
        )
        region_largest_radius: float = daq.setting(20.0, "nm", "with region_exponent", gt=0)
        region_aspect: float = daq.setting(2.0, "", "major over minor axis", ge=1, le=5)
        region_angle: float | None = daq.setting(
            None, "deg", "of the major axis, from +x towards +y; by default any"
        )
        region_angle_sd: float = daq.setting(10.0, "deg", "its spread", ge=0)
        region_edge: float = daq.setting(0.3, "nm", "softness of the border", ge=0)
        # annealing
        annealing_temperatures: list[pydantic.PositiveFloat] = daq.setting(
            [], "K", "each with each of annealing_times gives a piece; first comes one as quenched"
        )
        annealing_times: list[pydantic.PositiveFloat] = daq.setting(
            [300.0, 1800.0, 10800.0, 43200.0], "s", "5 to 720 min"
        )
        ln_tau: list[float] = daq.setting(
            [], "ln s", "of xi^3 = xi0^3 exp(-(t/tau)^b), for each temperature"
        )
        annealing_exponent: float = daq.setting(0.28, "", "b", gt=0, le=1)
        correlation_lengths: list[pydantic.PositiveFloat] = daq.setting(
            [], "nm", "xi of each piece, as quenched first; instead of ln_tau"
        )
        relaxed_dissipation: float = daq.setting(
            0.85, "", "mean dissipation where nothing is left to relax, part of that as quenched",
            gt=0, le=1,
        )  # fmt: skip
        relaxed_spread: float = daq.setting(
            0.6, "", "relative spread where nothing is left to relax, likewise", gt=0, le=1
        )

        @pydantic.model_validator(mode="after")
        def _possible(self) -> AfmTapping.Config:
            begins = [scan for scan, _ in self.amplitude_ratios]
            if begins != sorted(set(begins)):
                raise ValueError("amplitude_ratios: the scans must be in order, each once")
            detuning = self.cantilever.detuning
            for ratio in (self.amplitude_ratio, *(ratio for _, ratio in self.amplitude_ratios)):
                if detuning * ratio >= 1:
                    raise ValueError(f"amplitude_ratio: {ratio:g} cannot be at w/w0 {detuning:g}")
            if self.dissipation > (most := self.cantilever.most(self.amplitude_ratio)):
                raise ValueError(
                    f"dissipation: at A/A0 {self.amplitude_ratio:g} at most {most:.3g} eV can be"
                )
            kelvins, times = self.annealing_temperatures, self.annealing_times
            count = 1 + len(kelvins) * len(times)
            if kelvins and not times:
                raise ValueError("annealing_times: at least one, for annealing_temperatures")
            if self.correlation_lengths and self.ln_tau:
                raise ValueError("correlation_lengths: either these or ln_tau")
            if self.correlation_lengths and len(self.correlation_lengths) != count:
                raise ValueError(f"correlation_lengths: there are {count} pieces")
            if not self.correlation_lengths and len(self.ln_tau) != len(kelvins):
                raise ValueError("ln_tau: one for each of annealing_temperatures")
            if self.region_exponent and self.region_largest_radius <= self.region_radius:
                raise ValueError("region_largest_radius: not over region_radius")
            return self

        @property
        def cantilever(self) -> Cantilever:
            """The cantilever."""
            return Cantilever(
                self.spring_constant, self.resonance_frequency,
                self.drive_frequency or self.resonance_frequency, self.quality_factor,
                self.free_amplitude,
            )  # fmt: skip

        @property
        def pieces(self) -> list[Piece]:
            """The samples."""
            return pieces(
                self.correlation_length, self.annealing_temperatures, self.annealing_times,
                self.ln_tau, self.annealing_exponent, self.correlation_lengths,
            )  # fmt: skip

        @property
        def regions(self) -> RegionLaw:
            """How regions are drawn."""
            return RegionLaw(
                self.region_fraction, self.region_radius, self.region_radius_sd,
                self.region_exponent, self.region_largest_radius, self.region_aspect,
                self.region_angle, self.region_angle_sd, self.region_edge,
            )  # fmt: skip

    def open(self, config: Any) -> Sequence[daq.Stream]:
        """Plan the scans and describe the stream."""
        self._pieces = config.pieces
        self._cantilever = config.cantilever
        fields: dict[str, daq.Field] = {}
        for channel, units in UNITS.items():
            field = daq.Field("<f4", (config.scan[1],), units, channel)
            fields |= directions(channel, field, config.retrace)
        if config.annealing_temperatures:
            fields["annealing_time"] = daq.Field("<f8", (), "s", "annealed before for")
            fields["annealing_temperature"] = daq.Field("<f8", (), "K", "annealed before at")
            fields["sample"] = daq.Field("<i4", (), "", "number of the sample")
        cantilever = self._cantilever
        streams = self.describe(
            config, len(self._pieces), fields,
            {
                "instrument": "AFM in tapping mode (simulated)",
                "mode": "tapping",
                "spring_constant": cantilever.spring_constant,
                "resonance_frequency": cantilever.resonance_frequency,
                "drive_frequency": cantilever.drive_frequency,
                "quality_factor": cantilever.quality_factor,
                "free_amplitude": cantilever.free_amplitude,
                "amplitude_setpoint": config.amplitude_ratio * cantilever.free_amplitude,
                **phase_attributes(config.phase_convention),
            },
        )  # fmt: skip
        self._tip = Tip(config, self._plan, config.tip_radius, config.tip_wear, self._ratio)
        self._surfaces = functools.lru_cache(maxsize=4)(self._made_surfaces)
        self._waves = functools.lru_cache(maxsize=1)(self._made_waves)
        # what cannot be is refused now, not in the middle of the night
        for sweep in {f(self._plan.sweeps, key=self._length) for f in (min, max)}:
            surfaces = self._surfaces(self._length(sweep), sweep.upwards)
            surfaces.coupling(HEIGHT, DISSIPATION, config.height_coupling)
        return streams

    def image(self, sweep: Sweep) -> Image:
        """Return all channels of a sweep."""
        config, rows = self._config, self._config.scan[0]
        image: dict[str, npt.NDArray[Any]] = {}
        tilted = background(config, sweep)
        shifted = offsets(config.phase_line_noise, rows, generator(config.seed, 3, sweep.number, 1))
        for back in (False, True)[: 1 + config.retrace]:
            draw = generator(config.seed, 4, sweep.number, int(back))
            height, dissipated = self.seen(sweep, backwards=back)
            free = config.free_amplitude
            amplitude = self._ratio(sweep.nominal) * free + config.feedback_noise * (
                draw.standard_normal(config.scan)
            )
            phase = self._cantilever.phase(dissipated, amplitude, config.regime)
            phase += shifted[:, None] + config.phase_noise * draw.standard_normal(config.scan)
            height = height + tilted + config.height_noise * draw.standard_normal(config.scan)
            amplitude = amplitude + config.amplitude_noise * draw.standard_normal(config.scan)
            end = "_retrace" if back else ""
            image[f"height{end}"] = height.astype(np.float32)
            image[f"phase{end}"] = shown_phase(phase, config.phase_convention).astype(np.float32)
            image[f"amplitude{end}"] = amplitude.astype(np.float32)
        if config.annealing_temperatures:
            piece = self._pieces[sweep.sample]
            image["annealing_time"] = np.full(rows, piece.annealing_time)
            image["annealing_temperature"] = np.full(rows, piece.annealing_temperature)
            image["sample"] = np.full(rows, sweep.sample, np.int32)
        return image

    def seen(self, sweep: Sweep, *, backwards: bool = False) -> tuple[Floats, Floats]:
        """Return height in nm and dissipated energy in eV as the tip finds them, without noise."""
        config, piece = self._config, self._pieces[sweep.sample]
        surfaces = self._surfaces(self._length(sweep), sweep.upwards)
        waves = self._waves(sweep.place, surfaces.period)
        if config.height_coupling:
            shared = surfaces.coupling(HEIGHT, DISSIPATION, config.height_coupling)
            waves = waves[0], coupled(waves[0], waves[1], shared)
        height, relative = (
            self._tip.see(surfaces, kind, waves[kind], sweep, backwards=backwards)
            for kind in (HEIGHT, DISSIPATION)
        )
        left = piece.remaining
        mean = config.dissipation * (
            config.relaxed_dissipation + (1 - config.relaxed_dissipation) * left
        )
        spread = config.dissipation_spread * (
            config.relaxed_spread + (1 - config.relaxed_spread) * left
        )
        energy = mean * (1 + spread * relative)
        if config.region_fraction:
            energy += config.region_dissipation * self._covered(sweep, backwards)
        energy = np.clip(energy, 0, self._cantilever.most(config.amplitude_ratio))
        energy = self._cantilever.dissipation(
            energy, config.amplitude_ratio, self._ratio(sweep.nominal), config.mechanism
        )
        return config.height_sigma * height, energy

    def truth(self) -> Mapping[str, npt.NDArray[Any]]:
        """Return what is known.

        Maps of the first ``truth_maps`` scans, float32 [scan, row, column], as the trace finds
        them, without noise: ``dissipation_map`` eV, ``surface_map`` nm. For each scan: ``xi`` nm
        and ``alpha`` of the dissipation as the new tip sees it, ``remaining`` F, ``ratio`` A/A0,
        ``mean_dissipation`` eV (at amplitude_ratio, before it is cut and without regions).
        ``radius`` nm of the tip at each record. ``regions`` [region, (place, y, x, semi-major,
        semi-minor, angle)], nm from where pixel (0, 0) lies when the place is first scanned,
        degrees from +x towards +y; those around the image too.
        """
        config, plan = self._config, self._plan
        scans = plan.last_sweeps()
        maps = [self.seen(sweep) for sweep in scans[: config.truth_maps]]
        shape = (len(maps), *config.scan)
        left = np.array([self._pieces[sweep.sample].remaining for sweep in scans])
        known = [self._regions(place) for place in dict.fromkeys(s.place for s in scans)]
        return {
            "surface_map": np.array([m[0] for m in maps], np.float32).reshape(shape),
            "dissipation_map": np.array([m[1] for m in maps], np.float32).reshape(shape),
            "xi": np.array([self._length(sweep) for sweep in scans]),
            "alpha": np.full(len(scans), config.hurst_exponent),
            "remaining": left,
            "ratio": np.array([self._ratio(sweep.nominal) for sweep in scans]),
            "mean_dissipation": config.dissipation
            * (config.relaxed_dissipation + (1 - config.relaxed_dissipation) * left),
            "radius": np.concatenate(
                [self._tip.radius(sweep)[plan.rows(sweep)] for sweep in plan.sweeps]
            ),
            "regions": np.concatenate(known),
        }

    def _ratio(self, nominal: int) -> float:
        """A/A0 that a scan is made at."""
        ratio: float = self._config.amplitude_ratio
        for scan, other in self._config.amplitude_ratios:
            ratio = other if nominal >= scan else ratio
        return ratio

    def _length(self, sweep: Sweep) -> float:
        """Correlation length of the dissipation at a place, nm."""
        config = self._config
        z = float(generator(config.seed, 1, sweep.place).standard_normal())
        factor = max(0.2, 1 + config.place_spread * z)
        return float(self._pieces[sweep.sample].correlation_length * factor)

    def _made_surfaces(self, length: float, upwards: bool) -> RandomSurfaces:
        config = self._config
        height = SelfAffine(config.height_correlation_length, config.height_hurst_exponent)
        dissipation = SelfAffine(
            length, config.hurst_exponent, config.anisotropy, config.anisotropy_order,
            config.anisotropy_angle,
        )  # fmt: skip
        return RandomSurfaces(self._tip.lattice(upwards), [height, dissipation])

    def _made_waves(self, place: int, period: tuple[int, int]) -> tuple[Complexes, Complexes]:
        seed = self._config.seed
        height, dissipation = (
            white_waves(period, generator(seed, 2, place, kind)) for kind in (HEIGHT, DISSIPATION)
        )
        return height, dissipation

    def _regions(self, place: int) -> Floats:
        """The regions of a place: [region, (place, y, x, semi-major, semi-minor, angle)]."""
        config = self._config
        if not config.region_fraction:
            return np.empty((0, 6))
        draw = generator(config.seed, 5, place)
        found = draw_regions(config.regions, self._tip.extent(place), draw)
        return np.column_stack([np.full(len(found), float(place)), found])

    def _covered(self, sweep: Sweep, backwards: bool) -> Floats:
        """How much of each pixel is in a region."""
        config = self._config
        down, across = self._tip.origin(sweep)
        across += config.lag / 2 * (1 if backwards else -1)
        blunt = float(self._tip.blur(self._tip.radius(sweep)).mean())
        edge = float(np.hypot(config.region_edge, blunt))
        lattice = self._tip.lattice(sweep.upwards)
        return covered(self._regions(sweep.place)[:, 1:], lattice, (down, across), edge)
