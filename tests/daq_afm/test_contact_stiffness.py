"""The beam in contact: limits, a beam solved by finite differences, damping, references."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq

from daq_afm.contact_stiffness import FREE, Beam, Reference, calibrate, stiffness_ratio
from daq_simulators.afm_beam import ContactBeam

BEAM = Beam(300e3)


def frequency_of(ratio: float, beam: Beam = BEAM) -> float:
    """Return the contact resonance of a beam for k*/k."""
    high = beam.free_frequency * (beam._pinned() / FREE[beam.mode - 1]) ** 2
    return brentq(
        lambda f: float(stiffness_ratio(FREE[beam.mode - 1] * np.sqrt(f / beam.free_frequency),
                                        beam.tip_position)) - ratio,
        beam.free_frequency * (1 + 1e-12), high * (1 - 1e-9), xtol=1e-9,
    )  # fmt: skip


def test_free_and_pinned() -> None:
    assert BEAM.stiffness(300e3) == pytest.approx(0, abs=1e-9)
    assert np.tan(BEAM._pinned()) == pytest.approx(np.tanh(BEAM._pinned()), abs=1e-9)
    assert np.isnan(BEAM.stiffness([299e3, 1.4e6, np.nan])).all()
    ratio = BEAM.stiffness(np.linspace(300e3, 1.31e6, 500))
    assert (np.diff(ratio) > 0).all()


def bent_beam(ratio: complex, g: float, elements: int = 40) -> np.ndarray:
    """Return eigenvalues x^4 of a clamped beam of cubic elements with a spring at the part g."""
    h = 1 / elements
    k = np.array([[12, 6 * h, -12, 6 * h], [6 * h, 4 * h * h, -6 * h, 2 * h * h],
                  [-12, -6 * h, 12, -6 * h], [6 * h, 2 * h * h, -6 * h, 4 * h * h]]) / h**3  # fmt: skip
    m = np.array([[156, 22 * h, 54, -13 * h], [22 * h, 4 * h * h, 13 * h, -3 * h * h],
                  [54, 13 * h, 156, -22 * h], [-13 * h, -3 * h * h, -22 * h, 4 * h * h]]) * h / 420  # fmt: skip
    size = 2 * elements + 2
    K, M = np.zeros((size, size), complex), np.zeros((size, size))
    for e in range(elements):
        at = slice(2 * e, 2 * e + 4)
        K[at, at] += k
        M[at, at] += m
    K[2 * round(g * elements), 2 * round(g * elements)] += ratio * 3 / g**3
    values = np.linalg.eigvals(np.linalg.solve(M[2:, 2:], K[2:, 2:]))
    return values[np.argsort(values.real)]


@pytest.mark.parametrize("g", [1.0, 0.9, 0.7])
@pytest.mark.parametrize("ratio", [0.5, 10.0, 80.0])
@pytest.mark.parametrize("mode", [1, 2])
def test_the_formula_is_that_of_a_beam_of_finite_elements(
    g: float, ratio: float, mode: int
) -> None:
    x = bent_beam(ratio, g)[mode - 1].real ** 0.25
    beam = Beam(300e3, mode, g)
    assert beam.stiffness(300e3 * (x / FREE[mode - 1]) ** 2) == pytest.approx(ratio, rel=1e-4)


@pytest.mark.parametrize("loss", [0.001, 0.02, 0.1])
@pytest.mark.parametrize("own", [np.inf, 400.0])
def test_damping_is_that_of_a_lossy_spring(loss: float, own: float) -> None:
    x4 = bent_beam(20 * (1 + 1j * loss), 1.0)[0]
    # x^4 / x_1^4 = F^2 - i F / Q_free
    shift = 1j / own
    F = (shift + np.sqrt(shift**2 + 4 * x4 / FREE[0] ** 4)) / 2
    f, Q = abs(F), abs(F) / (2 * F.imag)
    beam = Beam(300e3, free_quality_factor=own)
    assert beam.loss_tangent(300e3 * f, Q) == pytest.approx(loss, rel=2e-3)


def test_it_is_the_beam_of_the_simulator_and_as_sensitive_as_the_papers_say() -> None:
    simulated = ContactBeam(40.0, 300e3, 165.0, 500.0)
    k = simulated.stiffness(np.array([60.0, 102.0, 150.0]), 10.0)
    f = simulated.frequency(k)
    np.testing.assert_allclose(BEAM.stiffness(f) * 40, k, rtol=1e-5)
    for hz in (0.8e6, 1.0e6):
        modulus = 100.0
        E = 1 / (1 / modulus + 1 / 165.0)
        per_percent = 0.01 * (E / modulus) * hz / (1.5 * BEAM.sensitivity(hz))
        assert 0.6e3 < per_percent < 2.2e3


@given(st.floats(40, 150), st.floats(0.5, 60), st.sampled_from(["sphere", "flat"]))
def test_references_are_given_back(modulus: float, ratio: float, contact: str) -> None:
    f = frequency_of(ratio)
    calibration = calibrate(BEAM, [Reference(f, modulus, 50.0, 2.0)], contact, 165.0)
    assert calibration.modulus(f) == pytest.approx(modulus, rel=1e-9)
    assert calibration.common_error(f) >= 2.0 / modulus * (1 - 1e-9)


def test_errors_of_modulus_cover() -> None:
    simulated = ContactBeam(40.0, 300e3, 165.0, 500.0)
    draw = np.random.default_rng(3)
    known, errors = np.array([70.0, 130.0]), np.array([2.0, 4.0])
    truth = 102.0
    f = simulated.frequency(simulated.stiffness(truth, 10.0))
    f_known = simulated.frequency(simulated.stiffness(known, 10.0))
    hits_common, hits_pixel = [], []
    for _ in range(300):
        believed = known + errors * draw.standard_normal(2)
        measured = f_known + 500 * draw.standard_normal(2)
        calibration = calibrate(
            BEAM,
            [Reference(a, b, 500.0, c) for a, b, c in zip(measured, believed, errors, strict=True)],
            "sphere", 165.0,
        )  # fmt: skip
        M = float(calibration.modulus(f))
        hits_common.append(abs(M / truth - 1) < float(calibration.common_error(f)))
    right = calibrate(BEAM, [Reference(float(f_known[0]), 70.0)], "sphere", 165.0)
    noisy = f + 400 * draw.standard_normal(3000)
    pulls = (right.modulus(noisy) - truth) / right.modulus_errors(noisy, 400.0)
    hits_pixel = np.abs(pulls) < 1
    assert 0.62 < np.mean(hits_common) < 0.78
    assert np.mean(hits_pixel) == pytest.approx(0.683, abs=0.03)
    assert np.isnan(right.ln_factor_error)


def test_references_that_cannot_be_are_refused() -> None:
    with pytest.raises(
        ValueError, match="200000 Hz is no contact resonance of a beam of 300000 Hz"
    ):
        calibrate(BEAM, [Reference(200e3, 70.0)], "sphere", 165.0)
    with pytest.raises(ValueError, match="at least one sample"):
        calibrate(BEAM, [], "sphere", 165.0)
    stiff = calibrate(BEAM, [Reference(8e5, 160.0)], "sphere", 165.0)
    assert np.isnan(stiff.modulus(1.2e6))


def test_references_without_errors_tell_by_their_scatter() -> None:
    simulated = ContactBeam(40.0, 300e3, 165.0, 500.0)
    draw = np.random.default_rng(8)
    known = np.array([60.0, 90.0, 140.0])
    f = simulated.frequency(simulated.stiffness(known, 10.0))
    truth = calibrate(BEAM, [Reference(float(f[0]), 60.0)], "sphere", 165.0).ln_factor
    hits = []
    for _ in range(300):
        believed = known * np.exp(0.03 * draw.standard_normal(3))
        found = calibrate(
            BEAM, [Reference(*pair) for pair in zip(f, believed, strict=True)], "sphere", 165.0
        )
        hits.append(abs(found.ln_factor - truth) < found.ln_factor_error)
    assert np.mean(hits) == pytest.approx(0.683, abs=0.07)
