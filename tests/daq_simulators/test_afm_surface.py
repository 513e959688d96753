"""Random surfaces: their covariance is the formula, as a whole and over seeds."""

from __future__ import annotations

from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from daq_simulators import afm_surface
from daq_simulators.afm_surface import Lattice, RandomSurfaces, SelfAffine, coupled, white_waves

SQUARE = Lattice((5, 6), (1.0, 0.0), (0.0, 1.0))
SHEARED = Lattice((5, 6), (0.9, -0.13), (0.0, 0.5))


def operator(surfaces: RandomSurfaces, kind: int = 0, **how: Any) -> np.ndarray:
    """What turns white noise into an image: [pixel, cell of the noise], found cell by cell."""
    columns = []
    for cell in range(surfaces.period[0] * surfaces.period[1]):
        noise = np.zeros(surfaces.period)
        noise.flat[cell] = 1
        columns.append(surfaces.image(kind, np.fft.rfft2(noise), **how).ravel())
    return np.array(columns).T


def distances(lattice: Lattice) -> np.ndarray:
    """Of all pairs of pixels, nm."""
    y, x = (np.broadcast_to(a, lattice.shape).ravel() for a in lattice.positions())
    return np.asarray(np.hypot(y[:, None] - y, x[:, None] - x))


@pytest.mark.parametrize("lattice", [SQUARE, SHEARED])
@pytest.mark.parametrize("shift", [(0.0, 0.0), (3.7, -1.23)])
@pytest.mark.parametrize(("length", "alpha"), [(1.5, 0.7), (0.4, 0.3), (1.2, 1.0), (2.5, 0.5)])
def test_the_covariance_of_all_pixels_is_the_formula(
    lattice: Lattice, shift: tuple[float, float], length: float, alpha: float
) -> None:
    kind = SelfAffine(length, alpha)
    made = operator(RandomSurfaces(lattice, [kind]), shift=shift)
    wanted = np.exp(-((distances(lattice) / length) ** (2 * alpha)))
    np.testing.assert_allclose(made @ made.T, wanted, atol=1e-11)


@hypothesis.settings(max_examples=10, deadline=None)
@hypothesis.given(
    st.floats(0.05, 1.0), st.floats(0.3, 4.0), st.floats(0.3, 2.0), st.floats(-0.3, 0.3)
)
def test_whatever_the_lattice(alpha: float, length: float, width: float, shear: float) -> None:
    lattice = Lattice((3, 4), (1.0, shear), (0.0, width))
    made = operator(RandomSurfaces(lattice, [SelfAffine(length, alpha)]))
    wanted = np.exp(-((distances(lattice) / length) ** (2 * alpha)))
    np.testing.assert_allclose(made @ made.T, wanted, atol=1e-11)


def test_the_structure_function_over_seeds_is_the_formula() -> None:
    kind = SelfAffine(4.0, 0.7)
    surfaces = RandomSurfaces(Lattice((40, 64), (0.9, 0.1), (0.0, 0.5)), [kind])
    lags = [(0, 1), (1, 0), (0, 8), (6, 3), (5, -7), (20, 30)]
    found = np.zeros((200, len(lags)))
    for seed in range(len(found)):
        image = surfaces.image(0, white_waves(surfaces.period, np.random.default_rng(seed)))
        for n, (i, j) in enumerate(lags):
            one = image[i:, max(j, 0) : 64 + min(j, 0)]
            other = image[: 40 - i, max(-j, 0) : 64 - max(j, 0)]
            found[seed, n] = np.mean((one - other) ** 2)
    r = np.array([np.hypot(0.9 * i, 0.1 * i + 0.5 * j) for i, j in lags])
    error = found.std(axis=0) / np.sqrt(len(found))
    away = (found.mean(axis=0) - 2 * (1 - np.exp(-((r / 4) ** 1.4)))) / error
    assert np.abs(away).max() < 3.5
    assert np.abs(error / found.mean(axis=0)).max() < 0.04


def test_more_lattice_is_taken_where_the_image_is_small() -> None:
    long, short = (RandomSurfaces(SQUARE, [SelfAffine(xi, 0.9)]) for xi in (8.0, 1.0))
    assert long.period > short.period
    made = operator(long)
    wanted = np.exp(-((distances(SQUARE) / 8) ** 1.8))
    np.testing.assert_allclose(made @ made.T, wanted, atol=1e-11)


def test_what_would_need_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(afm_surface, "MOST_CELLS", 2**12)
    with pytest.raises(ValueError, match="500 nm is too long beside the image"):
        RandomSurfaces(SQUARE, [SelfAffine(2), SelfAffine(500)])


@pytest.mark.parametrize("order", [2, 4])
def test_anisotropy_leaves_variance_and_the_mean_over_directions(order: int) -> None:
    lattice = Lattice((24, 24), (0.5, 0.0), (0.0, 0.5))
    plain = RandomSurfaces(lattice, [SelfAffine(2.0, 0.8)])
    turned = RandomSurfaces(lattice, [SelfAffine(2.0, 0.8, 0.9, order, 30.0)])
    power = np.zeros((2, *plain.period))
    for row, surfaces in enumerate((plain, turned)):
        waves = np.ones_like(np.fft.rfft2(np.zeros(surfaces.period)))
        whole = RandomSurfaces.image(_whole(surfaces), 0, waves)
        power[row] = np.abs(np.fft.fft2(whole)) ** 2
    assert power[1].mean() == pytest.approx(1, abs=1e-9)
    ky, kx = np.meshgrid(*(np.fft.fftfreq(n) for n in plain.period), indexing="ij")
    ring = (np.hypot(ky, kx) > 0.1) & (np.hypot(ky, kx) < 0.4)
    angle = np.arctan2(ky, kx)[ring] - np.deg2rad(30)
    ratio = power[1][ring] / power[0][ring]
    # waves fill a square, not a circle: what its corners have more of shifts the mean a little
    assert ratio.mean() == pytest.approx(1, abs=0.03)
    lobes = 2 * np.mean(ratio * np.cos(order * angle)) / ratio.mean()
    assert lobes == pytest.approx(0.9, abs=0.02)


def _whole(surfaces: RandomSurfaces) -> RandomSurfaces:
    """The same, but an image is the whole period."""
    slow, fast = surfaces.lattice.slow, surfaces.lattice.fast
    surfaces.lattice = Lattice(surfaces.period, slow, fast)
    return surfaces


def test_a_blur_averages_over_a_gaussian() -> None:
    """Known for alpha = 1: a Gaussian covariance becomes a wider one."""
    xi, blur = 3.0, 1.1
    wide = xi**2 + 4 * blur**2
    lattice = Lattice((2, 30), (0.8, 0.1), (0.0, 0.7))
    surfaces = RandomSurfaces(Lattice((30, 30), lattice.slow, lattice.fast), [SelfAffine(xi, 1.0)])
    waves = np.ones_like(np.fft.rfft2(np.zeros(surfaces.period)))
    answer = _whole(surfaces).image(0, waves, blur=blur)
    covariance = np.fft.ifft2(np.abs(np.fft.fft2(answer)) ** 2).real[:2, :20]
    r = distances(lattice)[0].reshape(2, 30)[:, :20]
    np.testing.assert_allclose(covariance, xi**2 / wide * np.exp(-(r**2) / wide), atol=1e-6)


@pytest.mark.parametrize("correlation", [-0.6, 0.0, 0.5])
def test_surfaces_correlate_as_they_should(correlation: float) -> None:
    surfaces = RandomSurfaces(SHEARED, [SelfAffine(1.5, 0.8), SelfAffine(0.8, 0.6)])
    shared = surfaces.coupling(0, 1, correlation)
    one, other = operator(surfaces, 0), operator(surfaces, 1)
    # noise of the second: `shared` of that of the first, the rest its own
    assert np.diag(shared * one @ other.T) == pytest.approx(correlation, abs=1e-12)
    waves = [white_waves((105, 105), np.random.default_rng(seed)) for seed in (1, 2)]
    mixed = coupled(waves[0], waves[1], shared)
    assert np.mean(np.abs(mixed) ** 2) == pytest.approx(105**2, rel=0.05)


def test_a_correlation_that_cannot_be_is_refused() -> None:
    lattice = Lattice((16, 16), (1.0, 0.0), (0.0, 1.0))
    surfaces = RandomSurfaces(lattice, [SelfAffine(4.0, 1.0), SelfAffine(0.5, 0.3)])
    with pytest.raises(ValueError, match=r"correlate by 0\.\d\d at most"):
        surfaces.coupling(0, 1, 0.95)
