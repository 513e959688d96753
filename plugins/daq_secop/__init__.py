"""Furnaces, heating holders and load frames that speak SECoP."""

from __future__ import annotations

import daq


@daq.hookimpl
def daq_sources() -> list[type[daq.Source]]:
    """Return the client of a SECoP node."""
    from daq_secop.source import Secop

    return [Secop]
