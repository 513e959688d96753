"""Power is lost: the write log of a run, replayed with random pages that never reached the disk."""

from __future__ import annotations

import collections
import dataclasses
import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daq.recording import reader as reader_module
from daq.recording.reader import RunReader
from daq.recording.repair import repair
from daq.recording.verify import verify
from daq.recording.writer import RecordingSettings, RunWriter

PAGE = 4096
HEAD = struct.Struct("<cQQQ")


@dataclasses.dataclass
class File:
    """Content at the last fsync, and what was done since: ``(offset, data)`` or ``(size, None)``."""

    synced: bytearray = dataclasses.field(default_factory=bytearray)
    since: list[tuple[int, bytes | None]] = dataclasses.field(default_factory=list)

    def sync(self) -> None:
        for change in self.since:
            apply(self.synced, change)
        self.since.clear()

    def after_loss(self, rng: np.random.Generator) -> bytes:
        """The size after some of the changes; each page as it was after some of them."""
        if not self.since:
            return bytes(self.synced)
        content = bytearray(self.synced)
        states = [bytes(content)]
        kept = set(rng.integers(0, len(self.since) + 1, 3).tolist()) | {0, len(self.since)}
        for number, change in enumerate(self.since, 1):
            apply(content, change)
            if number in kept:
                states.append(bytes(content))
        size = len(states[rng.integers(len(states))])
        lost = bytearray(size)
        for at in range(0, size, PAGE):
            page = states[rng.integers(len(states))][at : min(at + PAGE, size)]
            lost[at : at + len(page)] = page
        return bytes(lost)


def apply(content: bytearray, change: tuple[int, bytes | None]) -> None:
    offset, data = change
    if data is None:
        del content[offset:]
        content.extend(bytes(offset - len(content)))
    else:
        content.extend(bytes(max(0, offset - len(content))))
        content[offset : offset + len(data)] = data


def read_log(path: Path) -> list[tuple[bytes, int, int, bytes]]:
    data, at, found = path.read_bytes(), 0, []
    while at < len(data):
        op, inode, offset, length = HEAD.unpack_from(data, at)
        at += HEAD.size
        size = length if op in b"WN!RU" else 0
        found.append((op, inode, offset, data[at : at + size]))
        at += size
    return found


def lose_power(
    log: list[tuple[bytes, int, int, bytes]], stop: int, folder: Path, rng: np.random.Generator
) -> dict[str, int]:
    """Make the folder as a power loss after ``stop`` operations leaves it; return what was durable."""
    files: dict[int, File] = collections.defaultdict(File)
    names: dict[str, int] = {}
    durable: dict[str, int] = {}
    for op, inode, offset, data in log[:stop]:
        match op:
            case b"N":
                names.setdefault(data.decode(), inode)
            case b"W":
                files[inode].since.append((offset, data))
            case b"T":
                files[inode].since.append((offset, None))
            case b"A":
                present = bytearray(files[inode].synced)
                for change in files[inode].since:
                    apply(present, change)
                files[inode].since.append((max(offset, len(present)), None))
            case b"S":
                files[inode].sync()
            case b"R":
                old, new = data.decode().split("\n")
                names[new] = names.pop(old)
            case b"U":
                names.pop(data.decode(), None)
            case b"!":
                durable.update(json.loads(data).get("durable", {}))
    folder.mkdir()
    for name, inode in names.items():
        (folder / Path(name).name).write_bytes(files[inode].after_loss(rng))
    return durable


@pytest.fixture(scope="module")
def log(
    order: Any, root: Path, new_folder: Callable[[], Path]
) -> list[tuple[bytes, int, int, bytes]]:
    folder = new_folder()
    # The log lies outside of what is logged.
    path = Path(f"{root}.log")
    path.unlink(missing_ok=True)
    assert order(folder, uid="run", seed=3, log=str(path)) == 0
    entries = read_log(path)
    path.unlink()
    return entries


def assert_durable(folder: Path, victim: Any, durable: dict[str, int]) -> None:
    with RunReader(folder) as reader:
        for name, count in durable.items():
            batch = reader.read(name, 0, reader.count(name))
            assert batch.count >= count
            expected = victim.values(victim.STREAMS[name], 0, batch.count)
            lost = np.array([victim.is_lost(name, i) for i in range(batch.count)], bool)
            # Beyond what was durable a record may be gone, but then it says so.
            np.testing.assert_array_equal(batch.valid[:count], ~lost[:count])
            assert not (batch.valid & lost).any()
            for field, array in batch.raw.items():
                np.testing.assert_array_equal(array[batch.valid], expected[field][batch.valid])


@pytest.mark.parametrize("seed", range(4))
def test_repair_brings_back_what_was_durable(
    log: Any, victim: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    for number in range(25):
        folder = tmp_path / str(number)
        durable = lose_power(log, int(rng.integers(len(log) // 20, len(log))), folder, rng)
        if not (folder / "run.journal").stat().st_size:
            continue  # Nothing had been promised yet.
        report = repair(folder)
        again = verify(folder)
        assert again.ok, again
        assert not [line for line in report.problems if "damaged" not in line], report
        assert_durable(folder, victim, durable)
        shutil.rmtree(folder)


def test_resume_after_a_power_loss_goes_on_without_a_gap(
    log: Any, victim: Any, tmp_path: Path
) -> None:
    rng = np.random.default_rng(11)
    for number in range(6):
        folder = tmp_path / str(number) / "run"
        folder.parent.mkdir()
        durable = lose_power(log, int(rng.integers(len(log) // 4, len(log) * 3 // 4)), folder, rng)
        writer = RunWriter.resume(folder, RecordingSettings(reserve_bytes=0, threads=1))
        for name, count in durable.items():
            assert writer.open_stream(victim.STREAMS[name]) >= count
        victim.record(writer, 3)
        report = verify(folder)
        assert report.ok, report
        assert_durable(folder, victim, victim.counts(3))


def test_a_run_from_before_a_restart_asks_for_repair(
    log: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    lose_power(log, len(log) // 2, folder, np.random.default_rng(0))
    monkeypatch.setattr(reader_module, "boot_identity", lambda: "another")
    with pytest.raises(OSError, match="daq repair"):
        RunReader(folder)
    monkeypatch.undo()
    repair(folder)
    monkeypatch.setattr(reader_module, "boot_identity", lambda: "another")
    RunReader(folder).close()
