"""Export files of calorimeters and rheometers beside the packages that read them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daq.config import validated
from daq_exports.trios_json import TriosJsonReader

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
