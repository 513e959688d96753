"""Fits of the structure function of a self-affine surface with noise, many curves at once.

    P(r) = 2 sigma^2 (1 - exp(-(r/xi)^(2 alpha))) + 2 n^2        (Zhu2016; n is the nugget)

n is the standard deviation of noise from pixel to pixel; without it xi and alpha come out too
small. The model is averaged over the distances of each ring, as the data are. Residuals are taken
relative to P, and each octave of r counts alike (weights 1/(P^2 r)): of simple weights those for
which xi scattered least. Plain weights scatter up to twice as much.
"""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np
import numpy.typing as npt

from daq_afm.height_correlation import Floats, Rings

PARAMETERS: Final = ("variance", "ln_length", "hurst_exponent", "noise_variance")
"""The order of parameters in every array: sigma^2, ln(xi/nm), alpha, n^2."""

DETERMINED: Final = 0
"""Flag: a minimum within the bounds (n = 0 is one)."""
TOO_LONG: Final = 1
"""Flag: the image holds too few correlation lengths; its values are not given."""
AT_BOUND: Final = 2
"""Flag: alpha at a bound (1: smooth at this pixel size), or xi below half a pixel."""
NOT_CONVERGED: Final = 3
"""Flag: no minimum, for example where there is no roughness."""
TOO_FEW: Final = 4
"""Flag: fewer lines or lags than the fit needs."""

HURST_BOUNDS: Final = (0.1, 1.0)
LEAST_LAGS: Final = 6
SHORTEST: Final = 0.5
"""Least xi, in widths of a ring."""
_SMALL: Final = 1e-9
"""Converged where a step would lower chi2 by less than this part of it, or by rounding."""


@dataclasses.dataclass(frozen=True, slots=True)
class CorrelationFits:
    """What `fit_correlation` found; n curves.

    Parameters
    ----------
    parameters
        [n, 4] float64 in the order of `PARAMETERS`; NaN where not converged or too few.
    misfit
        [n] float64: root of the mean squared residual relative to P, each octave counting alike.
    flag
        [n] uint8, see the flags of this module (never `TOO_LONG`: that is for the caller to say).
    """

    parameters: Floats
    misfit: Floats
    flag: npt.NDArray[np.uint8]

    @property
    def sigma(self) -> Floats:
        """[n], in units of the channel."""
        return np.sqrt(self.parameters[:, 0])

    @property
    def correlation_length(self) -> Floats:
        """[n], xi in nm."""
        return np.exp(self.parameters[:, 1])

    @property
    def hurst_exponent(self) -> Floats:
        """[n], alpha."""
        return self.parameters[:, 2]

    @property
    def nugget(self) -> Floats:
        """[n], n in units of the channel."""
        return np.sqrt(self.parameters[:, 3])


def structure_model(where: Rings, parameters: Floats) -> Floats:
    """Return P [n, ring] for ``parameters`` [n, 4], averaged over each ring."""
    return np.asarray(_model(_log_nodes(where), where.weights, parameters)[0])


def fit_correlation(
    where: Rings, curves: npt.ArrayLike, start: Floats | None = None, iterations: int = 200
) -> CorrelationFits:
    """Fit structure functions.

    Parameters
    ----------
    where
        The rings that the curves are means over.
    curves
        [n, ring]: P, in squared units of the channel; what is not finite and positive is left out.
    start
        [n, 4] parameters to start from; rows with NaN, and all if None, start from the curve.
    iterations
        At most so many steps (Levenberg and Marquardt, projected on the bounds).
    """
    P = np.atleast_2d(np.asarray(curves, np.float64))
    n = len(P)
    good = np.isfinite(P) & (P > 0)
    enough = good.sum(axis=1) >= LEAST_LAGS
    weights = np.where(good, 1.0, 0.0) / np.where(good, P, 1.0) / np.sqrt(where.radius)
    P = np.where(good, P, 0.0)
    level = np.max(P, axis=1)
    level = np.where(enough & (level > 0), level, 1.0)
    # in units of the largest value: scales are then alike for every channel
    scaled = P / level[:, np.newaxis]
    weights = weights * level[:, np.newaxis]
    weights /= np.sqrt(np.maximum(np.sum(weights**2 * scaled**2, axis=1), 1e-300))[:, np.newaxis]
    p = _start(where, scaled, good)
    if start is not None:
        known = np.all(np.isfinite(start), axis=1)
        units = np.stack([1 / level, np.ones(n), np.ones(n), 1 / level], axis=1)
        p[known] = (start * units)[known]
    shortest = np.log(SHORTEST * where.radius[0])
    lower = np.array([1e-12, shortest, HURST_BOUNDS[0], 0.0])
    upper = np.array([1e6, np.log(100 * where.radius[-1]), HURST_BOUNDS[1], 1.0])
    p = np.clip(p, lower, upper)
    converged = np.zeros(n, np.bool_)
    chi2 = np.full(n, np.inf)
    if enough.any():
        p[enough], chi2[enough], converged[enough] = _minimise(
            where, scaled[enough], weights[enough], p[enough], (lower, upper), iterations
        )
    # where a curve never levels off, xi and sigma run away together
    converged &= p[:, 1] < upper[1]
    flag = np.where(converged, DETERMINED, NOT_CONVERGED)
    bound = (p[:, 2] <= lower[2]) | (p[:, 2] >= upper[2]) | (p[:, 1] <= lower[1])
    flag[converged & bound] = AT_BOUND
    flag[~enough] = TOO_FEW
    p[:, 0] *= level
    p[:, 3] *= level
    p[~converged] = np.nan
    misfit = np.where(converged, np.sqrt(chi2), np.nan)
    return CorrelationFits(p, misfit, flag.astype(np.uint8))


def _start(where: Rings, P: Floats, good: npt.NDArray[np.bool_]) -> Floats:
    """Return a first guess [n, 4] from where a curve reaches 1 - 1/e of its largest value."""
    reached = good & ((1 - np.exp(-1)) * np.max(P, axis=1)[:, np.newaxis] <= P)
    length = where.radius[np.argmax(reached, axis=1)]
    n = len(P)
    return np.stack([np.full(n, 0.5), np.log(length), np.full(n, 0.7), np.full(n, 1e-3)], axis=1)


def _log_nodes(where: Rings) -> Floats:
    return np.asarray(np.log(where.distances))


def _model(ln_r: Floats, shares: Floats, p: Floats) -> tuple[Floats, Floats]:
    """Return P [n, ring] and its derivatives [n, ring, 4]."""
    variance, alpha, noise = p[:, 0, None], p[:, 2, None, None], p[:, 3, None]
    apart = ln_r - p[:, 1, None, None]
    u = np.exp(2 * alpha * apart)
    left = shares * np.exp(-u)
    shape = 1 - left.sum(axis=2)
    slope = left * u
    columns = np.stack(
        [
            2 * shape,
            -4 * variance * p[:, 2, None] * slope.sum(axis=2),
            4 * variance * (slope * apart).sum(axis=2),
            np.full_like(shape, 2.0),
        ],
        axis=2,
    )
    return 2 * variance * shape + 2 * noise, columns


def _minimise(
    where: Rings, P: Floats, w: Floats, p: Floats, bounds: tuple[Floats, Floats], limit: int
) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
    """Return parameters, chi2 and whether a minimum was found; each curve goes its own way."""
    lower, upper = bounds
    ln_r, shares = _log_nodes(where), where.weights
    p = p.copy()
    model, columns = _model(ln_r, shares, p)
    residual = w * (P - model)
    chi2 = np.sum(residual**2, axis=1)
    damping = np.full(len(p), 1e-3)
    done = np.zeros(len(p), np.bool_)
    for _ in range(limit):
        at = np.flatnonzero(~done)
        if not len(at):
            break
        J = columns[at] * w[at][:, :, None]
        normal = np.sum(J[:, :, :, None] * J[:, :, None, :], axis=1)
        gradient = np.sum(J * residual[at][:, :, None], axis=1)
        held = ((p[at] <= lower) & (gradient < 0)) | ((p[at] >= upper) & (gradient > 0))
        free = ~held
        gradient = np.where(free, gradient, 0.0)
        diagonal = np.einsum("nii->ni", normal).copy()
        diagonal[diagonal <= 0] = 1.0
        both = free[:, :, None] & free[:, None, :]
        damped = np.where(both, normal, 0.0)
        index = np.arange(4)
        damped[:, index, index] = np.where(free, diagonal * (1 + damping[at][:, None]), 1.0)
        step = np.linalg.solve(damped, gradient[:, :, None])[:, :, 0]
        trial = np.clip(p[at] + step, lower, upper)
        expected = np.sum(step * gradient, axis=1)
        tried, derived = _model(ln_r, shares, trial)
        left = w[at] * (P[at] - tried)
        found = np.sum(left**2, axis=1)
        better = found <= chi2[at]
        small = expected <= _SMALL * chi2[at] + 1e-28
        took = at[better]
        p[took], columns[took], residual[took] = trial[better], derived[better], left[better]
        chi2[took] = found[better]
        damping[took] = np.maximum(damping[took] * 0.2, 1e-12)
        damping[at[~better]] *= 8
        # small without much damping is a minimum; refused however short, is one to rounding
        done[at] = (small & (damping[at] < 1)) | (damping[at] > 1e12)
    return p, chi2, done
