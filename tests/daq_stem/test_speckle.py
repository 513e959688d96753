"""Speckles measured: what was put in comes out, and replicas are like what they replace."""

from __future__ import annotations

import numpy as np
import pytest

from daq_stem.ecm.replicas import Replicas
from daq_stem.ecm.speckle import Speckle, field_factor, measure_speckle, overlap, pixel_covariance
from daq_stem.geometry.annulus import binned_annulus
from daq_stem.geometry.detector import Detector

DETECTOR = Detector((64, 64), (31.5, 31.5), 0.232, "1/nm")
GOOD = np.zeros((64, 64), bool)
PERIOD = 9_200_000_000


@pytest.fixture(scope="module")
def annulus():
    return binned_annulus(DETECTOR, 4.2, 4.6, 1, GOOD)


def replicas(annulus, speckle, tau=200.0, count=600, scans=2, gamma=1.0, counts=14.0, seed=1):
    made = Replicas(
        annulus, speckle, np.full(count, np.log(tau)), np.zeros(count, int), gamma, 1.0, scans,
        [seed],
    )  # fmt: skip
    made.use_period(PERIOD)
    for scan in range(scans):
        made.add(np.array([True]), np.array([scan * PERIOD]), np.array([counts], np.float32))
    return made


def test_annulus(annulus):
    q = annulus.q
    assert ((q >= 4.2) & (q < 4.6)).all()
    n0, n1 = annulus.sets
    assert (annulus.q_y[:n0] * annulus.q_x[:n0] > 0).all()
    assert (annulus.q_y[n0 : n0 + n1] * annulus.q_x[n0 : n0 + n1] < 0).all()
    near = np.minimum(abs(annulus.q_y), abs(annulus.q_x)) < 0.15
    assert near[n0 + n1 :].all()
    assert not near[: n0 + n1].any()
    y, x = np.argwhere(annulus.labels == 7)[0]
    assert (y - 31.5) * 0.232 == pytest.approx(annulus.q_y[7])
    assert (x - 31.5) * 0.232 == pytest.approx(annulus.q_x[7])


def test_binned_pixels_with_few_good_ones_are_left_out():
    bad = np.zeros((64, 64), bool)
    bad[4:6, :] = True  # a row of binned pixels
    detector = Detector((64, 64), (31.5, 31.5), 0.116, "1/nm")
    whole = binned_annulus(detector, 2.0, 3.2, 2, np.zeros((64, 64), bool))
    cut = binned_annulus(detector, 2.0, 3.2, 2, bad)
    assert cut.pixels < whole.pixels
    assert not (cut.labels[4:6] >= 0).any()
    single = bad & (np.arange(64) % 4 == 0)
    part = binned_annulus(detector, 2.0, 3.2, 2, single)
    assert part.pixels == whole.pixels
    assert sorted(set(part.good.tolist())) == [2, 4]


def test_annulus_outside_the_frame_is_refused():
    with pytest.raises(ValueError, match="at least 8"):
        binned_annulus(DETECTOR, 40, 41, 1, GOOD)


def test_overlap_is_that_of_discs():
    """Area common to two discs, by counting points."""
    y, x = np.mgrid[-1.5:1.5:1501j, -2.5:2.5:2501j]
    for d in (0.0, 0.3, 0.9, 1.5):
        both = (y**2 + x**2 < 1) & (y**2 + (x - d) ** 2 < 1)
        one = y**2 + x**2 < 1
        assert overlap(d, 1.0) == pytest.approx(both.sum() / one.sum(), abs=2e-3)
    assert overlap(2.1, 1.0) == 0


def test_soft_overlap_is_that_of_a_blurred_disc():
    from scipy.ndimage import gaussian_filter

    step = 0.02
    axis = np.arange(-3, 3, step)
    disc = gaussian_filter((np.hypot(axis[:, None], axis) < 1).astype(float), 0.3 / step)
    for shift in (0, 10, 30, 60, 90):
        common = np.sum(disc[shift:] * disc[: len(axis) - shift])
        expected = common / np.sum(disc * disc)
        assert overlap(shift * step, 1.0, 0.3) == pytest.approx(expected, abs=5e-3)


@pytest.mark.parametrize(
    ("aperture", "edge", "friedel"),
    [(0.64, 0.0, 0.0), (0.5, 0.2, 0.0), (0.64, 0.0, 0.6), (0.64, 0.1, 1.0)],
)
def test_field_has_the_correlations(annulus, aperture, edge, friedel):
    speckle = Speckle(1.0, aperture, edge, friedel, 0.0)
    own, mirrored = field_factor(speckle, annulus.q_y, annulus.q_x)
    # <E E*> = L L^T + M M^T, <E E> = L M^T + M L^T
    coherent = own @ own.T + mirrored @ mirrored.T
    paired = own @ mirrored.T + mirrored @ own.T
    apart = np.hypot(annulus.q_y[:, None] - annulus.q_y, annulus.q_x[:, None] - annulus.q_x)
    mirror = np.hypot(annulus.q_y[:, None] + annulus.q_y, annulus.q_x[:, None] + annulus.q_x)
    np.testing.assert_allclose(coherent, overlap(apart, aperture, edge), atol=0.02)
    np.testing.assert_allclose(
        paired, np.sqrt(friedel) * overlap(mirror, aperture, edge), atol=0.02
    )


@pytest.mark.parametrize("friedel", [0.0, 0.7])
@pytest.mark.parametrize("counts", [14.0, 1.5])
def test_what_was_put_in_is_measured(annulus, friedel, counts):
    # replicas draw the field from its factor, the measurement sees counts only
    made = replicas(annulus, Speckle(0.6, 0.64, 0.0, friedel, 0.0), counts=counts)
    series = made.series
    total = np.zeros((annulus.pixels, annulus.pixels))
    n, noise = pixel_covariance(
        series.intensity, series.good, series.counts, np.arange(600), np.arange(2), total
    )
    assert n == 1200
    # the slow way
    deviation = series.intensity.reshape(-1, annulus.pixels).astype(float) - 1
    np.testing.assert_allclose(np.tril(total), np.tril(deviation.T @ deviation), rtol=1e-4, atol=1)
    found = measure_speckle(total / n, annulus.q_y, annulus.q_x, noise / n)
    assert found is not None
    assert found.contrast == pytest.approx(0.6, rel=0.06)
    assert found.friedel == pytest.approx(friedel, abs=0.12)
    apart = np.hypot(annulus.q_y[:, None] - annulus.q_y, annulus.q_x[:, None] - annulus.q_x)
    mirror = np.hypot(annulus.q_y[:, None] + annulus.q_y, annulus.q_x[:, None] + annulus.q_x)
    expected = 1 / np.mean(overlap(apart, 0.64) ** 2 + friedel * overlap(mirror, 0.64) ** 2)
    assert found.independent == pytest.approx(expected, rel=0.12)


def test_no_contrast_is_told(annulus):
    draw = np.random.default_rng(3)
    deviation = draw.poisson(14, (500, annulus.pixels)) / 14 - 1
    covariance = deviation.T @ deviation / 500
    found = measure_speckle(covariance, annulus.q_y, annulus.q_x, 1 / 14)
    assert found is None or found.contrast < 0.01


@pytest.mark.parametrize("gamma", [1.0, 0.6, 1.6])
def test_replicas_decay_as_they_should(annulus, gamma):
    tau, scans = 40.0, 6
    made = replicas(
        annulus, Speckle(0.8, 0.64, 0.0, 0.0, 0.0), tau=tau, scans=scans, gamma=gamma, counts=200.0
    )
    g = made.series.correlations()[:, 0, : scans - 1]
    mean, error = g.mean(axis=0), g.std(axis=0) / np.sqrt(len(g))
    delay = 9.2 * np.arange(1, scans)
    curve = np.exp(-2 * (delay / tau) ** gamma)
    # contrast less what dividing by the mean of few speckles takes
    contrast = np.dot(mean, curve) / np.dot(curve, curve)
    assert 0.7 < contrast < 0.82
    assert (abs(mean - contrast * curve) < 4 * error + 0.006).all()


def test_replicas_share_gaps_and_times(annulus):
    made = Replicas(
        annulus, Speckle(0.8, 0.64, 0.0, 0.0, 0.0), np.full(200, np.log(30.0)),
        np.repeat([0, 1], 100), 1.0, 1.0, 4, [2],
    )  # fmt: skip
    made.use_period(PERIOD)
    times = np.array([0, 0])
    for scan in range(4):
        good = np.array([True, scan != 2])
        made.add(good, times + scan * PERIOD, np.array([50.0, 50.0], np.float32))
    assert made.series.good[:100].all()
    assert not made.series.good[100:, 2].any()
    assert made.series.pairs[0].tolist()[:3] == [3, 2, 1]
    assert made.series.pairs[150].tolist()[:3] == [1, 1, 1]
    g = made.series.correlations()[100:, 0, :3].mean(axis=0)
    # the pair across the gap decayed for two periods
    assert g[1] / g[0] == pytest.approx(np.exp(-2 * 9.2 / 30), abs=0.1)
