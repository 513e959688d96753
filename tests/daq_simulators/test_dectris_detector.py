"""The simulated DECTRIS detector, seen by a client that knows nothing of this package."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cbor2
import numpy as np
import pytest
import zmq

from daq_simulators.dectris_cbor import encode, message, tag
from daq_simulators.dectris_detector import Detector, Faults, main, pattern


@contextmanager
def listening(detector: Detector) -> Iterator[zmq.Socket]:
    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        socket.linger = 0
        socket.connect(f"tcp://127.0.0.1:{detector.port}")
        socket.rcvtimeo = 10_000
        yield socket


def series(socket: zmq.Socket) -> list[dict[str, Any]]:
    """Receive until a series has ended."""
    found = []
    while not found or found[-1]["type"] != "end":
        found.append(cbor2.loads(socket.recv()))
    return found


def ask(detector: Detector, method: str, path: str, value: Any = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", detector.api_port, timeout=10)
    body = None if value is None else json.dumps({"value": value})
    connection.request(method, path, body)
    answer = connection.getresponse()
    found = answer.status, json.loads(answer.read())
    connection.close()
    return found


def test_cbor_is_what_cbor2_reads_and_writes() -> None:
    values = [
        {"a": [0, 23, 24, 255, 256, 65535, 65536, 1 << 32, (1 << 64) - 1, -1, -500]},
        {"b": 1.5, "c": None, "d": True, "e": "Grüße", "f": b"\x00" * 300, "g": [], "h": {}},
        {"x" * 30: ["y" * 70_000]},
    ]
    for value in values:
        assert encode(value) == cbor2.dumps(value)
        assert cbor2.loads(message(value)) == cbor2.loads(b"\xd9\xd9\xf7" + cbor2.dumps(value))
    date = tag(0, "2026-01-02T03:04:05.678+00:00")
    assert cbor2.loads(date).isoformat() == "2026-01-02T03:04:05.678000+00:00"
    with pytest.raises(TypeError, match="set"):
        encode({1, 2})


def test_a_series_by_rest() -> None:
    with Detector((30, 44), images=5, rate=0, channels=["low", "high"]) as detector:
        assert ask(detector, "GET", "/detector/api/version")[1]["value"] == "1.8.0"
        config = "/detector/api/1.8.0/config"
        assert ask(detector, "PUT", f"{config}/nimages", 3) == (200, ["nimages"])
        assert ask(detector, "GET", f"{config}/x_pixels_in_detector")[1]["value"] == 44
        assert ask(detector, "PUT", f"{config}/colour", 3)[0] == 404
        assert ask(detector, "PUT", f"{config}/compression", "zip")[0] == 400
        status = "/detector/api/1.8.0/status/state"
        command = "/detector/api/1.8.0/command"
        assert ask(detector, "PUT", f"{command}/trigger")[0] == 400
        with listening(detector) as socket:
            assert ask(detector, "PUT", f"{command}/arm") == (200, {"sequence id": 1})
            assert ask(detector, "GET", status)[1]["value"] == "ready"
            assert ask(detector, "PUT", f"{command}/trigger")[0] == 200
            start, *images, end = series(socket)
        assert ask(detector, "GET", status)[1]["value"] == "idle"
    assert (start["image_size_y"], start["image_size_x"]) == (30, 44)
    assert start["number_of_images"] == 3
    assert list(start["channels"]) == ["low", "high"]
    assert [image["image_id"] for image in images] == [0, 1, 2]
    assert list(images[0]["data"]) == ["low", "high"]
    assert end == {k: start[k] for k in ("series_id", "series_unique_id")} | {"type": "end"}
    # the mask's tags: 40, 70 (uint32, little endian), 56500
    mask = start["pixel_mask"]["low"]
    assert (mask.tag, mask.value[1].tag, mask.value[1].value.tag) == (40, 70, 56500)


def test_triggers_one_by_one_and_abort() -> None:
    with Detector((8, 8), rate=0) as detector, listening(detector) as socket:
        detector.detector |= {"trigger_mode": "inte", "ntrigger": 4}
        detector.command("arm")
        detector.command("trigger")
        detector.command("trigger")
        assert detector.state == "ready"
        detector.command("abort")
        found = series(socket)
        assert [entry["type"] for entry in found] == ["start", "image", "image", "end"]
        detector.detector |= {"trigger_mode": "exte"}
        detector.command("arm")
        detector.wait_idle()
        assert len(series(socket)) == 6


def test_faults_to_order() -> None:
    faults = Faults(drop=(1,), repeat=(2,), cut=(4,), no_end=True)
    with (
        Detector((8, 8), images=6, rate=0, faults=faults) as detector,
        listening(detector) as socket,
    ):
        detector.command("arm")
        detector.command("trigger")
        numbers = []
        for _ in range(7):
            try:
                numbers.append(cbor2.loads(socket.recv()).get("image_id"))
            except cbor2.CBORDecodeError:
                numbers.append(-4)
        assert numbers == [None, 0, 2, 2, 3, -4, 5]
        assert not socket.poll(100)


def test_images_that_nobody_takes_are_lost_as_a_camera_loses_them() -> None:
    with Detector((8, 8), images=3000, rate=0, lossy=True) as detector:
        detector.command("arm")
        detector.command("trigger")
        detector.wait_idle()
        path = "/stream/api/1.8.0/status/dropped"
        # with nobody there, start and end are lost as well
        assert ask(detector, "GET", path)[1]["value"] == 3002


def test_patterns_are_repeatable_and_do_not_saturate() -> None:
    one, other = pattern((20, 30), "u1", 4, 1), pattern((20, 30), "u1", 4, 1)
    np.testing.assert_array_equal(one, other)
    assert one.max() < 255
    assert (one[0] != one[1]).any()


def test_the_program_ends_by_itself(tmp_path: Any) -> None:
    frames = np.arange(2 * 6 * 9, dtype="u2").reshape(2, 6, 9)
    np.save(tmp_path / "frames.npy", frames)
    command = [
        sys.executable, "-m", "daq_simulators.dectris_detector", "--listen", "0", "--api", "0",
        "--frames", str(tmp_path / "frames.npy"), "--images", "3", "--rate", "0", "--series", "2",
        "--compression", "none", "--scan", "1", "3",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        watchdog = threading.Timer(20, program.kill)
        watchdog.start()
        port = int(program.stdout.readline().split("tcp://127.0.0.1:")[1].split(",")[0])
        with zmq.Context() as context, context.socket(zmq.PULL) as socket:
            socket.linger, socket.rcvtimeo = 0, 10_000
            socket.connect(f"tcp://127.0.0.1:{port}")
            for number in (1, 2):
                start, *images, _ = series(socket)
                assert start["series_id"] == number
                assert list(start["user_data"]["scan"]) == [1, 3]
                assert len(images) == 3
                content = images[1]["data"]["threshold_1"].value[1].value
                sent = np.frombuffer(content, "<u2").reshape(6, 9)
                good = sent != 65535
                np.testing.assert_array_equal(sent[good], frames[1][good])
        assert program.wait(20) == 0
        watchdog.cancel()


def test_help_says_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    assert "--die-after" in capsys.readouterr().out


def test_it_dies_to_order() -> None:
    detector = Detector((8, 8), images=50, rate=0, faults=Faults(die_after=7))
    with listening(detector) as socket:
        detector.command("arm")
        threading.Thread(target=detector.command, args=("trigger",), daemon=True).start()
        assert [cbor2.loads(socket.recv())["type"] for _ in range(8)] == ["start"] + 7 * ["image"]
        assert not socket.poll(200)
        assert detector.state == "gone"
    detector.close()
