"""Arrhenius and VFT fits: the published energies, scipy's minima, errors that cover the truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import curve_fit

from daq_relaxation import laws
from daq_relaxation.arrhenius_fit import fit_arrhenius
from daq_relaxation.vft_fit import AT_BOUND, DETERMINED, fit_vft

T_ANNEALED = np.array([473.0, 503.0, 523.0, 553.0])
AFM = np.array([13.43, 12.16, 10.98, 7.82]), np.array([0.16, 0.12, 0.40, 0.03])
DSC = np.array([13.80, 12.56, 10.66, 8.08]), np.array([0.42, 0.49, 0.32, 0.37])
T_G = 695.0


def test_the_published_energies_come_out() -> None:
    afm, dsc = fit_arrhenius(T_ANNEALED, *AFM), fit_arrhenius(T_ANNEALED, *DSC)

    assert afm.weighted is not None
    assert afm.unweighted.energy_rtg(T_G) == pytest.approx((25.8, 5.3), abs=0.05)
    assert dsc.unweighted.energy_rtg(T_G) == pytest.approx((27.2, 4.3), abs=0.05)
    assert afm.weighted.energy_rtg(T_G) == pytest.approx((29.6, 3.2), abs=0.05)
    # at their word the errors of the points give far too small an error, and chi2 says so
    strict = fit_arrhenius(T_ANNEALED, *AFM, scaled=False).weighted
    assert strict is not None
    assert strict.energy_rtg(T_G) == pytest.approx((29.6, 0.62), abs=0.05)
    assert strict.chi2 / strict.dof > 20
    assert afm.unweighted.energy_kj == pytest.approx(25.8 * 5.778, rel=2e-3)
    assert afm.unweighted.energy_kj_error == pytest.approx(afm.unweighted.energy_error / 1e3)


def test_the_line_is_that_of_curve_fit() -> None:
    line = fit_arrhenius(T_ANNEALED, *DSC).weighted
    assert line is not None
    p, covariance = curve_fit(
        laws.arrhenius_ln_tau, T_ANNEALED, DSC[0], p0=(-10, 1e5), sigma=DSC[1]
    )

    np.testing.assert_allclose((line.ln_tau_inf, line.energy), p, rtol=1e-6)
    np.testing.assert_allclose(line.covariance, covariance, rtol=1e-5)
    assert line.ln_tau_inf_error == pytest.approx(np.sqrt(covariance[0, 0]), rel=1e-5)
    value, error = line.ln_tau([500.0, 1e9])
    assert value[0] == pytest.approx(laws.arrhenius_ln_tau(500.0, *p))
    assert (value[1], error[1]) == pytest.approx((p[0], line.ln_tau_inf_error), rel=1e-4)
    assert error[0] < 0.4


@given(
    st.floats(1e3, 1e6), st.floats(-60, 20), st.lists(st.floats(100, 2000), min_size=2, max_size=9)
)
def test_exact_times_give_the_energy_back(energy: float, ln_tau_inf: float, T: list[float]) -> None:
    if np.ptp(T) < 1:
        return
    ln_tau = np.asarray(laws.arrhenius_ln_tau(np.array(T), ln_tau_inf, energy))

    fit = fit_arrhenius(T, ln_tau, np.linspace(0.1, 1, len(T)))

    assert fit.weighted is not None
    for line in (fit.unweighted, fit.weighted):
        assert line.energy == pytest.approx(energy, rel=1e-6, abs=1)


def test_points_without_a_value_or_an_error_are_left_out() -> None:
    ln_tau, errors = np.append(AFM[0], [np.nan, 5.0]), np.append(AFM[1], [0.1, 0.0])

    fit = fit_arrhenius(np.append(T_ANNEALED, [560.0, 570.0]), ln_tau, errors)

    assert fit.used.tolist() == [True] * 4 + [False] * 2
    assert fit.weighted is not None
    assert fit.weighted.energy_rtg(T_G)[0] == pytest.approx(29.6, abs=0.05)


def test_without_errors_there_is_one_line_and_two_points_have_no_error() -> None:
    fit = fit_arrhenius(T_ANNEALED[:2], AFM[0][:2])

    assert fit.weighted is None
    assert fit.unweighted.dof == 0
    assert np.isnan(fit.unweighted.energy_error)
    with pytest.raises(ValueError, match="two temperatures"):
        fit_arrhenius([500.0, 500.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="as long"):
        fit_arrhenius(T_ANNEALED, [1.0, 2.0])


VFT = -30.0, 4500.0, 480.0
T_LIQUID = np.linspace(600.0, 760.0, 9)


@given(st.floats(-40, -20), st.floats(500, 2e4), st.floats(50, 580))
@settings(max_examples=50, deadline=None)
def test_exact_times_give_the_vft_law_back(ln_tau0: float, B: float, T0: float) -> None:
    fit = fit_vft(T_LIQUID, laws.vft_ln_tau(T_LIQUID, ln_tau0, B, T0))

    # far above T0 the law is nearly a straight line, and T0 rounding
    np.testing.assert_allclose(
        fit.ln_tau(T_LIQUID)[0], laws.vft_ln_tau(T_LIQUID, ln_tau0, B, T0), rtol=1e-7
    )
    np.testing.assert_allclose(fit.T0, T0, rtol=1e-3)
    np.testing.assert_allclose(fit.B, B, rtol=1e-2)


def test_minimum_and_errors_of_vft_are_those_of_curve_fit() -> None:
    random = np.random.default_rng(1)
    sigma = np.linspace(0.05, 0.2, len(T_LIQUID))
    y = laws.vft_ln_tau(T_LIQUID, *VFT) + random.normal(0, sigma)
    p, covariance = curve_fit(
        laws.vft_ln_tau,
        T_LIQUID,
        y,
        p0=VFT,
        sigma=sigma,
        absolute_sigma=True,
        xtol=1e-13,
        ftol=1e-13,
    )

    fit = fit_vft(T_LIQUID, y, sigma)
    scaled = fit_vft(T_LIQUID, y, sigma, scaled=True)

    assert fit.flag == DETERMINED and not fit.scaled and scaled.scaled
    np.testing.assert_allclose((fit.ln_tau0, fit.B, fit.T0), p, rtol=1e-5)
    np.testing.assert_allclose(fit.covariance, covariance, rtol=1e-3)
    np.testing.assert_allclose(scaled.covariance, fit.covariance * fit.chi2 / fit.dof, rtol=1e-9)
    np.testing.assert_allclose(fit.errors, np.sqrt(np.diag(covariance)), rtol=1e-3)
    assert fit.strength == pytest.approx(p[1] / p[2], rel=1e-5)


def test_errors_of_vft_and_what_follows_cover_the_truth() -> None:
    random = np.random.default_rng(2)
    exact = np.asarray(laws.vft_ln_tau(T_LIQUID, *VFT))
    T_g = VFT[2] + VFT[1] / (np.log(100.0) - VFT[0])
    truth = np.array([VFT[2], float(laws.vft_fragility(T_g, VFT[1], VFT[2])), T_g, exact[4]])
    count, inside = 300, np.zeros(4)
    for _ in range(count):
        fit = fit_vft(
            T_LIQUID, exact + random.normal(0, 0.02, exact.shape), np.full(exact.shape, 0.02)
        )
        value, error = fit.ln_tau(T_LIQUID[4])
        found = (fit.T0, fit.errors[2]), fit.fragility(T_g), fit.glass_transition(), (value, error)
        inside += [abs(v - t) < e for (v, e), t in zip(found, truth, strict=True)]

    assert inside / count == pytest.approx(np.full(4, 0.683), abs=4 * np.sqrt(0.68 * 0.32 / count))


def test_an_arrhenius_liquid_is_flagged() -> None:
    y = laws.arrhenius_ln_tau(T_LIQUID, -30.0, 200e3) - 3e-5 * (T_LIQUID - 680) ** 2

    fit = fit_vft(T_LIQUID, y)

    assert (fit.flag, fit.T0, fit.strength) == (AT_BOUND, 0.0, np.inf)
    assert np.isnan(fit.errors[2]) and np.all(np.isfinite(fit.errors[:2]))
    assert np.isfinite(fit.fragility(673.0)[1])


def test_vft_refuses_in_words() -> None:
    with pytest.raises(ValueError, match="three temperatures"):
        fit_vft([600.0, 650.0, 650.0], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="below 600 K"):
        fit_vft(T_LIQUID, np.ones(9), T0_bounds=(300.0, 650.0))
    with pytest.raises(ValueError, match="as long"):
        fit_vft(T_LIQUID, np.ones(3))
    with pytest.raises(ValueError, match="never reaches"):
        fit_vft(T_LIQUID, laws.vft_ln_tau(T_LIQUID, *VFT)).glass_transition(1e-20)


def test_errors_of_what_follows_are_those_of_differences() -> None:
    sigma = np.full(len(T_LIQUID), 0.05)
    fit = fit_vft(T_LIQUID, laws.vft_ln_tau(T_LIQUID, *VFT), sigma)
    p = np.array([fit.ln_tau0, fit.B, fit.T0])

    def fragility(p: np.ndarray) -> float:
        return float(laws.vft_fragility(620.0, p[1], p[2]))

    def transition(p: np.ndarray) -> float:
        return float(p[2] + p[1] / (np.log(100.0) - p[0]))

    for follows, (value, error) in (
        (fragility, fit.fragility(620.0)),
        (transition, fit.glass_transition()),
    ):
        slope = [(follows(p + s) - follows(p - s)) / 2e-4 for s in 1e-4 * np.eye(3)]
        assert value == pytest.approx(follows(p))
        assert error == pytest.approx(np.sqrt(slope @ fit.covariance @ slope), rel=1e-4)
