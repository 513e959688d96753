"""The characteristic length of a map: where its correlation has fallen to 1/e, with an error.

The structure function of the map, its fit and the simulated surfaces that tell the errors are those
of `daq_afm.surface_correlation`; noise from pixel to pixel is the nugget of the fit.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from daq_afm.correlation_errors import simulated_errors
from daq_afm.correlation_fit import (
    AT_BOUND,
    DETERMINED,
    TOO_FEW,
    TOO_LONG,
    fit_correlation,
    structure_model,
)
from daq_afm.height_correlation import Floats, LagSums, Rings, rings

LEAST_LINES = 8
"""Lines that a fit needs."""


@dataclasses.dataclass(frozen=True, slots=True)
class CharacteristicLength:
    """What `characteristic_length` found.

    Parameters
    ----------
    length, length_error
        xi, nm, and its standard error.
    sigma, sigma_error
        Standard deviation of the map without noise, of a field without end: a map that holds few
        lengths has less itself.
    hurst_exponent, hurst_exponent_error
        alpha: 1 for a smooth map, lower for a rough one.
    noise
        Standard deviation of the noise from pixel to pixel (nugget).
    size_over_length
        Shorter side of what was measured over xi.
    structure, curve
        [lag]: P(r) in squared units of the map, and the fit.
    flag
        As in `daq_afm.correlation_fit`: 0 determined; 1 too few lengths in the map for a
        value; 2 alpha or xi at a bound; 3 not converged; 4 too few lines.
    """

    length: float
    length_error: float
    sigma: float
    sigma_error: float
    hurst_exponent: float
    hurst_exponent_error: float
    noise: float
    size_over_length: float
    structure: Floats
    curve: Floats
    flag: int


def default_lags(
    shape: tuple[int, int], step: tuple[float, float], largest: float | None = None
) -> Rings:
    """Return the lags out to ``largest`` nm; by default an eighth of the shorter side.

    Raises
    ------
    ValueError
        The largest lag does not fit the map.
    """
    shorter = min(shape[0] * step[0], shape[1] * step[1])
    return rings(shape, step, largest or max(shorter / 8, min(8 * max(step), shorter / 2)))


def characteristic_length(
    image: Floats, where: Rings, *, replicas: int = 64, seed: int = 1, least_size: float = 15.0
) -> CharacteristicLength:
    """Return the characteristic length of a map.

    Parameters
    ----------
    image
        [row, column]; NaN where there is no value.
    where
        The lags, see `default_lags`.
    replicas
        Simulated maps for errors and bias; 0: neither.
    seed
        Of the simulated maps; the same call gives the same result.
    least_size
        Lengths that the shorter side must hold; with fewer, scatter is as large as the value.
    """
    sums = LagSums(where)
    for row, values in enumerate(image):
        sums.add(row, values)
    P, _ = sums.structure()
    fit = fit_correlation(where, P)
    flag = int(fit.flag[0]) if sums.lines >= LEAST_LINES else TOO_FEW
    nan = float("nan")
    nothing = np.full(len(P), nan)
    if flag not in (DETERMINED, AT_BOUND):
        return CharacteristicLength(nan, nan, nan, nan, nan, nan, nan, nan, P, nothing, flag)
    p = fit.parameters[0]
    rows = np.flatnonzero(sums.present.any(axis=1))
    side = min((rows[-1] - rows[0] + 1) * where.step[0], where.shape[1] * where.step[1])
    size = side / math.exp(p[1])
    if size < least_size:
        return CharacteristicLength(nan, nan, nan, nan, nan, nan, nan, size, P, nothing, TOO_LONG)
    bias, errors = np.zeros(4), np.full(4, nan)
    if replicas:
        made = simulated_errors(where, p, sums.present, "none", replicas, seed)
        if np.isfinite(made.bias).all():
            bias, errors = made.bias, made.errors
    sigma = math.sqrt(p[0]) * math.exp(-bias[0])
    length = math.exp(p[1] - bias[1])
    return CharacteristicLength(
        length, length * float(errors[1]), sigma, sigma * float(errors[0]),
        float(p[2] - bias[2]), float(errors[2]),
        max(math.sqrt(p[3]) - float(bias[3]) * math.sqrt(p[0]), 0.0), size, P,
        structure_model(where, p[np.newaxis])[0], flag,
    )  # fmt: skip
