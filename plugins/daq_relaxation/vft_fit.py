"""Vogel-Fulcher-Tammann fits of ln tau against T, weighted, with covariance and fragility."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from daq_relaxation.laws import vft_fragility, vft_ln_tau

DETERMINED: Final = 0
"""Flag: T0 lies between its bounds."""
AT_BOUND: Final = 2
"""Flag: T0 is at a bound; 0 K means that an Arrhenius line does as well."""
NOT_CONVERGED: Final = 3
"""Flag: no minimum found."""


@dataclasses.dataclass(frozen=True, slots=True)
class VftFit:
    """ln tau = ln tau0 + B/(T - T0).

    Parameters
    ----------
    ln_tau0
        ln of the time at infinite temperature, in the unit of the times given.
    B, T0
        K.
    covariance
        [3, 3] of (ln_tau0, B, T0). At a bound of T0, that of the other two with T0 held, and NaN
        for T0.
    chi2
        Sum of w (ln tau - law)^2.
    dof
        Points less 3.
    scaled
        The covariance was multiplied by chi2 / dof.
    flag
        0 determined, 2 at a bound, 3 not converged.
    """

    ln_tau0: float
    B: float
    T0: float
    covariance: npt.NDArray[np.float64]
    chi2: float
    dof: int
    scaled: bool
    flag: int

    @property
    def errors(self) -> npt.NDArray[np.float64]:
        """[3]: standard errors of ln_tau0, B and T0."""
        return np.asarray(np.sqrt(np.diagonal(self.covariance)))

    @property
    def strength(self) -> float:
        """D = B/T0, without unit; inf for an Arrhenius law."""
        return self.B / self.T0 if self.T0 else math.inf

    def ln_tau(self, T: npt.ArrayLike) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Return ln tau at temperatures T, K, and its standard error from the covariance."""
        x = np.asarray(T, np.float64)
        value = np.asarray(vft_ln_tau(x, self.ln_tau0, self.B, self.T0))
        J = _jacobian(x, self.B, self.T0)
        return value, np.sqrt(np.maximum(np.sum(J @ self._known * J, axis=-1), 0))

    def fragility(self, T_g: float) -> tuple[float, float]:
        """Return m = d log10 tau / d(T_g/T) at T_g, K, and its standard error."""
        m = float(vft_fragility(T_g, self.B, self.T0))
        slope = np.array([0.0, m / self.B, 2 * m / (T_g - self.T0)])
        return m, float(np.sqrt(slope @ self._known @ slope))

    def glass_transition(self, tau: float = 100.0) -> tuple[float, float]:
        """Return the T, K, at which the law gives ``tau``, and its standard error."""
        above = self.B / (math.log(tau) - self.ln_tau0)
        if not above > 0:
            raise ValueError(f"the law never reaches tau = {tau:g}")
        # dT = -(d ln tau / d parameters) / (d ln tau / dT)
        slope = _jacobian(np.array(self.T0 + above), self.B, self.T0) * above**2 / self.B
        return self.T0 + above, float(np.sqrt(slope @ self._known @ slope))

    @property
    def _known(self) -> npt.NDArray[np.float64]:
        """The covariance, with a T0 that was held at a bound counted as known."""
        if self.flag != AT_BOUND:
            return self.covariance
        known = self.covariance.copy()
        known[2, :] = known[:, 2] = 0.0
        return known


def fit_vft(
    T: npt.ArrayLike,
    ln_tau: npt.ArrayLike,
    errors: npt.ArrayLike | None = None,
    *,
    scaled: bool | None = None,
    T0_bounds: tuple[float, float] | None = None,
) -> VftFit:
    """Fit ln tau = ln tau0 + B/(T - T0), B >= 0.

    At a given T0 the rest is a straight line: T0 is sought on a grid that grows finer towards
    the lowest temperature, then all three are refined with the analytic Jacobian.

    Parameters
    ----------
    T
        [n], K.
    ln_tau
        [n], natural logarithms of times. Points that are not finite are left out.
    errors
        [n], standard errors of ln tau; None: all alike.
    scaled
        Multiply the covariance by chi2 / dof. Default: only without errors.
    T0_bounds
        K; default 0 to just below the lowest temperature.

    Raises
    ------
    ValueError
        Shapes that differ; points at fewer than three temperatures; bounds not in order or not
        below the lowest temperature.
    """
    x, y = np.asarray(T, np.float64), np.asarray(ln_tau, np.float64)
    e = np.ones_like(y) if errors is None else np.asarray(errors, np.float64)
    if x.ndim != 1 or x.shape != y.shape or e.shape != y.shape:
        raise ValueError(f"T {x.shape}, ln_tau {y.shape}, errors {e.shape}: one axis, as long")
    used = np.isfinite(x) & (x > 0) & np.isfinite(y) & np.isfinite(e) & (e > 0)
    x, y, e = x[used], y[used], e[used]
    if len(np.unique(x)) < 3:
        raise ValueError("a VFT law needs points at three temperatures or more")
    low, high = (0.0, float(x.min()) * 0.9999) if T0_bounds is None else T0_bounds
    if not 0 <= low < high < x.min():
        raise ValueError(f"T0_bounds ({low:g}, {high:g}) K: in order, below {x.min():g} K")
    scaled = errors is None if scaled is None else scaled

    from scipy.optimize import least_squares

    start = min(
        (_line(x, y, e, T0) for T0 in x.min() - np.geomspace(x.min() - high, x.min() - low, 64)),
        key=lambda line: line[0],
    )[1]
    solved = least_squares(
        lambda p: (y - vft_ln_tau(x, *p)) / e,
        np.clip(start, (-np.inf, 1e-9, low + 1e-9 * high), (np.inf, np.inf, high * (1 - 1e-9))),
        jac=lambda p: -_jacobian(x, p[1], p[2]) / e[:, None],
        bounds=((-np.inf, 0, low), (np.inf, np.inf, high)),
        x_scale="jac", ftol=1e-15, xtol=1e-15, gtol=1e-15, max_nfev=1000,
    )  # fmt: skip
    p = solved.x
    flag = DETERMINED if solved.success else NOT_CONVERGED
    # an interior method stops just short of a bound: does the bound itself do as well?
    best = float(2 * solved.cost)
    for bound in (low, high):
        chi2, line = _line(x, y, e, bound)
        if chi2 <= best * (1 + 1e-9) or abs(p[2] - bound) < 1e-6 * high:
            best, p, flag = chi2, line, AT_BOUND
    J = _jacobian(x, p[1], p[2]) / e[:, None]
    free = np.array([True, True, flag != AT_BOUND])
    covariance = np.full((3, 3), np.nan)
    try:
        covariance[np.ix_(free, free)] = np.linalg.inv(J[:, free].T @ J[:, free])
    except np.linalg.LinAlgError:
        flag = NOT_CONVERGED
    dof = len(x) - 3
    if scaled:
        covariance *= best / dof if dof else np.nan
    return VftFit(float(p[0]), float(p[1]), float(p[2]), covariance, best, dof, scaled, flag)


def _line(
    T: npt.NDArray[np.float64], y: npt.NDArray[np.float64], e: npt.NDArray[np.float64], T0: float
) -> tuple[float, npt.NDArray[np.float64]]:
    """Return chi2 and the parameters of the best law of a given T0."""
    x, w = 1 / (T - T0), e**-2
    centre, mean = np.average(x, weights=w), np.average(y, weights=w)
    B = max(float(np.sum(w * (x - centre) * (y - mean)) / np.sum(w * (x - centre) ** 2)), 0.0)
    chi2 = float(np.sum(w * (y - mean - B * (x - centre)) ** 2))
    return chi2, np.array([mean - B * centre, B, T0])


def _jacobian(T: npt.NDArray[np.float64], B: float, T0: float) -> npt.NDArray[np.float64]:
    """Return d ln tau / d (ln_tau0, B, T0), [..., 3]."""
    above = T - T0
    return np.stack([np.ones_like(above), 1 / above, B / above**2], axis=-1)
