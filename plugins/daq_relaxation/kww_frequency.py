"""Kohlrausch's law in frequency: chi = integral of -d/dt exp(-(t/tau)^b) exp(-i omega t).

Along s = r exp(-i theta) nothing oscillates, and with s = exp(y - i theta), y = w - exp(-w), both
tails fall doubly exponentially: the trapezoidal rule with 80 points gives chi to rounding (1e-13)
at every frequency for 0.1 <= b <= 1. Where chi is nearly 1, i omega tau times the integral of
exp(-s^b - i omega tau s) is taken from 1, so that the loss keeps its digits.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

Complexes = npt.NDArray[np.complex128]

LOWEST_B: Final = 0.1
"""Below it the law spans over 30 decades, and the quadrature is not tested."""


def kww_susceptibility(omega: npt.ArrayLike, tau: float, b: float) -> Complexes:
    """Return chi(omega), complex; 1 at low frequency, its imaginary part is negative.

    Qiao2019, eqs. 2-4 and 2-7. ``omega`` [...], rad/s, > 0; ``tau`` in s; 0.1 <= b <= 1.
    ValueError where they are not so.
    """
    return kww_susceptibility_slopes(omega, tau, b)[0]


def kww_susceptibility_slopes(
    omega: npt.ArrayLike, tau: float, b: float
) -> tuple[Complexes, Complexes, Complexes]:
    """Return chi(omega), d chi / d ln tau and d chi / d b, each with the shape of ``omega``."""
    from daq_relaxation.susceptibility_kernel import kww_curve

    x = np.asarray(omega, np.float64) * tau
    if not LOWEST_B <= b <= 1:
        raise ValueError(f"b = {b:g}: it must be between {LOWEST_B:g} and 1")
    if not np.all((x > 0) & np.isfinite(x)):
        raise ValueError("omega tau must be finite and above 0")
    flat = np.ascontiguousarray(x).reshape(-1)
    chi, slope = np.empty(flat.shape, np.complex128), np.empty((len(flat), 2), np.complex128)
    kww_curve(flat, float(b), chi, slope)
    return chi.reshape(x.shape), slope[:, 0].reshape(x.shape), slope[:, 1].reshape(x.shape)


def kww_peak(tau: float, b: float) -> float:
    """Return omega of the loss peak, rad/s: 1/tau for b = 1, less below."""
    return math.exp(ln_kww_peak(b)) / tau


def ln_kww_peak(b: float) -> float:
    """Return ln(omega tau) of the loss peak, by golden section within 1e-8."""
    from daq_relaxation.susceptibility_kernel import kww_point

    # flat to first order at the peak, so the slope is sought, not the height
    low, high = -8.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if kww_point(math.exp(middle), float(b))[1].imag < 0:  # the loss -Im chi still rises
            low = middle
        else:
            high = middle
        if high - low < 1e-9:
            break
    return (low + high) / 2
