"""The command socket of a Merlin camera: parameters are set and asked for, acquisitions started."""

from __future__ import annotations

import re
import socket
import time
from typing import Final

COMMAND_PORT: Final = 6341

PREFIX: Final = re.compile(rb"MPX,(\d{10}),")
PREFIX_BYTES: Final = 15

LONGEST_ANSWER: Final = 1 << 16
"""bytes; more is no answer."""

CODES: Final = {
    1: "it is busy",
    2: "it does not know this",
    3: "the value is out of range",
    4: "it is busy",
}
"""What a camera says that does not do what it is told; 0 is well done."""

IDLE, BUSY, ARMED = 0, 1, 4
"""What DETECTORSTATUS may be, besides."""


class RefusedError(ValueError):
    """The camera does not do what it is told; ``code`` is its reason."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code

    @property
    def busy(self) -> bool:
        """Whether it may do so later."""
        return self.code in (1, 4)


def request(*words: object) -> bytes:
    """Return the bytes of a request: ``MPX,`` length, body; the length counts the comma before the body."""
    body = ",".join(str(word) for word in words).encode("ascii")
    return b"MPX,%010d," % (len(body) + 1) + body


class Commands:
    """A connection to the command socket; one request at a time.

    Parameters
    ----------
    host, port
        Of the Merlin software.
    timeout
        Seconds for the connection, and for an answer.

    Raises
    ------
    OSError
        Where there is no camera or it does not answer; every method may raise it, and the
        connection is of no more use then. `RefusedError` where it refuses.
    """

    def __init__(self, host: str, port: int = COMMAND_PORT, timeout: float = 5.0) -> None:
        self._timeout = timeout
        self._socket = socket.create_connection((host, port), timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""

    def close(self) -> None:
        """Disconnect."""
        self._socket.close()

    def get(self, name: str) -> str:
        """Return the value of a parameter."""
        return self._ask("GET", name).strip()

    def set(self, name: str, value: object) -> None:
        """Change a parameter; times are in ms."""
        self._ask("SET", name, value)

    def do(self, name: str) -> None:
        """Give a command: STARTACQUISITION, STOPACQUISITION, SOFTTRIGGER."""
        self._ask("CMD", name)

    def status(self) -> int | None:
        """Return DETECTORSTATUS, None where the camera has none."""
        try:
            return int(self.get("DETECTORSTATUS"))
        except ValueError:
            return None

    def _ask(self, kind: str, name: str, *value: object) -> str:
        """Send a request; return what stands in the answer between the name and the code."""
        self._socket.sendall(request(kind, name, *value))
        deadline = time.monotonic() + self._timeout
        while True:
            words = self._answer(deadline).decode("latin-1").split(",")
            # answers to earlier requests may come late
            if [word.strip().upper() for word in words[:2]] == [kind, name.upper()]:
                break
        try:
            code = int(words[-1].strip(" \0\r\n"))
        except ValueError:
            raise ConnectionError(f"the answer to {kind} {name} makes no sense") from None
        if code:
            what = " ".join([kind, name, *map(str, value)])
            raise RefusedError(f"{what}: {CODES.get(code, f'error {code}')}", code)
        return ",".join(words[2:-1])

    def _answer(self, deadline: float) -> bytes:
        """Return the body of the next answer; what stands before ``MPX,`` is skipped."""
        while True:
            found = PREFIX.search(self._received)
            if found is not None and int(found[1]) <= LONGEST_ANSWER:
                end = found.end() + int(found[1]) - 1
                # LiberTEM's simulated camera does not count the comma: the code is missing then
                if len(self._received) >= end and self._received[end - 1 : end] == b",":
                    end += 1
                if len(self._received) >= end:
                    body, self._received = self._received[found.end() : end], self._received[end:]
                    return body
            elif found is not None:
                self._received = self._received[found.end() :]
                continue
            else:
                self._received = self._received[-PREFIX_BYTES:]
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                more = self._socket.recv(4096)
            except TimeoutError:
                raise TimeoutError(f"it does not answer within {self._timeout:g} s") from None
            if not more:
                raise ConnectionResetError("it closed the connection")
            self._received += more
