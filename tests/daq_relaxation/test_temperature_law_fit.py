"""VFT, Arrhenius and fragility with full covariance: exact values, and errors that cover."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daq_relaxation import laws
from daq_relaxation.temperature_law_fit import (
    DETERMINED,
    FEW,
    LIKE_ARRHENIUS,
    fit_temperature_law,
)
from daq_relaxation.vft_fit import fit_vft

T = np.linspace(455.0, 500.0, 10)
VFT = -30.0, 4500.0, 330.0
T_G = 330 + 4500 / (math.log(100) + 30)


def exact(kelvin: np.ndarray = T) -> np.ndarray:
    return np.asarray(laws.vft_ln_tau(kelvin, *VFT))


@given(st.floats(-40, -20), st.floats(1e3, 1e4), st.floats(50, 440))
@settings(max_examples=30, deadline=None)
def test_exact_times_give_their_law_back(ln_tau0: float, B: float, T0: float) -> None:
    law = fit_temperature_law(T, laws.vft_ln_tau(T, ln_tau0, B, T0))
    assert law.vogel[0] == pytest.approx(T0, rel=1e-3)
    assert law.B[0] == pytest.approx(B, rel=1e-2)
    assert law.ln_tau0[0] == pytest.approx(ln_tau0, rel=1e-2)
    assert law.fragility(460.0)[0] == pytest.approx(laws.vft_fragility(460.0, B, T0), rel=1e-4)


def test_fragility_is_that_of_wlf() -> None:
    law = fit_temperature_law(T, exact())
    T_g, _ = law.glass_transition()
    assert T_g == pytest.approx(T_G, rel=1e-9)
    C1, C2 = law.wlf(T_g)
    m, _ = law.fragility(T_g)
    assert m == pytest.approx(T_g * C1 / C2, rel=1e-9)
    assert m == pytest.approx(laws.vft_fragility(T_G, *VFT[1:]), rel=1e-6)
    assert law.energy(T_g)[0] == pytest.approx(laws.fragility_energy(T_g, m), rel=1e-12)


def test_the_minimum_is_that_of_the_vft_fit() -> None:
    y = exact() + np.random.default_rng(1).normal(0, 0.1, len(T))
    ours, theirs = (
        fit_temperature_law(T, y, np.full(len(T), 0.01)),
        fit_vft(T, y, np.full(len(T), 0.1)),
    )
    assert ours.chi2 == pytest.approx(theirs.chi2, rel=1e-6)
    assert ours.vogel[0] == pytest.approx(theirs.T0, rel=1e-4)


@pytest.mark.parametrize("shifts", [False, True])
def test_errors_cover(shifts: bool) -> None:
    """Also of shifts, whose errors add up from the reference on."""
    reference, z = 4, []
    step = np.where(np.arange(10) == reference, 0, 0.03)
    walk = np.zeros((10, 10))
    for k in range(10):
        walk[k, min(k, reference) : max(k, reference) + 1] = 0.03
    walk[:, reference] = 0
    covariance = walk @ walk.T if shifts else np.diag(np.full(10, 0.05**2))
    for seed in range(120):
        random = np.random.default_rng(seed)
        if shifts:
            y = exact() - exact()[reference] + walk @ random.standard_normal(10)
            law = fit_temperature_law(T, y, covariance, reference=float(T[reference]))
        else:
            law = fit_temperature_law(T, exact() + random.normal(0, 0.05, 10), covariance)
        m, error = law.fragility(440.0)  # below the points, where the law must carry it
        true = float(laws.vft_fragility(440.0, *VFT[1:]))
        steepness = law.centre / (law.centre - VFT[2])
        z.append([
            (m - true) / error,
            (law.parameters[2] - steepness) / math.sqrt(law.covariance[2, 2]),
        ])  # fmt: skip
    covered = np.mean(np.abs(z) < 1, axis=0)
    assert np.all((covered > 0.58) & (covered < 0.82)), covered
    assert step.sum() > 0


def test_shifts_say_nothing_of_tau() -> None:
    law = fit_temperature_law(T, exact() - exact()[4], reference=float(T[4]))
    assert law.vogel[0] == pytest.approx(330, rel=1e-5)
    assert np.isnan(law.glass_transition()[0])
    assert np.isnan(law.ln_tau0[0])
    assert law.value(T[4])[0] == 0


def test_points_that_do_not_tell_vft_from_arrhenius_say_so() -> None:
    y = laws.arrhenius_ln_tau(T, -40.0, 1.7e5) + np.random.default_rng(2).normal(0, 0.05, 10)
    law = fit_temperature_law(T, y, np.full(10, 0.0025))
    assert law.flag == LIKE_ARRHENIUS
    line = fit_temperature_law(T, y, np.full(10, 0.0025), arrhenius=True)
    assert line.flag == DETERMINED
    energy, error = line.energy(line.centre)
    assert abs(energy - 1.7e5) < 3 * error
    assert line.vogel[0] == 0
    two = fit_temperature_law(T[:2], y[:2], np.full(2, 0.0025))
    assert two.flag == FEW
    assert two.dof == 0


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(ValueError, match="two temperatures"):
        fit_temperature_law([450.0, 450.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="as long"):
        fit_temperature_law(T, [1.0])
    with pytest.raises(ValueError, match="positive definite"):
        fit_temperature_law(T, exact(), np.ones((10, 10)))
