"""Statistics of maps against slow references, and their errors against simulated scatter."""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any

import hypothesis
import numpy as np
import pytest
import scipy.stats
from hypothesis import strategies as st

from daq_stem.structure_dynamics.map_statistics import (
    Distances,
    correlation_length,
    normal_scores,
    ranks,
    relation,
    spearman,
    standardised,
    with_fixed,
)
from tests.daq_stem.noisy_pairs import STEP, noisy_pairs, smooth_fields

SEEDS = 200


def ranked(fields: Any) -> tuple[Any, Any]:
    return tuple(standardised(ranks(field.ravel())) for field in fields)


@functools.cache
def whole(shape: tuple[int, int]) -> Distances:
    return Distances(np.ones(shape, bool), STEP)


@functools.cache
def relations(coupling: float, **how: Any) -> list[Any]:
    """Of each seed: what is found; rho in the material, over these positions; the raw one, d."""
    found = []
    for seed in range(SEEDS):
        pairs = noisy_pairs(seed, coupling, **how)
        x, y = ranked(pairs.x_twice), ranked(pairs.y_twice)
        one = relation(whole(pairs.x.shape), x, y)
        here = spearman(pairs.x.ravel(), pairs.y.ravel())
        raw = (np.mean(x[0] * y[1]) + np.mean(x[1] * y[0])) / 2
        found.append((one, pairs.rho, here, raw))
    return found


values = st.lists(
    st.one_of(st.integers(-3, 3).map(float), st.floats(allow_nan=False)), min_size=1, max_size=40
)


@hypothesis.given(values)
def test_ranks_are_those_of_scipy(numbers: list[float]) -> None:
    np.testing.assert_array_equal(ranks(np.array(numbers)), scipy.stats.rankdata(numbers))


@hypothesis.given(st.integers(0, 2**32), st.integers(3, 60), st.integers(2, 30))
def test_spearman_is_that_of_scipy(seed: int, count: int, different: int) -> None:
    x, y = np.random.default_rng(seed).integers(0, different, (2, count)).astype(float)
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        assert math.isnan(spearman(x, y))
    else:
        expected = scipy.stats.spearmanr(x, y).statistic
        assert spearman(x, y) == pytest.approx(expected, abs=1e-12)


def test_too_few_values_have_no_correlation() -> None:
    assert math.isnan(spearman(np.array([1.0, 2.0]), np.array([1.0, 2.0])))


def test_normal_scores_are_normal_and_keep_the_order() -> None:
    x = np.random.default_rng(1).exponential(size=2000)
    scores = normal_scores(x)
    np.testing.assert_array_equal(np.argsort(scores), np.argsort(x))
    assert scipy.stats.kstest(scores, "norm").pvalue > 0.9


def test_partial_correlation_is_the_formula() -> None:
    x, y, z = np.random.default_rng(2).standard_normal((3, 200))
    x, y = x + z, y - 0.7 * z
    a, b, c = (standardised(v) for v in (x, y, z))
    xy, xz, yz = np.mean(a * b), np.mean(a * c), np.mean(b * c)
    expected = (xy - xz * yz) / math.sqrt((1 - xz**2) * (1 - yz**2))
    assert np.mean(with_fixed(a, c) * with_fixed(b, c)) == pytest.approx(expected, abs=1e-12)
    assert not with_fixed(c, c).any()
    np.testing.assert_allclose(with_fixed(a, np.zeros(200)), a, atol=1e-12)


class Slow:
    """Sums over all pairs of positions, one by one."""

    def __init__(self, mask: Any) -> None:
        self.places = np.argwhere(mask)
        self.ring = np.array(
            [[round(math.hypot(*(p - q))) for q in self.places] for p in self.places]
        )

    def matrix(self, correlation: Any) -> Any:
        longer = np.zeros(max(self.ring.max() + 1, len(correlation)))
        longer[: len(correlation)] = correlation
        return longer[self.ring]


@pytest.fixture
def irregular() -> Any:
    mask = np.random.default_rng(3).random((7, 11)) < 0.8
    mask[:, :2] = False
    return mask


def test_correlograms_are_sums_over_pairs(irregular: Any) -> None:
    a, b = np.random.default_rng(4).standard_normal((2, int(irregular.sum())))
    distances, slow = Distances(irregular, STEP), Slow(irregular)
    found = distances.correlogram(distances.transform(a), distances.transform(b))
    for ring in range(int(slow.ring.max()) + 1):
        here = slow.ring == ring
        assert distances.pairs[ring] == here.sum()
        assert found[ring] == pytest.approx(np.mean(np.outer(a, b)[here]), abs=1e-12)
    assert not distances.pairs[int(slow.ring.max()) + 1 :].any()
    # half of the shorter side of what is not masked
    assert distances.reach == 7 // 2 + 1


def test_covariance_is_a_sum_over_pairs(irregular: Any) -> None:
    distances, slow = Distances(irregular, STEP), Slow(irregular)
    r = np.arange(distances.reach)
    a, b = np.exp(-r / 2.0), -np.exp(-r * r / 3.0)
    n = distances.count
    expected = (slow.matrix(a) * slow.matrix(b)).sum() / n**2
    expected -= slow.matrix(a).sum() * slow.matrix(b).sum() / n**4
    assert distances.covariance(a, b) == pytest.approx(expected, rel=1e-10)
    assert distances.covariance(a, b[:2]) == pytest.approx(distances.covariance(b[:2], a))


def test_covariance_is_that_of_maps_without_their_mean() -> None:
    """tr(P A P B) / N^2 with the centring matrix, of which it is a short form."""
    mask = np.ones((16, 20), bool)
    distances, slow = Distances(mask, STEP), Slow(mask)
    r = np.arange(distances.reach)
    a, b = np.exp(-((r / 4.0) ** 2)), np.exp(-((r / 3.0) ** 2))
    n = distances.count
    centre = np.eye(n) - 1 / n
    exact = np.trace(centre @ slow.matrix(a) @ centre @ slow.matrix(b)) / n**2
    assert distances.covariance(a, b) == pytest.approx(exact, rel=0.05)
    assert np.trace(slow.matrix(a) @ slow.matrix(b)) / n**2 > 1.15 * exact  # the mean matters


def test_the_correlation_hidden_by_the_mean_is_found_again() -> None:
    distances = whole((40, 60))
    r = np.arange(len(distances.pairs)) * STEP
    true = np.where(r < 2.6, np.maximum(0, 1 - r / 2.6) ** 2, 0)
    mean = float(np.sum(distances.pairs * true)) / distances.count**2
    assert mean > 0.02
    found = distances.without_mean(true - mean)
    np.testing.assert_allclose(found, true[: distances.reach], atol=2e-3)
    assert not distances.without_mean(-true).any()


def test_quadratic_variance_is_a_sum_over_lags(irregular: Any) -> None:
    distances = Distances(irregular, STEP)
    kernel_by_ring = np.zeros(len(distances.pairs))
    kernel_by_ring[:4] = [-0.4, 0.1, 0.3, 0.05]
    a = np.exp(-np.arange(distances.reach) / 1.5)
    b = 0.5 * a**2
    height, width = irregular.shape
    on = {tuple(p) for p in np.argwhere(irregular)}
    # as far as the map's lags and correlations of that extent reach
    lags = [(y, x) for y in range(1 - height, height) for x in range(1 - width, width)]

    def at(correlation: Any, y: int, x: int) -> float:
        ring = round(math.hypot(y, x))
        return correlation[ring] if ring < len(correlation) else 0.0

    total = 0.0
    for correlation in (a, b):
        squares = sums = 0.0
        for y, x in lags:
            passed = sum(
                at(kernel_by_ring[:4], v, u) * at(correlation, y - v, x - u)
                for v in range(-4, 5)
                for u in range(-4, 5)
            )
            pairs = sum((p + y, q + x) in on for p, q in on)
            squares += pairs * passed**2
            sums += pairs * passed
        n = distances.count
        total += squares / n**2 - (sums / n**2) ** 2
    found = distances.quadratic_variance(kernel_by_ring[distances.ring], a, b)
    assert found == pytest.approx(total, rel=1e-9)


HOW = [
    {},
    {"shape": (60, 60), "signal": (0.9, 0.9)},
    {"length": 0.8, "signal": (0.4, 0.4)},
    {"shared": 0.9},
]


@pytest.mark.parametrize(
    ("coupling", "how"), [*itertools.product([0.0, 0.5], HOW), (-0.5, {})], ids=str
)
def test_errors_for_the_material_cover(coupling: float, how: dict[str, Any]) -> None:
    found = [(r, rho) for r, rho, *_ in relations(coupling, **how) if not math.isnan(r.errors)]
    assert len(found) > 0.75 * SEEDS
    z = np.array([(r.correlation - rho) / r.errors for r, rho in found])
    # the mean of |z| is 0.80 for a normal one; scatter of a share of 200: 3 %
    assert 0.65 < np.mean(np.abs(z)) < 0.95
    assert 0.60 < np.mean(np.abs(z) < 1) < 0.76
    assert abs(np.mean(z)) < 0.4
    if how.get("signal", (0.6, 0.35))[1] > 0.38:
        assert len(found) > 0.95 * SEEDS


@pytest.mark.parametrize("coupling", [0.0, 0.5])
@pytest.mark.parametrize("how", [{}, {"length": 0.8, "signal": (0.4, 0.4)}], ids=str)
def test_measurement_errors_cover_for_these_positions(coupling: float, how: dict[str, Any]) -> None:
    found = [(r, here) for r, _, here, _ in relations(coupling, **how) if not math.isnan(r.errors)]
    z = np.array([(r.correlation - here) / r.measurement_errors for r, here in found])
    assert 0.65 < np.mean(np.abs(z)) < 1.0
    assert 0.60 < np.mean(np.abs(z) < 1) < 0.76
    assert all(r.measurement_errors < r.errors for r, _ in found)


def test_errors_next_to_the_bound_are_not_too_small() -> None:
    found = [(r, rho) for r, rho, *_ in relations(0.9) if not math.isnan(r.errors)]
    z = np.array([(r.correlation - rho) / r.errors for r, rho in found])
    assert np.mean(np.abs(z)) < 0.95
    assert np.mean(np.abs(z) < 1) > 0.60


def test_p_values_are_uniform_without_relation_and_small_with_one() -> None:
    for how in HOW[:3]:
        p = [r.p_value for r, *_ in relations(0.0, **how)]
        assert scipy.stats.kstest(p, "uniform").pvalue > 0.01
        assert np.mean(np.array(p) < 0.05) < 0.08
    p = [r.p_value for r, *_ in relations(0.5)]
    assert np.mean(np.array(p) < 0.05) > 0.4


def test_n_effective_is_what_the_scatter_says() -> None:
    for how in HOW[:3]:
        d = [raw for *_, raw in relations(0.0, **how)]
        n = [r.n_effective for r, *_ in relations(0.0, **how)]
        # variance of 200 values: 10 %; correlations cut off at their first zero give a little much
        assert 0.75 < np.median(n) * np.var(d) < 1.15
        assert max(n) < whole(how.get("shape", (40, 60))).count / 5


def test_reliabilities_are_the_parts_of_signal() -> None:
    found = [r.reliability for r, *_ in relations(0.5, length=0.8, signal=(0.4, 0.4))]
    # Spearman's rho of 0.4, less what the mean of so small a map takes away
    np.testing.assert_allclose(np.mean(found, axis=0), 0.37, atol=0.02)


def test_naive_correlation_is_biased_where_noise_is_shared() -> None:
    naive = []
    for seed in range(60):
        pairs = noisy_pairs(seed, 0.0, shape=(60, 60), shared=0.9)
        naive.append(spearman(pairs.x_twice.mean(0).ravel(), pairs.y_twice.mean(0).ravel()))
    assert np.mean(naive) > 0.25
    found = [r.correlation for r, *_ in relations(0.0, shared=0.9)]
    assert abs(np.nanmean(found)) < 0.06


def test_nothing_is_divided_by_a_reliability_that_may_be_zero() -> None:
    rng = np.random.default_rng(5)
    x = smooth_fields(rng, 2, (40, 60), 0.44)
    noise = smooth_fields(rng, 40, (40, 60), 4.2)
    found = [
        relation(whole((40, 60)), ranked(x[:1].repeat(2, 0)), ranked(noise[k : k + 2]))
        for k in range(0, 40, 2)
    ]
    assert sum(math.isnan(r.correlation) for r in found) >= 18
    for r in found:
        assert math.isnan(r.correlation) == math.isnan(r.errors)
        assert 0 <= r.p_value <= 1


def test_correlation_is_bounded_and_antisymmetric() -> None:
    bounded = []
    for seed in range(8):
        pairs = noisy_pairs(seed, 0.97, signal=(0.6, 0.6))
        x, y = ranked(pairs.x_twice), ranked(pairs.y_twice)
        found = relation(whole((40, 60)), x, y)
        assert -1 <= found.correlation <= 1 and found.errors > 0
        bounded.append(found.correlation == 1)
        turned = relation(whole((40, 60)), x, (-y[0], -y[1]))
        assert turned.correlation == -found.correlation
        assert turned.errors == pytest.approx(found.errors)
        swapped = relation(whole((40, 60)), y, x)
        assert swapped.correlation == pytest.approx(found.correlation)
        assert swapped.errors == pytest.approx(found.errors)
        assert swapped.reliability == pytest.approx(found.reliability[::-1])
    assert any(bounded) and not all(bounded)


def test_few_positions_or_equal_values_give_nan_and_no_warning() -> None:
    few = np.zeros((8, 8), bool)
    few[:3, :9] = True
    x = (np.arange(24.0), np.arange(24.0))
    assert math.isnan(relation(Distances(few, STEP), x, x).correlation)
    assert all(map(math.isnan, correlation_length(Distances(few, STEP), x)))
    flat = (np.zeros(2400), np.zeros(2400))
    other = ranked(noisy_pairs(0, 0.0).x_twice)
    for pair in ((flat, other), (other, flat)):
        assert math.isnan(relation(whole((40, 60)), *pair).p_value)
    assert all(map(math.isnan, correlation_length(whole((40, 60)), flat)))
    assert Distances(np.zeros((4, 4), bool), STEP).count == 0


@pytest.mark.parametrize(
    ("length", "shape", "signal"),
    [(1.5, (60, 60), 0.6), (0.8, (40, 60), 0.6), (1.5, (60, 120), 0.3)],
)
def test_correlation_length_and_its_error(
    length: float, shape: tuple[int, int], signal: float
) -> None:
    found = []
    for seed in range(120):
        pairs = noisy_pairs(seed, 0.0, shape=shape, length=length, signal=(signal, 0.3))
        one, other = (normal_scores(field.ravel()) for field in pairs.x_twice)
        found.append(correlation_length(whole(shape), (one, other)))
    lengths, errors = np.array([f for f in found if not math.isnan(f[1])]).T
    assert len(lengths) > 110
    # noise alone is correlated over 0.49 nm; it must not shorten what is found
    assert np.mean(lengths) == pytest.approx(length, rel=0.07)
    z = (lengths - length) / errors
    assert 0.5 < np.mean(np.abs(z)) < 1.1
    assert 0.60 < np.mean(np.abs(z) < 1) < 0.80


def test_correlation_length_longer_than_the_map_is_not_known() -> None:
    y, x = np.mgrid[:20, :20]
    slope = standardised((y + x).astype(float).ravel())
    length, error = correlation_length(Distances(np.ones((20, 20), bool), STEP), (slope, slope))
    assert math.isnan(length) or error > 0.3 * length
