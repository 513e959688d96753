"""Time-temperature superposition: shifts that lay the sweeps of many temperatures on one curve.

Both moduli are shifted at once. In each of two channels (ln |M| and the loss angle, or ln M' and
ln M'') all sweeps follow one smooth curve g,

    y = g(log10 f + s_T),    s_T = log10 a_T,    tau(T) = a_T tau(T_ref)

a cubic spline with knots so close that its penalty on third differences alone makes it smooth.
Shifts and spline are found together (Gauss-Newton on penalised least squares); noise and penalty
follow from the readings, by restricted likelihood (the fixed point of Wood2017, eq. 4), so that
the covariance of the shifts holds what is not known of the curve, and of every shift between a
temperature and the reference.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]

KNOTS: Final = 0.3
"""Decades between knots: less than any relaxation is narrow."""
ORDER: Final = 3
"""Of the differences that are penalised."""
REACH: Final = 6.0
"""Decades up to which a new sweep is sought away from its neighbour."""
FINENESS: Final = 0.1
"""Decades between places that are tried."""
GUESS: Final = 1.5
"""Decades within which a new sweep is expected about where its neighbours point."""
BETTER: Final = 6.0
"""How much lower -2 ln(likelihood) must be elsewhere for a sweep to be moved there."""
SHARE: Final = 0.3
"""Part of a sweep that must lie on the curve of the others for it to tell anything."""
AGAINST: Final = 2.5
"""Standard deviations of its chi2 above which a place is none for a sweep."""
WIDER: Final = 8.0
"""A shift is open if places this many errors away would do as well,"""
TWICE: Final = 2.0
"""or if the spread of its likelihood is over so many of its errors."""
STILL: Final = 0.02
"""Steps that are this part of the errors end the search."""
OVERLAP: Final = 0.9
"""Part of a sweep's length by which neighbours in temperature may be apart at most: beyond that
they do not overlap, and nothing tells how far apart they are."""
EDGE: Final = 0.05
"""Decades: how hard that limit is."""
NEAR: Final = 3.0
"""Decades that neighbours in temperature are expected to be apart: a prior so wide that it only
keeps sweeps together between which no reading decides."""
HUBER: Final = 2.5
"""Standard deviations beyond which a residual is an outlier."""
STEPS: Final = 40

DETERMINED: Final = 0
"""Flag: the shift is known within its error."""
OPEN: Final = 1
"""Flag: the sweep does not tell its shift, other places do as well; its error is that spread."""


@dataclasses.dataclass(frozen=True, slots=True)
class Channels:
    """A sweep as it is shifted: ``x`` [n] log10(f/Hz) and ``y`` [2, n]."""

    x: Floats
    y: Floats

    @classmethod
    def of(
        cls, frequency: Floats, storage: Floats, loss: Floats, noise: Literal["phase", "moduli"]
    ) -> Channels:
        """Return ln |M| and the loss angle (``phase``), or ln M' and ln M'' (``moduli``)."""
        if noise == "moduli":
            return cls(np.log10(frequency), np.log(np.stack([storage, loss])))
        modulus = 0.5 * np.log(storage**2 + loss**2)
        return cls(np.log10(frequency), np.stack([modulus, np.arctan2(loss, storage)]))


@dataclasses.dataclass(frozen=True, slots=True)
class Superposition:
    """What `superpose` found for K sweeps.

    Parameters
    ----------
    shift
        [K] log10 a_T; 0 at the reference.
    covariance
        [K, K] of the shifts, with Student's factor; 0 for the reference.
    vertical
        [K] ln of the factor b_T on moduli; 0 where it is not sought.
    vertical_errors
        [K].
    noise
        [2], standard deviation of one reading in each channel, with what does not superpose.
    misfit
        [K]: root mean square of the residuals of each sweep over the noise; far above those of
        others where a sweep does not lie on the common curve.
    flag
        [K] uint8: 0 determined, 1 open.
    superposition
        [2]: noise over that of sweeps by themselves (a polynomial each); well above 1 where
        sweeps differ in shape, so that no shift lays them on one curve.
    dof
        Degrees of freedom of both channels.
    converged
        False: not within the steps allowed.
    """

    shift: Floats
    covariance: Floats
    vertical: Floats
    vertical_errors: Floats
    noise: Floats
    misfit: Floats
    flag: npt.NDArray[np.uint8]
    superposition: Floats
    dof: float
    converged: bool
    _origin: int
    _coefficients: Floats
    _spread: Floats
    _penalty: Floats
    _offset: float
    _level: float

    @property
    def errors(self) -> Floats:
        """[K]: standard errors of the shifts."""
        return np.asarray(np.sqrt(np.diagonal(self.covariance)))

    def curve(self, x: Floats) -> tuple[Floats, Floats]:
        """Return the common curve [2, n] at x = log10(f a_T), and its standard errors."""
        at, basis, _ = _spline(x + self._offset, self._origin, self._coefficients.shape[1])
        value = np.einsum("ni,cni->cn", basis, self._coefficients[:, at])
        value[0] += self._level
        part = self._spread[:, at[:, :, None], at[:, None, :]]
        variance = np.einsum("ni,cnij,nj->cn", basis, part, basis)
        return value, np.sqrt(np.maximum(variance, 0))


def superpose(
    sweeps: Sequence[Channels],
    temperature: Sequence[float],
    reference: int,
    *,
    vertical: bool = False,
    start: Superposition | None = None,
) -> Superposition:
    """Lay sweeps on one curve.

    Parameters
    ----------
    sweeps
        K of them, each with three readings or more.
    temperature
        [K], K: says which sweeps are neighbours.
    reference
        The sweep whose shift is 0.
    vertical
        Seek a factor b_T on the moduli of each sweep too.
    start
        What was found for the first of these sweeps (as many as it has), to begin with.

    Raises
    ------
    ValueError
        No sweep, or one of fewer than three readings.
    """
    if not sweeps or min(len(s.x) for s in sweeps) < 3:
        raise ValueError("superposition needs sweeps of three readings or more")
    problem = _Problem(sweeps, temperature, vertical)
    known = 0 if start is None else min(len(start.shift), len(sweeps))
    own = problem.by_themselves()
    state = _State(np.zeros(len(sweeps)), np.zeros(len(sweeps)), own.copy(), np.ones(2))
    if start is not None:
        state.shift[:known] = start.shift[:known]
        state.vertical[:known] = start.vertical[:known]
        state.noise, state.penalty = start.noise.copy(), start._penalty.copy()
    order = list(range(known)) or [reference]
    for new in _outwards(temperature, order):
        problem.used = order
        problem.settle(state, 3 if len(order) > 1 else 1, own if len(order) < 4 else None)
        state.shift[new] = problem.place(new, state)
        order = [*order, new]
    # the reference is held, so that knots lie alike however the sweeps came
    problem.used = [reference, *(k for k in order if k != reference)]
    state.shift -= state.shift[reference]
    state.vertical -= state.vertical[reference]
    converged = problem.settle(state, STEPS)
    spread = problem.reseat(state)
    if np.isnan(spread).any():  # sweeps were moved
        converged = problem.settle(state, STEPS)
        spread = problem.reseat(state, move=False)
    return problem.result(state, reference, converged, spread)


def _outwards(temperature: Sequence[float], known: Sequence[int]) -> list[int]:
    """Return the sweeps that are not known, each near one before it."""
    left = [k for k in range(len(temperature)) if k not in known]
    there, found = list(known), list[int]()
    while left:
        k = min(left, key=lambda i: min(abs(temperature[i] - temperature[j]) for j in there))
        left.remove(k)
        there.append(k)
        found.append(k)
    return found


@dataclasses.dataclass(slots=True)
class _State:
    shift: Floats
    vertical: Floats
    noise: Floats
    penalty: Floats


class _Problem:
    """Penalised least squares over the sweeps in ``used``."""

    def __init__(
        self, sweeps: Sequence[Channels], temperature: Sequence[float], vertical: bool
    ) -> None:
        self.sweeps = sweeps
        self.temperature = temperature
        self.vertical = vertical
        self.used: list[int] = []
        self._last: Floats | None = None

    def settle(self, state: _State, steps: int, noise: Floats | None = None) -> bool:
        """Take steps from a state until it stands; tell whether it did. ``noise``: not below."""
        self._gather()
        still = 0
        for _ in range(steps):
            penalty = state.penalty.copy()
            self._step(state)
            if noise is not None:
                state.noise = np.maximum(state.noise, noise)
            # in units of the errors
            moved = float(np.max(np.abs(self._increment) / self._errors, initial=0.0))
            change = float(np.abs(np.log(state.penalty / penalty)).max())
            still = still + 1 if moved < STILL else 0
            if still and (change < 0.05 or still == 5):
                return True
        return False

    def place(self, new: int, state: _State) -> float:
        """Return where a new sweep lies on the curve of those in use, roughly."""
        temperature = self.temperature
        near = sorted(self.used, key=lambda k: abs(temperature[k] - temperature[new]))
        guess = float(state.shift[near[0]])
        if len(near) > 1 and temperature[near[0]] != temperature[near[1]]:
            slope = (state.shift[near[0]] - state.shift[near[1]]) / (
                temperature[near[0]] - temperature[near[1]]
            )
            guess += float(np.clip(slope * (temperature[new] - temperature[near[0]]), -3, 3))
        self._gather()
        candidates = guess + np.arange(-REACH, REACH, FINENESS)
        score, _ = self._scores(self.sweeps[new], candidates, state, None)
        beyond = np.abs(candidates - state.shift[near[0]]) - self._reach(new, near[0])
        score = score + (np.maximum(beyond, 0) / EDGE) ** 2
        return float(candidates[np.argmin(score + ((candidates - guess) / GUESS) ** 2)])

    def reseat(self, state: _State, move: bool = True) -> Floats:
        """Return [K, 2], how far from its place each sweep may be, as the curve of the others tells.

        First the root mean square over the likelihood of places, then the farthest of those next
        to each other that nothing speaks against. A sweep for which another place is better by
        far is moved there, and gets NaN.
        """
        spread = np.zeros((len(self.sweeps), 2))
        if len(self.used) < 2:
            return spread
        self._gather()
        for k in self.used:
            candidates = state.shift[k] + np.arange(-REACH, REACH + FINENESS / 2, FINENESS)
            middle = len(candidates) // 2
            score, agrees = self._scores(self.sweeps[k], candidates, state, k)
            for other in self._neighbours(k):
                away = np.abs(candidates - state.shift[other])
                score = score + (away / NEAR) ** 2
                score += (np.maximum(away - self._reach(k, other), 0) / EDGE) ** 2
            best = int(np.argmin(score))
            if move and score[best] < score[middle] - BETTER and k != self.used[0]:
                state.shift[k] = candidates[best]
                spread[k] = np.nan
                continue
            weight = np.exp(-(score - score[best]) / 2)
            away = candidates - candidates[middle]
            spread[k, 0] = math.sqrt(float(np.sum(weight * away**2) / np.sum(weight)))
            for direction in (1, -1):
                steps = agrees[middle + direction :: direction]
                reach = int(np.argmin(steps)) if not steps.all() else len(steps)
                spread[k, 1] = max(spread[k, 1], reach * FINENESS)
        return spread

    def _scores(
        self, sweep: Channels, candidates: Floats, state: _State, without: int | None
    ) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """Return -2 ln(likelihood) [candidate] of a sweep's shifts, from the curve of the others.

        With it: which of them the readings that lie on that curve do not speak against, where
        enough of them lie on it at all.
        """
        kept = np.ones(len(self.x), bool) if without is None else self.owner != without
        u = self.x[kept] + state.shift[self.owner[kept]]
        moved = sweep.x[None, :] + candidates[:, None]
        origin = math.floor(min(float(u.min()), float(moved.min())) / KNOTS)
        m = math.floor(max(float(u.max()), float(moved.max())) / KNOTS) - origin + 4
        at, basis, _ = _spline(u, origin, m)
        B = np.zeros((len(u), m))
        B[np.arange(len(u))[:, None], at] = basis
        D = np.diff(np.eye(m), ORDER, axis=0)
        S, BB = D.T @ D, B.T @ B
        at, basis, slope = _spline(moved.reshape(-1), origin, m)
        on = (moved >= u.min()) & (moved <= u.max())
        score, against = np.zeros(len(candidates)), np.zeros(len(candidates))
        for c in range(2):
            variance = state.noise[c] ** 2
            A = BB / variance + state.penalty[c] * S
            A[np.diag_indices(m)] += 1e-6
            inverse = np.linalg.inv(A)
            y = self.y[c, kept]
            if c == 0:
                y = y - state.vertical[self.owner[kept]]
            coefficients = inverse @ (B.T @ y) / variance
            value = np.einsum("ni,ni->n", basis, coefficients[at])
            part = inverse[at[:, :, None], at[:, None, :]]
            unsure = np.einsum("ni,nij,nj->n", basis, part, basis)
            # candidates lie apart, and may miss the place by part of a step
            missed = (FINENESS**2 / 12) * np.einsum("ni,ni->n", slope, coefficients[at]) ** 2
            whole = (np.maximum(unsure, 0) + variance + missed).reshape(moved.shape)
            left = sweep.y[c] - value.reshape(moved.shape)
            if c == 0 and self.vertical:
                left = left - np.sum(left / whole, 1, keepdims=True) / np.sum(
                    1 / whole, 1, keepdims=True
                )
            score += np.sum(left**2 / whole + np.log(whole), axis=1)
            against += np.sum(np.where(on, left**2 / whole, 0), axis=1)
        count = 2 * on.sum(axis=1)
        enough = on.sum(axis=1) >= max(2, SHARE * len(sweep.x))
        return score, enough & (against <= count + AGAINST * np.sqrt(2.0 * count))

    def result(
        self, state: _State, reference: int, converged: bool, open_by: Floats
    ) -> Superposition:
        self._gather()
        covariance, spread, y_left, coefficients = self._solve(state)
        K, moving = len(self.sweeps), self.used[1:]
        C, v_errors, flag = np.zeros((K, K)), np.zeros(K), np.zeros(K, np.uint8)
        C[np.ix_(moving, moving)] = covariance[: len(moving), : len(moving)]
        # as differences from the reference
        to = np.eye(K)
        to[:, reference] -= 1
        factor = _student(self.dof)
        C = to @ C @ to.T * factor**2
        if self.vertical:
            V = np.zeros((K, K))
            V[np.ix_(moving, moving)] = covariance[len(moving) :, len(moving) :]
            v_errors = np.sqrt(np.maximum(np.diagonal(to @ V @ to.T), 0)) * factor
        for k, error in zip(moving, self._errors, strict=False):
            likely, possible = open_by[k]
            if possible > WIDER * error + 2 * FINENESS:
                flag[k] = OPEN
                # that far it may be, and beyond, where it no longer meets the others
                C[k, k] += possible**2 + 1.0
            elif likely > TWICE * error + 0.03:
                flag[k] = OPEN
                C[k, k] = max(C[k, k], likely**2)
        order = self._in_order()
        for at, (one, other) in enumerate(itertools.pairwise(order)):
            if abs(state.shift[one] - state.shift[other]) > self._reach(one, other) - EDGE:
                far = order[: at + 1] if order.index(reference) > at else order[at + 1 :]
                C[np.ix_(far, far)] += NEAR**2
                flag[far] = OPEN
        normal = y_left / state.noise[:, None]
        misfit = np.array([
            math.sqrt(float(np.mean(normal[:, self.owner == k] ** 2))) for k in range(K)
        ])  # fmt: skip
        shift = state.shift - state.shift[reference]
        return Superposition(
            shift, C, state.vertical - state.vertical[reference], v_errors, state.noise.copy(),
            misfit, flag, state.noise / self.by_themselves(), self.dof, converged,
            self.origin, coefficients, spread, state.penalty.copy(),
            float(state.shift[reference]), float(state.vertical[reference]),
        )  # fmt: skip

    def _gather(self) -> None:
        self.x = np.concatenate([self.sweeps[k].x for k in self.used])
        self.y = np.concatenate([self.sweeps[k].y for k in self.used], axis=1)
        self.owner = np.concatenate([np.full(len(self.sweeps[k].x), k) for k in self.used])
        # column of each reading's shift; that of the first sweep in use is held
        place = np.full(len(self.sweeps), -1)
        place[self.used[1:]] = np.arange(len(self.used) - 1)
        self.column = place[self.owner]
        self.place_of = place
        self.bounded = self.y.copy()

    def _neighbours(self, k: int) -> list[int]:
        """Return the sweeps in use next to this one in temperature."""
        order = self._in_order()
        at = order.index(k)
        return order[max(at - 1, 0) : at] + order[at + 1 : at + 2]

    def _solve(self, state: _State) -> tuple[Floats, Floats, Floats, Floats]:
        """Return covariances of increments and of splines [2, m, m], residuals, coefficients."""
        self.u = self.x + state.shift[self.owner]
        self.origin = math.floor(float(self.u.min()) / KNOTS)
        self.count = m = math.floor(float(self.u.max()) / KNOTS) - self.origin + 4
        at, basis, slope = _spline(self.u, self.origin, m)
        n, movers = len(self.u), len(self.used) - 1
        B = np.zeros((n, m))
        rows = np.arange(n)[:, None]
        B[rows, at] = basis
        D = np.diff(np.eye(m), ORDER, axis=0)
        S = D.T @ D
        level = np.stack([state.vertical[self.owner], np.zeros(n)])
        y = self.bounded - level
        # the curve at these shifts gives its slopes; then all unknowns at once: the spline of each
        # channel, and the increments of shifts (and levels), by blocks
        size = movers * (2 if self.vertical else 1)
        V, side = self._prior(state, size)
        BB, moving = B.T @ B, self.column >= 0
        ridge = 1e-9 * np.eye(m)
        inner, weights, ends, rates = [], [], [], []
        for c in range(2):
            precision = state.noise[c] ** -2
            P = np.linalg.inv(precision * BB + state.penalty[c] * S + ridge)
            q = precision * (P @ (B.T @ y[c]))
            R = np.zeros((n, size))
            R[moving, self.column[moving]] = np.einsum("ni,ni->n", slope, q[at])[moving]
            if self.vertical and c == 0:
                R[moving, movers + self.column[moving]] = 1.0
            U = precision * (B.T @ R)
            V += precision * (R.T @ R) - U.T @ P @ U
            side += precision * (R.T @ y[c]) - U.T @ q
            inner.append(P)
            ends.append(q)
            weights.append(P @ U)
            rates.append(R)
        # what no reading tells must not make it singular
        V[np.diag_indices(size)] += 1e-4
        covariance = np.linalg.inv(V) if size else np.zeros((0, 0))
        self._increment = covariance @ side
        found = np.stack([ends[c] - weights[c] @ self._increment for c in range(2)])
        left = np.stack([
            y[c] - np.einsum("ni,ni->n", basis, found[c][at]) - rates[c] @ self._increment
            for c in range(2)
        ])  # fmt: skip
        spread = np.stack([inner[c] + weights[c] @ covariance @ weights[c].T for c in range(2)])
        self._S, self._rank, self._errors = S, m - ORDER, np.sqrt(np.diagonal(covariance))
        return covariance, spread, left, found

    def _prior(self, state: _State, size: int) -> tuple[Floats, Floats]:
        """Return normal matrix and side of what keeps neighbours in temperature together."""
        V, side = np.zeros((size, size)), np.zeros(size)
        for one, other in itertools.pairwise(self._in_order()):
            apart = state.shift[one] - state.shift[other]
            pull, stiff = apart / NEAR**2, NEAR**-2
            if (beyond := abs(apart) - self._reach(one, other)) > 0:
                pull += math.copysign(beyond, apart) / EDGE**2
                stiff += EDGE**-2
            for a, sign in ((one, 1.0), (other, -1.0)):
                if (row := self.place_of[a]) >= 0:
                    side[row] -= sign * pull
                    for b, also in ((one, 1.0), (other, -1.0)):
                        if (column := self.place_of[b]) >= 0:
                            V[row, column] += sign * also * stiff
        return V, side

    def _reach(self, one: int, other: int) -> float:
        """Return how far two neighbours may be apart: their readings must still overlap."""
        return OVERLAP * min(float(np.ptp(self.sweeps[k].x)) for k in (one, other))

    def _in_order(self) -> list[int]:
        return sorted(self.used, key=lambda i: (self.temperature[i], i))

    def _step(self, state: _State) -> None:
        _, spread, left, found = self._solve(state)
        m, n = self.count, left.shape[1]
        movers = len(self.used) - 1
        step = np.clip(self._increment[:movers], -0.4, 0.4)
        if self._last is not None and len(self._last) == movers and step @ self._last < 0:
            step /= 2  # to and fro
        self._last = step
        state.shift[self.used[1:]] += step
        if self.vertical:
            state.vertical[self.used[1:]] += self._increment[movers:]
        self.dof = 0.0
        for c in range(2):
            taken = float(np.sum(spread[c] * self._S)) * state.penalty[c]
            dof = max(n - (m - min(taken, self._rank)) - movers / (1 if self.vertical else 2), 1.0)
            rough = float(found[c] @ self._S @ found[c])
            # residuals beyond some standard deviations count as those (Huber's pseudo-values)
            model = self.bounded[c] - left[c]
            true = self.y[c] - model
            limit = HUBER * state.noise[c]
            inside = float(np.mean(np.abs(true) <= limit))
            pseudo = np.clip(true, -limit, limit) / max(inside, 0.5)
            self.bounded[c] = model + pseudo
            noise = math.sqrt(max(float(np.sum(pseudo**2)) / dof, 1e-16))
            penalty = max(self._rank - taken, 0.05) / max(rough, 1e-14)
            # not too far at once: both follow from each other
            state.penalty[c] = np.clip(penalty, state.penalty[c] / 30, state.penalty[c] * 30)
            state.noise[c] = np.clip(noise, state.noise[c] / 10, state.noise[c] * 10)
            self.dof += dof

    def by_themselves(self) -> Floats:
        """Return [2], the noise about a polynomial in each sweep."""
        squares, dof = np.zeros(2), 0
        for sweep in self.sweeps:
            x, y = sweep.x, sweep.y
            order = min(4, (len(np.unique(x)) - 1) // 2)
            if len(x) <= order + 1:
                continue
            V = np.vander((x - x.mean()) / max(float(np.ptp(x)), 1e-9), order + 1)
            left = y.T - V @ np.linalg.lstsq(V, y.T, rcond=None)[0]
            squares += np.sum(left**2, axis=0)
            dof += len(x) - order - 1
        return np.sqrt(np.maximum(squares / dof, 1e-16)) if dof else np.full(2, 0.01)


def _spline(u: Floats, origin: int, count: int) -> tuple[npt.NDArray[np.int64], Floats, Floats]:
    """Return columns [n, 4] of uniform cubic B-splines at u, their values and slopes [n, 4]."""
    place = u / KNOTS - origin
    first = np.clip(np.floor(place).astype(np.int64), 0, count - 4)
    r = place - first
    q = 1 - r
    basis = np.stack([q**3, 3 * r**3 - 6 * r**2 + 4, 3 * q**3 - 6 * q**2 + 4, r**3], axis=1) / 6
    slope = np.stack([-(q**2), 3 * r**2 - 4 * r, -3 * q**2 + 4 * q, r**2], axis=1) / (2 * KNOTS)
    return first[:, None] + np.arange(4), basis, slope


def _student(dof: float) -> float:
    from daq_relaxation.susceptibility_fit import student

    return student(round(2 * min(dof, 200.0)) / 2)
