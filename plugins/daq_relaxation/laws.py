"""The laws of relaxation in glasses, as plain formulas.

Times are in s, temperatures in K, energies in J/mol unless a name says otherwise; all functions
take scalars or arrays that broadcast, and give float64 (complex128 for susceptibilities).
"""

from __future__ import annotations

import math
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

R: Final = 8.314
"""Gas constant, J/(mol K), as the published energies use it."""

K_B: Final = 8.617e-5
"""Boltzmann constant, eV/K."""

Numbers: TypeAlias = float | npt.NDArray[Any]


def kww_correlation(
    t: Numbers, tau: Numbers, gamma: Numbers = 1.0, beta: Numbers = 1.0, baseline: Numbers = 0.0
) -> Numbers:
    """Return g2 - 1 = beta exp(-2 (t/tau)^gamma) + baseline.

    Nakazawa2024, eq. 3. The 2 comes with intensities: the field decays as exp(-(t/tau)^gamma).
    ``beta`` is the contrast; ``t`` >= 0 and ``tau`` in one unit.
    """
    return beta * np.exp(-2 * (np.asarray(t) / tau) ** gamma) + baseline


def kww_decay(t: Numbers, tau: Numbers, b: Numbers) -> Numbers:
    """Return exp(-(t/tau)^b), Kohlrausch's stretched exponential.

    Qiao2019, eq. 2-4 (stress), and Zhu2016 for the excess enthalpy and for (xi/xi0)^3 while
    annealing. ``t`` >= 0 and ``tau`` in one unit.
    """
    return np.exp(-((np.asarray(t) / tau) ** b))


def kww_mean_time(tau: Numbers, b: Numbers) -> Numbers:
    """Return the mean relaxation time, the integral of exp(-(t/tau)^b): (tau/b) Gamma(1/b)."""
    gamma = np.vectorize(math.gamma, otypes=[np.float64])
    return np.asarray(tau) / b * gamma(1 / np.asarray(b, np.float64))


def arrhenius_ln_tau(T: Numbers, ln_tau_inf: Numbers, energy: Numbers) -> Numbers:
    """Return ln tau = ln tau_inf + E/(R T); ``energy`` E in J/mol.

    Nakazawa2024, eq. 4: tau = tau_inf exp(E/RT).
    """
    return ln_tau_inf + energy / (R * np.asarray(T))


def arrhenius_tau(T: Numbers, tau_inf: Numbers, energy: Numbers) -> Numbers:
    """Return tau = tau_inf exp(E/(R T)) in the unit of ``tau_inf``; ``energy`` E in J/mol."""
    return tau_inf * np.exp(energy / (R * np.asarray(T)))


def vft_ln_tau(T: Numbers, ln_tau0: Numbers, B: Numbers, T0: Numbers) -> Numbers:
    """Return ln tau = ln tau0 + B/(T - T0), Vogel-Fulcher-Tammann; B and T0 in K.

    Qiao2019, section 2.1. inf at and below T0.
    """
    above = np.asarray(T, np.float64) - T0
    with np.errstate(divide="ignore", invalid="ignore"):
        return ln_tau0 + B / np.where(above > 0, above, 0.0)


def vft_tau(T: Numbers, tau0: Numbers, B: Numbers, T0: Numbers) -> Numbers:
    """Return tau = tau0 exp(B/(T - T0)) in the unit of ``tau0``; B and T0 in K."""
    return tau0 * np.exp(vft_ln_tau(T, 0.0, B, T0))


def vft_fragility(T_g: Numbers, B: Numbers, T0: Numbers) -> Numbers:
    """Return m = d log10 tau / d(T_g/T) at T_g = B T_g / ((T_g - T0)^2 ln 10), without unit."""
    return B * np.asarray(T_g) / ((np.asarray(T_g) - T0) ** 2 * math.log(10))


def arrhenius_fragility(T_g: Numbers, energy: Numbers) -> Numbers:
    """Return m = E/(R T_g ln 10), without unit; ``energy`` E in J/mol."""
    return energy / (R * np.asarray(T_g) * math.log(10))


def fragility_energy(T_g: Numbers, m: Numbers) -> Numbers:
    """Return the apparent energy at T_g of a liquid of fragility m, J/mol: E = m R T_g ln 10."""
    return m * R * np.asarray(T_g) * math.log(10)


def in_rtg(energy: Numbers, T_g: Numbers) -> Numbers:
    """Return an energy in J/mol in units of R T_g (5.78 kJ/mol at T_g = 695 K)."""
    return energy / (R * np.asarray(T_g))


def havriliak_negami(omega: Numbers, tau: Numbers, alpha: Numbers, gamma: Numbers) -> Numbers:
    """Return chi = [1 + (i omega tau)^alpha]^-gamma, complex; its imaginary part is negative.

    Qiao2019, eq. 2-5; on moduli M = M_u - dM chi (2-3), so that the loss M'' = -dM Im chi > 0.
    gamma = 1 is Cole-Cole, alpha = 1 Cole-Davidson, both Debye. ``omega`` in rad/s.
    """
    return (1 + (1j * np.asarray(omega) * tau) ** alpha) ** -np.asarray(gamma)


def havriliak_negami_peak(tau: Numbers, alpha: Numbers, gamma: Numbers) -> Numbers:
    """Return omega of the loss peak, rad/s (2.15/tau for alpha 0.95, gamma 0.41).

    omega tau = [sin(pi alpha / (2 gamma + 2)) / sin(pi alpha gamma / (2 gamma + 2))]^(1/alpha).
    """
    part = np.pi * np.asarray(alpha) / (2 * np.asarray(gamma) + 2)
    return (np.sin(part) / np.sin(part * gamma)) ** (1 / np.asarray(alpha)) / tau
