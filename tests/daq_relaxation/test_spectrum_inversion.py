"""Spectra of relaxation times: known ones come back, no finer than they say."""

from __future__ import annotations

import numpy as np
import pytest

from daq_relaxation.laws import havriliak_negami, kww_decay
from daq_relaxation.spectrum_inversion import invert_decay, invert_moduli

F = np.logspace(-4, 4, 60)


def readings(chi: np.ndarray, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    amplitude, phase = np.random.default_rng(seed).standard_normal((2, len(F)))
    M = (3e10 - 2.5e10 * chi) * (1 + noise * amplitude) * np.exp(1j * noise * phase)
    return M.real, M.imag


def cole_cole(tau: np.ndarray, alpha: float) -> np.ndarray:
    """The exact spectrum of Cole-Cole with tau = 1 s, per unit of ln tau, strength 1."""
    x = alpha * np.log(tau)
    angle = np.pi * alpha
    return np.asarray(np.sin(angle) / (2 * np.pi * (np.cosh(x) + np.cos(angle))))


def test_a_known_spectrum_comes_back() -> None:
    chi = havriliak_negami(2 * np.pi * F, 1.0, 0.6, 1.0)
    found = invert_moduli(F, *readings(np.asarray(chi), 2e-3))
    inside = (found.tau > 1e-4) & (found.tau < 1e3)
    true = 2.5e10 * cole_cole(found.tau, 0.6)
    assert np.max(np.abs(found.density - true)[inside]) < 0.06 * true.max()
    assert np.all(found.density >= 0)
    assert found.strength == pytest.approx(2.5e10, rel=0.02)
    assert found.relaxed == pytest.approx(5e9, rel=0.04)
    assert found.noise == pytest.approx(2e-3, rel=0.3)


def test_one_relaxation_time_is_as_wide_as_the_resolution_says() -> None:
    chi = np.asarray(havriliak_negami(2 * np.pi * F, 1.0, 1.0, 1.0))
    for noise in (1e-3, 1e-2):
        found = invert_moduli(F, *readings(chi, noise))
        at = int(np.argmax(found.density))
        assert abs(np.log10(found.tau[at])) < 0.1
        half = np.flatnonzero(found.density > found.density[at] / 2)
        width = np.log10(found.tau[half[-1]] / found.tau[half[0]])
        assert width <= found.resolution[at] + 2 / 8


def test_more_noise_is_smoothed_more() -> None:
    chi = np.asarray(havriliak_negami(2 * np.pi * F, 1.0, 0.6, 1.0))
    fine, coarse = (invert_moduli(F, *readings(chi, noise)) for noise in (1e-3, 3e-2))
    assert coarse.smoothing > 10 * fine.smoothing
    middle = len(fine.tau) // 2
    assert coarse.resolution[middle] > fine.resolution[middle]
    assert fine.chi2 <= 1 + np.sqrt(2 / len(F) / 2) + 1e-9


def test_errors_are_the_scatter_from_noise() -> None:
    chi = np.asarray(havriliak_negami(2 * np.pi * F, 1.0, 0.6, 1.0))
    many = [invert_moduli(F, *readings(chi, 5e-3, seed)) for seed in range(16)]
    scatter = np.std([one.strength for one in many], ddof=1)
    quoted = np.median([one.strength_error for one in many])
    assert 0.5 < quoted / scatter < 2


def test_a_decay_in_time() -> None:
    t = np.logspace(-2, 4, 120)
    stress = 1e9 + 2e9 * np.asarray(kww_decay(t, 30.0, 0.6))
    stress = stress + 4e6 * np.random.default_rng(1).standard_normal(len(t))
    found = invert_decay(t, stress, np.ones(len(t)))
    assert found.relaxed == pytest.approx(1e9, rel=0.02)
    assert found.strength == pytest.approx(2e9, rel=0.03)
    # the mean of ln tau of KWW: ln 30 - (1/b - 1) Euler
    mean = np.sum(found.density * np.log(found.tau)) / np.sum(found.density)
    assert mean == pytest.approx(np.log(30) + (1 - 1 / 0.6) * 0.5772, abs=0.15)


def test_few_readings_are_refused() -> None:
    with pytest.raises(ValueError, match="four frequencies"):
        invert_moduli([1.0, 2.0], [1.0, 2.0], [1.0, 1.0])
    with pytest.raises(ValueError, match="four times"):
        invert_decay([0.0, 1.0, 2.0, 3.0], [1.0, 1.0, 1.0, 1.0])
