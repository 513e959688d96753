"""The shared-memory ring: large batches of local sources, read in place by local consumers.

A slot begins with 64 bytes whose first 8 are its ``sequence`` (``<u8``); then come the parts of
one batch, each at the next multiple of 64. The bus makes the ring and says which slots are free;
the source writes 0 as sequence, the parts, then the sequence that it names in its ``data``
message. A consumer reads the sequence again before it uses what it computed.
"""

from __future__ import annotations

import dataclasses
import math
import secrets
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from daq import posix, protocol
from daq.streams import Array

HEADER_BYTES = 64
ALIGN = 64
PAGE_BYTES = 4096
_SEQUENCE = struct.Struct("<Q")


@dataclasses.dataclass(frozen=True, slots=True)
class RingShape:
    """Name and size of a ring, as ``opened`` and ``open`` carry it."""

    name: str
    slots: int
    slot_bytes: int

    def header(self) -> dict[str, Any]:
        """Return the JSON form."""
        return dataclasses.asdict(self)

    @classmethod
    def from_header(cls, header: Mapping[str, Any]) -> RingShape:
        """Return the ring that a header names; raise `daq.protocol.ProtocolError`."""
        return cls(
            str(header.get("name")),
            protocol.check_count(header, "slots", least=1),
            protocol.check_count(header, "slot_bytes", least=HEADER_BYTES),
        )


def part_offsets(parts: Sequence[tuple[str, tuple[int, ...]]]) -> tuple[list[int], int]:
    """Return where each part (dtype, shape) begins in a slot, and the bytes of the slot in use."""
    offsets, position = [], HEADER_BYTES
    for dtype, shape in parts:
        offsets.append(position)
        nbytes = np.dtype(dtype).itemsize * math.prod(shape)
        position += -(-nbytes // ALIGN) * ALIGN
    return offsets, position


class Ring:
    """One ring, mapped by the bus (`create`), its source (``writable``) or a consumer."""

    def __init__(self, shape: RingShape, memory: posix.SharedMemory) -> None:
        if shape.slots * shape.slot_bytes > memory.size:
            raise protocol.ProtocolError("bad_ring", f"ring {shape.name} is smaller than it says")
        self.shape = shape
        self._memory = memory

    @classmethod
    def create(cls, label: str, slots: int, slot_bytes: int) -> Ring:
        """Make a ring; raises OSError where the shared memory does not suffice.

        ``slot_bytes`` counts the header of a slot in, and is rounded up to whole pages.
        """
        slot_bytes = -(-slot_bytes // PAGE_BYTES) * PAGE_BYTES
        memory = posix.SharedMemory.create(
            f"{label.lower().replace('.', '-').replace('_', '-')[:40]}-{secrets.token_hex(6)}",
            slots * slot_bytes,
        )
        return cls(RingShape(memory.name, slots, slot_bytes), memory)

    @classmethod
    def attach(cls, shape: RingShape, *, writable: bool = False) -> Ring:
        """Map a ring that the bus made."""
        return cls(shape, posix.SharedMemory.attach(shape.name, writable=writable))

    def block(self, slot: int) -> Array:
        """Return the bytes of a slot; it is the ``base`` of every array cut from it."""
        if not 0 <= slot < self.shape.slots:
            raise protocol.ProtocolError("bad_slot", f"slot {slot} of {self.shape.slots}")
        size = self.shape.slot_bytes
        return np.frombuffer(self._memory.map, np.uint8, size, slot * size)

    def arrays(
        self, slot: int | Array, parts: Sequence[tuple[str, tuple[int, ...]]]
    ) -> list[Array]:
        """Return arrays over the parts of a slot, given by number or as its `block`; nothing is copied.

        Raises `daq.protocol.ProtocolError` where there is no such slot, or it is too small.
        """
        block = self.block(slot) if isinstance(slot, int) else slot
        offsets, used = part_offsets(parts)
        if used > self.shape.slot_bytes:
            raise protocol.ProtocolError(
                "bad_slot", f"{used} bytes in a slot of {self.shape.slot_bytes}"
            )
        arrays = []
        for offset, (dtype, dims) in zip(offsets, parts, strict=True):
            kind = np.dtype(dtype)
            nbytes = kind.itemsize * math.prod(dims)
            arrays.append(block[offset : offset + nbytes].view(kind).reshape(dims))
        return arrays

    def sequence(self, slot: int) -> int:
        """Return the sequence that stands in a slot."""
        value: int = _SEQUENCE.unpack_from(self._memory.map, slot * self.shape.slot_bytes)[0]
        return value

    def set_sequence(self, slot: int, sequence: int) -> None:
        """Write the sequence of a slot: 0 before it is filled, its number afterwards."""
        _SEQUENCE.pack_into(self._memory.map, slot * self.shape.slot_bytes, sequence)

    def unlink(self) -> None:
        """Remove the ring's name (the bus does, once it is done with it)."""
        self._memory.unlink()

    def close(self) -> None:
        """Unmap the ring."""
        self._memory.close()
