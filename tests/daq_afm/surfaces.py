"""Exact self-affine surfaces for tests: structure function 2 (1 - exp(-(r/xi)^(2 alpha)))."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def surfaces(
    shape: tuple[int, int],
    length: float,
    hurst: float,
    seed: int,
    step: tuple[float, float] = (1.0, 1.0),
) -> Iterator[np.ndarray]:
    """Yield surfaces [row, column] of variance 1 without end, by circulant embedding.

    Float64, on a lattice twice as large: exact where it is positive definite, which is checked.
    """
    big = tuple(2 * n for n in shape)
    y, x = (np.fft.fftfreq(n, 1 / n) * d for n, d in zip(big, step, strict=True))
    covariance = np.exp(-((np.hypot(y[:, None], x[None, :]) / length) ** (2 * hurst)))
    spectrum = np.fft.fft2(covariance).real
    assert spectrum.min() > -1e-9 * spectrum.max(), "choose a larger image"
    amplitude = np.sqrt(np.maximum(spectrum, 0) / spectrum.size)
    draw = np.random.default_rng(seed)
    while True:
        noise = draw.standard_normal((2, *big))
        both = np.fft.fft2(amplitude * (noise[0] + 1j * noise[1]))[: shape[0], : shape[1]]
        yield both.real
        yield both.imag


def structure_by_lag(image: np.ndarray, reach: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return sums of squared differences and numbers of pairs [dy, dx from -reach], pair by pair."""
    rows, columns = image.shape
    down, across = reach
    sums = np.zeros((down + 1, 2 * across + 1))
    pairs = np.zeros(sums.shape, int)
    for i in range(down + 1):
        for j in range(-across, across + 1):
            later = image[i:, max(j, 0) : columns + min(j, 0)]
            earlier = image[: rows - i, max(-j, 0) : columns - max(j, 0)]
            squared = (later - earlier) ** 2
            there = np.isfinite(squared)
            sums[i, j + across], pairs[i, j + across] = squared[there].sum(), there.sum()
    return sums, pairs
