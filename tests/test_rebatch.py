"""A stream cut at fixed record boundaries, however it came."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daq.corrections import Corrections
from daq.rebatch import Rebatch, rebatch
from daq.streams import Batch


def batch(first, count, **options):
    indices = np.arange(first, first + count)
    arrays = {"time": indices, "frame": np.repeat(indices[:, None], 3, 1).astype("<f4")}
    return Batch("s", arrays, first, valid=indices % 3 != 0, **options)


def test_blocks_begin_at_multiples():
    blocks = list(rebatch([batch(0, 3), batch(3, 7), batch(10, 1)], 4))
    assert [(b.first, b.count) for b in blocks] == [(0, 4), (4, 4), (8, 3)]


def test_stream_joined_between_two_multiples_begins_with_a_short_block():
    blocks = list(rebatch([batch(6, 7)], 4))
    assert [(b.first, b.count) for b in blocks] == [(6, 2), (8, 4), (12, 1)]


@given(
    sizes=st.lists(st.integers(0, 9), max_size=20),
    start=st.integers(0, 20),
    block=st.integers(1, 12),
)
def test_whatever_came_the_blocks_are_the_same(sizes, start, block):
    cutter = Rebatch(block)
    blocks, at = [], start
    for size in sizes:
        blocks += cutter.push(batch(at, size))
        at += size
        assert cutter.held < block
        assert cutter.held == (at - max(start, at - at % block) if at > start else 0)
    blocks += cutter.flush()
    assert cutter.held == 0
    edges = [start, *range(start - start % block + block, at, block), at]
    expected = [(a, b - a) for a, b in itertools.pairwise(edges) if b > a]
    assert [(b.first, b.count) for b in blocks] == expected
    for found in blocks:
        whole = batch(found.first, found.count)
        assert np.array_equal(found.time, whole.time)
        assert np.array_equal(found["frame"], whole["frame"])
        assert np.array_equal(found.valid, whole.valid)


def test_copies_only_what_spans_batches():
    one, two = batch(0, 6), batch(6, 6)
    cutter = Rebatch(4)
    (first,) = cutter.push(one)
    assert np.shares_memory(first["frame"], one["frame"])
    held = one["frame"][4:].copy()
    one["frame"][:] = -1  # the memory is used again
    spans, last = cutter.push(two)
    assert np.array_equal(spans["frame"][:2], held)
    assert np.shares_memory(last["frame"], two["frame"])
    assert not cutter.flush()


def test_keeps_corrections():
    corrections = Corrections("frame", (3,), {"dark": np.ones(3)})
    pieces = [batch(0, 3, corrections=corrections), batch(3, 3, corrections=corrections)]
    for found in rebatch(pieces, 2):
        assert np.array_equal(found["frame"], found.raw["frame"] - 1)


def test_refuses_what_does_not_follow():
    cutter = Rebatch(4)
    cutter.push(batch(0, 3))
    with pytest.raises(ValueError, match="does not follow on record 2"):
        cutter.push(batch(4, 1))
    with pytest.raises(ValueError, match="not numbered"):
        cutter.push(Batch("s", {"time": np.zeros(1, np.int64)}))
    with pytest.raises(ValueError, match="at least 1"):
        Rebatch(0)


def test_refuses_fields_that_change():
    cutter = Rebatch(4)
    cutter.push(batch(0, 3))
    with pytest.raises(ValueError, match="other fields"):
        cutter.push(Batch("s", {"time": np.zeros(1, np.int64)}, 3))
    other = batch(3, 1)
    other.raw["frame"] = other.raw["frame"].astype("<f8")
    cutter = Rebatch(4)
    cutter.push(batch(0, 3))
    with pytest.raises(ValueError, match="another dtype"):
        cutter.push(other)
