"""Patterns in Zarr stores; without the package zarr, what is said then."""

from __future__ import annotations

import importlib.util
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import daq
from daq.runtime.file_source import FileSource
from daq.runtime.replay import replay_experiment
from daq.testing import check_source
from daq_stem.frame_files.zarr import ZarrReader

DATA = np.random.default_rng(8).integers(1, 99, (4, 3, 6, 5)).astype("<u2")

needs_zarr = pytest.mark.skipif(
    importlib.util.find_spec("zarr") is None, reason="pip install 'glasswatch[zarr]'"
)


def made(folder: Path, version: int, name: str = "data/patterns", data: Any = DATA) -> Path:
    import zarr

    path = folder / "scan.zarr"
    group = zarr.open_group(path, mode="a", zarr_format=version)
    chunks = (*(2 for _ in data.shape[:-2]), *data.shape[-2:])
    array = group.create_array(name, shape=data.shape, dtype=data.dtype, chunks=chunks)
    array[...] = data
    return path


def read(path: Path, start: int = 0, **options: Any) -> tuple[daq.Stream, np.ndarray]:
    reader = ZarrReader()
    try:
        (stream,) = reader.open(path, ZarrReader.Config(dwell_time=1e-3, **options))
        batches = list(reader.batches({"": start}))
    finally:
        reader.close()
    return stream, np.concatenate([batch.raw["frame"] for batch in batches])


@needs_zarr
@pytest.mark.parametrize("version", [2, 3])
def test_patterns_of_a_scan(tmp_path: Path, version: int) -> None:
    path = made(tmp_path, version)
    made(tmp_path, version, "small", DATA[:1])
    made(tmp_path, version, "complex", DATA[0].astype("<c8"))
    stream, found = read(path)
    assert stream.scan_shape == (4, 3)
    assert stream.attributes["dataset"] == "data/patterns"
    assert np.array_equal(found, DATA.reshape(12, 6, 5))
    assert np.array_equal(read(path, 5)[1], found[5:])
    assert read(path, dataset="small")[0].expect == 3
    with pytest.raises(ValueError, match="no array 'smal'; there is data/patterns"):
        read(path, dataset="smal")
    with pytest.raises(ValueError, match="complex64 holds no patterns"):
        read(path, dataset="complex")


@needs_zarr
def test_one_array_without_a_group(tmp_path: Path) -> None:
    import zarr

    path = tmp_path / "scan.zarr"
    zarr.create_array(path, data=DATA.reshape(12, 6, 5), chunks=(5, 6, 5))
    stream, found = read(path)
    assert stream.scan is None
    assert np.array_equal(found, DATA.reshape(12, 6, 5))
    with pytest.raises(ValueError, match="is one array"):
        read(path, dataset="x")


@needs_zarr
def test_chunks_that_are_not_there_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = made(tmp_path, 3)
    chunks = sorted((path / "data" / "patterns" / "c").rglob("*"))
    next(chunk for chunk in reversed(chunks) if chunk.is_file()).unlink()
    with caplog.at_level(logging.WARNING):
        read(path)
    assert "1 of 4 chunks are not there: they read as 0" in caplog.text


@needs_zarr
def test_damaged_stores(tmp_path: Path) -> None:
    path = made(tmp_path, 3)
    chunks = sorted((path / "data" / "patterns" / "c").rglob("*"))
    next(chunk for chunk in reversed(chunks) if chunk.is_file()).write_bytes(b"nothing of sense")
    with pytest.raises(ValueError, match=r"patterns .* cannot be read"):
        read(path)
    (tmp_path / "none.zarr").mkdir()
    with pytest.raises(ValueError, match="is no Zarr store"):
        read(tmp_path / "none.zarr")


@needs_zarr
def test_the_source_file_takes_the_folder(tmp_path: Path) -> None:
    path = made(tmp_path, 3)
    found = check_source(FileSource, {"path": path, "dwell_time": 1e-3, "batch": 5}, records=12)
    assert len(found["file"]) == 12
    assert replay_experiment(path).sources["camera"].type == "file"


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zarr", None)
    (tmp_path / "scan.zarr").mkdir()
    with pytest.raises(
        ValueError, match=r"needs the package zarr: pip install 'glasswatch\[zarr\]'"
    ):
        read(tmp_path / "scan.zarr")
