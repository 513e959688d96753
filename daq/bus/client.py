"""The consumer's side of the bus: subscribe, receive, give credit back; commands and status."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from daq.bus.connection import Connection, ConnectionLost
from daq.bus.connection import Refused as RefusedError
from daq.bus.messages import arrays_of, batch_of
from daq.bus.ring import Ring, RingShape
from daq.corrections import Corrections, corrections_for
from daq.protocol import Message
from daq.streams import Batch, Stream, matches

log = logging.getLogger("bus")


@dataclasses.dataclass(slots=True)
class Opened:
    """A stream that matches; ``next`` is where delivery begins (None: the recorder decides)."""

    stream: Stream
    header: dict[str, Any]

    @property
    def next(self) -> int | None:
        """Index at which delivery begins."""
        value: int | None = self.header["next"]
        return value


@dataclasses.dataclass(slots=True)
class Delivery:
    """A batch; its arrays are valid until it is released. ``skipped`` counts records so far."""

    batch: Batch
    skipped: int = 0
    slot: int | None = None
    ring: Ring | None = None
    sequence: int = 0
    generation: int = 0
    through: int = 0

    def intact(self) -> bool:
        """Tell whether the slot still holds this batch: ask before a result is used."""
        return self.ring is None or self.ring.sequence(self.slot or 0) == self.sequence


@dataclasses.dataclass(slots=True)
class Lost:
    """Records that the instrument lost."""

    stream: str
    first: int
    count: int
    reason: str


@dataclasses.dataclass(slots=True)
class Closed:
    """A stream has ended."""

    stream: str
    count: int
    status: str
    reason: str


@dataclasses.dataclass(slots=True)
class Refused:
    """An ``error`` from the bus."""

    code: str
    message: str
    about: str | None
    header: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(slots=True)
class Command:
    """A ``command`` for this party; answer with `Consumer.done`."""

    id: str
    name: str
    arguments: dict[str, Any]


@dataclasses.dataclass(slots=True)
class Disconnected:
    """The bus went away and is back; subscriptions were renewed where each stream stood."""


Event = Opened | Delivery | Lost | Closed | Refused | Command | Disconnected


@dataclasses.dataclass(slots=True)
class _Following:
    stream: Stream
    corrections: Corrections | None
    next: int
    subscription: dict[str, Any]
    closed: bool = False


class Consumer:
    """A consumer, recorder or controller on the bus. For one thread.

    ``receive`` returns events in order; every `Delivery` must be released, which is what grants
    the bus new credit. When the bus dies, the consumer waits for the next one and goes on at the
    index where it stood.
    """

    def __init__(
        self, endpoint: str, name: str, role: str = "consumer", timeout: float | None = 10.0
    ) -> None:
        self._connection = Connection(endpoint, name, role)
        self._subscriptions: list[dict[str, Any]] = []
        self._following: dict[str, _Following] = {}
        self._rings: dict[str, Ring] = {}
        self._events: deque[Event] = deque()
        self._generation = 0
        self._lost = False
        self._ring_works = True
        self._number = 0
        try:
            self._connection.start(timeout)
        except BaseException:
            self._connection.close()
            raise

    @property
    def run(self) -> str | None:
        """The uid of the run, or None."""
        value: str | None = self._connection.welcome.get("run")
        return value

    def subscribe(
        self,
        streams: Sequence[str],
        *,
        policy: Literal["lossless", "latest"] = "lossless",
        credit: int = 4,
        start: int | Literal["now"] = "now",
        ring: bool = False,
    ) -> None:
        """Ask for the streams that match the globs; ``credit`` batches of each at a time.

        ``start`` is an index or ``now``. A start that the bus no longer holds comes back as
        `Refused` with code ``gone`` and ``header["held"]``, the first index that it holds.
        """
        subscription = {
            "streams": list(streams), "policy": policy, "credit": credit, "start": start,
            "ring": ring,
        }  # fmt: skip
        self._subscriptions.append(subscription)
        self._subscribe(subscription)

    def receive(self, timeout: float | None = None) -> Event | None:
        """Return the next event, or None after ``timeout`` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._events:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if self._lost:
                if not self._reconnect(left):
                    return None
                continue
            try:
                message = self._connection.receive(left)
            except ConnectionLost:
                self._lost = True
                continue
            if message is None:
                return None
            self._take(message)
        return self._events.popleft()

    def release(self, delivery: Delivery, **more: Any) -> None:
        """Give a delivery back: its credit, its slot, and everything up to its last record.

        The recorder adds ``written`` and ``durable``.
        """
        if delivery.generation != self._generation:
            return
        self.credit(
            delivery.batch.stream, 1, through=delivery.through,
            slots=[] if delivery.slot is None else [delivery.slot], **more,
        )  # fmt: skip

    def credit(self, stream: str, batches: int, **more: Any) -> None:
        """Send a bare ``credit`` message (the recorder's progress, more credit)."""
        self._connection.send("credit", {"stream": stream, "batches": batches, **more})

    def position(self, stream: str) -> int | None:
        """Return the index that comes next in a followed stream, or None."""
        following = self._following.get(stream)
        return None if following is None else following.next

    def fetch(
        self, stream: str, first: int, count: int, stride: int = 1, timeout: float = 10.0
    ) -> Batch:
        """Return every ``stride``-th record of ``count`` from ``first`` on, as far as one answer goes.

        Raises `daq.bus.connection.Refused` where they are not to be had (``gone``, ``not_yet``),
        TimeoutError, and ConnectionError where the bus dies meanwhile.
        """
        answer = self._ask("fetch", {
            "stream": stream, "first": first, "count": count, "stride": stride,
        }, "fetched", timeout)  # fmt: skip
        return batch_of(answer.header, arrays_of(answer.header, answer.parts)).copy()

    def status(self, timeout: float = 5.0) -> dict[str, Any]:
        """Return every counter of the bus; raises TimeoutError, ConnectionError where it dies."""
        header = self._ask("status", {}, "status", timeout).header
        del header["id"]
        return header

    def command(
        self,
        target: str,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        timeout: float = 10.0,
    ) -> dict[str, Any]:
        """Give a command and return the header of its ``done``; raises on refusal and time-out."""
        header = self._ask("command", {
            "target": target, "name": name, "arguments": dict(arguments or {}),
        }, "done", timeout).header  # fmt: skip
        if header.get("error"):
            raise RefusedError("failed", str(header["error"]), target)
        return header

    def close_stream(self, stream: str, status: str, reason: str) -> None:
        """Close a stream whose source will not come back (control only)."""
        self._connection.send("close", {"stream": stream, "status": status, "reason": reason})

    def done(self, command: Command, **header: Any) -> None:
        """Answer a command: ``stream`` and ``index`` where it takes effect, or ``error``."""
        self._connection.send("done", {"id": command.id, "stream": None, "index": None, **header})

    def forget(self, stream: str) -> None:
        """Stop asking for a stream after the next reconnection (it was read from elsewhere)."""
        self._following.pop(stream, None)
        self._subscriptions = [s for s in self._subscriptions if s["streams"] != [stream]]

    def close(self) -> None:
        """Leave the bus."""
        self._connection.close()
        for ring in self._rings.values():
            ring.close()

    # -- inside ---------------------------------------------------------------------------------

    def _take(self, message: Message) -> None:
        """Turn a message into events."""
        header, events = message.header, self._events
        match message.kind:
            case "data":
                self._take_data(message)
            case "open":
                self._take_open(message)
            case "missing":
                following = self._following.get(header["stream"])
                if following is None:
                    return
                end = header["first"] + header["count"]
                first = max(header["first"], following.next)
                if first < end:
                    following.next = end
                    events.append(Lost(header["stream"], first, end - first, header["reason"]))
            case "close":
                following = self._following.get(header["stream"])
                if following is None or following.closed:
                    return
                following.closed = True
                events.append(
                    Closed(header["stream"], header["count"], header["status"], header["reason"])
                )
            case "command":
                events.append(Command(header["id"], header["name"], header["arguments"]))
            case "error" if header["code"] == "hello_first":
                # We were dropped, for not reading; or this is another bus than the one before.
                self._lost = True
            case "error":
                events.append(
                    Refused(header["code"], header["message"], header.get("about"), header)
                )

    def _take_open(self, message: Message) -> None:
        header = message.header
        stream = Stream.from_header(header, message.parts)
        old, begins = self._following.get(stream.name), header["next"] or 0
        if old is not None and old.closed and self._connection.role != "recorder":
            # It was taken to its end before we came back. A recorder says again where it stands:
            # the source waits for that.
            return
        subscription = self._subscription_of(stream.name)
        self._events.append(Opened(stream, header))
        if old is not None:
            lossless = subscription["policy"] == "lossless" and self._connection.role != "recorder"
            if lossless and begins > old.next:
                # Never silently: the bus that came back, or forgot us, does not hold them.
                self._events.append(
                    Lost(stream.name, old.next, begins - old.next, "no longer held by the bus")
                )
            begins = max(begins, old.next)
        self._following[stream.name] = _Following(
            stream, corrections_for(stream), begins, subscription
        )

    def _take_data(self, message: Message) -> None:
        header = message.header
        stream, first, end = header["stream"], header["first"], header["first"] + header["count"]
        following = self._following.get(stream)
        slot, ring, sequence = header.get("slot"), None, 0
        lossless = following is not None and following.subscription["policy"] == "lossless"
        if following is None or following.closed or (lossless and end <= following.next):
            # Forgotten, or sent again after we came back.
            self.credit(stream, 1, through=end, slots=[] if slot is None else [slot])
            return
        if slot is not None:
            try:
                ring = self._ring(RingShape.from_header(header["ring"]))
            except OSError:
                # The shared memory is another host's, or not ours to read: begin again without.
                log.warning("%s: the ring cannot be read here; data comes inline", stream)
                self._ring_works, self._lost = False, True
                return
            sequence = header["sequence"]
            shapes = [(part["dtype"], tuple(part["shape"])) for part in header["parts"]]
            arrays = {}
            for part, array in zip(header["parts"], ring.arrays(slot, shapes), strict=True):
                array.flags.writeable = False
                arrays[part["field"]] = array
        else:
            arrays = arrays_of(header, message.parts)
        batch = batch_of(header, arrays, following.corrections)
        if lossless and first < following.next:
            batch = batch.slice(following.next - first, header["count"])
        skipped = header.get("skipped", 0)
        self._events.append(Delivery(batch, skipped, slot, ring, sequence, self._generation, end))
        following.next = max(following.next, end)

    def _ring(self, shape: RingShape) -> Ring:
        ring = self._rings.get(shape.name)
        if ring is None:
            ring = self._rings[shape.name] = Ring.attach(shape)
        return ring

    def _subscription_of(self, stream: str) -> dict[str, Any]:
        return next(
            (s for s in self._subscriptions if any(matches(p, stream) for p in s["streams"])),
            {"policy": "lossless", "credit": 1, "ring": False},
        )

    def _reconnect(self, timeout: float | None) -> bool:
        self._generation += 1
        run = self.run
        try:
            self._connection.start(timeout)
        except TimeoutError:
            return False
        self._lost = False
        for ring in self._rings.values():
            ring.close()
        self._rings.clear()
        if self.run != run:
            self._following.clear()  # Streams of the same names, but others.
        for name, following in self._following.items():
            subscription = {**following.subscription, "streams": [name]}
            if subscription["policy"] == "lossless":
                subscription["start"] = following.next
            self._subscribe(subscription)
        for subscription in self._subscriptions:
            if not set(subscription["streams"]) <= self._following.keys():
                self._subscribe(subscription)
        self._events.append(Disconnected())
        return True

    def _subscribe(self, subscription: Mapping[str, Any]) -> None:
        ring = subscription["ring"] and self._ring_works
        self._connection.send("subscribe", {**subscription, "ring": ring})

    def _ask(self, kind: str, header: dict[str, Any], answer: str, timeout: float) -> Message:
        """Send a request and wait for its answer; what comes meanwhile is kept for `receive`."""
        deadline = time.monotonic() + timeout
        if self._lost and not self._reconnect(timeout):
            raise TimeoutError(f"no bus answers at {self._connection.endpoint}")
        self._number += 1
        identity = str(self._number)
        self._connection.send(kind, {**header, "id": identity})
        while True:
            left = deadline - time.monotonic()
            try:
                message = self._connection.receive(left) if left > 0 else None
            except ConnectionLost:
                self._lost = True
                raise
            if message is None:
                raise TimeoutError(f"the bus did not answer within {timeout:g} s")
            mine = message.header.get("id") == identity
            if message.kind == answer and mine:
                return message
            if message.kind == "error" and mine:
                header = message.header
                raise RefusedError(header["code"], header["message"], header.get("about"))
            self._take(message)
            if self._lost:
                raise ConnectionLost(f"the bus at {self._connection.endpoint} has forgotten us")


@contextlib.contextmanager
def consumer(endpoint: str, name: str, role: str = "consumer", timeout: float | None = 10.0) -> Any:
    """Open a `Consumer` for a block and close it afterwards."""
    client = Consumer(endpoint, name, role, timeout)
    try:
        yield client
    finally:
        client.close()
