"""Runs with the plugins of these tests, and with aimed kills."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from .checks import PLUGINS, Faults, processes


@pytest.fixture
def start(start_run: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Start a run with the plugins of these tests, and faults where there are any."""

    runs: list[Any] = []

    def begin(config: str, *arguments: str, kills: Sequence[Mapping[str, Any]] = ()) -> Any:
        folder = tmp_path / f"faults{time.monotonic_ns()}"
        folder.mkdir()
        faults = Faults(folder, kills)
        options = ("--plugins-dir", str(PLUGINS), *arguments)
        run = start_run(config, *options, env=faults.env)
        run.faults = faults
        runs.append(run)
        return run

    yield begin
    for run in runs:
        for pid in processes(run):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
