"""A field that relaxes as exp(-(t/tau)^gamma), at any time without the times before.

exp(-|t|^gamma), 0 < gamma <= 2, is the characteristic function of the symmetric stable law of
exponent gamma. So a sum of oscillators whose frequencies are drawn from that law (Cauchy for
gamma = 1, Gauss for 2) has this correlation, and its phase at a time is a product: no state.
"""

from __future__ import annotations

import math

import numba
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


TILE = 4
"""Pixels along one side of a tile: within it the frequencies of all oscillators are spread evenly."""


def stable_frequencies(first: Floats, second: Floats, gamma: Floats) -> Floats:
    """Return numbers X with mean of exp(i X t) = exp(-|t|^gamma), float64, in the shape of gamma.

    The method of Chambers, Mallows and Stuck for the symmetric case. ``first`` and ``second`` are
    independent and uniform, 0 to 1, in the shape of gamma.
    """
    angle = np.pi * (first - 0.5)
    power = -np.log1p(-np.maximum(second, np.finfo(float).tiny))
    rest = 1.0 - gamma
    return np.asarray(
        np.sin(gamma * angle)
        / np.cos(angle) ** (1 / gamma)
        * (np.cos(rest * angle) / power) ** (rest / gamma)
    )


def evenly_spread(draw: np.random.Generator, shape: tuple[int, int, int]) -> tuple[Floats, Floats]:
    """Return two sets of uniform numbers [y, x, k] that fill the unit square evenly in each tile.

    Of the n numbers of a tile one lies in each cell of a grid of sqrt(n) x sqrt(n), and one in
    each nth part of either side; which one, and where in it, is drawn. What a smooth function
    averages to over some tiles is then known much better than from numbers drawn independently.

    Raises
    ------
    ValueError
        If the last of ``shape`` is no square number.
    """
    rows, columns, oscillators = shape
    across = TILE * math.isqrt(oscillators)
    cells = TILE * TILE * oscillators
    if across * across != cells:
        raise ValueError(f"oscillators is a square number (1, 4, 9, ...), not {oscillators}")
    tiles = -(-rows // TILE), -(-columns // TILE)
    order = np.argsort(draw.random((*tiles, cells)), axis=-1)
    rank = np.arange(across)

    def spread(along: Floats, axis: int) -> Floats:
        part = np.argsort(draw.random((*tiles, across, across)), axis=axis)
        values = (along + (part + draw.random(part.shape)) / across) / across
        shuffled = np.take_along_axis(values.reshape(*tiles, cells), order, axis=-1)
        parts = shuffled.reshape(*tiles, TILE, TILE, oscillators).transpose(0, 2, 1, 3, 4)
        whole = parts.reshape(tiles[0] * TILE, tiles[1] * TILE, oscillators)
        return np.ascontiguousarray(whole[:rows, :columns])

    return spread(rank[:, None], -1), spread(rank[None, :], -2)


class KwwProcess:
    """Complex numbers o_j(t), one per pixel, with <o_j(t) o_j*(0)> = exp(-(t/tau_j)^gamma_j).

    o_j = sum over k of exp(i (phi_jk + omega_jk t)) / sqrt(K), phi uniform. The mean is over
    realisations. In a sum over n pixels with independent frequencies one realisation would be off
    by 1 / sqrt(n K): 4 % of ln tau under a probe, which no glass with its many more atoms has. So
    frequencies are spread evenly over small tiles (`evenly_spread`), and it is off by less than half
    of that.

    Parameters
    ----------
    draw
        Where phases and frequencies come from.
    tau, gamma
        [y, x], s and 1.
    oscillators
        K, per pixel, a square number.
    pairing
        c = <o o> / <o o*>, 0 to 1: the correlation between the intensities at Q and -Q of a
        field made of these is c^2 (Friedel's law holds for real numbers, c = 1).
    """

    def __init__(
        self,
        draw: np.random.Generator,
        tau: Floats,
        gamma: Floats,
        oscillators: int = 4,
        pairing: float = 0.0,
    ) -> None:
        shape = (tau.shape[0], tau.shape[1], oscillators)
        self._phase = draw.uniform(0, 2 * np.pi, shape)
        frequency = stable_frequencies(*evenly_spread(draw, shape), np.asarray(gamma)[..., None])
        self._frequency = frequency / np.asarray(tau)[..., None]
        size = 1 / math.sqrt(oscillators)
        self._real = math.sqrt(1 + pairing) * size
        self._imaginary = math.sqrt(max(0.0, 1 - pairing)) * size

    def at(self, time: float, rows: slice = slice(None)) -> npt.NDArray[np.complex128]:
        """Return o [y, x] at a time in s, of these rows only."""
        return np.asarray(
            _sum_of_oscillators(
                self._phase[rows], self._frequency[rows], time, self._real, self._imaginary
            )
        )


@numba.njit(cache=True)
def _sum_of_oscillators(phase, frequency, time, real, imaginary):  # type: ignore[no-untyped-def]
    rows, columns, oscillators = phase.shape
    out = np.empty((rows, columns), np.complex128)
    for y in range(rows):
        for x in range(columns):
            cosine = sine = 0.0
            for k in range(oscillators):
                angle = phase[y, x, k] + frequency[y, x, k] * time
                cosine += math.cos(angle)
                sine += math.sin(angle)
            out[y, x] = complex(real * cosine, imaginary * sine)
    return out
