"""Analyses that misbehave: the run and the other analyses do not notice."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from daq.recording.reader import RunReader

from .checks import (
    PLUGINS,
    assert_begins_like,
    assert_whole,
    camera,
    expected,
    log,
    recorded,
    spots_config,
)

FRAMES = camera()
BAD = """
[analyses.bad]
type = "{type}"
input = "camera"
timeout = 1.0
deed = "{deed}"
at = 50
marker = "{marker}"
"""


def renamed(found: dict[str, Any], name: str = "bad") -> dict[str, Any]:
    return {
        stream.replace(f"{name}.", "sums."): fields
        for stream, fields in found.items()
        if stream.startswith(f"{name}.")
    }


def assert_same_results(folder: Path, name: str, skipped: tuple[int, ...] = ()) -> None:
    whole = expected(FRAMES, skipped)
    found = renamed(recorded(folder), name)
    assert found.keys() == whole.keys()
    for stream, fields in whole.items():
        fields.pop("valid")
        assert_begins_like(found[stream], fields, len(fields["time"]), stream)


@pytest.mark.parametrize("deed", ["raise", "segfault", "hang", "exit", "print", "none"])
def test_misbehaves_once(start: Any, tmp_path: Path, deed: str) -> None:
    marker = tmp_path / "marker"
    run = start(spots_config() + BAD.format(type="misbehaves", deed=deed, marker=marker))
    assert run.finish() == 0, run.said()
    assert_whole(run.run_folder, FRAMES)
    assert_same_results(run.run_folder, "bad")
    assert bool(log(run.run_folder, "restart")) == (deed not in ("print", "none"))


@pytest.mark.parametrize("deed", ["raise", "segfault", "hang"])
def test_a_record_that_ends_it_twice_is_skipped(start: Any, deed: str) -> None:
    run = start(spots_config() + BAD.format(type="misbehaves", deed=deed, marker=""))
    assert run.finish() == 0, run.said()
    # `assert_whole` takes skipped records from the log: these are of the other analysis.
    entries = log(run.run_folder, "skip")
    assert [(stream, index) for stream, index, _ in entries] == [("camera", 50)]
    assert "bad: record 50 of camera ended it twice" in entries[0][2]
    assert_same_results(run.run_folder, "sums")
    assert_same_results(run.run_folder, "bad", (50,))


def test_a_block_that_ends_it_twice_is_skipped(start: Any) -> None:
    run = start(spots_config() + BAD.format(type="misbehaves_in_blocks", deed="raise", marker=""))
    assert run.finish() == 0, run.said()
    block = tuple(range(48, 64))
    assert [index for _, index, _ in log(run.run_folder, "skip")] == list(block)
    assert_same_results(run.run_folder, "sums")
    assert_same_results(run.run_folder, "bad", block)


def test_given_up_after_five_restarts(start: Any) -> None:
    bad = BAD.format(type="misbehaves", deed="exit", marker="") + "always = true\n"
    run = start(spots_config() + bad)
    assert run.finish() == 1
    assert "bad: " in run.said() and "given up after 5 restarts" in run.said()
    assert_same_results(run.run_folder, "sums")
    with RunReader(run.run_folder) as reader:
        assert reader.finished is not None and reader.finished[0] == "failed"
        assert reader.closed("camera") == (400, "complete", "")


def test_what_follows_a_refused_analysis_holds_nobody_back(start: Any) -> None:
    """The camera waits for every lossless consumer; one whose other input never comes takes none."""
    follows = (
        '[analyses.refused]\ntype = "misbehaves"\ninput = "camera"\ndeed = "refuse"\n'
        '[analyses.follows]\ntype = "watched"\ninputs = ["camera", "refused.rows"]\n'
    )
    run = start(spots_config() + follows)
    assert run.finish() == 1
    assert "analyses.follows: its input refused.rows never opened" in run.said().replace("\n", " ")
    assert_same_results(run.run_folder, "sums")
    with RunReader(run.run_folder) as reader:
        assert reader.closed("camera") == (400, "complete", "")


def test_two_analyses_in_one_process(start: Any) -> None:
    config = spots_config().replace('type = "watched"', 'type = "watched"\ngroup = "both"')
    twin = config[config.index("[analyses.sums]") : config.index("[bus]")].replace("sums", "twin")
    run = start(config + twin)
    assert run.finish() == 0, run.said()
    assert_whole(run.run_folder, FRAMES)
    assert_same_results(run.run_folder, "twin")


def test_plugin_that_cannot_be_imported_is_named_and_skipped(start: Any, tmp_path: Path) -> None:
    folder = tmp_path / "plugins"
    shutil.copytree(PLUGINS, folder)
    (folder / "broken.py").write_text("import a_module_that_nobody_has\n")
    run = start(spots_config(), "--plugins-dir", str(folder))
    assert run.finish() == 0, run.said()
    line = (
        "plugin broken was skipped: ModuleNotFoundError: No module named 'a_module_that_nobody_has'"
    )
    assert line in run.said().replace("\n", " ")
    assert_whole(run.run_folder, FRAMES)


@pytest.mark.parametrize("index", [None, 333])
def test_reconfigured_while_running_and_replayed(
    start: Any, tmp_path: Path, index: int | None
) -> None:
    frames = camera(rate=120)
    run = start(spots_config(rate=120))
    run.until_records("camera", 60)
    arguments = {"factor": 3} if index is None else {"factor": 3, "index": index}
    done = run.control.command("sums", "reconfigure", arguments, timeout=10)
    assert done["stream"] == "camera"
    assert done["index"] == index if index is not None else done["index"] > 0
    assert run.finish() == 0, run.said()
    changes = {"camera": [(done["index"], {"factor": 3})]}
    whole, found = expected(frames, reconfigure=changes), recorded(run.run_folder)
    for name, fields in whole.items():
        assert_begins_like(found[name], fields, len(fields["time"]), name)
    output = tmp_path / "replayed"
    replay = subprocess.run(
        [sys.executable, "-m", "daq", "replay", run.run_folder, "--headless", "--output", output,
         "--plugins-dir", PLUGINS, "--endpoint", f"ipc://{tmp_path / 'replay'}"],
        capture_output=True, text=True, timeout=40, check=False,
    )  # fmt: skip
    assert replay.returncode == 0, replay.stderr
    (folder,) = (path for path in output.iterdir() if path.is_dir())
    again = recorded(folder)
    for name in whole:
        assert_begins_like(again[name], found[name], len(found[name]["time"]), name)


def test_restarted_where_nothing_is_recorded_it_says_what_it_misses(start: Any) -> None:
    config = spots_config(rate=120).replace("durable_interval = 0.01", 'record = "never"')
    run = start(config)
    run.until_records("camera", 60)
    run.control.command("sums", "reconfigure", {"factor": 3}, timeout=10)
    run.until(
        lambda: run.status()["streams"].get("camera", {}).get("held_from", 0) > 0,
        "records that the bus holds no more",
    )
    assert run.kill("daq.runtime.analysis_process") == 1
    assert run.finish() == 1
    assert "sums misses" in run.said() and "given up" not in run.said(), run.said()
