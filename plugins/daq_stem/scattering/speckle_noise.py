"""Errors of what is fitted to a mean pattern, whose noise is speckle: correlated over some pixels."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

FARTHEST = 0.4
"""In radii of the ring: beyond it speckles are not looked for."""


@dataclasses.dataclass(frozen=True, slots=True)
class SpeckleNoise:
    """Autocovariance of the noise of a pattern, relative to its intensity.

    Parameters
    ----------
    covariance
        [lag y, lag x] in the order of a Fourier transform, 0 beyond the speckles.
    friedel
        Part of the noise that the opposite pixels share, 0 to 1.
    """

    covariance: Floats
    friedel: float

    @classmethod
    def of(
        cls, at: Integers, residual: Floats, centre: tuple[float, float], fitted: int
    ) -> SpeckleNoise:
        """Estimate it from relative residuals [pixel] at the pixels ``at`` [pixel, (y, x)].

        The mean product over all pairs of pixels at a lag; it ends where the mean over lags of
        one length is first under a fiftieth of that of neighbours, or at `FARTHEST`. ``fitted``
        parameters took a part of the noise with them, which is given back:
        n / (n - fitted) with the number n of independent speckles, that follows from it.
        """
        low = at.min(axis=0)
        size = at.max(axis=0) - low + 1
        shape = tuple(2 * int(s) for s in size)
        place = tuple((at - low).T)
        picture, seen = np.zeros(shape), np.zeros(shape)
        picture[place], seen[place] = residual, 1.0
        spectrum, mask = np.fft.rfft2(picture), np.fft.rfft2(seen)
        pairs = np.round(np.fft.irfft2(np.abs(mask) ** 2, shape))
        products = np.fft.irfft2(np.abs(spectrum) ** 2, shape)
        covariance = products / np.maximum(pairs, 1.0)
        lag = np.hypot(*np.meshgrid(*[np.fft.fftfreq(s, 1 / s) for s in shape], indexing="ij"))
        lag[pairs < 0.2 * len(at)] = np.inf
        end = _end(covariance, lag, FARTHEST * float(size.min()) / 2)
        near = lag < end
        covariance = np.where(near, covariance, 0.0)
        independent = len(at) * covariance[0, 0] / max(float(covariance.sum()), 1e-300)
        given_back = independent / max(independent - fitted, 0.2 * independent)
        # the pattern turned by half a turn about the centre, to the nearest pixel
        turn = np.round(2 * (np.array(centre) - low)).astype(np.int64)
        shift = [np.exp(-2j * np.pi * np.outer(np.fft.fftfreq(s), [t]))[:, 0]
                 for s, t in zip(shape, turn, strict=True)]  # fmt: skip
        phase = shift[0][:, None] * shift[1][None, : shape[1] // 2 + 1]
        other = np.fft.irfft2(spectrum * spectrum * np.conj(phase), shape)
        share = float(other[near].sum()) / max(float(products[near].sum()), 1e-300)
        return cls(covariance * given_back, float(np.clip(share, 0.0, 1.0)))

    def errors(self, at: Integers, response: Floats) -> Floats:
        """Return 1 sigma of sum over pixels of response [pixel, k] times the relative noise: [k].

        For responses that are equal on opposite pixels Friedel pairs add: multiply by
        sqrt(1 + friedel).
        """
        low = at.min(axis=0)
        place = tuple((at - low).T)
        spectrum = np.fft.rfft2(self.covariance)
        found = []
        for column in response.T:
            picture = np.zeros(self.covariance.shape)
            picture[place] = column
            spread = np.fft.irfft2(np.fft.rfft2(picture) * spectrum, picture.shape)
            found.append(float((picture * spread).sum()))
        return np.sqrt(np.maximum(found, 0.0))


def _end(covariance: Floats, lag: Floats, farthest: float) -> float:
    """Return the lag, pixels, at which the noise of two pixels is independent."""
    near = lag <= farthest + 1
    ring = np.round(lag[near]).astype(np.int64)
    values = np.bincount(ring, weights=covariance[near]) / np.maximum(np.bincount(ring), 1)
    if len(values) < 2 or values[1] < 0.02 * values[0]:
        return 0.5  # counting noise alone
    for step in range(2, len(values)):
        if values[step] < 0.02 * values[1]:
            return step - 0.5
    return max(farthest, 1.5)
