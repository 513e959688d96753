"""Loss against temperature: smoothed with errors, its peaks, and what the beta relaxation shows as.

The rule, in words. s(T) = d ln M''/dT is the logarithmic slope on the flank of the alpha peak, in
the glass. The beta relaxation is

- a **peak** where the loss falls somewhere with rising temperature: s < 0 by more than `FALLS`
  standard errors;
- a **shoulder** where s dips to less than `DIP` of what it is at a place above and at one below (a
  loss that levels off to a floor has none below);
- a **wing** where s keeps above that all the way down to `SEEN` of the temperature of the alpha peak;
- **undecided** where that cannot be said by more than `UNSURE` standard errors.

Of the flank counts what stands clear of its scatter (`CLEAR`); for the least slope, what lies above
the last place at which the slope is not known to `PRECISE` of that at the top of the flank.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

PEAK: Final = "peak"
SHOULDER: Final = "shoulder"
WING: Final = "wing"
UNDECIDED: Final = "undecided"

FALLS: Final = 3.5
"""Standard errors by which the slope must be negative."""
DIP: Final = 0.6
"""Part of the steeper places around it below which the slope of a shoulder falls."""
FILLED: Final = 0.8
"""The same for a wing that wide windows show, which fill the dip of a shoulder."""
UNSURE: Final = 1.5
"""Standard errors by which shoulder and wing must be told apart."""
SEEN: Final = 0.8
"""Part of the temperature of the alpha peak down to which a wing must have been seen."""
STEEP: Final = 0.6
"""Part of the steepest slope below the alpha peak to which it has fallen in the glass."""
CLEAR: Final = 2.5
"""How many times its scatter the loss must be to count."""
PRECISE: Final = 0.05
"""Part of the slope at the top of the flank that errors of slopes must not exceed to count."""
LEAST: Final = 7
"""Readings that a window needs."""


@dataclasses.dataclass(frozen=True, slots=True)
class LossCurve:
    """Loss at one frequency, smoothed by polynomials in windows; all [grid].

    Parameters
    ----------
    temperature
        K.
    loss, slope
        M'' in the unit given, and d ln M''/dT, 1/K.
    loss_error, slope_error
        Their standard errors, from the scatter in the window.
    scatter
        Standard deviation of a reading, in the unit of the loss.
    half_width
        Of the windows, K.
    derivatives
        [grid, 2]: dM''/dT and d2M''/dT2.
    derivative_error
        Of dM''/dT.
    """

    temperature: Floats
    loss: Floats
    slope: Floats
    loss_error: Floats
    slope_error: Floats
    scatter: Floats
    half_width: float
    derivatives: Floats
    derivative_error: Floats

    def __len__(self) -> int:
        return len(self.temperature)


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """What the beta relaxation shows as.

    ``margin`` says by how many standard errors the rule is fulfilled. ``temperature`` K is where
    the loss peaks, or where the slope is least.
    """

    kind: str
    margin: float
    temperature: float


def smooth(T: Floats, loss: Floats, half_width: float) -> LossCurve | None:
    """Smooth readings [n] at rising T, K; None where no window has enough of them."""
    grid = np.arange(T[0], T[-1] + half_width / 8, half_width / 4)
    rows = []
    for centre in grid:
        first, stop = np.searchsorted(T, (centre - half_width, centre + half_width))
        if stop - first < LEAST:
            continue
        x = (T[first:stop] - centre) / half_width
        if x[0] > -0.2 or x[-1] < 0.2:
            continue  # that would be extrapolated
        A = np.stack([np.ones_like(x), x, x**2, x**3], axis=1)
        y = loss[first:stop]
        # a parabola for the slope, which a cubic would know 2.5 times worse; a cubic for peaks
        c, V, _ = _polynomial(A[:, :3], y)
        cubic, its, variance = _polynomial(A, y)
        slope = c[1] / c[0]
        spread = V[1, 1] - 2 * slope * V[0, 1] + slope**2 * V[0, 0]
        rows.append((
            centre, c[0], slope / half_width, math.sqrt(variance * V[0, 0]),
            math.sqrt(variance * max(spread, 0.0)) / abs(c[0]) / half_width, math.sqrt(variance),
            cubic[1] / half_width, 2 * cubic[2] / half_width**2,
            math.sqrt(variance * its[1, 1]) / half_width,
        ))  # fmt: skip
    if len(rows) < 8:
        return None
    t = np.array(rows)
    # the scatter of few readings is itself uncertain: taken together with its neighbours
    pooled = np.sqrt(np.convolve(np.pad(t[:, 5] ** 2, 4, "edge"), np.full(9, 1 / 9), "valid"))
    wider = pooled / np.where(t[:, 5] > 0, t[:, 5], 1.0)
    return LossCurve(
        t[:, 0], t[:, 1], t[:, 2], t[:, 3] * wider, t[:, 4] * wider, pooled, half_width, t[:, 6:8],
        t[:, 8] * wider,
    )  # fmt: skip


def _polynomial(A: Floats, y: Floats) -> tuple[Floats, Floats, float]:
    """Return coefficients, their covariance over the variance of a reading, and that variance."""
    inverse = np.linalg.inv(A.T @ A)
    c = inverse @ (A.T @ y)
    return c, inverse, float(np.sum((y - A @ c) ** 2)) / (len(y) - A.shape[1])


def peak_at(curve: LossCurve, at: int) -> tuple[float, float]:
    """Return temperature of the peak nearest to grid point ``at``, and its error, K; NaN: none."""
    first, second = curve.derivatives[at]
    if not second < 0:
        return math.nan, math.nan
    moved = -first / second
    if abs(moved) > curve.half_width:
        return math.nan, math.nan
    return float(curve.temperature[at] + moved), float(curve.derivative_error[at] / abs(second))


def flank_top(curve: LossCurve, top: int) -> int | None:
    """Return the grid point below the alpha peak ``top`` where the glass begins; None: not seen.

    Going down from the peak the slope grows, and falls to `STEEP` of its largest where the glass
    is reached, in which the alpha relaxation has a lower energy. Below by half a window, so that
    windows hold glass alone.
    """
    steepest, limit = -math.inf, None
    for i in range(top, -1, -1):
        if curve.temperature[i] < 0.75 * curve.temperature[top]:
            break
        steepest = max(steepest, float(curve.slope[i]))
        if steepest > 0 and curve.slope[i] < STEEP * steepest and _past(curve, i, top, steepest):
            limit = float(curve.temperature[i])
            break
    if limit is None:
        return None
    below = np.flatnonzero(curve.temperature < limit - 0.5 * curve.half_width)
    return int(below[-1]) if len(below) else None


def _past(curve: LossCurve, i: int, top: int, steepest: float) -> bool:
    """Tell whether the steepest place lies above ``i`` (near the peak the slope is small too)."""
    return bool(np.argmax(curve.slope[i : top + 1]) > 0) and steepest > curve.slope[i]


def clear_from(curve: LossCurve, stop: int, lowest: float) -> int:
    """Return the first grid point from which the loss stands clear of its scatter up to ``stop``."""
    return _last_run((curve.loss > CLEAR * curve.scatter) & (curve.temperature >= lowest), stop)


def _last_run(good: npt.NDArray[np.bool_], stop: int) -> int:
    hidden = np.flatnonzero(~good[:stop])
    return int(hidden[-1]) + 1 if len(hidden) else 0


def kind_of(curve: LossCurve, start: int, stop: int, T_alpha: float, *, wide: bool = False) -> Kind:
    """Apply the rule of this module between two grid points of the glass; T_alpha in K.

    Windows that are ``wide`` fill dips: a wing must then be clear of `FILLED` instead of `DIP`.
    """
    if stop - start < 6:
        return Kind(UNDECIDED, math.nan, math.nan)
    precise = curve.slope_error < PRECISE * abs(curve.slope[stop - 1])
    T, s, e = (a[start:stop] for a in (curve.temperature, curve.slope, curve.slope_error))
    z = -s / e
    steepest = int(np.argmax(z))
    if z[steepest] > FALLS:
        # the peak below: where the slope last was positive
        rising = np.flatnonzero(s[: steepest + 1] > 0)
        at = start + (int(rising[-1]) if len(rising) else 0)
        peak = peak_at(curve, at)[0]
        return Kind(PEAK, float(z[steepest]) - FALLS, peak)
    first = max(_last_run(precise, stop), start) - start
    best: tuple[float, int, int] | None = None
    for i in range(first, len(s) - 1):
        # the steeper places, less their errors: noise makes the steepest of many look steeper
        after = i + 1 + int(np.argmax((s - e)[i + 1 :]))
        if s[after] > 0 and (best is None or s[i] / s[after] < best[0]):
            best = float(s[i] / s[after]), i, after
    if best is None:
        return Kind(UNDECIDED, math.nan, math.nan)
    _, least, after = best

    def below(part: float) -> float:
        error = math.hypot(float(e[least]), part * float(e[after]))
        return (part * float(s[after]) - float(s[least])) / error

    margin = -below(FILLED if wide else DIP)
    if margin > UNSURE and T[first] < SEEN * T_alpha:
        return Kind(WING, margin, float(T[least]))
    # a loss that levels off towards low temperature has a floor, not a shoulder
    before = (DIP * s[:least] - s[least]) / np.hypot(DIP * e[:least], e[least])
    margin = min(below(DIP), float(before.max())) if least else -math.inf
    kind = SHOULDER if margin > UNSURE else UNDECIDED
    return Kind(kind, margin if kind == SHOULDER else math.nan, float(T[least]))
