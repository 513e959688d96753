"""Cameras of the electron microscope and what is made of their frames."""

from __future__ import annotations

import daq


@daq.hookimpl
def daq_analyses() -> list[type[daq.Analysis]]:
    """Return the analyses of diffraction patterns."""
    from daq_stem.virtual import Virtual

    return [Virtual]


@daq.hookimpl
def daq_readers() -> list[type[daq.Reader]]:
    """Return the readers of camera files."""
    from daq_stem.merlin import MerlinReader

    return [MerlinReader]
