"""The slow beta relaxation in the glass, from the loss at several frequencies at once.

    M''(w, T)/M_u(T) = D Im[-1/(1 + (i w tau)^a)] + A w^-n exp(-W (1/T - 1/T_r)) + fast tail

with ln tau = ln tau_0 + E/(R T): Cole-Cole with an Arrhenius law on the flank that the alpha
relaxation leaves in the glass. Both are exact where alpha has a power-law wing and an Arrhenius law
below T_g. M_u, a straight line in T, comes from the storage modulus. The tail of a faster relaxation,
B w^m exp(V (1/T - 1/T_l)), is there where the readings call for it. E comes from the shift with
frequency; so shoulders and wings, that have no maximum to follow, have an energy too.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Final

import numpy as np

from daq_mechanical.moduli import Floats
from daq_relaxation.laws import R

DETERMINED: Final = 0
AT_BOUND: Final = 2
NOT_CONVERGED: Final = 3
TOO_FEW: Final = 4
VAGUE: Final = 5
"""Flag: the error of E is over a third of it, or the strength is not clear of 0."""


@dataclasses.dataclass(frozen=True, slots=True)
class BetaFit:
    """What the fit found.

    Parameters
    ----------
    energy, energy_error
        E, J/mol.
    ln_tau0, ln_tau0_error
        s.
    strength, strength_error
        D, in units of M_0.
    cole_cole, cole_cole_error
        a.
    wing
        n, the exponent of the flank in frequency.
    chi2, dof
        With the errors that the readings were given.
    covariance
        [2, 2] of (ln tau at ``reference`` K, E/R).
    flag
        0 determined, 2 at a bound, 3 not converged, 4 too few, 5 vague.
    """

    energy: float
    energy_error: float
    ln_tau0: float
    ln_tau0_error: float
    strength: float
    strength_error: float
    cole_cole: float
    cole_cole_error: float
    wing: float
    chi2: float
    dof: int
    covariance: Floats
    reference: float
    ln_tau: float
    flag: int

    def peak_temperature(self, frequency: float) -> tuple[float, float]:
        """Return where omega tau = 1, and its error, K."""
        rise = -math.log(2 * math.pi * frequency) - self.ln_tau
        over = self.energy / R
        inverse = 1 / self.reference + rise / over
        if not inverse > 0:
            return math.nan, math.nan
        T = 1 / inverse
        slope = np.array([-1 / over, -rise / over**2])
        return T, T**2 * math.sqrt(max(float(slope @ self.covariance @ slope), 0.0))


def nothing(flag: int = TOO_FEW) -> BetaFit:
    """Return a fit that says nothing."""
    n = math.nan
    return BetaFit(n, n, n, n, n, n, n, n, n, n, 0, np.full((2, 2), n), n, n, flag)


def fit_beta(
    omega: Floats,
    T: Floats,
    storage: Floats,
    loss: Floats,
    errors: Floats,
    start: tuple[float, float, float],
) -> BetaFit:
    """Fit the formula of this module.

    Parameters
    ----------
    omega, T, storage, loss, errors
        [n], rad/s, K, both moduli over one modulus, and the standard errors of the loss; of the
        glass alone.
    start
        (T_beta K at the lowest frequency, E/R K, loss there): where to begin.

    Needs two frequencies: with one, E and the width are one number.
    """
    if len(np.unique(omega)) < 2 or len(T) < 24:
        return nothing()
    readings = _Readings(omega, T, storage, loss, errors, start[0])
    unrelaxed = np.full(len(T), float(np.max(storage)))
    best: _Minimum | None = None
    for faster in (False, True):
        found = _minimum(readings, unrelaxed, readings.starts(start, faster))
        if best is None or found.cost + FASTER < best.cost:
            best = found
    assert best is not None
    for _ in range(PASSES):
        before = best.p[2]
        best = _minimum(readings, readings.unrelaxed(best.p), [best.p])
        if abs(best.p[2] - before) < 2e-4 * before:
            break
    return _result(readings, best)


FASTER: Final = 10.0
"""By how much half of chi2 must fall for three parameters of the tail of a faster relaxation."""
PASSES: Final = 8
"""Fits, at most, that take M_u from what the one before found to have relaxed, until E stands."""
LOWER: Final = np.array([-20.0, -40.0, 0.01, 0.1, -40.0, 0.02, 0.0, -40.0, 0.02, 0.0])
UPPER: Final = np.array([0.0, 40.0, 20.0, 1.0, 5.0, 0.98, 10.0, 5.0, 0.98, 10.0])


@dataclasses.dataclass(frozen=True, slots=True)
class _Minimum:
    p: Floats
    cost: float
    jacobian: Floats
    success: bool


@dataclasses.dataclass(frozen=True, slots=True)
class _Readings:
    """Parameters [7 or 10]: ln D, ln tau at T_r, E/R 1e-4, a, ln A, n, W 1e-4, ln B, m, V 1e-4."""

    omega: Floats
    T: Floats
    storage: Floats
    loss: Floats
    errors: Floats
    T_r: float

    def parts(self, p: Floats) -> tuple[Floats, Floats, Floats]:
        """Return the loss of beta, flank and fast tail, each over M_u."""
        ln_w, inverse = np.log(self.omega), 1e4 / self.T
        beta = np.exp(p[0]) * _cole_cole(ln_w + p[1] + p[2] * (inverse - 1e4 / self.T_r), p[3])
        flank = _exp(p[4] - p[5] * ln_w - p[6] * (inverse - inverse.min()))
        if len(p) == 7:
            return beta, flank, np.zeros_like(beta)
        return beta, flank, _exp(p[7] + p[8] * ln_w + p[9] * (inverse - inverse.max()))

    def unrelaxed(self, p: Floats) -> Floats:
        """Return M_u at each T: the storage less what has relaxed, as a straight line in T."""
        x = (
            1j * np.exp(np.log(self.omega) + p[1] + p[2] * 1e4 * (1 / self.T - 1 / self.T_r))
        ) ** p[3]
        _, flank, tail = self.parts(p)
        gone = np.exp(p[0]) * (1 / (1 + x)).real + flank / math.tan(math.pi * p[5] / 2)
        if len(p) == 10:  # what is faster has relaxed, but for the power law of its tail
            gone = gone - tail / math.tan(math.pi * p[8] / 2)
        A = np.stack([np.ones_like(self.T), self.T - self.T_r], axis=1) * (1 - gone)[:, None]
        line = np.linalg.inv(A.T @ A) @ (A.T @ self.storage)
        return np.asarray(line[0] + line[1] * (self.T - self.T_r))

    def starts(self, start: tuple[float, float, float], faster: bool) -> list[Floats]:
        """Return where to begin: three widths, and energies with them."""
        _, over, height = start
        ln_w = np.log(self.omega)
        top, low = int(np.argmax(self.T)), int(np.argmin(self.T))
        A = max(float(self.loss[top]) / 2, 1e-9)
        B = max(float(self.loss[low]), 1e-9)
        found = []
        for a, wider in ((0.35, 1.0), (0.5, 0.8), (0.25, 1.2)):
            D = max(height, 1e-6) * 2 / math.tan(math.pi * a / 4)
            p = np.array([
                math.log(D), -float(ln_w.min()), wider * over / 1e4, a,
                math.log(A) + 0.4 * float(ln_w[top]), 0.4, 0.4 * over / 1e4,
                math.log(B) - 0.3 * float(ln_w[low]), 0.3, 0.15 * over / 1e4,
            ])  # fmt: skip
            found.append(np.clip(p, LOWER + 1e-6, UPPER - 1e-6)[: 10 if faster else 7])
        return found


def _minimum(readings: _Readings, unrelaxed: Floats, starts: list[Floats]) -> _Minimum:
    from scipy.optimize import least_squares

    def residual(p: Floats) -> Floats:
        beta, flank, tail = readings.parts(p)
        return np.asarray(((beta + flank + tail) * unrelaxed - readings.loss) / readings.errors)

    best = None
    for p in starts:
        n = len(p)
        found = least_squares(
            residual, p, bounds=(LOWER[:n], UPPER[:n]), x_scale="jac", max_nfev=200
        )
        if best is None or found.cost < best.cost:
            best = found
    assert best is not None
    return _Minimum(best.x, float(best.cost), best.jac, bool(best.success))


def _result(readings: _Readings, best: _Minimum) -> BetaFit:
    p, free = best.p, len(best.p)
    chi2, dof = 2 * best.cost, len(readings.T) - free
    inside = (p - LOWER[:free] > 1e-5) & (UPPER[:free] - p > 1e-5)
    J = best.jacobian[:, inside]
    C = np.zeros((free, free))
    try:
        norm = np.linalg.norm(J, axis=0)
        norm[norm == 0] = 1.0
        inverse = np.linalg.inv((J / norm).T @ (J / norm)) / np.outer(norm, norm)
        C[np.ix_(inside, inside)] = inverse * max(1.0, chi2 / dof)
    except np.linalg.LinAlgError:
        return nothing(NOT_CONVERGED)
    e = np.sqrt(np.maximum(np.diagonal(C), 0))
    both = C[np.ix_([1, 2], [1, 2])] * np.array([[1, 1e4], [1e4, 1e8]])
    E, T_r = float(p[2]) * 1e4, readings.T_r
    along = np.array([1.0, -1 / T_r])
    flag = DETERMINED
    if not best.success:
        flag = NOT_CONVERGED
    elif not inside[:4].all():
        flag = AT_BOUND
    elif e[2] > p[2] / 3 or e[0] > 0.5:
        flag = VAGUE
    return BetaFit(
        E * R, float(e[2]) * 1e4 * R, float(p[1]) - E / T_r,
        math.sqrt(max(float(along @ both @ along), 0.0)),
        math.exp(p[0]), math.exp(p[0]) * float(e[0]), float(p[3]), float(e[3]), float(p[5]),
        chi2, dof, both, T_r, float(p[1]), flag,
    )  # fmt: skip


def _exp(x: Floats) -> Floats:
    return np.asarray(np.exp(np.clip(x, -300, 50)))


def _cole_cole(ln_x: Floats, a: float) -> Floats:
    """Return -Im 1/(1 + (i x)^a): sin(pi a/2)/2 / (cosh(a ln x) + cos(pi a/2))."""
    return np.asarray(
        0.5 * math.sin(math.pi * a / 2)
        / (np.cosh(np.clip(a * ln_x, -300, 300)) + math.cos(math.pi * a / 2))
    )  # fmt: skip
