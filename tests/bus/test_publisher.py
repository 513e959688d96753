"""The source's side: numbering, slots, credit, errors."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest

from daq.bus.client import Closed, Delivery, Lost
from daq.bus.connection import Refused
from daq.bus.outgoing import Kept, Outgoing
from daq.bus.publisher import RING_SLOTS
from daq.streams import Batch, Field, Stream
from tests.bus.conftest import (
    DEADLINE,
    FRAMES,
    SMALL,
    Bus,
    Parties,
    begin_close,
    events,
    numbers,
    until,
)


def indices(seen: list[object]) -> list[int]:
    return [int(i) for e in seen if isinstance(e, Delivery) for i in e.batch.indices]


def fill(arrays: dict[str, np.ndarray], first: int) -> Batch:
    for key, array in numbers(FRAMES, first, len(arrays["time"])).raw.items():
        arrays[key][...] = array
    return Batch("frames", arrays, first)


def test_numbers_on_declares_jumps_and_drops_repeats(parties: Parties, bus: Bus) -> None:
    consumer = parties.consumer(bus)
    consumer.subscribe(["small"], credit=50)
    source = parties.source(bus)
    source.open(SMALL)
    unnumbered = numbers(SMALL, 0, 3)
    unnumbered.first = None
    source.send(unnumbered)
    source.send(numbers(SMALL, 5, 2))
    source.send(numbers(SMALL, 0, 3))
    source.send(numbers(SMALL, 6, 3))
    source.send(numbers(SMALL, 9, 0))
    source.missing("small", 4, 7, "lost by the camera")
    source.missing("small", 2, 3, "known")
    assert source.next("small") == 11
    begin_close(source, "small")
    seen = events(consumer, lambda seen: bool(seen) and isinstance(seen[-1], Closed))
    source.close_stream("small", timeout=DEADLINE)
    assert indices(seen) == [0, 1, 2, 5, 6, 7, 8]
    lost = [(e.first, e.count, e.reason) for e in seen if isinstance(e, Lost)]
    assert lost == [(3, 2, "jump in the source"), (9, 2, "lost by the camera")]


def test_large_batches_are_split_and_large_records_refused(parties: Parties) -> None:
    bus = parties.bus(batch_bytes=100_000)
    consumer = parties.consumer(bus)
    consumer.subscribe(["*"], credit=50)
    source = parties.source(bus, ring=False)
    source.open(FRAMES)
    source.send(numbers(FRAMES, 0, 30), timeout=DEADLINE)
    seen = events(consumer, lambda seen: len(indices(seen)) == 30)
    assert [e.batch.count for e in seen if isinstance(e, Delivery)] == [12, 12, 6]
    for stream in (
        Stream("large", {"frame": Field("<u2", (512, 512))}),
        Stream("constant", SMALL.fields, constants={"gain": np.zeros(20_000)}),
    ):
        with pytest.raises(Refused) as error:
            source.open(stream, timeout=DEADLINE)
        assert error.value.code == "too_large"


@pytest.mark.parametrize("odd", ["field", "dtype", "shape", "absent"])
def test_what_was_not_opened_is_a_value_error(parties: Parties, bus: Bus, odd: str) -> None:
    source = parties.source(bus)
    source.open(SMALL)
    arrays = dict(numbers(SMALL, 0, 4).raw)
    if odd == "field":
        arrays["more"] = arrays["value"]
    elif odd == "dtype":
        arrays["value"] = arrays["value"].astype(float)
    elif odd == "shape":
        arrays["value"] = arrays["value"][:, None]
    else:
        del arrays["value"]
    with pytest.raises(ValueError, match="small"):
        source.send(Batch("small", arrays))
    assert source.next("small") == 0


def test_slots_that_were_filled_in_part_or_never_sent_come_back(parties: Parties, bus: Bus) -> None:
    consumer = parties.consumer(bus)
    consumer.subscribe(["frames"], ring=True, credit=50)
    source = parties.source(bus)
    source.open(FRAMES, batch_records=4)
    for round_ in range(2 * RING_SLOTS):
        # As many as there are slots, twice over: if one in two were lost, this would stand still.
        batch = fill(source.allocate("frames", 4, stopping=lambda: True), 2 * round_)
        part = batch.slice(0, 2)
        assert source.in_slot("frames", batch) and not source.in_slot("frames", part)
        source.send(part, timeout=DEADLINE)
        del batch, part
        source.allocate("frames", 4)  # and forgotten
        events(consumer, lambda seen, n=round_: indices(seen)[-2:] == [2 * n, 2 * n + 1])
    arrays = source.allocate("frames", 4, stopping=lambda: True)
    assert source.in_slot("frames", Batch("frames", arrays)), "still in the ring"


def test_a_slot_that_the_source_holds_is_not_filled_again(parties: Parties, bus: Bus) -> None:
    source = parties.source(bus)
    source.open(FRAMES, batch_records=4)
    mine = source.allocate("frames", 4)
    mine["frame"][...] = 7
    kept = mine["frame"][1:2]
    source.send(Batch("frames", {k: a[:1] for k, a in mine.items()}), timeout=DEADLINE)
    del mine
    gc.collect()
    for first in range(1, 4 * RING_SLOTS):
        source.send(numbers(FRAMES, first, 1), timeout=DEADLINE)
    assert (kept == 7).all()


def test_order_of_the_fields_does_not_matter(parties: Parties, bus: Bus) -> None:
    consumer = parties.consumer(bus)
    consumer.subscribe(["frames"], ring=True)
    source = parties.source(bus)
    source.open(FRAMES, batch_records=4)
    batch = fill(source.allocate("frames", 4), 0)
    turned = Batch("frames", dict(reversed(batch.raw.items())), 0)
    assert source.in_slot("frames", turned)
    source.send(turned)
    seen = events(consumer, lambda seen: bool(indices(seen)))
    assert indices(seen) == [0, 1, 2, 3]
    assert [e.slot is not None for e in seen if isinstance(e, Delivery)] == [True]


def test_a_batch_larger_than_a_slot_goes_inline(parties: Parties, bus: Bus) -> None:
    consumer = parties.consumer(bus)
    consumer.subscribe(["frames"], ring=True)
    source = parties.source(bus)
    source.open(FRAMES, batch_records=4)
    arrays = source.allocate("frames", 40)
    assert not source.in_slot("frames", fill(arrays, 0))
    source.send(fill(arrays, 0))
    seen = events(consumer, lambda seen: len(indices(seen)) == 40)
    assert all(e.slot is None for e in seen if isinstance(e, Delivery))


def test_allocate_from_another_thread_while_sending(parties: Parties, bus: Bus) -> None:
    consumer = parties.consumer(bus)
    consumer.subscribe(["frames"], ring=True)
    source = parties.source(bus)
    source.open(FRAMES, batch_records=3)
    made: list[Batch] = []
    space = threading.Semaphore(4)

    def produce() -> None:
        for first in range(0, 900, 3):
            space.acquire()
            made.append(fill(source.allocate("frames", 3), first))

    thread = threading.Thread(target=produce)
    thread.start()
    got: list[int] = []

    def drain() -> None:
        source.pump(0)
        while (event := consumer.receive(0.001)) is not None:
            if isinstance(event, Delivery):
                got.extend(int(v) for v in event.batch.raw["frame"][:, 9, 9])
                assert event.intact()
                consumer.release(event)

    for _ in range(300):
        until(lambda: drain() or (made and source.ready("frames")))
        source.send(made.pop(0), timeout=DEADLINE)
        space.release()
    thread.join()
    got += indices(events(consumer, lambda seen: len(got) + len(indices(seen)) == 900))
    assert got == list(range(900))
    assert bus.broker.status()["streams"]["frames"]["copies"] == 0


def test_missing_records_while_the_bus_is_away_cost_one_entry() -> None:
    out = Outgoing(SMALL, 64)
    for index in range(1000):
        out.keep(Kept(index, 1, reason="lost"))
    assert len(out.kept) == out.unsent == 1
    assert out.due() is None, "not opened"
    out.opened = True
    kept = out.due()
    assert kept is not None and (kept.first, kept.count) == (0, 1000)


def test_what_is_sent_again_begins_where_the_bus_stands() -> None:
    arrays = dict(numbers(SMALL, 0, 10).raw)

    def sent() -> Outgoing:
        out = Outgoing(SMALL, 64)
        for first in (0, 10, 20, 30):
            out.keep(Kept(first, 10, arrays))
        out.unsent = 1
        return out

    for index, firsts, resent in (
        (0, [0, 10, 20, 30], 30),
        (10, [10, 20, 30], 20),
        (15, [10, 20, 30], 20),
        (30, [30], 0),
        (40, [], 0),
        (50, [], 0),
    ):
        out = sent()
        assert out.send_again_from(index) == resent, index
        assert [k.first for k in out.kept] == firsts and out.unsent == len(firsts)
        assert out.next == max(40, index)
    out = sent()
    out.done_through(20)
    assert [k.first for k in out.kept] == [20, 30]
    out.send_again_from(5)
    lost = out.kept[0]
    assert (lost.first, lost.count, lost.reason) == (5, 15, "lost with the bus")
    out = sent()
    out.done_through(100)
    assert [k.first for k in out.kept] == [30], "what waits stays"


def test_constants_travel(parties: Parties, bus: Bus) -> None:
    from daq.bus.client import Opened

    constants = {"dark": np.arange(4096, dtype=float).reshape(64, 64), "q": np.float32([[1, 2]])}
    stream = Stream(
        "frames", FRAMES.fields, constants=constants, attributes={"a": [1, {"b": None}]}
    )
    consumer = parties.consumer(bus)
    consumer.subscribe(["frames"])
    parties.source(bus).open(stream)
    opened = next(e for e in events(consumer, lambda seen: bool(seen)) if isinstance(e, Opened))
    assert opened.stream.attributes == stream.attributes
    for name, array in constants.items():
        np.testing.assert_array_equal(opened.stream.constants[name], array)
