"""Patterns in .npy files, and what all files of plain arrays have in common."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import daq
from daq.runtime.folder_source import FolderSource
from daq.testing import record_source
from daq_stem.frame_files.frame_array import BATCH_BYTES
from daq_stem.frame_files.npy import NpyReader


def patterns(*leading: int, dtype: str = "<u2", frame: tuple[int, int] = (6, 5)) -> np.ndarray:
    draw = np.random.default_rng(5)
    return draw.integers(0, 200, (*leading, *frame)).astype(dtype)


def saved(folder: Path, array: np.ndarray) -> Path:
    path = folder / "patterns.npy"
    np.save(path, array)
    return path


def read(path: Path, start: int = 0, **options: Any) -> tuple[daq.Stream, list[daq.Batch]]:
    reader = NpyReader()
    options.setdefault("dwell_time", 1e-3)
    (stream,) = reader.open(path, NpyReader.Config(**options))
    try:
        return stream, list(reader.batches({"": start}))
    finally:
        reader.close()


def frames(batches: list[daq.Batch]) -> np.ndarray:
    return np.concatenate([batch.raw["frame"] for batch in batches])


@pytest.mark.parametrize(
    ("leading", "options", "scan"),
    [
        ((), {}, None),
        ((7,), {}, None),
        ((12,), {"scan": (2, 3)}, (2, 3)),
        ((3, 4), {}, (3, 4)),
        ((2, 3, 4), {}, (3, 4)),
        ((2, 3, 4), {"scan": (3, 4)}, (3, 4)),
    ],
)
def test_axes_before_the_last_two_are_the_scan(
    tmp_path: Path, leading: tuple[int, ...], options: dict[str, Any], scan: Any
) -> None:
    array = patterns(*leading)
    stream, batches = read(saved(tmp_path, array), **options)
    assert stream.scan_shape == scan
    assert stream.expect == max(1, int(np.prod(leading)))
    assert np.array_equal(frames(batches), array.reshape(-1, 6, 5))
    start = stream.expect // 2
    _, late = read(tmp_path / "patterns.npy", start, **options)
    assert late[0].first == start
    assert np.array_equal(frames(late), frames(batches)[start:])


@pytest.mark.parametrize("dtype", [">u2", "<f4", ">f8", "<i4", "|b1", "<f2", "|u1", "<u8"])
def test_real_numbers_of_any_kind(tmp_path: Path, dtype: str) -> None:
    array = patterns(4, dtype=dtype)
    stream, batches = read(saved(tmp_path, array))
    found = frames(batches)
    assert stream.fields["frame"].dtype == ("<f4" if dtype == "<f2" else found.dtype.str)
    assert found.dtype.isnative
    assert np.array_equal(found, array)


def test_fortran_order(tmp_path: Path) -> None:
    array = np.asfortranarray(patterns(5))
    _, batches = read(saved(tmp_path, array))
    assert np.array_equal(frames(batches), array)


def test_large_files_come_in_pieces(tmp_path: Path) -> None:
    array = np.zeros((30, 1024, 1024), np.uint8)
    _, batches = read(saved(tmp_path, array))
    assert max(batch.raw["frame"].nbytes for batch in batches) <= BATCH_BYTES
    assert sum(len(batch) for batch in batches) == 30


def test_geometry_is_that_of_the_configuration(tmp_path: Path) -> None:
    stream, _ = read(
        saved(tmp_path, patterns(2, 3)), pixel_size=0.1, centre=(2.0, 1.0), step=0.4,
        counts_per_electron=1.4,
    )  # fmt: skip
    down, across = stream.axes["frame"]
    assert (down["units"], down["offset"], across["offset"]) == ("1/nm", -0.2, -0.1)
    assert stream.scan["step"] == 0.4
    assert stream.attributes["centre"] == [2.0, 1.0]
    assert stream.attributes["counts_per_electron"] == 1.4


def test_times_are_those_of_scans(tmp_path: Path) -> None:
    path = saved(tmp_path, patterns(2, 2, 3))
    _, batches = read(path, dwell_time=0.5, scan_time=10.0)
    time = np.concatenate([batch.time for batch in batches])
    seconds = (time - time[0]) / 1e9
    assert seconds.tolist() == [0, 0.5, 1, 1.5, 2, 2.5, 10, 10.5, 11, 11.5, 12, 12.5]
    assert time[-1] == path.stat().st_mtime_ns
    with pytest.raises(ValueError, match=r"scan_time: 1 s are less than 6 positions of 0\.5 s"):
        read(path, dwell_time=0.5, scan_time=1.0)


def test_times_that_nobody_told_are_made_up_and_said_to_be(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        stream, _ = read(saved(tmp_path, patterns(3)), dwell_time=None)
    assert stream.attributes["time"] == "made up"
    assert "give dwell_time" in caplog.text


@pytest.mark.parametrize(
    ("array", "options", "message"),
    [
        (patterns(7), {"scan": (2, 3)}, "7 patterns are not whole scans of 2 x 3 = 6"),
        (patterns(2, 3), {"scan": (3, 2)}, "2 x 3 positions, scan says 3 x 2"),
        (patterns(4, dtype="<c8"), {}, "an array of complex64 holds no patterns"),
        (np.array(["a"] * 3), {}, "holds no patterns|the array has shape"),
        (np.zeros(5), {}, r"the array has shape \[5\]"),
        (np.zeros((1, 1, 1, 1, 2, 2)), {}, "the array has shape"),
        (np.zeros((0, 3, 3)), {}, "is empty"),
    ],
)
def test_what_is_no_series_is_refused(
    tmp_path: Path, array: np.ndarray, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        read(saved(tmp_path, array), **options)


def test_a_series_that_was_broken_off(tmp_path: Path) -> None:
    stream, batches = read(saved(tmp_path, patterns(7)), scan=(2, 3), partial=True)
    assert stream.expect == len(frames(batches)) == 7


def test_files_that_are_cut_off_or_none(tmp_path: Path) -> None:
    path = saved(tmp_path, patterns(10))
    whole = path.read_bytes()
    assert NpyReader.ready(path)
    path.write_bytes(whole[:-100])
    assert not NpyReader.ready(path)
    with pytest.raises(ValueError, match="is cut off after 8 of 10 patterns"):
        read(path)
    path.write_bytes(whole[:20])
    assert not NpyReader.ready(path)
    with pytest.raises(ValueError, match=r"not a \.npy file"):
        read(path)
    np.save(path, np.array([{}], object), allow_pickle=True)
    with pytest.raises(ValueError, match="Python objects"):
        read(path)


def test_files_that_arrive_in_a_folder_follow_on_each_other(tmp_path: Path) -> None:
    first, second = patterns(2, 3), patterns(2, 3) + 1
    np.save(tmp_path / "scan_1.npy", first)
    np.save(tmp_path / "scan_2.npy", second)
    np.save(tmp_path / "scan_3.npy", patterns(3, 3))  # another scan
    config = {"path": tmp_path, "dwell_time": 1e-3, "settle": 0.0, "look": 0.01, "quiet": 0.2}
    found = record_source(FolderSource, config)
    frames_found = found["folder"].arrays["frame"]
    assert np.array_equal(frames_found, np.concatenate([first, second]).reshape(12, 6, 5))
    files = found["folder.files"].arrays
    assert files["status"].tolist() == [b"taken", b"taken", b"refused"]
    assert b"not {'shape': [2, 3]}" in files["reason"][2]
