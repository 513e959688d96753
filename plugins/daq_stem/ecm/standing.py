"""How well it is known where the places of a map stand, and what that does to its values.

Drift is known with an error that grows with the series, and of each scan the nearest pattern is
taken, up to half a step beside the place. Where ln tau changes from place to place, a map that
stands beside its grid is wrong by the gradient times the distance.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def standing_error(shift_errors: Floats, residuals: Floats) -> float:
    """Return how far the mean place of a series is from its grid, nm: rms of both axes, 1 sigma.

    The error of a shift is taken to walk: what it grows by from scan k to k + 1, in variance, is in
    all later scans. So the error of the mean place is sum over k of (e_k+1^2 - e_k^2) ((n - k)/n)^2,
    to which the mean distance of the nearest patterns is added.

    Parameters
    ----------
    shift_errors
        [scan] nm, 1 sigma along each axis.
    residuals
        [scan, (y, x)] nm, from the pattern that was taken to the place.
    """
    n = len(shift_errors)
    if not n:
        return 0.0
    grown = np.diff(np.maximum.accumulate(np.nan_to_num(shift_errors)) ** 2, prepend=0.0)
    walked = np.sum(grown * ((n - np.arange(n)) / n) ** 2)
    beside = residuals.mean(axis=0)
    return float(np.sqrt(walked + np.mean(beside**2)))


def mean_square_gradient(
    first: Floats, second: Floats, shape: tuple[int, int], step: float
) -> float:
    """Return <(df/dy)^2 + (df/dx)^2> of what two maps with independent noise have in common, 1/nm^2.

    The product of the gradients of both holds no noise on average. Over two steps, for which noise
    has no time to change much; 0 where nothing is known in common.

    Parameters
    ----------
    first, second
        [position], NaN where not known.
    shape, step
        Positions (rows, columns), and their distance in nm.
    """
    total = 0.0
    for axis in (0, 1):
        rises = []
        for values in (first, second):
            grid = np.moveaxis(values.reshape(shape), axis, 0)
            rises.append((grid[2:] - grid[:-2]) / (2 * step))
        products = rises[0] * rises[1]
        if np.isfinite(products).any():
            total += float(np.nanmean(products))
    return max(0.0, total)
