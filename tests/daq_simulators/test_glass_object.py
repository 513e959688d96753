"""The specimen is as configured, and its truth is that of what the probe sees."""

from __future__ import annotations

import numpy as np
import pytest

from daq_simulators.glass_object import Glass, GlassObject, Wedge, smooth_field
from daq_simulators.probe import Probe

PROBE = Probe(0.638, 0.2, 64)
POSITIONS = (np.arange(30) * 0.3, np.arange(60) * 0.3)


def made(**values: float) -> GlassObject:
    glass = {"median_tau": 500.0, "ln_tau_sd": 0.75, "gamma": 1.0, "gamma_sd": 0.0, "w": 0.8,
             "w_sd": 0.05, "length": 1.5, "coupling": 0.5}  # fmt: skip
    wedge = {"thickness": 45.0, "gradient": 1.0, "edge": 0.1, "roughness": 0.3, "width": 18.0}
    for name, value in values.items():
        (glass if name in glass else wedge)[name] = value
    return GlassObject(
        np.random.SeedSequence(5), PROBE, POSITIONS, ((0, 0), (0, 0)), Glass(**glass),
        Wedge(**wedge),
    )  # fmt: skip


@pytest.mark.parametrize("coupling", [-0.7, 0.0, 0.5, 1.0])
def test_spread_and_coupling_are_exact(coupling: float) -> None:
    truth = made(coupling=coupling).truth
    glass = np.isfinite(truth["w"])
    ln_tau, w = truth["ln_tau"][glass], truth["w"][glass]
    assert ln_tau.mean() == pytest.approx(np.log(500), abs=1e-6)
    assert ln_tau.std() == pytest.approx(0.75, abs=1e-6)
    assert w.mean() == pytest.approx(0.8, abs=1e-6)
    assert w.std() == pytest.approx(0.05, abs=1e-6)
    assert np.corrcoef(ln_tau, w)[0, 1] == pytest.approx(coupling, abs=1e-6)


def test_uniform_glass() -> None:
    truth = made(ln_tau_sd=0.0, w_sd=0.0, gamma=0.7).truth
    glass = np.isfinite(truth["tau"])
    np.testing.assert_allclose(truth["tau"][glass], 500, rtol=1e-6)
    np.testing.assert_allclose(truth["gamma"][glass], 0.7, rtol=1e-6)
    np.testing.assert_allclose(truth["w"][glass], 0.8, rtol=1e-9)


def test_truth_is_what_the_wave_does() -> None:
    specimen = made(edge=0.0, gradient=0.0, ln_tau_sd=1.0)
    truth = specimen.truth
    # at its own tau, each position has kept 1/e of the wave (mean over many positions)
    weight = PROBE.amplitude() ** 2
    y, x = specimen.pixel_of(POSITIONS[0][:, None], POSITIONS[1][None, :])
    first = specimen.wave(0.0)
    kept = []
    for row, column in np.ndindex(truth["tau"].shape):
        if row % 5 or column % 5:
            continue
        top = round(float(y[row, 0])) - PROBE.middle
        left = round(float(x[0, column])) - PROBE.middle
        at = slice(top, top + PROBE.size), slice(left, left + PROBE.size)
        later = specimen.wave(truth["tau"][row, column])
        kept.append((weight * later[at] * first[at].conj()).sum().real)
    # each is that of some 150 pixels with 4 oscillators
    assert np.mean(kept) == pytest.approx(np.exp(-1), abs=0.02)
    assert np.std(kept) < 0.08


def test_wedge() -> None:
    truth = made().truth
    thickness = truth["thickness"]
    assert np.isnan(truth["tau"][:, 0]).all()
    assert thickness[:, 0].max() < 1.0
    np.testing.assert_allclose(thickness[:, 45], 45, atol=0.5)
    np.testing.assert_allclose(np.diff(thickness[:, 40:], axis=1) / 0.3, 1.0, atol=0.1)
    power = np.abs(made(ln_tau_sd=0.0).wave(0.0)) ** 2
    assert power[:, : PROBE.middle].max() == 0, "vacuum scatters nothing"


@pytest.mark.parametrize("length", [3.0, 8.0])
def test_correlation_length(length: float) -> None:
    draw = np.random.default_rng(0)
    field = np.array([smooth_field(draw, (200, 200), length) for _ in range(8)])
    assert field.var() == pytest.approx(1, abs=0.15)
    for distance in (1, int(length), int(2 * length)):
        found = (field[:, distance:] * field[:, :-distance]).mean() / (field**2).mean()
        assert found == pytest.approx(np.exp(-((distance / length) ** 2)), abs=0.06)


def test_too_large() -> None:
    glass = Glass(500.0, 0.5, 1.0, 0.0, 0.8, 0.05, 1.5, 0.5)
    wedge = Wedge(45.0, 1.0, 0.1, 0.3, 18.0)
    with pytest.raises(ValueError, match="too large"):
        GlassObject(np.random.SeedSequence(5), PROBE, POSITIONS, ((0, 5e3), (0, 0)), glass, wedge)
