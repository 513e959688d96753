"""Havriliak-Negami's susceptibility with its derivatives, and where its loss peaks.

chi = [1 + (i omega tau)^alpha]^-gamma (Qiao2019, eq. 2-5); gamma = 1 is Cole-Cole, alpha = 1
Cole-Davidson, both Debye. It is physical for 0 < alpha <= 1 and 0 < alpha gamma <= 1: fits
seek alpha and c = alpha gamma, for which that is a box.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Complexes = npt.NDArray[np.complex128]


def havriliak_negami_slopes(
    omega: npt.ArrayLike, tau: float, alpha: float, gamma: float
) -> tuple[Complexes, Complexes, Complexes, Complexes]:
    """Return chi and its derivatives by ln tau, alpha (at fixed gamma) and gamma, shaped as omega.

    ``omega`` in rad/s, > 0; ``tau`` in s.
    """
    x = np.log(np.asarray(omega, np.float64) * tau) + 0.5j * math.pi
    z = np.exp(alpha * x)
    ln_one = np.log1p(z)
    chi = np.exp(-gamma * ln_one)
    part = z / (1 + z)
    return chi, -gamma * alpha * chi * part, -gamma * chi * part * x, -chi * ln_one


def ln_havriliak_negami_peak(alpha: float, gamma: float) -> float:
    """Return ln(omega tau) of the loss peak; 0 for Debye, ln 2.15 for alpha 0.95, gamma 0.41."""
    part = math.pi * alpha / (2 * gamma + 2)
    return math.log(math.sin(part) / math.sin(part * gamma)) / alpha
