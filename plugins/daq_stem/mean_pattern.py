"""The sum of all patterns, corrected, in a way that does not round differently from batch to batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

import daq


class MeanPattern:
    """Adds patterns; see `mean`.

    Integers are summed as integers; dark and gain are applied to the sum, as they are linear.
    Where bad pixels are interpolated or patterns moved back, and for floats, corrected patterns
    are added one after the other. Patterns with a good pixel that is not finite are left out.
    """

    def __init__(self, stream: daq.Stream, field: str) -> None:
        from daq_stem.virtual.reduction import image_dtype, reduce_frames, regions

        self._reduce, self._field = reduce_frames, field
        described = stream.fields[field]
        if described.numpy_dtype.kind not in "uibf":
            raise ValueError(f"{stream.name}: {field} is {described.dtype}, not real")
        corrections = daq.corrections_for(stream)
        if corrections is not None and corrections.field != field:
            corrections = None
        self.good: npt.NDArray[np.bool_] = (
            np.ones(described.shape, bool) if corrections is None else ~corrections.bad
        )
        if not self.good.any():
            raise ValueError(f"{stream.name}: every pixel is masked as bad")
        dtype = described.numpy_dtype
        # the sum of integers is exact where these are all that is corrected
        self._later = (
            dtype.kind in "uib"
            and dtype.itemsize <= 4
            and not ({"interpolate", "descan"} & set(stream.constants))
        )
        self._dark, self._gain = np.zeros(described.shape), np.ones(described.shape)
        if self._later and corrections is not None:
            self._dark = corrections.dark.astype(np.float64).reshape(described.shape)
            self._gain = corrections.gain.astype(np.float64).reshape(described.shape)
        dtype = dtype if self._later or corrections is None else np.dtype(np.float32)
        self._corrected = corrections is not None and not self._later
        self._regions = regions(self.good, self.good, [])
        self._block = np.zeros(described.shape, image_dtype(dtype))
        exact = self._block.dtype.kind in "ui"
        self._sum = np.zeros(described.shape, np.int64 if exact else np.float64)
        self._in_block = 0
        self.count = 0
        reduce_frames(
            np.zeros((1, *described.shape), dtype), np.zeros(1, bool), self._regions, self._block
        )

    def add(self, batch: daq.Batch, usable: npt.NDArray[np.bool_]) -> None:
        """Add the ``usable`` records of a batch."""
        for start in range(0, len(batch), 64):
            few = batch.slice(start, min(start + 64, len(batch)))
            frames: npt.NDArray[Any] = few[self._field] if self._corrected else few.raw[self._field]
            used = self._reduce(frames, usable[start : start + 64], self._regions, self._block)[2]
            self.count += int(used.sum())
            self._in_block += len(few)
            # 32 bits hold 65 536 patterns of 16 bits; floats are never cut
            if self._sum.dtype == np.int64 and self._in_block > 60_000:
                self._empty_block()

    def mean(self) -> npt.NDArray[np.float64]:
        """Return the mean pattern [y, x], corrected; NaN where a pixel is bad, or before any came."""
        total = self._sum + self._block
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = (total / np.float64(self.count) - self._dark) * self._gain
        mean[~self.good] = np.nan
        return np.asarray(mean)

    def _empty_block(self) -> None:
        self._sum += self._block
        self._block[...] = 0
        self._in_block = 0
