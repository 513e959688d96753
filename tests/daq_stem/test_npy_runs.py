"""Corrections that the configuration gives, in every analysis, and in whole runs of a .npy file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import daq
from daq.corrections import corrections_for
from daq.recording.reader import RunReader
from daq.runtime.experiment import load_experiment
from daq.runtime.replay import ReplaySource
from daq.testing import Records, check_analysis, make_stream, record_source, run_analysis
from daq_stem.drift.analysis import Drift
from daq_stem.ecm.analysis import Ecm
from daq_stem.fem.analysis import Fem
from daq_stem.virtual.analysis import Virtual

SHAPE, SCAN, SCANS, SIZE = (32, 34), (12, 13), 2, 0.25
CENTRE = (15.5, 16.5)
RING = {"q_range": (1.0, 2.5)}


def glass(seed: int = 4, size: tuple[int, int] = SHAPE) -> np.ndarray:
    """Patterns of a ring, Poisson, one for each position of every scan."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    middle = [c + (length - s) / 2 for c, length, s in zip(CENTRE, size, SHAPE, strict=True)]
    radius = np.hypot(y - middle[0], x - middle[1]) * SIZE
    mean = 2 + 30 * np.exp(-((radius - 1.8) ** 2) / 0.3)
    count = SCANS * SCAN[0] * SCAN[1]
    return draw.poisson(mean * draw.uniform(0.8, 1.2, (count, 1, 1))).astype("<u2")


def camera(frames: np.ndarray, **constants: Any) -> Records:
    return make_stream(
        "camera", {"frame": frames}, scan={"shape": list(SCAN), "step": 0.5},
        attributes={"pixel_size": SIZE, "centre": list(CENTRE)}, constants=constants,
    )  # fmt: skip


ANALYSES: dict[str, tuple[type[daq.Analysis], dict[str, Any], list[tuple[str, str]]]] = {
    "virtual": (
        Virtual, {"annuli": {"ring": (5.0, 10.0)}, "image_every": 60},
        [("sums", "total"), ("sums", "ring"), ("image", "mean"), ("profile", "intensity")],
    ),
    "fem": (
        Fem, {**RING, "binning": 1}, [("maps", "intensity"), ("profile", "intensity")],
    ),
    "ecm": (Ecm, {"bands": [(1.0, 2.5)], "binning": 1, "replicas": 16}, [("pattern", "mean")]),
    "drift": (Drift, RING, [("image", "image")]),
}  # fmt: skip


def results(name: str, records: Records) -> dict[tuple[str, str], np.ndarray]:
    analysis, config, fields = ANALYSES[name]
    found = run_analysis(analysis, {"camera": records.stream}, records.batches(None), config)
    return {(stream, field): np.array(found[stream][field]) for stream, field in fields}


@pytest.mark.parametrize("name", ANALYSES)
def test_gain_two_doubles_the_sum(name: str) -> None:
    frames = glass()
    plain = results(name, camera(frames))
    doubled = results(name, camera(frames, gain=np.full(SHAPE, 2, "<f4")))
    for key, values in plain.items():
        assert np.nanmax(values) > 0
        np.testing.assert_allclose(doubled[key], 2 * values, rtol=1e-6)


@pytest.mark.parametrize("name", ANALYSES)
def test_patterns_that_wander_give_what_patterns_that_stand_still_give(name: str) -> None:
    """Cut from a larger detector, once always in the middle, once where the descan has put it."""
    large = glass(size=(SHAPE[0] + 8, SHAPE[1] + 8))
    descan = np.array([[-3.0, 2.0], [0.5, -0.1], [0.05, 0.03]], "<f4")
    row, column = np.mgrid[: SCAN[0], : SCAN[1]][..., None]
    shifts = np.rint(descan[0] + row * descan[1] + column * descan[2]).astype(int).reshape(-1, 2)
    still = large[:, 4:-4, 4:-4]
    moved = np.stack(
        [
            frame[4 - y : 4 - y + SHAPE[0], 4 - x : 4 - x + SHAPE[1]]
            for frame, (y, x) in zip(large, np.tile(shifts, (SCANS, 1)), strict=True)
        ]
    )
    wandering = camera(moved, descan=descan, gain=np.ones(1, "<f4"))
    bad = corrections_for(wandering.stream).bad
    assert 0 < bad.sum() < bad.size / 3
    expected = results(name, camera(np.ascontiguousarray(still), mask=bad))
    for key, values in results(name, wandering).items():
        np.testing.assert_allclose(values, expected[key], rtol=1e-6)
    # and without it they differ
    other = results(name, camera(moved, mask=bad))
    assert any(not np.allclose(other[key], expected[key], equal_nan=True) for key in expected)


@pytest.mark.parametrize("name", ["virtual", "fem"])
def test_promises_hold_with_every_correction(name: str) -> None:
    analysis, config, _ = ANALYSES[name]
    draw = np.random.default_rng(9)
    records = camera(
        glass()[: SCAN[0] * SCAN[1]], dark=draw.normal(1, 0.1, SHAPE), mask=draw.random(SHAPE) < 0.02,
        gain=draw.uniform(0.9, 1.1, SHAPE), interpolate=np.array(True),
        descan=draw.uniform(-2, 2, (*SCAN, 2)),
    )  # fmt: skip
    check_analysis(analysis, records, config)


RUN = """
[sources.camera]
type = "file"
path = "{folder}/scan.npy"
dwell_time = 1e-3
step = 0.5
pixel_size = 0.25
{corrections}
[analyses.virtual]
type = "virtual"
input = "camera"
image_every = 60
[analyses.fem]
type = "fem"
input = "camera"
q_range = [1.0, 2.5]
binning = 1
"""
CORRECTIONS = """
[sources.camera.corrections]
dark = "{folder}/dark.npy"
gain = 2.0
mask = "{folder}/mask.npy"
bad_pixels = "interpolate"
descan = {{ offset = [1.0, -1.0], per_row = [-0.2, 0.0], per_column = [0.0, 0.2] }}
"""


def recorded(folder: Path) -> dict[tuple[str, str], np.ndarray]:
    reader = RunReader(folder)
    try:
        return {
            (name, field): np.array(array)
            for name in reader.streams
            if name.split(".")[0] in ("camera", "virtual", "fem")
            for batch in [reader.read(name, 0, reader.count(name))]
            for field, array in batch.raw.items()
        }
    finally:
        reader.close()


@pytest.mark.timeout(180)
def test_a_run_with_corrections_is_the_same_replayed(tmp_path: Path, start_run: Any) -> None:
    frames = glass()
    mask = np.zeros(SHAPE, bool)
    mask[8, 9] = mask[20, 20] = True
    frames[:, 8, 9] = 60000  # a hot pixel
    np.save(tmp_path / "scan.npy", frames.reshape(SCANS, *SCAN, *SHAPE))
    np.save(tmp_path / "dark.npy", np.ones(SHAPE, np.float32))
    np.save(tmp_path / "mask.npy", mask)
    live = start_run(RUN.format(folder=tmp_path, corrections=CORRECTIONS.format(folder=tmp_path)))
    assert live.finish(150) == 0, live.said()
    found = recorded(live.run_folder)

    assert np.array_equal(found["camera", "frame"], frames)  # raw frames stay raw
    again = record_source(ReplaySource, {"path": live.run_folder, "source": "camera", "batch": 37})
    (records,) = again.values()
    assert {"dark", "gain", "mask", "interpolate", "descan"} <= set(records.stream.constants)
    corrected = corrections_for(records.stream).apply(frames, 0).astype(float)
    np.testing.assert_allclose(found["virtual.sums", "total"], corrected.sum((1, 2)), rtol=1e-6)
    assert corrected.max() < 1000  # the hot pixel is gone
    experiment = load_experiment(live.run_folder.parent.parent / "config.toml")
    for name, settings in experiment.analyses.items():
        outputs = run_analysis(
            settings.analysis, {"camera": records.stream.renamed("camera")},
            [daq.Batch("camera", batch.raw, batch.first, batch.valid)
             for batch in records.batches(37)],
            settings.config,
        )  # fmt: skip
        for stream, output in outputs.items():
            for field in output.stream.fields:
                live_array = found[f"{name}.{stream}", field]
                assert np.array(output[field]).tobytes() == live_array.tobytes(), (stream, field)
