"""Regions of high dissipation: drawn ones, simulated ones, smooth fields, bad lines."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from daq.testing import Records, check_analysis, record_source, run_analysis
from daq_afm.dissipation import Dissipation
from daq_afm.dissipation_regions import DissipationRegions
from daq_simulators.afm_tapping import AfmTapping
from tests.daq_afm.made_lines import scan_lines, smooth_field


def run(records: Records, **config: Any) -> Any:
    return run_analysis(
        DissipationRegions, {records.name: records.stream}, records.batches(5), config
    )


def ellipses(step: tuple[float, float], angle: float | None, seed: int) -> np.ndarray:
    """Return 81 ellipses, 6 x 3 nm, that do not touch, on 240 x 240 nm."""
    draw = np.random.default_rng(seed)
    shape = (round(240 / step[0]), round(240 / step[1]))
    y, x = np.arange(shape[0])[:, None] * step[0], np.arange(shape[1])[None] * step[1]
    image = 0.1 * draw.standard_normal(shape)
    for row in range(9):
        for column in range(9):
            turn = np.radians(draw.uniform(-90, 90) if angle is None else angle)
            off = draw.uniform(-1, 1, 2)
            dy, dx = y - 24 * (row + 1) - off[0], x - 24 * (column + 1) - off[1]
            along = np.cos(turn) * dx + np.sin(turn) * dy
            across = np.cos(turn) * dy - np.sin(turn) * dx
            image[(along / 6) ** 2 + (across / 3) ** 2 < 1] += 5
    return image


@pytest.mark.parametrize("step", [(0.5, 0.5), (1.0, 0.5)])
def test_drawn_ellipses_are_measured(step: tuple[float, float]) -> None:
    image = ellipses(step, 35.0, 1)
    fraction = float(np.mean(image > 2))
    found = run(scan_lines({"dissipated_energy": image[None]}, step=step), fraction=fraction)
    clusters, summary = found["clusters"], found["summary"]
    assert len(clusters) == 81
    assert clusters["radius"] == pytest.approx(np.sqrt(18), abs=0.25)
    assert clusters["aspect_ratio"] == pytest.approx(2, abs=0.3)
    assert clusters["orientation"] == pytest.approx(35, abs=7)
    assert not clusters["at_edge"].any()
    assert clusters["y"][0] == pytest.approx(24, abs=1.3)
    last = -1
    assert summary["clusters"][last] == 81
    assert summary["mean_radius"][last] == pytest.approx(np.sqrt(18), abs=0.05)
    assert summary["alignment"][last] > 0.98
    assert summary["alignment_axis"][last] == pytest.approx(35, abs=1)
    assert summary["alignment_p"][last] < 1e-10
    assert summary["fraction"][last] == pytest.approx(fraction, abs=1e-4)
    assert found["regions"]["cluster"].max() == 81
    random = run(scan_lines({"dissipated_energy": ellipses(step, None, 2)[None]}, step=step),
                 fraction=fraction)["summary"]  # fmt: skip
    assert random["alignment_p"][-1] > 0.01


def test_regions_of_the_simulated_glass_are_found_through_dissipation() -> None:
    """Radius 2 nm, aspect 2, any direction: what Qiao2019 reports of loose-packed regions."""
    lines = record_source(
        AfmTapping,
        {"scan": [192, 192], "step": [0.5, 0.5], "retrace": False, "speed": 0, "seed": 2,
         "tip_radius": 0.2, "phase_noise": 0.05, "dissipation_spread": 0.02,
         "region_fraction": 0.05, "region_dissipation": 1.2, "region_radius_sd": 0.2},
    )  # fmt: skip
    (records,) = lines.values()
    energy = run_analysis(Dissipation, {records.name: records.stream}, records.batches(64), {})
    given = Records(energy["lines"].stream, energy["lines"].arrays)
    found = run(given, fraction=0.05, least_pixels=12)
    clusters, summary = found["clusters"], found["summary"]
    whole = (clusters["pixels"] >= 12) & (clusters["at_edge"] == 0)
    assert np.median(clusters["radius"][whole]) == pytest.approx(2.0, abs=0.25)
    assert np.median(clusters["aspect_ratio"][whole]) == pytest.approx(2.0, abs=0.35)
    assert summary["alignment_p"][-1] > 0.001
    assert summary["ended"][-1] == 1
    assert "channel" in found["summary"].stream.attributes


def test_means_over_clusters_cover() -> None:
    """The error of one image is what another one of the same field differs by."""
    means, errors = [], []
    for seed in range(40):
        image = smooth_field((96, 96), 4.0, seed)
        found = run(scan_lines({"dissipated_energy": image[None]}, step=(1.0, 1.0)), every=999)
        means.append(found["summary"]["mean_radius"][-1])
        errors.append(found["summary"]["mean_radius_errors"][-1])
    inside = np.abs(np.array(means) - np.mean(means)) < np.array(errors)
    assert 0.55 < inside.mean() < 0.85


def test_the_summary_grows_with_the_image() -> None:
    image = smooth_field((40, 30), 3.0, 1)[None]
    found = run(scan_lines({"dissipated_energy": image}), every=10)["summary"]
    assert found["lines"].tolist() == [10, 20, 30, 40]
    assert found["ended"].tolist() == [0, 0, 0, 1]
    first = image[0, :10].astype("<f4").astype(float)
    assert found["threshold"][0] == np.quantile(first, 0.95)
    down = run(scan_lines({"dissipated_energy": image}, rows=range(39, -1, -1)), every=10)
    assert down["summary"]["threshold"][-1] == found["threshold"][-1]
    assert np.isfinite(found["dimension"][-1]) or found["dimension"].size


def test_the_low_tail_and_eight_neighbours() -> None:
    image = smooth_field((40, 40), 3.0, 1)[None]
    high = run(scan_lines({"dissipated_energy": -image}), fraction=0.3)
    low = run(scan_lines({"dissipated_energy": image}), fraction=0.3, tail="low")
    assert np.array_equal(high["regions"]["cluster"], low["regions"]["cluster"])
    eight = run(scan_lines({"dissipated_energy": image}), fraction=0.3, tail="low", diagonal=True)
    assert eight["regions"]["cluster"].max() <= low["regions"]["cluster"].max()


def test_a_dead_image_gives_empty_numbers() -> None:
    found = run(scan_lines({"dissipated_energy": np.full((1, 12, 12), np.nan)}))
    assert len(found["clusters"]) == 0
    assert found["summary"]["clusters"].tolist() == [0]
    assert np.isnan(found["summary"]["threshold"][0])
    assert not found["regions"]["cluster"].any()


def test_keeps_its_promises() -> None:
    maps = np.stack([smooth_field((24, 20), 2.0, s) for s in range(2)])
    records = scan_lines({"dissipated_energy": maps}, step=(1.0, 0.7))
    found = check_analysis(DissipationRegions, records, {"fraction": 0.2, "every": 9}, runs=1)
    assert len(found["regions"]) == 2


def test_a_missing_channel_is_named() -> None:
    with pytest.raises(ValueError, match="no channel 'dissipated_energy'; it has phase"):
        run(scan_lines({"phase": np.zeros((1, 8, 8))}))
