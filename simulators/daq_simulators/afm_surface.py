"""Random surfaces whose structure function is 2 sigma^2 (1 - exp(-(r/xi)^(2 alpha))), exactly.

The covariance on the lattice of pixels is continued periodically on a larger lattice; its discrete
Fourier transform is then the variance of each wave (circulant embedding). No spectrum is
approximated, pixels need not be square, and slow drift, which shears the lattice, is exact too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Complexes = npt.NDArray[np.complex128]

MOST_CELLS: Final = 2**24
"""Of the periodic lattice; where more are needed the surface is refused."""
EXACT: Final = 1e-12
"""Covariances may be off by this part of the variance, where tiny variances round below zero."""


@dataclasses.dataclass(frozen=True, slots=True)
class SelfAffine:
    """Which surface, apart from its sigma.

    ``correlation_length`` xi in nm, ``hurst_exponent`` alpha (0 to 1). With ``anisotropy`` m the
    variance of a wave is multiplied by 1 + m cos(order (direction - angle)): 2 gives two lobes in
    the power spectrum, 4 four (quadrupolar); the variance stays what it is, the average over
    directions to 3 %.
    Angles in degrees, from +x towards +y.
    """

    correlation_length: float
    hurst_exponent: float = 0.7
    anisotropy: float = 0.0
    order: int = 4
    angle: float = 0.0

    def correlation(self, r: npt.ArrayLike) -> Floats:
        """Return exp(-(r/xi)^(2 alpha)) for distances in nm, averaged over directions."""
        ratio = np.asarray(r, np.float64) / self.correlation_length
        return np.asarray(np.exp(-(ratio ** (2 * self.hurst_exponent))))


@dataclasses.dataclass(frozen=True, slots=True)
class Lattice:
    """Where pixels lie: row i, column j at i * ``slow`` + j * ``fast``, both (y, x) in nm."""

    shape: tuple[int, int]
    slow: tuple[float, float]
    fast: tuple[float, float]

    def positions(self) -> tuple[Floats, Floats]:
        """Return y and x of every pixel, nm, [row, column]."""
        i, j = np.arange(self.shape[0])[:, None], np.arange(self.shape[1])[None, :]
        y, x = (i * slow + j * fast for slow, fast in zip(self.slow, self.fast, strict=True))
        return np.asarray(y), np.asarray(x)


class RandomSurfaces:
    """Surfaces of one or more kinds on one lattice, each with variance 1 and mean 0.

    Parameters
    ----------
    lattice
        The pixels of an image.
    kinds
        What is wanted; all share the periodic lattice, so that they can be coupled.

    Raises
    ------
    ValueError
        Where the periodic covariance is not positive definite, as for an image that is small beside
        xi, on any lattice that is tried. A larger one helps, as the kink at half the period falls
        with the covariance: each next one is 1.5 times as long.
    """

    def __init__(self, lattice: Lattice, kinds: Sequence[SelfAffine]) -> None:
        self.lattice = lattice
        for shape in _periods(lattice.shape):
            waves = _wave_numbers(lattice, shape)
            variances = [_variances(lattice, shape, kind, waves) for kind in kinds]
            if all(found is not None for found in variances):
                break
        else:
            longest = max(kind.correlation_length for kind in kinds)
            raise ValueError(
                f"correlation_length: {longest:g} nm is too long beside the image for an exact "
                "surface; scan a larger field, with fewer pixels if need be"
            )
        self.period = shape
        self._waves = waves
        self._amplitudes = [np.sqrt(found) for found in variances if found is not None]

    def image(
        self,
        kind: int,
        waves: Complexes,
        shift: tuple[float, float] = (0.0, 0.0),
        blur: float = 0.0,
    ) -> Floats:
        """Return the surface [row, column] at the lattice moved by ``shift`` (y, x) nm.

        ``blur`` is the standard deviation, nm, of a Gaussian over which it is averaged.
        A shift, of any part of a pixel, leaves the statistics as exact as they were.
        """
        ky, kx = self._waves
        amplitude = waves * self._amplitudes[kind]
        if shift != (0.0, 0.0):
            amplitude = amplitude * np.exp(2j * np.pi * (ky * shift[0] + kx * shift[1]))
        if blur:
            amplitude = amplitude * np.exp(-2 * (np.pi * blur) ** 2 * (ky**2 + kx**2))
        rows, columns = self.lattice.shape
        # rows that are not looked at need no second transform
        seen = np.fft.ifft(amplitude, axis=0)[:rows]
        return np.ascontiguousarray(np.fft.irfft(seen, n=self.period[1], axis=1)[:, :columns])

    def coupling(self, one: int, other: int, correlation: float) -> float:
        """Return how much noise two kinds must share for their images to correlate at a pixel.

        Raises ValueError where even the same noise correlates less: kinds that are too different.
        """
        overlap = _mean(self._amplitudes[one] * self._amplitudes[other], self.period[1])
        if abs(correlation) > overlap:
            raise ValueError(
                f"a correlation of {correlation:g} cannot be reached: surfaces with these "
                f"correlation lengths correlate by {overlap:.2f} at most"
            )
        return correlation / overlap


def white_waves(period: tuple[int, int], draw: np.random.Generator) -> Complexes:
    """Return the waves of white noise; the same ones show the same place in every kind."""
    return np.asarray(np.fft.rfft2(draw.standard_normal(period)))


def coupled(one: Complexes, other: Complexes, shared: float) -> Complexes:
    """Return noise that shares ``shared`` with ``one`` and takes the rest from ``other``."""
    return np.asarray(shared * one + np.sqrt(1 - shared**2) * other)


def _periods(shape: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Lattices to be tried: odd, as a wave at Nyquist cannot be shifted by part of a pixel."""
    scale = 1.0
    while True:
        rows, columns = (_fast_odd(int(scale * (2 * size - 1))) for size in shape)
        if rows * columns > MOST_CELLS and scale > 1:
            return
        yield rows, columns
        scale *= 1.5


def _fast_odd(least: int) -> int:
    """Return an odd length of at least ``least`` with factors of 3, 5 and 7 only."""
    length = least | 1
    while True:
        rest = length
        for factor in (3, 5, 7):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return length
        length += 2


def _wave_numbers(lattice: Lattice, shape: tuple[int, int]) -> tuple[Floats, Floats]:
    """Wave numbers (ky, kx) in 1/nm, [row, column] of a real transform."""
    inverse = np.linalg.inv(np.array([lattice.slow, lattice.fast]))
    down, across = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :]
    ky, kx = (inverse[axis, 0] * down + inverse[axis, 1] * across for axis in (0, 1))
    return ky, kx


def _variances(
    lattice: Lattice, shape: tuple[int, int], kind: SelfAffine, waves: tuple[Floats, Floats]
) -> Floats | None:
    """Variance of every wave, mean 1; None where the covariance is not positive definite."""
    i, j = (np.fft.fftfreq(size, 1 / size) for size in shape)
    y, x = (
        i[:, None] * s + j[None, :] * f for s, f in zip(lattice.slow, lattice.fast, strict=True)
    )
    # odd sizes: the covariance at -r is that at r, so the transform is real
    found = np.fft.rfft2(kind.correlation(np.hypot(y, x))).real
    below = np.minimum(found, 0)
    if -_mean(below, shape[1]) > EXACT:
        return None
    found = np.maximum(found, 0)
    if kind.anisotropy:
        turned = np.arctan2(*waves) - np.deg2rad(kind.angle)
        found *= 1 + kind.anisotropy * np.cos(kind.order * turned)
    return np.asarray(found / _mean(found, shape[1]))


def _mean(half: Floats, columns: int) -> float:
    """Mean over all waves of a quantity that is known for those of a real transform."""
    total = 2 * half.sum() - half[:, 0].sum()
    return float(total / (half.shape[0] * columns))
