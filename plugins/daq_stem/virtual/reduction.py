"""One pass over the frames: sums over regions, moments for the centre of mass, sum image.

Regions are held as spans, runs of pixels within a row, so that the inner loops run over
contiguous memory; a few frames go row by row together, so that everything stays in the cache.
Integers are summed as integers: exact, in any order. Floats are summed in float64; the order
within a record is fixed by the code, and records are added to the image one after the other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

TOGETHER = 8
"""Frames that go row by row together."""


@dataclasses.dataclass(frozen=True, slots=True)
class Regions:
    """Regions as spans, row by row: those of row y are ``spans[rows[y]:rows[y + 1]]``.

    A span is (region, first column, column after the last). Region 0 is that of the centre of
    mass, region ``good`` every good pixel; both may be the same.
    """

    count: int
    good: int
    rows: npt.NDArray[np.int64]
    spans: npt.NDArray[np.int64]


def regions(
    good: npt.NDArray[np.bool_],
    weighed: npt.NDArray[np.bool_],
    others: Sequence[npt.NDArray[np.bool_]],
) -> Regions:
    """Return boolean masks [y, x] as `Regions`, without the pixels that are not ``good``.

    ``weighed`` is the region of the centre of mass; then come ``others``, and last ``good``
    unless all of it is weighed.
    """
    masks = [good & mask for mask in (weighed, *others)]
    if not np.array_equal(masks[0], good):
        masks.append(good)
    height = good.shape[0]
    found: list[list[tuple[int, int, int]]] = [[] for _ in range(height)]
    for number, mask in enumerate(masks):
        edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
        starts, stops = np.argwhere(edges == 1), np.argwhere(edges == -1)
        for (y, first), (_, stop) in zip(starts.tolist(), stops.tolist(), strict=True):
            found[y].append((number, first, stop))
    rows = np.cumsum([0, *(len(row) for row in found)])
    spans = [span for row in found for span in row]
    return Regions(
        len(masks),
        0 if len(masks) == 1 + len(others) else len(masks) - 1,
        rows.astype(np.int64),
        np.array(spans, np.int64).reshape(len(spans), 3),
    )


def image_dtype(dtype: npt.DTypeLike) -> np.dtype[Any]:
    """Return the dtype in which a sum image is kept: exact for integers of up to 32 bit.

    uint32 for 8 and 16 bit unsigned (up to 65 536 frames), int64 for other integers up to
    32 bit, float64 for the rest.
    """
    kind = np.dtype(dtype)
    if kind.kind in "ub" and kind.itemsize <= 2:
        return np.dtype(np.uint32)
    return np.dtype(np.int64 if kind.kind in "uib" and kind.itemsize <= 4 else np.float64)


def reduce_frames(
    frames: npt.NDArray[Any],
    valid: npt.NDArray[np.bool_],
    where: Regions,
    image: npt.NDArray[Any],
) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Reduce ``frames`` [record, y, x] and add them to ``image`` [y, x].

    Returns
    -------
    sums
        [record, region], int64 or float64.
    centre
        [record, (y, x)], float64, px: the centre of mass over region 0, NaN where its sum is 0.
    used
        [record]: was added to the image; not so where it is not valid, or a good pixel not finite.
    """
    kind = image_dtype(frames.dtype)
    exact = kind != np.float64
    sums = np.zeros((len(frames), where.count), np.int64 if exact else np.float64)
    moments = np.zeros((len(frames), 2), sums.dtype)
    used = np.array(valid, np.bool_)
    # lost records are not even read: their fill values may be a broadcast of one
    if used.any():
        columns = np.empty((TOGETHER, frames.shape[2]), kind)
        _reduce(
            _plain(frames, exact), used, where.rows, where.spans, where.good,
            sums, moments, image, columns, exact,
        )  # fmt: skip
    weight = sums[:, 0].astype(np.float64)
    with np.errstate(invalid="ignore"):
        centre = np.asarray(moments / np.where(weight == 0, np.nan, weight)[:, None], np.float64)
    return sums, centre, used


def _plain(frames: npt.NDArray[Any], exact: bool) -> npt.NDArray[Any]:
    """Return ``frames`` as one of the few kinds of array that the loop is compiled for."""
    if frames.dtype.kind == "b":
        frames = frames.view(np.uint8)
    # 8-byte integers could overflow: they go as floats, as half floats do, which numba lacks
    if not exact and frames.dtype not in (np.float32, np.float64):
        frames = frames.astype(np.float64)
    plain = np.require(frames, requirements=["C", "A"]).view()
    plain.flags.writeable = False
    return plain


# "reassoc" lets sums of floats run in vector lanes; the code and so the order is the same for
# every record, wherever it stands in a batch. Slices instead of offsets, and sums of a row in
# the narrow type of ``columns``, are what lets the compiler use vector instructions.
@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "nsz"}, error_model="numpy")
def _reduce(  # type: ignore[no-untyped-def]
    frames, used, rows, spans, good, sums, moments, image, columns, exact
):
    count, height, width = frames.shape
    narrow = columns.dtype.type
    for start in range(0, count, TOGETHER):
        stop = min(start + TOGETHER, count)
        columns[:] = 0
        for y in range(height):
            for n in range(start, stop):
                if not used[n]:
                    continue
                row = frames[n, y]
                if exact:
                    line = image[y]
                    for x in range(width):
                        line[x] += row[x]
                for k in range(rows[y], rows[y + 1]):
                    region = spans[k, 0]
                    run = row[spans[k, 1] : spans[k, 2]]
                    part = narrow(0)
                    if region == 0:
                        column = columns[n - start, spans[k, 1] : spans[k, 2]]
                        for x in range(len(run)):
                            column[x] += run[x]
                            part = narrow(part + run[x])
                        moments[n, 0] += part * y
                    else:
                        for x in range(len(run)):
                            part = narrow(part + run[x])
                    sums[n, region] += part
        for n in range(start, stop):
            if not used[n]:
                continue
            column = columns[n - start]
            for x in range(width):
                moments[n, 1] += column[x] * x
            if not exact:
                if not np.isfinite(sums[n, good]):
                    used[n] = False
                    continue
                for y in range(height):
                    line = image[y]
                    row = frames[n, y]
                    for x in range(width):
                        line[x] += row[x]
