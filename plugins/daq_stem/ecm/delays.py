"""The fixed grid of delays: every multiple of the scan period at first, then multi-tau."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

DENSE = 16
"""Delays up to this many periods have a bin each; beyond, eight to the octave."""


def delay_bins(longest: int, dense: int = DENSE) -> npt.NDArray[np.int32]:
    """Return the bin of each delay 0, 1, ... ``longest``, in periods: int32 [longest + 1].

    Delay 0 is in none (-1). Up to ``dense`` (a multiple of 8) each has its own; from then on an octave
    has eight bins, as in multi-tau schemes. A bin stands for the mean of the delays in it.
    """
    if dense < 8 or dense % 8:
        raise ValueError(f"dense: a multiple of 8, not {dense}")
    bins = np.empty(longest + 1, np.int32)
    bins[: dense + 1] = np.arange(-1, dense)[: longest + 1]
    begin, width, at = dense + 1, max(1, dense // 8), dense
    while begin <= longest:
        for _ in range(8):
            bins[begin : begin + width] = at
            begin += width
            at += 1
        width *= 2
    return bins


def bin_count(longest: int, dense: int = DENSE) -> int:
    """Return how many bins there are for delays up to ``longest`` periods."""
    return int(delay_bins(longest, dense)[-1]) + 1
