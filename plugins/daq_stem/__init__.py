"""Cameras of the electron microscope and what is made of their frames."""

from __future__ import annotations

import daq


@daq.hookimpl
def daq_sources() -> list[type[daq.Source]]:
    """Return the cameras."""
    from daq_stem.dectris import Dectris
    from daq_stem.merlin_live import Merlin

    return [Dectris, Merlin]


@daq.hookimpl
def daq_analyses() -> list[type[daq.Analysis]]:
    """Return the analyses of diffraction patterns."""
    from daq_stem.azimuthal import Azimuthal
    from daq_stem.calibration import Calibration
    from daq_stem.drift import Drift
    from daq_stem.ecm import Ecm
    from daq_stem.fem import Fem
    from daq_stem.ring_strain import RingStrain
    from daq_stem.structure_dynamics import StructureDynamics
    from daq_stem.structure_factor import StructureFactor
    from daq_stem.virtual import Virtual

    return [
        Azimuthal,
        Calibration,
        Drift,
        Ecm,
        Fem,
        RingStrain,
        StructureDynamics,
        StructureFactor,
        Virtual,
    ]


@daq.hookimpl
def daq_readers() -> list[type[daq.Reader]]:
    """Return the readers of camera files."""
    from daq_stem.arina import ArinaReader
    from daq_stem.hdf5_frames import Hdf5Reader
    from daq_stem.merlin import MerlinReader
    from daq_stem.npy_frames import NpyReader
    from daq_stem.zarr_frames import ZarrReader

    return [ArinaReader, Hdf5Reader, MerlinReader, NpyReader, ZarrReader]


@daq.hookimpl
def daq_views() -> list[type[daq.View]]:
    """Return how the results are drawn."""
    from daq_stem.views import VIEWS

    return VIEWS
