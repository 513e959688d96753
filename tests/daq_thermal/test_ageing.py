"""The flow-unit law as an analysis."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import daq
from daq.testing import Records, check_analysis, run_analysis
from daq_thermal.ageing import TOO_FEW, FlowUnits
from daq_thermal.flow_units import flow_unit_property

AGES = np.array([0.0, *np.geomspace(60, 86400, 11)])
CONFIG = {"property": "density"}


def aged(noise: float = 0.0, units: str = "s") -> Records:
    """Samples aged at two temperatures; the one of age 0 comes last."""
    draw = np.random.default_rng(3)
    rows = []
    for T, b in ((550.0, 3000.0), (580.0, 300.0)):
        M = flow_unit_property(AGES, 6.9, b * 0.02**2, b, 0.5)
        rows += [(T, age, value) for age, value in zip(AGES[1:], M[1:], strict=True)]
    rows.append((np.nan, 0.0, 6.9 / 1.02))
    T, age, M = np.array(rows).T
    M = M + noise * draw.standard_normal(len(M))
    fields = {
        "annealing_temperature": daq.Field("<f8", (), "K"),
        "annealing_time": daq.Field("<f8", (), units),
        "density": daq.Field("<f8", (), "g/cm^3"), "density_errors": daq.Field("<f8", (), "g/cm^3"),
    }  # fmt: skip
    arrays = {
        "annealing_temperature": T, "annealing_time": age, "density": M,
        "density_errors": np.full(len(M), 1e-4), "time": np.arange(len(M)) * 10**9,
    }  # fmt: skip
    return Records(daq.Stream("samples", fields), arrays)


def fitted(records: Records, **config: Any) -> Any:
    return run_analysis(
        FlowUnits, {"samples": records.stream}, records.batches(), {**CONFIG, **config}
    )["fit"]


def test_each_temperature_has_its_law() -> None:
    fit = fitted(aged())
    for T, b in ((550.0, 3000.0), (580.0, 300.0)):
        last = np.flatnonzero(fit["temperature"] == T)[-1]
        assert fit["final_value"][last] == pytest.approx(6.9, abs=1e-4)
        assert fit["initial_concentration"][last] == pytest.approx(0.02, abs=1e-4)
        assert fit["ln_b"][last] == pytest.approx(np.log(b), abs=0.02)
        assert fit["beta"][last] == pytest.approx(0.5, abs=0.01)
        assert fit["a"][last] == pytest.approx(b * 0.02**2, rel=0.03)
        assert fit["ages"][last] == 12
        shown = np.isfinite(fit["value"][last])
        np.testing.assert_allclose(fit["curve"][last][shown], fit["value"][last][shown], atol=1e-5)


def test_fits_come_as_samples_come() -> None:
    fit = fitted(aged())
    first = fit["temperature"] == 550
    assert (fit["flag"][first][:4] == TOO_FEW).all()
    assert (fit["flag"][first][4:] != TOO_FEW).all()
    assert np.count_nonzero(fit["ages"] == 12) == 2, "age 0 belongs to both"


def test_what_is_gone_may_be_the_property() -> None:
    records = aged()
    lost = {**records.arrays, "density": 10 - records["density"]}
    fit = fitted(Records(records.stream, lost), released=True)
    gone = fit["value"][-1][:11]
    np.testing.assert_allclose(gone, records["density"][11:22] - 6.9 / 1.02, atol=1e-12)


def test_keeps_its_promises() -> None:
    whole = aged(1e-4)
    few = {name: values[[4, 6, 7, 8, 9, 22]] for name, values in whole.arrays.items()}
    check_analysis(FlowUnits, Records(whole.stream, few), CONFIG, runs=1)


def test_refuses_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="no field 'hardness'"):
        fitted(aged(), property="hardness")
    with pytest.raises(ValueError, match="annealing_time is not in s"):
        fitted(aged(units="min"))
