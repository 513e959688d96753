"""How many particles move together: Donth's N_alpha and N_c of Berthier (Qiao2019, 4-12 to 4-15)."""

from __future__ import annotations

import math

import numpy as np

from daq_relaxation.laws import Numbers, R


def reciprocal_step(c_glass: Numbers, c_liquid: Numbers) -> Numbers:
    """Return D(1/c_p) = 1/c_glass - 1/c_liquid, g K/J for J/(g K).

    Table 1 of Qiao2019 prints 1.0 for its first row, where its own columns give 1.21.
    """
    return 1 / np.asarray(c_glass) - 1 / np.asarray(c_liquid)


def correlated_units(T: Numbers, spread: Numbers, reciprocal: Numbers, mass: Numbers) -> Numbers:
    """Return N_alpha = R T^2/(m0 dT^2) D(1/c_p), without unit (4-12).

    Parameters
    ----------
    T
        K, where the transition is at the frequency of the modulation. The published table's T is
        in degrees Celsius, whatever its head says.
    spread
        dT, K: standard deviation of the transition (of the peak of c_p'').
    reciprocal
        D(1/c_p), g K/J.
    mass
        m0, g/mol: the mean atomic mass.

    The first row of Table 1 (294.5 C, 6.5 K, 0.33, 0.55) follows from this: 1043 for the printed
    1040. Rows 2 to 4 do not follow from their own columns (477, 424, 701 for 570, 590, 1090).
    """
    return R * np.asarray(T) ** 2 / (mass * np.asarray(spread) ** 2) * reciprocal


def dynamic_units(step: Numbers, b: Numbers, slope: Numbers, mass: Numbers) -> Numbers:
    """Return N_c = R/(dc_p m0) (b/e)^2 (d ln tau/d ln T)^2, without unit (4-14).

    Parameters
    ----------
    step
        dc_p, J/(g K).
    b
        Exponent of the KWW relaxation.
    slope
        d ln tau / d ln T at T, without unit: -m ln 10 at T_g for a liquid of fragility m.
    mass
        m0, g/mol.
    """
    found = R / (np.asarray(step) * mass) * (np.asarray(b) / math.e) ** 2 * np.asarray(slope) ** 2
    return np.asarray(found)


def units_ratio(step: Numbers, reciprocal: Numbers) -> Numbers:
    """Return N_alpha/N_c = 6.45 dc_p D(1/c_p), as published (4-15)."""
    return 6.45 * np.asarray(step) * reciprocal
