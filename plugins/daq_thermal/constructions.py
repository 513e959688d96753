"""What a person draws into the trace of one heating: lines, tangents, areas.

All of it works on the apparent heat capacity c = heat flow / heating rate, J/(g K), against T;
pure functions of the readings, nothing is kept.

Temperature ranges that are not given are found from the steepest rise of c, and told. What
cannot be found is NaN, with a flag; nothing is put in its place.
"""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np

from daq_thermal.readings import Floats

NO_GLASS_TRANSITION: Final = 1
"""Flag: no step of c that is larger than the least step and than its noise."""
NO_GLASS_RANGE: Final = 2
"""Flag: too few readings below the transition for a line of the glass."""
NO_LIQUID_RANGE: Final = 4
"""Flag: too few readings above the transition for a line of the liquid (yet)."""
NO_CRYSTALLISATION: Final = 8
"""Flag: no exotherm above the transition."""
OPEN_CRYSTALLISATION: Final = 16
"""Flag: the trace ends before the end of the exotherm: its heat is that so far."""
NOT_HEATED: Final = 32
"""Flag: a cooling, a hold, or fewer than `LEAST` readings."""
GAP: Final = 64
"""Flag: readings are missing within the transition."""
PARALLEL: Final = 128
"""Flag: the liquid's range is too short for a slope; its line has that of the glass."""
RELAXING: Final = 256
"""Flag: c leaves the line of the glass far below the transition (a quenched sample relaxes): that
line, and what rests on it, is not that of a glass at rest. A standard has it right."""

SHORT: Final = 30.0
"""K below which a range of the liquid gives no slope: a few readings of overshoot or of
crystallisation in it would turn the line."""

LEAST: Final = 30
"""Readings below which nothing is drawn."""
LINE: Final = 5
"""Readings that a line needs."""


@dataclasses.dataclass(frozen=True, slots=True)
class Ranges:
    """Where lines are laid, K (from, to); None: found from the trace.

    Parameters
    ----------
    glass, liquid
        Below and above the glass transition.
    crystal
        After the crystallisation.
    smoothing
        Half width of the straight pieces from which slopes are read, K.
    least_step
        Smallest step of c that counts as a glass transition, J/(g K).
    least_exotherm
        Smallest fall of c below what it was that counts as crystallisation, J/(g K).
    settling
        K at the beginning that are left out: there an instrument has not settled yet.
    """

    glass: tuple[float, float] | None = None
    liquid: tuple[float, float] | None = None
    crystal: tuple[float, float] | None = None
    smoothing: float = 2.0
    least_step: float = 0.02
    least_exotherm: float = 0.5
    settling: float = 5.0


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """c = value + slope (T - at); ``begin`` and ``end`` K, the range it was laid through."""

    at: float = np.nan
    value: float = np.nan
    slope: float = np.nan
    begin: float = np.nan
    end: float = np.nan

    def __call__(self, T: Floats | float) -> Floats:
        """Return the line at T."""
        return np.asarray(self.value + self.slope * (np.asarray(T, np.float64) - self.at))


NO_LINE: Final = Line()

NUMBERS: Final = (
    "onset", "half_step", "fictive_temperature", "step", "overshoot_peak", "overshoot",
    "overshoot_area", "crystallisation_onset", "crystallisation_peak", "crystallisation_heat",
)  # fmt: skip
"""The numbers of a `Construction`, in order."""


@dataclasses.dataclass(slots=True)
class Construction:
    """What was found in one heating.

    Parameters
    ----------
    onset
        K, where the steepest tangent of the rise meets the line of the glass.
    half_step
        K, where c first crosses the middle between glass and liquid.
    fictive_temperature
        K, by equal areas (Moynihan 1976): int (c - c_glass) dT over the whole trace up to the
        liquid = int from T_f of (c_liquid - c_glass) dT.
    step
        J/(g K), liquid less glass at the half step.
    overshoot_peak, overshoot, overshoot_area
        K, J/(g K), J/g: the highest c above the line of the liquid, and the area above it.
    crystallisation_onset, crystallisation_peak, crystallisation_heat
        K, K, J/g set free (above 0): tangent against the line of the liquid; the deepest point;
        the area over a baseline that goes from the line of the liquid to that of the crystal
        as the crystallised part does.
    glass, liquid, crystal, tangent, fall
        The lines; ``fall`` is the tangent of crystallisation.
    flags
        Bits, see the constants of this module.
    """

    onset: float = np.nan
    half_step: float = np.nan
    fictive_temperature: float = np.nan
    step: float = np.nan
    overshoot_peak: float = np.nan
    overshoot: float = np.nan
    overshoot_area: float = np.nan
    crystallisation_onset: float = np.nan
    crystallisation_peak: float = np.nan
    crystallisation_heat: float = np.nan
    glass: Line = NO_LINE
    liquid: Line = NO_LINE
    crystal: Line = NO_LINE
    tangent: Line = NO_LINE
    fall: Line = NO_LINE
    flags: int = 0
    noise: float = np.nan
    """Standard deviation of a reading of c about the line of the glass, J/(g K)."""
    T: Floats = dataclasses.field(default_factory=lambda: np.empty(0))
    crystallisation_baseline: Floats = dataclasses.field(default_factory=lambda: np.empty(0))
    """[n] at the readings ``T``, NaN where there is none."""

    @property
    def numbers(self) -> Floats:
        """The numbers in the order of `NUMBERS`."""
        return np.array([getattr(self, name) for name in NUMBERS])


def construct(T: Floats, c: Floats, ranges: Ranges) -> Construction:
    """Return what a heating shows.

    Parameters
    ----------
    T
        [n], K, growing.
    c
        [n], heat flow over heating rate, J/(g K), endothermic positive.
    ranges
        Where lines are laid, and what counts.
    """
    settled = T[0] + ranges.settling <= T if len(T) else np.zeros(0, bool)
    T, c = T[settled], c[settled]
    found = Construction(T=T, crystallisation_baseline=np.full(len(T), np.nan))
    if len(T) < LEAST or T[-1] - T[0] < 10 * ranges.smoothing:
        found.flags = NOT_HEATED
        return found
    value, slope = pieces(T, c, ranges.smoothing)
    deepest = _exotherm(T, value, ranges)
    _transition(found, T, c, value, slope, deepest, ranges)
    if deepest is None:
        found.flags |= NO_CRYSTALLISATION
    else:
        _crystallisation(found, T, c, value, slope, deepest, ranges)
    return found


def errors(T: Floats, c: Floats, ranges: Ranges, replicates: int, seed: int = 0) -> Floats:
    """Return the standard errors of `Construction.numbers` from the noise of the readings alone.

    White noise of the measured size is added to the trace again and again and the construction
    repeated: the spread is that of the numbers. Baselines that bend are not in it.
    """
    once = construct(T, c, ranges)
    if not np.isfinite(once.noise):
        return np.full(len(NUMBERS), np.nan)
    glass, liquid, crystal = (
        (line.begin, line.end) if np.isfinite(line.value) else None
        for line in (once.glass, once.liquid, once.crystal)
    )
    fixed = dataclasses.replace(ranges, glass=glass, liquid=liquid, crystal=crystal)
    draw = np.random.default_rng(seed)
    drawn = np.array(
        [
            construct(T, c + once.noise * draw.standard_normal(len(c)), fixed).numbers
            for _ in range(replicates)
        ]
    )
    known = np.isfinite(drawn).all(axis=0)
    spread = np.full(len(NUMBERS), np.nan)
    spread[known] = np.std(drawn[:, known], axis=0, ddof=1)
    return spread


def pieces(T: Floats, c: Floats, half_width: float) -> tuple[Floats, Floats]:
    """Return value and slope at each reading of the straight line through its neighbours.

    Neighbours are those within ``half_width`` K, and always the next one on either side.
    """
    low = np.searchsorted(T, T - half_width, side="left")
    high = np.searchsorted(T, T + half_width, side="right")
    here = np.arange(len(T))
    low, high = np.minimum(low, (here - 1).clip(0)), np.maximum(high, (here + 2).clip(0, len(T)))
    # about the middle, so that sums of squares keep their digits
    x, y = T - T[len(T) // 2], c - c[len(c) // 2]

    def summed(values: Floats) -> Floats:
        running = np.concatenate([[0.0], np.cumsum(values)])
        return np.asarray(running[high] - running[low])

    n, sx, sy = (high - low).astype(np.float64), summed(x), summed(y)
    sxx, sxy = summed(x * x) - sx * sx / n, summed(x * y) - sx * sy / n
    slope = sxy / np.where(sxx > 0, sxx, np.nan)
    return sy / n + slope * (x - sx / n) + c[len(c) // 2], slope


def straight(
    T: Floats, c: Floats, begin: float, end: float, slope: float | None = None
) -> Line | None:
    """Return the least-squares line through the readings from ``begin`` to ``end`` K, or None.

    With ``slope`` it is held at that.
    """
    inside = (begin <= T) & (end >= T)
    if np.count_nonzero(inside) < LINE:
        return None
    x, y = T[inside], c[inside]
    at, value = float(np.mean(x)), float(np.mean(y))
    if slope is None:
        slope = float(np.sum((x - at) * (y - value)) / np.sum((x - at) ** 2))
    return Line(at, value, slope, begin, end)


def area(T: Floats, y: Floats, begin: float, end: float) -> float:
    """Return the integral of y dT from ``begin`` to ``end`` K: trapezia, ends interpolated."""
    inside = (begin < T) & (end > T)
    x = np.concatenate([[begin], T[inside], [end]])
    values = np.concatenate([[np.interp(begin, T, y)], y[inside], [np.interp(end, T, y)]])
    return float(np.sum(np.diff(x) * (values[1:] + values[:-1])) / 2)


def _exotherm(T: Floats, value: Floats, ranges: Ranges) -> int | None:
    """Return the deepest reading of a crystallisation."""
    fallen = np.maximum.accumulate(value) - value
    deepest = int(np.argmax(fallen))
    return deepest if fallen[deepest] > ranges.least_exotherm else None


def _transition(
    found: Construction,
    T: Floats,
    c: Floats,
    value: Floats,
    slope: Floats,
    deepest: int | None,
    ranges: Ranges,
) -> None:
    last = len(T)
    if deepest is not None:
        # before the fall begins to be seen
        fallen = np.maximum.accumulate(value[:deepest]) - value[:deepest]
        below = fallen > ranges.least_exotherm / 5
        rising = np.flatnonzero(~below | (slope[:deepest] > 0))
        last = int(rising[-1]) + 1 if len(rising) else 0
    begin, end = T[0] + ranges.smoothing, T[last - 1] - ranges.smoothing if last else T[0]
    search = np.flatnonzero((begin <= T) & (end >= T))
    if ranges.glass is not None:
        search = search[T[search] > ranges.glass[1]]
    if ranges.liquid is not None:
        search = search[T[search] < ranges.liquid[0]]
    if not len(search):
        found.flags |= NO_GLASS_TRANSITION | NO_GLASS_RANGE | NO_LIQUID_RANGE
        return
    steep = int(search[np.argmax(slope[search])])
    # the rise ends where the slope has come down to that of the rest of the trace
    rest = float(np.median(slope[search]))
    low = rest + 0.05 * (slope[steep] - rest)
    after = search[(search >= steep) & (slope[search] <= low)]
    before = search[(search <= steep) & (slope[search] <= low)]
    if not len(before) or not slope[steep] > rest:
        found.flags |= NO_GLASS_TRANSITION
        return
    foot = int(before[-1])
    top = int(after[0]) if len(after) else int(search[-1])
    rise = float(value[top] - value[foot] - rest * (T[top] - T[foot]))
    width = rise / (slope[steep] - rest)
    if not rise > 0:
        found.flags |= NO_GLASS_TRANSITION
        return
    glass = ranges.glass or (max(T[0], T[steep] - 9 * width), T[steep] - 3 * width)
    liquid = ranges.liquid or (T[top] + 0.75 * width, min(end, T[top] + 3 * width))
    if deepest is not None and ranges.liquid is None:
        fall = int(steep + np.argmin(slope[steep : deepest + 1]))
        fall_begins = T[fall] + (value[top] - value[fall]) / slope[fall]
        liquid = (liquid[0], min(liquid[1], 2.5 * fall_begins - 1.5 * T[deepest]))
    found.tangent = Line(T[steep], value[steep], slope[steep], T[steep] - width, T[steep] + width)
    glass_line = straight(T, c, *glass)
    if glass_line is None:
        found.flags |= NO_GLASS_RANGE
        return
    found.glass = glass_line
    in_glass = (glass[0] <= T) & (glass[1] >= T)
    scatter = c[in_glass] - glass_line(T[in_glass])
    # from neighbours: what bends slowly is not noise
    found.noise = (
        float(np.sqrt(np.mean(np.diff(scatter, 2) ** 2) / 6)) if len(scatter) > 3 else np.nan
    )
    found.onset = _crossing(found.tangent, glass_line)
    if np.max(np.abs(value - glass_line(T))[glass[1] >= T]) > ranges.least_step:
        found.flags |= RELAXING
    if liquid[1] - liquid[0] < SHORT:
        found.flags |= PARALLEL
    liquid_line = straight(
        T, c, liquid[0], liquid[1], glass_line.slope if found.flags & PARALLEL else None
    )
    if liquid_line is None:
        found.flags |= NO_LIQUID_RANGE
        return
    found.liquid = liquid_line
    middle = (glass_line(T) + liquid_line(T)) / 2
    over = (value > middle) & (T[steep] - 3 * width < T) & (T[top] >= T)
    first = int(np.argmax(over))
    if not over.any() or first == 0:
        found.flags |= NO_GLASS_TRANSITION
        found.onset = np.nan
        return
    gap = value[first - 1 : first + 1] - middle[first - 1 : first + 1]
    found.half_step = (
        float(np.interp(0.0, gap, T[first - 1 : first + 1])) if gap[0] < 0 else T[first]
    )
    found.step = float(liquid_line(found.half_step) - glass_line(found.half_step))
    noise = found.noise / np.sqrt(np.count_nonzero((liquid[0] <= T) & (liquid[1] >= T)))
    if not found.step > max(ranges.least_step, 5 * noise):
        found.flags |= NO_GLASS_TRANSITION
        found.onset = found.half_step = found.step = np.nan
        return
    if np.max(np.diff(T[(T[steep] - width < T) & (T[top] > T)]), initial=0.0) > width / 2:
        found.flags |= GAP
    above = value - liquid_line(T)
    peak = steep + int(np.argmax(above[steep : int(np.searchsorted(T, liquid[1]))]))
    found.overshoot_peak, found.overshoot = float(T[peak]), float(above[peak])
    # from the crossing of the liquid's line to the liquid
    crossing = steep + int(np.argmax(above[steep:] > 0)) if above[peak] > 0 else peak
    found.overshoot_area = area(T, c - liquid_line(T), T[crossing], max(liquid[0], T[crossing]))
    if ranges.glass is None or glass[0] <= T[steep]:
        found.fictive_temperature = _equal_area(T, c, glass_line, liquid_line, liquid)


def _equal_area(
    T: Floats, c: Floats, glass: Line, liquid: Line, liquid_range: tuple[float, float]
) -> float:
    """Return T_f, where the enthalpy of the liquid has the enthalpy of the glass."""
    high = (liquid_range[0] + liquid_range[1]) / 2
    have = area(T, c - glass(T), max(float(T[0]), glass.begin), high)
    # step(T) = a + s (T - high): a d - s d^2/2 = have, d = high - T_f
    a = float(liquid(high) - glass(high))
    s = liquid.slope - glass.slope
    root = a * a - 2 * s * have
    if not root >= 0 or not a > 0:
        return float("nan")
    # the form that does not cancel as s goes to 0
    return float(high - 2 * have / (a + np.sqrt(root)))


def _crystallisation(
    found: Construction,
    T: Floats,
    c: Floats,
    value: Floats,
    slope: Floats,
    deepest: int,
    ranges: Ranges,
) -> None:
    if not np.isfinite(found.liquid.value):
        return
    before = np.flatnonzero((found.liquid.begin < T) & (np.arange(len(T)) <= deepest))
    if not len(before):
        return
    steep = int(before[np.argmin(slope[before])])
    found.fall = Line(
        T[steep], value[steep], slope[steep], T[steep],
        T[steep] + (found.liquid(T[steep]) - value[steep]) / slope[steep],
    )  # fmt: skip
    found.crystallisation_onset = _crossing(found.fall, found.liquid)
    found.crystallisation_peak = _vertex(T, value, deepest)
    width = found.crystallisation_peak - found.crystallisation_onset
    crystal = ranges.crystal or (found.crystallisation_peak + 2 * width, float(T[-1]))
    line = straight(T, c, *crystal)
    begin = found.liquid.end
    if line is None or crystal[1] - crystal[0] < 2 * ranges.smoothing:
        found.flags |= OPEN_CRYSTALLISATION
        end, line = float(T[-1]), None
    else:
        found.crystal = line
        end = crystal[0]
    inside = (begin <= T) & (end >= T)
    x, y = T[inside], c[inside]
    if len(x) < LINE:
        return
    part = np.zeros(len(x))
    baseline = found.liquid(x)
    for _ in range(8 if line is not None else 0):
        deficit = baseline - y
        steps = np.diff(x) * (deficit[1:] + deficit[:-1]) / 2
        running = np.concatenate([[0.0], np.cumsum(steps)])
        part = running / running[-1]
        assert line is not None
        baseline = (1 - part) * found.liquid(x) + part * line(x)
    found.crystallisation_baseline[inside] = baseline
    found.crystallisation_heat = area(x, baseline - y, float(x[0]), float(x[-1]))


def _crossing(one: Line, other: Line) -> float:
    """Return where two lines meet, K."""
    gap = other(one.at) - one.value
    return float(one.at + gap / (one.slope - other.slope)) if one.slope != other.slope else np.nan


def _vertex(T: Floats, value: Floats, i: int) -> float:
    """Return where the parabola through three readings around i has its vertex, K."""
    if not 0 < i < len(T) - 1:
        return float(T[i])
    left, right = T[i] - T[i - 1], T[i + 1] - T[i]
    down, up = (value[i] - value[i - 1]) / left, (value[i + 1] - value[i]) / right
    bend = (up - down) / (left + right)
    if bend == 0:
        return float(T[i])
    return float(T[i] - (down + bend * left) / (2 * bend))
