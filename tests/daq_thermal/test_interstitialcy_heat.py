"""From a shear modulus to heat: what goes in as defects comes out as heat."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import daq
from daq.testing import Records, check_analysis, run_analysis
from daq_thermal.interstitialcy import shear_modulus
from daq_thermal.interstitialcy_heat import Interstitialcy

T = np.arange(400.0, 700.0, 0.5)
C = 0.02 - 0.002 / (1 + np.exp(-(T - 600) / 15))
MU = 40e9 * (1 - 1e-4 * (T - 300))
CONFIG: dict[str, Any] = {
    "crystal_modulus": 40.0, "crystal_slope": -1e-4, "beta": 18.0, "density": 6.9,
}  # fmt: skip


def heated(units: str = "GPa", noise: float = 0.0) -> Records:
    scale = {"GPa": 1e9, "Pa": 1.0, "psi": 1.0}[units]
    G = shear_modulus(MU, C, 18) / scale
    G = G * (1 + noise * np.random.default_rng(0).standard_normal(len(T)))
    fields = {
        "temperature": daq.Field("<f8", (), "K"), "shear_modulus": daq.Field("<f8", (), units),
        "crystal": daq.Field("<f8", (), "Pa"),
    }  # fmt: skip
    time = np.arange(len(T)) * 1_500_000_000
    return Records(
        daq.Stream("dma", fields),
        {"temperature": T, "shear_modulus": np.asarray(G), "crystal": MU, "time": time},
    )


def found(records: Records, **config: Any) -> Any:
    return run_analysis(
        Interstitialcy, {"dma": records.stream}, records.batches(64), {**CONFIG, **config}
    )


@pytest.mark.parametrize("units", ["GPa", "Pa"])
def test_defects_and_heat_are_those_that_were_put_in(units: str) -> None:
    output = found(heated(units))
    np.testing.assert_allclose(output["state"]["concentration"], C, atol=1e-12)
    heat = output["heat_flow"]
    np.testing.assert_array_equal(heat["temperature"], T[5:-5])
    np.testing.assert_allclose(heat["heating_rate"], 20)
    # W = (dT/dt) alpha G/rho dc/dT, of 4-5 in 4-6
    G = shear_modulus(MU, C, 18)
    expected = np.gradient(C, T) / 3 * G / 6900 / 1e3
    np.testing.assert_allclose(heat["heat_flow"], expected[5:-5], atol=1e-4)
    assert heat["heat_flow"].min() < -5e-3, "defects that go give off heat"


def test_a_crystal_that_was_measured_is_taken() -> None:
    one, other = found(heated()), found(heated(), crystal="crystal", crystal_modulus=None)
    np.testing.assert_allclose(one["heat_flow"]["heat_flow"], other["heat_flow"]["heat_flow"])


def test_energy_and_density_follow_the_modulus() -> None:
    state = found(heated())["state"]
    G = shear_modulus(MU, C, 18)
    np.testing.assert_allclose(state["internal_energy"], (MU - G) / 18 / 6900 / 1e3)
    np.testing.assert_allclose(state["density_change"], 0.6 / 18 * np.log(G / G[0]), atol=1e-12)


def test_lost_readings_are_left_out() -> None:
    output = found(heated().with_missing((100, 3)))
    assert len(output["state"]["temperature"]) == len(T) - 3
    assert len(output["heat_flow"]["temperature"]) == len(T) - 13


def test_keeps_its_promises() -> None:
    whole = heated(noise=1e-4)
    few = {name: values[:150] for name, values in whole.arrays.items()}
    check_analysis(Interstitialcy, Records(whole.stream, few), CONFIG, runs=1)


@pytest.mark.parametrize(
    ("units", "config", "said"),
    [
        ("psi", {}, "shear_modulus is in 'psi'"),
        ("GPa", {"modulus": "storage"}, "storage is absent"),
        ("GPa", {"crystal_modulus": None}, "either crystal .* or crystal_modulus"),
        ("GPa", {"crystal": "crystal"}, "either crystal .* or crystal_modulus"),
    ],
)
def test_refuses_what_cannot_be(units: str, config: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        found(heated(units), **config)
