"""The compiled loops of `daq.pixel_bins`; apart, so that numba loads only where frames are read."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils, types
from numba.extending import intrinsic

Pixels = npt.NDArray[Any]
Runs = npt.NDArray[np.int32]
Gain = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

LINE_BYTES = 64
"""What the cache of a processor fetches at once."""


@intrinsic
def _fetch_line(typing: Any, frame: Any, pixel: Any) -> Any:
    """Ask for the line of the cache in which a pixel lies; past the end nothing happens.

    Frames come from another process, cold. Few pixels of each are read, scattered over many lines:
    the hardware does not guess which come next, and waiting for them took half of the time.
    """

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, values[0])
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        place = builder.bitcast(builder.gep(array.data, [values[1]]), byte)
        instruction = cgutils.get_or_insert_function(  # type: ignore[no-untyped-call]
            builder.module, ir.FunctionType(ir.VoidType(), [byte, word, word, word]),
            "llvm.prefetch.p0",
        )  # fmt: skip
        # to be read, kept in all caches, data
        builder.call(instruction, [place, word(0), word(3), word(1)])
        return context.get_dummy_value()

    return types.void(frame, types.intp), generate


@numba.njit(cache=True, nogil=True)
def _fetch(frame, first, stop, line):  # type: ignore[no-untyped-def]
    """Ask for the pixels from first to stop, which are read soon; ``line`` of them share a line."""
    for pixel in range(first, stop + line - 1, line):
        _fetch_line(frame, pixel)  # type: ignore[call-arg]


@numba.njit(cache=True, nogil=True)
def sum_integers(frames: Pixels, runs: Runs, out: Floats) -> None:
    """Add the pixels [record, pixel] of each run (first, stop, bin) to ``out`` [record, bin]."""
    line = LINE_BYTES // frames.itemsize
    for n in range(len(frames)):
        frame, following = frames[n], frames[min(n + 1, len(frames) - 1)]
        row = out[n]
        for k in range(len(runs)):
            _fetch(following, runs[k, 0], runs[k, 1], line)
            part = np.int64(0)
            for pixel in range(runs[k, 0], runs[k, 1]):
                part += np.int64(frame[pixel])
            row[runs[k, 2]] += np.float64(part)


# "reassoc" lets long runs use vector lanes; the code, so the order, is the same for every record
@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "nsz"})
def sum_weighted(frames: Pixels, runs: Runs, gain: Gain, out: Floats) -> None:
    """As `sum_integers`, each pixel times its gain (in the order of the runs)."""
    line = LINE_BYTES // frames.itemsize
    for n in range(len(frames)):
        frame, following = frames[n], frames[min(n + 1, len(frames) - 1)]
        row = out[n]
        at = 0
        for k in range(len(runs)):
            _fetch(following, runs[k, 0], runs[k, 1], line)
            run = frame[runs[k, 0] : runs[k, 1]]
            weight = gain[at : at + len(run)]
            at += len(run)
            part = 0.0
            for i in range(len(run)):
                part += np.float64(run[i]) * np.float64(weight[i])
            row[runs[k, 2]] += part


@numba.njit(cache=True, nogil=True)
def sum_blocks(
    frames: Pixels, width: int, side: int, strips: Runs, gain: Gain, labels: Runs, out: Pixels
) -> None:
    """Add pixels times gain where bins are made of squares of ``side`` pixels: binned frames.

    Columns are added first, so that all loops but the last run in vector lanes.

    Parameters
    ----------
    frames, width
        [record, pixel], and pixels in a row of a frame.
    strips
        [strip, 5] int32: squares side by side. First pixel, columns, where its gains begin, and
        where its labels begin and stop.
    gain
        Of each strip [row, column], one strip after the other.
    labels
        int32 [square]: to which bin a square is added.
    out
        [record, bin] float64 or float32, written over.
    """
    column, line = np.empty(width), LINE_BYTES // frames.itemsize
    row = np.empty(out.shape[1])
    for n in range(len(frames)):
        frame, following = frames[n], frames[min(n + 1, len(frames) - 1)]
        row[:] = 0.0
        for k in range(len(strips)):
            first, columns, at = strips[k, 0], strips[k, 1], strips[k, 2]
            for y in range(side):
                place = first + y * width
                _fetch(following, place, place + columns, line)
            total = column[:columns]
            total[:] = 0.0
            whole = side - side % 4
            for y in range(0, whole, 4):
                p, q = first + y * width, at + y * columns
                a, e = frame[p : p + columns], gain[q : q + columns]
                p, q = p + width, q + columns
                b, f = frame[p : p + columns], gain[q : q + columns]
                p, q = p + width, q + columns
                c, g = frame[p : p + columns], gain[q : q + columns]
                p, q = p + width, q + columns
                d, h = frame[p : p + columns], gain[q : q + columns]
                for x in range(columns):
                    total[x] += (np.float64(a[x]) * e[x] + np.float64(b[x]) * f[x]) + (
                        np.float64(c[x]) * g[x] + np.float64(d[x]) * h[x]
                    )
            for y in range(whole, side):
                p, q = first + y * width, at + y * columns
                a, e = frame[p : p + columns], gain[q : q + columns]
                for x in range(columns):
                    total[x] += np.float64(a[x]) * e[x]
            bins = labels[strips[k, 3] : strips[k, 4]]
            if side == 4:
                for x in range(len(bins)):
                    row[bins[x]] += (total[4 * x] + total[4 * x + 1]) + (
                        total[4 * x + 2] + total[4 * x + 3]
                    )
            else:
                for x in range(len(bins)):
                    part = 0.0
                    for y in range(side * x, side * x + side):
                        part += total[y]
                    row[bins[x]] += part
        out[n] = row


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "nsz"})
def sum_moved(
    frames: Pixels, runs: Runs, offsets: Integers, dark: Floats, gain: Floats,
    good: npt.NDArray[np.bool_], out: Floats,
) -> None:  # fmt: skip
    """Add (raw - dark) * gain of the ``good`` pixels of each run, moved by ``offsets`` [record].

    ``dark``, ``gain`` and ``good`` are those of all pixels of the raw frame.
    """
    for n in range(len(frames)):
        frame = frames[n]
        row = out[n]
        for k in range(len(runs)):
            part = 0.0
            for pixel in range(runs[k, 0] + offsets[n], runs[k, 1] + offsets[n]):
                if good[pixel]:
                    part += (np.float64(frame[pixel]) - dark[pixel]) * gain[pixel]
            row[runs[k, 2]] += part


@numba.njit(cache=True, nogil=True)
def add_interpolated(
    frames: Pixels, spots: Integers, near: Integers, offsets: Integers, dark: Floats,
    gain: Floats, labels: Integers, out: Floats,
) -> None:  # fmt: skip
    """Add the mean of the pixels ``near`` [spot, most] to the bin in which each spot is.

    ``labels`` [pixel] are those of the corrected frame, where a spot stands ``offsets`` before its
    place on the raw one.
    """
    for n in range(len(frames)):
        frame = frames[n]
        for k in range(len(spots)):
            place = spots[k] - offsets[n]
            if not 0 <= place < len(labels) or labels[place] < 0:
                continue
            part = 0.0
            count = 0
            for j in range(near.shape[1]):
                pixel = near[k, j]
                if pixel < 0:
                    break
                part += (np.float64(frame[pixel]) - dark[pixel]) * gain[pixel]
                count += 1
            out[n, labels[place]] += part / count
