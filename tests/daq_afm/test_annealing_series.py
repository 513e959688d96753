"""Correlation lengths over places and annealing times, and how fast domains shrink (Zhu2016)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from daq.testing import OutputStream, Records, run_analysis
from daq_afm.annealing_series import AnnealingSeries, Place
from daq_afm.surface_correlation import SurfaceCorrelation
from daq_relaxation.kww_fit import DETERMINED, MASKED
from tests.daq_afm.made_lines import scan_lines
from tests.daq_afm.surfaces import surfaces

TIMES = np.array([0.0, 300.0, 1800.0, 10800.0, 43200.0])
PRINTED = np.array([6.13, 5.05, 4.28, 3.67, 2.59])
"""nm, Zhu2016 at 553 K."""


def series(xi: np.ndarray, places: int = 1, error: float = 0.02) -> AnnealingSeries:
    collected = AnnealingSeries()
    for scan, (value, place) in enumerate((x, p) for x in xi for p in range(places)):
        collected.add(scan, 553.0, float(TIMES[scan // places]), Place(place, value, error, 1.0))
    return collected


def test_the_printed_lengths() -> None:
    """They give ln tau 7.50 and b 0.28, not the 7.82 of the table; xi alone gives 3.8 more."""
    fit = series(PRINTED, error=0.15).fit(553.0)
    assert fit is not None and fit.flag == DETERMINED
    assert fit.ln_tau == pytest.approx(7.50, abs=0.15)
    assert fit.b == pytest.approx(0.28, abs=0.02)
    assert fit.quenched == pytest.approx(6.13, abs=0.1)
    alone = series(np.cbrt(PRINTED), error=0.01).fit(553.0)
    assert alone is not None and alone.ln_tau - fit.ln_tau == pytest.approx(3.8, abs=0.4)


def test_exactly_what_was_put_in() -> None:
    xi = 6.13 * np.exp(-((TIMES / np.exp(7.82)) ** 0.3) / 3)
    fit = series(xi, places=3).fit(553.0)
    assert fit is not None
    assert (fit.ln_tau, fit.b, fit.quenched) == pytest.approx((7.82, 0.3, 6.13), rel=1e-4)
    assert fit.times == 4 and fit.scatter == 1.0
    held = series(xi).fit(553.0, b=0.3)
    assert held is not None and held.b_error == 0 and held.ln_tau == pytest.approx(7.82, rel=1e-4)


def test_errors_of_tau_hold() -> None:
    truth = 6.13 * np.exp(-((TIMES / np.exp(7.82)) ** 0.28) / 3)
    within = []
    for seed in range(60):
        draw = np.random.default_rng(seed)
        collected = AnnealingSeries()
        for scan in range(15):
            error = 0.04 * truth[scan // 3]
            value = truth[scan // 3] + error * draw.standard_normal()
            collected.add(scan, 553.0, TIMES[scan // 3], Place(scan, value, error, 1.0))
        fit = collected.fit(553.0)
        assert fit is not None and fit.flag == DETERMINED
        off = abs(fit.ln_tau - 7.82) / fit.ln_tau_error, abs(fit.b - 0.28) / fit.b_error
        within.append([z <= 1 for z in off])
    # scatter never narrows errors, so a little more than 68 % may be covered
    least, _ = binom.interval(0.999, 60, 0.683)
    _, most = binom.interval(0.999, 60, 0.76)
    assert np.all(np.sum(within, axis=0) >= least) and np.all(np.sum(within, axis=0) <= most)


def test_places_and_images_of_them() -> None:
    collected = AnnealingSeries()
    collected.add(0, np.nan, 0.0, Place(0, 6.0, 0.3, 1.0))
    collected.add(1, np.nan, 0.0, Place(0, 6.4, 0.3, 1.2))  # the same place again
    collected.add(2, np.nan, 0.0, Place(1, 5.6, 0.4, 1.5))
    (group,) = collected.groups()
    assert (group.places, group.length) == (2, pytest.approx(5.9))
    assert group.sd == pytest.approx(np.std([6.2, 5.6], ddof=1))
    assert group.error == pytest.approx(np.hypot(0.3, 0.4) / 2), "one place is one sample"
    assert group.sigma == pytest.approx(1.3)
    collected.add(2, np.nan, 0.0, Place(1, 6.2, 0.4, 1.5))  # the scan is given anew
    assert collected.groups()[0].length == pytest.approx(6.2)
    collected.add(3, 553.0, 300.0, Place(2, 5.0, 0.1, 1.0))
    fit = collected.fit(553.0)
    assert fit is not None and fit.flag == MASKED and np.isnan(fit.ln_tau)
    assert AnnealingSeries().fit(553.0) is None


def test_places_that_differ_widen_the_errors() -> None:
    calm, wild = AnnealingSeries(), AnnealingSeries()
    for scan in range(15):
        value = PRINTED[scan // 3]
        away = (scan % 3 - 1) * 0.3
        calm.add(scan, 553.0, TIMES[scan // 3], Place(scan, value + away / 20, 0.1, 1.0))
        wild.add(scan, 553.0, TIMES[scan // 3], Place(scan, value + away, 0.1, 1.0))
    assert calm.scatter() == 1.0
    chi2 = 5 * 2 * (0.3 / 0.1) ** 2
    assert wild.scatter() == pytest.approx(np.sqrt(chi2 / 10), rel=0.08)


def test_means_that_are_not_on_the_curve_widen_the_errors() -> None:
    xi = 6.13 * np.exp(-((TIMES / np.exp(7.82)) ** 0.3) / 3) * [1, 1.02, 0.98, 1.02, 0.98]
    loose, tight = series(xi, error=0.5).fit(553.0), series(xi, error=0.005).fit(553.0)
    assert loose is not None and tight is not None
    assert loose.scatter == 1.0 and tight.reduced_chi2 > 20
    assert tight.scatter == pytest.approx(np.sqrt(tight.reduced_chi2))
    assert tight.ln_tau_error == pytest.approx(loose.ln_tau_error * 0.01 * tight.scatter, rel=0.1)


def zhu(shape: tuple[int, int], step: float) -> Records:
    """Phase maps of three places for each annealing time, xi as printed, alpha 0.7, noise 10 %."""
    maps, draw = [], np.random.default_rng(6)
    for k, xi in enumerate(PRINTED):
        drawn = surfaces(shape, xi, 0.7, 30 + k, (step, step))
        maps += [70 + 3 * (next(drawn) + 0.1 * draw.standard_normal(shape)) for _ in range(3)]
    scalars = {
        "place": np.tile([0, 1, 2], 5), "annealing_time": np.repeat(TIMES, 3),
        "annealing_temperature": np.repeat([np.nan, *[553.0] * 4], 3),
    }  # fmt: skip
    return scan_lines({"phase": np.array(maps)}, step=(step, step), scalars=scalars)


def test_the_series_of_zhu2016() -> None:
    lines = zhu((128, 128), 0.9)
    config: dict[str, Any] = {
        "channel": "phase", "replicas": 40, "stages": [], "every": 1000,
    }  # fmt: skip
    out: dict[str, OutputStream] = dict(
        run_analysis(SurfaceCorrelation, {"afm": lines.stream}, lines.batches(100), config)
    )
    assert np.all(out["fit"]["flag"] == 0)
    last = [np.flatnonzero(out["series"]["annealing_time"] == t)[-1] for t in TIMES]
    found = out["series"]
    assert found["places"][last].tolist() == [3] * 5
    off = (found["correlation_length"][last] - PRINTED) / found["correlation_length_errors"][last]
    assert np.sum(off**2) < 18.4, "chi2 of five means within 99.75 %"
    assert np.all(found["correlation_length_errors"][last] < 0.1 * PRINTED)
    kww = out["kww"]
    assert kww["flag"][-1] == DETERMINED and kww["times"][-1] == 4 and kww["stage"][-1] == 0
    assert abs(kww["ln_tau"][-1] - 7.50) < 3 * kww["ln_tau_errors"][-1] < 4
    assert out["decay"]["volume"][-1, 4:].size and np.isnan(out["decay"]["volume"][-1, 4:]).all()
    expected = (PRINTED[1:] / 6.13) ** 3
    np.testing.assert_allclose(out["decay"]["volume"][-1, :4], expected, atol=0.15)
