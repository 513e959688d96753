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
import numpy.typing as npt

from daq_thermal.flags import (
    GAP,
    NO_CRYSTALLISATION,
    NO_GLASS_RANGE,
    NO_GLASS_TRANSITION,
    NO_LIQUID_RANGE,
    NOT_HEATED,
    OPEN_CRYSTALLISATION,
    PARALLEL,
    RELAXING,
)
from daq_thermal.lines import LINE, NO_LINE, Line, area, crossing, pieces, straight, vertex
from daq_thermal.liquid import DEPTH, TAIL, Liquid, Rise, again, find_liquid
from daq_thermal.readings import Floats

SHORT: Final = 30.0
"""K below which a range of the liquid that is given holds no slope: a few readings of overshoot or
of crystallisation in it would turn the line."""

TRUSTED: Final = 1 / 3
"""An exotherm's tail is no exponential: by how much of itself it may be wrong."""

LEAST: Final = 30
"""Readings below which nothing is drawn."""


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
    liquid_slope
        J/(g K^2), slope of the liquid less that of the glass, where the trace does not tell it.
        None: not known; taken as 0, and in errors as some c_p step / T, as it would be if that
        step fell as 1/T.
    depth
        Of the step: by how much c has fallen where the tail of the exotherm that is taken out of
        the liquid's line ends.
    """

    glass: tuple[float, float] | None = None
    liquid: tuple[float, float] | None = None
    crystal: tuple[float, float] | None = None
    smoothing: float = 2.0
    least_step: float = 0.02
    least_exotherm: float = 0.5
    settling: float = 5.0
    liquid_slope: float | None = None
    depth: float = DEPTH


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
        Bits, see `daq_thermal.flags`.
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
    tails: Liquid | None = None
    """The line of the liquid with the tails on either side of it."""
    T: Floats = dataclasses.field(default_factory=lambda: np.empty(0))
    crystallisation_baseline: Floats = dataclasses.field(default_factory=lambda: np.empty(0))
    """[n] at the readings ``T``, NaN where there is none."""

    @property
    def numbers(self) -> Floats:
        """The numbers in the order of `NUMBERS`."""
        return np.array([getattr(self, name) for name in NUMBERS])


def construct(
    T: Floats, c: Floats, ranges: Ranges, like: Construction | None = None, lean: float = 0.0
) -> Construction:
    """Return what a heating shows.

    Parameters
    ----------
    T
        [n], K, growing.
    c
        [n], heat flow over heating rate, J/(g K), endothermic positive.
    ranges
        Where lines are laid, and what counts.
    like
        What was found in a trace like this one: lines are laid where they were laid there.
    lean
        J/(g K^2), added to the slope of the liquid where the trace does not tell it.
    """
    settled = T[0] + ranges.settling <= T if len(T) else np.zeros(0, bool)
    T, c = T[settled], c[settled]
    found = Construction(T=T, crystallisation_baseline=np.full(len(T), np.nan))
    if len(T) < LEAST or T[-1] - T[0] < 10 * ranges.smoothing:
        found.flags = NOT_HEATED
        return found
    value, slope = pieces(T, c, ranges.smoothing)
    deepest = _exotherm(T, value, ranges)
    _transition(found, T, c, value, slope, deepest, ranges, like, lean)
    if deepest is None:
        found.flags |= NO_CRYSTALLISATION
    else:
        _crystallisation(found, T, c, value, slope, deepest, ranges)
    return found


def errors(T: Floats, c: Floats, ranges: Ranges, replicates: int, seed: int = 0) -> Floats:
    """Return the standard errors of `Construction.numbers`: of noise, and of how lines are laid.

    White noise of the measured size is added to the trace again and again and the construction
    repeated: the spread is that of the numbers. The liquid's line leans otherwise each time: where
    its slope had to be taken from the glass, see `Ranges.liquid_slope`; else by what the tails leave
    beyond noise, and by a third of the exotherm's where it ends, over half the range. To the squares is added what
    changes beyond noise with half the smoothing (a tangent through pieces of finite width is too
    flat, by the square of the width: the change is 3/4 of the error), and with a shorter tail of the
    exotherm. Baselines that bend are not in it.
    """
    once = construct(T, c, ranges)
    spread = np.full(len(NUMBERS), np.nan)
    if not np.isfinite(once.noise):
        return spread
    leaning = _leaning(once, ranges)
    draw = np.random.default_rng(seed)
    added = once.noise * draw.standard_normal((replicates, len(c)))
    leans = leaning * draw.standard_normal(replicates)

    def repeated(like: Construction, as_told: Ranges) -> Floats:
        fixed = dataclasses.replace(as_told, glass=_range(like.glass), crystal=_range(like.crystal))
        return np.array([
            construct(T, c + noise, fixed, like, lean).numbers
            for noise, lean in zip(added, leans, strict=True)
        ])  # fmt: skip

    drawn = repeated(once, ranges)
    finer = dataclasses.replace(ranges, smoothing=ranges.smoothing / 2)
    fine = construct(T, c, finer)
    change = fine.numbers - once.numbers
    noise = np.std(repeated(fine, finer) - drawn, axis=0, ddof=1)
    smoothed = np.maximum(change**2 - noise**2, 0.0) * (4 / 3) ** 2
    tail = construct(T, c, dataclasses.replace(ranges, depth=ranges.depth / 2)).numbers
    known = np.isfinite(drawn).all(axis=0) & np.isfinite(once.numbers)
    variance = np.std(drawn[:, known], axis=0, ddof=1) ** 2
    for other in (smoothed, (tail - once.numbers) ** 2):
        variance += np.nan_to_num(other[known])
    spread[known] = np.sqrt(variance)
    return spread


def _leaning(found: Construction, ranges: Ranges) -> float:
    """Return by how much the slope of the liquid may be wrong, J/(g K^2)."""
    tails = found.tails
    if tails is None or not found.step > 0:
        return 0.0
    if tails.held:
        return 0.0 if ranges.liquid_slope is not None else found.step / found.half_step
    misfit = max(tails.misfit**2 - found.noise**2, 0.0)
    if np.isfinite(tails.after):
        misfit += (TRUSTED * TAIL * found.step) ** 2
    half = max((tails.line.end - tails.line.begin) / 2, ranges.smoothing)
    return float(np.sqrt(misfit)) / half


def _range(line: Line) -> tuple[float, float] | None:
    return (line.begin, line.end) if np.isfinite(line.value) else None


def _exotherm(T: Floats, value: Floats, ranges: Ranges) -> int | None:
    """Return the deepest reading of a crystallisation."""
    fallen = np.maximum.accumulate(value) - value
    deepest = int(np.argmax(fallen))
    return deepest if fallen[deepest] > ranges.least_exotherm else None


def _transition(
    found: Construction, T: Floats, c: Floats, value: Floats, slope: Floats, deepest: int | None,
    ranges: Ranges, like: Construction | None, lean: float,
) -> None:  # fmt: skip
    search = _searched(T, value, slope, deepest, ranges)
    if not len(search):
        found.flags |= NO_GLASS_TRANSITION | NO_GLASS_RANGE | NO_LIQUID_RANGE
        return
    # of all that was looked at, whatever ranges were given
    rest = float(np.median(slope[search]))
    if ranges.glass is not None:
        search = search[T[search] > ranges.glass[1]]
    if ranges.liquid is not None:
        search = search[T[search] < ranges.liquid[0]]
    rise = _risen(T, value, slope, search, rest) if len(search) else None
    if rise is None:
        found.flags |= NO_GLASS_TRANSITION
        return
    steep, top, width = rise.steep, rise.top, rise.width
    glass = ranges.glass or (max(T[0], T[steep] - 9 * width), T[steep] - 3 * width)
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
    found.onset = crossing(found.tangent, glass_line)
    if np.max(np.abs(value - glass_line(T))[glass[1] >= T]) > ranges.least_step:
        found.flags |= RELAXING
    found.tails = _liquid(found, T, c, value, slope, rise, deepest, ranges, like, lean)
    if found.tails is None:
        found.flags |= NO_LIQUID_RANGE
        if not rise.height > ranges.least_step:
            found.flags |= NO_GLASS_TRANSITION
            found.onset = np.nan
        return
    if found.tails.held:
        found.flags |= PARALLEL
    found.liquid = liquid = found.tails.line
    middle = (glass_line(T) + liquid(T)) / 2
    over = (value > middle) & (T[steep] - 3 * width < T) & (T[top] >= T)
    first = int(np.argmax(over))
    if not over.any() or first == 0 or T[steep] >= liquid.end:
        found.flags |= NO_GLASS_TRANSITION
        found.onset = np.nan
        return
    gap = value[first - 1 : first + 1] - middle[first - 1 : first + 1]
    found.half_step = (
        float(np.interp(0.0, gap, T[first - 1 : first + 1])) if gap[0] < 0 else T[first]
    )
    found.step = float(liquid(found.half_step) - glass_line(found.half_step))
    noise = found.noise / np.sqrt(
        np.count_nonzero((found.tails.first <= T) & (found.tails.last >= T))
    )
    if not found.step > max(ranges.least_step, 5 * noise):
        found.flags |= NO_GLASS_TRANSITION
        found.onset = found.half_step = found.step = np.nan
        return
    if np.max(np.diff(T[(T[steep] - width < T) & (T[top] > T)]), initial=0.0) > width / 2:
        found.flags |= GAP
    # what the exotherm has taken away already is no part of the transition
    c = c + np.where(found.tails.last >= T, found.tails.tail_after(T), 0.0)
    end = liquid.end
    above = value - liquid(T)
    peak = steep + int(np.argmax(above[steep : int(np.searchsorted(T, end))]))
    found.overshoot_peak, found.overshoot = float(T[peak]), float(above[peak])
    # from the crossing of the liquid's line to the liquid, and what its tail holds beyond
    crossed = steep + int(np.argmax(above[steep:] > 0)) if above[peak] > 0 else peak
    beyond = 0.0
    if np.isfinite(found.tails.before):
        beyond = found.tails.before * float(found.tails.tail_before(end))
    found.overshoot_area = area(T, c - liquid(T), T[crossed], max(end, T[crossed])) + beyond
    if ranges.glass is None or glass[0] <= T[steep]:
        have = area(T, c - glass_line(T), max(float(T[0]), glass_line.begin), end) + beyond
        found.fictive_temperature = _equal_area(have, end, glass_line, liquid)


def _searched(
    T: Floats, value: Floats, slope: Floats, deepest: int | None, ranges: Ranges
) -> npt.NDArray[np.intp]:
    """Return the readings among which the transition is looked for."""
    last = len(T)
    if deepest is not None:
        # before the fall begins to be seen
        fallen = np.maximum.accumulate(value[:deepest]) - value[:deepest]
        below = fallen > ranges.least_exotherm / 5
        rising = np.flatnonzero(~below | (slope[:deepest] > 0))
        last = int(rising[-1]) + 1 if len(rising) else 0
    begin, end = T[0] + ranges.smoothing, T[last - 1] - ranges.smoothing if last else T[0]
    return np.flatnonzero((begin <= T) & (end >= T))


def _risen(
    T: Floats, value: Floats, slope: Floats, search: npt.NDArray[np.intp], rest: float
) -> Rise | None:
    """Return the steepest rise; it ends where the slope has come down to that of the rest."""
    steep = int(search[np.argmax(slope[search])])
    low = rest + 0.05 * (slope[steep] - rest)
    after = search[(search >= steep) & (slope[search] <= low)]
    before = search[(search <= steep) & (slope[search] <= low)]
    if not len(before) or not slope[steep] > rest:
        return None
    foot = int(before[-1])
    top = int(after[0]) if len(after) else int(search[-1])
    height = float(value[top] - value[foot] - rest * (T[top] - T[foot]))
    if not height > 0:
        return None
    return Rise(steep, top, rest, height, height / (slope[steep] - rest))


def _liquid(
    found: Construction, T: Floats, c: Floats, value: Floats, slope: Floats, rise: Rise,
    deepest: int | None, ranges: Ranges, like: Construction | None, lean: float,
) -> Liquid | None:  # fmt: skip
    if like is None or like.tails is None or like.tails.held:
        lean += ranges.liquid_slope or 0.0
    if ranges.liquid is not None:
        begin, end = ranges.liquid
        held = end - begin < SHORT
        line = straight(T, c, begin, end, found.glass.slope + lean if held else None)
        return None if line is None else Liquid(line, begin, end, held=held)
    if like is not None and like.tails is not None:
        return again(T, c, like.tails, found.glass, lean)
    # noise of a slope through the readings within the smoothing
    spacing = (T[-1] - T[0]) / (len(T) - 1)
    count = 2 * ranges.smoothing / spacing + 1
    noise = found.noise * np.sqrt(3 / count) / ranges.smoothing
    return find_liquid(
        T,
        c,
        value,
        slope,
        rise,
        float(np.nan_to_num(noise)),
        deepest,
        found.glass,
        lean,
        ranges.depth,
    )


def _equal_area(have: float, high: float, glass: Line, liquid: Line) -> float:
    """Return T_f, where the liquid's line has the enthalpy ``have``, J/g over the glass's, at ``high`` K."""
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
    found.crystallisation_onset = crossing(found.fall, found.liquid)
    found.crystallisation_peak = vertex(T, value, deepest)
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
