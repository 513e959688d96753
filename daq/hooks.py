"""The plugin surface: six hooks. A plugin implements any of them with `daq.hookimpl`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from daq.analysis import Analysis
    from daq.reader import Reader
    from daq.run import Run
    from daq.source import Source
    from daq.view import View

hookspec = pluggy.HookspecMarker("daq")
hookimpl = pluggy.HookimplMarker("daq")


@hookspec
def daq_sources() -> Sequence[type[Source]]:  # type: ignore[empty-body]
    """Return the sources of this plugin."""


@hookspec
def daq_analyses() -> Sequence[type[Analysis]]:  # type: ignore[empty-body]
    """Return the analyses of this plugin."""


@hookspec
def daq_readers() -> Sequence[type[Reader]]:  # type: ignore[empty-body]
    """Return the file readers of this plugin."""


@hookspec
def daq_views() -> Sequence[type[View]]:  # type: ignore[empty-body]
    """Return the views of this plugin."""


@hookspec
def daq_run_started(run: Run) -> None:
    """A run has begun (called once, in the supervisor)."""


@hookspec
def daq_run_finished(run: Run) -> None:
    """A run has ended, its file is closed (called once, in the supervisor)."""
