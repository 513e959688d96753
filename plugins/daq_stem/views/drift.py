"""How far the specimen has moved (``drift.shifts``)."""

from __future__ import annotations

from typing import Any

import daq
from daq_stem.views.positions import number


class Drift(daq.View):
    """Shift along y and x over the scans, with errors of one standard deviation."""

    name = "drift"
    rank = 30
    records = 5000

    @classmethod
    def can_draw(cls, stream: daq.Stream) -> bool:
        """Tell whether these are the shifts of scans."""
        return {"scan", "shift_y", "shift_x", "shift_errors"} <= set(stream.fields)

    def widget(self, stream: daq.Stream) -> Any:
        """Return the plot."""
        self._figure = self.figure()
        self._colours = self._figure.colours.curves
        self._plot = self._figure.plot(("scan number",), ("shift (nm)",))
        self._plot.level("zero", 0.0)
        names = ("y", "x", "residual")
        self._figure.key(list(zip(self._colours, names, strict=False)))
        return self._figure

    def update(self, batch: daq.Batch) -> None:
        """Draw all scans."""
        scan, errors = batch.indices, batch["shift_errors"]
        size = 4 if batch.count <= 120 else 2
        for place, field in enumerate(("shift_y", "shift_x")):
            colour = self._colours[place]
            self._plot.curve(f"line {field}", scan, batch[field], colour, width=1)
            self._plot.points(field, scan, batch[field], errors, colour, size=size)
        if "residual" in batch.raw:
            self._plot.curve("residual", scan, batch["residual"], self._colours[2], dashed=True)
        y, x = (number(float(batch[field][-1]), 2) for field in ("shift_y", "shift_x"))
        now = f"y {y}, x {x} nm"
        error = f" \u00b1 {number(float(errors[-1]), 2)} nm"
        self._figure.say(f"scan {scan[-1]}: {now}{error}", now + error, now)
