"""Tool-Narayanaswamy-Moynihan as a recursion of fixed cost: the fictive temperature reading by reading.

phi(xi) = exp(-xi^b) is written as a sum of 32 exponentials, so that a history is 32 numbers and
not all the steps that ever were (Moynihan 1976; the direct recursion costs the square of them).
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Final

import numpy as np
import numpy.typing as npt

R: Final = 8.314
MODES: Final = 32

Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, slots=True)
class Tnm:
    """ln tau = ln tau_g + x h/R (1/T - 1/T_g) + (1 - x) h/R (1/T_f - 1/T_g).

    Parameters
    ----------
    T_g
        K, where the liquid's relaxation time is ``tau_g`` s.
    tau_g
        s.
    h
        J/mol, apparent activation energy (fragility m R T_g ln 10).
    x
        Nonlinearity, 0 to 1.
    b
        Exponent of phi(xi) = exp(-xi^b) of the reduced time xi = int dt/tau.
    """

    T_g: float
    tau_g: float
    h: float
    x: float
    b: float

    def ln_tau(self, T: npt.ArrayLike, T_f: npt.ArrayLike) -> Floats:
        """Return ln of the relaxation time in s at temperature and fictive temperature, K."""
        h_over_r = self.h / R
        inverse, fictive = 1 / np.asarray(T, np.float64), 1 / np.asarray(T_f, np.float64)
        return np.asarray(
            math.log(self.tau_g)
            + h_over_r
            * (self.x * (inverse - 1 / self.T_g) + (1 - self.x) * (fictive - 1 / self.T_g))
        )


@functools.lru_cache(maxsize=64)
def modes(b: float, count: int = MODES) -> tuple[Floats, Floats]:
    """Return times lambda [count] and weights [count], sum 1: exp(-xi^b) = sum w exp(-xi/lambda).

    Times are spaced evenly in their logarithm over what the decay covers; weights by least
    squares at xi that are dense in logarithm. The largest error of phi is below 1e-4 for b of 0.3
    to 1.
    """
    if b == 1:
        return np.ones(1), np.ones(1)
    # where phi has fallen by 1e-5, and where it has all but ended
    first, last = 1e-5 ** (1 / b), 12.0 ** (1 / b)
    times = np.geomspace(max(first, 1e-12), last, count)
    xi = np.geomspace(first / 10, 40 ** (1 / b), 40 * count)
    matrix = np.exp(-xi[:, None] / times)
    target = np.exp(-(xi**b))
    # the sum is 1 exactly: what is at rest stays at rest
    reduced = matrix[:, 1:] - matrix[:, :1]
    weights = np.linalg.lstsq(reduced, target - matrix[:, 0], rcond=1e-10)[0]
    return times, np.concatenate([[1 - weights.sum()], weights])


@dataclasses.dataclass(frozen=True, slots=True)
class History:
    """What a sample remembers: all that the next reading needs; the arrays are changed in place.

    Parameters
    ----------
    behind
        [mode] K: by how much each mode's T_f lies above T.
    state
        [4] of the last reading: T, K; T_f, K; dT_f/dt over the last step, K/s (0 where the next
        step has another length); the length of that step, s.
    """

    behind: Floats
    state: Floats

    @property
    def fictive(self) -> float:
        """T_f at the last reading, K."""
        return float(self.state[1])


class StreamingTnm:
    """Follows T_f through readings, in any number of calls, to the same bits.

    Parameters
    ----------
    model
        Parameters of the relaxation.
    longest_step
        K: steps that are larger are taken in equal parts.
    """

    def __init__(self, model: Tnm, longest_step: float = 0.5) -> None:
        from daq_thermal import tnm_kernel

        self._kernel = tnm_kernel
        times, weights = modes(model.b)
        parameters = np.array(
            [model.h / R, model.T_g, math.log(model.tau_g), model.x, longest_step]
        )
        self.arrays = parameters, times, weights
        """What the functions of `daq_thermal.tnm_kernel` take of the model."""

    def begin(self, temperature: float, fictive: float) -> History:
        """Return a sample with a given T_f at its first reading, all modes alike."""
        history = History(np.empty(len(self.arrays[1])), np.empty(4))
        past = np.array([fictive, np.nan, np.nan])
        self._kernel.begin(temperature, past, *self.arrays, history.behind, history.state)
        return history

    def follow(self, history: History, dt: Floats, temperature: Floats) -> Floats:
        """Return T_f [n], K, at further readings; ``history`` is brought up to the last.

        Parameters
        ----------
        dt
            [n] s since the reading before, 0 or above; 0 leaves T_f as it is, however the
            temperature differs.
        temperature
            [n], K.
        """
        fictive = np.empty(len(dt))
        self._kernel.follow(
            np.array(dt, np.float64), np.array(temperature, np.float64), *self.arrays,
            history.behind, history.state, fictive,
        )  # fmt: skip
        return fictive
