"""The compiled loops of `daq.pixel_bins`; apart, so that numba loads only where frames are read."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[Any]
Runs = npt.NDArray[np.int32]
Gain = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@numba.njit(cache=True, nogil=True)
def sum_integers(frames: Pixels, runs: Runs, out: Floats) -> None:
    """Add the pixels [record, pixel] of each run (first, stop, bin) to ``out`` [record, bin]."""
    for n in range(len(frames)):
        frame = frames[n]
        row = out[n]
        for k in range(len(runs)):
            part = np.int64(0)
            for pixel in range(runs[k, 0], runs[k, 1]):
                part += np.int64(frame[pixel])
            row[runs[k, 2]] += np.float64(part)


# "reassoc" lets long runs use vector lanes; the code, so the order, is the same for every record
@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "nsz"})
def sum_weighted(frames: Pixels, runs: Runs, gain: Gain, out: Floats) -> None:
    """As `sum_integers`, each pixel times its gain (in the order of the runs)."""
    for n in range(len(frames)):
        frame = frames[n]
        row = out[n]
        at = 0
        for k in range(len(runs)):
            run = frame[runs[k, 0] : runs[k, 1]]
            weight = gain[at : at + len(run)]
            at += len(run)
            part = 0.0
            for i in range(len(run)):
                part += np.float64(run[i]) * np.float64(weight[i])
            row[runs[k, 2]] += part


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "nsz"})
def sum_weighted_fours(frames: Pixels, runs: Runs, gain: Gain, out: Floats) -> None:
    """As `sum_weighted`, where every run has four pixels: frames binned by four."""
    for n in range(len(frames)):
        frame = frames[n]
        row = out[n]
        for k in range(len(runs)):
            at = runs[k, 0]
            g = 4 * k
            row[runs[k, 2]] += (
                np.float64(frame[at]) * gain[g] + np.float64(frame[at + 1]) * gain[g + 1]
            ) + (np.float64(frame[at + 2]) * gain[g + 2] + np.float64(frame[at + 3]) * gain[g + 3])


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
