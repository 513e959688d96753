"""Answers ``fetch``: from memory, or from the run's file in a thread so that data never waits."""

from __future__ import annotations

import contextlib
import logging
import queue
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import zmq

from daq import protocol
from daq.bus.channel import Channel
from daq.bus.messages import parts_of
from daq.bus.peers import Peer, Peers
from daq.bus.settings import FETCH_BYTES
from daq.protocol import Message, ProtocolError
from daq.streams import Batch

log = logging.getLogger("bus")

History = Callable[[str, int, int, int], Batch]
"""``(stream, first, count, stride) -> batch`` from the file; raises LookupError or OSError."""


class Fetcher:
    """One thread that reads history; `socket` becomes readable when `answers` has something.

    Parameters
    ----------
    context
        Of the bus.
    history
        Reads from the file; None where nothing is recorded.
    """

    MOST_WAITING = 64

    def __init__(self, context: zmq.Context[Any], history: History | None) -> None:
        address = f"inproc://fetcher-{secrets.token_hex(8)}"
        self.socket = context.socket(zmq.PULL)
        self.socket.bind(address)
        self._wake = context.socket(zmq.PUSH)
        self._wake.connect(address)
        self._history = history
        self._asked: queue.Queue[tuple[Any, ...] | None] = queue.Queue()
        self._answered: queue.SimpleQueue[tuple[bytes, Any, int, Batch | ProtocolError]]
        self._answered = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="fetcher", daemon=True)
        self._thread.start()

    def ask(
        self, who: bytes, identity: Any, stream: str, first: int, count: int, stride: int
    ) -> None:
        """Queue a request; raises `ProtocolError` ``busy`` where 64 are waiting."""
        if self._asked.qsize() >= self.MOST_WAITING:
            raise ProtocolError("busy", f"{stream}: too many requests are waiting; ask again")
        self._asked.put((who, identity, stream, first, count, stride))

    def answers(self) -> Iterator[tuple[bytes, Any, int, Batch | ProtocolError]]:
        """Yield (who, id, stride, batch or the reason why not)."""
        while True:
            try:
                self.socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                break
        while not self._answered.empty():
            yield self._answered.get()

    def close(self) -> None:
        """End the thread and close its sockets."""
        while not self._asked.empty():
            self._asked.get_nowait()
        self._asked.put(None)
        self._thread.join(5.0)
        self._wake.close(0)
        self.socket.close(0)

    def _work(self) -> None:
        while (request := self._asked.get()) is not None:
            who, identity, stream, first, count, stride = request
            self._answered.put((who, identity, stride, self._read(stream, first, count, stride)))
            with contextlib.suppress(zmq.ZMQError):  # Closed, where a read outlasts the bus.
                self._wake.send(b"")

    def _read(self, stream: str, first: int, count: int, stride: int) -> Batch | ProtocolError:
        if self._history is None:
            return ProtocolError(
                "gone", f"{stream}: record {first} is no longer held, and nothing is recorded"
            )
        try:
            return self._history(stream, first, count, stride)
        except Exception as error:
            # Whatever a file makes of it: the next request may do better.
            if not isinstance(error, LookupError | OSError | ValueError):
                log.exception("%s: cannot be read back", stream)
            return ProtocolError("gone", f"{stream}: {error}")


class Answers:
    """Takes ``fetch`` and sends ``fetched``, as much of what is asked for as one message may hold.

    Parameters
    ----------
    context, peers, channels
        Of the bus.
    history
        Reads from the file; None where nothing is recorded.
    """

    def __init__(
        self,
        context: zmq.Context[Any],
        peers: Peers,
        channels: Mapping[str, Channel],
        history: History | None,
    ) -> None:
        self._peers = peers
        self._channels = channels
        self._fetcher = Fetcher(context, history)

    @property
    def socket(self) -> Any:
        """Readable when `send` has something to send."""
        return self._fetcher.socket

    def fetch(self, who: bytes, peer: Peer, message: Message) -> None:
        """Take a ``fetch``."""
        header, name, identity = (
            message.header,
            message.header.get("stream"),
            message.header.get("id"),
        )
        first = protocol.check_count(header, "first")
        count = protocol.check_count(header, "count", least=1)
        stride = protocol.check_count({"stride": header.get("stride", 1)}, "stride", least=1)
        if not isinstance(identity, str | int | None):
            raise ProtocolError("bad_header", "id: text or an integer is needed")
        channel = self._channels.get(name) if isinstance(name, str) else None
        if channel is None:
            raise ProtocolError("no_stream", f"no stream {str(name)[:80]!r}")
        ledger = channel.ledger
        if first >= ledger.next:
            raise ProtocolError("not_yet", f"{name}: record {first} has not come")
        most = max(1, FETCH_BYTES // ledger.stream.record_bytes)
        count = min(count, most * stride, ledger.next - first)
        if first >= ledger.held_from:
            self._answer(who, identity, channel.held(first, count, stride), stride)
        else:
            count = min(count, ledger.held_from - first)
            self._fetcher.ask(who, identity, channel.name, first, count, stride)

    def send(self) -> None:
        """Send what was read from the file meanwhile."""
        for who, identity, stride, answer in self._fetcher.answers():
            if isinstance(answer, ProtocolError):
                self._peers.refuse(who, answer, None, {"id": identity})
            else:
                self._answer(who, identity, answer, stride)

    def close(self) -> None:
        """End the thread and close its sockets."""
        self._fetcher.close()

    def _answer(self, who: bytes, identity: Any, batch: Batch, stride: int) -> None:
        parts, payload = parts_of({**batch.raw, "valid": batch.valid})
        self._peers.send(who, "fetched", {
            "id": identity, "stream": batch.stream, "first": batch.first, "count": batch.count,
            "stride": stride, "parts": parts,
        }, payload)  # fmt: skip
