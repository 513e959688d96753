"""Nanoindentation: curves of indents, maps of G, t_c and eta, and how they are distributed."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

import daq
from daq_mechanical.views.plotted import Plotted
from daq_mechanical.views.wording import newest, pair, shorter, with_error

QUANTITIES: Final = {
    "G": ("G (GPa)", 1.0, "GPa"),
    "t_c": ("t_c (ms)", 1e3, "ms"),
    "eta": ("\u03b7 (MPa s)", 1e-6, "MPa s"),
}
"""How each is drawn: label, factor, unit."""
FLAGS: Final = {1: "no lag is seen", 2: "misfit", 3: "no unloading", 4: "nothing to fit"}
NONE_YET: Final = 255


class Indent(Plotted):
    """The newest indent: depth against load, and the depth that the contact would have at rest."""

    name = "indent"
    rank = 25
    fields = {"load": 1, "depth": 1, "hertz": 1, "G": 0, "t_c": 0}

    def widget(self, stream: daq.Stream) -> Any:
        """Return the plot."""
        self.begin()
        self._plot = self.drawn.plot(
            ("depth less zero and drift (nm)", "depth (nm)"), ("load (\u00b5N)",)
        )
        self.drawn.key(((self.colours[0], "measured"), (self.colours[1], "Hertz, elastic")))
        return self.drawn

    def update(self, batch: daq.Batch) -> None:
        """Draw the newest indent."""
        if (at := newest(batch)) is None:
            return
        load = batch["load"][at]
        self._plot.curve("measured", batch["depth"][at], load, self.colours[0], width=1)
        order = np.argsort(load, kind="stable")
        self._plot.curve("hertz", batch["hertz"][at][order], load[order], self.colours[1])
        flag = int(batch["flag"][at])
        parts = [f"indent {int(batch['indent'][at])}", FLAGS.get(flag, "")]
        if flag in (0, 1):
            parts.append(f"G {pair(batch, 'G', at)} GPa")
        if flag == 0:
            parts += [
                f"t_c {pair(batch, 't_c', at, 1e3)} ms",
                f"\u03b7 {pair(batch, 'eta', at, 1e-6)} MPa s",
            ]
        self.drawn.say(*shorter(parts))


class Maps(Plotted):
    """G, t_c and eta over the scan; without colour where an indent is flagged or not there yet."""

    name = "maps"
    rank = 24
    wide = 2
    fields = {"G": 2, "t_c": 2, "eta": 2, "flags": 2}

    def widget(self, stream: daq.Stream) -> Any:
        """Return the pictures."""
        self.begin()
        self._pictures: dict[str, Any] = {}
        first = None
        for name, (label, _, _) in QUANTITIES.items():
            picture = self._pictures[name] = self.drawn.picture(beside=first)
            picture.frame_of(stream, name)
            picture.label_bar(label)
            first = first or picture
        return self.drawn

    def update(self, batch: daq.Batch) -> None:
        """Draw the newest maps."""
        if (at := newest(batch)) is None:
            return
        for name, (_, factor, _) in QUANTITIES.items():
            self._pictures[name].show(factor * batch[name][at], percentiles=(0.0, 100.0))
        flags = batch["flags"][at]
        there = int(np.count_nonzero(flags != NONE_YET))
        flagged = [
            f"{count} {text}"
            for flag, text in FLAGS.items()
            if (count := int(np.count_nonzero(flags == flag)))
        ]
        self.drawn.say(*shorter([f"{there} of {flags.size} indents", *flagged]))


class Histograms(Plotted):
    """How G, t_c and eta are distributed, with the Gaussian of each."""

    name = "histograms"
    rank = 26
    records = 24
    fields = {"quantity": 0, "centre": 1, "count": 1, "gaussian": 1, "own_spread": 0}

    def widget(self, stream: daq.Stream) -> Any:
        """Return the plots."""
        self.begin()
        self._plots = {
            name: self.drawn.plot((label,), ("indents",))
            for name, (label, _, _) in QUANTITIES.items()
        }
        return self.drawn

    def update(self, batch: daq.Batch) -> None:
        """Draw the newest histogram of each."""
        latest = {bytes(batch["quantity"][i]).decode(): int(i) for i in np.flatnonzero(batch.valid)}
        parts = []
        for name, at in latest.items():
            if name not in self._plots:
                continue
            _, factor, unit = QUANTITIES[name]
            plot = self._plots[name]
            centre, count, gaussian = (
                np.asarray(batch[n][at], np.float64) for n in ("centre", "count", "gaussian")
            )
            if not np.isfinite(centre).any():
                continue
            half = 0.5 * (centre[1] - centre[0])
            edges = factor * np.concatenate([centre - half, centre[-1:] + half])
            x = np.repeat(edges, 2)
            y = np.concatenate([[0.0], np.repeat(count, 2), [0.0]])
            plot.curve("count", x, y, self.colours[0])
            fine = np.linspace(centre[0], centre[-1], 8 * len(centre))
            mean, spread = float(batch["mean"][at]), float(batch["spread"][at])
            if spread > 0:
                # smooth between the bins, with the height that it has in them
                peak = np.exp(-0.5 * ((centre - mean) / spread) ** 2)
                height = float(np.max(gaussian)) / float(np.max(peak))
                curve = height * np.exp(-0.5 * ((fine - mean) / spread) ** 2)
                plot.curve("gaussian", factor * fine, curve, self.colours[1])
            said = with_error(factor * mean, factor * float(batch["mean_errors"][at]))
            symbol = QUANTITIES[name][0].split(" (")[0]
            parts.append(f"{symbol} {said} {unit}")
        self.drawn.say(*shorter(parts))
        self.drawn.key(((self.colours[0], "indents"), (self.colours[1], "Gaussian")))


class Recorded(Plotted):
    """The newest indent as the instrument recorded it."""

    name = "load and depth"
    rank = 90
    fields = {"load": 1, "depth": 1, "elapsed": 1}

    def widget(self, stream: daq.Stream) -> Any:
        """Return the plots."""
        self.begin()
        units = {name: stream.fields[name].units for name in self.fields}
        units = {name: unit.replace("uN", "\u00b5N") for name, unit in units.items()}
        self._load = self.drawn.plot((), (f"load ({units['load']})",))
        self._depth = self.drawn.plot(
            (f"time ({units['elapsed']})",), (f"depth ({units['depth']})",), above=self._load
        )
        return self.drawn

    def update(self, batch: daq.Batch) -> None:
        """Draw the newest indent."""
        if (at := newest(batch)) is None:
            return
        t = batch["elapsed"][at]
        self._load.curve("load", t, batch["load"][at], self.colours[0], width=1)
        self._depth.curve("depth", t, batch["depth"][at], self.colours[1], width=1)
        number = int(batch["indent"][at]) if "indent" in batch.raw else int(batch.indices[at])
        self.drawn.say(f"indent {number}")


VIEWS: list[type[daq.View]] = [Maps, Indent, Histograms, Recorded]
