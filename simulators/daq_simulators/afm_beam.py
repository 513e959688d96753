"""A clamped beam whose tip rests on a sample: from the modulus to the contact resonance.

The beam is uniform, the tip at its end, the contact a spring (no lateral one). Its first mode obeys
k*/k = kappa^3 (1 + cos kappa cosh kappa) / (3 (cos kappa sinh kappa - sin kappa cosh kappa)),
between that of the free beam (1 + cos cosh = 0, kappa 1.8751) and of the pinned one (tan = tanh,
kappa 3.9266), and f = f_free (kappa/1.8751)^2 (Rabe 1996). The contact is Hertz':
k* = (6 E*^2 R F)^(1/3).
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

FREE: Final = 1.8751040687119611
"""kappa of the first mode of a free beam."""
PINNED: Final = 3.9266023120479188
"""kappa of the first mode of a beam whose end cannot move."""


def stiffness_ratio(kappa: npt.ArrayLike) -> Floats:
    """Return k*/k of a beam that vibrates with wave number ``kappa`` (times its length)."""
    at = np.asarray(kappa, np.float64)
    bent = np.cos(at) * np.sinh(at) - np.sin(at) * np.cosh(at)
    return np.asarray(at**3 * (1 + np.cos(at) * np.cosh(at)) / (3 * bent))


@functools.cache
def _table() -> tuple[Floats, Floats]:
    """k*/k and kappa, finely; k* rises without bound towards the pinned end."""
    kappa = np.linspace(FREE, PINNED, 200_001)[:-1]
    ratio = stiffness_ratio(kappa)
    ratio[0] = 0.0
    return ratio, kappa


@dataclasses.dataclass(frozen=True, slots=True)
class ContactBeam:
    """A cantilever in contact: k in N/m, f_free in Hz, modulus of the tip in GPa, force in nN."""

    spring_constant: float
    free_frequency: float
    tip_modulus: float
    force: float

    def stiffness(self, modulus: npt.ArrayLike, radius: npt.ArrayLike) -> Floats:
        """Return k* in N/m for indentation moduli in GPa and radii of the tip in nm."""
        reduced = 1e9 / (1 / np.asarray(modulus, np.float64) + 1 / self.tip_modulus)
        return np.asarray(np.cbrt(6 * reduced**2 * np.asarray(radius) * 1e-9 * self.force * 1e-9))

    def frequency(self, stiffness: npt.ArrayLike) -> Floats:
        """Return the contact resonance in Hz for k* in N/m; good to 1e-8."""
        ratio, kappa = _table()
        found = np.interp(np.asarray(stiffness) / self.spring_constant, ratio, kappa)
        return np.asarray(self.free_frequency * (found / FREE) ** 2)

    def slope(self, modulus: float, radius: float) -> float:
        """Return df/d ln M in Hz: by how much f rises for a modulus that is e times as high."""
        step = 1e-4
        low, high = self.frequency(self.stiffness(modulus * np.exp([-step, step]), radius))
        return float((high - low) / (2 * step))


def response(
    sweep: Floats, resonance: Floats, quality: Floats, amplitude: float
) -> npt.NDArray[np.complex128]:
    """Return the answer of a damped oscillator [..., frequency] to a drive of each frequency.

    A (f0^2/Q) / (f0^2 - f^2 + i f f0/Q): ``amplitude`` at resonance, where it lags by 90 degrees.
    """
    f0, quality = resonance[..., None], quality[..., None]
    return np.asarray(
        amplitude * (f0**2 / quality) / (f0**2 - sweep**2 + 1j * sweep * f0 / quality)
    )
