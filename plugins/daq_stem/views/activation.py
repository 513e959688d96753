"""Tau against temperature with its Arrhenius fit (``arrhenius.fit``)."""

from __future__ import annotations

from typing import Any

import numpy as np

import daq
from daq_stem.views.positions import with_error


class Arrhenius(daq.View):
    """Tau on a logarithmic scale against 1000/T, with temperatures on top."""

    name = "Arrhenius"
    rank = 20
    records = 1

    @classmethod
    def can_draw(cls, stream: daq.Stream) -> bool:
        """Tell whether this is an Arrhenius fit to some temperatures."""
        names = {"temperature", "ln_tau", "ln_tau_errors", "energy", "energy_errors", "line"}
        return names <= set(stream.fields) and len(stream.fields["ln_tau"].shape) == 1

    def widget(self, stream: daq.Stream) -> Any:
        """Return the plot."""
        figure = self._figure = self.figure()
        self._colours = figure.colours.curves
        self._plot = figure.plot(
            ("1000 / temperature (1/K)", "1000/T (1/K)"),
            ("relaxation time \u03c4 (s)", "\u03c4 (s)"), logarithmic="y",
        )  # fmt: skip
        return figure

    def update(self, batch: daq.Batch) -> None:
        """Draw the newest fit."""
        kelvin, ln_tau, errors, line = (
            batch[name][-1] for name in ("temperature", "ln_tau", "ln_tau_errors", "line")
        )
        there = np.flatnonzero(np.isfinite(kelvin) & np.isfinite(ln_tau) & (kelvin > 0))
        there = there[np.argsort(kelvin[there], kind="stable")]
        kelvin, ln_tau, errors, line = kelvin[there], ln_tau[there], errors[there], line[there]
        with np.errstate(over="ignore"):
            tau = np.exp(ln_tau)
            spread = (tau - np.exp(ln_tau - errors), np.exp(ln_tau + errors) - tau)
            fitted = np.exp(line)
        x = 1000 / kelvin
        self._plot.curve("line", x, fitted, self._colours[1], width=2)
        self._plot.points("tau", x, tau, spread, self._colours[0], size=6)
        if not len(there):
            self._figure.say("no temperature yet")
            return
        marks = round_temperatures(float(kelvin[0]), float(kelvin[-1]))
        self._plot.top_axis("temperature (K)", [(1000 / mark, f"{mark:g}") for mark in marks])
        energy, error = float(batch["energy"][-1]), float(batch["energy_errors"][-1])
        if not np.isfinite(energy):
            self._figure.say(f"{len(there)} temperature{'s' * (len(there) > 1)}: no energy yet")
            return
        said = f"E = {with_error(energy, error)} kJ/mol"
        unweighted = ""
        if "energy_unweighted" in batch.raw:
            other = with_error(
                float(batch["energy_unweighted"][-1]),
                float(batch["energy_unweighted_errors"][-1]),
            )
            unweighted = f" \u00b7 unweighted {other}"
        self._figure.say(f"{said} weighted{unweighted}", f"{said}{unweighted}", said)


def round_temperatures(low: float, high: float, most: int = 5) -> list[float]:
    """Return at most ``most`` round temperatures from a little below ``low`` to a little above ``high``."""
    room = max(0.05 * (high - low), 1.0)
    low, high = low - room, high + room
    power = 10.0 ** np.floor(np.log10((high - low) / most))
    step = next(k * power for k in (1, 2, 5, 10, 20) if (high - low) / (k * power) <= most)
    first, last = np.ceil(low / step), np.floor(high / step)
    return [float(value) for value in np.arange(first, last + 1) * step]
