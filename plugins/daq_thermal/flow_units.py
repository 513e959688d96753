"""The flow-unit law of ageing: M(t) = M_inf/(1 + c), c = (a/(b + t))^beta (Qiao2019, 4-1)."""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np
import numpy.typing as npt

from daq_relaxation.laws import Numbers

DETERMINED: Final = 0
"""Flag: converged."""
OPEN: Final = 1
"""Flag: the ageing does not show where it ends, or when it began: parameters are not determined
one by one (their errors exceed them); the curve itself may still be good."""
NOT_CONVERGED: Final = 2
"""Flag: no minimum was found."""

Floats = npt.NDArray[np.float64]


def flow_unit_concentration(t: Numbers, a: Numbers, b: Numbers, beta: Numbers) -> Numbers:
    """Return c = (a/(b + t))^beta, without unit; t, a, b in one unit of time, t >= 0, b > 0.

    At t = 0 it is that of the glass as cast, (a/b)^beta.
    """
    return (a / (b + np.asarray(t))) ** beta


def flow_unit_property(
    t: Numbers, M_inf: Numbers, a: Numbers, b: Numbers, beta: Numbers
) -> Numbers:
    """Return M = M_inf/(1 + c), in the unit of ``M_inf``: enthalpy, density, modulus, hardness."""
    return M_inf / (1 + flow_unit_concentration(t, a, b, beta))


@dataclasses.dataclass(frozen=True, slots=True)
class FlowUnitFit:
    """M_inf, c_0 = (a/b)^beta, ln b and beta, with covariance.

    c_0 and not a: it is what the beginning of the curve shows; a = b c_0^(1/beta).

    Parameters
    ----------
    M_inf, c0, ln_b, beta
        Unit of M; none; ln of the unit of time; none.
    covariance
        [4, 4] in that order; NaN where not determined.
    chi2, dof
        Sum of squares over variances (or over 1 where no errors were given), points less 4.
    flag
        See the constants of this module.
    """

    M_inf: float
    c0: float
    ln_b: float
    beta: float
    covariance: Floats
    chi2: float
    dof: int
    flag: int

    @property
    def a(self) -> float:
        """The constant a of 4-1, unit of time."""
        return float(np.exp(self.ln_b) * self.c0 ** (1 / self.beta))

    @property
    def errors(self) -> Floats:
        """Standard errors of M_inf, c0, ln b, beta: [4]."""
        return np.sqrt(np.diagonal(self.covariance))

    def __call__(self, t: npt.ArrayLike) -> Floats:
        """Return the fitted M(t)."""
        return np.asarray(
            flow_unit_property(np.asarray(t), self.M_inf, self.a, np.exp(self.ln_b), self.beta)
        )


def fit_flow_units(
    t: npt.ArrayLike, M: npt.ArrayLike, errors: npt.ArrayLike | None = None
) -> FlowUnitFit:
    """Fit M(t) = M_inf/(1 + (a/(b + t))^beta).

    Parameters
    ----------
    t
        [n], ageing times >= 0, n >= 5.
    M
        [n]; what is not finite is left out.
    errors
        [n], standard errors of M; None: all alike. Where points scatter about the law by more than
        their errors say (or none are given) those of the parameters are from the scatter.

    Raises
    ------
    ValueError
        Fewer than five points, times below 0.
    """
    from scipy.optimize import least_squares

    times, y = np.asarray(t, np.float64), np.asarray(M, np.float64)
    e = np.ones_like(y) if errors is None else np.asarray(errors, np.float64)
    good = np.isfinite(times) & np.isfinite(y) & np.isfinite(e) & (e > 0)
    times, y, e = times[good], y[good], e[good]
    if len(y) < 5:
        raise ValueError(f"a flow-unit fit has four parameters: five points, not {len(y)}")
    if np.any(times < 0) or not np.any(times > 0):
        raise ValueError("ageing times: 0 or above, one of them above 0")
    # ln(1 + t/b) as one number: no overflow, and c = c0 (1 + t/b)^-beta
    positive = times[times > 0]
    scale = float(np.abs(y).max())

    def model(p: Floats) -> Floats:
        M_inf, c0, ln_b, beta = p
        c = c0 * np.exp(-beta * np.log1p(times * np.exp(-ln_b)))
        return np.asarray(M_inf / (1 + c))

    lower = [-np.inf, -0.99, np.log(positive.min()) - 12, 0.02]
    upper = [np.inf, 1e3, np.log(positive.max()) + 5, 5.0]

    def weighed(p: Floats) -> Floats:
        return np.asarray((model(p) - y) / e)

    best = least_squares(
        weighed, np.clip(_start(times, y, e), np.array(lower) + 1e-9, np.array(upper) - 1e-9),
        bounds=(lower, upper), x_scale=[scale, 0.1, 1.0, 0.3], xtol=1e-12, ftol=1e-12,
        gtol=1e-12, max_nfev=300,
    )  # fmt: skip
    chi2, dof = 2 * float(best.cost), len(y) - 4
    slopes = np.asarray(best.jac, np.float64)
    singular = np.linalg.svd(slopes, compute_uv=False)
    covariance = np.full((4, 4), np.nan)
    inside = np.all((best.x > np.array(lower) + 1e-6) & (best.x < np.array(upper) - 1e-6))
    if inside and singular[-1] > 1e-7 * singular[0]:
        covariance = np.linalg.inv(slopes.T @ slopes)
        if errors is None or chi2 > dof > 0:
            covariance = covariance * (chi2 / dof)
    spread = np.sqrt(np.diagonal(covariance))
    # ln b by more than a decade either way, or beta by as much as itself
    if not (spread[2] < 2.3 and spread[3] < best.x[3]):
        flag = OPEN
    else:
        flag = DETERMINED if best.success else NOT_CONVERGED
    M_inf, c0, ln_b, beta = best.x.tolist()
    return FlowUnitFit(M_inf, c0, ln_b, beta, covariance, chi2, dof, flag)


def _start(times: Floats, y: Floats, e: Floats) -> Floats:
    """Return the best of a grid of ln b and beta: for each, 1/M is linear in 1/M_inf and c0/M_inf."""
    positive = times[times > 0]
    ln_b = np.linspace(np.log(positive.min()) - 4, np.log(positive.max()) + 2, 25)
    beta = np.array([0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0, 1.5, 2.0])
    b, power = (grid.ravel() for grid in np.meshgrid(ln_b, beta, indexing="ij"))
    g = np.exp(-power[:, None] * np.log1p(times * np.exp(-b[:, None])))  # [start, age]
    if not y.any():
        return np.array([0.0, 0.1, np.log(positive.mean()), 0.5])
    # an error e of M is one of e/M^2 of 1/M
    weight = (y * y / e) ** 2
    inverse = np.divide(1.0, y, out=np.zeros_like(y), where=y != 0)
    s, sg, sgg = np.sum(weight), np.sum(weight * g, axis=1), np.sum(weight * g * g, axis=1)
    sy, sgy = np.sum(weight * inverse), np.sum(weight * g * inverse, axis=1)
    spread = s * sgg - sg * sg
    good = spread > 1e-12 * s * sgg
    slope = np.where(good, (s * sgy - sg * sy) / np.where(good, spread, 1.0), 0.0)
    level = (sy - slope * sg) / s
    rest = np.sum(weight * (inverse - level[:, None] - slope[:, None] * g) ** 2, axis=1)
    rest = np.where(good & (level != 0), rest, np.inf)
    best = int(np.argmin(rest))
    if not np.isfinite(rest[best]):
        return np.array([y[-1], 0.1, np.log(positive.mean()), 0.5])
    return np.array([1 / level[best], slope[best] / level[best], b[best], power[best]])
