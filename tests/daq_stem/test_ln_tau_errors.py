"""Intervals by test inversion: they cover, whatever bias and width the estimates have."""

from __future__ import annotations

import numpy as np
import pytest

from daq_stem.ecm.ln_tau_errors import LnTauErrors
from daq_stem.ecm.population import error_of_mean, matched_population


def estimated(draw, u, c):
    """Biased, wider for large u and few counts, skew, and sometimes open."""
    skew = draw.gamma(8, 1, len(u)) / np.sqrt(8) - np.sqrt(8)
    width = np.exp(-1.6 + 0.12 * (u - 6) + 0.3 * (2.5 - c))
    found = u - 0.1 + 0.02 * (u - 6) ** 2 + width * skew
    return np.where(found > 10.5, np.inf, found)


@pytest.fixture(scope="module")
def errors():
    draw = np.random.default_rng(0)
    u = np.repeat(np.arange(2.5, 11.5, 0.5), 96)
    c = draw.uniform(1.5, 3, len(u))
    return LnTauErrors(u, estimated(draw, u, c), c, 10.0)


@pytest.mark.parametrize("truth", [3.5, 5.0, 6.5, 7.5, 8.5])
def test_covers(errors, truth):
    draw = np.random.default_rng(int(10 * truth))
    u, c = np.full(4000, truth), draw.uniform(1.5, 3, 4000)
    found = errors.interval(estimated(draw, u, c), c)
    closed = np.isfinite(found.upper)
    assert closed.mean() > 0.9
    inside = (found.lower <= truth) & (truth <= found.upper)
    assert 0.62 < inside.mean() < 0.74
    about = abs(found.middle - truth)[closed] <= ((found.upper - found.lower) / 2)[closed]
    assert 0.60 < about.mean() < 0.76
    assert abs(np.median(found.middle - truth)) < 0.05
    assert 0.92 < (found.bound < truth).mean() < 0.985


def test_open_above_and_bounds(errors):
    """Truths beyond what can be told: most are flagged open, and the bounds hold."""
    draw = np.random.default_rng(1)
    u, c = np.full(3000, 10.8), draw.uniform(1.5, 3, 3000)
    found = errors.interval(estimated(draw, u, c), c)
    assert (found.upper == np.inf).mean() > 0.8
    bounded = np.where(np.isfinite(found.bound), found.bound, 10.0)
    assert (bounded < 10.8).mean() > 0.95


def test_order(errors):
    draw = np.random.default_rng(2)
    estimate, c = draw.uniform(3, 9, 500), draw.uniform(1.5, 3, 500)
    found = errors.interval(estimate, c)
    assert (found.lower < found.middle).all()
    assert (found.middle < found.upper).all()
    assert (found.bound < found.lower).all()


def test_few_replicas_are_refused():
    with pytest.raises(ValueError, match="at least 64"):
        LnTauErrors(np.arange(50.0), np.arange(50.0), np.zeros(50), 30.0)


def test_population_of_skew_and_open_estimates():
    draw = np.random.default_rng(3)
    u = np.linspace(2.5, 11.5, 2000)
    replicas = estimated(draw, u, np.full(2000, 2.0))
    truth = draw.normal(6.3, 0.8, 4000)
    seen = estimated(draw, truth, np.full(4000, 2.0))
    mean, sd, number = matched_population(seen, u, replicas)
    assert mean == pytest.approx(6.3, abs=0.05)
    assert sd == pytest.approx(0.8, abs=0.06)
    assert 300 < number < 2000
    # a plain mean of what was found is off
    assert abs(seen[np.isfinite(seen)].mean() - 6.3) > 0.06
    # a tenth open above and a tenth not seen at all change nothing that is in between
    order = np.argsort(seen)
    seen[order[:300]], seen[order[-300:]] = -np.inf, np.inf
    mean, sd, _ = matched_population(seen, u, replicas)
    assert mean == pytest.approx(6.3, abs=0.05)
    assert sd == pytest.approx(0.8, abs=0.06)
    assert np.isnan(matched_population(seen[:5], u, replicas)[0])


def test_error_of_the_mean_of_smooth_noise_covers():
    from scipy.ndimage import gaussian_filter

    draw = np.random.default_rng(4)
    shape, z, effective = (30, 40), [], []
    for _ in range(150):
        noise = gaussian_filter(draw.standard_normal(shape), 2.5, mode="wrap").reshape(-1)
        noise[draw.random(noise.size) < 0.2] = np.nan
        error, n = error_of_mean(noise, shape)
        z.append(np.nanmean(noise) / error)
        effective.append(n)
    assert 0.85 < np.std(z) < 1.15
    # a Gaussian of 2.5 positions has a correlation area of 4 pi 2.5^2 = 79 positions; a map of 15
    # of them tells no more than this
    assert 12 < np.median(effective) < 24
