"""The consumer's side: events, corrections, being forgotten."""

from __future__ import annotations

import numpy as np
import pytest

from daq.bus.client import Delivery, Disconnected, Lost, Opened, Refused, consumer
from daq.bus.ring import Ring
from daq.streams import Stream
from tests.bus.conftest import (
    DEADLINE,
    FRAMES,
    SMALL,
    Bus,
    Parties,
    events,
    following,
    numbers,
    until,
)


def indices(seen: list[object]) -> list[int]:
    return [int(i) for e in seen if isinstance(e, Delivery) for i in e.batch.indices]


def test_arrays_are_read_only_and_corrected(parties: Parties, bus: Bus) -> None:
    stream = Stream("frames", FRAMES.fields, constants={"dark": np.ones((64, 64), "<f4")})
    source = parties.source(bus)
    source.open(stream)
    for ring in (True, False):
        client = parties.consumer(bus, f"ring {ring}")
        client.subscribe(["frames"], ring=ring, start=0)
        if ring:
            source.send(numbers(stream, 0, 4))
        delivery = following(client, Delivery)
        assert (delivery.slot is not None) is ring
        for array in delivery.batch.raw.values():
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 0
        assert delivery.batch["frame"][3, 0, 0] == 2
        assert delivery.batch.raw["frame"][3, 0, 0] == 3


def test_intact_tells_a_slot_that_was_filled_again(parties: Parties, bus: Bus) -> None:
    client = parties.consumer(bus)
    client.subscribe(["frames"], ring=True)
    source = parties.source(bus)
    source.open(FRAMES, batch_records=4)
    source.send(numbers(FRAMES, 0, 4))
    delivery = following(client, Delivery)
    assert delivery.intact()
    out = source._outgoing["frames"]
    assert out.ring is not None and delivery.slot is not None
    out.ring.set_sequence(delivery.slot, 0)
    assert not delivery.intact()


def test_dropped_by_the_bus_it_begins_anew_without_gap_or_repeat(
    parties: Parties, bus: Bus
) -> None:
    client = parties.consumer(bus)
    client.subscribe(["small"], credit=3)
    source = parties.source(bus)
    source.open(SMALL)
    for first in range(3):
        source.send(numbers(SMALL, first, 1))
    assert indices(events(client, lambda seen: len(indices(seen)) == 3)) == [0, 1, 2]
    bus.drop("consumer")
    for first in range(3, 6):
        source.send(numbers(SMALL, first, 1), timeout=DEADLINE)
    client.credit("small", 0)  # whatever it says next
    seen = events(client, lambda seen: len(indices(seen)) == 3)
    assert indices(seen) == [3, 4, 5]
    assert any(isinstance(e, Disconnected) for e in seen)
    assert not any(isinstance(e, Refused | Lost) for e in seen)
    assert set(bus.broker.status()["errors"]) == {"hello_first"}


def test_what_the_bus_no_longer_holds_is_told(parties: Parties) -> None:
    bus = parties.bus(lookback=0.0, lookback_bytes=0)
    client = parties.consumer(bus)
    client.subscribe(["*"])
    source = parties.source(bus)
    source.open(SMALL)
    source.send(numbers(SMALL, 0, 2))
    assert indices(events(client, lambda seen: len(indices(seen)) == 2)) == [0, 1]
    bus.drop("consumer")
    for first in range(2, 9):
        source.send(numbers(SMALL, first, 1), timeout=DEADLINE)
    until(lambda: bus.broker.status()["streams"]["small"]["held_from"] == 8)
    client.credit("small", 0)
    assert following(client, Disconnected)
    refused = following(client, Refused)
    assert (refused.code, refused.header["held"]) == ("gone", 8)
    # The glob still holds: it goes on with what comes next, and says what is missed.
    assert following(client, Opened).next == 9
    assert following(client, Lost) == Lost("small", 2, 7, "no longer held by the bus")
    source.send(numbers(SMALL, 9, 1), timeout=DEADLINE)
    assert following(client, Delivery).batch.first == 9


def test_where_the_ring_cannot_be_read_data_come_inline(
    parties: Parties, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = parties.consumer(bus)
    client.subscribe(["frames"], ring=True)
    source = parties.source(bus)
    source.open(FRAMES, batch_records=4)

    def fail(*_: object, **__: object) -> Ring:
        raise FileNotFoundError("another host")

    monkeypatch.setattr(Ring, "attach", fail)
    for first in range(0, 12, 4):
        source.send(numbers(FRAMES, first, 4))
    seen = events(client, lambda seen: len(indices(seen)) == 12)
    assert indices(seen) == list(range(12))
    assert all(e.slot is None for e in seen if isinstance(e, Delivery))


def test_requests_in_between_lose_no_events(parties: Parties, bus: Bus) -> None:
    client = parties.consumer(bus)
    client.subscribe(["small"], credit=20)
    source = parties.source(bus)
    source.open(SMALL)
    for first in range(8):
        source.send(numbers(SMALL, first, 1), timeout=DEADLINE)
        assert client.status()["run"] is None
        until(lambda n=first: bus.broker.status()["streams"]["small"]["records"] > n)
        assert client.fetch("small", first, 1).count == 1
    assert indices(events(client, lambda seen: len(indices(seen)) == 8)) == list(range(8))


def test_a_late_answer_is_not_the_next_ones(parties: Parties, bus: Bus) -> None:
    client = parties.consumer(bus)
    with pytest.raises(TimeoutError):
        client.status(timeout=0.0)
    source = parties.source(bus)
    source.open(SMALL)
    assert "small" in client.status()["streams"]


def test_forgotten_streams_are_not_asked_for_again(parties: Parties, bus: Bus) -> None:
    with consumer(bus.endpoint, "c") as client:
        client.subscribe(["small"])
        source = parties.source(bus)
        source.open(SMALL)
        assert following(client, Opened)
        client.forget("small")
        source.send(numbers(SMALL, 0, 1))
        assert client.receive(0.2) is None
        assert client.position("small") is None
        until(lambda: bus.broker.status()["consumers"]["c"]["small"]["returned"] == 1, "its credit")
