"""A dynamic mechanical analyser (DMA) with a metallic glass in it: ramps, sweeps, ageing.

By default La60Ni15Al25 at 1 Hz, heated at 3 K/min, as in CR-AFM. The instrument yields a little
with the sample (a compliance in series) and has noise of amplitude and of phase.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pydantic

import daq
from daq_simulators.mechanical_material import ALLOYS, Alloy, changed
from daq_simulators.mechanical_playback import Measurement, Playback, PlaybackConfig

Floats = npt.NDArray[np.float64]

CYCLES: Final = 3
"""Periods that a reading takes, at least."""
SHORTEST: Final = 2.0
"""Seconds that a reading takes at least."""
PASCALS: Final = {"Pa": 1.0, "MPa": 1e6, "GPa": 1e9}


class MechanicalSpectrometer(Playback):
    """A simulated DMA: one stream of readings, several samples after another.

    Stream ``""``, one record per reading: ``temperature`` K, ``frequency`` Hz, ``storage_modulus``
    and ``loss_modulus`` (``units``), ``tan_delta``; ``elapsed`` s since the step began;
    ``segment`` (int32, steps of the programme, counted on over the run), ``sample`` (int32); in
    the programme ``ageing`` also ``ageing_time``, s, up to this reading.

    Programmes:

    ``ramp``
        From ``start_temperature`` to ``end_temperature`` at ``heating_rate``, a reading each
        ``interval`` at the next of ``frequencies``. Temperature goes on within a round of them.
    ``sweeps``
        At each of ``temperatures`` one sweep over ``frequencies``, after ``settling``.
    ``ageing``
        Aged at ``ageing_temperature``; readings meanwhile at the first of ``frequencies``, each
        ``interval``. At 0 and at each of ``ageing_times`` the sample is taken to ``temperatures``
        (the first) for a sweep, which does not age it.

    There is a sample for each of ``states``, on which the whole programme is run. A state s
    multiplies the strength of the slow beta relaxation by s and its tau by s^-slope, as ageing
    does (double-well, Qiao2019, 2-9 to 2-12): s > 1 is rolled, s < 1 aged.
    """

    name = "mechanical_spectrometer"

    class Config(PlaybackConfig):
        """What ``[sources.NAME]`` with ``type = "mechanical_spectrometer"`` may say."""

        alloy: str = daq.setting("La60Ni15Al25", "", f"one of {', '.join(ALLOYS)}")
        modulus: float | None = daq.setting(None, "GPa", "unrelaxed, at 300 K", gt=0)
        softening: float | None = daq.setting(None, "1/K", "-d ln(modulus)/dT", ge=0, lt=1e-3)
        alpha_form: Literal["hn", "kww"] | None = daq.setting(None, "", "of the alpha relaxation")
        alpha_alpha: float | None = daq.setting(None, "", "Havriliak-Negami alpha", gt=0, le=1)
        alpha_gamma: float | None = daq.setting(None, "", "Havriliak-Negami gamma", gt=0, le=1)
        alpha_b: float | None = daq.setting(None, "", "exponent of KWW", ge=0.2, le=1)
        alpha_T_g: float | None = daq.setting(  # noqa: N815
            None, "K", "where tau is alpha_tau_g", gt=0
        )
        alpha_tau_g: float | None = daq.setting(None, "s", "tau at T_g", gt=0)
        alpha_fragility: float | None = daq.setting(None, "", "m at T_g", gt=16.5)
        alpha_glass_energy: float | Literal["liquid"] | None = daq.setting(
            None, "R T_g", 'of the glass below T_g; "liquid": VFT there too'
        )
        beta_strength: float | None = daq.setting(None, "", "part of the modulus", ge=0, lt=1)
        beta_energy: float | None = daq.setting(None, "R T_g", "of the slow beta relaxation", gt=0)
        beta_log10_tau0: float | None = daq.setting(None, "log10 s", "of its Arrhenius law")
        beta_alpha: float | None = daq.setting(None, "", "Cole-Cole exponent", gt=0, le=1)
        fast_strength: float | None = daq.setting(None, "", "part of the modulus", ge=0, lt=1)
        fast_energy: float | None = daq.setting(None, "R T_g", "of the fast beta' relaxation", gt=0)
        fast_log10_tau0: float | None = daq.setting(None, "log10 s", "of its Arrhenius law")
        fast_alpha: float | None = daq.setting(None, "", "Cole-Cole exponent", gt=0, le=1)
        states: list[pydantic.PositiveFloat] = daq.setting(
            [1.0], "", "strength of the slow beta relaxation, a sample each", min_length=1
        )

        programme: Literal["ramp", "sweeps", "ageing"] = daq.setting("ramp", "", "what is done")
        frequencies: list[pydantic.PositiveFloat] = daq.setting(
            [1.0], "Hz", "in the order in which they are taken", min_length=1
        )
        start_temperature: float = daq.setting(300.0, "K", "of the ramp", gt=50)
        end_temperature: float | None = daq.setting(None, "K", "of the ramp; 1.12 T_g", gt=50)
        heating_rate: float = daq.setting(3.0, "K/min", "of the ramp", gt=0)
        interval: float = daq.setting(10.0, "s", "between readings of ramp and ageing", gt=0)
        temperatures: list[pydantic.PositiveFloat] = daq.setting(
            [], "K", "of sweeps; by default 6 from T_g to 1.08 T_g; of ageing: 343 K"
        )
        settling: float = daq.setting(120.0, "s", "before a sweep begins", ge=0)
        ageing_temperature: float = daq.setting(433.0, "K", "at which the sample ages", gt=0)
        ageing_times: list[pydantic.PositiveFloat] = daq.setting(
            [600.0, 1800.0, 5400.0, 16200.0], "s", "after which it is looked at", min_length=1
        )
        ageing_part: float = daq.setting(
            0.45, "", "of the beta relaxation that is lost in the end", ge=0, lt=1
        )
        ageing_tau: float = daq.setting(3000.0, "s", "of ageing at its temperature", gt=0)
        ageing_b: float = daq.setting(0.5, "", "exponent of ageing", gt=0, le=1)
        slope: float = daq.setting(2.0, "", "a = -d ln tau_beta / d ln G''max of ageing")
        alpha_slower: float = daq.setting(
            1.0, "", "what ageing adds to ln tau_alpha in the end", ge=0
        )

        compliance: float = daq.setting(
            0.0, "1/GPa", "of the instrument, in series: 1/M + compliance is what it sees", ge=0
        )
        noise: float = daq.setting(2e-3, "", "relative, of the amplitude of a reading", ge=0)
        phase_noise: float = daq.setting(5e-4, "rad", "of the phase of a reading", ge=0)
        temperature_noise: float = daq.setting(0.02, "K", "of the sample about its reading", ge=0)
        units: Literal["Pa", "MPa", "GPa"] = daq.setting("Pa", "", "of the moduli")

        @pydantic.model_validator(mode="after")
        def _possible(self) -> MechanicalSpectrometer.Config:
            if self.alloy not in ALLOYS:
                raise ValueError(f"alloy: {self.alloy!r} is not one of {', '.join(ALLOYS)}")
            glass = alloy_of(self)
            if max(self.states) * glass.beta.strength + glass.fast.strength >= 1:
                raise ValueError("states: the secondary relaxations take more than the modulus")
            if self.programme == "ramp" and abs(ramp_end(self) - self.start_temperature) < 1:
                raise ValueError("end_temperature: another one than start_temperature")
            times = self.ageing_times
            if any(b <= a for a, b in itertools.pairwise(times)):
                raise ValueError("ageing_times: each longer than the one before")
            return self

    def measure(self, config: Any) -> Measurement:
        """Return the whole measurement.

        Truth, one per record: ``storage_modulus`` and ``loss_modulus`` Pa of the sample without
        instrument and noise, ``ln_tau_alpha``, ``ln_tau_beta``, ``beta_strength``. One in all:
        ``vft`` (ln tau0, B, T0), ``T_g``, ``tau_g``, ``fragility``, ``beta_energy`` J/mol,
        ``beta_ln_tau0``, ``fast_energy`` J/mol, ``fast_ln_tau0``, ``modulus`` Pa at 300 K, ``slope``; per frequency:
        ``alpha_peak``, ``beta_peak``, ``fast_peak`` K, each mode by itself in the first state;
        ``beta_kind`` 0 peak, 1 shoulder, 2 wing as published (presets, 1 Hz).
        """
        alloy = alloy_of(config)
        runs = [_programme(config, alloy) for _ in config.states]
        count = len(runs[0].temperature)
        steps = int(runs[0].segment[-1]) + 1
        plan = {
            f.name: np.concatenate([getattr(run, f.name) for run in runs])
            for f in dataclasses.fields(Plan)
        }
        sample = np.repeat(np.arange(len(runs)), count)
        plan["segment"] = plan["segment"] + steps * sample
        length = float(runs[0].seconds[-1]) + 900.0
        seconds = plan["seconds"] + length * sample
        aged = -np.expm1(-((plan["ageing_time"] / config.ageing_tau) ** config.ageing_b))
        scale = np.array(config.states)[sample] * (1 - config.ageing_part * aged)
        slower = -config.slope * np.log(scale)
        alpha_slower = config.alpha_slower * aged
        # one series of each noise for each sample, whatever comes before it
        draws = np.concatenate([
            np.random.default_rng(np.random.SeedSequence([config.seed, i])).standard_normal((count, 3))
            for i in range(len(runs))
        ])  # fmt: skip
        T = plan["temperature"]
        actual = T + config.temperature_noise * draws[:, 2]
        omega = 2 * np.pi * plan["frequency"]
        states = {"beta_scale": scale, "beta_slower": slower, "alpha_slower": alpha_slower}
        true = alloy.dynamic_modulus(omega, T, **states)
        modulus = alloy.dynamic_modulus(omega, actual, **states)
        seen = 1 / (1 / modulus + config.compliance * 1e-9)
        seen = (
            seen * (1 + config.noise * draws[:, 0]) * np.exp(1j * config.phase_noise * draws[:, 1])
        )
        fields = {
            "temperature": T,
            "frequency": plan["frequency"],
            "storage_modulus": seen.real / PASCALS[config.units],
            "loss_modulus": seen.imag / PASCALS[config.units],
            "tan_delta": seen.imag / seen.real,
            "elapsed": plan["elapsed"],
            "segment": plan["segment"],
            "sample": sample,
        }
        if config.programme == "ageing":
            fields["ageing_time"] = plan["ageing_time"]
        RT_g = 8.314 * alloy.alpha.T_g
        frequencies = sorted(set(config.frequencies))
        peaks = [alloy.peaks(frequency) for frequency in frequencies]
        truth = {
            "storage_modulus": true.real,
            "loss_modulus": true.imag,
            "ln_tau_alpha": alloy.alpha.ln_tau(T) + alpha_slower,
            "ln_tau_beta": alloy.beta.ln_tau(T, alloy.alpha.T_g) + slower,
            "beta_strength": alloy.beta.strength * scale,
            "vft": np.array(alloy.alpha.vft),
            "T_g": np.array([alloy.alpha.T_g]),
            "tau_g": np.array([alloy.alpha.tau_g]),
            "fragility": np.array([alloy.alpha.fragility]),
            "beta_energy": np.array([alloy.beta.energy * RT_g]),
            "beta_ln_tau0": np.array([alloy.beta.log10_tau0 * np.log(10)]),
            "fast_energy": np.array([alloy.fast.energy * RT_g]),
            "fast_ln_tau0": np.array([alloy.fast.log10_tau0 * np.log(10)]),
            "modulus": np.array([alloy.modulus * 1e9]),
            "slope": np.array([config.slope]),
            "frequencies": np.array(frequencies),
            **{f"{m}_peak": np.array([p[m] for p in peaks]) for m in ("alpha", "beta", "fast")},
            "beta_kind": np.array([("peak", "shoulder", "wing").index(alloy.kind)], np.float64),
        }
        return Measurement(self._described(config, alloy), seconds, fields, truth)

    def _described(self, config: Any, alloy: Alloy) -> daq.Stream:
        number = daq.Field("<i4")
        modulus = daq.Field("<f8", (), config.units, "storage modulus")
        fields = {
            "temperature": daq.Field("<f8", (), "K", "temperature of the sample"),
            "frequency": daq.Field("<f8", (), "Hz", "frequency"),
            "storage_modulus": modulus,
            "loss_modulus": dataclasses.replace(modulus, long_name="loss modulus"),
            "tan_delta": daq.Field("<f8", (), "", "loss factor"),
            "elapsed": daq.Field("<f8", (), "s", "time since the step began"),
            "segment": dataclasses.replace(number, long_name="step of the programme"),
            "sample": dataclasses.replace(number, long_name="number of the sample"),
        }
        if config.programme == "ageing":
            fields["ageing_time"] = daq.Field("<f8", (), "s", "aged before for")
        return daq.Stream(
            "",
            fields,
            attributes={
                "instrument": "mechanical spectrometer (simulated)",
                "sample_name": alloy.name,
                "programme": config.programme,
                "seed": config.seed,
            },
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """When and at what each reading is taken, of one sample; all [reading]: s, K, Hz, s, -, s."""

    seconds: Floats
    temperature: Floats
    frequency: Floats
    elapsed: Floats
    segment: npt.NDArray[np.int64]
    ageing_time: Floats


def alloy_of(config: Any) -> Alloy:
    """Return the alloy with what the configuration changes of it."""
    keys = [
        key for key in type(config).model_fields
        if key.startswith(("alpha_", "beta_", "fast_")) and key != "alpha_slower"
    ]  # fmt: skip
    values = {key: getattr(config, key) for key in ["modulus", "softening", *keys]}
    values = {key: value for key, value in values.items() if value is not None}
    if values.get("alpha_glass_energy") == "liquid":
        values["alpha_glass_energy"] = None
    return changed(ALLOYS[config.alloy], values)


def ramp_end(config: Any) -> float:
    """Return where the ramp ends, K."""
    if config.end_temperature is not None:
        return float(config.end_temperature)
    return 1.12 * alloy_of(config).alpha.T_g


def _programme(config: Any, alloy: Alloy) -> Plan:
    frequencies = np.array(config.frequencies)
    if config.programme == "ramp":
        end = ramp_end(config)
        rate = np.sign(end - config.start_temperature) * config.heating_rate / 60
        seconds = np.arange(0.0, (end - config.start_temperature) / rate, config.interval)
        at = np.arange(len(seconds)) % len(frequencies)
        zeros = np.zeros(len(seconds))
        return Plan(
            seconds, config.start_temperature + rate * seconds, frequencies[at], seconds,
            zeros.astype(np.int64), zeros,
        )  # fmt: skip
    takes = np.maximum(CYCLES / frequencies, SHORTEST)
    T_g = alloy.alpha.T_g
    if config.programme == "sweeps":
        kelvin = config.temperatures or np.linspace(T_g, 1.08 * T_g, 6).tolist()
        steps = [_Step(T, frequencies, config.settling + np.cumsum(takes), 0.0) for T in kelvin]
        return _joined(steps)
    test = config.temperatures[0] if config.temperatures else 343.0
    sweep = config.settling + np.cumsum(takes)
    steps = [_Step(test, frequencies, sweep, 0.0)]
    before = 0.0
    for until in config.ageing_times:
        hold = np.arange(config.interval, until - before + 1e-6, config.interval)
        if len(hold):
            steps.append(
                _Step(config.ageing_temperature, np.full(len(hold), frequencies[0]), hold,
                      before + hold, until - before)
            )  # fmt: skip
        steps.append(_Step(test, frequencies, sweep, until))
        before = until
    return _joined(steps)


@dataclasses.dataclass(frozen=True, slots=True)
class _Step:
    temperature: float
    frequency: Floats
    elapsed: Floats
    ageing_time: float | Floats
    length: float = 0.0


def _joined(steps: list[_Step]) -> Plan:
    lengths = [max(step.length, float(step.elapsed[-1])) for step in steps]
    begins = np.concatenate([[0.0], np.cumsum(lengths)[:-1]])
    return Plan(
        np.concatenate([b + s.elapsed for b, s in zip(begins, steps, strict=True)]),
        np.concatenate([np.full(len(s.elapsed), s.temperature) for s in steps]),
        np.concatenate([s.frequency for s in steps]),
        np.concatenate([s.elapsed for s in steps]),
        np.concatenate([np.full(len(s.elapsed), i) for i, s in enumerate(steps)]),
        np.concatenate([np.zeros(len(s.elapsed)) + s.ageing_time for s in steps]),
    )
