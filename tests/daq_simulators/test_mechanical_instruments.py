"""Simulated mechanical instruments: programmes, noise and truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import daq
import daq_simulators
from daq.config import validated
from daq.testing import check_source
from daq_mechanical.kelvin import kelvin_loading
from daq_simulators.mechanical_indenter import Nanoindenter, fields_of, kelvin
from daq_simulators.mechanical_relaxation_tester import RelaxationTester
from daq_simulators.mechanical_spectrometer import MechanicalSpectrometer

QUIET = {"noise": 0.0, "phase_noise": 0.0, "temperature_noise": 0.0}


def measured(kind: Any, **values: Any) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    source = kind()
    source.open(validated(kind.Config, values, "sources.x"))
    batches = list(source.batches({}))
    fields = {name: np.concatenate([b.raw[name] for b in batches]) for name in batches[0].raw}
    return fields, dict(source.truth())


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        (MechanicalSpectrometer, {"interval": 60.0, "batch": 7}),
        (RelaxationTester, {"points": 15, "temperatures": [400.0, 450.0]}),
        (Nanoindenter, {"shape": [2, 3], "sampling_rate": 1000.0, "bad_part": 0.5, "batch": 4}),
    ],
)
def test_keep_the_promises_of_a_source(kind: Any, config: dict[str, Any]) -> None:
    assert kind in daq_simulators.daq_sources()
    check_source(kind, config)


def test_a_ramp_is_what_the_sample_does() -> None:
    fields, truth = measured(MechanicalSpectrometer, frequencies=[1.0, 10.0], **QUIET)
    np.testing.assert_allclose(fields["storage_modulus"], truth["storage_modulus"], rtol=1e-12)
    np.testing.assert_allclose(fields["loss_modulus"], truth["loss_modulus"], rtol=1e-12)
    np.testing.assert_allclose(
        fields["tan_delta"], fields["loss_modulus"] / fields["storage_modulus"]
    )
    np.testing.assert_array_equal(fields["frequency"][:4], [1, 10, 1, 10])
    minutes = (fields["time"][-1] - fields["time"][0]) / 6e10
    assert (fields["temperature"][-1] - 300) / minutes == pytest.approx(3, rel=1e-6)


def test_noise_is_what_is_said_and_comes_from_the_seed() -> None:
    noisy, truth = measured(MechanicalSpectrometer, temperature_noise=0.0)
    other, _ = measured(MechanicalSpectrometer, temperature_noise=0.0, seed=1)
    M = truth["storage_modulus"] + 1j * truth["loss_modulus"]
    ratio = (noisy["storage_modulus"] + 1j * noisy["loss_modulus"]) / M
    assert np.std(np.abs(ratio)) == pytest.approx(2e-3, rel=0.15)
    assert np.std(np.angle(ratio)) == pytest.approx(5e-4, rel=0.15)
    assert not np.array_equal(noisy["loss_modulus"], other["loss_modulus"])


def test_a_compliance_adds_to_that_of_the_sample() -> None:
    stiff, _ = measured(MechanicalSpectrometer, **QUIET)
    soft, _ = measured(MechanicalSpectrometer, compliance=1e-3, **QUIET, units="GPa")
    M, seen = (f["storage_modulus"] + 1j * f["loss_modulus"] for f in (stiff, soft))
    np.testing.assert_allclose(1 / seen - 1 / (M / 1e9), 1e-3, atol=1e-12)


def test_sweeps_take_their_time() -> None:
    fields, _ = measured(
        MechanicalSpectrometer, programme="sweeps", frequencies=[0.01, 0.1, 1.0, 10.0],
        temperatures=[470.0, 480.0],
    )  # fmt: skip
    np.testing.assert_array_equal(fields["segment"], np.repeat([0, 1], 4))
    np.testing.assert_allclose(fields["elapsed"][:4], 120 + np.cumsum([300, 30, 3, 2]))
    np.testing.assert_array_equal(fields["temperature"], np.repeat([470.0, 480.0], 4))


def test_ageing_goes_along_the_line_of_the_double_well() -> None:
    fields, truth = measured(
        MechanicalSpectrometer, programme="ageing", frequencies=[0.1, 1.0, 10.0],
        ageing_times=[600.0, 6000.0], states=[1.0, 0.7], interval=300.0, **QUIET,
    )  # fmt: skip
    at = fields["temperature"] == 343
    line = truth["ln_tau_beta"][at] + 2 * np.log(truth["beta_strength"][at])
    np.testing.assert_allclose(line, line[0], rtol=1e-12)
    assert set(fields["ageing_time"][at]) == {0.0, 600.0, 6000.0}
    hold = (fields["temperature"] == 433) & (fields["sample"] == 0)
    assert (np.diff(fields["tan_delta"][hold]) < 0).all()
    first = [fields["loss_modulus"][at & (fields["sample"] == s)][:3].max() for s in (0, 1)]
    assert first[1] == pytest.approx(0.7 * first[0], rel=0.1)


def test_stress_relaxes_as_it_is_said() -> None:
    fields, truth = measured(RelaxationTester, noise=0.0)
    count = 120
    for k in range(len(truth["truth_temperature"])):
        rows = slice(k * count, (k + 1) * count)
        decayed = np.exp(-((fields["elapsed"][rows] / np.exp(truth["ln_tau"][k])) ** truth["b"][k]))
        expected = truth["decay"][k] * decayed + truth["remnant"][k]
        np.testing.assert_allclose(fields["stress"][rows], expected, rtol=1e-9, atol=1.0)
    # Qiao2019, Fig. 57: 0.2, then 0.5 up to T_g, then rising
    assert truth["b"][0] == pytest.approx(0.2, abs=0.03)
    np.testing.assert_allclose(truth["b"][1:6], 0.5, atol=0.02)
    assert truth["b"][7] > truth["b"][6] > 0.6


def test_creep_is_a_burgers_body() -> None:
    fields, truth = measured(
        RelaxationTester, programme="creep", temperatures=[450.0], strain_noise=0.0,
        spacing="uniform",
    )  # fmt: skip
    rate = np.diff(fields["strain"])[-1] / np.diff(fields["elapsed"])[-1]
    assert 50e6 / (3 * rate) == pytest.approx(truth["viscosity"][0], rel=1e-6)
    assert fields["strain"][0] > truth["instantaneous"][0]


def test_an_indent_solves_its_equation() -> None:
    corners = np.array([0.0, 0.002, 0.003, 0.02, 0.04])
    loads = np.array([-1e-4, -1e-4, 8e-4, 8e-4, 2e-6])
    t = np.linspace(0, 0.04, 401)
    found = kelvin(t, corners, loads, 5e-9, 5e-4)

    def rate(s: float, y: np.ndarray) -> np.ndarray:
        return (5e-9 * max(np.interp(s, corners, loads), 0.0) - y) / 5e-4

    exact = solve_ivp(rate, (0, 0.04), [0.0], t_eval=t, rtol=1e-9, atol=1e-18, max_step=2e-5)
    np.testing.assert_allclose(found, exact.y[0], rtol=1e-5, atol=1e-17)


def test_loading_is_equation_3_9() -> None:
    t = np.linspace(0, 1e-3, 50)
    K = 3 * (1 - 0.363) / (8 * np.sqrt(2e-6) * 30e9)
    ours = kelvin(t, np.array([0.0, 1e-3]), np.array([0.0, 8e-4]), K, 2e-4)
    printed = kelvin_loading(t, 0.8, 30e9, 2e-4, 2e-6, 0.363)
    np.testing.assert_allclose(ours ** (2 / 3), printed, rtol=1e-9, atol=1e-18)
    # Qiao2019, Fig. 35: some 27 nm at 800 uN
    np.testing.assert_allclose((K * 8e-4) ** (2 / 3), 27.3e-9, rtol=0.01)


def test_fields_of_properties_have_their_length() -> None:
    y, x = (a.ravel() * 100.0 for a in np.indices((11, 11)).astype(float))
    draws = [fields_of(x, y, 150.0, np.random.default_rng(seed)) for seed in range(60)]
    first = np.array([d[0].reshape(11, 11) for d in draws])
    assert first.std() == pytest.approx(1, rel=0.1)
    neighbours = np.mean(first[:, :, 1:] * first[:, :, :-1])
    assert neighbours == pytest.approx(np.exp(-100 / 150), abs=0.08)
    assert np.mean([np.mean(a * b) for a, b in draws]) == pytest.approx(0, abs=0.06)


def test_bad_indents_are_bad() -> None:
    fields, truth = measured(
        Nanoindenter, shape=[5, 5], sampling_rate=3000.0, bad_part=0.8, depth_noise=0.0, drift=0.0
    )
    assert set(truth["bad"]) == {0, 1, 2, 3}
    cut = np.isnan(fields["depth"]).any(axis=1)
    np.testing.assert_array_equal(cut, truth["bad"] == 3)
    np.testing.assert_allclose(truth["eta"], 1e9 * truth["G"] * truth["t_c"])


@pytest.mark.parametrize(
    ("kind", "values", "said"),
    [
        (MechanicalSpectrometer, {"alloy": "Vit1"}, "not one of"),
        (MechanicalSpectrometer, {"states": [5.0]}, "more than the modulus"),
        (MechanicalSpectrometer, {"programme": "ageing", "ageing_times": [20.0, 10.0]}, "longer"),
        (MechanicalSpectrometer, {"end_temperature": 300.5}, "another one"),
        (RelaxationTester, {"first_time": 9000.0}, "before the duration"),
        (Nanoindenter, {"tip": 1}, "no such key"),
    ],
)
def test_refuse_what_cannot_be(kind: Any, values: dict[str, Any], said: str) -> None:
    with pytest.raises(daq.ConfigError, match=said):
        validated(kind.Config, values, "sources.x")
