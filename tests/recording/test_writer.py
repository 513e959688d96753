"""What is written comes back: every dtype, any batching, gaps; and bad calls are refused."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daq.recording import writer as writer_module
from daq.recording.part_file import PartFile
from daq.recording.reader import RunReader
from daq.recording.settings import RecordingError, RecordingSettings
from daq.recording.verify import verify
from daq.recording.writer import RunWriter
from daq.run import Run
from daq.streams import NO_TIME, Batch, Field, Stream, filled

SETTINGS = RecordingSettings(reserve_bytes=0, threads=2)
DTYPES = "|b1 |u1 |i1 <u2 <i2 <u4 <i4 <u8 <i8 <f2 <f4 <f8 <c8 <c16 |S1 |S7".split()


def random(field: Field, count: int, seed: int) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(seed)
    octets = rng.integers(0, 256, count * field.record_bytes, np.uint8)
    if field.numpy_dtype.kind == "b":
        octets &= 1
    if field.numpy_dtype.kind in "fc":
        return rng.normal(size=(count, *field.shape)).astype(field.numpy_dtype)
    return octets.view(field.numpy_dtype).reshape(count, *field.shape)


def arrays(stream: Stream, count: int, seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    made = {n: random(f, count, seed + i) for i, (n, f) in enumerate(stream.fields.items())}
    return {**made, "time": np.arange(count) + 1_700_000_000_000_000_000}


def create(folder: Path, uid: str = "run", **more: Any) -> RunWriter:
    return RunWriter.create(Run(uid), folder, SETTINGS.model_copy(update=more))


@pytest.mark.parametrize("compression", ["bitshuffle-lz4", "gzip", "none"])
def test_every_dtype_small_and_large(tmp_path: Path, compression: str) -> None:
    fields = {f"small{i}": Field(d, (3,)) for i, d in enumerate(DTYPES)}
    fields |= {f"large{i}": Field(d, (33, 130)) for i, d in enumerate(DTYPES)}
    fields |= {"scalar": Field("<f8"), "text": Field("|S5000"), "texts": Field("|S300", (20,))}
    stream = Stream("all", fields)
    given_ = arrays(stream, 7)
    writer = create(tmp_path, compression=compression)
    assert writer.open_stream(stream) == 0
    writer.write(Batch("all", {n: a[:3] for n, a in given_.items()}, 0))
    writer.write_missing("all", 3, 2, "lost")
    writer.write(Batch("all", {n: a[5:] for n, a in given_.items()}, 5))
    writer.close_stream("all", 7, "complete", "")
    path = writer.finish("complete", "")
    assert verify(path).ok, verify(path)
    with RunReader(path) as reader:
        assert reader.streams["all"] == stream
        batch = reader.read("all", 0, 7)
        np.testing.assert_array_equal(batch.valid, [1, 1, 1, 0, 0, 1, 1])
        assert reader.missing("all") == [(3, 2, "lost")]
        for name, field in stream.fields.items():
            assert batch.raw[name].dtype == field.numpy_dtype
            assert batch.raw[name][batch.valid].tobytes() == given_[name][batch.valid].tobytes()
            fill = np.full_like(batch.raw[name][3:5], NO_TIME if name == "time" else field.fill)
            np.testing.assert_array_equal(batch.raw[name][3:5], fill)


@given(
    cuts=st.lists(st.integers(0, 40), max_size=12),
    lost=st.sets(st.integers(0, 39), max_size=12),
    syncs=st.sets(st.integers(0, 12)),
)
@settings(max_examples=40, deadline=None)
def test_any_batching_gives_the_same_datasets(
    new_folder: Callable[[], Path], cuts: list[int], lost: set[int], syncs: set[int]
) -> None:
    folder = new_folder()
    stream = Stream("s", {"frame": Field("<u2", (40, 60)), "value": Field("<f4", (2,))}, expect=40)
    given_, valid = arrays(stream, 40), np.array([i not in lost for i in range(40)])
    for name, field in stream.fields.items():
        given_[name][~valid] = NO_TIME if name == "time" else field.fill
    writer = create(folder, threads=1)
    writer.open_stream(stream)
    edges = sorted({0, 40, *cuts})
    for number, (start, stop) in enumerate(itertools.pairwise(edges)):
        piece = {n: a[start:stop] for n, a in given_.items()}
        writer.write(Batch("s", piece, start, valid[start:stop]))
        assert writer.written("s") == stop
        if number in syncs:
            assert writer.sync() == {"s": stop}
            assert writer.durable("s") == stop
    path = writer.finish("complete", "")
    assert verify(path).ok
    with RunReader(path) as reader:
        batch = reader.read("s", 0, 40)
        np.testing.assert_array_equal(batch.valid, valid)
        for name in stream.fields:
            np.testing.assert_array_equal(batch.raw[name], given_[name])
        assert sum(n for _, n, _ in reader.missing("s")) == len(lost)


STREAM = Stream("camera", {"frame": Field("<u2", (48, 50))})


def test_a_batch_that_repeats_or_jumps_is_refused(tmp_path: Path) -> None:
    writer = create(tmp_path)
    writer.open_stream(STREAM)
    given_ = arrays(STREAM, 4)
    writer.write(Batch("camera", given_, 0))
    for first in (0, 3, 5):
        with pytest.raises(ValueError, match="the file goes on at 4"):
            writer.write(Batch("camera", given_, first))
        with pytest.raises(ValueError, match="the file goes on at 4"):
            writer.write_missing("camera", first, 1, "")
    writer.write(Batch("camera", given_, 4))
    assert writer.written("camera") == 8
    with pytest.raises(ValueError, match="dtype"):
        writer.write(Batch("camera", {**given_, "frame": given_["frame"].astype("<f4")}, 8))
    with pytest.raises(KeyError, match="not open"):
        writer.write(Batch("other", given_, 0))
    assert writer.open_stream(STREAM) == 8
    with pytest.raises(ValueError, match="other fields"):
        writer.open_stream(Stream("camera", {"frame": Field("<u2", (48, 51))}))
    writer.abandon()


def test_missing_records_take_no_space(tmp_path: Path) -> None:
    writer = create(tmp_path)
    stream = Stream("camera", {"frame": Field("<u2", (512, 512))})
    writer.open_stream(stream)
    writer.write_missing("camera", 0, 100_000, "before the recording began")
    writer.write(Batch("camera", arrays(stream, 1), 100_000))
    for batch in filled(stream, 100_001, 300):
        writer.write(batch)
    path = writer.finish("complete", "")
    assert (path.parent / "camera.h5").stat().st_size < 8_000_000
    with RunReader(path) as reader:
        assert reader.count("camera") == 100_301
        batch = reader.read("camera", 99_999, 3)
        assert batch.valid.tolist() == [False, True, False]
        assert batch.time[0] == NO_TIME
        assert not batch.raw["frame"][0].any()


def test_what_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    create(tmp_path).abandon()
    with pytest.raises(FileExistsError, match="never overwritten"):
        create(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="choose another folder"):
        create(tmp_path / "file")
    with pytest.raises(FileNotFoundError, match="no such run"):
        RunReader(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="not the folder of a run"):
        RunReader(tmp_path / "empty")


def test_one_writer_at_a_time_and_none_after_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "LOCK_SECONDS", 0.1)
    writer = create(tmp_path)
    with pytest.raises(RecordingError, match="another process"):
        RunWriter.resume(tmp_path / "run", SETTINGS)
    writer.finish("complete", "")
    with pytest.raises(ValueError, match="was finished"):
        RunWriter.resume(tmp_path / "run", SETTINGS)
    with pytest.raises(RecordingError, match="ended"):
        writer.open_stream(STREAM)


def test_recording_stops_before_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = create(tmp_path, reserve_bytes=1 << 20)
    writer.open_stream(STREAM)
    given_ = arrays(STREAM, 4)
    writer.write(Batch("camera", given_, 0))
    plain = os.statvfs(tmp_path)

    class Full:
        f_bavail, f_frsize = 200, plain.f_frsize

    monkeypatch.setattr(writer_module.os, "statvfs", lambda path: Full)
    with pytest.raises(RecordingError, match="free some space") as caught:
        writer.write(Batch("camera", given_, 4))
    assert caught.value.disk_full
    assert writer.sync() == {"camera": 4}
    monkeypatch.undo()
    writer.write(Batch("camera", given_, 4))
    path = writer.finish("complete", "")
    assert verify(path).streams["camera"]["files"] == 1
    with RunReader(path) as reader:
        assert reader.count("camera") == 8


def test_a_failed_write_leaves_its_file_and_goes_on_in_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = create(tmp_path, merge_bytes=0)
    writer.open_stream(STREAM)
    given_ = arrays(STREAM, 12)
    for first in (0, 4, 8):
        batch = Batch("camera", {n: a[first : first + 4] for n, a in given_.items()}, first)

        def fail(part: PartFile) -> None:
            raise OSError("the disk says no")

        if first:
            monkeypatch.setattr(PartFile, "_flush", fail)
            with pytest.raises(RecordingError, match="the disk says no") as caught:
                writer.write(batch)
            assert not caught.value.disk_full
            assert writer.written("camera") == first
            monkeypatch.undo()
        writer.write(batch)
    path = writer.finish("complete", "")
    report = verify(path)
    assert report.ok, report
    assert report.streams["camera"]["files"] == 3
    with RunReader(path) as reader:
        np.testing.assert_array_equal(reader.read("camera", 0, 12).raw["frame"], given_["frame"])
        np.testing.assert_array_equal(
            reader.read("camera", 1, 11, 3).raw["frame"], given_["frame"][1::3]
        )


def test_a_failed_fsync_ends_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = create(tmp_path)
    writer.open_stream(STREAM)
    writer.write(Batch("camera", arrays(STREAM, 4), 0))
    assert writer.sync() == {"camera": 4}
    writer.write(Batch("camera", arrays(STREAM, 4), 4))

    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(RecordingError, match="the disk fails"):
        writer.sync()
    monkeypatch.undo()
    assert writer.durable("camera") == 4
    with pytest.raises(RecordingError, match="the disk fails"):
        writer.write(Batch("camera", arrays(STREAM, 4), 8))
    writer.abandon()


def test_settings_refuse_nonsense() -> None:
    with pytest.raises(ValueError, match="compression"):
        RecordingSettings(compression="zip")


def test_a_lock_that_is_given_back_soon_is_waited_for(tmp_path: Path) -> None:
    writer = create(tmp_path)
    writer.open_stream(STREAM)
    timer = threading.Timer(0.2, writer.abandon)
    timer.start()
    RunWriter.resume(tmp_path / "run", SETTINGS).finish("complete", "")
    timer.join()
