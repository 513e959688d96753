"""The configurations of cameras, each run as it stands: on recordings, files and a listening source."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 (reads compressed frames)
import numpy as np

from daq_simulators.dectris_detector import Detector

CONFIGS = Path(__file__).parents[2] / "configs"

Runs = Callable[..., Any]


def finished(start_run: Runs, name: str, **values: Any) -> h5py.File:
    """Run a configuration with some values changed; return its file, every stream of which is whole."""
    changes = [f"{key.replace('__', '.')}={value}" for key, value in values.items()]
    text = (CONFIGS / name).read_text()
    run = start_run(text, *(word for change in changes for word in ("--set", change)))
    assert run.finish(120.0) == 0, run.said()
    return whole(run)


def whole(run: Any) -> h5py.File:
    (master,) = run.run_folder.glob("*.nxs")
    file = h5py.File(master)
    streams = [g for g in file["entry"].values() if "status" in getattr(g, "attrs", {})]
    assert streams
    assert {stream.attrs["status"] for stream in streams} == {"complete"}
    return file


def test_listening_to_a_dectris_camera(start_run: Runs) -> None:
    with Detector((40, 52), "u2", images=30, user_data={"scan": [5, 6]}, rate=0) as detector:

        def another_program() -> None:
            for _ in range(2):
                detector.command("arm")
                detector.command("trigger")

        program = threading.Thread(target=another_program, daemon=True)
        program.start()
        file = finished(
            start_run, "dectris-listen.toml", sources__camera__host="'127.0.0.1'",
            sources__camera__port=detector.port, sources__camera__series=2,
            analyses__virtual__image_every=30, analyses__virtual__annuli__dark_field="[10.0,20.0]",
        )  # fmt: skip
        program.join(20.0)
        with file:
            camera = file["entry/camera"]
            expected = np.array([detector.frame(n % 30) for n in range(60)])
            np.testing.assert_array_equal(camera["frame"], expected)
            assert len(file["entry/virtual.sums/dark_field"]) == 60


def test_a_recording_of_a_merlin_camera(start_run: Runs, recordings: Path) -> None:
    path = recordings / "Quad_9_Frame_CounterDepth_12_Rows_256.mib"
    with finished(start_run, "merlin-file.toml", sources__merlin__path=f"'{path}'") as file:
        assert len(file["entry/merlin/frame"]) == 9
        assert np.isfinite(file["entry/virtual.sums/bright_field"]).all()


def test_patterns_from_a_file(start_run: Runs, tmp_path: Path) -> None:
    scans = np.random.default_rng(1).poisson(5, (2, 3, 4, 64, 64)).astype("u2")
    np.save(tmp_path / "scan.npy", scans)
    values = {
        "analyses__virtual__image_every": 12, "sources__camera__corrections__gain": 2.0,
        "sources__camera__path": f"'{tmp_path / 'scan.npy'}'",
    }  # fmt: skip
    with finished(start_run, "camera-files.toml", **values) as file:
        camera = file["entry/camera"]
        np.testing.assert_array_equal(camera["frame"], scans.reshape(-1, 64, 64))
        halo = file["entry/virtual.sums/halo"][()]
        total = file["entry/virtual.sums/total"][()]
    # the raw frames stay raw; what analyses see is doubled, and moved back where it had wandered to
    assert abs(total.mean() / (2 * 5 * 64 * 64) - 1) < 0.1
    assert np.all(halo > 0)


def test_calibration_and_scattering(start_run: Runs, tmp_path: Path) -> None:
    values = {
        "sources__camera__scan": "[4,5]", "sources__camera__scans": 2, "sources__camera__batch": 20,
        "analyses__ring_strain__regions": "[1,2]", "analyses__azimuthal__regions": "[1,2]",
    }  # fmt: skip
    with finished(start_run, "5d-stem-scattering.toml", **values) as file:
        entry = file["entry"]
        error = entry["calibration.geometry/centre_errors"][-1]
        assert np.all(np.abs(entry["calibration.geometry/centre"][-1] - [45.2, 49.6]) < 5 * error)
        assert entry["structure_factor.pair/g"].shape[0] == 2
        assert np.isfinite(entry["ring_strain.strain/strain"][-1]).all()
    assert (tmp_path / "run0" / "camera-calibration.toml").is_file()
