"""Frequency sweeps: moduli with the law that was fitted, what is left over, and its shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

import daq
from daq_mechanical.views.plotted import Plotted
from daq_mechanical.views.wording import (
    DOT,
    newest,
    pair,
    parts,
    ramp_of_colours,
    sample_of,
    scale_key,
    shorter,
    with_error,
)

LAWS: Final = {
    "debye": "Debye", "cole_cole": "Cole-Cole", "cole_davidson": "Cole-Davidson",
    "havriliak_negami": "Havriliak-Negami", "kww": "KWW",
}  # fmt: skip
SHORT: Final = {
    "debye": "Debye", "cole_cole": "CC", "cole_davidson": "CD", "havriliak_negami": "HN",
    "kww": "KWW",
}  # fmt: skip
REFUSED: Final = 5
GPA: Final = 1e-9
"""GPa in a Pa: moduli of glasses are some GPa, and an axis needs no exponents."""
MOST: Final = 4096


class Readings(Plotted):
    """Moduli and tan delta against temperature, as the instrument gives them."""

    name = "moduli"
    rank = 30
    records = MOST
    fields = {"temperature": 0, "frequency": 0, "storage_modulus": 0, "loss_modulus": 0}

    def widget(self, stream: daq.Stream) -> Any:
        """Return the plots."""
        self.begin()
        T, M = stream.fields["temperature"].units, stream.fields["storage_modulus"].units
        self._hertz = stream.fields["frequency"].units
        self._scale, M = (GPA, "GPa") if M == "Pa" else (1.0, M)
        self._storage = self.drawn.plot((), (f"M\u2032 ({M})",), logarithmic="y")
        self._loss = self.drawn.plot((), (f"M\u2033 ({M})",), logarithmic="y", above=self._storage)
        bottom = (f"temperature ({T})", f"T ({T})")
        self._tan = self.drawn.plot(bottom, ("tan \u03b4",), logarithmic="y", above=self._storage)
        return self.drawn

    def update(self, batch: daq.Batch) -> None:
        """Draw the newest readings, a colour for each frequency."""
        good = batch.valid & np.isfinite(batch["frequency"]) & (batch["frequency"] > 0)
        T, f = (np.asarray(batch[n][good], np.float64) for n in ("temperature", "frequency"))
        M1, M2 = (np.asarray(batch[n][good], np.float64) for n in ("storage_modulus", "loss_modulus"))  # fmt: skip
        every = np.unique(f)
        if not len(every):
            return
        with np.errstate(invalid="ignore", divide="ignore"):
            tan = M2 / M1
        for one, part in zip(every.tolist(), parts(np.log(every)), strict=True):
            at = f == one
            colour = ramp_of_colours(self.theme, float(part))
            for plot, values in (
                (self._storage, M1 * self._scale),
                (self._loss, M2 * self._scale),
                (self._tan, tan),
            ):
                self.points(plot, f"{one}", T[at], values[at], None, colour, size=3)
        words = [f"{one:.3g} {self._hertz}" for one in every.tolist()]
        self.drawn.key(*scale_key(self.theme, np.log(every), words))
        self.drawn.say(f"{len(T)} readings{' (the newest)' if len(batch) == MOST else ''}")


class Spectrum(Plotted):
    """The newest sweep with the law fitted to both moduli, and what is left over the noise."""

    name = "spectrum and fit"
    rank = 10
    fields = {"frequency": 1, "storage_fit": 1, "loss_fit": 1, "storage_residual": 1, "loss_residual": 1}  # fmt: skip

    @classmethod
    def beside(cls, stream: daq.Stream) -> Sequence[str]:
        """Return the stream of what was fitted."""
        return (stream.name.removesuffix("curves") + "fits",)

    def widget(self, stream: daq.Stream) -> Any:
        """Return the plots."""
        self.begin()
        self._plot = self.drawn.plot((), ("M\u2032, M\u2033 (GPa)",), logarithmic="xy", share=2)
        self._rest = self.drawn.plot(
            ("frequency (Hz)", "f (Hz)"), ("residual / noise", "residual"), logarithmic="x",
            above=self._plot,
        )  # fmt: skip
        self._rest.level("zero", 0.0)
        self.drawn.key(
            ((self.colours[0], "M\u2032"), (self.colours[1], "M\u2033"), (self.theme.text, "fit"))
        )
        return self.drawn

    def update(self, batch: daq.Batch) -> None:
        """Draw the newest sweep, or say what its fit is."""
        if (at := newest(batch)) is None:
            return
        if "weight" in batch.raw:
            self._say(batch, at)
            return
        f = batch["frequency"][at]
        order = np.argsort(f, kind="stable")
        for n, part in enumerate(("storage", "loss")):
            colour = self.colours[n]
            modulus, fit = (GPA * batch[f"{part}_{what}"][at] for what in ("modulus", "fit"))
            self.points(self._plot, part, f, modulus, None, colour, size=6)
            self._plot.curve(f"{part} fit", f[order], fit[order], self.theme.text, width=1)
            self.points(self._rest, part, f, batch[f"{part}_residual"][at], np.ones(len(f)), colour)

    def _say(self, batch: daq.Batch, at: int) -> None:
        laws = list(LAWS)
        which = [f"sweep {int(batch['sweep'][at])}", f"{batch['temperature'][at]:.1f} K"]
        if np.all(batch["flag"][at] == REFUSED):
            self.drawn.say(*shorter([*which, "not fitted: see the log"]))
            return
        weights = batch["weight"][at]
        best = int(batch["best"][at])
        if best < 0:
            self.drawn.say(*shorter([*which, "too few readings"]))
            return
        shown = np.argsort(-weights, kind="stable")[: 1 if batch["decided"][at] else 2]
        undecided = "" if batch["decided"][at] else "undecided: "
        text, short = (
            undecided
            + ", ".join(f"{names[laws[i]]} {weights[i]:.0%}" for i in shown).replace("%", "\u2009%")
            for names in (LAWS, SHORT)
        )
        used = int(batch["tau_model"][at])
        tau = ""
        if used >= 0 and np.isfinite(batch["ln_tau_peak_best"][at]):
            tau = f"ln \u03c4 {pair(batch, 'ln_tau_peak_best', at)}"
        shape = [
            f"{sign} {with_error(float(batch[name][at, used]), float(batch[f'{name}_errors'][at, used]))}"
            for name, sign in (("alpha", "\u03b1"), ("gamma", "\u03b3"), ("b", "b"))
            if used >= 0 and batch[f"{name}_errors"][at, used] > 0
        ]  # fmt: skip
        longest = shorter([*which, text, tau, *shape])
        self.drawn.say(*longest[:-2], *(DOT.join([*which[n:], short]) for n in (0, 1)), which[1])


class Shapes(Plotted):
    """Times and exponents of the sweeps against temperature."""

    name = "times and exponents"
    rank = 34
    records = 1024
    fields = {"sweep": 0, "temperature": 0, "ln_tau_peak_best": 0, "weight": 1, "alpha": 1}

    def widget(self, stream: daq.Stream) -> Any:
        """Return the plots."""
        self.begin()
        self._tau = self.drawn.plot((), ("\u03c4 of the loss peak (s)", "\u03c4 (s)"), logarithmic="y")  # fmt: skip
        self._plot = self.drawn.plot(("temperature (K)", "T (K)"), ("exponent",), above=self._tau)
        self._found: dict[int, tuple[Any, ...]] = {}
        self.drawn.key(
            (
                (self.colours[1], "\u03b1"),
                (self.colours[2], "\u03b3"),
                (self.colours[3], "b of KWW"),
            )
        )
        return self.drawn

    def update(self, batch: daq.Batch) -> None:
        """Draw the newest of each sweep."""
        for i in np.flatnonzero(batch.valid).tolist():
            model = int(batch["tau_model"][i])
            shape = [
                (float(batch[n][i, model]), float(batch[f"{n}_errors"][i, model]))
                if model >= 0 and batch[f"{n}_errors"][i, model] > 0
                else (np.nan, np.nan)
                for n in ("alpha", "gamma", "b")
            ]
            tau = np.exp(float(batch["ln_tau_peak_best"][i]))
            error = float(batch["ln_tau_peak_best_errors"][i])
            down, up = -tau * np.expm1(-error), tau * np.expm1(min(error, 50.0))
            self._found[int(batch["sweep"][i])] = (float(batch["temperature"][i]), tau, down, up, shape)  # fmt: skip
        if not self._found:
            return
        rows = list(self._found.values())
        T, tau, down, up = (np.array([row[k] for row in rows]) for k in range(4))
        self.points(
            self._tau, "tau", T, tau, (np.nan_to_num(down), np.nan_to_num(up)), self.colours[0]
        )
        for k in range(3):
            value, error = np.array([row[4][k] for row in rows]).T
            # within limits: an exponent that a sweep does not tell would flatten the others
            value = np.where(error < 1, value, np.nan)
            self.points(self._plot, f"{k}", T, value, np.nan_to_num(error), self.colours[1 + k])
        if (at := newest(batch)) is not None:
            told = int(np.count_nonzero(np.isfinite(tau)))
        text = f"{told} of {len(rows)} sweeps tell their time"
        self.drawn.say(*shorter([text, sample_of(batch, at)]), f"{told} of {len(rows)}")


VIEWS: list[type[daq.View]] = [Spectrum, Shapes, Readings]
