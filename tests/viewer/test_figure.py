"""What views draw on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import daq
from daq.viewer import availability
from daq.viewer.levels import decade_ticks

if (reason := availability()) is not None:
    pytest.skip(reason, allow_module_level=True)

import pyqtgraph as pg
from PySide6 import QtCore, QtGui, QtWidgets

from daq.viewer import window
from daq.viewer.figure import Figure
from daq.viewer.panels.picture_area import round_length
from daq.viewer.panels.plot import LINE_ROOM, fitting_label, roomy_step
from daq.viewer.theme import DARK


@pytest.fixture(scope="module")
def application():
    with window._application(offscreen=True) as made:
        yield made


@pytest.fixture
def figure(application):
    made = Figure(DARK)
    made.setAttribute(QtCore.Qt.WidgetAttribute.WA_DontShowOnScreen)
    made.resize(420, 320)
    made.show()
    yield made
    made.close()
    made.deleteLater()
    application.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete)


def paint(figure) -> None:
    for _ in range(3):
        figure.grab()
        QtWidgets.QApplication.processEvents()


def items(figure, kind) -> list:
    views = figure.findChildren(pg.GraphicsView)
    return [item for view in views for item in view.scene().items() if isinstance(item, kind)]


def lines(figure) -> list[str]:
    labels = figure.findChildren(QtWidgets.QLabel)
    return [label.text() for label in labels if label.isVisibleTo(figure)]


def test_the_longest_words_that_fit(figure):
    figure.say(
        "every word of this long sentence, and then some more of it, to be sure" * 2, "short"
    )
    paint(figure)
    assert lines(figure) == ["short"]
    figure.resize(1600, 320)
    paint(figure)
    assert lines(figure)[0].startswith("every word")
    figure.say("<b>&</b>")
    assert lines(figure) == ["&lt;b&gt;&amp;&lt;/b&gt;"]
    figure.say()
    assert lines(figure) == []


def test_colours_are_named(figure):
    figure.key([("#ff0000", "bound <"), ("#00ff00", "masked")])
    paint(figure)
    assert "#ff0000" in lines(figure)[0] and "bound &lt;" in lines(figure)[0]
    figure.key([])
    assert lines(figure) == []


def test_a_choice_of_several_only(figure):
    chosen = []
    figure.choice(["one"], chosen.append)
    assert not figure.findChildren(QtWidgets.QComboBox)
    figure.choice(["one", "two"], chosen.append)
    figure.findChildren(QtWidgets.QComboBox)[0].setCurrentIndex(1)
    assert chosen == [1]


def test_errors_on_a_logarithmic_axis(figure):
    plot = figure.plot(("t (s)",), ("y (V)",), logarithmic="xy")
    plot.points("p", [1, 10, 100, -1], [10, 100, 1, 5], [5, 200, 0.5, 1])
    paint(figure)
    (points,) = items(figure, pg.ScatterPlotItem)
    assert np.array(points.getData()) == pytest.approx(np.array([[0, 1, 2], [1, 2, 0]]))
    (bars,) = items(figure, pg.ErrorBarItem)
    assert bars.opts["top"] == pytest.approx(np.log10([1.5, 3, 1.5]))
    # What reaches below zero ends at the point.
    assert bars.opts["bottom"] == pytest.approx([np.log10(2), 0, np.log10(2)])


def test_what_has_a_name_is_replaced(figure):
    plot = figure.plot(("x",), ("y",))
    for _ in range(3):
        plot.points("p", [1, 2], [1, 2], ([0.1, 0.1], [0.2, 0.2]))
        plot.curve("c", [1, 2], [1, np.nan])
        plot.level("zero", 0.0)
    paint(figure)
    assert len(items(figure, pg.ErrorBarItem)) == 1
    assert len(items(figure, pg.InfiniteLine)) == 1
    plot.drop("p")
    assert not items(figure, pg.ErrorBarItem)


def test_nothing_and_nothing_finite_can_be_drawn(figure):
    plot = figure.plot(("x (s)",), ("y",), logarithmic="x")
    area = figure.picture()
    area.frame(("x (nm)", 0, 4), ("y (nm)", 0, 3))
    for values in ([], [np.nan, np.nan]):
        plot.points("p", values, values, values)
        plot.curve("c", values, values)
    for picture in (np.full((3, 4), np.nan), np.zeros((3, 4))):
        for logarithmic in (True, False):
            area.show(picture, logarithmic=logarithmic)
            paint(figure)


def test_plots_above_each_other_share_their_axis(figure):
    top = figure.plot((), ("y",), share=3)
    below = figure.plot(("x (s)",), ("z",), above=top)
    top.points("p", [1, 2, 3], [1, 2, 3])
    below.points("p", [1, 2, 3], [1, 2, 3])
    paint(figure)
    assert top.plot.vb.viewRange()[0] == pytest.approx(below.plot.vb.viewRange()[0])
    assert top.plot.vb.height() > 1.5 * below.plot.vb.height()
    left = [p.plot.vb.mapRectToScene(p.plot.vb.boundingRect()).left() for p in (top, below)]
    assert left[0] == pytest.approx(left[1], abs=1)
    below.range(None, (0, 10))
    assert below.plot.vb.viewRange()[1] == pytest.approx([-0.4, 10.4])
    below.range(None, None)
    below.top_axis("T (K)", [(1.0, "one")])
    paint(figure)


def test_marks_lie_over_the_picture(figure):
    area = figure.picture()
    stream = daq.Stream(
        "s",
        {"v": daq.Field("<f8", (30, 40), "K")},
        {"v": [{"name": n, "units": "nm", "offset": 0, "step": 0.5} for n in "yx"]},
    )
    area.frame_of(stream, "v")
    area.scale_bar_of(stream, "v")
    area.show(np.arange(1200.0).reshape(30, 40) + 1)
    colours = np.zeros((30, 40, 4), np.uint8)
    colours[:, :20] = (255, 158, 199, 255)
    area.overlay("half", colours)
    paint(figure)
    assert [text.toPlainText() for text in items(figure, pg.TextItem)] == ["5 nm"]
    image = area.widget.grab().toImage()
    at = area.plot.vb.mapViewToScene(QtCore.QPointF(3.0, 3.0)).toPoint()
    assert image.pixelColor(at).getRgb()[:3] == (255, 158, 199)
    area.overlay("half", None)
    paint(figure)
    assert area.widget.grab().toImage().pixelColor(at).getRgb()[:3] != (255, 158, 199)
    width, height = area.plot.vb.viewPixelSize()
    assert width == pytest.approx(height, rel=1e-6)


def test_pictures_side_by_side(figure):
    left = figure.picture()
    right = figure.picture(left)
    below = figure.picture()
    for area in (left, right, below):
        area.frame(("x (nm)", 0, 40), ("y (nm)", 0, 20), upwards=True)
        area.show(np.arange(800.0).reshape(20, 40))
        area.scale_bar("nm")
    paint(figure)
    places = [area.widget.geometry() for area in (left, right, below)]
    assert places[0].top() == places[1].top() < places[2].top()
    assert places[0].right() < places[1].left()
    assert abs(places[0].width() - places[1].width()) <= 1
    # row 0 is at the bottom, and the scale bar too
    box = left.plot.vb
    assert (
        box.mapViewToScene(QtCore.QPointF(1, 1)).y() > box.mapViewToScene(QtCore.QPointF(1, 9)).y()
    )
    assert float(left._items["scale bar"][0].yData[0]) < 2
    left.scanned(7.0)
    assert float(left._items["scanned"][0].yData[0]) == 7.0
    left.scanned(None)
    assert left._items["scanned"] == []


def test_no_scale_bar_without_units(figure):
    area = figure.picture()
    stream = daq.Stream("s", {"v": daq.Field("<f8", (30, 40))})
    area.frame_of(stream, "v")
    area.scale_bar_of(stream, "v")
    assert not items(figure, pg.TextItem)


def test_a_logarithmic_picture_has_ticks_in_its_units(figure):
    area = figure.picture()
    area.frame(("x", 0, 2), ("y", 0, 2))
    area.show(np.array([[10.0, 100], [1000, np.nan]]), logarithmic=True, levels=(10, 1000))
    assert area.bar.levels() == pytest.approx((1, 3))
    assert dict(area.bar.axis._tickLevels[0])[2.0] == "100"
    area.show(np.array([[10.0, 100], [1000, np.nan]]))
    assert area.bar.axis._tickLevels is None


@given(st.floats(-250, 250), st.floats(0, 40), st.integers(2, 12))
def test_ticks_of_a_logarithmic_axis(low, span, most):
    high = low + span
    ticks = decade_ticks(low, high, most)
    places = [place for place, _ in ticks]
    assert places == sorted(places)
    assert len(places) <= most + 1
    assert all(low - 1e-6 <= place <= high + 1e-6 for place in places)
    assert len({text for _, text in ticks}) == len(ticks)
    if span > 0.01 and most >= 6:
        assert len(ticks) >= 2


def test_ticks_of_nonsense():
    """Called while Qt paints, where an exception ends the process."""
    for low, high in ((np.nan, 1), (0, np.inf), (-1e9, 1e9), (2, 1)):
        assert decade_ticks(low, high) == []
    assert len(decade_ticks(0.0, 2.3e-16, 5)) == 1


@given(st.floats(1e-6, 1e6))
def test_scale_bars_are_round(longest):
    length = round_length(longest)
    assert longest / 2.5 * (1 - 1e-9) <= length <= longest * (1 + 1e-6)
    assert float(f"{length:.0e}") == pytest.approx(length)


def test_the_legend_of_a_narrow_panel_is_whole(application, make_batch):
    from daq.viewer.scene import Scene

    names = {f"field_{n}": f"a rather long name of field number {n}" for n in range(4)}
    scene = Scene()
    scene.opened(daq.Stream("s", {n: daq.Field("<f8", (), "V", long) for n, long in names.items()}))
    scene.absorb(make_batch("s", 0, {n: np.arange(3.0) for n in names}))
    made = window.Window(scene, DARK)
    made.setAttribute(QtCore.Qt.WidgetAttribute.WA_DontShowOnScreen)
    made.resize(500, 400)
    made.show()
    for _ in range(3):
        made.tick(budget=float("inf"))
        QtWidgets.QApplication.processEvents()
    legend = made.panels()[0]._legend
    assert legend._width_of(legend.text()) <= legend.width()
    assert legend.text().count("\u2501") == 4
    assert names["field_0"] in legend.toolTip()
    made.close()
    made.deleteLater()


@pytest.mark.parametrize("high", [0.004, 11.7, 96.0, 40_000.0])
def test_numbers_below_a_picture_stand_apart(figure, high):
    area = figure.picture()
    area.frame(("x (nm)", 0, high), ("y (nm)", 0, high))
    area.show(np.arange(16.0).reshape(4, 4))
    paint(figure)
    axis = area.plot.getAxis("bottom")
    font = QtGui.QFontMetricsF(axis.style["tickFont"])
    for size in (60.0, 110.0, 200.0, 900.0):
        ((step, places),) = axis.tickValues(0.0, high, size)
        assert 1 <= len(places) <= 11
        assert all(0 <= place <= high for place in places)
        assert float(f"{step:.0e}") == pytest.approx(step)
        widest = max(font.horizontalAdvance(t) for t in axis.tickStrings(places, 1.0, step))
        if len(places) > 1:
            assert step * size / high > widest + font.horizontalAdvance("0")
    assert len(axis.tickValues(0.0, high, 200.0)[0][1]) >= 2
    for nonsense in ((0.0, np.inf), (np.nan, 1.0), (1.0, 1.0), (0.0, 1e-310)):
        assert axis.tickValues(*nonsense, 50.0) == []
    assert axis.tickValues(0.0, 96.0, 0.0)


def numbers(axis) -> list[str]:
    """What is written along an axis as it is painted."""
    picture = QtGui.QPicture()
    painter = QtGui.QPainter(picture)
    _, _, texts = axis.generateDrawSpecs(painter)
    painter.end()
    return [text for _, _, text in texts]


def test_an_axis_of_scans_has_whole_numbers(figure):
    """The first scan is alone: fractions about it would be none of anything."""
    plot = figure.plot(("scan number",), ("shift (nm)",))
    plot.points("p", [48], [0.5])
    paint(figure)
    bottom, left = plot.plot.getAxis("bottom"), plot.plot.getAxis("left")
    assert numbers(bottom) == ["48"]
    assert any("." in text for text in numbers(left))
    plot.points("p", [48, 49, 50], [0.5, 0.6, 0.7])
    paint(figure)
    assert numbers(bottom) == ["48", "49", "50"]
    plot.label(bottom=("time (s)",))
    plot.points("p", [48, 48.5], [0.5, 0.6])
    paint(figure)
    assert any("." in text for text in numbers(bottom))


def test_a_picture_over_scans_has_whole_numbers(figure):
    area = figure.picture()
    area.frame(("scan number", 38.5, 40.5), ("scan number", 38.5, 40.5))
    area.show(np.eye(2))
    paint(figure)
    for side in ("bottom", "left"):
        assert sorted(numbers(area.plot.getAxis(side))) == ["39", "40"]


@pytest.mark.parametrize(
    ("dtype", "units", "whole"), [("<i4", "", True), ("<i4", "s", False), ("<f8", "", False)]
)
def test_what_counts_has_whole_numbers(application, make_batch, dtype, units, whole):
    from daq.viewer.scene import Scene

    scene = Scene()
    scene.opened(daq.Stream("s", {"clusters": daq.Field(dtype, (), units)}))
    scene.absorb(make_batch("s", 0, {"clusters": np.array([3, 4, 3], dtype)}))
    made = window.Window(scene, DARK)
    made.setAttribute(QtCore.Qt.WidgetAttribute.WA_DontShowOnScreen)
    made.resize(500, 400)
    made.show()
    for _ in range(3):
        made.tick(budget=float("inf"))
        made.grab()
        QtWidgets.QApplication.processEvents()
    written = numbers(made.panels()[0]._plot.getAxis("left"))
    assert (not any("." in text for text in written)) == whole
    assert len(written) >= 2
    made.close()
    made.deleteLater()


def test_the_name_of_a_low_plot_survives(figure):
    texts = ("a very long name of the share (%)", "share (%)")
    room = {size: QtGui.QFontMetricsF(font_of(size)).horizontalAdvance(texts[1]) for size in (9, 7)}
    assert fitting_label(texts, 500.0) == (texts[0], 9.0)
    assert fitting_label(texts, room[9] + 1) == ("share (%)", 9.0)
    assert fitting_label(texts, room[9] - 1) == ("share (%)", 8.0)
    assert fitting_label(texts, room[7] + 0.5) == ("share (%)", 7.0)
    assert fitting_label(texts, room[7] - 1) == ("share<br>(%)", 7.0)
    assert fitting_label(("<b>",), 100.0) == ("&lt;b&gt;", 9.0)
    assert "\u2026" in fitting_label(("onewordthatnolinehasroomfor",), 10.0)[0]
    assert fitting_label((), 100.0)[0] == ""
    figure.resize(240, 130)
    upper = figure.plot((), ("mean (s)",), share=3)
    lower = figure.plot(("scan number",), ("share (%)",), above=upper, share=2)
    lower.points("p", [1, 2], [3, 50])
    paint(figure)
    axis = lower.plot.getAxis("left")
    assert axis.labelText == "share<br>(%)"
    label = axis.label.mapRectToParent(axis.label.boundingRect())
    assert label.height() <= axis.size().height() + 4
    assert label.left() >= -5  # its margin is 4
    assert label.right() <= axis.size().width() - 25  # numbers have room


def font_of(size: float) -> QtGui.QFont:
    font = QtGui.QFont()
    font.setPointSizeF(size)
    return font


@given(
    st.floats(-1e4, 1e4), st.floats(1e-6, 1e6), st.floats(0, 2000),
    st.sampled_from([1, 2, 5]), st.floats(2.25, 9),
)  # fmt: skip
def test_numbers_one_above_the_other_stand_apart(low, span, size, digit, intervals):
    step = digit * 10.0 ** np.floor(np.log10(span / intervals / digit))
    wider = roomy_step(step, low, low + span, size)
    assert wider >= step
    assert float(f"{wider:.0e}") == pytest.approx(wider)
    pitch = wider * size / span
    if wider > step:  # no wider than is needed, and never without numbers
        assert pitch < 2.5 * LINE_ROOM * (1 + 1e-6)
        assert span / wider >= 1
