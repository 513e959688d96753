"""From S(Q) to distances of atoms: matrices for the isotropic part and for that with l = 2.

In this module Q is 4 pi sin(theta) / lambda, 2 pi times the 1/d of diffraction patterns.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def lorch(q: Floats) -> Floats:
    """Return Lorch's window sin(pi Q / Q_max) / (pi Q / Q_max), with the largest ``q`` as Q_max."""
    return np.asarray(np.sinc(q / q.max()))


def sine_matrix(q: Floats, r: Floats, *, damped: bool = False, from_zero: bool = True) -> Floats:
    """Return the matrix [r, q] that makes the integral of (S - 1) sin(Q r) Q over Q of S - 1.

    ``q`` rises (1/nm), ``r`` > 0 (nm). Q (S - 1) is taken as straight between the points, and
    between Q = 0, where it is 0, and the first (``from_zero``); the integral of that is exact, at
    any r. ``damped``: times `lorch`. Reduced: G(r) = 2/pi times it; Qiao2019, eq. 3-1:
    g(r) = 1 + it / (2 pi^2 r rho_0).
    """
    at = np.concatenate([[0.0], q]) if from_zero else q
    low, high = at[:-1], at[1:]
    width = high - low
    turn_low, turn_high = np.outer(r, low), np.outer(r, high)
    over_r = 1.0 / r[:, None]
    change = (np.sin(turn_high) - np.sin(turn_low)) * over_r**2 / width
    weights = np.zeros((len(r), len(at)))
    weights[:, 1:] += change - np.cos(turn_high) * over_r
    weights[:, :-1] += np.cos(turn_low) * over_r - change
    weights = weights[:, 1:] if from_zero else weights
    return np.asarray(weights * q * (lorch(q) if damped else 1.0))


def second_matrix(q: Floats, r: Floats, *, damped: bool = False) -> Floats:
    """Return the matrix [r, q] that makes -integral of S_2(Q) j_2(Q r) Q^2 over Q of S_2.

    Qiao2019, eq. 3-2 with l = 2, without 1 / (2 pi^2 rho_0); j_2 is the spherical Bessel
    function. S_2 is taken as straight between the points, and the integral by trapezes that are
    fine enough for the largest r.
    """
    from scipy.special import spherical_jn

    pieces = max(1, math.ceil(float(np.diff(q).max() * r.max()) / 0.1))
    fine = np.interp(np.arange((len(q) - 1) * pieces + 1) / pieces, np.arange(len(q)), q)
    step = np.diff(fine)
    width = np.zeros(len(fine))
    width[:-1] += step / 2
    width[1:] += step / 2
    kernel = -spherical_jn(2, np.outer(r, fine)) * (fine**2 * width)
    between = np.stack([np.interp(fine, q, row) for row in np.eye(len(q))], axis=1)
    return np.asarray(kernel @ between * (lorch(q) if damped else 1.0))


def uniaxial_second(mean: Floats, second: Floats) -> tuple[Floats, Floats]:
    """Return S_0 and S_2^0 of what is seen along a direction across the axis of a uniaxial strain.

    Around a transmitted beam S = ``mean`` + ``second`` cos 2 phi, phi from the axis. With
    P_2(cos phi) = (1 + 3 cos 2 phi) / 4 the part of P_2 is 4/3 of ``second``; S_2^0 belongs to
    sqrt(5) P_2, as in Qiao2019, eqs. 3-2 and 3-3.
    """
    return np.asarray(mean - second / 3), np.asarray(4 / 3 * second / math.sqrt(5))


def affine_second(r: Floats, g: Floats, poisson: float) -> Floats:
    """Return g_2^0(r) of a unit affine strain along z: Qiao2019, eq. 3-3.

    -sqrt(1/5) (2 (1 + nu) / 3) r dg/dr, with the slope of ``g`` [r] by differences.
    """
    return np.asarray(-math.sqrt(0.2) * 2 * (1 + poisson) / 3 * r * np.gradient(g, r))


def split_strain(
    second: Floats, affine: Floats, anelastic: Floats, applied: float
) -> tuple[float, float, float]:
    """Return anelastic strain, its error (1 sigma), and the elastic part of the strain.

    The elastic part is about 0.76 in metallic glass (Qiao2019, figure 31). Least squares of eq. 3-4, ``second`` = e_anel ``anelastic`` + (applied - e_anel) ``affine``: all
    [r], g_2^0 as measured, and of unit strain; ``anelastic`` is that of a crept sample. Raises
    ValueError where both shapes are the same, and nothing can be told.
    """
    shape = anelastic - affine
    size = float((shape**2).sum())
    if size <= 1e-12 * float((affine**2).sum()) or applied == 0:
        raise ValueError("affine and anelastic shape are the same, or there is no strain")
    strain = float((shape * (second - applied * affine)).sum()) / size
    residual = second - applied * affine - strain * shape
    error = math.sqrt(float((residual**2).sum()) / max(len(second) - 1, 1) / size)
    return strain, error, (applied - strain) / applied
