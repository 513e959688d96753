"""The recorder is killed, or its disk is full, at chosen writes: nothing reported is lost."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daq.recording.reader import RunReader
from daq.recording.repair import repair
from daq.recording.verify import verify
from daq.recording.writer import RecordingSettings, RunWriter

SETTINGS = RecordingSettings(reserve_bytes=0, threads=1)


def told(folder: Path, kind: str) -> dict[str, int]:
    """What the killed process was told last."""
    latest: dict[str, int] = {}
    for line in (folder / "progress").read_text().splitlines():
        latest.update(json.loads(line).get(kind, {}))
    return latest


def assert_as_recorded(reader: RunReader, victim: Any, least: dict[str, int]) -> None:
    """Every record that can be read is right, and there are at least so many."""
    for name, count in least.items():
        assert reader.count(name) >= count, name
    for name in reader.streams:
        batch = reader.read(name, 0, reader.count(name))
        expected = victim.values(victim.STREAMS[name], 0, batch.count)
        valid = [not victim.is_lost(name, i) for i in range(batch.count)]
        np.testing.assert_array_equal(batch.valid, valid)
        for field, array in batch.raw.items():
            np.testing.assert_array_equal(array[batch.valid], expected[field][batch.valid], field)


@pytest.mark.parametrize("phase", ["flush", "chunk", "open", "close"])
def test_kill_9_then_resume(order: Any, victim: Any, tmp_path: Path, phase: str) -> None:
    """At ten writes of each phase: what was written can be read, and recording goes on without a gap."""
    calm = tmp_path / "calm"
    calm.mkdir()
    assert order(calm, uid="run", seed=1, kill=[phase, victim.NEVER]) == 0
    writes = told(calm, "used")["writes"]
    rng = np.random.default_rng(writes)
    chosen = sorted({1, writes, *rng.integers(1, writes + 1, 8).tolist()})
    for n in chosen:
        folder = tmp_path / f"{phase}{n}"
        folder.mkdir()
        assert order(folder, uid="run", seed=1, kill=[phase, n]) == -signal.SIGKILL
        written = told(folder, "written")
        assert any(written.values())
        with RunReader(folder / "run") as reader:
            assert_as_recorded(reader, victim, written)
            finished = reader.finished
        if finished is None:
            writer = RunWriter.resume(folder / "run", SETTINGS)
            for name, count in written.items():
                assert writer.open_stream(victim.STREAMS[name]) >= count
            victim.record(writer, 1)
        report = verify(folder / "run")
        assert report.ok, report
        with RunReader(folder / "run" / "run.nxs") as reader:
            assert_as_recorded(reader, victim, victim.counts(1))
            assert all(
                reader.closed(n) == (victim.counts(1)[n], "complete", "") for n in reader.streams
            )


@pytest.mark.parametrize("phase", ["flush", "chunk", "open", "close"])
def test_kill_9_then_repair(order: Any, victim: Any, tmp_path: Path, phase: str) -> None:
    for n in (1, 4):
        folder = tmp_path / f"{phase}{n}"
        folder.mkdir()
        order(folder, uid="run", seed=2, kill=[phase, n])
        written = told(folder, "written")
        report = repair(folder / "run")
        assert report.ok, report
        assert all(counts["files"] == 1 for counts in report.streams.values())
        with RunReader(folder / "run") as reader:
            assert_as_recorded(reader, victim, written)
        assert not list((folder / "run").glob("*damaged*"))


def test_disk_full_at_every_write(order: Any, victim: Any, tmp_path: Path) -> None:
    """A clear error; nothing is harmed; the same calls work when there is space."""
    seen = set()
    for n in range(1, 60, 2):
        folder = tmp_path / str(n)
        folder.mkdir()
        assert order(folder, uid="run", seed=0, fail=n) == 0
        errors = json.loads((folder / "progress").read_text())["errors"]
        seen.add(errors > 0)
        report = verify(folder / "run")
        assert report.ok, report
        with RunReader(folder / "run") as reader:
            assert reader.count("camera") == 50
            batch = reader.read("camera", 0, 50)
            expected = victim.values(victim.STREAMS["camera"], 0, 50)
            for name, array in expected.items():
                np.testing.assert_array_equal(batch.raw[name], array)
    assert True in seen
