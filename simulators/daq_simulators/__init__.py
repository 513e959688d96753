"""Instruments with known truth, one module each; registered like the sources of any plugin."""

from __future__ import annotations

import daq


@daq.hookimpl
def daq_sources() -> list[type[daq.Source]]:
    """Return the simulators."""
    from daq_simulators.afm_contact_resonance import AfmContactResonance
    from daq_simulators.afm_tapping import AfmTapping
    from daq_simulators.calorimeter import Calorimeter
    from daq_simulators.mechanical_indenter import Nanoindenter
    from daq_simulators.mechanical_relaxation_tester import RelaxationTester
    from daq_simulators.mechanical_spectrometer import MechanicalSpectrometer
    from daq_simulators.moving_spots import MovingSpots
    from daq_simulators.stem_camera import StemCamera

    return [
        AfmContactResonance,
        AfmTapping,
        Calorimeter,
        MechanicalSpectrometer,
        MovingSpots,
        Nanoindenter,
        RelaxationTester,
        StemCamera,
    ]
