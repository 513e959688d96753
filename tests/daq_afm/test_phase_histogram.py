"""Histogram of a channel, its Gaussian, and the colour range."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daq.testing import OutputStream, Records, check_analysis, run_analysis
from daq_afm.phase_histogram import PhaseHistogram, fit_gaussian
from tests.daq_afm.made_lines import scan_lines


def run(records: Records, **config: Any) -> OutputStream:
    found = run_analysis(PhaseHistogram, {"afm": records.stream}, records.batches(9), config)
    return found["histogram"]


def phase(scans: int = 1, rows: int = 24, seed: int = 1) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return 70 + 3 * draw.standard_normal((scans, rows, 64))


def test_counts_what_is_there() -> None:
    maps = phase()
    maps[0, 3, 5:9] = np.nan
    found = run(scan_lines({"phase": maps}))
    assert len(found) == 25 and found["final"].tolist() == [0] * 24 + [1]
    for record in (0, 10, 24):
        so_far = maps[0, : record + 1].astype("<f4").astype(float)
        values = so_far[np.isfinite(so_far)]
        middle, width = found["value"][record], np.diff(found["value"][record][:2])[0]
        edges = np.append(middle - width / 2, middle[-1] + width / 2)
        expected = np.histogram(values, edges)[0]
        assert np.abs(found["counts"][record] - expected).sum() <= 2, "to rounding at edges"
        outside = found["below"][record] + found["above"][record]
        assert found["counts"][record].sum() + outside == found["pixels"][record] == len(values)
        assert outside <= 0.002 * len(values) + 1
        assert found["mean"][record] == pytest.approx(values.mean(), rel=1e-9)
        assert found["sd"][record] == pytest.approx(values.std(), rel=1e-6)


def test_its_gaussian_sets_the_colours() -> None:
    found = run(scan_lines({"phase": phase(rows=100)}), spread=2.0)
    assert found["centre"][-1] == pytest.approx(70, abs=0.3)
    assert found["width"][-1] == pytest.approx(3, abs=0.2)
    assert found["low"][-1] == pytest.approx(found["centre"][-1] - 2 * found["width"][-1])
    assert found["high"][-1] == pytest.approx(found["centre"][-1] + 2 * found["width"][-1])
    np.testing.assert_allclose(found["curve"][-1].sum(), 6400, rtol=0.03)
    assert found.stream.fields["width"].units == "deg"


def test_a_tail_does_not_move_it() -> None:
    """Regions of high phase, 5 % of the pixels, far from the rest."""
    maps = phase(rows=100)
    maps[:, :, :3] += 25
    found = run(scan_lines({"phase": maps}))
    assert found["centre"][-1] == pytest.approx(70, abs=0.3)
    assert found["width"][-1] == pytest.approx(3, abs=0.2)
    assert found["mean"][-1] > 70.8
    wild = phase(rows=40)
    wild[0, 20, 3], wild[0, 21, 4] = 1e30, -200.0
    found = run(scan_lines({"phase": wild}))
    assert found["above"][-1] == found["below"][-1] == 1
    assert found["centre"][-1] == pytest.approx(70, abs=0.5)


def test_lines_of_nothing() -> None:
    """Constant lines before the first that is not, a line of NaN, a whole image of one value."""
    maps = phase(2)
    maps[0, :3], maps[0, 5], maps[1] = 70.0, np.nan, 65.0
    found = run(scan_lines({"phase": maps}))
    assert found["pixels"][0] == 4 * 64, "from the first line with a spread on"
    assert found["pixels"][-1] == 23 * 64 and np.all(found["scan"] == 0)


@settings(max_examples=60, deadline=None)
@given(
    height=st.floats(5, 1e6), centre=st.floats(-3, 3), width=st.floats(0.5, 3.0),
    offset=st.sampled_from([0.0, -1e3, 1e5]),
)  # fmt: skip
def test_finds_the_gaussian_of_a_curve(
    height: float, centre: float, width: float, offset: float
) -> None:
    value = offset + np.linspace(-12, 12, 128)
    curve = height * 1000 * np.exp(-0.5 * ((value - offset - centre) / width) ** 2)
    found = fit_gaussian(value, np.rint(curve).astype(np.int64))
    np.testing.assert_allclose(found[0], height * 1000, rtol=1e-3)
    np.testing.assert_allclose(found[1] - offset, centre, atol=1e-3)
    np.testing.assert_allclose(found[2], width, rtol=1e-3)


def test_what_is_no_gaussian() -> None:
    value = np.arange(32.0)
    assert np.isnan(fit_gaussian(value, np.zeros(32, np.int64))).all()
    assert np.isnan(fit_gaussian(value, np.eye(32, dtype=np.int64)[4])).all()


def test_keeps_its_promises() -> None:
    lines = scan_lines({"phase": phase(2, 12)})
    config = {"every": 3, "bins": 16}
    check_analysis(PhaseHistogram, lines, config, reconfigure_to={"every": 4, "bins": 16}, runs=2)


def test_says_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="afm has no channel 'height'; it has phase"):
        run(scan_lines({"phase": phase()}), channel="height")
