"""The fit of sigma, xi, alpha and nugget, and its errors by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daq_afm.correlation_errors import LagsOfImages, simulated_errors
from daq_afm.correlation_fit import (
    AT_BOUND,
    DETERMINED,
    NOT_CONVERGED,
    TOO_FEW,
    fit_correlation,
    structure_model,
)
from daq_afm.height_correlation import LagSums, rings
from tests.daq_afm.surfaces import structure_by_lag, surfaces

WHERE = rings((128, 128), (0.5, 0.5), 12.0)


def exactly(sigma: float, xi: float, alpha: float, nugget: float) -> np.ndarray:
    return np.array([[sigma**2, np.log(xi), alpha, nugget**2]])


@settings(max_examples=60, deadline=None)
@given(
    sigma=st.floats(1e-9, 1e6),
    xi=st.floats(0.6, 6.0),
    alpha=st.floats(0.25, 0.95),
    part=st.floats(0.0, 1.0),
)
def test_finds_what_a_curve_was_made_with(
    sigma: float, xi: float, alpha: float, part: float
) -> None:
    truth = exactly(sigma, xi, alpha, part * sigma)
    fit = fit_correlation(WHERE, structure_model(WHERE, truth))
    assert fit.flag[0] == DETERMINED
    scale = np.array([sigma**2, 1, 1, sigma**2])
    np.testing.assert_allclose(fit.parameters / scale, truth / scale, atol=2e-5)
    assert fit.misfit[0] < 1e-6


def test_is_the_minimum_that_scipy_finds() -> None:
    from scipy.optimize import least_squares

    draw = np.random.default_rng(1)
    curves = structure_model(WHERE, exactly(2.0, 3.0, 0.7, 0.6))
    curves = curves * (1 + 0.02 * draw.standard_normal((12, len(WHERE.radius))))
    ours = fit_correlation(WHERE, curves)
    for k, P in enumerate(curves):
        weights = 1 / P / np.sqrt(WHERE.radius)

        def residual(p: np.ndarray, P: np.ndarray = P, w: np.ndarray = weights) -> np.ndarray:
            return np.asarray(w * (P - structure_model(WHERE, p[np.newaxis])[0]))

        bounds = ([1e-9, -3, 0.1, 0], [100, 5, 1, 20])
        start = [2, 1, 0.6, 0.1]
        theirs = least_squares(residual, start, bounds=bounds, xtol=1e-12, ftol=1e-12)
        cost = np.sum(residual(ours.parameters[k]) ** 2) / 2
        assert cost <= theirs.cost * (1 + 1e-6)
        np.testing.assert_allclose(ours.parameters[k], theirs.x, rtol=5e-3, atol=5e-3)


def test_curves_do_not_know_of_each_other() -> None:
    draw = np.random.default_rng(2)
    curves = structure_model(WHERE, exactly(1.0, 2.0, 0.5, 0.2))
    curves = curves * (1 + 0.05 * draw.standard_normal((5, len(WHERE.radius))))
    together = fit_correlation(WHERE, curves).parameters
    for k in range(5):
        alone = fit_correlation(WHERE, curves[k]).parameters[0]
        np.testing.assert_allclose(alone, together[k], rtol=1e-6, atol=1e-9)


def test_says_what_is_not_determined() -> None:
    r = WHERE.radius
    gaps = structure_model(WHERE, exactly(1.0, 2.0, 0.5, 0.2))[0]
    gaps[::2] = np.nan
    few = np.where(np.arange(len(r)) < 5, gaps, np.nan)
    curves = np.stack([gaps, few, np.zeros_like(r), r**2, np.full_like(r, 3.0)])
    fit = fit_correlation(WHERE, curves)
    assert fit.flag[0] == DETERMINED
    np.testing.assert_allclose(fit.correlation_length[0], 2.0, rtol=1e-3)
    assert fit.flag[1] == fit.flag[2] == TOO_FEW
    assert fit.flag[3] in (AT_BOUND, NOT_CONVERGED), "a parabola has no plateau"
    assert fit.flag[4] in (AT_BOUND, NOT_CONVERGED), "white noise has no length"
    assert np.isnan(fit.parameters[1:3]).all()
    smooth = 2 * (1 - np.exp(-((r / 3) ** 2)))
    assert fit_correlation(WHERE, smooth).flag[0] in (AT_BOUND, DETERMINED)


def test_simulated_images_are_correlated_as_lines_are() -> None:
    """The same pixels through the transform of whole images and pair by pair."""
    where = rings((40, 50), (1.0, 2.0), 10.0)
    image = next(surfaces((40, 50), 4.0, 0.7, 3, (1.0, 2.0))).astype(np.float32)
    there = np.ones(image.shape, bool)
    there[7], there[20:23, 10:30] = False, False
    sums, pairs = structure_by_lag(np.where(there, image, np.nan).astype(float), where.reach)
    found = LagsOfImages(where, there).structure(image)
    for ring in range(len(where.radius)):
        here = where.number == ring
        assert found[ring] == pytest.approx(sums[here].sum() / pairs[here].sum(), rel=1e-5)


def test_errors_are_how_exact_surfaces_scatter() -> None:
    """Surfaces made elsewhere, measured and fitted: their scatter, and that of the replicas."""
    shape, xi, alpha, noise = (96, 96), 4.0, 0.7, 0.2
    where = rings(shape, (1.0, 1.0), 12.0)
    draw = np.random.default_rng(5)
    exact = surfaces(shape, xi, alpha, 4)
    lags = LagsOfImages(where, np.ones(shape, bool))
    curves = np.array(
        [
            lags.structure((next(exact) + noise * draw.standard_normal(shape)).astype(np.float32))
            for _ in range(200)
        ]
    )
    found = fit_correlation(where, curves)
    truth = exactly(1.0, xi, alpha, noise)[0]
    replicas = simulated_errors(where, truth, np.ones(shape, bool), "none", 200, 9)
    table = np.stack(
        [np.log(found.sigma), np.log(found.correlation_length), found.hurst_exponent, found.nugget]
    )
    middle = np.median(table, axis=1) - [0, np.log(xi), alpha, noise]
    half = np.diff(np.quantile(table, [0.1587, 0.8413], axis=1), axis=0)[0] / 2
    np.testing.assert_allclose(replicas.errors, half, rtol=0.3)
    np.testing.assert_allclose(replicas.bias, middle, atol=0.35 * half.max())
    np.testing.assert_allclose(
        replicas.structure, curves.std(axis=0, ddof=1) / curves.mean(axis=0), rtol=0.3
    )
    # ignoring that lags share their pixels
    from scipy.optimize import curve_fit

    def model(r: np.ndarray, s: float, ln_xi: float, a: float, n: float) -> np.ndarray:
        return 2 * s * (1 - np.exp(-((r / np.exp(ln_xi)) ** (2 * a)))) + 2 * n

    _, spread = curve_fit(model, where.radius, curves[0], [1, np.log(xi), 0.7, 0.04],
                          bounds=([0, -3, 0.1, 0], [9, 9, 1, 9]))  # fmt: skip
    assert replicas.errors[1] > 3 * np.sqrt(spread[1, 1])


def test_levelling_is_part_of_the_simulation() -> None:
    shape = (64, 96)
    where = rings(shape, (1.0, 1.0), 8.0)
    truth = exactly(1.0, 4.0, 0.7, 0.0)[0]
    present = np.ones(shape, bool)
    plain, levelled = (
        simulated_errors(where, truth, present, method, 60, 1) for method in ("none", "quadratic")
    )
    again = simulated_errors(where, truth, present, "quadratic", 60, 1)
    assert np.array_equal(levelled.errors, again.errors)
    assert plain.bias[0] > -0.05
    assert levelled.bias[0] < -0.08, "a parabola per row takes roughness away"
    assert levelled.bias[1] < plain.bias[1] - 0.05


def test_missing_lines_make_errors_larger() -> None:
    where = rings((96, 64), (1.0, 1.0), 8.0)
    truth = exactly(1.0, 2.5, 0.7, 0.0)[0]
    there = np.ones((96, 64), bool)
    there[24:, :] = False
    part = simulated_errors(where, truth, there, "none", 80, 1)
    whole = simulated_errors(where, truth, np.ones((96, 64), bool), "none", 80, 1)
    assert 1.4 < part.errors[1] / whole.errors[1] < 3.2  # a quarter of the area: about 2


def test_the_line_by_line_sums_feed_it() -> None:
    shape = (64, 64)
    image = next(surfaces(shape, 3.0, 0.6, 8))
    sums = LagSums(rings(shape, (1.0, 1.0), 8.0))
    for row in range(64):
        sums.add(row, image[row])
    fit = fit_correlation(sums.rings, sums.structure()[0])
    assert fit.flag[0] == DETERMINED
    assert fit.correlation_length[0] == pytest.approx(3.0, rel=0.4)
