"""k-means of numbers on a line: the best of all partitions, not the one that a start leads to.

Classes on a line are intervals, so that dynamic programming over the sorted values finds the lowest
sum of squares (Fisher 1958; Wang and Song 2011). Nothing random: the same values give the same
classes, in whatever order they came.
"""

from __future__ import annotations

import dataclasses

import numba
import numpy as np
import numpy.typing as npt

from daq_afm.image_lines import Floats


@dataclasses.dataclass(frozen=True, slots=True)
class Classes:
    """Classes of a set of numbers, from the lowest to the highest.

    Parameters
    ----------
    centres, sds, fractions
        [class] float64: mean and standard deviation of each class, part of the numbers in it.
    boundaries
        [class - 1]: half way between the last number of a class and the first of the next.
    explained
        1 - (sum of squares within the classes) / (about the mean). One Gaussian in three
        classes gives 0.810: only more than that speaks for classes.
    """

    centres: Floats
    sds: Floats
    fractions: Floats
    boundaries: Floats
    explained: float

    def of(self, values: Floats) -> npt.NDArray[np.uint8]:
        """Return the class of each value, 0 the lowest; 255 where it is not finite."""
        number = np.searchsorted(self.boundaries, values, side="right")
        known = np.isfinite(values) & np.isfinite(self.centres[0])
        return np.where(known, number, 255).astype(np.uint8)


def classify(values: Floats, count: int) -> Classes:
    """Return the ``count`` classes of the finite values of an array of any shape.

    All NaN where there are fewer different values than classes.
    """
    v = np.sort(values[np.isfinite(values)])
    nan = np.full(count, np.nan)
    if len(v) < count or np.count_nonzero(np.diff(v)) < count - 1:
        return Classes(nan, nan, nan, nan[1:], float("nan"))
    # prefix sums keep their digits about the mean
    mean = float(np.mean(v))
    centred = v - mean
    first = np.concatenate([[0.0], np.cumsum(centred)])
    second = np.concatenate([[0.0], np.cumsum(centred * centred)])
    edges = np.zeros(count + 1, np.int64)
    _partition(first, second, count, edges)
    sizes = np.diff(edges)
    centres = np.diff(first[edges]) / sizes
    within = np.maximum(np.diff(second[edges]) - sizes * centres**2, 0.0)
    inner = edges[1:-1]
    return Classes(
        centres + mean, np.sqrt(within / sizes), sizes / len(v), (v[inner - 1] + v[inner]) / 2,
        float(1 - within.sum() / second[-1]),
    )  # fmt: skip


@numba.njit(nogil=True, error_model="numpy")
def _cost(first, second, i, j):  # type: ignore[no-untyped-def]
    """Sum of squares about their mean of the sorted values from i to before j."""
    total = first[j] - first[i]
    return second[j] - second[i] - total * total / (j - i)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _partition(first, second, count, edges):  # type: ignore[no-untyped-def]
    """Fill ``edges`` [count + 1] with where the best classes begin and end.

    best[j] is the lowest sum for the first j values in k classes; the begin of the last class never
    falls as j rises, so that each level is halved again and again: n log n steps for each class.
    """
    n = len(first) - 1
    best, new = np.full(n + 1, np.inf), np.full(n + 1, np.inf)
    begin = np.zeros((count + 1, n + 1), np.int32)
    for j in range(1, n + 1):
        best[j] = _cost(first, second, 0, j)
    stack = np.zeros((128, 4), np.int64)
    for k in range(2, count + 1):
        for j in range(n + 1):
            new[j] = np.inf
        # only all values are asked of the last level
        stack[0, 0], stack[0, 1] = (n if k == count else k), n
        stack[0, 2], stack[0, 3] = k - 1, n - 1
        height = 1
        while height:
            height -= 1
            low, high = stack[height, 0], stack[height, 1]
            left, right = stack[height, 2], stack[height, 3]
            if low > high:
                continue
            j = (low + high) // 2
            at = left
            for i in range(left, min(right, j - 1) + 1):
                value = best[i] + _cost(first, second, i, j)
                if value < new[j]:
                    new[j] = value
                    at = i
            begin[k, j] = at
            stack[height, 0], stack[height, 1], stack[height, 2], stack[height, 3] = (
                low, j - 1, left, at,
            )  # fmt: skip
            height += 1
            stack[height, 0], stack[height, 1], stack[height, 2], stack[height, 3] = (
                j + 1, high, at, right,
            )  # fmt: skip
            height += 1
        for j in range(n + 1):
            best[j] = new[j]
    edges[count] = n
    for k in range(count, 0, -1):
        edges[k - 1] = begin[k, edges[k]] if k > 1 else 0
