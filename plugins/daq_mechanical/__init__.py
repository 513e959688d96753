"""Mechanical spectroscopy, stress relaxation, creep and indentation."""

from __future__ import annotations

import daq


@daq.hookimpl
def daq_readers() -> list[type[daq.Reader]]:
    """Return the readers of indents."""
    from daq_mechanical.indent_text import IndentText

    return [IndentText]


@daq.hookimpl
def daq_analyses() -> list[type[daq.Analysis]]:
    """Return the analyses of spectra, of relaxation and creep, and of indents."""
    from daq_mechanical.ageing import Ageing
    from daq_mechanical.beta_relaxation import BetaRelaxation
    from daq_mechanical.creep import Creep
    from daq_mechanical.double_well import DoubleWell
    from daq_mechanical.indentation import Indentation
    from daq_mechanical.master_curve import MasterCurve
    from daq_mechanical.quasi_point_defects import QuasiPointDefects
    from daq_mechanical.relaxation_spectrum import RelaxationSpectrum
    from daq_mechanical.spectrum_fit import SpectrumFit
    from daq_mechanical.stress_relaxation import StressRelaxation
    from daq_mechanical.temperature_laws import TemperatureLaws

    return [
        Ageing,
        BetaRelaxation,
        Creep,
        DoubleWell,
        Indentation,
        MasterCurve,
        QuasiPointDefects,
        RelaxationSpectrum,
        SpectrumFit,
        StressRelaxation,
        TemperatureLaws,
    ]


@daq.hookimpl
def daq_views() -> list[type[daq.View]]:
    """Return how the results are drawn."""
    from daq_mechanical.views import VIEWS

    return list(VIEWS)
