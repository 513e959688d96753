"""``daq run``: an experiment from its configuration to its file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from daq.cli import options

EXAMPLES: Final = {
    "run": [
        "daq run configs/5d-stem.toml",
        "daq run night.toml --headless --output /data --duration 2h",
        "daq run night.toml --set sources.camera.rate=500 --set recorder.record=never",
    ]
}


def run(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="The experiment, a TOML file.")],
    output: options.Output = None,
    headless: options.Headless = False,
    changes: options.Set = None,
    duration: options.Duration = None,
    endpoint: options.Endpoint = None,
    plugins_dir: options.PluginsDir = None,
) -> int:
    """Run an experiment: bus, sources, analyses, recorder, and the viewer if there is a screen.

    Ctrl-C once brings it to an end in order. The last line names the file; the exit status is 0
    only if the run is complete.
    """
    from daq.discovery import Plugins
    from daq.runtime.experiment import load_experiment
    from daq.runtime.supervisor import run_experiment

    experiment = load_experiment(config, changes or (), Plugins.load(plugins_dir))
    return run_experiment(
        experiment,
        output=output,
        headless=headless,
        duration=duration,
        plugins_dir=plugins_dir,
        endpoint=endpoint,
    )
