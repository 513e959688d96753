"""Counts per electron from what changes between two patterns of one position."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

import daq

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

POSITIONS = 64
"""Positions of the scan that are watched: enough for a per cent in a few scans."""

SECTORS = 12
"""Azimuthal sectors, each with the one opposite, for the error."""

TOGETHER = 3
"""So many neighbouring sectors are left out at a time, since they share speckles."""

CLASSES = 12
"""Pixels of a sector are sorted by intensity into as many."""


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

    def fit(self, sectors: Integers, ring: npt.NDArray[np.bool_]) -> tuple[float, float]:
        """Return g and its error (1 sigma, jackknife over sectors); NaN without pairs.

        On simulated glasses the error is about a third too small (docs/explanation/calibration.md).

        ``sectors`` [y, x] from 0 to `SECTORS` - 1; ``ring`` [y, x], the pixels to be used.
        """
        if not self.pairs:
            return np.nan, np.nan
        dark = self._dark[ring]
        light = self._sum[ring] - 2 * dark * self.pairs
        products = self._products[ring] - 2 * dark * self._sum[ring] + 2 * dark**2 * self.pairs
        squares, of = self._squares[ring].astype(np.float64), sectors[ring]
        order = np.argsort(light, kind="stable")
        level = np.empty(len(order), np.int64)
        level[order] = np.arange(len(order)) * CLASSES // max(1, len(order))
        place, size = of * CLASSES + level, SECTORS * CLASSES
        sums = np.stack(
            [np.bincount(place, weights=part, minlength=size).reshape(SECTORS, CLASSES)
             for part in (squares, light, products)]
        )  # fmt: skip
        whole = sums.sum(axis=1)
        best = _slope(whole)
        here = np.flatnonzero(sums[1].sum(axis=1) > 0)
        count = len(here)
        if count < 2 * TOGETHER or not np.isfinite(best):
            return np.nan, np.nan
        seen = sums[:, here]
        blocks = [seen[:, (np.arange(TOGETHER) + k) % count].sum(axis=1) for k in range(count)]
        scatter = sum((_slope(whole - block) - best) ** 2 for block in blocks)
        return best, float(np.sqrt(scatter * (count - TOGETHER) / (TOGETHER * count)))


def _slope(sums: Floats) -> float:
    """Return g of squares = g light + c products, weights of counting noise; NaN if undetermined."""
    squares, light, products = sums
    used = light > 0
    if used.sum() < 3:
        return np.nan
    squares, light, products = squares[used], light[used], products[used]
    design = np.stack([light, products], axis=1)
    weight = 1.0 / light**2
    normal = (design * weight[:, None]).T @ design
    try:
        return float(np.linalg.solve(normal, (design * weight[:, None]).T @ squares)[0])
    except np.linalg.LinAlgError:
        return np.nan
