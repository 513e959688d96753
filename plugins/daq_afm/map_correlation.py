"""Correlation of two maps, and how sure it is: neighbouring pixels are no independent samples.

Two smooth maps that have nothing to do with each other correlate at 5 % significance in most cases
if pixels are counted. The variance of the correlation coefficient r follows from how both maps
correlate with themselves and each other at all lags k (Bartlett; Clifford, Richardson, Hemon 1989
for unrelated maps):

    var0(r) = sum_k N_k C_xx C_yy / N^2,  effective samples 1 + 1/var0
    var(r)  = sum_k N_k [C_xx C_yy + C_xy C_yx + r^2 (C_xx^2 + C_yy^2 + C_xy^2 + C_yx^2)/2
              - r (C_xx + C_yy)(C_xy + C_yx)] / N^2

with N_k pairs of pixels at lag k, and N pixels.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

LEAST_SIDE: Final = 8
"""Rows and columns that are needed to say how sure a correlation is."""


@dataclasses.dataclass(frozen=True, slots=True)
class MapCorrelation:
    """The correlation coefficient of two maps.

    Parameters
    ----------
    value
        r, -1 to 1.
    error
        Standard error of r.
    p_value
        Probability of an |r| as large as this for unrelated maps (Student's t with the
        effective samples).
    effective_samples
        As many independent samples would scatter as unrelated maps like these do.
    """

    value: float
    error: float
    p_value: float
    effective_samples: float


UNKNOWN: Final = MapCorrelation(math.nan, math.nan, math.nan, math.nan)


def ranks(values: Floats, good: npt.NDArray[np.bool_]) -> Floats:
    """Return the rank of each good pixel among them (equal ones share the mean rank); 0 elsewhere."""
    from scipy.stats import rankdata

    found = np.zeros(values.shape)
    found[good] = rankdata(values[good])
    return found


def correlate_maps(one: Floats, other: Floats, good: npt.NDArray[np.bool_]) -> MapCorrelation:
    """Return Pearson's correlation of two maps [row, column] over the ``good`` pixels.

    Lags up to a quarter of the rows and of the columns count; those beyond hold noise only. Maps
    that are not that much larger than their features give errors that are too small. `UNKNOWN`
    where there are fewer than 8 rows or columns, or a map is constant.
    """
    rows, columns = (np.flatnonzero(good.any(axis=axis)) for axis in (1, 0))
    if min(len(rows), len(columns)) < LEAST_SIDE:
        return UNKNOWN
    window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    mask = good[window]
    x, y = (_standard(values[window], mask) for values in (one, other))
    if x is None or y is None:
        return UNKNOWN
    count = np.count_nonzero(mask)
    r = min(max(float(np.sum(x * y)) / count, -1.0), 1.0)
    pairs, xx, yy, xy, yx = _covariances(x, y, mask)
    null = float(np.sum(pairs * xx * yy)) / count**2
    own = r * r * (xx * xx + yy * yy + xy * xy + yx * yx) / 2
    variance = float(np.sum(pairs * (xx * yy + xy * yx + own - r * (xx + yy) * (xy + yx))))
    variance = max(variance / count**2, 0.0)
    if not null > 0:
        return MapCorrelation(r, math.sqrt(variance), math.nan, math.nan)
    effective = 1 + 1 / null
    return MapCorrelation(r, math.sqrt(variance), _p_value(r, effective), effective)


def _standard(values: Floats, mask: npt.NDArray[np.bool_]) -> Floats | None:
    """Return values with mean 0 and variance 1 over the mask, 0 elsewhere; None if constant."""
    known = np.where(mask, values, 0.0)
    count = np.count_nonzero(mask)
    centred = np.where(mask, known - known.sum() / count, 0.0)
    variance = float(np.sum(centred * centred)) / count
    return centred / math.sqrt(variance) if variance > 0 else None


def _covariances(x: Floats, y: Floats, mask: npt.NDArray[np.bool_]) -> tuple[Floats, ...]:
    """Return numbers of pairs, and C_xx, C_yy, C_xy, C_yx per pair, by lag, flat."""
    import scipy.fft

    reach = [max(n // 4, 1) for n in mask.shape]
    shape = [
        scipy.fft.next_fast_len(n + k, real=True) for n, k in zip(mask.shape, reach, strict=True)
    ]
    there, a, b = (scipy.fft.rfft2(v, shape) for v in (mask.astype(np.float64), x, y))
    lags = np.ix_(*(np.arange(-k, k + 1) for k in reach))

    def back(spectrum: npt.NDArray[Any]) -> Floats:
        return np.asarray(scipy.fft.irfft2(spectrum, shape)[lags])

    pairs = np.rint(back(np.abs(there) ** 2))
    per_pair = np.where(pairs > 0, pairs, np.inf)
    crossed = back(a * b.conj()) / per_pair
    return (
        pairs, back(np.abs(a) ** 2) / per_pair, back(np.abs(b) ** 2) / per_pair, crossed,
        crossed[::-1, ::-1],
    )  # fmt: skip


def _p_value(r: float, effective: float) -> float:
    from scipy.special import stdtr

    freedom = max(effective - 2, 1.0)
    if abs(r) >= 1:
        return 0.0
    return float(2 * stdtr(freedom, -abs(r) * math.sqrt(freedom / (1 - r * r))))
