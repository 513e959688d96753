"""The streaming recursion against the direct one, written out here as it is printed."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daq_thermal.tnm import StreamingTnm, Tnm, modes

H = 60 * 695 * np.log(10) * 8.314


def direct(model: Tnm, seconds: np.ndarray, kelvin: np.ndarray) -> np.ndarray:
    """T_f by the sum over all steps, each at the middle of its reduced time."""
    T_f, xi = np.full(len(kelvin), kelvin[0]), np.zeros(len(kelvin))
    middles = np.zeros(len(kelvin))
    for n in range(1, len(kelvin)):
        dt = seconds[n] - seconds[n - 1]
        before = (T_f[n - 1] - T_f[n - 2]) / (seconds[n - 1] - seconds[n - 2]) if n > 1 else 0.0
        regular = n > 1 and 0.5 < dt / (seconds[n - 1] - seconds[n - 2]) < 2
        guess = T_f[n - 1] + (0.5 * before * dt if regular else 0.0)
        step = dt / np.exp(model.ln_tau((kelvin[n] + kelvin[n - 1]) / 2, guess))
        xi[n] = xi[n - 1] + step
        middles[n] = xi[n - 1] + step / 2
        rest = np.exp(-((xi[n] - middles[1 : n + 1]) ** model.b))
        T_f[n] = kelvin[0] + np.sum(np.diff(kelvin[: n + 1]) * (1 - rest))
    return T_f


def cycle(*corners: float, rate: float = 20.0, step: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    parts = [np.arange(a, b, step if b > a else -step) for a, b in itertools.pairwise(corners)]
    kelvin = np.concatenate(parts)
    return np.arange(len(kelvin)) * step * 60 / rate, kelvin


def steps(seconds: np.ndarray) -> np.ndarray:
    return np.diff(seconds, prepend=seconds[0])


@pytest.mark.parametrize("b", [0.3, 0.4, 0.5, 0.55, 0.7, 0.9, 1.0])
def test_modes_are_the_decay(b: float) -> None:
    times, weights = modes(b)
    xi = np.concatenate([[0.0], np.geomspace(1e-25, 1e7, 20000)])
    sum_of_modes = np.exp(-xi[:, None] / times) @ weights
    assert abs(sum_of_modes - np.exp(-(xi**b))).max() < 1e-4
    assert weights.sum() == pytest.approx(1, abs=1e-12)
    assert len(times) <= 32


@pytest.mark.parametrize("b", [0.45, 0.55, 0.7, 1.0])
@pytest.mark.parametrize("x", [0.4, 0.7])
@pytest.mark.parametrize("rate", [5.0, 40.0])
def test_streaming_is_within_0_01_K_of_the_direct_recursion(
    b: float, x: float, rate: float
) -> None:
    model = Tnm(695.0, 160.0, H, x, b)
    seconds, kelvin = cycle(760, 480, 770, rate=rate)
    streaming = StreamingTnm(model)
    found = streaming.follow(streaming.begin(760.0, 760.0), steps(seconds), kelvin)
    error = abs(found - direct(model, seconds, kelvin)).max()
    assert error < 0.01


def test_coarse_readings_are_taken_in_parts() -> None:
    """Readings two kelvin apart give what fine ones give."""
    model = Tnm(695.0, 160.0, H, 0.7, 0.55)
    streaming = StreamingTnm(model, longest_step=0.25)
    fine, coarse = cycle(760, 600, 760, step=0.25), cycle(760, 600, 760, step=2.0)
    found = [
        streaming.follow(streaming.begin(760, 760), steps(seconds), kelvin)
        for seconds, kelvin in (fine, coarse)
    ]
    np.testing.assert_allclose(found[0][::8], found[1], atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 560), max_size=12))
def test_bits_do_not_depend_on_how_readings_came(edges: list[int]) -> None:
    streaming = StreamingTnm(Tnm(695.0, 160.0, H, 0.7, 0.55))
    seconds, kelvin = cycle(740, 600, 740)
    dt = steps(seconds)
    whole = streaming.follow(streaming.begin(740, 740), dt, kelvin)
    history = streaming.begin(740, 740)
    places = [0, *sorted(edges), len(kelvin)]
    pieces = [
        streaming.follow(history, dt[a:b], kelvin[a:b]) for a, b in itertools.pairwise(places)
    ]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)


def test_at_rest_it_stays_where_it_is() -> None:
    streaming = StreamingTnm(Tnm(695.0, 160.0, H, 0.7, 0.55))
    history = streaming.begin(300.0, 712.5)
    found = streaming.follow(history, np.full(50, 2e3), np.full(50, 300.0))
    np.testing.assert_allclose(found, 712.5, atol=1e-6)
    liquid = streaming.begin(800.0, 800.0)
    np.testing.assert_allclose(streaming.follow(liquid, np.ones(1), np.full(1, 800.0)), 800)
