"""Atomic force microscopy: controllers and files, surface statistics, dissipation, resonance."""

from __future__ import annotations

import daq


@daq.hookimpl
def daq_sources() -> list[type[daq.Source]]:
    """Return the controllers."""
    return []


@daq.hookimpl
def daq_readers() -> list[type[daq.Reader]]:
    """Return the readers of scans."""
    return []


@daq.hookimpl
def daq_analyses() -> list[type[daq.Analysis]]:
    """Return the analyses of scan lines."""
    return []


@daq.hookimpl
def daq_views() -> list[type[daq.View]]:
    """Return how the results are drawn."""
    return []
