"""A calorimeter (DSC) and metallic-glass samples of known history: what `glass_enthalpy` gives.

By default a film of Zr53Cu36Al11 as in Zhu2016: T_g (onset at 20 K/min) 695 K, pieces annealed at
473 to 553 K, each scanned, cooled from the liquid as the standard, and scanned again until it
crystallises. Heat flow is positive where it is endothermic.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pydantic

import daq

Floats = npt.NDArray[np.float64]

R: Final = 8.314
STEP: Final = 0.5
"""Largest change of temperature, K, in one step of the relaxation."""
HOT: Final = 60.0
"""Kelvin above T_g from which samples are quenched and standards are cooled."""


class Calorimeter(daq.Source):
    """A simulated DSC: one stream of readings, several samples after another.

    Stream ``""``, one record per reading: ``temperature`` K, ``heat_flow`` W/g or mW (endothermic
    positive; the attribute ``heat_flow_sign`` says so), ``segment`` int32 (step of the programme,
    counted on over the run), ``sample`` int32, ``heating_rate`` K/min (negative on cooling),
    ``annealing_temperature`` K (NaN as quenched) and ``annealing_time`` s. The attribute
    ``mass_mg`` holds the mass.

    There is one sample for each of ``heating_rates``, as quenched, and one more for each of
    ``annealing_temperatures`` with each of ``annealing_times``. A reading depends on the
    configuration and its index alone. The instrument has no thermal lag.
    """

    name = "calorimeter"

    class Config(daq.Config):
        """What ``[sources.NAME]`` with ``type = "calorimeter"`` may say."""

        annealing_temperatures: list[pydantic.PositiveFloat] = daq.setting(
            [], "K", "each with each of annealing_times gives a sample"
        )
        annealing_times: list[pydantic.PositiveFloat] = daq.setting(
            [300.0, 1800.0, 10800.0, 43200.0], "s", "5 to 720 min"
        )
        heating_rates: list[pydantic.PositiveFloat] = daq.setting(
            [20.0],
            "K/min",
            "each gives a sample as quenched; annealed ones: the first",
            min_length=1,
        )
        cooling_rate: pydantic.PositiveFloat | Literal["heating_rate"] = daq.setting(
            20.0, "K/min", 'of every cooling; "heating_rate": as fast as the sample is heated'
        )
        start_temperature: float = daq.setting(300.0, "K", "where heating begins", gt=100)
        programme: list[pydantic.PositiveFloat] = daq.setting(
            [745.0, 300.0, 830.0], "K", "where each step of the programme ends", min_length=1
        )
        modulation_amplitude: float = daq.setting(0.0, "K", "of the temperature", ge=0)
        modulation_period: float = daq.setting(60.0, "s", "of the modulation", gt=0)
        interval: float = daq.setting(1.5, "s", "between two readings", gt=0)

        T_g: float = daq.setting(695.0, "K", "onset of the standard at 20 K/min by default", gt=200)
        tau_g: float = daq.setting(160.0, "s", "relaxation time of the liquid at T_g", gt=0)
        fragility: float = daq.setting(60.0, "", "m of the liquid at T_g", gt=0)
        nonlinearity: float = daq.setting(0.7, "", "x of Tool-Narayanaswamy-Moynihan", gt=0, le=1)
        stretch: float = daq.setting(0.55, "", "exponent of the alpha relaxation", gt=0.2, le=1)
        quench_rate: float = daq.setting(
            20 / 60, "K/s",
            "of the alpha relaxation; 2.4e7 adds alpha enthalpy, which goes near T_g only", gt=0,
        )  # fmt: skip
        beta_enthalpy: float = daq.setting(25.0, "J/g", "that a quench freezes in", ge=0)
        beta_b: float = daq.setting(0.3, "", "stretching exponent of its release", gt=0, le=1)
        beta_ln_tau0: float = daq.setting(-24.2, "ln s", "of its Arrhenius law")
        beta_energy: float = daq.setting(26.0, "R T_g", "of its Arrhenius law", gt=0)
        c_p: float = daq.setting(0.36, "J/(g K)", "of the glass at T_g", ge=0)
        c_p_slope: float = daq.setting(1.2e-4, "J/(g K^2)", "of the glass")
        c_p_step: float = daq.setting(0.2, "J/(g K)", "liquid less glass at T_g", gt=0)
        c_p_step_slope: float = daq.setting(-1e-4, "J/(g K^2)", "of the step")
        crystallisation_heat: float = daq.setting(60.0, "J/g", "0: does not crystallise", ge=0)
        crystallisation_peak: float = daq.setting(775.0, "K", "about; at 20 K/min", gt=200)
        crystallisation_energy: float = daq.setting(300.0, "kJ/mol", "", gt=0)
        crystallisation_n: float = daq.setting(4.0, "", "Avrami exponent", gt=0)

        mass: float = daq.setting(10.0, "mg", "of each sample", gt=0)
        units: Literal["W/g", "mW"] = daq.setting("W/g", "", "of the heat flow")
        sign: Literal["endothermic_positive", "exothermic_positive"] = daq.setting(
            "endothermic_positive", "", "of the heat flow"
        )
        noise: float = daq.setting(1e-4, "W/g", "standard deviation of a reading", ge=0)
        baseline: tuple[float, float, float] = daq.setting(
            (0.02, 0.005, -2e-4), "W/g",
            "of the instrument: at 600 K, per 100 K, per (100 K)^2",
        )  # fmt: skip
        baseline_sd: tuple[
            pydantic.NonNegativeFloat, pydantic.NonNegativeFloat, pydantic.NonNegativeFloat
        ] = daq.setting(
            (0.002, 0.001, 5e-5), "W/g",
            "that differs from ramp to ramp: at 600 K, per 100 K, per (100 K)^2",
        )  # fmt: skip
        seed: int = daq.setting(0, "", "of noise and baselines", ge=0)
        speed: float = daq.setting(
            0.0, "", "seconds of the experiment in a second; 0: as fast as it goes", ge=0
        )
        batch: int = daq.setting(64, "", "records that travel together", ge=1, le=65536)
        start_time: pydantic.AwareDatetime = daq.setting(
            datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), "", "time stamp of record 0"
        )

        @pydantic.model_validator(mode="after")
        def _possible(self) -> Calorimeter.Config:
            ends = [self.start_temperature, *self.programme]
            if any(abs(b - a) < 1 for a, b in itertools.pairwise(ends)):
                raise ValueError("programme: each step must lead to another temperature")
            if self.annealing_temperatures and not self.annealing_times:
                raise ValueError("annealing_times: at least one, for annealing_temperatures")
            if max(self.annealing_temperatures, default=0) >= self.T_g:
                raise ValueError("annealing_temperatures: below T_g; above it nothing is annealed")
            if self.modulation_amplitude and self.modulation_period < 8 * self.interval:
                raise ValueError("modulation_period: at least 8 readings to a period")
            return self

    def open(self, config: Any) -> Sequence[daq.Stream]:
        """Plan the samples and describe the stream."""
        self._config = config
        self._epoch = int(
            np.datetime64(config.start_time.astimezone(datetime.UTC).replace(tzinfo=None), "ns")
            .astype(int)
        )  # fmt: skip
        self._dsc = Dsc(config)
        number = daq.Field("<i4", (), "")
        attributes = {
            "instrument": "calorimeter (simulated)",
            "heat_flow_sign": config.sign,
            "mass_mg": config.mass,
            "seed": config.seed,
        }
        if config.modulation_amplitude:
            attributes["modulation_amplitude_K"] = config.modulation_amplitude
            attributes["modulation_period_s"] = config.modulation_period
        self._stream = daq.Stream(
            "",
            {
                "temperature": daq.Field("<f8", (), "K", "temperature of the sample"),
                "heat_flow": daq.Field("<f8", (), config.units, "heat flow"),
                "segment": dataclasses.replace(number, long_name="step of the programme"),
                "sample": dataclasses.replace(number, long_name="number of the sample"),
                "heating_rate": daq.Field("<f8", (), "K/min", "heating rate"),
                "annealing_temperature": daq.Field("<f8", (), "K", "annealed before at"),
                "annealing_time": daq.Field("<f8", (), "s", "annealed before for"),
            },
            attributes=attributes,
            expect=self._dsc.count,
        )
        return [self._stream]

    def batches(self, start: Mapping[str, int]) -> Iterator[daq.Batch | daq.Missing]:
        """Yield the readings from ``start`` on, at ``speed``."""
        config, dsc = self._config, self._dsc
        begin = start.get("", 0)
        began = time.monotonic()
        for first in range(begin, dsc.count, config.batch):
            stop = min(first + config.batch, dsc.count)
            seconds = dsc.seconds(np.arange(first, stop))
            if config.speed:
                ahead = (seconds[-1] - dsc.seconds(np.array([begin]))[0]) / config.speed
                if self.context.wait_until(began + float(ahead)):
                    return
            if self.context.stopping:
                return
            arrays = self.context.empty(self._stream, stop - first)
            dsc.read(first, stop, arrays)
            arrays["time"][:] = self._epoch + np.rint(seconds * 1e9).astype(np.int64)
            yield daq.Batch("", arrays, first)

    def truth(self) -> Mapping[str, npt.NDArray[Any]]:
        """Return what is known of the samples, float64.

        Before the first heating, [sample]: ``glass_fictive_temperature`` K of the alpha
        relaxation, ``beta_enthalpy`` J/g that is left, ``excess_enthalpy`` J/g over the standard, cooled at
        ``cooling_rate``; ``ln_tau_beta`` (s) at the annealing temperature.

        Of a standard heated at the rate of each sample, [sample]: ``onset`` and ``half_step`` of
        the glass transition, K; ``overshoot``, the highest c_p over that of the liquid, J/(g K);
        ``crystallisation_onset`` (tangent) and ``crystallisation_peak``, K, NaN where none.

        ``standard_fictive_temperature`` K, [sample], of the standard before it is heated;
        ``fictive_temperature`` K, one per record.
        """
        return self._dsc.truth()


@dataclasses.dataclass(frozen=True, slots=True)
class Piece:
    """One sample: annealed at K for s (NaN and 0 as quenched), heated at K/min."""

    annealing_temperature: float
    annealing_time: float
    heating_rate: float


@dataclasses.dataclass(frozen=True, slots=True)
class State:
    """Of one sample: T_f at each reading, K, and H_beta before the first heating, J/g."""

    fictive: Floats
    beta: float


class Dsc:
    """What the instrument does and what its samples answer."""

    def __init__(self, config: Any) -> None:
        from daq_simulators.glass_enthalpy import Beta, Crystallisation, Glass
        from daq_simulators.tnm import Tnm

        self._config = config
        self.glass = Glass(
            config.c_p, config.c_p_slope, config.c_p_step, config.c_p_step_slope,
            Tnm(config.T_g, config.tau_g, config.fragility, config.nonlinearity, config.stretch),
            Beta(
                config.beta_enthalpy, config.beta_b, config.beta_ln_tau0,
                config.beta_energy * R * config.T_g,
            ),
            Crystallisation(
                config.crystallisation_heat, config.crystallisation_n,
                1e3 * config.crystallisation_energy, config.crystallisation_peak, 20.0,
            ) if config.crystallisation_heat else None,
        )  # fmt: skip
        self.pieces = [Piece(np.nan, 0.0, rate) for rate in config.heating_rates]
        self.pieces += [
            Piece(kelvin, seconds, config.heating_rates[0])
            for kelvin in config.annealing_temperatures
            for seconds in config.annealing_times
        ]
        self._programmes = [Programme.of(config, piece.heating_rate) for piece in self.pieces]
        lengths = [programme.readings(config.interval) for programme in self._programmes]
        self._first = np.concatenate([[0], np.cumsum(lengths)])
        # a quarter of an hour to change the sample
        self._began = np.concatenate(
            [[0.0], np.cumsum([length * config.interval + 900.0 for length in lengths])]
        )
        self._measured = functools.lru_cache(maxsize=2)(self._measure)
        self._states: dict[int, State] = {}

    @property
    def count(self) -> int:
        """Number of readings."""
        return int(self._first[-1])

    def seconds(self, records: npt.NDArray[np.int64]) -> Floats:
        """Return when readings are taken, s."""
        sample = np.searchsorted(self._first, records, side="right") - 1
        return np.asarray(
            self._began[sample] + (records - self._first[sample]) * self._config.interval
        )

    def read(self, first: int, stop: int, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Fill the fields of readings ``first`` to ``stop``."""
        while first < stop:
            sample = int(np.searchsorted(self._first, first, side="right")) - 1
            begin, end = int(self._first[sample]), int(self._first[sample + 1])
            part = slice(first - begin, min(stop, end) - begin)
            where = slice(len(arrays["time"]) - (stop - first), None)
            where = slice(where.start, where.start + part.stop - part.start)
            for name, values in self._measured(sample).items():
                arrays[name][where] = values[part]
            first = begin + part.stop

    def truth(self) -> dict[str, npt.NDArray[Any]]:
        """Return what `Calorimeter.truth` says."""
        glass = self.glass
        standards = [float(self._cooled(1.0, piece.heating_rate)[2][-1]) for piece in self.pieces]
        rows = []
        heated = {rate: self._standard_scan(rate) for rate in {p.heating_rate for p in self.pieces}}
        for sample, piece in enumerate(self.pieces):
            if sample not in self._states:
                self._history(sample)
            fictive, beta = self._states[sample].fictive[0], self._states[sample].beta
            standard = glass.alpha_enthalpy(standards[sample])
            excess = glass.alpha_enthalpy(fictive) - standard + beta
            rows.append({
                "glass_fictive_temperature": fictive,
                "beta_enthalpy": beta,
                "excess_enthalpy": excess,
                "ln_tau_beta": np.log(glass.beta.tau(piece.annealing_temperature)),
                **heated[piece.heating_rate],
            })  # fmt: skip
        return {
            **{name: np.array([row[name] for row in rows], np.float64) for name in rows[0]},
            "standard_fictive_temperature": np.array(standards),
            "fictive_temperature": np.concatenate(
                [self._states[sample].fictive for sample in range(len(self.pieces))]
            ),
        }

    def _history(self, sample: int) -> tuple[Any, int, int]:
        """Return the `History`, where the programme begins in it, and its steps per reading."""
        from daq_simulators.glass_enthalpy import along

        config, piece = self._config, self.pieces[sample]
        start = config.start_temperature
        hot = config.T_g + HOT
        parts = [ramp(hot, start, 60 * config.quench_rate)]
        quenched = len(parts[0][0]) - 1
        if piece.annealing_time:
            # put into a furnace that is hot, and taken out
            parts.append(ramp(start, piece.annealing_temperature, 3e4))
            hold = np.geomspace(min(1e-2, piece.annealing_time / 2), piece.annealing_time, 120)
            parts.append((np.concatenate([[0.0], hold]), np.full(121, piece.annealing_temperature)))
            parts.append(ramp(piece.annealing_temperature, start, 3e4))
        begin = sum(len(seconds) - 1 for seconds, _ in parts)
        programme = self._programmes[sample]
        # the swing of a modulation is faster than the ramp
        fastest = programme.fastest / 60
        fastest += 2 * np.pi * config.modulation_amplitude / config.modulation_period
        each = max(1, int(np.ceil(fastest * config.interval / STEP)))
        readings = programme.readings(config.interval)
        seconds = np.arange((readings - 1) * each + 1) * (config.interval / each)
        parts.append((seconds, programme.temperature(seconds)))
        history = along(self.glass, *joined(parts), quenched)
        self._states[sample] = State(history.fictive[begin::each], float(history.beta[begin]))
        return history, begin, each

    def _measure(self, sample: int) -> dict[str, npt.NDArray[Any]]:
        """Return the fields of all readings of a sample."""
        config, piece, programme = self._config, self.pieces[sample], self._programmes[sample]
        history, begin, each = self._history(sample)
        kelvin = history.kelvin[begin::each]
        seconds = np.arange(len(kelvin)) * config.interval
        segment = programme.segment(seconds)
        flow = heat_flow(history.enthalpy[begin:], segment, config.interval, each)
        draw = np.random.default_rng(np.random.SeedSequence([config.seed, sample]))
        u = (kelvin - 600) / 100
        flow += config.baseline[0] + config.baseline[1] * u + config.baseline[2] * u**2
        wander = draw.standard_normal((len(programme.ends), 3)) * config.baseline_sd
        flow += wander[segment, 0] + wander[segment, 1] * u + wander[segment, 2] * u**2
        flow += config.noise * draw.standard_normal(len(flow))
        scale = config.mass if config.units == "mW" else 1.0  # W/g = mW/mg
        if config.sign == "exothermic_positive":
            scale = -scale
        return {
            "temperature": kelvin,
            "heat_flow": flow * scale,
            "segment": segment + sample * len(programme.ends),
            "sample": np.full(len(kelvin), sample),
            "heating_rate": programme.rates[segment],
            "annealing_temperature": np.full(len(kelvin), piece.annealing_temperature),
            "annealing_time": np.full(len(kelvin), piece.annealing_time),
        }

    def _cooled(self, step: float, heating_rate: float) -> tuple[Floats, Floats, Floats]:
        """Return s, K and T_f of a standard that is cooled, in steps of ``step`` times `STEP`."""
        hot, cold = self._config.T_g + HOT, self._config.T_g - 2 * HOT
        rate = self._config.cooling_rate
        rate = heating_rate if rate == "heating_rate" else rate
        seconds, kelvin = ramp(hot, cold, rate, step * STEP)
        return seconds, kelvin, self.glass.alpha.fictive_temperature(seconds, kelvin)[0]

    def _standard_scan(self, rate: float) -> dict[str, float]:
        """Return what a standard shows that is heated at a rate, without noise and baseline."""
        config, glass = self._config, self.glass
        cooled = self._cooled(0.5, rate)[:2]
        heated = ramp(float(cooled[1][-1]), config.T_g + 2 * HOT, rate, 0.5 * STEP)
        seconds, kelvin = joined([cooled, heated])
        begin = len(cooled[0]) - 1
        fictive = glass.alpha.fictive_temperature(seconds, kelvin)[0]
        T = (kelvin[begin:-1] + kelvin[begin + 1 :]) / 2
        slope = np.diff(fictive[begin:]) / np.diff(kelvin[begin:])
        step = glass.heat_capacity_step((fictive[begin:-1] + fictive[begin + 1 :]) / 2) * slope
        liquid = glass.heat_capacity_step(T)
        part = step / liquid
        top = int(part.argmax())
        half = int(np.argmax(part[:top] > 0.5))
        found = {
            "onset": tangent_onset(T[:top], step[:top]),
            "half_step": float(np.interp(0.5, part[half - 1 : half + 1], T[half - 1 : half + 1])),
            "overshoot": float((step - liquid).max()),
            "crystallisation_onset": np.nan,
            "crystallisation_peak": np.nan,
        }
        if glass.crystallisation is not None:
            seconds, kelvin = ramp(config.start_temperature, config.T_g + 4 * HOT, rate, 0.2 * STEP)
            set_free = np.diff(glass.crystallisation.crystallised(seconds, kelvin))
            T = (kelvin[1:] + kelvin[:-1]) / 2
            peak = int(set_free.argmax())
            found["crystallisation_peak"] = float(T[peak])
            found["crystallisation_onset"] = tangent_onset(T[: peak + 1], set_free[: peak + 1])
        return found


@dataclasses.dataclass(frozen=True, slots=True)
class Programme:
    """Ramps one after another: from ``start`` K to each of ``ends`` at ``rates``, K/min [step]."""

    start: float
    ends: Floats
    rates: Floats
    amplitude: float
    period: float

    @classmethod
    def of(cls, config: Any, heating_rate: float) -> Programme:
        """Return the programme of a configuration."""
        ends = np.array(config.programme)
        up = np.diff(ends, prepend=config.start_temperature) > 0
        cooling_rate = (
            heating_rate if config.cooling_rate == "heating_rate" else config.cooling_rate
        )
        rates = np.where(up, heating_rate, -cooling_rate)
        return cls(
            config.start_temperature, ends, rates, config.modulation_amplitude,
            config.modulation_period,
        )  # fmt: skip

    @property
    def fastest(self) -> float:
        """The largest rate of the ramps, K/min."""
        return float(np.abs(self.rates).max())

    @property
    def corners(self) -> Floats:
        """Seconds at which steps begin and end: [step + 1]."""
        change = np.diff(self.ends, prepend=self.start)
        return np.concatenate([[0.0], np.cumsum(60 * change / self.rates)])

    def readings(self, interval: float) -> int:
        """Return how many readings there are."""
        return int(self.corners[-1] / interval) + 1

    def segment(self, seconds: Floats) -> npt.NDArray[np.int64]:
        """Return the step of the programme at each time."""
        found = np.searchsorted(self.corners[1:], seconds, side="left")
        return np.asarray(np.minimum(found, len(self.ends) - 1), np.int64)

    def temperature(self, seconds: Floats) -> Floats:
        """Return the temperature at each time, K."""
        ramp = np.interp(seconds, self.corners, np.concatenate([[self.start], self.ends]))
        return np.asarray(ramp + self.amplitude * np.sin(2 * np.pi * seconds / self.period))


def ramp(begin: float, end: float, rate: float, step: float = STEP) -> tuple[Floats, Floats]:
    """Return s and K of a ramp at ``rate`` K/min in steps of at most ``step`` K."""
    count = max(1, int(np.ceil(abs(end - begin) / step)))
    kelvin = np.linspace(begin, end, count + 1)
    return np.abs(kelvin - begin) * 60 / rate, kelvin


def joined(parts: Sequence[tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
    """Return s and K of parts one after another; each begins where the one before has ended."""
    seconds, kelvin = [parts[0][0]], [parts[0][1]]
    for more, temperature in parts[1:]:
        seconds.append(seconds[-1][-1] + more[1:] - more[0])
        kelvin.append(temperature[1:])
    return np.concatenate(seconds), np.concatenate(kelvin)


def heat_flow(
    enthalpy: Floats, segment: npt.NDArray[np.int64], interval: float, each: int
) -> Floats:
    """Return dH/dt at each reading, W/g: over one step either side, but never across a corner."""
    here = np.arange(len(segment)) * each
    same_before = np.concatenate([[False], segment[1:] == segment[:-1]])
    same_after = np.concatenate([segment[1:] == segment[:-1], [False]])
    before = np.where(same_before | ~same_after, here - 1, here).clip(0)
    after = np.where(same_after, here + 1, here).clip(0, len(enthalpy) - 1)
    return np.asarray((enthalpy[after] - enthalpy[before]) / ((after - before) * interval / each))


def tangent_onset(T: Floats, rise: Floats) -> float:
    """Return where the steepest tangent of a rising curve meets zero, K."""
    slope = np.gradient(rise, T)
    steepest = int(slope.argmax())
    return float(T[steepest] - rise[steepest] / slope[steepest])
