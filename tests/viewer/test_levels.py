"""Colour levels: hot pixels, NaN, logarithms, how often."""

from __future__ import annotations

import numpy as np
import pytest

from daq.viewer.levels import Levels, asks_for_logarithm, logarithm, percentile_levels


def test_hot_pixels_and_nan_do_not_set_the_scale():
    image = np.random.default_rng(1).normal(100, 1, (256, 256))
    image[0, 0], image[1, 1], image[2] = 1e9, -1e9, np.nan
    low, high = percentile_levels(image)
    assert 95 < low < 100 < high < 105


@pytest.mark.parametrize("value", [0, 5, -3.5])
def test_levels_are_never_equal(value):
    low, high = percentile_levels(np.full((4, 4), value))
    assert low < high
    assert low <= value <= high


def test_sparse_counts_are_visible():
    image = np.zeros((512, 512), np.uint16)
    image[::100, ::100] = 1
    low, high = percentile_levels(image[:64, :64])
    assert (low, high) == (0, 1)


def test_nothing_finite():
    assert percentile_levels(np.full((8, 8), np.nan)) is None
    levels = Levels()
    assert levels.of(np.full((8, 8), np.nan), 0.0) is None
    assert levels.of(np.ones((8, 8)), 0.0) is not None


def test_the_few_finite_pixels_of_a_large_image_count():
    image = np.full((1024, 1024), np.nan)
    image[0, 1] = 3.0
    assert percentile_levels(image) is not None


def test_at_two_hertz_or_less():
    levels = Levels(interval=0.5)
    first = levels.of(np.array([0.0, 1.0]), 10.0)
    assert levels.of(np.array([0.0, 9.0]), 10.49) == first
    assert levels.of(np.array([0.0, 9.0]), 10.5) != first


def test_locked_levels_stay():
    levels = Levels()
    levels.of(np.array([0.0, 1.0]), 0.0)
    levels.lock()
    kept = levels.of(np.array([0.0, 9.0]), 100.0)
    assert kept == percentile_levels(np.array([0.0, 1.0]))
    levels.follow()
    assert levels.of(np.array([0.0, 9.0]), 100.0) != kept


def test_logarithm_keeps_nan_and_draws_zero_as_the_least():
    drawn = logarithm(np.array([np.nan, -1.0, 0.0, 0.5, 100.0]))
    assert np.isnan(drawn[0])
    assert drawn[1:].tolist() == pytest.approx([np.log10(0.5)] * 3 + [2.0])
    assert logarithm(np.zeros(3)).tolist() == [0, 0, 0]


def test_a_logarithm_where_nothing_else_shows_it():
    y, x = np.mgrid[:64, :64] - 32
    pattern = 1e5 * np.exp(-np.hypot(y, x) / 3) + 2
    assert asks_for_logarithm(pattern)
    assert not asks_for_logarithm(np.random.default_rng(1).poisson(50, (64, 64)))
    assert not asks_for_logarithm(np.random.default_rng(1).poisson(0.1, (64, 64)))
    assert not asks_for_logarithm(pattern - 100)
