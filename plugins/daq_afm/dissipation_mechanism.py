"""What dissipates under the tip, from how the energy goes with the amplitude (Garcia2006).

With u = A/A_0, energies e in units of pi k A_0^2/Q, and phi the phase:

    e = u (sin phi - w u)                      (eq. 3-10; w = omega/omega_0)
    <F z> ~ u |cos phi|                        (virial of the force, drive at resonance)

How deep the tip goes, or how near it comes, follows from the virial; the loss from the depth d:

    viscoelasticity   <F z> ~ A^(1/2) d^2,   loss ~ A^(1/2) d^2   (Hertz; Voigt)       e = c u |cos phi|
    hysteresis        <F z> ~ A^(1/2) d^2,   loss ~ d             (adhesion energy)    e = c (u cos^2 phi)^(1/4)
    long_range        <F z> ~ A^(1/2)/d^(3/2), loss ~ 1/d         (van der Waals)      e = c (u cos^2 phi)^(1/3)

to leading order in d/A. e appears on both sides: each law is solved for it, so that the curves hold for
large losses too. c is all that is free: the shape, and that of de/du, tells the law.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Final

import numpy as np
import numpy.typing as npt

from daq_afm.image_lines import Floats

LAWS: Final = ("long_range", "hysteresis", "viscoelasticity")
"""The order of laws in every result."""
POWERS: Final = {
    "long_range": (1 / 3, 2 / 3),
    "hysteresis": (1 / 4, 1 / 2),
    "viscoelasticity": (1.0, 1.0),
}
"""e = c u^p |cos phi|^q."""

UNDECIDED, LONG_RANGE, HYSTERESIS, VISCOELASTICITY, NONE_FITS, TOO_FEW = range(6)
"""What `Mechanism.mechanism` says; 1 + the place in `LAWS`."""

FEWEST: Final = 5
"""Different amplitudes that a comparison needs."""


@dataclasses.dataclass(frozen=True, slots=True)
class Mechanism:
    """What `compare` found; [law] in the order of `LAWS`.

    Parameters
    ----------
    mechanism
        The number of a law (1 to 3) where its weight reaches ``confident``, else `UNDECIDED`;
        `NONE_FITS` where the best one is off by more than ``largest_misfit``; `TOO_FEW`.
    weights
        Akaike weights (AICc); they add up to 1.
    strength, strength_errors
        c, with its standard error from the scatter about the curve.
    misfit
        Root of the weighted mean square residual, relative to the mean energy.
    """

    mechanism: int
    weights: Floats
    strength: Floats
    strength_errors: Floats
    misfit: Floats


def reduced_energy(
    ratio: npt.ArrayLike, strength: float, law: str, frequency_ratio: float = 1.0
) -> Floats:
    """Return e at u = ``ratio``, in units of pi k A_0^2 / Q; 0 where w u >= 1.

    Bisection in sin phi: one side of the law rises, the other falls.
    """
    u, w = np.asarray(ratio, np.float64), frequency_ratio
    p, q = POWERS[law]
    low = np.minimum(w * u, 1.0)
    high = np.ones(u.shape)
    start = low
    drive = strength * u**p
    for _ in range(54):
        middle = (low + high) / 2
        more = drive * (1 - middle * middle) ** (q / 2) > u * (middle - start)
        low, high = np.where(more, middle, low), np.where(more, high, middle)
    return np.asarray(u * (low - start))


def compare(
    ratio: Floats,
    energy: Floats,
    weights: Floats,
    frequency_ratio: float = 1.0,
    confident: float = 0.95,
    largest_misfit: float = 0.1,
) -> Mechanism:
    """Compare the laws for energies at several amplitudes.

    The scatter is not known beforehand and is a parameter of each law.

    Parameters
    ----------
    ratio, energy
        [n] A/A_0 and e, in units of pi k A_0^2 / Q; one point for each amplitude.
    weights
        [n], relative: 1 / variance.
    """
    n, nan = len(ratio), np.full(len(LAWS), np.nan)
    level = float(np.sum(weights * energy) / np.sum(weights)) if n else 0.0
    if n < FEWEST or not level > 0:
        return Mechanism(TOO_FEW if n < FEWEST else NONE_FITS, nan, nan, nan, nan)
    w = weights / weights.mean()
    strengths, errors, misfits, scores = (np.zeros(len(LAWS)) for _ in range(4))
    for k, law in enumerate(LAWS):
        ln_c, square, size = _best_strength(ratio, energy, w, law, frequency_ratio)
        # rounding of single precision, where all is exact
        square = max(square / n, 1e-14 * level * level)
        strengths[k] = math.exp(ln_c)
        errors[k] = strengths[k] * math.sqrt(square * n / (n - 1) / size) if size > 0 else math.nan
        misfits[k] = math.sqrt(square) / level
        scores[k] = n * math.log(square) + 4 + 12 / (n - 3)
    akaike = np.exp(-(scores - scores.min()) / 2)
    akaike /= akaike.sum()
    best = int(np.argmax(akaike))
    mechanism = UNDECIDED
    if misfits[best] > largest_misfit:
        mechanism = NONE_FITS
    elif akaike[best] >= confident:
        mechanism = best + 1
    return Mechanism(mechanism, akaike, strengths, errors, misfits)


def _best_strength(
    u: Floats, energy: Floats, w: Floats, law: str, frequency_ratio: float
) -> tuple[float, float, float]:
    """Return ln c of the least weighted squares, these, and the sum of w (de/d ln c)^2.

    Gauss-Newton; the slope follows from the law itself: with e = c g(e) it is e / (1 - c g'(e)).
    """
    p, q = POWERS[law]
    sine = np.clip(energy / u + frequency_ratio * u, 0, 1 - 1e-9)
    least = 1e-6 * float(np.abs(energy).max())
    guess = np.maximum(energy, least) / (u**p * (1 - sine**2) ** (q / 2))
    ln_c = trial = math.log(float(np.median(guess)))
    best, size, step = math.inf, 0.0, 0.0
    for _ in range(40):
        e = reduced_energy(u, math.exp(trial), law, frequency_ratio)
        left = energy - e
        square = float(np.sum(w * left * left))
        if square > best:
            step /= 4
        else:
            sine = e / u + frequency_ratio * u
            slope = e / (1 + e / u * q * sine / np.maximum(1 - sine * sine, 1e-12))
            ln_c, best, size = trial, square, float(np.sum(w * slope * slope))
            step = float(np.sum(w * slope * left)) / size if size > 0 else 0.0
        if abs(step) < 1e-10:
            break
        trial = ln_c + min(max(step, -2.0), 2.0)
    return ln_c, best, size
