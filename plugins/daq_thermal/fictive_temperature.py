"""The fictive temperature of the model, along the temperature that the sample really had."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pydantic

import daq
from daq_thermal.readings import single
from daq_thermal.tnm import R, StreamingTnm, Tnm

LONGEST: Final = 0.5
"""K in one step of the recursion."""
HOT: Final = 100.0
"""K above T_g from which a sample is said to have been cooled."""
NAMES: Final = ("fictive_temperature", "ln_tau", "relaxed", "heat_flow")


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
        model = Tnm(config.T_g, config.tau_g, h, config.nonlinearity, config.stretch)
        tnm = StreamingTnm(model, LONGEST)
        nan = math.nan
        if config.cooling_rate is not None:
            past = [nan, config.cooling_rate / 60, config.T_g + HOT]
        else:
            past = [nan if config.initial == "equilibrium" else config.initial, nan, nan]
        history = tnm.begin(300.0, 300.0)
        from daq_thermal.tnm_kernel import follow_readings

        self._kernel = follow_readings
        self._model = (
            config.step, np.array(past), *tnm.arrays, history.behind, history.state,
            np.zeros(3, np.int64),
        )  # fmt: skip
        # compiles, or loads what was compiled, before the first reading is there
        self._followed(*(np.empty(0, kind) for kind in (np.int64, float, bool, np.int64)))
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
        # copies: compiled code takes read-only arrays for another kind
        T = np.array(batch["temperature"], np.float64)
        good = batch.valid & (batch.time != daq.NO_TIME) & np.isfinite(T) & (T > 0)
        sample = np.array(batch["sample"] if self._has_sample else [], np.int64)
        out = self._followed(np.array(batch.time), T, good, sample)
        return [daq.Batch("state", {"time": batch.time, **dict(zip(NAMES, out, strict=True))},
                          valid=good)]  # fmt: skip

    @classmethod
    def memory(cls, streams: Mapping[str, daq.Stream], config: Any) -> int:
        """Return what a batch of 65536 readings needs; of the past 32 numbers are kept."""
        return 65536 * 8 * 10

    def _followed(
        self, time: npt.NDArray[Any], T: npt.NDArray[Any], good: npt.NDArray[Any],
        sample: npt.NDArray[Any],
    ) -> npt.NDArray[np.float64]:  # fmt: skip
        """Return [4, n], in the order of `NAMES`."""
        out = np.empty((4, len(time)))
        self._kernel(time, T, good, sample, *self._model, out)
        return out
