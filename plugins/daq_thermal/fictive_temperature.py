"""The fictive temperature of the model, along the temperature that the sample really had."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pydantic

import daq
from daq_thermal.readings import single
from daq_thermal.tnm import History, R, StreamingTnm, Tnm

LONGEST: Final = 0.5
"""K in one step of the recursion."""
HOT: Final = 100.0
"""K above T_g from which a sample is said to have been cooled."""


class FictiveTemperature(daq.Analysis):
    """What Tool, Narayanaswamy and Moynihan say that the sample is, reading by reading.

    Takes a stream with ``temperature`` in K (``sample``, if there is one, tells when another
    sample begins; so does a time that goes back). Gives one stream:

    ``state``
        A record per reading, float64: ``fictive_temperature`` K; ``ln_tau``, ln of the relaxation
        time in s; ``relaxed``, dT_f/dT over the step that led here (0 a glass, 1 a liquid; NaN at
        the first reading and where T stood still); ``heat_flow`` W/g that the relaxation adds to
        that of a glass, step x dT_f/dt. Readings without a finite temperature are lost here too,
        and passed over: the next step is then longer.

    ``initial`` gives every mode of the relaxation the same T_f. A sample that was cooled, or
    annealed, has a memory besides: near T_g the two differ by some kelvin, until the liquid has
    forgotten it. ``cooling_rate`` gives a sample that was cooled its memory.

    It costs the same for every reading (32 numbers are kept), and stays within 0.01 K of the
    recursion over all steps.
    """

    name = "fictive_temperature"

    class Config(daq.Config):
        """What ``[analyses.NAME]`` with ``type = "fictive_temperature"`` may say."""

        initial: float | Literal["equilibrium"] | None = daq.setting(
            None, "K", 'T_f at the first reading of each sample; "equilibrium": that of a liquid'
        )
        cooling_rate: float | None = daq.setting(
            None, "K/min", "or: at which each sample was cooled from the liquid before", gt=0
        )
        T_g: float = daq.setting(..., "K", "where the liquid's relaxation time is tau_g", gt=0)
        tau_g: float = daq.setting(100.0, "s", "relaxation time of the liquid at T_g", gt=0)
        fragility: float = daq.setting(..., "", "m: apparent energy m R T_g ln 10", gt=0)
        nonlinearity: float = daq.setting(..., "", "x", gt=0, le=1)
        stretch: float = daq.setting(..., "", "exponent of the relaxation", ge=0.3, le=1)
        step: float = daq.setting(0.0, "J/(g K)", "liquid less glass, for heat_flow", ge=0)

        @pydantic.model_validator(mode="after")
        def _one_past(self) -> FictiveTemperature.Config:
            if (self.initial is None) == (self.cooling_rate is None):
                raise ValueError(
                    'what the sample was before: either initial (K, or "equilibrium") or cooling_rate'
                )
            if isinstance(self.initial, float) and self.initial <= 0:
                raise ValueError("initial: a temperature in K is above 0")
            return self

    def open(self, streams: Mapping[str, daq.Stream], config: Any) -> Sequence[daq.Stream]:
        """Check the input; ValueError where there is no temperature in K."""
        stream = single(streams, self.name)
        field = stream.fields.get("temperature")
        if field is None or field.shape or field.units != "K":
            has = "none" if field is None else f"one in {field.units or 'no units'!r}"
            raise ValueError(f"{stream.name}: a field 'temperature' in K is needed, there is {has}")
        self._has_sample = "sample" in stream.fields
        self._config = config
        h = config.fragility * R * config.T_g * math.log(10)
        self._model = Tnm(config.T_g, config.tau_g, h, config.nonlinearity, config.stretch)
        self._tnm = StreamingTnm(self._model, LONGEST)
        # compiles, or loads what was compiled, before the first reading is there
        self._tnm.follow(self._tnm.begin(0.0, 300.0, 300.0), np.ones(1), np.ones(1))
        self._history: History | None = None
        self._sample = -1
        self._epoch = self._last = 0
        return [
            daq.Stream(
                "state",
                {
                    "fictive_temperature": daq.Field("<f8", (), "K", "fictive temperature"),
                    "ln_tau": daq.Field("<f8", (), "", "ln of the relaxation time in s"),
                    "relaxed": daq.Field("<f8", (), "", "dT_f/dT"),
                    "heat_flow": daq.Field("<f8", (), "W/g", "heat flow of the relaxation"),
                },
                expect=stream.expect,
            )
        ]

    def process(self, batch: daq.Batch) -> Iterable[daq.Batch]:
        """Follow the readings of a batch."""
        T = np.asarray(batch["temperature"], np.float64)
        good = batch.valid & (batch.time != daq.NO_TIME) & np.isfinite(T) & (T > 0)
        out = np.full((4, len(batch)), np.nan)
        where = np.flatnonzero(good)
        if len(where):
            samples = batch["sample"][where].astype(np.int64) if self._has_sample else where * 0
            times = batch.time[where]
            before = np.concatenate([[self._last], times[:-1]])
            earlier = np.concatenate([[self._sample], samples[:-1]])
            new = (times < before) | (samples != earlier)
            new[0] |= self._history is None
            edges = [0, *np.flatnonzero(new).tolist(), len(where)]
            for begin, end in itertools.pairwise(edges):
                if begin < end:
                    part = where[begin:end]
                    out[:, part] = self._followed(times[begin:end], T[part], bool(new[begin]))
            self._last, self._sample = int(times[-1]), int(samples[-1])
        names = ("fictive_temperature", "ln_tau", "relaxed", "heat_flow")
        yield daq.Batch(
            "state",
            {"time": batch.time, **dict(zip(names, out, strict=True))},
            valid=good,
        )

    @classmethod
    def memory(cls, streams: Mapping[str, daq.Stream], config: Any) -> int:
        """Return what a batch of 65536 readings needs; of the past 32 numbers are kept."""
        return 65536 * 8 * 10

    def _at_first(self, T: float) -> History:
        """Return the sample at its first reading."""
        config = self._config
        if config.cooling_rate is None:
            return self._tnm.begin(0.0, T, T if config.initial == "equilibrium" else config.initial)
        hot = config.T_g + HOT
        seconds = 60 * (T - hot) / config.cooling_rate
        history = self._tnm.begin(min(seconds, 0.0), max(T, hot), max(T, hot))
        if hot > T:
            self._tnm.follow(history, np.zeros(1), np.array([T]))
            history.seconds = 0.0
        return history

    def _followed(
        self, times: npt.NDArray[np.int64], T: npt.NDArray[np.float64], new: bool
    ) -> npt.NDArray[np.float64]:
        """Return [4, n] for readings of one sample."""
        if new or self._history is None:
            self._epoch = int(times[0])
            self._history = self._at_first(float(T[0]))
        history = self._history
        seconds = (times - self._epoch) / 1e9
        dt = np.diff(seconds, prepend=history.seconds)
        rise = np.diff(T, prepend=history.temperature)
        before = history.fictive
        fictive = self._tnm.follow(history, seconds, T)
        change = np.diff(fictive, prepend=before)
        relaxed = np.divide(change, rise, out=np.full(len(T), np.nan), where=rise != 0)
        flow = np.divide(change, dt, out=np.full(len(T), np.nan), where=dt > 0)
        return np.stack(
            [fictive, self._model.ln_tau(T, fictive), relaxed, self._config.step * flow]
        )
