"""How mechanical results are drawn. None of these modules needs Qt: the viewer's figure does."""

from __future__ import annotations

import daq
from daq_mechanical.views import (
    ageing,
    in_time,
    indents,
    secondary,
    spectra,
    superposition,
    times,
)

VIEWS: list[type[daq.View]] = [
    *spectra.VIEWS,
    *superposition.VIEWS,
    *secondary.VIEWS,
    *in_time.VIEWS,
    *ageing.VIEWS,
    *times.VIEWS,
    *indents.VIEWS,
]
"""All of them, in the order in which they are asked whether they draw a stream."""
