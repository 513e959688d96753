"""Connected regions of a map: their areas, shapes and orientations, in nm."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt

from daq_afm.image_lines import Floats

Bools = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True, slots=True)
class Clusters:
    """Connected regions, in the order of their first pixel, row by row; all but ``labels`` [n].

    Parameters
    ----------
    labels
        [row, column] int32: number of the cluster from 1; 0 outside.
    pixels
        int64.
    area
        nm^2.
    radius
        nm, of the disc of the same area.
    y, x
        nm, of the centre of mass; the middle of the first pixel is 0, 0.
    aspect_ratio
        Long by short axis of the ellipse of the same second moments (>= 1).
    orientation
        deg, of the long axis, from x towards y, above -90 to 90. Says little where aspect_ratio is near 1.
    length, width
        nm: bounding lengths along the long axis and across it, pixels having their size.
    at_edge
        Touches what was not measured: the true cluster may be larger.
    rows, columns
        int64: of the box, along the axes, that holds it.
    """

    labels: npt.NDArray[np.int32]
    pixels: npt.NDArray[np.int64]
    area: Floats
    radius: Floats
    y: Floats
    x: Floats
    aspect_ratio: Floats
    orientation: Floats
    length: Floats
    width: Floats
    at_edge: Bools
    rows: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def bounding_aspect_ratio(self) -> Floats:
        """Bounding length along the long axis by that across it (D_max/D_min of Qiao2019, 3.3.3)."""
        return np.asarray(self.length / self.width)

    def weights(self, shape: tuple[int, int]) -> Floats:
        """Return how many clusters of its size each whole cluster stands for; 0 at the edge.

        A large cluster seldom lies whole within an image of ``shape`` pixels: 1 / (the part of
        positions at which it does), for the box that holds it (Miles 1974).
        """
        free = (shape[0] - self.rows - 1.0) * (shape[1] - self.columns - 1.0)
        whole = ~self.at_edge & (free > 0)
        positions = max((shape[0] - 2.0) * (shape[1] - 2.0), 1.0)
        return np.where(whole, positions / np.where(whole, free, 1.0), 0.0)


def top_fraction(values: Floats, fraction: float, largest: bool = True) -> tuple[Bools, float]:
    """Return the mask of the highest (lowest) ``fraction`` of the finite values, and the threshold.

    Values at the threshold belong to it, so that ties may make it more than the fraction. With no finite
    value the mask is empty and the threshold NaN.
    """
    good = np.isfinite(values)
    if not good.any():
        return good, math.nan
    threshold = float(np.quantile(values[good], 1 - fraction if largest else fraction))
    with np.errstate(invalid="ignore"):
        return (values >= threshold if largest else values <= threshold), threshold


def find_clusters(
    mask: Bools, step: tuple[float, float], measured: Bools | None = None, diagonal: bool = False
) -> Clusters:
    """Return the connected regions of a mask.

    Parameters
    ----------
    mask
        [row, column].
    step
        (dy, dx), nm; pixels need not be square.
    measured
        [row, column]: where there is a value; by default everywhere.
    diagonal
        Pixels that share a corner only belong together too (8 neighbours instead of 4).
    """
    from scipy import ndimage

    structure = np.ones((3, 3), bool) if diagonal else None
    labels, count = ndimage.label(mask, structure)
    labels = labels.astype(np.int32)
    there = np.ones(mask.shape, bool) if measured is None else measured
    # as connected as the clusters are
    inner = ndimage.binary_erosion(there, structure)
    row, column = np.nonzero(labels)
    label = labels[row, column]
    order = np.argsort(label, kind="stable")
    row, column, label = row[order], column[order], label[order]
    if not count:
        none, zero = np.zeros(0), np.zeros(0, np.int64)
        return Clusters(
            labels, zero, none, none, none, none, none, none, none, none,
            np.zeros(0, bool), zero, zero,
        )  # fmt: skip
    first = np.searchsorted(label, np.arange(1, count + 1))
    pixels = np.diff(np.append(first, len(label)))
    dy, dx = step

    def mean(values: Floats) -> Floats:
        return np.asarray(np.add.reduceat(values, first) / pixels)

    y, x = row * dy, column * dx
    centre_y, centre_x = mean(y), mean(x)
    y, x = y - centre_y[label - 1], x - centre_x[label - 1]
    # a pixel is a rectangle, not a point
    yy, xx, xy = mean(y * y) + dy * dy / 12, mean(x * x) + dx * dx / 12, mean(x * y)
    middle, half = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    angle = 0.5 * np.arctan2(2 * xy, xx - yy)
    cos, sin = np.cos(angle), np.sin(angle)

    def extent(along_x: Floats, along_y: Floats) -> Floats:
        at = x * along_x[label - 1] + y * along_y[label - 1]
        size = np.maximum.reduceat(at, first) - np.minimum.reduceat(at, first)
        return np.asarray(size + np.abs(along_x) * dx + np.abs(along_y) * dy)

    area = pixels * dy * dx
    return Clusters(
        labels,
        pixels.astype(np.int64),
        area,
        np.sqrt(area / math.pi),
        centre_y,
        centre_x,
        np.sqrt((middle + half) / np.maximum(middle - half, 1e-12 * middle)),
        np.degrees(angle),
        extent(cos, sin),
        extent(-sin, cos),
        np.logical_or.reduceat(~inner[row, column], first),
        np.maximum.reduceat(row, first) - np.minimum.reduceat(row, first) + 1,
        np.maximum.reduceat(column, first) - np.minimum.reduceat(column, first) + 1,
    )
