"""The modulus of a metallic glass: alpha, slow beta and fast beta' relaxation.

    M*(w, T) = M_u(T) [1 - d_alpha chi_alpha - d_beta chi_beta - d_fast chi_fast]

with chi of Havriliak-Negami, Cole-Cole or KWW form, so that all of the modulus relaxes in the
liquid: d_alpha = 1 - d_beta - d_fast (Qiao2019, 2-3 to 2-7). Written for the simulators alone:
what analyses fit is written elsewhere, by itself.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Complexes = npt.NDArray[np.complex128]

R: Final = 8.314


@dataclasses.dataclass(frozen=True, slots=True)
class Alpha:
    """The alpha relaxation: VFT above T_g, Arrhenius in the glass below it.

    Parameters
    ----------
    T_g
        K, where tau is ``tau_g`` (s).
    fragility
        m = d log10 tau / d(T_g/T) of the liquid at T_g.
    log10_tau0
        Of the liquid at infinite temperature, s.
    glass_energy
        Of the glass below T_g, R T_g; None: VFT there too.
    form
        ``hn`` with ``alpha`` and ``gamma``, or ``kww`` with ``b``.
    """

    T_g: float
    fragility: float
    tau_g: float = 100.0
    log10_tau0: float = -14.0
    glass_energy: float | None = 40.0
    form: Literal["hn", "kww"] = "hn"
    alpha: float = 0.95
    gamma: float = 0.41
    b: float = 0.5

    @property
    def vft(self) -> tuple[float, float, float]:
        """Of the liquid: ln tau0 (s), B and T0 (K)."""
        ln_tau0 = self.log10_tau0 * np.log(10)
        rise = np.log(self.tau_g) - ln_tau0
        above = self.T_g * rise / (self.fragility * np.log(10))
        return float(ln_tau0), float(rise * above), float(self.T_g - above)

    def ln_tau(self, T: npt.ArrayLike) -> Floats:
        """Return ln(tau/s) at T, K."""
        kelvin = np.asarray(T, np.float64)
        ln_tau0, B, T0 = self.vft
        liquid = ln_tau0 + B / np.maximum(kelvin - T0, 1e-3)
        if self.glass_energy is None:
            return np.asarray(liquid)
        glass = np.log(self.tau_g) + self.glass_energy * (self.T_g / kelvin - 1)
        return np.where(kelvin < self.T_g, glass, liquid)

    def chi(self, omega: Floats, T: Floats, slower: float | Floats = 0.0) -> Complexes:
        """Return the susceptibility at omega, rad/s, and T, K; ``slower`` is added to ln tau."""
        tau = np.exp(self.ln_tau(T) + slower)
        if self.form == "kww":
            return kww_susceptibility(omega * tau, self.b)
        return hn_susceptibility(omega * tau, self.alpha, self.gamma)


@dataclasses.dataclass(frozen=True, slots=True)
class Secondary:
    """A secondary relaxation: Cole-Cole with an Arrhenius law.

    ``strength`` is its part of M_u, ``energy`` in R T_g, ``alpha`` the exponent of Cole-Cole.
    """

    strength: float
    energy: float
    log10_tau0: float
    alpha: float

    def ln_tau(self, T: npt.ArrayLike, T_g: float) -> Floats:
        """Return ln(tau/s) at T, K."""
        kelvin = np.asarray(T, np.float64)
        return np.asarray(self.log10_tau0 * np.log(10) + self.energy * T_g / kelvin)

    def chi(self, omega: Floats, T: Floats, T_g: float, slower: float | Floats = 0.0) -> Complexes:
        """Return the susceptibility at omega, rad/s, and T, K; ``slower`` is added to ln tau."""
        return hn_susceptibility(omega * np.exp(self.ln_tau(T, T_g) + slower), self.alpha, 1.0)

    def peak_temperature(self, frequency: npt.ArrayLike, T_g: float) -> Floats:
        """Return T, K, at which omega tau = 1."""
        ln_tau = -np.log(2 * np.pi * np.asarray(frequency, np.float64))
        return np.asarray(self.energy * T_g / (ln_tau - self.log10_tau0 * np.log(10)))

    @property
    def height(self) -> float:
        """The highest loss over M_u: strength tan(pi alpha/4)/2."""
        return float(self.strength * np.tan(np.pi * self.alpha / 4) / 2)


@dataclasses.dataclass(frozen=True, slots=True)
class Alloy:
    """A glass.

    Parameters
    ----------
    modulus
        M_u at 300 K, GPa.
    softening
        -d ln M_u / dT, 1/K.
    kind
        What the slow beta relaxation shows as at 1 Hz beside the alpha peak.
    """

    name: str
    modulus: float
    alpha: Alpha
    beta: Secondary
    fast: Secondary
    kind: Literal["peak", "shoulder", "wing"]
    softening: float = 3e-4

    def unrelaxed(self, T: npt.ArrayLike) -> Floats:
        """Return M_u at T, K, in Pa."""
        return np.asarray(
            1e9 * self.modulus * (1 - self.softening * (np.asarray(T, np.float64) - 300))
        )

    def dynamic_modulus(
        self,
        omega: npt.ArrayLike,
        T: npt.ArrayLike,
        *,
        beta_scale: float | Floats = 1.0,
        beta_slower: float | Floats = 0.0,
        alpha_slower: float | Floats = 0.0,
    ) -> Complexes:
        """Return M* = M' + i M'', Pa; all broadcast.

        Parameters
        ----------
        omega
            rad/s.
        T
            K.
        beta_scale
            What the strength of the slow beta relaxation is multiplied with.
        beta_slower, alpha_slower
            Added to ln tau.
        """
        w, kelvin = np.broadcast_arrays(np.asarray(omega, np.float64), np.asarray(T, np.float64))
        T_g = self.alpha.T_g
        strength = self.beta.strength * beta_scale
        relaxed = (
            (1 - strength - self.fast.strength) * self.alpha.chi(w, kelvin, alpha_slower)
            + strength * self.beta.chi(w, kelvin, T_g, beta_slower)
            + self.fast.strength * self.fast.chi(w, kelvin, T_g)
        )
        return np.asarray(self.unrelaxed(kelvin) * (1 - relaxed))

    def peaks(self, frequency: float) -> dict[str, float]:
        """Return where the modes have their loss peaks at a frequency, Hz, by themselves, K."""
        T_g = self.alpha.T_g
        T = np.linspace(0.9 * T_g, 1.4 * T_g, 5001)
        loss = self.unrelaxed(T) * -self.alpha.chi(np.full_like(T, 2 * np.pi * frequency), T).imag
        return {
            "alpha": float(T[loss.argmax()]),
            "beta": float(self.beta.peak_temperature(frequency, T_g)),
            "fast": float(self.fast.peak_temperature(frequency, T_g)),
        }


def hn_susceptibility(x: npt.ArrayLike, alpha: float, gamma: float) -> Complexes:
    """Return [1 + (i x)^alpha]^-gamma, x = omega tau (Qiao2019, 2-5)."""
    ln_x = np.log(np.asarray(x, np.float64))
    # (i x)^alpha by its modulus and angle
    power = np.exp(np.minimum(alpha * ln_x, 600.0)) * np.exp(0.5j * np.pi * alpha)
    return np.asarray((1 + power) ** -gamma)


def kww_susceptibility(x: npt.ArrayLike, b: float) -> Complexes:
    """Return the Fourier transform of -d/dt exp(-(t/tau)^b), x = omega tau (Qiao2019, 2-4, 2-7).

    Along the ray t = s exp(-i pi/4), on which both factors decay without swinging much, by the
    trapezoidal rule in ln s; relative error 1e-10 for b from 0.2 to 1.
    """
    flat = np.atleast_1d(np.asarray(x, np.float64)).ravel()
    turn = np.exp(-0.25j * np.pi)
    ln_s = np.arange(-24.0, 4.2, 0.04)
    found = np.empty(len(flat), np.complex128)
    for i, value in enumerate(flat):
        # from where little has decayed to where all has: by either factor, the earlier one
        end = min(np.log(60 / np.cos(b * np.pi / 4)) / b, np.log(60 / np.sin(np.pi / 4) / value))
        u = end - 4.2 / b + ln_s / b
        power = np.exp(b * u) * turn**b
        found[i] = 0.04 * np.sum(power * np.exp(-power - 1j * value * np.exp(u) * turn))
    return np.asarray(found.reshape(np.shape(x)) if np.shape(x) else found[0])


def _alloys() -> dict[str, Alloy]:
    # Qiao2019 and CR-AFM where science has numbers (T_g, E_beta = 26 R T_g, tau0 of La-Ni-Al, kinds);
    # the rest is chosen so that peak, shoulder and wing come out at 1 Hz and 3 K/min as published.
    none = Secondary(0.0, 12.0, -14.0, 0.3)
    return {
        alloy.name: alloy
        for alloy in (
            Alloy("La60Ni15Al25", 34.0, Alpha(461.0, 40.0),
                  Secondary(0.25, 26.0, -15.7, 0.35), none, "peak"),
            Alloy("La60Cu15Al25", 32.0, Alpha(404.0, 40.0),
                  Secondary(0.15, 26.0, -13.6, 0.35), none, "shoulder"),
            Alloy("Vit105", 82.0, Alpha(672.0, 44.0),
                  Secondary(0.04, 26.0, -13.0, 0.30), none, "wing"),
            Alloy("Pd42.5Ni7.5Cu30P20", 95.0, Alpha(574.0, 58.0),
                  Secondary(0.12, 26.0, -13.8, 0.35), Secondary(0.04, 12.0, -14.0, 0.35),
                  "shoulder"),
        )
    }  # fmt: skip


ALLOYS: Final[dict[str, Alloy]] = _alloys()
"""Presets by name."""


def changed(alloy: Alloy, values: dict[str, Any]) -> Alloy:
    """Return an alloy with other numbers: keys of `Alloy`, ``alpha_...``, ``beta_...``, ``fast_...``."""
    parts: dict[str, dict[str, Any]] = {"": {}, "alpha": {}, "beta": {}, "fast": {}}
    for key, value in values.items():
        head, _, rest = key.partition("_")
        part = head if head in parts and rest else ""
        parts[part][rest if part else key] = value
    return dataclasses.replace(
        alloy,
        **parts[""],
        alpha=dataclasses.replace(alloy.alpha, **parts["alpha"]),
        beta=dataclasses.replace(alloy.beta, **parts["beta"]),
        fast=dataclasses.replace(alloy.fast, **parts["fast"]),
    )
