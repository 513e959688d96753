"""``daq view``: the viewer, on a live bus or on a recorded run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

EXAMPLES: Final = {
    "view": [
        "daq view",
        "daq view tcp://127.0.0.1:5555",
        "daq view runs/20260101T220000Z-night-1f2e --snapshot night.png",
    ]
}


def view(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="[ENDPOINT or RUN]", help="By default the bus of this user on this machine."
        ),
    ] = None,
    snapshot: Annotated[
        Path | None,
        typer.Option(metavar="PNG", help="Write a picture and exit; needs no screen."),
    ] = None,
) -> int:
    """Open the viewer on a bus (here or far) or on a recorded run."""
    from daq.bus.endpoint import default_endpoint
    from daq.viewer import availability, run_viewer

    if (reason := availability()) is not None:
        raise OSError(f"the viewer cannot run: {reason}")
    target = target or default_endpoint()
    if "://" not in target and not Path(target).exists():
        raise ValueError(
            f"{target}: neither a run that is there nor an endpoint such as ipc:///path"
        )
    return run_viewer(target, snapshot)
