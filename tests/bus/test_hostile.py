"""Malformed, oversized and hostile messages: refused, counted, and nobody else notices."""

from __future__ import annotations

import json
import random
import socket
import struct
from typing import Any

import pytest
import zmq

from daq import protocol
from daq.bus.client import Delivery
from daq.bus.settings import ERRORS_PER_SECOND, MOST_CREDIT, SEND_QUEUE
from daq.streams import matches
from tests.bus.conftest import (
    DEADLINE,
    FRAMES,
    SMALL,
    Bus,
    Parties,
    Raw,
    events,
    numbers,
    tcp,
    until,
)

KINDS = "hello open data missing close subscribe credit fetch command done status error welcome opened x".split()
KEYS = (
    "stream fields axes scan attributes expect ring constants first count parts slot sequence reason status streams "
    "policy credit start batches slots through written durable stride id target name arguments protocol role index"
).split()
VALUES: list[Any] = [
    None, True, False, 0, 1, 2, 3, -1, 1 << 31, (1 << 53) - 1, 1 << 53, 1 << 64, -(1 << 70), 0.5, 1e308, "", "small", "frames",
    "mine", "*", "lossless", "latest", "now", "complete", "bus", "stop now", "../../etc", "run.log", "truth.x", "a" * 300, "\x00",
    "\u202e", "\ud800", [], {}, [[]], [{}], ["*"], ["small", 3], ["*" * 100 + "a"], {"a": 1}, {"slots": 4, "slot_bytes": 4096},
    {"slots": -1, "slot_bytes": 1 << 60}, [{"field": "value", "dtype": "<i8", "shape": [1]}], [{"field": ["value"]}],
    {"value": {"dtype": "<i8", "shape": []}}, {"value": {"dtype": "<f8", "shape": [1 << 31] * 6}},
    {"value": {"dtype": "|O"}}, {"value": {"dtype": "<i8", "shape": [0]}}, {"time": {"dtype": "<i8", "shape": []}},
]  # fmt: skip


def victims(parties: Parties, bus: Bus) -> Any:
    """A source and a consumer that go on as if nothing were, checked between attacks."""
    consumer = parties.consumer(bus, "victim")
    consumer.subscribe(["small", "frames"], ring=True, credit=8)
    source = parties.source(bus, "good")
    for stream in (SMALL, FRAMES):
        source.open(stream)
    done = 0

    def go_on() -> None:
        nonlocal done
        for stream in (SMALL, FRAMES):
            source.send(numbers(stream, done, 3), timeout=DEADLINE)
        seen = events(
            consumer, lambda seen: sum(e.batch.count for e in seen if isinstance(e, Delivery)) == 6
        )
        assert {int(i) for e in seen if isinstance(e, Delivery) for i in e.batch.indices} == {
            done,
            done + 1,
            done + 2,
        }
        done += 3
        assert bus.failed is None

    go_on()
    return go_on


def mutated(rng: random.Random, header: dict[str, Any]) -> dict[str, Any]:
    header = dict(header)
    for _ in range(rng.randint(1, 3)):
        key = rng.choice([*header, rng.choice(KEYS)])
        if rng.random() < 0.15:
            header.pop(key, None)
        else:
            header[key] = rng.choice(VALUES)
    return header


def templates() -> list[tuple[str, dict[str, Any], list[bytes]]]:
    mine = SMALL.renamed("mine")
    batch = numbers(mine, 0, 2)
    parts = [
        {"field": n, "dtype": a.dtype.str, "shape": list(a.shape)} for n, a in batch.raw.items()
    ]
    raw = [a.tobytes() for a in batch.raw.values()]
    return [
        ("open", {**mine.header(), "ring": {"slots": 4, "slot_bytes": 5000}}, []),
        ("data", {"stream": "mine", "first": 0, "count": 2, "parts": parts}, raw),
        ("data", {"stream": "mine", "first": 0, "count": 2, "parts": parts, "slot": 0, "sequence": 1}, []),
        ("missing", {"stream": "mine", "first": 0, "count": 2, "reason": "x"}, []),
        ("close", {"stream": "mine", "count": 2, "status": "complete", "reason": ""}, []),
        ("subscribe", {"streams": ["*"], "policy": "latest", "credit": 1, "start": "now", "ring": True}, []),
        ("credit", {"stream": "small", "batches": 1, "slots": [0], "through": 1, "written": 1, "durable": 1}, []),
        ("fetch", {"id": "1", "stream": "small", "first": 0, "count": 1, "stride": 1}, []),
        ("command", {"id": "1", "target": "fuzz", "name": "x", "arguments": {}}, []),
        ("done", {"id": "1", "stream": None, "index": None}, []),
        ("status", {}, []),
        ("hello", {"protocol": 1, "name": "fuzz", "role": "source"}, []),
    ]  # fmt: skip


@pytest.mark.parametrize("role", ["source", "consumer", "control"])
@pytest.mark.parametrize("seed", range(3))
def test_fuzzed_headers(parties: Parties, bus: Bus, role: str, seed: int) -> None:
    rng = random.Random(f"{role} {seed}")
    go_on = victims(parties, bus)
    fuzz = parties.raw(bus)
    fuzz.hello("fuzz", role)
    if role == "source":
        fuzz.open(SMALL.renamed("mine"))
    for number in range(900):
        kind, header, parts = rng.choice(templates())
        header = mutated(rng, header)
        if kind == "command" and header.get("target") == "bus" and header.get("name") == "stop":
            continue
        if kind == "hello" and header.get("role") == "recorder":
            continue
        if role == "control" and kind == "close" and header.get("stream") in ("small", "frames"):
            continue  # A controller may.
        if rng.random() < 0.1:
            kind = rng.choice(KINDS)
        if rng.random() < 0.1:
            parts = [rng.randbytes(rng.randint(0, 40)) for _ in range(rng.randint(0, 4))]
        fuzz.socket.send_multipart([kind.encode(), json.dumps(header).encode(), *parts])
        if number % 300 == 299:
            go_on()
    # The loop is alive and has counted what it refused; none of it was a surprise.
    until(lambda: sum(bus.broker.status()["errors"].values()) > 300)
    go_on()
    errors = parties.consumer(bus, "asks").status(timeout=DEADLINE)["errors"]
    assert "internal" not in errors, errors


@pytest.mark.parametrize(
    "frames",
    [
        [b""], [b"data"], [b"hello", b"{"], [b"hello", b"[]"], [b"hello", b"3"], [b"hello", b"\xff\xfe"],
        [b"hello", b"[" * 100_000], [b'{"a":' * 100_000, b""], [b"hello", b'{"a":' * 3000 + b"1" + b"}" * 3000],
        [b"h\xc3\xa9llo", b"{}"], [b"x" * 17, b"{}"], [b"he llo", b"{}"], [b"hello", b"{}", *[b""] * 300],
        [b"hello", b'{"protocol":NaN}'], [b"hello", b'{"protocol":1e999}'],
        [b"hello", b'{"name":"\\ud800","role":"source","protocol":1}'], [b"status", b" " * (2 << 20)],
        [b"hello", b"9" * 10_000], [b"hello", b'{"protocol":' + b"9" * 10_000 + b"}"], [b"\x80\x04.", b"{}"],
        [b"", b"", b""], [b"hello", b""], [b"hello", b"null"],
    ],
    ids=range(23),
)  # fmt: skip
def test_malformed_frames(parties: Parties, bus: Bus, frames: list[bytes]) -> None:
    go_on = victims(parties, bus)
    raw = parties.raw(bus)
    raw.socket.send_multipart(frames)
    message = raw.receive()
    assert message is not None and message.kind == "error"
    assert message.header["code"] in ("malformed", "bad_protocol", "bad_name", "hello_first")
    raw.hello()
    raw.socket.send_multipart(frames)
    raw.send("status", {})
    while message.kind != "status":
        message = raw.receive()
        assert message is not None
    assert sum(message.header["errors"].values()) >= 1
    go_on()


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"first": -1}, "bad_header"), ({"first": 1 << 52}, "bad_index"), ({"count": 0}, "bad_header"),
        ({"count": 3}, "bad_shape"), ({"count": 1 << 40}, "too_large"), ({"first": True}, "bad_header"),
        ({"parts": []}, "bad_part"), ({"parts": None}, "bad_part"), ({"parts": [1, 2]}, "bad_part"),
        ({"slot": 0, "sequence": 1}, "bad_slot"), ({"slot": -1}, "bad_header"),
    ],
)  # fmt: skip
def test_bad_data_costs_no_credit_and_no_stream(
    parties: Parties, bus: Bus, more: dict[str, Any], code: str
) -> None:
    raw = parties.raw(bus)
    raw.hello()
    raw.open(SMALL)
    raw.data(SMALL, 0, 2, **more)
    credit = message = None
    while credit is None or message is None:
        answer = raw.receive()
        assert answer is not None
        if answer.kind == "error":
            message = answer
        elif answer.kind == "credit":
            credit = answer
    assert (message.header["code"], credit.header["batches"]) == (code, 1)
    raw.data(SMALL, 0, 2)
    assert raw.expect("credit").header["through"] == 2


def test_inline_parts_that_lie(parties: Parties, bus: Bus) -> None:
    raw = parties.raw(bus)
    raw.hello()
    raw.open(SMALL)
    parts = [{"field": f, "dtype": "<i8", "shape": [2]} for f in ("value", "time")]
    header = {"stream": "small", "first": 0, "count": 2, "parts": parts}
    for payload in (
        [],
        [b"x" * 16],
        [b"x" * 16, b"x" * 15],
        [b"x" * 17, b"x" * 16],
        [b"x" * 16] * 3,
    ):
        raw.send("data", header, *payload)
        assert raw.refused() == "bad_part"
    raw.send("data", {**header, "parts": [parts[0], parts[0]]}, b"x" * 16, b"x" * 16)
    assert raw.refused() == "bad_part"
    raw.send(
        "data", {**header, "parts": [{**parts[0], "dtype": "<f8"}, parts[1]]}, b"x" * 16, b"x" * 16
    )
    assert raw.refused() == "bad_dtype"
    raw.send("data", header, b"x" * 16, b"x" * 16)
    raw.send("fetch", {"stream": "small", "first": 0, "count": 2})
    assert raw.expect("fetched").header["count"] == 2


def test_a_source_beyond_its_credit_is_refused_and_costs_no_memory(parties: Parties) -> None:
    bus = parties.bus(credit=3)
    go_on = victims(parties, bus)
    stuck = parties.raw(bus)
    stuck.hello("stuck", "consumer")
    stuck.subscribe(["flood"], credit=1)
    raw = parties.raw(bus)
    raw.hello("flood")
    flood = SMALL.renamed("flood")
    raw.open(flood)
    for first in range(2000):
        raw.data(flood, first, 1)
    until(lambda: bus.broker.status()["errors"].get("no_credit", 0) == 1997)
    counters = bus.broker.status()["streams"]["flood"]
    assert (counters["records"], counters["held"], counters["in_flight"]) == (3, 3, 3)
    go_on()


def test_a_slot_is_not_taken_twice_nor_freed_by_a_trick(parties: Parties, bus: Bus) -> None:
    from daq.bus.ring import Ring, RingShape

    stuck = parties.raw(bus)
    stuck.hello("stuck", "consumer")
    stuck.subscribe(["frames"], credit=1)
    raw = parties.raw(bus)
    raw.hello()
    opened = raw.open(FRAMES, ring={"slots": 4, "slot_bytes": 40_000})
    ring = Ring.attach(RingShape.from_header(opened["ring"]), writable=True)
    ring.set_sequence(1, 5)
    parts = [
        {"field": "frame", "dtype": "<u2", "shape": [1, 64, 64]},
        {"field": "time", "dtype": "<i8", "shape": [1]},
    ]
    header = {"stream": "frames", "first": 0, "count": 1, "parts": parts, "slot": 1, "sequence": 5}
    raw.send("data", header)
    until(lambda: bus.broker.status()["streams"]["frames"]["records"] == 1)
    freed: list[int] = []
    for bad in (
        {"first": 1},
        {"first": 1, "sequence": 6},
        {"first": 1, "slot": 9},
        {"first": 1, "slot": 2},
        {"first": 1, "count": 7},
    ):
        raw.send("data", {**header, **bad})
        code = None
        while code is None:
            message = raw.receive()
            assert message is not None
            if message.kind == "error":
                code = message.header["code"]
            else:
                freed += message.header["slots"]
        assert code in ("bad_slot", "bad_sequence", "bad_shape"), (bad, code)
    raw.send("status", {})
    while (message := raw.receive()) is not None and message.kind != "status":
        freed += message.header["slots"]
    assert freed == [2], "only the one that nobody holds"
    stuck.send(
        "credit", {"stream": "frames", "batches": 1, "slots": [0, 1, 2, 3], "through": 1 << 50}
    )
    stuck.send("credit", {"stream": "frames", "batches": 1, "slots": [1], "through": 1})
    stuck.send("status", {})
    stuck.expect("status")
    raw.send("data", {**header, "first": 0})  # a repeat, in the slot that is held
    assert raw.refused() == "bad_slot"
    ring.close()


def test_a_record_that_nobody_could_send_is_refused_at_open(parties: Parties, bus: Bus) -> None:
    go_on = victims(parties, bus)
    raw = parties.raw(bus)
    raw.hello()
    for shape in ([1 << 31], [1 << 31] * 6, [1 << 30, 1 << 31, 8]):
        raw.send("open", {"stream": "huge", "fields": {"v": {"dtype": "<f8", "shape": shape}}})
        assert raw.refused() == "too_large"
    for header in (
        {"fields": {"v": {"dtype": "|O", "shape": []}}}, {"fields": {}}, {"fields": {"v": {"dtype": "<i8", "shape": [0]}}},
        {"fields": {"v": {"dtype": "<i8"}}, "attributes": [1]}, {"fields": {"valid": {"dtype": "<i8"}}},
        {"fields": {"v/../w": {"dtype": "<i8"}}}, {"fields": {"v": {"dtype": "<i8"}}, "constants": [{}]},
        {"fields": {"v": {"dtype": "<i8"}}, "expect": -1}, {"fields": {"time": {"dtype": "<f8"}}},
    ):  # fmt: skip
        raw.send("open", {"stream": "bad", **header})
        assert raw.refused().startswith("bad_")
    assert set(bus.broker.status()["streams"]) == {"small", "frames"}
    go_on()


def test_a_description_that_cannot_be_sent_on_hurts_no_subscriber(
    parties: Parties, bus: Bus
) -> None:
    raw = parties.raw(bus)
    raw.hello()
    header = {**SMALL.header(), "stream": "evil"}
    for attributes in (b'{"a":NaN}', b'{"a":1e999}', b'{"a":' + b"9" * 40 + b"}", b'{"a":"' + b"x" * (1_046_000) + b'"}',
                       b'{"a":' + b"[" * 800 + b"]" * 800 + b"}", b'{"a":"\\udc00"}'):  # fmt: skip
        text = (
            json.dumps({**header, "attributes": None})
            .encode()
            .replace(b'"attributes": null', b'"attributes":' + attributes)
        )
        raw.socket.send_multipart([b"open", text])
        message = raw.receive()
        assert message is not None
        assert message.kind == "error" or message.kind == "opened"
        assert message.kind == "error", attributes[:20]
    source = parties.source(bus)
    source.open(SMALL)
    late = parties.raw(bus)
    late.hello("late", "consumer")
    late.send("subscribe", {"streams": ["*"], "credit": 1})
    assert late.expect("open").header["stream"] == "small"


def test_one_who_asks_and_never_reads_is_dropped(parties: Parties, bus: Bus) -> None:
    go_on = victims(parties, bus)
    raw = parties.raw(bus)
    raw.socket.close(0)
    raw.socket = raw.context.socket(zmq.DEALER)
    raw.socket.linger = 0
    raw.socket.rcvhwm = 1
    raw.socket.rcvbuf = 4096
    raw.socket.connect(bus.endpoint)
    raw.hello("deaf", "consumer")
    fetch = protocol.pack("fetch", {"stream": "frames", "first": 0, "count": 1})
    for _ in range(3 * SEND_QUEUE):
        if "deaf" not in bus.broker.status()["peers"]:
            break
        raw.socket.send_multipart(fetch)
    until(lambda: "deaf" not in bus.broker.status()["peers"], "its end")
    go_on()


def test_errors_are_counted_and_not_all_are_told(parties: Parties, bus: Bus) -> None:
    raw = parties.raw(bus)
    for _ in range(5 * ERRORS_PER_SECOND):
        raw.send("status", {})
    until(lambda: bus.broker.status()["errors"].get("hello_first") == 5 * ERRORS_PER_SECOND)
    told = 0
    while raw.receive(0.05) is not None:
        told += 1
    assert ERRORS_PER_SECOND <= told <= 4 * ERRORS_PER_SECOND


def test_credit_out_of_thin_air_is_not_granted(parties: Parties, bus: Bus) -> None:
    raw = parties.raw(bus)
    raw.hello("greedy", "consumer")
    raw.subscribe(["small"], credit=(1 << 53) - 1)
    source = parties.source(bus)
    source.open(SMALL)
    raw.expect("open")
    raw.send("credit", {"stream": "small", "batches": (1 << 53) - 1, "through": (1 << 53) - 1})
    raw.send("status", {})
    raw.expect("status")
    positions = bus.broker._channels["small"].ledger.positions
    assert [p.credit for p in positions.values()] == [MOST_CREDIT]
    assert [p.returned for p in positions.values()] == [0]


def test_too_many_globs(parties: Parties, bus: Bus) -> None:
    raw = parties.raw(bus)
    raw.hello("greedy", "consumer")
    for number in range(5):
        raw.send("subscribe", {"streams": [f"a{number}.{i}" for i in range(1000)], "credit": 1})
    assert raw.refused() == "too_many"


def test_globs_of_many_stars_take_no_time() -> None:
    assert not matches("*a" * 60 + "b", "a" * 180)
    assert matches("*a" * 60, "a" * 180)


@pytest.mark.parametrize(
    "bytes_",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x00" * 5000,
        b"\xff" + b"\x00" * 8 + b"\x7f" + b"\x03" * 60,
        b"",
    ],
)
def test_what_is_not_zmtp(parties: Parties, bytes_: bytes) -> None:
    bus = parties.bus(tcp())
    go_on = victims(parties, bus)
    plain = socket.create_connection(("127.0.0.1", int(bus.endpoint.rpartition(":")[2])))
    plain.sendall(bytes_)
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    plain.close()
    go_on()


def test_an_oversized_message_ends_its_own_connection_only(parties: Parties) -> None:
    bus = parties.bus(batch_bytes=2 << 20)
    go_on = victims(parties, bus)
    raw = Raw(bus.endpoint)
    raw.hello("large")
    raw.send("status", {}, b"x" * (3 << 20))
    until(lambda: "large" not in bus.broker.status()["peers"], "its end")
    raw.close()
    go_on()


def test_a_stream_of_a_dead_hostile_source_is_taken_from_it(parties: Parties, bus: Bus) -> None:
    raw = parties.raw(bus)
    raw.hello("squatter")
    raw.open(SMALL.renamed("camera"))
    raw.close()
    until(lambda: "squatter" not in bus.broker.status()["peers"])
    assert parties.source(bus, "camera").open(SMALL.renamed("camera"), timeout=DEADLINE) == 0
