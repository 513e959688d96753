"""One stream that a source sends: what it still keeps, its credit, and the slots of its ring."""

from __future__ import annotations

import dataclasses
import queue
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from daq.bus.messages import parts_of
from daq.bus.ring import Ring, RingShape, part_offsets
from daq.bus.settings import MOST_MISSING
from daq.streams import Array, Batch, Stream


@dataclasses.dataclass(slots=True)
class Kept:
    """Records that were sent or wait to be; ``arrays`` None for missing ones.

    The arrays lie in a slot, or look into ``payload``: never in memory that the source fills again.
    """

    first: int
    count: int
    arrays: dict[str, Array] | None = None
    payload: list[bytes] | None = None
    reason: str = ""
    slot: int | None = None
    ring: Ring | None = None

    @property
    def end(self) -> int:
        """Index after the last record."""
        return self.first + self.count


class _Filling:
    """A slot that the source fills: by its arrays' addresses, for they must be free to go."""

    def __init__(self, ring: Ring, number: int, count: int, arrays: Mapping[str, Array]) -> None:
        self.ring, self.number, self.count = ring, number, count
        self.addresses = {name: _address(array) for name, array in arrays.items()}
        self._unclaimed = [True]

    def claim(self) -> bool:
        """Make the slot ours: true for one caller only, in whichever thread."""
        try:
            return self._unclaimed.pop()
        except IndexError:
            return False

    def is_whole(self, batch: Batch, stream: Stream) -> bool:
        """Tell whether a batch is exactly what was allocated, so that it can be sent in place."""
        return batch.raw.keys() == self.addresses.keys() and all(
            array.shape == (self.count, *field.shape)
            and array.dtype == field.numpy_dtype
            and array.flags.c_contiguous
            and _address(array) == self.addresses[name]
            for (name, field), array in zip(
                stream.fields.items(), (batch.raw[n] for n in stream.fields), strict=True
            )
        )


class Outgoing:
    """The sender's book-keeping of one stream; sockets are the `Publisher`'s.

    Everything but `allocate` and `in_place` belongs to the thread that sends.

    Attributes
    ----------
    kept
        What the bus may ask for again; the last ``unsent`` of them wait for credit.
    """

    def __init__(self, stream: Stream, batch_records: int) -> None:
        self.stream = stream
        self.batch_records = batch_records
        self.next = 0
        self.credit = 0
        self.batch_bytes = 64 << 20
        self.sequence = 0
        self.opened = False
        self.written: int | None = None
        self.durable: int | None = None
        self.close_header: dict[str, Any] | None = None
        self.close_sent = False
        self.closed: dict[str, Any] | None = None
        self.kept: deque[Kept] = deque()
        self.unsent = 0
        self.ring: Ring | None = None
        self._free: queue.SimpleQueue[tuple[Ring, int]] = queue.SimpleQueue()
        self._filling: dict[int, _Filling] = {}

    # -- what is kept ---------------------------------------------------------------------------

    def keep(self, kept: Kept) -> None:
        """Take records that come next; they are sent when there is credit."""
        last = self.kept[-1] if self.unsent else None
        self.next = kept.end
        if kept.arrays is None and last is not None and last.arrays is None:
            if last.reason == kept.reason:
                last.count += kept.count
                return
        self.kept.append(kept)
        self.unsent += 1

    def due(self) -> Kept | None:
        """Return what is to be sent now, or None; missing records need no credit."""
        if not self.unsent or not self.opened:
            return None
        kept = self.kept[-self.unsent]
        return kept if kept.arrays is None or self.credit > 0 else None

    def done_through(self, index: int) -> None:
        """Let go of what was sent and is needed no more."""
        while len(self.kept) > self.unsent and self.kept[0].end <= index:
            self.kept.popleft()

    def send_again_from(self, index: int) -> int:
        """Go on where the bus stands; return how many records are sent again.

        What it has is let go; of what it has not and we no longer keep it is told as missing.
        """
        resent = sum(k.count for k in list(self.kept)[: len(self.kept) - self.unsent])
        while self.kept and self.kept[0].end <= index:
            resent -= min(resent, self.kept.popleft().count)
        begins = self.kept[0].first if self.kept else self.next
        while begins > index:
            count = min(begins - index, MOST_MISSING)
            begins -= count
            self.kept.appendleft(Kept(begins, count, reason="lost with the bus"))
        self.unsent = len(self.kept)
        self.next = max(self.next, index)
        return resent

    # -- slots ----------------------------------------------------------------------------------

    def attach(self, shape: RingShape | None) -> None:
        """Use another ring from now on, or none; all its slots are free."""
        ring = None
        if shape is not None:
            try:
                ring = Ring.attach(shape, writable=True)
            except OSError:
                ring = None  # Another host, or no rights: inline.
        self.ring = ring
        if ring is not None:
            for slot in range(ring.shape.slots):
                self.free(slot)

    def free(self, slot: int) -> None:
        """A slot of the present ring may be filled again."""
        if self.ring is not None:
            self._free.put((self.ring, slot))

    def allocate(self, count: int, stopping: Callable[[], bool]) -> dict[str, Array]:
        """Return writable arrays for ``count`` records: see `Publisher.allocate`."""
        fields = self.stream.fields
        shapes = [(field.dtype, (count, *field.shape)) for field in fields.values()]
        needed = part_offsets(shapes)[1]
        while (ring := self.ring) is not None and needed <= ring.shape.slot_bytes:
            try:
                ring, number = self._free.get(timeout=0.1)
            except queue.Empty:
                if stopping():
                    break
                continue
            if ring is not self.ring:
                continue  # Of the ring before.
            ring.set_sequence(number, 0)
            block = ring.block(number)
            arrays = dict(zip(fields, ring.arrays(block, shapes), strict=True))
            filling = _Filling(ring, number, count, arrays)
            self._filling[self._key(arrays)] = filling
            # All arrays keep the block alive. When the source has let go of the last of them, and
            # has not sent the slot, it is free again.
            weakref.finalize(block, self._abandoned, self._key(arrays), filling).atexit = False
            return arrays
        return {
            name: np.empty(shape, dtype)
            for name, (dtype, shape) in zip(fields, shapes, strict=True)
        }

    def in_place(self, batch: Batch) -> bool:
        """Tell whether a batch is a slot from `allocate`, whole, and travels without another copy."""
        return self._filled(batch) is not None

    def placed(self, batch: Batch) -> Kept | None:
        """Return a batch that lies in a slot, ready to be kept; None where it must be copied."""
        filling = self._filled(batch)
        if filling is None or not filling.claim():
            return None
        self._filling.pop(self._key(batch.raw), None)
        return Kept(
            self.next,
            batch.count,
            {name: batch.raw[name] for name in self.stream.fields},  # In the order of the slot.
            slot=filling.number,
            ring=filling.ring,
        )

    def copied(self, batch: Batch) -> Kept:
        """Return a batch copied once: into a free slot, or inline where none is free or it is too large."""
        arrays = batch.raw
        shapes = [(array.dtype.str, array.shape) for array in arrays.values()]
        slot = self._free_slot(part_offsets(shapes)[1])
        if slot is None:
            return self._inline(self.next, arrays)
        ring, number = slot
        ring.set_sequence(number, 0)
        targets = ring.arrays(number, shapes)
        for target, array in zip(targets, arrays.values(), strict=True):
            np.copyto(target, array)
        placed = dict(zip(arrays, targets, strict=True))
        return Kept(self.next, batch.count, placed, slot=number, ring=ring)

    def sendable(self, kept: Kept) -> Kept:
        """Return what is kept in a form that can be sent now: a slot of an old ring goes inline."""
        if kept.slot is not None and kept.ring is not self.ring and kept.arrays is not None:
            moved = self._inline(kept.first, kept.arrays)
            kept.arrays, kept.payload, kept.slot, kept.ring = (
                moved.arrays,
                moved.payload,
                None,
                None,
            )
        return kept

    # -- inside ---------------------------------------------------------------------------------

    def _free_slot(self, needed: int) -> tuple[Ring, int] | None:
        """Return a free slot; where the source holds them all, nobody waits: it goes inline."""
        while self.ring is not None and needed <= self.ring.shape.slot_bytes:
            try:
                ring, number = self._free.get_nowait()
            except queue.Empty:
                return None
            if ring is self.ring:
                return ring, number
        return None

    def _inline(self, first: int, arrays: Mapping[str, Array]) -> Kept:
        payload = parts_of(arrays)[1]
        copies = {
            name: np.frombuffer(raw, array.dtype).reshape(array.shape)
            for (name, array), raw in zip(arrays.items(), payload, strict=True)
        }
        return Kept(first, len(copies["time"]), copies, payload)

    def _filled(self, batch: Batch) -> _Filling | None:
        if batch.raw.keys() != self.stream.fields.keys():
            return None
        filling = self._filling.get(self._key(batch.raw))
        if filling is None or filling.ring is not self.ring:
            return None
        return filling if filling.is_whole(batch, self.stream) else None

    def _key(self, arrays: Mapping[str, Array]) -> int:
        return _address(arrays[next(iter(self.stream.fields))])

    def _abandoned(self, key: int, filling: _Filling) -> None:
        if filling.claim():
            if self._filling.get(key) is filling:
                del self._filling[key]
            self._free.put((filling.ring, filling.number))


def _address(array: Array) -> int:
    address: int = array.__array_interface__["data"][0]
    return address
