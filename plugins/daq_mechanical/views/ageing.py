"""Ageing: tan delta against time, the beta peak in each state, the double-well line."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

import daq
from daq_mechanical.views.plotted import Plotted
from daq_mechanical.views.wording import (
    duration,
    newest,
    number,
    pair,
    ramp_of_colours,
    sample_of,
    shorter,
)

FLAGS: Final = {
    1: "\u03c4 open above", 2: "at a bound", 3: "not converged", 4: "too few points",
    5: "too little of the decay",
}  # fmt: skip
MOST: Final = 8
"""Peaks that are drawn: the first and the newest ones."""


class AgeingLoss(Plotted):
    """tan delta while the sample ages, with its KWW decay."""

    name = "loss while ageing"
    rank = 20
    records = 256
    fields = {"point_time": 1, "point_tan_delta": 1, "tan_end": 0, "drop": 0}

    def widget(self, stream: daq.Stream) -> Any:
        """Return the plot."""
        self.begin()
        self._plot = self.drawn.plot(("ageing time (s)", "t_a (s)"), ("tan \u03b4",), logarithmic="x")  # fmt: skip
        return self.drawn

    def update(self, batch: daq.Batch) -> None:
        """Draw the newest fit of each series."""
        series = {
            (int(batch["sample"][i]), round(float(batch["temperature"][i])), float(batch["frequency"][i])): int(i)
            for i in np.flatnonzero(batch.valid)
        }  # fmt: skip
        if not series:
            return
        key = []
        for n, ((sample, T, f), i) in enumerate(sorted(series.items())):
            colour = self.colours[n % len(self.colours)]
            t = batch["point_time"][i]
            self.points(self._plot, f"{n}", t, batch["point_tan_delta"][i], None, colour, size=4)
            self._plot.curve(f"fit {n}", t, batch["curve"][i], self.theme.text)
            key.append((colour, f"{T} K, {f:g} Hz" + (f", sample {sample}" if sample > 0 else "")))
        self.drawn.key(key)
        at = max(series.values())
        flag = int(batch["flag"][at])
        fitted = [f"b {pair(batch, 'b', at)}", f"ln \u03c4 {pair(batch, 'ln_tau', at)}",
                  f"end {pair(batch, 'tan_end', at)}"]  # fmt: skip
        drop = float(batch["drop"][at])
        self.drawn.say(*shorter([
            f"after {duration(float(batch['ageing_time'][at]))}",
            f"fell by {drop:.0f} errors" if drop > 3 else "no fall is seen" if drop < 3 else "",
            *(fitted if flag == 0 else [FLAGS.get(flag, "")]),
        ]))  # fmt: skip


class States(Plotted):
    """The beta peak in each state of an ageing sample; its time and its height against age."""

    name = "states"
    rank = 21
    records = 1024
    fields = {"ageing_time": 0, "ln_tau_beta": 0, "ln_loss_max": 0, "frequency": 1, "curve": 1}

    def widget(self, stream: daq.Stream) -> Any:
        """Return the plots."""
        self.begin()
        self._peaks = self.drawn.plot(
            ("frequency (Hz)", "f (Hz)"), ("M\u2033 (MPa)",), logarithmic="x"
        )
        self._tau = self.drawn.plot((), ("\u03c4\u03b2 (s)",), logarithmic="xy")
        self._height = self.drawn.plot(
            ("ageing time (s), leftmost: not aged", "ageing time (s)", "t_a (s)"), ("max M\u2033 (MPa)", "M\u2033 (MPa)", "MPa"), logarithmic="x",
            above=self._tau,
        )  # fmt: skip
        self._drawn: set[str] = set()
        return self.drawn

    def update(self, batch: daq.Batch) -> None:
        """Draw the states so far."""
        good = np.flatnonzero(batch.valid)
        if not len(good):
            return
        shown = good if len(good) <= MOST else np.concatenate([good[:1], good[1 - MOST :]])
        key, names = [], set()
        for n, i in enumerate(shown.tolist()):
            colour = ramp_of_colours(self.theme, n / max(len(shown) - 1, 1))
            f = batch["frequency"][i]
            names.add(name := f"{batch.indices[i]}")
            self.points(self._peaks, name, f, 1e-6 * batch["loss_modulus"][i], None, colour, size=4)
            self._peaks.curve(f"fit {name}", f, 1e-6 * batch["curve"][i], colour)
            sample = sample_of(batch, i)
            age = duration(float(batch["ageing_time"][i]))
            key.append((colour, f"{age}, {sample}" if sample else age))
        for name in self._drawn - names:
            self._peaks.drop(name)
            self._peaks.drop(f"fit {name}")
        self._drawn = names
        self.drawn.key(key, [key[0], key[-1]])
        told = good[batch["flag"][good] == 0]
        age = batch["ageing_time"][told]
        # the state before ageing has no place on a logarithmic axis: a tenth of the first age
        first = age[age > 0]
        x = np.where(age > 0, age, 0.1 * first.min() if len(first) else 1.0)
        samples = batch["sample"][told]
        for n, sample in enumerate(np.unique(samples).tolist()):
            mine = told[samples == sample]
            colour = self.colours[n % len(self.colours)]
            for plot, field, factor in ((self._tau, "ln_tau_beta", 1.0), (self._height, "ln_loss_max", 1e-6)):  # fmt: skip
                value = factor * np.exp(batch[field][mine])
                error = batch[f"{field}_errors"][mine]
                sides = (-value * np.expm1(-error), value * np.expm1(np.minimum(error, 50.0)))
                self.points(
                    plot, f"sample {sample}", x[samples == sample], value, sides, colour, size=6
                )
        at = int(good[-1])
        parts = [f"{len(good)} states"]
        if np.isfinite(batch["ln_tau_difference"][at]):
            for n, (name, symbol) in enumerate(
                (("ln_tau", "ln \u03c4\u03b2"), ("ln_loss", "ln M\u2033"))
            ):
                change = _signed(pair(batch, f"{name}_difference", at))
                p = number(float(batch[f"{name}_p"][at]), 2)
                since = "" if n else "newest against first: "
                parts.append(f"{since}{symbol} {change} (p {p})")
        self.drawn.say(*shorter(parts))


class DoubleWell(Plotted):
    """ln tau_beta against ln M''_max: its slope is -a."""

    name = "double well"
    rank = 22
    fields = {"slope": 0, "ln_loss_max": 1, "ln_tau_beta": 1, "line": 1}

    def widget(self, stream: daq.Stream) -> Any:
        """Return the plot."""
        self.begin()
        self._plot = self.drawn.plot(("ln (max M\u2033/Pa)",), ("ln (\u03c4\u03b2/s)",))
        return self.drawn

    def update(self, batch: daq.Batch) -> None:
        """Draw the newest line."""
        if (at := newest(batch)) is None:
            return
        x, sx, y, sy, line = (
            batch[n][at]
            for n in ("ln_loss_max", "ln_loss_max_errors", "ln_tau_beta", "ln_tau_beta_errors", "line")
        )  # fmt: skip
        self._plot.curve("line", x, line, self.colours[1])
        self.points(self._plot, "states", x, y, sy, self.colours[0], size=6)
        # errors along x: NaN breaks the line between one state and the next
        across = np.stack([x - sx, x + sx, np.full_like(x, np.nan)], axis=1).ravel()
        self._plot.curve("across", across, np.repeat(y, 3), self.colours[0], width=1)
        excess = float(batch["chi2"][at]) / max(int(batch["dof"][at]), 1)
        left_out = int(batch["left_out"][at])
        self.drawn.say(*shorter([
            f"a {pair(batch, 'slope', at)}", f"{int(batch['states'][at])} states",
            f"\u03c7\u00b2/dof {excess:.1f}", f"{left_out} left out" if left_out else "",
        ]))  # fmt: skip


def _signed(text: str) -> str:
    return text if text.startswith(("\u2212", "\u2013", "(")) else f"+{text}"


VIEWS: list[type[daq.View]] = [AgeingLoss, States, DoubleWell]
