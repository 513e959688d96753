"""Arrhenius energy while the temperature series runs: ln tau of each stage, and the line so far."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

import daq

Floats = npt.NDArray[np.float64]

ZERO_OF = {"K": 0.0, "kelvin": 0.0, "degC": 273.15, "°C": 273.15, "celsius": 273.15}
"""What is added to a temperature in these units to have it in K."""


class Arrhenius(daq.Analysis):
    """Fits ln tau = ln tau_inf + E/(R T) to relaxation times at several temperatures.

    Nakazawa2024, eq. 4. Takes one stream whose records have a temperature and a ln tau, with an
    error or without. Where they have the number of a temperature stage too, the last record of
    each stage counts, those of stage -1 (the temperature is on its way) do not; where not, each
    record is a stage of its own. A record that was lost, or whose temperature, ln tau or error is
    not a number (an error must be above 0), changes nothing.

    Gives the stream ``fit``, one record per record of the input, not valid where that was lost;
    float64, NaN where there are not enough temperatures yet (two):

    ``stage``, ``temperature`` K, ``ln_tau``, ``ln_tau_errors``
        [stage], the points of the fit in the order of their stages, tau in s; -1 and NaN after
        the last one. Without stages in the input, a point's number is that of its record.
    ``energy``, ``energy_errors`` kJ/mol, ``ln_tau_inf``, ``ln_tau_inf_errors``
        Of the line weighted by the errors. Its standard errors are those that follow from the
        errors of the points, times sqrt(chi2 / dof) where that is above 1: points that scatter
        more than they may widen them, points that happen to lie well do not narrow them. NaN
        where the input has no errors; ``line`` is then the one without weights.
    ``energy_unweighted``, ``energy_unweighted_errors`` kJ/mol
        All points alike; the error is from their scatter alone, so NaN for two points, and for
        three or four to be trusted within a factor of 2 at best.
    ``line``
        [stage], the fitted ln tau at each temperature.
    ``chi2``, ``dof``
        Of the weighted line: sum of ((ln tau - line) / error)^2, and the points less 2 (int64).
    ``left_out``
        Stages for which there was no room, int64; see ``stages``.
    """

    name = "arrhenius"

    class Config(daq.Config):
        """What ``[analyses.NAME]`` with ``type = "arrhenius"`` may say."""

        ln_tau: str = daq.setting("mean_ln_tau", "", "field with ln(tau/s), one value or [band]")
        ln_tau_errors: str | None = daq.setting(
            None,
            "",
            "field with its errors; by default that of ln_tau with _errors, if there is one",
        )
        logarithm: bool = daq.setting(
            False, "", "the field holds tau in s, its errors are in s: take the logarithm"
        )
        temperature: str = daq.setting("temperature", "", "field with the temperature, K or degC")
        stage: str | None = daq.setting(
            None, "", "field with the number of the stage; by default stage, if there is one"
        )
        band: int = daq.setting(0, "", "which entry, where the fields have several", ge=0)
        stages: int = daq.setting(16, "", "how many there is room for", ge=2, le=4096)

    def open(self, streams: Mapping[str, daq.Stream], config: Any) -> Sequence[daq.Stream]:
        """Find the fields; ValueError where one is missing or cannot be what it is taken for."""
        if len(streams) != 1:
            raise ValueError(f"arrhenius takes one input, not {len(streams)}")
        (stream,) = streams.values()
        self._config = config
        self._zero = self._zero_of(stream, config.temperature)
        self._value = self._field(stream, config.ln_tau)
        errors = config.ln_tau_errors or f"{config.ln_tau}_errors"
        given = config.ln_tau_errors is not None or errors in stream.fields
        self._error = self._field(stream, errors) if given else None
        stage = config.stage or "stage"
        self._stage = None
        if config.stage is not None or stage in stream.fields:
            self._stage, field = stage, self._known(stream, stage)
            if field.numpy_dtype.kind not in "iu" or field.shape:
                raise ValueError(f"{stream.name}: {stage} is not one whole number per record")
        self._points: dict[int, tuple[float, float, float]] = {}
        """Temperature in K, ln tau and its error of each stage."""
        self._left_out: set[int] = set()
        return [self._described(stream)]

    def process(self, batch: daq.Batch) -> Iterable[daq.Batch]:
        """Take points; give the line after each record."""
        if not len(batch):
            return
        assert batch.first is not None
        kelvin = batch[self._config.temperature] + self._zero
        value = self._column(batch, self._value)
        error = np.ones(len(batch)) if self._error is None else self._column(batch, self._error)
        stages = batch.indices if self._stage is None else batch[self._stage]
        records = []
        for i in range(len(batch)):
            if batch.valid[i] and stages[i] >= 0:
                self._take(int(stages[i]), float(kelvin[i]), float(value[i]), float(error[i]))
            records.append(self._record())
        arrays: dict[str, npt.NDArray[Any]] = {
            name: np.array([record[name] for record in records]) for name in records[0]
        }
        yield daq.Batch("fit", {**arrays, "time": batch.time.copy()}, valid=batch.valid.copy())

    @classmethod
    def memory(cls, streams: Mapping[str, daq.Stream], config: Any) -> int:
        """Return 300 bytes per stage, and 64 records of input and of output."""
        taken = sum(stream.record_bytes for stream in streams.values())
        return int(config.stages) * 300 + 64 * (taken + 40 * int(config.stages) + 100)

    def _take(self, stage: int, kelvin: float, value: float, error: float) -> None:
        if self._config.logarithm:
            # tau and its error, both in s, where there is an error
            error = error if self._error is None else error / value if value else math.nan
            value = math.log(value) if value > 0 else math.nan
        if not (all(map(math.isfinite, (kelvin, value, error))) and kelvin > 0 and error > 0):
            return
        if stage in self._points or len(self._points) < self._config.stages:
            self._points[stage] = (kelvin, value, error)
        else:
            self._left_out.add(stage)

    def _record(self) -> dict[str, Any]:
        """Points and lines as they are now."""
        from daq_relaxation.arrhenius_fit import fit_arrhenius

        points = np.full((4, self._config.stages), np.nan)
        stages = np.full(self._config.stages, -1)
        for i, stage in enumerate(sorted(self._points)):
            points[:3, i], stages[i] = self._points[stage], stage
        kelvin, value, error, line = points
        energies = dict.fromkeys(
            ("energy", "energy_errors", "ln_tau_inf", "ln_tau_inf_errors",
             "energy_unweighted", "energy_unweighted_errors", "chi2"), math.nan,
        )  # fmt: skip
        record = {
            "stage": stages, "temperature": kelvin, "ln_tau": value, "ln_tau_errors": error,
            "line": line,
            **energies, "dof": 0, "left_out": len(self._left_out),
        }  # fmt: skip
        if self._error is None:
            error[:] = np.nan
        if len(np.unique(kelvin[np.isfinite(kelvin)])) < 2:
            return record
        fit = fit_arrhenius(kelvin, value, None if self._error is None else error, scaled=False)
        plain, best = fit.unweighted, fit.weighted
        record["energy_unweighted"] = plain.energy_kj
        record["energy_unweighted_errors"] = plain.energy_kj_error
        record["dof"] = plain.dof
        if best is not None:
            wider = math.sqrt(max(1.0, best.chi2 / best.dof)) if best.dof else 1.0
            record["energy"], record["energy_errors"] = best.energy_kj, best.energy_kj_error * wider
            record["ln_tau_inf"] = best.ln_tau_inf
            record["ln_tau_inf_errors"] = best.ln_tau_inf_error * wider
            record["chi2"] = best.chi2
        record["line"] = (best or plain).ln_tau(kelvin)[0]
        return record

    def _described(self, stream: daq.Stream) -> daq.Stream:
        shape = (self._config.stages,)
        axis = [{"name": "point", "units": "", "offset": 0, "step": 1}]
        fields = {
            "stage": daq.Field("<i8", shape, "", "number of the stage, -1: none"),
            "temperature": daq.Field("<f8", shape, "K", "temperature of each stage"),
            "ln_tau": daq.Field("<f8", shape, "", "ln(tau/s)"),
            "ln_tau_errors": daq.Field("<f8", shape, "", "its standard error"),
            "line": daq.Field("<f8", shape, "", "ln(tau/s) of the Arrhenius line"),
            "energy": daq.Field("<f8", (), "kJ/mol", "activation energy, weighted"),
            "energy_errors": daq.Field("<f8", (), "kJ/mol", "its standard error"),
            "ln_tau_inf": daq.Field("<f8", (), "", "ln(tau/s) at infinite temperature"),
            "ln_tau_inf_errors": daq.Field("<f8", (), "", "its standard error"),
            "energy_unweighted": daq.Field("<f8", (), "kJ/mol", "activation energy, unweighted"),
            "energy_unweighted_errors": daq.Field(
                "<f8", (), "kJ/mol", "its error from the scatter"
            ),
            "chi2": daq.Field("<f8", (), "", "of the weighted line"),
            "dof": daq.Field("<i8", (), "", "points less 2"),
            "left_out": daq.Field("<i8", (), "", "stages without room"),
        }
        axes = {name: axis for name, field in fields.items() if field.shape}
        attributes = {"band": self._config.band} if stream.fields[self._value].shape else {}
        return daq.Stream("fit", fields, axes, attributes=attributes, expect=stream.expect)

    def _column(self, batch: daq.Batch, name: str) -> Floats:
        values = batch[name]
        return np.array(values[:, self._config.band] if values.ndim == 2 else values, np.float64)

    def _field(self, stream: daq.Stream, name: str) -> str:
        """Return ``name`` if that is a field of numbers, one per record or one per band."""
        field = self._known(stream, name)
        if field.numpy_dtype.kind not in "iuf" or len(field.shape) > 1:
            raise ValueError(f"{stream.name}: {name} is not one number per record, or per band")
        if field.shape and self._config.band >= field.shape[0]:
            raise ValueError(
                f"{stream.name}: {name} has {field.shape[0]} bands, counted from 0; "
                f"there is no band {self._config.band}"
            )
        return name

    def _zero_of(self, stream: daq.Stream, name: str) -> float:
        field = self._known(stream, name)
        if field.shape or field.numpy_dtype.kind not in "iuf":
            raise ValueError(f"{stream.name}: {name} is not one number per record")
        if field.units not in ZERO_OF:
            raise ValueError(
                f"{stream.name}: {name} in {field.units or 'no units'}: K or degC is understood"
            )
        return ZERO_OF[field.units]

    @staticmethod
    def _known(stream: daq.Stream, name: str) -> daq.Field:
        if name not in stream.fields:
            there = ", ".join(sorted(set(stream.fields) - {"time"}))
            raise ValueError(f"{stream.name} has no field {name!r}; there is {there}")
        return stream.fields[name]
