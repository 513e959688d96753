"""The speckles of an annulus, measured: contrast, size, how many are independent, Friedel pairs.

Intensities I = w e + 1 - w, e from a complex Gaussian field, have the covariance
contrast |gamma(dq)|^2 with contrast = w^2. The field correlates as an aperture overlaps with itself
shifted by dq: a disc of radius a with an edge that is soft, which also stands for the
size of pixels. Dividing each pattern by its own mean takes contrast / N_s off everywhere, which
shows where |gamma| is 0.
"""

from __future__ import annotations

import dataclasses
import functools

import numba
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

APERTURES = np.geomspace(0.05, 3.0, 160)
"""1/nm, radii that are tried."""

EDGES = (0.0, 0.15, 0.3, 0.45, 0.6, 0.8, 1.0, 1.3)
"""Widths of the edge (of a Gaussian's sigma) over the radius, that are tried."""


@dataclasses.dataclass(frozen=True, slots=True)
class Speckle:
    """What was measured in one annulus.

    Parameters
    ----------
    contrast
        c, variance of the intensity of a binned pixel over its squared mean: counting noise off, and
        what dividing by a mean over few speckles takes away put back,
        measured = c (1 + (3 c - 4 sqrt(c) - 1) / N_s).
    aperture, edge
        1/nm, radius of the disc whose autocorrelation the speckles have, and sigma of its edge.
    friedel
        Correlation of the intensities at Q and -Q, 0 to 1; 0 where it is not significant.
    independent
        N_s = 1 / mean of |gamma|^2 over all pairs of pixels of the annulus.
    """

    contrast: float
    aperture: float
    edge: float
    friedel: float
    independent: float


def overlap(distance: npt.ArrayLike, aperture: float, edge: float = 0.0) -> Floats:
    """Return gamma at a distance: the normalised autocorrelation of a disc with a soft edge.

    For a hard edge that is (2/pi) (arccos u - u sqrt(1 - u^2)), u = distance / (2 aperture).
    """
    d = np.asarray(distance, np.float64)
    if edge == 0:
        u = np.clip(d / (2 * aperture), 0, 1)
        return np.asarray(2 / np.pi * (np.arccos(u) - u * np.sqrt(1 - u * u)))
    at, value = _soft_overlap(round(edge / aperture, 9))
    return np.interp(d / aperture, at, value, right=0.0)


@functools.cache
def _soft_overlap(edge: float) -> tuple[Floats, Floats]:
    """Return gamma at distances in units of the radius, for a Gaussian edge in that unit."""
    # gamma is the transform of the disc's squared (2 J1(r) / r)^2, the edge a factor on it
    from scipy.special import j0, j1

    r = np.arange(0.005, 120, 0.01)
    weight = r * (2 * j1(r) / r * np.exp(-0.5 * (edge * r) ** 2)) ** 2
    at = np.linspace(0, 2 + 4 * edge, 200)
    value = np.array([np.sum(weight * j0(d * r)) for d in at]) / np.sum(weight)
    return at, np.clip(value, 0, None)


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "nsz", "contract"})
def pixel_covariance(intensity, good, counts, chosen, slots, total):  # type: ignore[no-untyped-def]
    """Add (I - 1)(I - 1)^T of the patterns at some positions and scans to ``total``.

    Parameters
    ----------
    intensity, good, counts
        [position, slot, pixel] float32, [position, slot] bool and float32 (see `TwoTime`).
    chosen, slots
        Positions and slots that take part.
    total
        [pixel, pixel] float64, the lower triangle is added to.

    Returns
    -------
    n, sum of 1 / counts
        Patterns added, and what counting noise of one count per electron adds to each diagonal.
    """
    pixels = intensity.shape[2]
    n, noise = 0, 0.0
    deviation = np.empty(pixels)
    for p in chosen:
        for slot in slots:
            if not good[p, slot]:
                continue
            for i in range(pixels):
                deviation[i] = intensity[p, slot, i] - 1.0
            for i in range(pixels):
                a = deviation[i]
                row = total[i]
                for j in range(i + 1):
                    row[j] += a * deviation[j]
            n += 1
            noise += 1.0 / counts[p, slot]
    return n, noise


def measure_speckle(
    covariance: Floats, q_y: Floats, q_x: Floats, counting_noise: float
) -> Speckle | None:
    """Return what the covariance of normalised intensities says, or None where it says nothing.

    Parameters
    ----------
    covariance
        [pixel, pixel] mean of (I - 1)(I - 1)^T, each pattern divided by its mean.
    q_y, q_x
        [pixel] 1/nm.
    counting_noise
        What counting adds to the diagonal: mean of (variance / mean in counts) / (mean counts).
    """
    full = np.tril(covariance) + np.tril(covariance, -1).T
    apart = np.hypot(q_y[:, None] - q_y, q_x[:, None] - q_x)
    mirrored = np.hypot(q_y[:, None] + q_y, q_x[:, None] + q_x)
    own = float(np.mean(np.diagonal(full))) - counting_noise
    if not own > 0:
        return None
    # pairs by distance; those near a Friedel pair tell nothing of size
    width = float(np.min(apart[apart > 0]))
    lower = np.tril(np.ones_like(apart, bool), -1)
    plain = lower & (mirrored > 4 * width)
    bins = np.round(4 * apart[plain] / width).astype(np.int64)
    number = np.bincount(bins)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(bins, weights=full[plain]) / number
        distance = np.bincount(bins, weights=apart[plain]) / number
    there = number > 0
    mean, distance = np.append(own, mean[there]), np.append(0.0, distance[there])
    # errors of a mean over n pairs fall slower than n^-1/2, since pairs share speckles
    weight = np.append(len(apart), number[there]) ** 0.5
    best, found = np.inf, (0.0, 0.0, 0.0, 0.0)
    for relative in EDGES:
        shapes = _overlaps(distance, relative) ** 2
        contrasts, offsets, misfits = _lines(shapes, mean, weight**2)
        k = int(np.argmin(np.where(np.isnan(misfits), np.inf, misfits)))
        if misfits[k] < best:
            aperture = float(APERTURES[k])
            best = float(misfits[k])
            found = (float(contrasts[k]), float(offsets[k]), aperture, relative * aperture)
    contrast, offset, aperture, edge = found
    if not contrast > 0:
        return None
    friedel = 0.0
    pairs = lower & (mirrored < 0.75 * width)
    if pairs.sum() >= 8:
        # at the pair itself and well away from it
        peak = float(np.mean(full[pairs])) - offset
        scatter = (
            float(np.std(full[plain & (apart > 2 * aperture + 3 * edge)])) if plain.any() else 0.0
        )
        error = scatter / np.sqrt(max(1.0, pairs.sum() / 4))
        if peak > max(3 * error, 0.1 * contrast):
            friedel = min(1.0, peak / contrast)
    shared = overlap(apart, aperture, edge) ** 2
    shared = shared + friedel * overlap(mirrored, aperture, edge) ** 2
    independent = float(1 / np.mean(shared))
    true = contrast
    for _ in range(20):
        true = contrast / (1 + (3 * true - 4 * np.sqrt(true) - 1) / max(independent, 8))
    return Speckle(float(true), aperture, float(edge), friedel, independent)


def _overlaps(distance: Floats, relative: float) -> Floats:
    """Return `overlap` for each of the `APERTURES`, [aperture, distance]."""
    if relative == 0:
        u = np.clip(distance / (2 * APERTURES[:, None]), 0, 1)
        return np.asarray(2 / np.pi * (np.arccos(u) - u * np.sqrt(1 - u * u)))
    at, value = _soft_overlap(relative)
    return np.interp(distance / APERTURES[:, None], at, value, right=0.0)


def _lines(x: Floats, y: Floats, weight: Floats) -> tuple[Floats, Floats, Floats]:
    """Return slopes, offsets and misfits of the straight lines y(x), x [line, point]."""
    total = np.sum(weight)
    mean_x, mean_y = np.sum(weight * x, axis=1) / total, np.sum(weight * y) / total
    apart = x - mean_x[:, None]
    spread = np.sum(weight * apart**2, axis=1)
    rise = np.sum(weight * apart * (y - mean_y), axis=1)
    slope = np.divide(rise, spread, out=np.zeros_like(rise), where=spread > 0)
    offset = mean_y - slope * mean_x
    left = y - offset[:, None] - slope[:, None] * x
    return slope, offset, np.sum(weight * left**2, axis=1)


def field_factor(speckle: Speckle, q_y: Floats, q_x: Floats) -> tuple[Floats, Floats]:
    """Return L and M, [pixel, mode]: a field L z + M conj(z) with the measured correlations.

    z are independent complex Gaussian numbers with <|z|^2> = 1, twice as many as pixels where
    there are Friedel pairs, else as many.
    """
    pixels = len(q_y)
    # a pixel and its mirror image are drawn together, where they know of each other
    paired = speckle.friedel > 0
    y = np.concatenate([q_y, -q_y]) if paired else q_y
    x = np.concatenate([q_x, -q_x]) if paired else q_x
    gamma = overlap(np.hypot(y[:, None] - y, x[:, None] - x), speckle.aperture, speckle.edge)
    lower = _factor(gamma)
    if not paired:
        return lower, np.zeros_like(lower)
    # <E(q) E(-q)> = sin 2a, so that the intensities correlate by its square
    angle = np.arcsin(np.sqrt(speckle.friedel)) / 2
    return np.cos(angle) * lower[:pixels], np.sin(angle) * lower[pixels:]


SMALLEST = 1e-3
"""Part of a pixel's variance below which it is taken as told by the pixels before it."""


@numba.njit(cache=True, nogil=True)
def _factor(matrix):  # type: ignore[no-untyped-def]
    """Return the Cholesky factor of a correlation matrix that may be singular, rows of norm 1."""
    # ours, since LAPACK's rounding depends on the number of threads
    n = len(matrix)
    lower = np.zeros((n, n))
    for j in range(n):
        pivot = matrix[j, j]
        for k in range(j):
            pivot -= lower[j, k] ** 2
        if pivot < SMALLEST:
            continue
        lower[j, j] = np.sqrt(pivot)
        for i in range(j + 1, n):
            total = matrix[i, j]
            for k in range(j):
                total -= lower[i, k] * lower[j, k]
            lower[i, j] = total / lower[j, j]
    for i in range(n):
        norm = 0.0
        for k in range(i + 1):
            norm += lower[i, k] ** 2
        for k in range(i + 1):
            lower[i, k] /= np.sqrt(norm)
    return lower
