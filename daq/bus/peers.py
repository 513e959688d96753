"""Who is connected to the bus, and how a message gets to them: the ROUTER socket.

A peer that is gone is noticed in two ways: libzmq reports the descriptor that was disconnected,
and a message to the dead does not route (`ROUTER_MANDATORY`). Either way it goes to `dead`, and
the broker clears up after it when it is done with what it is doing.
"""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import zmq
from zmq.utils.monitor import parse_monitor_message

from daq import posix, protocol
from daq.bus import endpoint as endpoints
from daq.bus.settings import ERRORS_PER_SECOND, SEND_QUEUE, BusSettings
from daq.protocol import ProtocolError

log = logging.getLogger("bus")

PROBES = 20
"""How often one who may be gone is asked, ten times a second."""


@dataclasses.dataclass(slots=True)
class Peer:
    """One party that said hello."""

    name: str
    role: str
    descriptor: int
    subscriptions: list[dict[str, Any]] = dataclasses.field(default_factory=list)


class Peers:
    """The bus's socket and everybody behind it.

    Attributes
    ----------
    dead
        Peers that are gone and for whom nothing has been cleared up yet.
    errors
        How often each error was met, by its code.
    """

    def __init__(self, context: zmq.Context[Any], settings: BusSettings) -> None:
        self.known: dict[bytes, Peer] = {}
        self.dead: list[tuple[bytes, Peer]] = []
        self.errors: Counter[str] = Counter()
        self._told: Counter[bytes] = Counter()
        self._suspects: dict[bytes, int] = {}
        self._lock: posix.Lock | None = None
        self.socket = context.socket(zmq.ROUTER)
        self.socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self.socket.setsockopt(zmq.ROUTER_HANDOVER, 0)
        self.socket.setsockopt(zmq.SNDHWM, SEND_QUEUE)
        self.socket.setsockopt(zmq.RCVHWM, 64)
        self.socket.setsockopt(zmq.LINGER, 500)
        # Of one frame: a batch or a constant of `batch_bytes`, or a header.
        self.socket.setsockopt(
            zmq.MAXMSGSIZE, max(settings.batch_bytes, protocol.MAX_HEADER_BYTES) + 64
        )
        endpoints.keep_alive(self.socket, settings.endpoint)
        endpoints.secure(self.socket)
        self.monitor = self.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        try:
            self._lock = endpoints.bind(self.socket, settings.endpoint)
        except BaseException:
            self.close()
            raise

    def receive(self) -> tuple[bytes, list[zmq.Frame]] | None:
        """Return the next message and whose it is, or None where none waits."""
        try:
            who, *frames = self.socket.recv_multipart(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return None
        return bytes(who.buffer), frames

    def add(self, who: bytes, name: str, role: str, frame: zmq.Frame) -> None:
        """Take note of a party that says hello, once."""
        if who not in self.known:
            try:
                descriptor = int(frame.get(zmq.SRCFD))
            except (zmq.ZMQError, ValueError):
                descriptor = -1
            self.known[who] = Peer(name, role, descriptor)

    def send(
        self, who: bytes, kind: str, header: Mapping[str, Any], parts: Sequence[Any] = ()
    ) -> bool:
        """Send a message; False where its receiver is gone, or has let too many pile up.

        Parts of 64 KiB and more, and frames that were received, go by reference.
        """
        frames = protocol.pack(kind, header)
        try:
            self.socket.send_multipart([who, *frames, *parts], zmq.NOBLOCK, copy=False)
        except zmq.ZMQError as error:
            if error.errno not in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                raise
            if (peer := self.known.pop(who, None)) is not None:
                stuck = "does not read, and was dropped" if error.errno == zmq.EAGAIN else "is gone"
                log.info("%s %s %s", peer.role, peer.name, stuck)
                self.dead.append((who, peer))
            return False
        return True

    def alive(self, who: bytes) -> bool:
        """Tell whether messages to a peer still route; asks with a ``probe``, which has no answer."""
        return who in self.known and self.send(who, "probe", {})

    def refuse(
        self,
        who: bytes | None,
        error: ProtocolError,
        about: object = None,
        more: Mapping[str, Any] | None = None,
        *,
        limited: bool = False,
    ) -> None:
        """Count an error and tell its cause; ``limited`` ones only so many times in a second."""
        self.errors[error.code] += 1
        if who is None:
            return
        if limited:
            self._told[who] += 1
            if self._told[who] > ERRORS_PER_SECOND:
                return
        log.warning("%s: %s", error.code, str(error)[:500])
        self.send(who, "error", {
            "code": error.code, "message": str(error)[:500],
            "about": about if isinstance(about, str) and len(about) <= 256 else None, **(more or {}),
        })  # fmt: skip

    def forgive(self) -> None:
        """Begin a new second: errors are told again."""
        self._told.clear()

    def drain_monitor(self) -> None:
        """Find out who was disconnected."""
        gone = set()
        while True:
            try:
                event = parse_monitor_message(self.monitor.recv_multipart(zmq.NOBLOCK))
            except zmq.Again:
                break
            if event["event"] == zmq.EVENT_DISCONNECTED:
                gone.add(int(event["value"]))
        if gone:
            for who, peer in self.known.items():
                if peer.descriptor in gone or peer.descriptor < 0:
                    self._suspects[who] = PROBES
            self.probe()

    def probe(self) -> None:
        """Ask those who may be gone; called ten times a second.

        libzmq reports a disconnection a moment before messages cease to route, and a descriptor
        may be somebody else's by now: so everyone is asked several times.
        """
        for who, left in list(self._suspects.items()):
            if left and self.alive(who):
                self._suspects[who] = left - 1
            else:
                del self._suspects[who]

    def named(self, name: str) -> bytes | None:
        """Return the peer of a name that came last, or None."""
        return next((who for who, p in reversed(self.known.items()) if p.name == name), None)

    def recorder(self) -> bytes | None:
        """Return the recorder, or None."""
        return next((who for who, p in self.known.items() if p.role == "recorder"), None)

    def close(self) -> None:
        """Close the sockets; what was sent has half a second to leave."""
        self.socket.disable_monitor()
        self.monitor.close(0)
        self.socket.close()
        if self._lock is not None:
            self._lock.release()
            self._lock = None
