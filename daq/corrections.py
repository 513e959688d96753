"""Dark, gain, bad pixels and descan, applied to what is read; the file holds raw frames."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from daq.streams import Array, Stream

Integers = npt.NDArray[np.int64]

NAMES: Final = frozenset({"dark", "gain", "mask", "interpolate", "descan"})
"""Constants of a stream that are corrections."""


class Corrections:
    """corrected = (raw - dark) * gain, 0 where a pixel is bad; then moved back by the descan; float32.

    ``dark``, ``gain`` and ``mask`` have the shape of one record of the field, or are scalars
    (``dark`` and ``gain``). Pixels whose mask is true, or whose dark or gain is not finite, are bad.
    They read as 0 so that sums leave them out.

    ``interpolate`` (true or false): a bad pixel of an image gets the mean of all pairs of good
    pixels on opposite sides of it, in the 3 x 3 pixels around it, or where there is no such pair
    at the border of the 5 x 5. An even slope is kept. Without any pair it stays bad.

    ``descan`` says how far the pattern is displaced, in pixels [y, x]: a table [row, column, 2] of
    the scan, or [3, 2]: at the first position, more per row, more per column. Record i is position
    i modulo the scan. Corrected pixel p is pixel p + shift of the raw frame, shift being the
    nearest whole number: counts stay counts. What is bad, or out of the frame, at any position of
    the scan is bad in all records: sums always hold the same pixels.

    Attributes
    ----------
    bad
        In the shape of a record, true where a corrected pixel is 0 because it is bad.
    dark, gain
        [raw pixel] float32; of an interpolated pixel the mean of those that replace it.
    replaced, near
        [spot] int64, the raw pixels that are interpolated, and [spot, 16], the raw pixels whose
        mean they get, -1 where there are fewer.
    """

    def __init__(
        self,
        field: str,
        shape: tuple[int, ...],
        constants: Mapping[str, Array],
        scan: tuple[int, ...] | None = None,
    ) -> None:
        self.field = field
        self.shape = shape
        size = math.prod(shape)
        dark = np.asarray(constants.get("dark", 0.0), np.float32)
        gain = np.asarray(constants.get("gain", 1.0), np.float32)
        mask = np.asarray(constants.get("mask", False)) != 0
        for name, array in (("dark", dark), ("gain", gain), ("mask", mask)):
            if array.shape not in (shape, (), (1,)):
                raise ValueError(
                    f"{name} has shape {list(array.shape)}, the field {field!r} has {list(shape)}"
                )
        self.dark: npt.NDArray[np.float32] = _of_shape(dark, shape).reshape(size)
        self.gain: npt.NDArray[np.float32] = _of_shape(gain, shape).reshape(size)
        bad = _of_shape(mask, shape).reshape(size)
        bad |= ~(np.isfinite(self.dark) & np.isfinite(self.gain))
        self.dark[bad], self.gain[bad] = 0.0, 1.0
        self._bad: npt.NDArray[np.bool_] = bad
        self.replaced: Integers = np.zeros(0, np.int64)
        self.near: Integers = np.zeros((0, 16), np.int64)
        if np.any(constants.get("interpolate", False)):
            self._interpolate()
        left = bad.copy()
        left[self.replaced] = False
        self.bad: npt.NDArray[np.bool_] = left.reshape(shape)
        self._shifts: Integers | None = None
        if "descan" in constants:
            self._shifts = _shifts(constants["descan"], scan, shape)
            self.bad = _bad_somewhere(self.bad, np.unique(self._shifts, axis=0))

    @property
    def moves(self) -> bool:
        """Whether patterns are moved back."""
        return self._shifts is not None

    @property
    def good(self) -> npt.NDArray[np.bool_]:
        """[raw pixel] whether it may be read."""
        return ~self._bad

    def apply(self, values: Array, first: int | None = None) -> Array:
        """Return whole records ``values`` corrected; ``first`` is the index of the first (for descan)."""
        flat = values.reshape(len(values), math.prod(values.shape[1:]))
        corrected = flat.astype(np.float32, order="C")
        corrected -= self.dark
        corrected *= self.gain
        corrected[:, self._bad] = 0.0
        if len(self.replaced):
            corrected[:, self.replaced] = self._means(corrected)
        whole: Array = corrected.reshape(values.shape)
        if self._shifts is not None:
            whole = self._moved(whole, self._at(first, len(values)))
        return whole

    def gather(
        self, values: Array, index: npt.NDArray[np.intp], first: int | None = None
    ) -> npt.NDArray[np.float32]:
        """Return the corrected pixels ``index`` (flat) of whole records ``values``: [record, pixel]."""
        if len(self.replaced) or self.moves:
            whole = self.apply(values, first).reshape(len(values), len(self.dark))
            return np.asarray(np.take(whole, index, axis=1), np.float32)
        flat = values.reshape(len(values), len(self.dark))
        corrected = np.take(flat, index, axis=1).astype(np.float32)
        corrected -= self.dark[index]
        corrected *= self.gain[index]
        corrected[:, self._bad[index]] = 0.0
        return corrected

    def offsets(self, first: int | None, count: int) -> Integers:
        """Return [record] how far, in the flat frame, a corrected pixel is from where it was read."""
        if self._shifts is None:
            return np.zeros(count, np.int64)
        shifts = self._at(first, count)
        return np.asarray(shifts[:, 0] * self.shape[1] + shifts[:, 1])

    def _at(self, first: int | None, count: int) -> Integers:
        assert self._shifts is not None
        if first is None:
            raise ValueError(f"{self.field}: descan needs records that are numbered")
        return self._shifts[(first + np.arange(count)) % len(self._shifts)]

    def _moved(self, frames: Array, shifts: Integers) -> Array:
        height, width = self.shape
        moved = np.zeros_like(frames)
        for n, (y, x) in enumerate(shifts.tolist()):
            to = np.s_[max(0, -y) : height - max(0, y), max(0, -x) : width - max(0, x)]
            at = np.s_[max(0, y) : height - max(0, -y), max(0, x) : width - max(0, -x)]
            moved[n][to] = frames[n][at]
        moved[:, self.bad] = 0.0
        return moved

    def _means(self, corrected: Array) -> npt.NDArray[np.float64]:
        """Return [record, spot] what is put in the place of the interpolated pixels."""
        used = self.near >= 0
        total = np.zeros((len(corrected), len(self.replaced)))
        for column in range(self.near.shape[1]):
            there = np.flatnonzero(used[:, column])
            total[:, there] += corrected[:, self.near[there, column]]
        return np.asarray(total / used.sum(axis=1))

    def _interpolate(self) -> None:
        """Find which bad pixels can be replaced, by which good ones."""
        if len(self.shape) != 2:
            raise ValueError(f"{self.field}: only pixels of an image [y, x] can be interpolated")
        height, width = self.shape
        good = np.pad(~self._bad.reshape(self.shape), 2)

        def at(dy: int, dx: int) -> npt.NDArray[np.bool_]:
            return good[2 + dy : 2 + dy + height, 2 + dx : 2 + dx + width]

        pairs = {step: at(*step) & at(-step[0], -step[1]) for step in _half_ring(1) + _half_ring(2)}
        possible = np.logical_or.reduce(list(pairs.values()))
        spots = np.flatnonzero(self._bad & possible.reshape(-1))
        near = np.full((len(spots), 16), -1, np.int64)
        count = np.zeros(len(spots), np.int64)
        for radius in (1, 2):
            lacking = count == 0
            for dy, dx in _half_ring(radius):
                both = pairs[dy, dx].reshape(-1)[spots]
                there = np.flatnonzero(lacking & both)
                step = dy * width + dx
                near[there, count[there]] = spots[there] + step
                near[there, count[there] + 1] = spots[there] - step
                count[there] += 2
        self.replaced, self.near = spots, near
        for values in (self.dark, self.gain):
            values[self.replaced] = self._means(values[None])[0]


def corrections_for(stream: Stream) -> Corrections | None:
    """Return the corrections that a stream's constants ask for, or None where there are none.

    They act on the largest field of the stream, ``time`` apart. Raises ValueError where shapes do not fit.
    """
    if not NAMES & set(stream.constants):
        return None
    field = _largest(stream)
    if field is None:
        return None
    return Corrections(field, stream.fields[field].shape, stream.constants, stream.scan_shape)


def with_corrections(streams: Sequence[Stream], given: Mapping[str, Array]) -> list[Stream]:
    """Return the streams of a source with corrections ``given`` instead of, or beside, their own.

    They are for the images [y, x], where there are any, else for all streams. Raises ValueError
    where shapes do not fit.
    """
    images = [stream.name for stream in streams if _is_image(stream)]
    corrected = []
    for stream in streams:
        mine = given if not images or stream.name in images else {}
        constants = {**stream.constants, **mine}
        if {"descan", "interpolate"} & set(constants):
            # who looks whether frames are raw looks for dark or gain
            constants.setdefault("gain", np.ones(1, np.float32))
        stream = dataclasses.replace(stream, constants=constants)
        corrections_for(stream)
        corrected.append(stream)
    return corrected


def with_attributes(streams: Sequence[Stream], given: Mapping[str, Any]) -> list[Stream]:
    """Return the streams of a source with attributes ``given`` in place of, or beside, their own.

    Like corrections, they are for the images [y, x], where there are any, else for all streams.
    """
    images = [stream.name for stream in streams if _is_image(stream)]
    return [
        dataclasses.replace(stream, attributes={**stream.attributes, **given})
        if given and (not images or stream.name in images)
        else stream
        for stream in streams
    ]


def _largest(stream: Stream) -> str | None:
    sizes = {name: f.record_bytes for name, f in stream.fields.items() if name != "time"}
    return max(sizes, key=sizes.__getitem__) if sizes else None


def _is_image(stream: Stream) -> bool:
    field = _largest(stream)
    return field is not None and len(stream.fields[field].shape) == 2


def _of_shape(array: Array, shape: tuple[int, ...]) -> Array:
    """Return a copy of ``array``, or of the one number in it, in the shape of a record."""
    return np.broadcast_to(array if array.shape == shape else array.reshape(()), shape).copy()


def _half_ring(radius: int) -> list[tuple[int, int]]:
    """Return one of each two opposite steps [y, x] to the border of a square."""
    reach = range(-radius, radius + 1)
    return [
        (dy, dx)
        for dy in reach
        for dx in reach
        if max(abs(dy), abs(dx)) == radius and (dy, dx) > (0, 0)
    ]


def _shifts(descan: Array, scan: tuple[int, ...] | None, shape: tuple[int, ...]) -> Integers:
    """Return [position, (y, x)] whole pixels; raise ValueError where the table does not fit."""
    if len(shape) != 2:
        raise ValueError("descan moves images [y, x], and the stream has none")
    if scan is None or len(scan) != 2:
        raise ValueError("descan needs a stream that says the shape of its scan, [rows, columns]")
    table = np.asarray(descan, np.float64)
    if table.shape == (3, 2):
        row, column = np.mgrid[: scan[0], : scan[1]][..., None]
        table = table[0] + row * table[1] + column * table[2]
    if table.shape != (*scan, 2):
        raise ValueError(
            f"descan has shape {list(table.shape)}; a scan of {list(scan)} needs {[*scan, 2]}"
        )
    if not np.isfinite(table).all():
        row, column, _ = np.argwhere(~np.isfinite(table))[0]
        raise ValueError(f"descan: not a number at row {row}, column {column}")
    farthest = np.abs(table).max(axis=(0, 1), initial=0)
    if (farthest >= np.array(shape) / 2).any():
        raise ValueError(
            f"descan moves the pattern by {farthest[0]:g}, {farthest[1]:g} pixels, more than "
            f"half of a frame of {shape[0]} x {shape[1]}"
        )
    return np.rint(table).astype(np.int64).reshape(-1, 2)


def _bad_somewhere(bad: npt.NDArray[np.bool_], shifts: Integers) -> npt.NDArray[np.bool_]:
    """Return where p + shift is bad, or out of the frame, for any of the ``shifts``."""
    height, width = bad.shape
    (top, left), (bottom, right) = shifts.min(axis=0), shifts.max(axis=0)
    found = np.ones_like(bad)
    found[max(0, -top) : height - max(0, bottom), max(0, -left) : width - max(0, right)] = False
    y, x = np.nonzero(bad)
    for dy, dx in shifts:
        at_y, at_x = y - dy, x - dx
        inside = (at_y >= 0) & (at_y < height) & (at_x >= 0) & (at_x < width)
        found[at_y[inside], at_x[inside]] = True
    return found
