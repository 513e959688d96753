"""Oscillators with stable frequencies relax as KWW."""

from __future__ import annotations

import numpy as np
import pytest

from daq_simulators.kww_process import TILE, KwwProcess, evenly_spread, stable_frequencies


@pytest.mark.parametrize("gamma", [0.4, 0.7, 1.0, 1.5, 2.0])
def test_characteristic_function_is_kww(gamma: float) -> None:
    draw = np.random.default_rng(1)
    count = 200_000
    frequency = stable_frequencies(draw.random(count), draw.random(count), np.full(count, gamma))
    for t in (0.1, 0.5, 1.0, 2.0, 4.0):
        found = np.cos(frequency * t).mean()
        # the mean of `count` cosines, each within -1 and 1: five standard errors
        assert abs(found - np.exp(-(t**gamma))) < 5 / np.sqrt(count)


@pytest.mark.parametrize("gamma", [0.6, 1.0, 1.6])
def test_each_pixel_relaxes_with_its_own_tau(gamma: float) -> None:
    tau = np.repeat([[10.0], [300.0]], 20_000, axis=1)
    process = KwwProcess(np.random.default_rng(2), tau, np.full(tau.shape, gamma))
    first = process.at(50.0)
    for lag in (3.0, 30.0, 300.0):
        kept = (process.at(50.0 + lag) * first.conj()).mean(axis=1)
        expected = np.exp(-((lag / tau[:, 0]) ** gamma))
        np.testing.assert_allclose(kept, expected, atol=5 / np.sqrt(tau.shape[1]))
    np.testing.assert_allclose((np.abs(first) ** 2).mean(axis=1), 1, atol=0.05)


@pytest.mark.parametrize("pairing", [0.0, 0.6, 1.0])
def test_pairing(pairing: float) -> None:
    tau = np.full((1, 40_000), 5.0)
    process = KwwProcess(np.random.default_rng(3), tau, np.ones(tau.shape), pairing=pairing)
    now = process.at(2.0)
    assert abs((now**2).mean() - pairing) < 0.03
    assert abs((np.abs(now) ** 2).mean() - 1) < 0.03


def test_any_time_without_those_before() -> None:
    def process() -> KwwProcess:
        return KwwProcess(np.random.default_rng(4), np.full((3, 3), 7.0), np.ones((3, 3)))

    one, other = process(), process()
    for time in (0.0, 1.0, 2.0):
        one.at(time)
    np.testing.assert_array_equal(one.at(3.0), other.at(3.0))


def test_numbers_are_uniform_and_fill_each_tile_evenly() -> None:
    draw = np.random.default_rng(5)
    rows, columns = 21, 30  # the last tiles are cut off
    first, second = evenly_spread(draw, (rows, columns, 4))
    assert first.shape == second.shape == (rows, columns, 4)
    assert min(first.min(), second.min()) >= 0 and max(first.max(), second.max()) < 1
    across = 2 * TILE
    for y in range(0, rows - TILE, TILE):
        for x in range(0, columns - TILE, TILE):
            tile = np.s_[y : y + TILE, x : x + TILE]
            cell = (first[tile] * across).astype(int) * across + (second[tile] * across).astype(int)
            every = list(range(across * across))
            assert sorted(cell.ravel()) == every
            for numbers in (first, second):
                assert sorted((numbers[tile] * across**2).astype(int).ravel()) == every
    # and the place within the tile says nothing
    assert abs(np.corrcoef(first[:, :-1].ravel(), first[:, 1:].ravel())[0, 1]) < 0.06
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.05
    with pytest.raises(ValueError, match="square number"):
        evenly_spread(draw, (4, 4, 5))


def test_the_glass_under_a_probe_keeps_its_law() -> None:
    # 16 x 16 pixels, as many as a probe sees: the mean over them alone, at one place after another
    tau = np.full((128, 128), 10.0)
    process = KwwProcess(np.random.default_rng(6), tau, np.ones(tau.shape))
    turned = np.exp(1j * process._frequency * 10.0).mean(axis=-1)
    places = turned.reshape(8, 16, 8, 16).mean(axis=(1, 3))
    independent = np.sqrt((1 + np.exp(-2)) / 2 - np.exp(-2)) / np.sqrt(16 * 16 * 4)
    assert abs(places.real.mean() - np.exp(-1)) < 0.002
    assert places.real.std() < 0.4 * independent
