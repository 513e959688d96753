"""The data socket of a Merlin camera: messages as they come, many frames at once."""

from __future__ import annotations

import socket
import time
from typing import Final

import numpy as np
import numpy.typing as npt

from daq_stem.merlin.commands import PREFIX, PREFIX_BYTES
from daq_stem.merlin.header import MAGIC, FrameHeader, parse_first

DATA_PORT: Final = 6342

HDR: Final = b"HDR"

LONGEST_HDR: Final = 1 << 16
"""bytes of an acquisition header; more is none."""

LARGEST_FRAME: Final = 1 << 28
"""bytes of a frame; more is none."""

RECEIVE_BUFFER: Final = 32 << 20
"""bytes that the kernel is asked to hold for us; it may give less."""

KEEPALIVE: Final = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
"""s of silence, after which the kernel asks whether the camera is there; s between questions, and how
many without an answer: it is gone after 25 s."""

SLACK: Final = 1 << 17
"""bytes beside the frames of a batch, for headers and the beginning of what follows."""


class MessageStream:
    """What comes from the data socket, cut into acquisition headers and frames.

    A message is ``MPX,`` with its length, and an acquisition header (``HDR``) or a frame (``MQ1``).
    Whatever else comes is skipped up to the next ``MPX,`` and counted.

    Parameters
    ----------
    host, port
        Of the Merlin software.
    timeout
        Seconds for the connection.

    Attributes
    ----------
    skipped
        Bytes that belonged to no message, since the stream was made.
    trouble
        What was wrong with the last of them.
    """

    def __init__(self, host: str, port: int, timeout: float) -> None:
        # The size is asked for before the connection: it bounds the window of TCP.
        self._socket = socket.socket(
            socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0], socket.SOCK_STREAM
        )
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            # a cable that was pulled says nothing
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in KEEPALIVE.items():
                if hasattr(socket, option):
                    self._socket.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
            self._socket.settimeout(timeout)
            self._socket.connect((host, port))
        except BaseException:
            self._socket.close()
            raise
        self._buffer = np.empty(SLACK, np.uint8)
        self._begin = self._end = 0
        self._frame_bytes = self._together = self._needed = 0
        self._prefix = np.empty(0, np.uint8)
        self.skipped = 0
        self.trouble = ""

    def close(self) -> None:
        """Disconnect."""
        self._socket.close()

    def expect(self, frame_bytes: int, together: int) -> None:
        """Make room for ``together`` frames, header and pixels of ``frame_bytes`` each."""
        self._frame_bytes, self._together = frame_bytes, together
        head = b"MPX,%010d," % (frame_bytes + 1) + MAGIC
        self._prefix = np.frombuffer(head, np.uint8)
        self._enlarge(together * (frame_bytes + PREFIX_BYTES) + SLACK)

    def fill(self, quiet: float, latency: float) -> None:
        """Receive until the expected frames are here, but not for long.

        It ends where nothing comes for ``quiet`` seconds, or a frame waits for ``latency`` seconds.
        Raises OSError where the camera has gone; `take` gives what had come before.
        """
        size = self._frame_bytes + PREFIX_BYTES
        enough = max(self._together * size, self._needed)
        until, waits = time.monotonic() + quiet, False
        while True:
            held = self._end - self._begin
            if self._frame_bytes and held >= enough:
                return
            if held >= size and not waits:
                until, waits = min(until, time.monotonic() + latency), True
            left = until - time.monotonic()
            if left <= 0:
                return
            self._compact(enough)
            # up to the end of the last frame that is wanted, so that nothing is left to be moved
            wanted = enough - held if self._frame_bytes else len(self._buffer)
            room = min(self._end + wanted, len(self._buffer))
            self._socket.settimeout(left)
            try:
                count = self._socket.recv_into(memoryview(self._buffer)[self._end : room])
            except TimeoutError as error:
                if error.errno is not None:
                    raise  # not our patience: the other side does not answer
                return
            if not count:
                raise ConnectionResetError("it closed the connection")
            self._end += count
            if not self._frame_bytes:
                return

    def take(self) -> bytes | npt.NDArray[np.uint8] | None:
        """Return an acquisition header, or frames [frame, byte]; None where no whole message is here.

        Frames come together where all are of the expected size, else each by itself. They begin with
        the frame header, see `daq_stem.merlin.header.parse_first`, and are valid until the next `fill`.
        """
        while True:
            if (frames := self._alike()) is not None:
                return frames
            whole = self._whole()
            if whole is None:
                return None
            if whole:
                begin, self._begin = self._begin + PREFIX_BYTES, self._begin + whole
                self._needed = 0
                message = self._buffer[begin : self._begin]
                if message[:3].tobytes() == HDR:
                    return message.tobytes()
                return message[None]

    def _alike(self) -> npt.NDArray[np.uint8] | None:
        """Return the frames of the expected size that come next, None where there is none."""
        if not self._frame_bytes:
            return None
        size = self._frame_bytes + PREFIX_BYTES
        count = min((self._end - self._begin) // size, self._together)
        frames = self._buffer[self._begin : self._begin + count * size].reshape(count, size)
        same = (frames[:, : len(self._prefix)] == self._prefix).all(1)
        count = count if same.all() else int(np.argmin(same))
        if not count:
            return None
        self._begin += count * size
        return frames[:count, PREFIX_BYTES:]

    def _whole(self) -> int | None:
        """Return the size of the message that comes next, None where it is not whole yet.

        0 where something was skipped.
        """
        held = self._buffer[self._begin : min(self._end, self._begin + LONGEST_HDR)].tobytes()
        if len(held) < PREFIX_BYTES + len(MAGIC):
            return None if b"MPX,".startswith(held[:4]) else self._skip("no message")
        found = PREFIX.match(held)
        if found is None:
            return self._skip("no message")
        length = int(found[1]) - 1
        payload = held[PREFIX_BYTES:]
        if payload.startswith(HDR):
            if length > LONGEST_HDR:
                return self._skip(f"an acquisition header of {length} bytes")
        elif not payload.startswith(MAGIC):
            return self._skip("neither an acquisition header nor a frame")
        elif length != self._frame_bytes:
            # a length that lies would make us wait for what never comes
            try:
                header = _header_of(payload, length)
            except ValueError as error:
                return self._skip(f"a damaged frame: {error}")
            if header is None:
                return None
            if header.frame_bytes != length:
                return self._skip(
                    f"a damaged frame: {length} bytes came, and its header says {header.frame_bytes}"
                )
        whole = PREFIX_BYTES + length
        if self._end - self._begin < whole:
            self._needed = whole
            self._enlarge(whole + SLACK)
            return None
        return whole

    def _skip(self, trouble: str) -> int:
        """Leave out what is there up to the next ``MPX,``."""
        held = self._buffer[self._begin : self._end].tobytes()
        found = held.find(b"MPX,", 1)
        # what may be the beginning of it is kept
        count = found if found > 0 else max(1, len(held) - 3)
        self._begin += count
        self._needed = 0
        self.skipped += count
        self.trouble = trouble
        return 0

    def _compact(self, enough: int) -> None:
        """Move what is held to the beginning of the buffer, where there would be no room for more."""
        held = self._end - self._begin
        if not held:
            self._begin = self._end = 0
        elif self._begin and len(self._buffer) - self._begin < enough + SLACK // 2:
            self._buffer[:held] = self._buffer[self._begin : self._end].copy()
            self._begin, self._end = 0, held

    def _enlarge(self, size: int) -> None:
        """Have room for a message, or messages, of ``size`` bytes."""
        if self._begin + size > len(self._buffer):
            held = self._end - self._begin
            buffer = np.empty(max(size, len(self._buffer)), np.uint8)
            buffer[:held] = self._buffer[self._begin : self._end]
            self._buffer, self._begin, self._end = buffer, 0, held


def _header_of(payload: bytes, length: int) -> FrameHeader | None:
    """Return what the header of a frame of ``length`` bytes says; None where it is not here yet.

    Raises ValueError where it makes no sense.
    """
    words = payload.split(b",", 3)
    if len(words) < 4 and len(payload) < min(length, 64):
        return None
    if len(words) < 4 or not words[2].isdigit() or length > LARGEST_FRAME:
        raise ValueError("its header makes no sense")
    offset = int(words[2])
    if len(payload) < min(offset, length, LONGEST_HDR // 2):
        return None
    return parse_first(payload[:offset], length - offset)
