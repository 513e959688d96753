"""Does dynamics follow structure? Tau against V, and their rank correlation over the scans."""

from __future__ import annotations

from typing import Any

import numpy as np

import daq
from daq_stem.views.positions import (
    DETERMINED,
    LOWER_BOUND,
    LOWER_BOUND_COLOUR,
    UPPER_BOUND,
    UPPER_BOUND_COLOUR,
    bands_of,
    joined,
    number,
    with_error,
)


class Relation(daq.View):
    """Each position by its V and its tau, with the rank correlation that may be believed.

    The naive one stands beside it: tau and V from the same speckles correlate by themselves.
    """

    name = "\u03c4 against V"
    rank = 18
    records = 1

    @classmethod
    def can_draw(cls, stream: daq.Stream) -> bool:
        """Tell whether these are the points of a scatter plot."""
        fields = stream.fields
        return {"tau", "V", "flag"} <= set(fields) and len(fields["tau"].shape) == 2

    @classmethod
    def beside(cls, stream: daq.Stream) -> list[str]:
        """Return the summary that belongs to the points."""
        return [f"{stream.name.rpartition('.')[0]}.summary"]

    def widget(self, stream: daq.Stream) -> Any:
        """Return the scatter plot."""
        self._points = stream.name
        figure = self._figure = self.figure()
        self._plot = figure.plot(
            ("normalised variance V", "V"),
            ("relaxation time \u03c4 (s)", "\u03c4 (s)"), logarithmic="y",
        )  # fmt: skip
        self._said = ""
        return figure

    def update(self, batch: daq.Batch) -> None:
        """Draw the newest points, or say what the newest summary says."""
        if batch.stream != self._points:
            self._say(batch)
            return
        tau, V, flag = (batch[name][-1].reshape(-1) for name in ("tau", "V", "flag"))
        colour = self._figure.colours.curves[0]
        there = [(colour, "determined")]
        for name, kind, mark, shown in (
            ("determined", DETERMINED, "o", colour),
            ("lower bound", LOWER_BOUND, "t1", LOWER_BOUND_COLOUR),
            ("upper bound", UPPER_BOUND, "t", UPPER_BOUND_COLOUR),
        ):
            at = (flag == kind) & np.isfinite(tau) & np.isfinite(V)
            size = 4.0 if at.sum() < 1500 else 3.0
            opacity = int(np.clip(60000 / max(1, at.sum()), 60, 220))
            self._plot.points(
                name, V[at], tau[at], None, shown, symbol=mark, size=size, opacity=opacity
            )
            if kind != DETERMINED and at.any():
                there.append((shown, f"{name} of \u03c4"))
        self._figure.key(there if len(there) > 1 else [])

    def _say(self, batch: daq.Batch) -> None:
        rho = float(batch["spearman"][-1])
        error = float(batch["spearman_errors"][-1])
        naive = number(float(batch["spearman_naive"][-1]), 2)
        if not np.isfinite(rho):
            beside = f"naive {naive}" if np.isfinite(batch["spearman_naive"][-1]) else ""
            self._figure.say(
                joined(["Spearman not determined", beside and f"{beside} (same speckles)"]),
                joined(["\u03c1 not determined", beside]),
            )
            return
        said = with_error(rho, error)
        self._figure.say(
            f"Spearman {said} (disjoint sectors) \u00b7 naive {naive} (same speckles)",
            f"Spearman {said} \u00b7 naive {naive} (same speckles)",
            f"Spearman {said} \u00b7 naive {naive}",
            f"\u03c1 {said}",
        )


class RelationOverScans(daq.View):
    """The rank correlation over the scans, beside the naive one and that at fixed intensity."""

    name = "rank correlation"
    rank = 32
    records = 5000

    @classmethod
    def can_draw(cls, stream: daq.Stream) -> bool:
        """Tell whether this is the rank correlation of each scan."""
        return {"spearman", "spearman_errors", "spearman_naive"} <= set(stream.fields)

    def widget(self, stream: daq.Stream) -> Any:
        """Return the plot."""
        figure = self._figure = self.figure()
        self._colours = figure.colours.curves
        self._plot = figure.plot(("scan number",), ("Spearman \u03c1 of \u03c4 and V", "\u03c1"))
        self._plot.level("zero", 0.0)
        self._fixed = "spearman_fixed_intensity" in stream.fields
        corrected, naive = (self._colours[0], "disjoint sectors"), (self._colours[1], "naive")
        fixed = [(self._colours[2], "intensity fixed")] if self._fixed else []
        figure.key([corrected, *fixed, naive], [corrected, naive])
        return figure

    def update(self, batch: daq.Batch) -> None:
        """Draw all scans."""
        x = batch.indices
        size = 4 if batch.count <= 120 else 2
        rho, errors = batch["spearman"], batch["spearman_errors"]
        self._plot.points("corrected", x, rho, errors, self._colours[0], size=size)
        self._plot.curve("naive", x, batch["spearman_naive"], self._colours[1])
        if self._fixed:
            fixed = batch["spearman_fixed_intensity"]
            self._plot.points("fixed", x, fixed, None, self._colours[2], symbol="d", size=size + 1)
        known = np.isfinite(rho[-1])
        parts = [
            f"\u03c1 {with_error(float(rho[-1]), float(errors[-1]))}" if known else "not determined"
        ]
        for field, words in (("p_value", "p"), ("n_effective", "independent positions")):
            if field in batch.raw and np.isfinite(batch[field][-1]):
                parts.append(f"{words} {number(float(batch[field][-1]), 2)}")
        self._figure.say(joined(parts), joined(parts[:2]), parts[0])


class Sectors(daq.View):
    """One set of sectors against the other: what scatters about the diagonal is noise."""

    name = "one set of sectors against the other"
    rank = 90
    aside = True
    records = 1

    @classmethod
    def can_draw(cls, stream: daq.Stream) -> bool:
        """Tell whether these are ln tau [band, 2, y, x] or V [2, y, x] of two sets of sectors."""
        fields = stream.fields
        for field, dimensions in (("ln_tau", 4), ("V", 3)):
            if field in fields and len(shape := fields[field].shape) == dimensions:
                return shape[-3] == 2
        return False

    def widget(self, stream: daq.Stream) -> Any:
        """Return the scatter plot."""
        self._field = "ln_tau" if "ln_tau" in stream.fields else "V"
        self._band, self._batch = 0, None
        what = "ln(\u03c4 / s)" if self._field == "ln_tau" else "V"
        figure = self._figure = self.figure()
        if self._field == "ln_tau":
            figure.choice(bands_of(stream, stream.fields["ln_tau"].shape[0]), self._choose)
        self._plot = figure.plot((f"{what}, set 0", what), (f"{what}, set 1", what))
        return figure

    def update(self, batch: daq.Batch) -> None:
        """Draw the newest maps, without what is not determined."""
        self._batch = batch
        self._draw(batch)

    def _choose(self, band: int) -> None:
        self._band = band
        if self._batch is not None:
            self._draw(self._batch)

    def _draw(self, batch: daq.Batch) -> None:
        pair = batch[self._field][-1]
        flag = batch["flag"][-1] if "flag" in batch.raw else np.zeros(pair.shape, np.uint8)
        if self._field == "ln_tau":
            pair, flag = pair[self._band], flag[self._band]
        good = (np.isfinite(pair) & (flag == DETERMINED)).all(axis=0)
        a, b = pair[0][good], pair[1][good]
        opacity = int(np.clip(60000 / max(1, len(a)), 60, 220))
        self._plot.points("pairs", a, b, None, size=3, opacity=opacity)
        if len(a):
            ends = np.array([min(a.min(), b.min()), max(a.max(), b.max())])
            self._plot.curve("equal", ends, ends, self._figure.colours.muted, dashed=True, width=1)
        else:
            self._plot.drop("equal")
        self._figure.say(f"{len(a)} positions determined in both", f"{len(a)} positions")
