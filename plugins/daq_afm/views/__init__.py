"""How results of scanning probes are drawn. None of these modules needs Qt: the viewer's figure does."""

from __future__ import annotations

import daq
from daq_afm.views import (
    amplitude,
    correlation,
    dissipation,
    distribution,
    resonance,
    scan,
    spectrum,
)

VIEWS: list[type[daq.View]] = [
    # what an analysis made goes before lines in general: a view that comes first draws
    *dissipation.VIEWS,
    *resonance.VIEWS,
    *correlation.VIEWS,
    *distribution.VIEWS,
    *spectrum.VIEWS,
    *amplitude.VIEWS,
    *scan.VIEWS,
]
"""All of them, in the order in which they are asked whether they draw a stream."""
