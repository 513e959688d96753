"""The master is NeXus: what stands where, with which attributes."""

from __future__ import annotations

from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401 - registers the filter
import numpy as np
import pytest

from daq.recording.settings import RecordingSettings
from daq.recording.writer import RunWriter
from daq.run import Run
from daq.streams import Batch, Field, Stream

RUN = Run(
    "20260101T000000Z-test-1f2e", "A night", {"name": "Pd40Ni40P20", "anneal": {"T": [600, 650], "t": 2.5}},
    {"name": "N. N."}, None, "[run]\ntitle = 'A night'\n", {"run": {"title": "A night"}},
    {"packages": {"h5py": "3"}, "host": "here"}, 1_767_225_600_123_456_789,
)  # fmt: skip
CAMERA = Stream(
    "camera",
    {"frame": Field("<u2", (48, 50), "counts", "electrons"), "dose": Field("<f4", (), "C")},
    axes={"frame": [{"name": "qy", "units": "1/nm", "offset": -2.0, "step": 0.5}, {"name": "qx", "units": "1/nm", "values": "qx_axis"}]},
    scan={"shape": [2, 3], "step": 1.5},
    attributes={"accelerating_voltage_kV": 200, "modes": ["a", "b"], "nested": {"deep": True}},
    constants={"mask": np.eye(48, 50, dtype=bool), "qx_axis": np.linspace(0, 1, 50)},
)  # fmt: skip
RESULT = Stream(
    "ecm.g2",
    {"g2": Field("<f8", (7,), "", "g2"), "g2_errors": Field("<f8", (7,))},
    attributes={"process": {"program": "ecm", "version": "1", "configuration": {"bands": [[4.2, 4.6]]}, "inputs": ["camera"]}},
)  # fmt: skip
TRUTH = Stream("truth.camera", {"tau": Field("<f8", (3,))})
LOG = Stream("run.log", {"message": Field("|S4096"), "index": Field("<i8")})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    writer = RunWriter.create(RUN, tmp_path, RecordingSettings(reserve_bytes=0))
    for stream in (CAMERA, RESULT, TRUTH, LOG):
        writer.open_stream(stream)
        arrays = {n: np.ones((6, *f.shape), f.numpy_dtype) for n, f in stream.fields.items()}
        writer.write(Batch(stream.name, arrays, 0))
        writer.close_stream(stream.name, 6, "complete", "")
    return writer.finish("complete", "all done")


def test_entry(path: Path) -> None:
    assert path.name == f"{RUN.uid}.nxs"
    with h5py.File(path) as file:
        entry = file[file.attrs["default"]]
        assert (file.attrs["NX_class"], file.attrs["creator"]) == ("NXroot", "glasswatch")
        assert entry.attrs["NX_class"] == "NXentry"
        assert entry.attrs["default"] == "camera"
        assert entry["title"].asstr()[()] == "A night"
        assert entry["entry_identifier"].asstr()[()] == RUN.uid
        assert entry["start_time"].asstr()[()] == "2026-01-01T00:00:00.123456+00:00"
        assert entry["end_time"].asstr()[()].endswith("+00:00")
        assert (entry.attrs["status"], entry.attrs["reason"]) == ("complete", "all done")
        assert entry.attrs["complete"]
        assert entry["sample"].attrs["NX_class"] == "NXsample"
        assert entry["sample/anneal/T"][()].tolist() == [600, 650]
        assert entry["user/name"].asstr()[()] == "N. N."
        assert entry["configuration"].attrs["NX_class"] == "NXnote"
        assert entry["configuration/data"].asstr()[()] == RUN.config_text
        assert entry["environment/packages/h5py"].asstr()[()] == "3"


def test_streams(path: Path) -> None:
    with h5py.File(path) as file:
        group = file["entry/camera"]
        assert group.attrs["NX_class"] == "NXdata"
        assert group.attrs["signal"] == "frame"
        assert group.attrs["axes"].tolist() == ["time", "qy", "qx"]
        assert [group.attrs[f"{a}_indices"] for a in ("time", "qy", "qx")] == [0, 1, 2]
        assert group.attrs["interpretation"] == group["frame"].attrs["interpretation"] == "image"
        assert (group.attrs["complete"], group.attrs["count"], group.attrs["status"]) == (
            True,
            6,
            "complete",
        )
        assert group.attrs["scan_shape"].tolist() == [2, 3]
        np.testing.assert_array_equal(group["qy"][()], -2.0 + 0.5 * np.arange(48))
        np.testing.assert_array_equal(group["qx"][()], CAMERA.constants["qx_axis"])
        assert group["qy"].attrs["units"] == "1/nm"
        assert (group["frame"].attrs["units"], group["frame"].attrs["long_name"]) == (
            "counts",
            "electrons",
        )
        assert group["valid"][()].all()
        assert group["frame"].shape == (6, 48, 50)
        assert group["time"].attrs["units"] == "ns"
        result = file["entry/ecm.g2"]
        assert result.attrs["signal"] == "g2"
        assert result.attrs["interpretation"] == "spectrum"
        assert file["entry/run.log"].attrs["signal"] == "index"
        truth = file["entry/truth/camera"]
        assert truth.attrs["NX_class"] == file["entry/truth"].attrs["NX_class"] == "NXcollection"
        assert truth["tau"].shape == (6, 3)


def test_instrument_and_process(path: Path) -> None:
    with h5py.File(path) as file:
        detector = file["entry/instrument/camera"]
        assert detector.attrs["NX_class"] == "NXdetector"
        assert detector["accelerating_voltage_kV"][()] == 200
        assert detector["modes"].asstr()[()].tolist() == ["a", "b"]
        assert detector["nested/deep"][()]
        np.testing.assert_array_equal(detector["mask"][()], CAMERA.constants["mask"])
        assert detector["data"] == file["entry/camera/frame"]
        process = file["entry/process/ecm"]
        assert process.attrs["NX_class"] == "NXprocess"
        assert process["inputs"].asstr()[()].tolist() == ["camera"]
        assert "4.2" in process["configuration/data"].asstr()[()]
        assert "ecm.g2" not in file["entry/instrument"]


def test_raw_streams_are_linked_and_small_results_copied(path: Path) -> None:
    with h5py.File(path) as file:
        link = file["entry/camera"].get("frame", getlink=True)
        assert isinstance(link, h5py.ExternalLink)
        assert (link.filename, link.path) == ("camera.h5", "/entry/camera/frame")
        for name in ("ecm.g2/g2", "truth/camera/tau", "run.log/message"):
            assert file[f"entry/{name}"].file.filename == str(path)
    with h5py.File(path.parent / "camera.h5") as own:
        assert own["entry/camera"].attrs["signal"] == "frame"
        assert own["entry/camera/frame"].shape == (6, 48, 50)


def test_raw_streams_are_copied_if_wanted(tmp_path: Path) -> None:
    writer = RunWriter.create(RUN, tmp_path, RecordingSettings(reserve_bytes=0, copy_raw=True))
    writer.open_stream(CAMERA)
    path = writer.finish("complete", "")
    with h5py.File(path) as file:
        assert file["entry/camera/frame"].file.filename == str(path)


def test_names_of_coordinates_never_hide_fields(tmp_path: Path) -> None:
    axes = [{"name": "time", "step": 1.0}, {"name": "value", "step": 2.0}]
    stream = Stream("s", {"value": Field("<f8", (3, 4))}, axes={"value": axes})
    writer = RunWriter.create(RUN, tmp_path, RecordingSettings(reserve_bytes=0))
    writer.open_stream(stream)
    writer.write(Batch("s", {"value": np.ones((2, 3, 4)), "time": np.arange(2)}, 0))
    with h5py.File(writer.finish("complete", "")) as file:
        group = file["entry/s"]
        assert group["time"].shape == (2,)
        assert group["value"].shape == (2, 3, 4)
        assert [group[a].shape for a in group.attrs["axes"]] == [(2,), (3,), (4,)]
