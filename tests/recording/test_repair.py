"""What a kill, bad disks and lost files leave is made whole, or it is said what is lost."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daq.recording import repair as repair_module
from daq.recording import writer as writer_module
from daq.recording.reader import RunReader
from daq.recording.repair import repair
from daq.recording.settings import RecordingError, RecordingSettings
from daq.recording.verify import verify
from daq.recording.writer import RunWriter
from daq.run import Run

SETTINGS = RecordingSettings(reserve_bytes=0, threads=1, merge_bytes=0)


def record(victim: Any, folder: Path, *, finish: bool, parts: int = 1, **more: Any) -> Path:
    """A run of 60 records in each stream, in several parts."""
    settings = SETTINGS.model_copy(update=more)
    writer = RunWriter.create(Run("run", "a title"), folder, settings)
    for part in range(parts):
        if part:
            writer.abandon()
            writer = RunWriter.resume(folder / "run", SETTINGS)
        for stream in victim.STREAMS.values():
            rows = writer.open_stream(stream)
            for first in range(rows, 60 * (part + 1) // parts, 10):
                victim.put(writer, stream, first, 10)
        writer.sync()
    if finish:
        for name in victim.STREAMS:
            writer.close_stream(name, 60, "complete", "")
        writer.finish("complete", "on purpose")
    writer.abandon()
    return folder / "run"


def names(victim: Any) -> list[str]:
    """The files of a run that is as it should be."""
    return sorted(["run.nxs", "run.journal", *(f"{name}.h5" for name in victim.STREAMS)])


def assert_right(victim: Any, folder: Path, lost: dict[str, set[int]] | None = None) -> None:
    with RunReader(folder) as reader:
        for name, stream in victim.STREAMS.items():
            assert reader.count(name) == 60
            batch, expected = reader.read(name, 0, 60), victim.values(stream, 0, 60)
            gone = (lost or {}).get(name, set())
            valid = [not victim.is_lost(name, i) and i not in gone for i in range(60)]
            np.testing.assert_array_equal(batch.valid, valid)
            for field, array in batch.raw.items():
                np.testing.assert_array_equal(array[batch.valid], expected[field][batch.valid])


@pytest.mark.parametrize("parts", [1, 3])
def test_a_run_that_was_cut_off(victim: Any, tmp_path: Path, parts: int) -> None:
    folder = record(victim, tmp_path, finish=False, parts=parts)
    assert not verify(folder).ok
    report = repair(folder)
    assert report.ok, report
    assert all(counts["files"] == 1 for counts in report.streams.values())
    assert sorted(path.name for path in folder.iterdir()) == names(victim)
    assert_right(victim, folder)
    with RunReader(folder) as reader:
        assert reader.finished == ("aborted", "the recorder was cut off; repaired")
        assert reader.closed("camera") == (60, "aborted", "the recorder was cut off")
    assert "there is nothing to repair" in repair(folder).notes


def test_parts_become_one_file(victim: Any, tmp_path: Path) -> None:
    folder = record(victim, tmp_path, finish=True, parts=3)
    assert verify(folder).streams["camera"]["files"] == 3
    report = repair(folder)
    assert report.ok, report
    assert report.streams["camera"]["files"] == 1
    assert_right(victim, folder)
    with RunReader(folder) as reader:
        assert reader.finished == ("complete", "on purpose")
        assert reader.closed("camera") == (60, "complete", "")


def test_parts_that_were_compressed_differently(victim: Any, tmp_path: Path) -> None:
    folder = record(victim, tmp_path, finish=True, parts=2, compression="gzip")
    assert repair(folder).ok
    assert_right(victim, folder)


def test_small_parts_become_one_file_at_the_end(victim: Any, tmp_path: Path) -> None:
    folder = record(victim, tmp_path, finish=False, parts=2)
    writer = RunWriter.resume(folder, RecordingSettings(reserve_bytes=0))
    with RunReader(folder) as reader:
        path = writer.finish("complete", "")
        reader.refresh()
        assert reader.finished == ("complete", "")
        assert reader.read("camera", 25, 10).valid.all()
    report = verify(path)
    assert report.ok, report
    assert all(counts["files"] == 1 for counts in report.streams.values())
    assert_right(victim, folder)


def test_a_damaged_chunk_is_marked_as_missing_and_its_file_kept(
    victim: Any, tmp_path: Path
) -> None:
    folder = record(victim, tmp_path, finish=True)
    with RunReader(folder) as reader:
        file = reader.contents.streams["camera"].files[0][0]
    chunk = _chunk(folder / file, "/entry/camera/frame", 17)
    _flip(folder / file, chunk + 20)
    before = (folder / file).read_bytes()
    report = repair(folder)
    assert report.problems == ["camera: record 17 is damaged, and missing from now on"]
    assert verify(folder).ok
    assert_right(victim, folder, {"camera": {17}})
    with RunReader(folder) as reader:
        assert (17, 1, "damaged on the disk") in reader.missing("camera")
    assert (folder / f"{file}.damaged").read_bytes() == before


@pytest.mark.parametrize("at", ["superblock", "small", "attributes"])
def test_a_file_that_is_damaged_elsewhere_loses_nothing(
    victim: Any, tmp_path: Path, at: str
) -> None:
    folder = record(victim, tmp_path, finish=True)
    path = folder / "fem.profile.h5"
    data = path.read_bytes()
    offset = {
        "superblock": 20,
        "small": data.find(np.float64(2.0).tobytes()),
        "attributes": data.find(b"NXdata"),
    }
    _flip(path, offset[at])
    assert not verify(folder).ok
    report = repair(folder)
    assert report.ok, report
    assert_right(victim, folder)


@pytest.mark.parametrize("seed", range(12))
def test_a_damaged_journal_is_completed_from_the_files(
    victim: Any, tmp_path: Path, seed: int
) -> None:
    folder = record(victim, tmp_path, finish=True)
    size = (folder / "run.journal").stat().st_size
    _flip(folder / "run.journal", int(np.random.default_rng(seed).integers(size)))
    report = repair(folder)
    assert report.ok, report
    assert_right(victim, folder)
    with RunReader(folder) as reader:
        assert reader.finished == ("complete", "on purpose")


def test_a_lost_journal_is_made_again(victim: Any, tmp_path: Path) -> None:
    folder = record(victim, tmp_path, finish=True)
    (folder / "run.journal").unlink()
    with RunReader(folder) as reader:
        assert reader.count("camera") == 60
    report = repair(folder)
    assert report.ok, report
    assert_right(victim, folder)


def test_a_lost_file_of_a_stream(victim: Any, tmp_path: Path) -> None:
    folder = record(victim, tmp_path, finish=True)
    (folder / "late.h5").unlink()
    (folder / "camera.h5").unlink()
    report = repair(folder)
    assert {line.split(":")[0] for line in report.problems} == {"camera"}
    assert_right(victim, folder, {"camera": set(range(60))})


def test_a_master_is_made_again(victim: Any, tmp_path: Path) -> None:
    folder = record(victim, tmp_path, finish=True)
    (folder / "run.nxs").unlink()
    assert not verify(folder).ok
    assert repair(folder).ok
    assert (folder / "run.nxs").exists()


def test_not_while_the_run_is_recorded(
    victim: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "LOCK_SECONDS", 0.1)
    writer = RunWriter.create(Run("run"), tmp_path, SETTINGS)
    writer.open_stream(victim.STREAMS["camera"])
    with pytest.raises(RecordingError, match="another process"):
        repair(tmp_path / "run")
    writer.abandon()


def test_a_repair_that_is_cut_off_anywhere_changes_nothing(
    victim: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each rename, link and removal; the next repair does it."""
    original = record(victim, tmp_path, finish=False, parts=2)

    class CutOffError(Exception):
        pass

    def until(folder: Path, steps: int) -> int:
        """Repair, but only so many steps of those that change names or flush; return how many were made."""
        made = 0

        def step(plain: Any) -> Any:
            def call(*arguments: Any, **more: Any) -> Any:
                nonlocal made
                if made == steps:
                    raise CutOffError
                made += 1
                return plain(*arguments, **more)

            return call

        with monkeypatch.context() as patch:
            # Whoever is killed does not tidy up either.
            patch.setattr(repair_module._Repair, "_remove_unfinished", lambda self: None)
            patch.setattr(Path, "replace", step(Path.replace))
            patch.setattr(Path, "unlink", step(Path.unlink))
            patch.setattr(os, "fsync", step(os.fsync))
            with contextlib.suppress(CutOffError):
                repair(folder)
        return made

    total = until(Path(shutil.copytree(original, tmp_path / "all")), 1000)
    assert total > 20
    for steps in range(0, total, 2):
        folder = Path(shutil.copytree(original, tmp_path / str(steps)))
        assert until(folder, steps) == steps
        report = repair(folder)
        assert report.ok, (steps, report)
        assert sorted(path.name for path in folder.iterdir()) == names(victim)
        assert_right(victim, folder)
        shutil.rmtree(folder)


def _flip(path: Path, at: int) -> None:
    descriptor = os.open(path, os.O_RDWR)
    os.pwrite(descriptor, bytes([os.pread(descriptor, 1, at)[0] ^ 0x10]), at)
    os.close(descriptor)


def _chunk(path: Path, dataset: str, row: int) -> int:
    import h5py

    with h5py.File(path) as file:
        return int(file[dataset].id.get_chunk_info_by_coord((row, 0, 0)).byte_offset)
