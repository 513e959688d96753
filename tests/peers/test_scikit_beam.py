"""Two-time correlations are those of scikit-beam on the same pixels, within rounding.

Its convention is <I1 I2> / (<I1> <I2>), means over the pixels of a label, in float64. Here each
pattern is divided by its mean and kept in float32, so the two differ by some 1e-7.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from daq_stem.ecm.two_time import TwoTime

pytestmark = [pytest.mark.peers, pytest.mark.timeout(600)]

POSITIONS, SCANS, PIXELS = 5, 21, 205
SETS = (70, 80)
PERIOD = 9_200_000_000
ROUNDING = 1e-6


@pytest.fixture(scope="module")
def series() -> np.ndarray:
    """Counts in binned pixels, [position, scan, pixel]: speckles that fade, counted at 14 each."""
    random = np.random.default_rng(20)
    field = np.zeros((POSITIONS, PIXELS), complex)
    kept, counts = 0.93, np.empty((POSITIONS, SCANS, PIXELS))
    for scan in range(SCANS):
        new = random.normal(size=(2, *field.shape))
        field = kept * field + np.sqrt((1 - kept**2) / 2) * (new[0] + 1j * new[1])
        brightness = 14 * (1 + 0.2 * np.sin(scan))  # a beam that flickers
        counts[:, scan] = random.poisson(brightness * (0.3 + 0.7 * np.abs(field) ** 2))
    return counts


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    """Sector set 0, set 1, neither: [pixel] 1, 2, 3."""
    return np.repeat([1, 2, 3], [*SETS, PIXELS - sum(SETS)])


@pytest.fixture(scope="module")
def oracle(
    peer: Callable[[str], Any], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]:
    def correlate(series: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
        path = tmp_path_factory.mktemp("scikit_beam") / "given.npz"
        np.savez(path, series=series, labels=labels)
        found: dict[str, np.ndarray] = peer("scikit_beam").run(
            "correlate_with_scikit_beam.py", path=path
        )
        return found

    return correlate


def correlated(
    series: np.ndarray, usable: np.ndarray | None = None, static: np.ndarray | None = None,
    kept: int = SCANS,
) -> tuple[TwoTime, np.ndarray]:  # fmt: skip
    """Take scan after scan; return the state, and G [position, later, earlier], NaN where none is."""
    positions, scans, pixels = series.shape
    state = TwoTime(positions, kept, pixels, SETS, np.arange(positions))
    everywhere = np.arange(positions)
    two_time = np.full((positions, scans, scans), np.nan)
    for scan in range(scans):
        good = np.ones(positions, bool) if usable is None else usable[:, scan]
        sums, pairs = state.add(
            series[:, scan], good, scan * PERIOD + everywhere * 1_000_000, everywhere,
            np.ones(pixels) if static is None else static,
        )  # fmt: skip
        assert sums.shape[1] == min(scan, kept - 1)
        with np.errstate(invalid="ignore"):
            two_time[:, scan, scan - sums.shape[1] : scan] = 1 + sums / np.where(
                pairs, pairs, np.nan
            )
    return state, two_time


def below(scans: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices (later, earlier) of pairs of different scans; at equal times noise is in it."""
    return np.tril_indices(scans, -1)


def test_two_time_of_the_annulus(series: np.ndarray, oracle: Callable[..., Any]) -> None:
    theirs = oracle(series, np.ones(PIXELS, int))["two_time"][:, 0]
    _, ours = correlated(series)
    at = (slice(None), *below(SCANS))
    assert np.ptp(theirs[at]) > 0.2, "speckles fade"
    np.testing.assert_allclose(ours[at], theirs[at], rtol=ROUNDING)


def test_mean_at_each_delay(
    series: np.ndarray, labels: np.ndarray, oracle: Callable[..., Any]
) -> None:
    """The annulus and both sector sets, as `one_time_from_two_time` averages along diagonals."""
    whole = oracle(series, np.ones(PIXELS, int))["one_time"][:, 0]
    sectors = oracle(series, labels)["one_time"][:, :2]
    theirs = np.concatenate([whole[:, None], sectors], axis=1)
    state, _ = correlated(series)
    ours = 1 + state.correlations()
    alone = [  # bins of the grid that hold one delay, and that delay in scans
        (at, delay)
        for delay in range(1, SCANS)
        if np.sum(state.table[1:SCANS] == (at := state.table[delay])) == 1
    ]
    assert len(alone) >= 16
    for at, delay in alone:
        np.testing.assert_allclose(ours[:, :, at], theirs[:, :, delay], rtol=ROUNDING)
        assert np.all(state.pairs[:, at] == SCANS - delay)


def test_static_pattern_divided_out(series: np.ndarray, oracle: Callable[..., Any]) -> None:
    static = np.random.default_rng(21).uniform(0.5, 2, PIXELS)
    theirs = oracle(series, np.ones(PIXELS, int))["two_time"][:, 0]
    at = (slice(None), *below(SCANS))
    _, ours = correlated(series * static, static=static)
    np.testing.assert_allclose(ours[at], theirs[at], rtol=ROUNDING)
    # likewise where it becomes known when all scans are there
    state, _ = correlated(series * static)
    state.divide(static)
    for scan, (sums, pairs) in enumerate(state.again(0.0)):
        assert np.all(pairs == 1)
        np.testing.assert_allclose(1 + sums, theirs[:, scan, :scan], rtol=ROUNDING)


def test_scans_that_are_lost_at_a_position(series: np.ndarray, oracle: Callable[..., Any]) -> None:
    usable = np.random.default_rng(22).random((POSITIONS, SCANS)) > 0.25
    broken = np.where(usable[:, :, None], series, np.nan)
    _, ours = correlated(broken, usable)
    for position in range(POSITIONS):
        there = np.flatnonzero(usable[position])
        alone = series[position : position + 1, there]
        theirs = oracle(alone, np.ones(PIXELS, int))["two_time"][0, 0]
        later, earlier = below(len(there))
        np.testing.assert_allclose(
            ours[position, there[later], there[earlier]], theirs[later, earlier], rtol=ROUNDING
        )
        pairs = len(there) * (len(there) - 1) // 2
        assert np.isfinite(ours[position]).sum() == pairs, "nothing rests on a lost record"


def test_only_the_scans_that_are_kept(series: np.ndarray, oracle: Callable[..., Any]) -> None:
    kept = 8
    theirs = oracle(series, np.ones(PIXELS, int))["two_time"][:, 0]
    _, ours = correlated(series, kept=kept)
    later, earlier = below(SCANS)
    near = later - earlier < kept
    np.testing.assert_allclose(
        ours[:, later[near], earlier[near]], theirs[:, later[near], earlier[near]], rtol=ROUNDING
    )
    assert np.isnan(ours[:, later[~near], earlier[~near]]).all()
