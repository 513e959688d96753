"""Centre and ellipse of a camera from one ring of its mean pattern, with errors."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt

from daq_stem.geometry.ellipse import Ellipse
from daq_stem.scattering.ring_peak import WINDOW, peak_positions
from daq_stem.scattering.speckle_noise import SpeckleNoise

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]

SECTORS = 12
"""Azimuthal sectors of 15 degrees, each with the one opposite: what one leaves out for the errors.
At a ring of 4.4 1/nm they are wider than a speckle, and Friedel pairs of speckles share one."""

ROUNDS = 20
KNOTS = 9
"""Pieces of the spline that stands for the profile of the ring."""
WIDER = (0.7, 1.3)
"""Another window for the radius: what it changes is part of the error."""


@dataclasses.dataclass(frozen=True, slots=True)
class RingFit:
    """What a ring tells; pixels are those of the frame.

    Parameters
    ----------
    centre, centre_errors
        [y, x], px.
    distortion, distortion_errors
        See `Ellipse.distortion`.
    radius, radius_error
        Of the ring without distortion, px; NaN where the ring has no clear middle.
    """

    centre: tuple[float, float]
    centre_errors: tuple[float, float]
    distortion: tuple[float, float]
    distortion_errors: tuple[float, float]
    radius: float
    radius_error: float


def find_ring(mean: Floats, good: Bools, centre: tuple[float, float]) -> float | None:
    """Return the radius, px, of the ring that stands out most of the profile around ``centre``.

    None where nothing does. Of the median of each ring of pixels, so that bad pixels and spots
    do not count; what a straight line from one side of a ring to the other hides is no ring.
    """
    import scipy.ndimage
    import scipy.signal

    y, x = np.indices(mean.shape)
    radius = np.hypot(y - centre[0], x - centre[1])
    number = np.floor(radius / 2).astype(np.int64)
    usable = good & np.isfinite(mean)
    profile = []
    for ring in range(int(min(mean.shape) / 4) + 2):
        values = mean[usable & (number == ring)]
        profile.append(float(np.median(values)) if len(values) >= 8 else np.nan)
    seen = np.flatnonzero(np.isfinite(profile))
    if len(seen) < 5:
        return None
    # a ring lies outside of beam and beam stop: from the first two pixels that were seen
    values = np.asarray(scipy.ndimage.gaussian_filter1d(np.array(profile)[seen], 1.0))
    peaks, about = scipy.signal.find_peaks(values, prominence=0.02 * float(values.max()))
    if not len(peaks):
        return None
    best = peaks[int(np.argmax(about["prominences"] * seen[peaks]))]
    return float(2 * seen[best] + 1)


def fit_ring(
    mean: Floats,
    good: Bools,
    centre: tuple[float, float],
    ellipse: Ellipse,
    annulus: tuple[float, float],
) -> RingFit | None:
    """Fit centre and ellipse to the pixels of ``annulus`` (px, radii without distortion).

    The model is I = f(r): one smooth profile f, a cubic spline, of the radius r without distortion
    (`Ellipse`), least squares with weights 1 / f^2, since speckle is proportional to f. Centre and
    distortion are found by Gauss and Newton's way together with f. Their errors follow from the
    residuals and how far they are correlated, see `SpeckleNoise`; that of the radius from leaving
    out one `SECTORS`-th of the azimuths after the other (jackknife), which misses what neighbours
    share: it is multiplied by what it misses in centre and distortion. None where it does not
    converge, where less than half of the ring is seen, or fewer than 60 pixels.
    """
    found = np.array([*centre, *ellipse.distortion])
    pixels = _Pixels.of(mean, good)
    moved = np.inf
    for _ in range(ROUNDS):
        system = _system(pixels, found, annulus)
        if system is None:
            return None
        step = system.step()
        if not np.isfinite(step).all():
            return None
        # far from the solution a full step may leave the ring
        limit = 0.25 * (annulus[1] - annulus[0])
        shrink = min(1.0, limit / max(float(np.abs(step[:2]).max()), 1e-300))
        shrink = min(shrink, 0.05 / max(float(np.abs(step[2:]).max()), 1e-300))
        found = found + shrink * step
        moved = float(np.abs(step * [1, 1, annulus[1], annulus[1]]).max())
        if moved < 1e-6 * annulus[1]:
            break
    if moved > 1e-3 * annulus[1]:
        return None
    system = _system(pixels, found, annulus)
    if system is None:
        return None
    errors = system.errors()
    missed = max(1.0, float(np.sqrt(np.mean((errors / system.jackknife()) ** 2))))
    radius, radius_error = _radius(pixels, found, annulus, missed)
    y, x, a, b = found.tolist()
    return RingFit(
        (y, x), (float(errors[0]), float(errors[1])), (a, b),
        (float(errors[2]), float(errors[3])), radius, radius_error,
    )  # fmt: skip


def start_centre(
    mean: Floats, good: Bools, centre: tuple[float, float], reach: float
) -> tuple[float, float]:
    """Return the centre around which opposite pixels look most alike, within ``reach`` px.

    A search on a grid that gets finer, on a picture of at most some 64 pixels: good to about one of those.
    """
    k = max(1, math.ceil(max(mean.shape) / 72))
    small, seen = _binned(mean, good, k)
    small = np.where(seen, small, 0.0)
    middle = np.array([(c - (k - 1) / 2) / k for c in centre])
    step = max(reach / k / 4, 0.5)
    best = np.round(2 * middle) / 2
    while True:
        tried = [best + step * np.array([i, j]) for i in range(-4, 5) for j in range(-4, 5)]
        tried = [np.round(2 * t) / 2 for t in tried]
        costs = [_asymmetry(small, seen, t) for t in tried]
        best = tried[int(np.argmin(costs))]
        if step <= 0.5:
            break
        step = max(step / 4, 0.5)
    y, x = (best * k + (k - 1) / 2).tolist()
    return y, x


def _asymmetry(mean: Floats, seen: Bools, centre: Floats) -> float:
    """Mean square difference of pixels on opposite sides of ``centre`` (whole or half pixels)."""
    slices, opposite = [], []
    for size, middle in zip(mean.shape, centre.tolist(), strict=True):
        low = max(0, math.ceil(2 * middle - (size - 1)))
        high = min(size - 1, math.floor(2 * middle))
        if high - low < 0.5 * size:
            return np.inf
        slices.append(slice(low, high + 1))
        turned = [round(2 * middle) - i for i in range(low, high + 1)]
        opposite.append(turned)
    here = mean[slices[0], slices[1]]
    there = mean[np.ix_(opposite[0], opposite[1])]
    both = seen[slices[0], slices[1]] & seen[np.ix_(opposite[0], opposite[1])]
    if both.sum() < 0.25 * mean.size:
        return np.inf
    level = (here[both] + there[both]) ** 2
    return float(((here[both] - there[both]) ** 2).sum() / max(float(level.sum()), 1e-300))


@dataclasses.dataclass(frozen=True, slots=True)
class _Pixels:
    """Pixels, binned where the frame is large: [pixel] places in px of the frame, and values.

    In binned pixels a place is place / ``spacing`` - ``first``.
    """

    y: Floats
    x: Floats
    value: Floats
    spacing: float
    first: float

    @classmethod
    def of(cls, mean: Floats, good: Bools) -> _Pixels:
        k = max(1, math.ceil(max(mean.shape) / 300))
        small, seen = _binned(mean, good, k)
        at = np.argwhere(seen)
        places = at * float(k) + (k - 1) / 2
        return cls(places[:, 0], places[:, 1], small[seen], float(k), (k - 1) / 2 / k)


def _binned(mean: Floats, good: Bools, k: int) -> tuple[Floats, Bools]:
    """Return means of the good pixels of k x k, and where more than half of them are good."""
    usable = good & np.isfinite(mean)
    rows, columns = mean.shape[0] // k, mean.shape[1] // k
    cut = np.s_[: rows * k, : columns * k]
    blocks = (rows, k, columns, k)
    number = usable[cut].reshape(blocks).sum(axis=(1, 3))
    total = np.where(usable, mean, 0.0)[cut].reshape(blocks).sum(axis=(1, 3))
    return total / np.maximum(number, 1), 2 * number > k * k


@dataclasses.dataclass(frozen=True, slots=True)
class _System:
    """Linear equations around a guess, as sums over each sector: [sector, i, j] and [sector, i].

    The first four unknowns are the steps of centre and distortion, the rest the spline. ``at``
    [pixel, 2] are the pixels, ``response`` [pixel, i] is weight x model x design, ``residual``
    [pixel] relative to the model.
    """

    normal: Floats
    right: Floats
    at: Integers
    centre: tuple[float, float]
    response: Floats
    residual: Floats

    def step(self) -> Floats:
        """Return the step of the four parameters that solves all sectors together; NaN if none does."""
        try:
            return np.asarray(np.linalg.solve(self.normal.sum(axis=0), self.right.sum(axis=0))[:4])
        except np.linalg.LinAlgError:
            return np.full(4, np.nan)

    def errors(self) -> Floats:
        """Return 1 sigma of the four parameters, from residuals and their correlation."""
        noise = SpeckleNoise.of(self.at, self.residual, self.centre, self.normal.shape[1])
        inverse = np.linalg.pinv(self.normal.sum(axis=0))[:, :4]
        even = np.sqrt(1.0 + np.array([0.0, 0.0, noise.friedel, noise.friedel]))
        return np.asarray(noise.errors(self.at, self.response @ inverse) * even)

    def jackknife(self) -> Floats:
        """Return 1 sigma of the four parameters from leaving out sectors."""
        whole_normal, whole_right = self.normal.sum(axis=0), self.right.sum(axis=0)
        here = np.flatnonzero(np.abs(self.right).sum(axis=1) > 0)
        best = np.linalg.lstsq(whole_normal, whole_right, rcond=None)[0][:4]
        without = [
            np.linalg.lstsq(whole_normal - self.normal[k], whole_right - self.right[k], rcond=None)[
                0
            ]
            for k in here
        ]
        scatter = ((np.array(without)[:, :4] - best) ** 2).sum(axis=0)
        return np.asarray(np.sqrt(scatter * (len(here) - 1) / len(here)))


def _system(pixels: _Pixels, found: Floats, annulus: tuple[float, float]) -> _System | None:
    """Return the equations, None where too little of the ring is seen."""
    from scipy.interpolate import BSpline

    inner, outer = annulus
    radius = _radii(pixels, found)
    inside = (radius >= inner) & (radius < outer)
    if inside.sum() < 60:
        return None
    y, x, value, r = pixels.y[inside], pixels.x[inside], pixels.value[inside], radius[inside]
    sector = _sectors(y - found[0], x - found[1])
    if len(np.unique(sector)) < 2 * SECTORS // 3:
        return None
    # no more pieces than there are pixels across the ring
    pieces = int(np.clip((outer - inner) / (1.5 * pixels.spacing), 3, KNOTS))
    knots = np.linspace(inner, outer, pieces + 1)
    knots = np.concatenate([[inner] * 3, knots, [outer] * 3])
    basis = BSpline.design_matrix(r, knots, 3).toarray()
    weight = np.ones(len(r))
    for _ in range(2):
        weighed = basis * weight[:, None]
        spline = np.linalg.lstsq(weighed.T @ basis, weighed.T @ value, rcond=1e-10)[0]
        fitted = basis @ spline
        usual = float(np.median(fitted))
        if not usual > 0:
            return None
        weight = (usual / np.maximum(fitted, 0.1 * usual)) ** 2
    slope = BSpline(knots, spline, 3).derivative()(r)
    slopes = _radius_slopes(y - found[0], x - found[1], found)
    design = np.concatenate([slope[:, None] * slopes, basis], axis=1)
    weighed = design * weight[:, None]
    size = design.shape[1]
    normal, right = np.zeros((SECTORS, size, size)), np.zeros((SECTORS, size))
    residual = value - fitted
    for k in range(SECTORS):
        rows = sector == k
        normal[k] = weighed[rows].T @ design[rows]
        right[k] = weighed[rows].T @ residual[rows]
    at = np.round(np.stack([y, x], axis=1) / pixels.spacing - pixels.first).astype(np.int64)
    centre = (found[:2] / pixels.spacing - pixels.first).tolist()
    level = np.maximum(fitted, 0.1 * usual)
    return _System(
        normal, right, at, (centre[0], centre[1]), weighed * level[:, None], residual / level
    )


def _radii(pixels: _Pixels, found: Floats) -> Floats:
    ellipse = Ellipse.of_distortion(float(found[2]), float(found[3]))
    return ellipse.radius(pixels.y - found[0], pixels.x - found[1])


def _radius_slopes(y: Floats, x: Floats, found: Floats) -> Floats:
    """Return dr/d(centre y, centre x, a, b) of places (y, x) from the centre: [pixel, 4].

    r^2 = cosh(e) (x^2 + y^2) - sinh(e)/e (a (x^2 - y^2) + 2 b x y), e = ln(ratio).
    """
    a, b = found[2:].tolist()
    size = math.hypot(a, b)
    high, low = math.cosh(size), math.sinh(size) / size if size > 1e-9 else 1.0
    radius = np.maximum(
        np.sqrt(high * (x**2 + y**2) - low * (a * (x**2 - y**2) + 2 * b * x * y)), 1e-9
    )
    d_y = -(high * y + low * (a * y - b * x)) / radius
    d_x = -(high * x - low * (a * x + b * y)) / radius
    # of cosh and sinh(e)/e: their change with e, which a circle does not have
    bent = (math.cosh(size) - low) / size**2 if size > 1e-4 else 1.0 / 3.0
    turned = a * (x**2 - y**2) + 2 * b * x * y
    grows = low * (x**2 + y**2) - bent * turned
    d_a = (a * grows - low * (x**2 - y**2)) / (2 * radius)
    d_b = (b * grows - low * 2 * x * y) / (2 * radius)
    return np.stack([d_y, d_x, d_a, d_b], axis=1)


def _sectors(y: Floats, x: Floats) -> Integers:
    turn = np.arctan2(y, x) / math.pi % 1.0
    return np.minimum((turn * SECTORS).astype(np.int64), SECTORS - 1)


def _radius(
    pixels: _Pixels, found: Floats, annulus: tuple[float, float], missed: float
) -> tuple[float, float]:
    """Return the radius of the ring and its error: scatter of the sectors, and choice of window.

    ``missed``: by how much the scatter is too small.
    """
    middle = math.sqrt(annulus[0] * annulus[1])
    radius = _radii(pixels, found)
    width = max(pixels.spacing, 0.01 * middle)
    low = WIDER[0] * middle / 1.1
    count = math.ceil((WIDER[1] * middle * 1.1 - low) / width)
    number = np.floor((radius - low) / width).astype(np.int64)
    inside = (number >= 0) & (number < count)
    sector = _sectors(pixels.y - found[0], pixels.x - found[1])
    place = (sector * count + number)[inside]
    size = SECTORS * count
    sums = [
        np.bincount(place, weights=weights[inside], minlength=size).reshape(SECTORS, count)
        for weights in (np.ones_like(radius), pixels.value, radius)
    ]
    here = sums[0].sum(axis=1) > 0
    whole = [part.sum(axis=0) for part in sums]
    rows = [whole, *([w - part[k] for w, part in zip(whole, sums, strict=True)]
                     for k in np.flatnonzero(here))]  # fmt: skip
    with np.errstate(invalid="ignore", divide="ignore"):
        values = np.array([row[1] / row[0] for row in rows])
        places = whole[2] / whole[0]
    seen = np.isfinite(places)
    values, places = values[:, seen], places[seen]
    at = middle
    for _ in range(4):
        found_at = peak_positions(places, values[:1], (WINDOW[0] * at, WINDOW[1] * at))[0]
        if not np.isfinite(found_at):
            return np.nan, np.nan
        at = float(found_at)
    window = (WINDOW[0] * at, WINDOW[1] * at)
    found_radii = peak_positions(places, values, window)
    best, others = found_radii[0], found_radii[1:]
    if not np.isfinite(found_radii).all():
        return np.nan, np.nan  # a ring that hangs on one sector has no clear middle
    count = len(others)
    scatter = missed**2 * float(((others - best) ** 2).sum()) * (count - 1) / count
    wider = peak_positions(places, values[:1], (WIDER[0] * at, WIDER[1] * at))[0]
    choice = float(wider - best) if np.isfinite(wider) else 0.02 * best
    return float(best), math.sqrt(scatter + choice**2)
