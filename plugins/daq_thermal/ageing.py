"""The flow-unit law as an analysis: a property against ageing time, one fit per temperature."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

import daq
from daq_thermal.flow_units import fit_flow_units
from daq_thermal.readings import single

LEAST: Final = 5
"""Ages that a fit of four parameters needs."""
TOO_FEW: Final = 4
"""Flag, beside those of `daq_thermal.flow_units`: fewer than `LEAST` ages."""
POINTS: Final = 64


class FlowUnits(daq.Analysis):
    """M(t) = M_inf/(1 + c), c = (a/(b + t))^beta: enthalpy, density, modulus, hardness of what ages.

    Takes a stream with one aged sample per record: a property, its ageing time (s) and maybe the
    temperature (K) at which it aged. Records with a field ``final`` that is not set, and those
    without a finite number or history, are left out; a sample of age 0 belongs to all
    temperatures. Gives (Qiao2019, 4-1):

    ``fit``
        After each sample, a record for its temperature (for every one where it has age 0):
        ``temperature`` K; ``final_value`` M_inf, ``initial_concentration`` c(0) = (a/b)^beta,
        ``ln_b`` (s), ``beta``, each with ``_errors``; ``a`` s; ``ages``, how many; ``chi2``;
        ``flag`` (`daq_thermal.flow_units`; 4: fewer than five ages). For drawing, NaN where there
        are fewer: ``age`` s, ``value``, ``curve``.
    """

    name = "flow_units"

    class Config(daq.Config):
        """What ``[analyses.NAME]`` with ``type = "flow_units"`` may say."""

        property: str = daq.setting(..., "", "field of the property M")
        errors: str | None = daq.setting(
            None, "", "field of its errors; by default <property>_errors where there is one"
        )
        age: str = daq.setting("annealing_time", "s", "field of the ageing time")
        temperature: str = daq.setting(
            "annealing_temperature", "K", "field of the temperature; without it, all are one series"
        )
        released: bool = daq.setting(
            False, "", "M is what is gone since age 0: the property there less the property"
        )

    def open(self, streams: Mapping[str, daq.Stream], config: Any) -> Sequence[daq.Stream]:
        """Find the fields; ValueError where they are absent or in other units."""
        stream = single(streams, self.name)
        for field in (config.property, config.age, *([config.errors] if config.errors else [])):
            if field not in stream.fields or stream.fields[field].shape:
                raise ValueError(
                    f"{stream.name} has no field {field!r} with one number per record; it has "
                    f"{', '.join(sorted(set(stream.fields) - {'time'}))}"
                )
        if stream.fields[config.age].units != "s":
            raise ValueError(f"{stream.name}: {config.age} is not in s")
        default = f"{config.property}_errors"
        self._errors = config.errors or (default if default in stream.fields else None)
        self._has_temperature = config.temperature in stream.fields
        self._has_final = "final" in stream.fields
        self._config = config
        self._points: list[tuple[float, float, float, float]] = []
        units = stream.fields[config.property].units
        value, plain = daq.Field("<f8", (), units), daq.Field("<f8", (), "")
        row = daq.Field("<f8", (POINTS,), units)
        return [
            daq.Stream(
                "fit",
                {
                    "temperature": daq.Field("<f8", (), "K", "ageing temperature"),
                    "final_value": value, "final_value_errors": value,
                    "initial_concentration": plain, "initial_concentration_errors": plain,
                    "ln_b": plain, "ln_b_errors": plain, "beta": plain, "beta_errors": plain,
                    "a": daq.Field("<f8", (), "s"), "chi2": plain,
                    "ages": daq.Field("<i4"), "flag": daq.Field("|u1"),
                    "age": daq.Field("<f8", (POINTS,), "s", "ageing time"),
                    "value": row, "curve": row,
                },
            )
        ]  # fmt: skip

    def process(self, batch: daq.Batch) -> Iterable[daq.Batch]:
        """Take each sample and fit anew."""
        config = self._config
        for i in range(len(batch)):
            if not batch.valid[i] or (self._has_final and not batch["final"][i]):
                continue
            M, age = float(batch[config.property][i]), float(batch[config.age][i])
            error = float(batch[self._errors][i]) if self._errors else 1.0
            T = float(batch[config.temperature][i]) if self._has_temperature else 0.0
            known = age == 0 or (age > 0 and np.isfinite(T))
            if not (np.isfinite(M) and error > 0 and np.isfinite(error) and known):
                continue
            self._points.append((T, age, M, error))
            temperatures = sorted({p[0] for p in self._points if p[1] > 0})
            for one in temperatures if age == 0 else [T]:
                yield self._fitted(one, int(batch.time[i]))

    @classmethod
    def memory(cls, streams: Mapping[str, daq.Stream], config: Any) -> int:
        """Return what a thousand samples need."""
        return 1000 * 200

    def _fitted(self, T: float, time: int) -> daq.Batch:
        chosen = sorted(p[1:] for p in self._points if p[1] == 0 or p[0] == T)
        age, M, error = np.array(chosen).T
        if self._config.released:
            whole = float(np.mean(M[age == 0])) if (age == 0).any() else np.nan
            # what is gone at age 0 is nothing, and not a measurement
            M, age, error = (whole - M)[age > 0], age[age > 0], error[age > 0]
        names = ("final_value", "initial_concentration", "ln_b", "beta")
        row: dict[str, Any] = dict.fromkeys(names, np.nan)
        row |= dict.fromkeys((f"{name}_errors" for name in names), np.nan)
        row |= {"a": np.nan, "chi2": np.nan, "flag": TOO_FEW, "temperature": T, "ages": len(age)}
        curves = np.full((3, POINTS), np.nan)
        shown = min(len(age), POINTS)
        curves[:2, :shown] = age[:shown], M[:shown]
        if len(set(age.tolist())) >= LEAST and np.isfinite(M).all():
            fit = fit_flow_units(age, M, error if self._errors else None)
            values = (fit.M_inf, fit.c0, fit.ln_b, fit.beta)
            row |= dict(zip(names, values, strict=True))
            row |= dict(zip((f"{name}_errors" for name in names), fit.errors, strict=True))
            row |= {"a": fit.a, "chi2": fit.chi2, "flag": fit.flag}
            curves[2, :shown] = fit(age[:shown])
        row |= dict(zip(("age", "value", "curve"), curves, strict=True))
        kinds = {"ages": np.int32, "flag": np.uint8}
        arrays: dict[str, npt.NDArray[Any]] = {
            name: np.asarray(value, kinds.get(name, np.float64))[np.newaxis]
            for name, value in row.items()
        }
        return daq.Batch("fit", {"time": np.array([time], np.int64), **arrays})
