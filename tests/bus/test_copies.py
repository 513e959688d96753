"""What the bus copies, and how many messages a batch costs.

Counted in three ways: the bus's own counter ``copies`` (batches whose bytes it copied); the
messages that a bare consumer receives; and, so that the counter is not taken at its word, the
memory that Python allocates while batches of 4 MiB pass (a copy would show: `tobytes` and numpy
report to tracemalloc, the frames that libzmq receives do not).
"""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

from daq.bus.ring import Ring, RingShape
from daq.streams import Field, Stream
from tests.bus.conftest import Bus, Parties, Raw, until

LARGE = Stream("large", {"frame": Field("<u1", (1 << 20,))})
COUNT = 4
BATCHES = 12


class Sender:
    """A bare source that allocates nothing while it sends."""

    def __init__(self, parties: Parties, bus: Bus, ring: bool) -> None:
        self.raw = parties.raw(bus)
        self.raw.hello()
        wanted = {"slots": 8, "slot_bytes": COUNT * (1 << 20) + 4096}
        opened = self.raw.open(LARGE, **({"ring": wanted} if ring else {}))
        self.parts = [
            {"field": "frame", "dtype": "|u1", "shape": [COUNT, 1 << 20]},
            {"field": "time", "dtype": "<i8", "shape": [COUNT]},
        ]
        self.payload = [bytes(COUNT << 20), bytes(COUNT * 8)]
        self.ring = self.free = None
        if ring:
            self.ring = Ring.attach(RingShape.from_header(opened["ring"]), writable=True)
            self.free = list(range(8))
        self.sent = 0
        self.credit = int(opened["credit"])

    def take(self) -> None:
        message = self.raw.expect("credit")
        self.credit += message.header["batches"]
        if self.free is not None:
            self.free += message.header["slots"]

    def send(self) -> None:
        while not self.credit or self.free == []:
            self.take()
        header: dict[str, Any] = {
            "stream": "large",
            "first": self.sent * COUNT,
            "count": COUNT,
            "parts": self.parts,
        }
        payload: Any = self.payload
        if self.ring is not None and self.free is not None:
            slot = self.free.pop(0)
            self.ring.set_sequence(slot, self.sent + 1)
            header |= {"slot": slot, "sequence": self.sent + 1}
            payload = ()
        self.sent += 1
        self.credit -= 1
        self.raw.socket.send_multipart([b"data", _packed(header), *payload], copy=False)


def _packed(header: dict[str, Any]) -> bytes:
    import json

    return json.dumps(header).encode()


def subscriber(parties: Parties, bus: Bus, **more: Any) -> Raw:
    raw = parties.raw(bus)
    raw.hello("consumer", "consumer")
    raw.send("subscribe", {"streams": ["large"], "credit": 2, **more})
    return raw


@pytest.mark.parametrize(
    ("ring", "consumers", "copies"),
    [
        (True, [{"ring": True}, {"ring": True}], 0),
        (False, [{}, {"ring": True}], 0),
        (True, [{"ring": True}, {}, {}], 1),
    ],
    ids=["ring", "inline", "ring to two inline"],
)
def test_copies_and_messages_per_batch(
    parties: Parties, ring: bool, consumers: list[dict[str, Any]], copies: int
) -> None:
    bus = parties.bus(lookback=0.0, lookback_bytes=0, credit=2)
    sender = Sender(parties, bus, ring)
    raws = [subscriber(parties, bus, **more) for more in consumers]
    for raw in raws:
        raw.expect("open")
    counts = [0] * len(raws)

    def one() -> None:
        sender.send()
        for number, raw in enumerate(raws):
            # Exactly one message for each batch: anything else would be met here.
            assert raw.socket.poll(15_000)
            frames = raw.socket.recv_multipart(copy=False)
            assert frames[0].bytes == b"data"
            in_ring = ring and consumers[number].get("ring")
            assert len(frames) == (2 if in_ring else 4)
            counts[number] += 1
            del frames
            raw.send("credit", {"stream": "large", "batches": 1, "through": sender.sent * COUNT})

    one()
    tracemalloc.start()
    try:
        for _ in range(BATCHES - 1):
            one()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert counts == [BATCHES] * len(raws)
    assert bus.broker.status()["streams"]["large"]["copies"] == copies * BATCHES
    if copies:
        assert peak > COUNT << 20, "this way of counting sees copies"
    else:
        assert peak < (COUNT << 20) / 2, "no copy in Python"
    for raw in raws:
        assert not raw.socket.poll(50), "no message more"


def test_frames_are_sent_on_as_they_came(parties: Parties, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inline, the very frames that were received are what is sent: libzmq counts references."""
    bus = parties.bus()
    sender = Sender(parties, bus, ring=False)
    raws = [subscriber(parties, bus) for _ in range(3)]
    for raw in raws:
        raw.expect("open")
    sent: list[list[int]] = []
    send = bus.broker._peers.send

    def watch(who: bytes, kind: str, header: Any, parts: Any = ()) -> bool:
        if kind == "data":
            sent.append([np.frombuffer(part, np.uint8).ctypes.data for part in parts])
            assert all(type(part).__name__ == "Frame" for part in parts)
        return send(who, kind, header, parts)

    monkeypatch.setattr(bus.broker._peers, "send", watch)
    sender.send()
    until(lambda: len(sent) == 3)
    assert sent[0] == sent[1] == sent[2]
