"""Clusters, their sizes and dimensions: drawn shapes, percolation, exact fractals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daq_afm.box_counting import box_counts, box_dimension
from daq_afm.cluster_sizes import (
    GAUSSIAN,
    POWER_LAW,
    TOO_FEW,
    counts_above,
    fit_sizes,
)
from daq_afm.clusters import find_clusters, top_fraction

P_C = 0.592746  # site percolation on the square lattice


def ellipse(
    shape: tuple[int, int], step: tuple[float, float], long: float, short: float, angle: float
) -> np.ndarray:
    """Return a mask of an ellipse in the middle, its axes in nm, its long one turned from x to y."""
    y = (np.arange(shape[0]) - (shape[0] - 1) / 2)[:, None] * step[0]
    x = (np.arange(shape[1]) - (shape[1] - 1) / 2)[None] * step[1]
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    return ((c * x + s * y) / long) ** 2 + ((c * y - s * x) / short) ** 2 < 1


@pytest.mark.parametrize("step", [(0.5, 0.5), (1.0, 0.25), (0.3, 0.9)])
@pytest.mark.parametrize("angle", [0, 30, 75, 90, -40])
def test_an_ellipse_is_measured_in_nm_whatever_the_pixels(
    step: tuple[float, float], angle: float
) -> None:
    shape = (int(44 / step[0]), int(44 / step[1]))
    found = find_clusters(ellipse(shape, step, 20, 8, angle), step)
    assert len(found) == 1 and not found.at_edge[0]
    assert found.area[0] == pytest.approx(np.pi * 160, rel=0.01)
    assert found.radius[0] == pytest.approx(np.sqrt(160), rel=0.005)
    assert found.aspect_ratio[0] == pytest.approx(2.5, rel=0.02)
    assert found.bounding_aspect_ratio[0] == pytest.approx(2.5, rel=0.07)
    assert found.length[0] == pytest.approx(40, rel=0.05)
    turned = (found.orientation[0] - angle + 90) % 180 - 90
    assert abs(turned) < 1


def test_corners_edges_and_dead_pixels() -> None:
    mask = np.zeros((8, 9), bool)
    mask[2, 2] = mask[3, 3] = True
    mask[0, 5] = mask[5, 6] = True
    measured = np.ones(mask.shape, bool)
    measured[5, 7] = False
    four = find_clusters(mask, (1, 1), measured)
    assert len(four) == 4
    assert four.at_edge.tolist() == [True, False, False, True]
    eight = find_clusters(mask, (1, 1), measured, diagonal=True)
    assert len(eight) == 3
    assert eight.pixels.tolist() == [1, 2, 1]
    assert len(find_clusters(np.zeros((4, 4), bool), (1, 1))) == 0


@given(st.integers(0, 2**32 - 1), st.floats(0.05, 0.7), st.booleans())
def test_no_pixel_is_lost(seed: int, density: float, diagonal: bool) -> None:
    mask = np.random.default_rng(seed).random((17, 23)) < density
    found = find_clusters(mask, (0.7, 0.4), diagonal=diagonal)
    assert found.pixels.sum() == mask.sum()
    assert np.array_equal(found.labels > 0, mask)
    assert np.array_equal(
        np.bincount(found.labels[mask], minlength=len(found) + 1)[1:], found.pixels
    )
    assert (found.aspect_ratio >= 1).all()
    whole = found.weights((17, 23))[~found.at_edge]
    assert (whole >= 1).all() or (whole == 0).any()


def test_the_top_fraction_is_that_of_what_was_measured() -> None:
    values = np.arange(200.0).reshape(10, 20)
    values[0] = np.nan
    mask, threshold = top_fraction(values, 0.1)
    assert mask.sum() == 18
    assert values[mask].min() >= threshold > values[~mask & np.isfinite(values)].max()
    low, _ = top_fraction(values, 0.1, largest=False)
    assert low.sum() == 18 and values[low].max() < 40
    assert not top_fraction(np.full((3, 3), np.nan), 0.1)[0].any()


def test_the_percolating_cluster_grows_with_the_exponent_91_48() -> None:
    draw = np.random.default_rng(7)
    sizes, mass = (32, 64, 128, 256), []
    for size, images in zip(sizes, (300, 120, 50, 25), strict=True):
        largest = [
            find_clusters(draw.random((size, size)) < P_C, (1, 1)).pixels.max()
            for _ in range(images)
        ]
        mass.append((np.mean(largest), np.std(largest) / np.sqrt(images)))
    means, errors = np.array(mass).T
    x = np.log(sizes)
    weights = (means / errors) ** 2
    middle = np.average(x, weights=weights)
    spread = np.sum(weights * (x - middle) ** 2)
    slope = np.sum(weights * (x - middle) * np.log(means)) / spread
    assert slope == pytest.approx(91 / 48, abs=3 / np.sqrt(spread))
    assert 1 / np.sqrt(spread) < 0.03


def test_clusters_span_above_the_threshold_only() -> None:
    draw = np.random.default_rng(3)
    span = {}
    for p in (P_C - 0.05, P_C, P_C + 0.05):
        hits = 0
        for _ in range(12):
            found = find_clusters(draw.random((150, 150)) < p, (1, 1))
            hits += bool((found.rows == 150).any())
        span[p] = hits
    below, at, above = span.values()
    assert below == 0 and above == 12 and 2 <= at <= 10


def test_sizes_at_the_threshold_follow_the_exponent_of_fisher() -> None:
    """n_s ~ s^-187/91, hence n(R) ~ R^-(2 x 187/91 - 1); clusters at the edge must be made up for."""
    draw = np.random.default_rng(1)
    pixels, weights = [], []
    for _ in range(8):
        mask = draw.random((384, 384)) < P_C
        clusters = find_clusters(mask, (1, 1))
        pixels.append(clusters.pixels)
        weights.append(clusters.weights(mask.shape))
    every = np.concatenate(pixels), np.concatenate(weights)
    fit = fit_sizes(*every, 1.0, least=30)
    assert fit.law == POWER_LAW
    assert fit.exponent == pytest.approx(2 * 187 / 91 - 1, abs=2.5 * fit.exponent_error)
    assert fit.exponent_error < 0.15
    naive = fit_sizes(every[0], (every[1] > 0).astype(float), 1.0, least=30)
    assert naive.exponent > 3.11 + 3 * naive.exponent_error


def power_law_pixels(a: float, count: int, draw: np.random.Generator) -> np.ndarray:
    radius = draw.random(count) ** (-1 / (a - 1)) * np.sqrt(3.5 / np.pi)
    return np.maximum(np.rint(np.pi * radius**2), 4).clip(max=1e12).astype(np.int64)


@pytest.mark.parametrize("a", [1.7, 2.6])
def test_the_exponent_and_its_error_cover(a: float) -> None:
    draw = np.random.default_rng(2)
    fits = [fit_sizes(power_law_pixels(a, 200, draw), np.ones(200), 1.0) for _ in range(40)]
    pulls = [(f.exponent - a) / f.exponent_error for f in fits]
    assert 0.5 < np.mean(np.abs(pulls) < 1) < 0.85
    assert abs(np.mean(pulls)) < 0.5
    laws = [f.law for f in fits]
    assert laws.count(POWER_LAW) >= 36 and GAUSSIAN not in laws


def test_gaussian_sizes_are_told_from_a_power_law() -> None:
    draw = np.random.default_rng(4)
    radius = draw.normal(4.0, 0.8, 150)
    pixels = np.rint(np.pi * radius**2 / 0.25).astype(np.int64)
    fit = fit_sizes(pixels, np.ones(150), 0.25)
    assert fit.law == GAUSSIAN and fit.power_weight < 1e-6
    assert fit.mean == pytest.approx(4, abs=0.2) and fit.sd == pytest.approx(0.8, abs=0.15)
    assert fit_sizes(pixels[:10], np.ones(10), 0.25).law == TOO_FEW
    assert counts_above(radius, np.ones(150), np.array([0.0, 4.0, 99.0]))[[0, 2]].tolist() == [
        150,
        0,
    ]


def carpet(level: int) -> np.ndarray:
    mask = np.ones((1, 1), bool)
    for _ in range(level):
        hole = np.zeros_like(mask)
        mask = np.block([[mask, mask, mask], [mask, hole, mask], [mask, mask, mask]])
    return mask


def test_the_sierpinski_carpet_has_its_dimension() -> None:
    found = box_dimension(carpet(5), sizes=[1, 3, 9, 27, 81])
    np.testing.assert_allclose(found.count, [8.0**k for k in (5, 4, 3, 2, 1)], rtol=1e-12)
    assert found.dimension == pytest.approx(1.892789260714372, abs=1e-12)
    usual = box_dimension(carpet(5), (0.5, 0.5))
    assert usual.dimension == pytest.approx(1.892789, abs=0.03)  # boxes that do not fit it
    assert usual.error < 0.05


def test_planes_lines_and_points_have_theirs() -> None:
    plane = np.ones((128, 128), bool)
    line = np.zeros((128, 128), bool)
    line[64] = True
    assert box_dimension(plane).dimension == pytest.approx(2, abs=1e-9)
    assert box_dimension(line).dimension == pytest.approx(1, abs=0.05)
    assert np.isnan(box_dimension(np.zeros((64, 64), bool)).dimension)
    assert np.isnan(box_dimension(np.ones((9, 9), bool)).dimension)


def test_boxes_are_square_in_nm() -> None:
    draw = np.random.default_rng(0)
    fine = np.repeat(draw.random((96, 48)) < 0.2, 2, axis=1)
    coarse = fine[:, ::2]
    sizes = np.array([4.0, 8.0, 16.0])
    assert np.array_equal(
        box_counts(fine, sizes, (1.0, 1.0)), box_counts(coarse, sizes, (1.0, 2.0))
    )


def test_the_error_of_the_dimension_covers_from_image_to_image() -> None:
    draw = np.random.default_rng(5)
    found = []
    for _ in range(40):
        clusters = find_clusters(draw.random((128, 128)) < P_C, (1, 1))
        found.append(box_dimension(clusters.labels == 1 + clusters.pixels.argmax()))
    dimensions = np.array([f.dimension for f in found])
    errors = np.array([f.error for f in found])
    inside = np.abs(dimensions - np.mean(dimensions)) < errors
    assert 0.55 < inside.mean() < 0.9
