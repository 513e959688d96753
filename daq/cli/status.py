"""``daq status``: every counter of a running bus."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from daq.cli import terminal

EXAMPLES: Final = {"status": ["daq status", "daq status tcp://127.0.0.1:5555 --json"]}


def status(
    endpoint: Annotated[
        str | None,
        typer.Argument(
            metavar="[ENDPOINT]", help="By default the bus of this user on this machine."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counters as JSON.")] = False,
) -> int:
    """Show what goes through a running bus: streams, rates, who lags, what was lost."""
    from daq.cli.connection import connected

    with connected(endpoint, "status") as (bus, where):
        counters = bus.status()
    if as_json:
        import json

        print(json.dumps(counters, indent=2))
        return 0
    _draw(counters, where)
    return 0


def _draw(counters: dict[str, Any], where: str) -> None:
    console = terminal.console()
    recording = "recording" if counters.get("recording") else "NOT recording"
    console.print(f"run {counters.get('run') or '-'}   {recording}   {where}")
    streams = terminal.table(
        "stream", "state", "records", "of", "records/s", "missing", "repeats", "written", "durable",
        "size", "held", "from",
    )  # fmt: skip
    for name, stream in sorted(counters.get("streams", {}).items()):
        numbers = [
            terminal.cell(stream.get(key))
            for key in ("records", "expect", "rate", "missing", "repeats", "written", "durable")
        ]
        streams.add_row(
            name, str(stream.get("status", "-")), *numbers, terminal.size(stream.get("bytes")),
            terminal.size(stream.get("held_bytes")), str(stream.get("owner") or "-"),
        )  # fmt: skip
    console.print(streams)
    consumers = terminal.table(
        "consumer", "stream", "policy", "in", "out", "skipped", "lag", "in flight"
    )
    for name, followed in sorted(counters.get("consumers", {}).items()):
        for stream, counts in sorted(followed.items()):
            keys = ("policy", "in", "out", "skipped", "lag", "in_flight")
            consumers.add_row(name, stream, *(terminal.cell(counts.get(key)) for key in keys))
    if consumers.row_count:
        console.print(consumers)
    for code, count in sorted(counters.get("errors", {}).items()):
        console.print(f"errors {code}: {terminal.cell(count)}")
