"""What every panel has: a head that says what is drawn and how its stream is doing, and a body."""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from daq.viewer.choice import PanelSpec
from daq.viewer.content import Content
from daq.viewer.progress import Report
from daq.viewer.scene import Scene
from daq.viewer.theme import Theme


class Panel(QtWidgets.QFrame):
    """A titled frame. A subclass makes its body in `__init__` and draws it in `draw`.

    Parameters
    ----------
    spec, scene
        What is drawn, and from where.
    colours
        Of the window.
    """

    hovered = QtCore.Signal(str)
    """What is under the cursor, for the status bar."""

    def __init__(self, spec: PanelSpec, scene: Scene, colours: Theme) -> None:
        super().__init__()
        self.setObjectName("panel")
        # Panels are as large as the grid makes them, whatever they hold.
        policy = QtWidgets.QSizePolicy.Policy
        self.setSizePolicy(policy.Ignored, policy.Ignored)
        self.spec = spec
        self.scene = scene
        self.colours = colours
        self._drawn_version = -1
        self._report: Report | None = None
        middle = QtCore.Qt.TextElideMode.ElideMiddle
        self._title = ElidedLabel(spec.title, middle)
        font = self._title.font()
        font.setBold(True)
        font.setPointSizeF(font.pointSizeF() + 0.5)
        self._title.setFont(font)
        self._badge = QtWidgets.QLabel()
        self._badge.setFont(_smaller(self._badge.font()))
        self._badge.hide()
        self._counters = ElidedLabel("")
        self._counters.setObjectName("counters")
        self._counters.setFont(_smaller(self._counters.font()))
        self.menu_button = QtWidgets.QToolButton()
        self.menu_button.setText("\u2026")
        self.menu_button.setToolTip("colours, levels, axes")
        self.menu_button.setPopupMode(QtWidgets.QToolButton.ToolButtonPopupMode.InstantPopup)
        self.menu = QtWidgets.QMenu(self)
        self.menu_button.setMenu(self.menu)
        self.menu_button.hide()
        head = QtWidgets.QHBoxLayout()
        head.setSpacing(6)
        head.addWidget(self._title, 1)
        head.addWidget(self._badge)
        head.addWidget(self.menu_button)
        self.body = QtWidgets.QVBoxLayout(self)
        self.body.setContentsMargins(10, 7, 8, 6)
        self.body.setSpacing(1)
        self.body.addLayout(head)
        self.body.addWidget(self._counters)

    def refresh(self, now: float) -> bool:
        """Draw what is new; ``now`` in s. Returns whether there was something to draw."""
        content = self.scene.content(self.spec)
        if content is None or content.version == self._drawn_version:
            return False
        self._drawn_version = content.version
        self.draw(content, now)
        return True

    def draw(self, content: Content, now: float) -> None:
        """Draw the content. Copies are taken under `Scene.lock`, drawing is not."""
        raise NotImplementedError

    def redraw(self) -> None:
        """Draw again although nothing has come: an option was changed."""
        self._drawn_version = -1

    def show_report(self, report: Report) -> None:
        """Say how the stream is doing."""
        content = self.scene.content(self.spec)
        note = content.note() if content is not None else ""
        self._counters.set_text(" \u00b7 ".join(part for part in (report.line, note) if part))
        if self._report is not None and report.badge == self._report.badge:
            return
        self._report = report
        colour = {
            "stale": self.colours.amber,
            "waiting": self.colours.muted,
            "recorded": self.colours.amber,
            "complete": self.colours.green,
        }.get(report.state, self.colours.red)
        self._badge.setVisible(bool(report.badge))
        badge = report.badge if len(report.badge) <= 32 else report.badge[:31] + "\u2026"
        self._badge.setText(badge)
        self._badge.setToolTip(report.badge)
        self._badge.setStyleSheet(
            f"color: {colour}; border: 1px solid {colour}; border-radius: 7px; padding: 0 6px;"
        )

    def option(self, text: str, slot: Any, *, checked: bool | None = None) -> QtGui.QAction:
        """Add an entry to the panel's menu."""
        action = self.menu.addAction(text)
        if checked is not None:
            action.setCheckable(True)
            action.setChecked(checked)
            action.toggled.connect(slot)
        else:
            action.triggered.connect(slot)
        self.menu_button.show()
        return action


class ElidedLabel(QtWidgets.QLabel):
    """A label of one line that gives way where there is no room, and says the rest as a tip."""

    def __init__(
        self, text: str, mode: QtCore.Qt.TextElideMode = QtCore.Qt.TextElideMode.ElideRight
    ) -> None:
        super().__init__()
        self._text = text
        self._mode = mode
        self.setMinimumWidth(20)
        policy = QtWidgets.QSizePolicy.Policy
        self.setSizePolicy(policy.Ignored, policy.Fixed)
        self.set_text(text)

    def set_text(self, text: str) -> None:
        """Show ``text``."""
        self._text = text
        self.setToolTip(text)
        self._elide()

    def resizeEvent(self, event: QtGui.QResizeEvent) -> None:  # noqa: N802 - Qt's name
        """Cut the text anew."""
        super().resizeEvent(event)
        self._elide()

    def _elide(self) -> None:
        metrics = QtGui.QFontMetrics(self.font())
        self.setText(metrics.elidedText(self._text, self._mode, max(20, self.width())))


def _smaller(font: QtGui.QFont) -> QtGui.QFont:
    font = QtGui.QFont(font)
    font.setPointSizeF(max(8.0, font.pointSizeF() - 1))
    return font
