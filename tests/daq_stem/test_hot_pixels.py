"""Hot and dead pixels: those that were put there are found, and few others."""

from __future__ import annotations

import numpy as np
import pytest

from daq_stem.calibration.hot_pixels import find_hot_pixels


def ring(shape=(128, 120), counts=400.0):
    """A halo, as the mean pattern of a glass."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    radius = np.hypot(y - shape[0] / 2, x - shape[1] / 2)
    return counts * (0.05 + np.exp(-((radius - 30) ** 2) / 200) + 3 * np.exp(-radius / 12))


@pytest.mark.parametrize("seed", range(3))
def test_hot_and_dead_pixels_of_a_mean_pattern(seed):
    draw = np.random.default_rng(seed)
    image = draw.poisson(ring()).astype(float)
    places = draw.choice(image.size, 40, replace=False)
    hot, dead = places[:20], places[20:]
    truth = np.zeros(image.shape, bool)
    truth.reshape(-1)[places] = True
    image.reshape(-1)[hot] += 20 * np.sqrt(image.reshape(-1)[hot]) + 200
    image.reshape(-1)[dead] = 0.0
    visible = truth & (ring() > 80)  # a dead pixel where nothing shines does not show
    visible.reshape(-1)[hot] = True
    found = find_hot_pixels(image)
    assert found.mask[visible].mean() >= 0.9
    assert (found.mask & ~truth).sum() <= 1
    flagged = found.mask.copy()
    flagged[tuple(found.uncertain.T)] = True
    assert flagged[visible].all()
    assert (flagged & ~truth).sum() <= 2


def test_dark_image_of_zeros():
    dark = np.zeros((40, 40))
    dark[3, 4], dark[20, 20] = 30.0, 6.0
    found = find_hot_pixels(dark)
    assert np.argwhere(found.mask).tolist() == [[3, 4]]
    assert found.uncertain.tolist() == [[20, 20]]


def test_known_ones_and_such_that_are_no_numbers_stay_and_do_not_disturb():
    image = np.random.default_rng(1).normal(100, 1, (30, 30))
    known = np.zeros(image.shape, bool)
    known[10:14, 10:14] = True
    image[known] = 1e9
    image[5, 5] = np.nan
    found = find_hot_pixels(image, known)
    known[5, 5] = True
    assert np.array_equal(found.mask, known)


def test_noise_alone():
    image = np.random.default_rng(2).normal(0, 3, (256, 256))
    found = find_hot_pixels(image)
    assert not found.mask.any()
    assert len(found.uncertain) <= 3
    assert 0.9 < np.nanstd(found.score) < 1.1


def test_what_is_no_image_is_refused():
    with pytest.raises(ValueError, match="an image"):
        find_hot_pixels(np.zeros(5))
    with pytest.raises(ValueError, match="mask is"):
        find_hot_pixels(np.zeros((5, 5)), np.zeros((4, 4), bool))
    with pytest.raises(ValueError, match="uncertain <= threshold"):
        find_hot_pixels(np.zeros((5, 5)), threshold=3)
