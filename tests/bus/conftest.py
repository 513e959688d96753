"""A bus for each test, parties that speak to it, and nothing left behind."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq

from daq import posix, protocol
from daq.bus.broker import Broker, BusSettings
from daq.bus.client import Consumer, Delivery, Event
from daq.bus.publisher import Publisher
from daq.streams import Batch, Field, Stream

DEADLINE = 40.0


def until(condition: Callable[[], Any], what: str = "the condition") -> Any:
    """Wait for a condition, with a deadline."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.002)
    pytest.fail(f"{what} did not come within {DEADLINE:g} s")


def tcp() -> str:
    """A loopback endpoint that is free."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"


class Bus:
    """A broker in a thread."""

    def __init__(self, endpoint: str, **settings: Any) -> None:
        history = settings.pop("history", None)
        self.endpoint = endpoint
        self.broker = Broker(BusSettings(endpoint, **settings), history)
        self.failed: BaseException | None = None
        self._thread = threading.Thread(target=self._serve, name="bus")
        self._thread.start()

    def _serve(self) -> None:
        try:
            self.broker.serve()
        except BaseException as error:
            self.failed = error

    def drop(self, name: str) -> None:
        """Forget a peer, as the bus does with one that lets too much pile up."""
        peers = self.broker._peers
        who = peers.named(name)
        assert who is not None
        peers.dead.append((who, peers.known.pop(who)))
        channels = self.broker._channels.values()
        until(lambda: all(who not in c.ledger.positions and c.owner != who for c in channels))

    def stop(self) -> None:
        self.broker.stop()
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()
        assert self.failed is None, self.failed


class Punctual(Consumer):
    """A consumer whose subscription has reached the bus when `subscribe` returns."""

    def subscribe(self, streams: Sequence[str], **more: Any) -> None:
        super().subscribe(streams, **more)
        self.status(timeout=DEADLINE)


class Raw:
    """A bare DEALER: what a client in another language would be, or a hostile one."""

    def __init__(self, endpoint: str) -> None:
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.rcvhwm = 0
        self.socket.connect(endpoint)

    def send(self, kind: str, header: dict[str, Any], *parts: Any) -> None:
        self.socket.send_multipart([*protocol.pack(kind, header), *parts])

    def receive(self, timeout: float = DEADLINE) -> protocol.Message | None:
        if not self.socket.poll(timeout * 1000):
            return None
        return protocol.unpack(self.socket.recv_multipart())

    def expect(self, kind: str) -> protocol.Message:
        """The next message of a kind; others (but errors) are passed over."""
        while (message := self.receive()) is not None:
            if message.kind == kind:
                return message
            assert message.kind != "error", message.header
        pytest.fail(f"no {kind!r} came")

    def refused(self) -> str:
        """The code of the next error; other messages are passed over."""
        while (message := self.receive()) is not None:
            if message.kind == "error":
                return str(message.header["code"])
        pytest.fail("no error came")

    def hello(self, name: str = "raw", role: str = "source") -> None:
        self.send("hello", {"protocol": 1, "name": name, "role": role})
        self.expect("welcome")

    def subscribe(self, streams: list[str], **more: Any) -> None:
        """Subscribe to what is not open yet, and wait until the bus knows."""
        self.send("subscribe", {"streams": streams, **more})
        self.send("status", {})
        self.expect("status")

    def open(self, stream: Stream, **more: Any) -> dict[str, Any]:
        parts = [array.tobytes() for array in stream.constants.values()]
        self.send("open", {**stream.header(), **more}, *parts)
        return self.expect("opened").header

    def data(self, stream: Stream, first: int, count: int, /, **more: Any) -> None:
        batch = numbers(stream, first, count)
        parts = [
            {"field": name, "dtype": array.dtype.str, "shape": list(array.shape)}
            for name, array in batch.raw.items()
        ]
        header = {"stream": stream.name, "first": first, "count": count, "parts": parts}
        self.send("data", {**header, **more}, *[array.tobytes() for array in batch.raw.values()])

    def close(self) -> None:
        self.socket.close(0)
        self.context.term()


class Parties:
    """Makes buses and their clients, and closes them all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._closing: list[Callable[[], None]] = []
        self.made: list[str] = []

    def rings(self) -> list[str]:
        """Names of the rings that this test's buses made and that are still there."""
        return [name for name in self.made if Path("/dev/shm", name).exists()]

    @property
    def endpoint(self) -> str:
        return f"ipc://{self.folder / 'bus'}"

    def bus(self, endpoint: str | None = None, **settings: Any) -> Bus:
        bus = Bus(endpoint or self.endpoint, **settings)
        self._closing.append(bus.stop)
        return bus

    def source(self, bus: Bus, name: str = "source", **more: Any) -> Publisher:
        publisher = Publisher(bus.endpoint, name, timeout=DEADLINE, **more)
        self._closing.append(publisher.close)
        return publisher

    def consumer(self, bus: Bus, name: str = "consumer", role: str = "consumer") -> Consumer:
        consumer = Punctual(bus.endpoint, name, role, timeout=DEADLINE)
        self._closing.append(consumer.close)
        return consumer

    def raw(self, bus: Bus) -> Raw:
        raw = Raw(bus.endpoint)
        self._closing.append(raw.close)
        return raw

    def close(self) -> None:
        for close in reversed(self._closing):
            close()


@pytest.fixture
def parties(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Parties]:
    # The path of a Unix socket is short.
    made = Parties(tmp_path_factory.mktemp("b"))
    create = posix.SharedMemory.create

    def remember(suffix: str, size: int) -> posix.SharedMemory:
        memory = create(suffix, size)
        made.made.append(memory.name)
        return memory

    monkeypatch.setattr(posix.SharedMemory, "create", remember)
    yield made
    made.close()
    assert made.rings() == []
    names = {thread.name for thread in threading.enumerate()}
    assert not names & {"bus", "fetcher"}


@pytest.fixture
def bus(parties: Parties) -> Bus:
    return parties.bus()


SMALL = Stream("small", {"value": Field("<i8", (), "counts")})
FRAMES = Stream("frames", {"frame": Field("<u2", (64, 64), "counts")})


def numbers(stream: Stream, first: int, count: int) -> Batch:
    """Records whose every value is their index (mod 2^15)."""
    index = np.arange(first, first + count)
    arrays = {
        name: np.broadcast_to(
            (index if name == "time" else index % (1 << 15))
            .astype(field.numpy_dtype)
            .reshape(-1, *[1] * len(field.shape)),
            (count, *field.shape),
        ).copy()
        for name, field in stream.fields.items()
    }
    return Batch(stream.name, arrays, first)


def begin_close(source: Publisher, stream: str, timeout: float = 0.0) -> None:
    """Close a stream without waiting for its consumers."""
    with pytest.raises(TimeoutError):
        source.close_stream(stream, timeout=timeout)


def check(batch: Batch) -> None:
    """Fail unless every value of a batch is the index of its record."""
    assert batch.first is not None
    for name, array in batch.raw.items():
        index = np.arange(batch.first, batch.first + batch.count)
        wanted = index if name == "time" else index % (1 << 15)
        flat = array.reshape(batch.count, -1)
        assert (flat == wanted.astype(array.dtype)[:, None]).all(), (name, batch)


def following(consumer: Consumer, kind: type[Any]) -> Any:
    """The next event of a kind; others are passed over (deliveries are released)."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        event = consumer.receive(0.5)
        if isinstance(event, kind):
            return event
        if isinstance(event, Delivery):
            consumer.release(event)
    pytest.fail(f"no {kind.__name__} came")


def events(consumer: Consumer, enough: Callable[[list[Event]], bool]) -> list[Event]:
    """What a consumer receives, every delivery checked and released, until it is enough."""
    seen: list[Event] = []
    deadline = time.monotonic() + DEADLINE
    while not enough(seen):
        assert time.monotonic() < deadline, seen[-5:]
        event = consumer.receive(0.5)
        if isinstance(event, Delivery):
            check(event.batch)
            assert event.intact()
            consumer.release(event)
        if event is not None:
            seen.append(event)
    return seen
