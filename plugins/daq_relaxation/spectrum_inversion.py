"""Relaxation-time spectra by regularised inversion: non-negative, smooth, with their resolution.

    M'(w) = M_r + int H w^2 tau^2/(1 + w^2 tau^2) dln tau,   M''(w) = int H w tau/(1 + w^2 tau^2) dln tau
    M(t)  = M_r + int H exp(-t/tau) dln tau

H >= 0 and M_r >= 0 minimise chi2 + smoothing * sum (second differences of H)^2 (Tikhonov; Provencher1982
with another rule). The rule: as smooth as the readings allow. ``smoothing`` is the largest for which
chi2 is not above chi2_0 (1 + sqrt(2/N)), that of hardly any smoothing plus its standard deviation.
Noise is that of chi2_0. What smoothing does to a spectrum is told by the width of the response to
one relaxation time that has all the strength.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]

PER_DECADE: Final = 8
"""Relaxation times to a decade."""
MARGIN: Final = 1.0
"""Decades beyond the readings over which times are sought; what lies there is guesswork."""
WEAKEST: Final = 1e-7
"""Smoothing that is hardly any, and the range above it in which it is sought."""
RANGE: Final = 1e12


@dataclasses.dataclass(frozen=True, slots=True)
class Spectrum:
    """What was found on a grid of times.

    Parameters
    ----------
    tau
        [m], s.
    density
        [m], H, in units of the modulus per unit of ln tau.
    errors
        [m], standard deviation from noise alone, at this smoothing; smoothing itself shifts more
        where the spectrum is sharper than ``resolution``.
    resolution
        [m], decades: full width at half maximum of the response to a delta at that time.
    relaxed, relaxed_error
        M_r, in units of the modulus.
    strength, strength_error
        The integral of H over ln tau.
    smoothing
        As chosen, relative.
    noise
        Relative noise of a reading.
    chi2
        Over that of hardly any smoothing.
    """

    tau: Floats
    density: Floats
    errors: Floats
    resolution: Floats
    relaxed: float
    relaxed_error: float
    strength: float
    strength_error: float
    smoothing: float
    noise: float
    chi2: float


def invert_moduli(
    frequency: npt.ArrayLike, storage: npt.ArrayLike, loss: npt.ArrayLike,
    sizes: npt.ArrayLike | None = None,
) -> Spectrum:  # fmt: skip
    """Return the spectrum of both moduli [n] at frequencies [n], Hz.

    ``sizes`` [2, n] is what the noise of each reading is proportional to; by default |M|, as where
    noise is of amplitude and of phase. ValueError where there are fewer than four frequencies.
    """
    f, M1, M2 = (np.asarray(a, np.float64) for a in (frequency, storage, loss))
    w = 2 * np.pi * f
    if len(np.unique(f)) < 4:
        raise ValueError("a spectrum needs readings at four frequencies or more")
    tau = _grid(1 / w.max(), 1 / w.min())
    x = w[:, None] * tau
    A = np.concatenate([x**2 / (1 + x**2), x / (1 + x**2)])
    level = np.concatenate([np.ones(len(f)), np.zeros(len(f))])
    size = (
        np.tile(np.hypot(M1, M2), 2) if sizes is None else np.asarray(sizes, np.float64).reshape(-1)
    )
    return _invert(tau, A, level, np.concatenate([M1, M2]), size)


def invert_decay(
    time: npt.ArrayLike, modulus: npt.ArrayLike, counts: npt.ArrayLike | None = None
) -> Spectrum:
    """Return the spectrum of a decay [n] at times [n], s > 0; noise is alike in all readings.

    ``counts`` [n]: how many readings each point is the mean of. ValueError where there are fewer
    than four times.
    """
    t, M = np.asarray(time, np.float64), np.asarray(modulus, np.float64)
    if len(np.unique(t)) < 4 or not t.min() > 0:
        raise ValueError("a spectrum needs readings at four times above 0 or more")
    tau = _grid(float(t.min()), float(t.max()))
    size = np.full(len(t), np.abs(M).max())
    if counts is not None:
        size = size / np.sqrt(np.asarray(counts, np.float64))
    return _invert(tau, np.exp(-t[:, None] / tau), np.ones(len(t)), M, size)


def _grid(low: float, high: float) -> Floats:
    decades = math.log10(high / low) + 2 * MARGIN
    count = max(8, round(decades * PER_DECADE)) + 1
    return np.asarray(low * 10**-MARGIN * 10 ** (np.arange(count) * decades / (count - 1)))


def _invert(tau: Floats, A: Floats, level: Floats, y: Floats, size: Floats) -> Spectrum:
    step = math.log(tau[1] / tau[0])
    m = len(tau)
    scale = float(np.abs(y).max())
    # columns: H in units of the largest modulus, and M_r
    columns = np.concatenate([A * step, level[:, None]], axis=1) * (scale / size)[:, None]
    Q, X = np.linalg.qr(columns, mode="reduced")
    target = y / size
    short, rest = Q.T @ target, float(target @ target)
    rest -= float(short @ short)
    D = np.zeros((m, m + 1))
    D[:, :m] = _differences(m)
    strength = float(np.sum(X**2)) / m

    def solved(smoothing: float, rows: Floats) -> Floats:
        from scipy.optimize import nnls

        stacked = np.concatenate([X, math.sqrt(smoothing * strength) * D])
        return np.asarray(nnls(stacked, np.concatenate([rows, np.zeros(m)]), maxiter=50 * m)[0])

    def cost(found: Floats) -> float:
        left = X @ found - short
        return float(left @ left) + max(rest, 0.0)

    weak = solved(WEAKEST, short)
    floor = cost(weak)
    limit = floor * (1 + math.sqrt(2 / len(y)))
    low, high = 0.0, math.log(RANGE)
    best = weak
    # chi2 grows with smoothing
    for _ in range(18):
        middle = (low + high) / 2
        trial = solved(WEAKEST * math.exp(middle), short)
        if cost(trial) <= limit:
            low, best = middle, trial
        else:
            high = middle
    smoothing = WEAKEST * math.exp(low)
    used = int(np.count_nonzero(weak))
    variance = floor / max(len(y) - used, 1)
    # linear in what is not at 0
    free = best > 0
    covariance = np.zeros((m + 1, m + 1))
    if free.any():
        normal = X[:, free].T @ X[:, free]
        penalised = normal + smoothing * strength * D[:, free].T @ D[:, free]
        inverse = np.linalg.pinv(penalised, hermitian=True)
        covariance[np.ix_(free, free)] = variance * inverse @ normal @ inverse
    errors = np.sqrt(np.maximum(np.diagonal(covariance), 0)) * scale
    whole = np.concatenate([np.full(m, step), [0.0]])
    area = float(whole @ best) * scale
    # all the strength in one time, through the same inversion, at a few times
    places = np.unique(np.linspace(PER_DECADE // 2, m - 1 - PER_DECADE // 2, 7).astype(int))
    widths = [
        _width(solved(smoothing, X[:, at] * (area / scale / step))[:m])
        * math.log10(tau[1] / tau[0])
        for at in places
    ]
    resolution = np.interp(np.arange(m), places, widths)
    return Spectrum(
        tau, best[:m] * scale, errors[:m], resolution, float(best[m] * scale), float(errors[m]),
        area, math.sqrt(float(whole @ covariance @ whole)) * scale, smoothing,
        math.sqrt(variance), cost(best) / floor if floor > 0 else 1.0,
    )  # fmt: skip


def _differences(m: int) -> Floats:
    """Return second differences [m, m], the spectrum being 0 beyond both ends."""
    D = -2 * np.eye(m) + np.eye(m, k=1) + np.eye(m, k=-1)
    return np.asarray(D)


def _width(response: Floats) -> float:
    """Return the full width at half maximum in steps of the grid; that of a single point is 1."""
    top = int(np.argmax(response))
    half = response[top] / 2
    if not half > 0:
        return math.nan

    def edge(direction: int) -> float:
        at = top
        while 0 <= at + direction < len(response) and response[at + direction] > half:
            at += direction
        if not 0 <= at + direction < len(response):
            return abs(at - top)
        inner, outer = response[at], response[at + direction]
        return abs(at - top) + (inner - half) / (inner - outer)

    return float(edge(-1) + edge(1))
