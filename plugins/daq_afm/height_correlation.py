"""Structure function of an image that grows line by line: sums over pairs of pixels, by lag.

    P(r) = <(h(x + r) - h(x))^2>

A new line is paired with every line within the largest lag. The products of all pairs of two lines,
for all lags along the line at once, are the product of their Fourier transforms (padded, so that
nothing wraps around): those are added up by distance of the lines, and transformed back only when
somebody looks. The squares need no transform. So a line costs a few complex products per frequency
and line in reach, whatever was scanned before.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

EXACT_RINGS: Final = 4
"""Rings up to this one hold each of their distances; beyond, three distances stand for a ring."""


@dataclasses.dataclass(frozen=True, slots=True)
class Rings:
    """Lags of an image sorted into rings of equal width, by distance.

    Parameters
    ----------
    shape
        Rows and columns of the image.
    step
        (dy, dx), nm.
    reach
        Largest lag along (y, x), in pixels.
    number
        [dy lag, dx lag] int64: ring of each lag, -1 for those that count nowhere (lag 0, farther
        than the largest lag, second halves of pairs). dy from 0, dx from -reach.
    radius
        [ring] float64, nm: mean distance of the pairs of a whole image.
    distances, weights
        [ring, node] float64: a few distances (nm) that stand for those of a ring, and their shares. A
        mean over a ring of anything smooth is the weighted sum over its nodes.
    """

    shape: tuple[int, int]
    step: tuple[float, float]
    reach: tuple[int, int]
    number: npt.NDArray[np.int64]
    radius: Floats
    distances: Floats
    weights: Floats


def rings(
    shape: tuple[int, int], step: tuple[float, float], largest: float, fast_axis: bool = False
) -> Rings:
    """Return the rings of all lags of up to ``largest`` nm, as wide as the smaller step.

    ``fast_axis``: only lags along the lines, each a ring of its own.

    Raises
    ------
    ValueError
        The largest lag is less than two pixels, or more than half of the image.
    """
    dy, dx = step
    reach = (0 if fast_axis else int(largest / dy), int(largest / dx))
    side = shape[1] * dx if fast_axis else min(shape[0] * dy, shape[1] * dx)
    width = dx if fast_axis else min(dy, dx)
    count = int(largest / width * (1 + 1e-9))
    if count < 2 or largest > side / 2 * (1 + 1e-9):
        raise ValueError(
            f"max_lag = {largest:g} nm: it must be 2 pixels at least ({2 * width:g} nm), "
            f"and half of the image at most ({side / 2:g} nm)"
        )
    down = np.arange(reach[0] + 1)[:, np.newaxis]
    across = np.arange(-reach[1], reach[1] + 1)[np.newaxis, :]
    distance = np.hypot(down * dy, across * dx)
    number = np.rint(distance / width).astype(np.int64)
    used = (number > 0) & (number <= count) & ((down > 0) | (across > 0))
    number = np.where(used, number - 1, -1)
    pairs = ((shape[0] - down) * (shape[1] - np.abs(across))).astype(np.float64)
    nodes = [_nodes(distance[number == k], pairs[number == k], k) for k in range(count)]
    most = max(len(r) for r, _ in nodes)
    distances, weights = np.ones((count, most)), np.zeros((count, most))
    for k, (r, w) in enumerate(nodes):
        distances[k, : len(r)], weights[k, : len(r)] = r, w
    radius = np.sum(distances * weights, axis=1)
    return Rings(shape, step, reach, number, radius, distances, weights)


def _nodes(distance: Floats, pairs: Floats, ring: int) -> tuple[Floats, Floats]:
    """Return distances that stand for those of a ring, and their weights, which add up to 1."""
    share = pairs / pairs.sum()
    if ring < EXACT_RINGS:
        found, which = np.unique(np.round(distance, 9), return_inverse=True)
        return found, np.bincount(which, share).astype(np.float64)
    mean = float(np.sum(share * distance))
    sd = math.sqrt(float(np.sum(share * (distance - mean) ** 2)))
    # Gauss-Hermite: right to the third moment of a symmetric spread
    return mean + math.sqrt(3) * sd * np.array([-1.0, 0.0, 1.0]), np.array([1, 4, 1]) / 6


class LagSums:
    """Sums of squared differences and numbers of pairs by lag, of the lines added so far.

    Lines come in any order of rows. A pixel that is not finite belongs to no pair. Sums depend on
    the lines and the order in which they were added, bitwise; relative rounding is some 1e-13.

    Memory: per row of the image 16 bytes for each of (columns + reach)/2 frequencies, and 9 for
    each column; as much again for as many rows as are in reach.
    """

    def __init__(self, where: Rings) -> None:
        self.rings = where
        rows, columns = where.shape
        down, across = where.reach
        self._length = _fast_even(columns + across)
        self._values = np.zeros((rows, columns))
        self._bad = np.zeros((rows, columns), np.bool_)
        self._holes = np.zeros(rows, np.bool_)
        self._spectra = np.zeros((rows, 2, self._length // 2 + 1))
        self._own = np.zeros((rows, 2, 2 * across + 1))
        self._present = np.zeros(rows, np.bool_)
        self._products = np.zeros((down + 1, 2, self._length // 2 + 1))
        self._squares = np.zeros((down + 1, 2 * across + 1))
        self._lost = np.zeros((down + 1, 2 * across + 1), np.int64)
        self._pairs = np.zeros(down + 1, np.int64)
        self._offset = math.nan

    @property
    def lines(self) -> int:
        """How many rows are there."""
        return int(np.count_nonzero(self._present))

    @property
    def extent(self) -> int:
        """From the first to the last row that is there, in rows."""
        rows = np.flatnonzero(self._present)
        return int(rows[-1] - rows[0] + 1) if len(rows) else 0

    @property
    def present(self) -> npt.NDArray[np.bool_]:
        """[row, column] bool: pixels that are there."""
        return np.asarray(~self._bad & self._present[:, np.newaxis])

    @property
    def values(self) -> Floats:
        """Values of the pixels that are there, less one offset, in the order of the rows."""
        return np.asarray(self._values[self.present])

    def clear(self) -> None:
        """Begin a new image."""
        for array in (self._products, self._squares, self._lost, self._pairs, self._present):
            array[...] = 0
        self._offset = math.nan

    def add(self, row: int, values: Floats) -> None:
        """Add a line [column]; one that was there before is taken out first.

        A line without a finite pixel only takes out what was there.
        """
        from daq_afm.height_correlation_kernel import add_pairs

        if self._present[row]:
            self._pair(row, -1, add_pairs)
            self._present[row] = False
        bad = ~np.isfinite(values)
        good = np.array(values, np.float64)
        if bad.any():
            if bad.all():
                return
            good[bad] = 0.0
        if math.isnan(self._offset):
            # structure functions know no offset; rounding does
            self._offset = float(good.sum() / np.count_nonzero(~bad))
        good -= self._offset
        good[bad] = 0.0
        self._values[row], self._bad[row], self._holes[row] = good, bad, bad.any()
        spectrum = np.fft.rfft(good, self._length)
        self._spectra[row, 0], self._spectra[row, 1] = spectrum.real, spectrum.imag
        self._present[row] = True
        self._pair(row, 1, add_pairs)

    def structure(self) -> tuple[Floats, npt.NDArray[np.int64]]:
        """Return P [ring], NaN where there is no pair, and how many pairs, [ring]."""
        from daq_afm.height_correlation_kernel import sum_rings

        count = len(self.rings.radius)
        total, many = np.zeros(count), np.zeros(count, np.int64)
        sum_rings(
            self.rings.shape[1], self._crossed(), self._squares, self._lost, self._pairs,
            self.rings.number, total, many,
        )  # fmt: skip
        # differences that are all 0 may round below
        found = np.maximum(total, 0.0) / np.where(many > 0, many, np.nan)
        return np.asarray(found), many

    def by_lag(self) -> tuple[Floats, npt.NDArray[np.int64]]:
        """Return sums of squared differences and numbers of pairs, [dy lag, dx lag] as in `Rings`."""
        across = self.rings.reach[1]
        lags = np.arange(-across, across + 1)
        overlap = self.rings.shape[1] - np.abs(lags)
        pairs = self._pairs[:, np.newaxis] * overlap[np.newaxis, :] - self._lost
        return self._squares - 2 * self._crossed()[:, lags], pairs

    def _crossed(self) -> Floats:
        """Return sums of products, [dy lag, dx lag]; negative lags count from the end."""
        spectra = self._products[:, 0] + 1j * self._products[:, 1]
        return np.asarray(np.fft.irfft(spectra, self._length, axis=1))

    def _pair(self, row: int, sign: int, add_pairs: object) -> None:
        assert callable(add_pairs)
        add_pairs(
            row, sign, self._values, self._bad, self._holes, self._spectra, self._own, self._present,
            self._products, self._squares, self._lost, self._pairs,
        )  # fmt: skip


def bytes_needed(where: Rings) -> int:
    """Return the memory of `LagSums`."""
    rows, columns = where.shape
    down, across = where.reach
    frequencies = _fast_even(columns + across) // 2 + 1
    lags = 2 * across + 1
    return rows * (9 * columns + 16 * frequencies + 16 * lags) + (down + 1) * (
        16 * frequencies + 16 * lags
    )


def _fast_even(least: int) -> int:
    """Return an even length of at least ``least`` whose only factors are 2, 3 and 5."""
    length = least + least % 2
    while True:
        rest = length
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return length
        length += 2
