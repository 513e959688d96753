"""Atomic force microscopy: controllers and files, surface statistics, dissipation, resonance."""

from __future__ import annotations

import daq


@daq.hookimpl
def daq_sources() -> list[type[daq.Source]]:
    """Return the controllers."""
    from daq_afm.nanonis import Nanonis
    from daq_afm.nanonis_logger import NanonisLogger

    return [Nanonis, NanonisLogger]


@daq.hookimpl
def daq_readers() -> list[type[daq.Reader]]:
    """Return the readers of scans."""
    from daq_afm.gwyddion import GwyddionReader
    from daq_afm.ibw import AsylumReader
    from daq_afm.surface_topography import SurfaceTopographyReader

    return [AsylumReader, GwyddionReader, SurfaceTopographyReader]


@daq.hookimpl
def daq_analyses() -> list[type[daq.Analysis]]:
    """Return the analyses of scan lines."""
    from daq_afm.amplitude_watch import AmplitudeWatch
    from daq_afm.angular_spectrum import AngularSpectrum
    from daq_afm.contact_resonance import ContactResonance
    from daq_afm.dissipation import Dissipation
    from daq_afm.dissipation_curve import DissipationCurve
    from daq_afm.dissipation_regions import DissipationRegions
    from daq_afm.height_phase import HeightPhase
    from daq_afm.levelling import Levelling
    from daq_afm.modulus_classes import ModulusClasses
    from daq_afm.phase_histogram import PhaseHistogram
    from daq_afm.surface_correlation import SurfaceCorrelation

    return [
        AmplitudeWatch,
        AngularSpectrum,
        ContactResonance,
        Dissipation,
        DissipationCurve,
        DissipationRegions,
        HeightPhase,
        Levelling,
        ModulusClasses,
        PhaseHistogram,
        SurfaceCorrelation,
    ]


@daq.hookimpl
def daq_views() -> list[type[daq.View]]:
    """Return how the results are drawn."""
    from daq_afm.views import VIEWS

    return VIEWS
