"""Simulated positions that go the way of the measured ones: the parametric bootstrap of `ecm`.

Each replica is an annulus of speckles as they were measured (contrast, size, Friedel pairs, counts),
whose relaxation time is known. It has the time stamps and the lost records of a measured position, is
correlated and fitted by the same code, and so shows how estimates scatter about the truth: with
few speckles, short series and the counting noise there is.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from daq_stem.ecm.speckle import Speckle, field_factor
from daq_stem.ecm.two_time import TwoTime
from daq_stem.geometry.annulus import Annulus

Floats = npt.NDArray[np.float64]


class Replicas:
    """Replicas of an annulus with given relaxation times.

    Parameters
    ----------
    annulus
        Whose pixels.
    speckle
        What was measured of them.
    ln_tau
        [replica] ln (tau / s).
    positions
        [replica] the measured position whose time stamps, gaps and counts it has.
    gamma
        Stretching exponent of the field, exp(-(t/tau)^gamma).
    variance_per_count
        Variance over mean of the counts.
    scans
        Scans kept.
    seed
        Of everything random.
    """

    def __init__(
        self,
        annulus: Annulus,
        speckle: Speckle,
        ln_tau: Floats,
        positions: npt.NDArray[np.int64],
        gamma: float,
        variance_per_count: float,
        scans: int,
        seed: list[int],
    ) -> None:
        self.ln_tau, self.positions = ln_tau, positions
        self.ln_counts = np.zeros(len(ln_tau))
        self.series = TwoTime(len(ln_tau), scans, annulus.pixels, annulus.sets)
        own, mirrored = field_factor(speckle, annulus.q_y, annulus.q_x)
        self._own, self._mirrored = own.astype(np.float32), mirrored.astype(np.float32)
        self._w = float(np.sqrt(min(1.0, speckle.contrast)))
        self._gamma, self._variance_per_count = gamma, variance_per_count
        self._random = np.random.default_rng(seed)
        self._static = np.ones(annulus.pixels)
        modes = own.shape[1]
        self._field = np.zeros((len(ln_tau), modes), np.complex64)
        # gamma = 1 needs no memory of what was before the last scan
        history = 0 if gamma == 1 else scans
        self._past = np.zeros((history, len(ln_tau), modes), np.complex64)
        self._past_time = np.zeros((len(ln_tau), history))
        self._factors = (
            np.zeros((len(ln_tau), history, history)) if history else np.zeros((1, 1, 1))
        )
        self._last = np.zeros(len(ln_tau), np.int64)
        self._steps = np.zeros(len(ln_tau), np.int64)
        self._counts = np.zeros(len(ln_tau))

    @staticmethod
    def memory(replicas: int, scans: int, pixels: int, gamma: float) -> int:
        """Return the bytes needed: as `TwoTime`, 16 a pixel and replica, for gamma not 1 also 8 a pixel and scan."""
        kept = replicas * scans * (8 * pixels + 8 * scans) if gamma != 1 else 0
        return TwoTime.memory(replicas, scans, pixels) + replicas * 40 * pixels + kept

    def add(
        self,
        good: npt.NDArray[np.bool_],
        times: npt.NDArray[np.int64],
        counts: npt.NDArray[np.float32],
    ) -> None:
        """Take one more scan at the [position] times, with the [position] counts, where good."""
        seen = good[self.positions]
        now = times[self.positions]
        self._move(seen, now)
        expected = _intensity(self._field, self._own, self._mirrored, np.float32(self._w))
        # counts of electrons: mean counts over variance per count
        mean = np.where(seen, counts[self.positions], 1.0) / self._variance_per_count
        patterns = self._random.poisson(expected * mean[:, None]).astype(np.float64)
        if self.series.period == 0 and self.series.taken:
            self.series.period = self._period
        self.series.add(patterns, seen, now, np.arange(len(seen)), self._static)
        self._counts += np.where(seen, counts[self.positions], 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            self.ln_counts = np.log(self._counts / np.maximum(1, self._steps))

    def use_period(self, period: int) -> None:
        """Put delays on the grid of the measured series, ns."""
        self._period = period

    _period = 0

    def _move(self, seen: npt.NDArray[np.bool_], now: npt.NDArray[np.int64]) -> None:
        """Let the fields evolve to the time of the scan."""
        shape = self._field.shape
        normal = self._random.standard_normal((2, *shape), np.float32)
        fresh = (normal[0] + 1j * normal[1]) * np.float32(np.sqrt(0.5))
        if self._gamma == 1:
            elapsed = (now - self._last) * 1e-9
            with np.errstate(over="ignore"):
                kept = np.exp(-elapsed / np.exp(self.ln_tau))
            kept = np.where(self._steps > 0, kept, 0.0)
            kept = np.where(seen, kept, 1.0).astype(np.float32)
            gained = np.sqrt(1 - kept * kept)
            self._field = kept[:, None] * self._field + gained[:, None] * fresh
        else:
            _evolve(
                self._field, fresh, self._past, self._past_time, self._factors, self._steps,
                seen, now * 1e-9 - self._origin(now), np.exp(self.ln_tau), self._gamma,
            )  # fmt: skip
        self._last = np.where(seen, now, self._last)
        self._steps += seen

    def _origin(self, now: npt.NDArray[np.int64]) -> float:
        if not hasattr(self, "_zero"):
            self._zero = float(now.max() * 1e-9)
        return self._zero


@numba.njit(cache=True, nogil=True)
def _evolve(  # type: ignore[no-untyped-def]
    field, fresh, past, past_time, factors, steps, seen, now, tau, gamma
):
    """Draw the next field given all before: a row of the Cholesky factor of its covariance."""
    for r in range(len(field)):
        if not seen[r]:
            continue
        n = min(steps[r], past.shape[0] - 1)
        row = factors[r, n]
        left = 1.0
        for i in range(n):
            total = np.exp(-((abs(now[r] - past_time[r, i]) / tau[r]) ** gamma))
            for j in range(i):
                total -= row[j] * factors[r, i, j]
            row[i] = total / factors[r, i, i]
            left -= row[i] * row[i]
        row[n] = np.sqrt(max(left, 1e-9))
        past_time[r, n] = now[r]
        for m in range(field.shape[1]):
            value = np.float32(row[n]) * fresh[r, m]
            for i in range(n):
                value += np.float32(row[i]) * past[i, r, m]
            past[n, r, m] = fresh[r, m]
            field[r, m] = value


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "nsz", "contract"})
def _intensity(field, own, mirrored, w):  # type: ignore[no-untyped-def]
    """Return w |L z + M conj(z)|^2 + 1 - w, [replica, pixel]."""
    replicas, modes = field.shape
    pixels = len(own)
    out = np.empty((replicas, pixels), np.float32)
    real, imaginary = np.empty(modes, np.float32), np.empty(modes, np.float32)
    for r in range(replicas):
        for m in range(modes):
            real[m] = field[r, m].real
            imaginary[m] = field[r, m].imag
        for i in range(pixels):
            a, b, c, d = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
            row, other = own[i], mirrored[i]
            for m in range(modes):
                a += row[m] * real[m]
                b += row[m] * imaginary[m]
            for m in range(modes):
                c += other[m] * real[m]
                d += other[m] * imaginary[m]
            out[r, i] = w * ((a + c) ** 2 + (b - d) ** 2) + np.float32(1) - w
    return out
