"""The compiled loops of `fem`: moments of the intensity in rings of a pattern."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Patterns = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

RATIO, RATIO_RAW, SEEN = range(3)
"""Of one pattern: <I^2> / <I>^2 without the counting term, with it, and 1 where there is one."""

ENOUGH = 10
"""Electrons in a ring, below which a pattern tells nothing of it."""


# "reassoc" lets sums run in vector lanes; the code, so the order, is the same for every record.
# np.isfinite(x) asks whether x - x is 0, which is true of all once terms may be reordered.
@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "nsz"}, error_model="numpy")
def annular_means(patterns: Patterns, usable: Bools, scale: Floats) -> Floats:
    """Return the mean of pattern * scale over the pixels of each record: [record].

    NaN where a record is not usable, or where half of its pixels or more are not finite.
    """
    means = np.full(len(patterns), np.nan)
    for n in range(len(patterns)):
        if not usable[n]:
            continue
        row = patterns[n]
        total, count = 0.0, len(row)
        for j in range(len(row)):
            total += np.float64(row[j]) * scale[j]
        if not abs(total) < np.inf:
            total, count = 0.0, 0
            for j in range(len(row)):
                if abs(row[j]) < np.inf:
                    total += np.float64(row[j]) * scale[j]
                    count += 1
        if 2 * count > len(row):
            means[n] = total / count
    return means


@numba.njit(cache=True, nogil=True)
def add_patterns(
    patterns: Patterns, chosen: Bools, total: Floats, count: npt.NDArray[np.int64]
) -> None:
    """Add the finite pixels of the ``chosen`` records to ``total`` [pixel]; ``count`` them."""
    for n in range(len(patterns)):
        if not chosen[n]:
            continue
        for j in range(patterns.shape[1]):
            value = np.float64(patterns[n, j])
            if np.isfinite(value):
                total[j] += value
                count[j] += 1


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "nsz"}, error_model="numpy")
def ring_moments(patterns, usable, runs, scale, noise, rings):  # type: ignore[no-untyped-def]
    """Return the moments of each record in each ring.

    Parameters
    ----------
    patterns, usable
        [record, pixel] and [record]; pixels that are not finite are left out.
    runs
        [run, 4] int64: pixels of one sector set in one ring: first, stop, set (0, 1; 2 for
        neither), ring.
    scale, noise
        [pixel]: I = pattern * scale, counting adds I * noise to I^2 in the mean.
    rings
        Number of rings.

    Returns
    -------
    moments
        [record, set, ring, moment] float64, set 0 the whole ring, 1 and 2 the sector sets; 0 where
        a record is not usable, or a set holds fewer than two pixels or `ENOUGH` electrons. Per set of
        n pixels

            (<I^2> - <v>) / (<I>^2 - <v>/n),  <I^2> / <I>^2,  1     with v = I * noise

        Of electrons k that are counted one by one the first is n (sum k (k - 1)) / ((sum k)
        (sum k - 1)), whose expectation is n (sum p^2) at any number of electrons: p are the
        chances of the pixels.
    mean
        [record, ring] float64: <I> of the whole ring.
    """
    moments = np.zeros((len(patterns), 3, rings, 3))
    mean = np.zeros((len(patterns), rings))
    sums = np.empty((3, rings, 4))
    for n in range(len(patterns)):
        if not usable[n]:
            continue
        sums[:] = 0.0
        for k in range(len(runs)):
            part = patterns[n, runs[k, 0] : runs[k, 1]]
            by = scale[runs[k, 0] : runs[k, 1]]
            more = noise[runs[k, 0] : runs[k, 1]]
            count, total, square, counting = len(part), 0.0, 0.0, 0.0
            for j in range(len(part)):
                value = np.float64(part[j]) * by[j]
                total += value
                square += value * value
                counting += value * more[j]
            if not abs(square) < np.inf:
                count, total, square, counting = 0, 0.0, 0.0, 0.0
                for j in range(len(part)):
                    if abs(part[j]) < np.inf:
                        value = np.float64(part[j]) * by[j]
                        count += 1
                        total += value
                        square += value * value
                        counting += value * more[j]
            found = sums[runs[k, 2], runs[k, 3]]
            found[0] += count
            found[1] += total
            found[2] += square
            found[3] += counting
        for k in range(rings):
            for which in range(3):
                if which == 0:
                    whole = sums[0, k] + sums[1, k] + sums[2, k]
                else:
                    whole = sums[which - 1, k]
                count, total, square, counting = whole[0], whole[1], whole[2], whole[3]
                if count < 2:
                    continue
                if which == 0:
                    mean[n, k] = total / count
                # of one count per electron, counting is their number
                if not (total > 0 and total * total > ENOUGH * counting):
                    continue
                result = moments[n, which, k]
                result[RATIO_RAW] = square * count / (total * total)
                result[RATIO] = (square - counting) * count / (total * total - counting)
                result[SEEN] = 1.0
    return moments, mean


@numba.njit(cache=True, nogil=True)
def add_moments(
    source: npt.NDArray[np.int64], usable: Bools, moments: Floats, mean: Floats,
    moments_sum: Floats, mean_sum: Floats, count: npt.NDArray[np.int64],
) -> None:  # fmt: skip
    """Add what `ring_moments` returned to the sums of the positions that the records show.

    ``source`` [position] is the record, -1 for none. ``count`` [position] patterns were added.
    """
    for p in range(len(source)):
        n = source[p]
        if n < 0 or not usable[n]:
            continue
        count[p] += 1
        for k in range(mean.shape[1]):
            mean_sum[p, k] += mean[n, k]
            for which in range(moments.shape[1]):
                for moment in range(moments.shape[3]):
                    moments_sum[p, which, k, moment] += moments[n, which, k, moment]
