"""Mechanical spectroscopy, stress relaxation, creep and indentation."""

from __future__ import annotations

import daq


@daq.hookimpl
def daq_readers() -> list[type[daq.Reader]]:
    """Return the readers of indents."""
    return []


@daq.hookimpl
def daq_analyses() -> list[type[daq.Analysis]]:
    """Return the analyses of spectra, of relaxation and creep, and of indents."""
    return []


@daq.hookimpl
def daq_views() -> list[type[daq.View]]:
    """Return how the results are drawn."""
    return []
