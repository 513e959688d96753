"""What a map says about all its positions: mean and spread of ln tau, and the error of the mean."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


DECILES = np.arange(1, 10) / 10


def matched_population(
    estimates: Floats, truth: Floats, found: Floats
) -> tuple[float, float, float]:
    """Return mean and sd of the normal population whose estimates would be spread as these are.

    Estimates of ln tau are skew, biased and now and then open, by amounts that change with tau: a
    mean of them is biased. Replicas with ``truth`` [replica] gave ``found``, so that a population
    N(mean, sd) of truths would give estimates with known deciles; those of ``estimates`` [n] are
    met by least squares. -inf and inf count as below and above all. NaN for fewer than 16.

    Returns
    -------
    mean, sd, replicas
        Of ln tau; and how many replicas that rests on, (sum w)^2 / sum w^2 of their weights.
    """
    from scipy.optimize import least_squares

    known = ~np.isnan(found)
    seen = np.sort(estimates[~np.isnan(estimates)])
    if len(seen) < 16 or known.sum() < 64:
        return float("nan"), float("nan"), 0.0
    order = np.argsort(found[known], kind="stable")
    u, x = truth[known][order], found[known][order]
    low, high = float(u.min()), float(u.max())
    x = np.clip(x, low - 3, high + 3)
    target = np.interp(DECILES, (np.arange(len(seen)) + 0.5) / len(seen), seen)
    target = np.clip(target, low - 3, high + 3)

    def weights(at: Floats) -> Floats:
        return np.asarray(np.exp(-0.5 * ((u - at[0]) / np.exp(at[1])) ** 2))

    def misfit(at: Floats) -> Floats:
        weight = weights(at)
        below = np.cumsum(weight)
        below = (below - weight / 2) / below[-1]
        return np.asarray(np.interp(DECILES, below, x) - target)

    start = np.array([np.clip(np.median(target), low, high), np.log(0.4)])
    ends = ([low - 1e-6, np.log(0.05)], [high + 1e-6, np.log(3.0)])
    at = least_squares(misfit, start, bounds=ends, x_scale=[0.3, 0.5], diff_step=1e-3).x
    weight = weights(at)
    return float(at[0]), float(np.exp(at[1])), float(weight.sum() ** 2 / (weight**2).sum())


def error_of_mean(noise: Floats, shape: tuple[int, int]) -> tuple[float, float]:
    """Return the standard error of the mean of smooth noise on a map, and n_effective.

    ``noise`` [position] has mean 0 in expectation and is NaN where there is none. Its own
    autocovariance C, summed over distances up to where it first falls to 0:
    var = sum_d n(d) C(d) / n^2, with n(d) pairs at the displacement d. n_effective = C(0) / var.
    """
    there = np.isfinite(noise)
    n = int(there.sum())
    if n < 3:
        return float("nan"), float("nan")
    padded = (2 * shape[0], 2 * shape[1])
    values = np.where(there, noise, 0.0).reshape(shape)
    transform = np.fft.rfft2(values, padded)
    weight = np.fft.rfft2(there.reshape(shape).astype(np.float64), padded)
    products = np.fft.irfft2(np.abs(transform) ** 2, padded)
    pairs = np.round(np.fft.irfft2(np.abs(weight) ** 2, padded))
    y = np.minimum(np.arange(padded[0]), padded[0] - np.arange(padded[0]))
    x = np.minimum(np.arange(padded[1]), padded[1] - np.arange(padded[1]))
    distance = np.round(np.hypot(y[:, None], x[None, :])).astype(np.int64)
    by_distance = np.bincount(distance.reshape(-1), weights=products.reshape(-1))
    number = np.bincount(distance.reshape(-1), weights=pairs.reshape(-1))
    with np.errstate(invalid="ignore", divide="ignore"):
        covariance = by_distance / number
    fallen = np.flatnonzero(~(covariance > 0))
    reach = int(fallen[0]) if len(fallen) else len(covariance)
    variance = float(by_distance[:reach].sum()) / n**2
    own = float(covariance[0])
    if not variance > 0:
        return float("nan"), float("nan")
    return float(np.sqrt(variance)), own / variance
