"""Cameras of the electron microscope and what is made of their frames."""

from __future__ import annotations

import daq


@daq.hookimpl
def daq_sources() -> list[type[daq.Source]]:
    """Return the cameras."""
    from daq_stem.dectris.source import Dectris
    from daq_stem.merlin.source import Merlin

    return [Dectris, Merlin]


@daq.hookimpl
def daq_analyses() -> list[type[daq.Analysis]]:
    """Return the analyses of diffraction patterns."""
    from daq_stem.calibration.analysis import Calibration
    from daq_stem.drift.analysis import Drift
    from daq_stem.ecm.analysis import Ecm
    from daq_stem.fem.analysis import Fem
    from daq_stem.scattering.azimuthal import Azimuthal
    from daq_stem.scattering.ring_strain import RingStrain
    from daq_stem.scattering.structure_factor import StructureFactor
    from daq_stem.structure_dynamics.analysis import StructureDynamics
    from daq_stem.virtual.analysis import Virtual

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
    from daq_stem.dectris.reader import ArinaReader
    from daq_stem.frame_files.hdf5 import Hdf5Reader
    from daq_stem.frame_files.libertem import LibertemReader
    from daq_stem.frame_files.npy import NpyReader
    from daq_stem.frame_files.zarr import ZarrReader
    from daq_stem.merlin.reader import MerlinReader

    return [ArinaReader, Hdf5Reader, LibertemReader, MerlinReader, NpyReader, ZarrReader]


@daq.hookimpl
def daq_views() -> list[type[daq.View]]:
    """Return how the results are drawn."""
    from daq_stem.views import VIEWS

    return VIEWS
