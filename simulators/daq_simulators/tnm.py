"""Tool-Narayanaswamy-Moynihan: the fictive temperature along a thermal history, by direct recursion.

Every temperature step that ever was is remembered; the cost grows as the square of the steps.
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
"""Gas constant, J/(mol K)."""

Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, slots=True)
class Tnm:
    """Parameters of the alpha relaxation.

    tau(T, T_f) = tau_g exp[x h/R (1/T - 1/T_g) + (1 - x) h/R (1/T_f - 1/T_g)],
    h = fragility R T_g ln 10, and phi(xi) = exp(-xi^stretch) of the reduced time xi = int dt/tau.

    Parameters
    ----------
    T_g
        K; where the liquid's relaxation time is ``tau_g``, s.
    fragility
        m = d log10 tau / d(T_g/T) of the liquid at T_g.
    x
        Nonlinearity, 0 to 1.
    stretch
        Exponent of phi, 0 to 1.
    """

    T_g: float = 695.0
    tau_g: float = 100.0
    fragility: float = 40.0
    x: float = 0.7
    stretch: float = 0.55

    @property
    def h_over_r(self) -> float:
        """Apparent activation energy of the liquid at T_g over R, K."""
        return self.fragility * self.T_g * math.log(10)

    def liquid_tau(self, T: npt.ArrayLike) -> Floats:
        """Return the relaxation time of the liquid in equilibrium at T, s."""
        return np.asarray(
            self.tau_g * np.exp(self.h_over_r * (1 / np.asarray(T, np.float64) - 1 / self.T_g))
        )

    def fictive_temperature(self, seconds: Floats, kelvin: Floats) -> tuple[Floats, Floats]:
        """Return T_f, K, and the reduced time xi at each point of a history.

        T_f(n) = T(0) + sum over j of (T(j) - T(j-1)) [1 - phi(xi(n) - xi(j - 1/2))], in
        equilibrium at point 0 (Moynihan 1976). A step is taken at the middle of its reduced time,
        tau at its middle temperature, so the error falls with the square of the step.

        Parameters
        ----------
        seconds, kelvin
            [n], the history; steps of half a kelvin or less, and of log time in a hold.
        """
        found = np.empty((2, len(kelvin)))
        _recursion()(
            np.ascontiguousarray(seconds), np.ascontiguousarray(kelvin),
            self.h_over_r, self.T_g, math.log(self.tau_g), self.x, self.stretch, found[0], found[1],
        )  # fmt: skip
        return found[0], found[1]


@functools.cache
def _recursion() -> Callable[..., Any]:
    import numba

    @numba.njit(cache=True)
    def recursion(  # type: ignore[no-untyped-def]
        seconds, kelvin, h_over_r, T_g, ln_tau_g, x, stretch, fictive, reduced
    ):
        n = len(kelvin)
        steps = np.empty(n)
        middles = np.empty(n)
        fictive[0], reduced[0] = kelvin[0], 0.0
        first = 1  # steps before it are forgotten: their phi is below 1e-16
        settled = kelvin[0]
        change = 0.0
        for i in range(1, n):
            dt = seconds[i] - seconds[i - 1]
            middle = 0.5 * (kelvin[i] + kelvin[i - 1])
            guess = fictive[i - 1] + 0.5 * change * dt
            ln_tau = ln_tau_g + h_over_r * (
                x * (1 / middle - 1 / T_g) + (1 - x) * (1 / guess - 1 / T_g)
            )
            step = dt * math.exp(-ln_tau) if ln_tau > -600.0 else 1e250
            reduced[i] = reduced[i - 1] + step
            steps[i] = kelvin[i] - kelvin[i - 1]
            middles[i] = reduced[i - 1] + 0.5 * step
            while first < i and (reduced[i] - middles[first]) ** stretch > 37.0:
                settled += steps[first]
                first += 1
            total = settled
            for j in range(first, i + 1):
                if steps[j] != 0.0:
                    total -= steps[j] * math.expm1(-((reduced[i] - middles[j]) ** stretch))
            fictive[i] = total
            # where the rate jumps, half a step of the old slope would be wrong
            change = (total - fictive[i - 1]) / dt if dt > 0.0 else 0.0
            if i + 1 < n and not 0.5 * dt < seconds[i + 1] - seconds[i] < 2 * dt:
                change = 0.0

    return recursion
