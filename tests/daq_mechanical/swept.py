"""Sweeps of a glass whose truth is known: one relaxation of HN form, VFT above T_g."""

from __future__ import annotations

from typing import Any

import numpy as np

import daq
from daq.testing import Records
from daq_relaxation.laws import havriliak_negami, vft_ln_tau

VFT = -30.0, 4500.0, 330.0
T = np.arange(459.0, 500.0, 4.5)
F = np.logspace(-1, 2, 10)
M_U, M_R = 3e10, 3e8
SHAPE = 0.95, 0.41


def ln_tau(temperature: Any) -> np.ndarray:
    return np.asarray(vft_ln_tau(np.asarray(temperature, float), *VFT))


def moduli(
    temperature: float, f: np.ndarray, random: np.random.Generator,
    noise: tuple[float, float] = (5e-3, 2e-3), shape: tuple[float, float] = SHAPE,
) -> np.ndarray:  # fmt: skip
    tau = np.exp(ln_tau(temperature))
    M = M_U - (M_U - M_R) * havriliak_negami(2 * np.pi * f, tau, *shape)
    amplitude, phase = random.standard_normal((2, len(f)))
    return np.asarray(M * (1 + noise[0] * amplitude) * np.exp(1j * noise[1] * phase))


def readings(
    temperatures: Any = T, f: np.ndarray = F, seed: int = 0, *, sample: int = 0, **values: Any
) -> Records:
    """One sweep after another, as a stream `dma` in MPa and degC without segments."""
    random = np.random.default_rng(seed)
    M = np.concatenate([moduli(one, f, random, **values) for one in temperatures])
    count = len(M)
    fields = {
        "temperature": daq.Field("<f8", (), "degC"), "frequency": daq.Field("<f8", (), "Hz"),
        "storage_modulus": daq.Field("<f8", (), "MPa"), "loss_modulus": daq.Field("<f8", (), "MPa"),
        "tan_delta": daq.Field("<f8"), "sample": daq.Field("<i4"),
    }  # fmt: skip
    return Records(
        daq.Stream("dma", fields),
        {
            "time": np.int64(1.7e18) + np.arange(count) * 10**10,
            "temperature": np.repeat(np.asarray(temperatures, float), len(f))
            - 273.15 + random.normal(0, 0.02, count),
            "frequency": np.tile(f, len(temperatures)),
            "storage_modulus": M.real / 1e6, "loss_modulus": M.imag / 1e6,
            "tan_delta": M.imag / M.real, "sample": np.full(count, sample, np.int32),
        },
    )  # fmt: skip


def joined(*parts: Records) -> Records:
    """Readings of several streams one after another, in time too."""
    arrays = {name: np.concatenate([p[name] for p in parts]) for name in parts[0].arrays}
    arrays["time"] = np.int64(1.7e18) + np.arange(len(arrays["time"])) * 10**10
    return Records(parts[0].stream, arrays)
