"""The simulated contact resonance: beam and contact are right, and lines hold what is said."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import brentq

import daq
from daq.config import validated
from daq.testing import check_source
from daq_simulators.afm_beam import FREE, PINNED, ContactBeam, response, stiffness_ratio
from daq_simulators.afm_contact_resonance import AfmContactResonance
from tests.daq_simulators.afm_lines import resonance_lines

BEAM = ContactBeam(40.0, 300e3, 165.0, 500.0)
QUIET = {"height_noise": 0.0, "frequency_noise": 0.0, "quality_factor_noise": 0.0}


def configured(**values: Any) -> Any:
    return validated(AfmContactResonance.Config, values, "sources.afm")


def test_wave_numbers_are_roots_of_the_beam() -> None:
    assert 1 + np.cos(FREE) * np.cosh(FREE) == pytest.approx(0, abs=1e-12)
    assert np.tan(PINNED) == pytest.approx(np.tanh(PINNED), abs=1e-12)
    # a soft spring adds k* to k: f^2 ~ k + k* times the modal k / k of the first mode, 1.0302
    assert float(BEAM.frequency(0.4)) / 300e3 == pytest.approx(np.sqrt(1 + 0.01 / 1.0302), abs=1e-5)
    assert float(BEAM.frequency(1e7)) / 300e3 == pytest.approx((PINNED / FREE) ** 2, rel=1e-3)


@pytest.mark.parametrize("ratio", [0.3, 5.0, 12.0, 200.0])
def test_frequency_solves_the_characteristic_equation(ratio: float) -> None:
    def determinant(kappa: float) -> float:
        """Of the four boundary conditions of the beam with a spring at its end."""
        c, s, ch, sh = np.cos(kappa), np.sin(kappa), np.cosh(kappa), np.sinh(kappa)
        shear = 3 * ratio / kappa**3
        # w = A (cos - cosh) + B (sin - sinh): no moment, and the shear of the spring, at the end
        moment = [c + ch, s + sh]
        force = [s - sh - shear * (c - ch), -c - ch - shear * (s - sh)]
        return float(moment[0] * force[1] - moment[1] * force[0])

    kappa = brentq(determinant, FREE + 1e-9, PINNED - 1e-9, xtol=1e-14)
    assert float(stiffness_ratio(kappa)) == pytest.approx(ratio, rel=1e-9)
    found = float(BEAM.frequency(ratio * 40))
    assert found == pytest.approx(300e3 * (kappa / FREE) ** 2, rel=2e-8)


def test_stiffness_is_that_of_hertz() -> None:
    reduced, radius, force = 1e9 / (1 / 102 + 1 / 165), 10e-9, 500e-9
    contact = np.cbrt(3 * force * radius / (4 * reduced))
    assert float(BEAM.stiffness(102, 10)) == pytest.approx(2 * contact * reduced)


@pytest.mark.parametrize("modulus", [42.0, 60.0, 102.0])
def test_the_sensitivity_is_that_of_the_papers(modulus: float) -> None:
    low, high = BEAM.frequency(BEAM.stiffness(modulus * np.array([0.995, 1.005]), 10))
    assert 1000 < high - low < 1400
    assert BEAM.slope(modulus, 10) / 100 == pytest.approx(high - low, rel=1e-3)
    assert 0.8e6 < float(BEAM.frequency(BEAM.stiffness(modulus, 10))) < 1e6


@pytest.mark.parametrize(
    ("modulus", "fluctuation", "length"),
    [(102.0, 300.0, 7.5), (40.0, 700.0, 40.0), (42.0, 1200.0, 100.0)],
)
def test_fluctuation_and_length_of_the_frequency(
    modulus: float, fluctuation: float, length: float
) -> None:
    step = length / 4
    lines, truth = resonance_lines(
        modulus=modulus, fluctuation=fluctuation, correlation_length=length, step=(step, step),
        scan=(64, 64), places=24, retrace=False, **QUIET,
    )  # fmt: skip
    maps = lines["frequency"].reshape(24, 64, 64).astype(float)
    ranges = np.ptp(np.quantile(maps, [0.05, 0.95], axis=(1, 2)), axis=0)
    # the field holds a few hundred correlation areas, and is a little narrower than the ensemble
    assert ranges.mean() == pytest.approx(fluctuation, rel=0.03)
    sigma = fluctuation / 3.28971
    for lag in (1, 4, 8):
        each = np.mean((maps[:, :, lag:] - maps[:, :, :-lag]) ** 2, axis=(1, 2))
        wanted = 2 * sigma**2 * (1 - np.exp(-((lag / 4) ** 1.4)))
        assert each.mean() == pytest.approx(
            wanted, abs=3.5 * each.std() / np.sqrt(24) + 1e-3 * wanted
        )
    assert float(truth["relative_spread"]) * 100 * float(truth["slope"]) == pytest.approx(
        sigma, rel=1e-5
    )


def test_lines_are_the_truth_and_noise() -> None:
    lines, truth = resonance_lines(frequency_noise=30.0, quality_factor_noise=2.0, places=2)
    for channel, name, sd in (
        ("frequency", "frequency_map", 30), ("quality_factor", "quality_map", 2),
        ("height", "surface_map", 0.02),
    ):  # fmt: skip
        away = lines[channel].reshape(2, 64, 64) - truth[name]
        assert away.std() == pytest.approx(sd, rel=0.05)
        assert abs(away.mean()) < 0.06 * sd
    beam = BEAM.frequency(BEAM.stiffness(truth["modulus_map"].astype(float), 10))
    np.testing.assert_allclose(truth["frequency_map"], beam, atol=0.1)
    coupled = np.corrcoef(truth["modulus_map"].ravel(), truth["quality_map"].ravel())[0, 1]
    assert coupled == pytest.approx(0.5, abs=0.2)
    assert truth["quality_map"].std() == pytest.approx(0.03 * 150, rel=0.2)


def test_resonance_drifts_and_steps_from_line_to_line() -> None:
    still, _ = resonance_lines(scan=(60, 8), **QUIET)
    moved, _ = resonance_lines(scan=(60, 8), frequency_drift=100.0, **QUIET)
    rise = (moved["frequency"] - still["frequency"])[:, 0]
    np.testing.assert_allclose(rise, np.arange(60) * 100 / 60, atol=0.15)
    stepped, _ = resonance_lines(scan=(60, 8), frequency_line_noise=80.0, **QUIET)
    offset = stepped["frequency"] - still["frequency"]
    assert np.ptp(offset, axis=1).max() < 0.2
    assert offset[:, 0].std() == pytest.approx(80, rel=0.3)


def test_a_tip_that_wears_stiffens_the_contact() -> None:
    lines, truth = resonance_lines(scan=(60, 8), tip_wear=60.0, fluctuation=0.0, **QUIET)
    np.testing.assert_allclose(truth["radius"], 10 + np.arange(60) / 60)
    wanted = BEAM.frequency(BEAM.stiffness(102, truth["radius"]))
    np.testing.assert_allclose(lines["frequency"][:, 3], wanted, atol=0.1)


def test_a_resonance_curve_is_that_of_an_oscillator() -> None:
    f0, quality = 900e3, 120.0
    sweep = np.linspace(850e3, 950e3, 2001)
    curve = response(sweep, np.array([f0]), np.array([quality]), 0.5)[0]
    assert abs(curve[1000]) == pytest.approx(0.5)
    assert np.degrees(np.angle(curve[1000])) == pytest.approx(-90)
    # x'' + (w0/Q) x' + w0^2 x = drive, in time
    spring = (2 * np.pi * f0) ** 2
    answer = spring - (2 * np.pi * sweep) ** 2 + 2j * np.pi * sweep * 2 * np.pi * f0 / quality
    np.testing.assert_allclose(curve, 0.5 / quality * spring / answer, rtol=1e-12)
    # half the power at f0 (1 -+ 1/2Q)
    wide = sweep[np.abs(curve) > 0.5 / np.sqrt(2)]
    assert np.ptp(wide) == pytest.approx(f0 / quality, rel=0.02)


@pytest.mark.parametrize("form", ["complex", "polar"])
def test_curves_hold_frequency_and_quality_of_the_truth(form: str) -> None:
    lines, truth = resonance_lines(scan=(12, 16), output="response", response_format=form,
                                   response_noise=0.002)  # fmt: skip
    sweep = lines.stream.constants["sweep_frequency"]
    if form == "complex":
        curve = lines["response_real"] + 1j * lines["response_imag"]
        assert lines.stream.fields["response_real"].units == "nm"
    else:
        turn = np.exp(1j * np.radians(lines["response_phase"].astype(float)))
        curve = lines["response_amplitude"] * turn
    assert curve.shape == (12, 16, 48)
    assert "frequency" not in lines.stream.fields
    # 1/H = (Q/A) (1 - u^2 + i u / Q), u = f/f0: linear in f^2 (real) and in f (imaginary)
    weight = np.abs(curve) ** 2
    inverse = 1 / curve
    x = sweep**2 / 1e12
    mean = (weight * x).sum(-1, keepdims=True) / weight.sum(-1, keepdims=True)
    line = (weight * inverse.real).sum(-1) / weight.sum(-1)
    slope = (weight * (x - mean) * inverse.real).sum(-1) / (weight * (x - mean) ** 2).sum(-1)
    f0 = 1e6 * np.sqrt(mean[..., 0] - line / slope)
    away = f0 - truth["frequency_map"][0]
    # the error of f0: noise / amplitude times f0/Q over the root of the points on the peak
    assert away.std() < 25
    assert abs(away.mean()) < 3 * away.std() / np.sqrt(away.size) + 2
    gain = (weight * inverse.imag * sweep).sum(-1) / (weight * sweep**2).sum(-1)
    # Q/A from the slope, 1/A from the imaginary part
    quality = -slope * f0**2 / 1e12 / (gain * f0)
    assert np.median(quality / truth["quality_map"][0]) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("start", [5, 33])
def test_goes_on_anywhere_with_the_same_lines(start: int) -> None:
    values = {"scan": (16, 8), "places": 3, "direction": "alternate", "batch": 7, "speed": 0}
    whole, _ = resonance_lines(**values)
    source = AfmContactResonance()
    source.open(configured(**values))
    rest = [batch.raw["frequency"] for batch in source.batches({"": start})]
    np.testing.assert_array_equal(np.concatenate(rest), whole["frequency"][start:])


@pytest.mark.parametrize("output", ["frequency", "response"])
def test_keeps_the_promises_of_a_source(output: str) -> None:
    found = check_source(
        AfmContactResonance,
        {"scan": (12, 8), "places": 2, "speed": 0, "batch": 5, "output": output},
    )
    (records,) = found.values()
    assert records.stream.attributes["mode"] == "contact_resonance"
    assert len(records) == 24


def test_is_registered() -> None:
    import daq_simulators

    assert AfmContactResonance in daq_simulators.daq_sources()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"fluctuation": 100.0, "modulus_spread": 0.01}, "either this or modulus_spread"),
        ({"fluctuation": 1e5}, "would need a modulus that varies by 28%"),
        ({"sweep_span": 400.0}, "frequencies below 0"),
        ({"modulus_gpa": 100.0}, "no such key; did you mean 'modulus"),
    ],
)
def test_refuses_what_cannot_be(values: dict[str, Any], said: str) -> None:
    with pytest.raises(daq.ConfigError, match=said):
        configured(**values)
