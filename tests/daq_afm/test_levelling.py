"""Levelling: what is taken off each line, and what says so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from daq.testing import OutputStream, Records, check_analysis, run_analysis
from daq_afm.levelling import METHODS, Levelling, level
from tests.daq_afm.made_lines import scan_lines
from tests.daq_afm.surfaces import surfaces

SHAPE = (12, 40)


def run(records: Records, **config: Any) -> OutputStream:
    return run_analysis(Levelling, {"afm": records.stream}, records.batches(5), config)["lines"]


def tilted(scans: int = 2) -> np.ndarray:
    """Rough surfaces on a scanner's bow, [scan, row, column]."""
    rough = surfaces(SHAPE, 2.0, 0.7, 1)
    y, x = np.arange(12.0)[:, None], np.arange(40.0)[None, :]
    bow = 100 + 3 * y - 0.2 * y**2 + 0.5 * x - 0.01 * x**2 + 0.03 * x * y
    return np.stack([next(rough) + bow for _ in range(scans)])


@pytest.mark.parametrize(("method", "degree"), [("mean", 0), ("linear", 1), ("quadratic", 2)])
def test_polynomials_per_row(method: str, degree: int) -> None:
    lines = tilted(1)[0]
    lines[3, 10:15] = np.nan
    found = level(lines, method)
    x = np.arange(40.0)
    for row, line in enumerate(lines):
        good = np.isfinite(line)
        fit = np.polynomial.Polynomial.fit(x[good], line[good], degree)
        np.testing.assert_allclose(found[row], line - fit(x), atol=1e-9)


@pytest.mark.parametrize(("method", "powers"), [("plane", 1), ("paraboloid", 2)])
def test_surfaces_of_the_whole_image(method: str, powers: int) -> None:
    image = tilted(1)[0]
    image[2, 5], image[7] = np.nan, np.nan
    rows = np.random.default_rng(1).permutation(12)
    found = level(image[rows], method, rows)[np.argsort(rows)]
    y, x = np.meshgrid(np.arange(12.0), np.arange(40.0), indexing="ij")
    terms = [y**i * x**j for i in range(powers + 1) for j in range(powers + 1 - i)]
    good = np.isfinite(image)
    basis = np.stack([t[good] for t in terms], axis=1)
    best = np.linalg.lstsq(basis, image[good], rcond=None)[0]
    expected = image - sum(c * t for c, t in zip(best, terms, strict=True))
    np.testing.assert_allclose(found, expected, atol=1e-8)


def test_medians() -> None:
    lines = tilted(1)[0]
    lines[3, 10:15], lines[5] = np.nan, np.nan
    with np.errstate(all="raise"):
        found = level(lines, "median")
    good = np.delete(np.arange(12), 5)
    expected = lines[good] - np.nanmedian(lines[good], axis=1)[:, None]
    np.testing.assert_allclose(found[good], expected)
    assert np.isnan(found[5]).all()
    assert level(lines, "none") is lines


@pytest.mark.parametrize("method", [m for m in METHODS if m != "none"])
def test_lines_with_hardly_a_pixel(method: str) -> None:
    lines = np.full((3, 6), np.nan)
    lines[0, 2], lines[1, 2:4] = 5.0, [1.0, 2.0]
    found = level(lines, method)
    assert np.array_equal(np.isfinite(found), np.isfinite(lines))
    if method in ("mean", "median", "quadratic"):  # too few pixels for a parabola: the mean
        np.testing.assert_allclose(found[1, 2:4], [-0.5, 0.5], atol=1e-9)
        assert found[0, 2] == pytest.approx(0, abs=1e-9)
    assert np.abs(found[np.isfinite(lines)]).max() < 5


def test_lines_as_they_come_and_what_says_so() -> None:
    maps = {"height": tilted(), "height_retrace": tilted() + 1, "phase": tilted()}
    lines = scan_lines(maps, attributes={"levelling": {"phase": "mean"}, "mode": "tapping"})
    out = run(lines, channels=["height"], method="linear")
    flat = lines["height"].astype(float)
    np.testing.assert_allclose(out["height"], level(flat, "linear"), atol=1e-5)
    np.testing.assert_allclose(out["height_retrace"], out["height"], atol=1e-4)
    assert np.array_equal(out["phase"], lines["phase"])
    for name in ("line", "scan", "y", "time"):
        assert np.array_equal(out[name], lines[name])
    said = {"height": "linear", "height_retrace": "linear", "phase": "mean"}
    assert out.stream.attributes == {"levelling": said, "mode": "tapping"}
    assert out.stream.scan == lines.stream.scan


def test_whole_images_wait_for_their_end() -> None:
    maps = {"height": tilted(3)}
    lines = scan_lines(maps)
    # the second image is left after 5 lines
    kept = np.r_[0:12, 12:17, 24:36]
    part = Records(lines.stream, {name: array[kept] for name, array in lines.arrays.items()})
    out = run(part, method="plane")
    images = [out["height"][out["scan"] == scan] for scan in range(3)]
    assert [len(image) for image in images] == [12, 5, 12]
    for scan, image in enumerate(images):
        whole = maps["height"][scan, : len(image)].astype("<f4").astype(float)
        np.testing.assert_allclose(image, level(whole, "plane"), atol=1e-4)


@pytest.mark.parametrize("method", ["median", "quadratic", "paraboloid"])
def test_keeps_its_promises(method: str) -> None:
    lines = scan_lines({"height": tilted(), "phase": tilted()})
    check_analysis(Levelling, lines, {"method": method}, runs=2)


def test_says_what_does_not_fit() -> None:
    lines = scan_lines({"height": tilted()})
    with pytest.raises(ValueError, match="afm has no channel 'phase'; it has height"):
        run(lines, channels=["phase"])
    with pytest.raises(ValueError, match="no method 'cubic'; there are none, mean"):
        level(np.ones((2, 2)), "cubic")
