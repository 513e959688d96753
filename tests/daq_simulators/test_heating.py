"""Temperatures in steps and ramps, and stairs that follow them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daq_simulators.heating import STAIR, Heating
from daq_simulators.material_time import MaterialTime, arrhenius

TIMES = np.linspace(0, 400, 4001)


def test_steps_are_there_at_once() -> None:
    heating = Heating(633.0, [(100.0, 643.0), (200.0, 620.0)])
    assert heating.at([0.0, 99.9, 100.0, 199.9, 200.0, 1e6]).tolist() == [
        633.0, 633.0, 643.0, 643.0, 620.0, 620.0,
    ]  # fmt: skip
    assert heating.stairs() == [(0.0, 633.0), (100.0, 643.0), (200.0, 620.0)]
    assert Heating(300.0, []).stairs() == [(0.0, 300.0)]


def test_ramps_go_at_their_rate_and_start_where_they_are() -> None:
    heating = Heating(633.0, [(100.0, 643.0), (120.0, 603.0)], 0.25)
    expected = np.interp(TIMES, [100, 120, 120 + 35 / 0.25], [633, 638, 603])
    np.testing.assert_allclose(heating.at(TIMES), expected, atol=1e-9)


@given(
    st.lists(st.tuples(st.floats(1, 100), st.floats(300, 900)), max_size=4),
    st.none() | st.floats(0.1, 1e3),
)
def test_stairs_follow(steps: list[tuple[float, float]], rate: float | None) -> None:
    begins = np.cumsum([gap for gap, _ in steps])
    heating = Heating(600.0, [(b, k) for b, (_, k) in zip(begins, steps, strict=True)], rate)
    stairs = heating.stairs()
    at = [time for time, _ in stairs]
    assert at[0] == 0 and at == sorted(at)
    # in the middle of each stair, so that no border is met
    edges = np.append(at, at[-1] + 100.0)
    middle = (edges[1:] + edges[:-1]) / 2
    wide = np.diff(edges) > 1e-9
    kelvin = np.array([k for _, k in stairs])
    np.testing.assert_allclose(kelvin[wide], heating.at(middle[wide]), atol=STAIR / 2 + 1e-6)


@pytest.mark.parametrize("rate", [0.1, 2.0])
def test_the_material_ages_on_stairs_as_on_the_ramp(rate: float) -> None:
    heating = Heating(633.0, [(50.0, 673.0), (300.0, 640.0)], rate)
    clock = MaterialTime(heating.stairs(), 633.0, 97.0)
    fine = np.linspace(0, 400, 400_001)
    speed = 1 / np.array([arrhenius(kelvin, 633.0, 97.0) for kelvin in heating.at(fine)])
    exact = np.concatenate([[0], np.cumsum((speed[1:] + speed[:-1]) / 2 * np.diff(fine))])
    np.testing.assert_allclose(clock.at(fine[::1000]), exact[::1000], rtol=3e-4, atol=1e-3)
