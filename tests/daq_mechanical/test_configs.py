"""Configurations end to end: files of indents through the runtime, and creep."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from daq.testing import record_source, run_analysis
from daq_exports.table import TableReader
from daq_mechanical.creep import Creep
from daq_mechanical.indent_text import IndentText
from daq_simulators.mechanical_indenter import Nanoindenter
from daq_simulators.mechanical_relaxation_tester import RelaxationTester

CONFIGS = Path(__file__).parents[2] / "configs"
FOLDER = """
[sources.indenter]
type = "folder"
path = "{path}"
tip_radius = 2e-6
poisson_ratio = 0.363
shape = [2, 2]
step = 100
count = 4
finished = 0.2
settle = 0.1
"""


def exported(folder: Path) -> Any:
    """Write four simulated indents as an instrument exports them; return G of each, GPa."""
    settings = {"shape": [2, 2], "sampling_rate": 5000.0, "speed": 0.0}
    indents = record_source(Nanoindenter, settings, name="indenter")["indenter"]
    folder.mkdir()
    for i in range(4):
        columns = [indents[name][i] for name in ("depth", "load", "elapsed")]
        head = f"X = {0.1 * (i % 2)} um\nY = {0.1 * (i // 2)} um\nNumber of Points = {len(columns[0])}\n"
        rows = "".join(f"{h:.4f}\t{P:.4f}\t{t:.6f}\n" for h, P, t in zip(*columns, strict=True))
        text = f"{head}\nDepth (nm)\tLoad (\u00b5N)\tTime (s)\n{rows}"
        (folder / f"indent_{i:03d}.txt").write_text(text, encoding="cp1252")
    instrument = Nanoindenter()
    instrument.open(Nanoindenter.Config(**settings))
    return instrument.truth()["G"]


def test_files_of_indents_in_a_folder_lead_to_a_map(start_run: Any, tmp_path: Path) -> None:
    """No format is told: the reader of indents knows them, that of tables leaves them to it."""
    G = exported(tmp_path / "indents")
    text = (CONFIGS / "indentation-map.toml").read_text()
    before, after = text.split('[sources.indenter]\ntype = "nanoindenter"')
    analyses = after[after.index("[analyses") :]
    run = start_run(before + FOLDER.format(path=tmp_path / "indents") + analyses)
    assert run.finish(55) == 0, run.said()
    (master,) = run.run_folder.glob("*.nxs")
    with h5py.File(master) as file:
        maps = {name: data[-1] for name, data in file["entry"]["indentation.maps"].items()}
    assert np.all(maps["flags"] <= 1)
    np.testing.assert_allclose(maps["G"], G.reshape(2, 2), rtol=0.02)


@pytest.mark.parametrize(
    ("names", "knows"),
    [
        ("Time (s),Depth (nm),Load (uN)", False),
        ("Displacement (nm),Force (uN),Time (s)", False),
        ("Time (s),Temperature (C),Storage modulus (MPa)", True),
        # a mechanical spectrometer has both beside its moduli
        ("Time (s),Frequency (Hz),Storage modulus (MPa),Displacement (um),Force (N)", True),
    ],
)
def test_tables_leave_indents_to_their_reader(tmp_path: Path, names: str, knows: bool) -> None:
    path = tmp_path / "a.csv"
    row = ",".join(["1.0"] * len(names.split(",")))
    path.write_text(f"{names}\n{row}\n{row}\n")
    assert TableReader.knows(path) is knows
    if not knows:
        assert IndentText.knows(path)


def test_creep_leads_to_the_viscosity() -> None:
    config = tomllib.loads((CONFIGS / "creep.toml").read_text())
    settings = dict(config["sources"]["creep"]) | {"temperatures": [430, 450], "points": 30}
    assert settings.pop("type") == RelaxationTester.name
    readings = record_source(RelaxationTester, settings, name="creep")["creep"]
    values = {
        k: v for k, v in config["analyses"]["creep_fit"].items() if k not in ("type", "input")
    }
    batches = readings.batches(512)
    fits = run_analysis(Creep, {"creep": readings.stream}, batches, values)["fits"]
    instrument = RelaxationTester()
    instrument.open(RelaxationTester.Config(**settings))
    true = instrument.truth()["viscosity"]
    final = fits["final"] == 1
    eta, error, flag = (fits[n][final] for n in ("viscosity", "viscosity_errors", "flag"))
    told = np.isin(flag, (0, 2))
    assert told.all()
    assert np.all(np.abs(eta - true)[told] < 4 * error[told])
    assert np.all(fits["viscosity_lower"][final] < 1.1 * true)
