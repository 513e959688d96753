"""Whole runs: what is recorded equals what direct calls give, whatever happens on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daq.recording.reader import RunReader
from daq.runtime.direct import run_analysis
from daq.runtime.experiment import Experiment
from daq.streams import Missing

CONFIG = """
[run]
title = "spots"
[sources.camera]
type = "moving_spots"
shape = [48, 40]
scan = [30, 40]
rate = {rate}
batch = {batch}
[analyses.virtual]
type = "virtual"
input = "camera"
image_every = 100
discs = {{ bf = 8.0 }}
annuli = {{ df = [10.0, 18.0] }}
[recorder]
record = "{record}"
durable_interval = 0.05
"""
SOURCE, ANALYSIS = "daq.runtime.source_process", "daq.runtime.analysis_process"
BUS, RECORDER = "daq.runtime.bus_process", "daq.runtime.recorder_process"


def config(rate: float = 0, batch: int = 16, record: str = "now") -> str:
    return CONFIG.format(rate=rate, batch=batch, record=record)


def results(folder: Path, prefix: str = "virtual.") -> dict[str, dict[str, np.ndarray]]:
    """Every result in a run's file, by stream and field."""
    reader = RunReader(folder)
    try:
        return {
            name: {**batch.raw, "valid": batch.valid}
            for name in reader.streams
            if name.startswith(prefix)
            for batch in [reader.read(name, 0, reader.count(name))]
        }
    finally:
        reader.close()


def direct(
    folder: Path, experiment: Experiment, name: str = "virtual", **more: Any
) -> dict[str, dict[str, np.ndarray]]:
    """The same results by direct calls on the frames in the file."""
    reader = RunReader(folder)
    settings = experiment.analyses[name]
    try:
        stream = settings.inputs[0]
        lost = {first: (n, why) for first, n, why in reader.missing(stream)}
        items: list[Any] = []
        first, count = 0, reader.count(stream)
        while first < count:
            if first in lost:
                n, why = lost[first]
                items.append(Missing(stream, n, why, first))
            else:
                n = min([37, count - first, *[f - first for f in lost if f > first]])
                items.append(reader.read(stream, first, n))
            first += n
        outputs = run_analysis(
            settings.analysis,
            {stream: reader.streams[stream]},
            items,
            settings.config,
            name=name,
            **more,
        )
        return {
            f"{name}.{short}": {**out.arrays, "valid": out.valid} for short, out in outputs.items()
        }
    finally:
        reader.close()


def assert_same(
    one: dict[str, dict[str, np.ndarray]], other: dict[str, dict[str, np.ndarray]]
) -> None:
    assert one.keys() == other.keys()
    assert one
    for stream, fields in one.items():
        for field, array in fields.items():
            assert array.tobytes() == other[stream][field].tobytes(), (stream, field)


def test_live_equals_direct_and_exits_0(start_run: Any) -> None:
    run = start_run(config())
    assert run.finish() == 0, run.said()
    assert str(run.run_folder.name) in run.stdout_path.read_text().splitlines()[-1]
    live = results(run.run_folder)
    assert len(live["virtual.sums"]["time"]) == 1200
    assert_same(live, direct(run.run_folder, Experiment.from_text(config())))


@pytest.mark.parametrize("victim", [SOURCE, ANALYSIS, RECORDER, BUS])
def test_kill_one_and_nothing_is_lost(start_run: Any, victim: str) -> None:
    run = start_run(config(rate=400))
    run.until_records("camera", 200)
    assert run.kill(victim) == 1
    run.until(lambda: run.pids(victim), f"a new {victim}")
    run.until_records("camera", 500)
    assert run.kill(victim) == 1
    assert run.finish() == 0, run.said()
    with RunReader(run.run_folder) as reader:
        assert reader.count("camera") == 1200
        assert reader.missing("camera") == []
        assert reader.closed("camera") == (1200, "complete", "")
    undisturbed = start_run(config())
    assert undisturbed.finish() == 0
    same = results(undisturbed.run_folder)
    live = results(run.run_folder)
    for fields in (*same.values(), *live.values()):
        del fields["time"]
    assert_same(live, same)


def test_replay_and_odd_batches_give_the_same(start_run: Any) -> None:
    run = start_run(config(batch=7))
    assert run.finish() == 0, run.said()
    replay = start_run(
        f"""
        [sources.camera]
        type = "replay"
        path = "{run.run_folder}"
        source = "camera"
        batch = 61
        """
        + config()[config().index("[analyses") :]
    )
    assert replay.finish() == 0, replay.said()
    assert_same(results(run.run_folder), results(replay.run_folder))


def test_ctrl_c_loses_nothing(start_run: Any) -> None:
    run = start_run(config(rate=300))
    run.until_records("camera", 200)
    run.interrupt()
    assert run.finish() == 1
    assert "interrupted" in run.said()
    with RunReader(run.run_folder) as reader:
        count, status, reason = reader.closed("camera")
        assert status == "aborted"
        assert "interrupted" in reason
        assert count == reader.count("camera") >= 200
    assert_same(results(run.run_folder), direct(run.run_folder, Experiment.from_text(config())))


def test_recording_by_command_keeps_the_seconds_before(start_run: Any) -> None:
    run = start_run(config(rate=400, record="command"), "--set", "recorder.lookback=60")
    run.until_records("camera", 300)
    before = run.status()["streams"]["camera"]
    assert before["written"] is None
    run.control.command("supervisor", "record", timeout=30)
    assert run.finish() == 0, run.said()
    with RunReader(run.run_folder) as reader:
        assert reader.count("camera") == 1200
        # More seconds are kept than have passed, so all records are there.
        assert reader.missing("camera") == []


def test_an_analysis_added_in_mid_run_gives_the_same(start_run: Any) -> None:
    run = start_run(config(rate=400))
    run.until_records("camera", 300)
    run.control.command(
        "supervisor", "add",
        {"name": "late", "type": "virtual", "input": "camera", "image_every": 100,
         "discs": {"bf": 8.0}, "annuli": {"df": [10.0, 18.0]}},
        timeout=30,
    )  # fmt: skip
    assert run.finish() == 0, run.said()
    first, late = results(run.run_folder), results(run.run_folder, "late.")
    assert_same(first, {name.replace("late.", "virtual."): fields for name, fields in late.items()})
