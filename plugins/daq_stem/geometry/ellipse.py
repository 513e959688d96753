"""Rings that a camera shows as ellipses, and how they become circles again."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, slots=True)
class Ellipse:
    """What a camera makes of a circle, at constant area.

    Parameters
    ----------
    ratio
        Long axis over short axis, >= 1; 1: no distortion.
    angle
        Of the long axis, degrees from +x towards +y (down), 0 to 180.

    A circle of radius r has half axes r sqrt(ratio) and r / sqrt(ratio) on the camera.
    """

    ratio: float = 1.0
    angle: float = 0.0

    @classmethod
    def of_distortion(cls, a: float, b: float) -> Ellipse:
        """Return the ellipse with ln(ratio) (cos 2 angle, sin 2 angle) = (a, b)."""
        return cls(math.exp(math.hypot(a, b)), math.degrees(math.atan2(b, a)) / 2 % 180.0)

    @property
    def distortion(self) -> tuple[float, float]:
        """(a, b) = ln(ratio) (cos 2 angle, sin 2 angle): smooth where the ellipse is a circle."""
        size, turn = math.log(self.ratio), math.radians(2 * self.angle)
        return size * math.cos(turn), size * math.sin(turn)

    def circular(self, y: npt.ArrayLike, x: npt.ArrayLike) -> tuple[Floats, Floats]:
        """Return where (y, x), from the centre, would be on a camera without distortion."""
        down, across = np.asarray(y, np.float64), np.asarray(x, np.float64)
        if self.ratio == 1.0:
            return down, across
        cosine, sine = math.cos(math.radians(self.angle)), math.sin(math.radians(self.angle))
        stretch = math.sqrt(self.ratio)
        along = (across * cosine + down * sine) / stretch
        beside = (down * cosine - across * sine) * stretch
        return along * sine + beside * cosine, along * cosine - beside * sine

    def radius(self, y: npt.ArrayLike, x: npt.ArrayLike) -> Floats:
        """Return the distance of (y, x) from the centre without distortion, rounded to 1e-9."""
        return np.asarray(np.round(np.hypot(*self.circular(y, x)), 9))
