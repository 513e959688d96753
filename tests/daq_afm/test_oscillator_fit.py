"""Fits of resonance curves: exact ones, the same minimum as scipy's, errors that cover, bad points."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares

from daq_afm.oscillator_fit import (
    DETERMINED,
    MASKED,
    NOT_CONVERGED,
    OUTSIDE,
    WEAK,
    fit_oscillators,
    oscillator,
)

F = 9e5 + np.linspace(-18e3, 18e3, 48)


def curves(n: int, noise: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return curves [n, 48] and their truth [n, 4]."""
    draw = np.random.default_rng(seed)
    truth = np.stack([
        9e5 + 500 * draw.standard_normal(n), 150 + 5 * draw.standard_normal(n),
        0.5 + 0.02 * draw.standard_normal(n), -90 + 20 * draw.standard_normal(n),
    ], axis=1)  # fmt: skip
    y = np.stack([oscillator(F, *row) for row in truth])
    return y + noise * (draw.standard_normal(y.shape) + 1j * draw.standard_normal(y.shape)), truth


@settings(max_examples=60, deadline=None)
@given(
    st.floats(0.05, 0.95), st.floats(20, 2000), st.floats(1e-3, 1e6), st.floats(-179, 179),
    st.floats(0.6, 20), st.integers(5, 60),
)  # fmt: skip
def test_exact_curves_are_found_again(
    place: float, Q: float, amplitude: float, phase: float, widths: float, points: int
) -> None:
    f0 = 9e5
    span = widths * f0 / Q
    f = f0 - place * span + np.linspace(0, span, points)
    found = fit_oscillators(f, oscillator(f, f0, Q, amplitude, phase)[None])
    assert found.flag[0] == DETERMINED
    assert found.values[0] == pytest.approx([f0, Q, amplitude, phase], rel=1e-6, abs=1e-9)


def test_amplitude_and_phase_are_those_at_resonance() -> None:
    y = oscillator(np.array([9e5]), 9e5, 137.0, 0.4, -70.0)[0]
    assert abs(y) == pytest.approx(0.4)
    assert np.degrees(np.angle(y)) == pytest.approx(-70)


def test_the_minimum_is_that_of_scipy() -> None:
    y, truth = curves(30, 0.03, 1)
    found = fit_oscillators(F, y)

    def left(p: np.ndarray, row: np.ndarray) -> np.ndarray:
        model = oscillator(F, p[0] * 1e5, p[1] * 100, p[2], p[3] * 100)
        return np.concatenate([(row - model).real, (row - model).imag])

    for n, row in enumerate(y):
        start = truth[n] / [1e5, 100, 1, 100]
        fit = least_squares(left, start, args=(row,), xtol=1e-15, ftol=1e-15, gtol=1e-15)
        values = fit.x * [1e5, 100, 1, 100]
        dof = 2 * len(F) - 4
        covariance = np.linalg.inv(fit.jac.T @ fit.jac) * 2 * fit.cost / dof
        errors = np.sqrt(np.diag(covariance)) * [1e5, 100, 1, 100]
        assert np.abs(found.values[n] - values) == pytest.approx(0, abs=1e-4 * errors.max())
        assert (np.abs(found.values[n] - values) < 2e-4 * errors).all()
        assert found.errors[n] == pytest.approx(errors, rel=1e-3)
        assert found.noise[n] == pytest.approx(np.sqrt(2 * fit.cost / dof), rel=1e-7)


@pytest.mark.parametrize("noise", [0.01, 0.08])
def test_errors_cover(noise: float) -> None:
    y, truth = curves(3000, noise, 2)
    found = fit_oscillators(F, y)
    assert (found.flag == DETERMINED).mean() > 0.995
    good = found.flag == DETERMINED
    pulls = (found.values - truth)[good] / found.errors[good]
    assert (np.abs(pulls) < 1).mean(axis=0) == pytest.approx(0.683, abs=0.03)
    assert np.abs(pulls.mean(axis=0)).max() < 0.2


def test_warm_and_cold_starts_find_the_same_minimum() -> None:
    y, _ = curves(500, 0.03, 3)
    y[100] = oscillator(F, 8.9e5, 40.0, 5.0, 10.0) + (y[99] - y[98]) / 9  # unlike its neighbours
    y[101] = 0.0
    warm, cold = fit_oscillators(F, y), fit_oscillators(F, y, warm=False)
    assert np.array_equal(warm.flag, cold.flag)
    good = warm.flag == DETERMINED
    assert np.abs((warm.values - cold.values) / cold.errors)[good].max() < 1e-3
    assert good.sum() == 499


def test_points_may_be_missing_and_in_any_order() -> None:
    y, truth = curves(50, 0.001, 4)
    draw = np.random.default_rng(0)
    y[draw.random(y.shape) < 0.3] = np.nan
    order = draw.permutation(len(F))
    found = fit_oscillators(F[order], y[:, order])
    assert (found.flag == DETERMINED).all()
    assert np.abs((found.values - truth) / found.errors).max() < 5


def test_what_cannot_be_fitted_is_flagged() -> None:
    draw = np.random.default_rng(6)
    noise = draw.standard_normal((200, 48)) + 1j * draw.standard_normal((200, 48))
    found = fit_oscillators(F, noise)
    assert (found.flag == DETERMINED).mean() < 0.02
    assert set(found.flag.tolist()) <= {DETERMINED, OUTSIDE, WEAK, NOT_CONVERGED}
    beyond = fit_oscillators(F, oscillator(F, 9.3e5, 150.0, 0.5, -90.0)[None] + 1e-4 * noise[:1])
    assert beyond.flag[0] == OUTSIDE
    nothing = np.full((3, 48), np.nan, complex)
    nothing[1], nothing[2, :2] = 0.0, 1.0
    assert (fit_oscillators(F, nothing).flag == MASKED).all()
    assert np.isnan(fit_oscillators(F, nothing).values).all()


def test_no_curve_depends_on_those_after_it() -> None:
    y, _ = curves(40, 0.05, 7)
    whole = fit_oscillators(F, y)
    part = fit_oscillators(F, y[:25])
    assert np.array_equal(whole.values[:25], part.values)
    assert np.array_equal(whole.errors[:25], part.errors)


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="finite numbers above 0"):
        fit_oscillators([0.0, 1.0], np.ones((1, 2)))
    with pytest.raises(ValueError, match=r"response: \[curve, 48\], not \[1, 3\]"):
        fit_oscillators(F, np.ones((1, 3)))
