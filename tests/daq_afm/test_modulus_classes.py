"""k-means on a line against every partition, and as an analysis."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daq.testing import Records, check_analysis, run_analysis
from daq_afm.kmeans import classify
from daq_afm.modulus_classes import ModulusClasses
from tests.daq_afm.made_lines import scan_lines


def run(records: Records, **config: Any) -> Any:
    return run_analysis(ModulusClasses, {"afm": records.stream}, records.batches(3), config)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-100, 100, width=32), min_size=4, max_size=14),
    st.integers(2, 4),
    st.floats(-1e6, 1e6),
)
def test_no_partition_is_better(values: list[float], k: int, offset: float) -> None:
    v = np.sort(np.array(values) + offset)
    if len(np.unique(v)) < k:
        return

    def within(edges: tuple[int, ...]) -> float:
        parts = np.split(v, edges)
        return sum(float(np.sum((p - p.mean()) ** 2)) for p in parts)

    best = min(within(edges) for edges in itertools.combinations(range(1, len(v)), k - 1))
    found = classify(np.random.default_rng(0).permutation(v), k)
    total = float(np.sum((v - v.mean()) ** 2))
    mine = float(np.sum(found.fractions * len(v) * found.sds**2))
    assert mine == pytest.approx(best, abs=1e-9 * total)
    assert found.explained == pytest.approx(1 - best / total, abs=1e-9)
    assert (np.diff(found.centres) > 0).all()
    assert found.fractions.sum() == pytest.approx(1)


def test_three_populations_are_found() -> None:
    draw = np.random.default_rng(1)
    parts = [draw.normal(m, 2, n) for m, n in ((80, 3000), (100, 5000), (125, 2000))]
    found = classify(np.concatenate(parts), 3)
    assert found.centres == pytest.approx([80, 100, 125], abs=0.3)
    assert found.fractions == pytest.approx([0.3, 0.5, 0.2], abs=0.003)
    assert found.explained > 0.97


def test_one_gaussian_explains_0_810() -> None:
    """The least distortion of three levels for a Gaussian is 0.1902 (Max 1960)."""
    values = np.random.default_rng(2).standard_normal(100_000)
    found = classify(values, 3)
    assert found.explained == pytest.approx(1 - 0.1902, abs=0.002)
    assert found.centres == pytest.approx([-1.224, 0, 1.224], abs=0.02)


def test_too_few_values_make_no_class() -> None:
    assert np.isnan(classify(np.array([1.0, 1.0, 2.0, np.nan]), 3).centres).all()
    assert (classify(np.zeros(0), 3).of(np.array([1.0])) == 255).all()


def maps(scans: int = 2) -> np.ndarray:
    draw = np.random.default_rng(4)
    return draw.choice([80.0, 100.0, 125.0], (scans, 9, 11), p=[0.3, 0.5, 0.2]) + draw.normal(
        0, 1, (scans, 9, 11)
    )


def test_lines_and_map_tell_the_classes_of_the_image_so_far() -> None:
    image = maps(1)
    image[0, 4, 2] = np.nan
    found = run(scan_lines({"modulus": image}))
    lines, whole = found["lines"], found["maps"]
    for n in (3, 8):
        wanted = classify(image[0, : n + 1].astype("<f4").astype(float), 3)
        assert np.array_equal(lines["centres"][n], wanted.centres)
        assert np.array_equal(lines["class"][n], wanted.of(image[0, n]))
    assert whole["class"][0, 4, 2] == 255
    truth = np.digitize(image[0], [90, 112])
    good = np.isfinite(image[0])
    assert np.array_equal(whole["class"][0][good], truth[good])
    counted = np.bincount(truth[good], minlength=3) / good.sum()
    assert whole["fractions"][0] == pytest.approx(counted)


def test_keeps_its_promises() -> None:
    check_analysis(ModulusClasses, scan_lines({"modulus": maps(3)}), {}, runs=2)
    check_analysis(ModulusClasses, scan_lines({"modulus": maps(2)}), {"every": 4}, runs=1)


def test_a_missing_channel_is_named() -> None:
    with pytest.raises(ValueError, match="no channel 'stiffness'; it has modulus"):
        run(scan_lines({"modulus": maps(1)}), channel="stiffness")
