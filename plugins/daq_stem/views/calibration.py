"""The mean pattern with the ring as it was fitted (``calibration.geometry``)."""

from __future__ import annotations

from typing import Any

import numpy as np

import daq
from daq_stem.geometry.ellipse import Ellipse
from daq_stem.views.positions import joined, with_error

RING_COLOUR = "#8fe3ff"


class Calibration(daq.View):
    """Whether the ellipse lies on the ring, and how well the geometry is known by now."""

    name = "calibration"
    rank = 15
    records = 1

    @classmethod
    def can_draw(cls, stream: daq.Stream) -> bool:
        """Tell whether this is the geometry of a camera with its mean pattern."""
        fields = set(stream.fields)
        return {"centre", "centre_errors", "distortion", "ring_radius", "mean"} <= fields

    def widget(self, stream: daq.Stream) -> Any:
        """Return the picture."""
        self._figure = self.figure()
        self._area = self._figure.picture()
        self._area.frame_of(stream, "mean")
        self._area.set_map("inferno")
        units = stream.fields["mean"].units
        self._area.label_bar(
            f"mean pattern ({units})" if units else "mean pattern", units or "mean"
        )
        return self._figure

    def update(self, batch: daq.Batch) -> None:
        """Draw the newest mean pattern and its ring."""
        mean = batch["mean"][-1]
        self._area.show(mean, percentiles=(1, 99.8))
        centre, errors = batch["centre"][-1], batch["centre_errors"][-1]
        radius = float(batch["ring_radius"][-1])
        ellipse = Ellipse.of_distortion(*batch["distortion"][-1].tolist())
        turn, tilt = np.linspace(0, 2 * np.pi, 361), np.radians(ellipse.angle)
        along = radius * np.sqrt(ellipse.ratio) * np.cos(turn)
        beside = radius / np.sqrt(ellipse.ratio) * np.sin(turn)
        y = centre[0] + along * np.sin(tilt) + beside * np.cos(tilt)
        x = centre[1] + along * np.cos(tilt) - beside * np.sin(tilt)
        self._area.line("ring", x, y, RING_COLOUR)
        cross = 0.15 * radius
        self._area.line(
            "centre", centre[1] + np.array([-cross, cross, np.nan, 0, 0]),
            centre[0] + np.array([0, 0, np.nan, -cross, cross]), RING_COLOUR,
        )  # fmt: skip
        place = ", ".join(
            f"{name} {with_error(float(value), float(error))}"
            for name, value, error in zip("yx", centre, errors, strict=True)
        )
        ratio_error = ellipse.ratio * float(np.mean(batch["distortion_errors"][-1]))
        shape = "no ellipse"
        if np.isfinite(ellipse.ratio):
            ratio = with_error(ellipse.ratio, ratio_error)
            shape = f"ellipse {ratio} at {ellipse.angle:.0f}\u00b0"
        size = electrons = ""
        if np.isfinite(value := float(batch["pixel_size"][-1])):
            size = f"{with_error(value, float(batch['pixel_size_errors'][-1]))} nm\u207b\u00b9/px"
        if np.isfinite(value := float(batch["counts_per_electron"][-1])):
            error = float(batch["counts_per_electron_errors"][-1])
            electrons = f"{with_error(value, error)} counts per electron"
        self._figure.say(f"{place} px")
        self._figure.key(
            [(RING_COLOUR, joined([shape, size, electrons]))],
            [(RING_COLOUR, joined([shape, size]))], [(RING_COLOUR, shape)],
        )  # fmt: skip
