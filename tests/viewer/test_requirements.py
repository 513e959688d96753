"""Where the viewer cannot draw it says why, in one line, and the process lives."""

from __future__ import annotations

import os
import sys

import pytest

from daq.viewer import requirements as module
from daq.viewer.requirements import (
    LIBRARIES,
    availability,
    explain,
    has_screen,
    lacking,
    missing_libraries,
)


@pytest.fixture
def asked_anew():
    availability.cache_clear()
    yield
    availability.cache_clear()


def test_it_is_available_here(drawing, asked_anew):
    assert availability() is None


def test_every_missing_library_is_named_at_once():
    def load(name):
        if name in ("libEGL.so.1", "libdbus-1.so.3"):
            raise OSError(f"{name}: cannot open shared object file")

    packages = missing_libraries(LIBRARIES, load)
    assert lacking(packages) == (
        "the viewer lacks system libraries of Qt; do: apt-get install libegl1 libdbus-1-3"
    )
    assert lacking([]) is None


def test_a_python_that_cannot_import_qt(drawing, asked_anew, monkeypatch, tmp_path):
    """The probe runs in another process: whatever happens to that one, this one lives."""
    broken = tmp_path / "PySide6"
    broken.mkdir()
    (broken / "__init__.py").write_text("")
    (broken / "QtGui.py").write_text(
        "raise ImportError('libEGL.so.1: cannot open shared object file: No such file')"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    reason = availability()
    assert reason == "the viewer lacks system libraries of Qt; do: apt-get install libegl1"


def test_a_qt_that_aborts(drawing, asked_anew, monkeypatch):
    monkeypatch.setattr(module, "_PROBE", "import os; os.abort()")
    reason = availability()
    assert reason is not None
    assert reason.startswith("Qt does not start here (signal 6")
    assert "\n" not in reason


@pytest.mark.parametrize(
    ("status", "output", "errors", "said"),
    [
        (0, "letters differ: True\n", "", None),
        (0, "letters differ: False\n", "", "fonts-dejavu-core"),
        (1, "", "ImportError: libfoo.so.3: cannot open shared object file", "libfoo.so.3"),
        (-6, "", "qt.qpa.xcb: could not connect to display :7\nAborted", "--snapshot"),
        (1, "", "Traceback\nValueError: odd", "status 1: ValueError: odd"),
        (-11, "", "", "signal 11: no message"),
    ],
)
def test_what_the_probe_says(status, output, errors, said):
    reason = explain(status, output, errors)
    assert reason is None if said is None else said in (reason or "")


def test_the_release_that_is_known_to_abort(asked_anew, monkeypatch):
    monkeypatch.setattr(module.importlib.metadata, "version", lambda name: "6.12.0")
    monkeypatch.setattr(sys, "version_info", (3, 11, 7))
    assert availability() == (
        "PySide6-Essentials 6.12.0 aborts on Python 3.11; do: pip install 'PySide6-Essentials<6.12'"
    )


def test_a_package_that_is_not_installed(asked_anew, monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    assert availability() == (
        "the viewer needs PySide6-Essentials; do: pip install 'PySide6-Essentials<6.12'"
    )


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="these always have a screen")
def test_screen(monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert not has_screen()
    monkeypatch.setenv("DISPLAY", ":0")
    assert has_screen()
