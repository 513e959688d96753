"""Options that several commands share, described once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final

import typer

_SECONDS: Final = {"": 1.0, "s": 1.0, "min": 60.0, "h": 3600.0}


def seconds(text: str) -> float:
    """Return a length of time such as ``90``, ``90s``, ``1.5min`` or ``2h`` in seconds."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*(s|min|h|)", text.strip())
    if match is None or not float(match[1]):
        raise typer.BadParameter(f"{text!r} is not a length of time; use 90, 90s, 1.5min or 2h")
    return float(match[1]) * _SECONDS[match[2]]


Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="DIR", help="Folder for the run (recorder.output)."),
]
Headless = Annotated[bool, typer.Option("--headless", help="Open no window.")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change the configuration, as often as needed; VALUE as in TOML.",
    ),
]
Duration = Annotated[
    float | None,
    typer.Option(parser=seconds, metavar="TIME", help="Stop after this time: 90, 90s, 1.5min, 2h."),
]
PluginsDir = Annotated[
    Path | None,
    typer.Option(
        "--plugins-dir", metavar="DIR", help="A folder of further plugins, .py files or packages."
    ),
]
Endpoint = Annotated[
    str | None,
    typer.Option(
        metavar="ENDPOINT", help="Of the bus; by default the one of this user on this machine."
    ),
]
