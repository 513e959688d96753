"""Electrons are counted as Poisson's law says, where the intensity says."""

from __future__ import annotations

import numpy as np
import pytest

from daq_simulators.electron_detector import SURE, Cells, count_electrons, stream_of, uniforms


def counted(cells: Cells, intensity: np.ndarray, side: int, repeats: int, step: int = 1,
            response: np.ndarray | None = None, dtype: str = "u2") -> np.ndarray:  # fmt: skip
    frames = np.zeros((repeats, side, side), dtype)
    landing = [cells.landing(axis, side) for axis in (0, 1)]
    if response is None:
        response = np.full((side, side), SURE, np.uint32)
    for number, frame in enumerate(frames):
        count_electrons(intensity.astype(np.float32), np.uint64(stream_of(7, number)), *landing,
                        response, step, np.iinfo(dtype).max, frame)  # fmt: skip
    return frames


@pytest.mark.parametrize("pixel_size", [0.1, 0.05, 0.2])
def test_poisson_in_each_pixel(pixel_size: float) -> None:
    side, repeats = 8, 20_000
    cells = Cells.for_frame((side, side), pixel_size, 0.1)
    draw = np.random.default_rng(0)
    intensity = draw.uniform(0, 3, (cells.size, cells.size))
    frames = counted(cells, intensity, side, repeats).astype(float)
    landing = [cells.landing(axis, side) for axis in (0, 1)]
    parts = [(entry[:, :, None] == np.arange(side)).mean(axis=1) for entry in landing]
    expected = parts[0].T @ intensity @ parts[1]
    mean, variance = frames.mean(axis=0), frames.var(axis=0)
    assert np.abs((mean - expected) / np.sqrt(expected / repeats)).max() < 4.5
    # the standard error of variance / mean of a Poisson variable is sqrt((2 + 1 / mean) / n)
    error = np.sqrt((2 + 1 / mean) / repeats)
    assert np.abs((variance / mean - 1) / error).max() < 4.5
    # pixels are independent, neighbours too
    shared = np.mean((frames - mean)[:, :, 1:] * (frames - mean)[:, :, :-1], axis=0)
    assert np.abs(shared / expected[:, 1:] * np.sqrt(repeats)).max() < 6


def test_chance_of_a_pixel_to_count() -> None:
    cells = Cells.for_frame((8, 8), 0.1, 0.1)
    response = np.full((8, 8), SURE // 4, np.uint32)
    response[3, 4] = 0
    frames = counted(cells, np.full((8, 8), 2.0), 8, 10_000, response=response).astype(float)
    assert frames[:, 3, 4].max() == 0
    inner = frames[:, 2, 2:6].mean()
    assert abs(inner - 0.5) < 5 * np.sqrt(0.5 / 40_000)
    np.testing.assert_allclose(frames[:, 2, 2:6].var() / inner, 1, atol=0.05)


def test_counts_per_electron_and_saturation() -> None:
    cells = Cells.for_frame((8, 8), 0.1, 0.1)
    intensity = np.full((8, 8), 3.0)
    one, five = (counted(cells, intensity, 8, 50, step=step) for step in (1, 5))
    np.testing.assert_array_equal(five, 5 * one)
    small = counted(cells, np.full((8, 8), 600.0), 8, 20, dtype="u1")
    assert small[:, 2:6, 2:6].min() == 255


def test_random_numbers_of_records() -> None:
    whole = uniforms(3, 0, 100_000)
    np.testing.assert_array_equal(uniforms(3, 40, 10), whole[40:50])
    assert not np.array_equal(uniforms(4, 0, 10), whole[:10])
    counts = np.bincount((whole * 50).astype(int), minlength=50)
    assert ((counts - 2000) ** 2 / 2000).sum() < 100, "chi square, 49 degrees of freedom"
    assert abs(np.corrcoef(whole[1:], whole[:-1])[0, 1]) < 0.015


@pytest.mark.parametrize(
    ("shape", "pixel_size", "block", "parts"),
    [((264, 264), 0.058, 2, 1), ((66, 66), 0.232, 1, 2), ((33, 50), 0.1, 1, 1)],
)
def test_every_pixel_gets_the_same_from_even_light(
    shape: tuple[int, int], pixel_size: float, block: int, parts: int
) -> None:
    cells = Cells.for_frame(shape, pixel_size, 0.115)
    assert (cells.block, cells.parts) == (block, parts)
    for axis, size in enumerate(shape):
        landing = cells.landing(axis, size)
        share = np.bincount(landing[landing >= 0], minlength=size) / 256
        np.testing.assert_allclose(share[block:-block], parts / block, atol=0.02)
        # the middle of a cell lies where its electrons land
        q = cells.coordinates(axis, (size - 1) / 2, pixel_size)
        inside = (landing >= 0).all(axis=1)
        landed = ((landing[inside] + 0.5).mean(axis=1) - size / 2) * pixel_size
        np.testing.assert_allclose(landed, q[inside], atol=0.26 * pixel_size)
