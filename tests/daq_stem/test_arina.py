"""HDF5 masters of DECTRIS detectors, made after the public layout (no file of a detector is here)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest

import daq
from daq.corrections import corrections_for
from daq.runtime.readers import Readers
from daq_stem.dectris.reader import DETECTOR, SPECIFIC, ArinaReader

FRAMES = np.random.default_rng(7).integers(0, 99, (12, 8, 6)).astype("<u2")
TOLD = {
    f"{SPECIFIC}/ntrigger": 1,
    f"{SPECIFIC}/nimages": 12,
    f"{SPECIFIC}/data_collection_date": "2026-03-01T22:15:03.123456789Z",
    f"{DETECTOR}/frame_time": 2e-5,
    f"{DETECTOR}/count_time": 1.9e-5,
    f"{DETECTOR}/description": "Dectris ARINA",
    "/entry/instrument/beam/incident_energy": 200e3,
}


def written(folder: Path, lengths: Sequence[int] = (5, 5, 2), **changes: Any) -> Path:
    """Write a master and its data files, bitshuffle and LZ4, one pattern a chunk."""
    path = folder / "scan_0042_master.h5"
    first = 0
    with h5py.File(path, "w") as master:
        for number, length in enumerate(lengths, start=1):
            name = f"scan_0042_data_{number:06d}.h5"
            with h5py.File(folder / name, "w") as file:
                file.create_dataset(
                    "/entry/data/data", data=FRAMES[first : first + length], chunks=(1, 8, 6),
                    **hdf5plugin.Bitshuffle(cname="lz4"),
                )  # fmt: skip
            master[f"/entry/data/data_{number:06d}"] = h5py.ExternalLink(name, "/entry/data/data")
            first += length
        told = {**TOLD, **{place.replace("__", "/"): value for place, value in changes.items()}}
        for place, value in told.items():
            if value is not None:
                master[place] = value
    return path


def put(path: Path, **values: Any) -> Path:
    with h5py.File(path, "a") as master:
        for name, value in values.items():
            group = DETECTOR if name.endswith("applied") or "center" in name else SPECIFIC
            place = f"{group}/{name}"
            if place in master:
                del master[place]
            master[place] = value
    return path


def read(path: Path, start: int = 0, **options: Any) -> tuple[daq.Stream, list[daq.Batch]]:
    reader = ArinaReader()
    try:
        (stream,) = reader.open(path, ArinaReader.Config(**options))
        return stream, list(reader.batches({"": start}))
    finally:
        reader.close()


def test_patterns_of_all_files_follow_on_each_other(tmp_path: Path) -> None:
    path = written(tmp_path)
    stream, batches = read(path, scan=(3, 4), pixel_size=0.05)
    assert np.array_equal(np.concatenate([b.raw["frame"] for b in batches]), FRAMES)
    assert stream.expect == 12
    assert stream.scan_shape == (3, 4)
    assert stream.attributes["description"] == "Dectris ARINA"
    assert stream.attributes["incident_energy_eV"] == 200e3
    assert stream.attributes["dwell_time"] == 2e-5
    time = np.concatenate([batch.time for batch in batches])
    assert np.datetime64(int(time[0]), "ns") == np.datetime64("2026-03-01T22:15:03.123456789")
    assert (np.diff(time) == 20_000).all()
    _, late = read(path, 7)
    assert late[0].first == 7
    assert np.array_equal(late[0].raw["frame"], FRAMES[7:])


def test_its_ending_is_known_among_those_of_hdf5() -> None:
    readers = Readers()
    assert readers.reader_for(Path("scan_0042_master.h5")) is ArinaReader
    assert readers.reader_for(Path("scan_0042.h5")).name == "hdf5"


def test_one_trigger_per_row_is_a_scan(tmp_path: Path) -> None:
    path = put(written(tmp_path), ntrigger=3, nimages=4)
    assert read(path)[0].scan_shape == (3, 4)
    assert read(path, scan=(4, 3))[0].scan_shape == (4, 3)


def test_mask_and_flat_field_are_corrections(tmp_path: Path) -> None:
    mask = np.zeros((8, 6), "<u4")
    mask[1, 2], mask[3, 3] = 1, 16
    flat = np.full((8, 6), 2.0, "<f4")
    path = put(written(tmp_path), pixel_mask=mask, flatfield=flat, beam_center_x=2.5,
               beam_center_y=4.0)  # fmt: skip
    stream, _ = read(path)
    corrections = corrections_for(stream)
    assert np.array_equal(corrections.bad, mask != 0)
    assert (corrections.gain[~corrections.bad.reshape(-1)] == 2).all()
    assert stream.attributes["centre"] == [4.0, 2.5]
    put(path, flatfield_correction_applied=True)
    stream, _ = read(path)
    assert set(stream.constants) == {"mask"}
    put(path, pixel_mask=mask[:4])
    with pytest.raises(ValueError, match=r"pixel_mask has shape \[4, 6\], the patterns have"):
        read(path)


def test_a_file_that_is_lacking(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert ArinaReader.ready(path)
    (tmp_path / "scan_0042_data_000002.h5").unlink()
    assert not ArinaReader.ready(path)
    with pytest.raises(ValueError, match=r"scan_0042_data_000002\.h5 is not there, or damaged"):
        read(path)


def test_a_series_that_was_broken_off(tmp_path: Path) -> None:
    path = written(tmp_path, lengths=(5, 2))
    assert not ArinaReader.ready(path)
    reader = ArinaReader()
    (stream,) = reader.open(path, ArinaReader.Config(scan=(3, 4)))
    found = []
    with pytest.raises(ValueError, match="7 patterns are there, the master speaks of 12"):
        found.extend(reader.batches({"": 0}))
    reader.close()
    assert stream.expect == 7


def test_files_that_do_not_fit_each_other(tmp_path: Path) -> None:
    path = written(tmp_path)
    with h5py.File(tmp_path / "scan_0042_data_000003.h5", "w") as file:
        file["/entry/data/data"] = np.zeros((2, 8, 7), "<u2")
    with pytest.raises(ValueError, match=r"do not fit each other: \[5, 8, 6\] uint16"):
        read(path)
    with h5py.File(path, "w") as file:
        file["/entry/other"] = 1
    with pytest.raises(ValueError, match="no master of a DECTRIS detector"):
        read(path)


def test_a_master_without_times_or_counts(tmp_path: Path) -> None:
    changes = {place.replace("/", "__"): None for place in TOLD}
    stream, batches = read(written(tmp_path, **changes), dwell_time=0.5)
    assert stream.expect == sum(len(batch) for batch in batches) == 12
    assert stream.scan is None
