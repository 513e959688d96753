"""The bytes of the Nanonis protocol, written out by hand from its description, for both sides."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from daq_afm import nanonis_protocol as protocol
from daq_afm.nanonis_connection import FORWARD, Connection
from daq_simulators.nanonis_controller import Controller, ScanEngine

FINE = "00000000 00000000"

GRAB_REQUEST = bytes.fromhex(
    "5363616e2e4672616d654461746147726162" + "00" * 14  # Scan.FrameDataGrab, 32 bytes
    + "00000008 0001 0000" + "0000000e 00000001"  # 8 bytes follow, reply wanted; channel 14, forward
)  # fmt: skip

GRAB_REPLY = bytes.fromhex(
    "5363616e2e4672616d654461746147726162" + "00" * 14 + "00000035 00000000"
    + "00000005 5a20286d29"  # Z (m)
    + "00000003 00000002"  # 3 rows, 2 columns
    + "3f800000 40000000 40400000 c0800000 7fc00000 7fc00000"  # 1 2 / 3 -4 / NaN NaN
    + "00000000" + FINE  # down; no error
)  # fmt: skip

REPLIES = {
    "Scan.StatusGet": f"00000001 {FINE}",
    "Scan.FrameGet": f"3f800000 c0000000 40000000 40800000 41200000 {FINE}",
    "Scan.BufferGet": f"00000002 0000000e 00000018 00000100 00000080 {FINE}",
    "Scan.SpeedGet": f"3f800000 3f800000 3e800000 3f000000 0001 3f800000 {FINE}",
    "Signals.NamesGet": f"00000012 00000002 00000005 5a20286d29 00000005 5820286d29 {FINE}",
}  # fmt: skip


class Scripted:
    """A controller that answers each question with prepared bytes, in two pieces."""

    def __init__(self, *replies: bytes) -> None:
        self.asked: list[bytes] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, args=(replies,), daemon=True)
        self._thread.start()
        self.connection = Connection("127.0.0.1", self._server.getsockname()[1], 5.0)

    def _serve(self, replies: tuple[bytes, ...]) -> None:
        client, _ = self._server.accept()
        with client, self._server:
            for reply in replies:
                head = client.recv(40, socket.MSG_WAITALL)
                size = struct.unpack_from(">i", head, 32)[0]
                self.asked.append(head + (client.recv(size, socket.MSG_WAITALL) if size else b""))
                client.sendall(reply[:33])
                client.sendall(reply[33:])

    def close(self) -> None:
        self.connection.close()
        self._thread.join(5)


def reply(name: str, body: str | bytes) -> bytes:
    data = bytes.fromhex(body) if isinstance(body, str) else body
    return name.encode().ljust(32, b"\0") + struct.pack(">ii", len(data), 0) + data


@pytest.fixture
def controller() -> Iterator[Controller]:
    # The surface is replaced by numbers that can be written out.
    engine = ScanEngine(3, 2, channels=(14, 24), clock=lambda: 0.0)
    engine.start(upwards=False)
    grid = np.array([[1, 2], [3, -4], [5, 6]], np.float32)
    engine._images[0, 14, 1] = grid
    engine._before = 2.0
    with Controller(engine) as made:
        yield made


def test_requests_and_replies_byte_by_byte() -> None:
    names = list(REPLIES)
    scripted = Scripted(GRAB_REPLY, *(reply(name, REPLIES[name]) for name in names))
    connection = scripted.connection
    grab = connection.grab(14, FORWARD)
    assert (grab.name, grab.upwards, grab.values.dtype.str) == ("Z (m)", False, "<f4")
    np.testing.assert_array_equal(grab.values, [[1, 2], [3, -4], [np.nan, np.nan]])
    assert connection.running()
    assert connection.frame() == protocol.Frame(1, -2, 2, 4, 10)
    assert connection.buffer() == protocol.Buffer((14, 24), columns=256, rows=128)
    assert connection.speed() == protocol.Speed(0.25, 0.5)
    assert connection.signal_names() == ["Z (m)", "X (m)"]
    scripted.close()
    assert scripted.asked[0] == GRAB_REQUEST
    for name, asked in zip(names, scripted.asked[1:], strict=True):
        assert asked == name.encode().ljust(32, b"\0") + bytes.fromhex("00000000 0001 0000")


def test_the_simulated_controller_answers_with_these_bytes(controller: Controller) -> None:
    assert controller.answer("Scan.FrameDataGrab", GRAB_REQUEST[40:]) == GRAB_REPLY
    controller.engine.centre, controller.engine.size = (1.0, -2.0), (2.0, 4.0)
    controller.engine.angle = 10.0
    assert controller.answer("Scan.FrameGet", b"")[40:] == bytes.fromhex(REPLIES["Scan.FrameGet"])
    buffer = bytes.fromhex(f"00000002 0000000e 00000018 00000002 00000003 {FINE}")
    assert controller.answer("Scan.BufferGet", b"")[40:] == buffer
    assert controller.answer("Scan.StatusGet", b"")[40:] == bytes.fromhex(REPLIES["Scan.StatusGet"])


def test_errors_of_the_controller_are_its_words(controller: Controller) -> None:
    connection = Connection("127.0.0.1", controller.port)
    with pytest.raises(protocol.ControllerError, match="Channel 3 is not among the acquired"):
        connection.grab(3, FORWARD)
    assert connection.buffer().channels == (14, 24)  # and the connection goes on
    with pytest.raises(protocol.ControllerError, match=r"Unknown command 'Scan\.Dance'"):
        connection._ask("Scan.Dance", b"", protocol.parse_running)
    connection.close()


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        (struct.pack(">Ii", 1, 4) + b"oops", protocol.ControllerError, "^oops$"),
        (struct.pack(">IIi", 0, 7, 4) + b"oops", protocol.ControllerError, "^oops$"),
        # releases that have a code before the length
        (struct.pack(">IIii", 0, 1, 66, 4) + b"oops", protocol.ControllerError, "^oops$"),
        (b"\0\0", protocol.BadReplyError, "too early"),
        (struct.pack(">I", 1), protocol.BadReplyError, "where the error should be"),
    ],
)
def test_errors_in_every_form(body: bytes, error: type[ValueError], message: str) -> None:
    scripted = Scripted(reply("Scan.StatusGet", body))
    with pytest.raises(error, match=message):
        scripted.connection.running()
    scripted.close()


def test_one_channel_with_an_index_like_an_error() -> None:
    """The reply to Scan.BufferGet of one channel, 16, begins as an error of 16 bytes would."""
    scripted = Scripted(reply("Scan.BufferGet", f"00000001 00000010 00000100 00000080 {FINE}"))
    assert scripted.connection.buffer().channels == (16,)
    scripted.close()


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (
            reply("Scan.FrameGet", REPLIES["Scan.FrameGet"]),
            "asked for Scan.StatusGet, the reply is",
        ),
        (b"Scan.StatusGet".ljust(32, b"\0") + struct.pack(">ii", -5, 0), "a reply of -5 bytes"),
        (b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n"[:40].ljust(40), "a reply of"),
    ],
)
def test_replies_that_make_no_sense(sent: bytes, message: str) -> None:
    scripted = Scripted(sent)
    with pytest.raises(protocol.BadReplyError, match=message):
        scripted.connection.running()
    scripted.close()


def test_a_matrix_that_lies_about_its_size() -> None:
    body = bytes.fromhex("00000000 00001000 00001000 3f800000")
    scripted = Scripted(reply("Scan.FrameDataGrab", body))
    with pytest.raises(protocol.BadReplyError, match="too early"):
        scripted.connection.grab(0, FORWARD)
    scripted.close()


def test_a_sample_of_the_logger() -> None:
    sample = bytes.fromhex("00000002 41200000 0000000000000007 0004 3f800000 40000000")
    (found,) = np.frombuffer(sample, protocol.logger_samples(2))
    assert found["counter"] == 7
    assert found["oversampling"] == 10
    assert found["state"] == 4
    assert found["values"].tolist() == [1, 2]


def test_the_program_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    from daq_simulators import nanonis_controller

    with pytest.raises(SystemExit):
        nanonis_controller.main(["--help"])
    assert "--line-time" in capsys.readouterr().out
    assert "nanonis_controller --lines" in Path(nanonis_controller.__file__).read_text()
