"""Angular order of the two-dimensional spectrum of a map, against isotropic maps.

The power spectrum P(q) of the map, under a window, is compared with its mean over directions m(|q|):

    P(q) = m(|q|) [1 + 2 Re(a_2 exp(-2 i theta) + a_4 exp(-4 i theta))] + noise

theta is the direction of q from x towards y. a_2 and a_4 are fitted to the modes in range, residuals
squared over m: waves of large power count. |a_2| tells of two lobes (structure drawn out in one
direction), |a_4| of four (quadrupolar, Qiao2019, 3.3.4); 1/2 is full modulation of a single lobe law.

Both are above 0 for every isotropic map too. Maps of Gaussian noise with the same m(|q|) and no
preferred direction, with the pixels, window and range of the map, say how large; where the map shows as much, it
shows nothing. ``scores`` replaces values by normal ones of the same rank first, so that a few
high spots do not make the spectrum noisier than those maps are.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from daq_afm.image_lines import Floats

FOLDS: Final = (2, 4)
"""The l of `Order`, in this order."""


@dataclasses.dataclass(frozen=True, slots=True)
class Modes:
    """Which modes of a map count, and in which ring they are.

    Parameters
    ----------
    shape, step
        Of the map: rows and columns; (dy, dx), nm.
    window
        [row, column]: Hann along both axes.
    q
        [ring] middle of each ring, 1/nm.
    ring, used
        [ky, kx >= 0]: ring of a mode (int64), and whether it counts.
    waves
        [fold, mode] exp(i l theta) of the modes that count.
    """

    shape: tuple[int, int]
    step: tuple[float, float]
    window: Floats
    q: Floats
    ring: npt.NDArray[np.int64]
    used: npt.NDArray[np.bool_]
    waves: npt.NDArray[np.complex128]


@dataclasses.dataclass(frozen=True, slots=True)
class Order:
    """What `angular_order` found; [fold] as in `FOLDS`.

    Parameters
    ----------
    order
        |a_l|.
    axis
        deg, a direction of a lobe of the spectrum, from x towards y, above -180/l to 180/l. What
        is drawn out along y has its lobes along x.
    p
        Chance of an isotropic map with at least this order. Not below 1 / (maps + 1); NaN without.
    expected
        Mean order of the isotropic maps; NaN without.
    errors, axis_errors
        Standard errors of the order and, deg, of the axis: how much a_l scatters among the isotropic
        maps (along and across a_l). They hold where the order is significant; NaN without maps.
    by_ring
        [fold, ring]: |sum P exp(i l theta)| / sum P of each ring by itself, less its mean wave.
    """

    order: Floats
    axis: Floats
    p: Floats
    expected: Floats
    errors: Floats
    axis_errors: Floats
    by_ring: Floats


def modes(
    shape: tuple[int, int],
    step: tuple[float, float],
    low: float | None = None,
    high: float | None = None,
    line_noise: bool = True,
) -> Modes:
    """Return the modes from ``low`` to ``high``, 1/nm (1 / wavelength).

    By default from 3 periods in the shorter side to 0.7 of the lower Nyquist frequency. Rings are as
    wide as one period in the shorter side. ``line_noise``: modes that vary along y alone are left
    out, where offsets of lines lie.

    Raises
    ------
    ValueError
        The range holds fewer than two rings.
    """
    (rows, columns), (dy, dx) = shape, step
    width = 1 / min(rows * dy, columns * dx)
    low = 3 * width if low is None else low
    high = 0.7 / (2 * max(dy, dx)) if high is None else min(high, 1 / (2 * max(dy, dx)))
    if high < low + 2 * width:
        raise ValueError(
            f"waves from {low:.3g} to {high:.3g} 1/nm are too few rings of {width:.3g} 1/nm: the image "
            f"is {rows} x {columns} pixels"
        )
    ky, kx = np.fft.fftfreq(rows, dy)[:, None], np.fft.rfftfreq(columns, dx)[None]
    q = np.hypot(ky, kx)
    ring = np.rint((q - low) / width).astype(np.int64)
    count = int((high - low) / width) + 1
    # of each pair of opposite waves, one
    used = (ring >= 0) & (ring < count) & ((kx > 0) | (ky > 0))
    if columns % 2 == 0:
        used &= kx < kx.max()
    if line_noise:
        used &= kx > 1.5 / (columns * dx)
    theta = np.arctan2(ky, kx)[used]
    waves = np.exp(1j * np.array(FOLDS)[:, None] * theta)
    window = np.hanning(rows + 2)[1:-1, None] * np.hanning(columns + 2)[None, 1:-1]
    return Modes(shape, step, window, low + width * np.arange(count), ring, used, waves)


def power_spectrum(image: Floats, where: Modes) -> Floats:
    """Return P [ky, kx >= 0] in squared units of the map times nm^2, 1/nm apart.

    The plane that fits best is taken off; pixels that are not finite count as on it.
    """
    centred = _without_plane(image)
    dy, dx = where.step
    scale = dy * dx / float(np.sum(where.window**2))
    return np.asarray(np.abs(np.fft.rfft2(centred * where.window)) ** 2 * scale)


def normal_scores(image: Floats) -> Floats:
    """Return the normal quantile of the rank of each finite value; NaN stays NaN."""
    from scipy.special import ndtri
    from scipy.stats import rankdata

    good = np.isfinite(image)
    found = np.full(image.shape, np.nan)
    if good.any():
        found[good] = ndtri((rankdata(image[good]) - 0.5) / np.count_nonzero(good))
    return found


def angular_order(
    image: Floats, where: Modes, maps: int = 99, seed: int = 1, scores: bool = True
) -> Order:
    """Return the order of a map [row, column] and its significance.

    Parameters
    ----------
    maps
        Isotropic maps to compare with; 0: none.
    seed
        Of these; the same call gives the same result.
    scores
        Take normal scores of the values, see the head of this module.
    """
    found = _without_plane(normal_scores(image) if scores else image)
    power = np.abs(np.fft.rfft2(found * where.window)) ** 2
    means, a, by_ring = _orders(power, where)
    nan = np.full(len(FOLDS), np.nan)
    p, expected, error = nan, nan, nan
    total = means.sum()
    if maps and total > 0:
        good = np.isfinite(image)
        null = np.empty((maps, len(FOLDS)))
        made = _isotropic(means, where, np.random.default_rng(seed))
        for n in range(maps):
            surrogate = next(made)
            surrogate[~good] = np.nan
            spectrum = np.abs(np.fft.rfft2(_without_plane(surrogate) * where.window)) ** 2
            null[n] = np.abs(_orders(spectrum, where)[1])
        p = (1 + np.count_nonzero(null >= np.abs(a), axis=0)) / (1 + maps)
        expected = null.mean(axis=0)
        # of each of the two parts of a_l
        error = np.sqrt(np.mean(null**2, axis=0) / 2)
    size, folds = np.abs(a), np.array(FOLDS)
    axis = np.degrees(np.angle(a)) / folds
    axis_errors = np.degrees(error / np.where(size > 0, size, np.nan)) / folds
    return Order(size, axis, np.asarray(p), expected, error, axis_errors, by_ring)


def _orders(power: Floats, where: Modes) -> tuple[Floats, npt.NDArray[np.complex128], Floats]:
    """Return m [ring], a_l [fold] and the order of each ring [fold, ring]."""
    rings = where.ring[where.used]
    P, count = power[where.used], len(where.q)
    number = np.bincount(rings, minlength=count)
    sums = np.bincount(rings, P, count)
    means = np.divide(sums, number, out=np.zeros(count), where=number > 0)
    # waves less their mean over the modes of a ring: those left out leave gaps
    share = number.clip(1)
    centred = np.empty_like(where.waves)
    for n, wave in enumerate(where.waves):
        mean = np.bincount(rings, wave.real, count) + 1j * np.bincount(rings, wave.imag, count)
        centred[n] = wave - (mean / share)[rings]
    excess = (P - means[rings]) * centred
    columns = np.concatenate([centred.real, centred.imag])
    normal = (columns * means[rings]) @ columns.T
    right = np.concatenate([excess.real.sum(axis=1), excess.imag.sum(axis=1)])
    b = np.linalg.lstsq(normal, right, rcond=1e-12)[0]
    a = (b[: len(FOLDS)] + 1j * b[len(FOLDS) :]) / 2
    each = np.stack(
        [np.bincount(rings, e.real, count) + 1j * np.bincount(rings, e.imag, count) for e in excess]
    )
    by_ring = np.abs(each) / np.where(sums > 0, sums, np.nan)
    return means, a, by_ring


def _isotropic(means: Floats, where: Modes, draw: np.random.Generator) -> Iterator[Floats]:
    """Yield Gaussian maps without end whose spectrum is ``means``, cut from larger periodic ones."""
    import scipy.fft

    size = [scipy.fft.next_fast_len(n + n // 3) for n in where.shape]
    ky, kx = (np.fft.fftfreq(n, d) for n, d in zip(size, where.step, strict=True))
    q = np.hypot(ky[:, None], kx[None])
    amplitude = np.sqrt(np.interp(q, where.q, means)).astype(np.float32)
    while True:
        noise = draw.standard_normal((2, *size), np.float32)
        both: npt.NDArray[Any] = scipy.fft.fft2(amplitude * (noise[0] + 1j * noise[1]))
        cut = both[: where.shape[0], : where.shape[1]]
        yield cut.real.astype(np.float64)
        yield cut.imag.astype(np.float64)


def _without_plane(image: Floats) -> Floats:
    """Return a map less the plane that fits it, 0 where it is not finite."""
    good = np.isfinite(image)
    if not good.any():
        return np.zeros(image.shape)
    y, x = (np.linspace(-1, 1, n) for n in image.shape)
    Y, X = np.broadcast_to(y[:, None], image.shape), np.broadcast_to(x[None], image.shape)
    value = np.where(good, image, 0.0)
    columns = [np.where(good, c, 0.0) for c in (np.ones(image.shape), Y, X)]
    normal = np.array([[np.sum(a * b) for b in columns] for a in columns])
    right = np.array([np.sum(a * value) for a in columns])
    p = np.linalg.lstsq(normal, right, rcond=None)[0]
    return np.where(good, image - (p[0] + p[1] * Y + p[2] * X), 0.0)


def lobes(order: Order, level: float) -> tuple[bool, bool]:
    """Tell whether the order is significant: twofold, fourfold."""
    two, four = (bool(math.isfinite(p) and p <= level) for p in order.p)
    return two, four
