"""The beta relaxation in temperature ramps, its energy, and the correlation factor chi."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

import daq
from daq_mechanical.views.plotted import Plotted
from daq_mechanical.views.wording import newest, number, pair, sample_of, shorter

GAS_CONSTANT: Final = 8.31446e-3
"""kJ/(mol K)."""
BENT: Final = 1


class BetaCurve(Plotted):
    """The loss against temperature and its slope, with what the beta relaxation shows as."""

    name = "beta relaxation"
    rank = 11
    fields = {"temperature": 1, "loss": 1, "slope": 1, "inverse_temperature": 1}

    @classmethod
    def beside(cls, stream: daq.Stream) -> Sequence[str]:
        """Return the stream of what was found."""
        return (stream.name.removesuffix("curve") + "summary",)

    def widget(self, stream: daq.Stream) -> Any:
        """Return the plots."""
        self.begin()
        self._loss = self.drawn.plot((), ("M\u2033 / M\u2033(\u03b1)",), logarithmic="y", share=2)
        self._slope = self.drawn.plot(
            ("temperature (K)", "T (K)"),
            ("d ln M\u2033/dT (1/K)", "slope (1/K)", "1/K"),
            above=self._loss,
        )
        self._slope.level("zero", 0.0)
        self._curve: tuple[Any, ...] | None = None
        self._alpha = np.nan
        self._marked: dict[str, float] = {}
        return self.drawn

    def update(self, batch: daq.Batch) -> None:
        """Take the newest curve, or what was found; draw both."""
        if (at := newest(batch)) is None:
            return
        if "kind" in batch.raw:
            self._alpha = float(batch["alpha_temperature"][at])
            self._marked = {
                n: float(batch[n][at])
                for n in ("alpha_temperature", "kind_temperature", "beta_temperature",
                          "fast_temperature")
            }  # fmt: skip
            self._say(batch, at)
        else:
            self._curve = tuple(
                np.array(batch[n][at]) for n in ("temperature", "loss", "slope", "slope_errors")
            )
        self._draw()

    def _draw(self) -> None:
        if self._curve is None:
            return
        x, loss, slope, errors = self._curve
        known = np.isfinite(x)
        # over that of the alpha peak where that has been passed, else in K
        over = bool(known.any()) and float(x[known].max()) < 10
        if over and not np.isfinite(self._alpha):
            return
        T = x * self._alpha if over else x
        label = "M\u2033 / M\u2033(\u03b1)" if over else "M\u2033 / highest M\u2032"
        self._loss.label(left=(label,))
        self._loss.curve("loss", T, loss, self.colours[0], width=2)
        self._slope.curve("slope", T, slope, self.colours[0])
        self.band(self._slope, "slope", T, slope, errors, self.theme.muted)
        good = known & np.isfinite(loss)
        for n, name in enumerate(self._marked):
            at = self._marked[name]
            if not np.isfinite(at) or not good.any():
                self._loss.drop(name)
                continue
            y = float(np.interp(at, T[good], loss[good]))
            colour = self.colours[(1, 2, 3, 5)[n]]
            self.points(self._loss, name, [at], [y], None, colour, size=10)

    def _say(self, batch: daq.Batch, at: int) -> None:
        kind = bytes(batch["kind"][at]).decode()
        margin = float(batch["margin"][at])
        parts = [
            f"\u03b2: {kind}" + (f" by {margin:.1f} errors" if np.isfinite(margin) else ""),
            f"T\u03b1 {pair(batch, 'alpha_temperature', at)} K",
            f"T\u03b2 {pair(batch, 'beta_temperature', at)} K",
            f"at {batch['frequency'][at]:g} Hz",
        ]
        if not np.isfinite(self._alpha):
            parts = ["\u03b2: not told yet", "\u03b1 peak not passed", f"at {batch['frequency'][at]:g} Hz"]  # fmt: skip
        self.drawn.say(*shorter([sample_of(batch, at), *parts]))
        words = (
            ("alpha_temperature", "\u03b1 peak"), ("kind_temperature", kind),
            ("beta_temperature", "\u03c9\u03c4\u03b2 = 1"), ("fast_temperature", "\u03b2\u2032"),
        )  # fmt: skip
        self.drawn.key([
            (self.colours[(1, 2, 3, 5)[n]], text)
            for n, (name, text) in enumerate(words)
            if np.isfinite(self._marked[name])
        ])  # fmt: skip


class BetaEnergy(Plotted):
    """The Arrhenius law of the beta relaxation, and the maxima at each frequency."""

    name = "energy of the beta relaxation"
    rank = 15
    fields = {"kind": 0, "energy": 0, "ln_tau0": 0, "peak_energy": 0, "beta_temperature": 0}

    @classmethod
    def beside(cls, stream: daq.Stream) -> Sequence[str]:
        """Return the stream of the maxima."""
        return (stream.name.removesuffix("summary") + "curve",)

    def widget(self, stream: daq.Stream) -> Any:
        """Return the plot."""
        self.begin()
        self._plot = self.drawn.plot(
            ("1000 / temperature (1/K)", "1000/T (1/K)"), ("\u03c4 (s)",), logarithmic="y"
        )
        self._law: tuple[float, float, float] | None = None
        self._maxima: tuple[Any, Any] = (np.empty(0), np.empty(0))
        self.drawn.key(
            ((self.colours[0], "maxima of M\u2033"), (self.colours[3], "fit of all frequencies"))
        )
        return self.drawn

    def update(self, batch: daq.Batch) -> None:
        """Draw the newest law and maxima."""
        if (at := newest(batch)) is None:
            return
        if "inverse_temperature" in batch.raw:
            x, y = batch["inverse_temperature"][at], batch["ln_tau"][at]
            known = np.isfinite(x) & np.isfinite(y)
            self._maxima = x[known], y[known]
        else:
            self._say(batch, at)
        x, y = self._maxima
        self.points(self._plot, "maxima", x, np.exp(y), None, self.colours[0], size=7)
        if self._law is None:
            self._plot.drop("law")
            return
        ln_tau0, energy, T = self._law
        ends = [1e3 / (1.05 * T), 1e3 / (0.95 * T)]
        if len(x):
            ends = [min(ends[0], float(x.min())), max(ends[1], float(x.max()))]
        shown = np.linspace(*ends, 32)
        tau = np.exp(ln_tau0 + energy * shown / (1e3 * GAS_CONSTANT))
        self._plot.curve("law", shown, tau, self.colours[3])

    def _say(self, batch: daq.Batch, at: int) -> None:
        values = tuple(float(batch[n][at]) for n in ("ln_tau0", "energy", "beta_temperature"))
        self._law = values if np.all(np.isfinite(values)) else None
        parts = []
        if self._law is not None:
            parts = [
                f"E {pair(batch, 'energy', at)} kJ/mol",
                f"{pair(batch, 'energy_rtg', at)} R T_g",
            ]
        if np.isfinite(batch["peak_energy"][at]):
            parts.append(f"of maxima {pair(batch, 'peak_energy', at)} kJ/mol")
        if np.isfinite(batch["fast_energy"][at]):
            parts.append(f"\u03b2\u2032 {pair(batch, 'fast_energy', at)} kJ/mol")
        if not parts:
            few = int(batch["frequencies"][at]) < 2
            parts = ["one frequency tells no energy" if few else "no energy yet"]
        self.drawn.say(*shorter([sample_of(batch, at), *parts]))


class Chi(Plotted):
    """The correlation factor at each temperature; in grey where a relaxation peak bends it."""

    name = "chi"
    rank = 16
    records = 1024
    fields = {"temperature": 0, "chi": 0, "curvature": 0, "ln_tan_delta": 1}

    def widget(self, stream: daq.Stream) -> Any:
        """Return the plot."""
        self.begin()
        self._plot = self.drawn.plot(
            ("temperature (K)", "T (K)"), ("\u03c7 = \u2212d ln tan \u03b4 / d ln \u03c9", "\u03c7")
        )
        self._plot.level("zero", 0.0)
        self._plot.level("one", 1.0)
        return self.drawn

    def update(self, batch: daq.Batch) -> None:
        """Draw the windows so far."""
        good = batch.valid & np.isfinite(batch["chi"])
        straight = batch["flag"] == 0
        samples = np.unique(batch["sample"][good])
        key = []
        for n, sample in enumerate(samples.tolist()):
            colour = self.colours[n % len(self.colours)]
            these = good & straight & (batch["sample"] == sample)
            self.points(self._plot, f"sample {sample}", batch["temperature"][these], batch["chi"][these],
                batch["chi_errors"][these], colour,
            )  # fmt: skip
            key.append((colour, f"sample {sample}" if len(samples) > 1 else "straight in ln \u03c9"))  # fmt: skip
        bent = good & ~straight
        self.points(self._plot, "bent", batch["temperature"][bent], batch["chi"][bent],
            batch["chi_errors"][bent], self.theme.muted,
        )  # fmt: skip
        if bent.any():
            key.append((self.theme.muted, "bent: a peak in the window"))
        self.drawn.key(key, [(colour, text.split(":")[0]) for colour, text in key])
        if good.any():
            # what lies far beyond 0 and 1 is noise, or the flank of a peak
            low, high = np.percentile(batch["chi"][good], [2.0, 98.0])
            self._plot.range(None, (min(-0.1, 1.2 * float(low)), max(1.1, 1.2 * float(high))))
            at = int(np.flatnonzero(good)[-1])
            self.drawn.say(*shorter([
                f"{int(np.count_nonzero(good))} windows",
                f"newest {batch['temperature'][at]:.1f} K: \u03c7 {pair(batch, 'chi', at)}",
            ]))  # fmt: skip


class ChiStates(Plotted):
    """chi of the glass in each sample, and how it differs from the first."""

    name = "chi of the glass"
    rank = 60
    records = 1024
    fields = {"sample": 0, "chi_glass": 0, "rise": 0, "significance": 0}

    def widget(self, stream: daq.Stream) -> Any:
        """Return the plot."""
        self.begin()
        self._plot = self.drawn.plot(("sample",), ("\u03c7 below T_g", "\u03c7"))
        return self.drawn

    def update(self, batch: daq.Batch) -> None:
        """Draw the newest of each sample."""
        places = {int(batch["sample"][i]): int(i) for i in np.flatnonzero(batch.valid)}
        if not places:
            return
        at = list(places.values())
        errors = batch["chi_glass_errors"][at]
        self.points(self._plot, "chi", list(places), batch["chi_glass"][at], errors, size=7)
        last = max(at)
        excess = float(batch["chi2"][last]) / max(int(batch["dof"][last]), 1)
        self.drawn.say(*shorter([
            sample_of(batch, last),
            f"\u03c7 {pair(batch, 'chi_glass', last)}",
            f"{number(float(batch['significance'][last]))} errors from the first"
            if np.isfinite(batch["significance"][last]) else "",
            f"not constant: \u03c7\u00b2/dof {excess:.1f}" if excess > 2 else "",
            f"rises {pair(batch, 'rise', last)} per K above T_g"
            if np.isfinite(batch["rise"][last]) else "",
        ]))  # fmt: skip


VIEWS: list[type[daq.View]] = [BetaCurve, BetaEnergy, Chi, ChiStates]
