"""The binned pixels of an annulus, in the order in which the correlations want them."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt

from daq_stem.geometry.detector import Detector
from daq_stem.geometry.sectors import sector_of


@dataclasses.dataclass(frozen=True)
class Annulus:
    """Binned pixels with inner <= Q < outer (of their middles), those of a sector set together.

    Parameters
    ----------
    inner, outer
        1/nm.
    labels
        [y, x] int64: the number of the binned pixel that a pixel of the frame belongs to, or -1.
    q_y, q_x
        [pixel] middles of the binned pixels from the direct beam, 1/nm.
    good
        [pixel] pixels of the frame that count in each, of ``binning`` squared.
    sets
        Binned pixels in sector set 0 and in set 1 (see `sectors`): the first ones, then the next;
        what follows is in neither.
    """

    inner: float
    outer: float
    labels: npt.NDArray[np.int64]
    q_y: npt.NDArray[np.float64]
    q_x: npt.NDArray[np.float64]
    good: npt.NDArray[np.int64]
    sets: tuple[int, int]

    @property
    def pixels(self) -> int:
        """Number of binned pixels."""
        return len(self.q_y)

    @property
    def q(self) -> npt.NDArray[np.float64]:
        """[pixel] distance from the direct beam, 1/nm."""
        return np.hypot(self.q_y, self.q_x)


BINNED = 0.24
"""1/nm: pixels are binned up to this size, well below that of a speckle."""


def binning_for(detector: Detector, binning: int | None) -> int:
    """Return ``binning``, by default as many pixels as make `BINNED` or less."""
    return binning or max(1, math.floor(BINNED / detector.pixel_size))


def binned_annulus(
    detector: Detector, inner: float, outer: float, binning: int, bad: npt.NDArray[np.bool_]
) -> Annulus:
    """Return the annulus from ``inner`` to ``outer`` (1/nm) in pixels binned ``binning`` times.

    Binned pixels lie on a grid from the frame's corner; those that reach over its edge, and those
    with less than half of their pixels good, are left out. Raises ValueError where fewer than 8
    are left.
    """
    height, width = detector.shape
    rows, columns = height // binning, width // binning
    middle = (binning - 1) / 2
    y = (np.arange(rows) * binning + middle - detector.centre[0]) * detector.pixel_size
    x = (np.arange(columns) * binning + middle - detector.centre[1]) * detector.pixel_size
    cut = ~bad[: rows * binning, : columns * binning]
    good = cut.reshape(rows, binning, columns, binning).sum(axis=(1, 3))
    y, x = detector.ellipse.circular(*np.broadcast_arrays(y[:, None], x[None, :]))
    radius = np.round(np.hypot(y, x), 9)
    inside = (inner <= radius) & (radius < outer) & (2 * good >= binning**2)
    if inside.sum() < 8:
        raise ValueError(
            f"the annulus {inner:g}-{outer:g} 1/nm holds {inside.sum()} good pixels of "
            f"{binning * detector.pixel_size:.3g} 1/nm in this frame; at least 8 are needed"
        )
    at = np.argwhere(inside)
    q_y, q_x = y[inside], x[inside]
    of = sector_of(q_y, q_x)
    order = np.argsort(np.where(of < 0, 2, of), kind="stable")
    at = at[order]
    number = np.full((rows, columns), -1, np.int64)
    number[at[:, 0], at[:, 1]] = np.arange(len(at))
    labels = np.full(detector.shape, -1, np.int64)
    labels[: rows * binning, : columns * binning] = np.repeat(
        np.repeat(number, binning, axis=0), binning, axis=1
    )
    return Annulus(
        inner, outer, labels, q_y[order], q_x[order], good[at[:, 0], at[:, 1]],
        (int((of == 0).sum()), int((of == 1).sum())),
    )  # fmt: skip
