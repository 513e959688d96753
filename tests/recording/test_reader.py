"""A run is read while it is written: by another process, with streams that open late."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daq.recording.reader import RunReader
from daq.recording.settings import RecordingSettings
from daq.recording.writer import RunWriter
from daq.run import Run
from daq.streams import Batch, Field, Stream

SETTINGS = RecordingSettings(reserve_bytes=0, threads=1)
DEADLINE = 40.0

FOLLOWER = """
import json, sys, time
from pathlib import Path
import h5py, hdf5plugin
from daq.recording.reader import RunReader

folder, wanted = Path(sys.argv[1]), int(sys.argv[2])
reader, seen, wrong, masters = RunReader(folder), {}, [], 0
strangers = h5py.File(folder / "run.nxs", "r", swmr=True, locking=False)
print("ready", flush=True)
deadline = time.monotonic() + 40
while time.monotonic() < deadline:
    reader.refresh()
    for name in reader.streams:
        count = reader.count(name)
        for first in range(seen.get(name, 0), count):
            batch = reader.read(name, first, 1)
            if batch.raw["frame"][0].max() != first % 200 or batch.raw["value"][0] != first:
                wrong.append((name, first))
        seen[name] = count
    # Somebody else opens the master with HDF5 alone, and follows its links.
    with h5py.File(folder / "run.nxs", "r", swmr=True, locking=False) as master:
        for name in list(reader.streams)[-2:]:
            if name in master["entry"]:
                masters += len(master[f"entry/{name}/frame"]) >= 0
    if len(seen) == wanted and all(reader.closed(name) for name in seen):
        break
    time.sleep(0.002)
strangers.close()
print(json.dumps({"seen": seen, "wrong": wrong, "masters": masters}), flush=True)
"""


def stream(name: str) -> Stream:
    return Stream(name, {"frame": Field("<u2", (40, 60)), "value": Field("<f8")})


def batch(name: str, first: int, count: int) -> Batch:
    index = np.arange(first, first + count)
    frame = np.broadcast_to((index % 200)[:, None, None], (count, 40, 60)).astype("<u2")
    return Batch(name, {"frame": frame, "value": index.astype("<f8"), "time": index}, first)


def test_100_late_streams_while_another_process_reads(tmp_path: Path) -> None:
    writer = RunWriter.create(Run("run"), tmp_path, SETTINGS)
    names = [f"stream{i}" for i in range(100)]
    writer.open_stream(stream(names[0]))
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", FOLLOWER, tmp_path / "run", "100"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        rows = dict.fromkeys(names, 0)
        rng = np.random.default_rng(0)
        for number, late in enumerate(names):
            writer.open_stream(stream(late))
            for name in names[max(0, number - 3) : number + 1]:
                count = int(rng.integers(1, 8))
                writer.write(batch(name, rows[name], count))
                rows[name] += count
            if number % 10 == 0:
                writer.sync()
        for name in names:
            writer.close_stream(name, rows[name], "complete", "")
        out, err = process.communicate(timeout=DEADLINE)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, err
    said: dict[str, Any] = json.loads(out)
    assert said["wrong"] == []
    assert said["seen"] == rows
    assert said["masters"] > 0
    writer.finish("complete", "")


def test_a_reader_sees_what_is_written_and_nothing_else(tmp_path: Path) -> None:
    writer = RunWriter.create(Run("run", "a title"), tmp_path, SETTINGS)
    with RunReader(tmp_path / "run") as reader:
        assert (reader.streams, reader.run.title, reader.finished) == ({}, "a title", None)
        writer.open_stream(stream("s"))
        reader.refresh()
        assert (list(reader.streams), reader.count("s"), reader.closed("s")) == (["s"], 0, None)
        assert len(reader.read("s", 0, 10)) == 0
        for first in range(0, 30, 3):
            writer.write(batch("s", first, 3))
            assert reader.count("s") == first
            reader.refresh()
            assert reader.count("s") == first + 3
            np.testing.assert_array_equal(
                reader.read("s", first, 99).raw["value"], first + np.arange(3.0)
            )
        assert reader.durable("s") == 0
        writer.sync()
        writer.write_missing("s", 30, 5, "lost")
        writer.write_missing("s", 35, 2, "lost")
        writer.close_stream("s", 37, "aborted", "no more")
        reader.refresh()
        assert (reader.durable("s"), reader.count("s")) == (30, 37)
        assert reader.missing("s") == [(30, 7, "lost")]
        assert reader.closed("s") == (37, "aborted", "no more")
        strided = reader.read("s", 1, 36, 10, ["value"])
        assert set(strided.raw) == {"value", "time"}
        np.testing.assert_array_equal(strided.raw["value"], [1.0, 11.0, 21.0, np.nan])
        assert strided.valid.tolist() == [True, True, True, False]
        writer.finish("aborted", "enough")
        reader.refresh()
        assert reader.finished == ("aborted", "enough")
        np.testing.assert_array_equal(reader.read("s", 0, 30).raw["value"], np.arange(30.0))


def test_bad_requests(tmp_path: Path) -> None:
    writer = RunWriter.create(Run("run"), tmp_path, SETTINGS)
    writer.open_stream(stream("s"))
    writer.write(batch("s", 0, 4))
    writer.finish("complete", "")
    with RunReader(tmp_path / "run" / "run.nxs") as reader:
        with pytest.raises(KeyError, match="no stream 'x'"):
            reader.count("x")
        with pytest.raises(KeyError, match="no field 'x'"):
            reader.read("s", 0, 1, 1, ["x"])
        for first, count, stride in ((-1, 2, 1), (0, -1, 1), (0, 1, 0)):
            with pytest.raises(ValueError, match="cannot be read"):
                reader.read("s", first, count, stride)
        assert len(reader.read("s", 4, 1)) == 0


def test_a_run_in_three_parts_reads_as_one(tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"merge_bytes": 0})
    writer = RunWriter.create(Run("run"), tmp_path, settings)
    for part in range(3):
        if part:
            # As after the death of the recorder: nothing is closed properly.
            writer.abandon()
            writer = RunWriter.resume(tmp_path / "run", settings)
        rows = writer.open_stream(stream("s"))
        assert rows == part * 10
        writer.write(batch("s", rows, 10))
    deadline = time.monotonic() + DEADLINE
    with RunReader(tmp_path / "run") as reader:
        while reader.count("s") < 30 and time.monotonic() < deadline:
            reader.refresh()
        expected = batch("s", 0, 30)
        got = reader.read("s", 0, 30)
        np.testing.assert_array_equal(got.raw["frame"], expected.raw["frame"])
        for first, count, stride in ((3, 20, 7), (9, 2, 1), (10, 1, 1), (0, 30, 11), (8, 15, 4)):
            got = reader.read("s", first, count, stride)
            np.testing.assert_array_equal(
                got.raw["value"], np.arange(first, first + count, stride, dtype=float)
            )
    path = writer.finish("complete", "")
    import h5py
    import hdf5plugin  # noqa: F401 - registers the filter

    with h5py.File(path, "r") as master:
        assert master["entry/s/frame"].is_virtual
        np.testing.assert_array_equal(master["entry/s/value"][()], np.arange(30.0))
        np.testing.assert_array_equal(master["entry/s/frame"][()], expected.raw["frame"])


def test_the_master_alone_is_enough_for_small_streams(tmp_path: Path) -> None:
    writer = RunWriter.create(Run("run", "moved"), tmp_path, SETTINGS)
    result = Stream(
        "fem.profile", {"V": Field("<f8", (5,))}, attributes={"process": {"program": "fem"}}
    )
    writer.open_stream(result)
    writer.write(Batch("fem.profile", {"V": np.ones((3, 5)), "time": np.arange(3)}, 0))
    writer.write_missing("fem.profile", 3, 2, "restarted")
    path = writer.finish("complete", "")
    alone = tmp_path / "elsewhere" / "run.nxs"
    alone.parent.mkdir()
    path.rename(alone)
    with RunReader(alone) as reader:
        assert reader.run.title == "moved"
        assert reader.streams["fem.profile"] == result
        assert reader.closed("fem.profile") == (5, "aborted", "the run ended before it")
        assert reader.missing("fem.profile") == [(3, 2, "lost")]
        assert reader.read("fem.profile", 0, 5).valid.tolist() == [True] * 3 + [False] * 2
