"""The configurations of calorimetry lead to their results."""

from __future__ import annotations

import functools
import tomllib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import daq
import daq_thermal
from daq.config import validated
from daq.testing import record_source, run_analysis
from daq_exports.table import TableReader
from daq_simulators.calorimeter import Calorimeter
from tests.daq_thermal.simulated import measured

CONFIGS = Path(__file__).parents[2] / "configs"
ANALYSES = {analysis.name: analysis for analysis in daq_thermal.daq_analyses()}
FEWER = {
    "dsc-enthalpy-relaxation": {
        "annealing_temperatures": [523, 553], "annealing_times": [300, 10800, 43200],
        "programme": [745, 300, 752], "interval": 3.0,
    },
    "dsc-flow-units": {"annealing_times": [60, 600, 6000, 30000, 200000], "interval": 3.0},
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
        ("dsc-flow-units", "flow_units.fit", "final_value", 20, 40),
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
    dsc, truth = measured(annealing_temperatures=[553.0], annealing_times=[300.0, 3000.0, 43200.0],
                          programme=[745.0, 300.0, 752.0], interval=3.0)  # fmt: skip
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
    settings = {"path": f"'{tmp_path}'", "count": 4, "finished": 0.2, "settle": 0.1}
    changes = [f"sources.dsc.{key}={value}" for key, value in settings.items()]
    # one process for all: it begins sooner
    changes += [
        f"analyses.{name}.group=all"
        for name in ("glass_transition", "excess_enthalpy", "relaxation")
    ]
    run = start_run(
        (CONFIGS / "dsc-exports.toml").read_text(),
        *(argument for change in changes for argument in ("--set", change)),
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


def test_a_table_of_moduli_leads_to_heat_flow(tmp_path: Path) -> None:
    """The configuration of interstitialcy, on a table whose defects are known."""
    T = np.arange(300.0, 760.0, 0.5)
    mu = 36 * (1 - 1.5e-4 * (T - 300))
    c = 0.02 - 0.0023 / (1 + np.exp(-(T - 620) / 20)) + 0.006 / (1 + np.exp(-(T - 715) / 8))
    rows = zip(T, 3 * (T - 300), mu * np.exp(-17 * c), mu, strict=True)
    path = tmp_path / "modulus.csv"
    path.write_text(
        "T,t,G,mu\n" + "".join(",".join(f"{x:.7f}" for x in row) + "\n" for row in rows)
    )
    config = tomllib.loads((CONFIGS / "dsc-interstitialcy.toml").read_text())
    source = dict(config["sources"]["modulus"])
    assert (source.pop("type"), source.pop("format"), source.pop("path")) == (
        "file", TableReader.name, "shear-modulus.csv",
    )  # fmt: skip
    reader = TableReader()
    (stream,) = reader.open(path, validated(TableReader.Config, source, ""))
    settings = dict(config["analyses"]["interstitialcy"])
    kind, name = ANALYSES[settings.pop("type")], settings.pop("input")
    batches = [daq.Batch(name, item.raw) for item in reader.batches({"": 0})]
    found = run_analysis(kind, {name: stream.renamed(name)}, batches, settings)
    np.testing.assert_allclose(found["state"]["concentration"], c, atol=1e-8)
    heat, at = found["heat_flow"]["heat_flow"], found["heat_flow"]["temperature"]
    # rho W = q mu/beta d(-G/mu)/dT: 4-6, in W/g at 20 K/min
    expected = np.interp(at, T, mu * np.gradient(-np.exp(-17 * c), T)) / 17 * 1e9 / 3 / 6.9e6
    np.testing.assert_allclose(heat, expected, atol=0.01)
    assert heat.max() > 0.2
    assert heat[at < 650].min() < -0.02
