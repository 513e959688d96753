"""What the instrument adds to a height: tilt, the scanner's bow, an offset of each line."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from daq_simulators.afm_scan import Sweep, generator

Floats = npt.NDArray[np.float64]


def offsets(sd: float, rows: int, draw: np.random.Generator) -> Floats:
    """Return an offset for each row [row] with a standard deviation of ``sd``, independent."""
    return sd * draw.standard_normal(rows)


def background(config: Any, sweep: Sweep) -> Floats:
    """Return what a sweep adds to the height [row, column], nm, trace and retrace alike."""
    rows, columns = config.scan
    y = (np.arange(rows) - (rows - 1) / 2) * config.step[0]
    x = (np.arange(columns) - (columns - 1) / 2) * config.step[1]
    arc = config.bow * (x / max(abs(x[0]), config.step[1])) ** 2
    lines = offsets(config.line_noise, rows, generator(config.seed, 3, sweep.number, 0))
    plane = config.tilt[0] * y[:, None] + config.tilt[1] * x[None, :]
    return np.asarray(plane + arc[None, :] + lines[:, None])
