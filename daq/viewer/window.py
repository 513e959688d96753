"""The window: panels in a grid, drawn from a timer; and the same as a picture without a screen."""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyqtgraph as pg
from PySide6 import QtCore, QtGui, QtWidgets

from daq.view import View
from daq.viewer import grid
from daq.viewer.choice import PanelSpec
from daq.viewer.feed import Feed
from daq.viewer.panels.make import make_panel
from daq.viewer.panels.panel import Panel
from daq.viewer.scene import Scene
from daq.viewer.theme import Theme, style_sheet, theme

FRAME = 33
"""Milliseconds from one drawing to the next, about 30 Hz."""

BUDGET = 0.025
"""Seconds of drawing per frame; panels that have no turn any more come first in the next."""

REPORT_EVERY = 0.25
"""Seconds between two updates of the counters."""

COLLECT_EVERY = 5000
"""Milliseconds between two collections of garbage."""

TEXT_HEIGHT = 130
"""Pixels that a panel of text is high where there are others."""

SETTLE = 5.0
"""Seconds that a picture waits for the newest records."""


class Window(QtWidgets.QMainWindow):
    """The main window.

    Parameters
    ----------
    scene
        What is drawn; a feed fills it.
    colours
        Of everything.
    """

    def __init__(self, scene: Scene, colours: Theme) -> None:
        super().__init__()
        self.scene = scene
        self.colours = colours
        self.paused = False
        self._structure = -1
        self._panels: dict[str, Panel] = {}
        self._order: list[str] = []
        self._asked: dict[str, bool] = {}
        self._hidden: list[PanelSpec] = []
        self._reported = -1.0
        self._turn = 0
        self._used = time.thread_time()
        self.setStyleSheet(style_sheet(colours))
        self.setMinimumSize(480, 320)
        self._grid_widget = QtWidgets.QWidget()
        self._grid_widget.setObjectName("grid")
        rows = QtWidgets.QVBoxLayout(self._grid_widget)
        rows.setSpacing(6)
        rows.setContentsMargins(6, 6, 6, 2)
        self._grid = QtWidgets.QGridLayout()
        self._grid.setSpacing(6)
        rows.addLayout(self._grid, 1)
        # Text is a strip below the pictures, all the width of the window.
        self._strip = QtWidgets.QVBoxLayout()
        self._strip.setSpacing(6)
        rows.addLayout(self._strip, 0)
        self._empty = QtWidgets.QLabel("waiting for streams")
        self._empty.setObjectName("empty")
        self._empty.setAlignment(QtCore.Qt.AlignmentFlag.AlignCenter)
        self.setCentralWidget(self._grid_widget)
        self._make_status_bar()
        self._make_menus()
        self._timer = QtCore.QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._on_timer)

    def run(self) -> None:
        """Show the window and draw until it is closed."""
        self.show()
        self._timer.start(0)

    def tick(self, budget: float = BUDGET) -> None:
        """Draw what is new, for about ``budget`` seconds."""
        if self.scene.structure != self._structure:
            self._rebuild()
        now = self.scene.clock()
        if not self.paused and self._order:
            started = time.perf_counter()
            for turn in range(len(self._order)):
                place = (self._turn + turn) % len(self._order)
                self._panels[self._order[place]].refresh(now)
                if time.perf_counter() - started > budget:
                    self._turn = place + 1
                    break
        if now - self._reported >= REPORT_EVERY:
            self._reported = now
            self._report()

    def panels(self) -> list[Panel]:
        """Return the panels that are shown, in their order."""
        return [self._panels[key] for key in self._order]

    def for_picture(self) -> None:
        """Leave out what only somebody with a mouse needs."""
        self.menuBar().hide()
        self.statusBar().setSizeGripEnabled(False)
        for panel in self._panels.values():
            panel.menu_button.hide()

    def resizeEvent(self, event: QtGui.QResizeEvent) -> None:  # noqa: N802 - Qt's name
        """Put the panels where they fit best."""
        super().resizeEvent(event)
        self._place()

    def _on_timer(self) -> None:
        # What the last round took of this thread, painting included: half of it is waited for, so
        # that a busy window leaves a third of its core to others, at the price of its own pace.
        used = time.thread_time() - self._used
        self._used = time.thread_time()
        started = time.perf_counter()
        self.tick()
        spent = time.perf_counter() - started
        self._timer.start(max(1, round(max(FRAME - spent * 1000, used * 500))))

    # -- panels ---------------------------------------------------------------------------------

    def _rebuild(self) -> None:
        self._structure = self.scene.structure
        shown, hidden = self.scene.arrange()
        every = {spec.key: spec for spec in [*shown, *hidden]}
        wanted = [spec for spec in shown if self._asked.get(spec.key, True)]
        wanted += [spec for spec in hidden if self._asked.get(spec.key, False)]
        self._hidden = [spec for spec in every.values() if spec not in wanted]
        for key in [key for key in self._panels if key not in {spec.key for spec in wanted}]:
            panel = self._panels.pop(key)
            panel.hide()
            panel.deleteLater()
        for spec in wanted:
            if spec.key not in self._panels:
                panel = make_panel(spec, self.scene, self.colours)
                panel.hovered.connect(self._hover.setText)
                self._panels[spec.key] = panel
        self._order = [spec.key for spec in wanted]
        self._fill_menu(every, {spec.key for spec in wanted})
        self._place()
        self._reported = -1.0

    def _place(self) -> None:
        if not hasattr(self, "_grid"):
            return
        self._grid.removeWidget(self._empty)
        self._empty.setVisible(not self._order)
        for row in range(self._grid.rowCount()):
            self._grid.setRowStretch(row, 0)
        for column in range(self._grid.columnCount()):
            self._grid.setColumnStretch(column, 0)
        if not self._order:
            self._grid.addWidget(self._empty, 0, 0)
            return
        texts = [key for key in self._order if self._panels[key].spec.kind == "text"]
        drawn = [key for key in self._order if key not in texts]
        size = self._grid_widget.size()
        height = size.height() - len(texts) * TEXT_HEIGHT
        wide = [self._panels[key].spec.wide for key in drawn]
        places = grid.cells(wide, max(1, size.width()), max(1, height))
        for key, (row, column, span) in zip(drawn, places, strict=True):
            self._grid.addWidget(self._panels[key], row, column, 1, span)
            self._grid.setRowStretch(row, 1)
            for fine in range(column, column + span):
                self._grid.setColumnStretch(fine, 1)
        for key in texts:
            panel = self._panels[key]
            panel.setFixedHeight(TEXT_HEIGHT if drawn else max(TEXT_HEIGHT, height))
            self._strip.addWidget(panel)

    def _ask(self, key: str, on: bool) -> None:
        self._asked[key] = on
        self._rebuild()

    # -- words ----------------------------------------------------------------------------------

    def _make_status_bar(self) -> None:
        bar = self.statusBar()
        self._run_label = QtWidgets.QLabel()
        self._recording = QtWidgets.QLabel()
        self._loss = QtWidgets.QLabel()
        self._not_shown = QtWidgets.QLabel()
        self._hover = QtWidgets.QLabel()
        for label in (self._run_label, self._recording, self._loss, self._not_shown):
            bar.addWidget(label)
        bar.addPermanentWidget(self._hover)

    def _make_menus(self) -> None:
        bar = self.menuBar()
        view = bar.addMenu("View")
        pause = view.addAction("Pause drawing")
        pause.setCheckable(True)
        pause.setShortcut(QtGui.QKeySequence(QtCore.Qt.Key.Key_Space))
        pause.toggled.connect(self._pause)
        save = view.addAction("Save picture\u2026")
        save.setShortcut(QtGui.QKeySequence.StandardKey.Save)
        save.triggered.connect(self._save)
        view.addSeparator()
        leave = view.addAction("Close")
        leave.setShortcut(QtGui.QKeySequence.StandardKey.Quit)
        leave.triggered.connect(self.close)
        self._panel_menu = bar.addMenu("Panels")

    def _fill_menu(self, every: dict[str, PanelSpec], shown: set[str]) -> None:
        self._panel_menu.clear()
        for key, spec in every.items():
            action = self._panel_menu.addAction(f"{spec.title}  ({spec.kind})")
            action.setCheckable(True)
            action.setChecked(key in shown)
            # Later: the menu must not be rebuilt while one of its actions is being handled.
            action.toggled.connect(
                lambda on, key=key: QtCore.QTimer.singleShot(0, lambda: self._ask(key, on))
            )

    def _report(self) -> None:
        for panel in self._panels.values():
            report = self.scene.report(panel.spec.stream)
            if report is not None:
                panel.show_report(report)
        scene, colours = self.scene, self.colours
        name = " \u2013 ".join(part for part in (scene.title, scene.uid) if part)
        self._run_label.setText(name or "no run")
        self.setWindowTitle(f"{name or 'no run'} \u2013 glasswatch")
        if not scene.live:
            self._say(self._recording, "recorded run", colours.blue)
        elif not scene.connected:
            self._say(self._recording, "NO BUS", colours.red)
        elif scene.recording is None:
            self._say(self._recording, "", colours.muted)
        elif scene.recording:
            self._say(self._recording, "\u25cf recording", colours.green)
        else:
            self._say(self._recording, "NOT RECORDING", colours.red)
        loss = scene.loss()
        self._say(self._loss, loss, colours.green if loss == "lossless" else colours.red)
        if self.paused:
            self._say(self._not_shown, "PAUSED (space to go on)", colours.amber)
        elif scene.refused:
            self._say(self._not_shown, scene.refused[:160], colours.red)
        elif self._hidden or scene.not_kept:
            titles = ", ".join(spec.title for spec in self._hidden[:4])
            more = len(self._hidden) - 4 + scene.not_kept
            rest = f" and {more} more" if more > 0 else ""
            self._say(self._not_shown, f"not shown: {titles}{rest}", colours.muted)
        else:
            self._say(self._not_shown, "", colours.muted)

    def _say(self, label: QtWidgets.QLabel, text: str, colour: str) -> None:
        if label.text() != text:
            label.setText(text)
            label.setStyleSheet(f"color: {colour};")

    def _pause(self, on: bool) -> None:
        self.paused = on
        self._reported = -1.0

    def _save(self) -> None:
        suggestion = f"{self.scene.uid or 'glasswatch'}.png"
        chosen, _ = QtWidgets.QFileDialog.getSaveFileName(
            self, "Save picture", suggestion, "PNG (*.png)"
        )
        if chosen:
            write_png(self, Path(chosen))


def show(feed: Feed, views: Sequence[type[View]] = (), theme_name: str = "auto") -> int:
    """Show a feed in a window until it is closed; return 0.

    Raises what the feed's ``start`` raises: OSError or ValueError where the run cannot be read.
    """
    with _application() as application, _collecting_here():
        scene = Scene(views)
        window = Window(scene, _theme(application, theme_name))
        window.resize(1600, 1000)
        feed.start(scene)
        previous = signal.signal(signal.SIGINT, lambda *_: application.quit())
        try:
            window.run()
            application.exec()
        finally:
            signal.signal(signal.SIGINT, previous)
            feed.close()
            window.deleteLater()
    return 0


def snapshot(
    feed: Feed,
    path: Path,
    size: tuple[int, int] = (1600, 1000),
    views: Sequence[type[View]] = (),
    theme_name: str = "auto",
    settle: float = SETTLE,
) -> Path:
    """Draw a feed as it stands into a PNG, with or without a screen; return the path.

    Parameters
    ----------
    feed
        Started here if it is not yet, and closed afterwards.
    path
        Written in whole (a temporary file beside it is swapped in).
    size
        Width and height in pixels.
    views
        Views of plugins, for a feed that is started here.
    theme_name
        ``auto``, ``dark`` or ``light``.
    settle
        Seconds to wait at most until everything that is there is drawn.

    Raises OSError where the picture cannot be written.
    """
    with _application(offscreen=True) as application, _collecting_here():
        if feed.scene is None:
            feed.start(Scene(views))
        scene = feed.scene
        assert scene is not None
        try:
            feed.settle(settle)
            window = Window(scene, _theme(application, theme_name))
            window.resize(*size)
            window.setAttribute(QtCore.Qt.WidgetAttribute.WA_DontShowOnScreen)
            window.show()
            # A view that fails falls back to the default panels: those are drawn in a second go.
            # Axes take their width only once they were painted, and plots theirs after that.
            for _ in range(4):
                window.tick(budget=float("inf"))
                window.for_picture()
                _process(application)
                window.grab()
                _process(application)
            write_png(window, path)
        finally:
            feed.close()
        window.close()
        window.deleteLater()
        application.processEvents()
    return path


def _process(application: QtWidgets.QApplication) -> None:
    """Handle what has happened, but no longer than a second: paints may cause paints."""
    application.processEvents(QtCore.QEventLoop.ProcessEventsFlag.AllEvents, 1000)


def write_png(widget: QtWidgets.QWidget, path: Path) -> None:
    """Write what a widget shows as a PNG, swapped in whole; raise OSError where that fails."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.png")
    if not widget.grab().save(str(temporary), "PNG"):
        temporary.unlink(missing_ok=True)
        raise OSError(f"cannot write {path}: is the folder there and writable?")
    temporary.replace(path)


@contextmanager
def _application(*, offscreen: bool = False) -> Iterator[QtWidgets.QApplication]:
    """Give the one QApplication of this process, made if it is not there."""
    existing = QtWidgets.QApplication.instance()
    if isinstance(existing, QtWidgets.QApplication):
        yield existing
        return
    if offscreen:
        os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    QtWidgets.QApplication.setAttribute(QtCore.Qt.ApplicationAttribute.AA_DontUseNativeMenuBar)
    application = QtWidgets.QApplication([Path(sys.argv[0]).name or "glasswatch"])
    application.setApplicationName("glasswatch")
    font = application.font()
    if font.pointSizeF() < 9.5:
        font.setPointSizeF(9.5)
        application.setFont(font)
    pg.setConfigOptions(antialias=True, imageAxisOrder="row-major")
    yield application


@contextmanager
def _collecting_here() -> Iterator[None]:
    """Collect garbage in this thread alone: Qt objects must not die in the thread of the feed."""
    enabled = gc.isenabled()
    gc.disable()
    timer = QtCore.QTimer()
    timer.timeout.connect(gc.collect)
    timer.start(COLLECT_EVERY)
    try:
        yield
    finally:
        timer.stop()
        gc.collect()
        if enabled:
            gc.enable()


def _theme(application: QtWidgets.QApplication, name: str) -> Theme:
    return theme(name, application.palette().window().color().lightnessF())
