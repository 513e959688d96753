"""The picture of a run that nobody records."""

from __future__ import annotations

import pytest

from daq.runtime import picture


def test_what_keeps_a_watcher_from_drawing_is_said(tmp_path):
    watcher = picture.Watcher("http://localhost", tmp_path / "run.png")
    try:
        with pytest.raises(picture.NoPictureError, match="use ipc"):
            watcher.draw()
    finally:
        watcher.close()
    assert not list(tmp_path.iterdir())


def test_a_watcher_that_is_not_needed_goes(tmp_path):
    watcher = picture.Watcher(f"ipc://{tmp_path}/no-bus", tmp_path / "run.png")
    watcher.close()
    assert watcher._process.poll() is not None
    assert not (tmp_path / "run.png").exists()
