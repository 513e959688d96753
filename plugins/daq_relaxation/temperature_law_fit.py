"""Relaxation times or shifts against temperature: VFT, Arrhenius, fragility, with full covariance.

The law is written about a temperature T_c among the points,

    y(T) = y_c - e x / (1 + d x),    x = (T - T_c)/T_c,

which is VFT with T0 = T_c (1 - 1/d) and B = e T_c/d^2, WLF in other letters, and Arrhenius where
d = 1: e = E/(R T_c). Unlike T0, d runs smoothly through Arrhenius, so its error is of use where the
points can hardly tell the two laws apart. Errors of points may hang together, as those of shifts
of a master curve do.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from daq_relaxation.laws import R

Floats: TypeAlias = npt.NDArray[np.float64]

DETERMINED: Final = 0
"""Flag: d is above 1 by more than two errors: a VFT law, T0 above 0."""
LIKE_ARRHENIUS: Final = 1
"""Flag: points do not tell VFT from Arrhenius; T0 is nothing to go by."""
NOT_CONVERGED: Final = 3
"""Flag: no minimum found."""
FEW: Final = 4
"""Flag: fewer than three temperatures."""
LN10: Final = math.log(10)


@dataclasses.dataclass(frozen=True, slots=True)
class TemperatureLaw:
    """A law y(T) = y_c - e x / (1 + d x), y = ln tau (s) or ln a_T.

    Parameters
    ----------
    centre
        T_c, K.
    parameters
        [3]: y_c, e, d.
    covariance
        [3, 3]; 0 for what is held (y_c of shifts, d of an Arrhenius law).
    chi2, dof
        Of the points; the covariance is multiplied by chi2/dof where that is above 1, and where the
        points have no errors always, with Student's factor.
    flag
        0 determined, 1 not told from Arrhenius, 3 not converged, 4 few points.
    absolute
        y is ln tau; False: ln a_T, which says nothing of tau itself.
    """

    centre: float
    parameters: Floats
    covariance: Floats
    chi2: float
    dof: int
    flag: int
    absolute: bool

    def value(self, T: npt.ArrayLike) -> tuple[Floats, Floats]:
        """Return y at temperatures T, K, and its standard error."""
        x = np.asarray(T, np.float64) / self.centre - 1
        y_c, e, d = self.parameters
        J = np.stack([np.ones_like(x), -x / (1 + d * x), e * x**2 / (1 + d * x) ** 2], axis=-1)
        variance = np.einsum("...i,ij,...j->...", J, self.covariance, J)
        return np.asarray(y_c - e * x / (1 + d * x)), np.sqrt(np.maximum(variance, 0))

    def fragility(self, T_g: float) -> tuple[float, float]:
        """Return m = d log10 tau / d(T_g/T) at T_g, K, and its standard error.

        It is T_g C1/C2 of the WLF law with T_ref = T_g.
        """
        x = T_g / self.centre - 1
        _, e, d = self.parameters
        m = T_g / self.centre * e / (LN10 * (1 + d * x) ** 2)
        return self._with_error(m, [0.0, m / e, -2 * m * x / (1 + d * x)])

    def energy(self, T_g: float) -> tuple[float, float]:
        """Return the apparent energy at T_g, J/mol: E = m R T_g ln 10; of Arrhenius, E."""
        m, error = self.fragility(T_g)
        return m * R * T_g * LN10, error * R * T_g * LN10

    def glass_transition(self, tau: float = 100.0) -> tuple[float, float]:
        """Return the T, K, at which the law gives ``tau`` (s), and its error; NaN of shifts."""
        y_c, e, d = self.parameters
        rise = y_c - math.log(tau)
        if not self.absolute or not e - d * rise > 0:
            return math.nan, math.nan
        x = rise / (e - d * rise)
        slope = -e / (1 + d * x) ** 2
        # dx = -(dy/dp)/(dy/dx) dp
        by = np.array([1.0, -x / (1 + d * x), e * x**2 / (1 + d * x) ** 2]) / -slope
        return self._with_error(self.centre * (1 + x), list(self.centre * by))

    @property
    def vogel(self) -> tuple[float, float]:
        """T0, K, and its standard error; negative or 0 where the law is Arrhenius' or flatter."""
        d = self.parameters[2]
        return self._with_error(self.centre * (1 - 1 / d), [0.0, 0.0, self.centre / d**2])

    @property
    def B(self) -> tuple[float, float]:  # noqa: N802
        """B of VFT, K, and its standard error."""
        _, e, d = self.parameters
        B = self.centre * e / d**2
        return self._with_error(B, [0.0, B / e, -2 * B / d])

    @property
    def ln_tau0(self) -> tuple[float, float]:
        """ln(tau0/s), that at infinite temperature, and its error; NaN of shifts."""
        if not self.absolute:
            return math.nan, math.nan
        y_c, e, d = self.parameters
        return self._with_error(y_c - e / d, [1.0, -1 / d, e / d**2])

    def wlf(self, T: float) -> tuple[float, float]:
        """Return C1 and C2 (K) of the WLF law with this reference temperature, K."""
        C2 = T - self.vogel[0]
        return self.B[0] / (C2 * LN10), C2

    def _with_error(self, value: float, slope: list[float]) -> tuple[float, float]:
        by = np.array(slope)
        return float(value), math.sqrt(max(float(by @ self.covariance @ by), 0.0))


def fit_temperature_law(
    T: npt.ArrayLike,
    y: npt.ArrayLike,
    covariance: npt.ArrayLike | None = None,
    *,
    reference: float | None = None,
    arrhenius: bool = False,
) -> TemperatureLaw:
    """Fit y(T) = y_c - e x/(1 + d x) by generalised least squares.

    Parameters
    ----------
    T
        [n], K.
    y
        [n], ln tau (s), or ln a_T with ``reference``.
    covariance
        [n] variances or [n, n] of y; None: all alike, errors from scatter.
    reference
        K, where ln a_T is 0 by definition. The point at it (variance 0) is taken out.
    arrhenius
        Hold d = 1.

    Raises
    ------
    ValueError
        Shapes that differ; fewer than two temperatures; a covariance that is none.
    """
    kelvin, values = np.asarray(T, np.float64), np.asarray(y, np.float64)
    if kelvin.ndim != 1 or kelvin.shape != values.shape:
        raise ValueError(f"T {kelvin.shape}, y {values.shape}: one axis, as long")
    n = len(kelvin)
    C = np.eye(n) if covariance is None else np.asarray(covariance, np.float64)
    C = np.diag(C) if C.ndim == 1 else C
    if C.shape != (n, n):
        raise ValueError(f"covariance: [{n}, {n}], not {C.shape}")
    good = np.isfinite(kelvin) & (kelvin > 0) & np.isfinite(values) & np.isfinite(np.diagonal(C))
    if reference is not None:
        good &= np.diagonal(C) > 0 if covariance is not None else kelvin != reference
    kelvin, values, C = kelvin[good], values[good], C[np.ix_(good, good)]
    temperatures = len(np.unique(kelvin)) + (reference is not None)
    if temperatures < 2:
        raise ValueError("a law of temperature needs points at two temperatures or more")
    centre = float(np.mean(kelvin)) if reference is None else float(reference)
    try:
        whiten = np.linalg.inv(np.linalg.cholesky(C))
    except np.linalg.LinAlgError:
        raise ValueError("covariance: it must be positive definite") from None
    held = arrhenius or temperatures < 3
    x = kelvin / centre - 1
    d, chi2, linear = 1.0, math.inf, np.zeros(2)
    converged = True
    if not held:
        # 1 + d x > 0 from the lowest temperature (T0 below it) to the highest
        top = 0.999 / max(-float(x.min()), 1e-6)
        low = -0.999 / max(float(x.max()), 1e-6)
        d, converged = _best(x, values, whiten, max(low, -60.0), min(top, 200.0), reference)
    chi2, linear = _line(x, values, whiten, d, reference)
    free = np.array([reference is None, True, not held])
    y_c, e = linear
    J = np.stack([np.ones_like(x), -x / (1 + d * x), e * x**2 / (1 + d * x) ** 2], axis=1)
    J = (whiten @ J)[:, free]
    found = np.zeros((3, 3))
    flag = FEW if temperatures < 3 and not arrhenius else DETERMINED
    try:
        size = np.sqrt(np.sum(J**2, axis=0))
        inner = np.linalg.inv((J / size).T @ (J / size)) / np.outer(size, size)
        found[np.ix_(free, free)] = inner
    except np.linalg.LinAlgError:
        converged = False
    dof = len(kelvin) - int(free.sum())
    ratio = chi2 / dof if dof > 0 else math.nan
    if covariance is None:
        from daq_relaxation.susceptibility_fit import student

        found *= ratio * student(float(dof)) ** 2 if dof > 0 else math.nan
    elif ratio > 1:
        found *= ratio
    if not converged:
        flag = NOT_CONVERGED
    elif not held and not d - 2 * math.sqrt(max(found[2, 2], 0.0)) > 1:
        flag = LIKE_ARRHENIUS
    return TemperatureLaw(
        centre, np.array([y_c, e, d]), found, chi2, dof, flag, reference is None
    )  # fmt: skip


def _line(
    x: Floats, y: Floats, whiten: Floats, d: float, reference: float | None
) -> tuple[float, Floats]:
    """Return chi2 and (y_c, e) of the best law of a given d."""
    columns = [-x / (1 + d * x)]
    if reference is None:
        columns.insert(0, np.ones_like(x))
    A = whiten @ np.stack(columns, axis=1)
    target = whiten @ y
    solution = np.linalg.lstsq(A, target, rcond=None)[0]
    left = target - A @ solution
    return float(left @ left), solution if reference is None else np.array([0.0, solution[0]])


def _best(
    x: Floats, y: Floats, whiten: Floats, low: float, high: float, reference: float | None
) -> tuple[float, bool]:
    """Return the d of the lowest chi2, and whether it lies inside: a grid, then golden section."""
    # finer towards the pole, where T0 comes near the lowest temperature
    grid = np.concatenate(
        [np.linspace(low, 0.8 * high, 24), high - (0.2 * high) * 0.6 ** np.arange(12)]
    )
    costs = [_line(x, y, whiten, float(d), reference)[0] for d in grid]
    at = int(np.argmin(costs))
    a, b = float(grid[max(at - 1, 0)]), float(grid[min(at + 1, len(grid) - 1)])
    ratio = (math.sqrt(5) - 1) / 2
    c, d = b - ratio * (b - a), a + ratio * (b - a)
    cost_c, cost_d = (_line(x, y, whiten, v, reference)[0] for v in (c, d))
    for _ in range(50):
        if cost_c < cost_d:
            b, d, cost_d = d, c, cost_c
            c = b - ratio * (b - a)
            cost_c = _line(x, y, whiten, c, reference)[0]
        else:
            a, c, cost_c = c, d, cost_d
            d = a + ratio * (b - a)
            cost_d = _line(x, y, whiten, d, reference)[0]
        if b - a < 1e-8 * max(abs(a), 1.0):
            break
    return (a + b) / 2, 0 < at < len(grid) - 1
