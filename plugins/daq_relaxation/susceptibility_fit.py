"""Fits of M* = M_u - dM chi to both moduli of a sweep: Debye to Havriliak-Negami and KWW, compared.

All models see the same readings with the same weights, so that their AICc can be compared. Noise
is estimated from the residuals, in two parts that an instrument has by itself: amplitude and
phase, or each modulus (``noise``). Minima are those of projected Levenberg-Marquardt with
analytic derivatives, M_u and dM being best at every step. Compiled at first use (some seconds)
and kept in numba's cache.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from daq_relaxation.havriliak_negami import ln_havriliak_negami_peak
from daq_relaxation.kww_frequency import LOWEST_B, ln_kww_peak

Floats: TypeAlias = npt.NDArray[np.float64]
Noise: TypeAlias = Literal["phase", "moduli", "absolute"]

MODELS: Final = ("debye", "cole_cole", "cole_davidson", "havriliak_negami", "kww")
"""The order of models in every array of results."""
NOISES: Final = ("phase", "moduli", "absolute")
PARAMETERS: Final = ("unrelaxed", "strength", "ln_tau", "alpha", "gamma", "b")
"""The order of parameters: M_u and dM in units of the moduli, ln(tau/s), shape; NaN where a model
has none."""

DETERMINED: Final = 0
"""Flag: converged, inside the bounds."""
TAU_OPEN: Final = 1
"""Flag: the sweep does not show where tau is: its loss peak lies outside (where errors from the
curvature of chi2 are nothing to go by), at the bound of tau, or its error is over a decade."""
AT_BOUND: Final = 2
"""Flag: converged with a shape at its bound; that shape has no error, the others have theirs."""
NOT_CONVERGED: Final = 3
"""Flag: no minimum found, or parameters that the readings do not tell apart."""
MASKED: Final = 4
"""Flag: fewer readings than the model has parameters."""

FREE: Final = (1, 2, 2, 3, 2)
"""Parameters of each model besides M_u and dM."""
LOWEST_SHAPE: Final = 0.05
NEAR: Final = 1e-9
"""From a bound; what is nearer is at it."""
REACH: Final = 4 * math.log(10)
"""How far tau is sought beyond the frequencies of the sweep."""
FEW: Final = 16
"""Readings that a cold start is chosen with."""
SAME: Final = 0.02
"""A ratio of the two parts of the noise that has changed by less is not fitted with again."""
TURNS: Final = 6
"""How often it is estimated again at most."""
SHRINK: Final = 1.5
"""Degrees of freedom with which the two parts of the noise are held to be alike."""
HN, KWW = MODELS.index("havriliak_negami"), MODELS.index("kww")


@dataclasses.dataclass(frozen=True, slots=True)
class SusceptibilityFit:
    """What `fit_susceptibility` found; arrays [model] in the order of `MODELS`.

    Parameters
    ----------
    parameters, errors
        [model, 6] float64, in the order of `PARAMETERS`; errors are half-widths of intervals that
        hold the truth in 68 % of cases (Student's factor is in them). NaN: none, or at a bound.
    covariance
        [model, 5, 5] of (M_u, dM, ln tau, q1, q2): q1 = alpha (b of KWW; alpha gamma of
        Cole-Davidson), q2 = alpha gamma of Havriliak-Negami. NaN rows where there is none.
    sought
        [model, 3], ln tau, q1 and q2 at the minimum: what a warm start begins with.
    relaxed, relaxed_errors
        [model] M_u - dM.
    ln_tau_peak, ln_tau_peak_errors
        [model] ln(1/omega) of the loss peak, s: comparable between models, as tau is not.
    chi2
        [model], with weights that make that of the best model about ``dof``.
    dof
        [model] int64: twice the readings less parameters.
    aicc
        [model], inf where it cannot be.
    weight
        [model], Akaike weights: exp(-(aicc - lowest)/2), their sum 1.
    flag
        [model] uint8.
    best
        Model of the lowest aicc; -1 for none.
    noise
        [2], standard deviations of one reading: relative amplitude and phase (rad), relative
        noise of storage and loss, or those in units of the moduli; as ``noise`` said.
    """

    parameters: Floats
    errors: Floats
    covariance: Floats
    sought: Floats
    relaxed: Floats
    relaxed_errors: Floats
    ln_tau_peak: Floats
    ln_tau_peak_errors: Floats
    chi2: Floats
    dof: npt.NDArray[np.int64]
    aicc: Floats
    weight: Floats
    flag: npt.NDArray[np.uint8]
    best: int
    noise: Floats

    def moduli(self, model: int, frequency: npt.ArrayLike) -> npt.NDArray[np.complex128]:
        """Return M' + i M'' of a model at frequencies [n], Hz."""
        hertz = np.asarray(frequency, np.float64)
        return _moduli(self, model, np.log(2 * np.pi * hertz))


def fit_susceptibility(
    frequency: npt.ArrayLike,
    storage: npt.ArrayLike,
    loss: npt.ArrayLike,
    *,
    noise: Noise = "phase",
    known: tuple[float, float] | None = None,
    models: Sequence[str] = MODELS,
    relaxed: bool = True,
    start: SusceptibilityFit | None = None,
    iterations: int = 100,
) -> SusceptibilityFit:
    """Fit M* = M_u - dM chi(omega tau) to both moduli at once.

    Parameters
    ----------
    frequency
        [n], Hz, > 0, in any order; repeated ones are readings like the others.
    storage, loss
        [n], in one unit.
    noise
        What is independent in a reading: ``phase``, relative amplitude and phase (as an
        instrument has it, that drives with one transducer and looks with another); ``moduli``,
        each modulus by a part of itself; ``absolute``, each modulus alike at every frequency.
    known
        The two standard deviations, see `SusceptibilityFit.noise`; None: estimated.
    models
        Those that are fitted; the others are masked.
    relaxed
        False: everything relaxes, M_u = dM, as in a liquid.
    start
        An earlier fit of nearly the same readings, to begin with.
    iterations
        At most so many.

    Raises
    ------
    ValueError
        Shapes that differ, numbers that are not finite, frequencies not above 0, unknown models.
    """
    f, M1, M2 = (np.asarray(a, np.float64) for a in (frequency, storage, loss))
    if f.ndim != 1 or f.shape != M1.shape or f.shape != M2.shape:
        raise ValueError(
            f"frequency {f.shape}, storage {M1.shape}, loss {M2.shape}: one axis, as long"
        )
    if unknown := set(models).difference(MODELS):
        raise ValueError(f"no model {sorted(unknown)[0]!r}; there are {', '.join(MODELS)}")
    wanted = [m for m, name in enumerate(MODELS) if name in models]
    problem = _Problem(np.array((f, M1, M2)), relaxed, iterations)
    scales = np.ones(2) if known is None else np.asarray(known, np.float64)
    moduli = problem.measured
    warm = start is not None and start.best >= 0 and min(start.noise.tolist()) > 0
    if warm and start is not None:
        moduli = _moduli(start, start.best, problem.ln_omega)
        scales = start.noise if known is None else scales
    problem.weigh(noise, moduli, scales)
    found = _fit(problem, wanted, start, known is not None)
    # weights are those of the fitted moduli, and noise that of the best model; each follows from
    # the other, so the best model goes round until they stand, and the others once, in the end
    first = found
    for turn in range(TURNS):
        if found.best < 0 or (known is not None and (warm or noise == "absolute" or turn)):
            break
        before = problem.scales
        scales = problem.estimated(found.best) if known is None else scales
        same = abs(math.log(scales[1] * before[0] / (scales[0] * before[1]))) < SAME
        if same and (warm or turn):
            break
        moduli = _moduli(found, found.best, problem.ln_omega)
        problem.weigh(noise, moduli, scales)
        found = _fit(problem, [found.best], found if turn else first, known is not None)
    if found is not first and first.best >= 0:
        problem.weigh(noise, moduli, scales)
        found = _fit(problem, wanted, first, known is not None)
    found.noise[:] = problem.noise(found, known)
    return found


@functools.lru_cache(maxsize=256)
def _nodes(model: int, low: float, high: float) -> Floats:
    """Return nodes [node, 3] of (ln tau, q1, q2) for cold starts, two to the decade of tau."""
    ln_tau = np.linspace(low, high, 2 + round((high - low) / 1.15))
    shapes = {
        "debye": [(1.0, 1.0)],
        "cole_cole": [(0.35, 1.0), (0.75, 1.0)],
        "cole_davidson": [(0.25, 1.0), (0.6, 1.0)],
        "havriliak_negami": [(0.9, 0.3), (0.9, 0.7), (0.5, 0.4), (0.5, 0.15)],
        "kww": [(0.3, 1.0), (0.55, 1.0), (0.85, 1.0)],
    }[MODELS[model]]
    return np.array([(u, *shape) for shape in shapes for u in ln_tau])


class _Problem:
    """Readings and weights, as the compiled loops take them."""

    def __init__(self, readings: Floats, relaxed: bool, iterations: int) -> None:
        from daq_relaxation.susceptibility_kernel import read

        n = self.count = readings.shape[1]
        self.ln_omega, self.measured = np.empty(n), np.empty(n, np.complex128)
        self.relaxed, self.iterations = relaxed, iterations
        self.parts = np.zeros((len(MODELS), 2, 2))
        fine, low, high = read(readings, self.ln_omega, self.measured)
        if not fine:
            raise ValueError("readings must be finite, and frequencies above 0")
        self.lowest, self.highest = (-high, -low) if n else (0.0, 0.0)

    def weigh(self, noise: Noise, moduli: npt.NDArray[np.complex128], scales: Floats) -> None:
        """Weigh by the noise that readings of these moduli have."""
        from daq_relaxation.susceptibility_kernel import weigh

        n = self.count
        self.scales = scales
        self.turn, self.rows, self.w = np.empty(n, np.complex128), np.empty(2 * n), np.empty(2 * n)
        kind = NOISES.index(noise)
        weigh(kind, self.measured, moduli, scales[0], scales[1], self.turn, self.rows, self.w)

    def few(self) -> tuple[Floats, npt.NDArray[np.complex128], Floats, Floats, bool]:
        """Return some of the readings, for cold starts, as the compiled loops take them."""
        n = self.count
        if n <= FEW:
            return self.ln_omega, self.turn, self.rows, self.w, self.relaxed
        at = np.linspace(0, n - 1, FEW).astype(np.int64)
        both = np.concatenate([at, n + at])
        return self.ln_omega[at], self.turn[at], self.rows[both], self.w[both], self.relaxed

    def estimated(self, model: int) -> Floats:
        """Return the two parts of the noise from residuals, each over its own degrees of freedom."""
        (one, dof_one), (other, dof_other) = self.parts[model].tolist()
        # the sums are in units of each part's own scale
        one, other = one * float(self.scales[0]) ** 2, other * float(self.scales[1]) ** 2
        both = (one + other) / max(dof_one + dof_other, 1e-9)
        if not both > 0:
            return np.ones(2)

        def level(squares: float, dof: float) -> float:
            ratio = (squares / both + SHRINK) / (dof + SHRINK)
            # an absurd ratio would leave one part without a say
            return math.sqrt(min(max(ratio, 1e-6), 1e6) * both)

        return np.array([level(one, dof_one), level(other, dof_other)])

    def noise(self, fit: SusceptibilityFit, known: tuple[float, float] | None) -> Floats:
        if known is not None:
            return np.asarray(known, np.float64)
        if fit.best < 0 or not fit.dof[fit.best] > 0:
            return np.full(2, np.nan)
        return self.scales * math.sqrt(fit.chi2[fit.best] / fit.dof[fit.best])


def _fit(
    problem: _Problem,
    models: Sequence[int],
    start: SusceptibilityFit | None,
    absolute: bool,
) -> SusceptibilityFit:
    """Fit with the weights that the problem has."""
    from daq_relaxation.susceptibility_kernel import judge, minimise, refine, scan

    count = len(MODELS)
    table = np.full((count, 74), np.nan)
    parameters, errors, sought = table[:, :6], table[:, 6:12], table[:, 12:15]
    chi2, relaxed, relaxed_errors, peak, peak_errors, aicc = table[:, 15:21].T
    weight, noise = table[:, 21], np.full(2, np.nan)
    # of chi2, and times the variance that the residuals show
    plain, covariance = table[:, 24:].reshape(count, 2, 5, 5).transpose(1, 0, 2, 3)
    aicc[:] = np.inf
    n = problem.count
    dof, flag = np.zeros(count, np.int64), np.full(count, MASKED, np.uint8)
    linear = 2 if problem.relaxed else 1
    low, high = problem.lowest - REACH, problem.highest + REACH
    args = (problem.ln_omega, problem.turn, problem.rows, problem.w, problem.relaxed)
    few = None
    for m in models:
        dof[m] = left = 2 * n - linear - FREE[m]
        if left < 0 or n < 2:
            continue
        lower, upper = _box(low, high, LOWEST_B if m == KWW else LOWEST_SHAPE)
        begins = []
        known = start is not None and not math.isnan(start.sought[m, 0])
        if m == KWW and not math.isnan(sought[HN, 0]):
            begins.append(_kww_like(sought[HN]))
        elif not known or n % FEW == 0:
            # with a warm start only now and then
            few, begin = problem.few() if few is None else few, np.empty(3)
            cold = scan(m, *few, _nodes(m, problem.lowest - 2.3, problem.highest + 2.3), begin)
            if cold < math.inf:
                begins.append(begin.copy())
        warm = known and start is not None and start.flag[m] != NOT_CONVERGED
        if warm and start is not None:
            begins.insert(0, start.sought[m])
        best, used, judged = None, -1, False
        for number, q in enumerate(begins):
            if number and best is not None and used >= 0:
                # the cold start is of use only where it already lies lower than the warm minimum
                if not scan(m, *args, q[None], np.empty(3)) < best[1][2]:
                    continue
            q = np.minimum(np.maximum(q, lower), upper)
            found = np.empty(3)
            passes = 0
            if warm and start is not None and not number:
                found[:2] = start.parameters[m, :2]
                passes = refine(m, *args, q, FREE[m], lower, upper, absolute, found, plain[m],
                                problem.parts[m])  # fmt: skip
            iterations = passes or minimise(
                m, *args, q, FREE[m], lower, upper, problem.iterations, found
            )
            if math.isfinite(found[2]) and (best is None or found[2] < best[1][2]):
                best, used, judged = (q, found), iterations, passes > 0
        if best is None:
            flag[m] = NOT_CONVERGED
            continue
        sought[m] = best[0]
        q, (M_u, dM, squares) = best[0].tolist(), best[1].tolist()
        chi2[m] = squares
        parameters[m] = _named(m, M_u, dM, q)
        state = DETERMINED if used >= 0 else NOT_CONVERGED
        edges = [
            not below + NEAR < value < above - NEAR
            for value, below, above in zip(q, lower.tolist(), upper.tolist(), strict=True)
        ]
        if not judged:
            free = [problem.relaxed, True, *(j < FREE[m] and not edges[j] for j in range(3))]
            if not judge(m, *args, M_u, dM, best[0], np.array(free), plain[m], problem.parts[m]):
                flag[m] = NOT_CONVERGED
                continue
        if not problem.relaxed:
            plain[m, 0, :], plain[m, :, 0], plain[m, 0, 0] = (
                plain[m, 1, :],
                plain[m, :, 1],
                plain[m, 1, 1],
            )
        factor = 1.0
        if not absolute:
            # each part of the noise is known from its own residuals only
            factor = student(round(2 * min(problem.parts[m, :, 1].tolist())) / 2) ** 2
            factor *= squares / left if left > 0 else math.nan
        np.multiply(plain[m], factor, out=covariance[m])
        C = covariance[m].tolist()
        if any(edges[1 : FREE[m]]) and state == DETERMINED:
            state = AT_BOUND
        spread = math.sqrt(C[2][2]) if C[2][2] > 0 else math.nan
        peak[m] = ln_peak = q[0] - _ln_peak(m, q)
        hidden = (
            edges[0] or spread > math.log(10) or not problem.lowest <= ln_peak <= problem.highest
        )
        if hidden and state != NOT_CONVERGED:
            state = TAU_OPEN
        flag[m] = state
        k = linear + FREE[m] + (0 if absolute else 1)
        data = 2 * n
        if data - k - 1 > 0 and squares > 0:
            fit = squares if absolute else data * math.log(squares / data)
            aicc[m] = fit + 2 * k + 2 * k * (k + 1) / (data - k - 1)
        relaxed[m] = M_u - dM
        errors[m], relaxed_errors[m], peak_errors[m] = _errors(m, C, q, ln_peak, problem.relaxed)
    best_model = _akaike(aicc.tolist(), flag.tolist(), weight)
    return SusceptibilityFit(
        parameters, errors, covariance, sought, relaxed, relaxed_errors, peak, peak_errors,
        chi2, dof, aicc, weight, flag, best_model, noise,
    )  # fmt: skip


@functools.lru_cache(maxsize=256)
def _box(low: float, high: float, shape: float) -> tuple[Floats, Floats]:
    """Return the least and the greatest (ln tau, q1, q2) that are sought."""
    return np.array([low, shape, shape]), np.array([high, 1.0, 1.0])


def _akaike(aicc: list[float], flag: list[int], weight: Floats) -> int:
    """Fill Akaike weights [model]; return the best model, -1 for none."""
    lowest = min(aicc)
    if lowest < math.inf:
        shares = [math.exp(-min(value - lowest, 1400.0) / 2) for value in aicc]
        whole = sum(shares)
        weight[:] = [share / whole for share in shares]
        return aicc.index(lowest)
    weight[:] = 0.0
    return flag.index(DETERMINED) if DETERMINED in flag else -1


@functools.lru_cache(maxsize=512)
def student(dof: float) -> float:
    """Return what a standard error of ``dof`` degrees of freedom is multiplied with to cover 68 %."""
    from scipy.stats import t

    return float(t.ppf(0.8413447460685429, dof)) if dof >= 0.5 else math.nan


def _moduli(fit: SusceptibilityFit, model: int, ln_omega: Floats) -> npt.NDArray[np.complex128]:
    """Return moduli [n]."""
    from daq_relaxation.susceptibility_kernel import curve

    value = np.empty(len(ln_omega), np.complex128)
    M_u, dM = fit.parameters[model, :2].tolist()
    curve(model, ln_omega, M_u, dM, fit.sought[model], value)
    return value


def _kww_like(q: Floats) -> Floats:
    """Return (ln tau, b, 1) of the KWW law that resembles an HN law (Alvarez1991, eqs. 8 and 9)."""
    b = float(np.clip((q[1] * q[2]) ** (1 / 1.23), 0.15, 0.98)) if q[2] > 0 else 0.5
    peak = ln_havriliak_negami_peak(q[1], q[2] / q[1])
    return np.array([q[0] - peak + ln_kww_peak(round(b, 2)), round(b, 2), 1.0])


def _named(m: int, M_u: float, dM: float, q: list[float]) -> tuple[float, ...]:
    """Return the parameters of a model in the order of `PARAMETERS`."""
    nan = math.nan
    name = MODELS[m]
    if name == "cole_cole":
        return M_u, dM, q[0], q[1], nan, nan
    if name == "cole_davidson":
        return M_u, dM, q[0], nan, q[1], nan
    if name == "havriliak_negami":
        return M_u, dM, q[0], q[1], q[2] / q[1], nan
    return M_u, dM, q[0], nan, nan, q[1] if name == "kww" else nan


def _ln_peak(m: int, q: list[float]) -> float:
    """Return ln(omega tau) of a model's loss peak."""
    if MODELS[m] == "kww":
        return _kww_peaks(q[1])
    if MODELS[m] == "cole_davidson":
        return ln_havriliak_negami_peak(1.0, q[1])
    if MODELS[m] == "havriliak_negami":
        return ln_havriliak_negami_peak(q[1], q[2] / q[1])
    return 0.0


@functools.lru_cache(maxsize=4096)
def _kww_peaks(b: float) -> float:
    return ln_kww_peak(b)


def _errors(
    m: int, C: list[list[float]], q: list[float], peak: float, relaxes_in_part: bool
) -> tuple[tuple[float, ...], float, float]:
    """Return errors [6], that of M_r and that of ln tau of the loss peak; from a covariance."""
    nan = math.nan
    e = [math.sqrt(C[j][j]) if C[j][j] >= 0 else nan for j in range(4)]
    alpha = gamma = b = nan
    name = MODELS[m]
    known = C[1][1] >= 0
    # what is at a bound is taken as known
    C = [[0.0 if math.isnan(value) else value for value in row] for row in C]
    if name == "cole_cole":
        alpha = e[3]
    elif name == "cole_davidson":
        gamma = e[3]
    elif name == "kww":
        b = e[3]
    elif name == "havriliak_negami":
        alpha = e[3]
        by_a, by_c = -q[2] / q[1] ** 2, 1 / q[1]
        both = by_a * by_a * C[3][3] + 2 * by_a * by_c * C[3][4] + by_c * by_c * C[4][4]
        gamma = math.sqrt(both) if both > 0 else nan
    by = [1.0]
    for j in range(1, FREE[m]):
        step = 1e-4 if q[j] < 0.5 else -1e-4
        moved = list(q)
        moved[j] += step
        by.append((q[0] - _ln_peak(m, moved) - peak) / step)
    variance = 0.0
    for i, first in enumerate(by):
        for j, second in enumerate(by):
            variance += first * second * C[2 + i][2 + j]
    relaxed = C[0][0] + C[1][1] - 2 * C[0][1]
    return (
        (e[0], e[1], e[2], alpha, gamma, b),
        (math.sqrt(max(relaxed, 0.0)) if known else nan) if relaxes_in_part else 0.0,
        math.sqrt(variance) if known and variance > 0 else nan,
    )
