"""A tester that holds a strain or a stress on a metallic glass: stress relaxation and creep.

By default La60Ni15Al25 (T_g = 461 K): b of its stress relaxation is about 0.2 below the beta
relaxation, 0.5 up to T_g, and rises steeply above (Qiao2019, 4.2 and Fig. 57).
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pydantic

import daq
from daq_simulators.mechanical_material import ALLOYS, Alloy
from daq_simulators.mechanical_playback import Measurement, Playback, PlaybackConfig

Floats = npt.NDArray[np.float64]


class RelaxationTester(Playback):
    """A simulated tester: one stream of readings, one temperature after another.

    Stream ``""``, one record per reading: ``temperature`` K, ``strain`` (1), ``stress`` Pa,
    ``elapsed`` s since strain or stress was applied, ``segment`` and ``sample`` (int32).

    ``stress_relaxation``
        sigma(t) = dsigma exp(-(t/tau)^b) + sigma_r at a strain (Qiao2019, 2-2, 2-7). tau is that
        of the alpha relaxation above T_g and follows a weaker Arrhenius law below; the part
        dsigma/sigma_0 grows from ``least_part`` to 1 at T_g.
    ``creep``
        strain(t) = sigma [1/M_u + J (1 - exp(-(t/tau)^b)) + t/(3 eta)], in tension; eta = G tau_alpha.
        A Burgers body where ``creep_b`` is 1.
    """

    name = "relaxation_tester"

    class Config(PlaybackConfig):
        """What ``[sources.NAME]`` with ``type = "relaxation_tester"`` may say."""

        alloy: str = daq.setting("La60Ni15Al25", "", f"one of {', '.join(ALLOYS)}")
        programme: Literal["stress_relaxation", "creep"] = daq.setting(
            "stress_relaxation", "", "what is done"
        )
        temperatures: list[pydantic.PositiveFloat] = daq.setting(
            [330.0, 370.0, 400.0, 430.0, 450.0, 461.0, 470.0, 480.0], "K", "one after another",
            min_length=1,
        )  # fmt: skip
        strain: float = daq.setting(4e-3, "", "that is held", gt=0)
        stress: float = daq.setting(50e6, "Pa", "that is held", gt=0)
        first_time: float = daq.setting(1.0, "s", "of the first reading", gt=0)
        duration: float = daq.setting(7200.0, "s", "at each temperature", gt=0)
        spacing: Literal["log", "uniform"] = daq.setting("log", "", "of the readings")
        points: int = daq.setting(120, "", "readings at each temperature", ge=2)
        glass_energy: float = daq.setting(10.0, "R T_g", "of tau below T_g", gt=0)
        least_part: float = daq.setting(0.1, "", "dsigma/sigma_0 far below T_g", gt=0, le=1)
        b: float | None = daq.setting(
            None, "", "exponent at every temperature; by default as published", gt=0.1, le=1
        )
        creep_b: float = daq.setting(1.0, "", "exponent of creep", gt=0.1, le=1)
        creep_compliance: float = daq.setting(0.3, "1/M_u", "that is delayed: J", ge=0)
        poisson_ratio: float = daq.setting(0.36, "", "for G of eta = G tau_alpha", gt=0, lt=0.5)
        compliance: float = daq.setting(
            0.0, "1/GPa", "of the instrument, in series: 1/M + compliance is what it sees", ge=0
        )
        noise: float = daq.setting(1e-3, "", "of the stress, over that at the beginning", ge=0)
        strain_noise: float = daq.setting(2e-6, "", "of the strain in creep", ge=0)

        @pydantic.model_validator(mode="after")
        def _possible(self) -> RelaxationTester.Config:
            if self.alloy not in ALLOYS:
                raise ValueError(f"alloy: {self.alloy!r} is not one of {', '.join(ALLOYS)}")
            if self.first_time >= self.duration:
                raise ValueError("first_time: before the duration is over")
            return self

    def measure(self, config: Any) -> Measurement:
        """Return the whole measurement.

        Truth, one per temperature (``truth_temperature`` K): ``ln_tau`` (s), ``b``, ``decay``
        dsigma and ``remnant`` sigma_r, Pa; ``instantaneous`` and ``delayed`` (strain, of creep),
        ``viscosity`` Pa s; ``beta_temperature`` K, where b changes; ``T_g``.
        """
        alloy = ALLOYS[config.alloy]
        if config.spacing == "log":
            elapsed = np.geomspace(config.first_time, config.duration, config.points)
        else:
            elapsed = np.linspace(config.first_time, config.duration, config.points)
        T = np.array(config.temperatures)
        law = _law(config, alloy, T)
        t = elapsed[None, :]
        tau, b = np.exp(law["ln_tau"])[:, None], law["b"][:, None]
        gone = -np.expm1(-((t / tau) ** b))
        draw = np.stack([
            np.random.default_rng(np.random.SeedSequence([config.seed, i])).standard_normal(len(elapsed))
            for i in range(len(T))
        ])  # fmt: skip
        if config.programme == "stress_relaxation":
            stress = law["remnant"][:, None] + law["decay"][:, None] * (1 - gone)
            stress = stress / (1 + stress / config.strain * config.compliance * 1e-9)
            start = (law["remnant"] + law["decay"])[:, None]
            stress = stress + config.noise * start * draw
            strain = np.full(stress.shape, config.strain)
        else:
            strain = law["instantaneous"][:, None] + law["delayed"][:, None] * gone
            strain = strain + config.stress * t / (3 * law["viscosity"][:, None])
            strain = strain + config.stress * config.compliance * 1e-9
            strain = strain + config.strain_noise * draw
            stress = np.full(strain.shape, config.stress)
        count, steps = len(elapsed), len(T)
        step = np.repeat(np.arange(steps), count)
        fields = {
            "temperature": np.repeat(T, count),
            "strain": strain.ravel(),
            "stress": stress.ravel(),
            "elapsed": np.tile(elapsed, steps),
            "segment": step,
            "sample": np.zeros_like(step),
        }
        number = daq.Field("<i4")
        stream = daq.Stream(
            "",
            {
                "temperature": daq.Field("<f8", (), "K", "temperature of the sample"),
                "strain": daq.Field("<f8", (), "", "strain"),
                "stress": daq.Field("<f8", (), "Pa", "stress"),
                "elapsed": daq.Field("<f8", (), "s", "time since the step began"),
                "segment": dataclasses.replace(number, long_name="step of the programme"),
                "sample": dataclasses.replace(number, long_name="number of the sample"),
            },
            attributes={
                "instrument": "relaxation tester (simulated)",
                "sample_name": alloy.name,
                "programme": config.programme,
                "seed": config.seed,
            },
        )
        seconds = np.tile(elapsed, steps) + (config.duration + 600.0) * step
        return Measurement(stream, seconds, fields, {"truth_temperature": T, **law})


def _law(config: Any, alloy: Alloy, T: Floats) -> dict[str, Floats]:
    """Return what is true at each temperature."""
    T_g = alloy.alpha.T_g
    liquid = alloy.alpha.ln_tau(T)
    glass = np.log(alloy.alpha.tau_g) + config.glass_energy * (T_g / T - 1)
    beta = float(alloy.beta.peak_temperature(1.0, T_g))
    b = 0.2 + 0.3 / (1 + np.exp(-(T - beta) / 6.0)) + 0.015 * np.maximum(T - T_g, 0.0)
    b = np.minimum(b, 1.0) if config.b is None else np.full(len(T), config.b)
    creeps = config.programme == "creep"
    start = config.strain * alloy.unrelaxed(T)
    # reaches 0.98 at T_g
    part = config.least_part + (1 - config.least_part) / (1 + np.exp(-(T - T_g + 40) / 10))
    part = np.where(T_g <= T, 1.0, part)
    elastic = config.stress / alloy.unrelaxed(T)
    shear = alloy.unrelaxed(T) / (2 * (1 + config.poisson_ratio))
    return {
        "ln_tau": np.where(T_g > T, glass, liquid),
        "b": np.full(len(T), config.creep_b) if creeps else b,
        "decay": part * start,
        "remnant": (1 - part) * start,
        "instantaneous": elastic,
        "delayed": config.creep_compliance * elastic,
        "viscosity": shear * np.exp(liquid),
        "beta_temperature": np.array([beta]),
        "T_g": np.array([T_g]),
    }
