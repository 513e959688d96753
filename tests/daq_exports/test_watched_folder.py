"""Exports in a watched folder: one that an instrument appends to, with a real `daq run`."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import daq
from daq.recording.reader import RunReader
from daq.runtime.folder_source import FolderSource
from daq.testing import check_source
from daq_exports import daq_readers
from daq_stem.merlin.reader import MerlinReader

HEAD = """Instrument\tDSC Q2000
Sample\tLa60Ni15Al25
Size\t10.0\tmg
Exotherm\tUP
Nsig\t3
Sig1\tTime (min)
Sig2\tTemperature (°C)
Sig3\tHeat Flow (mW)
Date\t2026-03-{day:02d}
Time\t10:00:00
StartOfData
"""


def rows(count: int, first: int = 0) -> str:
    return "".join(f"{0.1 * n:.3f}\t{30 + n:.2f}\t{-2 - n:.4f}\n" for n in range(first, count))


RUN = """
[sources.dsc]
type = "folder"
path = "{folder}"
pattern = "*.txt"
settle = 0.05
look = 0.01
stop_name = "STOP"
from_name = '_(?P<annealing_time_min>\\d+)min'
"""


def test_a_growing_export_in_a_run_whose_source_is_killed(
    start_run: Callable[..., Any], tmp_path: Path
) -> None:
    folder = tmp_path / "exports"
    folder.mkdir()
    run = start_run(RUN.format(folder=folder))
    run.until(lambda: "dsc" in run.status()["peers"], "the source")
    first = folder / "ribbon_5min.txt"
    data = (HEAD.format(day=9) + rows(20)).encode("cp1252")
    half = data.index(b"Date")
    first.write_bytes(data[:half])  # Half a head.
    with first.open("ab") as file:
        file.write(data[half:-7])  # And a half line at the end.
    run.until_records("dsc", 19)
    assert run.kill("daq.runtime.source_process") == 1
    with first.open("ab") as file:
        file.write(data[-7:] + rows(30, 20).encode())
    run.until_records("dsc", 30)
    (folder / "unknown_7min.txt").write_text(HEAD.format(day=9).replace("UP", "?") + rows(3))
    (folder / "notes.txt").write_text("nothing that anyone knows\n")
    (folder / "standard.txt").write_text(HEAD.format(day=10) + rows(10))
    run.until_records("dsc", 40)
    (folder / "STOP").touch()
    assert run.finish() == 0, run.said()
    reader = RunReader(run.run_folder)
    dsc = reader.read("dsc", 0, reader.count("dsc"))
    expected = [*range(30), *range(10)]
    np.testing.assert_allclose(dsc.raw["temperature"], 303.15 + np.array(expected))
    np.testing.assert_allclose(dsc.raw["heat_flow"], (2 + np.array(expected)) / 10)
    assert dsc.raw["sample"].tolist() == [0] * 30 + [1] * 10
    np.testing.assert_array_equal(dsc.raw["annealing_time"], [300.0] * 30 + [np.nan] * 10)
    assert dsc.valid.all()
    assert np.all(np.diff(dsc.raw["time"]) > 0)
    attributes = reader.streams["dsc"].attributes
    assert attributes["heat_flow_sign"] == "endothermic_positive"
    files = reader.read("dsc.files", 0, reader.count("dsc.files")).raw
    status = dict(zip(files["name"].tolist(), files["status"].tolist(), strict=True))
    assert status == {
        b"ribbon_5min.txt": b"taken", b"standard.txt": b"taken",
        b"unknown_7min.txt": b"refused", b"notes.txt": b"refused",
    }  # fmt: skip
    reasons = dict(zip(files["name"].tolist(), files["reason"].tolist(), strict=True))
    assert b'say exotherm = "up" or "down"' in reasons[b"unknown_7min.txt"]
    assert b"knows how it begins" in reasons[b"notes.txt"]
    reader.close()


class Exports(FolderSource):
    def __init__(self) -> None:
        super().__init__({reader.name: reader for reader in daq_readers()})


def test_every_text_format_keeps_the_promises_of_a_source(tmp_path: Path) -> None:
    for day in (9, 10):
        (tmp_path / f"{day}.txt").write_text(HEAD.format(day=day) + rows(30), "utf-8")
    keys = {"path": str(tmp_path), "settle": 0.0, "look": 0.01, "quiet": 0.1, "batch": 7}
    found = check_source(Exports, keys, records=60)
    assert len(found["folder"]) == 60


def test_frames_of_a_camera_are_a_series_too(tmp_path: Path) -> None:
    beside = Path(__file__).resolve().parents[2].parent / "shared" / "data"
    archive = Path(os.environ.get("GLASSWATCH_SHARED_DATA", beside)) / "merlin_single_quad.zip"
    if not archive.is_file():
        pytest.skip(f"no {archive.name} in {archive.parent} (set GLASSWATCH_SHARED_DATA)")
    name = "Single_9_Frame_CounterDepth_12_Rows_256.mib"
    with zipfile.ZipFile(archive) as content:
        data = content.read(name)
    for number in (1, 2):
        (tmp_path / f"scan_{number}.mib").write_bytes(data)
    (tmp_path / "scan_3.mib").write_bytes(data[: len(data) * 5 // 9 + 1000])

    class Frames(FolderSource):
        def __init__(self) -> None:
            super().__init__({"merlin": MerlinReader})

    keys = {"path": str(tmp_path), "settle": 0.0, "look": 0.01, "count": 3, "batch": 4}
    source = Frames()
    source.context = daq.SourceContext()
    source.open(FolderSource.Config(**keys))
    items = list(source.batches({}))
    frames = [item for item in items if isinstance(item, daq.Batch) and item.stream == ""]
    files = [item for item in items if isinstance(item, daq.Batch) and item.stream == "files"]
    source.close()
    assert [(b.first, b.count) for b in frames] == [
        (0, 4), (4, 4), (8, 1), (9, 4), (13, 4), (17, 1), (18, 4), (22, 1),
    ]  # fmt: skip
    np.testing.assert_array_equal(frames[0].raw["frame"], frames[3].raw["frame"])
    assert [f.raw["status"][0] for f in files] == [b"taken", b"taken", b"cut"]
    assert b"the last frame is cut off" in files[2].raw["reason"][0]
