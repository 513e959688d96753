"""The configurations of ramps, ageing, relaxation and indentation lead to their results."""

from __future__ import annotations

import functools
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import daq_mechanical
import daq_simulators
from daq.testing import record_source, run_analysis

CONFIGS = Path(__file__).parents[2] / "configs"
ANALYSES = {analysis.name: analysis for analysis in daq_mechanical.daq_analyses()}
SOURCES = {source.name: source for source in daq_simulators.daq_sources()}
FEWER = {
    "dma-ageing": {"interval": 120},
    "stress-relaxation": {"points": 20, "temperatures": [400, 450]},
    "indentation-map": {"shape": [3, 3], "sampling_rate": 5000},
}  # fmt: skip


@functools.lru_cache
def results(name: str) -> dict[str, Any]:
    """Every stream of a configuration, by direct calls, with the sources as `FEWER` says."""
    config = tomllib.loads((CONFIGS / f"{name}.toml").read_text())
    found: dict[str, Any] = {}
    for source, values in config["sources"].items():
        settings = dict(values) | FEWER.get(name, {})
        found |= record_source(SOURCES[settings.pop("type")], settings, name=source)
    for analysis, values in config["analyses"].items():
        settings = dict(values)
        given = found[settings.pop("input")]
        batches = given.batches(512) if callable(given.batches) else given.batches
        kind = ANALYSES[settings.pop("type")]
        output = run_analysis(kind, {given.stream.name: given.stream}, batches, settings)
        found |= {f"{analysis}.{stream}": records for stream, records in output.items()}
    return found


@pytest.mark.parametrize(
    ("name", "stream", "field", "low", "high"),
    [
        ("dma-temperature-ramp", "beta_relaxation.summary", "energy_rtg", 25.4, 26.6),
        ("dma-temperature-ramp", "quasi_point_defects.states", "windows", 30, 50),
        ("dma-ageing", "double_well.fit", "slope", 0.8, 4),
        ("dma-ageing", "ageing.loss", "drop", 5, 100),
        ("stress-relaxation", "stress_relaxation.fits", "b", 0.47, 0.53),
        ("stress-relaxation", "flow.fits", "viscosity", 2.9e12, 3.4e12),
        ("indentation-map", "indentation.maps", "flags", 0, 4),
        ("indentation-map", "indentation.histograms", "indents", 9, 9),
    ],
)
def test_a_configuration_leads_to_its_result(
    name: str, stream: str, field: str, low: float, high: float
) -> None:
    last = np.asarray(results(name)[stream][field][-1], np.float64)
    assert np.all((low <= last) & (last <= high)), last
