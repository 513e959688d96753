"""Two-time correlations: equal to the formula written out, whatever is missing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daq_stem.ecm.delays import DENSE, bin_count, delay_bins
from daq_stem.ecm.two_time import TwoTime

PERIOD = 9_200_000_000
SETS = (5, 4)
PIXELS = 12


def slow_g(patterns):
    """G(t1, t2) = <I1 I2>/(<I1><I2>) over pixels: [scan, scan] of [scan, pixel]."""
    scans = len(patterns)
    found = np.zeros((scans, scans))
    for a in range(scans):
        for b in range(scans):
            found[a, b] = np.mean(patterns[a] * patterns[b]) / (
                np.mean(patterns[a]) * np.mean(patterns[b])
            )
    return found


def taken(patterns, usable, times, kept=None, source=None):
    """Put [scan, position, pixel] patterns into a series."""
    scans, positions, pixels = patterns.shape
    series = TwoTime(positions, kept or scans, pixels, SETS, np.zeros(positions, int))
    at = np.arange(positions) if source is None else source
    rows = [series.add(patterns[s], usable[s], times[s], at, np.ones(pixels)) for s in range(scans)]
    return series, rows


def drawn(seed, scans=9, positions=3):
    draw = np.random.default_rng(seed)
    patterns = draw.poisson(20, (scans, positions, PIXELS)).astype(float)
    times = (np.arange(scans)[:, None] * PERIOD + np.arange(positions) * 1_000_000).astype(np.int64)
    return draw, patterns, times


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_is_the_formula_with_gaps(seed):
    draw, patterns, times = drawn(seed)
    usable = draw.random(times.shape) < 0.7
    usable[:2] = True
    series, rows = taken(patterns, usable, times)
    sets = [slice(None), slice(0, 5), slice(5, 9)]
    for p in range(3):
        expected = np.full((3, len(series.delay_sum)), np.nan)
        for k, of in enumerate(sets):
            g = slow_g(patterns[:, p, of])
            by_bin = {}
            for a in range(9):
                for b in range(a):
                    if usable[a, p] and usable[b, p]:
                        by_bin.setdefault(int(series.table[a - b]), []).append(g[a, b] - 1)
            for at, values in by_bin.items():
                expected[k, at] = np.mean(values)
                assert series.pairs[p, at] == len(values)
        np.testing.assert_allclose(series.correlations()[p], expected, rtol=0, atol=2e-6)
    # the rows: mean over the positions where both scans were seen
    for a, (sums, pairs) in enumerate(rows):
        for b in range(a):
            both = usable[a] & usable[b]
            g = [slow_g(patterns[[a, b], p])[0, 1] - 1 for p in np.flatnonzero(both)]
            assert pairs[0, b] == both.sum()
            assert sums[0, b] == pytest.approx(np.sum(g), abs=1e-5)


def test_delay_is_that_of_the_time_stamps():
    _, patterns, times = drawn(1, scans=6)
    times[3:] += 2 * PERIOD  # two scans that nobody saw
    series, _ = taken(patterns, np.ones(times.shape, bool), times, kept=8)
    seen = np.flatnonzero(series.delay_pairs) + 1
    assert seen.tolist() == [1, 2, 3, 4, 5, 6, 7]
    np.testing.assert_allclose(series.delays()[:7], 9.2 * np.arange(1, 8))
    # delays 1 and 2 are within the halves, 3 to 7 across
    assert (series.delay_pairs[:7] / 3).tolist() == [4, 2, 1, 2, 3, 2, 1]


def test_time_reversed_gives_the_same():
    _, patterns, times = drawn(2)
    usable = np.ones(times.shape, bool)
    forward, _ = taken(patterns, usable, times)
    backward, _ = taken(patterns[::-1], usable, times)
    np.testing.assert_allclose(forward.correlations(), backward.correlations(), atol=3e-7)


def test_a_flickering_beam_does_no_harm():
    draw, patterns, times = drawn(3)
    usable = np.ones(times.shape, bool)
    flicker = draw.uniform(0.5, 2, (9, 3, 1))
    steady, _ = taken(patterns, usable, times)
    flickering, _ = taken(patterns * flicker, usable, times)
    np.testing.assert_allclose(steady.correlations(), flickering.correlations(), atol=1e-6)


def test_what_is_kept_is_bounded_and_all_pairs_within_it_count():
    _, patterns, times = drawn(4, scans=20)
    series, _ = taken(patterns, np.ones(times.shape, bool), times, kept=5)
    assert series.intensity.shape[1] == 5
    # each scan meets the four before it
    assert series.pairs[0, :4].tolist() == [19, 18, 17, 16]
    assert series.pairs[0, 4:].sum() == 0
    g = slow_g(patterns[:, 1])
    expected = [np.mean(np.diagonal(g, k)) - 1 for k in range(1, 5)]
    np.testing.assert_allclose(series.correlations()[1, 0, :4], expected, atol=2e-6)


def test_a_position_that_left_the_scan_is_missing():
    _, patterns, times = drawn(5)
    source = np.array([1, 2, -1])
    series, _ = taken(patterns, np.ones(times.shape, bool), times, source=source)
    assert not series.good[2].any()
    assert np.isnan(series.correlations()[2]).all()
    g = slow_g(patterns[:, 2])
    assert series.correlations()[1, 0, 0] == pytest.approx(np.mean(np.diagonal(g, 1)) - 1, abs=2e-6)


def test_patterns_that_say_nothing_are_left_out():
    _, patterns, times = drawn(6)
    patterns[2, 0] = 0
    patterns[3, 1] = np.nan
    series, _ = taken(patterns, np.ones(times.shape, bool), times)
    assert series.good.sum() == 25
    assert np.isfinite(series.correlations()[:, :, 0]).all()


def test_static_pattern_divided_afterwards_or_before():
    draw, patterns, times = drawn(7)
    static = draw.uniform(0.5, 2, PIXELS)
    usable = np.ones(times.shape, bool)
    plain, _ = taken(patterns, usable, times)
    afterwards, _ = taken(patterns * static, usable, times)
    afterwards.divide(static)
    rows = afterwards.again(0.0)
    np.testing.assert_allclose(plain.correlations(), afterwards.correlations(), atol=1e-6)
    assert len(rows) == 9
    assert rows[3][0].shape == (1, 3)


def test_what_residual_drift_takes_away_is_put_back():
    """Places apart share exp(-rate d^2): where all correlation is that, g is 1 everywhere."""
    _, patterns, times = drawn(8, scans=4, positions=1)
    rate = 2.0
    series = TwoTime(1, 4, PIXELS, SETS)
    residuals = [(0.0, 0.0), (0.3, 0.0), (0.3, 0.4), (0.0, 0.1)]
    for s, residual in enumerate(residuals):
        series.add(patterns[s], np.ones(1, bool), times[s], np.zeros(1, int), np.ones(PIXELS),
                   residual, rate)  # fmt: skip
    g = slow_g(patterns[:, 0]) - 1
    expected = []
    for k in (1, 2, 3):
        w = [
            np.exp(-rate * np.sum((np.array(residuals[a + k]) - residuals[a]) ** 2))
            for a in range(4 - k)
        ]
        values = [g[a, a + k] for a in range(4 - k)]
        expected.append(np.dot(w, values) / np.dot(w, w))
    np.testing.assert_allclose(series.correlations()[0, 0, :3], expected, atol=1e-6)


@given(st.integers(1, 3000), st.sampled_from([8, 16, 32]))
def test_grid_of_delays(longest, dense):
    bins = delay_bins(longest, dense)
    assert bins[0] == -1
    assert (np.diff(bins) >= 0).all()
    assert bins[: dense + 1].tolist() == list(range(-1, dense))[: longest + 1]
    for at in range(int(bins[-1])):  # the last may be cut
        members = np.flatnonzero(bins == at)
        # no bin is wider than a quarter of its delays
        assert len(members) <= max(1, members[0] / 4)
    assert bin_count(longest, dense) == bins[-1] + 1


def test_memory_is_flat_and_bounded_by_the_formula():
    series = TwoTime(10, 16, PIXELS, SETS)
    used = sum(a.nbytes for a in vars(series).values() if isinstance(a, np.ndarray))
    assert used <= TwoTime.memory(10, 16, PIXELS) + 40 * DENSE * 16
