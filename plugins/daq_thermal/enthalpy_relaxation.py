"""How fast the excess enthalpy goes: KWW at each annealing temperature, and its energy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

import daq
from daq_relaxation.laws import R, kww_decay
from daq_thermal.readings import single
from daq_thermal.relaxation_fit import Decay, Line, Point, fit_decays, fit_line

SLOTS: Final = 32
"""Annealed samples of one temperature that ``decay`` shows."""
NEEDED: Final = ("sample", "final", "annealing_temperature", "annealing_time", "standard_ramp")


class EnthalpyRelaxation(daq.Analysis):
    """Enthalpy left against annealing time: H = H_0 exp(-(t_a/tau)^b), ln tau = ln tau_0 + E/(R T).

    Takes the stream ``excess`` of `excess_enthalpy`. Each final record is a sample: as quenched
    where ``annealing_time`` is 0 (one at least is needed: before it nothing can be said), else
    annealed. The fits are done anew with each. Records without a finite enthalpy or without a
    known history are left out and counted. Gives:

    ``kww``
        A record per annealing temperature each time: ``ln_tau`` (s), ``b``, ``quenched`` (H_0,
        J/g), with ``_errors`` for the first two; ``reduced_chi2``; ``scatter``, what errors were
        multiplied with; ``samples``; ``flag`` (`daq_relaxation.kww_fit`; 4: too few samples).
    ``decay``
        With it, for drawing: ``annealing_time`` s, ``fraction`` = H/H_0 with ``_errors``, NaN
        where there are fewer samples; ``curve``, the fit, against the constant ``time_axis`` s.
    ``arrhenius``
        A record each time two temperatures or more are determined: ``energy`` kJ/mol and
        ``energy_rtg`` in R T_g, ``ln_tau0``, with ``_errors``; ``chi2``; ``temperatures``, how
        many; ``energy_unweighted`` of the line without weights, its errors from scatter. With it, for
        drawing: ``temperature`` K, ``ln_tau`` with ``_errors``, ``line``.
    """

    name = "enthalpy_relaxation"

    class Config(daq.Config):
        """What ``[analyses.NAME]`` with ``type = "enthalpy_relaxation"`` may say."""

        quantity: Literal["excess", "below"] = daq.setting(
            "excess", "", "which enthalpy; below: the part below the split"
        )
        reproducibility: float | None = daq.setting(
            None, "J/g", "from sample to sample, besides noise; by default from scatter", ge=0
        )
        b: float | None = daq.setting(None, "", "hold the exponent at this", gt=0.1, le=2)
        T_g: float = daq.setting(695.0, "K", "for energies in R T_g", gt=0)

    def open(self, streams: Mapping[str, daq.Stream], config: Any) -> Sequence[daq.Stream]:
        """Check the input; ValueError where it is not one of excess enthalpies."""
        stream = single(streams, self.name)
        wanted = (*NEEDED, config.quantity, f"{config.quantity}_errors",
                  f"{config.quantity}_standard_errors")  # fmt: skip
        for field in wanted:
            if field not in stream.fields:
                raise ValueError(
                    f"{stream.name} has no field {field!r}: the input is the stream 'excess' of an "
                    'analysis of type "excess_enthalpy"'
                )
        self._config = config
        self._points: list[Point] = []
        self._refused = 0
        self._times = np.geomspace(10.0, 1e6, 101)
        number = daq.Field("<i4", (), "")
        kelvin = daq.Field("<f8", (), "K", "annealing temperature")
        plain = daq.Field("<f8", (), "")
        kww = {
            "annealing_temperature": kelvin,
            "ln_tau": daq.Field("<f8", (), "", "ln of tau in s"), "ln_tau_errors": plain,
            "b": daq.Field("<f8", (), "", "stretching exponent"), "b_errors": plain,
            "quenched": daq.Field("<f8", (), "J/g", "enthalpy as quenched"),
            "reduced_chi2": plain, "scatter": plain, "samples": number, "left_out": number,
            "flag": daq.Field("|u1", (), ""),
        }  # fmt: skip
        slots = daq.Field("<f8", (SLOTS,), "", "enthalpy left")
        decay = {
            "annealing_temperature": kelvin,
            "annealing_time": daq.Field("<f8", (SLOTS,), "s", "annealing time"),
            "fraction": slots, "fraction_errors": slots,
            "curve": daq.Field("<f8", (len(self._times),), "", "KWW fit"),
        }  # fmt: skip
        energy = daq.Field("<f8", (), "kJ/mol", "activation energy")
        rtg = daq.Field("<f8", (), "", "activation energy over R T_g")
        ln_tau = daq.Field("<f8", (SLOTS,), "", "ln of tau in s")
        arrhenius = {
            "energy": energy, "energy_errors": energy,
            "energy_rtg": rtg, "energy_rtg_errors": rtg,
            "ln_tau0": plain, "ln_tau0_errors": plain, "chi2": plain, "temperatures": number,
            "energy_unweighted": energy, "energy_unweighted_errors": energy,
            "temperature": daq.Field("<f8", (SLOTS,), "K", "annealing temperature"),
            "ln_tau": ln_tau, "ln_tau_errors": ln_tau, "line": ln_tau,
        }  # fmt: skip
        axis = {"name": "annealing time", "units": "s", "values": "time_axis"}
        return [
            daq.Stream("kww", kww),
            daq.Stream(
                "decay", decay, axes={"curve": [axis]}, constants={"time_axis": self._times}
            ),
            daq.Stream("arrhenius", arrhenius),
        ]

    def process(self, batch: daq.Batch) -> Iterable[daq.Batch]:
        """Take each sample and fit anew."""
        name = self._config.quantity
        for i in range(len(batch)):
            if not batch.valid[i] or not batch["final"][i]:
                continue
            value, error, shared, T, seconds = (
                float(batch[field][i])
                for field in (name, f"{name}_errors", f"{name}_standard_errors",
                              "annealing_temperature", "annealing_time")
            )  # fmt: skip
            known = seconds == 0 or (seconds > 0 and T > 0)
            if not (np.isfinite(value) and error > 0 and known):
                self._refused += 1
                continue
            own = np.sqrt(max(error**2 - shared**2, 0.0))
            if seconds == 0:
                T = float("nan")
            standard = int(batch["standard_ramp"][i])
            self._points.append(Point(T, seconds, value, float(own), shared, standard))
            yield from self._fitted(int(batch.time[i]))

    def reconfigure(self, config: Any) -> None:
        """Fit otherwise from the next sample on; ``quantity`` stays."""
        if config.quantity != self._config.quantity:
            raise ValueError(f"{self.name}: quantity cannot change while it runs; start it anew")
        self._config = config

    @classmethod
    def memory(cls, streams: Mapping[str, daq.Stream], config: Any) -> int:
        """Return what a thousand samples and their covariance need."""
        return 1000 * 200 + 8 * 1000 * 1000

    def _fitted(self, time: int) -> Iterable[daq.Batch]:
        config, points = self._config, self._points
        if not any(p.seconds == 0 for p in points):
            return
        decays = fit_decays(points, config.reproducibility, config.b)
        for decay in decays:
            yield _batch("kww", time, {
                "annealing_temperature": decay.temperature,
                "ln_tau": decay.ln_tau, "ln_tau_errors": decay.ln_tau_error,
                "b": decay.b, "b_errors": decay.b_error, "quenched": decay.quenched,
                "reduced_chi2": decay.reduced_chi2, "scatter": decay.scatter,
                "samples": np.int32(decay.count), "left_out": np.int32(self._refused),
                "flag": np.uint8(decay.flag),
            })  # fmt: skip
            yield self._decay(time, decay)
        line = fit_line(decays, points, config.reproducibility)
        if line is not None:
            yield self._line(time, line, decays)

    def _decay(self, time: int, decay: Decay) -> daq.Batch:
        whole = decay.quenched
        if not np.isfinite(whole):
            whole = float(np.mean([p.enthalpy for p in self._points if p.seconds == 0]))
        at = sorted(
            (p for p in self._points if p.seconds > 0 and p.temperature == decay.temperature),
            key=lambda p: p.seconds,
        )[:SLOTS]
        rows = np.full((3, SLOTS), np.nan)
        for i, p in enumerate(at):
            error = np.hypot(np.hypot(p.own, p.shared), self._config.reproducibility or 0.0)
            rows[:, i] = p.seconds, p.enthalpy / whole, decay.scatter * error / whole
        curve = kww_decay(self._times, np.exp(decay.ln_tau), decay.b)
        return _batch("decay", time, {
            "annealing_temperature": decay.temperature,
            "annealing_time": rows[0], "fraction": rows[1], "fraction_errors": rows[2],
            "curve": curve,
        })  # fmt: skip

    def _line(self, time: int, line: Line, decays: Sequence[Decay]) -> daq.Batch:
        rtg = R * self._config.T_g
        rows = np.full((4, SLOTS), np.nan)
        for i, decay in enumerate(decays[:SLOTS]):
            T = decay.temperature
            rows[:, i] = (
                T, decay.ln_tau, decay.ln_tau_error, line.ln_tau0 + line.energy / (R * T)
            )  # fmt: skip
        return _batch("arrhenius", time, {
            "energy": line.energy / 1e3, "energy_errors": line.energy_error / 1e3,
            "energy_rtg": line.energy / rtg, "energy_rtg_errors": line.energy_error / rtg,
            "ln_tau0": line.ln_tau0, "ln_tau0_errors": line.ln_tau0_error, "chi2": line.chi2,
            "temperatures": np.int32(line.count),
            "energy_unweighted": line.plain_energy / 1e3,
            "energy_unweighted_errors": line.plain_energy_error / 1e3,
            "temperature": rows[0], "ln_tau": rows[1], "ln_tau_errors": rows[2],
            "line": rows[3],
        })  # fmt: skip


def _batch(stream: str, time: int, row: Mapping[str, Any]) -> daq.Batch:
    arrays: dict[str, npt.NDArray[Any]] = {n: np.asarray(v)[np.newaxis] for n, v in row.items()}
    return daq.Batch(stream, {"time": np.array([time], np.int64), **arrays})
