"""Hot and dead pixels of a camera, from a dark or a mean image."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

ROWS = 64
"""Rows that are looked at together, so that large frames need little memory."""


@dataclasses.dataclass(frozen=True, slots=True)
class HotPixels:
    """What `find_hot_pixels` found.

    Parameters
    ----------
    mask
        [y, x] bool: hot, dead, or not a number. Saved with ``numpy.save`` it is what
        ``[sources.NAME.corrections]`` takes as ``mask``.
    score
        [y, x] how far a pixel is from the median of those around it, in standard deviations of
        pixels as bright; NaN where nothing is around it.
    uncertain
        [spot, (y, x)] pixels that are far off, but not by ``threshold``: to be looked at. Not in the mask.
    """

    mask: npt.NDArray[np.bool_]
    score: npt.NDArray[np.float64]
    uncertain: npt.NDArray[np.int64]


def find_hot_pixels(
    image: npt.ArrayLike,
    mask: npt.NDArray[np.bool_] | None = None,
    threshold: float = 8.0,
    uncertain: float = 5.0,
) -> HotPixels:
    """Find pixels that differ from those around them by more than noise and pattern do.

    Each pixel is compared with the median of the 5 x 5 around it, without itself and those of
    ``mask``. What is usual is learnt from the image itself: the scale of the differences (1.48
    times the median of their magnitude) among pixels whose surroundings are as bright. A mean
    over many patterns of a glass, or a dark image, serves; spots of one pixel, and the direct
    beam, look hot or hide what is hot: use a dark image for them.

    Parameters
    ----------
    image
        [y, x], dark or mean of many patterns.
    mask
        [y, x] bool: pixels known to be bad. They are in the result, and compared with nothing.
    threshold, uncertain
        In standard deviations: what is bad, and what is listed as doubtful. Of a million pixels
        with normal noise, about 0.6 are beyond 5.

    Raises
    ------
    ValueError
        Where the image is none, the mask does not fit, or the thresholds are in disorder.
    """
    values = np.array(image, np.float64)
    if values.ndim != 2 or min(values.shape) < 3:
        raise ValueError(f"an image [y, x] of at least 3 x 3 is needed, not {list(values.shape)}")
    if not 0 < uncertain <= threshold:
        raise ValueError(f"0 < uncertain <= threshold is needed, not {uncertain:g}, {threshold:g}")
    bad = ~np.isfinite(values)
    if mask is not None:
        if mask.shape != values.shape:
            raise ValueError(f"mask is {list(mask.shape)}, the image {list(values.shape)}")
        bad |= np.asarray(mask, bool)
    around = _median_around(np.where(bad, np.nan, values))
    difference = np.where(bad, np.nan, values - around)
    score = difference / _usual(difference, around)
    far = np.abs(score)
    with np.errstate(invalid="ignore"):
        found = bad | (far > threshold)
        doubtful = ~found & (far > uncertain)
    return HotPixels(found, score, np.argwhere(doubtful))


def _median_around(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Median of the 24 pixels around each, of those that are numbers."""
    height, width = values.shape
    padded = np.pad(values, 2, constant_values=np.nan)
    result = np.full(values.shape, np.nan)
    steps = [(dy, dx) for dy in range(5) for dx in range(5) if (dy, dx) != (2, 2)]
    for first in range(0, height, ROWS):
        stop = min(height, first + ROWS)
        near = np.stack([padded[first + dy : stop + dy, dx : dx + width] for dy, dx in steps])
        near.sort(axis=0)  # NaN goes last
        count = np.isfinite(near).sum(axis=0)
        low, high = (np.maximum(0, (count + more) // 2)[None] for more in (-1, 0))
        pair = [np.take_along_axis(near, at, axis=0)[0] for at in (low, high)]
        result[first:stop] = np.where(count > 0, (pair[0] + pair[1]) / 2, np.nan)
    return result


def _usual(
    difference: npt.NDArray[np.float64], around: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Scale of the differences of pixels that are as bright, for each pixel."""
    there = np.isfinite(difference) & np.isfinite(around)
    size = np.abs(difference[there])
    order = np.argsort(around[there], kind="stable")
    # at least 200 pixels for each scale: then it is known to 6 %
    groups = np.array_split(order, max(1, min(64, len(order) // 200)))
    scale = np.empty(len(order))
    for group in groups:
        if len(group):
            scale[group] = 1.4826 * np.median(size[group])
    # more than half of a group alike (a dark image of zeros): one count is the least that shows
    least = np.median(scale[scale > 0]) if (scale > 0).any() else 1.0
    result = np.full(difference.shape, np.nan)
    result[there] = np.where(scale > 0, scale, least)
    return result
