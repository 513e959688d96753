"""Streams paired by time: the same whatever arrived first, and bounded."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import daq
from daq.join import values_at
from daq.streams import Batch, Field, Stream

S = 1_000_000_000
STREAMS = {
    "camera": Stream("camera", {"frame": Field("<u2", (4, 4))}),
    "furnace": Stream("furnace", {"sample": Field("<f4", units="K"), "on": Field("|b1")}),
    "stage": Stream("stage", {"xy": Field("<f8", (2,), "nm"), "label": Field("|S4")}),
}
KELVIN = {"kelvin": ("furnace", "sample")}


def camera(first, times, valid=None):
    times = np.asarray(times, np.int64)
    return Batch("camera", {"time": times}, first, valid)


def furnace(times, values, valid=None):
    arrays = {"time": np.asarray(times, np.int64), "sample": np.asarray(values, "<f4")}
    return Batch("furnace", {**arrays, "on": arrays["sample"] > 0}, 0, valid)


def stage(times, values):
    return Batch("stage", {"time": np.asarray(times, np.int64), "xy": np.asarray(values, "<f8")}, 0)


def column(joined, name="kelvin"):
    """All that came, in order."""
    return np.concatenate([j[name] for j in joined])


def test_previous_reading_once_it_is_decided():
    join = daq.Join(STREAMS, "camera", KELVIN, tolerance=10.0)
    assert join.push(camera(0, [1 * S, 2 * S, 3 * S]), {"n": np.array([10, 20, 30])}) == []
    assert join.push(furnace([0, 2 * S], [300, 302])) != []  # record 0; 1 may still get another
    assert join.waiting == 2
    (joined,) = join.push(furnace([3 * S], [303]))
    assert (joined.first, joined.count) == (1, 1)
    assert joined["kelvin"].tolist() == [302.0]
    assert joined.kept["n"].tolist() == [20]
    (last,) = join.close()
    assert last["kelvin"].tolist() == [303.0]
    assert join.waiting == 0


def test_linear_interpolation():
    join = daq.Join(STREAMS, "camera", KELVIN, tolerance=10.0, method="linear")
    join.push(furnace([0, 4 * S], [300, 304]))
    (joined,) = join.push(camera(0, [0, 1 * S, 3 * S]))
    assert joined["kelvin"].tolist() == [300.0, 301.0, 303.0]
    join.push(camera(3, [4 * S, 5 * S]))
    (joined,) = join.close()
    assert joined["kelvin"].tolist() == [304.0, 304.0]  # beyond the end: the one reading near by


@pytest.mark.parametrize("method", ["previous", "linear"])
def test_tolerance(method):
    join = daq.Join(STREAMS, "camera", KELVIN, tolerance=1.5, method=method)
    join.push(furnace([0, 4 * S, 5 * S, 9 * S], [300, 304, 305, 309]))
    joined = join.push(camera(0, [-1 * S, int(1.5 * S), 2 * S, 3 * S, 7 * S, 20 * S]))
    joined += join.push(furnace([21 * S], [321])) + join.close()
    # At -1 s, 3 s and 20 s only the reading that comes next is within 1.5 s.
    later = [300, 304, 321] if method == "linear" else [np.nan] * 3
    expected = [later[0], 300.0, np.nan, later[1], np.nan, later[2]]
    assert np.array_equal(column(joined), expected, equal_nan=True)
    matched = np.concatenate([j.matched["kelvin"] for j in joined])
    assert matched.tolist() == np.isfinite(expected).tolist()


def test_several_streams_wait_for_the_slowest():
    values = {"kelvin": ("furnace", "sample"), "on": ("furnace", "on"), "xy": ("stage", "xy")}
    join = daq.Join(STREAMS, "camera", values, tolerance=np.inf)
    join.push(camera(0, [1 * S, 2 * S]))
    assert join.push(furnace([0, 9 * S], [300, 0])) == []
    (joined,) = join.push(stage([0, 2 * S], [[1, 2], [3, 4]]))
    assert joined.count == 1
    assert joined["xy"].tolist() == [[1, 2]]
    assert joined["on"].tolist() == [1.0]
    (joined,) = join.close("stage")
    assert joined["xy"].tolist() == [[3, 4]]
    (joined,) = join.push(camera(2, [9 * S])) + join.close("furnace")
    assert joined["kelvin"].tolist() == [0.0]


def test_stream_that_never_gave_anything():
    join = daq.Join(STREAMS, "camera", {"xy": ("stage", "xy")}, tolerance=1.0)
    join.push(camera(0, [1, 2]))
    (joined,) = join.close()
    assert np.isnan(joined["xy"]).all()
    assert joined["xy"].shape == (2, 2)
    assert not joined.matched["xy"].any()


def test_lost_records_and_readings():
    join = daq.Join(STREAMS, "camera", KELVIN, tolerance=100.0)
    readings = furnace([daq.NO_TIME, 9 * S, 1 * S, 2 * S], [1, 9, 301, 2])
    readings.valid[[0, 1, 3]] = False  # their times count for nothing
    join.push(readings)
    times, valid = [daq.NO_TIME, 3 * S, daq.NO_TIME, 4 * S], np.array([False, True] * 2)
    joined = join.push(camera(0, times, valid)) + join.close()
    assert np.array_equal(column(joined), [np.nan, 301, np.nan, 301], equal_nan=True)
    assert np.concatenate([j.time for j in joined]).tolist() == times
    assert np.concatenate([j.valid for j in joined]).tolist() == valid.tolist()
    assert join.disordered == {"furnace": 0}


def test_clocks_that_step_back():
    join = daq.Join(STREAMS, "camera", KELVIN, tolerance=2.0)
    join.push(furnace([1 * S, 3 * S, 2 * S, 3 * S, 8 * S], [301, 303, 302, 333, 308]))
    assert join.disordered == {"furnace": 1}
    joined = join.push(camera(0, [2 * S, 4 * S, 3 * S, 1 * S, 5 * S]))
    # record 2 is 1 s before one that came earlier: values at 4 s; record 3 is 3 s before it: none
    assert np.array_equal(column(joined), [301, 333, 333, np.nan, 333], equal_nan=True)


def test_extreme_times_do_not_overflow():
    low, high = -(2**63) + 1, 2**63 - 1
    join = daq.Join(STREAMS, "camera", KELVIN, tolerance=np.inf, method="linear")
    join.push(furnace([low, high], [300, 301]))
    found = column(join.push(camera(0, [low, 0, high])) + join.close())
    assert found[[0, 2]].tolist() == [300.0, 301.0]
    assert found[1] == pytest.approx(300.5)
    assert values_at(np.array([high]), np.array([low]), np.array([1.0]), tolerance=1.0)[0] != 1.0


def _run(pieces, method):
    join = daq.Join(STREAMS, "camera", KELVIN, tolerance=0.5, method=method)
    joined = []
    for piece in pieces:
        kept = {"double": 2 * piece.indices} if piece.stream == "camera" else None
        joined += join.push(piece, kept)
    joined += join.close()
    assert join.waiting == 0
    return joined


@st.composite
def arrivals(draw):
    """Two streams with steps in time of either sign, cut and interleaved at will."""
    seconds = st.integers(-3, 12).map(lambda tenth: tenth * S // 10)
    times = [
        np.cumsum(draw(st.lists(seconds, min_size=1, max_size=30))) for _ in ("camera", "furnace")
    ]
    lost = draw(st.sets(st.integers(0, 29), max_size=3))
    times[0][[i for i in lost if i < len(times[0])]] = daq.NO_TIME
    order = draw(st.permutations(["camera"] * len(times[0]) + ["furnace"] * len(times[1])))
    joints = draw(st.lists(st.booleans(), min_size=len(order), max_size=len(order)))
    return times, order, joints


def _pieces(times, order, joints):
    at = {"camera": 0, "furnace": 0}
    runs = []
    for name, joint in zip(order, joints, strict=True):
        if runs and runs[-1][0] == name and joint:
            runs[-1][2] += 1
        else:
            runs.append([name, at[name], at[name] + 1])
        at[name] += 1
    for name, a, b in runs:
        if name == "camera":
            yield camera(a, times[0][a:b])
        else:
            yield furnace(times[1][a:b], 300 + np.arange(a, b))


@settings(max_examples=150, deadline=None)
@given(arrivals(), st.sampled_from(["previous", "linear"]))
def test_same_whatever_arrived_first(arrival, method):
    times, order, joints = arrival
    whole = [camera(0, times[0]), furnace(times[1], 300 + np.arange(len(times[1])))]
    expected = _run(whole, method)
    joined = _run(_pieces(times, order, joints), method)
    assert [j.first for j in joined] == np.cumsum([0, *(j.count for j in joined)])[:-1].tolist()
    assert column(joined).tobytes() == column(expected).tobytes()
    assert np.concatenate([j.time for j in joined]).tolist() == times[0].tolist()
    double = np.concatenate([j.kept["double"] for j in joined])
    assert double.tolist() == (2 * np.arange(len(times[0]))).tolist()


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(0, 50), min_size=1, max_size=20),
    st.lists(st.integers(0, 50), min_size=1, max_size=20),
    st.integers(0, 20),
)
def test_previous_by_definition(times, readings, tolerance):
    times, readings = sorted(times), sorted(readings)
    values = np.arange(len(readings))
    found = values_at(
        np.array(times), np.array(readings), values, tolerance=tolerance * 1e-9, method="previous"
    )
    for time, value in zip(times, found, strict=True):
        before = [v for v, t in zip(values, readings, strict=True) if t <= time]
        near = before and time - readings[before[-1]] <= tolerance
        assert value == before[-1] if near else np.isnan(value)


def test_linear_agrees_with_numpy():
    rng = np.random.default_rng(4)
    readings = np.sort(rng.integers(0, 1000 * S, 50))
    times = rng.integers(readings[0], readings[-1], 200)
    values = rng.normal(size=(50, 2))
    found = values_at(times, readings, values, tolerance=1e6, method="linear")
    for column in range(2):
        expected = np.interp(times, readings, values[:, column])
        np.testing.assert_allclose(found[:, column], expected, rtol=1e-12, atol=1e-12)


def test_memory_is_bounded_by_how_far_the_streams_are_apart():
    join = daq.Join(STREAMS, "camera", KELVIN, tolerance=10.0)
    for second in range(3000):
        join.push(furnace([second * S], [300]))
        join.push(camera(second * 2, [second * S + 1, second * S + 2]))
        assert join.waiting <= 4
        assert join.held <= 4


def test_what_is_kept_is_copied():
    join = daq.Join(STREAMS, "camera", KELVIN, tolerance=10.0)
    small, times = np.array([1.0, 2.0]), np.array([1, 2])
    join.push(camera(0, times), {"small": small})
    small[:] = times[:] = -1
    (joined,) = join.close()
    assert joined.kept["small"].tolist() == [1.0, 2.0]
    assert joined.time.tolist() == [1, 2]


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="no input 'camra'; did you mean 'camera'"):
        daq.Join(STREAMS, "camra", KELVIN, tolerance=1.0)
    with pytest.raises(ValueError, match="no input 'oven'"):
        daq.Join(STREAMS, "camera", {"kelvin": ("oven", "sample")}, tolerance=1.0)
    with pytest.raises(ValueError, match="furnace has no field 'smple'; did you mean 'sample'"):
        daq.Join(STREAMS, "camera", {"kelvin": ("furnace", "smple")}, tolerance=1.0)
    with pytest.raises(ValueError, match="only real numbers"):
        daq.Join(STREAMS, "camera", {"label": ("stage", "label")}, tolerance=1.0)
    with pytest.raises(ValueError, match="joined to itself"):
        daq.Join(STREAMS, "camera", {"x": ("camera", "frame")}, tolerance=1.0)
    with pytest.raises(ValueError, match="at least one value"):
        daq.Join(STREAMS, "camera", {}, tolerance=1.0)
    for tolerance in (-1.0, np.nan):
        with pytest.raises(ValueError, match="tolerance"):
            daq.Join(STREAMS, "camera", KELVIN, tolerance=tolerance)
    with pytest.raises(ValueError, match="'previous' or 'linear'"):
        daq.Join(STREAMS, "camera", KELVIN, tolerance=1.0, method="nearest")
    join = daq.Join(STREAMS, "camera", KELVIN, tolerance=1.0)
    with pytest.raises(ValueError, match="not one of the joined"):
        join.push(stage([0], [[0, 0]]))
    with pytest.raises(ValueError, match="not one of the joined"):
        join.close("stage")
    with pytest.raises(ValueError, match="belongs to records of camera"):
        join.push(furnace([0], [0]), {"x": np.zeros(1)})
    with pytest.raises(ValueError, match="x has not 2 records"):
        join.push(camera(0, [0, 1]), {"x": np.zeros(3)})
    join.push(camera(0, [0, 1]))
    with pytest.raises(ValueError, match="does not follow on record 1"):
        join.push(camera(3, [0]))
    join.close("furnace")
    with pytest.raises(ValueError, match="furnace has ended"):
        join.push(furnace([5 * S], [0]))
    with pytest.raises(ValueError, match="must not decrease"):
        values_at(np.array([0]), np.array([1, 0]), np.array([1.0, 2.0]), tolerance=1.0)
