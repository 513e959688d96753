"""The shared-memory ring."""

from __future__ import annotations

import gc
import multiprocessing
import os
import stat
from pathlib import Path

import numpy as np
import pytest

from daq import posix
from daq.bus.channel import Channel
from daq.bus.ring import ALIGN, HEADER_BYTES, PAGE_BYTES, Ring, RingShape, part_offsets
from daq.bus.settings import BusSettings
from daq.protocol import ProtocolError
from tests.bus.conftest import FRAMES, Parties

PARTS = [("<i8", (3,)), ("<u2", (3, 5, 7)), ("|u1", (3,))]


@pytest.fixture
def ring(parties: Parties):  # type: ignore[no-untyped-def]
    made = Ring.create("a.Name_x", 4, 1000)
    yield made
    made.unlink()
    made.close()


def test_parts_do_not_overlap_and_are_aligned() -> None:
    offsets, used = part_offsets(PARTS)
    assert offsets == [HEADER_BYTES, HEADER_BYTES + ALIGN, HEADER_BYTES + ALIGN + 256]
    assert used == offsets[-1] + ALIGN


def test_what_the_source_writes_a_consumer_reads(ring: Ring) -> None:
    assert ring.shape.slot_bytes == PAGE_BYTES
    writer, reader = Ring.attach(ring.shape, writable=True), Ring.attach(ring.shape)
    for slot in range(4):
        for number, array in enumerate(writer.arrays(slot, PARTS)):
            array[...] = 10 * slot + number
        writer.set_sequence(slot, 100 + slot)
    for slot in range(4):
        for number, array in enumerate(reader.arrays(slot, PARTS)):
            assert (array == 10 * slot + number).all()
            assert not array.flags.writeable
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 0
        assert reader.sequence(slot) == ring.sequence(slot) == 100 + slot
    with pytest.raises(TypeError):
        reader.set_sequence(0, 1)
    writer.close()
    reader.close()


def test_slots_are_apart(ring: Ring) -> None:
    full = [("|u1", (PAGE_BYTES - HEADER_BYTES,))]
    for slot in range(4):
        ring.set_sequence(slot, slot + 1)
        ring.arrays(slot, full)[0][...] = slot + 1
    for slot in range(4):
        assert ring.sequence(slot) == slot + 1
        assert (ring.arrays(slot, full)[0] == slot + 1).all()


@pytest.mark.parametrize(
    ("slot", "parts"),
    [
        (4, PARTS), (-1, PARTS), (1 << 60, PARTS), (0, [("|u1", (PAGE_BYTES,))]),
        (0, [("<f8", (1 << 31,) * 6)]), (0, [("<f8", (1 << 31, 1 << 31, 4))]),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(
    ring: Ring, slot: int, parts: list[tuple[str, tuple[int, ...]]]
) -> None:
    with pytest.raises(ProtocolError):
        ring.arrays(slot, parts)


def test_private_and_gone_when_unlinked(ring: Ring) -> None:
    path = Path("/dev/shm") / ring.shape.name
    assert path.name.startswith(f"glasswatch-{os.getuid()}-a-name-x-")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.stat().st_blocks * 512 >= 4 * PAGE_BYTES, "allocated, not promised"
    other = Ring.attach(ring.shape)
    array = other.arrays(0, PARTS)[0]
    ring.unlink()
    assert not path.exists()
    assert array.sum() == 0, "who has it mapped keeps it"
    other.close()
    assert array.sum() == 0


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "glasswatch-0-../x",
        "",
        "glasswatch-0-A",
        "glasswatch-0-x\n",
    ],
)
def test_a_name_is_never_a_path(name: str) -> None:
    with pytest.raises(ValueError, match="not the name of a ring"):
        Ring.attach(RingShape(name, 1, 4096))


def test_a_ring_smaller_than_it_says(ring: Ring) -> None:
    with pytest.raises(ProtocolError, match="smaller"):
        Ring.attach(RingShape(ring.shape.name, 5, PAGE_BYTES))
    for header in (
        {},
        {"name": "x", "slots": 0, "slot_bytes": 64},
        {"name": "x", "slots": 1, "slot_bytes": "64"},
    ):
        with pytest.raises(ProtocolError):
            RingShape.from_header(header)


def test_no_memory_is_an_error_here_and_not_a_crash_later(parties: Parties) -> None:
    before = set(Path("/dev/shm").glob("glasswatch-*-toolarge-*"))
    with pytest.raises(OSError, match=r"."):
        Ring.create("toolarge", 1 << 20, 1 << 40)
    assert set(Path("/dev/shm").glob("glasswatch-*-toolarge-*")) == before


def _make_and_die(pipe: multiprocessing.connection.Connection) -> None:
    pipe.send(Ring.create("orphan", 1, 100).shape.name)
    pipe.recv()


def test_rings_of_the_dead_are_swept_and_no_others(ring: Ring) -> None:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_make_and_die, args=(there,))
    process.start()
    name = here.recv()
    assert name not in posix.sweep_shared_memory(), "its bus lives"
    process.kill()
    process.join()
    assert (Path("/dev/shm") / name).exists()
    swept = posix.sweep_shared_memory()
    # Another bus that starts meanwhile may have swept it as well.
    assert name in swept or not (Path("/dev/shm") / name).exists()
    assert ring.shape.name not in swept
    assert (Path("/dev/shm") / ring.shape.name).exists()
    here.close()


def test_arrays_of_a_slot_share_one_block(ring: Ring) -> None:
    block = ring.block(1)
    arrays = ring.arrays(block, PARTS)
    assert all(array.base is block for array in arrays)
    assert arrays[1][1:].base is block, "a slice keeps it as well"
    del arrays
    gc.collect()


@pytest.mark.parametrize(
    ("wanted", "slots"),
    [
        ({"slots": 64, "slot_bytes": 1000}, 64), ({"slots": 1 << 40, "slot_bytes": 1000}, 256),
        ({"slots": 64, "slot_bytes": 1 << 50}, 4), ({"slots": 1, "slot_bytes": 10}, None),
        (None, None), ([], None), (True, None),
    ],
)  # fmt: skip
def test_the_bus_makes_rings_within_its_limits(
    parties: Parties, wanted: object, slots: int | None
) -> None:
    channel = Channel(FRAMES, [], BusSettings("ipc://x", ring_bytes=1 << 20), recording=False)
    channel.make_ring(wanted)
    if slots is None:
        assert channel.ring is None
    else:
        assert channel.ring is not None and channel.ring.shape.slots == slots
        shape = channel.ring.shape
        assert shape.slots * shape.slot_bytes <= 1 << 20
        assert channel.ledger.credit + channel.ledger.history_slots < slots, "one is always free"
        assert 1 <= channel.ledger.credit <= 8
    channel.close()


@pytest.mark.parametrize(
    "wanted", [{}, {"slots": "8", "slot_bytes": 8}, {"slots": -1, "slot_bytes": 8}, {"slots": 8}]
)
def test_nonsense_asked_for_makes_no_ring(parties: Parties, wanted: object) -> None:
    channel = Channel(FRAMES, [], BusSettings("ipc://x"), recording=False)
    channel.make_ring({"slots": 8, "slot_bytes": 8})
    before = channel.ring
    with pytest.raises(ProtocolError):
        channel.make_ring(wanted)
    assert channel.ring is before is not None
    channel.close()


def test_without_room_in_shared_memory_it_goes_inline(
    parties: Parties, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(posix, "free_shared_memory", lambda: 1 << 16)
    channel = Channel(FRAMES, [], BusSettings("ipc://x"), recording=False)
    channel.make_ring({"slots": 64, "slot_bytes": 9000})
    assert channel.ring is not None
    assert channel.ring.shape.slots * channel.ring.shape.slot_bytes <= 1 << 15
    channel.close()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(posix.SharedMemory, "create", fail)
    channel.make_ring({"slots": 64, "slot_bytes": 9000})
    assert channel.ring is None
    assert np.array(channel.ledger.history_slots) == 0
