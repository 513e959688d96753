"""Spectra of relaxation times, with their errors and what they can resolve."""

from __future__ import annotations

from typing import Any

import numpy as np

import daq
from daq_mechanical.views.plotted import Plotted
from daq_mechanical.views.wording import newest, pair, shorter


class Times(Plotted):
    """H(ln tau) with its errors, and how wide a single relaxation time would be."""

    name = "spectrum of relaxation times"
    rank = 23
    fields = {"tau": 1, "density": 1, "resolution": 1, "smoothing": 0}

    def widget(self, stream: daq.Stream) -> Any:
        """Return the plots."""
        self.begin()
        self._plot = self.drawn.plot((), ("H (GPa)",), logarithmic="x", share=2)
        self._width = self.drawn.plot(
            ("relaxation time (s)", "\u03c4 (s)"), ("width (decades)", "decades"),
            logarithmic="x", above=self._plot,
        )  # fmt: skip
        self.drawn.key(
            ((self.colours[0], "H(ln \u03c4)"), (self.theme.muted, "one error"),
             (self.colours[1], "width of a single time at the peak"))
        )  # fmt: skip
        return self.drawn

    def update(self, batch: daq.Batch) -> None:
        """Draw the newest spectrum."""
        if (at := newest(batch)) is None:
            return
        tau, H, errors, width = (
            batch[n][at] for n in ("tau", "density", "density_errors", "resolution")
        )
        H, errors = 1e-9 * H, 1e-9 * errors
        self.band(self._plot, "H", tau, H, errors, self.theme.muted)
        self._plot.curve("H", tau, H, self.colours[0], width=2)
        self._width.curve("width", tau, width, self.colours[1])
        known = np.isfinite(H)
        told = ""
        if known.any():
            top = int(np.nanargmax(np.where(known, H, np.nan)))
            half = 10 ** (0.5 * float(width[top]))
            ends = np.array([tau[top] / half, tau[top] * half])
            self._plot.curve("resolution", ends, np.full(2, 0.5 * H[top]), self.colours[1], width=3)
            told = f"resolves {float(width[top]):.2f} decades at the peak"
            self._plot.range((float(tau[known].min()), float(tau[known].max())), None)
        T = float(batch["temperature"][at])
        self.drawn.say(*shorter([
            f"{T:.1f} K" if np.isfinite(T) else "", told,
            f"\u0394M {pair(batch, 'strength', at, 1e-9)} GPa",
            f"M_r {pair(batch, 'relaxed', at, 1e-9)} GPa",
        ]))  # fmt: skip


VIEWS: list[type[daq.View]] = [Times]
