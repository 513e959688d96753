"""T_g, T_f and T_x of simulated samples against their truth, live and at the end."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from daq.testing import check_analysis, run_analysis
from daq_thermal import flags as made
from daq_thermal.glass_transition import GlassTransition
from tests.daq_thermal.simulated import QUIET, SHORT, STANDARD, changed, measured, noisy


def found(dsc: Any, config: dict[str, Any] | None = None, size: int = 64) -> Any:
    config = {"replicates": 4, **(config or {})}
    return run_analysis(GlassTransition, {"dsc": dsc.stream}, dsc.batches(size), config)


def last(output: Any, name: str) -> Any:
    transition = output["transition"]
    return transition[name][transition["final"]]


def test_a_standard_shows_its_truth() -> None:
    dsc, truth = measured(**STANDARD, crystallisation_heat=0.0, c_p_step_slope=0.0)
    output = found(dsc)
    assert last(output, "onset")[0] == pytest.approx(truth["onset"][0], abs=0.3)
    assert last(output, "half_step")[0] == pytest.approx(truth["half_step"][0], abs=0.3)
    frozen = truth["standard_fictive_temperature"][0]
    assert last(output, "fictive_temperature")[0] == pytest.approx(frozen, abs=0.5)
    assert last(output, "step")[0] == pytest.approx(0.2, abs=0.004)
    assert last(output, "overshoot")[0] == pytest.approx(truth["overshoot"][0], abs=0.004)
    assert last(output, "flags")[0] == made.NO_CRYSTALLISATION
    assert last(output, "heating_rate")[0] == pytest.approx(20)


def test_where_crystallisation_is_near_the_liquid_is_short_and_told() -> None:
    dsc, truth = measured(**SHORT, beta_enthalpy=0.0)
    output = found(dsc)
    second = last(output, "heating_rate").tolist().index(20.0, 1)
    assert last(output, "flags")[second] == made.PARALLEL
    assert last(output, "onset")[second] == pytest.approx(truth["onset"][0], abs=0.3)
    assert last(output, "half_step")[second] == pytest.approx(truth["half_step"][0], abs=1)
    T_x = last(output, "crystallisation_onset")[second]
    assert T_x == pytest.approx(truth["crystallisation_onset"][0], abs=0.6)
    heat = last(output, "crystallisation_heat")[second]
    assert heat == pytest.approx(60, abs=0.6)
    assert last(output, "heating").tolist() == [0, 0, 1]
    assert last(output, "flags")[1] == made.NOT_HEATED


def test_a_quenched_sample_says_that_it_relaxes() -> None:
    dsc, _ = measured(programme=[745.0])
    output = found(dsc)
    assert last(output, "flags")[0] & made.RELAXING
    # what it holds more than a standard shows once the line of the glass is laid below all of it
    told = found(dsc, {"glass": [306.0, 380.0]})
    assert last(told, "fictive_temperature")[0] > last(output, "fictive_temperature")[0] + 50


def test_the_fictive_temperature_rises_with_the_cooling_rate() -> None:
    T_f = []
    for rate in (5.0, 80.0):
        dsc, truth = measured(**STANDARD, crystallisation_heat=0.0, cooling_rate=rate,
                              quench_rate=rate / 60)  # fmt: skip
        T_f.append(last(found(dsc), "fictive_temperature")[0])
        assert T_f[-1] == pytest.approx(truth["standard_fictive_temperature"][0], abs=1.2)
    assert T_f[1] - T_f[0] > 8


@pytest.mark.parametrize("units", ["W/g", "mW"])
def test_exotherm_up_and_down_are_the_same_sample(units: str) -> None:
    one, _ = measured(**STANDARD, **QUIET)
    other, _ = measured(**STANDARD, **QUIET, sign="exothermic_positive", units=units, mass=6.0)
    for name in ("onset", "half_step", "crystallisation_heat"):
        np.testing.assert_allclose(
            last(found(one), name), last(found(other), name), rtol=1e-9, atol=1e-9
        )


def test_it_is_there_while_the_trace_grows() -> None:
    dsc, _ = measured(**STANDARD)
    output = found(dsc, {"every": 32})["transition"]
    reached, onset = output["end_temperature"], output["onset"]
    assert len(reached) > 10
    assert not output["final"][:-1].any()
    assert np.isnan(output["half_step"][reached < 700]).all()
    known = np.isfinite(output["half_step"])
    assert reached[known].min() < 760
    assert abs(onset[known] - onset[-1]).max() < 1
    assert np.isnan(output["onset_errors"][:-1]).all()
    assert 0 < output["onset_errors"][-1] < 0.5


def test_the_errors_of_a_simulated_trace_cover() -> None:
    quiet, truth = measured(**STANDARD, crystallisation_heat=0.0, **QUIET)
    names = {
        "onset": "onset", "half_step": "half_step", "overshoot": "overshoot",
        "fictive_temperature": "standard_fictive_temperature",
    }  # fmt: skip
    z = []
    for seed in range(8):
        output = found(noisy(quiet, seed, 3e-4), {"replicates": 16, "every": 65536})
        z.append([
            (last(output, name)[0] - truth[key][0]) / last(output, f"{name}_errors")[0]
            for name, key in names.items()
        ])  # fmt: skip
    assert 0.5 < np.mean(np.abs(z) < 1) < 0.95
    assert np.mean(np.abs(z) < 2) > 0.85


def test_lines_are_drawn_where_they_are_laid() -> None:
    dsc, _ = measured(**STANDARD)
    trace = found(dsc)["trace"]
    T = trace.stream.constants["temperature"]
    newest = {name: trace[name][-1] for name in trace.stream.fields}
    assert np.isfinite(newest["heat_flow"][(T > 561) & (T < 799)]).all()
    assert np.isnan(newest["heat_flow"][T < 560]).all()
    for name in ("glass_line", "liquid_line", "tangent", "crystallisation_tangent",
                 "crystallisation_baseline"):  # fmt: skip
        assert np.isfinite(newest[name]).any(), name
    below = (T > 600) & (T < 640)
    np.testing.assert_allclose(newest["glass_line"][below], newest["heat_flow"][below], atol=1e-3)


def test_ranges_that_are_given_are_taken() -> None:
    dsc, truth = measured(**STANDARD, crystallisation_heat=0.0)
    output = found(dsc, {"glass": [570.0, 650.0], "liquid": [750.0, 795.0]})
    assert last(output, "glass_to")[0] == 650
    assert last(output, "liquid_from")[0] == 750
    assert last(output, "half_step")[0] == pytest.approx(truth["half_step"][0], abs=0.3)


def test_two_runs_in_one_stream_are_two_ramps() -> None:
    dsc, _ = measured(**STANDARD)
    plain = changed(dsc, drop=("sample", "segment", "heating_rate"))
    twice = changed(
        plain, **{name: np.concatenate([values, values]) for name, values in plain.arrays.items()}
    )
    output = found(twice)
    assert last(output, "began").tolist() == [made.BEGIN, made.CLOCK]
    assert last(output, "sample").tolist() == [0, 1]
    np.testing.assert_array_equal(*last(output, "onset"))


def test_rows_that_repeat_or_go_back_change_nothing() -> None:
    dsc, _ = measured(**STANDARD)
    order = np.sort(np.concatenate([np.arange(len(dsc)), [100, 100, 300]]))
    repeated = changed(dsc, **{name: values[order] for name, values in dsc.arrays.items()})
    output, reference = found(repeated), found(dsc)
    assert last(output, "repeated")[0] == 3
    assert last(output, "half_step")[0] == last(reference, "half_step")[0]
    T = dsc["temperature"].copy()
    T[200] -= 1.4
    output = found(changed(dsc, temperature=T))
    assert last(output, "backward")[0] == 1
    assert last(output, "half_step")[0] == pytest.approx(last(reference, "half_step")[0], abs=0.05)


def test_readings_that_are_lost_are_counted() -> None:
    dsc, _ = measured(**STANDARD)
    output = found(dsc.with_missing((50, 7)))
    assert last(output, "left_out")[0] == 7
    assert last(output, "onset")[0] == pytest.approx(last(found(dsc), "onset")[0], abs=0.1)


def test_keeps_its_promises() -> None:
    values = {"start_temperature": 660.0, "programme": [745.0, 725.0], "interval": 2.0}
    dsc, _ = measured(**values, beta_enthalpy=0.0)
    config = {"replicates": 2, "every": 50, "grid": [650.0, 760.0, 2.0]}
    check_analysis(
        GlassTransition, dsc, config, reconfigure_to={**config, "smoothing": 3.0}, runs=2
    )


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"glass": [650.0, 600.0]}, "glass: .* the smaller one first"),
        ({"glass": [600.0, 720.0], "liquid": [700.0, 740.0]}, "the glass lies below"),
        ({"grid": [300.0, 200.0, 1.0]}, "grid"),
        ({"glas": [600.0, 650.0]}, "did you mean 'glass'"),
    ],
)
def test_refuses_what_cannot_be(config: dict[str, Any], said: str) -> None:
    dsc, _ = measured(**STANDARD)
    with pytest.raises(ValueError, match=said):
        found(dsc, config)
