"""Numbers against time."""

from __future__ import annotations

import datetime

import numpy as np

from daq.viewer import choice, labels
from daq.viewer.choice import PanelSpec
from daq.viewer.content import Content, Curve, TraceContent
from daq.viewer.panels import plot
from daq.viewer.panels.panel import Panel
from daq.viewer.scene import Scene
from daq.viewer.theme import Theme


class TracePanel(Panel):
    """Fields of the same units against the time since the run's first record."""

    def __init__(self, spec: PanelSpec, scene: Scene, colours: Theme) -> None:
        super().__init__(spec, scene, colours)
        self._log = False
        widget = plot.canvas(colours)
        self._plot = plot.add_plot(widget, colours)
        self._plot.showGrid(x=True, y=True, alpha=colours.grid / 255)
        self._curves = plot.Curves(self._plot, colours)
        self._labels = plot.AxisLabels(self._plot.vb, colours, self)
        self._legend = plot.FittingLabel()
        self.body.addWidget(self._legend)
        self.body.addWidget(widget, 1)
        self.option("logarithmic", self._set_log, checked=False)

    def draw(self, content: Content, now: float) -> None:
        """Draw the histories."""
        assert isinstance(content, TraceContent)
        with self.scene.lock:
            origin = self.scene.origin(self.spec.stream)
            curves = content.curves(origin)
        ends = [float(c.x[i]) for c in curves if len(c.x) for i in (0, -1)]
        scale, unit = labels.time_unit(max(np.abs(ends)) if ends else 1.0)
        drawn = [Curve(c.label, c.x / scale, c.y, c.error) for c in curves]
        self._curves.set(drawn, log_y=self._log)
        start = datetime.datetime.fromtimestamp(origin / 1e9, datetime.UTC)
        since = f"time since {start:%Y-%m-%d %H:%M:%S} UTC"
        self._legend.set(*self._curves.legend(curves))
        self._labels.set(
            self._plot.getAxis("bottom"),
            labels.with_units(since, unit),
            labels.with_units("time", unit),
        )
        name = self.spec.fields[0]
        field = content.stream.fields[name]
        axis_left = self._plot.getAxis("left")
        if len(self.spec.fields) == 1:
            short = labels.with_units(name.replace("_", " "), field.units)
            texts: tuple[str, ...] = (labels.field_label(name, field), short, field.units or name)
        else:
            texts = (field.units,)
        whole = all(choice.counts(content.stream, name) for name in self.spec.fields)
        self._labels.set(axis_left, *texts, whole=whole)

    def _set_log(self, on: bool) -> None:
        self._log = on
        self._plot.setLogMode(y=on)
        self.redraw()
