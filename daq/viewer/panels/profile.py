"""One-dimensional fields of the newest record, with error bars."""

from __future__ import annotations

from daq.viewer import choice, labels
from daq.viewer.choice import PanelSpec
from daq.viewer.content import Content, LatestContent
from daq.viewer.panels import plot
from daq.viewer.panels.panel import Panel
from daq.viewer.scene import Scene
from daq.viewer.theme import Theme


class ProfilePanel(Panel):
    """The newest profile; its x axis is logarithmic where the coordinates ask for it."""

    def __init__(self, spec: PanelSpec, scene: Scene, colours: Theme) -> None:
        super().__init__(spec, scene, colours)
        self._log_x: bool | None = None
        self._log_y = False
        widget = plot.canvas(colours)
        self._plot = plot.add_plot(widget, colours)
        self._plot.showGrid(x=True, y=True, alpha=colours.grid / 255)
        self._curves = plot.Curves(self._plot, colours)
        self._labels = plot.AxisLabels(self._plot.vb, colours, self)
        self._legend = plot.FittingLabel()
        self.body.addWidget(self._legend)
        self.body.addWidget(widget, 1)
        self._x_action = self.option("logarithmic x", self._set_log_x, checked=False)
        self.option("logarithmic y", self._set_log_y, checked=False)

    def draw(self, content: Content, now: float) -> None:
        """Draw the newest record."""
        assert isinstance(content, LatestContent)
        with self.scene.lock:
            axis, curves = content.curves()
        if self._log_x is None:
            self._x_action.setChecked(axis.logarithmic)
            self._set_log_x(axis.logarithmic)
        self._curves.set(curves, log_x=bool(self._log_x), log_y=self._log_y)
        self._legend.set(*self._curves.legend(curves))
        self._labels.set(self._plot.getAxis("bottom"), axis.label, whole=axis.counts)
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

    def _set_log_x(self, on: bool) -> None:
        self._log_x = on
        self._plot.setLogMode(x=on)
        self.redraw()

    def _set_log_y(self, on: bool) -> None:
        self._log_y = on
        self._plot.setLogMode(y=on)
        self.redraw()
