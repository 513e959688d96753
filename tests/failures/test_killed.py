"""Kill -9 at aimed instants: nothing is lost, nothing comes twice, and the run goes on."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pytest

from daq.recording.reader import RunReader
from daq.recording.repair import repair
from daq.recording.verify import verify

from .checks import (
    assert_begins_like,
    assert_whole,
    camera,
    expected,
    left_behind,
    processes,
    recorded,
    spots_config,
    wait_until,
)

FRAMES = camera()
RECORDER, BUS = "daq.runtime.recorder_process", "daq.runtime.bus_process"
SOURCE, ANALYSIS = "daq.runtime.source_process", "daq.runtime.analysis_process"

# Phase, and how many of its passings there surely are in each of several lives in a row.
ONE = {
    f"{RECORDER}:start": 1,
    f"{RECORDER}:open": 4,
    f"{RECORDER}:write": 10,
    f"{RECORDER}:flush": 10,
    f"{RECORDER}:journal": 20,
    f"{RECORDER}:sync": 2,
    f"{RECORDER}:close": 2,
    f"{RECORDER}:finish": 1,
    f"{BUS}:open": 3,
    f"{BUS}:data": 8,
    f"{BUS}:credit": 20,
    f"{BUS}:close": 2,
    f"{SOURCE}:open": 1,
    f"{SOURCE}:send": 8,
    f"{SOURCE}:slot": 8,
    f"{SOURCE}:close": 2,
    f"{ANALYSIS}:open": 2,
    f"{ANALYSIS}:process": 8,
    f"{ANALYSIS}:send": 8,
    f"{ANALYSIS}:slot": 1,
    f"{ANALYSIS}:close": 2,
}


def aimed(
    phase: str, passings: int, seed: int, kills: int, whom: str = "self"
) -> list[dict[str, Any]]:
    """Draw instants."""
    draw = np.random.default_rng([seed, zlib.crc32(phase.encode())])
    at = draw.integers(passings, size=kills)
    return [
        {"phase": phase, "at": int(n), "part": float(draw.uniform(0, 1.2)), "whom": whom}
        for n in at
    ]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    "phase", ONE, ids=lambda p: p.removeprefix("daq.runtime.").replace("_process", "")
)
def test_one_process_killed_five_times(start: Any, phase: str, seed: int) -> None:
    run = start(spots_config(), kills=aimed(phase, ONE[phase], seed, 5))
    status = run.finish()
    assert run.faults.fired == 5, run.said()
    assert status == 0, run.said()
    assert_whole(run.run_folder, FRAMES)


EVERYTHING = {
    f"{RECORDER}:open": (2, 6),
    f"{RECORDER}:write": (0, 60),
    f"{RECORDER}:flush": (0, 60),
    f"{RECORDER}:journal": (10, 100),
    f"{RECORDER}:sync": (1, 8),
    f"{RECORDER}:close": (0, 4),
    f"{RECORDER}:finish": (0, 1),
    f"{BUS}:data": (5, 40),
    f"{SOURCE}:slot": (5, 40),
    f"{ANALYSIS}:process": (5, 40),
}


@pytest.mark.parametrize("seed", range(10))
def test_everything_killed_at_once(start: Any, seed: int) -> None:
    phase, (least, most) = list(EVERYTHING.items())[seed]
    (kill,) = aimed(phase, most - least, 0, 1, "all")
    kill["at"] += least
    run = start(spots_config(), kills=[kill])
    assert run.finish() == -9
    assert run.faults.fired == 1
    wait_until(lambda: not processes(run), "the end of all processes")
    durable = run.faults.durable
    report = repair(run.run_folder)
    assert report.ok, str(report)
    assert verify(run.run_folder).ok
    right = {"camera": {**FRAMES, "valid": np.ones(len(FRAMES["time"]), bool)}, **expected(FRAMES)}
    found = recorded(run.run_folder)
    with RunReader(run.run_folder) as reader:
        for name, count in durable.items():
            assert reader.count(name) >= count, name
            assert reader.missing(name) == [], name
    for name, fields in right.items():
        if name in found:
            assert_begins_like(found[name], fields, durable.get(name, 0), name)
    # Nothing that was left holds up the next run.
    again = start(spots_config(records=16), "--set", f"bus.endpoint='{run.endpoint}'")
    assert again.finish() == 0, again.said()
    assert left_behind(run) == left_behind(again) == []


@pytest.mark.parametrize("phase", [f"{BUS}:data", f"{SOURCE}:send", f"{RECORDER}:write",
                                   f"{ANALYSIS}:process", f"{BUS}:open"])  # fmt: skip
def test_supervisor_killed_and_the_others_end_in_order(start: Any, phase: str) -> None:
    (kill,) = aimed(phase, 5, 0, 1, "supervisor")
    run = start(spots_config(records=400, rate=400), kills=[kill])
    assert run.finish() == -9
    wait_until(lambda: not processes(run), "their end")
    assert left_behind(run) == []
    frames = camera(rate=400)
    report = verify(run.run_folder)
    assert report.ok, str(report)
    durable, found = run.faults.durable, recorded(run.run_folder)
    right = {"camera": {**frames, "valid": np.ones(len(frames["time"]), bool)}, **expected(frames)}
    with RunReader(run.run_folder) as reader:
        assert reader.finished == ("aborted", "the supervisor ended")
        assert reader.missing("camera") == []
    for name, fields in right.items():
        assert_begins_like(found[name], fields, durable.get(name, 0), name)


@pytest.mark.parametrize("phase", [f"{BUS}:data", f"{BUS}:close"])
def test_bus_killed_where_nothing_is_recorded(start: Any, phase: str) -> None:
    config = spots_config() + 'record = "never"\n'
    run = start(config.replace("durable_interval = 0.01", ""), kills=aimed(phase, 2, 0, 2))
    status = run.finish()
    assert run.faults.fired == 2, run.said()
    assert status == 0, run.said()
    assert "nothing was recorded" in run.said()
    rows = next(line for line in run.said().splitlines() if line.startswith("camera "))
    assert rows.split()[1:4] == ["400", "0", "0"], run.said()
