"""The running structure function against pairs counted one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daq_afm.height_correlation import LagSums, bytes_needed, rings
from tests.daq_afm.surfaces import structure_by_lag, surfaces


def added(image: np.ndarray, order: np.ndarray, **of_rings: object) -> LagSums:
    sums = LagSums(rings(image.shape, **of_rings))  # type: ignore[arg-type]
    for row in order:
        sums.add(int(row), image[row])
    return sums


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(8, 20),
    columns=st.integers(8, 24),
    steps=st.tuples(st.floats(0.3, 3.0), st.floats(0.3, 3.0)),
    bad=st.sampled_from([0.0, 0.05, 0.6]),
    offset=st.sampled_from([0.0, 1e3]),
    seed=st.integers(0, 1000),
)
def test_equals_pairs_counted_one_by_one(
    rows: int, columns: int, steps: tuple[float, float], bad: float, offset: float, seed: int
) -> None:
    draw = np.random.default_rng(seed)
    image = draw.standard_normal((rows, columns)).cumsum(1) + offset
    image[draw.random(image.shape) < bad] = np.nan
    image[rows // 3] = np.nan  # a line that never was
    side = min(rows * steps[0], columns * steps[1])
    largest = max(side / 2, 2 * min(steps))
    if largest > side / 2:
        return
    sums = added(image, draw.permutation(rows), step=steps, largest=largest)
    expected, pairs = structure_by_lag(image, sums.rings.reach)
    found, counted = sums.by_lag()
    assert np.array_equal(counted, pairs)
    scale = np.nanmax(expected) + 1e-300
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12 * scale)
    P, many = sums.structure()
    for ring in range(len(P)):
        there = sums.rings.number == ring
        assert many[ring] == pairs[there].sum()
        if many[ring]:
            mean = expected[there].sum() / many[ring]
            np.testing.assert_allclose(P[ring], mean, rtol=1e-12, atol=1e-12 * scale)
        else:
            assert np.isnan(P[ring])


def test_a_usual_image_to_1e_12() -> None:
    image = next(surfaces((96, 128), 6.0, 0.7, 1)) + 50.0
    sums = added(image, np.arange(96), step=(1.0, 1.0), largest=12.0)
    expected, pairs = structure_by_lag(image, sums.rings.reach)
    np.testing.assert_allclose(sums.by_lag()[0][1:], expected[1:], rtol=1e-12)
    assert np.array_equal(sums.by_lag()[1], pairs)


def test_rings_hold_distances_in_nm() -> None:
    """Each lag of up to the largest distance is in the ring of its distance, once."""
    where = rings((40, 60), (1.5, 0.5), 9.0)
    down, across = where.reach
    assert (down, across) == (6, 18)
    for i in range(down + 1):
        for j in range(-across, across + 1):
            r = np.hypot(i * 1.5, j * 0.5)
            second_half = i == 0 and j <= 0
            expected = -1 if second_half or round(r / 0.5) > 18 else round(r / 0.5) - 1
            assert where.number[i, j + across] == expected
    np.testing.assert_allclose(where.weights.sum(axis=1), 1)
    assert np.all(np.diff(where.radius) > 0)
    # the nodes of a ring give the mean of a curve over its distances
    i, j = np.arange(down + 1)[:, None], np.arange(-across, across + 1)[None, :]
    r = np.hypot(i * 1.5, j * 0.5)
    pairs = (40 - i) * (60 - np.abs(j))
    for ring in range(len(where.radius)):
        here = where.number == ring
        curve = np.average((r[here] / 3) ** 1.4, weights=pairs[here])
        nodes = np.sum(where.weights[ring] * (where.distances[ring] / 3) ** 1.4)
        assert nodes == pytest.approx(curve, rel=1e-3)


def test_along_the_lines_alone() -> None:
    image = next(surfaces((30, 64), 4.0, 0.6, 2)) + np.arange(30.0)[:, None]  # drift
    sums = added(image, np.arange(30), step=(1.0, 2.0), largest=16.0, fast_axis=True)
    P, pairs = sums.structure()
    for k in range(1, 9):
        assert P[k - 1] == pytest.approx(np.mean((image[:, k:] - image[:, :-k]) ** 2), rel=1e-12)
        assert pairs[k - 1] == 30 * (64 - k)
    np.testing.assert_allclose(sums.rings.radius, 2.0 * np.arange(1, 9))


def test_a_row_that_comes_again_takes_the_place_of_the_first() -> None:
    draw = np.random.default_rng(4)
    image, other = draw.standard_normal((2, 20, 24))
    other[:, 3] = np.nan
    sums = added(other, np.arange(12), step=(1.0, 1.0), largest=6.0)
    for row in range(20):
        sums.add(row, image[row])
    expected, pairs = structure_by_lag(image, sums.rings.reach)
    assert np.array_equal(sums.by_lag()[1], pairs)
    np.testing.assert_allclose(sums.by_lag()[0], expected, atol=1e-11)
    sums.add(5, np.full(24, np.nan))  # and nothing takes its place too
    image[5] = np.nan
    assert np.array_equal(sums.by_lag()[1], structure_by_lag(image, sums.rings.reach)[1])


def test_an_image_leaves_nothing_to_the_next() -> None:
    draw = np.random.default_rng(5)
    first, second = draw.standard_normal((2, 16, 20))
    first[2, 5] = np.nan
    sums = added(first, np.arange(16), step=(1.0, 1.0), largest=5.0)
    sums.clear()
    for row in range(16):
        sums.add(row, second[row])
    fresh = added(second, np.arange(16), step=(1.0, 1.0), largest=5.0)
    assert np.array_equal(sums.structure()[0], fresh.structure()[0])
    assert sums.lines == 16


def test_memory_is_as_stated() -> None:
    where = rings((128, 256), (1.0, 1.0), 16.0)
    sums = LagSums(where)
    held = sum(v.nbytes for v in vars(sums).values() if isinstance(v, np.ndarray))
    assert held == pytest.approx(bytes_needed(where), rel=0.01)


@pytest.mark.parametrize("largest", [1.5, 11.0])
def test_lags_that_an_image_has_not(largest: float) -> None:
    with pytest.raises(ValueError, match=r"max_lag = .* 2 pixels at least .* half of the image"):
        rings((20, 30), (1.0, 1.0), largest)
