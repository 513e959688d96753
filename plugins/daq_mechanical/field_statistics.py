"""Mean and spread of a property that was measured at places near each other: neighbours are alike.

The values are taken for a Gaussian field, of variance s^2 and correlation exp(-d/l), measured with
errors that are known. Mean, s and l are averaged over what is likely (restricted likelihood, on a
grid even in ln s and ln l, l up to half the extent of the map): that l and s are themselves found from
the map widens the error of the mean, as it should.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

OUTLYING: Final = 5.0
"""Robust standard deviations from the median beyond which a value does not count."""
MOST: Final = 400
"""Values that the field is learnt from: of more, every so many."""
LENGTHS: Final = 14
SPREADS: Final = 48


@dataclasses.dataclass(frozen=True, slots=True)
class Distribution:
    """A Gaussian through values, and their histogram.

    Parameters
    ----------
    centre, count, gaussian
        [bin]: of the histogram, four spreads to either side.
    mean, mean_error
        Of the field.
    spread, spread_error
        Standard deviation of values, errors of measurement included.
    own_spread, own_spread_error
        s, without them.
    independent
        How many independent values the mean is worth.
    length
        l, in the unit of the places.
    outlying
        Values that were left out.
    """

    centre: Floats
    count: Floats
    gaussian: Floats
    mean: float
    mean_error: float
    spread: float
    spread_error: float
    own_spread: float
    own_spread_error: float
    independent: float
    length: float
    outlying: int


def distribution(values: Floats, errors: Floats, places: Floats, bins: int = 24) -> Distribution:
    """Return the distribution of values [n] with errors [n] at places [n, 2]; NaN for fewer than 4."""
    nan = math.nan
    middle = float(np.median(values)) if len(values) else nan
    width = 1.4826 * float(np.median(np.abs(values - middle))) if len(values) else nan
    inside = np.abs(values - middle) <= OUTLYING * width
    n = int(np.count_nonzero(inside))
    if n < 4 or not width > 0:
        empty = np.full(bins, nan)
        return Distribution(
            empty, empty, empty, nan, nan, nan, nan, nan, nan, nan, nan, len(values) - n
        )
    x, places = values[inside], places[inside]
    noise = float(np.mean(errors[inside] ** 2))
    learnt = slice(None, None, 1 + (n - 1) // MOST)
    mean, mean_error, own, own_error, length = _field(x[learnt], places[learnt], noise)
    spread = math.hypot(own, math.sqrt(noise))
    edges = np.linspace(mean - 4 * spread, mean + 4 * spread, bins + 1)
    count = np.histogram(x, edges)[0].astype(np.float64)
    centre = (edges[1:] + edges[:-1]) / 2
    height = n * (edges[1] - edges[0]) / (spread * math.sqrt(2 * math.pi))
    return Distribution(
        centre, count, height * np.exp(-((centre - mean) ** 2) / (2 * spread**2)),
        mean, mean_error, spread, own_error * own / spread, own, own_error,
        (spread / mean_error) ** 2, length, len(values) - n,
    )  # fmt: skip


def _field(x: Floats, places: Floats, noise: float) -> tuple[float, float, float, float, float]:
    """Return mean, its error, s, its error, and l."""
    distance = np.hypot(*(places[:, None, :] - places[None, :, :]).transpose(2, 0, 1))
    apart = distance[distance > 0]
    nearest, extent = (float(apart.min()), float(apart.max())) if len(apart) else (1.0, 1.0)
    # no correlation at all is one of the lengths
    lengths = np.append(nearest / 10, np.geomspace(nearest / 2, max(extent / 2, nearest), LENGTHS))
    centre, variance = float(x.mean()), float(np.var(x))
    squares = np.geomspace(variance / 100, variance * 10, SPREADS)
    rows = []
    for length in lengths:
        eigen, Q = np.linalg.eigh(np.exp(-distance / length))
        a, b = Q.sum(axis=0), Q.T @ (x - centre)
        weight = 1 / (squares[:, None] * np.maximum(eigen, 0.0) + noise + 1e-12 * variance)
        A = (weight * a**2).sum(axis=1)
        m = (weight * (a * b)).sum(axis=1) / A
        chi2 = (weight * (b - m[:, None] * a) ** 2).sum(axis=1)
        ln = 0.5 * np.log(weight).sum(axis=1) - 0.5 * np.log(A) - 0.5 * chi2
        rows.append(np.stack([ln, m, 1 / A, np.sqrt(squares), np.full(SPREADS, length)]))
    ln, m, inverse, s, length = np.concatenate(rows, axis=1)
    p = np.exp(ln - ln.max())
    p /= p.sum()
    mean = float(np.sum(p * m))
    mean_error = math.sqrt(float(np.sum(p * (inverse + (m - mean) ** 2))))
    own = float(np.sum(p * s))
    own_error = math.sqrt(float(np.sum(p * (s - own) ** 2)))
    return centre + mean, mean_error, own, own_error, math.exp(float(np.sum(p * np.log(length))))
