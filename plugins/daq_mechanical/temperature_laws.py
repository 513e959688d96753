"""Relaxation times or shifts against temperature: VFT, Arrhenius, fragility, as sweeps arrive."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

import daq
from daq_mechanical.spectrum_fit import single

LN10: Final = math.log(10)
_ROW: Final = {
    "temperature": ("K", "temperature of each point"),
    "ln_tau": ("", "ln(tau/s), or ln a_T"),
    "ln_tau_errors": ("", "its standard error"),
    "vft": ("", "the fitted VFT law at each point"),
    "arrhenius": ("", "the fitted Arrhenius law at each point"),
}
_LIQUID: Final = {
    "steepness": ("", "d = T_c/(T_c - T0); 1 is Arrhenius"),
    "T0": ("K", "of VFT"),
    "B": ("K", "of VFT"),
    "ln_tau0": ("", "ln(tau/s) at infinite temperature"),
    "T_g": ("K", "where tau is tau_g, or as told"),
    "fragility": ("", "m = d log10 tau / d(T_g/T) at T_g"),
    "energy": ("kJ/mol", "apparent energy of the liquid at T_g, m R T_g ln 10"),
    "energy_rtg": ("", "that over R T_g"),
}
_GLASS: Final = {
    "arrhenius_energy": ("kJ/mol", "energy of the Arrhenius law"),
    "arrhenius_energy_rtg": ("", "that over R T_g"),
    "arrhenius_ln_tau0": ("", "ln(tau/s) of the Arrhenius law at infinite temperature"),
}


class TemperatureLaws(daq.Analysis):
    """Fits VFT above, and Arrhenius below, to what sweeps gave at each temperature.

    Takes ``fits`` of `spectrum_fit` (ln tau of the loss peak with its error; the last record of
    each sweep counts) or ``shifts`` of `master_curve` (ln a_T with the covariance of all shifts;
    tau itself is then not known, so neither T_g nor tau0: say ``T_g``). Gives ``fit``, a record
    for each record of the input that has two temperatures or more:

    ``temperature`` K, ``ln_tau`` with ``_errors``, ``vft``, ``arrhenius``
        [point], in order of temperature, NaN after the last.
    ``steepness`` d, ``T0``, ``B`` K, ``ln_tau0``, ``T_g`` K, ``fragility`` m, ``energy`` kJ/mol and
    ``energy_rtg`` (E = m R T_g ln 10, Qiao2019 4.2), each with ``_errors``
        Of y = y_c - e x/(1 + d x), see `daq_relaxation.temperature_law_fit`. Errors hold the truth
        in 70-75 % of simulated cases; those of T0 only where ``flag`` is 0.
    ``arrhenius_energy`` kJ/mol, ``arrhenius_energy_rtg``, ``arrhenius_ln_tau0``, with ``_errors``
        Of the Arrhenius law, through all points, or through those below ``liquid_from``.
    ``flag``, ``arrhenius_flag``
        0 determined, 1 points do not tell VFT from Arrhenius, 3 not converged, 4 too few points.
    ``chi2``, ``dof``, ``arrhenius_chi2``, ``arrhenius_dof``; ``points``; ``extrapolated``
        True: T_g lies below all points of the liquid, so m and E rest on the law alone.

    Open shifts, and sweeps whose tau was not determined, take no part.
    """

    name = "temperature_laws"

    class Config(daq.Config):
        """What ``[analyses.NAME]`` with ``type = "temperature_laws"`` may say."""

        T_g: float | None = daq.setting(None, "K", "by default where the law gives tau_g", gt=0)
        tau_g: float = daq.setting(100.0, "s", "tau at the glass transition", gt=0)
        liquid_from: float | None = daq.setting(
            None, "K", "VFT from here up, Arrhenius below; by default both through all", gt=0
        )
        ln_tau: str = daq.setting("ln_tau_peak_best", "", "field with ln(tau/s), of fits")
        model: int | None = daq.setting(
            None, "", "which model, where that field has one for each", ge=0
        )
        points: int = daq.setting(48, "", "how many there is room for", ge=3, le=512)

    def open(self, streams: Mapping[str, daq.Stream], config: Any) -> Sequence[daq.Stream]:
        """Check the input; ValueError where it is neither fits nor shifts."""
        stream = single(streams, self.name)
        self._config = config
        fields = stream.fields
        self._shifts = {"log10_shift", "covariance", "flag"} <= set(fields)
        wanted = [] if self._shifts else [config.ln_tau, f"{config.ln_tau}_errors", "temperature"]
        if missing := [name for name in wanted if name not in fields]:
            raise ValueError(
                f"{stream.name} has no field {missing[0]!r}: the input is the stream 'fits' of an "
                'analysis of type "spectrum_fit", or \'shifts\' of "master_curve"'
            )
        if not self._shifts and bool(fields[config.ln_tau].shape) != (config.model is not None):
            raise ValueError(
                f"{stream.name}: {config.ln_tau} has {list(fields[config.ln_tau].shape) or 'one'} "
                "value per record: say model = number where, and only where, it has one for each"
            )
        self._number = "sweep" if "sweep" in fields and not self._shifts else None
        if self._shifts and fields["log10_shift"].shape[0] > config.points:
            raise ValueError(
                f"{stream.name} has room for {fields['log10_shift'].shape[0]} sweeps: say points = "
                f"{fields['log10_shift'].shape[0]} or more"
            )
        self._points: dict[int, tuple[float, float, float]] = {}
        row = (config.points,)
        described = {name: daq.Field("<f8", row, *about) for name, about in _ROW.items()}
        for name, about in {**_LIQUID, **_GLASS}.items():
            described[name] = daq.Field("<f8", (), *about)
            described[f"{name}_errors"] = daq.Field("<f8", (), about[0], f"{about[1]}: error")
        for name in ("chi2", "arrhenius_chi2"):
            described[name] = daq.Field("<f8")
        for name in ("dof", "arrhenius_dof", "points"):
            described[name] = daq.Field("<i8")
        described |= {
            "flag": daq.Field("|u1", (), "", "0 determined"),
            "arrhenius_flag": daq.Field("|u1", (), "", "0 determined"),
            "extrapolated": daq.Field("|b1", (), "", "T_g lies below all points"),
        }
        fit = daq.Stream("fit", described, attributes={"absolute": not self._shifts})
        self._fields = fit.fields
        return [fit]

    def process(self, batch: daq.Batch) -> Iterator[daq.Batch]:
        """Take points; give the laws after each record."""
        records = []
        for i in range(len(batch)):
            if not batch.valid[i]:
                continue
            table = self._shifted(batch, i) if self._shifts else self._fitted(batch, i)
            if table is not None:
                records.append({"time": int(batch.time[i])} | self._record(*table))
        if records:
            yield daq.Batch(
                "fit",
                {
                    name: np.array([r[name] for r in records], self._fields[name].numpy_dtype)
                    for name in records[0]
                },
            )

    def _shifted(self, batch: daq.Batch, i: int) -> tuple[Any, Any, Any, float | None] | None:
        T, shift = batch["temperature"][i], batch["log10_shift"][i]
        good = np.isfinite(T) & np.isfinite(shift) & (batch["flag"][i] == 0)
        if len(np.unique(T[good])) < 2:
            return None
        covariance = batch["covariance"][i][np.ix_(good, good)] * LN10**2
        reference = float(batch["reference_temperature"][i])
        if not math.isfinite(reference):
            return None
        return T[good], shift[good] * LN10, covariance, reference

    def _fitted(self, batch: daq.Batch, i: int) -> tuple[Any, Any, Any, float | None] | None:
        name, model = self._config.ln_tau, self._config.model
        value, error = batch[name][i], batch[f"{name}_errors"][i]
        if model is not None:
            value, error = value[model], error[model]
        number = int(batch.indices[i]) if self._number is None else int(batch[self._number][i])
        T = float(batch["temperature"][i])
        if all(map(math.isfinite, (T, value, error))) and T > 0 and error > 0:
            if number in self._points or len(self._points) < self._config.points:
                self._points[number] = (T, float(value), float(error))
        else:
            self._points.pop(number, None)
        if len({point[0] for point in self._points.values()}) < 2:
            return None
        T_all, y, errors = np.array(sorted(self._points.values())).T
        return T_all, y, np.diag(errors**2), None

    def _record(self, T: Any, y: Any, covariance: Any, reference: float | None) -> dict[str, Any]:
        from daq_relaxation.laws import R
        from daq_relaxation.temperature_law_fit import FEW, fit_temperature_law

        config = self._config
        order = np.argsort(T, kind="stable")
        T, y, covariance = T[order], y[order], covariance[np.ix_(order, order)]
        above = np.ones(len(T), bool) if config.liquid_from is None else config.liquid_from <= T
        below = above if config.liquid_from is None else ~above

        def fitted(part: npt.NDArray[np.bool_], arrhenius: bool) -> Any:
            try:
                return fit_temperature_law(
                    T[part], y[part], covariance[np.ix_(part, part)], reference=reference,
                    arrhenius=arrhenius,
                )  # fmt: skip
            except ValueError:
                return None  # fewer than two temperatures, or shifts that no reading ties

        record: dict[str, Any] = {
            name: np.nan for n in (*_LIQUID, *_GLASS) for name in (n, f"{n}_errors")
        }
        record |= {
            "flag": FEW, "arrhenius_flag": FEW, "chi2": np.nan, "arrhenius_chi2": np.nan,
            "dof": 0, "arrhenius_dof": 0, "points": len(T), "extrapolated": False,
        }  # fmt: skip
        rows = np.full((len(_ROW), config.points), np.nan)
        shown = len(T)
        rows[0, :shown], rows[1, :shown] = T, y
        rows[2, :shown] = np.sqrt(np.diagonal(covariance))
        T_g, T_g_error = (math.nan, math.nan) if config.T_g is None else (config.T_g, 0.0)
        law, glass = fitted(above, False), fitted(below, True)
        if law is not None:
            if config.T_g is None:
                T_g, T_g_error = law.glass_transition(config.tau_g)
            rows[3, :shown] = law.value(T)[0]
            pairs = {
                "steepness": (law.parameters[2], math.sqrt(law.covariance[2, 2])),
                "T0": law.vogel, "B": law.B, "ln_tau0": law.ln_tau0, "T_g": (T_g, T_g_error),
                "fragility": law.fragility(T_g),
            }  # fmt: skip
            if law.flag == FEW:  # two temperatures tell a slope, and nothing of its change
                pairs = {"T_g": pairs["T_g"]}
            else:
                E, error = law.energy(T_g)
                pairs |= {
                    "energy": (E / 1e3, error / 1e3),
                    "energy_rtg": (E / (R * T_g), error / (R * T_g)),
                }
            for name, (value, error) in pairs.items():
                record[name], record[f"{name}_errors"] = value, error
            record |= {
                "flag": law.flag, "chi2": law.chi2, "dof": law.dof,
                "extrapolated": bool(T_g < T[above].min()),
            }  # fmt: skip
        if glass is not None:
            rows[4, :shown] = glass.value(T)[0]
            E, error = glass.energy(glass.centre)
            pairs = {
                "arrhenius_energy": (E / 1e3, error / 1e3),
                "arrhenius_energy_rtg": (E / (R * T_g), error / (R * T_g)),
                "arrhenius_ln_tau0": glass.ln_tau0,
            }
            for name, (value, error) in pairs.items():
                record[name], record[f"{name}_errors"] = value, error
            record |= {
                "arrhenius_flag": glass.flag, "arrhenius_chi2": glass.chi2,
                "arrhenius_dof": glass.dof,
            }  # fmt: skip
        return record | dict(zip(_ROW, rows, strict=True))
