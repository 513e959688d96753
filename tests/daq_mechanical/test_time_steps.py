"""Readings of a load frame as they come: forces, displacements, degrees Celsius."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import daq
from daq.testing import record_source, run_analysis
from daq_mechanical.creep import Creep
from daq_mechanical.stress_relaxation import StressRelaxation
from daq_simulators.mechanical_relaxation_tester import RelaxationTester

AREA, LENGTH = 2e-6, 0.025


@pytest.fixture(scope="module", params=["stress_relaxation", "creep"])
def measured(request: Any) -> Any:
    settings = {"programme": request.param, "temperatures": [450.0], "points": 20, "speed": 0.0}
    analysis = StressRelaxation if request.param == "stress_relaxation" else Creep
    return analysis, record_source(RelaxationTester, settings, name="frame")["frame"]


def test_a_load_frame_gives_what_a_tester_does(measured: Any) -> None:
    analysis, readings = measured
    plain = run_analysis(analysis, {"frame": readings.stream}, readings.batches(64), {})["fits"]
    fields = dict(readings.stream.fields) | {
        "stress": daq.Field("<f8", (), "N"), "strain": daq.Field("<f8", (), "mm"),
        "temperature": daq.Field("<f8", (), "degC"),
    }  # fmt: skip
    batches = [
        daq.Batch(
            "frame",
            dict(b.raw)
            | {
                "stress": AREA * b.raw["stress"], "strain": 1e3 * LENGTH * b.raw["strain"],
                "temperature": b.raw["temperature"] - 273.15,
            },
            b.first,
            b.valid,
        )
        for b in readings.batches(64)
    ]  # fmt: skip
    stream = daq.Stream("frame", fields)
    told = {"area": AREA, "length": LENGTH}
    found = run_analysis(analysis, {"frame": stream}, batches, told)["fits"]
    assert found["temperature"][-1] == pytest.approx(450.0)
    for name in {"decay", "b", "viscosity", "modulus"} & set(found.stream.fields):
        np.testing.assert_allclose(found[name][-1], plain[name][-1], rtol=1e-6)
    with pytest.raises(ValueError, match=r"in 'N', .* and this with area = "):
        run_analysis(analysis, {"frame": stream}, batches, {"length": LENGTH})
    with pytest.raises(ValueError, match=r"in 'mm', .* and this with length = "):
        run_analysis(analysis, {"frame": stream}, batches, {"area": AREA})


def test_a_temperature_without_a_unit_is_refused(measured: Any) -> None:
    analysis, readings = measured
    fields = dict(readings.stream.fields) | {"temperature": daq.Field("<f8")}
    with pytest.raises(ValueError, match="temperature is in 'no units', known are K, degC"):
        run_analysis(analysis, {"frame": daq.Stream("frame", fields)}, [], {})


def test_a_load_that_changes_begins_a_step_and_a_frame_without_thermometer_is_told() -> None:
    """A standard linear solid: nothing, 100 N, then 150 N; 30 s, 0.5 and 1 kN/mm."""
    seconds = np.arange(420)
    force = np.where(seconds < 20, 0.0, np.where(seconds < 220, 100.0, 150.0))
    force += 0.02 * np.random.default_rng(0).standard_normal(420)
    lag, displacement = 0.0, []
    for load in force:
        displacement.append(load / 500 + lag)
        lag += (load / 1000 - lag) * (1 - np.exp(-1 / 30))
    fields = {"stress": daq.Field("<f8", (), "N"), "strain": daq.Field("<f8", (), "mm")}
    stream = daq.Stream("frame", fields)
    arrays = {"stress": force, "strain": np.array(displacement), "time": seconds * 10**9}
    told = {"area": 1e-6, "length": 0.02, "temperature": 400.0, "skip": 0.5}

    fits = run_analysis(Creep, {"frame": stream}, [daq.Batch("frame", arrays)], told)["fits"]

    final = fits["final"] == 1
    np.testing.assert_allclose(fits["stress"][final], [0.0, 1e8, 1.5e8], atol=1e5)
    np.testing.assert_allclose(fits["ln_tau"][final][1], np.log(30), atol=0.02)
    np.testing.assert_allclose(fits["temperature"], 400.0)
    with pytest.raises(ValueError, match=r"no field 'temperature' .* temperature = "):
        run_analysis(Creep, {"frame": stream}, [daq.Batch("frame", arrays)], {"area": 1e-6})
