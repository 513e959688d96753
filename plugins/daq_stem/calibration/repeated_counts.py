"""Counts per electron from what changes between two patterns of one position."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

import daq
from daq_stem.scattering.speckle_noise import SpeckleNoise

Floats = npt.NDArray[np.float64]

POSITIONS = 64
"""Positions of the scan that are watched: enough for a per cent in a few scans."""

CLASSES = 12
"""Pixels are sorted by intensity into as many: noise of single pixels would flatten the fit."""

ROUNDS = 4
"""Of least squares, each with the weights that follow from the one before."""

FEWEST = 60
"""Pixels that a fit needs."""


class RepeatedCounts:
    """Compares the same pixels of the same positions in successive scans.

    For two raw patterns of one position, d the dark level of a pixel,

        <(I1 - I2)^2> = g <I1 + I2 - 2 d> + c <2 (I1 - d)(I2 - d)>,

    g the counts per electron (variance over mean of counting, what `fem` calls
    ``variance_per_count``) and c what the speckles have changed meanwhile: noise of counting
    grows as the intensity, change of the specimen as its square. Both products are free of bias,
    as the noise of both patterns is independent. g and c are fitted to the pixels of a ring, whose
    intensities must differ; dead or saturated pixels are to be left out of it.

    Memory: 8 bytes x `POSITIONS` x pixels, and 24 a pixel.
    """

    def __init__(self, stream: daq.Stream, field: str, positions: int) -> None:
        self._field = field
        shape = stream.fields[field].shape
        self._watched = np.unique(np.linspace(0, positions - 1, POSITIONS).astype(np.int64))
        exact = stream.fields[field].numpy_dtype.kind in "uib"
        kind: npt.DTypeLike = np.int64 if exact else np.float64
        self._before = np.zeros((len(self._watched), *shape), kind)
        self._seen = np.full(len(self._watched), -2, np.int64)
        self._squares = np.zeros(shape, kind)
        self._sum = np.zeros(shape, kind)
        self._products = np.zeros(shape, kind)
        self.pairs = 0
        corrections = daq.corrections_for(stream)
        self._dark = np.zeros(shape)
        if corrections is not None and corrections.field == field:
            self._dark = corrections.dark.astype(np.float64).reshape(shape)

    def add(self, batch: daq.Batch, first: int, scan: int, usable: npt.NDArray[np.bool_]) -> None:
        """Take records of one scan, the first at position ``first``, one at a time: a few per scan."""
        low, high = np.searchsorted(self._watched, [first, first + len(batch)])
        for place in range(int(low), int(high)):
            at = int(self._watched[place]) - first
            if not usable[at]:
                continue
            frame = batch.raw[self._field][at].astype(self._before.dtype)
            if self._before.dtype.kind == "f" and not np.isfinite(frame).all():
                continue
            if self._seen[place] == scan - 1:
                before = self._before[place]
                self._squares += (frame - before) ** 2
                self._sum += frame + before
                self._products += 2 * frame * before
                self.pairs += 1
            self._before[place] = frame
            self._seen[place] = scan

    def fit(self, ring: npt.NDArray[np.bool_], centre: tuple[float, float]) -> tuple[float, float]:
        """Return g and its error (1 sigma) from the pixels ``ring`` [y, x]; NaN without pairs.

        Least squares over `CLASSES` of intensity; a square scatters as much as it is on average, which
        gives the weights. The error follows from the residuals of single pixels and how far speckle
        correlates them, see `SpeckleNoise`; pixels opposite to each other about ``centre``
        (px, [y, x]) may share theirs (Friedel pairs).
        """
        if not self.pairs or int(ring.sum()) < FEWEST:
            return np.nan, np.nan
        dark = self._dark[ring]
        light = self._sum[ring] - 2 * dark * self.pairs
        products = self._products[ring] - 2 * dark * self._sum[ring] + 2 * dark**2 * self.pairs
        squares = self._squares[ring].astype(np.float64)
        order = np.argsort(light, kind="stable")
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order)) * CLASSES // len(order)
        number = np.bincount(place, minlength=CLASSES)
        level, product, square = (
            np.bincount(place, weights=part, minlength=CLASSES) / number
            for part in (light, products, squares)
        )
        if not (level > 0).all() or not square.any():
            return np.nan, np.nan
        design, expected = np.stack([level, product], axis=1), level
        for _ in range(ROUNDS):
            weighed = design * (number / expected**2)[:, None]
            try:
                slopes = np.linalg.inv(weighed.T @ design) @ weighed.T  # [parameter, class]
            except np.linalg.LinAlgError:
                return np.nan, np.nan
            fitted = design @ (slopes @ square)
            expected = np.maximum(fitted, 0.1 * square.mean() / level.mean() * level)
        g, c = (slopes @ square).tolist()
        level = expected[place]
        residual = (squares - g * light - c * products) / level
        noise = SpeckleNoise.of(np.argwhere(ring), residual, centre, len(design.T))
        response = (slopes[0] / number)[place] * level
        error = float(noise.errors(np.argwhere(ring), response[:, None])[0])
        # intensities are nearly the same on opposite sides: what Friedel pairs share adds
        return g, error * math.sqrt(1.0 + noise.friedel)
