"""Master curves: the curve, its shifts, and the laws of temperature through shifts or times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

import daq
from daq_mechanical.views.plotted import Plotted
from daq_mechanical.views.wording import (
    DOT,
    newest,
    number,
    pair,
    parts,
    ramp_of_colours,
    scale_key,
    shorter,
)

LN10: Final = float(np.log(10.0))
GPA: Final = 1e-9
DIFFER: Final = 1.5
"""Misfit, over the noise of single sweeps, above which the view says that no shift lays them on one curve."""
FLAGS: Final = {1: "VFT and Arrhenius not told apart", 3: "not converged", 4: "too few points"}


class MasterCurve(Plotted):
    """All sweeps on one curve, a colour for each temperature, and the common curve."""

    name = "master curve"
    rank = 12
    fields = {"reduced_frequency": 1, "temperature": 1, "storage_smooth": 1, "loss_smooth": 1}

    @classmethod
    def beside(cls, stream: daq.Stream) -> Sequence[str]:
        """Return the stream of the shifts."""
        return (stream.name.removesuffix("curve") + "shifts",)

    def widget(self, stream: daq.Stream) -> Any:
        """Return the plot."""
        self.begin()
        self._plot = self.drawn.plot(
            ("f\u2009a_T (Hz)",), ("M\u2032, M\u2033 (GPa)",), logarithmic="xy"
        )
        self._drawn: set[str] = set()
        return self.drawn

    def update(self, batch: daq.Batch) -> None:
        """Draw the newest curve, or say what its shifts are."""
        if (at := newest(batch)) is None:
            return
        if "log10_shift" in batch.raw:
            misfit = float(np.max(batch["superposition"][at]))
            reference = f"at {batch['reference_temperature'][at]:.1f} K"
            differ = f"sweeps differ: {misfit:.1f} \u00d7 noise" if misfit > DIFFER else ""
            stands = "" if batch["converged"][at] else "not converged"
            left_out = f"{int(batch['left_out'][at])} left out" if batch["left_out"][at] else ""
            counted = f"{int(batch['count'][at])} sweeps"
            self.drawn.say(
                DOT.join(filter(None, [counted, reference, stands, differ, left_out])),
                *shorter([stands, differ, reference]),
            )
            return
        there = np.isfinite(batch["reduced_frequency"][at])
        f, T = (batch[n][at][there] for n in ("reduced_frequency", "temperature"))
        kelvin = np.unique(T)
        names = set()
        for value, part in zip(kelvin.tolist(), parts(kelvin), strict=True):
            mine = value == T
            colour = ramp_of_colours(self.theme, float(part))
            for quantity in ("storage", "loss"):
                names.add(name := f"{quantity} {value}")
                shown = GPA * batch[f"{quantity}_modulus"][at][there][mine]
                self.points(self._plot, name, f[mine], shown, None, colour, size=5)
        for name in self._drawn - names:
            self._plot.drop(name)
        self._drawn = names
        for quantity in ("storage", "loss"):
            y, e = (GPA * batch[f"{quantity}_smooth{x}"][at][there] for x in ("", "_errors"))
            self._plot.curve(quantity, f, y, self.theme.text, width=1)
            self.band(self._plot, quantity, f, y, e, self.theme.muted)
        if len(kelvin):
            words = [f"{value:.0f} K" for value in kelvin.tolist()]
            self.drawn.key(*scale_key(self.theme, kelvin, words))


class Shifts(Plotted):
    """The shift of each sweep, with its error; in grey where the sweep does not tell it."""

    name = "shifts"
    rank = 13
    fields = {"log10_shift": 1, "temperature": 1, "misfit": 1, "covariance": 2}

    def widget(self, stream: daq.Stream) -> Any:
        """Return the plots."""
        self.begin()
        self._plot = self.drawn.plot((), ("log\u2081\u2080 a_T",), share=2)
        self._misfit = self.drawn.plot(
            ("temperature (K)", "T (K)"), ("misfit / noise", "misfit"), above=self._plot
        )
        self._misfit.level("one", 1.0)
        self._plot.level("zero", 0.0)
        return self.drawn

    def update(self, batch: daq.Batch) -> None:
        """Draw the newest shifts."""
        if (at := newest(batch)) is None:
            return
        T, shift, errors, misfit = (
            batch[n][at] for n in ("temperature", "log10_shift", "log10_shift_errors", "misfit")
        )
        told = batch["flag"][at] == 0
        for name, these, colour in (("told", told, self.colours[0]), ("open", ~told, self.theme.muted)):  # fmt: skip
            self.points(self._plot, name, T[these], shift[these], errors[these], colour)
            self.points(self._misfit, name, T[these], misfit[these], None, colour)
        open_ones = int(np.count_nonzero(~told & np.isfinite(T)))
        told_key = (self.colours[0], "determined")
        open_key = [
            (self.theme.muted, text) for text in ("the sweep does not tell its shift", "open")
        ]
        self.drawn.key(*([told_key, key] for key in open_key if open_ones))
        known = errors[told & np.isfinite(errors) & (errors > 0)]
        text = f"median error {number(float(np.median(known)), 2)} decades" if len(known) else ""  # fmt: skip
        self.drawn.say(*shorter([f"{int(batch['count'][at])} sweeps", text]))


class Laws(Plotted):
    """Times or shifts against 1000/T, with VFT and Arrhenius, and what follows at T_g."""

    name = "VFT and Arrhenius"
    rank = 14
    fields = {"temperature": 1, "ln_tau": 1, "vft": 1, "arrhenius": 1, "fragility": 0}

    def widget(self, stream: daq.Stream) -> Any:
        """Return the plot."""
        self.begin()
        absolute = bool(stream.attributes.get("absolute", True))
        left = ("log\u2081\u2080 (\u03c4/s)",) if absolute else ("log\u2081\u2080 a_T",)
        self._plot = self.drawn.plot(("1000 / temperature (1/K)", "1000/T (1/K)"), left)
        self.drawn.key(
            ((self.colours[0], "sweeps"), (self.colours[1], "VFT"), (self.colours[2], "Arrhenius"))
        )
        return self.drawn

    def update(self, batch: daq.Batch) -> None:
        """Draw the newest laws."""
        if (at := newest(batch)) is None:
            return
        x = 1e3 / batch["temperature"][at]
        y, errors = batch["ln_tau"][at] / LN10, batch["ln_tau_errors"][at] / LN10
        self._plot.curve("vft", x, batch["vft"][at] / LN10, self.colours[1])
        self._plot.curve("arrhenius", x, batch["arrhenius"][at] / LN10, self.colours[2], dashed=True)  # fmt: skip
        self.points(self._plot, "points", x, y, errors, self.colours[0], size=6)
        known = y[np.isfinite(y)]
        if len(known) > 1:
            # a law of the liquid runs far away in the glass
            room = 0.08 * float(np.ptp(known))
            self._plot.range(None, (float(known.min()) - room, float(known.max()) + room))
        flag = int(batch["flag"][at])
        law = []
        if np.isfinite(batch["fragility"][at]):
            beyond = " (extrapolated)" if batch["extrapolated"][at] else ""
            law = [
                f"m {pair(batch, 'fragility', at)}{beyond}",
                f"E {pair(batch, 'energy', at)} kJ/mol",
                f"T_g {pair(batch, 'T_g', at)} K",
                f"T\u2080 {pair(batch, 'T0', at)} K" if flag == 0 else "",
            ]
        glass = ""
        if int(batch["arrhenius_flag"][at]) == 0 and not law:
            glass = f"E {pair(batch, 'arrhenius_energy', at)} kJ/mol"
        self.drawn.say(*shorter([*law, glass, FLAGS.get(flag, "")]))


VIEWS: list[type[daq.View]] = [MasterCurve, Shifts, Laws]
