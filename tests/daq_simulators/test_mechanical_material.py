"""The simulated glass: its formulas against closed forms, and against those that analyses use."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import wofz

from daq_relaxation import laws
from daq_simulators.mechanical_material import (
    ALLOYS,
    Alpha,
    Secondary,
    changed,
    hn_susceptibility,
    kww_susceptibility,
)

X = np.geomspace(1e-6, 1e8, 43)


def test_kww_is_debye_for_b_of_one() -> None:
    np.testing.assert_allclose(kww_susceptibility(X, 1.0), 1 / (1 + 1j * X), rtol=1e-9)


def test_kww_of_one_half_is_its_closed_form() -> None:
    z = 1 / (2 * np.sqrt(1j * X))
    closed = np.sqrt(np.pi) * z * wofz(1j * z)
    np.testing.assert_allclose(kww_susceptibility(X, 0.5), closed, rtol=1e-9)


@pytest.mark.parametrize("b", [0.2, 0.35, 0.8])
def test_kww_has_its_wing_and_its_static_limit(b: float) -> None:
    low, high = kww_susceptibility(np.array([1e-12, 1e12]), b)
    assert low == pytest.approx(1, abs=1e-3)
    from math import gamma

    wing = gamma(1 + b) * 1e12**-b * np.exp(-0.5j * np.pi * b)
    assert high == pytest.approx(wing, rel=1e-2)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    alpha=st.floats(0.2, 1), gamma=st.floats(0.2, 1), b=st.floats(0.25, 1), ln_x=st.floats(-12, 12)
)
def test_loss_is_positive_and_hn_is_that_of_the_analyses(
    alpha: float, gamma: float, b: float, ln_x: float
) -> None:
    x = np.exp(ln_x)
    ours = hn_susceptibility(x, alpha, gamma)
    assert ours == pytest.approx(laws.havriliak_negami(x, 1.0, alpha, gamma), rel=1e-9)
    assert ours.imag < 0
    assert kww_susceptibility(x, b).imag < 0


def test_alpha_has_the_fragility_and_the_temperature_that_are_said() -> None:
    alpha = Alpha(461.0, 40.0, glass_energy=None)
    ln_tau0, B, T0 = alpha.vft
    assert laws.vft_fragility(461.0, B, T0) == pytest.approx(40)
    assert alpha.ln_tau(461.0) == pytest.approx(np.log(100))
    T = np.linspace(440, 520, 9)
    np.testing.assert_allclose(alpha.ln_tau(T), laws.vft_ln_tau(T, ln_tau0, B, T0), rtol=1e-9)
    glass = Alpha(461.0, 40.0, glass_energy=30.0)
    slope = (glass.ln_tau(400.0) - glass.ln_tau(450.0)) / (1 / 400 - 1 / 450)
    assert slope == pytest.approx(30 * 461)


def test_beta_peaks_where_it_is_said() -> None:
    """Science: La60Ni15Al25 has its 1 Hz peak near 350 K."""
    alloy = ALLOYS["La60Ni15Al25"]
    T = np.linspace(300, 420, 2401)
    loss = -alloy.beta.chi(np.full_like(T, 2 * np.pi), T, 461.0).imag
    assert alloy.beta.peak_temperature(1.0, 461.0) == pytest.approx(T[loss.argmax()], abs=0.06)
    assert T[loss.argmax()] == pytest.approx(350, abs=2)
    assert alloy.beta.height == pytest.approx(0.25 * loss.max(), rel=1e-6)


def test_all_of_the_modulus_relaxes_and_its_loss_is_the_slope_of_storage() -> None:
    """Kramers and Kronig, roughly: M'' = (pi/2) dM'/d ln w for broad relaxations."""
    for alloy in ALLOYS.values():
        T_g = alloy.alpha.T_g
        ends = alloy.dynamic_modulus([1e-12, 1e16], 1.15 * T_g)
        assert abs(ends[0]) < 1e-3 * abs(ends[1])
        omega = np.geomspace(1e-3, 1e5, 400)
        M = alloy.dynamic_modulus(omega, alloy.beta.peak_temperature(1.0, T_g))
        slope = np.pi / 2 * np.gradient(M.real, np.log(omega))
        near = np.abs(np.log(omega / (2 * np.pi))) < 2
        np.testing.assert_allclose(slope[near], M.imag[near], rtol=0.15)


@pytest.mark.parametrize(
    ("name", "extrema"), [("La60Ni15Al25", 3), ("La60Cu15Al25", 1), ("Vit105", 1)]
)
def test_presets_show_what_is_published(name: str, extrema: int) -> None:
    alloy = ALLOYS[name]
    T = np.linspace(0.65, 1.1, 400) * alloy.alpha.T_g
    ln_loss = np.log(alloy.dynamic_modulus(2 * np.pi, T).imag)
    assert np.count_nonzero(np.diff(np.sign(np.diff(ln_loss)))) == extrema
    part = T / alloy.alpha.T_g
    slope = np.gradient(ln_loss, T)[(part > 0.8) & (part < 0.99)]
    dip = slope.min() / slope.max()
    if name == "La60Cu15Al25":
        assert 0.2 < dip < 0.5
    if name == "Vit105":
        assert 0.7 < dip < 0.9


def test_three_modes_of_the_palladium_glass() -> None:
    alloy = ALLOYS["Pd42.5Ni7.5Cu30P20"]
    peaks = alloy.peaks(1.0)
    assert peaks["fast"] < peaks["beta"] < peaks["alpha"]
    assert alloy.fast.energy / alloy.beta.energy < 0.5


def test_numbers_can_be_changed() -> None:
    other = changed(
        ALLOYS["Vit105"],
        {"modulus": 90.0, "alpha_T_g": 680.0, "beta_alpha": 0.5, "fast_strength": 0.1},
    )
    assert (other.modulus, other.alpha.T_g, other.beta.alpha) == (90.0, 680.0, 0.5)
    assert other.fast == Secondary(0.1, 12.0, -14.0, 0.3)
    assert ALLOYS["Vit105"].alpha.T_g == 672.0
