"""What the bus promises to honest parties."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest

from daq.bus.broker import Broker, BusSettings
from daq.bus.client import Closed, Consumer, Delivery, Lost, Opened, Refused
from daq.bus.connection import Connection
from daq.bus.connection import Refused as RefusedError
from daq.bus.endpoint import EndpointError
from daq.bus.publisher import Publisher
from daq.streams import Batch, Field, Stream
from tests.bus.conftest import (
    DEADLINE,
    FRAMES,
    SMALL,
    Bus,
    Parties,
    begin_close,
    check,
    events,
    following,
    numbers,
    tcp,
    until,
)


def closed(seen: list[Any]) -> bool:
    return bool(seen) and isinstance(seen[-1], Closed)


def indices(seen: list[Any]) -> list[int]:
    return [int(i) for e in seen if isinstance(e, Delivery) for i in e.batch.indices]


def send_on(
    source: Publisher, stream: Stream, end: int, step: int = 1, timeout: float = DEADLINE
) -> None:
    """Send the records that come next, up to an index."""
    for first in range(source.next(stream.name), end, step):
        source.send(numbers(stream, first, step), timeout=timeout)


def until_stopped(source: Publisher, stream: Stream, step: int = 1) -> int:
    """Send until there is no credit for 0.3 s; return how many records there were."""
    with pytest.raises(TimeoutError):
        send_on(source, stream, 1000 * step, step, timeout=0.3)
    return source.next(stream.name)


# -- delivery -----------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["ipc", "tcp"])
def test_ring_inline_and_latest_see_the_same(parties: Parties, scheme: str) -> None:
    bus = parties.bus(None if scheme == "ipc" else tcp())
    ways: dict[str, dict[str, Any]] = {
        "ring": {"ring": True}, "inline": {}, "latest": {"policy": "latest"},
        "latest-ring": {"policy": "latest", "ring": True}, "slow": {"credit": 1},
    }  # fmt: skip
    consumers = {name: parties.consumer(bus, name) for name in ways}
    for name, consumer in consumers.items():
        consumer.subscribe(["frames"], start="now", **ways[name])
    source = parties.source(bus)
    source.open(FRAMES, batch_records=10)
    for first in range(0, 60, 10):
        if first == 30:
            # Straight into the ring.
            arrays = source.allocate("frames", 10)
            for key, array in numbers(FRAMES, first, 10).raw.items():
                arrays[key][...] = array
            batch = Batch("frames", arrays, first)
            assert source.in_slot("frames", batch)
            source.send(batch)
        else:
            source.send(numbers(FRAMES, first, 10))
    assert bus.broker.status()["streams"]["frames"]["ring"]
    for consumer in consumers.values():
        assert isinstance(following(consumer, Opened), Opened)
    begin_close(source, "frames")
    for name, consumer in consumers.items():
        seen = events(consumer, closed)
        got = indices(seen)
        assert seen[-1] == Closed("frames", 60, "complete", "")
        if name.startswith("latest"):
            assert got[-10:] == list(range(50, 60))
            assert len(got) < 60 and got == sorted(set(got))
        else:
            assert got == list(range(60)), name
            assert all(
                (e.slot is not None) == (name == "ring") for e in seen if isinstance(e, Delivery)
            )
    assert source.close_stream("frames", timeout=DEADLINE)["given_up"] == []
    counters = parties.consumer(bus, "asks", "control").status()["consumers"]
    for name in ways:
        one = counters[name]["frames"]
        assert one["in"] == one["out"] + one["skipped"] == 60
        assert (one["skipped"] > 0) == name.startswith("latest")


def test_hundred_streams_opened_late(parties: Parties, bus: Bus) -> None:
    early = parties.consumer(bus, "early")
    early.subscribe(["many.*"])
    source = parties.source(bus)
    streams = [Stream(f"many.s{number}", SMALL.fields) for number in range(100)]
    for stream in streams:
        source.open(stream)
        source.send(numbers(stream, 0, 3))
    late = parties.consumer(bus, "late")
    late.subscribe(["many.*"], start=0)
    for consumer in (early, late):
        opened: set[str] = set()
        for event in events(consumer, lambda seen: len(indices(seen)) == 300):
            if isinstance(event, Opened):
                opened.add(event.stream.name)
            elif isinstance(event, Delivery):
                assert event.batch.stream in opened, "the open comes first"
        assert len(opened) == 100


def test_late_subscriber_starts_where_it_asks(parties: Parties, bus: Bus) -> None:
    source = parties.source(bus)
    source.open(SMALL)
    for first in range(0, 40, 4):
        source.send(numbers(SMALL, first, 4))
    until(lambda: bus.broker.status()["streams"]["small"]["records"] == 40)
    middle = parties.consumer(bus, "middle")
    middle.subscribe(["small"], start=17)
    opened = following(middle, Opened)
    assert opened.next == 17
    seen = events(middle, lambda seen: indices(seen)[-1:] == [39])
    assert indices(seen) == list(range(17, 40))
    future = parties.consumer(bus, "future")
    future.subscribe(["small"], start=42)
    assert following(future, Opened).next == 42
    source.send(numbers(SMALL, 40, 4))
    assert indices(events(future, lambda seen: bool(indices(seen)))) == [42, 43]


def test_gone_says_what_is_held(parties: Parties) -> None:
    bus = parties.bus(lookback_bytes=0, lookback=0.0)
    source = parties.source(bus)
    source.open(SMALL)
    for first in range(0, 40, 4):
        source.send(numbers(SMALL, first, 4))
    until(lambda: bus.broker.status()["streams"]["small"]["held_from"] == 36)
    consumer = parties.consumer(bus)
    consumer.subscribe(["small"], start=3)
    refused = following(consumer, Refused)
    assert (refused.code, refused.about) == ("gone", "small")
    assert (refused.header["held"], refused.header["next"]) == (36, 40)
    consumer.subscribe(["small"], start=36)
    assert following(consumer, Opened).next == 36


def test_more_than_a_hundred_answers_of_gone(parties: Parties) -> None:
    bus = parties.bus(lookback_bytes=0, lookback=0.0)
    source = parties.source(bus)
    source.open(SMALL)
    for first in range(8):
        source.send(numbers(SMALL, first, 1))
    until(lambda: bus.broker.status()["streams"]["small"]["held_from"] == 7)
    consumer = parties.consumer(bus)
    for _ in range(250):
        consumer.subscribe(["small"], start=0)
        assert following(consumer, Refused).code == "gone"


def test_missing_repeats_and_jumps(parties: Parties, bus: Bus) -> None:
    consumer = parties.consumer(bus)
    consumer.subscribe(["small"], credit=100)
    raw = parties.raw(bus)
    raw.hello("source")
    raw.open(SMALL)
    raw.data(SMALL, 0, 4)
    raw.send("missing", {"stream": "small", "first": 4, "count": 2, "reason": "dropped"})
    raw.data(SMALL, 2, 4)  # a repeat: missing stays missing
    raw.data(SMALL, 3, 5)  # in part
    raw.data(SMALL, 10, 2)  # a jump
    assert raw.refused() == "jump"
    raw.send("close", {"stream": "small", "count": 13, "status": "failed", "reason": "a\nb\x1b"})
    seen = events(consumer, closed)
    assert seen[-1] == Closed("small", 13, "failed", "a b ")
    lost = [(e.first, e.count, e.reason) for e in seen if isinstance(e, Lost)]
    assert lost == [(4, 2, "dropped"), (8, 2, "undeclared jump"), (12, 1, "never sent")]
    assert indices(seen) == [0, 1, 2, 3, 6, 7, 10, 11]
    counters = bus.broker.status()["streams"]["small"]
    assert (counters["repeats"], counters["missing"], counters["records"]) == (7, 5, 13)
    assert raw.expect("closed").header["count"] == 13


def test_credit_holds_the_source_and_comes_back(parties: Parties) -> None:
    bus = parties.bus(credit=3)
    consumer = parties.consumer(bus)
    consumer.subscribe(["small"], credit=8)
    source = parties.source(bus)
    source.open(SMALL)
    for first in range(3):
        source.send(numbers(SMALL, first, 1))
    with pytest.raises(TimeoutError, match="no credit"):
        source.send(numbers(SMALL, 3, 1), timeout=0.2)
    assert source.next("small") == 3
    held = [following(consumer, Delivery) for _ in range(1)]
    consumer.release(held[0])
    source.send(numbers(SMALL, 3, 1), timeout=DEADLINE)


def test_a_frozen_viewer_slows_no_one_and_costs_little(parties: Parties, bus: Bus) -> None:
    viewer = parties.consumer(bus, "viewer")
    viewer.subscribe(["frames"], policy="latest", credit=2)
    source = parties.source(bus, ring=False)
    source.open(FRAMES)
    for first in range(0, 2000, 10):
        source.send(numbers(FRAMES, first, 10), timeout=DEADLINE)
    until(lambda: bus.broker.status()["streams"]["frames"]["records"] == 2000)
    one = bus.broker.status()["consumers"]["viewer"]["frames"]
    assert one["in_flight"] == 2 and one["out"] == 20
    seen = events(viewer, lambda seen: indices(seen)[-1:] == [1999])
    assert len(indices(seen)) == 30, "two that waited, and the newest"
    assert [e.skipped for e in seen if isinstance(e, Delivery)][-1] == 1970


def test_memory_is_bounded_when_nothing_is_taken(parties: Parties) -> None:
    settings = {"credit": 4, "batch_bytes": 1 << 20, "lookback_bytes": 3 << 20}
    bus = parties.bus(**settings)
    stuck = parties.consumer(bus, "stuck")
    stuck.subscribe(["frames"], credit=1000)
    source = parties.source(bus, ring=False)
    source.open(FRAMES)
    batch = 120  # of 8200 bytes: just below a batch
    sent = until_stopped(source, FRAMES, batch) // batch
    counters = bus.broker.status()["streams"]["frames"]
    assert sent == settings["credit"] == counters["in_flight"]
    most = settings["credit"] * settings["batch_bytes"] + settings["lookback_bytes"]
    assert counters["held_bytes"] <= most
    stuck.close()
    for first in range(sent * batch, 40 * batch, batch):
        source.send(numbers(FRAMES, first, batch), timeout=DEADLINE)
        assert bus.broker.status()["streams"]["frames"]["held_bytes"] <= most


def test_history_of_a_ring_is_bounded_by_its_slots(parties: Parties) -> None:
    bus = parties.bus(lookback=1000.0, lookback_bytes=1 << 40)
    source = parties.source(bus)
    source.open(FRAMES, batch_records=4)
    for first in range(0, 800, 4):
        arrays = source.allocate("frames", 4)
        for key, array in numbers(FRAMES, first, 4).raw.items():
            arrays[key][...] = array
        batch = Batch("frames", arrays, first)
        assert source.in_slot("frames", batch), "there is always a free slot"
        source.send(batch, timeout=DEADLINE)
    counters = bus.broker.status()["streams"]["frames"]
    assert counters["held"] <= 64 and counters["copies"] == 0


# -- owners, names, roles -----------------------------------------------------------------------


def test_one_owner_per_stream(parties: Parties, bus: Bus) -> None:
    first = parties.source(bus, "first")
    first.open(SMALL)
    other = parties.source(bus, "other")
    with pytest.raises(RefusedError, match="belongs to first"):
        other.open(SMALL, timeout=DEADLINE)
    raw = parties.raw(bus)
    raw.hello("thief")
    raw.data(SMALL, 0, 1)
    assert raw.refused() == "owned"
    raw.send("close", {"stream": "small", "count": 0, "status": "failed"})
    assert raw.refused() == "not_open"
    first.send(numbers(SMALL, 0, 1), timeout=DEADLINE)


def test_source_that_comes_back_replaces_itself(parties: Parties, bus: Bus) -> None:
    consumer = parties.consumer(bus)
    consumer.subscribe(["frames"], ring=True)
    old = parties.source(bus, "camera")
    old.open(FRAMES, batch_records=5)
    old.send(numbers(FRAMES, 0, 5))
    until(lambda: bus.broker.status()["streams"]["frames"]["records"] == 5)
    new = parties.source(bus, "camera")
    assert new.open(FRAMES, batch_records=5, timeout=DEADLINE) == 5
    with pytest.raises(RefusedError, match="opened again"):
        send_on(old, FRAMES, 5000, 5)
    new.send(numbers(FRAMES, 0, 5), timeout=DEADLINE)
    new.send(numbers(FRAMES, 5, 5), timeout=DEADLINE)
    assert indices(events(consumer, lambda seen: len(indices(seen)) == 10)) == list(range(10))
    # The ring of before goes once its batches are gone; the new one is used.
    with pytest.raises(RefusedError) as error:
        parties.source(bus, "camera").open(SMALL.renamed("frames"), timeout=DEADLINE)
    assert error.value.code == "stream_changed"


def test_dead_owner_frees_the_name_only_for_the_same_fields(parties: Parties, bus: Bus) -> None:
    first = parties.source(bus, "first")
    first.open(SMALL)
    first.send(numbers(SMALL, 0, 4))
    until(lambda: bus.broker.status()["streams"]["small"]["records"] == 4)
    first.close()
    until(lambda: bus.broker.status()["streams"]["small"]["status"] == "stale")
    assert parties.source(bus, "second").open(SMALL, timeout=DEADLINE) == 4


@pytest.mark.parametrize(
    ("name", "role", "code"),
    [
        ("run.log", "source", "bad_name"), ("entry", "source", "bad_name"),
        ("entry", "control", "bad_name"), ("truth", "source", "bad_name"),
        ("Truth.x", "source", "bad_name"), ("a/../b", "source", "bad_name"),
        ("truth...", "source", "bad_name"), ("truth./etc", "source", "bad_name"),
        ("é", "source", "bad_name"), ("a\x00", "source", "bad_name"), ("", "source", "bad_name"),
        ("x", "consumer", "not_allowed"), ("x", "recorder", "not_allowed"),
    ],
)  # fmt: skip
def test_names_and_roles(parties: Parties, bus: Bus, name: str, role: str, code: str) -> None:
    raw = parties.raw(bus)
    raw.hello("someone", role)
    raw.send("open", {**SMALL.header(), "stream": name})
    assert raw.refused() == code


def test_run_streams_are_the_supervisors(parties: Parties, bus: Bus) -> None:
    raw = parties.raw(bus)
    raw.hello("supervisor", "control")
    assert raw.open(SMALL.renamed("run.log"))["next"] == 0


def test_truth_goes_by_its_name_only(parties: Parties, bus: Bus) -> None:
    truth = SMALL.renamed("truth.camera")
    curious, asks, recorder = (
        parties.consumer(bus, n, r)
        for n, r in (("a", "consumer"), ("b", "consumer"), ("r", "recorder"))
    )
    curious.subscribe(["*", "truth.*", "truth?camera"])
    asks.subscribe(["truth.camera"])
    recorder.subscribe(["*"])
    source = parties.source(bus)
    source.open(truth, wait=False)
    source.open(SMALL, wait=False)
    for _ in range(2):
        opened = following(recorder, Opened)
        recorder.credit(opened.stream.name, 0, through=0, written=0, durable=0)
    source.send(numbers(truth, 0, 1), timeout=DEADLINE)
    source.send(numbers(SMALL, 0, 1), timeout=DEADLINE)
    assert following(asks, Delivery).batch.stream == "truth.camera"
    assert following(curious, Opened).stream.name == "small"
    assert following(curious, Delivery).batch.stream == "small"
    assert curious.receive(0.1) is None


def test_hello_first(parties: Parties, bus: Bus) -> None:
    raw = parties.raw(bus)
    raw.send("status", {})
    assert raw.refused() == "hello_first"
    for header, code in (
        ({"protocol": 2, "name": "a", "role": "source"}, "bad_protocol"),
        ({"protocol": 1, "name": "a", "role": "king"}, "bad_role"),
        ({"protocol": 1, "name": "a", "role": ["source"]}, "bad_role"),
        ({"protocol": 1, "name": "\n", "role": "source"}, "bad_name"),
        ({"protocol": 1, "name": "x" * 65, "role": "source"}, "bad_name"),
        ({}, "bad_protocol"),
    ):
        raw.send("hello", header)
        assert raw.refused() == code
    raw.send("hello", {"protocol": 1, "name": "a", "role": "source", "later": [1]})
    assert raw.expect("welcome").header["protocol"] == 1
    raw.send("dance", {})
    assert raw.refused() == "unknown_kind"
    assert parties.consumer(bus).status()["errors"]["hello_first"] == 1


def test_one_recorder(parties: Parties, bus: Bus) -> None:
    first = parties.consumer(bus, "recorder", "recorder")
    with pytest.raises(RefusedError) as error:
        parties.consumer(bus, "recorder", "recorder")
    assert error.value.code == "taken"
    first.close()
    until(lambda: "recorder" not in bus.broker.status()["peers"])
    parties.consumer(bus, "recorder", "recorder")


# -- recording and closing ----------------------------------------------------------------------


def test_recorded_records_are_held_until_written(parties: Parties) -> None:
    bus = parties.bus(recording=True, lookback=0.0, lookback_bytes=0, credit=4)
    source = parties.source(bus)
    source.open(SMALL, wait=False)
    with pytest.raises(TimeoutError):
        source.send(numbers(SMALL, 0, 1), timeout=0.2)
    recorder = parties.consumer(bus, "recorder", "recorder")
    recorder.subscribe(["*"], credit=8)
    assert following(recorder, Opened).next is None
    recorder.credit("small", 0, through=5, written=5, durable=5)
    until(lambda: source.pump(0.01) or source.ready("small"))
    assert source.next("small") == 5, "it goes on where the file ends"
    for first in range(5, 9):
        source.send(numbers(SMALL, first, 1), timeout=DEADLINE)
    assert [following(recorder, Delivery).batch.first for _ in range(1)] == [5]
    recorder.close()
    until(lambda: "recorder" not in bus.broker.status()["peers"])
    with pytest.raises(TimeoutError):
        source.send(numbers(SMALL, 9, 1), timeout=0.2)
    assert bus.broker.status()["streams"]["small"]["held"] == 4
    again = parties.consumer(bus, "recorder", "recorder")
    again.subscribe(["*"], credit=8)
    assert following(again, Opened).next == 5
    again.credit("small", 0, through=7, written=7, durable=6)
    seen = [following(again, Delivery) for _ in range(2)]
    assert [d.batch.first for d in seen] == [7, 8], "neither gap nor repeat"
    again.credit("small", 0, through=7, written=7, durable=7)
    until(
        lambda: source.pump(0.01) or source.progress("small") == (7, 7),
        "progress, told without credit",
    )
    again.release(seen[0], written=8, durable=7)
    again.release(seen[1], written=9, durable=7)
    begin_close(source, "small", 0.2)  # It is not on the disk yet.
    assert following(again, Closed).count == 9
    again.credit("small", 0, through=9, written=9, durable=9)
    answer = source.close_stream("small", timeout=DEADLINE)
    assert (answer["durable"], answer["given_up"]) == (9, [])


def test_recorder_that_comes_late_begins_at_what_is_held(parties: Parties, bus: Bus) -> None:
    source = parties.source(bus)
    source.open(SMALL)
    broker = bus.broker
    for first in range(4):
        source.send(numbers(SMALL, first, 1))
    until(lambda: broker.status()["streams"]["small"]["records"] == 4)
    broker._channels["small"].ledger.lookback = 0.0
    until(lambda: broker.status()["streams"]["small"]["held_from"] == 3)
    recorder = parties.consumer(bus, "recorder", "recorder")
    recorder.subscribe(["*"])
    assert following(recorder, Opened).next == 3
    recorder.credit("small", 0, through=0, written=0, durable=0)
    assert following(recorder, Delivery).batch.first == 3
    for first in range(4, 9):
        source.send(numbers(SMALL, first, 1), timeout=DEADLINE)
    assert bus.broker.status()["streams"]["small"]["held_from"] == 3, "held from now on"


def test_those_who_take_too_long_are_given_up_and_named(parties: Parties) -> None:
    bus = parties.bus(close_deadline=0.3, recording=True)
    recorder = parties.consumer(bus, "recorder", "recorder")
    recorder.subscribe(["*"])
    slow = parties.consumer(bus, "slow")
    slow.subscribe(["small"])
    source = parties.source(bus)
    source.open(SMALL, wait=False)
    assert following(recorder, Opened)
    recorder.credit("small", 0, through=0, written=0, durable=0)
    source.send(numbers(SMALL, 0, 1), timeout=DEADLINE)
    answer = source.close_stream("small", timeout=DEADLINE)
    assert answer["given_up"] == ["slow", "recorder"]
    seen = []
    while not isinstance(event := slow.receive(DEADLINE), Refused):
        seen.append(event)
    assert event.code == "given_up"
    assert bus.broker.status()["streams"]["small"]["held"] == 1, "still there for a recorder"


def test_unrecord_lets_go(parties: Parties) -> None:
    bus = parties.bus(recording=True)
    control = parties.consumer(bus, "control", "control")
    source = parties.source(bus)
    source.open(SMALL, wait=False)
    control.command("bus", "unrecord")
    until(lambda: source.pump(0.01) or source.ready("small"))
    for first in range(20):
        source.send(numbers(SMALL, first, 1), timeout=DEADLINE)
    assert source.close_stream("small", timeout=DEADLINE)["durable"] is None


def test_control_closes_a_stream_whose_source_is_gone(parties: Parties, bus: Bus) -> None:
    consumer = parties.consumer(bus)
    consumer.subscribe(["small"])
    source = parties.source(bus)
    source.open(SMALL)
    source.send(numbers(SMALL, 0, 2))
    source.close()
    control = parties.consumer(bus, "control", "control")
    control.close_stream("small", "failed", "killed")
    seen = events(consumer, closed)
    assert seen[-1] == Closed("small", 2, "failed", "killed")
    with pytest.raises(RefusedError, match="closed"):
        parties.source(bus).open(SMALL, timeout=DEADLINE)


def test_source_closed_by_control_is_told(parties: Parties, bus: Bus) -> None:
    source = parties.source(bus)
    source.open(SMALL)
    parties.consumer(bus, "control", "control").close_stream("small", "aborted", "enough")
    with pytest.raises(RefusedError, match="closed"):
        send_on(source, SMALL, 1000)


def test_rings_of_closed_streams_go(parties: Parties) -> None:
    bus = parties.bus(lookback=0.0)
    source = parties.source(bus)
    source.open(FRAMES)
    source.send(numbers(FRAMES, 0, 64))
    assert len(parties.rings()) == 1
    source.close_stream("frames", timeout=DEADLINE)
    until(lambda: not parties.rings(), "the end of the ring")
    late = parties.consumer(bus)
    late.subscribe(["frames"], start=0, ring=True)
    seen = events(late, closed)
    assert indices(seen) == list(range(64)), "its newest batch is still there"


# -- commands, fetch, status ---------------------------------------------------------------------


def test_command_and_done(parties: Parties, bus: Bus) -> None:
    import threading

    def obey(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if name != "stop":
            raise ValueError(f"no {name}")
        return {"stream": "small", "index": arguments["at"]}

    source = parties.source(bus, "camera", on_command=obey)
    control, other = (parties.consumer(bus, n, "control") for n in ("c1", "c2"))
    ending = threading.Event()
    thread = threading.Thread(target=lambda: [source.pump(0.02) for _ in iter(ending.is_set, True)])
    thread.start()
    try:
        for asker, at in ((control, 17), (other, 18), (control, 19)):
            done = asker.command("camera", "stop", {"at": at})
            assert (done["stream"], done["index"], done["target"]) == ("small", at, "camera")
        for name, arguments, why in (("dance", {}, "no dance"), ("stop", {}, "at")):
            with pytest.raises(RefusedError, match=why):
                control.command("camera", name, arguments)
        with pytest.raises(RefusedError, match="here: c1, c2, camera"):
            control.command("kamera", "stop")
        with pytest.raises(RefusedError, match="knows no"):
            control.command("bus", "dance")
        with pytest.raises(RefusedError, match="may not give commands"):
            parties.consumer(bus, "nobody").command("camera", "stop")
    finally:
        ending.set()
        thread.join()


def test_command_to_one_that_dies_is_answered(parties: Parties, bus: Bus) -> None:
    raw, target, thief = parties.raw(bus), parties.raw(bus), parties.raw(bus)
    raw.hello("control", "control")
    target.hello("target")
    thief.hello("thief")
    raw.send("command", {"id": 7, "target": "target", "name": "stop"})
    order = target.expect("command").header
    thief.send("done", {"id": order["id"], "index": 666})
    thief.send("status", {})
    thief.expect("status")
    target.close()
    message = raw.receive()
    assert message is not None
    assert (message.kind, message.header["code"], message.header["id"]) == ("error", "no_target", 7)


def test_consumer_takes_commands(parties: Parties, bus: Bus) -> None:
    raw = parties.raw(bus)
    raw.hello("control", "control")
    analysis = parties.consumer(bus, "analysis")
    raw.send(
        "command", {"id": "x", "target": "analysis", "name": "reconfigure", "arguments": {"a": 1}}
    )
    from daq.bus.client import Command

    command = following(analysis, Command)
    assert (command.name, command.arguments) == ("reconfigure", {"a": 1})
    analysis.done(command, stream="small", index=3)
    assert raw.expect("done").header == {
        "id": "x",
        "stream": "small",
        "index": 3,
        "target": "analysis",
    }


@pytest.mark.parametrize("ring", [True, False])
def test_fetch_from_memory(parties: Parties, bus: Bus, ring: bool) -> None:
    source = parties.source(bus, ring=ring)
    source.open(FRAMES, batch_records=10)
    for first in range(0, 30, 10):
        source.send(numbers(FRAMES, first, 10))
    source.missing("frames", 30, 5, "lost")
    source.send(numbers(FRAMES, 35, 5))
    until(lambda: bus.broker.status()["streams"]["frames"]["records"] == 40)
    viewer = parties.consumer(bus, "viewer")
    batch = viewer.fetch("frames", 3, 1000, 4)
    wanted = np.arange(3, 40, 4)
    assert list(batch.valid) == [not 30 <= i < 35 for i in wanted]
    assert list(batch.raw["time"][batch.valid]) == [i for i in wanted if not 30 <= i < 35]
    assert list(batch.raw["frame"][batch.valid][:, 5, 5]) == [i for i in wanted if not 30 <= i < 35]
    check(viewer.fetch("frames", 8, 7))
    for stream, first, code in (("frames", 40, "not_yet"), ("nothing", 0, "no_stream")):
        with pytest.raises(RefusedError) as error:
            viewer.fetch(stream, first, 1)
        assert error.value.code == code


def test_fetch_is_answered_in_pieces(parties: Parties) -> None:
    stream = Stream("big", {"frame": Field("<u2", (512, 512))})
    bus = parties.bus(lookback_bytes=100 << 20)
    source = parties.source(bus)
    source.open(stream, batch_records=8)
    for first in range(0, 32, 8):
        source.send(numbers(stream, first, 8))
    until(lambda: bus.broker.status()["streams"]["big"]["records"] == 32)
    batch = parties.consumer(bus).fetch("big", 1, 31)
    assert batch.count == 15, "8 MiB of records of half a MiB and 8 bytes"
    check(batch)


def test_fetch_from_the_file(parties: Parties) -> None:
    asked = []

    def history(name: str, first: int, count: int, stride: int) -> Batch:
        asked.append((name, first, count, stride))
        if first == 2:
            raise LookupError("not in the file")
        if first == 3:
            raise RuntimeError("a broken file")
        batch = numbers(SMALL, 0, 100)
        return Batch(
            name, {k: a[first : first + count : stride] for k, a in batch.raw.items()}, first
        )

    bus = parties.bus(history=history, lookback=0.0, lookback_bytes=0)
    source = parties.source(bus)
    source.open(SMALL)
    for first in range(0, 40, 4):
        source.send(numbers(SMALL, first, 4))
    until(lambda: bus.broker.status()["streams"]["small"]["held_from"] == 36)
    viewer = parties.consumer(bus)
    assert list(viewer.fetch("small", 1, 100, 10).raw["value"]) == [1, 11, 21, 31]
    assert asked == [("small", 1, 35, 10)], "only what is no longer held"
    check(viewer.fetch("small", 36, 4))
    for first in (2, 3):
        with pytest.raises(RefusedError) as error:
            viewer.fetch("small", first, 1)
        assert error.value.code == "gone"
    check(viewer.fetch("small", 5, 1))


def test_status_tells_consumers_of_one_name_apart(parties: Parties, bus: Bus) -> None:
    source = parties.source(bus)
    source.open(SMALL)
    for start in (0, 1):
        viewer = parties.consumer(bus, "viewer")
        viewer.subscribe(["small"], start=start)
        following(viewer, Opened)
    source.send(numbers(SMALL, 0, 3))
    status = until(lambda: (s := bus.broker.status())["streams"]["small"]["records"] and s)
    assert {n: c["small"]["in"] for n, c in status["consumers"].items()} == {
        "viewer": 3,
        "viewer#2": 2,
    }
    assert status["peers"] == ["source", "viewer", "viewer"]
    assert status["streams"]["small"]["bytes"] > 0


# -- endpoints and ends -------------------------------------------------------------------------


def test_two_buses_at_one_place(parties: Parties, bus: Bus) -> None:
    with pytest.raises(EndpointError, match="already running"):
        Broker(BusSettings(bus.endpoint))
    assert parties.consumer(bus).status()["peers"] == ["consumer"]
    other = parties.bus(tcp())
    with pytest.raises(EndpointError, match="taken"):
        Broker(BusSettings(other.endpoint))


@pytest.mark.parametrize(
    "endpoint",
    [
        "tcp://0.0.0.0:5555",
        "tcp://example.org:1",
        "udp://1",
        "tcp://127.0.0.1",
        "ipc://" + "x" * 200,
    ],
)
def test_endpoints_that_may_not_be(endpoint: str) -> None:
    with pytest.raises(EndpointError):
        Broker(BusSettings(endpoint))
    with pytest.raises(EndpointError):
        Consumer(endpoint, "x")


def test_folder_of_the_socket_is_private(parties: Parties) -> None:
    folder = parties.folder / "new"
    parties.bus(f"ipc://{folder / 'bus'}")
    assert folder.stat().st_mode & 0o777 == 0o700


def test_stop_command_ends_the_loop(parties: Parties, bus: Bus) -> None:
    parties.consumer(bus, "control", "control").command("bus", "stop")
    until(lambda: not bus._thread.is_alive())


def test_no_bus_is_a_timeout(parties: Parties) -> None:
    with pytest.raises(TimeoutError, match="no bus answers"):
        Consumer(parties.endpoint, "x", timeout=0.1)


def test_short_waits_get_there(parties: Parties) -> None:
    # As a lost publisher does it: many short tries are one long one.
    connection = Connection(parties.endpoint, "x", "source")
    try:
        sockets = set()
        for _ in range(5):
            with pytest.raises(TimeoutError):
                connection.start(0.0)
            sockets.add(connection._socket)
        assert len(sockets) == 1, "each goes on where the one before ended"
        parties.bus()
        deadline = time.monotonic() + DEADLINE
        while not connection.welcome:
            assert time.monotonic() < deadline
            try:
                connection.start(0.001)
            except TimeoutError:
                continue
    finally:
        connection.close()


STOPPED = """
import sys
from daq.bus.client import Consumer, Delivery
consumer = Consumer(sys.argv[1], "stopped")
consumer.subscribe(["small"])
print("ready", flush=True)
got = 0
while got < 200:
    event = consumer.receive(10)
    if isinstance(event, Delivery):
        got += event.batch.count
        consumer.release(event)
print(got, flush=True)
consumer.close()
"""


def test_sigstopped_consumer_holds_the_source_and_loses_nothing(parties: Parties) -> None:
    bus = parties.bus(lookback=0.0, lookback_bytes=0)
    process = subprocess.Popen(
        [sys.executable, "-c", STOPPED, bus.endpoint], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        source = parties.source(bus)
        source.open(SMALL)
        until(lambda: "stopped" in bus.broker.status()["consumers"])
        os.kill(process.pid, signal.SIGSTOP)
        assert until_stopped(source, SMALL) < 20
        os.kill(process.pid, signal.SIGCONT)
        send_on(source, SMALL, 200)
        assert process.stdout.readline() == "200\n"
    finally:
        process.kill()
        process.communicate()


def test_killed_consumer_releases_the_source(parties: Parties, bus: Bus) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", STOPPED, bus.endpoint], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        source = parties.source(bus)
        source.open(SMALL)
        until(lambda: "stopped" in bus.broker.status()["consumers"])
        os.kill(process.pid, signal.SIGSTOP)
        assert until_stopped(source, SMALL) < 20
    finally:
        process.kill()
        process.communicate()
    send_on(source, SMALL, 100)
    assert "stopped" not in bus.broker.status()["peers"]
