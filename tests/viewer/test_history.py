"""Traces in bounded memory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daq import NO_TIME
from daq.viewer.history import TraceHistory


def fill(history: TraceHistory, values: np.ndarray, cuts: list[int]) -> None:
    for start, stop in zip([0, *cuts], [*cuts, len(values)], strict=True):
        index = np.arange(start, stop, dtype=np.int64)
        history.add(index, index * 10, values[start:stop], None)


def test_everything_is_kept_up_to_the_limit():
    history = TraceHistory(1000)
    values = np.random.default_rng(1).normal(size=1000)
    fill(history, values, [1, 400, 999])
    time, value, error = history.points()
    assert (value == values).all()
    assert (time == np.arange(1000) * 10).all()
    assert np.isnan(error).all()


def test_memory_is_bounded_and_no_peak_is_lost():
    history = TraceHistory(1000)
    values = np.random.default_rng(2).normal(size=200_000)
    values[[777, 123_456, 199_998]] = [50, -60, 70]
    fill(history, values, list(range(500, 200_000, 500)))
    time, value, _ = history.points()
    assert history.size <= 1000
    assert history.nbytes <= 32 * 1500
    assert {50.0, -60.0, 70.0} <= set(value.tolist())
    assert (np.diff(time) > 0).all()
    assert (values[time // 10] == value).all()


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(100, 3000),
    st.lists(st.integers(1, 2999), max_size=12, unique=True),
)
def test_each_bucket_keeps_its_extremes(seed, count, cuts):
    values = np.random.default_rng(seed).normal(size=count)
    history = TraceHistory(64)
    fill(history, values, sorted(c for c in cuts if c < count))
    time, value, _ = history.points()
    assert history.size <= 64
    kept = time // 10
    for start in range(0, count, history.bucket):
        whole = values[start : start + history.bucket]
        here = value[(kept >= start) & (kept < start + history.bucket)]
        assert here.min() == whole.min()
        assert here.max() == whole.max()


def test_nothing_but_nan_still_breaks_the_line():
    history = TraceHistory(16)
    values = np.arange(400.0)
    values[100:300] = np.nan
    fill(history, values, [])
    _, value, _ = history.points()
    assert np.isnan(value).any()
    assert np.isfinite(value).any()


def test_late_records_go_where_they_belong_and_repeats_are_dropped():
    history = TraceHistory(100)
    for first, count in ((0, 10), (20, 10), (8, 14)):
        index = np.arange(first, first + count, dtype=np.int64)
        history.add(index, index, index.astype(float), None)
    _, value, _ = history.points()
    assert (value == np.arange(30)).all()


def test_lost_records_break_the_line_where_they_would_have_been():
    history = TraceHistory(100)
    time = np.array([NO_TIME, 10, NO_TIME, 30])
    history.add(np.arange(4), time, np.ones(4), None)
    points, value, _ = history.points()
    assert points.tolist() == [10, 10, 30]
    assert np.isnan(value).tolist() == [False, True, False]


def test_room_is_needed():
    with pytest.raises(ValueError, match="8 points"):
        TraceHistory(4)
