"""Box counting: the dimension of a set of pixels (Qiao2019, 3.2: N(e) = N_0 e^-D).

In two dimensions: values of three-dimensional reconstructions cannot be compared with it. A set
with a size of its own, such as discs, has a dimension that changes with the boxes, and on grids of
a few hundred pixels that of a percolation cluster comes out near 1.83, not 91/48 = 1.896:
``local_dimension`` shows how far it is constant.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from daq_afm.image_lines import Floats

ONE_SIGMA: Final = 0.8413447460685429
"""Probability below one standard deviation of a Gaussian."""


@dataclasses.dataclass(frozen=True, slots=True)
class BoxCounting:
    """What `box_dimension` found.

    Parameters
    ----------
    size
        [n] nm, side of the square boxes.
    count
        [n] float64: boxes that hold a pixel of the set, see `box_counts`.
    dimension, error
        D, minus the slope of ln N against ln size; its standard error says how much it scatters from
        one image of the same kind to the next. NaN for an empty set or fewer than three sizes.
    local_dimension
        [n - 1]: the slope between neighbouring sizes.
    """

    size: Floats
    count: Floats
    dimension: float
    error: float
    local_dimension: Floats


def box_sizes(shape: tuple[int, int], step: tuple[float, float]) -> Floats:
    """Return sizes, nm: 4 times the larger side of a pixel to an eighth of the image, by about 2^(1/2)."""
    pixel = max(step)
    largest = min(shape[0] * step[0], shape[1] * step[1]) / 8 / pixel
    half_octaves = np.arange(2 * max(np.log2(max(largest, 1)) - 2, -1) + 1)
    return np.asarray(np.unique(np.rint(4 * 2 ** (half_octaves / 2))) * pixel)


def box_counts(mask: npt.NDArray[np.bool_], sizes: Floats, step: tuple[float, float]) -> Floats:
    """Return how many square boxes of each size (nm) hold a pixel of the mask: [size].

    A pixel belongs to the box that holds its middle. Only boxes within the image count, and the
    number is scaled to the area of the image. The lowest of grids moved by quarters of a
    box is given.
    """
    height, width = mask.shape
    inside = np.zeros((height + 1, width + 1), np.int64)
    inside[1:, 1:] = mask.cumsum(0).cumsum(1)
    area = height * step[0] * width * step[1]
    counts = np.zeros(len(sizes))
    for n, size in enumerate(sizes):
        rows = _grids(height, step[0], float(size))
        columns = _grids(width, step[1], float(size))
        shares = []
        for r in rows:
            strip = inside[r[1:]] - inside[r[:-1]]
            for c in columns:
                boxes = strip[:, c[1:]] - strip[:, c[:-1]]
                shares.append(np.count_nonzero(boxes) / boxes.size)
        counts[n] = min(shares) * area / (size * size) if shares else np.nan
    return counts


def box_dimension(
    mask: npt.NDArray[np.bool_],
    step: tuple[float, float] = (1.0, 1.0),
    sizes: Sequence[float] | None = None,
) -> BoxCounting:
    """Return the box-counting dimension of a mask [row, column], by a straight line through all sizes.

    Counts of one image at several sizes err together, so that the scatter about the line tells
    little. The error comes from the slopes of the four quarters of the image, with Student's factor
    for so few, and what scatter there is about the line is added in squares.

    Parameters
    ----------
    step
        (dy, dx), nm.
    sizes
        Sides of the boxes, nm; by default `box_sizes`.
    """
    from scipy.special import stdtrit

    shape = (mask.shape[0], mask.shape[1])
    size = box_sizes(shape, step) if sizes is None else np.asarray(sizes, np.float64)
    count = box_counts(mask, size, step)
    if len(size) > 1:
        with np.errstate(divide="ignore", invalid="ignore"):
            local = -np.diff(np.log(count)) / np.diff(np.log(size))
    else:
        local = np.zeros(0)
    quarters = np.array(
        [
            _slope(size, box_counts(part, size, step))
            for half in np.array_split(mask, 2, axis=0)
            for part in np.array_split(half, 2, axis=1)
        ]
    )
    known = quarters[np.isfinite(quarters)]
    error = float("nan")
    if len(known) > 1:
        spread = float(np.std(known, ddof=1)) / np.sqrt(len(known))
        error = spread * float(stdtrit(len(known) - 1, ONE_SIGMA))
        error = float(np.hypot(error, _line_error(size, count)))
    return BoxCounting(size, count, _slope(size, count), error, local)


def _grids(pixels: int, step: float, size: float) -> list[npt.NDArray[np.int64]]:
    """Return, for each shift, the first pixel of each whole box, and the end of the last."""
    found = []
    shifts = {round(part * size / step) * step for part in (0.0, 0.25, 0.5, 0.75)}
    for shift in sorted(s for s in shifts if s < size):
        boxes = int(np.floor((pixels * step - shift) / size + 1e-9))
        if boxes > 0:
            edges = (shift + size * np.arange(boxes + 1)) / step
            found.append(np.ceil(edges - 0.5 - 1e-9).astype(np.int64))
    return found


def _slope(size: Floats, count: Floats) -> float:
    if len(size) < 3 or not (count > 0).all():
        return float("nan")
    u, v = np.log(size), np.log(count)
    centred = u - u.mean()
    return -float(np.sum(centred * v) / np.sum(centred * centred))


def _line_error(size: Floats, count: Floats) -> float:
    """Return the standard error of the slope from the scatter about the line."""
    u, v = np.log(size), np.log(count)
    centred = u - u.mean()
    spread = float(np.sum(centred * centred))
    left = v - v.mean() - centred * float(np.sum(centred * v)) / spread
    return float(np.sqrt(np.sum(left * left) / (len(size) - 2) / spread))
