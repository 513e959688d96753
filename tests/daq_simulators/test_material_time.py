"""The clock of the glass runs with temperature and age."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.integrate import quad

from daq_simulators.material_time import MaterialTime, arrhenius


def test_published_medians() -> None:
    medians = [1000 * arrhenius(kelvin, 633.0, 97.0) for kelvin in (633, 643, 653, 663, 673)]
    np.testing.assert_allclose(medians, [1000, 751, 569, 434, 334], atol=1)


def test_arrhenius_energy_comes_back() -> None:
    kelvin = np.array([633, 643, 653, 663, 673.0])
    ln_tau = np.log([arrhenius(k, 633.0, 97.0) for k in kelvin])
    slope = np.polyfit(1 / kelvin, ln_tau, 1)[0]
    assert slope * 8.314e-3 == pytest.approx(97.0)


def test_runs_as_time_where_nothing_changes() -> None:
    clock = MaterialTime([(0.0, 633.0)], 633.0, 97.0)
    np.testing.assert_allclose(clock.at([0.0, 5.0, 1e4]), [0, 5, 1e4])


@pytest.mark.parametrize("ageing", [0.0, 0.4, 1.0, 1.8])
def test_is_the_integral_of_the_rate(ageing: float) -> None:
    steps = [(0.0, 633.0), (500.0, 660.0), (900.0, 640.0)]
    clock = MaterialTime(steps, 633.0, 97.0, waiting_time=200.0, ageing=ageing)

    def rate(t: float) -> float:
        kelvin = [k for begin, k in steps if begin <= t][-1]
        return ((200.0 + t) / 200.0) ** -ageing / arrhenius(kelvin, 633.0, 97.0)

    for end in (100.0, 500.0, 700.0, 2000.0):
        parts = [0.0, *(b for b, _ in steps if 0 < b < end), end]
        expected = sum(quad(rate, a, b - 1e-9)[0] for a, b in itertools.pairwise(parts))
        assert clock.at(end) == pytest.approx(expected, rel=1e-6)
