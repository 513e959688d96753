"""Kohlrausch (KWW) fits of many curves at once, with errors, flags and bounds of tau.

One model serves the correlation form (c = 2) and the decay form (c = 1) of `daq_relaxation.laws`:

    y(t) = amplitude exp(-c (t/tau)^shape) + baseline

Each curve is fitted by itself, by projected Levenberg-Marquardt with analytic derivatives,
amplitude and baseline being best for each tau and shape on the way (variable projection), so
that its result does not depend on the batch, the order or the number of threads, not in one bit.
A cold start takes the best of a table of decays that all curves share. Compiled on first use
(some seconds) and kept in numba's cache.

Memory: besides the results (30 numbers a curve), 18 numbers a lag and thread; under a precision
matrix lags x lags numbers a thread more.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

PARAMETERS: Final = ("amplitude", "ln_tau", "shape", "baseline")
"""The order of parameters in every array of results."""

DETERMINED: Final = 0
"""Flag: converged, inside the bounds."""
LOWER_BOUND: Final = 1
"""Flag: tau is open above: at its upper bound, or its profile never rises; tau is a lower bound."""
AT_BOUND: Final = 2
"""Flag: converged with another parameter at a bound, or tau at its lower bound."""
NOT_CONVERGED: Final = 3
"""Flag: no minimum within the allowed iterations, or parameters that the points do not tell apart."""
MASKED: Final = 4
"""Flag: fewer points than free parameters."""

FACTORS: Final = {"correlation": 2.0, "decay": 1.0}
"""The factor c in the exponent of each form."""

Floats: TypeAlias = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, slots=True)
class KwwFit:
    """What `fit_kww` found; n curves, parameters in the order of `PARAMETERS`.

    Parameters
    ----------
    parameters
        [n, 4] float64: amplitude and baseline in units of y, ln tau of the unit of time, shape.
        NaN where masked.
    covariance
        [n, 4, 4] float64. 0 for a fixed parameter, NaN for one at a bound or not determined.
    chi2
        [n] float64: sum of w r^2, or r^T P r under a precision matrix, at the minimum.
    dof
        [n] int64: points less free parameters.
    iterations
        [n] int64.
    flag
        [n] uint8: 0 determined, 1 lower bound, 2 at a bound, 3 not converged, 4 masked.
    scaled
        The covariance was multiplied by chi2 / dof: the weights were taken as relative.
    """

    parameters: Floats
    covariance: Floats
    chi2: Floats
    dof: npt.NDArray[np.int64]
    iterations: npt.NDArray[np.int64]
    flag: npt.NDArray[np.uint8]
    scaled: bool

    @property
    def amplitude(self) -> Floats:
        """[n], in units of y: beta of the correlation form, the contrast."""
        return self.parameters[:, 0]

    @property
    def ln_tau(self) -> Floats:
        """[n], natural logarithm of tau in the unit of the times given."""
        return self.parameters[:, 1]

    @property
    def tau(self) -> Floats:
        """[n], in the unit of the times given."""
        return np.exp(self.parameters[:, 1])

    @property
    def shape(self) -> Floats:
        """[n]: the exponent, gamma of the correlation form, b of the decay."""
        return self.parameters[:, 2]

    @property
    def baseline(self) -> Floats:
        """[n], in units of y."""
        return self.parameters[:, 3]

    @property
    def errors(self) -> Floats:
        """[n, 4]: standard errors, the roots of the diagonal of the covariance."""
        return np.sqrt(np.diagonal(self.covariance, axis1=1, axis2=2))


@dataclasses.dataclass(frozen=True, slots=True)
class LnTauInterval:
    """Profile-likelihood interval of ln tau; n curves.

    Parameters
    ----------
    lower, upper
        [n] float64. ``upper`` is inf where the profile is open above (flag 1): ``lower`` is then
        a lower bound of ln tau, one-sided at 84 % for the default rise of 1. ``lower`` is -inf
        where it is open below (flag 2). NaN where there is none.
    flag
        [n] uint8: as in `KwwFit`, with what the profile adds to it.
    """

    lower: Floats
    upper: Floats
    flag: npt.NDArray[np.uint8]


def fit_kww(
    times: npt.ArrayLike,
    values: npt.ArrayLike,
    *,
    form: Literal["correlation", "decay"] = "correlation",
    weights: npt.ArrayLike | None = None,
    precision: npt.ArrayLike | None = None,
    covariance: npt.ArrayLike | None = None,
    fixed: Mapping[str, npt.ArrayLike] | None = None,
    bounds: Mapping[str, tuple[float, float]] | None = None,
    start: KwwFit | npt.ArrayLike | None = None,
    scaled: bool | None = None,
    iterations: int = 100,
    threads: int = 1,
) -> KwwFit:
    """Fit y(t) = amplitude exp(-c (t/tau)^shape) + baseline to many curves.

    Minimised is sum of w (y - model)^2, or r^T P r under a precision matrix P.

    Parameters
    ----------
    times
        [lag], s or any unit, >= 0: shared by all curves.
    values
        [n, lag]: y, which is g2 - 1 in the correlation form. NaN is a missing point.
    form
        ``"correlation"``, c = 2, or ``"decay"``, c = 1.
    weights
        [lag] or [n, lag]: 1 / variance of each point; what is not finite and positive marks a
        missing point. None: all alike.
    precision
        [lag, lag] or [n, lag, lag]: inverse of the covariance matrix of the points, for
        correlated points; in place of ``weights``. A missing point is taken out as it is out of
        the covariance matrix.
    covariance
        [lag, lag] or [n, lag, lag]: the points' own covariance matrix C, where it is not the
        inverse of what they are weighted with. Changes errors only, to the sandwich
        (J^T W J)^-1 J^T W C W J (J^T W J)^-1: what is right for a plain fit to correlated points.
    fixed
        Parameters that are held, by name, at a value or at one for each curve [n]. Default:
        ``{"baseline": 0.0}``; ``{}`` leaves all four free.
    bounds
        (lower, upper) of free parameters, by name. Defaults: amplitude (0, inf), shape (0.1, 4),
        ln_tau from 0.1 of the shortest time above 0 to 1e4 of the longest, baseline none.
    start
        Warm start: parameters [n, 4], or an earlier fit, of which those of flag 0 are taken. A
        row that holds NaN, and one from which the fit does not converge, starts cold. Minima
        found from different starts agree to rounding of about 1e-7 of an error, not in each bit.
    scaled
        Multiply the covariance by chi2 / dof: the weights are relative. Default: so only if
        neither weights nor precision nor covariance is given.
    iterations
        At most so many.
    threads
        Threads that share the batch; the result does not depend on it.

    Raises
    ------
    ValueError
        Shapes that do not agree, times that are negative or not finite, unknown names, bounds
        that are not ordered.
    """
    problem = _Problem.of(times, values, form, weights, precision, fixed, bounds)
    n = problem.n
    own = problem.matrices("covariance", covariance)
    if scaled is None:
        scaled = weights is None and precision is None and covariance is None
    elif scaled and covariance is not None:
        raise ValueError("scaled: errors from a covariance of the points are never scaled")
    begin = np.where(problem.free, _start(start, n), problem.held)
    nodes, table = _table(problem)
    fit = KwwFit(
        np.full((n, 4), np.nan),
        np.full((n, 4, 4), np.nan),
        np.full(n, np.nan),
        np.zeros(n, np.int64),
        np.zeros(n, np.int64),
        np.zeros(n, np.uint8),
        scaled,
    )

    from daq_relaxation.kww_kernel import fit_curves

    def part(first: int, stop: int) -> None:
        fit_curves(
            first, stop, problem.ln_t, problem.values, problem.weights, problem.precision, own,
            problem.factor, problem.free, problem.lower, problem.upper, nodes, table, begin,
            scaled, iterations, fit.parameters, fit.covariance, fit.chi2, fit.dof,
            fit.iterations, fit.flag,
        )  # fmt: skip

    _share(part, n, threads)
    return fit


def ln_tau_interval(
    times: npt.ArrayLike,
    values: npt.ArrayLike,
    fit: KwwFit,
    *,
    form: Literal["correlation", "decay"] = "correlation",
    weights: npt.ArrayLike | None = None,
    precision: npt.ArrayLike | None = None,
    variance_factor: npt.ArrayLike | None = None,
    fixed: Mapping[str, npt.ArrayLike] | None = None,
    bounds: Mapping[str, tuple[float, float]] | None = None,
    rise: float = 1.0,
    iterations: int = 100,
    threads: int = 1,
) -> LnTauInterval:
    """Return where the profile chi2 of ln tau has risen by ``rise`` (1: 68 %) on either side.

    The profile is the lowest chi2 at a given tau over all other free parameters. Times, values,
    form, weights, precision, fixed and bounds are those of the fit; ln tau is sought within its
    bounds, so that "open above" means: not closed at the upper one.

    Parameters
    ----------
    fit
        What `fit_kww` found. Where it was scaled, the rise is ``rise`` chi2 / dof.
    variance_factor
        One number, or [n]: the rise is multiplied with it. The effective variance of points that
        are correlated though weighted as if they were not: the ratio of the right variance of ln
        tau to that from the weights alone, as `variance_ratio` gives it.

    Raises
    ------
    ValueError
        As `fit_kww`; ln tau held fixed.
    """
    problem = _Problem.of(times, values, form, weights, precision, fixed, bounds)
    n = problem.n
    if not problem.free[1]:
        raise ValueError("ln_tau is fixed: there is no interval")
    if fit.parameters.shape != (n, 4):
        raise ValueError(f"fit holds {len(fit.parameters)} curves, values {n}")
    rises = np.full(n, float(rise))
    if fit.scaled:
        rises *= np.divide(fit.chi2, fit.dof, out=np.full(n, np.nan), where=fit.dof > 0)
    if variance_factor is not None:
        rises *= np.asarray(variance_factor, np.float64)
    errors = fit.errors[:, 1].copy()
    flag, found = fit.flag.copy(), np.full((n, 2), np.nan)

    from daq_relaxation.kww_kernel import profile_curves

    def part(first: int, stop: int) -> None:
        profile_curves(
            first, stop, problem.ln_t, problem.values, problem.weights, problem.precision,
            problem.factor, problem.free, problem.lower, problem.upper, rises, errors,
            fit.parameters, fit.chi2, iterations, flag, found,
        )  # fmt: skip

    _share(part, n, threads)
    return LnTauInterval(found[:, 0], found[:, 1], flag)


def variance_ratio(sandwich: KwwFit, plain: KwwFit) -> Floats:
    """Return [n], var(ln tau) with the points' own covariance over that from the weights alone.

    ``sandwich`` was fitted with ``covariance``, ``plain`` with the same weights, not scaled. It
    widens the profile of a plain fit to what correlated points allow (see `ln_tau_interval`).
    """
    return sandwich.covariance[:, 1, 1] / plain.covariance[:, 1, 1]


@dataclasses.dataclass(frozen=True, slots=True)
class _Problem:
    """Checked arguments, as the compiled loops take them."""

    n: int
    ln_t: Floats
    factor: float
    values: Floats
    weights: Floats
    precision: Floats
    free: npt.NDArray[np.bool_]
    held: Floats
    lower: Floats
    upper: Floats

    @classmethod
    def of(
        cls,
        times: npt.ArrayLike,
        values: npt.ArrayLike,
        form: str,
        weights: npt.ArrayLike | None,
        precision: npt.ArrayLike | None,
        fixed: Mapping[str, npt.ArrayLike] | None,
        bounds: Mapping[str, tuple[float, float]] | None,
    ) -> _Problem:
        if form not in FACTORS:
            raise ValueError(f"form {form!r}: one of {', '.join(FACTORS)}")
        t = np.asarray(times, np.float64)
        if t.ndim != 1 or not len(t) or not np.all((t >= 0) & (t < np.inf)) or not t.max() > 0:
            raise ValueError("times: one axis of finite numbers >= 0, one of them above 0")
        y = _plain(values)
        if y.ndim != 2 or y.shape[1] != len(t):
            raise ValueError(f"values: [curve, lag] with {len(t)} lags, not {y.shape}")
        n = len(y)
        w = np.ones((1, len(t))) if weights is None else np.asarray(weights, np.float64)
        w = w[np.newaxis] if w.ndim == 1 else w
        if w.ndim != 2 or len(w) not in (1, n) or w.shape[1] != len(t):
            raise ValueError(f"weights: [{len(t)}] or [{n}, {len(t)}], not {w.shape}")
        if weights is not None and precision is not None:
            raise ValueError("weights or precision, not both")
        free = np.ones(4, np.bool_)
        held = np.full((n, 4), np.nan)
        for name, value in ({"baseline": 0.0} if fixed is None else fixed).items():
            free[_place("fixed", name)] = False
            held[:, _place("fixed", name)] = np.asarray(value, np.float64)
        if not np.all(np.isfinite(held[:, ~free])) or (not free[2] and np.any(held[:, 2] <= 0)):
            raise ValueError("fixed: values must be finite, and shape above 0")
        positive = t[t > 0]
        lower = np.array([0.0, np.log(positive.min() / 10), 0.1, -np.inf])
        upper = np.array([np.inf, np.log(positive.max() * 1e4), 4.0, np.inf])
        for name, (low, high) in (bounds or {}).items():
            place = _place("bounds", name)
            if not low < high:
                raise ValueError(f"bounds of {name}: ({low:g}, {high:g}) are not in order")
            lower[place], upper[place] = low, high
        if not lower[2] > 0 or not np.all(np.isfinite((lower[1], upper[1]))):
            raise ValueError("bounds: shape must be above 0, those of ln_tau finite")
        # a time of 0 gets a logarithm so low that (t/tau)^shape is 0
        ln_t = np.log(t, out=np.full(len(t), -1e6), where=t > 0)
        problem = cls(
            n, ln_t, FACTORS[form], y, _plain(w), _NONE, free, held, lower, upper
        )  # fmt: skip
        return dataclasses.replace(problem, precision=problem.matrices("precision", precision))

    def matrices(self, name: str, given: npt.ArrayLike | None) -> Floats:
        """Return [1 or n, lag, lag], or [1, 0, 0] for None."""
        if given is None:
            return _NONE
        count = self.values.shape[1]
        found = np.array(given, np.float64, order="C")
        found = found[np.newaxis] if found.ndim == 2 else found
        if found.ndim != 3 or len(found) not in (1, self.n) or found.shape[1:] != (count, count):
            raise ValueError(
                f"{name}: [{count}, {count}] or [{self.n}, {count}, {count}], not {found.shape}"
            )
        if not np.all(np.isfinite(found)):
            raise ValueError(f"{name}: must be finite; leave out points by NaN in values")
        if not np.allclose(found, found.swapaxes(1, 2), rtol=1e-6, atol=1e-9 * np.abs(found).max()):
            raise ValueError(f"{name}: must be symmetric")
        largest = np.abs(np.diagonal(found, axis1=1, axis2=2)).max(axis=1)
        try:  # modes of weight 0 are allowed
            np.linalg.cholesky(found + 1e-9 * largest[:, None, None] * np.eye(count))
        except np.linalg.LinAlgError:
            raise ValueError(f"{name}: must not have negative eigenvalues") from None
        return found


_NONE: Final = np.zeros((1, 0, 0))


def _place(what: str, name: str) -> int:
    if name not in PARAMETERS:
        raise ValueError(f"{what}: no parameter {name!r}; one of {', '.join(PARAMETERS)}")
    return PARAMETERS.index(name)


def _plain(array: npt.ArrayLike) -> Floats:
    """Return float64, C order, read-only: one type for the loops, whatever came."""
    plain = np.require(array, np.float64, ["C", "A"]).view()
    plain.flags.writeable = False
    return plain


def _start(start: KwwFit | npt.ArrayLike | None, n: int) -> Floats:
    """Return parameters [n, 4] to start from, NaN for a cold start."""
    if start is None:
        return np.full((n, 4), np.nan)
    if isinstance(start, KwwFit):
        found = np.where((start.flag == DETERMINED)[:, None], start.parameters, np.nan)
    else:
        found = np.asarray(start, np.float64)
    if found.shape != (n, 4):
        raise ValueError(f"start: [{n}, 4], not {found.shape}")
    return found


def _table(problem: _Problem) -> tuple[Floats, Floats]:
    """Return nodes [node, (ln tau, shape)] and their decays [node, lag] for cold starts.

    Three nodes to the decade of tau, from the shortest time to ten times the longest.
    """
    ln_t = problem.ln_t[problem.ln_t > -1e6]
    low, high = problem.lower[1], problem.upper[1]
    first = float(np.clip(ln_t.min(), low, high))
    last = float(np.clip(ln_t.max() + 2.3, low, high))
    count = 1 + max(1, round((last - first) / 0.77))
    # one shape is enough: more of them found no lower minima
    shapes = np.clip([0.9], problem.lower[2], problem.upper[2])
    if not problem.free[2]:
        shapes = problem.held[:1, 2]
    nodes = np.array([(u, g) for g in shapes for u in np.linspace(first, last, count)])
    nodes = nodes.reshape(-1, 2)
    power = np.clip(nodes[:, 1:] * (problem.ln_t - nodes[:, :1]), -700, 7)
    return nodes, np.exp(np.maximum(-problem.factor * np.exp(power), -700))


def _share(part: Callable[[int, int], Any], n: int, threads: int) -> None:
    """Call ``part(first, stop)`` for pieces of n curves, in that many threads."""
    if threads < 1:
        raise ValueError(f"threads: at least 1, not {threads}")
    if threads == 1 or n < 2:
        part(0, n)
        return
    from concurrent.futures import ThreadPoolExecutor

    # more pieces than threads, since some curves take longer
    edges = np.linspace(0, n, min(n, 4 * threads) + 1).astype(int).tolist()
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(part, edges[:-1], edges[1:]):
            pass
