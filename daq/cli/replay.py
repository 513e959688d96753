"""``daq replay``: a recorded run or a foreign file as a source."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from daq.cli import options

EXAMPLES: Final = {
    "replay": [
        "daq replay runs/20260101T220000Z-night-1f2e --speed 1",
        "daq replay frames.mib --config night.toml --headless",
    ]
}


def replay(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="A run (folder or .nxs), or a file that a plugin reads."
        ),
    ],
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", "-c", metavar="CONFIG", help="Analyses; by default those of the run."
        ),
    ] = None,
    speed: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            metavar="X",
            help="1: at its own pace, 10: ten times faster; by default as it goes.",
        ),
    ] = None,
    output: options.Output = None,
    headless: options.Headless = False,
    changes: options.Set = None,
    duration: options.Duration = None,
    endpoint: options.Endpoint = None,
    plugins_dir: options.PluginsDir = None,
) -> int:
    """Send recorded data through the analyses again, as if they came now.

    A run goes through the analyses that it was recorded with, unless --config names others.
    """
    from daq.discovery import Plugins
    from daq.runtime.replay import replay_experiment
    from daq.runtime.supervisor import run_experiment

    Plugins.load(plugins_dir)
    experiment = replay_experiment(path, config, speed, changes or ())
    return run_experiment(
        experiment,
        output=output,
        headless=headless,
        duration=duration,
        plugins_dir=plugins_dir,
        endpoint=endpoint,
    )
