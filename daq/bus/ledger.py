"""What the bus knows of one stream: which records it holds, for whom, and what may go.

Pure book-keeping without sockets or clocks of its own, so that its rules can be tested alone:

- an entry is *needed* until every lossless consumer has returned it and, while the run is
  recorded, until the recorder has it ``written``;
- a needed entry counts against the credit of its source; one that is no longer needed stays as
  *history* (for late subscribers, for the seconds before a recording) until it is too old or too
  large, and only then gives its ring slot back;
- per consumer, in = out + skipped.
"""

from __future__ import annotations

import bisect
import dataclasses
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from daq.bus.settings import MOST_CREDIT, MOST_MISSING
from daq.protocol import ProtocolError
from daq.streams import Stream


@dataclasses.dataclass(slots=True)
class Entry:
    """Consecutive records that the bus holds: a batch, inline or in a slot, or missing ones."""

    first: int
    count: int
    parts: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    payload: list[Any] = dataclasses.field(default_factory=list)
    reason: str | None = None
    ring: str | None = None
    slot: int = -1
    sequence: int = 0
    nbytes: int = 0
    arrived: float = 0.0

    @property
    def end(self) -> int:
        """Index after the last record."""
        return self.first + self.count

    @property
    def missing(self) -> bool:
        """True for records that the instrument lost."""
        return self.reason is not None


@dataclasses.dataclass(slots=True)
class Position:
    """Where one consumer stands in one stream."""

    policy: str
    next: int
    credit: int
    ring: bool = False
    returned: int = 0
    in_flight: int = 0
    records_in: int = 0
    records_out: int = 0
    skipped: int = 0
    close_sent: bool = False
    progressed: float = 0.0
    recorder: bool = False
    reported: bool = True


@dataclasses.dataclass(slots=True)
class Released:
    """What an event frees: credit and slots for the source, by the ring that the slots are in."""

    batches: int = 0
    slots: list[tuple[str, int]] = dataclasses.field(default_factory=list)

    def add(self, other: Released) -> Released:
        """Take what another event frees as well; return itself."""
        self.batches += other.batches
        self.slots += other.slots
        return self


@dataclasses.dataclass(slots=True)
class Closing:
    """How a stream ended."""

    count: int
    status: str
    reason: str
    at: float
    answered: bool = False


class StreamLedger:
    """The records of one stream on the bus, and the position of each of its consumers.

    Parameters
    ----------
    stream
        As its source opened it.
    credit
        Batches that the source may have in flight.
    lookback, lookback_bytes
        How long, in seconds, and how much history is kept beyond what is needed.
    recording
        True while entries must be held until `written`.
    """

    def __init__(
        self,
        stream: Stream,
        *,
        credit: int,
        lookback: float = 0.0,
        lookback_bytes: int = 0,
        recording: bool = False,
    ) -> None:
        self.stream = stream
        self.name = stream.name
        self.credit = credit
        self.lookback = lookback
        self.lookback_bytes = lookback_bytes
        self.history_slots = 0
        self.recording = recording
        self.next = 0
        self.written: int | None = None
        self.durable: int | None = None
        self.recorded_at = 0.0
        self.entries: deque[Entry] = deque()
        self.positions: dict[bytes, Position] = {}
        self.closing: Closing | None = None
        self.held_bytes = 0
        self.in_flight = 0
        self.repeats = 0
        self.missing = 0
        self.bytes = 0
        self._credited = 0
        self._slots_in_history = 0

    # -- records come ---------------------------------------------------------------------------

    def resume_at(self, index: int) -> None:
        """Set the index that comes next, before the first record: where the recorder stands."""
        if self.entries or self.next:
            raise ValueError(f"{self.name} has records already")
        self.next = index

    def accept(self, entry: Entry) -> list[Entry]:
        """Take an entry; return what was appended: it, with missing records before it if it jumps.

        A repeat is dropped (nothing returned) and counted; an entry that begins before `next` and
        ends after it must be trimmed by the caller, see `overlap`. Missing records that follow
        missing ones for the same reason lengthen their entry: a source that declares them singly
        costs no memory.
        """
        if self.closing is not None:
            raise ProtocolError("closed", f"{self.name} is closed")
        jump = (entry.end if entry.missing else entry.first) - self.next
        if jump > MOST_MISSING or entry.end >= 1 << 53:
            raise ProtocolError(
                "bad_index", f"{self.name}: {self.next} comes next, and {entry.end} is far beyond"
            )
        if entry.end <= self.next:
            self.repeats += entry.count
            return []
        if entry.first < self.next:
            raise ValueError("trim the entry first")
        appended = []
        if entry.first > self.next:
            gap = Entry(
                self.next, entry.first - self.next, reason="undeclared jump", arrived=entry.arrived
            )
            appended.append(gap)
        appended.append(entry)
        for item in appended:
            last = self.entries[-1] if self.entries else None
            if last is not None and last.missing and last.reason == item.reason:
                last.count += item.count
            else:
                self.entries.append(item)
            self.next = item.end
            self.held_bytes += item.nbytes
            self.bytes += item.nbytes
            if item.missing:
                self.missing += item.count
            else:
                self.in_flight += 1
            for position in self.positions.values():
                position.records_in += max(0, item.end - max(item.first, position.next))
        return appended

    def overlap(self, first: int, count: int) -> int:
        """Return how many of the records from ``first`` on were taken before (a partial repeat)."""
        return max(0, min(self.next - first, count))

    def full(self) -> bool:
        """Tell whether the source has used up its credit: an honest one sends nothing then."""
        return self.in_flight >= self.credit

    def close(self, count: int, status: str, reason: str, now: float) -> list[Entry]:
        """End the stream; records that were announced and never came are missing."""
        if self.closing is not None:
            return []
        if count < self.next:
            raise ProtocolError(
                "bad_count", f"{self.name}: close says {count}, {self.next} were taken"
            )
        appended = []
        if count > self.next:
            appended = self.accept(
                Entry(self.next, count - self.next, reason="never sent", arrived=now)
            )
        self.closing = Closing(count, status, reason, now)
        return appended

    # -- consumers come and go ------------------------------------------------------------------

    @property
    def held_from(self) -> int:
        """Index of the first record that is still held (`next` where none is)."""
        return self.entries[0].first if self.entries else self.next

    def newest(self) -> Entry | None:
        """Return the newest batch that is held, or None."""
        return next((e for e in reversed(self.entries) if not e.missing), None)

    def subscribe(self, who: bytes, position: Position, now: float) -> None:
        """Add a consumer at ``position.next``; raises `ProtocolError` ``gone`` if that is not held."""
        if position.next < self.held_from:
            raise ProtocolError("gone", f"{self.name}: held from index {self.held_from} on")
        position.returned = position.next
        position.progressed = now
        position.records_in = max(0, self.next - position.next)
        self.positions[who] = position

    def move(self, who: bytes, index: int) -> None:
        """Set where a recorder goes on, as it reported; everything before counts as returned."""
        position = self.positions[who]
        position.records_in = max(0, self.next - index)
        position.next = position.returned = index
        position.reported = True

    def unsubscribe(self, who: bytes) -> Released:
        """Remove a consumer; what only it still needed is released."""
        if self.positions.pop(who, None) is None:
            return Released()
        return self.release()

    def start_recording(self) -> None:
        """From now on hold each record until it is written."""
        self.recording = True

    def stop_recording(self) -> Released:
        """No longer wait for a recorder."""
        self.recording = False
        return self.release()

    # -- records go -----------------------------------------------------------------------------

    def deliverable(self, who: bytes) -> Iterator[tuple[Entry, int]]:
        """Yield what can be sent to a consumer now, and the first index in it that is new to it.

        A batch that it has seen a part of goes to it whole. The caller sends all that it takes,
        and does not touch the ledger meanwhile.
        """
        position = self.positions.get(who)
        if position is None or not position.reported:
            return
        if position.policy == "latest":
            newest = self.newest() if position.credit > 0 else None
            if newest is not None and newest.end > position.next:
                begin = max(newest.first, position.next)
                position.skipped += begin - position.next
                self._advance(position, newest)
                yield newest, begin
            return
        for number in range(self._number_of(position.next), len(self.entries)):
            entry = self.entries[number]
            if position.credit <= 0 and not entry.missing:
                return
            begin = max(entry.first, position.next)
            self._advance(position, entry)
            yield entry, begin

    def at_end(self, who: bytes) -> bool:
        """Tell whether a consumer was sent everything of a closed stream and not yet its close."""
        position = self.positions.get(who)
        if self.closing is None or position is None or position.close_sent:
            return False
        if position.policy == "latest":
            newest = self.newest()
            return newest is None or position.next >= newest.end
        return position.reported and position.next >= self.closing.count

    def end_for(self, who: bytes) -> None:
        """Note that a consumer was sent the close; what it never saw counts as skipped."""
        position = self.positions[who]
        position.close_sent = True
        position.skipped += max(0, self.next - position.next)
        position.next = max(self.next, position.next)

    def returned(self, who: bytes, batches: int, through: int | None, now: float) -> Released:
        """A consumer grants credit, and says up to which index it has taken everything.

        Missing records that it was told of are taken with what comes before them.
        """
        position = self.positions.get(who)
        if position is None:
            return Released()
        position.credit = min(position.credit + batches, MOST_CREDIT)
        position.in_flight = max(0, position.in_flight - batches)
        if through is not None:
            through = min(through, position.next)
            if through > position.returned:
                for number in range(self._number_of(through), len(self.entries)):
                    entry = self.entries[number]
                    if not entry.missing or through == position.next:
                        break
                    through = min(entry.end, position.next)
                position.returned = through
                position.progressed = now
        return self.release()

    def recorded(self, written: int | None, durable: int | None, now: float) -> Released:
        """The recorder reports what is written and what is durable."""
        before = self.written, self.durable
        if written is not None:
            self.written = max(self.written or 0, min(written, self.next))
        if durable is not None:
            self.durable = max(self.durable or 0, min(durable, self.next))
        if (self.written, self.durable) != before:
            self.recorded_at = now
        return self.release()

    def evict(self, now: float) -> Released:
        """Let go of history that is too old or too large; the newest batch stays."""
        released = Released()
        needed = self.needed_from
        while self._credited and self.entries[0].end <= needed:
            entry = self.entries[0]
            too_old = now - entry.arrived > self.lookback
            too_large = self.held_bytes > self.lookback_bytes
            too_many = entry.slot >= 0 and self._slots_in_history > self.history_slots
            if not (too_many or ((too_old or too_large) and len(self.entries) > 1)):
                break
            self.entries.popleft()
            self._credited -= 1
            self.held_bytes -= entry.nbytes
            if entry.slot >= 0:
                self._slots_in_history -= 1
                released.slots.append((entry.ring or "", entry.slot))
        return released

    def finished(self) -> bool:
        """Tell whether a closed stream was taken whole by all lossless consumers and is durable."""
        return self.closing is not None and not self.laggards() and not self.awaits_recorder()

    def awaits_recorder(self) -> bool:
        """Tell whether records are not durable yet that shall be."""
        return self.recording and (self.durable or 0) < self.next

    def laggards(self) -> list[bytes]:
        """Return the lossless consumers, but for the recorder, that have not returned everything."""
        return [
            who
            for who, p in self.positions.items()
            if p.policy == "lossless" and not p.recorder and p.returned < self.next
        ]

    def counters(self) -> Mapping[str, Any]:
        """Return the counters that ``status`` reports."""
        return {
            "records": self.next,
            "bytes": self.bytes,
            "repeats": self.repeats,
            "missing": self.missing,
            "written": self.written if self.recording or self.written else None,
            "durable": self.durable if self.recording or self.durable else None,
            "expect": self.stream.expect,
            "held": len(self.entries),
            "held_from": self.held_from,
            "held_bytes": self.held_bytes,
            "in_flight": self.in_flight,
        }

    @property
    def needed_from(self) -> int:
        """Index of the first record that somebody still needs."""
        needed = self.next
        for position in self.positions.values():
            if position.policy == "lossless" and not position.recorder:
                needed = min(needed, position.returned)
        return min(needed, self.written or 0) if self.recording else needed

    def move_inline(self, entry: Entry, payload: list[Any]) -> None:
        """Keep a batch outside the ring from now on; only one that is history."""
        if entry.slot < 0 or entry.end > self.needed_from:
            raise ValueError("only history in a slot can be moved")
        entry.payload, entry.slot, entry.ring, entry.sequence = payload, -1, None, 0
        self._slots_in_history -= 1

    def release(self) -> Released:
        """Return the credit of entries that nobody needs any more; they become history."""
        needed = self.needed_from
        released = Released()
        while self._credited < len(self.entries):
            entry = self.entries[self._credited]
            if entry.end > needed:
                break
            self._credited += 1
            if entry.slot >= 0:
                self._slots_in_history += 1
            if not entry.missing:
                self.in_flight -= 1
                released.batches += 1
        return released

    def _number_of(self, index: int) -> int:
        """Return the number, among the entries held, of the first one that ends after an index."""
        if self.entries and self.entries[-1].first <= index < self.next:
            return len(self.entries) - 1  # The common case, without a search.
        return bisect.bisect_right(self.entries, index, key=lambda entry: entry.end)

    @staticmethod
    def _advance(position: Position, entry: Entry) -> None:
        begin = max(entry.first, position.next)
        position.records_out += entry.end - begin
        position.next = entry.end
        if not entry.missing:
            position.credit -= 1
            position.in_flight += 1
        elif position.returned == begin:
            position.returned = entry.end  # Nothing to give back.
