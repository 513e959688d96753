"""``daq command``: tell a running bus, source or analysis something."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from daq.cli import options

EXAMPLES: Final = {
    "command": [
        "daq command supervisor record",
        'daq command supervisor note text="beam shifted"',
        "daq command virtual reconfigure centre=[60,61]",
        "daq command camera stop",
    ]
}


def command(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET", help="A source, an analysis, bus, recorder or supervisor."
        ),
    ],
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="record, reconfigure, note, stop, add ...")
    ],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE ...]", help="Values as in TOML.")
    ] = None,
    endpoint: options.Endpoint = None,
) -> int:
    """Send a command to a running experiment.

    A change takes effect at an index of the input that is printed, and is recorded.
    """
    from daq.cli.connection import connected

    values = _arguments(arguments or [])
    with connected(endpoint, "command") as (bus, _):
        done = bus.command(target, name, values)
    stream, index = done.get("stream"), done.get("index")
    print(
        f"{target} {name}: done"
        + ("" if index is None else f", from record {index} of {stream} on")
    )
    for key, value in done.items():
        if key not in ("id", "target", "stream", "index", "error"):
            print(f"{key} = {value}")
    return 0


def _arguments(assignments: list[str]) -> dict[str, Any]:
    from daq.runtime.experiment import parse_assignment

    values: dict[str, Any] = {}
    for assignment in assignments:
        keys, value = parse_assignment(assignment)
        table = values
        for key in keys[:-1]:
            table = table.setdefault(key, {})
        table[keys[-1]] = value
    return values
