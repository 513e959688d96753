"""How many clusters have at least a size: Gaussian or power law (Qiao2019, 3.3.3, fig. 41).

    N(>= R) ~ R^-(a - 1),   that is n(R) ~ R^-a,   R = sqrt(area / pi)

by maximum likelihood. A cluster has a whole number n of pixels, and stands for radii between
those of n - 1/2 and n + 1/2 pixels. Clusters at the edge are left out, and each of the others counts
for as many as its weight says (`daq_afm.clusters`): without, large ones would be too few.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Final

import numpy as np
import numpy.typing as npt

from daq_afm.image_lines import Floats

UNDECIDED, GAUSSIAN, POWER_LAW, TOO_FEW = 0, 1, 2, 3
"""What the sizes follow, as `SizeFit.law` says it."""
FEWEST: Final = 20
"""Clusters that a comparison needs."""
CONFIDENT: Final = 0.95
"""Weight from which one law is named."""


@dataclasses.dataclass(frozen=True, slots=True)
class SizeFit:
    """What `fit_sizes` found; NaN where there are too few clusters.

    Parameters
    ----------
    law
        `GAUSSIAN` or `POWER_LAW` where its weight is at least `CONFIDENT`; `UNDECIDED`; `TOO_FEW`.
    power_weight
        Akaike weight of the power law against the Gaussian (AICc); the rest is the Gaussian's.
    exponent, exponent_error
        a of n(R) ~ R^-a.
    mean, sd
        Of the Gaussian in R before it is cut off below, nm.
    count
        Clusters that took part.
    """

    law: int
    power_weight: float
    exponent: float
    exponent_error: float
    mean: float
    sd: float
    count: int


def fit_sizes(
    pixels: npt.NDArray[np.int64], weights: Floats, pixel_area: float, least: int = 4
) -> SizeFit:
    """Compare Gaussian and power law for the radii of clusters.

    Parameters
    ----------
    pixels, weights
        [n] of each cluster; of weight 0 are left out.
    pixel_area
        nm^2.
    least
        Clusters of fewer pixels are left out: noise makes them.
    """
    from scipy.optimize import minimize, minimize_scalar
    from scipy.special import log_ndtr

    used = (pixels >= least) & (weights > 0)
    count, nan = int(np.count_nonzero(used)), float("nan")
    # many are of the same few pixels
    n, place = np.unique(pixels[used], return_inverse=True)
    if count < FEWEST or len(n) < 2:
        return SizeFit(TOO_FEW, nan, nan, nan, nan, nan, count)
    scaled = weights[used] * (count / weights[used].sum())
    w, squares = np.bincount(place, scaled), np.bincount(place, scaled * scaled)
    # radii in units of that of the smallest cluster
    low, high = np.sqrt((n - 0.5) / (least - 0.5)), np.sqrt((n + 0.5) / (least - 0.5))
    ln_low, ratio = np.log(low), np.log(high / low)

    def each(b: float) -> Floats:
        """Return the log likelihood of each size; b = a - 1."""
        return np.asarray(-b * ln_low + np.log(-np.expm1(-b * ratio)))

    found = minimize_scalar(
        lambda b: -float(np.sum(w * each(b))), bounds=(1e-3, 50.0), method="bounded",
        options={"xatol": 1e-10},
    )  # fmt: skip
    b = float(found.x)
    h = 1e-3 * b
    ahead, here, behind = each(b + h), each(b), each(b - h)
    bend = -float(np.sum(w * (ahead - 2 * here + behind))) / (h * h)
    # weights are no counts: the sandwich
    scores = float(np.sum(squares * ((ahead - behind) / (2 * h)) ** 2))
    error = math.sqrt(scores) / bend if bend > 0 else nan

    def gauss(p: Floats) -> float:
        mean, sd = p[0], math.exp(min(max(p[1], -50.0), 50.0))
        # in the upper tail, where differences of a survival keep their digits
        first, second = log_ndtr((mean - low) / sd), log_ndtr((mean - high) / sd)
        whole = first + np.log(-np.expm1(np.minimum(second - first, -1e-300)))
        total = -float(np.sum(w * (whole - log_ndtr((mean - 1.0) / sd))))
        return total if math.isfinite(total) else 1e300

    mean = float(np.sum(w * low) / count)
    sd = math.sqrt(float(np.sum(w * (low - mean) ** 2)) / count) + 0.05
    options = {"xatol": 1e-5, "fatol": 1e-7, "maxiter": 400, "maxfev": 400}
    trials = [
        minimize(gauss, start, method="Nelder-Mead", options=options)
        for start in ((mean, math.log(sd)), (0.0, math.log(float(low.max()))))
    ]
    best = min(trials, key=lambda trial: float(trial.fun))
    by_power = -2 * float(np.sum(w * here)) + 2 + 4 / (count - 2)
    by_gauss = 2 * float(best.fun) + 4 + 12 / (count - 3)
    weight = 1 / (1 + math.exp(min(max((by_power - by_gauss) / 2, -700), 700)))
    law = UNDECIDED
    if weight >= CONFIDENT:
        law = POWER_LAW
    elif weight <= 1 - CONFIDENT:
        law = GAUSSIAN
    scale = math.sqrt((least - 0.5) * pixel_area / math.pi)
    return SizeFit(
        law, weight, b + 1, error, float(best.x[0]) * scale,
        math.exp(min(float(best.x[1]), 50.0)) * scale, count,
    )  # fmt: skip


def counts_above(radius: Floats, weights: Floats, at: Floats) -> Floats:
    """Return N(>= R), weighted, for each radius in ``at``, float64."""
    order = np.argsort(radius, kind="stable")
    above = np.append(np.cumsum(weights[order][::-1])[::-1], 0.0)
    return np.asarray(above[np.searchsorted(radius[order], at, side="left")])
