"""The running structure function beside SurfaceTopography on the whole map, its half."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daq_afm.height_correlation import LagSums, rings

pytestmark = pytest.mark.peers

STEP = (1.5, 0.5)


@pytest.mark.parametrize("holes", [False, True])
def test_same_structure_function(peer: Callable[[str], Any], tmp_path: Path, holes: bool) -> None:
    draw = np.random.default_rng(7)
    heights = draw.standard_normal((48, 60)).cumsum(0).cumsum(1)
    if holes:
        heights[draw.random(heights.shape) < 0.05] = np.nan
    path = tmp_path / "map.npz"
    np.savez(path, heights=heights)
    theirs = peer("surface_topography").run(
        "correlate_with_surface_topography.py", path=path, step=STEP
    )
    sums = LagSums(rings(heights.shape, STEP, 15.0))
    for row in draw.permutation(len(heights)):
        sums.add(int(row), heights[row])
    total, pairs = sums.by_lag()
    down, across = sums.rings.reach
    ours = total[:, across:] / pairs[:, across:] / 2  # no lag below 0 in its map
    np.testing.assert_allclose(theirs["area"][: down + 1, : across + 1], ours, rtol=1e-9, atol=1e-9)
    profile = total[1:, across] / pairs[1:, across] / 2
    if not holes:  # with them it weighs each profile alike
        np.testing.assert_allclose(theirs["profile"][1 : down + 1], profile, rtol=1e-9)
        np.testing.assert_allclose(theirs["r"][1 : down + 1], 1.5 * np.arange(1, down + 1))
