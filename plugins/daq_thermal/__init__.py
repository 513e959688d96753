"""Calorimetry (DSC): glass transition, enthalpy relaxation, crystallisation, modulated mode."""

from __future__ import annotations

import daq


@daq.hookimpl
def daq_analyses() -> list[type[daq.Analysis]]:
    """Return the analyses of a calorimeter's readings."""
    from daq_thermal.activation_spectrum import ActivationSpectrum
    from daq_thermal.ageing import FlowUnits
    from daq_thermal.enthalpy_relaxation import EnthalpyRelaxation
    from daq_thermal.excess_enthalpy import ExcessEnthalpy
    from daq_thermal.fictive_temperature import FictiveTemperature
    from daq_thermal.glass_transition import GlassTransition
    from daq_thermal.interstitialcy_heat import Interstitialcy
    from daq_thermal.kissinger import Kissinger
    from daq_thermal.modulated import Modulated

    return [
        ActivationSpectrum,
        EnthalpyRelaxation,
        ExcessEnthalpy,
        FictiveTemperature,
        FlowUnits,
        GlassTransition,
        Interstitialcy,
        Kissinger,
        Modulated,
    ]


@daq.hookimpl
def daq_views() -> list[type[daq.View]]:
    """Return how the results are drawn."""
    from daq_thermal.views import VIEWS

    return VIEWS
