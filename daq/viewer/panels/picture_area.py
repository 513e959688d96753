"""One picture with its axes and its colour bar, true in shape in whatever room it gets."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyqtgraph as pg
from PySide6 import QtCore, QtGui, QtWidgets

from daq.streams import Array, Stream
from daq.viewer import axes, labels
from daq.viewer.levels import decade_ticks, logarithm, percentile_levels
from daq.viewer.panels import plot
from daq.viewer.theme import Theme, colour_map

BAR_WIDTH = 12

DIGIT, BETWEEN = 7.0, 11.0
"""Pixels that a digit below a picture takes, and from one number to the next."""

MOST_NUMBERS = 10
"""Steps along the x axis of a picture, however wide it is."""

MOST_FITS = 20
"""How often a picture is fitted into a panel of one size: wider tick labels make it narrower, and a
narrower one may have shorter labels, which would go on for ever."""

SCANNED = "#ff5fd2"
"""Colour of the row that is being scanned: in none of the colour maps."""

OVERLAYS, LINES, TEXTS = 10, 20, 30
"""What lies over what, whichever was drawn first."""

Span = tuple[str, float, float]
"""One axis of a picture: label with units, outer edges of the first and the last pixel."""


class PictureArea(QtCore.QObject):
    """Values [y, x] in colours, row 0 on top or at the bottom; NaN in a colour of no colour map.

    Axes and colour bar have labels that are never cut. What is marked on it (`line`, `text`,
    `scale_bar`, `overlay`) has a name, and is replaced when that name is given again.

    Parameters
    ----------
    colours
        Of the window.
    parent
        The Qt object that it ends with.
    """

    def __init__(self, colours: Theme, parent: QtCore.QObject) -> None:
        super().__init__(parent)
        self.colours = colours
        self.widget = plot.canvas(colours)
        self.plot = plot.add_plot(self.widget, colours)
        self.plot.invertY(True)
        self.plot.setDefaultPadding(0.0)
        self._void = QtWidgets.QGraphicsRectItem()
        self._void.setPen(pg.mkPen(None))
        self._void.setBrush(pg.mkBrush(colours.not_a_number))
        self._void.setToolTip("no value")
        self.image = pg.ImageItem(axisOrder="row-major")
        self.plot.addItem(self._void)
        self.plot.addItem(self.image)
        self.bar = pg.ColorBarItem(
            values=(0, 1), width=BAR_WIDTH, colorMap=colour_map("viridis"), interactive=False
        )
        self.bar.setImageItem(self.image, insert_in=self.plot)
        self.bar.axis.setWidth(None)
        plot.style_axis(self.bar.axis, colours)
        _leave_room(self.plot.getAxis("bottom"))
        self._labels = plot.AxisLabels(self.plot.vb, colours, self)
        self._map: str | None = "viridis"
        self._rect: QtCore.QRectF | None = None
        self._square = False
        self._upwards = False
        self._whole = True
        self._fits, self._fitted_size = 0, (0, 0)
        self._items: dict[str, list[Any]] = {}
        # Not at once: axes change their width while they are painted, and Qt does not survive a
        # layout in the middle of that.
        self._fitting = QtCore.QTimer(self)
        self._fitting.setSingleShot(True)
        self._fitting.timeout.connect(self._fit)
        self.widget.sigDeviceRangeChanged.connect(self._fit_soon)
        self.plot.vb.sigResized.connect(self._fit_soon)
        self.plot.vb.sigRangeChangedManually.connect(self._zoomed)

    # -- axes -----------------------------------------------------------------------------------

    def frame(
        self,
        x: Span,
        y: Span,
        *,
        square: bool = True,
        upwards: bool = False,
        whole: tuple[bool, bool] = (False, False),
    ) -> None:
        """Say what the axes are, and whether a step along one is the same thing as along the other.

        ``upwards``: row 0 at the bottom. ``whole``: whether x, and y, count.
        """
        for side, (label, _, _), counts in zip(("bottom", "left"), (x, y), whole, strict=True):
            self._labels.set(self.plot.getAxis(side), label, whole=counts)
        rect = plot.pixel_rect((x[1], x[2]), (y[1], y[2]))
        if rect == self._rect and square == self._square and upwards == self._upwards:
            return
        self._rect, self._square, self._fits = rect, square, 0
        self._upwards = upwards
        self.plot.invertY(not upwards)
        self._void.setRect(rect)
        self.image.setRect(rect)
        self.plot.setAspectLocked(self._shape() is not None)
        self.show_all()

    def frame_of(self, stream: Stream, field: str) -> None:
        """Take the axes from what a stream says of the last two axes of a field."""
        x, y = axes.record_axis(stream, field, -1), axes.record_axis(stream, field, -2)
        square = x.units == y.units and x.even and y.even
        spans = (x.label, *x.edges), (y.label, *y.edges)
        self.frame(*spans, square=square, whole=(x.counts, y.counts))

    def show_all(self) -> None:
        """Show the whole picture."""
        self._whole = True
        if self._rect is not None:
            self.plot.setRange(self._rect, padding=0.0)

    # -- values ---------------------------------------------------------------------------------

    def set_map(self, name: str) -> None:
        """Use one of `daq.viewer.theme.COLOUR_MAPS`."""
        if name != self._map:
            self._map = name
            self.bar.setColorMap(colour_map(name))

    def label_bar(self, *texts: str, whole: bool = False) -> None:
        """Label the colour bar with the first of ``texts`` that has room; ``whole``: it counts."""
        self._labels.set(self.bar.axis, *texts, whole=whole)

    def show(
        self,
        values: Array,
        *,
        logarithmic: bool = False,
        levels: tuple[float, float] | None = None,
        percentiles: tuple[float, float] = (1.0, 99.0),
    ) -> None:
        """Draw values [y, x] in the frame.

        ``levels`` are the ends of the colour bar, by default those percentiles of what is finite.
        With ``logarithmic`` colours go with the logarithm; values and levels are given as they are.
        """
        if logarithmic:
            values = logarithm(values)
            levels = (
                None if levels is None else (float(np.log10(levels[0])), float(np.log10(levels[1])))
            )
        levels = levels or percentile_levels(values, *percentiles)
        self.draw(values, levels or (0.0, 1.0), logarithmic=logarithmic)
        self.bar.setVisible(levels is not None)

    def draw(
        self, values: Array, levels: tuple[float, float], *, logarithmic: bool = False
    ) -> None:
        """Draw what is drawn already as it shall be: logarithms where those are shown."""
        self.image.setImage(values, autoLevels=False, levels=levels)
        if self._rect is not None:
            self.image.setRect(self._rect)
        self.bar.setLevels(levels)
        self.bar.axis.setTicks([decade_ticks(*levels)] if logarithmic else None)

    # -- marks ----------------------------------------------------------------------------------

    def overlay(self, name: str, colours: npt.NDArray[np.uint8] | None) -> None:
        """Lay colours [y, x, rgba] over the picture, in its frame; None takes them away."""
        if colours is None:
            self._replace(name, [])
            return
        if not self._items.get(name):
            self._replace(name, [pg.ImageItem(axisOrder="row-major")], OVERLAYS)
        item = self._items[name][0]
        item.setImage(colours, autoLevels=False, levels=(0, 255))
        if self._rect is not None:
            item.setRect(self._rect)

    def line(
        self,
        name: str,
        x: Array,
        y: Array,
        colour: str,
        *,
        width: float = 1.2,
        dashed: bool = False,
        edge: bool = True,
    ) -> None:
        """Draw a line with a dark edge, in the coordinates of the axes; broken where there is NaN.

        It does not change the range.
        """
        style = QtCore.Qt.PenStyle.DashLine if dashed else QtCore.Qt.PenStyle.SolidLine
        places = np.asarray(x, np.float64), np.asarray(y, np.float64)
        dark = [pg.mkPen(0, 0, 0, 170, width=width + 2)] if edge else []
        pens = (*dark, pg.mkPen(colour, width=width, style=style))
        items = [
            pg.PlotCurveItem(*places, pen=pen, antialias=True, connect="finite") for pen in pens
        ]
        self._replace(name, items, LINES)

    def scanned(self, y: float | None) -> None:
        """Mark the row that is being scanned; None where none is."""
        if y is None or self._rect is None:
            self._replace("scanned", [])
            return
        ends = np.array([self._rect.left(), self._rect.right()])
        self.line("scanned", ends, np.full(2, y), SCANNED, width=1.5)

    def text(
        self,
        name: str,
        x: float,
        y: float,
        words: str,
        anchor: tuple[float, float] = (0.5, 0.5),
        colour: str = "#ffffff",
    ) -> None:
        """Write words at a place, on a dark ground; ``anchor`` is what of them lies there (0 to 1)."""
        item = pg.TextItem(words, color=colour, anchor=anchor, fill=pg.mkBrush(0, 0, 0, 150))
        font = QtGui.QFont()
        font.setPointSizeF(8.5)
        item.setFont(font)
        item.setPos(x, y)
        self._replace(name, [item], TEXTS)

    def scale_bar_of(self, stream: Stream, field: str) -> None:
        """Draw a scale bar where the picture is true in shape and a stream says in which units."""
        units = axes.record_axis(stream, field, -1).units
        if self._square and units not in ("", "px", "positions"):
            self.scale_bar(units)

    def scale_bar(self, units: str) -> None:
        """Draw a bar of round length, a fifth to a half of the picture's width, bottom right."""
        if self._rect is None:
            return
        rect = self._rect
        length = round_length(abs(rect.width()) / 2.2)
        right = max(rect.left(), rect.right()) - 0.04 * abs(rect.width())
        # y of the lower end as it is seen, and the way up from there
        edges = (rect.top(), rect.bottom())
        lower, up = (min(edges), 1.0) if self._upwards else (max(edges), -1.0)
        bottom = lower + up * 0.06 * abs(rect.height())
        ends = np.array([right - length, right])
        items = [
            pg.PlotCurveItem(ends, np.full(2, bottom), pen=pen)
            for pen in (_flat("#000000", 7), _flat("#ffffff", 4))
        ]
        self._replace("scale bar", items, TEXTS)
        above = bottom + up * 0.03 * abs(rect.height())
        said = f"{labels.significant(length, 1)} {units}"
        self.text("scale bar text", right, above, said, (1.0, 1.0))

    def _replace(self, name: str, items: list[Any], height: int = 0) -> None:
        for item in self._items.pop(name, []):
            self.plot.removeItem(item)
        for item in items:
            item.setZValue(height)
            self.plot.addItem(item, ignoreBounds=True)
        self._items[name] = items

    # -- room -----------------------------------------------------------------------------------

    def _shape(self) -> float | None:
        """Return width over height of a picture that must keep its shape, or None.

        Square pixels only where that does not squeeze the picture into a thread.
        """
        if self._rect is None or not self._square:
            return None
        rect = self._rect
        shape = abs(rect.width() / rect.height()) if rect.height() else 1.0
        return shape if 1 / 12 < shape < 12 else None

    def _fit_soon(self, *_: object) -> None:
        self._fitting.start(0)

    def _fit(self) -> None:
        """Leave no room between picture and axes: they end where it ends, in the middle of the panel."""
        shape, size = self._shape(), (self.widget.width(), self.widget.height())
        if size != self._fitted_size:
            self._fitted_size, self._fits = size, 0
        self._fits += 1
        if shape is None or self._fits > MOST_FITS:
            return
        item, box, layout = self.plot, self.plot.vb, self.widget.ci.layout
        left, top, right, bottom = plot.MARGINS
        beside = item.size().width() - box.size().width()
        above = item.size().height() - box.size().height()
        width = self.widget.width() - left - right - beside
        height = self.widget.height() - top - bottom - above
        across = max(0.0, (width - height * shape) / 2)
        down = max(0.0, (height - width / shape) / 2)
        margins = (left + across, top + down, right + across, bottom + down)
        changed = max(abs(a - b) for a, b in zip(margins, layout.getContentsMargins(), strict=True))
        if width > 20 and height > 20 and changed > 0.5:
            layout.setContentsMargins(*margins)
        if self._whole:
            self.show_all()

    def _zoomed(self, *_: object) -> None:
        self._whole = False


def _leave_room(axis: Any) -> None:
    """Keep the numbers below a picture from running into each other.

    Called while Qt paints, where an exception ends the process: it raises none.
    """

    def values(low: float, high: float, size: float) -> Any:
        if not 1e-300 < high - low < 1e300:
            return []
        step = round_length((high - low) / MOST_NUMBERS)
        if plot.is_whole(axis):
            step = max(1.0, step)
        while step <= high - low:
            decimals = max(0, -int(np.floor(np.log10(step))))
            widest = max(len(f"{end:.{decimals}f}") for end in (low, high))
            room = (DIGIT * widest + BETWEEN) * (high - low)
            if step * size >= room and step * MOST_NUMBERS >= (high - low) * (1 - 1e-9):
                break
            step = round_length(2.6 * step)
        numbers = np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step + 0.0
        return [(step, numbers.tolist())]

    axis.tickValues = values


def round_length(longest: float) -> float:
    """Return the largest of 1, 2, 5, 10 ... (times a power of ten) that is not longer."""
    power = 10.0 ** np.floor(np.log10(longest))
    return float(max(step * power for step in (1, 2, 5) if step * power <= longest * (1 + 1e-9)))


def _flat(colour: str, width: float) -> Any:
    pen = pg.mkPen(colour, width=width)
    pen.setCapStyle(QtCore.Qt.PenCapStyle.FlatCap)
    return pen
