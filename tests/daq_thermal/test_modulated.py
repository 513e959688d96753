"""Modulated scans: what goes in comes out, and N_alpha follows from linear response."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import daq
from daq.testing import Records, check_analysis, run_analysis
from daq_simulators.tnm import Tnm
from daq_thermal import modulated as module
from daq_thermal.modulated import (
    Modulated,
    demodulate,
    dynamic_transition,
    transition_errors,
)
from daq_thermal.tnm import modes
from tests.daq_thermal.simulated import QUIET, changed, measured

SCAN: dict[str, Any] = {
    "heating_rates": [1.0], "start_temperature": 655.0, "programme": [745.0], "interval": 2.0,
    "modulation_amplitude": 0.5, "beta_enthalpy": 0.0, "crystallisation_heat": 0.0,
}  # fmt: skip
CONFIG: dict[str, Any] = {
    "glass": [657.0, 680.0], "liquid": [728.0, 744.0], "mean_atomic_mass": 74.1, "b": 0.55,
    "fragility": 60.0,
}  # fmt: skip


def found(dsc: Records, **config: Any) -> Any:
    return run_analysis(Modulated, {"dsc": dsc.stream}, dsc.batches(64), {**CONFIG, **config})


def linear_response(T: np.ndarray, period: float) -> np.ndarray:
    """c' - i c'' over glass of a liquid in equilibrium: 0.2 int (-dphi/dt) exp(-i w t) dt."""
    tau = Tnm(695.0, 160.0, 60.0, 0.7, 0.55).liquid_tau(T)
    # as a sum of Debye processes, which swings cannot spoil
    times, weights = modes(0.55)
    return 0.2 * np.sum(weights / (1 + 2j * np.pi / period * tau[:, None] * times), axis=1)


@pytest.mark.parametrize("phase", [0.0, 0.7, 2.0])
def test_amplitudes_are_found_on_a_slope(phase: float) -> None:
    t = np.arange(0.0, 60.0, 2.0)
    wave = 2 * np.pi / 60 * t
    T = 600 + t / 60 + 0.5 * np.cos(wave + phase)
    W = 0.01 + 1e-5 * t + 0.02 * np.cos(wave + phase + np.pi / 2 - 0.1)
    mean, rate, swing, flow = demodulate(t, T, W, 60.0)
    assert mean == pytest.approx(600 + 29 / 60, abs=1e-6)
    assert rate == pytest.approx(1 / 60)
    assert abs(swing) == pytest.approx(0.5)
    c = flow / (2j * np.pi / 60 * swing)
    assert abs(c) == pytest.approx(0.02 / 0.5 / (2 * np.pi / 60))
    assert -np.angle(c) == pytest.approx(0.1)


def test_a_transition_that_is_drawn_is_read_off() -> None:
    T = np.arange(600.0, 700.0)
    step = 1 / (1 + np.exp(-(T - 650) / 4))
    loss = 0.05 * np.exp(-0.5 * ((T - 648) / 6.5) ** 2)
    c = 0.33 + 0.22 * step - 1j * loss
    transition = dynamic_transition(T, c, (601, 620), (680, 699))
    assert transition.flags == 0
    assert pytest.approx(648, abs=0.1) == transition.T
    assert transition.spread == pytest.approx(6.5, abs=0.05)
    assert transition.c_glass == pytest.approx(0.33, abs=1e-3)
    assert transition.c_liquid == pytest.approx(0.55, abs=1e-3)
    flat = dynamic_transition(T, c * 0 + 0.33, (601, 620), (680, 699))
    assert flat.flags == module.NO_TRANSITION
    assert dynamic_transition(T, c, (500, 520), (680, 699)).flags == module.NO_RANGES


def test_the_heat_capacity_is_that_of_linear_response() -> None:
    dsc, _ = measured(**SCAN, **QUIET, baseline=[0.0, 0.0, 0.0])
    points = found(dsc)["heat_capacity"]
    T = points["temperature"]
    expected = linear_response(T, 60.0) * (1 - 5e-4 * (T - 695))
    glass = 0.36 + 1.2e-4 * (T - 695)
    # half a kelvin of swing is not quite linear
    np.testing.assert_allclose(points["c_real"], glass + expected.real, atol=0.008)
    np.testing.assert_allclose(points["c_loss"], -expected.imag, atol=0.006)
    np.testing.assert_allclose(points["amplitude"], 0.5, rtol=0.01)
    np.testing.assert_allclose(points["heating_rate"], 1, rtol=0.01)


def test_the_transition_is_that_of_linear_response() -> None:
    dsc, _ = measured(**SCAN)
    output = found(dsc)["transition"]
    T = np.arange(657.0, 745.0)
    glass = 0.36 + 1.2e-4 * (T - 695)
    expected = dynamic_transition(T, glass + linear_response(T, 60.0), (657, 680), (728, 744))
    assert output["final"][-1]
    assert output["temperature"][-1] == pytest.approx(expected.T, abs=0.7)
    assert output["spread"][-1] == pytest.approx(expected.spread, rel=0.06)
    mass, T_now, spread = 74.1, output["temperature"][-1], output["spread"][-1]
    units = 8.314 * T_now**2 / (mass * spread**2) * output["reciprocal_step"][-1]
    assert output["correlated_units"][-1] == pytest.approx(units)
    slope = 60 * np.log(10)
    step = output["c_liquid"][-1] - output["c_glass"][-1]
    dynamic = 8.314 / (step * mass) * (0.55 / np.e) ** 2 * slope**2
    assert output["dynamic_units"][-1] == pytest.approx(dynamic)
    assert np.isnan(found(dsc, b=None)["transition"]["dynamic_units"][-1])


def test_errors_of_noise_cover() -> None:
    T = np.arange(600.0, 700.0)
    step = 1 / (1 + np.exp(-(T - 650) / 4))
    loss = 0.05 * np.exp(-0.5 * ((T - 648) / 6.5) ** 2)
    clean = 0.33 + 0.22 * step - 1j * loss
    ranges = (601, 620), (680, 699)
    truth = dynamic_transition(T, clean, *ranges).numbers
    z = []
    for seed in range(30):
        added = 2e-3 * np.random.default_rng(seed).standard_normal((2, len(T)))
        c = clean + added[0] + 1j * added[1]
        covariance = transition_errors(T, c, *ranges, replicates=16)
        z.append((dynamic_transition(T, c, *ranges).numbers - truth) / covariance.diagonal() ** 0.5)
    assert 0.58 < np.mean(np.abs(z) < 1) < 0.8
    assert np.mean(np.abs(z) < 2) > 0.88


def test_errors_come_with_the_end_of_the_ramp() -> None:
    dsc, _ = measured(**SCAN)
    output = found(dsc, every=30)["transition"]
    for name in ("temperature", "spread", "reciprocal_step", "correlated_units"):
        assert np.isnan(output[f"{name}_errors"][:-1]).all()
        relative = output[f"{name}_errors"][-1] / output[name][-1]
        assert 1e-5 < relative < 0.06, name


def test_windows_with_holes_or_without_a_swing_are_passed_over() -> None:
    dsc, _ = measured(**SCAN, **QUIET)
    whole = len(found(dsc)["heat_capacity"])
    assert len(found(dsc.with_missing((95, 20)))["heat_capacity"]) == whole - 1
    assert len(found(dsc, least_amplitude=1.0)["heat_capacity"]) == 0
    flat, _ = measured(**{**SCAN, "modulation_amplitude": 0.0}, **QUIET)
    assert len(found(flat, period=60.0)["heat_capacity"]) == 0


def test_two_runs_are_two_transitions() -> None:
    dsc, _ = measured(**SCAN, **QUIET)
    plain = changed(dsc, drop=("sample", "segment"))
    twice = changed(
        plain, **{name: np.concatenate([values, values]) for name, values in plain.arrays.items()}
    )
    output = found(twice)["transition"]
    ends = np.flatnonzero(output["final"])
    assert len(ends) == 2
    assert output["spread"][ends[0]] == pytest.approx(output["spread"][ends[1]], rel=1e-9)


def test_keeps_its_promises() -> None:
    dsc, _ = measured(**{**SCAN, "start_temperature": 720.0, "interval": 7.0})
    config = {**CONFIG, "glass": [721.0, 726.0], "every": 10, "replicates": 2}
    check_analysis(Modulated, dsc, config, runs=1)


def test_refuses_what_cannot_be() -> None:
    dsc, _ = measured(**SCAN, **QUIET)
    with pytest.raises(ValueError, match="glass below the liquid"):
        found(dsc, glass=[700.0, 735.0])
    silent = daq.Stream("dsc", dsc.stream.fields,
                        attributes={"heat_flow_sign": "endothermic_positive"})  # fmt: skip
    with pytest.raises(ValueError, match="how long a period of its modulation is"):
        found(Records(silent, dsc.arrays))
