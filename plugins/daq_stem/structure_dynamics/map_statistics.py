"""Correlations between maps whose neighbouring positions are not independent.

The maps come as pairs of independent estimates of one quantity (two sets of azimuthal sectors),
so that noise can be told from signal: what both members of a pair share is signal. Fields are
taken as stationary and isotropic, and their ranks as nearly Gaussian where errors are worked out.

Notation: x_0, x_1 and y_0, y_1 are the pairs, N the number of positions, R_ab(h) the correlation
of a and b at a distance h. Sums over pairs of positions i, j write R for R(h_ij).
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.special

Floats = npt.NDArray[np.float64]

FEWEST_POSITIONS = 32
"""With fewer there are no numbers."""
SIGNIFICANT = 2.0
"""Standard errors by which a reliability must exceed 0 before anything is divided by it."""


def ranks(values: Floats) -> Floats:
    """Return the rank of each value, from 1; ties share the mean of theirs.

    Infinities rank as such; NaN must not be among them.
    """
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return np.asarray((last - (count - 1) / 2)[place.reshape(-1)])


def standardised(values: Floats) -> Floats:
    """Return values with mean 0 and mean square 1; zeros where all are equal."""
    centred = values - values.mean()
    size = math.sqrt(float(np.mean(centred * centred)))
    return np.asarray(centred / size if size else centred)


def spearman(x: Floats, y: Floats) -> float:
    """Return Spearman's rank correlation; NaN with fewer than three values or all of them equal."""
    if len(x) < 3:
        return math.nan
    a, b = standardised(ranks(x)), standardised(ranks(y))
    return float(np.mean(a * b)) if a.any() and b.any() else math.nan


def normal_scores(values: Floats) -> Floats:
    """Return the normal quantile of (rank - 1/2) / N of each value, standardised."""
    return standardised(scipy.special.ndtri((ranks(values) - 0.5) / len(values)))


def with_fixed(values: Floats, fixed: Floats) -> Floats:
    """Return standardised ``values`` without what is linear in ``fixed``, standardised both.

    A correlation of two such residuals is the partial correlation with ``fixed`` held. All 0
    where nothing but rounding remains.
    """
    rest = values - fixed * float(np.mean(values * fixed))
    return standardised(rest) if np.mean(rest * rest) > 1e-12 else np.zeros(len(rest))


class Distances:
    """Pairs of positions by their distance, in rings one step wide; sums over them by FFT.

    Parameters
    ----------
    mask
        [y, x] bool: the positions that count.
    step
        nm between positions.

    Attributes
    ----------
    count
        N.
    pairs
        [ring] float64: ordered pairs in each ring, ring 0 the N positions with themselves.
    reach
        Rings out to half of the shorter side of the mask: correlations are looked at within.
    """

    def __init__(self, mask: npt.NDArray[np.bool_], step: float) -> None:
        self.mask, self.step, self.count = mask, step, int(mask.sum())
        self._padded = tuple(scipy.fft.next_fast_len(2 * size, real=True) for size in mask.shape)
        y, x = (np.fft.fftfreq(size, 1 / size) for size in self._padded)
        self.ring = np.rint(np.hypot(y[:, None], x[None, :])).astype(np.int64)
        spectrum = self.transform(np.ones(self.count))
        self.pair_map = np.rint(self._back(spectrum * spectrum.conj()))
        self.pairs = self._by_ring(self.pair_map)
        sides = [np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0)]
        side = min(int(at[-1] - at[0]) + 1 for at in sides) if self.count else 0
        self.reach = max(1, min(side // 2 + 1, len(self.pairs)))

    def transform(self, values: Floats) -> npt.NDArray[np.complex128]:
        """Return the spectrum of ``values``, one per position that counts."""
        placed = np.zeros(self.mask.shape)
        placed[self.mask] = values
        return np.asarray(np.fft.rfft2(placed, self._padded))

    def correlogram(self, a: npt.NDArray[np.complex128], b: npt.NDArray[np.complex128]) -> Floats:
        """Return the mean of a_i b_j over the pairs i, j of each ring: [ring]; 0 where none is."""
        sums = self._by_ring(self._back(a * b.conj()))
        return np.asarray(
            np.divide(sums, self.pairs, out=np.zeros_like(sums), where=self.pairs > 0)
        )

    def covariance(self, a: Floats, b: Floats) -> float:
        """Return sum_ij a(h_ij) b(h_ij) / N^2 - (sum_ij a / N^2) (sum_ij b / N^2).

        ``a`` and ``b`` are correlations by ring, 0 beyond their end. The second part is what
        taking off the mean of the map does (tr(P a P b) / N^2 with the centring matrix P, rows of
        equal sum; Dutilleul1993).
        """
        pairs = self.pairs[: min(len(a), len(b))] / self.count**2
        a, b = a[: len(pairs)], b[: len(pairs)]
        return float(np.sum(pairs * a * b) - np.sum(pairs * a) * np.sum(pairs * b))

    def without_mean(self, correlogram: Floats) -> Floats:
        """Return the correlation that a map of mean 0 hides: [ring], 0 from its first zero on.

        A map whose own mean is taken off has correlogram C(h) = R(h) - m, with m = sum_ij R / N^2
        the variance of that mean. With R = 0 beyond the ring where C + m gets to 0, m
        is (sum_within C / N^2) / (1 - pairs within / N^2); both are found together. All 0 where
        C(0) is not positive.
        """
        found = np.zeros(self.reach)
        inside = correlogram[: self.reach]
        if not inside[0] > 0:
            return found
        pairs = self.pairs[: self.reach] / self.count**2
        mean, end = 0.0, self.reach
        for _ in range(4):
            ended = np.flatnonzero(inside + mean <= 0)
            end = int(ended[0]) if len(ended) else self.reach
            # a field that is correlated over most of the map says nothing about its own mean
            outside = max(0.4, 1 - float(np.sum(pairs[:end])))
            mean = max(0.0, float(np.sum(pairs[:end] * inside[:end])) / outside)
        found[:end] = np.maximum(inside[:end] + mean, 0)
        return found

    def quadratic_variance(self, kernel: Floats, a: Floats, b: Floats) -> float:
        """Return the variance of sum_ij x_i K(j - i) y_j / N for a kernel [lag y, lag x].

        = (sum (K * a)^2 + sum (K * b)^2) over pairs / N^2, means taken off, for fields with equal
        autocorrelation ``a`` and cross correlation ``b`` by ring.
        """
        weight = self.pair_map / self.count**2
        spectrum = np.fft.rfft2(kernel)
        total = 0.0
        for correlation in (a, b):
            spread = np.zeros(len(self.pairs))
            spread[: len(correlation)] = correlation
            passed = self._back(spectrum * np.fft.rfft2(spread[self.ring]))
            total += float(np.sum(weight * passed**2) - np.sum(weight * passed) ** 2)
        return total

    def _back(self, spectrum: npt.NDArray[np.complex128]) -> Floats:
        return np.asarray(np.fft.irfft2(spectrum, self._padded))

    def _by_ring(self, values: Floats) -> Floats:
        return np.bincount(self.ring.reshape(-1), values.reshape(-1)).astype(np.float64)


@dataclasses.dataclass(frozen=True, slots=True)
class Relation:
    """How two quantities go together that were each measured twice; NaN where not known.

    Parameters
    ----------
    correlation
        Disattenuated rank correlation, within [-1, 1].
    errors
        1 sigma, as an estimate of the correlation in the material.
    measurement_errors
        1 sigma, as an estimate of the correlation over just these positions.
    reliability
        Rank correlation of the two measurements of x, and of y: the share of signal.
    p_value
        Two-sided: how probable a correlation as large is where there is none in the material.
    n_effective
        Independent positions that would give a correlation of 0 the same scatter.
    attenuated
        Rank correlation from disjoint data before it is corrected for noise.
    attenuated_errors
        1 sigma of that where there is none in the material.
    """

    correlation: float = math.nan
    errors: float = math.nan
    measurement_errors: float = math.nan
    reliability: tuple[float, float] = (math.nan, math.nan)
    p_value: float = math.nan
    n_effective: float = math.nan
    attenuated: float = math.nan
    attenuated_errors: float = math.nan


def relation(distances: Distances, x: tuple[Floats, Floats], y: tuple[Floats, Floats]) -> Relation:
    """Return the correlation of x and y from disjoint data, corrected for noise (Spearman1904).

    With d = (r(x_0, y_1) + r(x_1, y_0)) / 2, p = r(x_0, x_1) and q = r(y_0, y_1):
    S = d / sqrt(p q). x_0 and y_0 may share noise, as may x_1 and y_1; no other two.

    Errors. d, p and q are quadratic in the fields, so for Gaussian ones (Isserlis; Bartlett's
    formula, for maps)

        cov(r_ab, r_cd) = sum_ij (R_ac R_bd + R_ad R_bc) / N^2

    and S varies by dS = dd / sqrt(p q) - S (dp / 2p + dq / 2q). The R are correlograms from the
    data: A = R_00 = R_11 and X = R_01 for x and for y, D between x and y from disjoint data, M
    between those that may share noise. D is taken to fall off as the signal does,
    D(h) = S sqrt(X_x X_y), and the part of M that is noise as noise does: its own correlogram would
    add its scatter at every distance. That is the error for the *material*: another field of the
    same kind would have another correlation by chance alone, with as few places in it as
    n_effective. Without what the signal does by itself (sum_ij X_x X_y, D D, X X) it is the error
    over *these positions*, from noise alone.

    The p-value rests on d alone, with var(d) for S = 0 (Clifford1989; for one pair it is
    sum_ij R_xx R_yy / N^2): normal, with n_effective = 1 + 1 / var(d).

    Parameters
    ----------
    distances
        Of the positions.
    x, y
        Each a pair of [position] float64, standardised (ranks, or ranks with something held
        fixed).

    Notes
    -----
    S is NaN where p or q is not more than `SIGNIFICANT` standard errors above 0, and all is NaN
    with fewer than `FEWEST_POSITIONS` positions. In simulations (Gaussian fields; p 0.3-0.9,
    q 0.25-0.9) |S - truth| / error has mean 0.73-0.86 where the map is at least four times as
    wide as the length over which the field falls to 1/e; narrower ones leave errors up to 20 %
    too small. Ranks make S about 0.01 too large at S = 0.5.
    An estimate of y whose bias depends on x correlates with x, and disjoint data do not help.
    """
    if distances.count < FEWEST_POSITIONS or not all(field.any() for field in (*x, *y)):
        return Relation()
    spectra = [[distances.transform(field) for field in pair] for pair in (x, y)]
    auto, cross, own = [], [], []
    for one, other in spectra:
        both = distances.correlogram(one, one) + distances.correlogram(other, other)
        auto.append(distances.without_mean(both / 2))
        between = distances.correlogram(one, other)
        own.append(float(between[0]))
        cross.append(distances.without_mean(between))
    noise = [np.maximum(a - c, 0) for a, c in zip(auto, cross, strict=True)]
    disjoint = float(np.mean(x[0] * y[1]) + np.mean(x[1] * y[0])) / 2
    shared = float(np.mean(x[0] * y[0]) + np.mean(x[1] * y[1])) / 2 - disjoint
    if (most := math.sqrt(noise[0][0] * noise[1][0])) > 0:
        shared_noise = float(np.clip(shared / most, -1, 1)) * np.sqrt(noise[0] * noise[1])
    else:
        shared_noise = np.zeros(distances.reach)
    signal = np.sqrt(cross[0] * cross[1])

    sum_of = distances.covariance
    (a_x, a_y), (c_x, c_y), (p, q) = auto, cross, own
    by_chance = (sum_of(a_x, a_y) + sum_of(c_x, c_y) + sum_of(shared_noise, shared_noise)) / 2
    if not by_chance > 0:
        return Relation(reliability=(p, q))
    found = Relation(
        reliability=(p, q),
        p_value=math.erfc(abs(disjoint) / math.sqrt(2 * by_chance)),
        n_effective=1 + 1 / by_chance,
        attenuated=disjoint,
        attenuated_errors=math.sqrt(by_chance),
    )
    limits = [SIGNIFICANT * math.sqrt(max(0.0, sum_of(a, a))) for a in auto]
    if not (p > limits[0] and q > limits[1]):
        return found

    size = math.sqrt(p * q)
    S = min(1.0, max(-1.0, disjoint / size))
    gradient = np.array([1 / size, -S / (2 * p), -S / (2 * q)])
    d = S * signal
    m = d + shared_noise
    d_p, d_q = sum_of(a_x, m) + sum_of(c_x, d), sum_of(a_y, m) + sum_of(c_y, d)
    p_q = sum_of(m, m) + sum_of(d, d)
    d_d = (sum_of(a_x, a_y) + sum_of(c_x, c_y) + p_q) / 2
    p_p, q_q = (sum_of(a, a) + sum_of(c, c) for a, c in zip(auto, cross, strict=True))
    material = np.array([[d_d, d_p, d_q], [d_p, p_p, p_q], [d_q, p_q, q_q]])
    # the same sums for maps without any noise: how fields of this kind vary by themselves
    d_p, d_q, p_q = (2 * sum_of(*pair) for pair in ((c_x, d), (c_y, d), (d, d)))
    d_d = sum_of(c_x, c_y) + p_q / 2
    p_p, q_q = (2 * sum_of(c, c) for c in cross)
    by_itself = np.array([[d_d, d_p, d_q], [d_p, p_p, p_q], [d_q, p_q, q_q]])
    return dataclasses.replace(
        found,
        correlation=S,
        errors=_error(gradient, material),
        measurement_errors=_error(gradient, material - by_itself),
    )


def correlation_length(distances: Distances, pair: tuple[Floats, Floats]) -> tuple[float, float]:
    """Return the distance in nm at which a field's autocorrelation is 1/e, and its 1 sigma error.

    From the *cross* correlation X(h) of two independent measurements, [position] each and
    standardised: noise, which is correlated over the probe, does not enter. What the measurement
    smooths remains: a field of length L seen with a probe has a longer one. The mean of the map is
    allowed for (`Distances.without_mean`).

    Error: X(L) - X(0) / e is quadratic in the fields; its variance
    (`Distances.quadratic_variance`) over the slope of X at L. Both are NaN where X does not get to
    1/e within half of the map, or is not significantly above 0. Maps narrower than six lengths give
    lengths about 5 % too short with errors about 15 % too small.
    """
    if distances.count < FEWEST_POSITIONS or not all(field.any() for field in pair):
        return math.nan, math.nan
    one, other = (distances.transform(field) for field in pair)
    auto = distances.without_mean(
        (distances.correlogram(one, one) + distances.correlogram(other, other)) / 2
    )
    measured = distances.correlogram(one, other)
    cross = distances.without_mean(measured)
    level = math.exp(-1)
    least = SIGNIFICANT * math.sqrt(max(0.0, distances.covariance(auto, auto)))
    below = np.flatnonzero(cross < level * cross[0])
    if not (measured[0] > least and len(below)):
        return math.nan, math.nan
    outer = int(below[0])
    part = float((cross[outer - 1] - level * cross[0]) / (cross[outer - 1] - cross[outer]))
    length = (outer - 1 + part) * distances.step

    weights = np.zeros(len(distances.pairs))
    weights[outer - 1] = (1 - part) * distances.count / distances.pairs[outer - 1]
    weights[outer] = part * distances.count / distances.pairs[outer]
    weights[0] -= level
    kernel = weights[distances.ring]
    variance = distances.quadratic_variance(kernel, auto, cross)
    near = np.arange(max(outer - 3, 0), min(outer + 3, len(cross)))
    off = near - near.mean()
    slope = float(np.sum(off * cross[near]) / np.sum(off * off)) / distances.step
    if not (slope < 0 and variance > 0):
        return length, math.nan
    return length, math.sqrt(variance) / -slope


def _error(gradient: Floats, covariance: Floats) -> float:
    variance = float(np.sum(gradient[:, None] * covariance * gradient[None, :]))
    return math.sqrt(variance) if variance > 0 else math.nan
