"""The last lines of a stream of text."""

from __future__ import annotations

import datetime
import html
import re

from PySide6 import QtCore, QtGui, QtWidgets

from daq.streams import NO_TIME
from daq.viewer.choice import PanelSpec
from daq.viewer.content import Content, TextContent
from daq.viewer.panels.panel import Panel
from daq.viewer.scene import Scene
from daq.viewer.theme import Theme

_LEVEL = re.compile(r"\b(warning|error|critical)\b", re.IGNORECASE)


class TextPanel(Panel):
    """A log: time of day (UTC) and text, warnings and errors in their colours."""

    def __init__(self, spec: PanelSpec, scene: Scene, colours: Theme) -> None:
        super().__init__(spec, scene, colours)
        self._text = QtWidgets.QTextEdit()
        self._text.setReadOnly(True)
        self._text.setMinimumSize(120, 60)
        font = QtGui.QFontDatabase.systemFont(QtGui.QFontDatabase.SystemFont.FixedFont)
        font.setPointSizeF(8.5)
        self._text.setFont(font)
        self._at_end = True
        self._scrolling = QtCore.QTimer(self)
        self._scrolling.setSingleShot(True)
        self._scrolling.timeout.connect(self._stay_at_end)
        self._text.verticalScrollBar().rangeChanged.connect(lambda *_: self._scrolling.start(0))
        self.body.addWidget(self._text, 1)

    def draw(self, content: Content, now: float) -> None:
        """Show the lines, the newest at the bottom."""
        assert isinstance(content, TextContent)
        with self.scene.lock:
            lines = list(content.lines)
        bar = self._text.verticalScrollBar()
        # The range changes later, when the lines are laid out: see `_stay_at_end`.
        self._at_end = bar.value() >= bar.maximum() - 4
        self._text.setHtml("<br>".join(self._line(time, text) for _, time, text in lines))

    def _stay_at_end(self) -> None:
        if self._at_end:
            bar = self._text.verticalScrollBar()
            bar.setValue(bar.maximum())

    def _line(self, time: int, text: str) -> str:
        level = _LEVEL.search(text)
        colour = self.colours.text
        if level is not None:
            colour = self.colours.amber if level[1].lower() == "warning" else self.colours.red
        clock = "--:--:--"
        if time != NO_TIME:
            clock = f"{datetime.datetime.fromtimestamp(time / 1e9, datetime.UTC):%H:%M:%S}"
        return (
            f'<span style="color:{self.colours.muted}">{clock}</span> '
            f'<span style="color:{colour}">{html.escape(text)}</span>'
        )
