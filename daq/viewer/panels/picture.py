"""Images, maps and stacks: a picture with true shape, axes with units and a colour bar."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PySide6 import QtCore, QtGui, QtWidgets

from daq.viewer import choice, labels
from daq.viewer.axes import Axis
from daq.viewer.choice import PanelSpec
from daq.viewer.content import Content, LatestContent, MapContent, Picture, RowsContent
from daq.viewer.levels import Levels, asks_for_logarithm, logarithm
from daq.viewer.panels.panel import Panel
from daq.viewer.panels.picture_area import PictureArea
from daq.viewer.scene import Scene
from daq.viewer.theme import COLOUR_MAPS, Theme


class PicturePanel(Panel):
    """The newest image or the map so far; row 0 is on top, as the detector or the scan has it.

    Rows that say where they belong (AFM) go upwards.
    """

    def __init__(self, spec: PanelSpec, scene: Scene, colours: Theme) -> None:
        super().__init__(spec, scene, colours)
        self._levels = Levels()
        self._log = False
        self._chosen_map: str | None = None
        self._picture: Picture | None = None
        self._area = PictureArea(colours, self)
        self._plot, self._image = self._area.plot, self._area.image
        self.body.addWidget(self._area.widget, 1)
        self._slider: QtWidgets.QSlider | None = None
        self._make_menu()
        self._area.widget.scene().sigMouseMoved.connect(self._on_hover)

    def draw(self, content: Content, now: float) -> None:
        """Draw the newest picture."""
        plane = self._slider.value() if self._slider is not None else 0
        with self.scene.lock:
            picture = (
                content.picture()
                if isinstance(content, MapContent | RowsContent)
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
        self._area.set_map(
            self._chosen_map or ("viridis" if self.spec.kind == "map" else "inferno")
        )
        x, y = picture.x, picture.y
        self._area.frame(
            (x.label, *x.edges), (y.label, *y.edges), square=picture.square,
            upwards=picture.upwards, whole=(x.counts, y.counts),
        )  # fmt: skip
        self._area.scanned(picture.scanned)
        self._area.draw(values, levels, logarithmic=self._log)
        self._label(picture)

    def _label(self, picture: Picture) -> None:
        for side, axis in (("bottom", picture.x), ("left", picture.y)):
            if not axis.even:
                self._plot.getAxis(side).setTicks([_uneven_ticks(axis)])
        stream, name = self.scene.streams()[self.spec.stream], self.spec.fields[0]
        units = stream.fields[name].units
        short = labels.with_units(name.replace("_", " "), units)
        whole = choice.counts(stream, name) and not self._log
        self._area.label_bar(picture.label, short, units or name, whole=whole)

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
        self.option("whole picture", self._area.show_all)

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
