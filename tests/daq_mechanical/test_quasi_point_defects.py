"""The correlation factor chi: its slope, errors that cover, and what is no power law."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import daq
from daq.testing import Records, check_analysis, record_source, run_analysis
from daq_mechanical.quasi_point_defects import (
    BENT,
    DETERMINED,
    TOO_FEW,
    QuasiPointDefects,
    fit_slope,
)
from daq_simulators.mechanical_spectrometer import MechanicalSpectrometer

F = np.geomspace(0.1, 30, 6)
T_G = 672.0


def chi_of(T: np.ndarray, scale: float) -> np.ndarray:
    """Constant in the glass, rising above: as the theory has it."""
    return scale * (0.35 + 0.004 * np.maximum(T - T_G, 0))


def glass(seed: int, scales: tuple[float, ...] = (1.0,), noise: float = 0.02) -> Records:
    """Sweeps of a glass that obeys the theory, one sample after another."""
    draw = np.random.default_rng(seed)
    kelvin = np.array([610.0, 625, 640, 655, 680, 695, 710, 725])
    shape = (len(scales), len(kelvin), len(F))
    T, f = np.broadcast_to(kelvin[:, None], shape), np.broadcast_to(F, shape)
    chi = np.stack([np.broadcast_to(chi_of(kelvin, s)[:, None], shape[1:]) for s in scales])
    tan = 0.02 * (2 * np.pi * f) ** -chi * np.exp(0.01 * (T - 650))
    tan = tan * (1 + noise * draw.standard_normal(shape))
    sample = np.broadcast_to(np.arange(len(scales))[:, None, None], shape)
    arrays: dict[str, Any] = {
        "temperature": T.ravel(), "frequency": f.ravel(),
        "storage_modulus": np.full(tan.size, 8e10), "loss_modulus": 8e10 * tan.ravel(),
        "sample": sample.ravel().astype(np.int32), "time": np.arange(tan.size) * 10**10,
    }  # fmt: skip
    units = {"temperature": "K", "frequency": "Hz", "sample": ""}
    fields = {
        n: daq.Field(a.dtype.str, (), units.get(n, "Pa")) for n, a in arrays.items() if n != "time"
    }
    return Records(
        daq.Stream("dma", fields), {n: np.ascontiguousarray(a) for n, a in arrays.items()}
    )


def results(records: Records, **config: Any) -> Any:
    return run_analysis(
        QuasiPointDefects, {records.name: records.stream}, records.batches(64), config
    )


def test_errors_cover_the_truth_also_where_the_temperature_moves() -> None:
    omega = np.repeat(np.geomspace(0.1, 30, 5), 2)
    T = 600 + 0.5 * np.arange(10)
    for moves in (True, False):
        z = []
        for seed in range(300):
            draw = np.random.default_rng(seed)
            tan = 0.02 * omega**-0.35 * (1 + 0.02 * draw.standard_normal(10))
            if moves:
                tan = tan * np.exp(0.01 * (T - 600))
            found = fit_slope(omega, tan, T if moves else np.full(10, 600.0))
            z.append((found.chi - 0.35) / found.chi_error)
        assert 0.62 < np.mean(np.abs(z) < 1) < 0.76


def test_chi_is_constant_below_T_g_and_rises_above() -> None:
    output = results(glass(0), T_g=T_G)
    chi = output["chi"]
    z = (chi["chi"] - chi_of(chi["temperature"], 1.0)) / chi["chi_errors"]
    assert np.abs(z).max() < 4
    last = {n: output["states"][n][-1] for n in output["states"].stream.fields}
    assert last["chi_glass"] == pytest.approx(0.35, abs=4 * last["chi_glass_errors"])
    assert last["chi2"] < 5 * last["dof"]
    assert last["rise"] == pytest.approx(0.004, abs=4 * last["rise_errors"])
    assert last["rise"] > 3 * last["rise_errors"]


def test_a_rolled_glass_has_more() -> None:
    """Higher chi is more mobile: rolling raises it, ageing lowers it (Qiao2019, 4.2)."""
    states = results(glass(1, (1.0, 1.15, 1.0)), T_g=T_G)["states"]
    last = {s: np.flatnonzero(states["sample"] == s)[-1] for s in (0, 1, 2)}
    assert states["difference"][last[1]] == pytest.approx(0.35 * 0.15, abs=0.02)
    assert states["significance"][last[1]] > 3
    assert abs(states["significance"][last[2]]) < 3.5
    assert np.isnan(states["difference"][last[0]])


def test_a_peak_in_the_window_is_no_power_law() -> None:
    config = {
        "programme": "sweeps", "frequencies": np.geomspace(0.1, 100, 12).tolist(),
        "temperatures": [350.0, 430.0],
    }  # fmt: skip
    (records,) = record_source(MechanicalSpectrometer, config, name="dma").values()
    assert results(records)["chi"]["flag"][0] == BENT


def test_ramps_at_several_frequencies_are_cut_into_windows() -> None:
    config = {
        "frequencies": [1.0, 3.0, 10.0, 30.0], "heating_rate": 1.0, "alloy": "Vit105",
        "start_temperature": 600.0, "end_temperature": 650.0,
    }  # fmt: skip
    (records,) = record_source(MechanicalSpectrometer, config, name="dma").values()
    chi = results(records, width=5.0)["chi"]
    assert 9 <= len(chi) <= 11
    assert (chi["frequencies"] == 4).all()
    assert (chi["flag"] != TOO_FEW).all()
    assert (np.diff(chi["temperature"]) > 4).all()


def test_one_frequency_says_nothing() -> None:
    found = fit_slope(np.ones(5), np.full(5, 0.02), np.full(5, 600.0))
    assert found.flag == TOO_FEW
    assert np.isnan(found.chi)


def test_readings_below_zero_are_counted() -> None:
    records = glass(0)
    loss = records["loss_modulus"].copy()
    loss[[1, 7]] = -1e8
    chi = results(records.replaced(loss_modulus=loss))["chi"]
    assert chi["left_out"][:2].sum() == 2
    assert chi["flag"][0] == DETERMINED
    assert chi["readings"][0] == 5


def test_keeps_its_promises() -> None:
    check_analysis(QuasiPointDefects, glass(0), {"T_g": T_G}, runs=2, reconfigure_to={"T_g": 650.0})
