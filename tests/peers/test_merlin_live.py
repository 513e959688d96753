"""The live Merlin source with LiberTEM-live's simulated camera, and ours with LiberTEM's receiver."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daq.testing import record_source
from daq_simulators.merlin_detector import Images, MerlinDetector, Recording
from daq_stem.merlin.reader import MerlinReader
from daq_stem.merlin.source import Merlin

from .conftest import clean_environment

pytestmark = [pytest.mark.peers, pytest.mark.timeout(600)]

TREE = Path(__file__).resolve().parents[2]
LIBERTEM_LIVE = "../../benchmarks/peers/libertem_live"
"""One list of requirements for tests and benchmarks."""


@contextlib.contextmanager
def simulated(
    peer: Callable[[str], Any], path: Path, log: Path, *options: str
) -> Iterator[dict[str, Any]]:
    """Start ``libertem-live-mib-sim`` with 3 x 3 frames of a file; give where it listens."""
    # it takes all files whose names begin alike for one recording
    alone = log.parent / "alone"
    alone.mkdir()
    for suffix in (".hdr", ".mib"):
        shutil.copy(path.with_suffix(suffix), alone)
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(3)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        data, command, trigger = (one.getsockname()[1] for one in sockets)
    program = peer(LIBERTEM_LIVE).python.parent / "libertem-live-mib-sim"
    ports = ["--data-port", data, "--control-port", command, "--trigger-port", trigger]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [program, alone / f"{path.stem}.hdr", "--nav-shape", "3", "3", "--host", "127.0.0.1",
             *map(str, ports), *options],
            stdout=out, stderr=out, env=clean_environment(),
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while not all(map(listens, (data, command))):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield {"host": "127.0.0.1", "port": data, "command_port": command, "scan": [3, 3]}
    finally:
        process.kill()
        process.wait()


def listens(port: int) -> bool:
    """Tell without connecting: it would begin to send."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(f[1].endswith(f":{port:04X}") and f[3] == "0A" for f in map(str.split, lines))


def from_file(path: Path) -> tuple[np.ndarray, np.ndarray]:
    reader = MerlinReader()
    reader.open(path, MerlinReader.Config())
    batches = list(reader.batches({}))
    reader.close()
    return (
        np.concatenate([batch.raw["frame"] for batch in batches]),
        np.concatenate([batch.time for batch in batches]),
    )


def assert_twice(records: Any, path: Path) -> None:
    frames, times = from_file(path)
    np.testing.assert_array_equal(records.arrays["frame"], np.concatenate([frames, frames]))
    np.testing.assert_array_equal(records.arrays["time"], np.concatenate([times, times]))
    assert records.stream.expect == 18
    assert records.stream.scan == {"shape": [3, 3]}


@pytest.mark.parametrize("depth", [1, 12])
def test_listens(
    peer: Callable[[str], Any], merlin_files: Path, tmp_path: Path, depth: int
) -> None:
    path = merlin_files / f"Quad_9_Frame_CounterDepth_{depth}_Rows_256.mib"
    with simulated(peer, path, tmp_path / "log") as where:
        found = record_source(Merlin, {**where, "acquisitions": 2})["merlin"]
    assert_twice(found, path)
    assert found.stream.attributes["hdr"]["Readout System"] == "Merlin Quad"


def test_arms_and_triggers_after_garbage(
    peer: Callable[[str], Any], merlin_files: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = merlin_files / "Single_9_Frame_CounterDepth_24_Rows_256.mib"
    with simulated(peer, path, tmp_path / "log", "--wait-trigger", "--garbage") as where:
        keys = {"arm": True, "trigger": "soft", "acquisitions": 2, "acquisition_time": 0.001}
        found = record_source(Merlin, {**where, **keys})["merlin"]
        said = (tmp_path / "log").read_text()
    assert_twice(found, path)
    assert "21504 bytes skipped" in caplog.text
    assert said.count("b'CMD,STARTACQUISITION'") == said.count("b'CMD,SOFTTRIGGER'") > 0


@pytest.mark.parametrize(("dtype", "kind"), [("u1", "U08"), ("u2", "U16"), ("u4", "U32")])
def test_our_camera_is_understood_by_the_receiver_of_libertem(
    peer: Callable[[str], Any], dtype: str, kind: str
) -> None:
    images = np.random.default_rng(0).integers(0, 200, (12, 16, 24), dtype)
    camera = MerlinDetector(
        Images(images, kind), free_running=True, speed=0, header={"ScanX": "4", "ScanY": "3"}
    )
    with camera:
        camera.parameters["NUMFRAMESTOACQUIRE"] = "12"
        found = peer("libertem_qd_mpx").run(
            "receive_merlin.py", port=camera.data_port, shape=[16, 24], dtype=dtype
        )
    # LiberTEM keeps the order of the camera: the bottom row first
    np.testing.assert_array_equal(found["frames"][:, ::-1], images)
    assert found["nav"].tolist() == [3, 4]


@pytest.mark.parametrize("chips", ["Single", "Quad"])
def test_raw_frames(peer: Callable[[str], Any], merlin_files: Path, chips: str) -> None:
    path = merlin_files / f"{chips}_9_Frame_CounterDepth_1_Rows_256RAW.mib"
    packages = [TREE, TREE / "plugins"]
    with MerlinDetector(Recording(path), free_running=True, speed=0) as camera:
        live = peer("libertem_qd_mpx").run(
            "read_raw_merlin_live.py", packages=packages, port=camera.data_port
        )
    read = peer("libertem_qd_mpx").run(
        "read_raw_merlin.py", packages=packages, paths=[path], start=0
    )[path.stem]
    np.testing.assert_array_equal(live["frames"], np.concatenate([read, read]))
    assert (np.diff(live["times"][:9]) > 900_000).all()
