"""Can the viewer draw here? Asked in a process of its own, because Qt aborts where it cannot."""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Callable

LIBRARIES = {
    "libEGL.so.1": "libegl1",
    "libGL.so.1": "libgl1",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libdbus-1.so.3": "libdbus-1-3",
    "libfontconfig.so.1": "libfontconfig1",
    "libglib-2.0.so.0": "libglib2.0-0",
}
"""What Qt needs of a Linux system to draw without a screen, and the packages that hold it."""

SCREEN_LIBRARIES = {
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxcb-shape.so.0": "libxcb-shape0",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
}
"""What it needs besides for a window on an X11 screen."""

FONT_PACKAGE = "fonts-dejavu-core"

_PROBE = """
from PySide6 import QtGui, QtWidgets
import pyqtgraph
application = QtWidgets.QApplication(["probe"])
def drawn(text):
    image = QtGui.QImage(32, 32, QtGui.QImage.Format.Format_Mono)
    image.fill(1)
    painter = QtGui.QPainter(image)
    painter.drawText(4, 24, text)
    painter.end()
    return image
# Without fonts Qt names some families all the same, and draws every letter alike.
print("letters differ:", drawn("A") != drawn("M"))
"""


def has_screen() -> bool:
    """Tell whether there is a screen to open a window on."""
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


@functools.cache
def availability(*, screen: bool = False) -> str | None:
    """Return why the viewer cannot draw here, in one line that says what to do, or None if it can.

    Parameters
    ----------
    screen
        Ask for a window on the screen; else for pictures without one.
    """
    reason = _packages()
    if reason is None and sys.platform.startswith("linux"):
        reason = lacking(missing_libraries(LIBRARIES))
        x11 = bool(os.environ.get("DISPLAY")) and not os.environ.get("WAYLAND_DISPLAY")
        if reason is None and screen and x11:
            reason = lacking(missing_libraries(SCREEN_LIBRARIES))
    return reason or _probe(screen)


def missing_libraries(
    libraries: dict[str, str], load: Callable[[str], object] = ctypes.CDLL
) -> list[str]:
    """Return the packages whose libraries cannot be loaded."""
    packages = []
    for library, package in libraries.items():
        try:
            load(library)
        except OSError:
            packages.append(package)
    return packages


def lacking(packages: list[str]) -> str | None:
    """Return the line that asks for system packages, or None where none lacks."""
    if not packages:
        return None
    names = " ".join(packages)
    return f"the viewer lacks system libraries of Qt; do: apt-get install {names}"


def explain(status: int, output: str, errors: str) -> str | None:
    """Return what the end of the probe means: its exit status and what it wrote, or None if all is well."""
    if status == 0:
        if "letters differ: False" in output:
            return f"the viewer lacks fonts, no text would show; do: apt-get install {FONT_PACKAGE}"
        return None
    if found := re.search(r"(lib[\w.+-]+\.so[.\d]*): cannot open shared object", errors):
        package = {**LIBRARIES, **SCREEN_LIBRARIES}.get(found[1])
        return lacking([package]) if package else f"the viewer lacks the system library {found[1]}"
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    if "could not connect to display" in errors.lower():
        return "the viewer cannot reach the screen; check DISPLAY, or use --snapshot PNG"
    last = lines[-1][:200] if lines else "no message"
    how = f"signal {-status}" if status < 0 else f"status {status}"
    return f"Qt does not start here ({how}: {last}); see `daq doctor`"


def _packages() -> str | None:
    for name in ("PySide6", "pyqtgraph"):
        if importlib.util.find_spec(name) is None:
            distribution = "PySide6-Essentials" if name == "PySide6" else name
            return f"the viewer needs {distribution}; do: pip install '{_wanted(distribution)}'"
    try:
        version = importlib.metadata.version("PySide6-Essentials")
    except importlib.metadata.PackageNotFoundError:
        return None
    if version.startswith("6.12.0") and sys.version_info[:2] == (3, 11):
        return (
            "PySide6-Essentials 6.12.0 aborts on Python 3.11; "
            f"do: pip install '{_wanted('PySide6-Essentials')}'"
        )
    return None


def _wanted(distribution: str) -> str:
    return "PySide6-Essentials<6.12" if distribution == "PySide6-Essentials" else distribution


def _probe(screen: bool) -> str | None:
    environment = dict(os.environ)
    if not screen:
        environment.setdefault("QT_QPA_PLATFORM", "offscreen")
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROBE],
            env=environment, capture_output=True, text=True, timeout=60, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return "Qt does not start here within a minute; see `daq doctor`"
    return explain(done.returncode, done.stdout, done.stderr)
