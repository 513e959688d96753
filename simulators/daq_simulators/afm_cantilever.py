"""A cantilever in tapping mode: from the energy that each cycle dissipates to the phase.

Qiao2019, eq. 3-10: E_dis = (sin phi - (w/w0)(A/A0)) pi k A A0 / Q, with the phase 90 degrees at the
free resonance; a free cantilever, sin phi = (w/w0)(A/A0), dissipates nothing.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

ELECTRONVOLT: Final = 1.602176634e-19
"""J."""

Mechanism = Literal["constant", "viscoelasticity", "hysteresis", "long_range"]

Convention = Literal["lag", "bruker", "zero", "unknown"]

EXPONENTS: Final[dict[str, tuple[float, float]]] = {
    "viscoelasticity": (1.0, 1.0),
    "hysteresis": (1 / 4, 1 / 2),
    "long_range": (1 / 3, 2 / 3),
}
"""E_dis ~ (A/A0)^p |cos phi|^q. By the virial theorem |cos phi| = 2Q<Fz>/(k A A0) (at w0), so it
tells how deep the tip goes, d: in a Hertz contact <Fz> ~ d^2 A^(1/2); a viscous loss is
~ d^2 A^(1/2), a hysteresis of the adhesion ~ d. Out of contact, at the least distance d,
<Fz> ~ A^(1/2) d^(-3/2) by the van der Waals force, the loss by its hysteresis ~ 1/d."""


@dataclasses.dataclass(frozen=True, slots=True)
class Cantilever:
    """A cantilever: k in N/m, frequencies in Hz, its free amplitude at resonance A0 in nm."""

    spring_constant: float
    resonance_frequency: float
    drive_frequency: float
    quality_factor: float
    free_amplitude: float

    @property
    def detuning(self) -> float:
        """w/w0."""
        return self.drive_frequency / self.resonance_frequency

    def energy(self, amplitude: npt.ArrayLike) -> Floats:
        """Return pi k A A0 / Q in eV, for amplitudes in nm."""
        joule = (
            math.pi * self.spring_constant * self.free_amplitude * 1e-18 / self.quality_factor
        ) * np.asarray(amplitude, np.float64)
        return np.asarray(joule / ELECTRONVOLT)

    def most(self, ratio: float) -> float:
        """Return the most that can be dissipated at A/A0 = ``ratio``, eV: phase 90 degrees."""
        return float((1 - self.detuning * ratio) * self.energy(ratio * self.free_amplitude))

    def phase(
        self,
        dissipation: npt.ArrayLike,
        amplitude: npt.ArrayLike,
        regime: Literal["repulsive", "attractive"] = "repulsive",
    ) -> Floats:
        """Return the phase in degrees, 90 at the free resonance: eq. 3-10 solved for phi.

        Repulsive: below 90, attractive: above. More than `most` cannot be dissipated: 90.
        ``dissipation`` in eV, ``amplitude`` in nm.
        """
        sine = np.asarray(dissipation) / self.energy(amplitude) + self.detuning * (
            np.asarray(amplitude) / self.free_amplitude
        )
        below = np.rad2deg(np.arcsin(np.minimum(sine, 1.0)))
        return np.asarray(below if regime == "repulsive" else 180 - below)

    def dissipation(
        self, known: npt.ArrayLike, known_ratio: float, ratio: float, mechanism: Mechanism
    ) -> Floats:
        """Return what is dissipated at ``ratio`` where ``known`` eV are at ``known_ratio``.

        By `EXPONENTS`: E = K r^p |cos phi|^q with eq. 3-10 for phi, K from what is known.
        """
        given = np.asarray(known, np.float64)
        if mechanism == "constant" or ratio == known_ratio:
            return np.minimum(given, self.most(ratio))
        p, q = EXPONENTS[mechanism]
        sine = given / self.energy(known_ratio * self.free_amplitude) + self.detuning * known_ratio
        cosine = np.sqrt(np.maximum(1 - np.minimum(sine, 1) ** 2, 1e-12))
        factor = given / (known_ratio**p * cosine**q)
        scale = float(self.energy(ratio * self.free_amplitude))
        free = self.detuning * ratio
        # sin phi between that of a free cantilever and 1: the one side rises, the other falls
        low, high = np.full(given.shape, min(free, 1.0)), np.ones(given.shape)
        for _ in range(50):
            middle = (low + high) / 2
            more = factor * ratio**p * (1 - middle**2) ** (q / 2) > (middle - free) * scale
            low, high = np.where(more, middle, low), np.where(more, high, middle)
        return np.asarray((low - free) * scale)


def shown_phase(phase: Floats, convention: Convention) -> Floats:
    """Return what a controller shows for a phase, degrees.

    "bruker": 0 at the free resonance and repulsive above, 90 - phi; "zero": 0 there and attractive
    above, phi - 90; "lag" and "unknown": phi.
    """
    if convention == "zero":
        return np.asarray(phase - 90)
    if convention == "bruker":
        return np.asarray(90 - phase)
    return phase


def phase_attributes(convention: Convention) -> dict[str, Any]:
    """Return what a stream says of its phases: phi = 90 + sign (phase - phase at resonance)."""
    if convention == "unknown":
        return {"phase_convention": "unknown: as it came"}
    at, attractive = (90.0, "above") if convention == "lag" else (0.0, "above")
    if convention == "bruker":
        attractive = "below"
    return {
        "phase_at_resonance": at,
        "phase_sign": 1 if attractive == "above" else -1,
        "phase_convention": (
            f"{convention}: {at:g} deg at free resonance, attraction {attractive}; kept"
        ),
    }
