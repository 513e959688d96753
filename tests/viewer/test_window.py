"""The panels in a window and on a picture, without a screen."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import daq
from daq.viewer import availability
from daq.viewer.scene import Scene
from daq.viewer.theme import COLOUR_MAPS, DARK, LIGHT, colour_map, theme

if (reason := availability()) is not None:
    pytest.skip(reason, allow_module_level=True)

from PySide6 import QtCore, QtGui, QtWidgets

from daq.viewer import window


@pytest.fixture(scope="module")
def application():
    with window._application(offscreen=True) as made:
        yield made


@pytest.fixture
def shown(application):
    """A function that shows a scene in a window and draws it."""
    windows = []

    def show(scene, size=(1200, 800)):
        made = window.Window(scene, DARK)
        made.setAttribute(QtCore.Qt.WidgetAttribute.WA_DontShowOnScreen)
        made.resize(*size)
        made.show()
        windows.append(made)
        draw(made)
        return made

    yield show
    for made in windows:
        made.close()
        made.deleteLater()
    application.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete)


def draw(made) -> None:
    made.tick(budget=float("inf"))
    QtWidgets.QApplication.processEvents()


def texts(widget) -> str:
    return " | ".join(label.text() for label in widget.findChildren(QtWidgets.QLabel))


def pixels(path) -> np.ndarray:
    return rgb(QtGui.QImage(str(path)))


def picture_of(panel) -> np.ndarray:
    """What a panel shows, [y, x, rgb]."""
    return rgb(panel.grab().toImage())


def rgb(image) -> np.ndarray:
    image = image.convertToFormat(QtGui.QImage.Format.Format_RGB888)
    flat = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), -1)
    return flat[:, : 3 * image.width()].reshape(image.height(), image.width(), 3).copy()


@pytest.mark.parametrize("name", ["dark", "light"])
def test_a_picture_of_every_kind_of_panel(application, every_kind, filled_feed, tmp_path, name):
    path = tmp_path / "picture.png"
    feed = filled_feed(every_kind, lambda scene: scene.run("uid", "title", True))
    assert window.snapshot(feed, path, (1000, 700), theme_name=name) == path
    drawn = pixels(path)
    assert drawn.shape == (700, 1000, 3)
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 500
    # every part above the log shows something
    for part in np.array_split(drawn[:540], 2):
        for piece in np.array_split(part, 4, axis=1):
            assert piece.std() > 5
    assert [entry.name for entry in tmp_path.iterdir()] == ["picture.png"]


def test_every_kind_of_panel_shows_its_data(shown, every_kind):
    scene = Scene()
    made = shown(scene, (1500, 900))
    empty = {}
    for stream, _ in every_kind:
        scene.opened(stream)
    draw(made)
    for panel in made.panels():
        empty[panel.spec.key] = picture_of(panel)
    for _, batch in every_kind:
        scene.absorb(batch)
    draw(made)
    draw(made)
    assert len(made.panels()) == 10
    for panel in made.panels():
        changed = (picture_of(panel) != empty[panel.spec.key]).any(axis=2).mean()
        assert changed > 0.01, panel.spec.title


def test_units_are_on_every_axis_and_colour_bar(shown, every_kind):
    scene = Scene()
    for stream, batch in every_kind:
        scene.opened(stream)
        scene.absorb(batch)
    made = shown(scene, (1600, 1000))
    said = {}
    for panel in made.panels():
        axes = [item for item in _items(panel) if type(item).__name__ == "AxisItem"]
        said[panel.spec.title] = {item.labelText for item in axes if item.labelText}
    assert {"x (nm)", "y (nm)", "haadf (counts)"} <= {
        text.replace("high-angle annulus", "haadf") for text in said["virtual.sums.haadf"]
    }
    assert {"Qx (1/nm)", "Qy (1/nm)"} <= said["camera.frame"]
    assert any("counts" in text for text in said["camera.frame"])
    assert "delay (s)" in said["ecm.g2.g2"]
    assert "GPa" in said["dma: storage_modulus, loss_modulus"]
    assert any("(min)" in text for text in said["dma.temperature"])
    assert any("(K)" in text for text in said["dma.temperature"])


def _items(panel):
    import pyqtgraph as pg

    views = panel.findChildren(pg.GraphicsView)
    return [item for view in views for item in view.scene().items()]


def test_pixels_without_a_value_have_a_colour_of_their_own(shown, make_batch):
    scene = Scene()
    scene.opened(daq.Stream("s", {"v": daq.Field("<f4", (2, 2))}))
    values = np.array([[[1, 2], [np.nan, 4]]], np.float32)
    scene.absorb(make_batch("s", 0, {"v": values}))
    made = shown(scene, (500, 500))
    colour = QtGui.QColor(DARK.not_a_number)
    wanted = np.array([colour.red(), colour.green(), colour.blue()])
    share = (np.abs(picture_of(made.panels()[0]).astype(int) - wanted).max(axis=2) <= 2).mean()
    assert 0.05 < share < 0.25
    for name in COLOUR_MAPS:
        table = colour_map(name).getLookupTable(nPts=256)[:, :3].astype(int)
        for colours in (DARK, LIGHT):
            void = QtGui.QColor(colours.not_a_number)
            void = np.array([void.red(), void.green(), void.blue()])
            assert np.abs(table - void).max(axis=1).min() > 15, (name, colours.name)


def test_true_shape(shown, make_batch):
    """A pixel of a picture is as wide as it is high, whatever the shape of the panel."""
    scene = Scene()
    scene.opened(daq.Stream("s", {"v": daq.Field("<f4", (20, 60))}))
    scene.absorb(make_batch("s", 0, {"v": np.zeros((1, 20, 60), np.float32)}))
    for size in ((1000, 500), (500, 900)):
        made = shown(scene, size)
        draw(made)
        box = made.panels()[0]._plot.vb
        width, height = box.viewPixelSize()
        assert width == pytest.approx(height, rel=1e-6)
        assert box.viewRect().width() == pytest.approx(60, rel=0.05)
        assert box.viewRect().height() == pytest.approx(20, rel=0.05)
        box.setXRange(10, 20)  # somebody looks closer
        width, height = box.viewPixelSize()
        assert width == pytest.approx(height, rel=1e-6)


def test_rows_lie_from_top_to_bottom(shown, make_batch):
    scene = Scene()
    scene.opened(daq.Stream("s", {"v": daq.Field("<f4", (8, 8))}))
    values = np.zeros((1, 8, 8), np.float32)
    values[0, 0] = 1  # the first row is bright
    scene.absorb(make_batch("s", 0, {"v": values}))
    made = shown(scene, (500, 500))
    rows = picture_of(made.panels()[0])[60:, 150:300].astype(int).sum(axis=(1, 2))
    assert rows.argmax() < len(rows) / 2


def test_rows_that_say_where_they_belong_go_upwards(shown, every_kind):
    stream, batch = next(pair for pair in every_kind if pair[0].name == "scan")
    scene = Scene()
    scene.opened(stream)
    scene.absorb(batch.slice(0, 120))
    made = shown(scene, (500, 500))
    draw(made)
    (panel,) = made.panels()
    area = panel._area
    lowest, highest = (area.plot.vb.mapViewToScene(QtCore.QPointF(10.0, y)).y() for y in (0, 79))
    assert lowest > highest
    # true in shape although pixels are not square, and the row that is scanned is marked
    across, down = area.plot.vb.viewPixelSize()
    assert across == pytest.approx(down, rel=1e-6)
    (mark,) = {float(item.yData[0]) for item in area._items["scanned"]}
    assert mark == 40.0
    scene.absorb(batch.slice(0, 80))
    assert area.image.image.shape == (80, 100)
    assert np.isnan(area.image.image[:40]).all()


def test_states_are_said_in_the_panels(shown, make_batch):
    clock = SimpleNamespace(now=0.0)
    scene = Scene(clock=lambda: clock.now)
    for name in ("a", "b", "c"):
        scene.opened(daq.Stream(name, {"v": daq.Field("<f8", (), "V")}))
        scene.absorb(make_batch(name, 0, {"v": np.zeros(3)}))
    scene.closed("b", 3, "complete", "")
    scene.closed("c", 3, "failed", "camera: no trigger")
    made = shown(scene)
    assert "stale" not in texts(made)
    clock.now = 60.0
    draw(made)
    said = {panel.spec.stream: texts(panel) for panel in made.panels()}
    assert "stale for 60 s" in said["a"]
    assert "complete" in said["b"]
    assert "failed: camera: no trigger" in said["c"]
    scene.absorb(make_batch("a", 3, {"v": np.zeros(3)}))
    clock.now = 60.5
    draw(made)
    badges = [panel._badge.isVisibleTo(panel) for panel in made.panels()]
    assert badges == [False, True, True]


def test_the_status_bar(shown, make_batch):
    scene = Scene()
    made = shown(scene)
    assert "waiting for streams" in texts(made)
    scene.run("uid-7", "annealing", False)
    for number in range(14):
        scene.opened(daq.Stream(f"s{number}", {"v": daq.Field("<f8")}))
    draw(made)
    assert len(made.panels()) == 12
    for word in ("annealing \u2013 uid-7", "NOT RECORDING", "lossless", "not shown: s12.v, s13.v"):
        assert word in texts(made)
    scene.run("uid-7", "", True)
    scene.known("s1", 5, source_gone=False, missing=2)
    made._reported = -1.0
    draw(made)
    assert "recording" in texts(made)
    assert "2 records LOST" in texts(made)
    scene.reachable(False)
    made._reported = -1.0
    draw(made)
    assert "NO BUS" in texts(made)


def test_panels_are_chosen_in_the_menu(shown):
    scene = Scene()
    for number in range(13):
        scene.opened(daq.Stream(f"s{number}", {"v": daq.Field("<f8")}))
    made = shown(scene)
    actions = {action.text(): action for action in made._panel_menu.actions()}
    assert not actions["s12.v  (trace)"].isChecked()
    actions["s12.v  (trace)"].setChecked(True)
    actions["s0.v  (trace)"].setChecked(False)
    draw(made)
    draw(made)
    titles = [panel.spec.title for panel in made.panels()]
    assert "s12.v" in titles
    assert "s0.v" not in titles


def test_paused_pictures_stand_while_the_counters_go_on(shown, make_batch):
    scene = Scene(clock=iter(range(1000)).__next__)
    scene.opened(daq.Stream("s", {"v": daq.Field("<f4", (4, 4))}))
    scene.absorb(make_batch("s", 0, {"v": np.zeros((1, 4, 4), np.float32)}))
    made = shown(scene)
    made._pause(True)
    drawn = made.panels()[0]._picture
    scene.absorb(make_batch("s", 1, {"v": np.ones((1, 4, 4), np.float32)}))
    draw(made)
    assert made.panels()[0]._picture is drawn
    assert "2 records" in texts(made)
    assert "PAUSED" in texts(made)
    made._pause(False)
    draw(made)
    assert made.panels()[0]._picture.values[0, 0] == 1


def test_the_plane_of_a_stack_is_chosen(shown, make_batch):
    scene = Scene()
    axes = {"v": [{"name": "Q", "units": "1/nm", "offset": 4.0, "step": 0.5}, {}, {}]}
    scene.opened(daq.Stream("s", {"v": daq.Field("<f4", (3, 2, 2))}, axes))
    values = np.arange(3, dtype=np.float32)[:, None, None] * np.ones((2, 2), np.float32)
    scene.absorb(make_batch("s", 0, {"v": values[None]}))
    made = shown(scene)
    (panel,) = made.panels()
    assert "plane 1 of 3: Q (1/nm) 4.00" in texts(panel)
    panel._slider.setValue(2)
    draw(made)
    assert (panel._picture.values == 2).all()
    assert "plane 3 of 3: Q (1/nm) 5.00" in texts(panel)


def test_options_of_a_picture(shown, make_batch):
    scene = Scene()
    scene.opened(daq.Stream("s", {"v": daq.Field("<f4", (8, 8))}))
    values = np.arange(1, 65, dtype=np.float32).reshape(1, 8, 8)
    scene.absorb(make_batch("s", 0, {"v": values}))
    made = shown(scene)
    (panel,) = made.panels()
    for action in panel.menu.actions():
        action.trigger()
        draw(made)
    assert panel._levels.locked
    before = panel._image.levels
    scene.absorb(make_batch("s", 1, {"v": values * 1000}))
    draw(made)
    assert list(panel._image.levels) == list(before)


def test_a_log_shows_its_end_unless_one_reads_further_up(shown, make_batch):
    scene = Scene()
    scene.opened(daq.Stream("run.log", {"message": daq.Field("|S16")}))
    scene.opened(daq.Stream("s", {"v": daq.Field("<f8")}))
    words = np.array([f"line {n}".encode() for n in range(60)], "|S16")
    scene.absorb(make_batch("run.log", 0, {"message": words[:50]}))
    made = shown(scene)
    panel = next(panel for panel in made.panels() if panel.spec.kind == "text")
    bar = panel._text.verticalScrollBar()
    assert bar.maximum() > 0
    assert bar.value() == bar.maximum()
    bar.setValue(0)
    scene.absorb(make_batch("run.log", 50, {"message": words[50:]}))
    draw(made)
    assert "line 59" in panel._text.toPlainText()
    assert bar.value() < bar.maximum()


class Good(daq.View):
    name = "good"

    @classmethod
    def can_draw(cls, stream):
        return stream.name == "camera"

    def widget(self, stream):
        self.label = QtWidgets.QLabel("nothing yet")
        return self.label

    def update(self, batch):
        self.label.setText(f"{batch.count} records from {batch.first}")


class FailsToDraw(Good):
    def update(self, batch):
        raise RuntimeError("bad colours")


class GivesNoWidget(Good):
    def widget(self, stream):
        return 7


def test_a_view_of_a_plugin(shown, make_batch):
    scene = Scene([Good])
    scene.opened(daq.Stream("camera", {"frame": daq.Field("<u2", (4, 4))}))
    scene.absorb(make_batch("camera", 5, {"frame": np.zeros((3, 4, 4), np.uint16)}))
    assert "3 records from 5" in texts(shown(scene))


@pytest.mark.parametrize(
    ("view", "why"), [(FailsToDraw, "bad colours"), (GivesNoWidget, "gave int, not a QWidget")]
)
def test_a_view_that_fails_gives_way_to_the_default(shown, make_batch, view, why):
    scene = Scene([view])
    scene.opened(daq.Stream("camera", {"frame": daq.Field("<u2", (4, 4))}))
    batch = make_batch("camera", 0, {"frame": np.zeros((1, 4, 4), np.uint16)})
    scene.absorb(batch)
    made = shown(scene)
    draw(made)
    assert [panel.spec.kind for panel in made.panels()] == ["image"]
    assert why in scene.refused
    scene.absorb(batch.slice(0, 1))


def test_nothing_to_draw_is_a_picture_too(application, filled_feed, tmp_path):
    path = window.snapshot(filled_feed([]), tmp_path / "empty.png", (400, 300))
    assert pixels(path).shape == (320, 480, 3)  # the smallest that the window gets


def test_a_picture_that_cannot_be_written(application, filled_feed, tmp_path):
    with pytest.raises(OSError, match="is the folder there"):
        window.snapshot(filled_feed([]), tmp_path / "no" / "picture.png", (400, 300))


def test_themes():
    assert theme("auto", 0.1) is DARK
    assert theme("auto", 0.9) is LIGHT
    assert theme("light") is LIGHT
    with pytest.raises(ValueError, match="auto, dark or light"):
        theme("pink")
