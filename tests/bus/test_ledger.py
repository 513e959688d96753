"""The ledger against a slow and obvious model: a list of records, and a set for each consumer."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from daq.bus.ledger import Entry, Position, Released, StreamLedger
from daq.protocol import ProtocolError
from daq.streams import Field, Stream

STREAM = Stream("s", {"v": Field("<i8")})
CREDIT = 4


def ledger(**more: Any) -> StreamLedger:
    return StreamLedger(STREAM, credit=CREDIT, **more)


class Model(RuleBasedStateMachine):
    """A source that keeps to its credit, consumers that come and go, a recorder."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.number = 0
        self.credit = CREDIT
        self.source_slots: set[int] = set(range(8))
        self.sent: list[bool] = []  # For each record: was it data?
        self.consumers: dict[bytes, dict[str, Any]] = {}
        self.written = 0
        self.slots_out: dict[int, int] = {}

    @initialize(
        lookback=st.sampled_from([0.0, 5.0]),
        large=st.sampled_from([0, 3000]),
        recording=st.booleans(),
    )
    def start(self, lookback: float, large: int, recording: bool) -> None:
        self.ledger = ledger(lookback=lookback, lookback_bytes=large, recording=recording)
        self.ledger.history_slots = 2

    # -- what the broker does -------------------------------------------------------------------

    def settle(self, released: Released) -> None:
        self.credit += released.batches
        assert self.credit <= CREDIT
        for ring, slot in released.slots:
            assert ring == "ring" and slot not in self.source_slots, "a slot freed twice"
            end = self.slots_out.pop(slot)
            assert end <= self.needed(), "a slot freed that somebody needs"
            self.source_slots.add(slot)

    def needed(self) -> int:
        lossless = [
            c["returned"]
            for c in self.consumers.values()
            if c["policy"] == "lossless" and not c["recorder"]
        ]
        if self.ledger.recording:
            lossless.append(self.written)
        return min([len(self.sent), *lossless])

    def serve(self, who: bytes) -> None:
        mine = self.consumers[who]
        for entry, first in self.ledger.deliverable(who):
            assert first == max(entry.first, mine["next"])
            if mine["policy"] == "lossless":
                assert first == mine["next"], "a gap or a repeat"
            else:
                mine["skipped"] += first - mine["next"]
            if entry.missing and mine["returned"] == first:
                mine["returned"] = entry.end
            assert entry.missing != self.sent[first]
            mine["got"] += entry.end - first
            mine["next"] = entry.end
            if not entry.missing:
                assert mine["credit"] > 0
                mine["credit"] -= 1
                mine["unreturned"].append(entry.end)

    def serve_all(self) -> None:
        for who in self.consumers:
            self.serve(who)
        self.settle(self.ledger.release())
        self.settle(self.ledger.evict(self.now))

    # -- what happens ---------------------------------------------------------------------------

    def open(self) -> bool:
        return self.ledger.closing is None

    @precondition(lambda self: self.open() and self.credit > 0)
    @rule(count=st.integers(1, 5), slot=st.booleans(), jump=st.integers(0, 2))
    def data(self, count: int, slot: bool, jump: int) -> None:
        assert not self.ledger.full()
        first = len(self.sent) + jump
        entry = Entry(first, count, nbytes=count * 100, arrived=self.now)
        if slot and self.source_slots:
            entry.ring, entry.slot = "ring", min(self.source_slots)
            self.source_slots.remove(entry.slot)
            self.slots_out[entry.slot] = entry.end
        appended = self.ledger.accept(entry)
        assert len(appended) == 1 + (jump > 0)
        self.sent += [False] * jump + [True] * count
        self.credit -= 1
        self.serve_all()

    @precondition(lambda self: self.open())
    @rule(count=st.integers(1, 300))
    def missing(self, count: int) -> None:
        self.ledger.accept(Entry(len(self.sent), count, reason="lost", arrived=self.now))
        self.sent += [False] * count
        self.serve_all()

    @precondition(lambda self: self.open() and len(self.sent) > 0)
    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        before = self.ledger.repeats
        first = data.draw(st.integers(0, len(self.sent) - 1))
        count = data.draw(st.integers(1, len(self.sent) - first))
        assert self.ledger.accept(Entry(first, count, nbytes=1, arrived=self.now)) == []
        assert self.ledger.repeats == before + count

    @rule(
        policy=st.sampled_from(["lossless", "lossless", "latest"]),
        credit=st.integers(0, 3),
        back=st.integers(0, 400),
    )
    def subscribe(self, policy: str, credit: int, back: int) -> None:
        if len(self.consumers) >= 4:
            return
        self.number += 1
        who = b"%d" % self.number
        start = len(self.sent) - min(back, len(self.sent))
        if policy == "latest":
            newest = self.ledger.newest()
            start = newest.first if newest else len(self.sent)
        position = Position(policy, start, credit)
        if start < self.ledger.held_from:
            with pytest.raises(ProtocolError, match="held from"):
                self.ledger.subscribe(who, position, self.now)
            assert who not in self.ledger.positions
            return
        self.ledger.subscribe(who, position, self.now)
        self.consumers[who] = {
            "policy": policy, "start": start, "next": start, "returned": start, "credit": credit,
            "got": 0, "skipped": 0, "unreturned": [], "recorder": False, "closed": False,
        }  # fmt: skip
        self.serve(who)

    @precondition(lambda self: self.consumers)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        who = data.draw(st.sampled_from(sorted(self.consumers)))
        mine = self.consumers[who]
        batches = data.draw(st.integers(0, len(mine["unreturned"])))
        through = mine["unreturned"][batches - 1] if batches else None
        del mine["unreturned"][:batches]
        mine["credit"] += batches
        if through is not None and through > mine["returned"]:
            # Missing records that follow are taken as well: there is nothing to give back of them.
            while through < mine["next"] and not self.sent[through]:
                through += 1
            mine["returned"] = through
        self.settle(self.ledger.returned(who, batches, through, self.now))
        self.serve_all()

    @precondition(lambda self: self.consumers)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        who = data.draw(st.sampled_from(sorted(self.consumers)))
        del self.consumers[who]
        self.settle(self.ledger.unsubscribe(who))

    @precondition(lambda self: self.ledger.recording)
    @rule(data=st.data())
    def write(self, data: st.DataObject) -> None:
        self.written = data.draw(st.integers(self.written, len(self.sent)))
        self.settle(self.ledger.recorded(self.written, None, self.now))

    @rule(start=st.booleans())
    def record(self, start: bool) -> None:
        if start:
            self.ledger.start_recording()
            self.written = self.ledger.written or 0
        else:
            self.settle(self.ledger.stop_recording())

    @rule(seconds=st.sampled_from([0.1, 3.0, 10.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.settle(self.ledger.evict(self.now))

    @precondition(lambda self: self.open() and len(self.sent) > 30)
    @rule(never_sent=st.integers(0, 3))
    def close(self, never_sent: int) -> None:
        self.ledger.close(len(self.sent) + never_sent, "complete", "", self.now)
        self.sent += [False] * never_sent
        self.serve_all()

    # -- what holds always ----------------------------------------------------------------------

    @invariant()
    def agrees(self) -> None:
        kept = self.ledger
        assert kept.next == len(self.sent)
        assert kept.needed_from == self.needed()
        assert kept.held_from <= kept.needed_from or not kept.entries or kept.recording
        assert kept.in_flight + self.credit == CREDIT, "credit is neither lost nor made"
        assert kept.held_bytes == sum(entry.nbytes for entry in kept.entries)
        at = kept.held_from
        for entry in kept.entries:
            assert entry.first == at, "the entries run on"
            at = entry.end
        assert at == kept.next
        for who, mine in self.consumers.items():
            position = kept.positions[who]
            assert position.next == mine["next"]
            assert position.credit == mine["credit"]
            assert position.records_out == mine["got"]
            assert position.skipped == mine["skipped"]
            pending = max(0, kept.next - position.next)
            assert position.records_in == position.records_out + position.skipped + pending
            if mine["policy"] == "lossless":
                assert kept.held_from <= mine["returned"], "needed entries stay"
                # Whatever can be sent was sent.
                if position.next < kept.next:
                    assert mine["credit"] == 0
            ended = kept.closing is not None and mine["policy"] == "lossless"
            if ended:
                assert kept.at_end(who) == (mine["next"] == kept.next)


Model.TestCase.settings = settings(
    max_examples=120, stateful_step_count=40, deadline=None, derandomize=True
)
TestLedger = Model.TestCase


def test_jump_becomes_missing() -> None:
    kept = ledger()
    gap, entry = kept.accept(Entry(5, 2))
    assert (gap.first, gap.count, gap.missing) == (0, 5, True)
    assert (entry.first, kept.next, kept.missing) == (5, 7, 5)


def test_absurd_jumps_are_refused() -> None:
    kept = ledger()
    for entry in (Entry(1 << 40, 1), Entry(0, 1 << 40, reason="lost"), Entry((1 << 53) - 1, 1)):
        with pytest.raises(ProtocolError) as error:
            kept.accept(entry)
        assert error.value.code == "bad_index"
    assert kept.next == 0 and not kept.entries


def test_missing_records_declared_singly_cost_one_entry() -> None:
    kept = ledger()
    kept.subscribe(b"slow", Position("lossless", 0, 1), 0.0)
    kept.accept(Entry(0, 1))
    seen = [(e.first, f) for e, f in kept.deliverable(b"slow")]
    for index in range(1, 1001):
        kept.accept(Entry(index, 1, reason="lost"))
        seen += [(e.end, f) for e, f in kept.deliverable(b"slow")]
    assert len(kept.entries) == 2
    assert seen == [(0, 0)] + [(i + 1, i) for i in range(1, 1001)]
    assert kept.positions[b"slow"].records_out == 1001


def test_missing_records_need_not_be_returned() -> None:
    kept = ledger()
    kept.subscribe(b"c", Position("lossless", 0, 5), 0.0)
    kept.accept(Entry(0, 2))
    kept.accept(Entry(2, 2, reason="lost"))
    list(kept.deliverable(b"c"))
    assert kept.laggards() == [b"c"]
    kept.returned(b"c", 1, 2, 1.0)
    assert kept.needed_from == 4, "those that came before the batch was returned"
    kept.accept(Entry(4, 3, reason="lost"))
    list(kept.deliverable(b"c"))
    assert kept.needed_from == 7, "and those that came after"
    kept.close(9, "complete", "", 1.0)
    list(kept.deliverable(b"c"))
    assert kept.finished()


def test_latest_sees_the_close_after_missing_records() -> None:
    kept = ledger()
    kept.subscribe(b"v", Position("latest", 0, 1), 0.0)
    kept.accept(Entry(0, 3))
    assert [e.first for e, _ in kept.deliverable(b"v")] == [0]
    kept.close(5, "aborted", "", 0.0)
    assert kept.at_end(b"v")
    kept.end_for(b"v")
    position = kept.positions[b"v"]
    assert (position.records_in, position.records_out, position.skipped) == (5, 3, 2)


def test_history_stays_until_too_old_or_too_large_and_the_newest_longer() -> None:
    kept = ledger(lookback=5.0, lookback_bytes=250)
    for number in range(4):
        kept.accept(Entry(number, 1, nbytes=100, arrived=float(number)))
        kept.release()
    kept.evict(3.0)
    assert [e.first for e in kept.entries] == [2, 3]
    kept.evict(100.0)
    assert [e.first for e in kept.entries] == [3]


def test_a_recorded_run_holds_everything_until_it_is_written() -> None:
    kept = ledger(recording=True)
    for number in range(3):
        kept.accept(Entry(number, 1, nbytes=100))
    assert kept.release().batches == 0
    kept.evict(1e9)
    assert kept.held_from == 0
    assert kept.recorded(2, None, 1.0).batches == 2
    assert kept.recorded(1, None, 2.0).batches == 0, "progress does not go back"
    assert kept.written == 2


def test_close_waits_for_consumers_and_for_the_disk() -> None:
    kept = ledger(recording=True)
    kept.subscribe(b"c", Position("lossless", 0, 5), 0.0)
    kept.accept(Entry(0, 4))
    kept.close(4, "complete", "", 1.0)
    assert list(kept.deliverable(b"c"))
    assert kept.laggards() == [b"c"] and not kept.finished()
    kept.returned(b"c", 1, 4, 2.0)
    assert not kept.laggards() and not kept.finished()
    kept.recorded(4, 3, 2.0)
    assert not kept.finished()
    kept.recorded(4, 4, 2.0)
    assert kept.finished()
    with pytest.raises(ProtocolError, match="closed"):
        kept.accept(Entry(4, 1))


def test_close_with_fewer_records_than_were_taken() -> None:
    kept = ledger()
    kept.accept(Entry(0, 4))
    with pytest.raises(ProtocolError) as error:
        kept.close(3, "complete", "", 0.0)
    assert error.value.code == "bad_count"


def test_only_history_leaves_the_ring() -> None:
    kept = ledger(lookback=10.0)
    kept.history_slots = 4
    kept.subscribe(b"c", Position("lossless", 0, 5), 0.0)
    kept.accept(Entry(0, 1, ring="ring", slot=3, nbytes=10))
    entry = kept.entries[0]
    with pytest.raises(ValueError, match="history"):
        kept.move_inline(entry, [b""])
    list(kept.deliverable(b"c"))
    kept.returned(b"c", 1, 1, 0.0)
    kept.move_inline(entry, [b"x"])
    assert (entry.slot, entry.ring, entry.payload) == (-1, None, [b"x"])
    kept.accept(Entry(1, 1))
    list(kept.deliverable(b"c"))
    kept.returned(b"c", 1, 2, 0.0)
    assert kept.evict(1e9).slots == []
