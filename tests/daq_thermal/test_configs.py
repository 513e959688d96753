"""The configurations of calorimetry lead to their results."""

from __future__ import annotations

import functools
import tomllib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import daq_thermal
from daq.testing import record_source, run_analysis
from daq_simulators.calorimeter import Calorimeter
from tests.daq_thermal.simulated import measured

CONFIGS = Path(__file__).parents[2] / "configs"
ANALYSES = {analysis.name: analysis for analysis in daq_thermal.daq_analyses()}
FEWER = {
    "dsc-enthalpy-relaxation": {
        "annealing_temperatures": [523, 553], "annealing_times": [300, 10800, 43200],
    },
    "dsc-heating-rates": {"heating_rates": [10, 40], "interval": 1.0},
    "dsc-modulated": {"interval": 3},
}  # fmt: skip


@functools.lru_cache
def results(name: str) -> dict[str, Any]:
    """Every stream of a configuration, by direct calls, with the source as `FEWER` says."""
    config = tomllib.loads((CONFIGS / f"{name}.toml").read_text())
    source = dict(config["sources"]["dsc"])
    assert source.pop("type") == Calorimeter.name
    found: dict[str, Any] = dict(record_source(Calorimeter, source | FEWER[name], name="dsc"))
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
        ("dsc-enthalpy-relaxation", "relaxation.arrhenius", "energy_rtg", 18, 34),
        ("dsc-enthalpy-relaxation", "spectrum.spectrum", "defects", 3e-4, 6e-3),
        ("dsc-enthalpy-relaxation", "fictive_temperature.state", "relaxed", 0.98, 1.02),
        ("dsc-heating-rates", "energies.energies", "energy", 290, 1100),
        ("dsc-modulated", "modulated.transition", "correlated_units", 400, 540),
    ],
)
def test_a_configuration_leads_to_its_result(
    name: str, stream: str, field: str, low: float, high: float
) -> None:
    values = results(name)[stream][field]
    assert low < values[-1] < high


HEAD = """Instrument\tDSC Q2000
Size\t7.5\tmg
Exotherm\tUP
Nsig\t3
Sig1\tTime (min)
Sig2\tTemperature (°C)
Sig3\tHeat Flow (mW)
Date\t2026-01-0{day}
Time\t10:00:00
StartOfData
"""


def test_exports_in_a_folder_lead_to_the_relaxation_time(start_run: Any, tmp_path: Path) -> None:
    """Text with the exotherm up, in degrees Celsius and mW, without a word of heating and cooling."""
    dsc, truth = measured(annealing_temperatures=[553.0], annealing_times=[300.0, 3000.0, 43200.0])
    histories = ["300K_0min", "553K_5min", "553K_50min", "553K_720min"]
    for sample, history in enumerate(histories):
        at = dsc["sample"] == sample
        minutes = (dsc["time"][at] - dsc["time"][at][0]) / 6e10
        rows = zip(
            minutes, dsc["temperature"][at] - 273.15, -7.5 * dsc["heat_flow"][at], strict=True
        )
        text = HEAD.format(day=sample + 1) + "".join(
            f"{minute:.4f}\t{celsius:.4f}\t{flow:.6f}\n" for minute, celsius, flow in rows
        )
        (tmp_path / f"zr_{history}.txt").write_text(text, encoding="cp1252")
    settings = {"path": f"'{tmp_path}'", "count": 4, "finished": 0.5, "settle": 0.1}
    run = start_run(
        (CONFIGS / "dsc-exports.toml").read_text(),
        *(a for key, v in settings.items() for a in ("--set", f"sources.dsc.{key}={v}")),
    )
    assert run.finish(55) == 0, run.said()
    (master,) = run.run_folder.glob("*.nxs")
    with h5py.File(master) as file:
        excess = file["entry"]["excess_enthalpy.excess"]["excess"][()]
        onset = file["entry"]["glass_transition.transition"]["onset"][()]
        kww = {name: data[-1] for name, data in file["entry"]["relaxation.kww"].items()}
    np.testing.assert_allclose(excess, truth["excess_enthalpy"], atol=1.0)
    assert onset[-1] == pytest.approx(truth["onset"][0], abs=0.5)
    assert kww["samples"] == 3
    assert kww["ln_tau"] == pytest.approx(truth["ln_tau_beta"][1], abs=0.4)


def test_a_run_gives_what_direct_calls_give(start_run: Any) -> None:
    settings = [
        argument
        for key, value in FEWER["dsc-modulated"].items()
        for argument in ("--set", f"sources.dsc.{key}={value}")
    ]
    run = start_run((CONFIGS / "dsc-modulated.toml").read_text(), *settings)
    assert run.finish(55) == 0, run.said()
    (master,) = run.run_folder.glob("*.nxs")
    expected = results("dsc-modulated")["modulated.heat_capacity"]
    with h5py.File(master) as file:
        group = file["entry"]["modulated.heat_capacity"]
        for name in expected.stream.fields:
            np.testing.assert_array_equal(group[name][()], expected[name], name)
