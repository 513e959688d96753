"""Patterns in any dataset of an HDF5 file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest

import daq
from daq.runtime.file_source import FileSource
from daq.runtime.replay import replay_experiment
from daq.testing import check_source
from daq_stem.frame_files.hdf5 import Hdf5Reader

DATA = np.random.default_rng(6).integers(0, 99, (4, 3, 6, 5)).astype("<u2")


def made(path: Path, name: str = "/entry/data/data", data: Any = DATA, **options: Any) -> Path:
    with h5py.File(path, "a") as file:
        file.create_dataset(name, data=data, **options)
    return path


def read(path: Path, start: int = 0, **options: Any) -> tuple[daq.Stream, np.ndarray]:
    reader = Hdf5Reader()
    try:
        (stream,) = reader.open(path, Hdf5Reader.Config(dwell_time=1e-3, **options))
        batches = list(reader.batches({"": start}))
    finally:
        reader.close()
    return stream, np.concatenate([batch.raw["frame"] for batch in batches])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"chunks": (1, 3, 6, 5), **hdf5plugin.Bitshuffle(cname="lz4")},
        {"chunks": (3, 2, 6, 5), "compression": "gzip"},  # chunks of several scan rows
        {"chunks": (2, 2, 4, 3), **hdf5plugin.Blosc()},
    ],
)
def test_patterns_of_a_scan(tmp_path: Path, options: dict[str, Any]) -> None:
    path = made(tmp_path / "scan.h5", **options)
    stream, found = read(path)
    assert stream.scan_shape == (4, 3)
    assert stream.attributes["dataset"] == "/entry/data/data"
    assert np.array_equal(found, DATA.reshape(12, 6, 5))
    _, late = read(path, 5)
    assert np.array_equal(late, found[5:])


def test_big_endian_floats_without_a_scan(tmp_path: Path) -> None:
    data = DATA.reshape(12, 6, 5).astype(">f8")
    stream, found = read(made(tmp_path / "movie.hdf5", data=data, chunks=(5, 6, 5)))
    assert stream.scan is None
    assert found.dtype == np.dtype("<f8")
    assert np.array_equal(found, data)


def test_the_largest_dataset_or_the_one_that_is_named(tmp_path: Path) -> None:
    path = made(tmp_path / "two.h5")
    made(path, "/entry/small", DATA[:1])
    made(path, "/entry/image", np.zeros((500, 500)))
    made(path, "/entry/complex", np.zeros((50, 50, 50), complex))
    assert read(path)[0].attributes["dataset"] == "/entry/data/data"
    assert read(path, dataset="/entry/small")[0].expect == 3
    with pytest.raises(ValueError, match=r"no dataset '/entry/smal'; there is /entry/data/data, "):
        read(path, dataset="/entry/smal")
    with pytest.raises(ValueError, match="/entry is a group; datasets: /entry/data/data"):
        read(path, dataset="/entry")
    with pytest.raises(ValueError, match="complex128 holds no patterns"):
        read(path, dataset="/entry/complex")
    made(path, "/other", DATA)
    with pytest.raises(ValueError, match=r"say dataset = /entry/data/data or /other"):
        read(path)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    path = made(tmp_path / "scan.h5", chunks=(1, 1, 6, 5), compression="gzip")
    whole = path.read_bytes()
    path.write_bytes(whole[:-500])
    with pytest.raises(OSError, match="truncated"):
        Hdf5Reader.ready(path)
    with pytest.raises(ValueError, match="is cut off, or was not written to its end"):
        read(path)
    with h5py.File(tmp_path / "again.h5", "w") as file:
        dataset = file.create_dataset("d", data=DATA, chunks=(1, 3, 6, 5), compression="gzip")
        place = dataset.id.get_chunk_info(2)
    damaged = bytearray((tmp_path / "again.h5").read_bytes())
    damaged[place.byte_offset : place.byte_offset + place.size] = b"\xff" * place.size
    (tmp_path / "again.h5").write_bytes(damaged)
    with pytest.raises(ValueError, match="patterns 0 to 11 cannot be read"):
        read(tmp_path / "again.h5")
    path.write_bytes(b"no HDF5 at all, but some words")
    assert not Hdf5Reader.knows(path)
    with pytest.raises(ValueError, match="is no HDF5 file"):
        read(path)
    with h5py.File(tmp_path / "empty.h5", "w") as file:
        file.create_group("entry")
    with pytest.raises(ValueError, match="no dataset of three to five axes"):
        read(tmp_path / "empty.h5")


def test_a_link_to_a_file_that_is_not_there(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "master.h5", "w") as file:
        file["data"] = h5py.ExternalLink("lost.h5", "/entry/data")
    with pytest.raises(ValueError, match=r"data is in lost\.h5, which is not there or damaged"):
        read(tmp_path / "master.h5", dataset="data")
    made(tmp_path / "lost.h5", "/entry/data")
    assert np.array_equal(read(tmp_path / "master.h5", dataset="data")[1], DATA.reshape(12, 6, 5))


WRITER = """
import sys, h5py
with h5py.File(sys.argv[1], "w", libver=sys.argv[2]) as file:
    dataset = file.create_dataset("d", (3, 6, 5), "u2", chunks=(1, 6, 5))
    file.flush()
    print("open", flush=True)
    sys.stdin.readline()
"""


@pytest.mark.parametrize("libver", ["earliest", "v110"])
def test_a_file_that_is_being_written_is_not_ready(tmp_path: Path, libver: str) -> None:
    path = tmp_path / "scan.h5"
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), libver],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as writer:  # fmt: skip
        try:
            assert writer.stdout.readline() == "open\n"
            with pytest.raises(OSError, match="open"):
                Hdf5Reader.ready(path)
            with pytest.raises(ValueError, match="is open for writing"):
                read(path)
            writer.stdin.write("close\n")
            writer.stdin.flush()
            assert writer.wait(20) == 0
        finally:
            writer.kill()
    assert Hdf5Reader.ready(path)


def test_the_source_file_takes_it(tmp_path: Path) -> None:
    path = made(tmp_path / "scan.h5", chunks=(1, 3, 6, 5))
    found = check_source(FileSource, {"path": path, "dwell_time": 1e-3, "batch": 5}, records=12)
    assert len(found["file"]) == 12


def test_replay_takes_nexus_files_of_others(tmp_path: Path) -> None:
    experiment = replay_experiment(made(tmp_path / "scan.nxs"))
    assert experiment.sources["camera"].type == "file"
    run = tmp_path / "run.nxs"
    with h5py.File(run, "w") as file:
        file.attrs["creator"] = "glasswatch"
    with pytest.raises(ValueError, match="is not a run of glasswatch"):
        replay_experiment(run)  # damaged, but ours
    with pytest.raises(ValueError, match='type = "replay", or daq replay'):
        read(run)
