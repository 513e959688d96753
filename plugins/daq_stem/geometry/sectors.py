"""Two disjoint sets of azimuthal sectors, for numbers that must not share their speckles.

tau and V from the same speckles correlate by themselves, however many frames there are. Each
set is a pair of opposite quadrants, so that Friedel pairs lie in one set.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

GAP = 0.15
"""1/nm: pixels nearer than this to a border belong to no set, which leaves half a speckle between."""


def sector_of(q_y: npt.ArrayLike, q_x: npt.ArrayLike, gap: float = GAP) -> npt.NDArray[np.int8]:
    """Return the set of each pixel: 0, 1, or -1 near a border.

    ``q_y`` (down) and ``q_x`` (right) from the direct beam, 1/nm, broadcast together. Set 0 is
    azimuth [0, 90) and [180, 270) degrees from +x towards +y, set 1 the rest.
    """
    y, x = np.broadcast_arrays(np.asarray(q_y, np.float64), np.asarray(q_x, np.float64))
    found = np.where(y * x > 0, 0, 1).astype(np.int8)
    found[np.minimum(np.abs(y), np.abs(x)) < gap] = -1
    return found
