"""Anelastic contact: the Kelvin model of an indent, and its fit (Qiao2019, 3-6 to 3-9).

    t_c dy/dt + y = K P(t),  y = h^(3/2),  K = 3 (1 - nu)/(8 G sqrt(R)),  eta = G t_c

Under P = Pdot t this is 3-9. The depth that is measured is h, and an unknown zero, and drift: it is
K^(2/3) u^(2/3) + zero + drift t, where u(t) is the load, delayed by t_c. Given t_c that is linear in
three numbers, so the fit seeks t_c alone. Hold and unloading take part like loading.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Final

import numpy as np
import numpy.typing as npt

from daq_mechanical.hertz import hertz_modulus, hertz_stiffness

Floats = npt.NDArray[np.float64]

DETERMINED: Final = 0
NO_LAG: Final = 1
"""Flag: t_c is not told from 0, or from times longer than the indent; G stands in the first case."""
MISFIT: Final = 2
"""Flag: the residuals are no noise: late contact, pop-in, plastic flow, or another tip."""
CUT: Final = 3
"""Flag: the unloading is not there."""
TOO_FEW: Final = 4
"""Flag: fewer samples than a fit needs, or no load in them."""

LEAST: Final = 50
CLEAR: Final = 8.0
"""How many times its noise the load must be."""
BLOCK: Final = 16
"""Samples whose mean residual is compared with their scatter."""
WORST: Final = 5.0
"""Variance of block means over that of white noise above which residuals are no noise."""


@dataclasses.dataclass(frozen=True, slots=True)
class KelvinFit:
    """One indent, SI units.

    Parameters
    ----------
    G, t_c, eta
        Pa, s, Pa s, each with its error (``_error``).
    zero
        m: the depth that was measured where the surface is.
    drift
        m/s.
    noise
        m, of a sample.
    correlation
        Variance of block means of residuals over that of white noise; errors are multiplied by its
        root where it is above 1.
    """

    G: float
    G_error: float
    t_c: float
    t_c_error: float
    eta: float
    eta_error: float
    zero: float
    drift: float
    noise: float
    correlation: float
    flag: int


def kelvin_loading(
    t: npt.ArrayLike, rate: float, G: float, t_c: float, radius: float, poisson_ratio: float
) -> Floats:
    """Return the depth, m, of 3-9: loading at ``rate`` N/s from t = 0."""
    s = np.asarray(t, np.float64)
    K = hertz_stiffness(G, radius, poisson_ratio)
    y = K * rate * (s - t_c * -np.expm1(-s / t_c))
    return np.asarray(np.maximum(y, 0.0) ** (2 / 3))


def fit_kelvin(
    t: npt.ArrayLike, load: npt.ArrayLike, depth: npt.ArrayLike, radius: float, poisson_ratio: float
) -> KelvinFit:
    """Fit G, t_c, the zero of the depth and drift to one indent.

    Parameters
    ----------
    t, load, depth
        [sample], s, N, m; samples with a NaN, or whose time is not after the one before, are left
        out. So is, for the fit, where the load is under a hundredth of its highest, or under `CLEAR`
        times its noise: h is too steep a function of it there.
    radius
        Of the tip, m.
    poisson_ratio
        Of the sample.
    """
    from scipy.optimize import minimize_scalar

    from daq_mechanical.kelvin_kernel import delayed_load

    t, P, h = (np.asarray(a, np.float64) for a in (t, load, depth))
    good = np.isfinite(t) & np.isfinite(P) & np.isfinite(h)
    t, P, h = t[good], P[good], h[good]
    if len(t):
        ahead = np.concatenate([[True], t[1:] > np.maximum.accumulate(t)[:-1]])
        t, P, h = t[ahead], P[ahead], h[ahead]
    if len(t) < LEAST or not P.max() > 0:
        return _nothing(TOO_FEW)
    begin = _rest(P)
    u = np.empty_like(t)
    span = float(t[-1] - t[0])
    A = np.stack([np.ones_like(t), (t - t.mean()) / span, u], axis=1)
    scale = float(P.max())
    noise = _load_noise(P)
    kept = np.ones(len(t), np.bool_)

    def solved(ln_tc: float) -> tuple[float, Floats]:
        delayed_load(t, P, math.exp(ln_tc), begin, u)
        A[:, 2] = np.maximum(u / scale, 0.0) ** (2 / 3)
        B, y = A[kept], h[kept]
        c = np.linalg.solve(B.T @ B, B.T @ y)
        rest = y - B @ c
        return float(np.sum(rest * rest)), c

    def cost(ln_tc: float) -> float:
        # the longer t_c, the less of the load's noise is left in u: without that it came out too long
        chi2, c = solved(ln_tc)
        slopes = (2 / 3) * c[2] / scale * A[kept, 2] ** -0.5
        left = _noise_left(step / math.exp(ln_tc))
        return chi2 - noise**2 * left * float(np.sum(slopes * slopes))

    step = float(np.median(np.diff(t)))
    low = math.log(step / 5)
    high = math.log(span)
    grid = np.linspace(low, high, 18)
    costs = [solved(float(v))[0] for v in grid]
    k = int(np.argmin(costs))
    solved(float(grid[k]))
    kept = u > max(0.01 * scale, CLEAR * noise)
    if np.count_nonzero(kept) < LEAST:
        return _nothing(TOO_FEW)
    bounds = (float(grid[max(k - 1, 0)]), float(grid[min(k + 1, len(grid) - 1)]))
    found = minimize_scalar(cost, bounds=bounds, method="bounded", options={"xatol": 1e-7})
    ln_tc = float(found.x)
    at_bound = min(ln_tc - low, high - ln_tc) < 1e-3
    # how the depth follows ln t_c
    small = 1e-3
    solved(ln_tc + small)
    upper = A[:, 2].copy()
    solved(ln_tc - small)
    lower = A[:, 2].copy()
    chi2, c = solved(ln_tc)
    if not c[2] > 0:
        return _nothing(MISFIT)
    J = np.column_stack([A, c[2] * (upper - lower) / (2 * small)]) * kept[:, None]
    dof = int(np.count_nonzero(kept)) - 4
    rest = (h - A @ c)[kept]
    variance = chi2 / dof
    correlation = _correlation(rest, variance)
    norm = np.linalg.norm(J, axis=0)
    try:
        C = np.linalg.inv((J / norm).T @ (J / norm)) / np.outer(norm, norm)
    except np.linalg.LinAlgError:
        return _nothing(NO_LAG)
    through = C @ J.T
    C = C * variance * max(1.0, correlation)
    C = C + _from_load(t, noise, u, through, c[2], scale, math.exp(ln_tc))
    # K^(2/3) = c2 / scale^(2/3)
    G = float(hertz_modulus((c[2] ** 1.5) / scale, radius, poisson_ratio))
    rel = 1.5 * math.sqrt(C[2, 2]) / c[2]
    its = math.sqrt(C[3, 3])
    both = math.sqrt(max(rel**2 + its**2 - 2 * 1.5 / c[2] * C[2, 3], 0.0))
    t_c = math.exp(ln_tc)
    flag = DETERMINED
    if P[-max(3, len(P) // 200) :].mean() > 0.5 * scale:
        flag = CUT
    elif correlation > WORST:
        flag = MISFIT
    elif at_bound or its > 0.5:
        flag = NO_LAG
    return KelvinFit(
        G, G * rel, t_c, t_c * its, G * t_c, G * t_c * both,
        float(c[0] - c[1] * (t.mean() - t[0]) / span), float(c[1] / span), math.sqrt(variance),
        correlation, flag,
    )  # fmt: skip


def _rest(P: Floats) -> float:
    """Return the load at which the tip rests before loading: the mean before it rises."""
    risen = np.flatnonzero(P - P[0] > 0.05 * (P.max() - P[0]))
    before = int(risen[0]) if len(risen) else 1
    # the last of them may be rising already
    return float(P[: max(1, before - 2)].mean())


def _from_load(
    t: Floats, noise: float, u: Floats, through: Floats, rise: float, scale: float, t_c: float
) -> Floats:
    """Return the covariance [4, 4] that the noise of the load brings; it moves u, and u the depth.

    ``through`` [4, sample] is how the parameters follow each depth.
    """
    from daq_mechanical.kelvin_kernel import delayed_back

    slope = rise * (2 / 3) * np.maximum(u / scale, 1e-3) ** (-1 / 3) / scale
    found = np.empty((4, len(t)))
    for k in range(4):
        delayed_back(t, t_c, np.ascontiguousarray(through[k] * slope), found[k])
    return np.asarray(noise**2 * (found @ found.T))


def _noise_left(steps: float) -> float:
    """Return the variance of a delayed load over that of the load's samples; steps of t_c apart."""
    e = math.exp(-steps)
    a, b = 1 - (1 - e) / steps, (1 - e) / steps - e
    return (a * a + b * b + 2 * a * b * e) / -math.expm1(-2 * steps)


def _load_noise(P: Floats) -> float:
    """Return the noise of a sample of the load: robust, since corners of the programme are no noise."""
    second = P[2:] - 2 * P[1:-1] + P[:-2]
    return 1.4826 * float(np.median(np.abs(second))) / math.sqrt(6)


def _correlation(rest: Floats, variance: float) -> float:
    """Return the variance of block means over that of white noise."""
    blocks = rest[: len(rest) // BLOCK * BLOCK].reshape(-1, BLOCK).mean(axis=1)
    if len(blocks) < 4 or not variance > 0:
        return 1.0
    return float(np.mean(blocks**2)) * BLOCK / variance


def _nothing(flag: int) -> KelvinFit:
    n = math.nan
    return KelvinFit(n, n, n, n, n, n, n, n, n, n, flag)


def memory(samples: int) -> int:
    """Return the bytes that a fit of an indent of so many samples needs."""
    return 20 * 8 * samples


def warm_up() -> None:
    """Compile, or load from numba's cache, before the first indent comes."""
    from daq_mechanical.kelvin_kernel import delayed_back, delayed_load

    t = np.arange(3.0)
    delayed_load(t, t, 1.0, 0.0, np.empty(3))
    delayed_back(t, 1.0, t, np.empty(3))
