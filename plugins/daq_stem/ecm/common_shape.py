"""The stretching exponent that all positions share, measured.

One position tells little of its own gamma, and a mean over positions looks stretched because tau
is spread. But the exponent that lets the fits of all positions meet best, each with a tau of its
own, is known to a few per cent. Few speckles shift it, by as much for replicas, whose exponent
is 1: so gamma = 1 + (found for the positions) - (found for the replicas).

A series much shorter than tau sees the beginning of the decay only, and hardly tells its shape.
So what is found is weighed against what is known of metallic glasses beforehand, `BEFORE`
(Nakazawa2024: "close to 1"), each with its inverse square error.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

EXPONENTS = np.round(np.arange(0.5, 1.65, 0.1), 1)
"""Those that are tried."""

BEFORE = (1.0, 0.1)
"""Exponent, and its standard deviation, that is expected before anything was measured."""

BEYOND = 0.1
"""By so much the exponent may change for each e-fold of time beyond the series: a mixture of
exponentials begins with 1, whatever it is later."""

BETWEEN = 0.05
"""By so much the exponent differs from place to place (1 sigma): a probe sees fast and slow atoms at
once, here more than there. So it is where ln tau varies by 0.75 over some nm, which was published."""

FEWEST = 48
"""Positions, and replicas, below which nothing is said."""


@dataclasses.dataclass(frozen=True, slots=True)
class CommonShape:
    """What the positions share.

    Parameters
    ----------
    gamma, error
        The exponent and its standard error: from a jackknife over regions, and `BEFORE`.
    slope
        d(ln tau)/d(gamma) as a line: (at ln tau = 0, its change with ln tau). The slower a place
        is for the length of the series, the more its tau hangs on the exponent.
    """

    gamma: float
    error: float
    slope: tuple[float, float]

    def ln_tau_error(self, ln_tau: Floats, ln_lasts: float, *, place: bool) -> Floats:
        """Return what not knowing gamma does to ln tau, 1 sigma, [n]; 0 where it is not known.

        ``ln_lasts`` is ln of the length of the series: gamma of what comes later was never seen.
        ``place``: of single places, which differ; False for a mean over many.
        """
        change = np.abs(self.slope[0] + self.slope[1] * ln_tau)
        unseen = BEYOND * np.maximum(0.0, ln_tau - ln_lasts)
        error = np.sqrt(self.error**2 + unseen**2 + (BETWEEN**2 if place else 0.0))
        return np.asarray(np.nan_to_num(change * error))


def common_shape(
    positions: Callable[[float], tuple[Floats, Floats]],
    replicas: Callable[[float], tuple[Floats, Floats]],
    blocks: npt.NDArray[np.int64],
) -> CommonShape | None:
    """Return the exponent at which the summed misfit of all fits is least; None if too few fit.

    Parameters
    ----------
    positions, replicas
        Called with an exponent: misfit and ln tau of each fit with it, NaN where there is none.
    blocks
        [position] regions of the positions, left out one at a time for the error.
    """
    misfit, ln_tau = (np.array(found) for found in zip(*map(positions, EXPONENTS), strict=True))
    simulated = np.array([replicas(gamma)[0] for gamma in EXPONENTS])
    kept = np.isfinite(misfit).all(axis=0)
    compared = np.isfinite(simulated).all(axis=0)
    if min(kept.sum(), compared.sum()) < FEWEST:
        return None
    found = _lowest(misfit[:, kept].sum(axis=1))
    expected = _lowest(simulated[:, compared].sum(axis=1))
    of = blocks[kept]
    parts = [block for block in np.unique(of) if 0 < (of == block).sum() < kept.sum()]
    left_out = np.array([_lowest(misfit[:, kept][:, of != block].sum(axis=1)) for block in parts])
    n = len(parts)
    error = np.sqrt((n - 1) / n * np.sum((left_out - left_out.mean()) ** 2)) if n > 1 else np.nan
    at = int(np.clip(np.abs(EXPONENTS - found).argmin(), 1, len(EXPONENTS) - 2))
    step = float(EXPONENTS[at + 1] - EXPONENTS[at - 1])
    change = (ln_tau[at + 1, kept] - ln_tau[at - 1, kept]) / step
    slope, offset = np.polyfit(ln_tau[at, kept], change, 1)
    gamma = float(np.clip(1 + found - expected, 0.3, 2.0))
    gamma, error = _weighed(gamma, float(error))
    return CommonShape(gamma, error, (float(offset), float(slope)))


def _weighed(gamma: float, error: float) -> tuple[float, float]:
    """Return the exponent and its error given what was expected; the latter alone without an error."""
    expected, spread = BEFORE
    trust = 1 / max(error, 1e-3) ** 2 if np.isfinite(error) else 0.0
    total = trust + 1 / spread**2
    return (gamma * trust + expected / spread**2) / total, total**-0.5


def _lowest(totals: Floats) -> float:
    """Return where a parabola through the lowest of ``totals`` [exponent] and its neighbours is least."""
    at = int(np.clip(totals.argmin(), 1, len(totals) - 2))
    a, b, _ = np.polyfit(EXPONENTS[at - 1 : at + 2], totals[at - 1 : at + 2], 2)
    if not a > 0:
        return float(EXPONENTS[totals.argmin()])
    return float(np.clip(-b / (2 * a), EXPONENTS[0], EXPONENTS[-1]))
