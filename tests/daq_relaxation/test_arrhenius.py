"""The live Arrhenius fit: the line so far, errors that hold, whatever instrument it comes from."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

import daq
from daq.testing import Records, check_analysis, make_stream, run_analysis
from daq_relaxation import laws
from daq_relaxation.arrhenius import Arrhenius
from daq_relaxation.arrhenius_fit import fit_arrhenius

KELVIN = np.array([633.0, 643.0, 653.0, 663.0, 673.0])
TRUE = {"ln_tau_inf": -11.52, "energy": 97e3}
LN_TAU = np.asarray(laws.arrhenius_ln_tau(KELVIN, **TRUE))


def with_units(records: Records, **units: str) -> Records:
    fields = {
        name: dataclasses.replace(field, units=units.get(name, field.units))
        for name, field in records.stream.fields.items()
    }
    return dataclasses.replace(records, stream=dataclasses.replace(records.stream, fields=fields))


def summary(
    stage: Any, kelvin: Any, ln_tau: Any, errors: Any = None, **others: np.ndarray
) -> Records:
    """A stream as `ecm.summary`, one record per scan."""
    arrays = {
        "stage": np.asarray(stage, np.int64),
        "temperature": np.asarray(kelvin, np.float64),
        "mean_ln_tau": np.asarray(ln_tau, np.float64),
    }
    if errors is not None:
        arrays["mean_ln_tau_errors"] = np.asarray(errors, np.float64)
    return with_units(make_stream("summary", {**arrays, **others}), temperature="K")


def fitted(records: Records, **config: Any) -> Any:
    return run_analysis(Arrhenius, {"summary": records.stream}, records.batches(3), config)["fit"]


def series(seed: int = 3, scans: int = 4) -> Records:
    """Scans of each stage with a transition between, two bands."""
    draw = np.random.default_rng(seed)
    stage = np.concatenate([[s] * scans + [-1] for s in range(5)])
    kelvin = np.concatenate([[t] * scans + [t + 5] for t in KELVIN])
    kelvin = kelvin + 0.05 * draw.standard_normal(len(kelvin))
    true = np.asarray(laws.arrhenius_ln_tau(kelvin, **TRUE))
    ln_tau = np.stack([true, 0.9 * true], axis=1) + 0.05 * draw.standard_normal((len(kelvin), 2))
    return summary(stage, kelvin, ln_tau, np.full((len(kelvin), 2), 0.05))


def test_keeps_its_promises() -> None:
    check_analysis(Arrhenius, series(), {"band": 1})
    times = summary(np.arange(9) // 2, np.linspace(600, 640, 9), np.linspace(900, 300, 9),
                    np.linspace(9, 3, 9))  # fmt: skip
    check_analysis(Arrhenius, times, {"logarithm": True, "stages": 3})


def test_the_last_record_of_each_stage_counts() -> None:
    records = series()
    fit = fitted(records, band=1)
    assert len(fit["energy"]) == 25
    np.testing.assert_array_equal(fit["time"], records["time"])
    last = np.array([3, 8, 13, 18, 23])
    kelvin, ln_tau = records["temperature"][last], records["mean_ln_tau"][last, 1]
    np.testing.assert_array_equal(fit["temperature"][-1, :5], kelvin)
    np.testing.assert_array_equal(fit["ln_tau"][-1, :5], ln_tau)
    np.testing.assert_array_equal(fit["ln_tau_errors"][-1, :5], 0.05)
    assert fit["stage"][-1].tolist() == [0, 1, 2, 3, 4] + [-1] * 11
    for name in ("temperature", "ln_tau", "ln_tau_errors", "line"):
        assert np.isnan(fit[name][-1, 5:]).all()
        assert fit[name].shape == (25, 16)
    expected = fit_arrhenius(kelvin, ln_tau, np.full(5, 0.05), scaled=False)
    assert expected.weighted is not None
    assert fit["energy"][-1] == pytest.approx(expected.weighted.energy_kj, rel=1e-12)
    assert fit["ln_tau_inf"][-1] == pytest.approx(expected.weighted.ln_tau_inf, rel=1e-12)
    assert fit["energy_unweighted"][-1] == pytest.approx(expected.unweighted.energy_kj, rel=1e-12)
    assert fit["energy_unweighted_errors"][-1] == pytest.approx(
        expected.unweighted.energy_kj_error, rel=1e-9
    )
    np.testing.assert_allclose(fit["line"][-1, :5], expected.weighted.ln_tau(kelvin)[0])
    assert fit["chi2"][-1] == pytest.approx(expected.weighted.chi2)
    assert fit["dof"][-1] == 3
    # a scan in which the temperature changed is like no scan at all
    np.testing.assert_array_equal(fit["energy"][4::5], fit["energy"][3::5])


def test_nothing_is_known_before_two_temperatures() -> None:
    fit = fitted(series())
    assert np.isnan(fit["energy"][:5]).all()
    assert np.isnan(fit["line"][:5]).all()
    assert np.isfinite(fit["temperature"][:5, 0]).all()
    assert np.isfinite(fit["energy"][5:]).all()
    # two points have errors of their own, but no scatter
    assert np.isfinite(fit["energy_errors"][5:]).all()
    assert np.isnan(fit["energy_unweighted_errors"][5:10]).all()
    assert np.isfinite(fit["energy_unweighted_errors"][10:]).all()
    same = fitted(summary([0, 1], [633.0, 633.0], [7.0, 7.1], [0.1, 0.1]))
    assert np.isnan(same["energy"]).all(), "two stages at one temperature"


def test_scatter_widens_the_error_and_luck_does_not_narrow_it() -> None:
    errors = np.full(5, 0.05)
    exact = fitted(summary(range(5), KELVIN, LN_TAU, errors))
    assert exact["energy"][-1] == pytest.approx(97, rel=1e-9)
    own = fit_arrhenius(KELVIN, LN_TAU, errors, scaled=False).weighted
    assert own is not None
    assert exact["energy_errors"][-1] == pytest.approx(own.energy_kj_error)
    wild = LN_TAU + np.array([0.3, -0.3, 0.3, -0.3, 0.3])
    widened = fitted(summary(range(5), KELVIN, wild, errors))
    scaled = fit_arrhenius(KELVIN, wild, errors, scaled=True).weighted
    assert scaled is not None
    assert widened["chi2"][-1] > 20
    assert widened["energy_errors"][-1] == pytest.approx(scaled.energy_kj_error)
    assert widened["ln_tau_inf_errors"][-1] == pytest.approx(scaled.ln_tau_inf_error)


@pytest.mark.parametrize("understated", [1.0, 3.0])
def test_the_error_of_the_energy_covers_it(understated: float) -> None:
    draw = np.random.default_rng(11)
    # known well and badly by turns, as temperatures at which the series was long enough or not
    errors = np.array([0.2, 0.06, 0.04, 0.05, 0.03])
    z, plain = [], []
    for _ in range(600):
        points = LN_TAU + understated * errors * draw.standard_normal(5)
        fit = fitted(summary(range(5), KELVIN, points, errors))
        z.append((fit["energy"][-1] - 97) / fit["energy_errors"][-1])
        plain.append(fit["energy_unweighted"][-1] - 97)
    # 600 series: the mean of |z| is known to 0.03. With right errors it is 0.72, with errors that
    # are three times too small the scatter of five points has to tell, and it is that of Student
    low, high = (0.6, 0.85) if understated == 1 else (0.8, 1.2)
    assert low < np.mean(np.abs(z)) < high
    assert abs(np.mean(z)) < 5 * np.std(z) / np.sqrt(600)
    if understated == 1:
        assert 0.65 < np.mean(np.abs(z) < 1) < 0.8
    assert abs(np.mean(plain)) < 5 * np.std(plain) / np.sqrt(600)


def test_lost_records_and_points_that_are_not_numbers_change_nothing() -> None:
    stage = [0, 1, 2, 2, 2, 2, 2]
    kelvin = [633.0, 643.0, 653.0, 653.0, 653.0, np.nan, -1.0]
    ln_tau = [7.0, 6.7, 6.4, np.nan, 9.0, 9.0, 9.0]
    errors = [0.1, 0.1, 0.1, 0.1, 0.0, 0.1, 0.1]
    records = summary([*stage, 2], [*kelvin, 653.0], [*ln_tau, 9.0], [*errors, 0.1])
    fit = fitted(records.with_missing((7, 1)))
    assert fit.valid.tolist() == [True] * 7 + [False]
    np.testing.assert_array_equal(fit["ln_tau"][2:7, :3], np.tile([7.0, 6.7, 6.4], (5, 1)))
    assert len(np.unique(fit["energy"][2:7])) == 1


def test_a_stage_that_comes_back_is_a_point_of_its_own() -> None:
    fit = fitted(summary([0, 1, 2], [633.0, 643.0, 633.0], [7.0, 6.7, 7.2], [0.1] * 3))
    assert fit["temperature"][-1, :3].tolist() == [633, 643, 633]
    assert fit["dof"][-1] == 1


def test_more_stages_than_there_is_room_for_are_counted() -> None:
    fit = fitted(summary(range(5), KELVIN, LN_TAU, [0.1] * 5), stages=3)
    assert fit["temperature"].shape == (5, 3)
    assert fit["left_out"].tolist() == [0, 0, 0, 1, 2]
    assert fit["energy"][-1] == pytest.approx(97, rel=1e-9)


def test_another_instrument_with_other_names() -> None:
    celsius = KELVIN - 273.15
    arrays = {"T": celsius, "tau": np.exp(LN_TAU), "tau_sd": 0.1 * np.exp(LN_TAU)}
    dma = with_units(make_stream("dma", arrays), T="degC", tau="s", tau_sd="s")
    names = {"temperature": "T", "ln_tau": "tau", "logarithm": True}
    config = {**names, "ln_tau_errors": "tau_sd"}
    fit = run_analysis(Arrhenius, {"dma": dma.stream}, dma.batches(2), config)["fit"]
    assert fit["energy"][-1] == pytest.approx(97, rel=1e-9)
    np.testing.assert_allclose(fit["ln_tau_errors"][-1, :5], 0.1, rtol=1e-12)
    # each record is a stage; without errors there is one line only
    fit = run_analysis(Arrhenius, {"dma": dma.stream}, dma.batches(2), names)["fit"]
    assert fit["stage"][-1, :5].tolist() == [0, 1, 2, 3, 4]
    assert np.isnan(fit["energy"]).all() and np.isnan(fit["ln_tau_errors"]).all()
    assert fit["energy_unweighted"][-1] == pytest.approx(97, rel=1e-9)
    np.testing.assert_allclose(fit["line"][-1, :5], LN_TAU)


def test_the_published_energies() -> None:
    kelvin, ln_tau = [473.0, 503, 523, 553], [13.43, 12.16, 10.98, 7.82]
    fit = fitted(summary(range(4), kelvin, ln_tau, [0.16, 0.12, 0.40, 0.03]))
    rtg = laws.R * 695 / 1e3
    assert fit["energy"][-1] / rtg == pytest.approx(29.6, abs=0.05)
    assert fit["energy_errors"][-1] / rtg == pytest.approx(3.2, abs=0.05)
    assert fit["energy_unweighted"][-1] / rtg == pytest.approx(25.8, abs=0.05)
    assert fit["energy_unweighted_errors"][-1] / rtg == pytest.approx(5.3, abs=0.05)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"ln_tau": "ln_tau"}, "summary has no field 'ln_tau'; there is map, mean_ln_tau"),
        ({"ln_tau_errors": "sd"}, "has no field 'sd'"),
        ({"temperature": "T"}, "has no field 'T'"),
        ({"stage": "step"}, "has no field 'step'"),
        ({"stage": "mean_ln_tau"}, "not one whole number"),
        ({"band": 2}, "has 2 bands, counted from 0; there is no band 2"),
        ({"ln_tau": "map"}, "not one number per record, or per band"),
        ({"temperature": "mean_ln_tau"}, "mean_ln_tau is not one number per record"),
        ({"temperature": "stage"}, "stage in no units: K or degC"),
        ({"stges": 3}, "did you mean 'stages'"),
    ],
)
def test_says_what_does_not_fit(config: dict[str, Any], said: str) -> None:
    records = summary([0, 1], [1.0, 2.0], np.ones((2, 2)), map=np.ones((2, 3, 3)))
    with pytest.raises(ValueError, match=said):
        fitted(records, **config)


def test_takes_one_input() -> None:
    records = series()
    streams = {name: records.stream.renamed(name) for name in ("one", "two")}
    with pytest.raises(ValueError, match="one input, not 2"):
        run_analysis(Arrhenius, streams, [], {})


def test_says_what_it_gives() -> None:
    records = series()
    records = dataclasses.replace(records, stream=dataclasses.replace(records.stream, expect=25))
    stream = fitted(records).stream
    assert isinstance(stream, daq.Stream)
    assert stream.expect == 25
    assert stream.fields["energy"].units == "kJ/mol"
    assert stream.attributes["band"] == 0
    assert Arrhenius.memory({"summary": series().stream}, Arrhenius.Config()) < 1e6
