"""One stream on the bus: its ledger, its owner, and where the bytes of its batches lie."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from daq import posix, protocol
from daq.bus.ledger import Entry, Position, Released, StreamLedger
from daq.bus.ring import HEADER_BYTES, PAGE_BYTES, Ring, part_offsets
from daq.bus.settings import BusSettings
from daq.protocol import ProtocolError
from daq.streams import NO_TIME, Array, Batch, Stream

log = logging.getLogger("bus")

MOST_SLOTS = 1024


class Channel:
    """What the bus keeps of one stream beside its `StreamLedger`.

    Parameters
    ----------
    stream
        As its source opened it.
    parts
        Its constants, as they came.
    settings
        Of the bus.
    recording
        True while entries must be held until written; then the stream is `opening` until the
        recorder has said where it stands.

    Raises `ProtocolError` where a record or the constants are larger than a batch may be.

    Attributes
    ----------
    copies
        Batches whose bytes the bus had to copy: out of the ring for consumers that want them
        inline, and the new part of a batch that repeats old records.
    """

    def __init__(
        self, stream: Stream, parts: Sequence[Any], settings: BusSettings, *, recording: bool
    ) -> None:
        most = settings.batch_bytes
        if stream.record_bytes > most:
            raise ProtocolError(
                "too_large",
                f"{stream.name}: a record of {stream.record_bytes} bytes; this bus takes {most}",
            )
        self.constants = [bytes(part) for part in parts]
        if sum(map(len, self.constants)) > most:
            raise ProtocolError("too_large", f"{stream.name}: constants of more than {most} bytes")
        self.header = stream.header()
        # What everyone will be sent must be fit to be sent, with room for what the bus adds.
        packed = protocol.pack("open", self.header)
        if len(packed[1]) > protocol.MAX_HEADER_BYTES - 4096:
            raise ProtocolError("too_large", f"{stream.name}: its description is too large")
        self.ledger = StreamLedger(
            stream,
            credit=settings.credit,
            lookback=settings.lookback,
            lookback_bytes=settings.lookback_bytes,
            recording=recording,
        )
        self.opening = recording
        self.owner: bytes | None = None
        self.owner_name = ""
        self.ring: Ring | None = None
        self.given_up: list[str] = []
        self.asked_to_close: bytes | None = None
        self.copies = 0
        self.told: tuple[int | None, int | None] = None, None
        self._settings = settings
        self._rings: dict[str, Ring] = {}
        self._held: set[int] = set()
        self._copied: tuple[Entry, list[bytes]] | None = None
        self._marks: deque[tuple[float, int]] = deque(maxlen=20)

    @property
    def name(self) -> str:
        """Name of the stream."""
        return self.ledger.name

    @property
    def rate(self) -> float:
        """Records per second over the last two seconds or so."""
        if len(self._marks) < 2:
            return 0.0
        (t0, n0), (t1, n1) = self._marks[0], self._marks[-1]
        return (n1 - n0) / (t1 - t0) if t1 > t0 else 0.0

    def mark(self, now: float) -> None:
        """Note how far the stream is, for `rate`; called ten times a second."""
        self._marks.append((now, self.ledger.next))

    # -- what comes -----------------------------------------------------------------------------

    def entry(self, header: Mapping[str, Any], parts: Sequence[Any], now: float) -> Entry:
        """Return the batch that a ``data`` message brings; raise `ProtocolError` if it is not sound."""
        first = protocol.check_count(header, "first")
        count = protocol.check_count(header, "count", least=1)
        described = self._described(header, count)
        shapes = _shapes(described)
        entry = Entry(first, count, described, list(parts), arrived=now)
        entry.nbytes = part_offsets(shapes)[1]
        if "slot" in header:
            ring, slot = self.ring, protocol.check_count(header, "slot")
            if ring is None:
                raise ProtocolError("bad_slot", f"{self.name} has no ring")
            entry.sequence = protocol.check_count(header, "sequence", least=1)
            ring.arrays(slot, shapes)
            if slot in self._held:
                raise ProtocolError("bad_slot", f"{self.name}: slot {slot} was not given back yet")
            if ring.sequence(slot) != entry.sequence:
                raise ProtocolError("bad_sequence", f"slot {slot} does not hold {entry.sequence}")
            entry.ring, entry.slot, entry.payload = ring.shape.name, slot, []
        else:
            if len(parts) != len(shapes):
                raise ProtocolError("bad_part", f"{self.name}: as many parts as the header names")
            for part, (dtype, shape) in zip(parts, shapes, strict=True):
                protocol.array_from_part(part, dtype, shape)
        return entry

    def take(self, entry: Entry) -> tuple[Entry | None, Released]:
        """Take an entry; return the gap before it, if any, and what goes back to its source at once.

        A repeat costs its source neither credit nor slot; one that is new in part is cut.
        """
        ledger = self.ledger
        slot = [] if entry.slot < 0 or entry.ring is None else [(entry.ring, entry.slot)]
        skip = ledger.overlap(entry.first, entry.count)
        if 0 < skip < entry.count:
            entry = self._cut(entry, skip)
        appended = ledger.accept(entry)
        gap = appended[0] if len(appended) == 2 else None
        if not appended:
            return None, Released(0 if entry.missing else 1, slot)
        if entry.slot >= 0:
            self._held.add(entry.slot)
            slot = []
        return gap, Released(0, slot)

    def unusable(self, slot: object) -> Released:
        """Return what goes back to the source of a batch that was refused: its credit, its slot."""
        ring = self.ring
        if ring is None or type(slot) is not int or slot in self._held:
            return Released(1)
        return Released(1, [(ring.shape.name, slot)] if 0 <= slot < ring.shape.slots else [])

    def _described(self, header: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
        """Return the ``parts`` of a batch, checked against what was opened."""
        stream, parts = self.ledger.stream, header.get("parts")
        if not isinstance(parts, list) or len(parts) != len(stream.fields):
            raise ProtocolError("bad_part", f"{stream.name}: one part for each of its fields")
        if stream.record_bytes * count > self._settings.batch_bytes:
            raise ProtocolError(
                "too_large",
                f"{stream.name}: {count} records; a batch has {self._settings.batch_bytes} bytes",
            )
        described: dict[str, dict[str, Any]] = {}
        for part in parts:
            name = part.get("field") if isinstance(part, dict) else None
            field = stream.fields.get(name) if isinstance(name, str) else None
            if field is None or name in described:
                raise ProtocolError("bad_part", f"{stream.name} has no field {str(name)[:80]!r}")
            shape = [count, *field.shape]
            for key, code, opened in (
                ("dtype", "bad_dtype", field.dtype),
                ("shape", "bad_shape", shape),
            ):
                if part.get(key) != opened:
                    raise ProtocolError(
                        code,
                        f"{stream.name}: {name} was opened with {key} {opened}, "
                        f"not {str(part.get(key))[:80]}",
                    )
            described[str(name)] = {"field": name, "dtype": field.dtype, "shape": shape}
        return list(described.values())

    def _cut(self, entry: Entry, skip: int) -> Entry:
        """Return the records of an entry after the first ``skip``, as an inline entry of its own."""
        self.ledger.repeats += skip
        count, first = entry.count - skip, entry.first + skip
        if entry.missing:
            return Entry(first, count, reason=entry.reason, arrived=entry.arrived)
        self.copies += 1
        payload = [array[skip:].tobytes() for array in self.arrays(entry)]
        parts = [{**part, "shape": [count, *part["shape"][1:]]} for part in entry.parts]
        nbytes = part_offsets(_shapes(parts))[1]
        return Entry(first, count, parts, payload, nbytes=nbytes, arrived=entry.arrived)

    # -- what goes ------------------------------------------------------------------------------

    def arrays(self, entry: Entry) -> list[Array]:
        """Return the arrays of a batch, in the order of its parts, where they lie."""
        shapes = _shapes(entry.parts)
        if entry.ring is not None:
            return self._rings[entry.ring].arrays(entry.slot, shapes)
        return [
            protocol.array_from_part(part, dtype, shape)
            for part, (dtype, shape) in zip(entry.payload, shapes, strict=True)
        ]

    def message(
        self, entry: Entry, first: int, position: Position
    ) -> tuple[str, dict[str, Any], Sequence[Any]]:
        """Return kind, header and parts of the message that brings an entry to one consumer."""
        header: dict[str, Any] = {"stream": self.name}
        if entry.missing:
            header |= {"first": first, "count": entry.end - first, "reason": entry.reason}
            return "missing", header, ()
        header |= {"first": entry.first, "count": entry.count, "parts": entry.parts}
        latest = position.policy == "latest"
        if latest:
            header["skipped"] = position.skipped
        if entry.ring is None:
            return "data", header, entry.payload
        if position.ring and not latest:
            header |= {
                "ring": self._rings[entry.ring].shape.header(),
                "slot": entry.slot,
                "sequence": entry.sequence,
            }
            return "data", header, ()
        # The slot may be freed before the message has left: one copy, for all who want it so.
        if self._copied is None or self._copied[0] is not entry:
            self.copies += 1
            self._copied = entry, [array.tobytes() for array in self.arrays(entry)]
        return "data", header, self._copied[1]

    def held(self, first: int, count: int, stride: int) -> Batch:
        """Return every ``stride``-th of ``count`` records from ``first`` on, of those that are held."""
        stream = self.ledger.stream
        wanted = np.arange(first, first + count, stride)
        arrays = {
            name: np.full((len(wanted), *field.shape), field.fill, field.numpy_dtype)
            for name, field in stream.fields.items()
        }
        arrays["time"][:] = NO_TIME
        valid = np.zeros(len(wanted), bool)
        for entry in self.ledger.entries:
            here = np.flatnonzero((wanted >= entry.first) & (wanted < entry.end))
            if not len(here) or entry.missing:
                continue
            valid[here] = True
            for part, array in zip(entry.parts, self.arrays(entry), strict=True):
                arrays[part["field"]][here] = array[wanted[here] - entry.first]
        return Batch(stream.name, arrays, first, valid)

    # -- the ring -------------------------------------------------------------------------------

    def make_ring(self, wanted: object) -> None:
        """Make the ring that an ``open`` asks for, of at most half of the shared memory that is left.

        Without a ring the stream goes inline. The ring of an earlier owner stays until its last
        batch is gone.
        """
        settings, ledger, slots, slot_bytes = self._settings, self.ledger, 0, 0
        if isinstance(wanted, dict) and settings.ring_bytes > 0:
            room = min(settings.ring_bytes, posix.free_shared_memory() // 2)
            slots = min(protocol.check_count(wanted, "slots", least=1), MOST_SLOTS)
            slot_bytes = protocol.check_count(wanted, "slot_bytes", least=1) + HEADER_BYTES
            slot_bytes = max(1, -(-min(slot_bytes, room // 4) // PAGE_BYTES)) * PAGE_BYTES
            slots = min(slots, room // slot_bytes)
        self.ring, self._held, ledger.history_slots = None, set(), 0
        # What is under way was granted by the credit of before: it may not change meanwhile.
        fresh = ledger.in_flight == 0
        if fresh:
            ledger.credit = settings.credit
        if slots < 2:
            return
        try:
            self.ring = Ring.create(ledger.name, slots, slot_bytes)
        except OSError as error:
            log.warning("%s: no shared memory for a ring (%s); data goes inline", self.name, error)
            return
        self._rings[self.ring.shape.name] = self.ring
        if fresh:
            ledger.credit = min(settings.credit, slots // 2)
        ledger.history_slots = max(0, slots - ledger.credit - 1)

    def freed(self, released: Released) -> list[int]:
        """Return the slots of the present ring in what was released, and drop rings that are empty."""
        if self._copied is not None:
            entry = self._copied[0]
            if (entry.ring, entry.slot) in released.slots:
                self._copied = None
        name = self.ring.shape.name if self.ring else None
        slots = [slot for ring, slot in released.slots if ring == name]
        self._held.difference_update(slots)
        if len(self._rings) > (self.ring is not None):
            used = {entry.ring for entry in self.ledger.entries} | {name}
            for empty in self._rings.keys() - used:
                self._drop(empty)
        return slots

    def retire_ring(self) -> None:
        """Once the stream is over and only its newest batch is held: let the ring go."""
        entries = self.ledger.entries
        if not self._rings or len(entries) > 1:
            return
        for entry in entries:
            if entry.slot >= 0:
                if entry.end > self.ledger.needed_from:
                    return
                self.ledger.move_inline(entry, [array.tobytes() for array in self.arrays(entry)])
        self.close()

    def close(self) -> None:
        """Remove the rings."""
        self.ring, self._held, self._copied = None, set(), None
        for name in list(self._rings):
            self._drop(name)

    def _drop(self, name: str) -> None:
        ring = self._rings.pop(name)
        ring.unlink()
        ring.close()


def _shapes(described: Sequence[Mapping[str, Any]]) -> list[tuple[str, tuple[int, ...]]]:
    return [(part["dtype"], tuple(part["shape"])) for part in described]
