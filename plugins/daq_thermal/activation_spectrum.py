"""The activation-energy spectrum n0(E) of structural relaxation, from heat or from shear modulus.

Heated at a rate q, defects of energy E anneal out near the temperature T at which
E = k T ln(nu T/(q x)), x about E/(k T); over the range of a scan nearly E = A T (Qiao2019, 4.2).
Then n0(E) = -(dc/dT)/A. A defect that goes gives off G per unit volume (4-3), and changes ln G by
-beta (4-5): calorimetry and shear modulus must give the same spectrum. Energies in eV, n0 in 1/eV.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

import daq
from daq_relaxation.laws import K_B
from daq_thermal.readings import single

Floats = npt.NDArray[np.float64]


def energy_per_kelvin(T: float, rate: float, frequency: float = 1e13) -> float:
    """Return A of E = A T, eV/K, exact at T.

    A = k x with x = ln(nu T/(q (x + 2))) + 0.5772: the mean temperature at which defects of one
    energy go. (Of them exp(-xi) are left, xi = nu T exp(-x)/(q (x + 2)) but for terms of 1/x^2,
    and the mean of ln xi is minus Euler's constant.)

    Parameters
    ----------
    T
        K, the middle of the scan.
    rate
        q, K/s.
    frequency
        nu, attempts per second.

    Raises
    ------
    ValueError
        Numbers that are not above 0.
    """
    if not (T > 0 and rate > 0 and frequency > 0):
        raise ValueError("temperature, heating rate and frequency must be above 0")
    x = 30.0
    for _ in range(50):
        x = float(np.log(frequency * T / (rate * (x + 2))) + np.euler_gamma)
    return K_B * x


def spectrum_from_heat(difference: Floats, A: float, modulus: float, density: float) -> Floats:
    """Return n0, 1/eV, from the heat that relaxation gives off.

    rho D = -G dc/dT (4-6 with 4-5, alpha = 1), n0 = rho D/(A G).

    Parameters
    ----------
    difference
        D = c_standard - c_sample, J/(g K): positive where the sample gives off more.
    A
        eV/K.
    modulus
        G of the glass, Pa.
    density
        kg/m^3.
    """
    return np.asarray(density * 1e3 * difference / (A * modulus))


def spectrum_from_modulus(T: Floats, G: Floats, reference: Floats, A: float, beta: float) -> Floats:
    """Return n0, 1/eV, from shear moduli of the sample and of the same sample relaxed.

    c - c_relaxed = ln(G_relaxed/G)/beta (4-5), n0 = (d ln(G/G_relaxed)/dT)/(beta A).

    Parameters
    ----------
    T
        [n], K.
    G, reference
        [n], of the sample while it relaxes, and of the relaxed one, in one unit.
    A
        eV/K.
    beta
        Shear susceptibility.
    """
    return np.asarray(np.gradient(np.log(G / reference), T) / (beta * A))


class ActivationSpectrum(daq.Analysis):
    """n0(E) of what a sample gives off below its glass transition.

    Takes the stream ``traces`` of `excess_enthalpy`. Gives with each record:

    ``spectrum``
        ``density_of_energies`` n0, 1/eV, against the constant ``energy`` eV, up to the split (the
        onset of the glass transition: above it the law does not hold), NaN beyond; ``defects``,
        the area: how much the concentration falls (published: 0.0023). ``sample``.
    """

    name = "activation_spectrum"

    class Config(daq.Config):
        """What ``[analyses.NAME]`` with ``type = "activation_spectrum"`` may say."""

        heating_rate: float = daq.setting(20.0, "K/min", "of the scans", gt=0)
        shear_modulus: float = daq.setting(..., "GPa", "of the glass", gt=0)
        density: float = daq.setting(..., "g/cm^3", "of the glass", gt=0)
        frequency: float = daq.setting(1e13, "1/s", "attempts", gt=0)

    def open(self, streams: Mapping[str, daq.Stream], config: Any) -> Sequence[daq.Stream]:
        """Check the input; ValueError where it does not hold a trace and its standard."""
        stream = single(streams, self.name)
        for field in ("heat_flow", "standard", "sample", "split"):
            if field not in stream.fields:
                raise ValueError(
                    f"{stream.name} has no field {field!r}: the input is the stream 'traces' of an "
                    'analysis of type "excess_enthalpy"'
                )
        self._T = np.asarray(stream.constants["temperature"], np.float64)
        rate = config.heating_rate / 60
        self._rate = rate
        self._factor = float(spectrum_from_heat(
            np.ones(1), 1.0, 1e9 * config.shear_modulus, 1e3 * config.density
        )[0])  # fmt: skip
        self._A = np.array([energy_per_kelvin(float(T), rate, config.frequency) for T in self._T])
        energy = self._A * self._T
        self._slope = np.gradient(energy, self._T)
        axis = [{"name": "energy", "units": "eV", "values": "energy"}]
        return [
            daq.Stream(
                "spectrum",
                {
                    "density_of_energies": daq.Field("<f8", energy.shape, "1/eV", "n0"),
                    "defects": daq.Field("<f8", (), "", "fall of the concentration"),
                    "sample": daq.Field("<i4", (), "", "sample"),
                },
                axes={"density_of_energies": axis},
                constants={"energy": energy},
            )
        ]

    def process(self, batch: daq.Batch) -> Iterable[daq.Batch]:
        """Turn each pair of traces into a spectrum."""
        good = batch.valid
        D = (batch["standard"] - batch["heat_flow"]) / self._rate
        below = batch["split"][:, None] > self._T
        # n0 dE = -dc: with the slope dE/dT of each temperature, not with one A for all
        n0 = np.where(below, self._factor * D / self._slope, np.nan)
        defects = np.full(len(batch), np.nan)
        for i in range(len(batch)):
            known = np.isfinite(n0[i])
            if known.any():
                defects[i] = np.sum(np.where(known, n0[i] * self._slope, 0.0)) * (
                    self._T[1] - self._T[0]
                )
        yield daq.Batch(
            "spectrum",
            {
                "time": batch.time,
                "density_of_energies": n0,
                "defects": defects,
                "sample": batch["sample"].astype(np.int32),
            },
            valid=good,
        )
