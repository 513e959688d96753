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
