"""Whole runs of live 5D-STEM: the same numbers live, replayed, in odd batches, after a kill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daq.recording.reader import RunReader

CAMERA = """
[sources.camera]
type = "stem_camera"
speed = 0
scan = [14, 20]
step = 0.3
scans = 9
scan_time = 10.0
frame = [66, 66]
pixel_size = 0.232
median_tau = 120.0
temperature_steps = [[5, 653.0]]
drift = [0.001, 0.002]
dropped_fraction = 0.01
repeated_fraction = 0.01
batch = {batch}
"""
ANALYSES = """
[analyses.drift]
type = "drift"
input = "camera"
[analyses.ecm]
type = "ecm"
inputs = ["camera", "drift.shifts", "camera.temperature"]
replicas = 16
[analyses.fem]
type = "fem"
inputs = ["camera", "drift.shifts", "camera.temperature"]
[analyses.structure_dynamics]
type = "structure_dynamics"
inputs = ["ecm.maps", "ecm.sectors", "fem.maps", "fem.sectors"]
[analyses.arrhenius]
type = "arrhenius"
input = "ecm.summary"
"""

pytestmark = pytest.mark.timeout(900)  # three whole runs


def results(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    """Every result in a run's file, by stream and field."""
    reader = RunReader(folder)
    try:
        return {
            name: {**batch.raw, "valid": batch.valid}
            for name in reader.streams
            if name.split(".")[0] in ("drift", "ecm", "fem", "structure_dynamics", "arrhenius")
            for batch in [reader.read(name, 0, reader.count(name))]
        }
    finally:
        reader.close()


def assert_same(one: Any, other: Any) -> None:
    assert one.keys() == other.keys()
    for stream, fields in one.items():
        for field, array in fields.items():
            assert array.tobytes() == other[stream][field].tobytes(), (stream, field)


def test_live_replayed_in_odd_batches_and_after_kills(start_run: Any) -> None:
    live = start_run(CAMERA.format(batch=50) + ANALYSES)
    assert live.finish() == 0, live.said()
    found = results(live.run_folder)
    assert len(found) == 15
    maps = found["ecm.maps"]
    assert maps["valid"].sum() >= 8
    assert (maps["flag"][-1] < 2).mean() > 0.3
    assert np.isfinite(found["arrhenius.fit"]["temperature"]).any()

    replay = start_run(
        f"""
        [sources.camera]
        type = "replay"
        path = "{live.run_folder}"
        source = "camera"
        batch = 61
        """
        + ANALYSES
    )
    assert replay.finish() == 0, replay.said()
    assert_same(found, results(replay.run_folder))

    disturbed = start_run(CAMERA.format(batch=17) + ANALYSES)
    disturbed.until_records("camera", 900)
    assert disturbed.kill("daq.runtime.analysis_process") == 5
    assert disturbed.finish() == 0, disturbed.said()
    assert_same(found, results(disturbed.run_folder))
