"""Export files of calorimeters and rheometers: beside the packages that read them, and in whole runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from daq.config import validated
from daq_exports.trios_json import TriosJsonReader
from daq_thermal.flags import NO_GLASS_TRANSITION, NOT_HEATED

pytestmark = [pytest.mark.peers, pytest.mark.timeout(600)]

TREE = Path(__file__).resolve().parents[2]


def shared(name: str) -> Path:
    folder = Path(os.environ.get("GLASSWATCH_SHARED_DATA", TREE.parent / "shared" / "data"))
    if not (folder / name).is_file():
        pytest.skip(f"no {name} in {folder} (set GLASSWATCH_SHARED_DATA)")
    return folder / name


def test_a_real_netzsch_file(peer: Callable[[str], Any], tmp_path: Path) -> None:
    path = shared("dsc_netzsch.ngb-ds3")
    damaged = tmp_path / "damaged.ngb-ds3"
    damaged.write_bytes(path.read_bytes()[:150_000])
    found = peer("pyngb").run(
        "read_with_pyngb.py",
        packages=[TREE, TREE / "plugins"], path=path, damaged=damaged, start=1000,
    )  # fmt: skip
    raw = {name[4:]: values[1000:] for name, values in found.items() if name.startswith("raw_")}
    assert len(found["temperature"]) == len(raw["time"]) == 4801
    np.testing.assert_allclose(found["temperature"], raw["sample_temperature"] + 273.15, rtol=1e-15)
    np.testing.assert_array_equal(found["mass_change"], raw["mass"])
    # The calibration of the file: sensitivity (uV/mW) over temperature.
    p = found["calibration"]
    z = (raw["sample_temperature"] - p[0]) / p[1]
    sensitivity = (p[2] + p[3] * z + p[4] * z**2 + p[5] * z**3) * np.exp(-(z**2))
    expected = -raw["dsc_signal"] / sensitivity / 10.848
    np.testing.assert_allclose(found["heat_flow"], expected, rtol=1e-12)
    # What takes up heat is positive: heating (10 K/min) needs more than holding or cooling.
    rate = np.gradient(raw["sample_temperature"], raw["time"])
    heating, cooling = found["heat_flow"][rate > 0.12], found["heat_flow"][rate < -0.12]
    assert np.median(heating) > 0.5 > 0 > np.median(cooling)
    first = np.datetime64("2026-08-04T09:38:15", "ns").astype(np.int64)
    np.testing.assert_allclose((found["time"] - first) / 1e9, raw["time"], atol=1e-8)
    attributes, units = json.loads(str(found["attributes"])), json.loads(str(found["units"]))
    assert attributes["exported_sign"] == "exothermic_up"
    assert attributes["heat_flow_sign"] == "endothermic_positive"
    assert attributes["mass_mg"] == pytest.approx(10.848)
    assert (units["heat_flow"], units["temperature"], units["mass_change"]) == ("W/g", "K", "mg")
    assert "damaged.ngb-ds3: cannot be read" in str(found["error"])


def test_a_real_trios_file(peer: Callable[[str], Any]) -> None:
    path = shared("trios_export.json")
    theirs = peer("tadatakit").run("read_with_tadatakit.py", path=path)
    columns = dict(zip(theirs["names"].tolist(), theirs["values"].T, strict=True))
    reader = TriosJsonReader()
    reader.open(path, validated(TriosJsonReader.Config, {}, ""))
    (batch,) = reader.batches({"": 0})
    for field, name, factor, offset in (
        ("storage_modulus", "Storage modulus", 1e6, 0.0),
        ("loss_modulus", "Loss modulus", 1e6, 0.0),
        ("temperature", "Temperature", 1.0, 273.15),
        ("frequency", "Frequency", 1.0, 0.0),
        ("strain", "Oscillation strain", 0.01, 0.0),
    ):
        (values,) = [column for key, column in columns.items() if key.split(" / ")[0] == name]
        np.testing.assert_allclose(batch.raw[field], values * factor + offset, rtol=1e-14)


# -- whole runs: a folder, the bus, analyses, the file and its picture ----------------------------------


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder with a short path, as names of sockets need it."""
    folder = Path(tempfile.mkdtemp(prefix="gw-"))
    yield folder
    shutil.rmtree(folder)


def run(folder: Path, config: str, also: Sequence[Path] = ()) -> subprocess.CompletedProcess[str]:
    """``daq run`` on what lies in ``folder/in``; ``also``: folders with further packages."""
    path = [TREE, TREE / "plugins", TREE / "simulators", *also]
    (folder / "run.toml").write_text(
        f'[bus]\nendpoint = "ipc://{folder}/bus"\n'
        f'[sources.file]\ntype = "folder"\npath = "{folder}/in"\ncount = 1\nsettle = 0.1\n{config}'
    )
    return subprocess.run(
        [sys.executable, "-m", "daq", "run", folder / "run.toml", "--headless", "--output", folder],
        capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))},
    )  # fmt: skip


def packages_of(python: Path, folder: Path) -> Path:
    """Return a folder with what pyngb brings and we have not: ours come first elsewhere."""
    (packages,) = (python.parents[1] / "lib").glob("python*/site-packages")
    folder.mkdir()
    for name in ("pyngb", "polars", "_polars_runtime", "pyarrow"):
        for found in packages.glob(f"{name}*"):
            (folder / found.name).symlink_to(found)
    return folder


def test_a_netzsch_file_through_folder_bus_analyses_and_picture(
    peer: Callable[[str], Any], short_folder: Path
) -> None:
    """Dried paper: it has no glass transition, and none is made up."""
    also = packages_of(peer("pyngb").python, short_folder / "packages")
    (short_folder / "in").mkdir()
    shutil.copy(shared("dsc_netzsch.ngb-ds3"), short_folder / "in")
    done = run(
        short_folder,
        '[analyses.glass]\ntype = "glass_transition"\ninput = "file"\nevery = 1024\n'
        '[analyses.excess]\ntype = "excess_enthalpy"\ninput = "file"\nevery = 1024\n',
        [also],
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (master,) = short_folder.glob("*/*.nxs")
    with h5py.File(master) as file:
        assert len(file["entry/file/temperature"]) == 5801
        found = {name: data[()] for name, data in file["entry/glass.transition"].items()}
        excess = file["entry/excess.excess/excess"][()]
    final = found["final"]
    # dried at 105 degrees Celsius, heated to 300, cooled: turns of the temperature tell them apart
    np.testing.assert_allclose(found["heating_rate"][final], [11, -1.6, 10, -9.6], atol=0.5)
    assert found["readings"][final].sum() + found["backward"][final].sum() > 5700
    assert found["flags"][final].tolist() == [NO_GLASS_TRANSITION, NOT_HEATED] * 2
    assert np.isnan(found["onset"]).all()
    assert np.isnan(excess[-1])
    if "picture" in done.stdout.splitlines()[-1]:
        (picture,) = short_folder.glob("*/*.png")
        assert picture.stat().st_size > 20_000


def test_a_trios_file_through_folder_bus_and_picture(short_folder: Path) -> None:
    """Rheology: it is read, recorded and drawn; a calorimeter's analysis says what it lacks."""
    (short_folder / "in").mkdir()
    shutil.copy(shared("trios_export.json"), short_folder / "in")
    done = run(short_folder, "")
    assert done.returncode == 0, done.stdout + done.stderr
    (master,) = short_folder.glob("*/*.nxs")
    with h5py.File(master) as file:
        np.testing.assert_allclose(file["entry/file/temperature"], [303.1475, 303.146], atol=1e-4)
        modulus, loss, tangent = (
            file[f"entry/file/{name}"][()]
            for name in ("storage_modulus", "loss_modulus", "tan_delta")
        )
    np.testing.assert_allclose(loss / modulus, tangent, rtol=1e-6)
    done = run(short_folder, '[analyses.glass]\ntype = "glass_transition"\ninput = "file"\n')
    assert done.returncode != 0
    assert "no field 'heat_flow'" in done.stdout + done.stderr
    assert "a calorimeter's stream is needed" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
