"""Any byte that changes in a finished run is found; so is whatever is missing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daq.recording.settings import RecordingSettings
from daq.recording.verify import verify
from daq.recording.writer import RunWriter
from daq.run import Run

SETTINGS = RecordingSettings(reserve_bytes=0, threads=1)


@pytest.fixture(scope="module")
def finished(victim: Any, new_folder: Callable[[], Path]) -> Path:
    """The folder of a small finished run."""
    folder = new_folder()
    writer = RunWriter.create(Run("run"), folder, SETTINGS)
    for name, stream in victim.STREAMS.items():
        writer.open_stream(stream)
        for first in range(0, 12, 4):
            victim.put(writer, stream, first, 4)
        writer.sync()
        writer.close_stream(name, 12, "complete", "")
    return writer.finish("complete", "").parent


def test_1000_flips_of_one_byte_are_each_found(finished: Path) -> None:
    files = sorted(path for path in finished.iterdir() if path.is_file())
    assert {path.suffix for path in files} == {".nxs", ".h5", ".journal"}
    assert verify(finished).ok
    sizes = np.array([path.stat().st_size for path in files])
    rng = np.random.default_rng(5)
    # Half of them by size, half in each file alike: the small ones matter as much.
    chosen = [*rng.choice(len(files), 500, p=sizes / sizes.sum()), *np.arange(500) % len(files)]
    for number in chosen:
        at, bit = int(rng.integers(sizes[number])), 1 << int(rng.integers(8))
        descriptor = os.open(files[number], os.O_RDWR)
        before = os.pread(descriptor, 1, at)
        os.pwrite(descriptor, bytes([before[0] ^ bit]), at)
        report = verify(finished)
        os.pwrite(descriptor, before, at)
        os.close(descriptor)
        assert not report.ok, (files[number].name, at, bit)
        assert report.problems
    assert verify(finished).ok


@pytest.mark.parametrize("name", ["camera.h5", "run.nxs", "late.h5", "run.journal"])
@pytest.mark.parametrize("harm", ["shorter", "longer", "gone"])
def test_files_that_are_cut_or_gone(finished: Path, tmp_path: Path, name: str, harm: str) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    path = folder / name
    if harm == "gone":
        path.unlink()
    else:
        os.truncate(path, path.stat().st_size + (1 if harm == "longer" else -1))
    report = verify(folder)
    assert not report.ok
    assert any(name in line or "cut off" in line for line in report.problems), report


def test_what_a_report_says(finished: Path) -> None:
    done: list[float] = []
    report = verify(finished / "run.nxs", lambda now, total, what: done.append(now / total))
    assert report.sealed
    assert done[-1] == 1.0
    assert report.streams["camera"] == {
        "records": 12, "missing": 0, "durable": 12, "files": 1, "status": "complete",
        "bytes": (finished / "camera.h5").stat().st_size,
    }  # fmt: skip
    assert "camera: records 12" in str(report)
    assert str(report).endswith("whole")


def test_a_run_that_goes_on_is_not_finished(victim: Any, tmp_path: Path) -> None:
    writer = RunWriter.create(Run("run"), tmp_path, SETTINGS)
    writer.open_stream(victim.STREAMS["camera"])
    victim.put(writer, victim.STREAMS["camera"], 0, 4)
    assert verify(tmp_path / "run").problems == [
        "the run is being recorded: it is not finished yet"
    ]
    writer.abandon()
    assert "daq repair" in verify(tmp_path / "run").problems[0]
