"""What controllers mean by phase, and its conversion to one convention.

In the streams the phase is the lag of the cantilever behind its drive (Garcia and San Paulo 1999): 90 deg
at free resonance, larger where attraction prevails, smaller where repulsion does. A free cantilever
then obeys sin(phase) = (w/w0)(A/A0) (Zhu2016, eq. 3-10).
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

AT_RESONANCE: Final = 90.0
"""Phase at free resonance in the streams, deg; attraction is above."""

Side = Literal["above", "below"]
Controller = Literal["lag", "asylum", "bruker"]


@dataclasses.dataclass(frozen=True, slots=True)
class PhaseConvention:
    """What a controller shows: ``at_resonance`` (deg) there, and attraction ``above`` it or ``below``."""

    at_resonance: float
    attractive: Side
    source: str = "configuration"

    def to_lag(self, phase: npt.ArrayLike) -> Floats:
        """Return the lag (deg, float64, from -90 to below 270) of a phase that the controller shows (deg).

        lag = 90 + s (phase - at_resonance), s = 1 where attraction is above, else -1, the
        difference taken from -180 to below 180. NaN stays NaN.
        """
        difference = np.asarray(phase, np.float64) - self.at_resonance
        return AT_RESONANCE + _wrapped(self._sign * difference)

    def from_lag(self, lag: npt.ArrayLike) -> Floats:
        """Return what the controller shows (deg, within 180 of ``at_resonance``) for a lag (deg)."""
        return self.at_resonance + self._sign * _wrapped(np.asarray(lag, np.float64) - AT_RESONANCE)

    @property
    def _sign(self) -> float:
        return 1.0 if self.attractive == "above" else -1.0

    @property
    def attributes(self) -> dict[str, Any]:
        """Attributes of a stream whose phase was converted.

        ``phase_at_resonance`` (deg) and ``phase_sign`` (1: attraction above) are those of the
        stream, ``phase_convention`` says what the controller gave and what was done.
        """
        shown = f"{self.at_resonance:g} deg at free resonance, attraction {self.attractive}"
        done = "kept" if (self.at_resonance, self._sign) == (AT_RESONANCE, 1.0) else "converted"
        return {
            "phase_at_resonance": AT_RESONANCE,
            "phase_sign": 1,
            "phase_convention": f"{self.source}: {shown}; {done}",
        }


CONVENTIONS: Final[dict[str, PhaseConvention]] = {
    "lag": PhaseConvention(90.0, "above", "lag"),
    # as its tune leaves it: repulsive below 90
    "asylum": PhaseConvention(90.0, "above", "asylum"),
    # phase zeroed at resonance, stiffer is brighter
    "bruker": PhaseConvention(0.0, "below", "bruker"),
}
"""Conventions by the name that the configuration may say. A controller that was set up otherwise
needs ``phase_at_resonance`` and ``attractive_phase``."""

UNKNOWN: Final = {"phase_convention": "unknown: as it came"}
"""Attributes of a stream whose phase was left as it is."""


def chosen(
    controller: str | None,
    at_resonance: float | None,
    attractive: Side | None,
    default: PhaseConvention | None = None,
) -> PhaseConvention | None:
    """Return the convention that a configuration says, else ``default``; None where it is not known.

    ``controller`` names one of `CONVENTIONS`; ``at_resonance`` (deg) and ``attractive`` each replace what it
    says. Raises ValueError where only one of the two is given and nothing says the other.
    """
    base = CONVENTIONS[controller] if controller is not None else default
    if at_resonance is None and attractive is None:
        return base
    if base is None and (at_resonance is None or attractive is None):
        missing = "phase_at_resonance" if at_resonance is None else "attractive_phase"
        raise ValueError(f"the phase needs {missing} too, or phase_convention")
    return PhaseConvention(
        base.at_resonance if at_resonance is None and base else float(at_resonance or 0.0),
        attractive if attractive is not None else base.attractive,  # type: ignore[union-attr]
    )


def _wrapped(difference: Floats) -> Floats:
    """Return angles (deg) from -180 to below 180; those that are there already stay bit by bit."""
    inside = (difference >= -180.0) & (difference < 180.0)
    return np.where(inside, difference, (difference + 180.0) % 360.0 - 180.0)
