"""The enthalpy of a metallic glass along a thermal history: alpha, beta, crystallisation.

Per gram, from equilibrium:

    dH/dt = c_p dT/dt + (1 - X) [dc_p(T_f) dT_f/dt + dH_beta/dt] - Q dX/dt

with the glass's c_p(T), the fictive temperature T_f of `daq_simulators.tnm`, and the crystallised
part X, which leaves the c_p of the glass behind. Alpha alone does not give the kinetics
below T_g that were published (26 RT_g), so a quench freezes a second channel, H_beta:

    H_beta = H_0 exp(-xi_beta^b) exp(-xi),  xi_beta = int dt/tau_beta,
    ln tau_beta = ln tau_0 + E/(R T)

The last factor: what the alpha relaxation has reached (reduced time xi) is forgotten.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import numpy.typing as npt

from daq_simulators.tnm import Floats, R, Tnm


@dataclasses.dataclass(frozen=True, slots=True)
class Beta:
    """The beta-enthalpy channel: ``enthalpy`` J/g at the quench, ``b``, ``ln_tau0`` (s), E J/mol."""

    enthalpy: float
    b: float
    ln_tau0: float
    energy: float

    def tau(self, T: npt.ArrayLike) -> Floats:
        """Return tau_beta at T, s."""
        return np.asarray(np.exp(self.ln_tau0 + self.energy / (R * np.asarray(T, np.float64))))

    def remaining(self, seconds: Floats, kelvin: Floats) -> Floats:
        """Return exp(-xi_beta^b) at each point [n] of a history that begins with the quench."""
        middle = (kelvin[1:] + kelvin[:-1]) / 2
        rate = (1 / self.tau(kelvin[:-1]) + 4 / self.tau(middle) + 1 / self.tau(kelvin[1:])) / 6
        reduced = np.concatenate([[0.0], np.cumsum(np.diff(seconds) * rate)])
        return np.asarray(np.exp(-(reduced**self.b)))


@dataclasses.dataclass(frozen=True, slots=True)
class Crystallisation:
    """X = 1 - exp(-(int k dt)^n), k = k_0 exp(-E/(R T)); ``heat`` J/g is set free.

    k is given by ``peak`` K, where k = E q/(R T^2) at the heating ``rate`` q K/min: there dX/dt
    is largest, but for terms of RT/E.
    """

    heat: float
    n: float
    energy: float
    peak: float
    rate: float

    def crystallised(self, seconds: Floats, kelvin: Floats) -> Floats:
        """Return X at each point [n] of a history.

        Each heating or cooling transforms what the ones before have left, without their nuclei.
        """
        left = np.ones_like(kelvin)
        turns = np.flatnonzero(np.diff(np.sign(np.diff(kelvin)))) + 1
        for begin, end in itertools.pairwise([0, *turns.tolist(), len(kelvin) - 1]):
            part = slice(begin, end + 1)
            left[part] = left[begin] * (1 - self._in_one_go(seconds[part], kelvin[part]))
        return 1 - left

    def _in_one_go(self, seconds: Floats, kelvin: Floats) -> Floats:
        at_peak = self.energy * self.rate / 60 / (R * self.peak**2)

        def k(T: Floats) -> Floats:
            return at_peak * np.exp(-self.energy / R * (1 / T - 1 / self.peak))

        middle = (kelvin[1:] + kelvin[:-1]) / 2
        mean = (k(kelvin[:-1]) + 4 * k(middle) + k(kelvin[1:])) / 6
        reduced = np.concatenate([[0.0], np.cumsum(np.diff(seconds) * mean)])
        return np.asarray(-np.expm1(-(reduced**self.n)))


@dataclasses.dataclass(frozen=True, slots=True)
class Glass:
    """What a gram of the sample is made of.

    Parameters
    ----------
    c_p, c_p_slope
        Of the glass: c_p at T_g, J/(g K), and its slope, J/(g K^2).
    step, step_slope
        dc_p at T_g, J/(g K), and its slope, J/(g K^2).
    alpha, beta, crystallisation
        The three processes; None: does not crystallise.
    """

    c_p: float
    c_p_slope: float
    step: float
    step_slope: float
    alpha: Tnm
    beta: Beta
    crystallisation: Crystallisation | None

    def glass_heat_capacity(self, T: npt.ArrayLike) -> Floats:
        """Return c_p of the glass at T, J/(g K)."""
        return np.asarray(self.c_p + self.c_p_slope * (np.asarray(T) - self.alpha.T_g))

    def heat_capacity_step(self, T: npt.ArrayLike) -> Floats:
        """Return dc_p between liquid and glass at T, J/(g K)."""
        return np.asarray(self.step + self.step_slope * (np.asarray(T) - self.alpha.T_g))

    def glass_enthalpy(self, T: Floats) -> Floats:
        """Return the integral of the glass's c_p from T_g to T, J/g."""
        d = T - self.alpha.T_g
        return np.asarray(self.c_p * d + self.c_p_slope * d**2 / 2)

    def alpha_enthalpy(self, T_f: npt.ArrayLike) -> Floats:
        """Return the integral of dc_p from T_g to the fictive temperature, J/g."""
        d = np.asarray(T_f) - self.alpha.T_g
        return np.asarray(self.step * d + self.step_slope * d**2 / 2)


@dataclasses.dataclass(frozen=True, slots=True)
class History:
    """A sample along its history; all [n] float64.

    ``fictive`` T_f K, ``beta`` H_beta J/g (before crystallisation), ``crystallised`` X,
    ``enthalpy`` H J/g.
    """

    seconds: Floats
    kelvin: Floats
    fictive: Floats
    beta: Floats
    crystallised: Floats
    enthalpy: Floats


def along(glass: Glass, seconds: Floats, kelvin: Floats, quenched: int) -> History:
    """Follow a sample through a history that begins as a liquid in equilibrium.

    Parameters
    ----------
    seconds, kelvin
        [n], steps of half a kelvin or less.
    quenched
        Index of the point at which the quench has ended: there H_beta is whole.
    """
    fictive, reduced = glass.alpha.fictive_temperature(seconds, kelvin)
    beta = np.zeros_like(kelvin)
    forgotten = np.exp(-(reduced[quenched:] - reduced[quenched]))
    beta[quenched:] = glass.beta.remaining(seconds[quenched:], kelvin[quenched:])
    beta[quenched:] *= glass.beta.enthalpy * forgotten
    crystallised = np.zeros_like(kelvin)
    if glass.crystallisation is not None:
        crystallised[quenched:] = glass.crystallisation.crystallised(
            seconds[quenched:], kelvin[quenched:]
        )
    heat = 0.0 if glass.crystallisation is None else glass.crystallisation.heat
    amorphous = glass.alpha_enthalpy(fictive) + beta
    # (1 - X) belongs to the changes: what has crystallised takes no part in them any more
    share = 1 - (crystallised[1:] + crystallised[:-1]) / 2
    changes = np.concatenate([amorphous[:1], np.diff(amorphous) * share])
    enthalpy = glass.glass_enthalpy(kelvin) + np.cumsum(changes) - heat * crystallised
    return History(seconds, kelvin, fictive, beta, crystallised, enthalpy)
