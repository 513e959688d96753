"""The line of the liquid, where the overshoot has not quite ended and crystallisation soon begins.

Between the two a trace is

    c(T) = line(T) + B exp(-(T - T_0)/w) - A exp((T - T_1)/v)

from T_0, where the overshoot falls most steeply (or the rise has ended), to T_1, where c has fallen
by a quarter of the step. A line through readings that merely look straight takes both tails into
itself: it comes out too low, and leans.
"""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np

from daq_thermal.lines import LINE, Line, straight
from daq_thermal.readings import Floats

WIDTHS: Final = 12
"""Widths of each tail that are tried."""
TAIL: Final = 0.01
"""Of the step: readings whose tails are smaller are those of the liquid."""
FREE: Final = 20.0
"""K of such readings from which they give a slope."""
HIDDEN: Final = 0.1
"""Of the step: where the tails are larger everywhere, no liquid is seen."""
DEPTH: Final = 0.25
"""Of the step: by how much c has fallen where the tail of the exotherm ends."""
SEEN: Final = 4.0
"""K between the overshoot's fall and that of the exotherm, at least."""
REACH: Final = 60.0
"""K after the transition that are looked at: further off, the liquid's line bends."""


@dataclasses.dataclass(frozen=True, slots=True)
class Rise:
    """Where the trace rises: what the search for the liquid begins with.

    Parameters
    ----------
    steep, top
        Indices of the steepest reading and of the one where the rise has ended.
    rest
        J/(g K^2), slope of the rest of the trace.
    height
        J/(g K), of the rise.
    width
        K.
    """

    steep: int
    top: int
    rest: float
    height: float
    width: float


@dataclasses.dataclass(frozen=True, slots=True)
class Liquid:
    """The line, and the tails on either side of it.

    Parameters
    ----------
    line
        ``begin`` and ``end``: where the tails are small.
    first, last
        K, T_0 and T_1.
    before, after
        K, w and v; NaN where there is no such tail.
    overshoot, fall
        J/(g K), B and A.
    held
        The slope is not the trace's own.
    misfit
        J/(g K), root of the mean square of what the line and its tails leave.
    """

    line: Line
    first: float
    last: float
    before: float = np.nan
    after: float = np.nan
    overshoot: float = 0.0
    fall: float = 0.0
    held: bool = False
    misfit: float = 0.0

    def tail_before(self, T: Floats | float) -> Floats:
        """Return what the overshoot adds at T, J/(g K)."""
        if np.isnan(self.before):
            return np.zeros_like(np.asarray(T, np.float64))
        return np.asarray(self.overshoot * np.exp(-(np.asarray(T) - self.first) / self.before))

    def tail_after(self, T: Floats | float) -> Floats:
        """Return what the exotherm takes away at T, J/(g K)."""
        if np.isnan(self.after):
            return np.zeros_like(np.asarray(T, np.float64))
        return np.asarray(self.fall * np.exp((np.asarray(T) - self.last) / self.after))


def find_liquid(
    T: Floats, c: Floats, value: Floats, slope: Floats, rise: Rise, noise: float,
    deepest: int | None, glass: Line, lean: float, depth: float = DEPTH,
) -> Liquid | None:  # fmt: skip
    """Return the line of the liquid, or None where the trace shows none.

    Parameters
    ----------
    T, c
        [n], K and J/(g K).
    value, slope
        [n], of `daq_thermal.lines.pieces`.
    rise
        The transition.
    noise
        J/(g K^2), of a slope.
    deepest
        Index of the deepest reading of a crystallisation, or None.
    glass
        The line of the glass.
    lean
        J/(g K^2), slope of the liquid less that of the glass where it is held.
    depth
        Of the step: by how much c has fallen at T_1.
    """
    ends = _ends(T, value, slope, rise, noise, deepest, depth)
    if ends is None:
        return None
    first, last, falls = ends
    held = _fitted(T, c, first, last, falls, glass.slope + lean)
    if held is None or (bare := _bare(T, held, glass)) is None:
        return None
    if bare[1] - bare[0] >= FREE:
        free = _fitted(T, c, first, last, falls, None)
        if free is not None and (wide := _bare(T, free, glass)) is not None:
            if wide[1] - wide[0] >= FREE:
                return _between(T, c, free, wide)
    line = dataclasses.replace(held.line, begin=bare[0], end=bare[1])
    return dataclasses.replace(held, line=line)


def again(T: Floats, c: Floats, found: Liquid, glass: Line, lean: float) -> Liquid | None:
    """Return the liquid of another trace with the ends and widths of ``found``; for errors.

    ``lean``, J/(g K^2): of a slope that is held, less that of the glass; else what is added to it.
    """
    inside = (found.first <= T) & (found.last >= T)
    before = None if np.isnan(found.before) else np.array([found.before])
    after = None if np.isnan(found.after) else np.array([found.after])
    slope = glass.slope + lean if found.held else None
    other = _best(T[inside], c[inside], found.first, found.last, before, after, slope)
    bare = found.line.begin, found.line.end
    if other is None:
        return None
    if found.held:
        line = dataclasses.replace(other.line, begin=bare[0], end=bare[1])
        return dataclasses.replace(other, line=line)
    between = _between(T, c, other, bare)
    if between is None:
        return None
    line = dataclasses.replace(between.line, slope=between.line.slope + lean)
    return dataclasses.replace(between, line=line)


def _between(T: Floats, c: Floats, found: Liquid, bare: tuple[float, float]) -> Liquid | None:
    """Return the line through the readings between the tails: what bends at the ends stays out."""
    line = straight(T, c - found.tail_before(T) + found.tail_after(T), *bare)
    return None if line is None else dataclasses.replace(found, line=line)


def _ends(
    T: Floats,
    value: Floats,
    slope: Floats,
    rise: Rise,
    noise: float,
    deepest: int | None,
    depth: float,
) -> tuple[float, float, bool] | None:
    """Return T_0, T_1, and whether c falls at T_1; None: nothing lies between."""
    top = rise.top
    stop = len(T) - 1 if deepest is None else top + int(np.argmin(slope[top : deepest + 1]))
    if stop - top < LINE:
        return None
    sharp = max(0.05 * (slope[rise.steep] - rise.rest), 5 * noise)
    # where the slope has come back the most, after the overshoot has fallen
    part = slope[top : stop + 1]
    flat = top + int(np.argmax(part - np.minimum.accumulate(part)))
    steepest = top + int(np.argmin(slope[top : flat + 1]))
    if slope[steepest] < rise.rest - sharp:
        first = steepest
    else:
        # straight from the top on, and then maybe falling
        first, bends = top, np.flatnonzero(part < rise.rest - sharp)
        flat = top + int(bends[0]) if len(bends) else stop
    if deepest is not None and T[flat] - T[first] < SEEN:
        return None
    falls = deepest is not None or bool(slope[flat : stop + 1].min() < rise.rest - sharp)
    level = value[flat] + rise.rest * (T - T[flat])
    fallen = np.flatnonzero((np.arange(len(T)) > flat) & (value < level - depth * rise.height))
    last = int(fallen[0]) if len(fallen) else stop
    end = min(float(T[last]), float(T[top]) + max(REACH, 4 * rise.width))
    return float(T[first]), end, falls


def _fitted(
    T: Floats, c: Floats, first: float, last: float, falls: bool, slope: float | None
) -> Liquid | None:
    inside = (first <= T) & (last >= T)
    if np.count_nonzero(inside) < 2 * LINE:
        return None
    x, y = T[inside], c[inside]
    spacing = float(np.max(np.diff(x)))
    widths = np.geomspace(max(1.0, spacing), max(2.0, 2 * spacing, (last - first) / 3), WIDTHS)
    found = _best(x, y, first, last, widths, widths if falls else None, slope)
    if found is not None and falls and found.fall < 0:
        found = _best(x, y, first, last, widths, None, slope)
    return found


def _best(
    x: Floats, y: Floats, first: float, last: float, before: Floats | None, after: Floats | None,
    slope: float | None,
) -> Liquid | None:  # fmt: skip
    """Return the least squares over all pairs of widths; ``slope``: held at that."""
    at = (first + last) / 2
    scale = (last - first) / 2
    u = (x - at) / scale
    fixed = [np.ones_like(x)] + ([u] if slope is None else [])
    z = y if slope is None else y - slope * (x - at)
    none = np.zeros((1, len(x)))
    tails = [
        none if before is None else np.exp(-(x - first) / before[:, None]),
        none if after is None else -np.exp((x - last) / after[:, None]),
    ]
    shape = (len(tails[0]), len(tails[1]), len(x))
    columns = [np.broadcast_to(column, shape) for column in fixed]
    places = []
    if before is not None:
        columns.append(np.broadcast_to(tails[0][:, None], shape))
        places.append("before")
    if after is not None:
        columns.append(np.broadcast_to(tails[1][None], shape))
        places.append("after")
    n = len(columns)
    # sums by numpy, which do not depend on where arrays lie
    gram = np.empty((*shape[:2], n, n))
    right = np.empty((*shape[:2], n, 1))
    middle = float(np.sum(z) / len(z))
    for i in range(n):
        right[..., i, 0] = np.sum(columns[i] * (z - middle), axis=-1)
        for j in range(i, n):
            gram[..., i, j] = gram[..., j, i] = np.sum(columns[i] * columns[j], axis=-1)
    try:
        p = np.linalg.solve(gram, right)
    except np.linalg.LinAlgError:
        return None
    gain = np.sum(p * right, axis=(-1, -2))
    # two tails that are all but the same give more than there is
    sound = gain <= np.sum((z - middle) ** 2) * (1 + 1e-9)
    i, j = divmod(int(np.argmax(np.where(sound, gain, -np.inf))), shape[1])
    best = p[i, j, :, 0].tolist()
    lean = best[1] / scale if slope is None else slope
    rest = z - middle - sum(size * columns[k][i, j] for k, size in enumerate(best))
    sizes = dict(zip(places, best[len(fixed) :], strict=True))
    return Liquid(
        Line(at, best[0] + middle, lean), first, last,
        np.nan if before is None else float(before[i]),
        np.nan if after is None else float(after[j]),
        sizes.get("before", 0.0), sizes.get("after", 0.0), slope is not None,
        float(np.sqrt(np.mean(rest**2))),
    )  # fmt: skip


def _bare(T: Floats, found: Liquid, glass: Line) -> tuple[float, float] | None:
    """Return from where to where (K) the tails are small; None where they are nowhere."""
    x = T[(found.first <= T) & (found.last >= T)]
    tails = np.abs(found.tail_before(x)) + np.abs(found.tail_after(x))
    step = found.line(x) - glass(x)
    least = int(np.argmin(tails))
    if not tails[least] < HIDDEN * step[least]:
        return None
    small = tails <= max(TAIL * float(step[least]), 2 * float(tails[least]))
    begin = least - int(np.argmin(np.concatenate([small[least::-1], [False]]))) + 1
    end = least + int(np.argmin(np.concatenate([small[least:], [False]]))) - 1
    return float(x[begin]), float(x[end])
