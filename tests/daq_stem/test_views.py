"""The views of 5D-STEM, drawn without a screen from made-up results."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import daq
from daq.viewer import availability
from tests.daq_stem import made_results as made

if (reason := availability()) is not None:
    pytest.skip(reason, allow_module_level=True)

import pyqtgraph as pg
from PySide6 import QtCore, QtGui, QtWidgets

from daq.viewer import choice, window
from daq.viewer.scene import Scene
from daq.viewer.start import plugin_views
from daq.viewer.theme import DARK, LIGHT
from daq_stem.views import VIEWS
from daq_stem.views.activation import round_temperatures
from daq_stem.views.correlation import two_time_matrix
from daq_stem.views.pattern import BAD_PIXEL_COLOUR
from daq_stem.views.positions import (
    LOWER_BOUND_COLOUR,
    MASKED_COLOUR,
    NOT_FITTED_COLOUR,
    bands_of,
    number,
    percent,
    with_error,
)


@pytest.fixture(scope="module")
def application():
    with window._application(offscreen=True) as running:
        yield running


@pytest.fixture
def shown(application):
    """A function that draws streams in a window, through the viewer, and gives it."""
    windows = []

    def show(*pairs, size=(700, 600), colours=DARK):
        scene = Scene(VIEWS)
        for stream, _ in pairs:
            scene.opened(stream)
        drawn = window.Window(scene, colours)
        drawn.setAttribute(QtCore.Qt.WidgetAttribute.WA_DontShowOnScreen)
        drawn.resize(*size)
        drawn.show()
        windows.append(drawn)
        for _, batch in pairs:
            scene.absorb(batch)
        redraw(drawn)
        assert scene.refused == ""
        return drawn

    yield show
    for drawn in windows:
        drawn.close()
        drawn.deleteLater()
    application.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete)


def redraw(drawn) -> None:
    for _ in range(3):
        drawn.tick(budget=float("inf"))
        drawn.grab()
        QtWidgets.QApplication.processEvents()


def only(drawn):
    (panel,) = drawn.panels()
    assert panel.spec.kind == "view"
    return panel


def words(widget) -> str:
    labels = widget.findChildren(QtWidgets.QLabel)
    return " | ".join(label.text() for label in labels if label.isVisibleTo(widget))


def items(panel, kind) -> list:
    views = panel.findChildren(pg.GraphicsView)
    return [item for view in views for item in view.scene().items() if isinstance(item, kind)]


def axis_labels(panel) -> set[str]:
    return {axis.labelText for axis in items(panel, pg.AxisItem) if axis.labelText}


def pixels(panel) -> np.ndarray:
    image = panel.grab().toImage().convertToFormat(QtGui.QImage.Format.Format_RGB888)
    flat = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), -1)
    return flat[:, : 3 * image.width()].reshape(image.height(), image.width(), 3).astype(int)


def share_of(panel, colour: str) -> float:
    wanted = np.array([*bytes.fromhex(colour[1:])])
    return float((np.abs(pixels(panel) - wanted).max(axis=2) <= 3).mean())


def scatter(panel) -> list[np.ndarray]:
    """The points of each series, [x, y] as drawn (logarithms where the axis is one)."""
    found = [np.array(item.getData()) for item in items(panel, pg.ScatterPlotItem)]
    return [points for points in found if points.size]


# -- all of them --------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [m for m in made.EVERY if m is not made.sectors])
def test_each_stream_has_its_view_and_changes_the_panel(shown, make):
    stream, batch = make()
    drawn = shown((stream, batch))
    panel = only(drawn)
    blank = only(shown((stream, batch.slice(0, 0))))
    assert (pixels(panel) != pixels(blank)).any(axis=2).mean() > 0.005


@pytest.mark.parametrize("colours", [DARK, LIGHT], ids=lambda colours: colours.name)
@pytest.mark.parametrize("size", [(1600, 1000), (1200, 800)])
def test_all_of_them_in_one_window_are_whole(shown, colours, size):
    """Labels of axes have room, what is said fits in its line, in small panels too."""
    drawn = shown(*(make() for make in made.EVERY), size=size, colours=colours)
    assert len(drawn.panels()) == 12
    for panel in drawn.panels():
        for axis in items(panel, pg.AxisItem):
            room = axis.mapRectToScene(axis.boundingRect())
            if axis.label.isVisible() and axis.labelText:
                text = axis.label.mapRectToScene(axis.label.boundingRect())
                upright = axis.orientation in ("left", "right")
                long, limit = (
                    (text.height(), room.height()) if upright else (text.width(), room.width())
                )
                assert long <= limit + 4, (panel.spec.title, axis.labelText)
                assert "\u2026" not in axis.labelText, panel.spec.title
        for label in panel.findChildren(QtWidgets.QLabel):
            if type(label).__name__ == "FittingLabel" and label.isVisibleTo(panel):
                assert label._width_of(label.text()) <= label.width(), (
                    panel.spec.title,
                    label.text(),
                )


def test_the_important_ones_come_first(shown):
    """Whatever opens first; two-time last, sectors only if asked for."""
    drawn = shown(*(make() for make in reversed(made.EVERY)), size=(1600, 1000))
    order = [panel.spec.stream for panel in drawn.panels()]
    assert order == [
        "ecm.maps", "fem.maps", "ecm.pattern", "ecm.g2", "structure_dynamics.points",
        "arrhenius.fit", "ecm.summary", "drift.shifts", "structure_dynamics.summary",
        "fem.profile", "ecm.ageing", "ecm.two_time",
    ]  # fmt: skip
    actions = {action.text(): action for action in drawn._panel_menu.actions()}
    asked = next(action for text, action in actions.items() if text.startswith("ecm.sectors"))
    assert not asked.isChecked()
    asked.setChecked(True)
    QtWidgets.QApplication.processEvents()
    redraw(drawn)
    sectors = next(panel for panel in drawn.panels() if panel.spec.stream == "ecm.sectors")
    assert "positions determined in both" in words(sectors)
    assert scatter(sectors)[0].max() < np.log(3000)  # what is open above is left out


class Greedy(daq.View):
    """A view of another plugin that takes everything."""

    name = "greedy"

    @classmethod
    def can_draw(cls, stream):
        return True


@pytest.mark.parametrize("make", made.EVERY)
def test_views_of_other_plugins_do_not_displace_them(make):
    """Nor do those of all plugins that are installed, in whatever order they come."""
    stream, _ = make()
    process = {**stream.attributes["process"], "program": "daq_stem"}
    stream = dataclasses.replace(stream, attributes={**stream.attributes, "process": process})
    for views in ([Greedy, *VIEWS], [Greedy, *plugin_views()]):
        (spec,) = choice.panels_for(stream, views)
        assert spec.view in VIEWS


def test_views_need_no_qt():
    """They are asked whether they can draw in processes that have none."""
    import subprocess
    import sys

    code = "import sys, daq_stem.views; sys.exit(any('PySide' in m or 'pyqtgraph' in m for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_streams_of_others_are_left_alone():
    others = [
        daq.Stream("camera", {"frame": daq.Field("<u2", (8, 8))}),
        daq.Stream("virtual.image", {"mean": daq.Field("<f8", (8, 8))}),
        daq.Stream("dma", {"temperature": daq.Field("<f8"), "tau": daq.Field("<f8")}),
        daq.Stream("s", {"V": daq.Field("<f8", ()), "flag": daq.Field("<f8"), "tau": daq.Field("<f8")}),
    ]  # fmt: skip
    assert not [(v, s.name) for v in VIEWS for s in others if v.can_draw(s)]
    for make in made.EVERY:
        stream, _ = make()
        assert sum(view.can_draw(stream) for view in VIEWS) == 1, stream.name


# -- maps ---------------------------------------------------------------------------------------


def test_positions_without_a_value_have_their_colours_and_are_named(shown):
    stream, batch = made.maps()
    panel = only(shown((stream, batch)))
    flag = batch["flag"][0, 0]
    map_share = share_of(panel, MASKED_COLOUR) / (flag == 4).mean()
    assert map_share > 0.1
    for colour, kind in ((LOWER_BOUND_COLOUR, 1), (NOT_FITTED_COLOUR, 3)):
        assert share_of(panel, colour) / map_share == pytest.approx((flag == kind).mean(), rel=0.25)
    glass = (flag != 4).sum()
    said = words(panel)
    assert f"lower bound {percent((flag == 1).sum() / glass)}" in said
    assert f"{percent((flag == 0).sum() / glass)} determined" in said
    assert "scan 17 \u00b7 633.2 K" in said
    assert "4.2\u20134.6 nm\u207b\u00b9" in said
    assert "relaxation time \u03c4 (s)" in axis_labels(panel)
    assert {"x (nm)", "y (nm)"} <= axis_labels(panel)


def test_no_colour_of_a_flag_is_one_of_the_map():
    for name in ("viridis", "plasma"):
        table = pg.colormap.get(name).getLookupTable(nPts=256)[:, :3].astype(int)
        for colour in (MASKED_COLOUR, LOWER_BOUND_COLOUR, NOT_FITTED_COLOUR):
            if name == "plasma" and colour != MASKED_COLOUR:
                continue
            assert np.abs(table - [*bytes.fromhex(colour[1:])]).max(axis=1).min() > 30
    table = pg.colormap.get("inferno").getLookupTable(nPts=256)[:, :3].astype(int)
    assert np.abs(table - [*bytes.fromhex(BAD_PIXEL_COLOUR[1:])]).max(axis=1).min() > 30


def test_the_colour_bar_is_logarithmic_and_in_seconds(shown):
    stream, batch = made.maps()
    panel = only(shown((stream, batch)))
    (bar,) = items(panel, pg.ColorBarItem)
    tau = batch["tau"][0, 0][batch["flag"][0, 0] == 0]
    assert 10.0 ** np.array(bar.levels()) == pytest.approx(np.percentile(tau, (1, 99)), rel=0.02)
    ticks = bar.axis._tickLevels[0]
    assert all(
        10**place == pytest.approx(float(text.replace("\u2009", ""))) for place, text in ticks
    )
    assert len(ticks) >= 3


def test_a_scale_bar_of_round_length(shown):
    panel = only(shown(made.maps()))
    assert "2 nm" in {item.toPlainText() for item in items(panel, pg.TextItem)}
    lengths = {np.ptp(item.getData()[0]) for item in items(panel, pg.PlotCurveItem)}
    assert max(lengths) == pytest.approx(2.0)


def test_nothing_determined_is_a_map_too(shown):
    stream, batch = made.maps()
    arrays = {name: array.copy() for name, array in batch.raw.items()}
    arrays["flag"][:] = 4
    arrays["tau"][:] = np.nan
    arrays["temperature"][:] = np.nan
    panel = only(shown((stream, daq.Batch(stream.name, arrays, 17))))
    assert share_of(panel, MASKED_COLOUR) > 0.2
    assert "0\u2009% determined" in words(panel)
    assert "nan" not in words(panel).lower()


def test_what_is_called_determined_without_a_value_is_masked(shown):
    stream, batch = made.maps()
    arrays = {name: array.copy() for name, array in batch.raw.items()}
    arrays["flag"][:] = 0
    arrays["tau"][0, 0, :30] = np.nan
    panel = only(shown((stream, daq.Batch(stream.name, arrays, 17))))
    assert share_of(panel, MASKED_COLOUR) > 0.1
    assert share_of(panel, DARK.not_a_number) < 0.002


def test_the_band_is_chosen(shown):
    stream, batch = made.maps(bands=3)
    drawn = shown((stream, batch))
    panel = only(drawn)
    (box,) = panel.findChildren(QtWidgets.QComboBox)
    assert [box.itemText(k) for k in range(3)][1] == "5.2\u20135.6 nm\u207b\u00b9"
    before = pixels(panel)
    box.setCurrentIndex(2)
    redraw(drawn)
    assert (pixels(panel) != before).any(axis=2).mean() > 0.1
    image = next(i for i in items(panel, pg.ImageItem) if i.image is not None and i.image.ndim == 2)
    flag = batch["flag"][0, 2]
    assert np.isfinite(image.image).sum() == (flag == 0).sum()
    assert not only(shown(made.maps())).findChildren(QtWidgets.QComboBox)


def test_lost_scans_leave_the_last_map(shown):
    stream, batch = made.maps()
    drawn = shown((stream, batch))
    before = words(only(drawn))
    for lost in daq.streams.filled(stream, 18, 1):
        drawn.scene.absorb(lost)
    redraw(drawn)
    assert "scan 17" in before
    assert "scan 17" in words(only(drawn))
    assert share_of(only(drawn), LOWER_BOUND_COLOUR) > 0.01


def test_v_over_q(shown):
    stream, batch = made.profile()
    panel = only(shown((stream, batch)))
    series = scatter(panel)
    for field in ("V", "V_raw"):
        found = next(s for s in series if np.allclose(s[1], batch[field][0]))
        assert found[0] == pytest.approx(stream.constants["q"])
    assert {"Q (1/nm)", "normalised variance V"} <= axis_labels(panel)
    assert "counting noise" in words(panel)


def test_the_map_of_v(shown):
    stream, batch = made.order()
    panel = only(shown((stream, batch)))
    V = batch["V"][0]
    assert f"mean V {number(np.nanmean(V))}" in words(panel)
    assert share_of(panel, MASKED_COLOUR) > 0.02
    assert "normalised variance V" in axis_labels(panel)
    arrays = {**batch.raw, "V": np.full_like(batch["V"], np.nan)}
    panel = only(shown((stream, daq.Batch(stream.name, arrays, 3))))
    assert "all masked" in words(panel)


# -- pattern ------------------------------------------------------------------------------------


def test_annuli_are_drawn_and_labelled(shown):
    bands = [[3.0, 3.4], [4.2, 4.6], [5.0, 5.8]]
    stream, batch = made.pattern(bands=bands)
    panel = only(shown((stream, batch)))
    texts = {item.toPlainText() for item in items(panel, pg.TextItem)}
    assert texts == {f"{low:g}\u2013{high:g} nm\u207b\u00b9" for low, high in bands}
    radii = set()
    for item in items(panel, pg.PlotCurveItem):
        x, y = item.getData()
        if x is not None and len(x) > 100:
            radii.add(round(float(np.hypot(x, y).mean()), 3))
    assert radii == {3.0, 3.4, 4.2, 4.6, 5.0, 5.8}
    assert {"q_x (1/nm)", "q_y (1/nm)", "mean pattern (counts)"} <= axis_labels(panel)
    bad = (stream.constants["annulus"] == 255).mean()
    assert share_of(panel, BAD_PIXEL_COLOUR) > bad / 8
    assert "bad pixel" in words(panel)
    boxes = [i.mapRectToScene(i.boundingRect()) for i in items(panel, pg.TextItem)]
    assert not any(a.intersects(b) for k, a in enumerate(boxes) for b in boxes[:k])


def test_a_pattern_in_pixels(shown):
    """Where axes are not in 1/nm, the attributes say where the centre is and how large a pixel."""
    stream, batch = made.pattern(size=128)
    stream = dataclasses.replace(stream, axes={})
    panel = only(shown((stream, batch)))
    y, x = stream.attributes["centre"]
    rings = [i.getData() for i in items(panel, pg.PlotCurveItem) if len(i.getData()[0]) > 100]
    radius = np.hypot(rings[0][0] - x, rings[0][1] - y) * stream.attributes["pixel_size"]
    assert np.ptp(radius) < 1e-9
    assert radius[0] in (pytest.approx(4.2), pytest.approx(4.6))


def test_an_empty_pattern(shown):
    stream, batch = made.pattern(size=64)
    zero = {**batch.raw, "mean": np.zeros_like(batch["mean"])}
    only(shown((stream, daq.Batch(stream.name, zero, 0))))


# -- correlation --------------------------------------------------------------------------------


def test_g2_with_fit_and_residuals(shown):
    stream, batch = made.correlation()
    panel = only(shown((stream, batch)))
    assert "\u03c4 812 s \u00b7 \u03b3 0.710 \u00b7 \u03b2 0.0340" in words(panel)
    assert "a spread of \u03c4 looks stretched" in words(panel)
    delay, g2 = batch["delay_difference"][0, :70], batch["g2"][0, 0, :70]
    residual = (g2 - batch["fit"][0, 0, :70]) / batch["g2_errors"][0, 0, :70]
    series = scatter(panel)
    for wanted in (g2, residual):
        found = next(s for s in series if s.shape == (2, 70) and np.allclose(s[1], wanted))
        assert found[0] == pytest.approx(np.log10(delay))
    assert "delay (s)" in axis_labels(panel)
    assert any("g\u2082" in text for text in axis_labels(panel))
    (bars,) = items(panel, pg.ErrorBarItem)
    assert bars.opts["top"] == pytest.approx(batch["g2_errors"][0, 0, :70])


def test_g2_before_there_are_delays_and_before_there_is_a_fit(shown):
    assert "no delays yet" in words(only(shown(made.correlation(used=0))))
    stream, batch = made.correlation(used=1)
    arrays = {
        **batch.raw,
        "tau": np.full((1, 1), np.nan),
        "fit": np.full_like(batch["fit"], np.nan),
    }
    panel = only(shown((stream, daq.Batch(stream.name, arrays, 1))))
    assert "scan 1 \u00b7 no fit yet" in words(panel)


def test_g2_of_another_band(shown):
    drawn = shown(made.correlation(bands=2))
    panel = only(drawn)
    panel.findChildren(QtWidgets.QComboBox)[0].setCurrentIndex(1)
    redraw(drawn)
    wanted = made.correlation(bands=2)[1]["g2"][0, 1, :70]
    assert any(s.shape == (2, 70) and np.allclose(s[1], wanted) for s in scatter(panel))


def test_the_two_time_matrix_grows_by_rows(shown):
    stream, batch = made.two_time(scans=30)
    drawn = shown((stream, batch.slice(0, 12)))
    for first in range(12, 30, 6):
        drawn.scene.absorb(batch.slice(first, first + 6))
    redraw(drawn)
    panel = only(drawn)
    image = next(
        i for i in items(panel, pg.ImageItem) if i.image is not None and len(i.image) == 30
    )
    assert np.array_equal(image.image, image.image.T, equal_nan=True)
    assert np.isnan(np.diag(image.image)).all()
    assert image.image[20, 7] == batch["two_time"][20, 0, 7]
    assert "time (s)" in axis_labels(panel)
    assert image.mapRectToParent(image.boundingRect()).width() == pytest.approx(30 * made.PERIOD)


def test_only_some_scans_are_kept(shown):
    """Then columns are not numbers of scans: the last one is always the scan before."""
    stream, batch = made.two_time(scans=30, room=8)
    drawn = shown((stream, batch))
    image = next(
        i for i in items(only(drawn), pg.ImageItem) if i.image is not None and len(i.image) == 30
    )
    for later, earlier in ((25, 24), (25, 17), (7, 0)):
        column = earlier - max(0, later - 8)
        assert image.image[later, earlier] == batch["two_time"][later, 0, column]
    assert np.isnan(image.image[25, 16])


def test_who_comes_late_sees_the_corner_of_the_matrix(shown):
    stream, batch = made.two_time(scans=30)
    panel = only(shown((stream, batch.slice(20, 30))))
    image = next(
        i for i in items(panel, pg.ImageItem) if i.image is not None and len(i.image) == 10
    )
    assert image.image[5, 2] == batch["two_time"][25, 0, 22]
    assert image.mapRectToParent(image.boundingRect()).left() == pytest.approx(19.5 * made.PERIOD)


@given(
    st.lists(st.integers(0, 20), min_size=1, max_size=12, unique=True),
    st.integers(1, 12),
    st.data(),
)
def test_a_two_time_matrix_whatever_is_missing_or_forgotten(scans, room, data):
    """Scans may be lost; the memory may hold few of them, and be emptied in between."""
    scan = np.array(sorted(scans), np.int64)
    fresh = data.draw(st.integers(0, len(scan) - 1))  # here correlation began anew
    rows, ages = np.full((len(scan), room), np.nan), np.full((len(scan), room), np.nan)
    truth = np.full((scan[-1] - scan[0] + 1,) * 2, np.nan)
    for at, later in enumerate(scan):
        begin = fresh if at >= fresh else 0
        kept = scan[max(begin, at - room) : at]
        rows[at, : len(kept)] = 100.0 * later + kept
        ages[at, : len(kept)] = kept * 9.2
        truth[later - scan[0], kept - scan[0]] = rows[at, : len(kept)]
        truth[kept - scan[0], later - scan[0]] = rows[at, : len(kept)]
    assert np.array_equal(two_time_matrix(scan, rows, ages), truth, equal_nan=True)


def test_ageing(shown):
    stream, batch = made.ageing(bands=2)
    panel = only(shown((stream, batch)))
    tau, error = batch["tau"][0, 0, 8], batch["tau_errors"][0, 0, 8]
    assert f"\u03c4 {with_error(tau, error)} s after 850 s" in words(panel)
    assert {"waiting time (s)", "relaxation time \u03c4 (s)"} <= axis_labels(panel)
    assert "band 2" in words(panel)
    assert "no window yet" in words(only(shown(made.ageing(windows=0))))


# -- the rest -----------------------------------------------------------------------------------


def test_the_summary_over_scans(shown):
    stream, batch = made.summary()
    drawn = shown((stream, batch.slice(0, 40)))
    drawn.scene.absorb(batch.slice(40, 106))
    redraw(drawn)
    panel = only(drawn)
    tau = np.exp(batch["mean_ln_tau"][:, 0])
    found = next(s for s in scatter(panel) if s.shape == (2, 105))
    assert found[1] == pytest.approx(np.log10(tau[1:]))
    assert f"\u03c4 {number(tau[-1])} s \u00b1 9\u2009%" in words(panel)
    assert "633." in words(panel)
    assert "lower bound" in words(panel)
    assert "\u03c4 not known" in words(only(shown((stream, batch.slice(0, 1)))))


def test_drift_over_scans(shown):
    stream, batch = made.shifts()
    drawn = shown((stream, batch.slice(0, 50)))
    drawn.scene.absorb(batch.slice(50, 106))
    redraw(drawn)
    panel = only(drawn)
    series = [s[1] for s in scatter(panel) if s.shape == (2, 106)]
    for field in ("shift_y", "shift_x"):
        assert any(np.allclose(s, batch[field]) for s in series)
    assert f"y {number(batch['shift_y'][-1], 2)}" in words(panel)
    assert {"shift (nm)", "scan number"} <= axis_labels(panel)
    for bars in items(panel, pg.ErrorBarItem):
        assert bars.opts["top"] == pytest.approx(np.full(106, 0.02))


@pytest.mark.parametrize("points_first", [True, False])
def test_the_scatter_says_what_the_summary_says(shown, points_first):
    """The summary may open, and come, before the points or after them."""
    pairs = [made.points(), made.relation()]
    drawn = shown(*(pairs if points_first else pairs[::-1]), size=(1400, 600))
    panel = next(p for p in drawn.panels() if p.spec.stream == "structure_dynamics.points")
    rho = made.relation()[1]["spearman"][-1]
    assert f"Spearman {with_error(rho, made.relation()[1]['spearman_errors'][-1])}" in words(panel)
    assert "naive 0.37 (same speckles)" in words(panel)
    assert "lower bound of \u03c4" in words(panel)
    flag = pairs[0][1]["flag"][0]
    sizes = sorted(s.shape[1] for s in scatter(panel))
    assert sizes == sorted([(flag == 0).sum(), (flag == 1).sum()])


def test_a_relation_that_is_not_determined(shown):
    stream, batch = made.relation()
    drawn = shown(made.points(), (stream, batch.slice(0, 2)), size=(1400, 600))
    said = words(drawn)
    assert "Spearman not determined" in said
    assert "nan" not in said.lower()


def test_the_relation_over_scans(shown):
    stream, batch = made.relation()
    panel = only(shown((stream, batch)))
    assert any(
        s.shape == (2, 103) and np.allclose(s[1], batch["spearman"][3:]) for s in scatter(panel)
    )
    assert "p 0.013" in words(panel)
    assert "independent positions 84" in words(panel)
    for name in ("disjoint sectors", "intensity fixed", "naive"):
        assert name in words(panel)


def test_arrhenius(shown):
    stream, batch = made.arrhenius()
    panel = only(shown((stream, batch)))
    assert "E = 94.6 \u00b1 7.8 kJ/mol weighted \u00b7 unweighted 98.2 \u00b1 9.1" in words(panel)
    (found,) = scatter(panel)
    assert found[0] == pytest.approx(np.sort(1000 / batch["temperature"][0, :5])[::-1])
    assert found[1] == pytest.approx(batch["ln_tau"][0, :5] / np.log(10))
    (bars,) = items(panel, pg.ErrorBarItem)
    assert bars.opts["top"] == pytest.approx(np.full(5, 0.06 / np.log(10)))
    assert bars.opts["bottom"] == pytest.approx(np.full(5, 0.06 / np.log(10)))
    top = next(axis for axis in items(panel, pg.AxisItem) if axis.labelText == "temperature (K)")
    assert all(place == pytest.approx(1000 / float(text)) for place, text in top._tickLevels[0])


@pytest.mark.parametrize(
    ("stages", "said"), [(0, "no temperature yet"), (1, "1 temperature: no energy")]
)
def test_arrhenius_before_there_are_two_stages(shown, stages, said):
    assert said in words(only(shown(made.arrhenius(stages=stages))))


@given(st.floats(1, 2000), st.floats(0, 500))
def test_round_temperatures(low, span):
    marks = round_temperatures(low, low + span)
    assert 1 <= len(marks) <= 6
    assert np.all(np.diff(marks) > 0)
    room = max(0.05 * span, 1.0) * 1.001
    assert low - room <= marks[0] and marks[-1] <= low + span + room


@pytest.mark.parametrize(
    ("value", "error", "said"),
    [
        (94.62, 7.84, "94.6 \u00b1 7.8"), (1120.4, 112.3, "1120 \u00b1 112"),
        (-0.2, 0.013, "\u22120.200 \u00b1 0.013"), (np.nan, 1.0, "\u2013"), (0.5, np.nan, "0.500"),
    ],
)  # fmt: skip
def test_values_with_errors(value, error, said):
    assert with_error(value, error) == said


def test_bands_are_named_from_the_configuration_where_the_stream_is_silent():
    stream, _ = made.correlation(bands=1)
    process = {"process": {"configuration": {"bands": [[4.2, 4.6]]}}}
    assert bands_of(stream, 1) == ["band 1"]
    assert bands_of(dataclasses.replace(stream, attributes=process), 1) == [
        "4.2\u20134.6 nm\u207b\u00b9"
    ]
