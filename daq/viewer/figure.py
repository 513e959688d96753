"""What a view of a plugin draws on: words, plots and pictures as the viewer's own panels have them.

A view needs no Qt for it::

    class Spot(daq.View):
        name = "spot"
        records = 200

        def widget(self, stream):
            self.drawn = self.figure()
            self.plot = self.drawn.plot(("time (s)",), ("brightness (counts)",))
            return self.drawn

        def update(self, batch):
            self.drawn.say(f"{batch.count} spots")
            self.plot.points("spots", (batch.time - batch.time[0]) / 1e9, batch["brightness"])

Everything drawn has a name, and is replaced when that name is given again.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyqtgraph as pg
from PySide6 import QtCore, QtGui, QtWidgets

from daq.viewer.levels import decade_ticks
from daq.viewer.panels import plot
from daq.viewer.panels.picture_area import PictureArea
from daq.viewer.theme import Theme

Floats = npt.NDArray[np.float64]

LABEL_ROOM = 55.0
"""Pixels from one label of a logarithmic axis to the next, at least."""


class Figure(QtWidgets.QWidget):
    """A column of plots and pictures, below lines of words that are never cut.

    Parameters
    ----------
    colours
        Of the window: `daq.viewer.theme.Theme`.
    """

    def __init__(self, colours: Theme) -> None:
        super().__init__()
        self.colours = colours
        self._column = QtWidgets.QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(1)
        self._head = QtWidgets.QHBoxLayout()
        self._head.setSpacing(8)
        self._column.addLayout(self._head)
        self._words = plot.FittingLabel()
        self._head.addWidget(self._words, 1)
        self._rows: dict[PictureArea, QtWidgets.QHBoxLayout] = {}
        self._key = plot.FittingLabel()
        self._column.addWidget(self._key)

    def say(self, *texts: str) -> None:
        """Show the first of ``texts`` (plain, the longest first) that has room, above everything."""
        self._words.set(*(html.escape(text) for text in texts))

    def key(self, *versions: Sequence[tuple[str, str]]) -> None:
        """Name colours in a line: (colour, what it is), the longest version first; none hides it."""
        self._key.set(
            *(
                "&nbsp;&nbsp; ".join(
                    f'<span style="color:{colour}">\u25a0</span> {html.escape(what)}'
                    for colour, what in version
                )
                for version in versions
            )
        )

    def choice(self, names: Sequence[str], chosen: Callable[[int], None]) -> None:
        """Let the user choose one of several; of a single one there is no choice."""
        if len(names) < 2:
            return
        box = QtWidgets.QComboBox()
        box.addItems(list(names))
        box.currentIndexChanged.connect(chosen)
        self._head.insertWidget(0, box)

    def picture(self, beside: PictureArea | None = None) -> PictureArea:
        """Add a picture, below what is there or on the right of another one."""
        area = PictureArea(self.colours, self)
        if beside is None:
            row = QtWidgets.QHBoxLayout()
            row.setSpacing(8)
            self._column.addLayout(row, 1)
            self._rows[area] = row
        else:
            row = self._rows[area] = self._rows[beside]
        row.addWidget(area.widget, 1)
        return area

    def plot(
        self,
        bottom: Sequence[str],
        left: Sequence[str],
        *,
        logarithmic: str = "",
        above: PlotArea | None = None,
        share: int = 1,
    ) -> PlotArea:
        """Add a plot.

        Parameters
        ----------
        bottom, left
            Labels with units of the axes; of several the first that has room. Empty: neither label
            nor numbers, for a plot above another one.
        logarithmic
            ``x``, ``y``, ``xy`` or nothing.
        above
            A plot with which this one, below it, shares the x axis.
        share
            Of the height, relative to the other plots.
        """
        canvas = None if above is None else above.widget
        if canvas is None:
            canvas = plot.canvas(self.colours)
            self._column.addWidget(canvas, 1)
        return PlotArea(canvas, self.colours, self, bottom, left, logarithmic, above, share)


class PlotArea(QtCore.QObject):
    """Curves, points with errors, and lines over labelled axes; see `Figure.plot`."""

    def __init__(
        self,
        canvas: Any,
        colours: Theme,
        parent: QtCore.QObject,
        bottom: Sequence[str],
        left: Sequence[str],
        logarithmic: str,
        above: PlotArea | None,
        share: int,
    ) -> None:
        super().__init__(parent)
        self.widget = canvas
        self.colours = colours
        self._log = ("x" in logarithmic, "y" in logarithmic)
        if above is not None:
            canvas.nextRow()
        self.plot = plot.add_plot(canvas, colours)
        self.plot.showGrid(x=True, y=True, alpha=colours.grid / 255)
        # Its logarithm would be one of what may be a logarithm already.
        self.plot.setContextMenuActionVisible("Transforms", False)
        row = 0 if above is None else canvas.ci.layout.rowCount() - 1
        canvas.ci.layout.setRowStretchFactor(row, share)
        self._labels = plot.AxisLabels(self.plot.vb, colours, self)
        self._below: list[PlotArea] = []
        if above is not None:
            self.plot.setXLink(above.plot)
            above._below.append(self)
            for area in (above, *above._below):
                # Plots in one column are flush only with numbers equally wide.
                area.plot.getAxis("left").setWidth(52)
        for side, texts, log in (("bottom", bottom, self._log[0]), ("left", left, self._log[1])):
            axis = self.plot.getAxis(side)
            if log:
                _logarithmic(axis)
            if texts:
                self._labels.set(axis, *texts)
            else:
                axis.setStyle(showValues=False)
        self._items: dict[str, list[Any]] = {}

    def label(self, bottom: Sequence[str] = (), left: Sequence[str] = ()) -> None:
        """Change the labels of axes (none: they stay)."""
        for side, texts in (("bottom", bottom), ("left", left)):
            if texts:
                self._labels.set(self.plot.getAxis(side), *texts)

    def curve(
        self,
        name: str,
        x: Any,
        y: Any,
        colour: str = "",
        *,
        dashed: bool = False,
        width: float = 1.6,
    ) -> None:
        """Draw a curve, broken where there is NaN."""
        style = QtCore.Qt.PenStyle.DashLine if dashed else QtCore.Qt.PenStyle.SolidLine
        pen = pg.mkPen(colour or self._colour(0), width=width, style=style)
        x, y = self._drawn(x, y)
        item = pg.PlotDataItem(x, y, pen=pen, connect="finite", antialias=len(x) <= plot.SMOOTH)
        self._replace(name, [item])

    def points(
        self,
        name: str,
        x: Any,
        y: Any,
        errors: Any = None,
        colour: str = "",
        *,
        symbol: str = "o",
        size: float = 5.0,
        opacity: int = 255,
    ) -> None:
        """Draw points, with error bars where ``errors`` is given.

        ``errors`` are one number per point, or two arrays: how far down and how far up. ``symbol`` is one of pyqtgraph's: ``o`` disc, ``s`` square, ``t1`` triangle upwards, ...
        """
        shown = colour or self._colour(0)
        fill = QtGui.QColor(shown)
        fill.setAlpha(opacity)
        x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        px, py = self._drawn(x, y)
        good = np.isfinite(px) & np.isfinite(py)
        items = [
            pg.ScatterPlotItem(
                px[good], py[good], symbol=symbol, size=size, pen=pg.mkPen(None),
                brush=pg.mkBrush(fill),
            )
        ]  # fmt: skip
        # bars of no points would draw the axes to zero
        if errors is not None and good.any():
            down, up = errors if isinstance(errors, tuple) else (errors, errors)
            low, high = self._drawn(x, y - np.abs(down))[1], self._drawn(x, y + np.abs(up))[1]
            good &= np.isfinite(high)
            low = np.where(np.isfinite(low), low, py)  # below zero on a logarithmic axis
            items.append(
                pg.ErrorBarItem(
                    x=px[good], y=py[good], top=(high - py)[good], bottom=(py - low)[good],
                    beam=0, pen=pg.mkPen(shown, width=1),
                )
            )  # fmt: skip
        self._replace(name, items)

    def level(self, name: str, y: float, colour: str = "") -> None:
        """Draw a thin line at a height, all the width."""
        pen = pg.mkPen(colour or self.colours.muted, width=1)
        self._replace(name, [pg.InfiniteLine(pos=self._drawn(0.0, y)[1], angle=0, pen=pen)])

    def top_axis(self, label: str, ticks: Sequence[tuple[float, str]]) -> None:
        """Draw a second scale on top: places in the coordinates of x, and what is said of them."""
        axis = self.plot.getAxis("top")
        self.plot.showAxis("top")
        plot.style_axis(axis, self.colours)
        axis.setTicks([[(float(self._drawn(x, 0.0)[0]), text) for x, text in ticks], []])
        self._labels.set(axis, label)

    def range(self, x: tuple[float, float] | None, y: tuple[float, float] | None) -> None:
        """Set what is shown; None follows the data."""
        for given, log, axis in ((x, self._log[0], 0), (y, self._log[1], 1)):
            if given is None:
                self.plot.enableAutoRange(axis=axis)
                continue
            low, high = np.log10(given) if log else given
            (self.plot.setXRange, self.plot.setYRange)[axis](low, high, padding=0.04)

    def drop(self, name: str) -> None:
        """Take away what was drawn under a name."""
        self._replace(name, [])

    def _colour(self, number: int) -> str:
        return self.colours.curves[number % len(self.colours.curves)]

    def _drawn(self, x: Any, y: Any) -> tuple[Any, Any]:
        found = []
        for values, log in ((x, self._log[0]), (y, self._log[1])):
            array = np.asarray(values, np.float64)
            if log:
                array = np.where(array > 0, np.log10(np.maximum(array, 1e-300)), np.nan)
            found.append(array)
        return found[0], found[1]

    def _replace(self, name: str, items: list[Any]) -> None:
        for item in self._items.pop(name, []):
            self.plot.removeItem(item)
        for item in items:
            self.plot.addItem(item)
        self._items[name] = items


def _logarithmic(axis: Any) -> None:
    """Give an axis whose coordinates are logarithms to base 10 round numbers at any zoom.

    Both are called while Qt paints, where an exception ends the process: they raise none.
    """
    named: dict[float, str] = {}

    def values(low: float, high: float, size: float) -> list[tuple[float, list[float]]]:
        upright = axis.orientation in ("left", "right")
        most = max(2, int(size / (LABEL_ROOM * (0.5 if upright else 1.0))))
        named.clear()
        named.update(decade_ticks(low, high, most))
        return [(1.0, list(named))]

    def strings(places: Sequence[float], scale: float, spacing: float) -> list[str]:
        return [named.get(place, "") for place in places]

    axis.tickValues, axis.tickStrings = values, strings
