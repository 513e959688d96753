"""The view of a plugin, in a panel like any other; it may fail without taking the viewer along."""

from __future__ import annotations

import functools
import logging

from PySide6 import QtWidgets

from daq.viewer.choice import PanelSpec
from daq.viewer.content import Content, ViewContent
from daq.viewer.figure import Figure
from daq.viewer.panels.panel import Panel
from daq.viewer.scene import Scene
from daq.viewer.theme import Theme

log = logging.getLogger(__name__)


class ViewPanel(Panel):
    """Hands the newest records to a `daq.View`; draws the stream by its shape if the view fails."""

    def __init__(self, spec: PanelSpec, scene: Scene, colours: Theme) -> None:
        super().__init__(spec, scene, colours)
        self._view = None
        self._drawn = 0
        stream = scene.streams().get(spec.stream)
        if spec.view is None or stream is None:
            return
        try:
            view = spec.view()
            view.figure = functools.partial(Figure, colours)
            widget = view.widget(stream)
            if not isinstance(widget, QtWidgets.QWidget):
                raise TypeError(f"widget() gave {type(widget).__name__}, not a QWidget")
        except Exception as error:  # a plugin may raise anything
            self._failed(error)
            return
        self._view = view
        self.body.addWidget(widget, 1)

    def draw(self, content: Content, now: float) -> None:
        """Give the view the newest records."""
        assert isinstance(content, ViewContent)
        with self.scene.lock:
            batches = content.since(self._drawn)
            self._drawn = content.version
        if self._view is None:
            return
        try:
            for batch in batches:
                self._view.update(batch)
        except Exception as error:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        self._view = None
        said = f"view {self.spec.title} failed, drawn by shape: {type(error).__name__}: {error}"
        log.warning("%s", said)
        self.scene.refused = said
        self.scene.fall_back(self.spec)
