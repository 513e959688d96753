"""From contact resonance to contact stiffness, damping and indentation modulus.

A uniform beam, clamped at one end, with a tip at the part g of its length that rests on a spring
k*, obeys, with x = wave number times length (Rabe, Janser and Arnold 1996; Hurley and Turner 2007),

    k*/k = (2/3) (x g)^3 (1 + cos x cosh x) / D
    D = [sin x(1-g) cosh x(1-g) - cos x(1-g) sinh x(1-g)] [1 - cos xg cosh xg]
        - [sin xg cosh xg - cos xg sinh xg] [1 + cos x(1-g) cosh x(1-g)]

with k the spring constant at the tip, and x = x_n (f/f_n)^(1/2) from the free resonance f_n of the same
mode. No lateral spring, no tilt, a tip without mass.

Modulus: k* ~ E*^(1/m), m = 3/2 for a sphere (Hertz) and 1 for a flat punch, and
1/E* = 1/M + 1/M_tip. References of known M give the factor: E* = K (k*/k)^m.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from daq_afm.image_lines import Floats

FREE: Final = (1.8751040687119611, 4.694091132974175, 7.854757438237613)
"""x_n of a free beam: cos x cosh x = -1."""
EXPONENTS: Final = {"sphere": 1.5, "flat": 1.0}
"""m of each shape of the contact."""
ONE_SIGMA: Final = 0.8413447460685429
"""Probability below one standard deviation of a Gaussian."""

Contact = Literal["sphere", "flat"]


@dataclasses.dataclass(frozen=True, slots=True)
class Beam:
    """A cantilever.

    ``free_frequency`` f_n, Hz, of ``mode`` n (1 to 3); ``tip_position`` g, part of the length;
    ``free_quality_factor`` of the same mode, infinite if not known.
    """

    free_frequency: float
    mode: int = 1
    tip_position: float = 1.0
    free_quality_factor: float = math.inf

    def stiffness(self, frequency: npt.ArrayLike) -> Floats:
        """Return k*/k for contact resonances in Hz, any shape.

        NaN below the free resonance, and from that of a pinned tip on, where the beam cannot follow.
        """
        f = np.asarray(frequency, np.float64)
        free = FREE[self.mode - 1]
        with np.errstate(invalid="ignore"):
            x = free * np.sqrt(f / self.free_frequency)
            ratio = stiffness_ratio(x, self.tip_position)
            good = (f >= self.free_frequency) & (x < self._pinned()) & (ratio > -1e-9)
        return np.where(good, np.maximum(ratio, 0.0), np.nan)

    def loss_tangent(self, frequency: npt.ArrayLike, quality_factor: npt.ArrayLike) -> Floats:
        """Return Im k* / Re k*: what the contact damps beyond the cantilever's own damping.

        The resonance is a complex frequency f (sqrt(1 - 1/(4 Q^2)) + i/(2 Q)), less the damping of the
        free beam, spread along it (after Yuya, Hurley and Turner 2008, without their expansion).
        """
        f, Q = np.asarray(frequency, np.float64), np.asarray(quality_factor, np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            F = f / self.free_frequency * (np.sqrt(1 - 0.25 / Q**2) + 0.5j / Q)
            own = 1 / self.free_quality_factor
            x = FREE[self.mode - 1] * (F * F - 1j * F * own) ** 0.25
            ratio = stiffness_ratio(x, self.tip_position)
            lost = ratio.imag / ratio.real
        return np.where(np.isfinite(self.stiffness(f)), lost, np.nan)

    def sensitivity(self, frequency: npt.ArrayLike) -> Floats:
        """Return d ln k* / d ln f."""
        f, h = np.asarray(frequency, np.float64), 1e-5
        with np.errstate(divide="ignore", invalid="ignore"):
            rise = np.log(self.stiffness(f * (1 + h))) - np.log(self.stiffness(f * (1 - h)))
        return np.asarray(rise / (2 * h))

    def _pinned(self) -> float:
        """Return x of the first resonance above the free one at which k* is infinite."""
        from scipy.optimize import brentq

        free = FREE[self.mode - 1]
        grid = np.linspace(free, free + 2 * math.pi / self.tip_position, 2000)
        values = _denominator(grid, self.tip_position)
        at = int(np.flatnonzero(np.sign(values[1:]) != np.sign(values[:-1]))[0])
        return float(brentq(_denominator, grid[at], grid[at + 1], args=(self.tip_position,)))


def stiffness_ratio(x: Any, tip_position: float = 1.0) -> Any:
    """Return k*/k of a beam that vibrates with the wave number x / length, real or complex."""
    g = tip_position
    free = 1 + np.cos(x) * np.cosh(x)
    return 2 / 3 * (x * g) ** 3 * free / _denominator(x, g)


def _denominator(x: Any, g: float) -> Any:
    a, b = x * (1 - g), x * g
    rest = np.sin(a) * np.cosh(a) - np.cos(a) * np.sinh(a)
    held = np.sin(b) * np.cosh(b) - np.cos(b) * np.sinh(b)
    return rest * (1 - np.cos(b) * np.cosh(b)) - held * (1 + np.cos(a) * np.cosh(a))


@dataclasses.dataclass(frozen=True, slots=True)
class Reference:
    """A sample of known indentation modulus M (GPa), and its contact resonance (Hz); with errors."""

    frequency: float
    modulus: float
    frequency_error: float = 0.0
    modulus_error: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Calibration:
    """E* = exp(ln_factor) (k*/k)^m, E* in GPa.

    ``ln_factor_error``: of all moduli alike; ``tip_modulus`` GPa; ``chi2`` of the references among
    each other, for one less than their number.
    """

    beam: Beam
    exponent: float
    tip_modulus: float
    ln_factor: float
    ln_factor_error: float
    chi2: float

    def modulus(self, frequency: npt.ArrayLike) -> Floats:
        """Return the indentation modulus, GPa; NaN where the contact is stiffer than the tip allows."""
        E = self._reduced(frequency)
        with np.errstate(invalid="ignore", divide="ignore"):
            M = 1 / (1 / E - 1 / self.tip_modulus)
        return np.where(M > 0, M, np.nan)

    def modulus_errors(self, frequency: npt.ArrayLike, frequency_errors: npt.ArrayLike) -> Floats:
        """Return the error of M, GPa, from that of the frequency alone (what differs from pixel to pixel)."""
        f = np.asarray(frequency, np.float64)
        relative = self.exponent * self.beam.sensitivity(f) * np.asarray(frequency_errors) / f
        return np.asarray(self.modulus(f) * self._gain(f) * np.abs(relative))

    def common_error(self, frequency: npt.ArrayLike) -> Floats:
        """Return the relative error of M that the references bring, of all pixels together."""
        return np.asarray(self._gain(frequency) * self.ln_factor_error)

    def _reduced(self, frequency: npt.ArrayLike) -> Floats:
        ratio = self.beam.stiffness(frequency)
        return np.asarray(math.exp(self.ln_factor) * ratio**self.exponent)

    def _gain(self, frequency: npt.ArrayLike) -> Floats:
        """Return d ln M / d ln E* = M / E*."""
        return np.asarray(self.modulus(frequency) / self._reduced(frequency))


def calibrate(
    beam: Beam, references: Sequence[Reference], contact: Contact, tip_modulus: float
) -> Calibration:
    """Return the calibration that references give, weighted by their errors.

    Where references with errors disagree, the error of the factor grows by the root of their
    reduced chi2. References without errors count alike; their error is their scatter, with
    Student's factor, and not known (NaN) for a single one.

    Raises
    ------
    ValueError
        No reference, or a resonance that the beam cannot have in contact.
    """
    from scipy.special import stdtrit

    if not references:
        raise ValueError("references: at least one sample of known modulus is needed")
    m = EXPONENTS[contact]
    f = np.array([r.frequency for r in references])
    M = np.array([r.modulus for r in references])
    ratio = beam.stiffness(f)
    if not np.isfinite(ratio).all() or not (ratio > 0).all():
        bad = float(f[~(np.isfinite(ratio) & (ratio > 0))][0])
        raise ValueError(
            f"references: {bad:g} Hz is no contact resonance of a beam of {beam.free_frequency:g} Hz "
            f"free (mode {beam.mode})"
        )
    E = 1 / (1 / M + 1 / tip_modulus)
    values = np.log(E) - m * np.log(ratio)
    by_modulus = E / M * np.array([r.modulus_error for r in references]) / M
    by_frequency = m * beam.sensitivity(f) * np.array([r.frequency_error for r in references]) / f
    errors = np.hypot(by_modulus, by_frequency)
    n = len(references)
    if (errors > 0).all():
        weights = errors**-2
        mean = float(np.sum(weights * values) / np.sum(weights))
        chi2 = float(np.sum(weights * (values - mean) ** 2))
        error = float(np.sum(weights)) ** -0.5
        if n > 1:
            error *= math.sqrt(max(1.0, chi2 / (n - 1)))
    else:
        mean, chi2, error = float(np.mean(values)), math.nan, math.nan
        if n > 1:
            student = float(stdtrit(n - 1, ONE_SIGMA))
            error = float(np.std(values, ddof=1)) / math.sqrt(n) * student
    return Calibration(beam, m, tip_modulus, mean, error, chi2)
