"""What tests of whole runs share: a run as a newcomer would start it, watched over the bus."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from daq.bus.client import Consumer

DEADLINE = 90.0

# A busy machine is no failure of an example.
settings.register_profile("no clock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no clock")

# A run is five processes or more. Where Python is told to keep no bytecode, each of them would
# compile all of daq anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


class Running:
    """A `daq run` in a process of its own, and what a test does to it."""

    def __init__(
        self, folder: Path, config: str, arguments: tuple[str, ...], env: dict[str, str]
    ) -> None:
        self.folder = folder
        self.output = folder / "runs"
        self.endpoint = f"ipc://{folder / 'bus'}"
        config_path = folder / "config.toml"
        config_path.write_text(config)
        command = [
            sys.executable, "-m", "daq", "run", str(config_path), "--headless",
            "--output", str(self.output), "--set", f"bus.endpoint='{self.endpoint}'",
            "--set", "viewer.picture=false", *arguments,
        ]  # fmt: skip
        self.stdout_path, self.stderr_path = folder / "stdout.txt", folder / "stderr.txt"
        with self.stdout_path.open("wb") as out, self.stderr_path.open("wb") as err:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=folder,
                env={**os.environ, "GLASSWATCH_RUNTIME_DIR": str(folder / "runtime"), **env},
                start_new_session=True,
            )  # fmt: skip
        self._consumer: Consumer | None = None
        self._killed: list[int] = []

    @property
    def control(self) -> Consumer:
        """A controller on the run's bus."""
        if self._consumer is None:
            self._consumer = Consumer(self.endpoint, "test", "control", timeout=DEADLINE)
        return self._consumer

    def status(self) -> dict[str, Any]:
        """The bus's counters; empty while it is away."""
        try:
            while self.control.receive(0) is not None:
                pass
            return self.control.status(5.0)
        except (ConnectionError, TimeoutError):
            return {"streams": {}, "consumers": {}, "errors": {}, "peers": []}

    def until(self, condition: Callable[[], Any], what: str = "the condition") -> Any:
        """Wait for a condition, with a deadline; fail with what the run has said."""
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            if value := condition():
                return value
            if self.process.poll() is not None:
                if value := condition():
                    return value
                pytest.fail(
                    f"the run ended ({self.process.returncode}) before {what}:\n{self.said()}"
                )
            time.sleep(0.005)
        pytest.fail(f"{what} did not come within {DEADLINE:g} s:\n{self.said()}")

    def until_records(self, stream: str, count: int) -> None:
        """Wait until the bus has taken ``count`` records of a stream."""
        self.until(
            lambda: self.status()["streams"].get(stream, {"records": 0})["records"] >= count,
            f"{count} records of {stream}",
        )

    def pids(self, module: str) -> list[int]:
        """Process ids of the run's children that run a module (``daq.runtime.bus_process``)."""
        found = []
        for path in Path("/proc").iterdir():
            if not path.name.isdigit():
                continue
            try:
                command = (path / "cmdline").read_bytes().split(b"\0")
                parent = int((path / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except (OSError, IndexError):
                continue
            # One that was killed may still be seen for a moment.
            if module.encode() in command and parent == self.process.pid:
                if int(path.name) not in self._killed:
                    found.append(int(path.name))
        return found

    def kill(self, module: str) -> int:
        """Kill -9 a child of the run; return how many there were."""
        pids = self.pids(module)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        self._killed += pids
        return len(pids)

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def finish(self, timeout: float = DEADLINE) -> int:
        """Wait for the end of the run; return its exit status."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            pytest.fail(f"the run did not end within {timeout:g} s:\n{self.said()}")

    def said(self) -> str:
        """What the run printed."""
        return f"{self.stdout_path.read_text()}\n{self.stderr_path.read_text()}"

    @property
    def run_folder(self) -> Path:
        """The folder of the run that was recorded."""
        folders = [path for path in self.output.iterdir() if path.is_dir()]
        assert len(folders) == 1, folders
        return folders[0]

    def close(self) -> None:
        """End whatever is left of the run."""
        if self._consumer is not None:
            self._consumer.close()
        children = [
            pid
            for m in ("bus", "recorder", "source", "analysis")
            for pid in self.pids(f"daq.runtime.{m}_process")
        ]
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for pid in children:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


@pytest.fixture
def start_run(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Start runs of a TOML text; whatever is left of them is killed at the end of the test."""
    runs: list[Running] = []

    def start(config: str, *arguments: str, env: dict[str, str] | None = None) -> Running:
        folder = tmp_path / f"run{len(runs)}"
        folder.mkdir()
        run = Running(folder, config, arguments, env or {})
        runs.append(run)
        return run

    yield start
    for run in runs:
        run.close()
