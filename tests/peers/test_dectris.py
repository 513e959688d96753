"""DECTRIS streams: our messages by the maker's decoding, both versions of cbor2, another's simulator."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq

from daq.testing import record_source
from daq_simulators.dectris_detector import Detector
from daq_stem.dectris.source import Dectris
from tests.peers.conftest import HERE, TREE, clean_environment

pytestmark = [pytest.mark.peers, pytest.mark.timeout(600)]


def messages(detector: Detector, folder: Path) -> None:
    """Write every message of a series to a file of its own."""
    folder.mkdir(exist_ok=True)
    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        socket.linger, socket.rcvtimeo = 0, 10_000
        socket.connect(f"tcp://127.0.0.1:{detector.port}")
        detector.command("arm")
        detector.command("trigger")
        for number in range(detector.total + 2):
            (folder / f"{number:06d}.cbor").write_bytes(socket.recv())


@pytest.mark.parametrize("name", ["cbor2_5", "dectris_compression"])
def test_our_messages_are_read_by_others(
    peer: Callable[[str], Any], tmp_path: Path, name: str
) -> None:
    environment = peer(name)
    for dtype in ("u1", "u2", "u4"):
        for method in ("none", "lz4", "bslz4"):
            folder = tmp_path / f"{dtype}-{method}"
            with Detector((39, 50), dtype, images=3, rate=0, compression=method) as detector:
                messages(detector, folder)
                found = environment.run(
                    f"decode_with_{name}.py", folder=str(folder), tree=str(TREE)
                )
                np.testing.assert_array_equal(found["masks"], [detector.mask])
                for number, frame in enumerate(found["frames"]):
                    np.testing.assert_array_equal(frame, detector.frame(number))
                assert len(found["frames"]) == 3
            if name == "cbor2_5":
                assert {40, 56500} <= set(found["tags"].tolist())
                assert np.diff(found["times"]).tolist() == [1_000_000, 1_000_000]


def test_the_simulated_quadro_of_libertem_dectris(peer: Callable[[str], Any]) -> None:
    """Its frame n holds n in each of 512 x 512 pixels."""
    command = [peer("libertem_dectris").python, HERE / "serve_libertem_dectris.py", "40"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=clean_environment()
    ) as program:
        watchdog = threading.Timer(120, program.kill)
        watchdog.start()
        assert program.stdin is not None and program.stdout is not None
        port = int(program.stdout.readline().rsplit(":", 1)[1])
        program.stdin.write("go\n")
        program.stdin.flush()
        config = {"host": "127.0.0.1", "port": port, "format": "legacy", "series": 1, "threads": 2}
        found = record_source(Dectris, config)["dectris"]
        watchdog.cancel()
    assert found.stream.fields["frame"].shape == (512, 512)
    assert found.stream.attributes["detector_description"] == "Dectris QUADRO Si 250K"
    assert found.stream.expect == 40
    assert not found.missing
    frames = found.arrays["frame"]
    np.testing.assert_array_equal(
        frames, np.broadcast_to(np.arange(40)[:, None, None], frames.shape)
    )
    # its counter stands still
    date = np.datetime64("2022-05-10T16:20:50.027", "ns").astype(np.int64)
    np.testing.assert_array_equal(found.arrays["time"], date)
