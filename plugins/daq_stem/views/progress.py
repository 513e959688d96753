"""How the series goes: tau over scans, and how much of the map is determined (``ecm.summary``)."""

from __future__ import annotations

from typing import Any

import numpy as np

import daq
from daq_stem.views.positions import (
    DETERMINED,
    LOWER_BOUND,
    LOWER_BOUND_COLOUR,
    bands_of,
    joined,
    number,
    percent,
)


class Progress(daq.View):
    """Is the series long enough? Mean tau with its measurement error, and the shares below it."""

    name = "\u03c4 over scans"
    rank = 22
    records = 5000

    @classmethod
    def can_draw(cls, stream: daq.Stream) -> bool:
        """Tell whether this is the summary of each scan."""
        return {"scan", "mean_ln_tau", "mean_ln_tau_errors", "share"} <= set(stream.fields)

    def widget(self, stream: daq.Stream) -> Any:
        """Return two plots that share the axis of scans."""
        figure = self._figure = self.figure()
        self._bands = bands_of(stream, stream.fields["mean_ln_tau"].shape[0])
        self._colours = figure.colours.curves
        self._tau = figure.plot(
            (), ("geometric mean of \u03c4 (s)", "mean \u03c4 (s)", "\u03c4 (s)"),
            logarithmic="y", share=3,
        )  # fmt: skip
        self._share = figure.plot(("scan number",), ("share (%)",), above=self._tau, share=2)
        self._share.range(None, (-4, 104))
        bands = [(self._colours[n % len(self._colours)], b) for n, b in enumerate(self._bands)]
        shares = [(figure.colours.green, "determined"), (LOWER_BOUND_COLOUR, "lower bound")]
        figure.key([*(bands if len(bands) > 1 else []), *shares], shares)
        return figure

    def update(self, batch: daq.Batch) -> None:
        """Draw all scans; the shares are those of the first band."""
        scan = batch.indices
        mean, errors = batch["mean_ln_tau"], batch["mean_ln_tau_errors"]
        few = batch.count <= 120
        with np.errstate(over="ignore"):
            tau = np.exp(mean)
            below, above = tau - np.exp(mean - errors), np.exp(mean + errors) - tau
        for band in range(len(self._bands)):
            colour = self._colours[band % len(self._colours)]
            self._tau.curve(f"line {band}", scan, tau[:, band], colour, width=1)
            self._tau.points(
                f"tau {band}", scan, tau[:, band], (below[:, band], above[:, band]), colour,
                size=4 if few else 2,
            )  # fmt: skip
        share = batch["share"][:, 0] * 100
        self._share.curve("determined", scan, share[:, DETERMINED], self._figure.colours.green)
        self._share.curve("bound", scan, share[:, LOWER_BOUND], LOWER_BOUND_COLOUR)
        now = f"\u03c4 {number(tau[-1, 0])} s \u00b1 {percent(errors[-1, 0])}"
        if not np.isfinite(tau[-1, 0]):
            now = "\u03c4 not known"
        spread = ""
        if "ln_tau_sd" in batch.raw and np.isfinite(batch["ln_tau_sd"][-1, 0]):
            spread = f"spread of ln \u03c4 {number(batch['ln_tau_sd'][-1, 0], 2)}"
        heat = ""
        if "temperature" in batch.raw and np.isfinite(batch["temperature"][-1]):
            heat = f"{float(batch['temperature'][-1]):.1f} K"
        self._figure.say(joined([now, spread, heat]), joined([now, heat]), now)
