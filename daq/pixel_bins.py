"""Sums of pixels in bins, corrected while they are read: what most analyses want of a frame."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from daq.corrections import corrections_for
from daq.streams import Array, Batch, Stream


class PixelBins:
    """Sums over the good pixels of each bin: sum of (raw - dark) * gain, float64.

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

    Attributes
    ----------
    pixels
        [bin] int64: good and interpolated pixels in each bin.
    """

    def __init__(
        self, stream: Stream, field: str, labels: npt.ArrayLike, count: int | None = None
    ) -> None:
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
        self.field = field
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
        self._fours = False
        if not self._plain and len(length) and np.median(length) == 4 and length.max() <= 4:
            # short runs, next to bad pixels, get pixels of weight 0 that stand in the frame
            self._fours = bool((kept[first] + 4 <= size).all())
        weight = gain[kept].astype(np.float32)
        self._unpadded = weight
        if self._fours:
            padded = np.zeros((len(first), 4), np.float32)
            row = np.repeat(np.arange(len(first)), length)
            padded[row, np.arange(len(kept)) - first[row]] = weight
            weight = padded.reshape(-1)
        self._runs = np.stack(
            [kept[first], kept[first] + length, flat[kept[first]]], axis=1
        ).astype(np.int32)
        self._gain = weight
        self._dark = np.bincount(flat[kept], weights=(dark * gain)[kept], minlength=self.count)
        # compiles, or loads what was compiled, before the first record is there
        self._sums(np.zeros((1, size), stream.fields[field].numpy_dtype), 0)

    def sums(self, batch: Batch) -> npt.NDArray[np.float64]:
        """Return [record, bin]; what stands for a lost record is to be ignored."""
        raw = batch.raw[self.field]
        return self._sums(raw.reshape(len(raw), math.prod(raw.shape[1:])), batch.first)

    def _sums(self, frames: Array, first: int | None) -> npt.NDArray[np.float64]:
        from daq.pixel_kernel import (
            add_interpolated,
            sum_integers,
            sum_moved,
            sum_weighted,
            sum_weighted_fours,
        )

        out = np.zeros((len(frames), self.count))
        pixels = _readable(frames)
        offsets = np.zeros(len(frames), np.int64)
        if self._moving is not None:
            offsets = self._moving.offsets(first, len(frames))
            sum_moved(pixels, self._runs, offsets, *self._everywhere, self._moving.good, out)
        elif self._plain and pixels.dtype.kind == "u":
            sum_integers(pixels, self._runs, out)
        else:
            # a bad pixel that is not finite must not be touched, not even with weight 0
            fours = self._fours and pixels.dtype.kind == "u"
            kernel = sum_weighted_fours if fours else sum_weighted
            kernel(pixels, self._runs, self._gain if fours else self._unpadded, out)
            out -= self._dark
        if self._spots is not None:
            add_interpolated(pixels, *self._spots, offsets, *self._everywhere, self._labels, out)
        return out


def _readable(frames: Array) -> Array:
    """Return ``frames`` as one of the few kinds of array that the loops are compiled for."""
    if frames.dtype.kind == "b":
        frames = frames.view(np.uint8)
    if frames.dtype not in (np.uint8, np.uint16, np.uint32, np.float32, np.float64):
        frames = frames.astype(np.float64)
    plain: npt.NDArray[Any] = np.require(frames, requirements=["C", "A"]).view()
    plain.flags.writeable = False
    return plain
