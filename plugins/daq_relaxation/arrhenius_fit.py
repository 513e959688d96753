"""Arrhenius energies: a straight line through ln tau against 1/T, weighted and not.

The literature mixes both, and they differ by more than their errors where one point is much
better known than the others: both are given, side by side.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from daq_relaxation.laws import R, arrhenius_ln_tau


@dataclasses.dataclass(frozen=True, slots=True)
class ArrheniusLine:
    """ln tau = ln tau_inf + E/(R T).

    Parameters
    ----------
    ln_tau_inf
        ln of the time at infinite temperature, in the unit of the times given.
    energy
        E, J/mol.
    covariance
        [2, 2] of (ln_tau_inf, energy); NaN where it cannot be known (two points, scaled).
    chi2
        Sum of w (ln tau - line)^2; w is 1 in a line without weights.
    dof
        Points less 2.
    scaled
        The covariance was multiplied by chi2 / dof.
    """

    ln_tau_inf: float
    energy: float
    covariance: npt.NDArray[np.float64]
    chi2: float
    dof: int
    scaled: bool

    @property
    def energy_error(self) -> float:
        """Standard error of E, J/mol."""
        return float(np.sqrt(self.covariance[1, 1]))

    @property
    def ln_tau_inf_error(self) -> float:
        """Standard error of ln tau_inf."""
        return float(np.sqrt(self.covariance[0, 0]))

    @property
    def energy_kj(self) -> float:
        """E, kJ/mol."""
        return self.energy / 1e3

    @property
    def energy_kj_error(self) -> float:
        """Standard error of E, kJ/mol."""
        return self.energy_error / 1e3

    def energy_rtg(self, T_g: float) -> tuple[float, float]:
        """Return E and its standard error in units of R T_g."""
        return self.energy / (R * T_g), self.energy_error / (R * T_g)

    def ln_tau(self, T: npt.ArrayLike) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Return ln tau at temperatures T, K, and its standard error from the covariance."""
        x = 1 / (R * np.asarray(T, np.float64))
        c = self.covariance
        variance = c[0, 0] + 2 * x * c[0, 1] + x * x * c[1, 1]
        value = np.asarray(arrhenius_ln_tau(np.asarray(T), self.ln_tau_inf, self.energy))
        return value, np.sqrt(np.maximum(variance, 0))


@dataclasses.dataclass(frozen=True, slots=True)
class ArrheniusFit:
    """Both lines through the same points; ``weighted`` is None where no errors were given.

    Parameters
    ----------
    unweighted
        All points alike; its errors come from their scatter.
    weighted
        By the errors of the points.
    used
        Points that took part.
    """

    unweighted: ArrheniusLine
    weighted: ArrheniusLine | None
    used: npt.NDArray[np.bool_]


def fit_arrhenius(
    T: npt.ArrayLike,
    ln_tau: npt.ArrayLike,
    errors: npt.ArrayLike | None = None,
    *,
    scaled: bool = True,
) -> ArrheniusFit:
    """Fit ln tau = ln tau_inf + E/(R T), without weights and, given errors, with them.

    Parameters
    ----------
    T
        [n], K.
    ln_tau
        [n], natural logarithms of times. A point that is not finite, or whose error is not
        finite and above 0, is left out of both lines (``used`` says so).
    errors
        [n], standard errors of ln tau.
    scaled
        Of the weighted line: multiply its covariance by chi2 / dof, as published errors do;
        False takes the errors at their word. Where chi2 / dof is far from 1 the two differ much,
        and neither is to be trusted. The line without weights is always scaled.

    Raises
    ------
    ValueError
        Shapes that differ; fewer than two temperatures among the points.
    """
    kelvin, y = np.asarray(T, np.float64), np.asarray(ln_tau, np.float64)
    e = np.ones_like(y) if errors is None else np.asarray(errors, np.float64)
    if kelvin.ndim != 1 or kelvin.shape != y.shape or e.shape != y.shape:
        raise ValueError(f"T {kelvin.shape}, ln_tau {y.shape}, errors {e.shape}: one axis, as long")
    used = np.isfinite(kelvin) & (kelvin > 0) & np.isfinite(y) & np.isfinite(e) & (e > 0)
    if len(np.unique(kelvin[used])) < 2:
        raise ValueError("an Arrhenius line needs points at two temperatures or more")
    x, y, e = 1 / (R * kelvin[used]), y[used], e[used]
    plain = _line(x, y, np.ones_like(y), True)
    return ArrheniusFit(plain, None if errors is None else _line(x, y, e**-2, scaled), used)


def _line(
    x: npt.NDArray[np.float64],
    y: npt.NDArray[np.float64],
    w: npt.NDArray[np.float64],
    scaled: bool,
) -> ArrheniusLine:
    # about the weighted mean the two parameters do not mix, which keeps rounding small
    centre, mean = np.average(x, weights=w), np.average(y, weights=w)
    spread = np.sum(w * (x - centre) ** 2)
    energy = np.sum(w * (x - centre) * (y - mean)) / spread
    chi2 = np.sum(w * (y - mean - energy * (x - centre)) ** 2)
    covariance = np.array(
        [[1 / np.sum(w) + centre**2 / spread, -centre / spread], [-centre / spread, 1 / spread]]
    )
    dof = len(x) - 2
    if scaled:
        covariance = covariance * (chi2 / dof if dof else np.nan)
    return ArrheniusLine(
        float(mean - energy * centre), float(energy), covariance, float(chi2), dof, scaled
    )  # fmt: skip
