"""Merlin files: what is in them comes out, what is wrong with them is said."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import daq
from daq_stem.merlin.reader import MerlinReader

Write = Callable[..., Path]

PROCESSED = [
    (f"{chips}_{count}_Frame_CounterDepth_{depth}_Rows_256.mib", count, chips, depth)
    for chips in ("Single", "Quad")
    for count in (1, 9)
    for depth in (1, 6, 12, 24)
]


def read(
    path: Path, start: int = 0, **options: Any
) -> tuple[daq.Stream, list[daq.Batch | daq.Missing]]:
    reader = MerlinReader()
    (stream,) = reader.open(path, MerlinReader.Config(**options))
    try:
        return stream, list(reader.batches({"": start}))
    finally:
        reader.close()


def records(items: list[daq.Batch | daq.Missing]) -> dict[int, np.ndarray]:
    return {
        int(index): frame
        for item in items
        if isinstance(item, daq.Batch)
        for index, frame in zip(item.indices, item.raw["frame"], strict=True)
    }


def made(count: int, dtype: str = "u2", shape: tuple[int, int] = (5, 7), seed: int = 0) -> Any:
    draw = np.random.default_rng(seed)
    return draw.integers(0, np.iinfo(dtype).max, (count, *shape), dtype, endpoint=True)


@pytest.mark.parametrize(("name", "count", "chips", "depth"), PROCESSED)
def test_real_files(recordings: Path, name: str, count: int, chips: str, depth: int) -> None:
    path = recordings / name
    stream, items = read(path)
    side, offset = (512, 768) if chips == "Quad" else (256, 384)
    dtype = {1: "u1", 6: "u1", 12: "u2", 24: "u4"}[depth]
    frames = np.concatenate([batch.raw["frame"] for batch in items])
    assert frames.dtype == np.dtype(dtype)
    assert frames.dtype.isnative
    # read once more, another way
    whole = np.frombuffer(path.read_bytes(), np.uint8).reshape(count, -1)[:, offset:]
    plain = np.ascontiguousarray(whole).view(f">{dtype}").reshape(count, side, side)
    np.testing.assert_array_equal(frames, plain[:, ::-1])
    assert stream.expect == count
    assert stream.fields["frame"].shape == (side, side)
    assert stream.attributes["counter_depth_bits"] == depth
    assert frames.max() <= stream.attributes["saturation_value"]
    assert stream.attributes["exposure_time"] == 0.001
    assert stream.attributes["hdr"]["Counter Depth (number)"] == str(depth)
    times = np.concatenate([batch.time for batch in items])
    assert (np.diff(times) > 900_000).all()


def test_time_is_that_of_the_header_in_utc(recordings: Path) -> None:
    _, (batch,) = read(recordings / "Single_1_Frame_CounterDepth_12_Rows_256.mib")
    assert batch.time.view("M8[ns]")[0] == np.datetime64("2021-04-15T13:43:47.008505401")


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "u8"])
def test_round_trip(write_mib: Write, dtype: str) -> None:
    frames = made(3, dtype)
    stream, items = read(write_mib(frames))
    np.testing.assert_array_equal(np.stack(list(records(items).values())), frames)
    assert stream.fields["frame"].dtype == np.dtype(dtype).newbyteorder("<").str


def test_local_time_is_read_in_the_time_zone_that_is_given(write_mib: Write) -> None:
    _, (with_utc,) = read(write_mib(made(2)))
    _, (local,) = read(write_mib(made(2), utc=None), timezone="Europe/London")
    assert abs(local.time[0] - with_utc.time[0]) < 1000
    _, (plain,) = read(write_mib(made(2), utc=None))
    assert plain.time[0] - local.time[0] == 3600 * 10**9


@pytest.mark.parametrize("text", ["", "yesterday", "NaT", "9999-99-99 00:00:00", "1e400"])
def test_frames_without_a_time_follow_on_by_the_exposure(write_mib: Write, text: str) -> None:
    path = write_mib(made(3), utc=None, local=text)
    os.utime(path, ns=(10**18, 10**18))
    _, (batch,) = read(path)
    assert batch.time.tolist() == [10**18, 10**18 + 10**6, 10**18 + 2 * 10**6]


def test_a_missing_number_is_a_gap_not_a_shift(write_mib: Write) -> None:
    frames = made(5)
    stream, items = read(write_mib(frames, [7, 8, 11, 12, 20]))
    assert stream.expect == 14
    found = records(items)
    assert sorted(found) == [0, 1, 4, 5, 13]
    for index, frame in zip([0, 1, 4, 5, 13], frames, strict=True):
        np.testing.assert_array_equal(found[index], frame)
    gaps = [(item.first, item.count) for item in items if isinstance(item, daq.Missing)]
    assert gaps == [(2, 2), (6, 7)]


def test_a_repeat_is_dropped_and_counted(
    write_mib: Write, caplog: pytest.LogCaptureFixture
) -> None:
    frames = made(6)
    reader = MerlinReader()
    reader.open(write_mib(frames, [1, 2, 2, 3, 1, 4]), MerlinReader.Config())
    found = records(list(reader.batches({})))
    assert sorted(found) == [0, 1, 2, 3]
    for index, frame in zip(range(4), frames[[0, 1, 3, 5]], strict=True):
        np.testing.assert_array_equal(found[index], frame)
    assert reader.repeats == 2
    assert "2 repeated frames" in caplog.text


@pytest.mark.parametrize("start", range(11))
def test_begins_anywhere(write_mib: Write, start: int) -> None:
    path = write_mib(made(7), [1, 2, 4, 4, 5, 9, 10])
    _, whole = read(path)
    _, rest = read(path, start)
    reference, found = records(whole), records(rest)
    assert sorted(found) == [index for index in sorted(reference) if index >= start]
    for index, frame in found.items():
        np.testing.assert_array_equal(frame, reference[index])
    count = sum(item.count for item in rest)
    assert count == 10 - start, "gapless from start on"


def test_many_frames_come_in_several_batches(
    write_mib: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = made(40)
    numbers = [n for n in range(1, 60) if n % 3]
    path = write_mib(frames, numbers)
    _, whole = read(path)
    monkeypatch.setattr("daq_stem.merlin.reader.BATCH_BYTES", 2000)
    _, pieces = read(path)
    assert max(item.count for item in pieces) <= 4 < len(pieces)
    reference, found = records(whole), records(pieces)
    assert sorted(reference) == sorted(found) == [number - 1 for number in numbers]
    assert all(np.array_equal(reference[index], found[index]) for index in reference)


def test_a_file_cut_off_gives_what_is_whole_and_says_so(write_mib: Write) -> None:
    frames = made(4)
    reader = MerlinReader()
    reader.open(write_mib(frames, cut=10), MerlinReader.Config())
    taken: list[daq.Batch | daq.Missing] = []
    with pytest.raises(ValueError, match=r"cut off after 444 of 454 bytes; the 3 whole ones"):
        taken.extend(reader.batches({}))
    assert sorted(records(taken)) == [0, 1, 2]


def test_damage_in_the_middle_ends_the_source_after_what_is_good(write_mib: Write) -> None:
    path = write_mib(made(6))
    content = bytearray(path.read_bytes())
    content[4 * 454 : 4 * 454 + 3] = b"XXX"
    path.write_bytes(content)
    reader = MerlinReader()
    reader.open(path, MerlinReader.Config())
    taken: list[daq.Batch | daq.Missing] = []
    with pytest.raises(ValueError, match="no frame header at byte 1816, where frame 4"):
        taken.extend(reader.batches({}))
    assert sorted(records(taken)) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (b"HDR,\t\r\n" + b" " * 500, "does not begin with MQ1"),
        (b"MQ1,000001,00384", "damaged"),
        (b"MQ1,000001,abc,01,0256,0256,U16,1x1,01,x,0.001,", "damaged"),
        (b"MQ1,000001,00384,01,0256,0256,U16,1x1,01,x,0.001," + b"0" * 400, "no whole frame"),
        (b"MQ1,000001,00384,01,0256,0256,F32,1x1,01,x,0.001," + b"0" * 400, "type F32"),
        (b"MQ1,000001,00384,01,0000,0256,U16,1x1,01,x,0.001," + b"0" * 400, "lies"),
        (b"MQ1,000001,-0001,01,0256,0256,U16,1x1,01,x,0.001," + b"0" * 400, "lies"),
        (b"MQ1,000001,00384,04,1024,0256,R64,2x2,0F,x,0.001," + b"0" * 400, "counter depth"),
        (np.random.default_rng(0).bytes(4096), "MQ1"),
    ],
)
def test_bad_files_are_told_in_one_line(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "bad.mib"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=said) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert "bad.mib" in str(caught.value)


def test_a_header_that_lies_about_the_size_is_found_at_once(write_mib: Write) -> None:
    path = write_mib(made(4))
    content = path.read_bytes().replace(b",0007,0005,U16", b",0007,0004,U16")
    path.write_bytes(content)
    with pytest.raises(ValueError, match="first header lies"):
        read(path)


def test_frames_that_change_their_kind_are_refused(write_mib: Write, tmp_path: Path) -> None:
    path = write_mib(made(3))
    content = path.read_bytes()
    path.write_bytes(content[:908] + content[908:].replace(b"U16", b"I16"))
    with pytest.raises(ValueError, match="frame 2 has another size or type"):
        read(path)


def counted(path: Path, position: int, counter: int) -> None:
    content = path.read_bytes()
    start = position * 454
    frame = content[start:].replace(b"0.001000,0", b"0.001000,%d" % counter, 1)
    path.write_bytes(content[:start] + frame)


def test_a_counter_that_alternates_is_read_on(write_mib: Write) -> None:
    path = write_mib(made(4))
    counted(path, 1, 1)
    counted(path, 3, 1)
    assert sorted(records(read(path)[1])) == [0, 1, 2, 3]


def test_two_counters_for_each_number_are_refused(write_mib: Write) -> None:
    path = write_mib(made(4), [1, 1, 2, 2])
    assert sorted(records(read(path)[1])) == [0, 1], "repeats"
    counted(path, 1, 1)
    with pytest.raises(
        ValueError, match="frame 1 has the number of the one before it and is of an"
    ):
        read(path)


def test_an_absurd_gap_is_a_damaged_header(write_mib: Write) -> None:
    stream_path = write_mib(made(3), [1, 2, 90_000_000])
    reader = MerlinReader()
    (stream,) = reader.open(stream_path, MerlinReader.Config())
    assert stream.expect is None
    with pytest.raises(ValueError, match="damaged header"):
        list(reader.batches({}))


HDR = (
    "HDR,\t\nFrames in Acquisition (Number):\t{}\nFrames per Trigger (Number):\t{}\n"
    "Sensor Bias (V):\t120 V\nEnd\t   "
)


@pytest.mark.parametrize(
    ("frames", "line", "scan"), [(6, 3, [2, 3]), (6, 1, None), (6, 6, None), (6, 4, None), (6, "x", None)]
)  # fmt: skip
def test_scan_of_the_hdr_file(write_mib: Write, frames: int, line: Any, scan: Any) -> None:
    stream, _ = read(write_mib(made(6), hdr=HDR.format(frames, line)))
    assert (stream.scan and stream.scan["shape"]) == scan
    assert stream.attributes["hdr"]["Sensor Bias (V)"] == "120 V"


def test_scan_of_the_configuration_comes_first(write_mib: Write) -> None:
    stream, _ = read(write_mib(made(6), hdr=HDR.format(6, 3)), scan=[3, 2], step=0.5)
    assert stream.scan == {"shape": [3, 2], "step": 0.5}


def test_an_unknown_time_zone_is_said(write_mib: Write) -> None:
    with pytest.raises(ValueError, match="Atlantis/City"):
        read(write_mib(made(1)), timezone="Atlantis/City")


def test_raw_without_the_extra_says_how_to_get_it(
    recordings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'glasswatch\[raw\]'"):
        read(recordings / "Quad_1_Frame_CounterDepth_1_Rows_256RAW.mib")


def test_raw_with_the_extra(recordings: Path) -> None:
    pytest.importorskip("libertem_qd_mpx", reason="the extra raw is not installed")
    _, (batch,) = read(recordings / "Single_9_Frame_CounterDepth_1_Rows_256RAW.mib")
    assert batch.raw["frame"].shape == (9, 256, 256)


def test_is_registered() -> None:
    import daq_stem

    assert MerlinReader in daq_stem.daq_readers()
    assert MerlinReader.suffixes == (".mib",)
    names = [analysis.name for analysis in daq_stem.daq_analyses()]
    assert {"drift", "ecm", "fem", "structure_dynamics", "virtual"} <= set(names)
