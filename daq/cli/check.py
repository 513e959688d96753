"""``daq verify`` and ``daq repair``: is a run whole, and made readable again."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from daq.cli import terminal

EXAMPLES: Final = {
    "verify": ["daq verify runs/20260101T220000Z-night-1f2e"],
    "repair": ["daq repair runs/20260101T220000Z-night-1f2e"],
}

Run = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of the run, or its .nxs.")]


def verify(run: Run) -> int:
    """Check a run: counts, gaps and checksums of everything that was recorded.

    Changes nothing. The exit status is 0 only if the run is whole.
    """
    return _report(
        "verify", run, "whole", "daq repair makes readable what a kill or power loss left"
    )


def repair(run: Run) -> int:
    """Make a run readable that a kill or a power loss left, from its journal.

    Damaged files are kept aside until their content is safe.
    """
    return _report("repair", run, "readable", "what is listed above could not be brought back")


def _report(name: Literal["verify", "repair"], run: Path, good: str, otherwise: str) -> int:
    if not run.exists():
        raise ValueError(f"{run}: no such run")
    work = getattr(importlib.import_module(f"daq.recording.{name}"), name)
    with terminal.progress() as progress:
        report = work(run, progress)
    console = terminal.console()
    if report.streams:
        keys = dict.fromkeys(key for counts in report.streams.values() for key in counts)
        table = terminal.table("stream", *keys)
        for stream, counts in report.streams.items():
            table.add_row(stream, *(terminal.cell(counts.get(key)) for key in keys))
        console.print(table)
    for problem in report.problems:
        print(problem)
    count = len(report.problems)
    found = (
        good
        if report.ok
        else f"not {good}: {count} problem{'s' if count != 1 else ''}; {otherwise}"
    )
    print(f"{run}: {found}")
    return 0 if report.ok else 1
