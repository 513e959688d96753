"""The model's fictive temperature as an analysis: true to the simulator, steady on bad input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import daq
from daq.testing import check_analysis, run_analysis
from daq_thermal.fictive_temperature import FictiveTemperature
from tests.daq_thermal.simulated import QUIET, SHORT, STANDARD, changed, measured

LIQUID = {"T_g": 695.0, "tau_g": 160.0, "fragility": 60.0, "nonlinearity": 0.7, "stretch": 0.55}
COOLED = {"cooling_rate": 20.0, **LIQUID}


def followed(dsc: Any, config: dict[str, Any]) -> Any:
    return run_analysis(FictiveTemperature, {"dsc": dsc.stream}, dsc.batches(64), config)["state"]


def test_it_is_within_0_01_K_of_the_truth() -> None:
    dsc, truth = measured(annealing_temperatures=[553.0], annealing_times=[300.0], **QUIET, **SHORT)
    state = followed(dsc, COOLED)
    # both samples are followed from their own beginning
    error = state["fictive_temperature"] - truth["fictive_temperature"]
    assert abs(error).max() < 0.01


def test_its_heat_flow_is_that_of_the_transition() -> None:
    dsc, _ = measured(**STANDARD, **QUIET, crystallisation_heat=0.0, c_p_step_slope=0.0)
    state = followed(dsc, {**COOLED, "step": 0.2})
    T = dsc["temperature"]
    glass = np.polyval(np.polyfit(T[:40], dsc["heat_flow"][:40], 1), T)
    rest = dsc["heat_flow"] - glass - state["heat_flow"]
    # the slope of a straight line through the glass does not bend as the baseline does
    assert np.nanmax(abs(rest)) < 0.003
    assert np.nanmax(state["heat_flow"]) > 0.06


def test_a_given_state_is_taken() -> None:
    dsc, _ = measured(**STANDARD, **QUIET)
    state = followed(dsc, {"initial": 720.0, **LIQUID})
    assert state["fictive_temperature"][0] == 720
    assert state["relaxed"][5] == pytest.approx(0, abs=0.01)
    assert state["relaxed"][-1] == pytest.approx(1, abs=0.01)
    tau = 160 * np.exp(60 * 695 * np.log(10) * (1 / dsc["temperature"][-1] - 1 / 695))
    assert state["ln_tau"][-1] == pytest.approx(np.log(tau), abs=0.01)
    liquid = followed(dsc, {"initial": "equilibrium", **LIQUID})
    assert liquid["fictive_temperature"][0] == dsc["temperature"][0]


def test_a_sample_that_is_changed_without_a_word_is_told_by_the_clock() -> None:
    dsc, _ = measured(**STANDARD, **QUIET)
    plain = changed(dsc, drop=("sample", "segment"))
    twice = changed(
        plain, **{name: np.concatenate([values, values]) for name, values in plain.arrays.items()}
    )
    state = followed(twice, COOLED)
    n = len(dsc)
    np.testing.assert_array_equal(
        state["fictive_temperature"][:n], state["fictive_temperature"][n:]
    )


def test_keeps_its_promises() -> None:
    dsc, _ = measured(**{**STANDARD, "start_temperature": 680.0})
    check_analysis(FictiveTemperature, dsc, {**COOLED, "step": 0.2}, runs=2)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (LIQUID, "either initial .* or cooling_rate"),
        ({**COOLED, "initial": 700.0}, "either initial .* or cooling_rate"),
        ({**LIQUID, "initial": -5.0}, "above 0"),
        ({**COOLED, "stretch": 0.1}, "greater than or equal to 0.3"),
    ],
)
def test_refuses_what_cannot_be(config: dict[str, Any], said: str) -> None:
    dsc, _ = measured(**STANDARD, **QUIET)
    with pytest.raises(ValueError, match=said):
        followed(dsc, config)


def test_needs_kelvin() -> None:
    stream = daq.Stream("furnace", {"temperature": daq.Field("<f8", (), "degC")})
    with pytest.raises(ValueError, match="'temperature' in K is needed, there is one in 'degC'"):
        run_analysis(FictiveTemperature, {"furnace": stream}, [], COOLED)
