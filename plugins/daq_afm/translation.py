"""Surfaces with the distribution of heights that was measured: Gaussian ones, translated point by point.

    h = T(g),  <h h'> = sum_k a_k^2 <g g'>^k,  a_k = <T(g) He_k(g)> / sqrt(k!)

(Hermite expansion; Grigoriu 1984). T takes the quantiles of a Gaussian to those measured. The
expansion says which correlation g must have for h to have the one that was fitted.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

REACH: Final = 4.0
"""Standard deviations up to which quantiles are told apart."""
TERMS: Final = 40
MOST_VALUES: Final = 65536
"""Measured values that are looked at, evenly over the image."""


@dataclasses.dataclass(frozen=True, slots=True)
class Translation:
    """T, as a table.

    Parameters
    ----------
    gaussian, translated
        [point] float64: g, and h with mean 0 and variance 1.
    before, after
        [point] float64: correlation of g, from 0 to 1, and the one of h that it leads to.
    """

    gaussian: Floats
    translated: Floats
    before: Floats
    after: Floats

    @classmethod
    def to(cls, values: Floats) -> Translation:
        """Return the translation to the distribution of ``values`` (finite, any shape, not constant)."""
        from scipy.special import ndtr

        flat = np.ravel(values)
        flat = flat[:: -(-len(flat) // MOST_VALUES)]
        gaussian = np.linspace(-REACH, REACH, 161)
        quantiles = np.quantile(flat, ndtr(gaussian))
        fine = np.linspace(-6.0, 6.0, 1201)
        weights = np.exp(-0.5 * fine**2)
        weights /= weights.sum()
        heights = np.interp(fine, gaussian, quantiles)
        mean = float(np.sum(weights * heights))
        sd = float(np.sqrt(np.sum(weights * (heights - mean) ** 2)))
        heights = (heights - mean) / sd
        powers = np.empty(TERMS)
        last, this = np.zeros_like(fine), np.ones_like(fine)
        for k in range(TERMS):
            last, this = this, (fine * this - np.sqrt(k) * last) / np.sqrt(k + 1)
            powers[k] = np.sum(weights * heights * this) ** 2
        before = np.linspace(0.0, 1.0, 401)
        after = np.polynomial.polynomial.polyval(before, [0.0, *powers / powers.sum()])
        return cls(gaussian, (quantiles - mean) / sd, before, after)

    def correlation(self, wanted: Floats) -> Floats:
        """Return the correlation that g needs for h to have the one ``wanted`` (0 to 1)."""
        return np.interp(wanted, self.after, self.before)

    def __call__(self, surface: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        """Return T of a Gaussian surface of variance 1, float32."""
        return np.interp(surface, self.gaussian, self.translated).astype(np.float32)
