"""Relaxation laws and the fits that every instrument shares; other plugins may import this one.

``laws`` holds the formulas, ``kww_fit`` fits of many decays at once, ``arrhenius_fit`` and
``vft_fit`` those of relaxation times against temperature, ``arrhenius`` the analysis that does it
while a temperature series runs. Import from the modules: they bring numpy, and numba and scipy
only when a fit is called.
"""

from __future__ import annotations

import daq


@daq.hookimpl
def daq_analyses() -> list[type[daq.Analysis]]:
    """Return the analyses of relaxation times, whatever instrument they come from."""
    from daq_relaxation.arrhenius import Arrhenius

    return [Arrhenius]
