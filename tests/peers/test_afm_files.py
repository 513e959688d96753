"""AFM images beside SurfaceTopography, which reads them too."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = [pytest.mark.peers, pytest.mark.timeout(600)]

TREE = Path(__file__).resolve().parents[2]


def test_images_that_surface_topography_reads_and_writes(
    peer: Callable[[str], Any], tmp_path: Path
) -> None:
    data = Path(os.environ.get("GLASSWATCH_SHARED_DATA", TREE.parent / "shared" / "data"))
    cypher = data / "afm_ac_mode_asylum.ibw"
    found = peer("surface_topography").run(
        "read_with_surface_topography.py",
        packages=[TREE, TREE / "plugins"], folder=tmp_path,
        cypher=cypher if cypher.is_file() else None,
    )  # fmt: skip
    expected = found["heights"].T[::-1].astype(np.float32)
    for key in ("nc", "gwy"):
        by_line = found[f"{key}_height"][np.argsort(found[f"{key}_line"])]
        np.testing.assert_allclose(by_line, expected, rtol=1e-6)
        scan = json.loads(str(found[f"{key}_scan"]))
        assert scan["shape"] == [12, 16]
        np.testing.assert_allclose(scan["step"], [1.0, 2.0])
        assert json.loads(str(found[f"{key}_units"]))["height"] == "nm"
    assert "broken.nid: cannot be read: " in str(found["error"])
    if not cypher.is_file():
        pytest.skip(f"no {cypher.name} in {data} (set GLASSWATCH_SHARED_DATA)")
    for field, channel, factor in (
        ("height", "HeightTrace", 1e9), ("amplitude_retrace", "AmplitudeRetrace", 1e9),
        ("phase", "PhaseTrace", 1.0), ("nap_potential", "NapPotentialTrace", 1.0),
    ):  # fmt: skip
        theirs = found[f"theirs_{channel}"] * factor
        np.testing.assert_allclose(found[f"asylum_{field}"], theirs, rtol=1e-6)
        by_line = found[f"surface_{field}"][np.argsort(found["surface_line"])]
        np.testing.assert_array_equal(by_line, found[f"asylum_{field}"])
    assert json.loads(str(found["surface_scan"]))["shape"] == [256, 256]
