"""How a run is ended: Ctrl-C once, twice, thrice, and after a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from daq.recording.reader import RunReader
from daq.recording.repair import repair
from daq.recording.verify import verify

from .checks import (
    assert_begins_like,
    camera,
    expected,
    left_behind,
    processes,
    recorded,
    spots_config,
    wait_until,
)

RATE = 200
ENDLESS = 100_000
"""Records of a run that does not end before it is ended, however busy the machine is."""


def assert_whole_so_far(run: Any, least: int, rate: float = RATE) -> None:
    found = recorded(run.run_folder)
    count = len(found["camera"]["time"])
    frames = camera(count, rate)
    right = {"camera": {**frames, "valid": np.ones(count, bool)}, **expected(frames)}
    for name, fields in right.items():
        assert_begins_like(found[name], fields, len(fields["time"]), name)
    assert count >= least


@pytest.mark.parametrize("times", [1, 2])
def test_interrupted_ends_in_order(start: Any, times: int) -> None:
    run = start(spots_config(ENDLESS, RATE))
    run.until_records("camera", 80)
    run.interrupt()
    for _ in range(times - 1):
        run.until(lambda: "ending the run in order" in run.said(), "the answer")
        run.interrupt()
    assert run.finish() == 1
    assert "interrupted by the user" in run.said()
    assert verify(run.run_folder).ok
    assert_whole_so_far(run, 80)
    assert left_behind(run) == []


def test_interrupted_three_times_is_abandoned_and_can_be_repaired(start: Any) -> None:
    run = start(spots_config(ENDLESS, RATE))
    run.until_records("camera", 80)
    durable = run.status()["streams"]["camera"]["durable"]
    for _ in range(3):
        run.interrupt()
        wait_until(lambda: True, "nothing")
    assert run.finish(60) == 1
    wait_until(lambda: not processes(run), "the end of all processes")
    assert left_behind(run) == []
    assert repair(run.run_folder).ok
    assert verify(run.run_folder).ok
    found = recorded(run.run_folder)["camera"]
    count = len(found["time"])
    right = {**camera(count, RATE), "valid": np.ones(count, bool)}
    assert_begins_like(found, right, durable, "camera")


@pytest.mark.timeout(240)
def test_duration(start: Any) -> None:
    # A busy machine may need longer than the first before the source has begun.
    for seconds in (3, 12, 48):
        run = start(spots_config(ENDLESS, 100), "--duration", str(seconds))
        assert run.finish(40 + seconds) == 1
        assert "the duration is over" in run.said()
        if len(recorded(run.run_folder).get("camera", {"time": []})["time"]):
            break
    with RunReader(run.run_folder) as reader:
        count, status, reason = reader.closed("camera")
        assert status == "aborted" and "the duration is over" in reason
        assert 0 < count < ENDLESS
    assert verify(run.run_folder).ok
    assert_whole_so_far(run, 1, 100)


def test_interrupted_before_it_has_begun(start: Any) -> None:
    run = start(spots_config(rate=RATE))
    wait_until(lambda: (run.folder / "bus.lock").exists(), "the bus")
    run.interrupt()
    assert run.finish() != 0
    assert "Traceback" not in run.said()
    wait_until(lambda: not processes(run), "the end of all processes")
    assert left_behind(run) == []
