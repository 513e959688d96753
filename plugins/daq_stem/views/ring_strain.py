"""Strain of parts of the specimen (``ring_strain.strain``)."""

from __future__ import annotations

from typing import Any

import numpy as np

import daq
from daq_stem.views.positions import with_error

COMPONENTS = ("strain", "strain_cos2", "strain_sin2")


class RingStrain(daq.View):
    """A map of the mean strain with the directions of most strain; of one part, all over the scans."""

    name = "strain"
    rank = 24
    records = 5000

    @classmethod
    def can_draw(cls, stream: daq.Stream) -> bool:
        """Tell whether these are strains of parts of a scan."""
        names = {*COMPONENTS, *(f"{name}_errors" for name in COMPONENTS)}
        return names <= set(stream.fields) and len(stream.fields["strain"].shape) == 2

    def widget(self, stream: daq.Stream) -> Any:
        """Return map or plot."""
        self._figure = self.figure()
        self._parts = stream.fields["strain"].shape
        self._single = self._parts == (1, 1)
        if self._single:
            self._plot = self._figure.plot(("scan number",), ("strain (%)",))
            self._plot.level("zero", 0.0)
            names = ("mean", "cos 2\u03c6", "sin 2\u03c6")
            self._figure.key(list(zip(self._figure.colours.curves, names, strict=False)))
            return self._figure
        self._area = self._figure.picture()
        self._area.frame_of(stream, "strain")
        self._area.set_map("diverging")
        self._area.label_bar("mean strain (%)", "strain (%)")
        self._area.scale_bar_of(stream, "strain")
        self._steps = [float(axis["step"]) for axis in stream.axes["strain"]]
        return self._figure

    def update(self, batch: daq.Batch) -> None:
        """Draw the newest map, or all scans of a single part."""
        if self._single:
            for colour, name in zip(self._figure.colours.curves, COMPONENTS, strict=False):
                values, errors = 100 * batch[name][:, 0, 0], 100 * batch[f"{name}_errors"][:, 0, 0]
                self._plot.points(name, batch.indices, values, errors, colour)
            value, error = batch["strain"][-1, 0, 0], batch["strain_errors"][-1, 0, 0]
            self._figure.say(f"strain {with_error(100 * value, 100 * error)} %")
            return
        strain = 100 * batch["strain"][-1]
        most = max(float(np.nanmax(np.abs(strain), initial=0.0)), 1e-3)
        self._area.show(strain, levels=(-most, most))
        cos2, sin2 = batch["strain_cos2"][-1], batch["strain_sin2"][-1]
        size = np.hypot(cos2, sin2)
        longest = float(np.nanmax(size, initial=0.0)) if np.isfinite(size).any() else 0.0
        if longest > 0:
            # along the direction of most strain, as long as the difference is large
            angle = 0.5 * np.arctan2(sin2, cos2)
            reach = 0.45 * min(self._steps) * size / longest
            rows, columns = np.indices(self._parts)
            y, x = rows * self._steps[0], columns * self._steps[1]
            gap = np.full(self._parts, np.nan)
            places = [
                np.stack([p - reach * turn, p + reach * turn, gap], axis=-1).ravel()
                for p, turn in ((x, np.cos(angle)), (y, np.sin(angle)))
            ]
            self._area.line("directions", *places, "#2f2f2f", edge=False, width=2)
        error = 100 * float(np.sqrt(np.nanmean(batch["strain_errors"][-1] ** 2))) if np.isfinite(
            batch["strain_errors"][-1]
        ).any() else np.nan  # fmt: skip
        mean = float(np.nanmean(strain)) if np.isfinite(strain).any() else np.nan
        said = f"scan {batch.indices[-1]}: mean {mean:.2f} %, error of a part {error:.2f} %"
        self._figure.say(f"{said}; lines up to {100 * longest:.2f} %", said)
