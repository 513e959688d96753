"""From the intensity in the cells of a diffraction pattern to electrons counted in pixels.

Electrons are drawn, not pixels: the expected numbers of all cells in a row are a line, on which
electrons stand at exponentially distributed distances. That is Poisson's law in each cell,
exactly, at the cost of one logarithm per electron. Where in its cell an electron lands, and
whether the pixel counts it, are further bits of the same random number.
"""

from __future__ import annotations

import dataclasses
import math

import numba
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

SURE = 1 << 16
"""The response of a pixel that counts every electron."""

_BITS = 256
_OVER = 16


@dataclasses.dataclass(frozen=True)
class Cells:
    """The grid on which the diffraction pattern is calculated, and how pixels lie on it.

    ``size`` x ``size`` cells of ``cell`` 1/nm; a cell is ``block`` pixels wide, or a pixel is
    ``parts`` cells wide (the other is 1). ``margin`` is the number of cells before the first pixel
    of [y, x].
    """

    size: int
    cell: float
    block: int
    parts: int
    margin: tuple[int, int]

    @classmethod
    def for_frame(cls, shape: tuple[int, int], pixel_size: float, finest: float) -> Cells:
        """Return a grid for frames of ``shape`` with cells of about ``finest`` 1/nm."""
        import scipy.fft

        block = max(1, round(finest / pixel_size))
        parts = max(1, round(pixel_size / finest)) if block == 1 else 1
        needed = [math.ceil(size * parts / block) for size in shape]
        size = scipy.fft.next_fast_len(max(needed))
        margin = ((size - needed[0]) // 2, (size - needed[1]) // 2)
        return cls(size, pixel_size * block / parts, block, parts, margin)

    def coordinates(self, axis: int, centre: float, pixel_size: float) -> Floats:
        """Return Q in 1/nm of the middle of each cell along an axis; ``centre`` in pixels."""
        cells = np.arange(self.size) - self.margin[axis] + 0.5
        return np.asarray((cells * self.block / self.parts - 0.5 - centre) * pixel_size)

    def landing(self, axis: int, pixels: int) -> npt.NDArray[np.int32]:
        """Return [cell, byte] -> pixel, -1 outside the frame: where an electron of a cell lands.

        Evenly over the pixels of its cell, but one in 16 over either border: so intensities at the
        middle of cells become means over cells, as far as the contrast of binned speckles goes.
        """
        within = _BITS - 2 * _OVER
        inner = np.arange(within) * self.block // within
        offsets = np.concatenate([np.full(_OVER, -1), inner, np.full(_OVER, self.block)])
        cell = np.arange(self.size) - self.margin[axis]
        found = (cell[:, None] * self.block + offsets[None, :]) // self.parts
        return np.where((found >= 0) & (found < pixels), found, -1).astype(np.int32)


@numba.njit(cache=True, inline="always")
def _mixed(state):  # type: ignore[no-untyped-def]
    """The output function of splitmix64."""
    z = state
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@numba.njit(cache=True)
def stream_of(seed, number):  # type: ignore[no-untyped-def]
    """Return the state in which the random numbers of record ``number`` begin: uint64."""
    return _mixed(np.uint64(seed) ^ _mixed(np.uint64(number) * np.uint64(0x9E3779B97F4A7C15)))


@numba.njit(cache=True)
def uniforms(seed, first, count):  # type: ignore[no-untyped-def]
    """Return one uniform number in [0, 1) for each record from ``first`` on: float64."""
    out = np.empty(count)
    for i in range(count):
        out[i] = (stream_of(seed, first + i) >> np.uint64(11)) * 2.0**-53
    return out


@numba.njit(cache=True, nogil=True)
def count_electrons(intensity, state, land_y, land_x, response, step, largest, frame):  # type: ignore[no-untyped-def]
    """Add counts to ``frame`` [y, x]: ``step`` for each electron, up to ``largest``.

    ``intensity`` float32 [y, x] is the mean number of electrons in each cell, ``state`` that of
    `stream_of`, ``response`` uint32 [y, x] the chance of a pixel to count an electron, out of
    `SURE`.
    """
    low = np.uint64(0xFF)
    rows, columns = intensity.shape
    state += np.uint64(0x9E3779B97F4A7C15)
    distance = -math.log((np.float64(_mixed(state) >> np.uint64(32)) + 0.5) * 2.0**-32)
    for cell_y in range(rows):
        for cell_x in range(columns):
            distance -= intensity[cell_y, cell_x]
            while distance < 0.0:
                state += np.uint64(0x9E3779B97F4A7C15)
                bits = _mixed(state)
                distance -= math.log((np.float64(bits >> np.uint64(32)) + 0.5) * 2.0**-32)
                y = land_y[cell_y, np.int64(bits & low)]
                x = land_x[cell_x, np.int64((bits >> np.uint64(8)) & low)]
                if y >= 0 and x >= 0:
                    chance = np.uint32((bits >> np.uint64(16)) & np.uint64(0xFFFF))
                    if chance < response[y, x] and frame[y, x] <= largest - step:
                        frame[y, x] += step
