"""Correlation of two maps: its significance knows that pixels are not independent."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, pearsonr, spearmanr

from daq.testing import check_analysis, run_analysis
from daq_afm.height_phase import HeightPhase
from daq_afm.map_correlation import correlate_maps, ranks
from tests.daq_afm.made_lines import scan_lines
from tests.daq_afm.surfaces import surfaces

ALL = np.ones((64, 64), bool)


def test_is_the_correlation_of_scipy() -> None:
    drawn = surfaces((64, 64), 4.0, 0.7, 1)
    one, noise = next(drawn), next(drawn)
    other = one + 2 * noise
    good = np.random.default_rng(1).random(ALL.shape) > 0.1
    found = correlate_maps(one, other, good)
    assert found.value == pytest.approx(pearsonr(one[good], other[good])[0], abs=1e-12)
    by_rank = correlate_maps(ranks(one, good), ranks(other, good), good)
    assert by_rank.value == pytest.approx(spearmanr(one[good], other[good])[0], abs=1e-12)
    assert found.effective_samples < good.sum() / 10


def test_white_noise_has_as_many_samples_as_pixels() -> None:
    one, other = np.random.default_rng(2).standard_normal((2, 64, 64))
    assert correlate_maps(one, other, ALL).effective_samples == pytest.approx(4096, rel=0.1)


def test_smooth_unrelated_maps_do_not_pass() -> None:
    drawn, count = surfaces((64, 64), 4.0, 0.8, 3), 150
    passed = naive = 0
    for _ in range(count):
        one, other = ranks(next(drawn), ALL), ranks(next(drawn), ALL)
        passed += correlate_maps(one, other, ALL).p_value < 0.05
        naive += pearsonr(one.ravel(), other.ravel())[1] < 0.05
    assert passed <= binom.ppf(0.999, count, 0.06)
    assert naive > 0.6 * count, "as those do that count pixels"


@pytest.mark.parametrize("rho", [0.0, 0.6])
def test_errors_hold(rho: float) -> None:
    drawn, count = surfaces((64, 64), 3.0, 0.7, 4), 120
    within = {"pearson": 0, "spearman": 0}
    truth = {"pearson": rho, "spearman": 6 / np.pi * np.arcsin(rho / 2)}
    for _ in range(count):
        one, noise = next(drawn), next(drawn)
        other = rho * one + np.sqrt(1 - rho**2) * noise
        for name, (a, b) in {
            "pearson": (one, other), "spearman": (ranks(one, ALL), ranks(other, ALL)),
        }.items():  # fmt: skip
            found = correlate_maps(a, b, ALL)
            within[name] += abs(found.value - truth[name]) <= found.error
    for name, number in within.items():
        least, most = binom.ppf([0.001, 0.999], count, [0.65, 0.69])
        assert least <= number <= most, name


def test_what_is_related_passes() -> None:
    drawn = surfaces((64, 64), 3.0, 0.7, 5)
    one, noise = next(drawn), next(drawn)
    assert correlate_maps(one, one + 0.5 * noise, ALL).p_value < 1e-6
    same = correlate_maps(one, -3 * one + 2, ALL)
    assert same.value == pytest.approx(-1) and same.error < 1e-6


@pytest.mark.parametrize("spoilt", ["constant", "small", "empty"])
def test_what_cannot_be_said(spoilt: str) -> None:
    one, other = np.random.default_rng(6).standard_normal((2, 64, 64))
    good = ALL.copy()
    if spoilt == "constant":
        one = np.full_like(one, 3.0)
    else:
        good[5 if spoilt == "small" else 0 :] = False
    found = correlate_maps(one, other, good)
    assert np.isnan([found.value, found.error, found.p_value, found.effective_samples]).all()


def lines() -> object:
    drawn = surfaces((24, 32), 2.0, 0.7, 7)
    height = np.stack([next(drawn) for _ in range(2)])
    phase = 70 + 0.8 * height + np.stack([next(drawn) for _ in range(2)])
    return scan_lines({"height": height, "phase": phase})


def test_line_by_line() -> None:
    records = lines()
    found = run_analysis(HeightPhase, {"afm": records.stream}, records.batches(7), {"every": 12})[
        "correlation"
    ]
    assert found["lines"].tolist() == [12, 24, 12, 24]
    assert found["final"].tolist() == [0, 1, 0, 1]
    assert found["scan"].tolist() == [0, 0, 1, 1]
    height, phase = records["height"].astype(float), records["phase"].astype(float)
    for k, part in enumerate([slice(0, 12), slice(0, 24), slice(24, 36), slice(24, 48)]):
        expected = np.corrcoef(height[part].ravel(), phase[part].ravel())[0, 1]
        assert found["pearson"][k] == pytest.approx(expected, abs=1e-12)
        assert found["pixels"][k] == height[part].size
    assert np.all(found["spearman_errors"] > 0)


def test_keeps_its_promises() -> None:
    check_analysis(HeightPhase, lines(), {"every": 10}, reconfigure_to={"every": 9}, runs=2)


def test_says_what_does_not_fit() -> None:
    records = lines()
    for config, said in (
        ({"channels": ["height", "amplitude"]}, "no channel 'amplitude'; it has height, phase"),
        ({"channels": ["height", "height"]}, "height with itself says nothing"),
    ):
        with pytest.raises(ValueError, match=said):
            run_analysis(HeightPhase, {"afm": records.stream}, records.batches(), config)
