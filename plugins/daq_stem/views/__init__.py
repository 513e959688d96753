"""How results of the microscope are drawn. None of these modules needs Qt: the viewer's figure does."""

from __future__ import annotations

import daq
from daq_stem.views.activation import Arrhenius
from daq_stem.views.calibration import Calibration
from daq_stem.views.correlation import Ageing, CorrelationFunction, TwoTime
from daq_stem.views.drift import Drift
from daq_stem.views.maps import LocalOrder, OrderOverQ, RelaxationTimes
from daq_stem.views.pattern import Pattern
from daq_stem.views.progress import Progress
from daq_stem.views.ring_strain import RingStrain
from daq_stem.views.strain_split import StrainSplit
from daq_stem.views.structure import Relation, RelationOverScans, Sectors

VIEWS: list[type[daq.View]] = [
    RelaxationTimes,
    LocalOrder,
    Pattern,
    Calibration,
    CorrelationFunction,
    Relation,
    Arrhenius,
    Progress,
    RingStrain,
    StrainSplit,
    Drift,
    RelationOverScans,
    OrderOverQ,
    Ageing,
    TwoTime,
    Sectors,
]
"""All of them, in the order of their ranks."""
