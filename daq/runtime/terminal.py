"""What a run shows on the terminal: one line of progress, messages, and a summary."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.status import Status
from rich.table import Table

STYLES = {"info": "", "warning": "yellow", "error": "bold red"}


class Terminal:
    """Progress of a run; on a terminal one line that changes, elsewhere a line now and then.

    Parameters
    ----------
    quiet
        Show nothing.
    every
        Seconds between lines where the output is not a terminal.
    """

    def __init__(self, *, quiet: bool = False, every: float = 5.0) -> None:
        self._console = Console(stderr=True, quiet=quiet, highlight=False)
        self._every = every
        self._quiet = quiet
        self._shown = 0.0
        self._status: Status | None = None

    def show(self, status: Mapping[str, Any], elapsed: float, recording: bool) -> None:
        """Show how far the run is, at most a few times a second."""
        now = time.monotonic()
        live = self._console.is_terminal and not self._quiet
        if now - self._shown < (0.3 if live else self._every) or not status["streams"]:
            return
        self._shown = now
        parts = [_clock(elapsed)]
        for name, counters in status["streams"].items():
            if name.startswith(("run.", "truth.")) or "." in name:
                continue
            of = f"/{counters['expect']}" if counters["expect"] else ""
            parts.append(f"{name} {counters['records']}{of} ({counters['rate']:.0f}/s)")
            if counters["missing"]:
                parts.append(f"{counters['missing']} missing")
        lags = [
            (counters["lag"], f"{who} is {counters['lag']} behind")
            for who, streams in status["consumers"].items()
            for counters in streams.values()
            if counters["policy"] == "lossless"
        ]
        if lags and max(lags)[0] > 1000:
            parts.append(max(lags)[1])
        parts.append("recording" if recording else "NOT recording")
        line = "  ".join(parts)
        if not live:
            self._console.print(line)
            return
        if self._status is None:
            self._status = self._console.status(line)
            self._status.start()
        self._status.update(line)

    def say(self, level: str, message: str) -> None:
        """Print a message."""
        style = STYLES.get(level, "")
        mark = "" if level == "info" else f"{level}: "
        self._console.print(f"{mark}{message}", style=style, markup=False, soft_wrap=True)

    def summary(self, streams: Mapping[str, Any]) -> None:
        """Print what each stream came to."""
        self._end_status()
        table = Table(box=None, pad_edge=False)
        for heading in ("stream", "records", "missing", "repeats", "written", "status"):
            table.add_column(
                heading, justify="left" if heading in ("stream", "status") else "right"
            )
        for name, counters in sorted(streams.items()):
            if name.startswith(("run.", "truth.")):
                continue
            written = "-" if counters["written"] is None else str(counters["written"])
            table.add_row(
                name, str(counters["records"]), str(counters["missing"]),
                str(counters["repeats"]), written, counters["status"],
            )  # fmt: skip
        if table.row_count:
            self._console.print(table)

    def last(self, line: str) -> None:
        """Print the last line, to standard output."""
        self._end_status()
        if not self._quiet:
            print(line)
            sys.stdout.flush()

    def _end_status(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
