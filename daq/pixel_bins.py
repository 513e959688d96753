"""Sums of pixels in bins, corrected while they are read: what most analyses want of a frame."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from daq.corrections import corrections_for
from daq.streams import Array, Batch, Stream


class PixelBins:
    """Sums over the good pixels of each bin: sum of (raw - dark) * gain, added in float64.

    The order of additions within a record is fixed, so that the result does not depend on how
    records were batched. Sums of integers without dark and gain are exact. Bad pixels (the
    stream's ``mask``) are never read, interpolated ones are the mean of their neighbours; a pixel
    that is not finite makes its bin so. Where patterns are moved back (``descan``), the bins move
    with them over the raw frame.

    Parameters
    ----------
    stream
        With its constants ``dark``, ``gain``, ``mask`` ..., see `daq.corrections`.
    field
        Name of the field whose pixels are read.
    labels
        Integers in the shape of one record: the number of the bin that a pixel belongs to,
        negative where it belongs to none. Bins are numbered 0 to the largest label.
    count
        Number of bins, if there may be more than the labels tell.
    dtype
        float64, or float32 for sums that are rounded in the end.

    Attributes
    ----------
    pixels
        [bin] int64: good and interpolated pixels in each bin.
    """

    def __init__(
        self, stream: Stream, field: str, labels: npt.ArrayLike, count: int | None = None,
        dtype: npt.DTypeLike = np.float64,
    ) -> None:  # fmt: skip
        label = np.asarray(labels)
        shape = stream.fields[field].shape
        if label.dtype.kind not in "iu" or label.shape != shape:
            raise ValueError(
                f"labels are {label.dtype} {list(label.shape)}: integers {list(shape)} are needed"
            )
        if stream.fields[field].numpy_dtype.kind not in "biuf":
            raise ValueError(f"{stream.name}: {field} is no field of real numbers")
        corrections = corrections_for(stream)
        if corrections is not None and corrections.field != field:
            corrections = None
        flat = label.reshape(-1).astype(np.int64)
        size = flat.size
        dark, gain = np.zeros(size), np.ones(size)
        if corrections is not None:
            flat = np.where(corrections.bad.reshape(-1), -1, flat)
            dark, gain = corrections.dark.astype(np.float64), corrections.gain.astype(np.float64)
        self._moving = corrections if corrections is not None and corrections.moves else None
        self.field, self._dtype = field, np.dtype(dtype)
        self.count = int(flat.max(initial=-1)) + 1 if count is None else count
        if flat.max(initial=-1) >= self.count:
            raise ValueError(f"labels reach {flat.max()}, there are {self.count} bins")
        self.pixels: npt.NDArray[np.int64] = np.bincount(flat[flat >= 0], minlength=self.count)
        self._labels, self._everywhere = flat, (dark, gain)
        self._spots = None
        if corrections is not None and len(corrections.replaced):
            self._spots = (corrections.replaced, corrections.near)
            if not corrections.moves:
                # these are never read themselves
                flat = flat.copy()
                flat[corrections.replaced] = -1
        kept = np.flatnonzero(flat >= 0)
        self._plain = not dark[kept].any() and bool((gain[kept] == 1).all())
        # a run: pixels that follow on each other in one bin
        begins = np.ones(len(kept), bool)
        begins[1:] = (np.diff(kept) != 1) | (np.diff(flat[kept]) != 0)
        first = np.flatnonzero(begins)
        length = np.diff(np.append(first, len(kept)))
        self._runs = np.stack(
            [kept[first], kept[first] + length, flat[kept[first]]], axis=1
        ).astype(np.int32)
        self._gain = gain[kept].astype(np.float32)
        self._strips = None
        if (
            self._moving is None
            and len(shape) == 2
            and stream.fields[field].numpy_dtype.kind in "bu"
        ):
            # a bad pixel of integers may be read, with weight 0
            weight = np.where(flat >= 0, gain, 0.0).astype(np.float32)
            self._strips = _strips(label, weight.reshape(shape))
        self._dark = np.bincount(flat[kept], weights=(dark * gain)[kept], minlength=self.count)
        self._darkened = self._moving is None and bool(self._dark.any())
        # compiles, or loads what was compiled, before the first record is there
        self._sums(np.zeros((1, size), stream.fields[field].numpy_dtype), 0)

    def sums(self, batch: Batch) -> npt.NDArray[Any]:
        """Return [record, bin]; what stands for a lost record is to be ignored."""
        raw = batch.raw[self.field]
        return self._sums(raw.reshape(len(raw), math.prod(raw.shape[1:])), batch.first)

    def _sums(self, frames: Array, first: int | None) -> npt.NDArray[Any]:
        from daq.pixel_kernel import (
            add_interpolated,
            sum_blocks,
            sum_integers,
            sum_moved,
            sum_weighted,
        )

        pixels = _readable(frames)
        if self._strips is not None and not self._darkened and self._spots is None:
            rounded = np.empty((len(frames), self.count), self._dtype)
            sum_blocks(pixels, *self._strips, rounded)
            return rounded
        out = np.zeros((len(frames), self.count))
        offsets = np.zeros(len(frames), np.int64)
        if self._moving is not None:
            offsets = self._moving.offsets(first, len(frames))
            sum_moved(pixels, self._runs, offsets, *self._everywhere, self._moving.good, out)
        elif self._strips is not None:
            sum_blocks(pixels, *self._strips, out)
        elif self._plain and pixels.dtype.kind == "u":
            sum_integers(pixels, self._runs, out)
        else:
            # a bad pixel that is not finite must not be touched, not even with weight 0
            sum_weighted(pixels, self._runs, self._gain, out)
        if self._darkened:
            out -= self._dark
        if self._spots is not None:
            add_interpolated(pixels, *self._spots, offsets, *self._everywhere, self._labels, out)
        return out.astype(self._dtype, copy=False)


LARGEST = 16
"""Pixels along the side of the squares that `sum_blocks` adds."""


def _strips(
    label: Array, weight: npt.NDArray[np.float32]
) -> tuple[int, int, npt.NDArray[np.int32], npt.NDArray[np.float32], npt.NDArray[np.int32]] | None:
    """Return what `sum_blocks` wants after the frames, or None where bins are not made of squares.

    ``weight`` [y, x] is 0 where a pixel does not count.
    """
    height, width = label.shape
    changes = [
        np.flatnonzero((np.diff(label, axis=axis) != 0).any(axis=1 - axis)) + 1 for axis in (0, 1)
    ]
    side = int(np.gcd.reduce(np.concatenate(changes), initial=0))
    while side > LARGEST and side % 2 == 0:
        side //= 2
    rows, columns = height // max(side, 1), width // max(side, 1)
    outside = (label[rows * side :] >= 0).any() or (label[:, columns * side :] >= 0).any()
    if not 2 <= side <= LARGEST or outside:
        return None
    strips, weights, labels = [], [], []
    at = squares = 0
    for row in range(rows):
        bins = label[row * side, : columns * side : side]
        there = np.flatnonzero(bins >= 0)
        for part in np.split(there, np.flatnonzero(np.diff(there) != 1) + 1):
            if not len(part):
                continue
            first, count = int(part[0]) * side, len(part) * side
            last = squares + len(part)
            strips.append((row * side * width + first, count, at, squares, last))
            weights.append(weight[row * side : (row + 1) * side, first : first + count].reshape(-1))
            labels.append(bins[part])
            at, squares = at + side * count, last
    if not strips:
        return None
    return (
        width, side, np.array(strips, np.int32), np.concatenate(weights),
        np.concatenate(labels).astype(np.int32),
    )  # fmt: skip


def _readable(frames: Array) -> Array:
    """Return ``frames`` as one of the few kinds of array that the loops are compiled for."""
    if frames.dtype.kind == "b":
        frames = frames.view(np.uint8)
    if frames.dtype not in (np.uint8, np.uint16, np.uint32, np.float32, np.float64):
        frames = frames.astype(np.float64)
    plain: npt.NDArray[Any] = np.require(frames, requirements=["C", "A"]).view()
    plain.flags.writeable = False
    return plain
