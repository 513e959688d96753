"""Lines, tangents and areas on traces whose answers are known on paper."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from daq_thermal import flags as made
from daq_thermal.constructions import NUMBERS, Ranges, construct, errors
from daq_thermal.lines import area, pieces

T = np.arange(500.0, 850.0, 0.5)


def logistic(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(x, -60, 60)))


def trace(middle: float = 660.0, width: float = 4.0, step: float = 0.2, slope: float = 2e-4,
          onset: float = 760.0, heat: float = 60.0) -> np.ndarray:  # fmt: skip
    """Glass line, a symmetric step, and a Gaussian exotherm with the step back."""
    c = 0.4 + slope * (T - 500) + step * logistic((T - middle) / width)
    if heat:
        x = (T - onset) / 5
        c = c - heat / (5 * np.sqrt(2 * np.pi)) * np.exp(-0.5 * x * x)
        c = c - step * 0.5 * (1 + np.array([math.erf(v / np.sqrt(2)) for v in x]))
    return c


def test_a_symmetric_step_is_found_where_it_is() -> None:
    found = construct(T, trace(), Ranges())
    assert found.flags == 0
    assert found.half_step == pytest.approx(660, abs=0.02)
    # the steepest tangent of a logistic meets its foot two widths below the middle
    assert found.onset == pytest.approx(652, abs=0.15)
    assert found.step == pytest.approx(0.2, abs=1e-4)
    # equal areas: the middle, by symmetry
    assert found.fictive_temperature == pytest.approx(660, abs=0.05)
    assert found.overshoot == pytest.approx(0, abs=1e-3)


def test_an_exotherm_has_its_heat_and_onset() -> None:
    found = construct(T, trace(), Ranges())
    assert found.crystallisation_heat == pytest.approx(60, abs=0.05)
    assert found.crystallisation_peak == pytest.approx(760, abs=0.1)
    # steepest tangent of a Gaussian meets its foot two standard deviations below the peak
    assert found.crystallisation_onset == pytest.approx(750, abs=0.3)
    baseline = found.crystallisation_baseline
    assert np.isfinite(baseline).any()
    assert baseline[np.isfinite(baseline)].max() < 0.7


def test_overshoot_and_its_area() -> None:
    bump = 0.05 * np.exp(-0.5 * ((T - 690) / 4) ** 2)
    found = construct(T, trace(heat=0) + bump, Ranges())
    assert found.overshoot_peak == pytest.approx(690, abs=1)
    assert found.overshoot == pytest.approx(0.05, abs=0.003)
    assert found.overshoot_area == pytest.approx(0.05 * 4 * np.sqrt(2 * np.pi), rel=0.1)


def test_an_exotherm_below_the_transition_raises_the_fictive_temperature() -> None:
    """What was frozen in comes out: excess / step kelvin more."""
    excess = 4.0
    dip = excess / (12 * np.sqrt(2 * np.pi)) * np.exp(-0.5 * ((T - 610) / 12) ** 2)
    ranges = Ranges(glass=(505.0, 550.0), liquid=(690.0, 730.0))
    found = construct(T, trace(heat=0) - dip, ranges)
    assert found.fictive_temperature == pytest.approx(660 + excess / 0.2, abs=0.1)


@pytest.mark.parametrize(
    "c",
    [
        np.full(len(T), 0.4),
        0.4 + 1e-3 * (T - 500),
        0.4 + 1e-3 * np.random.default_rng(1).standard_normal(len(T)),
        0.4 + 1e-2 * np.random.default_rng(2).standard_normal(len(T)),
        trace(step=0.01, heat=0),
    ],
    ids=["flat", "sloped", "noise", "much noise", "too small a step"],
)
def test_a_trace_without_a_transition_is_told_and_nothing_is_made_up(c: np.ndarray) -> None:
    found = construct(T, c, Ranges())
    assert found.flags & (made.NO_GLASS_TRANSITION | made.NO_LIQUID_RANGE | made.NO_GLASS_RANGE)
    assert np.isnan(found.half_step)
    assert np.isnan(found.step)
    assert np.isnan(found.fictive_temperature)


def test_a_trace_that_grows_shows_first_nothing_then_more() -> None:
    whole = trace()
    flags = [construct(T[:n], whole[:n], Ranges()).flags for n in (20, 200, 330, 440, 520, len(T))]
    assert flags[0] == made.NOT_HEATED
    assert flags[1] & (made.NO_GLASS_TRANSITION | made.NO_GLASS_RANGE | made.NO_LIQUID_RANGE)
    assert flags[3] & ~made.PARALLEL == made.NO_CRYSTALLISATION
    assert flags[4] & made.OPEN_CRYSTALLISATION
    assert flags[5] == 0


def test_a_relaxing_glass_is_flagged() -> None:
    dip = 0.1 * np.exp(-0.5 * ((T - 610) / 25) ** 2)
    assert construct(T, trace(heat=0) - dip, Ranges()).flags & made.RELAXING
    assert not construct(T, trace(heat=0), Ranges()).flags & made.RELAXING


def test_a_hole_in_the_transition_is_flagged() -> None:
    there = (T < 653) | (T > 664)
    assert construct(T[there], trace()[there], Ranges()).flags & made.GAP


@settings(max_examples=40, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(
    st.floats(600, 690), st.floats(2, 6), st.floats(0.05, 0.5), st.floats(-2e-4, 5e-4),
    st.floats(-1, 5),
)  # fmt: skip
def test_shifting_and_scaling_do_as_they_must(
    middle: float, width: float, step: float, slope: float, level: float
) -> None:
    c = trace(middle, width, step, slope, heat=0) + level
    found = construct(T, c, Ranges())
    assert found.half_step == pytest.approx(middle, abs=0.1)
    assert found.step == pytest.approx(step, rel=0.01)
    assert found.onset == pytest.approx(middle - 2 * width, abs=0.5)


@pytest.mark.parametrize(("heat", "least", "most"), [(0.0, 0.6, 0.92), (60.0, 0.7, 1.0)])
def test_errors_cover(heat: float, least: float, most: float) -> None:
    """Of the truth; an exotherm's tail adds an error that is not drawn at random, so covers more."""
    truth = {"onset": 652.0, "half_step": 660.0, "fictive_temperature": 660.0, "step": 0.2}
    if heat:
        truth |= {"crystallisation_onset": 750.0, "crystallisation_heat": 60.0}
    places = [NUMBERS.index(name) for name in truth]
    z = []
    for seed in range(12):
        c = trace(heat=heat) + 5e-4 * np.random.default_rng(seed).standard_normal(len(T))
        found = construct(T, c, Ranges())
        assert found.noise == pytest.approx(5e-4, rel=0.2)
        spread = errors(T, c, Ranges(), 12, seed)[places]
        z.append((found.numbers[places] - list(truth.values())) / spread)
    assert least < np.mean(np.abs(z) < 1) < most
    assert np.mean(np.abs(z) < 2) > 0.88
    assert (np.mean(np.abs(z) < 1, axis=0) > 0.4).all()


@pytest.mark.parametrize("onset", [715.0, 730.0, 745.0, 790.0])
def test_crystallisation_that_follows_closely_does_not_turn_the_liquid(onset: float) -> None:
    """The line of the liquid is that without crystallisation, within its errors."""
    alone = construct(T, trace(heat=0), Ranges())
    found = construct(T, trace(onset=onset), Ranges())
    spread = errors(T, trace(onset=onset), Ranges(), 8)
    at = [NUMBERS.index(name) for name in ("half_step", "fictive_temperature", "step")]
    assert (abs(found.numbers - alone.numbers)[at] < 2 * spread[at] + 1e-9).all()
    assert found.step == pytest.approx(0.2, rel=0.01)
    assert found.fictive_temperature == pytest.approx(660, abs=0.15)


def test_crystallisation_that_begins_in_the_transition_hides_the_liquid() -> None:
    found = construct(T, trace(onset=685.0), Ranges())
    assert found.flags & made.NO_LIQUID_RANGE
    assert np.isnan(found.half_step)
    assert np.isnan(found.fictive_temperature)


def test_a_slope_that_is_not_known_is_in_the_errors_unless_it_is_told() -> None:
    """A liquid that leans: too short a range to see it."""
    bent = trace(onset=708.0) - 1e-4 * (T - 660) * logistic((T - 660) / 4)
    found = construct(T, bent, Ranges())
    assert found.flags & made.PARALLEL
    at = NUMBERS.index("step")
    spread = errors(T, bent, Ranges(), 24)[at]
    assert 0.001 < abs(found.step - 0.2) < 2 * spread
    told = Ranges(liquid_slope=-1e-4)
    assert abs(construct(T, bent, told).step - 0.2) < abs(found.step - 0.2) / 2
    assert errors(T, bent, told, 8)[at] < spread / 2


def test_pieces_and_area_are_those_of_lines() -> None:
    line = 1.0 + 3e-3 * (T - 600)
    value, slope = pieces(T, line, 2.0)
    np.testing.assert_allclose(value, line, rtol=1e-12)
    np.testing.assert_allclose(slope, 3e-3, rtol=1e-9)
    assert area(T, line, 600.2, 700.3) == pytest.approx(100.1 + 1.5e-3 * (100.3**2 - 0.2**2))


def test_an_instrument_that_settles_is_left_out() -> None:
    hook = -3 * np.exp(-(T - T[0]) / 1.0)
    np.testing.assert_allclose(
        construct(T, trace() + hook, Ranges()).numbers, construct(T, trace(), Ranges()).numbers,
        rtol=1e-3, atol=0.1,
    )  # fmt: skip


def test_equal_areas_know_that_the_step_depends_on_temperature() -> None:
    c = 0.4 + 2e-4 * (T - 500) + (0.2 - 1e-3 * (T - 660)) * logistic((T - 660) / 4)
    found = construct(T, c, Ranges(liquid=(700.0, 800.0)))
    # but for the width of the transition: (1e-3/0.2) 4^2 pi^2/6
    assert found.fictive_temperature == pytest.approx(660, abs=0.3)
    assert found.liquid.slope == pytest.approx(-8e-4, rel=0.01)


@pytest.mark.parametrize("seed", range(6))
def test_whatever_a_trace_looks_like_there_is_an_answer(seed: int) -> None:
    """Holes, few readings, noise, exotherms anywhere: numbers and errors, or NaN and a flag."""
    draw = np.random.default_rng(seed)
    for _ in range(8):
        x = 500 + np.cumsum(draw.uniform(0.05, 1.5, draw.integers(30, 500)))
        middle, onset = draw.uniform(520, 800), draw.uniform(520, 900)
        c = trace(middle, draw.uniform(1, 8), draw.choice([0.0, 0.05, 0.3]), onset=onset,
                  heat=draw.choice([0.0, 60.0]))  # fmt: skip
        c = np.interp(x, T, c) + draw.choice([0.0, 1e-3, 1e-2]) * draw.standard_normal(len(x))
        hole = draw.integers(0, len(x) - 20)
        keep = (np.arange(len(x)) < hole) | (np.arange(len(x)) > hole + draw.integers(0, 20))
        found = construct(x[keep], c[keep], Ranges())
        spread = errors(x[keep], c[keep], Ranges(), 2)
        assert np.isnan(spread[np.isnan(found.numbers)]).all()
        if np.isnan(found.half_step):
            assert found.flags & ~(made.NO_CRYSTALLISATION | made.OPEN_CRYSTALLISATION)
