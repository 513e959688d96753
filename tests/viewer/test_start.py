"""Starting the viewer: what it is pointed at, and one clear line where that is wrong."""

from __future__ import annotations

import subprocess
import sys

import pytest

from daq.viewer import run_viewer, start
from daq.viewer.feed import LiveFeed, RunFeed


def test_targets(tmp_path):
    assert isinstance(start.feed_for("ipc:///tmp/some/bus"), LiveFeed)
    assert isinstance(start.feed_for("tcp://127.0.0.1:5555"), LiveFeed)
    assert isinstance(start.feed_for(str(tmp_path)), RunFeed)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("/no/such/run", "no such run"),
        ("tcp://192.0.2.1:5555", "without keys"),
        ("http://localhost", "use ipc"),
    ],
)
def test_a_bad_target_is_one_line(target, said, tmp_path, capsys):
    assert run_viewer(target, tmp_path / "x.png", views=()) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_no_screen_and_no_snapshot(monkeypatch, tmp_path, capsys):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    if start.has_screen():
        pytest.skip("this system always has a screen")
    assert run_viewer(str(tmp_path), None) == 1
    assert capsys.readouterr().err == "there is no screen here; use --snapshot PNG\n"


def test_what_the_viewer_lacks_is_said(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(start, "availability", lambda screen: "the viewer lacks libegl1")
    assert run_viewer(str(tmp_path), tmp_path / "x.png") == 1
    assert capsys.readouterr().err == "the viewer lacks libegl1\n"


def test_a_picture_of_nothing_is_said(monkeypatch, filled_feed, tmp_path, capsys, drawing):
    monkeypatch.setattr(start, "feed_for", lambda target: filled_feed([]))
    assert run_viewer("x", tmp_path / "x.png", views=(), size=(480, 320)) == 1
    assert "nothing was there to draw" in capsys.readouterr().err


def test_a_picture_of_something(monkeypatch, every_kind, filled_feed, tmp_path, drawing):
    monkeypatch.setattr(start, "feed_for", lambda target: filled_feed(every_kind))
    assert run_viewer("x", tmp_path / "x.png", views=(), size=(800, 600)) == 0
    assert (tmp_path / "x.png").stat().st_size > 10_000


def test_as_a_process(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "daq.viewer", str(tmp_path / "none"), "--snapshot", "x.png"],
        capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "no such run" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_qt_before_it_is_needed():
    code = (
        "import sys, daq.viewer, daq.viewer.feed, daq.viewer.scene\n"
        "bad = {'PySide6', 'pyqtgraph', 'numba', 'h5py', 'scipy'} & set(sys.modules)\n"
        "sys.exit(str(bad) if bad else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
