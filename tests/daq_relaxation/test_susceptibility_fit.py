"""Fits of sweeps: scipy's minima, errors that cover, models told apart only where they can be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import least_squares

from daq_relaxation.kww_frequency import kww_susceptibility
from daq_relaxation.laws import havriliak_negami
from daq_relaxation.susceptibility_fit import (
    AT_BOUND,
    DETERMINED,
    MASKED,
    MODELS,
    TAU_OPEN,
    SusceptibilityFit,
    fit_susceptibility,
)

HN, KWW = MODELS.index("havriliak_negami"), MODELS.index("kww")
M_U, DM = 3e10, 2.4e10
SHAPES = {
    "debye": (1.0, 1.0), "cole_cole": (0.5, 1.0), "cole_davidson": (1.0, 0.4),
    "havriliak_negami": (0.95, 0.41),
}  # fmt: skip
NOISE = (3e-3, 1e-3)


def exact(model: str, f: np.ndarray, ln_tau: float = 0.0) -> np.ndarray:
    w = 2 * np.pi * f
    if model == "kww":
        return M_U - DM * kww_susceptibility(w, np.exp(ln_tau), 0.5)
    return np.asarray(M_U - DM * havriliak_negami(w, np.exp(ln_tau), *SHAPES[model]))


def sweep(
    model: str, seed: int, points: int = 25, ln_tau: float = 0.0, noise: tuple[float, float] = NOISE
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    f = np.logspace(-2, 2, points)
    amplitude, phase = np.random.default_rng(seed).standard_normal((2, points))
    M = exact(model, f, ln_tau) * (1 + noise[0] * amplitude) * np.exp(1j * noise[1] * phase)
    return f, M.real, M.imag


@pytest.mark.parametrize("model", MODELS)
def test_exact_moduli_give_their_parameters_back(model: str) -> None:
    f = np.logspace(-2, 2, 20)
    M = exact(model, f, 1.0)
    fit = fit_susceptibility(f, M.real, M.imag, known=NOISE)
    m = MODELS.index(model)
    expected = [M_U, DM, 1.0, np.nan, np.nan, np.nan]
    if model == "kww":
        expected[5] = 0.5
    elif model != "debye":
        expected[3], expected[4] = SHAPES[model]
    if model == "cole_cole":
        expected[4] = np.nan
    if model == "cole_davidson":
        expected[3] = np.nan
    np.testing.assert_allclose(fit.parameters[m][:2], expected[:2], rtol=1e-5)
    np.testing.assert_allclose(fit.parameters[m][2:], expected[2:], atol=1e-5)
    assert fit.best == m
    assert fit.relaxed[m] == pytest.approx(M_U - DM, rel=1e-5)
    np.testing.assert_allclose(fit.moduli(m, f), M, rtol=1e-6)


def test_the_minimum_and_errors_are_those_of_scipy() -> None:
    f, M1, M2 = sweep("havriliak_negami", 1)
    fit = fit_susceptibility(f, M1, M2, models=["havriliak_negami"], known=NOISE)

    def left(p: np.ndarray) -> np.ndarray:
        model = 1e10 * (p[0] - p[1] * havriliak_negami(2 * np.pi * f, np.exp(p[2]), p[3], p[4]))
        found = (M1 + 1j * M2 - model) / fit.moduli(HN, f)
        return np.concatenate([found.real / NOISE[0], found.imag / NOISE[1]])

    theirs = least_squares(left, [3, 2.4, 0.1, 0.9, 0.4], x_scale="jac", xtol=1e-14, ftol=1e-14)
    scale = np.array([1e10, 1e10, 1, 1, 1])
    errors = np.sqrt(np.diagonal(np.linalg.inv(theirs.jac.T @ theirs.jac))) * scale
    ours = fit.parameters[HN][:5]
    assert np.max(np.abs(ours - theirs.x * scale) / errors) < 1e-3
    np.testing.assert_allclose(fit.errors[HN][:5], errors, rtol=2e-3)
    assert fit.chi2[HN] == pytest.approx(2 * theirs.cost, rel=1e-4)


def test_a_warm_start_finds_what_a_cold_one_finds() -> None:
    f, M1, M2 = sweep("havriliak_negami", 2)
    warm: SusceptibilityFit | None = None
    for count in range(4, len(f) + 1):
        part = slice(0, count)
        warm = fit_susceptibility(f[part], M1[part], M2[part], start=warm)
        cold = fit_susceptibility(f[part], M1[part], M2[part])
        if warm.best < 0:
            continue
        assert warm.best == cold.best
        if cold.flag[cold.best] == DETERMINED:
            apart = np.abs(warm.parameters - cold.parameters)[cold.best] / cold.errors[cold.best]
            assert np.nanmax(apart) < 0.1


def test_a_warm_start_finds_the_same_minimum_to_a_millionth_of_an_error() -> None:
    """Weights are the same here, so that minima are; each reading moves them by far more."""
    f = np.logspace(-2, 2, 60)
    one, other = np.random.default_rng(8).standard_normal((2, 60))
    M = exact("havriliak_negami", f) + 3e7 * one + 1e7j * other
    order = np.random.default_rng(9).permutation(60)
    f, M = f[order], M[order]

    def fitted(count: int, start: SusceptibilityFit | None) -> SusceptibilityFit:
        return fit_susceptibility(
            f[:count], M.real[:count], M.imag[:count], noise="absolute", known=(3e7, 1e7),
            models=["havriliak_negami"], start=start,
        )  # fmt: skip

    warm, moved = fitted(40, None), []
    for count in range(41, 60):
        before, warm, cold = warm, fitted(count, warm), fitted(count, None)
        errors = cold.errors[HN][:5]
        moved.append(np.max(np.abs(warm.parameters - before.parameters)[HN][:5] / errors))
        assert np.max(np.abs(warm.parameters - cold.parameters)[HN][:5] / errors) < 1e-6
        np.testing.assert_allclose(warm.errors[HN][:5], errors, rtol=1e-5)
        np.testing.assert_allclose(warm.noise, cold.noise)
        assert warm.chi2[HN] == pytest.approx(cold.chi2[HN], rel=1e-10)
        assert warm.flag[HN] == cold.flag[HN] == DETERMINED
    assert np.median(moved) > 0.05


def test_a_warm_start_estimates_the_noise_as_a_cold_one() -> None:
    f, M1, M2 = sweep("havriliak_negami", 10, 42)
    before = fit_susceptibility(f[:-1], M1[:-1], M2[:-1], models=["havriliak_negami"])
    warm = fit_susceptibility(f, M1, M2, models=["havriliak_negami"], start=before)
    cold = fit_susceptibility(f, M1, M2, models=["havriliak_negami"])
    np.testing.assert_allclose(warm.noise, cold.noise, rtol=0.02)
    np.testing.assert_allclose(warm.errors[HN][:5], cold.errors[HN][:5], rtol=0.02)


def test_a_warm_start_far_off_is_of_no_harm() -> None:
    wrong = fit_susceptibility(*sweep("havriliak_negami", 11, 40, ln_tau=3.0))
    given = sweep("cole_cole", 12, 41)
    warm, cold = fit_susceptibility(*given, start=wrong), fit_susceptibility(*given)
    np.testing.assert_array_equal(warm.flag, cold.flag)
    for m in np.flatnonzero(np.isfinite(cold.chi2)):
        apart = np.abs(warm.parameters - cold.parameters)[m] / cold.errors[m]
        assert np.nanmax(apart) < 0.1, MODELS[m]


def test_errors_cover_the_truth() -> None:
    for model, seeds in (("havriliak_negami", 90), ("kww", 50)):
        m = MODELS.index(model)
        z = []
        for seed in range(seeds):
            fit = fit_susceptibility(*sweep(model, seed, 12), models=[model])
            truth = (0.0, *SHAPES[model]) if m == HN else (0.0, 0.5)
            found = fit.parameters[m], fit.errors[m]
            kept = (2, 3, 4) if m == HN else (2, 5)
            z.append([(found[0][k] - t) / found[1][k] for k, t in zip(kept, truth, strict=True)])
            z[-1].append((fit.relaxed[m] - (M_U - DM)) / fit.relaxed_errors[m])
        covered = np.mean(np.abs(z) < 1, axis=0)
        assert np.all((covered > 0.52) & (covered < 0.86)), (model, covered)


def test_models_are_told_apart_where_they_differ_and_only_there() -> None:
    right = decided = 0
    for seed in range(30):
        fit = fit_susceptibility(*sweep("havriliak_negami", seed))
        right += fit.best == HN
        debye = fit_susceptibility(*sweep("debye", seed))
        decided += bool(debye.weight[1:].max() > 0.9)
    assert right == 30
    assert decided == 0, "more parameters are never called for by noise alone"


def test_models_are_compared_by_aicc() -> None:
    fit = fit_susceptibility(*sweep("cole_cole", 7, 10))
    N, k = 20, np.array([3, 4, 4, 5, 4]) + 1  # the noise is a parameter too
    expected = N * np.log(fit.chi2 / N) + 2 * k + 2 * k * (k + 1) / (N - k - 1)
    np.testing.assert_allclose(fit.aicc, expected)
    weight = np.exp(-(expected - expected.min()) / 2)
    np.testing.assert_allclose(fit.weight, weight / weight.sum())


def test_noise_is_estimated() -> None:
    levels = [fit_susceptibility(*sweep("havriliak_negami", seed, 40)).noise for seed in range(10)]
    np.testing.assert_allclose(np.median(levels, axis=0), NOISE, rtol=0.25)


def test_a_peak_outside_the_sweep_is_said() -> None:
    f, M1, M2 = sweep("cole_cole", 3, 10, ln_tau=-16.0)
    fit = fit_susceptibility(f, M1, M2)
    assert np.all(fit.flag[[1, 3, 4]] != DETERMINED)
    f, M1, M2 = sweep("debye", 4)
    assert fit_susceptibility(f, M1, M2).flag[HN] in (AT_BOUND, DETERMINED)
    assert TAU_OPEN in fit.flag


@pytest.mark.parametrize("noise", ["moduli", "absolute"])
def test_other_kinds_of_noise(noise: Any) -> None:
    f = np.logspace(-2, 2, 25)
    M = exact("havriliak_negami", f)
    one, other = np.random.default_rng(5).standard_normal((2, 25))
    if noise == "moduli":
        M1, M2 = M.real * (1 + 0.005 * one), M.imag * (1 + 0.02 * other)
        levels = (0.005, 0.02)
    else:
        M1, M2 = M.real + 5e7 * one, M.imag + 2e7 * other
        levels = (5e7, 2e7)
    fit = fit_susceptibility(f, M1, M2, noise=noise)
    assert abs(fit.parameters[HN][2]) < 3.5 * fit.errors[HN][2]
    np.testing.assert_allclose(fit.noise, levels, rtol=0.35)
    assert fit_susceptibility(f, M1, M2, noise=noise, known=levels).chi2[HN] == pytest.approx(
        45, abs=30
    )


def test_a_liquid_relaxes_all_of_its_modulus() -> None:
    f = np.logspace(-2, 2, 12)
    M = M_U * (1 - havriliak_negami(2 * np.pi * f, 1.0, 0.95, 0.41))
    fit = fit_susceptibility(f, M.real, M.imag, relaxed=False)
    np.testing.assert_allclose(fit.parameters[HN][:2], M_U, rtol=1e-5)
    assert fit.relaxed[HN] == 0
    assert fit.relaxed_errors[HN] == 0


def test_few_readings_are_masked_and_bad_ones_refused() -> None:
    f, M1, M2 = sweep("debye", 6, 3)
    flags = fit_susceptibility(f[:1], M1[:1], M2[:1]).flag
    assert np.all(flags == MASKED)
    assert fit_susceptibility(f[:2], M1[:2], M2[:2]).flag[HN] == MASKED
    assert fit_susceptibility(f[:0], M1[:0], M2[:0]).best == -1
    with pytest.raises(ValueError, match="above 0"):
        fit_susceptibility([0.0, 1.0], [1.0, 2.0], [1.0, 1.0])
    with pytest.raises(ValueError, match="as long"):
        fit_susceptibility(f, M1[:2], M2)
    with pytest.raises(ValueError, match="no model"):
        fit_susceptibility(f, M1, M2, models=["maxwell"])
