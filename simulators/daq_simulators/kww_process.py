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


def stable_frequencies(draw: np.random.Generator, gamma: Floats) -> Floats:
    """Return numbers X with mean of exp(i X t) = exp(-|t|^gamma), float64, in the shape of gamma.

    The method of Chambers, Mallows and Stuck for the symmetric case.
    """
    angle = draw.uniform(-np.pi / 2, np.pi / 2, gamma.shape)
    power = draw.standard_exponential(gamma.shape)
    rest = 1.0 - gamma
    return np.asarray(
        np.sin(gamma * angle)
        / np.cos(angle) ** (1 / gamma)
        * (np.cos(rest * angle) / power) ** (rest / gamma)
    )


class KwwProcess:
    """Complex numbers o_j(t), one per pixel, with <o_j(t) o_j*(0)> = exp(-(t/tau_j)^gamma_j).

    o_j = sum over k of exp(i (phi_jk + omega_jk t)) / sqrt(K), phi uniform. The mean is over
    realisations; in a sum over n pixels what one realisation keeps of it is 1 / sqrt(n K).

    Parameters
    ----------
    draw
        Where phases and frequencies come from.
    tau, gamma
        [y, x], s and 1.
    oscillators
        K, per pixel.
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
        shape = (*tau.shape, oscillators)
        self._phase = draw.uniform(0, 2 * np.pi, shape)
        self._frequency = stable_frequencies(
            draw, np.broadcast_to(gamma[..., None], shape)
        ) / np.asarray(tau)[..., None]  # fmt: skip
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
