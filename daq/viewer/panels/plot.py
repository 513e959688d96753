"""Plots with axes as this viewer wants them: units, no SI prefixes, readable ticks."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyqtgraph as pg
from PySide6 import QtCore, QtGui, QtWidgets

from daq.viewer import labels
from daq.viewer.content import Curve
from daq.viewer.theme import Theme

ERROR_BARS = 200
"""Points up to which errors are bars; beyond they are a band."""

MARGINS = (0.0, 4.0, 4.0, 0.0)
"""Room left, above, right of and below a plot, in pixels."""

LABEL_SIZE = 9.0
"""Size of the labels of axes, in points."""

SMALLER_SIZES = (8.0, 7.0)
"""Sizes for the last label where none has room in that one."""

BAND = 500
"""Points of a band of errors: of more, each takes the lowest and the highest of its neighbours."""

SMOOTH = 2000
"""Points up to which a curve is drawn smooth and thick: beyond, that takes too long."""

LINE_ROOM = 17.0
"""Pixels from one number to the next of an upright axis, where so at least two can be seen."""

SYMBOLS = 80
"""Points up to which each is marked."""


def canvas(colours: Theme) -> Any:
    """Return a pyqtgraph widget that holds a plot and, where needed, its colour bar."""
    widget = pg.GraphicsLayoutWidget()
    widget.setBackground(colours.plot)
    widget.setMinimumSize(120, 90)
    widget.ci.layout.setContentsMargins(*MARGINS)
    return widget


def add_plot(widget: Any, colours: Theme) -> Any:
    """Add an empty plot to a canvas."""
    plot = widget.addPlot()
    plot.hideButtons()
    plot.setMenuEnabled(True)
    for side in ("left", "bottom"):
        style_axis(plot.getAxis(side), colours)
    return plot


def style_axis(axis: Any, colours: Theme) -> None:
    """Give an axis the colours and the size of text of this viewer."""
    axis.enableAutoSIPrefix(False)
    axis.setPen(pg.mkPen(colours.muted))
    axis.setTextPen(pg.mkPen(colours.text))
    font = QtGui.QFont()
    font.setPointSizeF(8.5)
    # An axis that narrows again when its labels do may go on for ever: the picture beside it
    # changes its ticks, and so its labels.
    axis.setStyle(autoReduceTextSpace=False)
    axis.setStyle(
        tickFont=font, tickTextOffset=4, hideOverlappingLabels=True, tickLength=-4, maxTickLevel=1
    )
    axis.setStyle(textFillLimits=[(0, 0.8), (2, 0.5), (4, 0.4), (6, 0.2)])
    axis.logTickStrings = _decade_strings
    _space_ticks(axis)


def whole_numbers(axis: Any, wanted: bool) -> None:
    """Let an axis that counts have whole numbers alone, or any again."""
    axis.whole = wanted


def is_whole(axis: Any) -> bool:
    """Tell whether an axis has whole numbers alone."""
    return bool(getattr(axis, "whole", False))


def _space_ticks(axis: Any) -> None:
    """Keep numbers one above the other apart, and fractions away from what counts.

    Called while Qt paints, where an exception ends the process: it raises none.
    """
    usual = axis.tickSpacing

    def spacing(low: float, high: float, size: float) -> list[tuple[float, float]]:
        levels: list[tuple[float, float]] = usual(low, high, size)
        if not levels or not 1e-300 < high - low < 1e300:
            return levels
        if is_whole(axis):
            levels = [level for level in levels if level[0] >= 1.0] or [(1.0, 0.0)]
        if axis.orientation in ("left", "right"):
            levels = [(roomy_step(levels[0][0], low, high, size), 0.0), *levels[1:]]
        return levels

    axis.tickSpacing = spacing


def roomy_step(step: float, low: float, high: float, size: float) -> float:
    """Return ``step``, or the next of 1, 2, 5, 10 ... that keeps numbers one above the other apart.

    It stays where fewer than two numbers would have room between the ends of the axis.

    Parameters
    ----------
    step
        One of 1, 2, 5, 10 ...
    low, high, size
        Range of the axis, and its length in pixels.
    """
    pixel = (high - low) / max(size, 1.0)
    edge = LINE_ROOM / 2 * pixel
    while step < LINE_ROOM * pixel:
        digit = round(step / 10.0 ** math.floor(math.log10(step) + 1e-9))
        wider = step * {1: 2.0, 2: 2.5}.get(digit, 2.0)
        if math.floor((high - edge) / wider) - math.ceil((low + edge) / wider) + 1 < 2:
            break
        step = wider
    return step


class AxisLabels(QtCore.QObject):
    """Labels of axes that are never cut: the first of several, from long to short, that has room.

    Where none has, the last one is written smaller, then with its units in a second line. An axis
    that is named for scans counts: see `whole_numbers`.

    Parameters
    ----------
    box
        View box whose size tells when to choose again.
    """

    def __init__(self, box: Any, colours: Theme, parent: QtCore.QObject) -> None:
        super().__init__(parent)
        self._colours = colours
        self._texts: dict[Any, tuple[str, ...]] = {}
        self._drawn: dict[Any, tuple[str, float]] = {}
        # Not at once: axes change their width while they are painted, and Qt does not survive a
        # layout in the middle of that.
        self._timer = QtCore.QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._choose)
        box.sigResized.connect(self._soon)

    def set(self, axis: Any, *texts: str, whole: bool = False) -> None:
        """Label an axis with one of ``texts``, the longest first; ``whole``: it counts."""
        whole_numbers(axis, whole or (bool(texts) and labels.counts_scans(texts[0])))
        if self._texts.get(axis) != texts:
            self._texts[axis] = texts
            self._choose()

    def _soon(self, *_: object) -> None:
        self._timer.start(0)

    def _choose(self) -> None:
        for axis, texts in self._texts.items():
            upright = axis.orientation in ("left", "right")
            room = (axis.size().height() if upright else axis.size().width()) - 4
            written, size = fitting_label(texts, room)
            if self._drawn.get(axis) != (written, size):
                self._drawn[axis] = written, size
                axis.setLabel(written, color=self._colours.text, **{"font-size": f"{size:g}pt"})
                axis.resizeEvent()  # puts the label in the middle: setLabel leaves it where it was


def fitting_label(texts: Sequence[str], room: float) -> tuple[str, float]:
    """Return what of ``texts`` (the longest first) has room, as HTML, and its size in points.

    Parameters
    ----------
    room
        Pixels along the axis.
    """
    normal = _metrics(LABEL_SIZE)
    for text in texts:
        if normal.horizontalAdvance(text) < room:
            return html.escape(text), LABEL_SIZE
    last = texts[-1] if texts else ""
    for size in SMALLER_SIZES:
        if _metrics(size).horizontalAdvance(last) < room:
            return html.escape(last), size
    smallest = SMALLER_SIZES[-1]
    metrics = _metrics(smallest)
    name, bracket, units = last.rpartition(" (")
    lines = [name, f"({units}"] if bracket else [last]
    mode = QtCore.Qt.TextElideMode.ElideMiddle
    cut = [html.escape(metrics.elidedText(line, mode, max(room, 40))) for line in lines]
    return "<br>".join(cut), smallest


def _metrics(size: float) -> QtGui.QFontMetricsF:
    font = QtGui.QFont()
    font.setPointSizeF(size)
    return QtGui.QFontMetricsF(font)


class FittingLabel(QtWidgets.QLabel):
    """One line: the first of several texts (HTML, from long to short) that has room; hidden if none."""

    def __init__(self) -> None:
        super().__init__()
        font = self.font()
        font.setPointSizeF(LABEL_SIZE)
        self.setFont(font)
        self.setTextFormat(QtCore.Qt.TextFormat.RichText)
        policy = QtWidgets.QSizePolicy.Policy
        self.setSizePolicy(policy.Ignored, policy.Fixed)
        self.setMinimumWidth(20)
        self._texts: tuple[tuple[str, float], ...] = ()
        self.hide()

    def set(self, *texts: str) -> None:
        """Show one of ``texts``."""
        if texts != tuple(text for text, _ in self._texts):
            self._texts = tuple((text, self._width_of(text)) for text in texts)
            self.setToolTip(texts[0] if texts else "")
            self.setVisible(any(texts))
            self._choose()

    def resizeEvent(self, event: QtGui.QResizeEvent) -> None:  # noqa: N802 - Qt's name
        """Choose anew."""
        super().resizeEvent(event)
        self._choose()

    def _width_of(self, text: str) -> float:
        document = QtGui.QTextDocument()
        document.setDefaultFont(self.font())
        document.setDocumentMargin(0)
        document.setHtml(text)
        return document.idealWidth()

    def _choose(self) -> None:
        fitting = [text for text, width in self._texts if width <= self.width() - 2]
        shown = fitting[0] if fitting else self._texts[-1][0] if self._texts else ""
        if shown != self.text():
            self.setText(shown)


class Curves:
    """Curves with their errors in one plot: bars where there are few points, a band otherwise."""

    def __init__(self, plot: Any, colours: Theme) -> None:
        self._plot = plot
        self._colours = colours
        self._items: dict[int, tuple[Any, Any, Any]] = {}

    def set(self, curves: list[Curve], *, log_x: bool = False, log_y: bool = False) -> None:
        """Draw the curves in place of those before."""
        for number, curve in enumerate(curves):
            if number not in self._items:
                self._items[number] = self._make(number, curve)
            self._update(self._items[number], number, curve, log_x, log_y)

    def legend(self, curves: list[Curve]) -> tuple[str, ...]:
        """Return lines of HTML that name the curves in their colours, from long to short.

        None for a single curve.
        """
        if len(curves) < 2:
            return ()
        return tuple(self._named(curves, most) for most in (100, 24, 14, 8, 4))

    def _named(self, curves: list[Curve], most: int) -> str:
        """Name curves with ``most`` letters each."""
        named = []
        for number, curve in enumerate(curves):
            colour = self._colours.curves[number % len(self._colours.curves)]
            label = curve.label if len(curve.label) <= most else curve.label[: most - 1] + "\u2026"
            named.append(f'<span style="color:{colour}"><b>\u2501</b> {html.escape(label)}</span>')
        return "&nbsp;&nbsp; ".join(named)

    def _make(self, number: int, curve: Curve) -> tuple[Any, Any, Any]:
        colour = self._colours.curves[number % len(self._colours.curves)]
        line = pg.PlotDataItem(pen=pg.mkPen(colour, width=1.6), connect="finite", name=curve.label)
        line.setZValue(10 + number)
        bars = pg.ErrorBarItem(pen=pg.mkPen(colour, width=1))
        edges = pg.PlotCurveItem(pen=None), pg.PlotCurveItem(pen=None)
        band = pg.FillBetweenItem(*edges, brush=pg.mkBrush(*_rgb(colour), 70))
        # Not by the plot: it would take logarithms of what already is one.
        for item in (band, *edges, bars):
            self._plot.vb.addItem(item)
        self._plot.addItem(line)
        return line, bars, band

    def _update(
        self, items: tuple[Any, Any, Any], number: int, curve: Curve, log_x: bool, log_y: bool
    ) -> None:
        line, bars, band = items
        colour = self._colours.curves[number % len(self._colours.curves)]
        few = int(np.isfinite(curve.y).sum()) <= SYMBOLS
        many = len(curve.x) > SMOOTH
        line.setPen(pg.mkPen(colour, width=1 if many else 1.6))
        line.setData(
            curve.x, curve.y, antialias=not many, symbol="o" if few else None, symbolSize=5,
            symbolBrush=pg.mkBrush(colour), symbolPen=None,
        )  # fmt: skip
        error = curve.error
        good = np.zeros(len(curve.y), bool)
        if error is not None:
            good = np.isfinite(curve.y) & np.isfinite(error)
        if error is None or not good.any():
            bars.setVisible(False)
            band.setVisible(False)
            return
        x, y, e = curve.x[good], curve.y[good], np.abs(error[good])
        low, high = _drawn(y - e, log_y), _drawn(y + e, log_y)
        x = _drawn(x, log_x)
        as_bars = len(x) <= ERROR_BARS
        bars.setVisible(as_bars)
        band.setVisible(not as_bars)
        if as_bars:
            middle = _drawn(y, log_y)
            kept = np.isfinite(x) & np.isfinite(middle) & np.isfinite(high)
            x, low, middle, high = x[kept], low[kept], middle[kept], high[kept]
            low = np.where(np.isfinite(low), low, middle)
            bars.setData(x=x, y=middle, top=high - middle, bottom=middle - low, beam=0)
        else:
            x, low, high = _envelope(x, low, high)
            band.curves[0].setData(x, low, connect="finite")
            band.curves[1].setData(x, high, connect="finite")


def _envelope(
    x: npt.NDArray[np.float64], low: npt.NDArray[np.float64], high: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    if len(x) <= BAND:
        return x, low, high
    starts = np.unique(np.linspace(0, len(x), BAND, endpoint=False).astype(int))
    return x[starts], np.fmin.reduceat(low, starts), np.fmax.reduceat(high, starts)


_SUPERSCRIPTS = str.maketrans(
    "-0123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"
)


def _decade_strings(
    values: Sequence[float] | None, scale: float, spacing: float | None
) -> list[str]:
    """Return the labels of a logarithmic axis: 0.001 to 1000 written out, powers of ten beyond.

    Called while Qt paints, where an exception ends the process: it raises none.
    """
    return [_decade(float(v) * scale) for v in ([] if values is None else values)]


def _decade(exponent: float) -> str:
    if not abs(exponent) < 300:
        return ""
    whole = round(exponent)
    if abs(exponent - whole) > 1e-6:
        return labels.significant(10.0**exponent, 2)
    return f"{10.0**whole:g}" if -3 <= whole <= 3 else "10" + str(whole).translate(_SUPERSCRIPTS)


def _drawn(values: npt.NDArray[np.float64], logarithmic: bool) -> npt.NDArray[np.float64]:
    if not logarithmic:
        return values
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(values > 0, np.log10(values), np.nan)


def _rgb(colour: str) -> tuple[int, int, int]:
    c = QtGui.QColor(colour)
    return c.red(), c.green(), c.blue()


def pixel_rect(x: tuple[float, float], y: tuple[float, float]) -> QtCore.QRectF:
    """Return the rectangle from the outer edges of a picture along x and y."""
    return QtCore.QRectF(x[0], y[0], x[1] - x[0], y[1] - y[0])
