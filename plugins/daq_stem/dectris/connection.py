"""The socket that a DECTRIS stream comes from, and whether anybody is at its other end."""

from __future__ import annotations

import logging
import time
from typing import Any

log = logging.getLogger(__name__)

LARGEST_MESSAGE = 1 << 30
"""Bytes; a sender of more is disconnected."""


class Connection:
    """Receives the messages of one camera; ZeroMQ connects again by itself when it was away.

    Parameters
    ----------
    host, port
        Of the stream.
    queue
        Messages that may wait here for us.

    Attributes
    ----------
    away_since
        time.monotonic() from which on nobody is there; None while somebody is.
    """

    def __init__(self, host: str, port: int, queue: int) -> None:
        import zmq
        from zmq.utils.monitor import parse_monitor_message

        self._zmq, self._parse = zmq, parse_monitor_message
        self.where = f"tcp://{host}:{port}"
        self.away_since: float | None = time.monotonic()
        self._met = False
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PULL)
        self._socket.set(zmq.LINGER, 0)
        self._socket.set(zmq.RCVHWM, queue)
        self._socket.set(zmq.MAXMSGSIZE, LARGEST_MESSAGE)
        self._socket.set(zmq.RECONNECT_IVL, 100)
        self._socket.set(zmq.RECONNECT_IVL_MAX, 2000)
        # a camera whose plug was pulled says no good-bye
        for option, value in (
            (zmq.TCP_KEEPALIVE, 1), (zmq.TCP_KEEPALIVE_IDLE, 20), (zmq.TCP_KEEPALIVE_INTVL, 5),
            (zmq.TCP_KEEPALIVE_CNT, 4),
        ):  # fmt: skip
            self._socket.set(option, value)
        self._monitor = self._socket.get_monitor_socket(
            zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
        )
        try:
            self._socket.connect(self.where)
        except zmq.ZMQError as error:
            self.close()
            raise OSError(f"{self.where}: {error}") from None

    def receive(self, seconds: float) -> list[Any] | None:
        """Return the parts of the next message, None where none comes within ``seconds``."""
        if (parts := self._parts()) is not None:
            return parts
        if not self._socket.poll(max(0, round(seconds * 1000))):
            self._look()
            return None
        return self._parts()

    def _parts(self) -> list[Any] | None:
        """Return the parts of a message that is there, uncopied; None where there is none."""
        receive, flag = self._socket.recv, self._zmq.NOBLOCK
        try:
            frame = receive(flag, False)
        except self._zmq.Again:
            return None
        # a message comes whole; `more` costs less than asking the socket, as recv_multipart does
        parts = [frame.buffer]
        while frame.more:
            frame = receive(flag, False)
            parts.append(frame.buffer)
        return parts

    def _look(self) -> None:
        """Take what the socket tells of its connection; the log says when it changes."""
        zmq = self._zmq
        while self._monitor.poll(0):
            event = self._parse(self._monitor.recv_multipart())["event"]
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED and self.away_since is not None:
                self.away_since = None
                if self._met:
                    log.warning("%s is back", self.where)
                self._met = True
            elif event == zmq.EVENT_DISCONNECTED and self.away_since is None:
                self.away_since = time.monotonic()
                log.warning("%s is away: waiting for it", self.where)

    def close(self) -> None:
        """Disconnect."""
        self._socket.disable_monitor()
        self._monitor.close(linger=0)
        self._socket.close()
        self._context.term()
