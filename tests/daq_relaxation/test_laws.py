"""The laws against their definitions and the published numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import minimize_scalar

from daq_relaxation import laws


@given(st.floats(1e-3, 1e6), st.floats(0.2, 2), st.floats(0.01, 1))
def test_intensities_decay_as_the_square_of_the_field(
    tau: float, gamma: float, beta: float
) -> None:
    t = tau * np.geomspace(1e-3, 10, 20)

    g = laws.kww_correlation(t, tau, gamma, beta)

    np.testing.assert_allclose(g, beta * np.asarray(laws.kww_decay(t, tau, gamma)) ** 2)
    assert laws.kww_correlation(0.0, tau, gamma, beta, 0.5) == pytest.approx(beta + 0.5)
    assert laws.kww_decay(tau, tau, gamma) == pytest.approx(1 / math.e)


@pytest.mark.parametrize("b", [0.5, 1.0, 1.5])
def test_the_mean_time_is_the_integral_of_the_decay(b: float) -> None:
    integral, _ = quad(lambda t: laws.kww_decay(t, 3.0, b), 0, np.inf, limit=200)

    assert laws.kww_mean_time(3.0, b) == pytest.approx(integral, rel=1e-6)
    assert laws.kww_mean_time(3.0, 0.5) == pytest.approx(6.0)


def test_one_rtg_is_the_published_energy() -> None:
    assert laws.in_rtg(5780.0, 695.0) == pytest.approx(1, abs=1e-3)


def test_arrhenius_is_vft_at_zero_kelvin() -> None:
    T = np.array([600.0, 650.0, 700.0])

    np.testing.assert_allclose(
        laws.arrhenius_ln_tau(T, -20.0, 97e3), laws.vft_ln_tau(T, -20.0, 97e3 / laws.R, 0.0)
    )
    np.testing.assert_allclose(
        laws.arrhenius_tau(T, np.exp(-20.0), 97e3), np.exp(laws.arrhenius_ln_tau(T, -20.0, 97e3))
    )
    np.testing.assert_allclose(laws.vft_tau(T, 1e-12, 5e3, 400.0), 1e-12 * np.exp(5e3 / (T - 400)))
    assert laws.vft_fragility(673.0, 97e3 / laws.R, 0.0) == pytest.approx(
        laws.arrhenius_fragility(673.0, 97e3)
    )
    assert laws.fragility_energy(673.0, laws.arrhenius_fragility(673.0, 97e3)) == pytest.approx(
        97e3
    )


def test_vft_has_no_time_at_and_below_its_temperature() -> None:
    assert np.all(np.isinf(laws.vft_ln_tau(np.array([300.0, 400.0]), -30.0, 5e3, 400.0)))


@given(st.floats(300, 900), st.floats(1e3, 2e4), st.floats(0.1, 0.9))
def test_fragility_is_the_slope_at_the_glass_transition(T_g: float, B: float, part: float) -> None:
    def log_tau(x: float) -> float:
        return float(np.asarray(laws.vft_ln_tau(T_g / x, -30.0, B, part * T_g))) / math.log(10)

    slope = (log_tau(1 + 1e-6) - log_tau(1 - 1e-6)) / 2e-6

    assert laws.vft_fragility(T_g, B, part * T_g) == pytest.approx(slope, rel=1e-5)
    # and that of WLF with T_g for its reference: m = T_g C1 / C2
    C1, C2 = B / math.log(10) / (T_g - part * T_g), T_g - part * T_g
    assert laws.vft_fragility(T_g, B, part * T_g) == pytest.approx(T_g * C1 / C2)


@pytest.mark.parametrize(("alpha", "gamma"), [(0.95, 0.41), (1.0, 1.0), (0.5, 1.0), (1.0, 0.3)])
def test_the_loss_peak_is_where_it_is_found(alpha: float, gamma: float) -> None:
    found = minimize_scalar(
        lambda x: laws.havriliak_negami(np.exp(x), 2.0, alpha, gamma).imag,
        bracket=(-3, 0, 3),
        tol=1e-10,
    )

    assert laws.havriliak_negami_peak(2.0, alpha, gamma) == pytest.approx(np.exp(found.x), rel=1e-4)


def test_havriliak_negami_of_the_review() -> None:
    assert laws.havriliak_negami_peak(1.0, 0.95, 0.41) == pytest.approx(2.15, abs=0.01)
    np.testing.assert_allclose(laws.havriliak_negami(1.0, 1.0, 1.0, 1.0), 0.5 - 0.5j)
    omega = np.geomspace(1e-6, 1e6, 25)
    chi = np.asarray(laws.havriliak_negami(omega, 1.0, 0.95, 0.41))
    assert np.all(np.diff(chi.real) < 0) and np.all(chi.imag < 0)
