"""Energies from heating rates: exact on paper, true on simulated heatings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from daq.testing import Records, check_analysis, make_stream, run_analysis
from daq_thermal.glass_transition import GlassTransition
from daq_thermal.kissinger import TEMPERATURES, Kissinger, fit_rates
from tests.daq_thermal.simulated import measured

RATES = np.array([5.0, 10.0, 20.0, 40.0])
E = 3e5


def peaks() -> np.ndarray:
    """Temperatures at which ln(T^2/q) = E/(R T) + const holds exactly."""
    T = np.full(4, 775.0)
    for _ in range(50):
        T = E / 8.314 / (2 * np.log(T) - np.log(RATES / 60) + 28.0)
    return T


def transitions(**values: Any) -> Records:
    dsc, _ = measured(**values)
    output = run_analysis(
        GlassTransition, {"dsc": dsc.stream}, dsc.batches(256), {"replicates": 3, "every": 400}
    )
    transition = output["transition"]
    return make_stream(
        "glass_transition.transition",
        {name: transition[name] for name in transition.stream.fields},
    )


MEASURED = {
    "heating_rates": RATES.tolist(), "cooling_rate": "heating_rate", "beta_enthalpy": 0.0,
    "start_temperature": 590.0, "programme": [745.0, 590.0, 830.0], "interval": 1.0,
}  # fmt: skip


def test_kissinger_is_exact_on_its_own_line() -> None:
    fit = fit_rates(RATES, peaks())
    assert fit.unweighted.energy == pytest.approx(E, rel=1e-9)
    assert fit.weighted is None
    plain = fit_rates(RATES, peaks(), method="arrhenius")
    # without T^2 the slope is higher by 2 R T
    assert plain.unweighted.energy - E == pytest.approx(2 * 8.314 * peaks().mean(), rel=0.02)


def test_errors_of_temperatures_cover() -> None:
    z = []
    for seed in range(100):
        T = peaks() + 0.3 * np.random.default_rng(seed).standard_normal(4)
        line = fit_rates(RATES, T, np.full(4, 0.3)).weighted
        assert line is not None
        z.append((line.energy - E) / line.energy_error)
    assert 0.58 < np.mean(np.abs(z) < 1) < 0.78


def test_simulated_samples_have_the_energies_of_their_processes() -> None:
    excess = transitions(**MEASURED)
    output = run_analysis(
        Kissinger, {excess.name: excess.stream}, excess.batches(), {"heating": 1}
    )["energies"]
    newest = {bytes(q): i for i, q in enumerate(output["quantity"])}
    assert set(newest) == {name.encode() for name in TEMPERATURES}
    peak = output["energy"][newest[b"crystallisation_peak"]]
    assert peak == pytest.approx(300, rel=0.01)
    # the liquid's apparent energy at T_g: m R T_g ln 10
    onset = output["energy"][newest[b"onset"]]
    assert onset == pytest.approx(60 * 8.314e-3 * 695 * np.log(10), rel=0.12)
    assert (output["heatings"][-4:] == 4).all()
    assert output["energy_rtg"][-1] == pytest.approx(output["energy"][-1] / (8.314e-3 * 695))


def test_keeps_its_promises() -> None:
    records = transitions(**MEASURED)
    check_analysis(Kissinger, records, {"temperature_error": 0.2}, runs=1)


def test_refuses_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="above 0"):
        fit_rates([0.0, 5.0], [700.0, 705.0])
    camera = make_stream("camera", {"frame": ("<u2", (4, 4))})
    with pytest.raises(ValueError, match="'transition' of an analysis of type"):
        run_analysis(Kissinger, {"camera": camera.stream}, camera.batches(), {})
