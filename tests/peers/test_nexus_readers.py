"""A finished run opens without us: in HyperSpy's reader, silx and nexusformat."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daq.recording.writer import RecordingSettings, RunWriter
from daq.run import Run
from daq.streams import Batch, Field, Stream

pytestmark = [pytest.mark.peers, pytest.mark.timeout(600)]

# As many numbers as would not be copied into the master, and stay behind a link.
FRAMES = np.random.default_rng(5).poisson(0.4, (90, 64, 48)).astype("<u2")
AXES = [
    {"name": "y", "units": "1/nm", "offset": -3.2, "step": 0.1},
    {"name": "x", "units": "1/nm", "offset": -2.4, "step": 0.1},
]


@pytest.mark.parametrize("linked", [True, False], ids=["linked", "copied"])
def test_readers_of_the_field_see_the_frames(
    peer: Callable[[str], Any], tmp_path: Path, linked: bool
) -> None:
    settings = RecordingSettings(copy_raw=not linked)
    writer = RunWriter.create(Run("readers"), tmp_path, settings)
    writer.open_stream(
        Stream("camera", {"frame": Field("<u2", (64, 48), "counts")}, {"frame": AXES})
    )
    for first in range(0, 90, 30):
        arrays = {"frame": FRAMES[first : first + 30], "time": np.arange(first, first + 30) * 10**6}
        writer.write(Batch("camera", arrays, first))
    writer.close_stream("camera", 90, "complete", "")
    path = writer.finish("complete", "")
    seen = peer("nexus_readers").run("read_run.py", path=path)
    for reader in ("hyperspy", "silx", "nexusformat"):
        np.testing.assert_array_equal(seen[f"{reader}.frames"], FRAMES)
    for reader in ("hyperspy", "silx"):
        assert seen[f"{reader}.axes"].tolist() == ["time", "y", "x"]
    assert str(seen["nexusformat.units"]) == "counts"
