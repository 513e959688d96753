"""Maps of two quantities, each estimated twice: smooth fields that go together to a given degree.

Estimate k of either is its field and noise correlated over the probe. The noise of x_k and y_k is
partly shared, as it is for tau and V from the same speckles; that of any other two is not.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
STEP = 0.16
PROBE_RATE = 4.2
"""1/nm^2: places at a distance d share exp(-4.2 d^2), 0.90 at a step of 0.16 nm."""


def smooth_fields(
    rng: np.random.Generator, count: int, shape: tuple[int, int], rate: float
) -> Floats:
    """Gaussian fields [count, y, x], mean 0, variance 1, correlation exp(-rate d^2), d in nm."""
    size = [2 ** math.ceil(math.log2(n + 3 / (STEP * math.sqrt(rate)))) for n in shape]
    y, x = (STEP * n * np.abs(np.fft.fftfreq(n)) for n in size)
    power = np.fft.rfft2(np.exp(-rate * (y[:, None] ** 2 + x[None, :] ** 2))).real
    white = np.fft.rfft2(rng.standard_normal((count, *size)))
    return np.fft.irfft2(white * np.sqrt(np.maximum(power, 0)), s=size)[:, : shape[0], : shape[1]]


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Fields x and y [y, x], their estimates [2, y, x], and Spearman's rho in the material."""

    x: Floats
    y: Floats
    x_twice: Floats
    y_twice: Floats
    rho: float


def noisy_pairs(
    seed: int,
    coupling: float,
    *,
    shape: tuple[int, int] = (40, 60),
    length: float = 1.5,
    signal: tuple[float, float] = (0.6, 0.35),
    shared: float = 0.5,
) -> Pairs:
    """Pearson's ``coupling``; ``signal``: part of the variance of x_k and of y_k that is field."""
    rng = np.random.default_rng(seed)
    x, other = smooth_fields(rng, 2, shape, length**-2)
    y = coupling * x + math.sqrt(1 - coupling**2) * other
    noise = smooth_fields(rng, 4, shape, PROBE_RATE)
    of_x, of_y = (math.sqrt(1 / part - 1) for part in signal)
    own = math.sqrt(1 - shared**2)
    return Pairs(
        x, y, x + of_x * noise[:2], y + of_y * (shared * noise[:2] + own * noise[2:]),
        6 / math.pi * math.asin(coupling / 2),
    )  # fmt: skip
