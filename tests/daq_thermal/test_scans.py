"""Ramps are found where they begin, whatever the stream says, and however records come."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daq_thermal import scans
from daq_thermal.readings import Rows
from daq_thermal.scans import Ramp, RampCutter


def rows(T: np.ndarray, **fields: np.ndarray) -> Rows:
    n = len(T)
    time = fields.get("time", np.arange(n) * 1_000_000_000)
    return Rows(
        fields.get("index", np.arange(n)), np.asarray(time, np.int64), np.asarray(T, np.float64),
        np.asarray(fields.get("heat_flow", T * 1e-3), np.float64),
        np.asarray(fields.get("segment", np.full(n, -1)), np.int64),
        np.asarray(fields.get("sample", np.full(n, -1)), np.int64),
        np.full(n, np.nan), np.full(n, 553.0), np.full(n, 60.0),
    )  # fmt: skip


def cut(all_rows: Rows, *edges: int) -> list[Ramp]:
    cutter = RampCutter()
    found = []
    places = [0, *sorted(edges), len(all_rows)]
    for begin, end in itertools.pairwise(places):
        found += list(cutter.push(all_rows.part(begin, end)))
    return found + list(cutter.close())


UP = np.arange(400.0, 500.0, 0.5)
DOWN = np.arange(500.0, 400.0, -0.5)
THERE_AND_BACK = np.concatenate([UP, DOWN, UP])


def test_turns_are_ends_of_ramps() -> None:
    first, cooling, last = cut(rows(THERE_AND_BACK))
    assert [r.cause for r in (first, cooling, last)] == [scans.BEGIN, scans.TURNED, scans.TURNED]
    assert [r.rate for r in (first, cooling, last)] == [0.5, -0.5, 0.5]
    assert [r.heating for r in (first, cooling, last)] == [0, 0, 1]
    assert first.temperature[-1] == 500.0
    assert cooling.temperature[0] == 499.5
    assert len(first) + len(cooling) + len(last) == len(THERE_AND_BACK)


def test_what_the_stream_says_goes_before_turns() -> None:
    segment = np.repeat([0, 1, 2], [200, 200, 200])
    found = cut(rows(THERE_AND_BACK, segment=segment))
    assert [r.cause for r in found] == [scans.BEGIN, scans.SEGMENT, scans.SEGMENT]
    assert [len(r) for r in found] == [200, 200, 200]
    # one segment for all: the turn is then what goes back
    (one,) = cut(rows(THERE_AND_BACK, segment=np.zeros(600)))
    assert one.backward == 399
    assert len(one) == 201
    samples = cut(rows(np.concatenate([UP, UP]), sample=np.repeat([3, 4], 200)))
    assert [(r.sample, r.heating, r.cause) for r in samples] == [
        (3, 0, scans.BEGIN), (4, 0, scans.SAMPLE),
    ]  # fmt: skip


def test_two_runs_in_one_stream_are_told_apart_by_the_clock_or_a_jump() -> None:
    time = np.concatenate([np.arange(200), np.arange(200)]) * 10**9
    found = cut(rows(np.concatenate([UP, UP]), time=time))
    assert [(r.cause, r.sample, r.heating) for r in found] == [
        (scans.BEGIN, 0, 0), (scans.CLOCK, 1, 0),
    ]  # fmt: skip
    jumped = cut(rows(np.concatenate([UP, UP])))
    assert [(r.cause, r.sample) for r in jumped] == [(scans.BEGIN, 0), (scans.JUMPED, 1)]


def test_rows_that_repeat_or_go_back_are_left_out_and_counted() -> None:
    T = np.insert(UP, [50, 50, 80], [UP[49], UP[49], UP[79] - 0.7])
    (ramp,) = cut(rows(T))
    np.testing.assert_array_equal(ramp.temperature, UP)
    assert (ramp.repeated, ramp.backward, ramp.left_out) == (2, 1, 0)
    assert ramp.rate == pytest.approx(0.5, rel=0.02)


def test_lost_readings_are_counted_where_they_are_missed() -> None:
    index = np.concatenate([np.arange(150), np.arange(155, 605)])
    first, cooling, _ = cut(rows(THERE_AND_BACK, index=index))
    assert (first.left_out, cooling.left_out) == (5, 0)


def test_a_hold_is_neither_heating_nor_cooling() -> None:
    (hold,) = cut(rows(400 + 0.5 * np.sin(np.arange(300.0))))
    assert hold.rate == 0


def test_the_growing_ramp_is_that_so_far() -> None:
    cutter = RampCutter()
    assert cutter.growing() is None
    list(cutter.push(rows(UP[:50])))
    ramp = cutter.growing()
    assert ramp is not None
    np.testing.assert_array_equal(ramp.temperature, UP[:50])
    assert ramp.annealing_temperature == 553
    assert ramp.time == 49 * 10**9


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 600), max_size=20),
    st.booleans(),
    st.integers(0, 2**31),
)
def test_ramps_do_not_depend_on_how_readings_came(edges: list[int], told: bool, seed: int) -> None:
    draw = np.random.default_rng(seed)
    T = THERE_AND_BACK + draw.normal(0, 0.3, 600)
    fields = {"segment": np.repeat([0, 1, 2], 200)} if told else {}
    if seed % 3 == 0:
        fields["time"] = np.concatenate([np.arange(330), np.arange(270)]) * 10**9
    whole, pieces = cut(rows(T, **fields)), cut(rows(T, **fields), *edges)
    assert len(whole) == len(pieces)
    for one, other in zip(whole, pieces, strict=True):
        np.testing.assert_array_equal(one.temperature, other.temperature)
        np.testing.assert_array_equal(one.heat_flow, other.heat_flow)
        assert (one.cause, one.rate, one.time, one.repeated, one.backward, one.left_out) == (
            other.cause, other.rate, other.time, other.repeated, other.backward, other.left_out,
        )  # fmt: skip
