"""The simulated patterns have the statistics of science: speckle, overlap, relaxation.

Intensities without counting noise, over many positions; normalised by their mean over all
positions, so that few speckles bias nothing. Tolerances are about four standard errors for the
number of independent speckles at hand.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from daq.config import validated
from daq_simulators.stem_camera import Camera, StemCamera

EVEN = {
    "frame": [66, 66], "pixel_size": 0.232, "speed": 0, "gain_sd": 0, "dead_fraction": 0,
    "beam_stop_radius": 0, "edge": 0, "thickness_gradient": 0, "ln_tau_sd": 0, "w_sd": 0, "w": 1.0,
}  # fmt: skip
AXIS = (np.arange(66) - 32.5) * 0.232
Q = np.hypot(AXIS[:, None], AXIS)
RING = (Q >= 4.2) & (Q < 4.6)
BAND = (Q >= 3.0) & (Q < 5.8)


def camera(**values: Any) -> Camera:
    return Camera(validated(StemCamera.Config, {**EVEN, **values}, "sources.camera"))


def speckles(made: Camera, scans: int, mask: np.ndarray) -> np.ndarray:
    """Intensity over its mean: [scan, position, pixel]."""
    rows, columns = made._config.scan
    count = rows * columns
    found = np.array([made.expected(n)[mask] for n in range(scans * count)])
    return (found / found.mean(axis=0)).reshape(scans, count, -1)


def correlation(u: np.ndarray) -> np.ndarray:
    """g2 - 1 at each delay in scans."""
    v = u - 1
    scans = len(v)
    return np.array([(v[d:] * v[: scans - d]).mean() for d in range(scans * 3 // 4)])


def test_neighbours_share_speckles() -> None:
    made = camera(scan=[8, 101], scans=1, step=0.16)
    v = speckles(made, 1, BAND)[0].reshape(8, 101, -1) - 1
    shared = [(v[:, d:] * v[:, : 101 - d]).mean() / (v**2).mean() for d in (1, 2)]
    # 100 speckles of the band on some 40 independent places
    assert shared == pytest.approx([0.90, 0.65], abs=0.04)
    assert [made.probe.overlap(0.16 * d) for d in (1, 2)] == pytest.approx([0.90, 0.65], abs=0.01)


@pytest.mark.parametrize("w", [0.6, 0.82, 1.0])
def test_contrast_and_number_of_speckles(w: float) -> None:
    made = camera(scan=[8, 24], scans=1, step=0.8, w=w)
    u = speckles(made, 1, BAND)[0]
    contrast = ((u - 1) ** 2).mean()
    assert made.kept_by_binning(1) == pytest.approx(0.78, abs=0.02)
    assert contrast == pytest.approx(made.kept_by_binning(1) * w**2, rel=0.05)
    ring = u[:, RING[BAND]].mean(axis=1)
    # 192 positions: the variance of the ring's mean is known to 10 %
    assert w**2 / ring.var() == pytest.approx(45, rel=0.25)


@pytest.mark.parametrize("w", [0.7, 0.82, 0.95])
def test_v_of_rings_follows_w(w: float) -> None:
    made = camera(scan=[6, 20], scans=1, step=0.9, w=w)
    rings = [(low <= Q) & (low + 0.4 > Q) for low in np.arange(3.0, 5.7, 0.4)]
    patterns = [made.expected(n) for n in range(120)]
    v = np.mean([[(p[r] ** 2).mean() / p[r].mean() ** 2 - 1 for r in rings] for p in patterns])
    # from few speckles V comes out lower, and rings of 0.4 1/nm add their profile's own variance
    assert v == pytest.approx(0.78 * w**2, abs=0.04)


@pytest.mark.parametrize("friedel", [0.0, 0.5, 1.0])
def test_friedel_pairs(friedel: float) -> None:
    made = camera(scan=[5, 12], scans=1, step=1.0, friedel=friedel)
    v = np.array([made.expected(n) for n in range(60)])
    v = (v / v.mean(axis=0) - 1)[:, 5:-5, 5:-5]
    opposite = (v * v[:, ::-1, ::-1]).mean() / (v**2).mean()
    assert opposite == pytest.approx(friedel, abs=0.05)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 1.6])
def test_relaxation_is_kww(gamma: float) -> None:
    made = camera(scan=[6, 16], step=1.0, scans=24, scan_time=12.0, median_tau=100.0, gamma=gamma)
    g = correlation(speckles(made, 24, BAND))
    delay = np.arange(len(g)) * 12.0
    # 96 positions of 100 speckles
    np.testing.assert_allclose(g / g[0], np.exp(-2 * (delay / 100) ** gamma), atol=0.03)


def test_relaxation_is_that_of_the_place() -> None:
    made = camera(
        scan=[8, 16], step=0.7, scans=16, scan_time=20.0, median_tau=150.0, ln_tau_sd=0.9,
        tau_correlation_length=2.0,
    )  # fmt: skip
    u = speckles(made, 16, BAND)
    truth = made.specimen.truth
    tau, gamma = truth["tau"].ravel(), truth["gamma"].ravel()
    delay = np.arange(12) * 20.0
    groups = np.array_split(np.argsort(tau), 3)
    found = []
    for group in groups:
        g = correlation(u[:, group])
        expected = np.exp(-2 * (delay[:, None] / tau[group]) ** gamma[group]).mean(axis=1)
        np.testing.assert_allclose(g / g[0], expected, atol=0.06)
        found.append((g / g[0])[3])
    assert found[2] - found[0] > 0.3


def test_temperature_speeds_up_time_and_nothing_else() -> None:
    # at 673 K everything happens 1000 / 334 times faster; w has a slope of its own
    cold = camera(scan=[2, 3], scans=3, scan_time=30.0, w_slope=0)
    hot = camera(
        scan=[2, 3], scans=3, scan_time=30.0, w_slope=0, temperature=673.0, activation_energy=97.0
    )
    factor = float(cold.clock.at(1.0) / hot.clock.at(1.0))
    assert factor == pytest.approx(0.3345, abs=0.0005)
    slow = camera(scan=[2, 3], scans=3, scan_time=30.0 / factor, w_slope=0)
    for record in (0, 8, 17):
        np.testing.assert_allclose(hot.expected(record), slow.expected(record), rtol=2e-3)
    assert not np.allclose(hot.expected(17), cold.expected(17), rtol=0.05)


def test_w_follows_temperature() -> None:
    made = camera(scan=[6, 16], scans=2, step=1.0, w=0.82, temperature_steps=[[1, 673.0]])
    contrast = ((speckles(made, 2, BAND) - 1) ** 2).mean(axis=(1, 2))
    assert contrast[1] / contrast[0] == pytest.approx((0.79 / 0.82) ** 2, abs=0.03)


def test_a_specimen_that_ages_slows_down() -> None:
    made = camera(
        scan=[5, 12], step=1.0, scans=10, scan_time=30.0, median_tau=100.0, ageing=1.0,
        waiting_time=60.0,
    )  # fmt: skip
    v = speckles(made, 10, BAND) - 1
    clock = made.clock.at((np.arange(10) + 0.5) * 30.0)
    for first, second in ((0, 1), (0, 3), (6, 7), (6, 9)):
        kept = (v[first] * v[second]).mean() / np.sqrt(
            (v[first] ** 2).mean() * (v[second] ** 2).mean()
        )
        expected = np.exp(-2 * (clock[second] - clock[first]) / 100)
        assert kept == pytest.approx(expected, abs=0.08)


def test_drift_moves_the_specimen() -> None:
    values = {"scan": [12, 24], "scans": 3, "scan_time": 10.0, "median_tau": 1e9, "edge": 0.2}
    still, moved = camera(**values), camera(**values, drift=[0.016, 0.032], step=0.16)
    count = 12 * 24
    # after ten seconds it has moved by one row and two columns, and so has its image, but for the
    # drift from one row to the next
    truth = moved.drift([0.0, 10.0])
    np.testing.assert_allclose(truth, [[0, 0], [0.16, 0.32]], atol=1e-12)

    def image(made: Camera, scan: int) -> np.ndarray:
        records = range(scan * count, (scan + 1) * count)
        return np.array([made.expected(n)[BAND].sum() for n in records]).reshape(12, 24)

    first, second = image(moved, 0), image(moved, 1)
    aligned = np.abs(second[1:, 2:] - first[:-1, :-2]).mean()
    assert aligned < 0.2 * np.abs(second - first).mean()
    edges = [(picture < picture.max() / 4).sum() for picture in (first, second)]
    assert edges[1] - edges[0] == pytest.approx(24, abs=8), "two columns of vacuum more"
    np.testing.assert_allclose(image(still, 1), image(still, 0), rtol=1e-5)


def test_drift_walks_at_random() -> None:
    made = camera(scan=[2, 2], scans=400, scan_time=4.0, drift_walk=0.05, frame=[33, 33],
                  pixel_size=0.464)  # fmt: skip
    steps = np.diff(made.drift(np.arange(401) * 4.0), axis=0)
    assert steps.std() == pytest.approx(0.05 * 2.0, rel=0.12)
    assert abs(steps.mean()) < 0.02


def test_dose() -> None:
    made = camera(scan=[6, 16], step=1.0, scans=1, frame=[264, 264], pixel_size=0.058)
    axis = (np.arange(264) - 131.5) * 0.058
    q = np.hypot(axis[:, None], axis)
    ring = (q >= 4.2) & (q < 4.6)
    counts = np.array([made.expected(n)[ring].sum() for n in range(96)])
    # 5 % of 8.9 pA x 1 ms; 96 rings of 45 speckles
    assert counts.mean() == pytest.approx(2780, rel=0.05)
    half = camera(scan=[6, 16], step=1.0, scans=1, dwell_time=5e-4)
    np.testing.assert_allclose(half.expected(3).sum() / made.expected(3).sum(), 0.5, rtol=0.02)
    assert half._config.electrons == pytest.approx(2.8e4, rel=0.01)


def test_vacuum_scatters_nothing_and_thickness_more() -> None:
    made = camera(scan=[1, 60], step=0.32, scans=1, edge=0.2, thickness_gradient=1.0, w=0.0)
    totals = np.array([made.expected(n)[BAND].sum() for n in range(60)])
    truth = made.specimen.truth["thickness"][0]
    np.testing.assert_allclose(totals / totals[45], truth / truth[45], atol=0.01)
    assert totals[2] < 0.02 * totals[45]
    # without a beam stop the direct beam is seen, less what is scattered
    direct = np.array([made.expected(n)[Q < 0.7].sum() for n in (0, 55)])
    assert direct[0] == pytest.approx(made._config.electrons, rel=0.03)
    assert 0.5 < direct[1] / direct[0] < 0.8


def test_speckles_too_grow_with_thickness() -> None:
    made = camera(scan=[10, 40], step=0.5, scans=1, thickness_gradient=0.5, edge=0.1, w=1.0)
    totals = np.array([made.expected(n)[BAND].sum() for n in range(400)]).reshape(10, 40)
    truth = made.specimen.truth["thickness"]
    thin, thick = slice(8, 14), slice(25, 40)
    found = totals[:, thin].mean() / totals[:, thick].mean()
    # some 20 places of 100 speckles are thin
    assert found == pytest.approx(truth[:, thin].mean() / truth[:, thick].mean(), rel=0.12)


def test_the_probe_moves_by_parts_of_a_pixel() -> None:
    made = camera(scan=[12, 12], step=0.02, scans=1)
    patterns = np.array([made.expected(n)[BAND] for n in range(144)]).reshape(12, 12, -1)
    for axis in (0, 1):
        change = (np.diff(patterns, axis=axis) ** 2).mean(axis=(1 - axis, 2))
        # steps of 0.02 nm are 2 or 3 eighths of a pixel
        assert change.max() < 6 * change.min()
        assert change.min() > 0
