"""Relaxation laws and the fits that every instrument shares; other plugins may import this one.

``laws`` holds the formulas, ``kww_frequency`` and ``havriliak_negami`` two laws in frequency with
their derivatives; ``kww_fit`` fits many decays at once, ``susceptibility_fit`` sweeps of both
moduli, ``arrhenius_fit`` and ``vft_fit`` relaxation times against temperature,
``temperature_law_fit`` one law for both, with full covariance; ``spectrum_inversion`` seeks
distributions of relaxation times. ``arrhenius`` is the analysis that fits while a temperature
series runs. Import from the modules: they bring numpy, and numba and scipy only when a fit is
called.
"""

from __future__ import annotations

import daq


@daq.hookimpl
def daq_analyses() -> list[type[daq.Analysis]]:
    """Return the analyses of relaxation times, whatever instrument they come from."""
    from daq_relaxation.arrhenius import Arrhenius

    return [Arrhenius]
