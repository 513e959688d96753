"""What 5D-STEM must show: what changes neither tau nor V, the edge of the field, memory."""

from __future__ import annotations

import functools
import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import speckle_camera as camera

import daq
from daq.testing import record_source, run_analysis
from daq_simulators.stem_camera import StemCamera
from daq_stem.ecm.analysis import Ecm
from daq_stem.fem.analysis import Fem
from daq_stem.views.positions import classes

SHAPE = (10, 14)
POSITIONS = SHAPE[0] * SHAPE[1]
SCANS = 16


def last(result: Any, name: str) -> npt.NDArray[np.float64]:
    """A map after the last scan that was not lost, [position]."""
    maps = result["maps"]
    return np.asarray(maps[name][np.flatnonzero(maps.valid)[-1], 0].reshape(-1))


def showing(time: Any, frame: Any) -> daq.Batch:
    return daq.Batch("camera", {"time": time, "frame": frame})


@functools.cache
def series() -> list[daq.Batch]:
    """About twice as long as tau, which is spread."""
    tau = np.exp(np.random.default_rng(20).normal(np.log(75.0), 0.5, POSITIONS))
    return list(camera.batches(tau, SCANS, seed=21))


def ecm(items: list[Any]) -> Any:
    return run_analysis(
        Ecm, {"camera": camera.stream(SHAPE, SCANS)}, items, {"replicas": 64, "gamma": 1.0}
    )


@functools.cache
def as_it_is() -> Any:
    return ecm(series())


def without(lost: npt.NDArray[np.bool_]) -> list[Any]:
    """The series without some records [scan, position]."""
    items: list[Any] = []
    for scan, gone in zip(series(), lost, strict=True):
        for part in np.split(np.arange(POSITIONS), np.flatnonzero(np.diff(gone)) + 1):
            if gone[part[0]]:
                items.append(daq.Missing("camera", len(part), "left out"))
            else:
                items.append(showing(scan.time[part], scan.raw["frame"][part]))
    return items


def half_the_dose() -> list[Any]:
    """The same speckles seen by half of the electrons."""
    draw = np.random.default_rng(22)
    return [
        showing(scan.time, draw.binomial(scan.raw["frame"], 0.5).astype("<u2")) for scan in series()
    ]


def every_second_scan() -> list[Any]:
    return without(np.repeat(np.arange(SCANS)[:, None] % 2 == 1, POSITIONS, axis=1))


def every_second_pattern() -> list[Any]:
    """Neighbours take turns, so that no position is seen in two scans that follow on each other."""
    return without(np.add.outer(np.arange(SCANS), np.arange(POSITIONS)) % 2 == 1)


def backwards() -> list[Any]:
    return [
        showing(at.time, shown.raw["frame"])
        for at, shown in zip(series(), reversed(series()), strict=True)
    ]


@pytest.mark.parametrize(
    "changed", [half_the_dose, every_second_scan, every_second_pattern, backwards]
)
def test_tau_does_not_change_with(changed: Any) -> None:
    whole, found = as_it_is(), ecm(changed())
    both = (last(whole, "flag") == 0) & (last(found, "flag") == 0)
    assert both.mean() > 0.85
    shift = np.log(last(found, "tau") / last(whole, "tau"))[both]
    error = (last(found, "tau_errors") / last(found, "tau"))[both]
    # the same speckles: a position moves by less than its error, all together by less than theirs
    assert np.sqrt(np.mean((shift / error) ** 2)) < 0.7
    summary = found["summary"]
    common = summary["mean_ln_tau_errors"][np.flatnonzero(summary.valid)[-1], 0]
    assert common < 0.06
    assert abs(shift.mean()) < 2 * common


def test_beta_is_v_ring_by_ring() -> None:
    """The contrast that `ecm` extrapolates to no delay is that which `fem` finds at none."""
    items = list(camera.batches(np.full(POSITIONS, 60.0), SCANS, seed=23))
    stream = {"camera": camera.stream(SHAPE, SCANS)}
    order = run_analysis(Fem, stream, items, {"q_range": [3.8, 5.0]})["profile"]
    edges = np.round(np.linspace(3.8, 5.0, order["V"].shape[1] + 1), 9)
    assert len(edges) == 6
    found = run_analysis(
        Ecm, stream, items,
        {"bands": [list(band) for band in itertools.pairwise(edges.tolist())], "gamma": 1.0,
         "replicas": 16},
    )["maps"]  # fmt: skip
    fitted = np.where(found["flag"][-1] < 3, found["beta"][-1], np.nan)
    beta = np.nanmean(fitted.reshape(5, -1), axis=1)
    np.testing.assert_allclose(beta, order["V"][-1], rtol=0.03)
    assert beta.mean() == pytest.approx(order["V"][-1].mean(), rel=0.015)


def test_v_is_that_of_the_glass_from_280_to_2800_electrons() -> None:
    """On the ring of the first peak, with gain, dead pixels and a beam stop."""
    found = {}
    for electrons in (280, 2800):
        config = {
            "scan": [12, 16], "step": 0.4, "scans": 4, "scan_time": 400.0, "speed": 0, "edge": 0.0,
            "frame": [66, 66], "pixel_size": 0.232, "dtype": "u1", "dead_fraction": 0.01,
            "dose": electrons / 0.05,  # 5 % of the beam falls on the ring
        }  # fmt: skip
        made = record_source(StemCamera, config, name="camera")["camera"]
        maps = run_analysis(Fem, {"camera": made.stream}, made.batches(192), {})["maps"]
        found[electrons] = maps["V"][-1].mean(), maps["V_raw"][-1].mean()
    assert found[280][0] == pytest.approx(found[2800][0], rel=0.02)
    assert found[280][1] > 3 * found[2800][1]


def test_places_that_leave_the_field_have_larger_errors_that_hold() -> None:
    """The specimen moves by one position a scan, 12 of 30 leave; nobody is masked for that."""
    rows, columns, scans, tau = 10, 30, 12, 60.0
    wide = columns + scans
    items: list[Any] = []
    for scan, batch in enumerate(camera.batches(np.full(rows * wide, tau), scans, seed=24)):
        frames = batch.raw["frame"].reshape(rows, wide, camera.SIDE, camera.SIDE)
        # what stood at x stands at x - scan: the first columns leave
        seen = frames[:, scan : scan + columns].reshape(-1, camera.SIDE, camera.SIDE)
        items.append(showing(scan * camera.PERIOD + np.arange(rows * columns) * 1_000_000, seen))
    number = np.arange(scans)
    drift = daq.Stream(
        "drift.shifts",
        {"scan": daq.Field("<i8"), "shift_y": daq.Field("<f8"), "shift_x": daq.Field("<f8")},
    )
    items.append(
        daq.Batch(
            "drift.shifts",
            {"time": number * camera.PERIOD, "scan": number, "shift_y": 0.0 * number,
             "shift_x": -0.16 * number},
        )
    )  # fmt: skip
    maps = run_analysis(
        Ecm, {"camera": camera.stream((rows, columns), scans), "drift.shifts": drift}, items,
        {"replicas": 64, "gamma": 1.0},
    )["maps"]  # fmt: skip
    found, error, flag = (maps[name][-1, 0] for name in ("tau", "tau_errors", "flag"))
    scans_seen = np.minimum(np.arange(columns) + 1, scans)
    assert (flag[:, scans_seen < 3] == 3).all()  # of one or two scans nothing can be fitted
    some = (scans_seen >= 3) & (scans_seen < 9)
    assert np.mean(flag[:, some] == 0) > 0.8
    sure = flag == 0
    relative = error / found
    inside = np.median(relative[:, scans_seen == scans][sure[:, scans_seen == scans]])
    assert np.median(relative[:, some][sure[:, some]]) > 1.3 * inside
    z = np.log(found / tau) / relative
    assert 0.6 < np.mean(np.abs(z[:, some][sure[:, some]]) < 1) < 0.9


PEAK = """
import sys
import numpy as np
import daq
from daq.runtime.direct import AnalysisDriver
from daq_stem.ecm.analysis import Ecm
from daq_stem.ecm.warm_up import compile_correlation

sys.path.insert(0, {folder!r})
import speckle_camera as camera

def memory(which):
    for line in open("/proc/self/status"):
        if line.startswith(which):
            return int(line.split()[1]) * 1024

shape, scans, part = (60, 120), 106, 120
tau = np.exp(np.random.default_rng(0).normal(np.log(60.0), 0.5, part))
frames = list(camera.frames(tau, 8, seed=1))
compile_correlation()
stream = camera.stream(shape, scans)
before = memory("VmRSS")
driver = AnalysisDriver(Ecm, "ecm", {{}})
driver.open([stream])
for scan, shown in enumerate(frames):
    for first in range(0, 7200, part):
        times = scan * camera.PERIOD + (first + np.arange(part)) * 1_000_000
        driver.feed(daq.Batch("camera", {{"time": times, "frame": shown}}))
print(Ecm.memory({{"camera": stream}}, Ecm.Config()), memory("VmHWM") - before)
"""


def test_memory_at_the_published_size_is_what_the_formula_says() -> None:
    """In a process of its own: after 8 scans all that grows is there, and replicas were made anew."""
    said = subprocess.run(
        [sys.executable, "-c", PEAK.format(folder=str(Path(__file__).parent))],
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    formula, peak = (int(number) for number in said.stdout.split())
    assert 0.85 * formula < peak < formula


def test_what_does_not_fit_into_memory_is_refused_before_the_first_pattern(start_run: Any) -> None:
    run = start_run(
        """
        [sources.camera]
        type = "moving_spots"
        shape = [64, 64]
        scan = [20, 25]
        records = 500
        rate = 0
        [analyses.ecm]
        type = "ecm"
        input = "camera"
        pixel_size = 0.2
        history = 4096
        bands = ["""
        + ", ".join(["[4.2, 4.6]"] * 64)
        + "]"
    )
    assert run.finish(120) != 0
    assert "analyses.ecm needs" in run.said()
    assert "GB are free; choose fewer positions, records or bands" in run.said()
    assert not (run.run_folder / "ecm.maps.h5").exists()


def test_results_of_the_microscope_are_drawn_by_its_own_views() -> None:
    """Whatever other plugins are installed: theirs must not take these streams."""
    from daq.viewer.choice import panels_for
    from daq.viewer.start import plugin_views
    from tests.daq_stem import made_results as made

    views = plugin_views()
    for make in (made.maps, made.order, made.profile, made.pattern, made.correlation):
        stream, _ = make()
        (panel,) = panels_for(stream, views)
        assert panel.view is not None
        assert panel.view.__module__.startswith("daq_stem."), (stream.name, panel.view)


def test_a_bound_is_named_and_coloured_as_what_it_is() -> None:
    flag = np.array([[0, 1, 2, 3, 4, 0]], np.uint8)
    tau = np.array([[9.0, 9.0, 9.0, np.nan, np.nan, np.nan]])
    kinds = classes(flag, tau)
    where = {name: np.flatnonzero(at).tolist() for name, (_, at) in kinds.items()}
    assert where == {"lower bound": [1], "upper bound": [2], "no fit": [3], "masked": [4, 5]}
    assert len({colour for colour, _ in kinds.values()}) == 4
