"""A contact-resonance microscope (CR-AFM) over a glass whose modulus varies from place to place.

By default Vit105, a cantilever of 40 N/m and 300 kHz and a tip of 10 nm. The modulus is a
self-affine surface (`afm_surface`); a Hertz contact and a clamped beam (`afm_beam`) make it a
resonance frequency. The controller gives frequency and quality factor of each pixel, or its
resonance curve.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pydantic

import daq
from daq_simulators.afm_beam import ContactBeam, response
from daq_simulators.afm_noise import background, offsets
from daq_simulators.afm_scan import Image, LineSource, ScanConfig, Sweep, directions, generator
from daq_simulators.afm_surface import (
    Complexes,
    RandomSurfaces,
    SelfAffine,
    coupled,
    white_waves,
)
from daq_simulators.afm_tip import GENTLE, Tip

Floats = npt.NDArray[np.float64]

MODULUS: Final = 0
HEIGHT: Final = 1
PARTS: Final = {
    "complex": {"real": "nm", "imag": "nm"},
    "polar": {"amplitude": "nm", "phase": "deg"},
}
"""Fields of a resonance curve, and their units."""
CENTRAL_90: Final = 2 * 1.6448536269514722
"""From the 5th to the 95th percentile of a Gaussian, in standard deviations."""


class AfmContactResonance(LineSource):
    """Lines of contact resonance, trace and retrace.

    Stream ``""``, see `LineSource`; fields float32 [column] ``height`` nm, ``frequency`` Hz and
    ``quality_factor``; with ``output = "response"`` in the place of the last two the resonance
    curves [column, frequency]: ``response_real`` and ``response_imag`` nm, or
    ``response_amplitude`` nm and ``response_phase`` deg; the frequencies are the constant
    ``sweep_frequency`` Hz. Each has its ``_retrace``.

    A curve is A (f0^2/Q) / (f0^2 - f^2 + i f f0/Q) and noise: at resonance A, and -90 degrees.
    """

    name = "afm_contact_resonance"

    class Config(ScanConfig):
        """What ``[sources.NAME]`` with ``type = "afm_contact_resonance"`` may say."""

        scan: tuple[pydantic.PositiveInt, pydantic.PositiveInt] = daq.setting(
            (256, 256), "px", "shape of an image, [rows, columns], columns along the fast axis"
        )
        step: tuple[pydantic.PositiveFloat, pydantic.PositiveFloat] = daq.setting(
            (2.0, 2.0), "nm", "from row to row, and from column to column"
        )
        # the cantilever
        spring_constant: float = daq.setting(40.0, "N/m", "k", gt=0)
        free_frequency: float = daq.setting(300e3, "Hz", "of the first mode, free", gt=0)
        tip_modulus: float = daq.setting(165.0, "GPa", "indentation modulus of the tip", gt=0)
        tip_radius: float = daq.setting(10.0, "nm", "of the new tip", gt=0)
        tip_wear: float = daq.setting(0.0, "nm/h", "growth of the radius", ge=0)
        force: float = daq.setting(500.0, "nN", "on the contact", gt=0)
        quality_factor: float = daq.setting(150.0, "", "in contact, mean", gt=1)
        quality_factor_spread: float = daq.setting(
            0.03, "", "relative standard deviation", ge=0, le=0.2
        )
        quality_factor_coupling: float = daq.setting(
            0.5, "", "Pearson's correlation of quality factor and modulus", ge=-1, le=1
        )
        # the specimen
        modulus: float = daq.setting(102.0, "GPa", "indentation modulus, mean; Vit105", gt=0)
        modulus_spread: float | None = daq.setting(
            None, "", "relative standard deviation", ge=0, le=0.2
        )
        fluctuation: float | None = daq.setting(
            None, "Hz",
            "of the frequency, from the 5th to the 95th percentile; instead of modulus_spread. "
            "By default 300, as Vit105", ge=0,
        )  # fmt: skip
        correlation_length: float = daq.setting(7.5, "nm", "xi of the modulus", gt=0)
        hurst_exponent: float = daq.setting(0.7, "", "alpha of the modulus", gt=0, le=1)
        height_sigma: float = daq.setting(0.5, "nm", "rms height", ge=0)
        height_correlation_length: float = daq.setting(30.0, "nm", "of the height", gt=0)
        height_hurst_exponent: float = daq.setting(0.8, "", "of the height", gt=0, le=1)
        # what the controller gives
        output: Literal["frequency", "response"] = daq.setting(
            "frequency", "", "response: resonance curves"
        )
        frequency_noise: float = daq.setting(30.0, "Hz", "of a pixel, rms", ge=0)
        frequency_line_noise: float = daq.setting(
            0.0, "Hz", "offset of the resonance from line to line, rms", ge=0
        )
        frequency_drift: float = daq.setting(0.0, "Hz/min", "of the resonance, steadily")
        quality_factor_noise: float = daq.setting(1.0, "", "of a pixel, rms", ge=0)
        response_format: Literal["complex", "polar"] = daq.setting(
            "complex", "", "polar: amplitude and phase"
        )
        response_amplitude: float = daq.setting(0.5, "nm", "at resonance", gt=0)
        response_noise: float = daq.setting(0.01, "nm", "rms of the real and imaginary part", ge=0)
        sweep_points: int = daq.setting(48, "", "frequencies of a curve", ge=3, le=4096)
        sweep_span: float = daq.setting(
            6.0, "", "width of the sweep, in widths f0/Q of the resonance", gt=0.5
        )

        @pydantic.model_validator(mode="after")
        def _possible(self) -> AfmContactResonance.Config:
            if self.fluctuation is not None and self.modulus_spread is not None:
                raise ValueError("fluctuation: either this or modulus_spread")
            if self.spread > 0.2:
                raise ValueError(
                    f"fluctuation: would need a modulus that varies by {self.spread:.0%}"
                )
            if self.sweep_span >= 2 * self.quality_factor:
                raise ValueError("sweep_span: reaches frequencies below 0")
            return self

        @property
        def beam(self) -> ContactBeam:
            """The cantilever."""
            return ContactBeam(
                self.spring_constant, self.free_frequency, self.tip_modulus, self.force
            )

        @property
        def spread(self) -> float:
            """Relative standard deviation of the modulus."""
            if self.modulus_spread is not None:
                return self.modulus_spread
            range_ = 300.0 if self.fluctuation is None else self.fluctuation
            return range_ / (CENTRAL_90 * self.beam.slope(self.modulus, self.tip_radius))

    def open(self, config: Any) -> Sequence[daq.Stream]:
        """Plan the scans and describe the stream."""
        self._beam = config.beam
        columns, retrace = config.scan[1], config.retrace
        flat = functools.partial(daq.Field, "<f4", (columns,))
        fields = directions("height", flat("nm", "height"), retrace)
        constants: dict[str, npt.NDArray[Any]] = {}
        middle = float(
            self._beam.frequency(self._beam.stiffness(config.modulus, config.tip_radius))
        )
        if config.output == "frequency":
            fields |= directions("frequency", flat("Hz", "contact resonance"), retrace)
            fields |= directions("quality_factor", flat("", "quality factor"), retrace)
        else:
            half = config.sweep_span * middle / config.quality_factor / 2
            # a controller sweeps over round numbers
            sweep = np.linspace(middle - half, middle + half, config.sweep_points)
            self._sweep: Floats = np.round(sweep).astype(np.float64)
            constants = {"sweep_frequency": self._sweep}
            curve = functools.partial(daq.Field, "<f4", (columns, config.sweep_points))
            for part, units in PARTS[config.response_format].items():
                fields |= directions(
                    f"response_{part}", curve(units, f"resonance curve, {part}"), retrace
                )
        streams = self.describe(
            config, 1, fields,
            {
                "instrument": "contact-resonance AFM (simulated)",
                "mode": "contact_resonance",
                "spring_constant": config.spring_constant,
                "free_resonance_frequency": config.free_frequency,
                "tip_radius": config.tip_radius,
                "tip_modulus_gpa": config.tip_modulus,
            },
            constants,
        )  # fmt: skip
        self._tip = Tip(
            config, self._plan, config.tip_radius, config.tip_wear, lambda nominal: GENTLE
        )
        self._surfaces = functools.lru_cache(maxsize=2)(self._made_surfaces)
        self._waves = functools.lru_cache(maxsize=1)(self._made_waves)
        self._surfaces(self._plan.sweeps[0].upwards)  # an image that is too small is refused now
        return streams

    def image(self, sweep: Sweep) -> Image:
        """Return all channels of a sweep."""
        config, rows = self._config, self._config.scan[0]
        image: dict[str, npt.NDArray[Any]] = {}
        tilted = background(config, sweep)
        shifted = offsets(
            config.frequency_line_noise, rows, generator(config.seed, 3, sweep.number, 1)
        )
        for back in (False, True)[: 1 + config.retrace]:
            draw = generator(config.seed, 4, sweep.number, int(back))
            end = "_retrace" if back else ""
            height, _, frequency, quality = self.seen(sweep, backwards=back)
            height = height + tilted + config.height_noise * draw.standard_normal(config.scan)
            image[f"height{end}"] = height.astype(np.float32)
            frequency = frequency + shifted[:, None]
            if config.output == "frequency":
                frequency += config.frequency_noise * draw.standard_normal(config.scan)
                quality = quality + config.quality_factor_noise * draw.standard_normal(config.scan)
                image[f"frequency{end}"] = frequency.astype(np.float32)
                image[f"quality_factor{end}"] = quality.astype(np.float32)
            else:
                for part, values in self._curves(frequency, quality, draw).items():
                    image[f"response_{part}{end}"] = values
        return image

    def seen(self, sweep: Sweep, *, backwards: bool = False) -> tuple[Floats, ...]:
        """Return height nm, modulus GPa, resonance Hz and quality factor as the tip finds them.

        Without noise; [row, column].
        """
        config = self._config
        surfaces = self._surfaces(sweep.upwards)
        waves = self._waves(sweep.place, surfaces.period)
        height = self._tip.see(surfaces, HEIGHT, waves[HEIGHT], sweep, backwards=backwards)
        stiff = self._tip.see(surfaces, MODULUS, waves[MODULUS], sweep, backwards=backwards)
        # of the same kind as the modulus: noise that is shared is the correlation
        damped = coupled(waves[MODULUS], waves[2], config.quality_factor_coupling)
        damping = self._tip.see(surfaces, MODULUS, damped, sweep, backwards=backwards)
        modulus = config.modulus * np.maximum(1 + config.spread * stiff, 0.01)
        radius = self._tip.radius(sweep)[:, None]
        frequency = self._beam.frequency(self._beam.stiffness(modulus, radius))
        frequency = frequency + config.frequency_drift * self._plan.seconds(sweep)[:, None] / 60
        quality = config.quality_factor * np.maximum(
            1 + config.quality_factor_spread * damping, 0.05
        )
        return config.height_sigma * height, modulus, frequency, quality

    def truth(self) -> Mapping[str, npt.NDArray[Any]]:
        """Return what is known.

        Maps of the first ``truth_maps`` scans [scan, row, column], as the trace finds them, without
        noise: ``surface_map`` nm, ``modulus_map`` GPa, ``quality_map``, float32; ``frequency_map``
        Hz, float64. Single numbers, as the new tip sees them: ``xi`` nm and ``alpha`` of the
        modulus, ``mean_modulus`` GPa, ``relative_spread`` (sd of the modulus), ``mean_stiffness``
        N/m and ``mean_frequency`` Hz at the mean modulus, ``slope`` Hz per 1 % of modulus.
        ``radius`` nm of the tip at each record.
        """
        config, plan = self._config, self._plan
        maps = [self.seen(sweep) for sweep in plan.last_sweeps()[: config.truth_maps]]
        shape = (len(maps), *config.scan)
        stiffness = self._beam.stiffness(config.modulus, config.tip_radius)
        names = ("surface_map", "modulus_map", "frequency_map", "quality_map")
        return {
            **{
                # float32 holds 1 MHz to 0.06 Hz only
                name: np.array([m[n] for m in maps], np.float64 if n == 2 else np.float32)
                .reshape(shape)
                for n, name in enumerate(names)
            },
            "xi": np.array(config.correlation_length),
            "alpha": np.array(config.hurst_exponent),
            "mean_modulus": np.array(config.modulus),
            "relative_spread": np.array(config.spread),
            "mean_stiffness": np.array(stiffness),
            "mean_frequency": np.array(self._beam.frequency(stiffness)),
            "slope": np.array(self._beam.slope(config.modulus, config.tip_radius) / 100),
            "radius": np.concatenate(
                [self._tip.radius(sweep)[plan.rows(sweep)] for sweep in plan.sweeps]
            ),
        }  # fmt: skip

    def _curves(
        self, frequency: Floats, quality: Floats, draw: np.random.Generator
    ) -> dict[str, npt.NDArray[np.float32]]:
        """Resonance curves [row, column, frequency] by the part that a field holds."""
        config = self._config
        shape = (*config.scan, config.sweep_points)
        parts = list(PARTS[config.response_format])
        found = {part: np.empty(shape, np.float32) for part in parts}
        for row in range(shape[0]):
            curve = response(self._sweep, frequency[row], quality[row], config.response_amplitude)
            noise = draw.standard_normal((2, *shape[1:]))
            curve = curve + config.response_noise * (noise[0] + 1j * noise[1])
            if config.response_format == "complex":
                values = curve.real, curve.imag
            else:
                values = np.abs(curve), np.rad2deg(np.angle(curve))
            for part, value in zip(parts, values, strict=True):
                found[part][row] = value
        return found

    def _made_surfaces(self, upwards: bool) -> RandomSurfaces:
        config = self._config
        modulus = SelfAffine(config.correlation_length, config.hurst_exponent)
        height = SelfAffine(config.height_correlation_length, config.height_hurst_exponent)
        return RandomSurfaces(self._tip.lattice(upwards), [modulus, height])

    def _made_waves(self, place: int, period: tuple[int, int]) -> tuple[Complexes, ...]:
        seed = self._config.seed
        return tuple(white_waves(period, generator(seed, 2, place, which)) for which in range(3))
