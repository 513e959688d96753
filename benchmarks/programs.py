"""Programs that benchmarks start and watch: their output, their end, what they use of the machine."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any


class Program:
    """A process that writes to a file; use `started`."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process, self._log = process, log

    def until(self, line: str) -> None:
        """Wait until it has written a line."""
        while line not in self._log.read_text().splitlines():
            self.check(line)
            time.sleep(0.002)

    def check(self, line: str = "") -> None:
        """End the benchmark if the program has ended, without writing ``line`` at least."""
        if self._process.poll() is not None and not (line and line in self._log.read_text()):
            self.fail()

    def end(self, seconds: float = 300) -> None:
        """Wait until it has ended well; end the benchmark if it does not."""
        if self._process.wait(seconds):
            self.fail()

    def fail(self) -> None:
        """End the benchmark and show what the program wrote last."""
        raise SystemExit(f"{self._log.stem} failed:\n{self._log.read_text()[-2000:]}")

    def cpu(self) -> float:
        """CPU seconds so far, of the process and of all that descend from it, also ended ones."""
        parents, ticks = {}, {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = path.read_text().rsplit(")", 1)[1].split()
                pid = int(path.parent.name)
                parents[pid], ticks[pid] = int(fields[1]), sum(map(int, fields[11:15]))
        total, root = 0, self._process.pid
        for pid, used in ticks.items():
            ancestor = pid
            while ancestor > 1 and ancestor != root:
                ancestor = parents.get(ancestor, 0)
            total += used if ancestor == root else 0
        return total / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def started(
    command: Sequence[Any], log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Program]:
    """Start a program that writes to ``log``; end it with the block."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            list(map(str, command)), stdout=file, stderr=subprocess.STDOUT, env=environment
        )
    try:
        yield Program(process, log)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def machine_share(cpu: float, seconds: float) -> float:
    """Return which part of all cores was used, in per cent."""
    return 100 * cpu / seconds / (os.cpu_count() or 1)
