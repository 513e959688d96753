"""Indents: Hertz and Kelvin, errors that cover, bad ones flagged, maps and histograms."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

import daq
from daq.config import validated
from daq.testing import Records, check_analysis, record_source, run_analysis
from daq_mechanical.field_statistics import distribution
from daq_mechanical.hertz import hertz_depth, hertz_modulus, hertz_stiffness
from daq_mechanical.indentation import Indentation
from daq_mechanical.kelvin import CUT, DETERMINED, MISFIT, NO_LAG, TOO_FEW, fit_kelvin
from daq_simulators.mechanical_indenter import Nanoindenter, fields_of

TIP = {"radius": 2e-6, "poisson_ratio": 0.363}


@functools.lru_cache
def scanned(items: tuple[tuple[str, Any], ...]) -> tuple[Records, Any]:
    config = dict(items)
    (records,) = record_source(Nanoindenter, config, name="indenter").values()
    source = Nanoindenter()
    source.open(validated(Nanoindenter.Config, config, "indenter"))
    return records, source.truth()


def scan(**config: Any) -> tuple[Records, Any]:
    return scanned(tuple(config.items()))


def fits(records: Records) -> list[Any]:
    return [
        fit_kelvin(t, 1e-6 * P, 1e-9 * h, **TIP)
        for t, P, h in zip(records["elapsed"], records["load"], records["depth"], strict=True)
    ]


def results(records: Records, **config: Any) -> Any:
    return run_analysis(Indentation, {"indenter": records.stream}, records.batches(8), config)


def test_hertz_is_what_is_printed() -> None:
    """3-8 with the numbers of Qiao2019, Fig. 35: G = 30 GPa, R = 2 um, nu = 0.363, 800 uN."""
    h = hertz_depth(8e-4, 30e9, 2e-6, 0.363)
    assert h**1.5 == pytest.approx(3 * 8e-4 * (1 - 0.363) / (8 * 30e9 * np.sqrt(2e-6)))
    assert hertz_modulus(hertz_stiffness(30e9, **TIP), **TIP) == pytest.approx(30e9)
    assert hertz_depth(-1e-6, 30e9, 2e-6, 0.363) == 0


def test_the_truth_is_found_without_noise() -> None:
    records, truth = scan(
        shape=(2, 2), load_noise=0.0, depth_noise=1e-6, drift=2.0, sampling_rate=10_000.0
    )
    for k, fit in enumerate(fits(records)):
        np.testing.assert_allclose(1e-9 * fit.G, truth["G"][k], rtol=1e-4)
        assert fit.t_c == pytest.approx(truth["t_c"][k], rel=2e-3)
        assert 1e9 * fit.zero == pytest.approx(truth["zero"][k], abs=1e-3)
        assert 1e9 * fit.drift == pytest.approx(truth["drift"][k], abs=5e-3)


@pytest.mark.parametrize("load_noise", [0.5, 5.0])
def test_errors_cover_the_truth(load_noise: float) -> None:
    """Noise of the load counts too: it moves the delayed load, and so the depth."""
    records, truth = scan(shape=(6, 10), sampling_rate=10_000.0, load_noise=load_noise)
    found = fits(records)
    assert all(fit.flag == DETERMINED for fit in found)
    for name, scale in (("G", 1e-9), ("t_c", 1.0), ("eta", 1.0)):
        value = scale * np.array([getattr(fit, name) for fit in found])
        error = scale * np.array([getattr(fit, f"{name}_error") for fit in found])
        z = (value - truth[name]) / error
        assert 0.55 < np.mean(np.abs(z) < 1) < 0.82, name
        assert abs(z.mean()) < 0.5


def test_bad_indents_are_flagged_and_good_ones_are_not() -> None:
    records, truth = scan(shape=(6, 6), sampling_rate=5000.0, bad_part=0.5, seed=2)
    flags = np.array([fit.flag for fit in fits(records)])
    bad = truth["bad"]
    assert (flags[bad == 0] == DETERMINED).all()
    assert np.isin(flags[(bad == 1) | (bad == 2)], [MISFIT]).all()
    assert np.isin(flags[bad == 3], [CUT, TOO_FEW]).all()
    assert set(bad) == {0, 1, 2, 3}


def test_an_elastic_sample_has_no_lag_but_a_modulus() -> None:
    t = np.arange(0, 0.2, 1e-4)
    P = 8e-4 * np.interp(t, [0.01, 0.02, 0.1, 0.19], [0, 1, 1, 0])
    h = hertz_depth(P, 30e9, **TIP)
    fit = fit_kelvin(t, P, h + 2e-10 * np.random.default_rng(0).standard_normal(len(t)), **TIP)
    assert fit.flag == NO_LAG
    np.testing.assert_allclose(fit.G, 30e9, rtol=5e-3)


@pytest.mark.parametrize("count", [0, 1, 30])
def test_few_samples_are_nothing(count: int) -> None:
    t = np.arange(count) * 1e-4
    assert fit_kelvin(t, t, t, **TIP).flag == TOO_FEW


def test_maps_hold_what_indents_hold() -> None:
    records, truth = scan(shape=(4, 5), sampling_rate=5000.0, bad_part=0.2, seed=1)
    output = results(records)
    maps, indents = output["maps"], output["indents"]
    assert maps["G"].shape == (5, 4, 5)  # after each row, and at the end
    assert (maps["flags"][0][1:] == 255).all()
    good = indents["flag"] == 0
    last = maps["G"][-1].ravel()
    np.testing.assert_array_equal(last[good], indents["G"][good])
    assert np.isnan(last[indents["flag"] >= 2]).all()
    np.testing.assert_array_equal(maps["flags"][-1].ravel(), indents["flag"])
    np.testing.assert_allclose(indents["eta"][good], 1e9 * (indents["G"] * indents["t_c"])[good])
    histograms = output["histograms"]
    assert histograms["quantity"][-3:].tolist() == [b"G", b"t_c", b"eta"]
    assert histograms["flagged"][-1] == np.count_nonzero(truth["bad"])


def test_vit105_is_what_is_published() -> None:
    records, truth = scan(shape=(11, 11), sampling_rate=5000.0)
    histograms = results(records)["histograms"]
    G = {n: histograms[n][-3] for n in histograms.stream.fields}
    assert abs(G["mean"] - 30) < 3 * G["mean_errors"]
    assert G["mean"] == pytest.approx(truth["G"].mean(), rel=0.01)
    assert G["own_spread"] == pytest.approx(truth["G"].std(), rel=0.15)
    assert 3 < G["independent"] < 60  # 121 indents, but 150 nm of correlation


@pytest.mark.parametrize("length", [0.0, 0.15])
def test_errors_of_mean_and_spread_know_that_neighbours_are_alike(length: float) -> None:
    y, x = (a.ravel() * 0.1 for a in np.indices((7, 7)).astype(float))
    places = np.stack([x, y], axis=1)
    z = []
    for seed in range(60):
        draw = np.random.default_rng(seed)
        field, _ = fields_of(x, y, length, draw)
        found = distribution(30 + field + 0.3 * draw.standard_normal(49), np.full(49, 0.3), places)
        z.append([(found.mean - 30) / found.mean_error,
                  (found.own_spread - 1) / found.own_spread_error])  # fmt: skip
    share = np.mean(np.abs(z) < 1, axis=0)
    assert ((share > 0.55) & (share < 0.9)).all(), share


def test_a_histogram_counts_what_it_shows() -> None:
    draw = np.random.default_rng(0)
    values = np.append(draw.normal(5, 1, 200), 50.0)
    places = draw.uniform(0, 10, (201, 2))
    found = distribution(values, np.full(201, 0.1), places)
    assert found.outlying == 1
    assert found.count.sum() >= 198
    assert found.mean == pytest.approx(5, abs=0.3)
    assert found.gaussian.max() == pytest.approx(found.count.max(), rel=0.4)
    assert np.isnan(distribution(values[:3], values[:3], places[:3]).mean)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"attributes": {"poisson_ratio": 0.3}}, "say tip_radius"),
        ({"fields": {"load": daq.Field("<f8", (9,), "V")}}, "'V'; known are N"),
        ({"fields": {"load": daq.Field("<f8", (), "uN")}}, "with samples"),
    ],
)
def test_input_that_does_not_fit_is_refused(change: dict[str, Any], said: str) -> None:
    fields = {
        "load": daq.Field("<f8", (9,), "uN"), "depth": daq.Field("<f8", (9,), "nm"),
        "elapsed": daq.Field("<f8", (9,), "s"), **change.get("fields", {}),
    }  # fmt: skip
    attributes = change.get("attributes", {"tip_radius": 2e-6, "poisson_ratio": 0.3})
    stream = daq.Stream("x", fields, attributes=attributes)
    with pytest.raises(ValueError, match=said):
        Indentation().open({"x": stream}, Indentation.Config())


def test_keeps_its_promises() -> None:
    records, _ = scan(shape=(2, 4), sampling_rate=2000.0)
    check_analysis(Indentation, records, {}, runs=1)
