"""Activation energies from how temperatures shift with the heating rate: Kissinger, and plain Arrhenius."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

import daq
from daq_relaxation.arrhenius_fit import ArrheniusFit, fit_arrhenius
from daq_relaxation.laws import R
from daq_thermal.readings import single

Method = Literal["kissinger", "arrhenius"]

TEMPERATURES: Final = ("onset", "half_step", "crystallisation_onset", "crystallisation_peak")
"""Fields of `glass_transition`'s ``transition`` that shift with the rate."""
SLOTS: Final = 32


def fit_rates(
    rate: npt.ArrayLike,
    T: npt.ArrayLike,
    errors: npt.ArrayLike | None = None,
    method: Method = "kissinger",
) -> ArrheniusFit:
    """Fit ln(T^2/q) = E/(R T) + const (Kissinger 1957) or ln(1/q) = E/(R T) + const.

    Parameters
    ----------
    rate
        [n], q > 0, K/min.
    T
        [n], K.
    errors
        [n], standard errors of T, K: each moves ln(T^2/q) and 1/T together.
    method
        ``kissinger`` for the peak of a reaction; ``arrhenius`` (Moynihan 1974) for T_g, where E
        is that of the relaxation time.

    Returns
    -------
    ArrheniusFit
        ``energy`` J/mol; both without weights (errors from scatter) and with them.

    Raises
    ------
    ValueError
        Rates not above 0; fewer than two temperatures.
    """
    q, kelvin = np.asarray(rate, np.float64), np.asarray(T, np.float64)
    if np.any(q <= 0):
        raise ValueError("heating rates must be above 0")
    power = 2 if method == "kissinger" else 0
    y = power * np.log(kelvin) - np.log(q / 60)
    plain = fit_arrhenius(kelvin, y)
    if errors is None:
        return plain
    moved = power / kelvin + plain.unweighted.energy / (R * kelvin**2)
    return fit_arrhenius(kelvin, y, np.abs(moved) * np.asarray(errors, np.float64), scaled=False)


class Kissinger(daq.Analysis):
    """Energies of the glass transition and of crystallisation, from several heating rates.

    Takes the stream ``transition`` of `glass_transition`. Each final record of a heating gives a
    point per temperature. Gives:

    E of the glass transition is that of the relaxation time only if each sample was cooled at the
    rate at which it was then heated (Moynihan 1974): cooled at one rate, it comes out too high.

    ``energies``
        After each heating that adds a point, a record per temperature of which there are two
        rates or more: ``quantity``, what it is; ``energy`` kJ/mol with ``_errors`` (from
        ``temperature_error`` where that is set, else from scatter: NaN for two points);
        ``energy_rtg`` in R T_g; ``heatings``, how many. For drawing, NaN where there are fewer:
        ``inverse_temperature`` 1000/K, ``ln_rate`` the ordinate, and ``line``.
    """

    name = "kissinger"

    class Config(daq.Config):
        """What ``[analyses.NAME]`` with ``type = "kissinger"`` may say."""

        heating: int | None = daq.setting(
            None, "", "which heating of a sample counts, 0 the first; by default all", ge=0
        )
        temperature_error: float | None = daq.setting(
            None, "K", "of each temperature, besides noise; by default from scatter", gt=0
        )
        T_g: float = daq.setting(695.0, "K", "for energies in R T_g", gt=0)

    def open(self, streams: Mapping[str, daq.Stream], config: Any) -> Sequence[daq.Stream]:
        """Check the input; ValueError where it is not one of glass transitions."""
        stream = single(streams, self.name)
        for field in (*TEMPERATURES, "final", "heating", "heating_rate"):
            if field not in stream.fields:
                raise ValueError(
                    f"{stream.name} has no field {field!r}: the input is the stream 'transition' of "
                    'an analysis of type "glass_transition"'
                )
        self._config = config
        self._points: dict[str, list[tuple[float, float, float]]] = {n: [] for n in TEMPERATURES}
        energy = daq.Field("<f8", (), "kJ/mol", "activation energy")
        rtg = daq.Field("<f8", (), "", "activation energy over R T_g")
        row = daq.Field("<f8", (SLOTS,), "")
        return [
            daq.Stream(
                "energies",
                {
                    "quantity": daq.Field("|S24"),
                    "energy": energy, "energy_errors": energy,
                    "energy_rtg": rtg, "energy_rtg_errors": rtg,
                    "heatings": daq.Field("<i4"),
                    "inverse_temperature": daq.Field("<f8", (SLOTS,), "1/K", "1000/T"),
                    "ln_rate": row, "line": row,
                },
            )
        ]  # fmt: skip

    def process(self, batch: daq.Batch) -> Iterable[daq.Batch]:
        """Take each heating that has ended."""
        wanted = self._config.heating
        for i in range(len(batch)):
            if not batch.valid[i] or not batch["final"][i]:
                continue
            rate = float(batch["heating_rate"][i])
            if not rate > 0 or wanted not in (None, int(batch["heating"][i])):
                continue
            for name in TEMPERATURES:
                T, error = float(batch[name][i]), float(batch[f"{name}_errors"][i])
                if np.isfinite(T):
                    self._points[name].append((rate, T, error if error > 0 else 0.0))
                    yield from self._fitted(name, int(batch.time[i]))

    def _fitted(self, name: str, time: int) -> Iterable[daq.Batch]:
        rate, T, error = np.array(self._points[name]).T
        if len(set(rate.round(3).tolist())) < 2:
            return
        method: Method = "kissinger" if name.startswith("crystallisation") else "arrhenius"
        told = self._config.temperature_error
        errors = None if told is None else np.hypot(error, told)
        fit = fit_rates(rate, T, errors, method)
        line = fit.weighted or fit.unweighted
        rtg = R * self._config.T_g
        rows = np.full((3, SLOTS), np.nan)
        shown = min(len(T), SLOTS)
        rows[0, :shown] = 1e3 / T[:shown]
        power = 2 if method == "kissinger" else 0
        rows[1, :shown] = (np.log(rate / 60) - power * np.log(T))[:shown]
        rows[2, :shown] = -line.ln_tau(T)[0][:shown]
        values: dict[str, npt.NDArray[Any]] = {
            "energy": np.array([line.energy / 1e3]),
            "energy_errors": np.array([line.energy_error / 1e3]),
            "energy_rtg": np.array([line.energy / rtg]),
            "energy_rtg_errors": np.array([line.energy_error / rtg]),
            "heatings": np.array([len(T)], np.int32),
            "quantity": np.array([name.encode()], "S24"),
            "inverse_temperature": rows[:1], "ln_rate": rows[1:2], "line": rows[2:],
        }  # fmt: skip
        yield daq.Batch("energies", {"time": np.array([time], np.int64), **values})
