"""Cameras of the electron microscope and what is made of their frames."""

from __future__ import annotations

import daq


@daq.hookimpl
def daq_analyses() -> list[type[daq.Analysis]]:
    """Return the analyses of diffraction patterns."""
    from daq_stem.drift import Drift
    from daq_stem.ecm import Ecm
    from daq_stem.fem import Fem
    from daq_stem.structure_dynamics import StructureDynamics
    from daq_stem.virtual import Virtual

    return [Drift, Ecm, Fem, StructureDynamics, Virtual]


@daq.hookimpl
def daq_readers() -> list[type[daq.Reader]]:
    """Return the readers of camera files."""
    from daq_stem.merlin import MerlinReader

    return [MerlinReader]


@daq.hookimpl
def daq_views() -> list[type[daq.View]]:
    """Return how the results are drawn."""
    from daq_stem.views import VIEWS

    return VIEWS
