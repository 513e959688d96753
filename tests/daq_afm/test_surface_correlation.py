"""Surface correlation line by line: the numbers, their errors, images that end early, bad lines."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

import daq
from daq.testing import OutputStream, Records, check_analysis, run_analysis
from daq_afm.levelling import Levelling
from daq_afm.surface_correlation import SurfaceCorrelation
from tests.daq_afm.made_lines import scan_lines
from tests.daq_afm.surfaces import structure_by_lag, surfaces

NAMES = ("sigma", "correlation_length", "hurst_exponent", "nugget")
QUICK = {"replicas": 32, "stages": []}


def run(records: Records, **config: Any) -> dict[str, OutputStream]:
    found = run_analysis(SurfaceCorrelation, {"afm": records.stream}, records.batches(17), config)
    return dict(found)


def images(count: int, shape: tuple[int, int] = (48, 64), xi: float = 2.0, **of: Any) -> np.ndarray:
    drawn = surfaces(shape, xi, of.get("alpha", 0.7), of.get("seed", 1), of.get("step", (1.0, 1.0)))
    return np.stack([next(drawn) for _ in range(count)])


def taken(records: Records, kept: np.ndarray) -> Records:
    return Records(records.stream, {name: array[kept] for name, array in records.arrays.items()})


def test_each_line_gives_what_all_pairs_so_far_give() -> None:
    maps = images(2, (24, 40), step=(1.5, 0.5), xi=1.0)
    maps[1, 10, 7:12] = np.nan
    lines = scan_lines({"height": maps}, step=(1.5, 0.5), rows=np.arange(24)[::-1])
    out = run(lines, replicas=0, max_lag=4.0)["correlation"]
    assert out["lines"].tolist() == [*range(1, 25), 24] * 2, "each line, and the end"
    assert out.stream.fields["structure_function"].units == "nm^2"
    assert np.isnan(out["structure_function_errors"]).all()
    where = {"shape": (24, 40), "reach": (2, 8)}
    i = np.arange(3)[:, None] * 1.5
    ring = np.rint(np.hypot(i, np.arange(-8, 9)[None, :] * 0.5) / 0.5).astype(int) - 1
    ring[0, :9] = -1
    ring[ring >= 8] = -1
    record = 0
    for image in maps.astype("<f4").astype(float):
        for count in (*range(1, 25), 24):
            so_far = np.where(np.arange(24)[:, None] >= 24 - count, image, np.nan)
            if count in (1, 2, 11, 24):
                sums, pairs = structure_by_lag(so_far, where["reach"])
                for k in range(8):
                    here = ring == k
                    assert out["pairs"][record, k] == pairs[here].sum()
                    expected = sums[here].sum() / max(pairs[here].sum(), 1)
                    if pairs[here].sum():
                        found = out["structure_function"][record, k]
                        assert found == pytest.approx(expected, rel=1e-11)
            record += 1
    assert out.stream.constants["lag"][0] == 0.5


def test_what_was_put_in_comes_out_within_its_errors() -> None:
    """Coverage over seeds; the whole table: benchmarks/surface_correlation_coverage.py."""
    count, noise = 30, 0.2
    maps = images(count, (64, 64), 3.0, seed=11)
    maps += noise * np.random.default_rng(3).standard_normal(maps.shape)
    out = run(scan_lines({"height": maps}, step=(1.0, 1.0)), every=1000, **QUICK)["fit"]
    assert np.all(out["final"] == 1) and len(out) == count
    good = out["flag"] == 0
    assert np.count_nonzero(good) >= 25
    for name, true in zip(NAMES[:3], (1.0, 3.0, 0.7), strict=True):
        off = ((out[name] - true) / out[f"{name}_errors"])[good]
        least, most = binom.interval(0.999, len(off), 0.683)
        assert least <= np.count_nonzero(np.abs(off) <= 1) <= most, name
        assert abs(np.mean(off)) < 0.7, name
        assert np.max(np.abs(off)) < 4.5, name
    assert np.median(out["nugget"][good]) == pytest.approx(noise, abs=0.08)


def test_the_bias_of_levelling_is_taken_off() -> None:
    maps = images(12, (64, 64), 3.0, seed=5)
    tilt = np.linspace(0, 30, 64)[None, None, :] + np.arange(64.0)[None, :, None]
    lines = scan_lines({"height": maps + tilt}, step=(1.0, 1.0))
    levelled = run_analysis(
        Levelling, {"afm": lines.stream}, lines.batches(64), {"method": "quadratic"}
    )["lines"]
    records = Records(levelled.stream.renamed("afm"), dict(levelled.arrays))
    found = run(records, **QUICK, every=100)
    assert found["fit"].stream.attributes["levelling"] == "quadratic"
    final = np.flatnonzero(found["fit"]["final"])
    assert np.all(found["fit"]["flag"][final] == 0)
    xi, error, bias = (
        found["fit"][name][final]
        for name in ("correlation_length", "correlation_length_errors", "bias")
    )
    assert np.all(bias < -0.03)
    of_mean = np.mean(error) / np.sqrt(12)
    assert abs(np.mean(xi) - 3.0) < 3 * of_mean
    uncorrected = np.mean(xi * np.exp(bias))
    assert uncorrected < 3.0 - 2 * of_mean


def test_errors_come_at_stages_and_shrink_between_them() -> None:
    lines = scan_lines({"phase": 70 + images(1, (80, 80), 1.5)}, step=(1.0, 1.0))
    out = run(lines, channel="phase", replicas=32, stages=[0.5], least_size=15.0)["fit"]
    before, after = out["lines"] < 40, out["lines"] >= 40
    error = out["correlation_length_errors"]
    assert np.isnan(error[before]).all()
    assert np.isfinite(error[after]).all()
    assert out["error_lines"][after].tolist() == [40] * 41 + [80]
    growing = error[(out["lines"] >= 40) & (out["final"] == 0)]
    part = growing / out["correlation_length"][(out["lines"] >= 40) & (out["final"] == 0)]
    np.testing.assert_allclose(part, part[0] * np.sqrt(40 / np.arange(40, 81)), rtol=1e-9)
    assert out.stream.fields["sigma"].units == "deg"


def test_an_image_too_small_for_its_length_is_refused() -> None:
    out = run(scan_lines({"height": images(1, (48, 48), 5.0, seed=2)}, step=1.0), **QUICK)["fit"]
    assert out["flag"][-1] == 1
    for name in NAMES:
        assert np.isnan(out[name][-1]) and np.isnan(out[f"{name}_errors"][-1])
    assert 3 < out["size_over_length"][-1] < 15
    allowed = run(
        scan_lines({"height": images(1, (48, 48), 5.0, seed=2)}, step=1.0), **QUICK, least_size=2
    )["fit"]
    assert allowed["flag"][-1] == 0 and allowed["correlation_length"][-1] > 3


def test_images_that_end_early_and_rows_that_come_again() -> None:
    maps = images(3)
    lines = scan_lines({"height": maps}, step=(1.0, 1.0))
    # image 0 whole; image 1 begins again after 10 lines and is left after 40; then image 2
    kept = np.r_[0:48, 48:58, 48:88, 96:144]
    out = run(taken(lines, kept), **QUICK, every=1000)
    fit = out["fit"]
    assert fit["scan"].tolist() == [0, 1, 2]
    assert fit["lines"].tolist() == [48, 40, 48]
    alone = run(taken(lines, np.r_[48:88]), **QUICK, every=1000)["correlation"]
    np.testing.assert_allclose(
        out["correlation"]["structure_function"][1], alone["structure_function"][0], rtol=1e-10
    )
    clean = run(taken(lines, np.r_[96:144]), **QUICK, every=1000)["correlation"]
    assert np.array_equal(
        out["correlation"]["structure_function"][2], clean["structure_function"][0]
    ), "nothing is left of the image before"


def test_lines_that_cannot_be_used() -> None:
    maps = images(1)
    maps[0, 20] = np.nan
    lines = scan_lines({"height": maps}, step=(1.0, 1.0))
    strange = lines.arrays["line"].copy()
    strange[5] = 99
    out = run(lines.replaced(line=strange), **QUICK)
    assert out["correlation"]["lines"][-1] == 46
    assert out["fit"]["flag"][-1] == 0


@pytest.mark.parametrize("average", ["isotropic", "fast_axis"])
def test_keeps_its_promises(average: str) -> None:
    lines = scan_lines(
        {"height": images(2, (16, 32), 1.2)}, step=(1.0, 1.0),
        scalars={"annealing_time": [0, 300], "annealing_temperature": [300, 553]},
    )  # fmt: skip
    replicas = 16 if average == "isotropic" else 0
    config = {"every": 13, "replicas": replicas, "stages": [0.75], "average": average,
              "max_lag": 8.0, "least_size": 0.0}  # fmt: skip
    found = check_analysis(
        SurfaceCorrelation, lines, config, reconfigure_to={**config, "every": 12}, runs=1
    )
    assert np.isfinite(found["fit"]["sigma"]).any()


def test_memory_does_not_grow_with_images() -> None:
    lines = scan_lines({"height": images(1, (8, 64), 1.0)}, step=(1.0, 1.0))
    state = SurfaceCorrelation()
    state.open({"afm": lines.stream}, SurfaceCorrelation.Config(replicas=0, every=1000))
    (batch,) = lines.batches()
    assert isinstance(batch, daq.Batch)
    sizes = []
    for scan in range(20):
        batch.raw["scan"] = np.full(8, scan, "<i4")
        assert len(list(state.process(batch))) >= 2
        sizes.append(len(pickle.dumps(state)))
    assert sizes[-1] - sizes[1] < 18 * 300


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"channel": "phase"}, "afm has no channel 'phase'; it has height"),
        ({"max_lag": 1.0}, "2 pixels at least"),
        ({"max_lag": 40.0}, "half of the image at most"),
        ({"stages": [1.5]}, "between 0 and 1"),
        ({"replicas": 3}, "16 at least, or 0"),
    ],
)
def test_says_what_does_not_fit(config: dict[str, Any], said: str) -> None:
    lines = scan_lines({"height": images(1)}, step=(1.0, 1.0))
    with pytest.raises(ValueError, match=said):
        run(lines, **config)


@pytest.mark.parametrize("changed", [{"max_lag": 5.0}, {"average": "fast_axis"}])
def test_what_cannot_change_while_it_runs(changed: dict[str, Any]) -> None:
    lines = scan_lines({"height": images(1)}, step=(1.0, 1.0))
    with pytest.raises(ValueError, match="cannot change while it runs"):
        run_analysis(
            SurfaceCorrelation, {"afm": lines.stream}, lines.batches(), {},
            reconfigure={"afm": [(0, changed)]},
        )  # fmt: skip
