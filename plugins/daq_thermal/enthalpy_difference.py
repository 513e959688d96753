"""The area between the trace of a sample and that of its standard: excess and recovery enthalpy.

D(T) = c_standard - c_sample. Baselines differ from scan to scan, so a straight line is taken out
of D, through a range below all relaxation and one in the liquid, where both must agree. All
results are then sums of readings with fixed weights, and their errors follow from the noise.
"""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np

from daq_thermal.readings import Floats

LEAST_CELLS: Final = 4
"""Cells that a range needs to hold a line."""


@dataclasses.dataclass(frozen=True, slots=True)
class Cells:
    """The mean of c in cells of equal width; all [cell].

    Parameters
    ----------
    first
        Number of the first cell: cell k lies from k to k + 1 ``width``.
    width
        K.
    mean
        J/(g K).
    variance
        Of each mean, from the noise of the readings.
    """

    first: int
    width: float
    mean: Floats
    variance: Floats

    @classmethod
    def of(cls, T: Floats, c: Floats, width: float) -> Cells:
        """Return the cells that a trace fills; T [n] in K, growing, c [n] in J/(g K)."""
        first, stop = int(np.ceil(T[0] / width)), int(np.floor(T[-1] / width))
        edges = np.arange(first, max(first, stop) + 1) * width
        enthalpy = np.concatenate([[0.0], np.cumsum(np.diff(T) * (c[1:] + c[:-1]) / 2)])
        # c is straight between readings: its integral at an edge is that of a trapezium
        at = np.clip(np.searchsorted(T, edges, side="right") - 1, 0, max(0, len(T) - 2))
        d = edges - T[at]
        bend = (c[at + 1] - c[at]) / (T[at + 1] - T[at])
        integral = enthalpy[at] + d * c[at] + bend * d * d / 2
        spacing = np.interp((edges[1:] + edges[:-1]) / 2, (T[1:] + T[:-1]) / 2, np.diff(T))
        return cls(
            first, width, np.diff(integral) / width,
            noise(c) ** 2 * np.minimum(spacing / width, 1.0),
        )  # fmt: skip

    @property
    def stop(self) -> int:
        """Number after that of the last cell."""
        return self.first + len(self.mean)

    def part(self, first: int, stop: int) -> Cells:
        """Return cells ``first`` to ``stop``, which must be there."""
        inside = slice(first - self.first, stop - self.first)
        return Cells(first, self.width, self.mean[inside], self.variance[inside])


def noise(c: Floats) -> float:
    """Return the standard deviation of a reading, from second differences (their median)."""
    if len(c) < 5:
        return float("nan")
    return float(1.4826 * np.median(np.abs(np.diff(c, 2))) / np.sqrt(6))


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """What lies between a trace and its standard, J/g; errors are those of the noise.

    Parameters
    ----------
    excess
        Enthalpy of the sample over that of the standard before the scan: int D dT from the low
        range to the end of the liquid's. While that is not reached: int D so far.
    below
        The part below ``split``.
    recovery
        What the sample takes up more than the standard above ``split``: below - excess.
    errors
        Of excess, below and recovery: [3].
    from_standard
        The part of ``errors`` that comes from the standard: [3], shared by samples that share it.
    open
        The liquid is not reached: D was shifted in the low range only, and not tilted.
    T, sample, standard
        [cell] K, J/(g K): middles of cells, c of the sample with the line added, c of the
        standard.
    """

    excess: float
    below: float
    recovery: float
    errors: Floats
    from_standard: Floats
    open: bool
    T: Floats
    sample: Floats
    standard: Floats


def difference(
    sample: Cells,
    standard: Cells,
    low: tuple[float, float],
    liquid: tuple[float, float],
    split: float,
) -> Difference | None:
    """Return what lies between two traces; None where they do not both hold the low range.

    Parameters
    ----------
    sample, standard
        Traces at one heating rate, in cells of one width.
    low
        K (from, to): below all relaxation.
    liquid
        K (from, to): where both are liquid.
    split
        K, between ``below`` and ``recovery``.
    """
    width = sample.width
    begin = max(sample.first, standard.first, int(np.ceil(low[0] / width)))
    end = min(sample.stop, standard.stop, int(np.floor(liquid[1] / width)))
    if end - begin < LEAST_CELLS:
        return None
    one, other = sample.part(begin, end), standard.part(begin, end)
    T = np.asarray((np.arange(begin, end) + 0.5) * width, np.float64)
    D = other.mean - one.mean
    in_low = low[1] > T
    in_liquid = liquid[0] < T
    if np.count_nonzero(in_low) < LEAST_CELLS:
        return None
    still_open = bool(np.count_nonzero(in_liquid) < LEAST_CELLS)
    laid = in_low if still_open else in_low | in_liquid
    count = np.count_nonzero(laid)
    middle = float(np.sum(T[laid]) / count)
    x = T - middle
    # the line at T is sum over readings of these weights times D
    spread = np.inf if still_open else float(np.sum(x[laid] ** 2))
    level = laid / count
    tilt = laid * x / spread
    line = float(np.sum(level * D)) + x * float(np.sum(tilt * D))

    weights = []
    for wanted in (np.ones_like(T), (split > T) * 1.0):
        taken = width * (wanted - np.sum(wanted) * level - np.sum(wanted * x) * tilt)
        weights.append(taken)
    weights.append(weights[1] - weights[0])
    a = np.stack(weights)
    values = np.sum(a * D, axis=1)
    shared = np.sum(a**2 * other.variance, axis=1)
    own = np.sum(a**2 * one.variance, axis=1)
    return Difference(
        float(values[0]), float(values[1]), float(values[2]), np.asarray(np.sqrt(own + shared)),
        np.asarray(np.sqrt(shared)), still_open, T, one.mean + line, other.mean,
    )  # fmt: skip
