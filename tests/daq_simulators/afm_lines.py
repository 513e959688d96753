"""Lines of the simulated force microscopes, in one call: for tests of analyses too.

::

    lines, truth = tapping_lines(scan=(64, 64), places=3)
    check_analysis(Levelling, lines, {})
    run_analysis(Levelling, {"afm": lines.stream}, lines.batches(7), {})
    lines["phase"].reshape(3, 64, 64)                         # [scan, row, column]
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

import daq
from daq.config import validated
from daq.testing import Records
from daq_simulators.afm_contact_resonance import AfmContactResonance
from daq_simulators.afm_tapping import AfmTapping

Truth = Mapping[str, npt.NDArray[Any]]

SMALL = {"speed": 0, "batch": 64}


def lines_of(
    source_class: type[daq.Source], name: str, **values: Any
) -> tuple[Records, dict[str, npt.NDArray[Any]]]:
    """Return what a source with this configuration gives, and its truth."""
    source = source_class()
    (stream,) = source.open(validated(source_class.Config, {**SMALL, **values}, f"sources.{name}"))
    truth = {key: np.asarray(value) for key, value in source.truth().items()}
    return Records.of(stream.renamed(name), source.batches({})), truth


def tapping_lines(name: str = "afm", **values: Any) -> tuple[Records, dict[str, npt.NDArray[Any]]]:
    """Return the lines of ``afm_tapping`` and the truth; 128 x 128 pixels if not said otherwise."""
    return lines_of(AfmTapping, name, **{"scan": (128, 128), **values})


def resonance_lines(
    name: str = "afm", **values: Any
) -> tuple[Records, dict[str, npt.NDArray[Any]]]:
    """Return the lines of ``afm_contact_resonance`` and the truth; 64 x 64 pixels likewise."""
    return lines_of(AfmContactResonance, name, **{"scan": (64, 64), **values})
