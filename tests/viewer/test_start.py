"""Starting the viewer: what it is pointed at, and one clear line where that is wrong."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
import types

import numpy as np
import pytest

import daq
from daq.viewer import run_viewer, start
from daq.viewer.feed import LARGE_RATE, WATCHED_RATE, Feed, LiveFeed, RunFeed


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
    monkeypatch.setattr(start, "feed_for", lambda target, **_: filled_feed([]))
    assert run_viewer("x", tmp_path / "x.png", views=(), size=(480, 320)) == 1
    assert "nothing was there to draw" in capsys.readouterr().err


def test_a_picture_of_something(monkeypatch, every_kind, filled_feed, tmp_path, drawing):
    monkeypatch.setattr(start, "feed_for", lambda target, **_: filled_feed(every_kind))
    assert run_viewer("x", tmp_path / "x.png", views=(), size=(800, 600)) == 0
    assert (tmp_path / "x.png").stat().st_size > 10_000


def test_a_picture_of_all_that_came_until_it_is_asked_for(monkeypatch, tmp_path, make_batch):
    """As a run without recording needs it: the feed fills from the beginning, Qt comes at the end."""
    stream = daq.Stream("sums", {"total": daq.Field("<f8", (), "counts")})
    feed = TricklingFeed()
    seen = {}

    def draw(given, path, size, views, theme):
        (spec,) = given.scene.arrange()[0]
        seen["values"] = given.scene.content(spec).curves(0)[0].y.tolist()
        seen["views"] = given.scene.views
        path.touch()

    def until():
        assert feed.scene is not None
        for first in range(3):
            feed.records.put(lambda scene, first=first: (
                scene.opened(stream),
                scene.absorb(make_batch("sums", first, {"total": np.array([float(first)])})),
            ))  # fmt: skip
        feed.records.put(None)
        assert feed.settle(10)

    monkeypatch.setattr(start, "feed_for", lambda target, *, watching: feed if watching else None)
    monkeypatch.setattr(start, "availability", lambda screen: None)
    monkeypatch.setitem(sys.modules, "daq.viewer.window", types.SimpleNamespace(snapshot=draw))
    monkeypatch.setattr("daq.viewer.window", sys.modules["daq.viewer.window"], raising=False)
    assert run_viewer("ipc:///x", tmp_path / "x.png", views=[daq.View], until=until) == 0
    assert seen == {"values": [0.0, 1.0, 2.0], "views": [daq.View]}
    feed.close()


class TricklingFeed(Feed):
    """Gives what is put into it, until None."""

    def __init__(self) -> None:
        super().__init__()
        self.records: queue.Queue = queue.Queue()
        self._over = threading.Event()

    def settle(self, timeout: float) -> bool:
        return self._over.wait(timeout)

    def _run(self, scene) -> None:
        while (happening := self.records.get()) is not None:
            happening(scene)
        self._over.set()


def test_watching_is_for_a_picture(capsys):
    with pytest.raises(SystemExit):
        start.main(["ipc:///tmp/some/bus", "--watch"])
    assert "--watch needs --snapshot" in capsys.readouterr().err


def test_large_records_are_taken_seldom_while_nothing_is_drawn():
    assert start.feed_for("ipc:///tmp/some/bus")._large_rate == LARGE_RATE
    assert start.feed_for("ipc:///tmp/some/bus", watching=True)._large_rate == WATCHED_RATE


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
