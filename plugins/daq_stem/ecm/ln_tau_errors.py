"""Intervals of ln tau by test inversion: which relaxation times make an estimate as seen likely.

Replicas with known u = ln tau show how estimates x scatter: quantiles of x - u, taken over the
replicas near a given u and near given counts. The interval of an estimate holds every u for
which it lies within the central 68 % of what u would give (Neyman's construction): it covers
the truth in 68 % at every tau, whatever bias and skewness the estimates have.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

LOW, HIGH = 0.1587, 0.8413
"""The central 68 %."""
ONE_SIDED = 0.95
"""Of lower bounds."""

NEAR_LN_TAU, NEAR_LN_COUNTS = 0.35, 0.35
"""Sigma of the weights of replicas by their distance in ln tau and in the logarithm of counts."""

GRID, LEVELS = 96, 5
"""Values of ln tau, and of counts, at which quantiles are taken."""

FAR = 1e3
"""Stands for an estimate that is open above."""


@dataclasses.dataclass(frozen=True, slots=True)
class Interval:
    """Of each estimate, in ln (tau / s); n estimates.

    Parameters
    ----------
    middle
        [n] median-unbiased estimate.
    lower, upper
        [n] ends of the 68 % interval; ``upper`` is inf where it is open, ``lower`` -inf.
    bound
        [n] one-sided lower bound, 95 %.
    """

    middle: Floats
    lower: Floats
    upper: Floats
    bound: Floats

    def widened(self, error: Floats) -> Interval:
        """Return the interval with a further error, 1 sigma [n], that is independent of these."""
        with np.errstate(invalid="ignore"):
            lower = self.middle - np.hypot(self.middle - self.lower, error)
            upper = self.middle + np.hypot(self.upper - self.middle, error)
            bound = self.middle - np.hypot(self.middle - self.bound, 1.645 * error)
        return Interval(
            self.middle,
            np.where(np.isfinite(self.middle) & np.isfinite(self.lower), lower, self.lower),
            np.where(np.isfinite(self.middle) & np.isfinite(self.upper), upper, self.upper),
            np.where(np.isfinite(self.middle), bound, self.bound - 1.645 * error),
        )

    def stretched(self, factor: Floats) -> Interval:
        """Return the interval with its ends ``factor`` [n] times as far from the middle."""
        with np.errstate(invalid="ignore"):
            ends = [
                np.where(
                    np.isfinite(end) & np.isfinite(self.middle),
                    self.middle + factor * (end - self.middle), end,
                )
                for end in (self.lower, self.upper, self.bound)
            ]  # fmt: skip
        return Interval(self.middle, *ends)


class LnTauErrors:
    """How estimates of ln tau scatter, learnt from replicas.

    Parameters
    ----------
    truth, estimate
        [replica] ln tau, put in and found; inf for one that is open above, -inf for one whose
        decay was not seen, NaN for none.
    ln_counts
        [replica] logarithm of mean counts.
    longest
        Longer ones are not told apart: intervals that reach it are open.

    Raises
    ------
    ValueError
        Fewer than 64 replicas with an estimate.
    """

    def __init__(self, truth: Floats, estimate: Floats, ln_counts: Floats, longest: float) -> None:
        used = np.isfinite(ln_counts) & (estimate > -np.inf)
        self.truth, self.estimate = truth, estimate
        if used.sum() < 64:
            raise ValueError(f"{int(used.sum())} replicas gave an estimate: at least 64 are needed")
        u, c = truth[used], ln_counts[used]
        off = np.where(np.isfinite(estimate[used]), estimate[used] - u, FAR)
        order = np.argsort(off, kind="stable")
        u, c, off = u[order], c[order], off[order]
        self._u = np.linspace(u.min(), max(min(longest, u.max()), u.min() + 1e-6), GRID)
        self._c = np.quantile(c, (np.arange(LEVELS) + 0.5) / LEVELS)
        near_u = np.exp(-0.5 * ((u - self._u[:, None]) / NEAR_LN_TAU) ** 2)
        self._curves = np.empty((LEVELS, 4, GRID))
        for level, middle in enumerate(self._c):
            weight = near_u * np.exp(-0.5 * ((c - middle) / NEAR_LN_COUNTS) ** 2)
            below = np.cumsum(weight, axis=1)
            # the middle of each step, so that quantiles are those of a symmetric scatter
            below = (below - weight / 2) / below[:, -1:]
            for row, part in enumerate((0.5, HIGH, LOW, ONE_SIDED)):
                found = self._u + np.array([np.interp(part, b, off) for b in below])
                # rises with u: an estimate belongs to one u
                self._curves[level, row] = np.maximum.accumulate(found) + np.arange(GRID) * 1e-12

    def interval(self, estimate: Floats, ln_counts: Floats) -> Interval:
        """Return the interval of each estimate, [n]; ``ln_counts`` [n]."""
        found = np.full((4, len(estimate)), np.nan)
        level = np.abs(np.nan_to_num(ln_counts)[:, None] - self._c).argmin(axis=1)
        for number, curves in enumerate(self._curves):
            at = np.isfinite(ln_counts) & ~np.isnan(estimate) & (level == number)
            for row, curve in enumerate(curves):
                found[row, at] = np.interp(estimate[at], curve, self._u, left=-np.inf, right=np.inf)
        # faster than what was simulated: no faster than that can be said
        found[2, found[2] == -np.inf] = self._u[0]
        # beyond what was simulated: at least that long
        found[3, found[3] == np.inf] = self._u[-1]
        return Interval(*found)
