"""The mean diffraction pattern with the annuli that correlations are taken from (``ecm.pattern``)."""

from __future__ import annotations

from typing import Any

import numpy as np

import daq
from daq_stem.views.positions import joined, painted, scan_and_temperature

BAD_PIXEL = 255
BAD_PIXEL_COLOUR = "#3f7d86"
"""In none of inferno's colours."""

RING_COLOURS = ("#8fe3ff", "#b6ff9e", "#ffffff", "#ffb3f0")


class Pattern(daq.View):
    """Where the beam falls, which pixels are used, and which are not there."""

    name = "pattern and annuli"
    rank = 14
    records = 1

    @classmethod
    def can_draw(cls, stream: daq.Stream) -> bool:
        """Tell whether this is a mean pattern with its annuli."""
        fields = stream.fields
        return "mean" in fields and stream.constants.get("annulus", np.empty(0)).shape == (
            fields["mean"].shape
        )

    def widget(self, stream: daq.Stream) -> Any:
        """Return the picture; annuli and bad pixels hold for the whole stream."""
        self._figure = self.figure()
        area = self._area = self._figure.picture()
        area.frame_of(stream, "mean")
        area.set_map("inferno")
        units = stream.fields["mean"].units
        area.label_bar(f"mean pattern ({units})" if units else "mean pattern", units or "mean")
        annulus = stream.constants["annulus"]
        self._bad = annulus == BAD_PIXEL
        area.overlay("bad", painted(self._bad.shape, [(BAD_PIXEL_COLOUR, self._bad)]))
        centre, scale = _centre_and_scale(stream)
        bad = [(BAD_PIXEL_COLOUR, "bad pixel, beam stop")] if self._bad.any() else []
        counted, named = [], []
        turn = np.linspace(0, 2 * np.pi, 181)
        bands = stream.attributes.get("bands", [])
        for band, (low, high) in enumerate(bands):
            colour = RING_COLOURS[band % len(RING_COLOURS)]
            for side, radius in (("inner", low), ("outer", high)):
                y = centre[0] + radius * scale * np.sin(turn)
                x = centre[1] + radius * scale * np.cos(turn)
                area.line(f"{side} {band}", x, y, colour)
            # On the ring, each at an angle of its own, so that labels of near bands stand apart.
            angle = 2 * np.pi * (band / len(bands) - 0.25)
            place = high * scale
            limits = f"{low:g}\u2013{high:g} nm\u207b\u00b9"
            y, x = centre[0] + place * np.sin(angle), centre[1] + place * np.cos(angle)
            area.text(f"label {band}", x, y, limits, colour=colour)
            counted.append((colour, f"{limits}: {(annulus == band + 1).sum()} px"))
            named.append((colour, f"{low:g}\u2013{high:g}"))
        self._figure.key([*bad, *counted], counted, [*bad, *named], named, bad)
        return self._figure

    def update(self, batch: daq.Batch) -> None:
        """Draw the newest pattern, on a logarithmic scale."""
        mean = np.where(self._bad, np.nan, batch["mean"][-1])
        self._area.show(
            mean, logarithmic=bool(np.nanmax(mean, initial=0) > 0), percentiles=(2, 99.8)
        )
        self._figure.say(joined(scan_and_temperature(batch)))


def _centre_and_scale(stream: daq.Stream) -> tuple[tuple[float, float], float]:
    """Return the direct beam [y, x] in the coordinates of the axes, and their units per 1/nm."""
    axes = stream.axes.get("mean", ())
    if len(axes) == 2 and all("nm" in str(axis.get("units")) for axis in axes):
        return (0.0, 0.0), 1.0
    y, x = stream.attributes.get("centre", [0.0, 0.0])
    return (float(y), float(x)), 1.0 / float(stream.attributes.get("pixel_size", 1.0))
