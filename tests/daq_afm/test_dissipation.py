"""Dissipated energy: what is known exactly, its errors, its units, and bad lines."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import daq
from daq.testing import Records, check_analysis, run_analysis
from daq_afm.dissipation import (
    Cantilever,
    Dissipation,
    dissipated_energy,
    dissipated_energy_errors,
    elastic_force,
)
from tests.daq_afm.made_lines import TAPPING, scan_lines, smooth_field

USUAL = Cantilever(5.0, 400.0, 10.0)


def run(records: Records, **config: Any) -> Any:
    return run_analysis(Dissipation, {"afm": records.stream}, records.batches(7), config)


def scan(scans: int = 1, shape: tuple[int, int] = (12, 16), **options: Any) -> Records:
    phase = np.stack([70 + 3 * smooth_field(shape, 4.0, 10 + s) for s in range(scans)])
    amplitude = np.stack([8.5 + 0.05 * smooth_field(shape, 3.0, 90 + s) for s in range(scans)])
    return scan_lines(
        {"phase": phase, "amplitude": amplitude}, **{"attributes": TAPPING, **options}
    )


@given(st.floats(0.01, 1.0), st.floats(0.5, 1.0), st.booleans())
def test_a_free_cantilever_dissipates_nothing(u: float, w: float, above: bool) -> None:
    phase = np.degrees(np.arcsin(w * u))
    phase = 180 - phase if above else phase
    cantilever = Cantilever(5.0, 400.0, 10.0, w)
    energy = dissipated_energy(np.array([phase]), np.array([10.0 * u]), cantilever)
    assert abs(energy[0]) < 1e-12 * cantilever.energy_unit


def test_the_usual_energy_is_that_of_the_papers() -> None:
    energy = dissipated_energy(np.array([70.0]), np.array([8.5]), USUAL)
    assert energy[0] == pytest.approx(1.87, abs=0.01)
    assert elastic_force(np.array([90.0, 0.0]), USUAL) == pytest.approx([0, 0.0625], abs=1e-12)


def test_errors_cover() -> None:
    draw = np.random.default_rng(1)
    for phase, u in ((70.0, 0.85), (90.0, 0.6), (88.5, 0.9), (40.0, 0.3)):
        noisy = dissipated_energy(
            phase + 1.5 * draw.standard_normal(20000), 10 * u + 0.05 * draw.standard_normal(20000),
            USUAL,
        )  # fmt: skip
        one = np.array([phase]), np.array([10 * u])
        error = dissipated_energy_errors(*one, USUAL, 1.5, 0.05)[0]
        assert noisy.std() == pytest.approx(error, rel=0.03), (phase, u)


def test_lines_maps_and_summary_agree() -> None:
    records = scan()
    found = run(records, phase_noise=0.5, amplitude_noise=0.02)
    wanted = dissipated_energy(
        records["phase"].astype(float), records["amplitude"].astype(float), USUAL
    )
    np.testing.assert_allclose(found["lines"]["dissipated_energy"], wanted, rtol=1e-6)
    np.testing.assert_allclose(found["maps"]["dissipated_energy"][0], wanted, rtol=1e-6)
    assert found["lines"]["elastic_force_errors"].min() > 0
    assert found["lines"]["y"].tolist() == records["y"].tolist()
    summary = found["summary"]
    assert summary["mean"][0] == pytest.approx(wanted.mean(), rel=1e-9)
    assert summary["quantiles"][0] == pytest.approx(
        np.quantile(wanted, [0.05, 0.25, 0.5, 0.75, 0.95])
    )
    assert summary["histogram"].sum() == wanted.size
    assert summary["amplitude_ratio"][0] == pytest.approx(0.85, abs=0.005)
    assert summary["complete"][0] == 1
    assert found["summary"].stream.attributes["energy_unit"] == pytest.approx(USUAL.energy_unit)


def test_a_gaussian_is_fitted_though_a_few_pixels_lie_far_off() -> None:
    draw = np.random.default_rng(5)
    phase = 70 + 1.0 * draw.standard_normal((1, 64, 64))
    phase[0, ::16, ::16] = 100.0
    summary = run(scan_lines({"phase": phase, "amplitude": np.full(phase.shape, 8.5)},
                             attributes=TAPPING))["summary"]  # fmt: skip
    slope = dissipated_energy(np.array([71.0, 69.0]), np.array([8.5, 8.5]), USUAL)
    assert summary["gaussian_sd"][0] == pytest.approx((slope[0] - slope[1]) / 2, rel=0.05)
    assert summary["sd"][0] > 1.04 * summary["gaussian_sd"][0]


def test_negative_energies_are_counted_and_kept() -> None:
    phase = np.full((1, 4, 8), 70.0)
    phase[0, 1, :3] = 130.0
    phase[0, 2, 0] = np.nan
    found = run(scan_lines({"phase": phase, "amplitude": np.full(phase.shape, 8.5)},
                           attributes=TAPPING))  # fmt: skip
    assert found["lines"]["outside"].tolist() == [0, 3, 0, 0]
    assert found["lines"]["pixels"].tolist() == [8, 8, 7, 8]
    assert (found["lines"]["dissipated_energy"][1, :3] < 0).all()
    assert found["summary"]["outside"][0] == 3


@pytest.mark.parametrize(("at", "sign"), [(0.0, 1), (0.0, -1), (90.0, 1), (37.0, -1)])
def test_every_convention_of_the_phase_gives_the_same(at: float, sign: int) -> None:
    plain = scan()
    given = at + sign * (plain["phase"].astype(float) - 90)
    attributes = {k: v for k, v in TAPPING.items() if k != "phase_at_resonance"}
    other = scan_lines({"phase": given[None], "amplitude": plain["amplitude"][None]},
                       attributes=attributes)  # fmt: skip
    found = run(other, phase_at_resonance=at, phase_sign=sign)["lines"]
    wanted = run(plain)["lines"]["dissipated_energy"]
    np.testing.assert_allclose(found["dissipated_energy"], wanted, atol=1e-4)
    assert "phase taken" in found.stream.attributes["phase_convention"]


def test_places_of_one_sample_are_put_together() -> None:
    records = scan(4, scalars={"annealing_time": [0, 0, 0, 300], "place": [0, 1, 2, 0]})
    summary = run(records)["summary"]
    assert summary["places"].tolist() == [1, 2, 3, 1]
    means = summary["mean"][:3]
    assert summary["mean_over_places"][2] == pytest.approx(means.mean())
    assert summary["sd_over_places"][2] == pytest.approx(means.std(ddof=1))
    assert np.isnan(summary["sd_over_places"][3])


def test_the_summary_grows_with_the_image() -> None:
    records = scan(2)
    found = run(records, every=5)["summary"]
    assert found["lines"].tolist() == [5, 10, 12] * 2
    assert found["ended"].tolist() == [0, 0, 1] * 2
    assert found["places"].tolist() == [0, 0, 1, 1, 1, 2]
    assert found["pixels"].tolist() == [80, 160, 192] * 2
    assert np.array_equal(found["mean"][[2, 5]], run(records)["summary"]["mean"])


def test_another_set_point_is_another_mean() -> None:
    phase, amplitude = np.full((3, 6, 8), 60.0), np.full((3, 6, 8), 8.5)
    amplitude[2] = 7.2
    maps = {"phase": phase, "amplitude": amplitude}
    summary = run(scan_lines(maps, attributes=TAPPING))["summary"]
    assert summary["places"].tolist() == [1, 2, 1]


def test_the_error_over_three_places_covers() -> None:
    from daq_afm.dissipation import _mean_error

    means = np.random.default_rng(0).standard_normal((4000, 3))
    inside = [abs(m.mean()) < _mean_error(m) for m in means]
    assert np.mean(inside) == pytest.approx(0.683, abs=0.025)


def test_rows_may_come_downwards_and_a_scan_may_be_left_half_done() -> None:
    whole = scan(2)
    down = scan(2, rows=range(11, -1, -1))
    assert np.array_equal(
        run(whole)["maps"]["dissipated_energy"], run(down)["maps"]["dissipated_energy"]
    )
    half = scan(2, rows=range(5))
    found = run(half)
    assert found["summary"]["complete"].tolist() == [0, 0]
    assert np.isnan(found["maps"]["dissipated_energy"][0, 5:]).all()
    assert np.isfinite(found["maps"]["dissipated_energy"][0, :5]).all()


def test_keeps_its_promises() -> None:
    found = check_analysis(Dissipation, scan(3, (8, 12)), {"phase_noise": 1.0, "every": 3}, runs=2)
    assert len(found["summary"]) == 9


@pytest.mark.parametrize(
    ("change", "config", "message"),
    [
        ({"quality_factor": None}, {}, "does not say its quality_factor: give quality_factor"),
        ({"phase_at_resonance": None}, {}, "which phase a free cantilever has"),
        ({"spring_constant": "soft"}, {}, "spring_constant is 'soft', not a number"),
        ({}, {"phase": "fase"}, "no channel 'fase'; it has phase, amplitude"),
        ({"resonance_frequency": None}, {}, "resonance_frequency"),
        ({"quality_factor": -3}, {}, "quality_factor is -3: it must be above 0"),
    ],
)
def test_what_is_missing_is_named(change: Any, config: Any, message: str) -> None:
    attributes = {k: v for k, v in {**TAPPING, **change}.items() if v is not None}
    with pytest.raises(ValueError, match=message):
        run(scan(attributes=attributes), **config)


def test_volts_are_refused() -> None:
    with pytest.raises(ValueError, match="amplitude is in 'V'; a calibrated channel is needed"):
        run(scan(units={"amplitude": "V"}))


def test_radians_and_micrometres_are_understood() -> None:
    plain = scan()
    other = scan_lines(
        {"phase": np.radians(plain["phase"])[None], "amplitude": plain["amplitude"][None] / 1e3},
        units={"phase": "rad", "amplitude": "um"}, attributes=TAPPING,
    )  # fmt: skip
    np.testing.assert_allclose(
        run(other)["lines"]["dissipated_energy"],
        run(plain)["lines"]["dissipated_energy"],
        atol=1e-4,
    )


def test_a_constant_amplitude_may_stand_for_the_channel() -> None:
    phase = np.full((1, 4, 8), 70.0)
    records = scan_lines({"phase": phase}, attributes=TAPPING)
    found = run(records, constant_amplitude=True)
    assert found["summary"]["mean"][0] == pytest.approx(1.87, abs=0.01)
    assert isinstance(found["lines"].stream, daq.Stream)
