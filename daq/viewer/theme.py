"""Colours of the viewer: dark and light, curves that colour-blind people tell apart, colour maps."""

from __future__ import annotations

import dataclasses
from typing import Any

COLOUR_MAPS = ("viridis", "cividis", "inferno", "gray", "diverging")
"""Colour maps on offer; ``diverging`` has its middle at zero."""


@dataclasses.dataclass(frozen=True)
class Theme:
    """One set of colours, as ``#rrggbb``."""

    name: str
    window: str
    panel: str
    border: str
    text: str
    muted: str
    plot: str
    grid: int
    """Opacity of the grid, 0 to 255."""
    not_a_number: str
    """Where a picture has no value: in none of the colour maps."""
    curves: tuple[str, ...]
    amber: str
    green: str
    red: str
    blue: str


DARK = Theme(
    "dark", "#15181d", "#1d2128", "#323843", "#e8eaee", "#a4abb8", "#1d2128", 40, "#64375f",
    ("#56b4e9", "#e69f00", "#2fc99a", "#e78ac3", "#f0e442", "#ff7f50", "#9f9bff", "#c8c8c8"),
    "#f0a92e", "#43c08a", "#ff6b62", "#58a6ff",
)  # fmt: skip

LIGHT = Theme(
    "light", "#eceef1", "#ffffff", "#cfd4dc", "#1b1f24", "#5b6471", "#ffffff", 40, "#e6c3e1",
    ("#0072b2", "#d55e00", "#008a66", "#b0488d", "#8a7800", "#b03a2e", "#5a4fcf", "#444444"),
    "#a86400", "#1a7f4b", "#c5281f", "#0b62c4",
)  # fmt: skip


def theme(name: str, window_lightness: float = 1.0) -> Theme:
    """Return the theme ``dark`` or ``light``; ``auto`` follows the palette of the desktop.

    ``window_lightness`` is that of the palette's windows, 0 to 1.
    """
    if name == "auto":
        return DARK if window_lightness < 0.5 else LIGHT
    if name not in ("dark", "light"):
        raise ValueError(f"theme {name!r}: auto, dark or light")
    return DARK if name == "dark" else LIGHT


def style_sheet(colours: Theme) -> str:
    """Return the style sheet of the window."""
    c = colours
    return f"""
    QMainWindow, QStatusBar {{ background: {c.window}; color: {c.text}; }}
    QStatusBar QLabel {{ color: {c.text}; padding: 0 6px; }}
    QStatusBar::item {{ border: none; }}
    QWidget#grid {{ background: {c.window}; }}
    QFrame#panel {{ background: {c.panel}; border: 1px solid {c.border}; border-radius: 6px; }}
    QLabel {{ color: {c.text}; background: transparent; }}
    QLabel#counters {{ color: {c.muted}; }}
    QLabel#empty {{ color: {c.muted}; }}
    QTextEdit {{ background: {c.panel}; color: {c.text}; border: none; }}
    QScrollBar:vertical {{ background: {c.panel}; width: 8px; }}
    QScrollBar::handle:vertical {{ background: {c.border}; border-radius: 4px; min-height: 16px; }}
    QScrollBar::add-line, QScrollBar::sub-line, QScrollBar::add-page, QScrollBar::sub-page {{
        background: {c.panel}; height: 0; }}
    QToolButton {{ color: {c.muted}; background: transparent; border: none; padding: 0 4px; }}
    QToolButton::menu-indicator {{ image: none; }}
    QComboBox {{ background: {c.panel}; color: {c.text}; border: 1px solid {c.border};
        border-radius: 4px; padding: 0 6px; }}
    QComboBox QAbstractItemView {{ background: {c.panel}; color: {c.text}; }}
    QMenuBar, QMenu {{ background: {c.panel}; color: {c.text}; }}
    QMenuBar::item:selected, QMenu::item:selected {{ background: {c.blue}; color: #ffffff; }}
    QMenu::item:disabled {{ color: {c.muted}; }}
    QSlider::groove:horizontal {{ height: 4px; background: {c.border}; border-radius: 2px; }}
    QSlider::handle:horizontal {{ width: 12px; margin: -5px 0; background: {c.blue};
        border-radius: 6px; }}
    """


def colour_map(name: str) -> Any:
    """Return the pyqtgraph colour map of one of `COLOUR_MAPS`."""
    import pyqtgraph as pg

    if name == "gray":
        return pg.ColorMap(None, [(0, 0, 0), (255, 255, 255)])
    if name == "diverging":
        return pg.colormap.get("CET-D1A")
    return pg.colormap.get(name)
