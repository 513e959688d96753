"""Messages of the Nanonis programming interface and of its TCP logger, as bytes.

All numbers are big endian. A request is a name of 32 bytes, the size of the body (int32), 1 (uint16: a
reply is wanted), 0 (uint16), and the body; a reply has the same head, and its body ends with an error: status
(uint32), length of the text (int32), text. Texts come after their length (int32). As in the protocol
description of SPECS (TCPProtocol_SPM) and in the packages nanonis-spm and nanonisTCP.
"""

from __future__ import annotations

import dataclasses
import struct
from typing import Any, Final

import numpy as np
import numpy.typing as npt

HEAD_BYTES: Final = 40
LARGEST_BODY: Final = 1 << 29
"""A reply larger than this is taken for a damaged head."""

LOGGER_HEAD: Final = np.dtype(
    [("channels", ">u4"), ("oversampling", ">f4"), ("counter", ">u8"), ("state", ">u2")]
)
"""What comes before the values of each sample of the TCP logger."""


class ControllerError(ValueError):
    """The controller answered with an error; the text is its own."""


class BadReplyError(ValueError):
    """A reply that is not as the protocol describes it."""


def request(name: str, body: bytes = b"") -> bytes:
    """Return the bytes of a request that wants a reply."""
    return struct.pack(">32siHH", name.encode(), len(body), 1, 0) + body


def reply_head(head: bytes) -> tuple[str, int]:
    """Return the command that a reply answers, and the size of its body; raise `BadReplyError`."""
    name, size = struct.unpack_from(">32si", head)
    if not 0 <= size <= LARGEST_BODY:
        raise BadReplyError(f"a reply of {size} bytes")
    return name.rstrip(b"\0").decode("latin-1"), size


class Reply:
    """Reads the body of a reply from its beginning; every method raises `BadReplyError` at its end.

    Parameters
    ----------
    body
        Not copied: what `grid` returns is.
    """

    def __init__(self, body: bytes | bytearray | memoryview) -> None:
        self.body = memoryview(body)
        self._at = 0

    def numbers(self, form: str) -> tuple[Any, ...]:
        """Return numbers by their struct format, such as ``Iif``."""
        return struct.unpack(f">{form}", self._take(struct.calcsize(f">{form}")))

    def text(self) -> str:
        """Return a text that its length precedes."""
        return bytes(self._take(self.numbers("i")[0])).decode("utf-8", "replace")

    def texts(self) -> list[str]:
        """Return an array of texts: size in bytes, count, each with its length."""
        _, count = self.numbers("ii")
        return [self.text() for _ in range(count)]

    def integers(self) -> list[int]:
        """Return an array of int32 that its count precedes."""
        (count,) = self.numbers("i")
        return np.frombuffer(self._take(4 * count), ">i4").tolist()

    def grid(self) -> npt.NDArray[np.float32]:
        """Return a matrix: rows, columns, float32."""
        rows, columns = self.numbers("ii")
        if rows < 0 or columns < 0:
            raise BadReplyError(f"a matrix of {rows} x {columns}")
        values = np.frombuffer(self._take(4 * rows * columns), ">f4")
        return values.astype("<f4").reshape(rows, columns)

    def check_error(self) -> None:
        """Read the error at the end; raise `ControllerError` with its text."""
        rest = self.body[self._at :]
        if len(rest) >= 4 and not struct.unpack_from(">I", rest)[0]:
            return
        if len(rest) < 8:
            raise BadReplyError(f"{len(rest)} bytes where the error should be")
        raise ControllerError(_error_text(bytes(rest[4:])))

    def check_error_only(self) -> None:
        """Raise `ControllerError` where the body is an error with no results before it."""
        if len(self.body) >= 8:
            status, length = struct.unpack_from(">Ii", self.body)
            if status and length == len(self.body) - 8:
                self.check_error()

    def _take(self, size: int) -> memoryview:
        if size < 0 or self._at + size > len(self.body):
            raise BadReplyError(f"the reply ends after {len(self.body)} bytes, too early")
        self._at += size
        return self.body[self._at - size : self._at]


@dataclasses.dataclass(frozen=True, slots=True)
class Buffer:
    """``Scan.BufferGet``: recorded channels and the shape of an image."""

    channels: tuple[int, ...]
    columns: int
    rows: int


@dataclasses.dataclass(frozen=True, slots=True)
class Frame:
    """``Scan.FrameGet``: centre, size (m) and angle (deg, clockwise) of the scan."""

    centre_x: float
    centre_y: float
    width: float
    height: float
    angle: float


@dataclasses.dataclass(frozen=True, slots=True)
class Speed:
    """``Scan.SpeedGet``: seconds of a line, there and back."""

    forward: float
    backward: float


@dataclasses.dataclass(frozen=True, slots=True)
class Grab:
    """``Scan.FrameDataGrab``: a channel in one direction, [rows, columns], the top row first.

    Row and place belong together whatever the direction of the scan; rows that were not scanned are
    NaN. ``upwards``: the scan goes from the bottom to the top.
    """

    name: str
    values: npt.NDArray[np.float32]
    upwards: bool


def parse_names(reply: Reply) -> list[str]:
    """Return the names of all signals of ``Signals.NamesGet``."""
    return reply.texts()


def parse_slots(reply: Reply) -> list[str]:
    """Return the names in the slots of ``Signals.InSlotsGet``; their signal indices are read over."""
    names = reply.texts()
    reply.integers()
    return names


def parse_running(reply: Reply) -> bool:
    """Return the answer of ``Scan.StatusGet``."""
    return bool(reply.numbers("I")[0])


def parse_buffer(reply: Reply) -> Buffer:
    """Return the answer of ``Scan.BufferGet``."""
    channels = tuple(reply.integers())
    columns, rows = reply.numbers("ii")
    return Buffer(channels, columns, rows)


def parse_frame(reply: Reply) -> Frame:
    """Return the answer of ``Scan.FrameGet``."""
    return Frame(*reply.numbers("5f"))


def parse_speed(reply: Reply) -> Speed:
    """Return the answer of ``Scan.SpeedGet``."""
    _, _, forward, backward, _, _ = reply.numbers("4fHf")
    return Speed(forward, backward)


def parse_grab(reply: Reply) -> Grab:
    """Return the answer of ``Scan.FrameDataGrab``."""
    name = reply.text()
    values = reply.grid()
    return Grab(name, values, bool(reply.numbers("I")[0]))


def logger_samples(channels: int) -> np.dtype[Any]:
    """Return the dtype of a sample of the TCP logger with so many channels."""
    return np.dtype([*((name, LOGGER_HEAD[name]) for name in LOGGER_HEAD.names or ()),
                     ("values", ">f4", (channels,))])  # fmt: skip


def _error_text(rest: bytes) -> str:
    """Return the text after the status; some releases have a code before its length."""
    for skip in (0, 4):
        if len(rest) >= skip + 4:
            (length,) = struct.unpack_from(">i", rest, skip)
            if length == len(rest) - skip - 4:
                return rest[skip + 4 :].decode("utf-8", "replace").strip()
    return rest[4:].decode("utf-8", "replace").strip("\0 ")
