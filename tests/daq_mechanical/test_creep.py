"""Creep: Burgers and stretched, the viscosity, and errors that cover."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from daq.config import validated
from daq.testing import Records, check_analysis, make_stream, record_source, run_analysis
from daq_mechanical.creep import DETERMINED, NO_DELAY, NOT_STEADY, TOO_FEW, Creep, fit_creep
from daq_simulators.mechanical_relaxation_tester import RelaxationTester

T = np.geomspace(1, 7200, 60)


def strain(
    draw: np.random.Generator, b: float = 1.0, rate: float = 1e-7, delayed: float = 4e-4,
    noise: float = 2e-6,
) -> np.ndarray:  # fmt: skip
    exact = 1.5e-3 + delayed * -np.expm1(-((T / 150) ** b)) + rate * T
    return np.asarray(exact + noise * draw.standard_normal(len(T)))


def measured(**config: Any) -> Records:
    (records,) = record_source(
        RelaxationTester, {"programme": "creep", "stress": 2e7, **config}, name="tester"
    ).values()
    return records


@pytest.mark.parametrize("b", [1.0, 0.5])
def test_errors_cover_the_truth(b: float) -> None:
    z, stretched = [], []
    for seed in range(40):
        points = strain(np.random.default_rng(seed), b)
        burgers, kww = (fit_creep(T, points, np.ones(len(T)), shape) for shape in (1.0, None))
        fit = kww if b < 1 else burgers
        assert fit.flag == DETERMINED
        true = [1.5e-3, 4e-4, 1e-7, np.log(150), b]
        n = 5 if b < 1 else 4
        z.append(((fit.parameters - true)[:n] / fit.errors[:n]).tolist())
        stretched.append(burgers.aicc - kww.aicc > 6)
    share = (np.abs(z) < 1).mean(axis=0)
    assert ((share > 0.5) & (share < 0.88)).all(), share
    assert 0.6 < share.mean() < 0.78
    # the model that is true is the one that is chosen
    assert np.mean(stretched) == (1.0 if b < 1 else pytest.approx(0, abs=0.06))


def test_viscosity_is_that_of_the_glass() -> None:
    config = {"temperatures": [430.0, 455.0], "points": 40}
    records = measured(**config)
    source = RelaxationTester()
    source.open(validated(RelaxationTester.Config, {**config, "programme": "creep"}, "x"))
    known = source.truth()["viscosity"]
    fits = run_analysis(Creep, {"tester": records.stream}, records.batches(64), {"least": 36})[
        "fits"
    ]
    last = fits["final"] == 1
    assert (fits["flag"][last] == DETERMINED).all()
    z = (fits["viscosity"][last] - known) / fits["viscosity_errors"][last]
    assert np.abs(z).max() < 4
    assert (fits["viscosity_errors"][last] < 0.02 * known).all()
    modulus = 34e9 * (1 - 3e-4 * (np.array([430.0, 455.0]) - 300))
    np.testing.assert_allclose(fits["modulus"][last], modulus, rtol=5e-3)


def test_a_flow_that_is_not_seen_gives_a_bound() -> None:
    draw = np.random.default_rng(1)
    fit = fit_creep(T, strain(draw, rate=0.0), np.ones(len(T)))
    assert fit.flag == NOT_STEADY
    records = measured(temperatures=[390.0], points=20)
    fits = run_analysis(Creep, {"tester": records.stream}, records.batches(), {"least": 19})["fits"]
    if fits["flag"][-1] == NOT_STEADY:
        assert np.isnan(fits["viscosity"][-1])
    assert fits["viscosity_lower"][-1] > 1e13


def test_flow_without_delay_is_a_viscosity() -> None:
    flags = [
        fit_creep(T, strain(np.random.default_rng(seed), delayed=0.0), np.ones(len(T))).flag
        for seed in range(20)
    ]
    assert flags.count(NO_DELAY) > 10


def test_few_points_are_refused_or_flagged() -> None:
    with pytest.raises(ValueError, match="needs 5 points"):
        fit_creep(T[:4], T[:4], np.ones(4))
    records = measured(temperatures=[450.0], points=5)
    fits = run_analysis(Creep, {"tester": records.stream}, records.batches(), {})["fits"]
    assert fits["flag"].tolist() == [TOO_FEW]


def test_a_stress_must_be_known() -> None:
    stream = make_stream("x", {"temperature": ("<f8", (), "K"), "strain": ("<f8", (), "%")}).stream
    with pytest.raises(ValueError, match="say stress"):
        Creep().open({"x": stream}, Creep.Config())
    Creep().open({"x": stream}, Creep.Config(stress=1e6))


def test_keeps_its_promises() -> None:
    records = measured(temperatures=[450.0], points=10)
    check_analysis(Creep, records, {"model": "burgers"}, runs=1)
