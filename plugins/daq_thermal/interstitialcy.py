"""The interstitialcy theory: shear modulus, defects and heat of a glass (Qiao2019, 4-3 to 4-8).

Moduli G (glass) and mu (maternal crystal) in Pa, densities in kg/m^3, temperatures in K; numbers
or arrays that broadcast. ``alpha`` is about 1, the shear susceptibility ``beta`` 15 to 21.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from daq_relaxation.laws import Numbers


def formation_enthalpy(G: Numbers, volume: Numbers, alpha: Numbers = 1.0) -> Numbers:
    """Return H = alpha G Omega, J for a volume per atom Omega in m^3 (4-3)."""
    return alpha * G * volume


def shear_modulus(mu: Numbers, c: Numbers, beta: Numbers, alpha: Numbers = 1.0) -> Numbers:
    """Return G = mu exp(-alpha beta c), Pa, for a concentration c of defects (4-4, 4-5)."""
    return mu * np.exp(-alpha * beta * np.asarray(c))


def concentration(G: Numbers, mu: Numbers, beta: Numbers, alpha: Numbers = 1.0) -> Numbers:
    """Return c = ln(mu/G)/(alpha beta), of defects (4-5 turned round)."""
    return np.log(np.asarray(mu) / G) / (alpha * beta)


def heat_flow(
    T: npt.ArrayLike,
    G: npt.ArrayLike,
    mu: npt.ArrayLike,
    rate: Numbers,
    beta: Numbers,
    density: Numbers,
) -> npt.NDArray[np.float64]:
    """Return W = (dT/dt)/(beta rho) [(G/mu) dmu/dT - dG/dT], W/kg, endothermic positive (4-6).

    Parameters
    ----------
    T, G, mu
        [n], K, Pa, Pa: measured along one heating; derivatives are central differences.
    rate
        dT/dt, K/s.
    """
    kelvin, glass, crystal = (np.asarray(x, np.float64) for x in (T, G, mu))
    slopes = np.gradient(crystal, kelvin), np.gradient(glass, kelvin)
    return np.asarray(rate / (beta * density) * (glass / crystal * slopes[0] - slopes[1]))


def internal_energy(G: Numbers, mu: Numbers, beta: Numbers, density: Numbers) -> Numbers:
    """Return dU = mu/(beta rho) (1 - G/mu), J/kg, of the glass over the crystal (4-7)."""
    return mu / (beta * density) * (1 - np.asarray(G) / mu)


def density_change(
    G: Numbers, G0: Numbers, beta: Numbers, relaxation_volume: Numbers, alpha: Numbers = 1.0
) -> Numbers:
    """Return drho/rho = (alpha_i - 1)/(alpha beta) ln(G/G0), without unit (4-8).

    ``relaxation_volume`` is alpha_i, about 1.6: with beta 17 the slope is 0.035.
    """
    return (relaxation_volume - 1) / (alpha * beta) * np.log(np.asarray(G) / G0)
