"""Whole runs with a simulated DECTRIS detector: the configurations, and what may happen to them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from daq_simulators.dectris_detector import Detector, Faults

CONFIGS = Path(__file__).parents[2] / "configs"

Runs = Callable[..., Any]


@pytest.fixture
def detectors() -> Iterator[Callable[..., Detector]]:
    made: list[Detector] = []

    def make(**settings: Any) -> Detector:
        made.append(Detector((40, 52), **{"rate": 0, "images": 120} | settings))
        return made[-1]

    yield make
    for detector in made:
        detector.close()


def changes(detector: Detector, **more: Any) -> list[str]:
    values = {"host": "'127.0.0.1'", "port": detector.port, "threads": 1, **more}
    pairs = [f"sources.camera.{key}={value}" for key, value in values.items()]
    pairs += ["analyses.virtual.image_every=60", "analyses.virtual.annuli.dark_field=[10,20]"]
    return [word for pair in pairs for word in ("--set", pair)]


def recorded(run: Any) -> h5py.File:
    (master,) = run.run_folder.glob("*.nxs")
    return h5py.File(master)


def test_armed_from_here(start_run: Runs, detectors: Callable[..., Detector]) -> None:
    detector = detectors(faults=Faults(drop=(7,), damage=(50,)), flat_applied=False)
    detector.flatfield[...] = 2.0
    run = start_run(
        (CONFIGS / "dectris-arm.toml").read_text(),
        *changes(detector, control_port=detector.api_port, scan="[6,10]", series=2,
                 count_time=1e-3, frame_time=1e-3),
    )  # fmt: skip
    assert run.finish() == 0, run.said()
    with recorded(run) as file:
        camera = file["entry"]["camera"]
        np.testing.assert_array_equal(np.flatnonzero(~camera["valid"][()]), [7, 50])
        frames = camera["frame"][()]
        good = detector.mask == 0
        total = file["entry"]["virtual.sums"]["total"][()]
        for number in range(120):
            if number in (7, 50):
                assert np.isnan(total[number])
                continue
            frame = detector.frame(number % 60)
            np.testing.assert_array_equal(frames[number], frame)
            # corrected for the analysis, raw in the file
            assert total[number] == 2.0 * frame[good].sum()
        assert camera.attrs["status"] == "complete"


def test_a_camera_that_dies_in_mid_scan(
    start_run: Runs, detectors: Callable[..., Detector]
) -> None:
    detector = detectors(faults=Faults(die_after=77))
    run = start_run(
        (CONFIGS / "dectris-arm.toml").read_text(),
        *changes(detector, control_port=detector.api_port, scan="[10,12]", series=1, reconnect=0,
                 trigger_mode="'ints'"),
    )  # fmt: skip
    assert run.finish() == 1
    said = run.said()
    assert f"tcp://127.0.0.1:{detector.port} is away: waiting for it" in said
    assert re.search(r"no camera .* gone after 77 of 120 images .*: 77 of 120 records", said), said
    assert "Traceback" not in said
    with recorded(run) as file:
        camera = file["entry"]["camera"]
        assert camera.attrs["status"] == "aborted"
        frames = camera["frame"][()]
        assert len(frames) == 77
        assert all((frames[n] == detector.frame(n)).all() for n in range(77))
        log = b"\n".join(file["entry"]["run.log"]["message"][()])
    assert b"no camera at tcp://127.0.0.1:" in log


def test_nobody_at_the_address(start_run: Runs, detectors: Callable[..., Detector]) -> None:
    text = (CONFIGS / "dectris-arm.toml").read_text()
    run = start_run(text, *changes(detectors(), control_port=1))
    assert run.finish() == 1
    assert "no detector control unit at 127.0.0.1:1" in run.said()
    assert "Traceback" not in run.said()


def test_the_source_is_killed_and_goes_on(
    start_run: Runs, detectors: Callable[..., Detector]
) -> None:
    # slow: what the killed source had received already is lost
    detector = detectors(rate=20.0)
    run = start_run(
        (CONFIGS / "dectris-arm.toml").read_text(),
        *changes(detector, control_port=detector.api_port, images=600, scan="[20,30]", series=1,
                 trigger_mode="'ints'", batch=8),
    )  # fmt: skip
    run.until_records("camera", 20)
    assert run.kill("daq.runtime.source_process") == 1
    run.until_records("camera", run.status()["streams"]["camera"]["records"] + 20)
    detector.rate = 0.0
    assert run.finish() == 0, run.said()
    with recorded(run) as file:
        camera = file["entry"]["camera"]
        frames, valid = camera["frame"][()], camera["valid"][()]
    assert len(frames) == 600
    assert valid[:20].all() and valid[-20:].all()
    assert all((frames[n] == detector.frame(n)).all() for n in np.flatnonzero(valid))
