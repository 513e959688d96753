"""One party's connection to the bus: a DEALER that says hello, and notices when the bus is gone."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import zmq

from daq import protocol
from daq.bus import endpoint as endpoints
from daq.protocol import Message


class ConnectionLost(ConnectionError):
    """The bus is gone; `Connection.start` begins again on a new socket."""


class Refused(ConnectionError):
    """The bus answered with an error; ``code`` and ``about`` are those of its header."""

    def __init__(self, code: str, message: str, about: str | None = None) -> None:
        super().__init__(message)
        self.code, self.about = code, about


class Connection:
    """A DEALER socket with hello and welcome. For one thread.

    Parameters
    ----------
    endpoint
        Of the bus.
    name, role
        As `hello` gives them; the role is ``source``, ``consumer``, ``recorder`` or ``control``.

    Attributes
    ----------
    welcome
        Header of the bus's answer to `hello`.
    """

    def __init__(self, endpoint: str, name: str, role: str, keys: Any = None) -> None:
        self.endpoint = endpoints.check_endpoint(endpoint)
        self.name = name
        self.role = role
        self._keys = keys
        self._context = zmq.Context()
        self._socket: zmq.Socket[bytes] | None = None
        self._monitor: zmq.Socket[bytes] | None = None
        self._greeting = False
        self.welcome: dict[str, Any] = {}

    def start(self, timeout: float | None = 10.0) -> dict[str, Any]:
        """Connect (anew) and return the header of ``welcome``.

        Waits for a bus that is not there yet; raises `TimeoutError` after ``timeout`` seconds and
        `Refused` where the bus does not want us. After a time-out the next call goes on waiting
        for the same answer, so that short ones get there on a slow line, too.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            if not self._greeting:
                self._greet()
            try:
                while True:
                    left = None if deadline is None else deadline - time.monotonic()
                    message = self.receive(left)
                    if message is None:
                        raise TimeoutError(f"no bus answers at {self.endpoint}")
                    if message.kind == "error":
                        self._greeting = False
                        header = message.header
                        raise Refused(header.get("code", "?"), header.get("message", "?"))
                    if message.kind == "welcome":
                        self._greeting = False
                        self.welcome = message.header
                        return message.header
            except ConnectionLost:
                self._greeting = False

    def send(self, kind: str, header: Mapping[str, Any], parts: Sequence[Any] = ()) -> None:
        """Send a message; parts of 64 KiB and more are sent by reference and must not change."""
        assert self._socket is not None, "start first"
        self._socket.send_multipart([*protocol.pack(kind, header), *parts], copy=False)

    def receive(self, timeout: float | None = None) -> Message | None:
        """Return the next message, or None after ``timeout`` seconds; raise `ConnectionLost`."""
        assert self._socket is not None and self._monitor is not None, "start first"
        # The common case first: something is there.
        frames = self._take()
        if frames is None:
            poller = zmq.Poller()
            poller.register(self._socket, zmq.POLLIN)
            poller.register(self._monitor, zmq.POLLIN)
            wait = None if timeout is None else max(0, round(timeout * 1000))
            ready = dict(poller.poll(wait))
            if self._socket in ready:
                frames = self._take()
            elif self._monitor in ready:
                raise ConnectionLost(f"the bus at {self.endpoint} is gone")
        return None if frames is None else protocol.unpack(frames)

    def close(self) -> None:
        """Close socket and context, after what was sent has left (a second at most)."""
        self._close_socket(linger=0 if self._greeting else None)
        self._context.term()

    def _greet(self) -> None:
        """Begin on a new socket: what still waited in the old one is for a bus that is gone."""
        self._close_socket(linger=0)
        socket = self._socket = self._context.socket(zmq.DEALER)
        socket.setsockopt(zmq.LINGER, 1000)
        socket.setsockopt(zmq.SNDHWM, 0)
        socket.setsockopt(zmq.RCVHWM, 0)
        socket.setsockopt(zmq.RECONNECT_IVL, 20)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 500)
        endpoints.keep_alive(socket, self.endpoint)
        endpoints.secure(socket, self._keys)
        self._monitor = socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        socket.connect(self.endpoint)
        self._greeting = True
        self.send("hello", {
            "protocol": protocol.VERSION, "name": self.name, "role": self.role,
        })  # fmt: skip

    def _take(self) -> list[Any] | None:
        assert self._socket is not None
        try:
            return self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return None

    def _close_socket(self, linger: int | None = None) -> None:
        if self._socket is not None:
            self._socket.disable_monitor()
            self._socket.close(linger)
            self._socket = None
        if self._monitor is not None:
            self._monitor.close(0)
            self._monitor = None
