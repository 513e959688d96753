"""A connection to the programming interface of a Nanonis controller."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from daq_afm import nanonis_protocol as protocol

Result = TypeVar("Result")

FORWARD: Final = 1
BACKWARD: Final = 0


class Connection:
    """Asks the controller, one question at a time; it never changes what the microscope does.

    ``start_logger`` excepted, which chooses and starts the channels of the TCP logger.

    Parameters
    ----------
    host, port
        Of the programming interface: 6501 to 6504, each for one client.
    timeout
        Seconds for a connection, and for a reply.

    Raises
    ------
    OSError
        Where there is no controller, or it does not answer; every method may raise it, and the connection
        is of no more use then. `ControllerError` with the controller's text, `BadReplyError` where a reply
        makes no sense.
    """

    def __init__(self, host: str, port: int, timeout: float = 5.0) -> None:
        self._socket = socket.create_connection((host, port), timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._body = bytearray(1 << 16)

    def close(self) -> None:
        """Disconnect."""
        self._socket.close()

    def signal_names(self) -> list[str]:
        """Return the names of all signals, with units, by index."""
        return self._ask("Signals.NamesGet", b"", protocol.parse_names)

    def slot_names(self) -> list[str]:
        """Return the names of the signals in the 24 slots of older releases."""
        return self._ask("Signals.InSlotsGet", b"", protocol.parse_slots)

    def running(self) -> bool:
        """Tell whether a scan is running."""
        return self._ask("Scan.StatusGet", b"", protocol.parse_running)

    def buffer(self) -> protocol.Buffer:
        """Return channels and shape of the scan."""
        return self._ask("Scan.BufferGet", b"", protocol.parse_buffer)

    def frame(self) -> protocol.Frame:
        """Return where the scan is."""
        return self._ask("Scan.FrameGet", b"", protocol.parse_frame)

    def speed(self) -> protocol.Speed:
        """Return how long a line takes."""
        return self._ask("Scan.SpeedGet", b"", protocol.parse_speed)

    def grab(self, channel: int, direction: int) -> protocol.Grab:
        """Return what was scanned so far of a channel, `FORWARD` or `BACKWARD`."""
        body = struct.pack(">II", channel, direction)
        return self._ask("Scan.FrameDataGrab", body, protocol.parse_grab)

    def start_logger(self, channels: Sequence[int], oversampling: int | None) -> None:
        """Choose the channels (signal indices) of the TCP logger, its oversampling, and start it."""
        body = struct.pack(f">i{len(channels)}i", len(channels), *channels)
        self._ask("TCPLog.ChsSet", body, _nothing)
        if oversampling is not None:
            self._ask("TCPLog.OversamplSet", struct.pack(">i", oversampling), _nothing)
        self._ask("TCPLog.Start", b"", _nothing)

    def _ask(self, name: str, body: bytes, parse: Callable[[protocol.Reply], Result]) -> Result:
        self._socket.sendall(protocol.request(name, body))
        answered, size = protocol.reply_head(self._receive(protocol.HEAD_BYTES))
        if answered != name:
            raise protocol.BadReplyError(f"asked for {name}, the reply is to {answered[:40]!r}")
        reply = protocol.Reply(self._receive(size))
        try:
            result = parse(reply)
            reply.check_error()
        except (protocol.BadReplyError, protocol.ControllerError):
            protocol.Reply(reply.body).check_error_only()
            raise
        return result

    def _receive(self, size: int) -> memoryview:
        if size > len(self._body):
            self._body = bytearray(size)
        view = memoryview(self._body)[:size]
        at = 0
        while at < size:
            count = self._socket.recv_into(view[at:])
            if not count:
                raise ConnectionResetError("the controller closed the connection")
            at += count
        return view


def _nothing(_: protocol.Reply) -> None:
    """Parse a reply that has an error and nothing else."""
