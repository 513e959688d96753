"""Surfaces with the distribution of heights that was measured."""

from __future__ import annotations

import numpy as np
import pytest

from daq_afm.correlation_errors import LagsOfImages, simulated_errors
from daq_afm.correlation_fit import fit_correlation
from daq_afm.height_correlation import rings
from daq_afm.translation import Translation
from tests.daq_afm.surfaces import surfaces


def test_gaussian_values_change_nothing() -> None:
    law = Translation.to(5 + 3 * np.random.default_rng(1).standard_normal(200_000))
    g = np.linspace(-3, 3, 61).astype(np.float32)
    np.testing.assert_allclose(law(g), g, atol=0.06)
    wanted = np.linspace(0, 1, 11)
    np.testing.assert_allclose(law.correlation(wanted), wanted, atol=2e-3)


@pytest.mark.parametrize("s", [0.3, 0.8])
def test_a_lognormal_distribution(s: float) -> None:
    """Known: <h h'> = (exp(s^2 rho) - 1) / (exp(s^2) - 1)."""
    law = Translation.to(np.exp(s * np.random.default_rng(2).standard_normal(400_000)))
    rho = np.linspace(0, 1, 21)
    known = np.expm1(s**2 * rho) / np.expm1(s**2)
    np.testing.assert_allclose(law.correlation(known), rho, atol=0.02)
    draw = np.random.default_rng(3).standard_normal((2, 200_000))
    one, other = law(draw[0]), law(0.6 * draw[0] + 0.8 * draw[1])
    assert (one.mean(), one.std()) == pytest.approx((0, 1), abs=0.02)
    expected = np.expm1(s**2 * 0.6) / np.expm1(s**2)
    assert np.corrcoef(one, other)[0, 1] == pytest.approx(expected, abs=0.02)


def test_errors_of_skewed_maps() -> None:
    """Bumps on a flat ground: as Gaussian surfaces they would scatter several times less."""
    shape = (64, 64)
    where = rings(shape, (1.0, 1.0), 8.0)
    everywhere = np.ones(shape, bool)
    lags, drawn = LagsOfImages(where, everywhere), surfaces(shape, 3.0, 0.7, 4)
    maps = [np.maximum(next(drawn) - 1.0, 0).astype(np.float32) for _ in range(80)]
    found = fit_correlation(where, [lags.structure(image) for image in maps])
    sigma, ln_xi = np.log(found.sigma), found.parameters[:, 1]
    errors = np.array([
        [simulated_errors(where, p, everywhere, "none", 32, (1, k), values).errors[:2]
         for values in (image.astype(float), None)]
        for k, (p, image) in enumerate(zip(found.parameters[:12], maps, strict=False))
    ])  # fmt: skip
    translated, gaussian = np.median(errors, axis=0)
    np.testing.assert_allclose(translated, [np.std(sigma), np.std(ln_xi)], rtol=0.35)
    assert gaussian[0] < np.std(sigma) / 2.5
    assert gaussian[1] < np.std(ln_xi) / 1.5
