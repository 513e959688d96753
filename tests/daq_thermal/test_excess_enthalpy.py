"""Areas between a trace and its standard: exact on paper, true on simulated samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daq.testing import check_analysis, run_analysis
from daq_thermal import excess_enthalpy as module
from daq_thermal.enthalpy_difference import Cells, difference
from daq_thermal.excess_enthalpy import ExcessEnthalpy
from tests.daq_thermal.simulated import QUIET, changed, measured, noisy

ANNEALED = {"annealing_temperatures": [553.0], "annealing_times": [300.0, 43200.0]}
LOW, LIQUID = (310.0, 340.0), (730.0, 745.0)


def compared(dsc: Any, config: dict[str, Any] | None = None) -> Any:
    return run_analysis(ExcessEnthalpy, {"dsc": dsc.stream}, dsc.batches(64), config or {})


def last(output: Any, name: str) -> Any:
    return output["excess"][name][output["excess"]["final"]]


# -- on paper -----------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.5, 3), st.floats(0.2, 2))
def test_a_cell_holds_the_mean_of_the_straight_pieces(seed: int, width: float, step: float) -> None:
    draw = np.random.default_rng(seed)
    T = np.cumsum(step * draw.uniform(0.2, 1.8, 200)) + 300
    c = draw.normal(0.4, 0.1, 200)
    cells = Cells.of(T, c, width)
    first, stop = cells.first * width, cells.stop * width
    fine = np.unique(np.concatenate([T, [first, stop]]))
    fine = fine[(fine >= first) & (fine <= stop)]
    values = np.interp(fine, T, c)
    expected = np.sum(np.diff(fine) * (values[1:] + values[:-1])) / 2
    assert np.sum(cells.mean) * width == pytest.approx(expected, abs=1e-9)


def test_an_area_is_found_through_any_straight_baseline() -> None:
    T = np.arange(300.0, 750.0, 0.5)
    peak = 20 / (30 * np.sqrt(2 * np.pi)) * np.exp(-0.5 * ((T - 600) / 30) ** 2)
    standard = Cells.of(T, 0.4 + 1e-4 * T, 1.0)
    for offset, slope in ((0.0, 0.0), (0.1, 0.0), (-0.2, 5e-4)):
        sample = Cells.of(T, 0.4 + 1e-4 * T - peak + offset + slope * (T - 500), 1.0)
        found = difference(sample, standard, LOW, LIQUID, 600.0)
        assert found is not None
        assert found.excess == pytest.approx(20, abs=0.01)
        assert found.below == pytest.approx(10, abs=0.01)
        assert found.recovery == pytest.approx(-10, abs=0.01)
        assert not found.open


def test_what_an_annealed_sample_takes_up_more_is_recovery() -> None:
    T = np.arange(300.0, 750.0, 0.5)
    peak = 3 / (5 * np.sqrt(2 * np.pi)) * np.exp(-0.5 * ((T - 710) / 5) ** 2)
    found = difference(
        Cells.of(T, 0.4 + peak, 1.0), Cells.of(T, 0.4 + 0 * T, 1.0), LOW, (732.0, 745.0), 690.0
    )
    assert found is not None
    assert found.recovery == pytest.approx(3, abs=0.02)
    assert found.below == pytest.approx(0, abs=0.02)


def test_errors_of_an_area_cover() -> None:
    T = np.arange(300.0, 750.0, 0.5)
    draw = np.random.default_rng(5)
    z = []
    for _ in range(200):
        cells = [Cells.of(T, 0.4 + 3e-3 * draw.standard_normal(len(T)), 1.0) for _ in range(2)]
        found = difference(*cells, LOW, LIQUID, 690.0)
        assert found is not None
        z.append(np.array([found.excess, found.below, found.recovery]) / found.errors)
    spread = np.std(z, axis=0)
    np.testing.assert_allclose(spread, 1, atol=0.15)


def test_no_common_low_range_is_no_difference() -> None:
    T = np.arange(400.0, 750.0, 0.5)
    cells = Cells.of(T, 0.4 + 0 * T, 1.0)
    assert difference(cells, cells, LOW, LIQUID, 690.0) is None


# -- on simulated samples -----------------------------------------------------------------------


def test_the_excess_of_each_sample_is_its_truth() -> None:
    dsc, truth = measured(**ANNEALED, **QUIET)
    output = compared(dsc)
    np.testing.assert_allclose(last(output, "excess"), truth["excess_enthalpy"], atol=0.06)
    assert last(output, "flags").tolist() == [0, 0, 0]
    np.testing.assert_array_equal(last(output, "annealing_time"), [0, 300, 43200])
    assert np.isnan(last(output, "annealing_temperature")[0])
    split = last(output, "split")
    np.testing.assert_allclose(split, truth["onset"], atol=0.5)
    whole = last(output, "below") - last(output, "recovery")
    np.testing.assert_allclose(whole, last(output, "excess"), atol=1e-9)


def test_one_standard_for_all_gives_it_live() -> None:
    dsc, truth = measured(**ANNEALED, **QUIET)
    output = compared(dsc, {"standard_sample": 0, "every": 32})
    np.testing.assert_allclose(last(output, "excess"), truth["excess_enthalpy"], atol=0.06)
    live = ~output["excess"]["final"] & (output["excess"]["sample"] == 1)
    assert np.count_nonzero(live) > 10
    reached, flags = output["excess"]["end_temperature"][live], output["excess"]["flags"][live]
    assert (flags[(reached > 345) & (reached < 725)] == module.OPEN).all()
    running = output["excess"]["excess"][live][reached > 345]
    assert np.all(np.diff(running[reached[reached > 345] < 690]) > -0.01)
    assert output["traces"]["heat_flow"].shape[0] > 10


def test_annealing_near_T_g_gives_recovery_and_a_negative_excess() -> None:
    values = {"annealing_temperatures": [660.0], "annealing_times": [36000.0], "beta_enthalpy": 0.0}
    dsc, truth = measured(**values, **QUIET)
    output = compared(dsc)
    assert truth["excess_enthalpy"][1] < -1
    np.testing.assert_allclose(last(output, "excess"), truth["excess_enthalpy"], atol=0.06)
    assert last(output, "recovery")[1] > 1


def test_noise_is_in_the_errors() -> None:
    quiet, _ = measured(**ANNEALED, **QUIET)
    clean = last(compared(quiet), "excess")
    z = []
    for seed in range(8):
        output = compared(noisy(quiet, seed, 3e-4, (0.002, 0.001)))
        z.append((last(output, "excess") - clean) / last(output, "excess_errors"))
    assert 0.7 < np.std(z) < 1.3
    assert 0.55 < np.mean(np.abs(z) < 1) < 0.82


def test_a_standard_at_another_rate_is_not_compared() -> None:
    dsc, _ = measured(heating_rates=[20.0, 10.0], **QUIET)
    output = compared(dsc, {"standard_sample": 0})
    assert last(output, "flags").tolist() == [0, module.OTHER_RATE]
    assert np.isnan(last(output, "excess")[1])


def test_a_sample_without_a_standard_is_named_at_the_end() -> None:
    dsc, _ = measured(programme=[745.0], **QUIET)
    output = compared(dsc)
    assert last(output, "flags").tolist() == [module.NO_STANDARD]
    assert last(output, "standard_ramp").tolist() == [-1]


def test_exotherm_up_is_the_same_excess() -> None:
    one, _ = measured(**QUIET)
    other, _ = measured(**QUIET, sign="exothermic_positive", units="mW", mass=3.0)
    np.testing.assert_allclose(
        last(compared(one), "excess"), last(compared(other), "excess"), rtol=1e-9
    )


def test_keeps_its_promises() -> None:
    dsc, _ = measured(**QUIET)
    thin = {name: values[::10] for name, values in dsc.arrays.items()}
    check_analysis(ExcessEnthalpy, changed(dsc, **thin), {"every": 30}, runs=1)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"low": [400.0, 350.0]}, "low: .* the smaller one first"),
        ({"low": [400.0, 450.0], "liquid": [440.0, 740.0]}, "low lies below liquid"),
        ({"standard_heating": 0}, "not its own standard"),
        ({"standard": 0}, "did you mean 'standard_"),
    ],
)
def test_refuses_what_cannot_be(config: dict[str, Any], said: str) -> None:
    dsc, _ = measured(**QUIET)
    with pytest.raises(ValueError, match=said):
        compared(dsc, config)
