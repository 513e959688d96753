"""Files are asked about in another process: what hangs or crashes there does not here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from daq.recording import probe as probe_module
from daq.recording.probe import Probe
from daq.recording.settings import RecordingSettings
from daq.recording.writer import RunWriter
from daq.run import Run


@pytest.fixture
def folder(victim: Any, tmp_path: Path) -> Path:
    writer = RunWriter.create(Run("run"), tmp_path, RecordingSettings(reserve_bytes=0))
    writer.open_stream(victim.STREAMS["camera"])
    victim.put(writer, victim.STREAMS["camera"], 0, 20)
    return writer.finish("complete", "").parent


def test_whole_damaged_and_hanging_files(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Probe() as probe:
        assert probe.readable_rows(folder / "camera.h5", "/entry/camera", 0, -1) == 20
        assert probe.readable_rows(folder / "camera.h5", "/entry/camera", 10, 20) == 20
        assert probe.readable_rows(folder / "camera.h5", "/entry/other") is None
        assert probe.readable_rows(folder / "nothing.h5", "/entry/camera") is None
        assert probe.master_is_readable(folder / "run.nxs")
        assert not probe.master_is_readable(folder / "camera.h5")
        # A pipe that nobody writes to: whoever opens it hangs.
        os.mkfifo(tmp_path / "hangs")
        monkeypatch.setattr(probe_module, "SECONDS", 0.3)
        assert probe.readable_rows(tmp_path / "hangs", "/entry/camera") is None
        monkeypatch.undo()
        assert probe.readable_rows(folder / "camera.h5", "/entry/camera") == 20
        # It dies, as of a damaged file.
        assert probe._process is not None
        probe._process.kill()
        assert probe.readable_rows(folder / "camera.h5", "/entry/camera") is None
        assert probe.readable_rows(folder / "camera.h5", "/entry/camera") == 20
