"""Phases of controllers, converted to the lag of the cantilever and back."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daq.config import ConfigError, validated
from daq_afm.phase_convention import CONVENTIONS, PhaseConvention, chosen
from daq_afm.settings import CantileverSettings

conventions = st.builds(
    PhaseConvention, st.floats(-360, 360), st.sampled_from(["above", "below"])
) | st.sampled_from(list(CONVENTIONS.values()))


@given(conventions, st.lists(st.floats(-89.9, 269.9), min_size=1))
def test_there_and_back(convention: PhaseConvention, lag: list[float]) -> None:
    shown = convention.from_lag(lag)
    np.testing.assert_allclose(convention.to_lag(shown), lag, atol=1e-9)
    # a controller that counts on by whole turns means the same
    np.testing.assert_allclose(convention.to_lag(shown + 360), lag, atol=1e-9)


@pytest.mark.parametrize("name", CONVENTIONS)
def test_resonance_is_at_90_and_attraction_above(name: str) -> None:
    convention = CONVENTIONS[name]
    towards = 5.0 if convention.attractive == "above" else -5.0
    shown = [convention.at_resonance, convention.at_resonance + towards, math.nan]
    np.testing.assert_array_equal(convention.to_lag(shown), [90.0, 95.0, math.nan])
    assert convention.attributes["phase_at_resonance"] == 90.0
    assert convention.attributes["phase_sign"] == 1


def test_a_free_cantilever_dissipates_nothing_in_every_convention() -> None:
    """Zhu2016, eq. 3-10: sin(phase) = (w/w0)(A/A0) without the sample, on both sides."""
    lag = np.degrees(np.arcsin(0.85))
    for convention in CONVENTIONS.values():
        for value in (lag, 180 - lag):
            found = convention.to_lag(convention.from_lag(value))
            assert np.sin(np.radians(found)) == pytest.approx(0.85, abs=1e-12)


def test_what_is_right_already_stays_bit_by_bit() -> None:
    phase = np.random.default_rng(1).uniform(0, 180, 1000).astype(np.float32)
    converted = CONVENTIONS["asylum"].to_lag(phase).astype(np.float32)
    np.testing.assert_array_equal(converted, phase)
    assert CONVENTIONS["asylum"].attributes["phase_convention"].endswith("kept")
    assert CONVENTIONS["bruker"].attributes["phase_convention"].endswith("converted")


def test_the_configuration_chooses() -> None:
    asylum = CONVENTIONS["asylum"]
    assert chosen(None, None, None) is None
    assert chosen(None, None, None, asylum) is asylum
    assert chosen("bruker", None, None, asylum) is CONVENTIONS["bruker"]
    assert chosen(None, 0.0, "below") == PhaseConvention(0.0, "below")
    assert chosen(None, 88.0, None, asylum) == PhaseConvention(88.0, "above")
    with pytest.raises(ValueError, match="needs attractive_phase too"):
        chosen(None, 0.0, None)
    with pytest.raises(ValueError, match="needs phase_at_resonance too"):
        chosen(None, None, "above")
    with pytest.raises(ConfigError, match="phase_convention"):
        validated(CantileverSettings, {"phase_convention": "brucker"}, "")
