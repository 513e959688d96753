"""The distribution of the values of a map: mean, spread, quantiles, histogram and its Gaussian.

No errors stand here: neighbouring pixels are not independent, so one image does not tell the
error of its own mean. Several places do.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import numpy as np

import daq
from daq_afm.image_lines import Floats

BINS: Final = 64
"""Bins of a histogram."""
QUANTILES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Which quantiles are given."""
FEWEST: Final = 16
"""Values that a Gaussian is fitted to, at least."""
_REACH: Final = 5.0
"""The histogram reaches so many robust standard deviations to both sides of the median."""


@dataclasses.dataclass(frozen=True, slots=True)
class Distribution:
    """Numbers about finite values, in their units; NaN where there are too few.

    ``count`` finite values; ``quantiles`` [5] at `QUANTILES`; ``bins`` [64], middles of
    the bins of ``histogram`` [64]; ``gaussian_mean`` and ``gaussian_sd`` of the Gaussian fitted
    to the histogram, which outliers move less than mean and sd.
    """

    count: int
    mean: float
    sd: float
    quantiles: Floats
    bins: Floats
    histogram: Floats
    gaussian_mean: float
    gaussian_sd: float

    @property
    def range_5_95(self) -> float:
        """From the 5 % to the 95 % quantile: 3.29 sd of a Gaussian."""
        return float(self.quantiles[4] - self.quantiles[0])

    def values(self) -> dict[str, Any]:
        """Return the values of `distribution_fields`."""
        return {
            "pixels": self.count, "mean": self.mean, "sd": self.sd, "quantiles": self.quantiles,
            "range_5_95": self.range_5_95, "bins": self.bins, "histogram": self.histogram,
            "gaussian_mean": self.gaussian_mean, "gaussian_sd": self.gaussian_sd,
        }  # fmt: skip


def distribution_fields(units: str) -> dict[str, daq.Field]:
    """Return the fields of a `Distribution` in a record."""
    number = daq.Field("<f8", (), units)
    return {
        "pixels": daq.Field("<i8", (), "", "pixels that count"),
        "mean": number,
        "sd": number,
        "quantiles": daq.Field("<f8", (len(QUANTILES),), units, "5, 25, 50, 75, 95 %"),
        "range_5_95": daq.Field("<f8", (), units, "from the 5 % to the 95 % quantile"),
        "bins": daq.Field("<f8", (BINS,), units, "middles of the bins"),
        "histogram": daq.Field("<f8", (BINS,), "counts"),
        "gaussian_mean": number,
        "gaussian_sd": number,
    }


def distribution(values: Floats) -> Distribution:
    """Return the distribution of the finite values of an array of any shape."""
    v = values[np.isfinite(values)]
    nan = float("nan")
    if not len(v):
        empty = np.full(BINS, nan)
        return Distribution(
            0, nan, nan, np.full(len(QUANTILES), nan), empty, empty.copy(), nan, nan
        )
    quantiles = np.quantile(v, QUANTILES)
    median = float(quantiles[2])
    spread = float(quantiles[3] - quantiles[1]) / 1.349
    sd = float(np.std(v, ddof=1)) if len(v) > 1 else nan
    half = _REACH * spread if spread > 0 else _REACH * sd
    if not half > 0 or median + half / BINS == median:
        half = max(abs(median), 1.0) * 1e-6
    edges = np.linspace(median - half, median + half, BINS + 1)
    counts = np.histogram(v, edges)[0].astype(np.float64)
    middle = (edges[1:] + edges[:-1]) / 2
    fitted = _gaussian(middle, counts) if len(v) >= FEWEST and sd > 0 else (nan, nan)
    return Distribution(len(v), float(np.mean(v)), sd, quantiles, middle, counts, *fitted)


def _gaussian(x: Floats, counts: Floats) -> tuple[float, float]:
    """Return mean and sd of the Gaussian that fits a histogram; NaN where none does.

    Least squares of the roots of the counts, all of the same variance.
    """
    from scipy.optimize import least_squares

    total, width = counts.sum(), x[1] - x[0]
    if np.count_nonzero(counts) < 3:
        return float("nan"), float("nan")
    # in units of bins from the middle, so that all parameters are of order 1
    at = (x - x[len(x) // 2]) / width
    mean = float(np.sum(at * counts) / total)
    sd = max(float(np.sqrt(np.sum((at - mean) ** 2 * counts) / total)), 0.5)
    root = np.sqrt(counts)

    def left(p: Floats) -> Floats:
        bell = np.exp(-0.25 * ((at - p[1]) / p[2]) ** 2)
        return np.asarray(np.exp(p[0] / 2) * bell - root)

    start = (np.log(total / (2.5066 * sd)), mean, sd)
    fit = least_squares(left, start, method="lm", max_nfev=200)
    if not fit.success:
        return float("nan"), float("nan")
    return float(x[len(x) // 2] + width * fit.x[1]), float(abs(fit.x[2]) * width)
