"""The configurations of frequency sweeps lead to the truth of the simulator, and through the real table."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import daq_mechanical
from daq.testing import Records, record_source, run_analysis
from daq_exports.table import TableReader
from daq_simulators.mechanical_spectrometer import MechanicalSpectrometer

CONFIGS = Path(__file__).parents[2] / "configs"
ANALYSES = {analysis.name: analysis for analysis in daq_mechanical.daq_analyses()}


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    """Every stream of dma-master-curve.toml, by direct calls, and the truth."""
    config = tomllib.loads((CONFIGS / "dma-master-curve.toml").read_text())
    source = dict(config["sources"]["dma"])
    assert source.pop("type") == MechanicalSpectrometer.name
    found = analysed(config, record_source(MechanicalSpectrometer, source, name="dma")["dma"])
    instrument = MechanicalSpectrometer()
    instrument.open(MechanicalSpectrometer.Config(**source))
    return found | {"truth": instrument.truth()}


def analysed(config: dict[str, Any], readings: Any) -> dict[str, Any]:
    """Return every stream that the analyses of a configuration give, by name."""
    found: dict[str, Any] = {"dma": readings}
    for analysis, values in config["analyses"].items():
        settings = dict(values)
        given = found[settings.pop("input")]
        batches = given.batches(64) if callable(given.batches) else given.batches
        output = run_analysis(
            ANALYSES[settings.pop("type")], {given.stream.name: given.stream}, batches, settings
        )
        found |= {f"{analysis}.{stream}": records for stream, records in output.items()}
    return found


def test_shifts_are_those_of_the_simulated_glass(results: dict[str, Any]) -> None:
    shifts = results["master_curve.shifts"]
    n = shifts["count"][-1]
    T = shifts["temperature"][-1, :n]
    _, B, T0 = results["truth"]["vft"]
    true = B / (T - T0) / np.log(10)
    near = np.argmin(np.abs(T - shifts["reference_temperature"][-1]))
    assert np.max(np.abs(shifts["log10_shift"][-1, :n] - (true - true[near]))) < 0.03
    assert np.all(shifts["flag"][-1, :n] == 0)


def test_fragility_is_that_of_the_simulated_glass(results: dict[str, Any]) -> None:
    law = results["shift_laws.fit"]
    m = results["truth"]["fragility"][0]
    assert law["fragility"][-1] == pytest.approx(m, abs=4 * law["fragility_errors"][-1])
    assert law["fragility_errors"][-1] < 0.02 * m
    # that of tau at the loss peak, where that is 100 s
    assert results["laws.fit"]["fragility"][-1] == pytest.approx(m, rel=0.1)
    assert results["laws.fit"]["flag"][-1] == 0


def test_a_measured_polymer() -> None:
    data = Path(os.environ.get("GLASSWATCH_SHARED_DATA", CONFIGS.parents[1] / "shared" / "data"))
    table = data / "dma_frequency_sweeps.csv"
    if not table.is_file():
        pytest.skip(f"no {table.name} in {data} (set GLASSWATCH_SHARED_DATA)")
    config = tomllib.loads((CONFIGS / "dma-sweeps.toml").read_text())
    source = {k: v for k, v in config["sources"]["dma"].items() if k == "columns"}
    reader = TableReader()
    (stream,) = reader.open(table, TableReader.Config(**source))
    readings = Records.of(stream.renamed("dma"), reader.batches({}))
    found = analysed(config, readings)
    shifts = found["master_curve.shifts"]
    assert shifts["count"][-1] == 21
    assert np.all(np.diff(shifts["log10_shift"][-1, :21]) < 0)
    # far in the glass sweeps do not overlap as they should; from 268 K up they do
    assert np.all(shifts["flag"][-1, 6:21] == 0)
    assert np.all(shifts["superposition"][-1] > 1.2), "and do not superpose within their noise"
    law = found["laws.fit"]
    assert 50 < law["fragility"][-1] < 100
    assert found["relaxation_times.spectrum"]["strength"][-1] == pytest.approx(8.9e9, rel=0.1)
