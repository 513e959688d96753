"""Published formulas against published numbers, limits and each other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daq_relaxation.arrhenius_fit import fit_arrhenius
from daq_thermal import activation_spectrum as spectrum
from daq_thermal import cooperativity, interstitialcy
from daq_thermal.flow_units import (
    OPEN,
    fit_flow_units,
    flow_unit_concentration,
    flow_unit_property,
)

# -- cooperativity ------------------------------------------------------------------------------

ATOMS = {"Pd": 106.42, "Ni": 58.693, "Cu": 63.546, "P": 30.974}
TABLE = [
    # composition, T (degrees C), dT, c glass, c liquid, N_alpha printed, from the formula
    ({"Pd": 40, "Ni": 10, "Cu": 30, "P": 20}, 294.5, 6.5, 0.33, 0.55, 1040, 1043),
    ({"Pd": 30, "Ni": 50, "P": 20}, 314.2, 7.6, 0.40, 0.54, 570, 477),
    ({"Pd": 40, "Ni": 40, "P": 20}, 312.6, 7.5, 0.39, 0.51, 590, 424),
    ({"Pd": 42.5, "Ni": 7.5, "Cu": 30, "P": 20}, 299.6, 6.5, 0.38, 0.55, 1090, 701),
]


@pytest.mark.parametrize("row", range(4))
def test_correlated_units_of_the_published_table(row: int) -> None:
    """Row 1 is as printed; rows 2 to 4 do not follow from their own columns."""
    composition, celsius, spread, glass, liquid, printed, follows = TABLE[row]
    mass = sum(ATOMS[atom] * part / 100 for atom, part in composition.items())
    reciprocal = cooperativity.reciprocal_step(glass, liquid)
    found = cooperativity.correlated_units(celsius + 273.15, spread, reciprocal, mass)
    assert found == pytest.approx(follows, abs=1)
    assert (abs(found / printed - 1) < 0.01) == (row == 0)


def test_dynamic_units_are_as_the_published_ratio_says() -> None:
    """4-15 follows from 4-12 and 4-14 where dT = 2.54 T/(b m ln 10)... of a dynamic transition."""
    step, reciprocal, mass, T, b, slope = 0.22, 0.8, 73.7, 570.0, 0.6, 115.0
    dynamic = cooperativity.dynamic_units(step, b, slope, mass)
    assert dynamic == pytest.approx(8.314 / (step * mass) * (b / np.e) ** 2 * slope**2)
    spread = np.e * T / (b * slope * np.sqrt(6.45))
    alpha = cooperativity.correlated_units(T, spread, reciprocal, mass)
    assert alpha / dynamic == pytest.approx(cooperativity.units_ratio(step, reciprocal))


# -- interstitialcy -----------------------------------------------------------------------------


def test_published_concentrations_and_slopes() -> None:
    """G 20 to 40 % below the crystal, beta 20: 1.1 to 2.6 %; slope 0.035 for beta 17."""
    assert interstitialcy.concentration(0.8, 1.0, 20) == pytest.approx(0.011, abs=2e-4)
    assert interstitialcy.concentration(0.6, 1.0, 20) == pytest.approx(0.026, abs=6e-4)
    change = interstitialcy.density_change(1.1, 1.0, 17, 1.6)
    assert change / np.log(1.1) == pytest.approx(0.035, abs=5e-4)
    assert interstitialcy.formation_enthalpy(30e9, 1.6e-29) == pytest.approx(4.8e-19)


@given(st.floats(0, 0.05), st.floats(15, 21), st.floats(20e9, 60e9))
def test_concentration_undoes_the_modulus(c: float, beta: float, mu: float) -> None:
    G = interstitialcy.shear_modulus(mu, c, beta)
    assert interstitialcy.concentration(G, mu, beta) == pytest.approx(c, abs=1e-12)


def test_heat_flow_adds_up_to_the_change_of_energy() -> None:
    """4-6 over a scan without thermal softening is 4-7: mu constant, G from one to another."""
    T = np.linspace(400, 700, 3001)
    mu = np.full_like(T, 40e9)
    c = 0.02 - 0.002 / (1 + np.exp(-(T - 600) / 15))
    G = interstitialcy.shear_modulus(mu, c, 18)
    W = interstitialcy.heat_flow(T, G, mu, 1 / 3, 18, 6900)
    given_off = -np.sum(np.diff(T) * (W[1:] + W[:-1]) / 2) * 3
    change = interstitialcy.internal_energy(G[0], 40e9, 18, 6900) - (
        interstitialcy.internal_energy(G[-1], 40e9, 18, 6900)
    )
    assert given_off == pytest.approx(change, rel=1e-5)
    assert 5e3 < given_off < 15e3, "some J/g, in J/kg"
    assert (W <= 0).all(), "defects that go give off heat: exothermic is negative"


def test_without_relaxation_there_is_no_heat() -> None:
    T = np.linspace(400, 500, 101)
    mu = 40e9 * (1 - 1e-4 * (T - 400))
    W = interstitialcy.heat_flow(T, interstitialcy.shear_modulus(mu, 0.02, 18), mu, 1 / 3, 18, 6900)
    np.testing.assert_allclose(W, 0, atol=1e-9)


# -- activation-energy spectrum -----------------------------------------------------------------

ENERGY = np.linspace(0.9, 2.6, 1701)
N0 = 0.0023 * np.exp(-0.5 * ((ENERGY - 1.7) / 0.2) ** 2) / (0.2 * np.sqrt(2 * np.pi))
RATE = 1 / 3


def annealed_out() -> tuple[np.ndarray, np.ndarray]:
    """Concentration left while defects of first order are heated: the law without approximation."""
    T = np.arange(300, 900, 0.5)
    rate = 1e13 * np.exp(-ENERGY[None] / (8.617e-5 * T[:, None]))
    left = np.exp(-np.cumsum(rate * 0.5 / RATE, axis=0))
    return T, (N0 * left).sum(axis=1) * (ENERGY[1] - ENERGY[0])


def test_heat_and_modulus_give_the_spectrum_that_was_put_in() -> None:
    T, c = annealed_out()
    A = spectrum.energy_per_kelvin(570.0, RATE)
    assert 2.5e-3 < A < 3.3e-3
    modulus, density, beta = 30e9, 6900.0, 18.0
    D = -np.gradient(c, T) * modulus / density / 1e3
    from_heat = spectrum.spectrum_from_heat(D, A, modulus, density)
    G = interstitialcy.shear_modulus(40e9, c + 0.015, beta)
    relaxed = interstitialcy.shear_modulus(40e9, np.full_like(c, 0.015), beta)
    from_modulus = spectrum.spectrum_from_modulus(T, G, relaxed, A, beta)
    np.testing.assert_allclose(from_heat, from_modulus, atol=1e-6)
    E = A * T
    assert np.sum(from_heat) * (E[1] - E[0]) == pytest.approx(0.0023, rel=0.01)
    middle = np.sum(E * from_heat) / np.sum(from_heat)
    assert middle == pytest.approx(1.7, abs=0.01)
    # first order smears by about kT: the peak is a little lower and wider
    assert from_heat.max() == pytest.approx(N0.max(), rel=0.08)


def test_energy_per_kelvin_refuses_nonsense() -> None:
    with pytest.raises(ValueError, match="above 0"):
        spectrum.energy_per_kelvin(500, 0)


# -- flow units ---------------------------------------------------------------------------------

AGES = np.concatenate([[0.0], np.geomspace(60, 86400, 19)])


def test_the_flow_unit_law_begins_and_ends_where_it_must() -> None:
    assert flow_unit_concentration(0.0, 4.0, 100.0, 0.5) == pytest.approx(0.2)
    assert flow_unit_property(0.0, 6.0, 4.0, 100.0, 0.5) == pytest.approx(5.0)
    assert flow_unit_property(1e15, 6.0, 4.0, 100.0, 0.5) == pytest.approx(6.0, rel=1e-6)


def test_flow_unit_fits_cover() -> None:
    truth = np.array([6.9, 0.02, np.log(600), 0.5])
    a = 600 * 0.02**2
    z = []
    for seed in range(25):
        noise = 5e-4 * np.random.default_rng(seed).standard_normal(len(AGES))
        M = flow_unit_property(AGES, 6.9, a, 600.0, 0.5) + noise
        fit = fit_flow_units(AGES, M, np.full(len(AGES), 5e-4))
        assert fit.flag == 0
        z.append((np.array([fit.M_inf, fit.c0, fit.ln_b, fit.beta]) - truth) / fit.errors)
    assert 0.55 < np.mean(np.abs(z) < 1) < 0.82
    np.testing.assert_allclose(fit(AGES), M, atol=2e-3)
    assert fit.a == pytest.approx(np.exp(fit.ln_b) * fit.c0 ** (1 / fit.beta))


def test_ageing_that_does_not_end_is_said_to_be_open() -> None:
    times = np.linspace(0, 50, 8)
    noise = 5e-4 * np.random.default_rng(1).standard_normal(8)
    M = flow_unit_property(times, 6.9, 600 * 0.02**2, 600.0, 0.5) + noise
    assert fit_flow_units(times, M, np.full(8, 5e-4)).flag == OPEN


def test_flow_unit_fits_refuse_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="five points, not 4"):
        fit_flow_units([0, 1, 2, 3], [1, 1, 1, 1])
    with pytest.raises(ValueError, match="0 or above"):
        fit_flow_units([-1, 1, 2, 3, 4], [1, 1, 1, 1, 1])


# -- the published energies ---------------------------------------------------------------------


def test_published_relaxation_times_give_the_published_energy() -> None:
    """Zhu2016: E_beta = 27.2 +- 4.3 R T_g from the four ln tau_beta, without weights."""
    fit = fit_arrhenius([473, 503, 523, 553], [13.80, 12.56, 10.66, 8.08], [0.42, 0.49, 0.32, 0.37])
    energy, error = fit.unweighted.energy_rtg(695.0)
    assert energy == pytest.approx(27.2, abs=0.1)
    assert error == pytest.approx(4.3, abs=0.1)
