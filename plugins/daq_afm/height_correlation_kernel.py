"""The compiled part of `height_correlation`: a new line with all lines in reach."""

from __future__ import annotations

import numba


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _add_spectra(line, into):  # type: ignore[no-untyped-def]
    """Add b conj(a) to ``into``; real parts and imaginary parts lie apart, for vector lanes."""
    a_real, a_imag, b_real, b_imag, sign = line
    real, imag = into
    for f in range(len(real)):
        real[f] += sign * (b_real[f] * a_real[f] + b_imag[f] * a_imag[f])
    for f in range(len(imag)):
        imag[f] += sign * (b_imag[f] * a_real[f] - b_real[f] * a_imag[f])


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _leave_out(below, above, bad_below, bad_above, sign, missing, sums):  # type: ignore[no-untyped-def]
    """Take off the pairs with a bad pixel: it is 0, so each holds the square of the other pixel."""
    columns, across = len(below), len(sums) // 2
    for x in range(columns):
        if bad_above[x]:
            for j in range(max(-across, x - columns + 1), min(across, x) + 1):
                missing[across + j] += sign
                sums[across + j] -= sign * below[x - j] * below[x - j]
        if bad_below[x]:
            for j in range(max(-across, -x), min(across, columns - 1 - x) + 1):
                if not bad_above[x + j]:
                    missing[across + j] += sign
                    sums[across + j] -= sign * above[x + j] * above[x + j]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def add_pairs(  # type: ignore[no-untyped-def]
    row, sign, values, bad, holes, spectra, own, present, products, squares, lost, pairs
):
    """Add (``sign`` 1) or take out (-1) all pairs of a line with the lines in reach and itself.

    ``spectra`` and ``products`` hold real and imaginary parts, [row, part, frequency]. ``own`` [row,
    side, lag] holds by lag j (from -across) the sum of h^2 over the pixels of a line that have a
    partner at +j (side 0) or -j (side 1); filled here for the new line. ``holes`` [row]: the line
    has bad pixels, which are 0 in ``values``.
    """
    rows, columns = values.shape
    down, lags = squares.shape[0] - 1, squares.shape[1]
    across = lags // 2
    if sign > 0:
        total = 0.0
        for x in range(columns):
            total += values[row, x] * values[row, x]
        left, right = total, total
        own[row, :, across] = total
        for j in range(1, across + 1):
            left -= values[row, j - 1] * values[row, j - 1]
            right -= values[row, columns - j] * values[row, columns - j]
            own[row, 0, across + j] = own[row, 1, across - j] = right
            own[row, 0, across - j] = own[row, 1, across + j] = left
    for other in range(max(0, row - down), min(rows, row + down + 1)):
        if not present[other]:
            continue
        apart = abs(other - row)
        low, high = min(row, other), max(row, other)
        pairs[apart] += sign
        a, b = spectra[low], spectra[high]
        _add_spectra(
            (a[0], a[1], b[0], b[1], float(sign)), (products[apart, 0], products[apart, 1])
        )
        sums, with_above, with_below = squares[apart], own[low, 0], own[high, 1]
        for j in range(lags):
            sums[j] += sign * (with_above[j] + with_below[j])
        if holes[low] or holes[high]:
            _leave_out(values[low], values[high], bad[low], bad[high], sign, lost[apart], sums)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def sum_rings(  # type: ignore[no-untyped-def]
    columns, crossed, squares, lost, pairs, number, total, many
):
    """Add sums of squared differences and numbers of pairs to the rings of their lags.

    ``crossed`` [row lag, lag along the line] as the inverse transform gives it: from 0 on, negative
    ones at the end.
    """
    rows, lags = squares.shape
    across, length = lags // 2, crossed.shape[1]
    for i in range(rows):
        for k in range(lags):
            ring = number[i, k]
            if ring >= 0:
                j = k - across
                total[ring] += squares[i, k] - 2 * crossed[i, j if j >= 0 else length + j]
                many[ring] += pairs[i] * (columns - abs(j)) - lost[i, k]
