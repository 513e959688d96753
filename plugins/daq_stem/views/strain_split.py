"""How much of a strain is elastic (``structure_factor.split``)."""

from __future__ import annotations

from typing import Any

import numpy as np

import daq
from daq_stem.views.positions import with_error


class StrainSplit(daq.View):
    """The l = 2 part of the pair distribution, and the shape that was fitted to it."""

    name = "elastic strain"
    rank = 25
    records = 1

    @classmethod
    def can_draw(cls, stream: daq.Stream) -> bool:
        """Tell whether this is the l = 2 part of a pair distribution with its strains."""
        names = {"G2", "G2_errors", "G2_fit", "affine_strain", "elastic_share"}
        if not names <= set(stream.fields) or "r" not in stream.constants:
            return False
        return len(stream.fields["G2"].shape) == 1

    def widget(self, stream: daq.Stream) -> Any:
        """Return the plot."""
        self._r = np.asarray(stream.constants["r"], np.float64)
        low, high = stream.attributes.get("strain_range", (0.0, np.inf))
        self._inside = (self._r >= low) & (self._r <= high)
        figure = self._figure = self.figure()
        self._plot = figure.plot(
            ("distance r (nm)", "r (nm)"), ("G(r), l = 2 (1/nm\u00b2)", "l = 2 (1/nm\u00b2)")
        )
        self._plot.level("zero", 0.0)
        self._colours = figure.colours.curves
        figure.key([(self._colours[0], "measured"), (self._colours[1], "fitted")])
        return figure

    def update(self, batch: daq.Batch) -> None:
        """Draw the newest record."""
        measured, fitted = batch["G2"][-1], batch["G2_fit"][-1]
        # noise of small distances, where no atoms are, would hide the rest
        at = self._inside
        self._plot.points(
            "measured", self._r[at], measured[at], batch["G2_errors"][-1][at], self._colours[0], size=3
        )  # fmt: skip
        self._plot.curve("fitted", self._r[at], fitted[at], self._colours[1], width=2)

        def said(name: str, unit: float = 1.0) -> str:
            value, error = float(batch[name][-1]), float(batch[f"{name}_errors"][-1])
            return with_error(unit * value, unit * error)

        if np.isfinite(batch["elastic_share"][-1]):
            share = f"elastic part {said('elastic_share')}"
            self._figure.say(
                f"{share} \u00b7 elastic strain {said('elastic_strain', 100)} %", share
            )
        elif np.isfinite(batch["affine_strain"][-1]):
            self._figure.say(f"strain, if all of it is affine: {said('affine_strain', 100)} %")
        else:
            self._figure.say("not determined")
