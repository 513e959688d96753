"""Batched KWW fits against scipy, against the truth of simulated curves, and against themselves."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import curve_fit, least_squares

from daq_relaxation.kww_fit import (
    AT_BOUND,
    DETERMINED,
    LOWER_BOUND,
    MASKED,
    NOT_CONVERGED,
    PARAMETERS,
    KwwFit,
    fit_kww,
    ln_tau_interval,
    variance_ratio,
)
from daq_relaxation.laws import kww_correlation, kww_decay

# the first test compiles, on a busy machine for long
pytestmark = pytest.mark.timeout(300)

TIMES = 9.2 * np.arange(1, 106)
FACTOR = {"correlation": 2.0, "decay": 1.0}
ONE_SIGMA = 0.6827


def model(t: np.ndarray, p: np.ndarray, form: str = "correlation") -> np.ndarray:
    return p[0] * np.exp(-FACTOR[form] * (t * np.exp(-p[1])) ** p[2]) + p[3]


def curves(
    n: int, seed: int, noise: float = 0.01, baseline: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return parameters [n, 4] and noisy curves [n, lag]."""
    random = np.random.default_rng(seed)
    truth = np.stack(
        [
            random.uniform(0.1, 0.3, n), random.normal(np.log(300), 0.4, n),
            random.uniform(0.6, 1.6, n), np.full(n, baseline),
        ],
        axis=1,
    )  # fmt: skip
    exact = np.array([model(TIMES, p) for p in truth])
    return truth, exact + random.normal(0, noise, exact.shape) if noise else exact


def reference(
    y: np.ndarray,
    w: np.ndarray,
    start: np.ndarray,
    free: np.ndarray,
    form: str = "correlation",
    bounds: Any = None,
) -> Any:
    """The slow reference: scipy's least_squares on one curve, to rounding."""
    ok = np.isfinite(y) & (w > 0)
    root = np.sqrt(w[ok])

    def residual(q: np.ndarray) -> np.ndarray:
        p = start.copy()
        p[free] = q
        return root * (model(TIMES[ok], p, form) - y[ok])

    more = {} if bounds is None else {"bounds": bounds}
    return least_squares(
        residual, start[free], x_scale="jac", ftol=1e-15, xtol=1e-15, gtol=1e-15, jac="3-point", max_nfev=2000, **more
    )  # fmt: skip


def same(a: KwwFit, b: KwwFit, rows: Any = slice(None)) -> None:
    """Bit for bit."""
    for name in ("parameters", "covariance", "chi2", "dof", "iterations", "flag"):
        np.testing.assert_array_equal(getattr(a, name)[rows], getattr(b, name))


FIXED = [
    {},
    {"baseline": 0.02},
    {"baseline": 0.02, "shape": 1.0},
    {"amplitude": 1.0, "baseline": 0.0},
    {"ln_tau": 5.0},
]


@pytest.mark.parametrize("form", FACTOR)
@pytest.mark.parametrize("fixed", FIXED, ids=str)
def test_exact_curves_give_their_parameters_back(form: str, fixed: dict[str, float]) -> None:
    truth, _ = curves(200, 1, baseline=0.02)
    for name, value in fixed.items():
        truth[:, PARAMETERS.index(name)] = value
    exact = np.array([model(TIMES, p, form) for p in truth])

    fit = fit_kww(TIMES, exact, form=form, fixed=fixed)  # type: ignore[arg-type]

    np.testing.assert_allclose(fit.parameters, truth, rtol=1e-7, atol=1e-9)
    assert np.all(fit.flag == DETERMINED)
    assert np.all(fit.dof == len(TIMES) - 4 + len(fixed))


def test_the_forms_are_those_of_the_laws() -> None:
    correlation = np.asarray(kww_correlation(TIMES, 200.0, 0.8, 0.3, 0.01))[None]
    decay = np.asarray(kww_decay(TIMES, 200.0, 0.3))[None]

    first = fit_kww(TIMES, correlation, fixed={})
    second = fit_kww(TIMES, decay, form="decay", fixed={"amplitude": 1, "baseline": 0})

    np.testing.assert_allclose(first.parameters, [[0.3, np.log(200), 0.8, 0.01]], rtol=1e-8)
    np.testing.assert_allclose(second.parameters, [[1, np.log(200), 0.3, 0]], rtol=1e-8)
    np.testing.assert_allclose((first.tau, second.tau), 200)
    np.testing.assert_allclose(
        (first.amplitude, first.shape, first.baseline), [[0.3], [0.8], [0.01]]
    )


@pytest.mark.parametrize("form", FACTOR)
@pytest.mark.parametrize("fixed", FIXED, ids=str)
def test_minimum_and_errors_are_those_of_scipy(form: str, fixed: dict[str, float]) -> None:
    random = np.random.default_rng(3)
    truth, _ = curves(25, 2, baseline=0.02)
    for name, value in fixed.items():
        truth[:, PARAMETERS.index(name)] = value
    sigma = random.uniform(0.005, 0.02, (len(truth), len(TIMES)))
    y = np.array([model(TIMES, p, form) for p in truth]) + sigma * random.normal(size=sigma.shape)
    free = np.array([name not in fixed for name in PARAMETERS])

    fit = fit_kww(TIMES, y, form=form, weights=sigma**-2, fixed=fixed, scaled=False)  # type: ignore[arg-type]

    wanted = np.isin(fit.flag, DETERMINED)
    assert wanted.sum() > 20
    for n in np.flatnonzero(wanted):
        found = reference(y[n], sigma[n] ** -2, truth[n], free, form)
        errors = np.sqrt(np.diag(np.linalg.inv(found.jac.T @ found.jac)))
        np.testing.assert_allclose(fit.chi2[n], 2 * found.cost, rtol=1e-12)
        np.testing.assert_allclose(
            fit.parameters[n][free], found.x, rtol=1e-6, atol=1e-5 * errors.min()
        )
        np.testing.assert_allclose(fit.errors[n][free], errors, rtol=1e-4)
        assert np.all(fit.covariance[n][~free] == 0)


def test_errors_without_weights_are_those_of_curve_fit() -> None:
    truth, y = curves(10, 4)

    fit = fit_kww(TIMES, y)

    assert fit.scaled
    for n in range(len(y)):
        p, covariance = curve_fit(
            lambda t, a, u, s: model(t, (a, u, s, 0)), TIMES, y[n], p0=truth[n, :3], ftol=1e-14, xtol=1e-14
        )  # fmt: skip
        np.testing.assert_allclose(fit.parameters[n, :3], p, rtol=1e-6)
        np.testing.assert_allclose(fit.covariance[n, :3, :3], covariance, rtol=1e-4)


def correlated(
    seed: int, length: float = 4.0, sigma: float = 0.01
) -> tuple[np.ndarray, np.ndarray]:
    """Return a covariance matrix of points, larger at long lags, and its Cholesky factor."""
    lag = np.arange(len(TIMES))
    scale = sigma * (1 + lag / 50)
    C = scale[:, None] * scale * np.exp(-np.abs(lag[:, None] - lag) / length)
    return C, np.linalg.cholesky(C)


def test_correlated_points_are_fitted_as_scipy_fits_them() -> None:
    C, root = correlated(5)
    truth, y = curves(10, 6, noise=0)
    y = y + np.random.default_rng(7).normal(size=y.shape) @ root.T

    shared = fit_kww(TIMES, y, precision=np.linalg.inv(C))
    each = fit_kww(TIMES, y, precision=np.linalg.inv(np.broadcast_to(C, (10, *C.shape))))

    np.testing.assert_allclose(each.parameters, shared.parameters, rtol=1e-8)
    for n in range(len(y)):
        p, covariance = curve_fit(
            lambda t, a, u, s: model(t, (a, u, s, 0)), TIMES, y[n], p0=truth[n, :3], sigma=C, absolute_sigma=True,
            ftol=1e-14, xtol=1e-14,
        )  # fmt: skip
        np.testing.assert_allclose(shared.parameters[n, :3], p, rtol=1e-6)
        np.testing.assert_allclose(shared.covariance[n, :3, :3], covariance, rtol=1e-4)


def test_missing_points_are_as_if_they_had_never_been() -> None:
    C, root = correlated(5)
    _, y = curves(6, 8, noise=0)
    y = y + np.random.default_rng(9).normal(size=y.shape) @ root.T
    kept = np.random.default_rng(10).random(len(TIMES)) > 0.2
    holes = np.where(kept, y, np.nan)
    w = np.where(kept, 1.0, 0.0)
    few = C[np.ix_(kept, kept)]

    for with_holes, without in (
        (fit_kww(TIMES, holes), fit_kww(TIMES[kept], y[:, kept])),
        (fit_kww(TIMES, y, weights=w, scaled=True), fit_kww(TIMES[kept], y[:, kept])),
        (
            fit_kww(TIMES, y, weights=np.where(kept, 1, np.nan), scaled=True),
            fit_kww(TIMES[kept], y[:, kept]),
        ),
        (
            fit_kww(TIMES, holes, precision=np.linalg.inv(C)),
            fit_kww(TIMES[kept], y[:, kept], precision=np.linalg.inv(few)),
        ),
        (fit_kww(TIMES, holes, covariance=C), fit_kww(TIMES[kept], y[:, kept], covariance=few)),
    ):
        np.testing.assert_allclose(with_holes.parameters, without.parameters, rtol=1e-6)
        np.testing.assert_allclose(with_holes.errors, without.errors, rtol=1e-5)
        np.testing.assert_allclose(with_holes.covariance, without.covariance, rtol=1e-3)
        np.testing.assert_array_equal(with_holes.dof, without.dof)


def test_a_minimum_at_a_bound_is_that_of_scipy() -> None:
    truth, y = curves(20, 11)
    bounds = {"shape": (0.9, 1.1), "amplitude": (0.0, 0.2)}

    fit = fit_kww(TIMES, y, bounds=bounds)

    assert {DETERMINED, AT_BOUND} == set(fit.flag)
    free = np.array([True, True, True, False])
    for n in range(len(y)):
        start = np.array([0.15, truth[n, 1], 1.0, 0.0])
        found = reference(
            y[n], np.ones(len(TIMES)), start, free, bounds=([0, -np.inf, 0.9], [0.2, np.inf, 1.1])
        )
        np.testing.assert_allclose(fit.chi2[n], 2 * found.cost, rtol=1e-6)
        assert fit.chi2[n] <= 2 * found.cost * (1 + 1e-12)
        pressed = ~np.isfinite(fit.errors[n])
        assert np.all(np.isin(fit.parameters[n, 2], (0.9, 1.1)) == pressed[2])
        assert (fit.flag[n] == AT_BOUND) == pressed.any()


@given(
    st.integers(0, 2**32 - 1), st.floats(1e-6, 1e6), st.floats(1e-6, 1e6), st.sampled_from([0.0, 0.01]),
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_units_of_time_and_of_y_do_not_matter(
    seed: int, time: float, height: float, noise: float
) -> None:
    _, y = curves(3, seed, noise)
    first, second = fit_kww(TIMES, y), fit_kww(time * TIMES, height * y)
    sure = (first.flag == DETERMINED) & (second.flag == DETERMINED)
    error = np.nan_to_num(first.errors[sure])

    np.testing.assert_array_equal(first.flag, second.flag)
    np.testing.assert_allclose(
        second.chi2, height**2 * first.chi2, rtol=1e-9, atol=1e-24 * height**2
    )
    for found, expected, err in (
        (second.amplitude[sure] / height, first.amplitude[sure], error[:, 0]),
        (second.ln_tau[sure] - np.log(time), first.ln_tau[sure], error[:, 1]),
        (second.shape[sure], first.shape[sure], error[:, 2]),
    ):
        assert np.all(np.abs(found - expected) <= 1e-9 + 1e-5 * err)


@given(st.integers(0, 2**32 - 1), st.permutations(range(7)), st.integers(1, 7), st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_order_batches_and_threads_change_no_bit(
    seed: int, order: list[int], cut: int, threads: int
) -> None:
    _, y = curves(7, seed)
    y[0, 3:9] = np.nan
    y[1] = np.random.default_rng(seed).normal(size=len(TIMES))
    whole = fit_kww(TIMES, y)

    same(whole, fit_kww(TIMES, y[order], threads=threads), order)
    same(whole, fit_kww(TIMES, y[:cut]), slice(0, cut))
    same(whole, fit_kww(TIMES, y[cut:]), slice(cut, None))
    first, second = (
        ln_tau_interval(TIMES, y, whole),
        ln_tau_interval(TIMES, y, whole, threads=threads),
    )
    np.testing.assert_array_equal(first.lower, second.lower)
    np.testing.assert_array_equal(first.upper, second.upper)
    np.testing.assert_array_equal(first.flag, second.flag)


@given(
    st.integers(0, 2**32 - 1), st.floats(0, 5), st.sampled_from(FIXED[:4]),
    st.sampled_from(["noise", "nan", "constant", "zero", "spike", "huge", "rising"]),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_whatever_comes_bounds_hold_and_flags_say_it(
    seed: int, noise: float, fixed: dict[str, float], kind: str
) -> None:
    random = np.random.default_rng(seed)
    _, y = curves(4, seed, noise)
    y = {
        "noise": y, "nan": np.where(random.random(y.shape) < 0.95, np.nan, y), "constant": np.full_like(y, 0.3),
        "zero": np.zeros_like(y), "spike": y + 1e9 * (np.arange(y.shape[1]) == 50), "huge": 1e150 * y,
        "rising": y[:, ::-1],
    }[kind]  # fmt: skip
    bounds = {
        "ln_tau": (3.0, 9.0),
        "shape": (0.3, 2.0),
        "amplitude": (0.0, 1.0),
        "baseline": (-0.1, 0.1),
    }

    fit = fit_kww(TIMES, np.ascontiguousarray(y), fixed=fixed, bounds=bounds)
    found = ln_tau_interval(TIMES, y, fit, fixed=fixed, bounds=bounds)

    fitted = fit.flag != MASKED
    for k, name in enumerate(PARAMETERS):
        if name in fixed:
            assert np.all(fit.parameters[fitted, k] == fixed[name])
        else:
            low, high = bounds[name]
            assert np.all((fit.parameters[fitted, k] >= low) & (fit.parameters[fitted, k] <= high))
    sure = fit.flag == DETERMINED
    assert np.all(np.isfinite(fit.errors[sure & (fit.dof > 0)]))
    assert np.all(np.isnan(fit.parameters[~fitted]))
    closed = found.flag == DETERMINED
    closed &= np.isfinite(found.lower)
    assert np.all(found.lower[closed] <= fit.ln_tau[closed])
    assert np.all(found.upper[closed] >= fit.ln_tau[closed])


def test_flags() -> None:
    random = np.random.default_rng(12)
    _, y = curves(5, 12)
    y[0] = 0.2 + random.normal(0, 1e-3, len(TIMES)) + 1e-4 * np.arange(len(TIMES))  # never falls
    y[1] = model(TIMES, np.array([0.2, np.log(300), 5.0, 0.0]))  # steeper than allowed
    y[2, 2:] = np.nan
    y[3] = -y[3]

    fit = fit_kww(TIMES, y)

    assert fit.flag.tolist() == [LOWER_BOUND, AT_BOUND, MASKED, AT_BOUND, DETERMINED]
    assert fit.flag.dtype == np.uint8
    assert fit.ln_tau[0] == np.log(TIMES[-1] * 1e4)
    assert (fit.shape[1], fit.amplitude[3]) == (4.0, 0.0)
    assert fit_kww(TIMES, y[4:], iterations=2).flag.tolist() == [NOT_CONVERGED]


def test_a_warm_start_finds_the_same_minimum_sooner() -> None:
    _, y = curves(300, 13)
    cold = fit_kww(TIMES, y)
    before = fit_kww(TIMES, y + np.random.default_rng(14).normal(0, 1e-3, y.shape))

    warm = fit_kww(TIMES, y, start=before)

    assert np.all(np.abs(warm.parameters - cold.parameters) <= 1e-5 * cold.errors)
    assert warm.iterations.mean() < cold.iterations.mean() - 1
    # nonsense and holes in the start are got over
    bad = np.where(np.arange(300)[:, None] % 2 == 0, np.nan, [0.2, 30.0, 0.1, 0.0])
    np.testing.assert_allclose(fit_kww(TIMES, y, start=bad).chi2, cold.chi2, rtol=1e-9)


def test_a_fixed_parameter_may_differ_from_curve_to_curve() -> None:
    truth, y = curves(20, 15)

    fit = fit_kww(TIMES, y, fixed={"shape": truth[:, 2], "baseline": 0.0})

    np.testing.assert_array_equal(fit.shape, truth[:, 2])
    for n in range(3):
        alone = fit_kww(TIMES, y[n : n + 1], fixed={"shape": truth[n, 2], "baseline": 0.0})
        np.testing.assert_allclose(alone.parameters[0], fit.parameters[n], rtol=1e-7)


def test_any_kind_of_array_will_do() -> None:
    _, y = curves(4, 16)
    y = y.astype(np.float32).astype(np.float64)
    whole = fit_kww(TIMES, y)
    frozen = y.copy()
    frozen.flags.writeable = False

    for given_values in (
        y.astype(np.float32),
        frozen,
        np.asfortranarray(y),
        y.repeat(2, 1)[:, ::2],
        y.tolist(),
    ):
        same(whole, fit_kww(list(TIMES), given_values))


def test_a_time_of_zero_is_a_point_like_others() -> None:
    times = np.concatenate([[0.0], TIMES])
    exact = np.array([model(times, p) for p in curves(5, 17)[0]])

    fit = fit_kww(times, exact)

    np.testing.assert_allclose(fit.parameters, curves(5, 17)[0], rtol=1e-7, atol=1e-12)


def within(error: np.ndarray, truth: np.ndarray, found: np.ndarray) -> float:
    return float(np.mean(np.abs(found - truth) < error))


N = 3000
TOLERANCE = 4 * np.sqrt(ONE_SIGMA * (1 - ONE_SIGMA) / N)


def test_errors_and_intervals_cover_the_truth_independent_points() -> None:
    truth, exact = curves(N, 18, noise=0)
    random = np.random.default_rng(19)
    sigma = 0.005 * (1 + np.arange(len(TIMES)) / 50)
    y = exact + random.normal(size=exact.shape) * sigma

    fit = fit_kww(TIMES, y, weights=sigma**-2, threads=2)
    relative = fit_kww(TIMES, y, weights=7 * sigma**-2, scaled=True, threads=2)
    interval = ln_tau_interval(TIMES, y, fit, weights=sigma**-2, threads=2)

    assert np.all(fit.flag == DETERMINED)
    for k in range(3):
        assert within(fit.errors[:, k], truth[:, k], fit.parameters[:, k]) == pytest.approx(
            ONE_SIGMA, abs=TOLERANCE
        )
        assert within(
            relative.errors[:, k], truth[:, k], relative.parameters[:, k]
        ) == pytest.approx(ONE_SIGMA, abs=TOLERANCE)
    covered = np.mean((interval.lower < truth[:, 1]) & (truth[:, 1] < interval.upper))
    assert covered == pytest.approx(ONE_SIGMA, abs=TOLERANCE)
    assert np.mean(fit.chi2 / fit.dof) == pytest.approx(1, abs=0.01)


def test_errors_and_intervals_cover_the_truth_correlated_points() -> None:
    C, root = correlated(5, length=6.0, sigma=0.005)
    truth, exact = curves(N, 20, noise=0)
    y = exact + np.random.default_rng(21).normal(size=exact.shape) @ root.T
    P, w = np.linalg.inv(C), 1 / np.diag(C)

    best = fit_kww(TIMES, y, precision=P, threads=2)
    plain = fit_kww(TIMES, y, weights=w, threads=2)
    sandwich = fit_kww(TIMES, y, weights=w, covariance=C, threads=2)

    np.testing.assert_array_equal(sandwich.parameters, plain.parameters)
    for k in range(3):
        for fit in (best, sandwich):
            assert within(fit.errors[:, k], truth[:, k], fit.parameters[:, k]) == pytest.approx(
                ONE_SIGMA, abs=TOLERANCE + 0.01
            )
    # what those report who take correlated points for independent
    assert within(plain.errors[:, 1], truth[:, 1], plain.ln_tau) < 0.45
    for interval in (
        ln_tau_interval(TIMES, y, best, precision=P, threads=2),
        ln_tau_interval(
            TIMES, y, plain, weights=w, variance_factor=variance_ratio(sandwich, plain), threads=2
        ),
    ):  # fmt: skip
        covered = np.mean((interval.lower < truth[:, 1]) & (truth[:, 1] < interval.upper))
        assert covered == pytest.approx(ONE_SIGMA, abs=TOLERANCE + 0.01)


def test_the_interval_is_where_the_profile_has_risen_by_one() -> None:
    _, y = curves(20, 22, noise=0.02)
    w = np.full(len(TIMES), 0.02**-2)
    for fixed in ({"baseline": 0.0}, {}):
        fit = fit_kww(TIMES, y, weights=w, fixed=fixed)
        found = ln_tau_interval(TIMES, y, fit, weights=w, fixed=fixed)
        wide = ln_tau_interval(TIMES, y, fit, weights=w, fixed=fixed, rise=4.0)
        assert np.sum(found.flag == DETERMINED) > 8
        for n in np.flatnonzero(found.flag == DETERMINED):
            for end in (found.lower[n], found.upper[n]):
                free = np.array([True, False, True, not fixed])
                start = fit.parameters[n].copy()
                start[1] = end
                profile = reference(
                    y[n],
                    w,
                    start,
                    free,
                    bounds=(np.array([0, -9, 0.1, -9])[free], np.array([99, 9, 4, 9])[free]),
                )
                assert 2 * profile.cost - fit.chi2[n] == pytest.approx(1, abs=2e-3)
            assert wide.lower[n] < found.lower[n] < fit.ln_tau[n] < found.upper[n] < wide.upper[n]


def test_a_series_too_short_gives_a_lower_bound() -> None:
    random = np.random.default_rng(23)
    tau = np.array([100.0, 1000.0, 1e6])
    exact = np.array([model(TIMES, np.array([0.2, np.log(x), 1.0, 0.0])) for x in tau])
    sigma, held = 0.02, {"shape": 1.0, "baseline": 0.0}
    y = np.repeat(exact, 200, 0) + random.normal(0, sigma, (600, len(TIMES)))
    w = np.full(len(TIMES), sigma**-2)

    fit = fit_kww(TIMES, y, weights=w, fixed=held)
    found = ln_tau_interval(TIMES, y, fit, weights=w, fixed=held)

    kinds = found.flag.reshape(3, 200)
    assert np.all(kinds[:2] == DETERMINED)
    assert np.mean(kinds[2] == LOWER_BOUND) > 0.75
    open_above = found.flag == LOWER_BOUND
    assert np.all(np.isinf(found.upper[open_above]) & np.isfinite(found.lower[open_above]))
    # one-sided, 84 %
    assert np.mean(found.lower[400:] < np.log(1e6)) > 0.78
    # all of them are bounds well beyond the series
    assert np.median(found.lower[400:]) > np.log(TIMES[-1])


def test_derivatives_are_those_of_differences() -> None:
    from daq_relaxation import kww_kernel as kernel

    random = np.random.default_rng(24)
    count = len(TIMES)
    w = random.uniform(0.5, 2, count)
    y = random.normal(0.1, 0.1, count)
    root = random.normal(size=(count, count)) / 10 + np.eye(count)
    for precision in (np.zeros((0, 0)), root @ root.T):
        curve = (
            np.log(TIMES),
            y,
            w,
            precision,
            2.0,
            np.zeros((6, count)),
            np.zeros((5, count)),
            np.zeros((5, count)),
        )

        def derivatives(
            p: np.ndarray, curve: Any = curve
        ) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
            normal, newton, gradient = np.zeros((4, 4)), np.zeros((4, 4)), np.zeros(4)
            held = np.zeros(4, np.bool_)
            wide = np.full(4, np.inf)
            chi2 = kernel._evaluate(
                curve, p, held, -wide, wide, np.zeros(24), normal, newton, gradient
            )
            return chi2, gradient, newton, normal

        def jacobian(p: np.ndarray) -> np.ndarray:
            steps = 1e-5 * np.eye(4)
            return np.array([(model(TIMES, p + s) - model(TIMES, p - s)) / 2e-5 for s in steps]).T

        for p in (np.array([0.2, 5.0, 0.8, 0.01]), np.array([0.3, 6.5, 1.7, -0.1])):
            chi2, gradient, newton, normal = derivatives(p)
            weight = precision if len(precision) else np.diag(w)
            r = y - model(TIMES, p)
            steps = 1e-5 * np.eye(4)
            slope = np.array(
                [(derivatives(p + s)[0] - derivatives(p - s)[0]) / 2e-5 for s in steps]
            )
            bend = np.array([(derivatives(p + s)[1] - derivatives(p - s)[1]) / 2e-5 for s in steps])
            assert chi2 == pytest.approx(r @ weight @ r, rel=1e-12)
            np.testing.assert_allclose(gradient, -slope / 2, rtol=1e-6, atol=1e-6)
            np.testing.assert_allclose(newton, -bend, rtol=1e-6, atol=1e-6)
            np.testing.assert_allclose(
                normal, jacobian(p).T @ weight @ jacobian(p), rtol=1e-6, atol=1e-6
            )


def test_decays_are_exact_to_rounding_at_all_times() -> None:
    from daq_relaxation import kww_kernel as kernel

    ln_t = np.concatenate([np.linspace(-60, 6.4, 20001), [-1e6]])
    columns = np.zeros((6, len(ln_t)))
    kernel.fill_columns(ln_t, 1.0, 0.0, 1.0, columns)

    z = np.exp(ln_t)
    np.testing.assert_allclose(columns[0], np.exp(-z), rtol=1e-12, atol=1e-300)
    np.testing.assert_allclose(columns[1], z * np.exp(-z), rtol=1e-12, atol=1e-300)
    assert np.all(np.isfinite(columns))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"times": -TIMES}, "times"),
        ({"times": np.zeros(len(TIMES))}, "times"),
        ({"values": np.zeros(5)}, "values"),
        ({"weights": np.ones(3)}, "weights"),
        ({"precision": np.ones((3, 3))}, "precision"),
        ({"precision": np.full((105, 105), np.nan)}, "finite"),
        ({"precision": np.eye(105), "weights": np.ones(105)}, "not both"),
        ({"covariance": np.ones(3)}, "covariance"),
        ({"covariance": np.eye(105), "scaled": True}, "never scaled"),
        ({"form": "gaussian"}, "correlation, decay"),
        ({"fixed": {"gamma": 1}}, "amplitude, ln_tau, shape, baseline"),
        ({"fixed": {"shape": -1}}, "shape above 0"),
        ({"fixed": {"shape": np.nan}}, "finite"),
        ({"bounds": {"shape": (2, 1)}}, "not in order"),
        ({"bounds": {"shape": (0, 1)}}, "shape must be above 0"),
        ({"bounds": {"ln_tau": (0, np.inf)}}, "ln_tau finite"),
        ({"start": np.zeros((3, 3))}, "start"),
        ({"threads": 0}, "threads"),
    ],
    ids=str,
)  # fmt: skip
def test_wrong_arguments_are_refused_in_words(changed: dict[str, Any], message: str) -> None:
    arguments = {"times": TIMES, "values": np.zeros((2, len(TIMES))), **changed}

    with pytest.raises(ValueError, match=message):
        fit_kww(arguments.pop("times"), arguments.pop("values"), **arguments)


def test_an_interval_needs_a_free_tau_and_the_fit_of_these_curves() -> None:
    _, y = curves(2, 25)
    fit = fit_kww(TIMES, y)

    with pytest.raises(ValueError, match="ln_tau is fixed"):
        ln_tau_interval(TIMES, y, fit, fixed={"ln_tau": 5})
    with pytest.raises(ValueError, match="2 curves, values 1"):
        ln_tau_interval(TIMES, y[:1], fit)


def test_no_curves_are_fitted_to_nothing() -> None:
    fit = fit_kww(TIMES, np.zeros((0, len(TIMES))), threads=2)

    assert fit.parameters.shape == (0, 4)
    assert ln_tau_interval(TIMES, np.zeros((0, len(TIMES))), fit).lower.shape == (0,)


def test_importing_brings_nothing_heavy() -> None:
    code = (
        "import sys, daq_relaxation\n"
        "from daq_relaxation import arrhenius_fit, kww_fit, laws, vft_fit\n"
        "print([m for m in ('numba', 'scipy', 'llvmlite', 'PySide6', 'h5py') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_a_profile_of_what_has_no_end_ends() -> None:
    """The decay is over before it is seen: its amplitude grows until sums of squares overflow."""
    t = np.geomspace(1, 2.2, 8)
    y = np.array([1.32726, 1.32558, 1.32554, 1.32499, 1.32532, 1.32841, 1.32599, 1.32513]) * 1e8
    bounds = {"ln_tau": (np.log(t[0] / 100), np.log(t[-1] * 1e3))}
    fit = fit_kww(t, y[None], form="decay", bounds=bounds)
    found = ln_tau_interval(t, y[None], fit, form="decay", bounds=bounds)
    assert found.flag[0] != DETERMINED
