"""Images, maps and stacks: a picture with true shape, axes with units and a colour bar."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyqtgraph as pg
from PySide6 import QtCore, QtGui, QtWidgets

from daq.viewer import labels
from daq.viewer.axes import Axis
from daq.viewer.choice import PanelSpec
from daq.viewer.content import Content, LatestContent, MapContent, Picture
from daq.viewer.levels import Levels, asks_for_logarithm, logarithm
from daq.viewer.panels import plot
from daq.viewer.panels.panel import Panel
from daq.viewer.scene import Scene
from daq.viewer.theme import COLOUR_MAPS, Theme, colour_map

BAR_WIDTH = 12

MOST_FITS = 20
"""How often a picture is fitted into a panel of one size: wider tick labels make it narrower, and a
narrower one may have shorter labels, which would go on for ever."""


class PicturePanel(Panel):
    """The newest image or the map so far; row 0 is on top, as the detector or the scan has it."""

    def __init__(self, spec: PanelSpec, scene: Scene, colours: Theme) -> None:
        super().__init__(spec, scene, colours)
        self._levels = Levels()
        self._log = False
        self._map: str | None = None
        self._chosen_map: str | None = None
        self._picture: Picture | None = None
        widget = plot.canvas(colours)
        self._plot = plot.add_plot(widget, colours)
        self._plot.invertY(True)
        self._plot.setDefaultPadding(0.0)
        self._void = QtWidgets.QGraphicsRectItem()
        self._void.setPen(pg.mkPen(None))
        self._void.setBrush(pg.mkBrush(colours.not_a_number))
        self._void.setToolTip("no value")
        self._image = pg.ImageItem(axisOrder="row-major")
        self._plot.addItem(self._void)
        self._plot.addItem(self._image)
        self._bar = pg.ColorBarItem(
            values=(0, 1), width=BAR_WIDTH, colorMap=colour_map("viridis"), interactive=False
        )
        self._bar.setImageItem(self._image, insert_in=self._plot)
        self._bar.axis.setWidth(None)
        plot.style_axis(self._bar.axis, colours)
        self._labels = plot.AxisLabels(self._plot.vb, colours, self)
        self._canvas = widget
        self._whole = True
        # Not at once: axes change their width while they are painted, and Qt does not survive a
        # layout in the middle of that.
        self._fitting = QtCore.QTimer(self)
        self._fitting.setSingleShot(True)
        self._fitting.timeout.connect(self._fit)
        widget.sigDeviceRangeChanged.connect(self._fit_soon)
        self._plot.vb.sigResized.connect(self._fit_soon)
        self._plot.vb.sigRangeChangedManually.connect(self._zoomed)
        self.body.addWidget(widget, 1)
        self._slider: QtWidgets.QSlider | None = None
        self._fits, self._fitted_size = 0, (0, 0)
        self._make_menu()
        widget.scene().sigMouseMoved.connect(self._on_hover)

    def draw(self, content: Content, now: float) -> None:
        """Draw the newest picture."""
        plane = self._slider.value() if self._slider is not None else 0
        with self.scene.lock:
            picture = (
                content.picture()
                if isinstance(content, MapContent)
                else content.picture(plane)
                if isinstance(content, LatestContent)
                else None
            )
        if picture is None:
            return
        if self.spec.kind == "stack" and self._slider is None:
            assert isinstance(content, LatestContent)
            self._add_slider(content)
        first = self._picture is None
        self._picture = picture
        if first and self.spec.kind == "image" and asks_for_logarithm(picture.values):
            self._log_action.setChecked(True)
        values = logarithm(picture.values) if self._log else picture.values
        levels = self._levels.of(values, now)
        if levels is None:
            levels = (0.0, 1.0)
        elif self._chosen_map == "diverging" and not self._levels.locked:
            reach = max(abs(levels[0]), abs(levels[1]))
            levels = (-reach, reach)
        self._set_map(self._chosen_map or ("viridis" if self.spec.kind == "map" else "inferno"))
        self._image.setImage(values, autoLevels=False, levels=levels)
        self._bar.setLevels(levels)
        rect = plot.pixel_rect(picture.x.edges, picture.y.edges)
        self._image.setRect(rect)
        self._void.setRect(rect)
        self._label(picture, levels)
        if first:
            self._plot.setAspectLocked(self._shape() is not None)
            self._show_all()

    def _label(self, picture: Picture, levels: tuple[float, float]) -> None:
        for side, axis in (("bottom", picture.x), ("left", picture.y)):
            item = self._plot.getAxis(side)
            self._labels.set(item, axis.label)
            if not axis.even:
                item.setTicks([_uneven_ticks(axis)])
        name = self.spec.fields[0]
        units = self.scene.streams()[self.spec.stream].fields[name].units
        self._labels.set(
            self._bar.axis,
            picture.label,
            labels.with_units(name.replace("_", " "), units),
            units or name,
        )
        self._bar.axis.setTicks([_decades(levels)] if self._log else None)

    def _shape(self) -> float | None:
        """Return width over height of a picture that must keep its shape, or None.

        Square pixels only where that does not squeeze the picture into a thread.
        """
        if self._picture is None or not self._picture.square:
            return None
        rect = plot.pixel_rect(self._picture.x.edges, self._picture.y.edges)
        shape = abs(rect.width() / rect.height()) if rect.height() else 1.0
        return shape if 1 / 12 < shape < 12 else None

    def _fit_soon(self, *_: object) -> None:
        self._fitting.start(0)

    def _fit(self) -> None:
        """Leave no room between picture and axes: they end where it ends, in the middle of the panel."""
        shape, size = self._shape(), (self._canvas.width(), self._canvas.height())
        if size != self._fitted_size:
            self._fitted_size, self._fits = size, 0
        self._fits += 1
        if shape is None or self._fits > MOST_FITS:
            return
        item, box, layout = self._plot, self._plot.vb, self._canvas.ci.layout
        left, top, right, bottom = plot.MARGINS
        beside = item.size().width() - box.size().width()
        above = item.size().height() - box.size().height()
        width = self._canvas.width() - left - right - beside
        height = self._canvas.height() - top - bottom - above
        across = max(0.0, (width - height * shape) / 2)
        down = max(0.0, (height - width / shape) / 2)
        margins = (left + across, top + down, right + across, bottom + down)
        changed = max(abs(a - b) for a, b in zip(margins, layout.getContentsMargins(), strict=True))
        if width > 20 and height > 20 and changed > 0.5:
            layout.setContentsMargins(*margins)
        if self._whole:
            self._show_all()

    def _zoomed(self, *_: object) -> None:
        self._whole = False

    def _set_map(self, name: str) -> None:
        if name != self._map:
            self._map = name
            self._bar.setColorMap(colour_map(name))

    # -- what the user may change ---------------------------------------------------------------

    def _make_menu(self) -> None:
        group = QtGui.QActionGroup(self)
        automatic = self.option("colours by content", lambda: self._choose_map(None))
        automatic.setCheckable(True)
        automatic.setChecked(True)
        group.addAction(automatic)
        for name in COLOUR_MAPS:
            action = self.option(name, lambda _=False, name=name: self._choose_map(name))
            action.setCheckable(True)
            group.addAction(action)
        self.menu.addSeparator()
        self._log_action = self.option("logarithmic", self._set_log, checked=False)
        self.option("lock levels", self._set_lock, checked=False)
        self.menu.addSeparator()
        self.option("whole picture", self._show_all)

    def _choose_map(self, name: str | None) -> None:
        self._chosen_map = name
        self.redraw()

    def _set_log(self, on: bool) -> None:
        self._log = on
        self._levels.follow()
        self.redraw()

    def _set_lock(self, on: bool) -> None:
        if on:
            self._levels.lock()
        else:
            self._levels.follow()
        self.redraw()

    def _show_all(self) -> None:
        self._whole = True
        if self._picture is not None:
            rect = plot.pixel_rect(self._picture.x.edges, self._picture.y.edges)
            self._plot.setRange(rect, padding=0.0)

    def _add_slider(self, stack: LatestContent) -> None:
        self._slider = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal)
        self._slider.setRange(0, stack.planes - 1)
        label = QtWidgets.QLabel(stack.plane_label(0))
        row = QtWidgets.QHBoxLayout()
        row.setSpacing(10)
        row.addWidget(label)
        row.addWidget(self._slider, 1)
        self.body.addLayout(row)

        def moved(plane: int) -> None:
            label.setText(stack.plane_label(plane))
            self._levels.follow()
            self.redraw()

        self._slider.valueChanged.connect(moved)

    def _on_hover(self, position: QtCore.QPointF) -> None:
        picture = self._picture
        if picture is None or not self._plot.sceneBoundingRect().contains(position):
            return
        point = self._plot.vb.mapSceneToView(position)
        rows, columns = picture.values.shape
        column = _pixel(picture.x, point.x(), columns)
        row = _pixel(picture.y, point.y(), rows)
        if column is None or row is None:
            return
        value = float(picture.values[row, column])
        said = labels.significant(value, 4) if np.isfinite(value) else "no value"
        x, y = picture.x.coordinates[column], picture.y.coordinates[row]
        self.hovered.emit(
            f"{self.spec.title}  [{row}, {column}]  y {labels.significant(y, 4)}, "
            f"x {labels.significant(x, 4)}:  {said}"
        )


def _pixel(axis: Axis, coordinate: float, size: int) -> int | None:
    low, high = axis.edges
    if high == low:
        return None
    at = int(np.floor((coordinate - low) / (high - low) * size))
    return at if 0 <= at < size else None


def _uneven_ticks(axis: Axis, most: int = 6) -> list[tuple[float, str]]:
    places: npt.NDArray[Any] = np.unique(
        np.linspace(0, len(axis.coordinates) - 1, most).round().astype(int)
    )
    return [(float(p), labels.significant(float(axis.coordinates[p]), 2)) for p in places]


def _decades(levels: tuple[float, float]) -> list[tuple[float, str]]:
    low, high = levels
    if high - low < 1.5:
        values = np.linspace(low, high, 4)
        return [(float(v), labels.significant(10.0 ** float(v), 2)) for v in values]
    step = max(1, round((high - low) / 6))
    return [
        (float(k), labels.significant(10.0**k, 1))
        for k in range(int(np.ceil(low)), int(np.floor(high)) + 1, step)
    ]
