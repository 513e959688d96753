"""The clock by which the glass relaxes: seconds, stretched by temperature and by ageing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

GAS_CONSTANT = 8.314
"""J/(mol K)."""


def arrhenius(temperature: float, reference: float, energy: float) -> float:
    """Return tau(T) / tau(T_ref) = exp(E/R (1/T - 1/T_ref)); K, K, kJ/mol."""
    return float(np.exp(energy * 1e3 / GAS_CONSTANT * (1 / temperature - 1 / reference)))


class MaterialTime:
    """xi(t) = integral of dt' / (a_T(t') a_w(t')), so that a field relaxes as exp(-(xi/tau)^gamma).

    a_T is `arrhenius` of the temperature, which changes in steps, and
    a_w = ((t_w + t) / t_w)^mu the growth of tau with the waiting time.

    Parameters
    ----------
    temperatures
        (time in s, temperature in K) of each step, in order, the first at 0 s.
    reference
        Temperature in K at which tau is given.
    energy
        Activation energy in kJ/mol.
    waiting_time
        t_w, the age of the specimen at time 0, in s.
    ageing
        The exponent mu; 0: no ageing.
    """

    def __init__(
        self,
        temperatures: Sequence[tuple[float, float]],
        reference: float,
        energy: float,
        waiting_time: float = 3600.0,
        ageing: float = 0.0,
    ) -> None:
        self._begins = np.array([begin for begin, _ in temperatures])
        self._rates = np.array([1 / arrhenius(t, reference, energy) for _, t in temperatures])
        self._age, self._ageing = waiting_time, ageing
        spans = np.diff(self._aged(self._begins))
        self._passed = np.concatenate([[0.0], np.cumsum(spans * self._rates[:-1])])

    def at(self, seconds: npt.ArrayLike) -> Floats:
        """Return xi in s, float64, of times since the beginning in s (not negative)."""
        times = np.asarray(seconds, np.float64)
        step = np.searchsorted(self._begins, times, side="right") - 1
        since = self._aged(times) - self._aged(self._begins[step])
        return np.asarray(self._passed[step] + since * self._rates[step])

    def _aged(self, times: Floats) -> Floats:
        """Integral of 1 / a_w."""
        grown = np.log1p(times / self._age)
        left = 1.0 - self._ageing
        if abs(left) < 1e-9:
            return np.asarray(self._age * grown)
        return np.asarray(self._age / left * np.expm1(left * grown))
