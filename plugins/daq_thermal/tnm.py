"""Tool-Narayanaswamy-Moynihan as a recursion of fixed cost: the fictive temperature reading by reading.

phi(xi) = exp(-xi^b) is written as a sum of 32 exponentials, so that a history is 32 numbers and
not all the steps that ever were (Moynihan 1976; the direct recursion costs the square of them).
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, Final

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


@dataclasses.dataclass(slots=True)
class History:
    """What a sample remembers: all that the next reading needs.

    Parameters
    ----------
    behind
        [mode] K: by how much each mode's T_f lies above T.
    seconds, temperature
        Of the last reading.
    fictive
        T_f, K.
    change
        dT_f/dt, K/s, over the last step; 0 where the next step has another length.
    step
        s, of the last step.
    """

    behind: Floats
    seconds: float
    temperature: float
    fictive: float
    change: float = 0.0
    step: float = 0.0


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
        self.model = model
        self._times, self._weights = modes(model.b)
        self._longest = longest_step
        self._kernel = _kernel()
        self._parameters = np.array(
            [model.h / R, model.T_g, math.log(model.tau_g), model.x, longest_step]
        )

    def begin(self, seconds: float, temperature: float, fictive: float) -> History:
        """Return a sample with a given T_f at its first reading, all modes alike."""
        behind = np.full(len(self._times), fictive - temperature)
        return History(behind, seconds, temperature, fictive)

    def follow(self, history: History, seconds: Floats, temperature: Floats) -> Floats:
        """Return T_f [n], K, at further readings; ``history`` is brought up to the last.

        Parameters
        ----------
        seconds
            [n], growing; a reading at the time of the one before leaves T_f as it is, however
            the temperature differs.
        temperature
            [n], K.
        """
        fictive = np.empty(len(seconds))
        state = np.array(
            [history.seconds, history.temperature, history.fictive, history.change, history.step]
        )
        self._kernel(
            np.ascontiguousarray(seconds, np.float64), np.ascontiguousarray(temperature, np.float64),
            self._parameters, self._times, self._weights, history.behind, state, fictive,
        )  # fmt: skip
        history.seconds, history.temperature, history.fictive, history.change, history.step = (
            state.tolist()
        )
        return fictive


@functools.cache
def _kernel() -> Callable[..., Any]:
    import numba

    @numba.njit(cache=True)
    def follow(  # type: ignore[no-untyped-def]
        seconds, temperature, parameters, times, weights, behind, state, fictive
    ):
        h_over_r, T_g, ln_tau_g, x, longest = parameters
        for i in range(len(seconds)):
            dt_whole = seconds[i] - state[0]
            rise_whole = temperature[i] - state[1]
            parts = 1
            if dt_whole > 0.0:
                parts = max(1, math.ceil(abs(rise_whole) / longest))
            dt = dt_whole / parts
            rise = rise_whole / parts
            for _ in range(parts):
                middle = state[1] + 0.5 * rise
                # a slope from a step of another length would mislead
                change = state[3] if 0.5 * state[4] < dt < 2.0 * state[4] else 0.0
                guess = state[2] + 0.5 * change * dt
                ln_tau = ln_tau_g + h_over_r * (
                    x * (1 / middle - 1 / T_g) + (1 - x) * (1 / guess - 1 / T_g)
                )
                step = dt * math.exp(-ln_tau) if ln_tau > -600.0 else 1e250
                total = 0.0
                for k in range(len(times)):
                    # the rise comes at the middle of the step's reduced time
                    half = math.exp(-0.5 * step / times[k])
                    behind[k] = (behind[k] * half - rise) * half
                    total += weights[k] * behind[k]
                state[1] += rise
                now = state[1] + total
                state[3] = (now - state[2]) / dt if dt > 0.0 else 0.0
                state[2], state[4] = now, dt
            state[0], state[1] = seconds[i], temperature[i]
            fictive[i] = state[2]

    return follow
