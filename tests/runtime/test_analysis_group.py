"""What the supervisor learns from the death of an analysis."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import daq
from daq.runtime.analysis_group import AnalysisGroup, Skipped
from daq.runtime.analysis_process import Progress
from daq.runtime.experiment import AnalysisSettings


class Plain(daq.Analysis):
    """Does nothing."""


class Blocks(Plain):
    """Likewise."""

    block = 4


def group(tmp_path: Path, kind: type[daq.Analysis] = Plain, timeout: float = 60.0) -> Any:
    settings = AnalysisSettings("a", "plain", kind, ("x", "y"), timeout, None, kind.Config())
    made = AnalysisGroup([settings], tmp_path)
    return made, Progress(tmp_path / "a.progress", 2)


def die(progress: Progress, stream: int, first: int, count: int) -> None:
    with pytest.raises(ArithmeticError), progress.during(stream, first, count):
        raise ArithmeticError


def test_first_the_batch_then_the_record(tmp_path: Path) -> None:
    analyses, progress = group(tmp_path)
    die(progress, 1, 8, 4)
    assert analyses.learn() == []
    (order,) = analyses.order([])
    assert order["careful"] == {"y": [8, 4]}
    die(progress, 1, 10, 1)
    assert analyses.learn() == [Skipped("a", "y", 10)]
    (order,) = analyses.order([])
    assert order["skip"] == {"y": [10]}
    die(progress, 1, 10, 1)
    assert analyses.learn() == []


def test_what_was_worked_through_before_is_not_at_fault(tmp_path: Path) -> None:
    analyses, progress = group(tmp_path)
    progress.set_done(1, 10)
    die(progress, 1, 0, 16)
    assert analyses.learn() == []
    assert analyses.order([])[0]["careful"] == {"y": [10, 6]}
    for _ in range(2):
        die(progress, 1, 9, 1)
        assert analyses.learn() == []
    assert analyses.order([])[0]["skip"]["y"] == []


def test_a_block_is_skipped_whole(tmp_path: Path) -> None:
    analyses, progress = group(tmp_path, Blocks)
    die(progress, 0, 8, 16)
    assert analyses.learn() == []
    die(progress, 0, 12, 4)
    assert analyses.learn() == [Skipped("a", "x", index) for index in range(12, 16)]


def test_death_without_work_and_at_the_end_teaches_nothing(tmp_path: Path) -> None:
    analyses, progress = group(tmp_path)
    assert analyses.learn() == []
    for _ in range(2):
        die(progress, 0, 0, 0)
        assert analyses.learn() == []
    assert analyses.order([])[0]["careful"] == {}


def test_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    analyses, progress = group(tmp_path, timeout=5.0)
    assert analyses.hanging() is None
    with progress.during(0, 0, 8):
        now += 4
        assert analyses.hanging() is None
        now += 2
        assert analyses.hanging().name == "a"
    with progress.during(0, 0, 0):
        now += 40
        assert analyses.hanging() is None
        now += 20
        assert analyses.hanging().name == "a"
    assert analyses.hanging() is None
