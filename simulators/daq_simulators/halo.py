"""Where the electrons of a glass go on average: rings, a falling background, a beam stop."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

RING = 0.2
"""Half the width, in 1/nm, of the ring around the peak in which the electrons are given."""


@dataclasses.dataclass(frozen=True)
class Halo:
    """Electrons per (1/nm)^2 at the reference thickness, for one electron incident.

    h(Q) = A [(1 - b) (exp(-(Q - Q1)^2 / 2 s^2) + 0.15 exp(-(Q - 1.7 Q1)^2 / 2 (2 s)^2))
    + b exp((Q1 - Q) / (Q1 / 2))], so that ``ring_fraction`` of the beam falls within `RING` of Q1.

    ``peak`` Q1 and ``sigma`` s in 1/nm, ``background`` b, a fraction of the height at Q1.
    """

    peak: float
    sigma: float
    background: float
    ring_fraction: float

    def density(self, q: Floats) -> Floats:
        """Return h at ``q`` in 1/nm."""
        return np.asarray(self.ring_fraction * self._shape(q) / self._in_ring())

    def scattered(self) -> float:
        """Return the part of the beam that is scattered to 0.5 Q1 and beyond."""
        q = np.linspace(0.5 * self.peak, 4 * self.peak, 2001)
        return float(np.trapezoid(2 * np.pi * q * self.density(q), q))

    def _in_ring(self) -> float:
        q = self.peak + np.linspace(-RING, RING, 201)
        return float(np.trapezoid(2 * np.pi * q * self._shape(q), q))

    def _shape(self, q: Floats) -> Floats:
        first = np.exp(-((q - self.peak) ** 2) / (2 * self.sigma**2))
        second = 0.15 * np.exp(-((q - 1.7 * self.peak) ** 2) / (2 * (2 * self.sigma) ** 2))
        falling = np.exp(2 * (self.peak - q) / self.peak)
        return np.asarray((1 - self.background) * (first + second) + self.background * falling)


@dataclasses.dataclass(frozen=True)
class BeamStop:
    """A disc on an arm that reaches to the border: radius and width in 1/nm, 0: none.

    ``angle`` in degrees, from +x towards +y (down).
    """

    radius: float
    arm: float
    angle: float

    def covers(self, y: Floats, x: Floats) -> npt.NDArray[np.bool_]:
        """Tell which places (y, x) in 1/nm from the direct beam lie in its shadow."""
        if not self.radius:
            return np.zeros(np.broadcast_shapes(y.shape, x.shape), np.bool_)
        cosine, sine = math.cos(math.radians(self.angle)), math.sin(math.radians(self.angle))
        along, beside = x * cosine + y * sine, y * cosine - x * sine
        disc = np.hypot(y, x) < self.radius
        return np.asarray(disc | ((along > 0) & (np.abs(beside) < self.arm / 2)))
