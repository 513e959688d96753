"""TRIOS JSON: the real strain sweep, and a DSC file made after the public schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daq_exports.trios_json import TriosJsonReader


def test_the_real_strain_sweep(trios_export: Path, read: Any) -> None:
    sweep = read(TriosJsonReader, trios_export, also=["Gap"])
    content = json.loads(trios_export.read_text("utf-8"))
    rows = content["Results"]["Processed"]["Rows"]
    assert len(sweep) == len(rows) == 2
    for field, key, factor in (
        ("storage_modulus", "Storage modulus_MPa", 1e6),
        ("loss_modulus", "Loss modulus_MPa", 1e6),
        ("strain", "Oscillation strain_%", 0.01),
        ("stress", "Oscillation stress_MPa", 1e6),
        ("frequency", "Frequency_Hz", 1.0),
        ("tan_delta", "Tan(delta)", 1.0),
        ("gap", "Gap_mm", 1.0),
    ):
        np.testing.assert_allclose(sweep[field], [row[key] * factor for row in rows], rtol=1e-15)
    np.testing.assert_allclose(sweep["temperature"], [303.1474994659424, 303.146000289917])
    assert sweep.units["gap"] == "mm"
    assert sweep["time"].view("M8[ns]").astype(str).tolist() == [
        "2023-01-09T09:27:17.519458400", "2023-01-09T09:27:26.618458400",
    ]  # fmt: skip
    assert sweep.attributes["start_time"] == "2023-01-09T09:24:46.932Z"
    assert sweep.attributes["instrument"] == "AresG2"
    assert sweep.attributes["results"] == "Processed"


def dsc(direction: str | None = "Up", mass: float = 10.0) -> dict[str, Any]:
    headers = {
        "t": ("Time", "min"), "T": ("Temperature", "°C"), "Q": ("Heat Flow", "mW"),
        "q": ("Heat Flow (Normalized)", "W/g"),
    }  # fmt: skip
    rows = [
        {"t": n / 2, "T": 100.0 + n, "Q": -20.0, "q": -2.0, "Results Step Id": "ab"[n // 2]}
        for n in range(4)
    ]
    del rows[1]["q"]
    return {
        "Schema": {"Url": "https://software.tainstruments.com/schemas/TRIOSJSONExportSchema"},
        "Sample": {"Name": "Zr50", "Mass": {"Value": mass, "Unit": {"Name": "mg"}}},
        "Procedure": {
            "Configuration": {
                "InstrumentConfigurations": [
                    {"Type": "DSC2500"} | ({"ExothermDirection": direction} if direction else {})
                ]
            }
        },
        "StartTime": "2026-03-09T09:48:37Z",
        "Results": {
            "Original": {
                "ColumnHeaders": {
                    key: {"DisplayName": name, "ValueType": "Number", "Unit": {"Name": unit}}
                    for key, (name, unit) in headers.items()
                },
                "Rows": rows,
            }
        },
    }


def test_a_dsc_file_after_the_schema(tmp_path: Path, read: Any) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(dsc()), "utf-8")
    found = read(TriosJsonReader, path)
    np.testing.assert_array_equal(found["heat_flow"], [2.0, np.nan, 2.0, 2.0])
    assert found["segment"].tolist() == [0, 0, 1, 1]
    assert found.elapsed == [0, 30, 60, 90]
    assert found["mass"].tolist() == [10.0] * 4
    assert found.attributes["exported_sign"] == "exothermic_up"
    assert found.attributes["results"] == "Original"
    path.write_text(json.dumps(dsc("Down")), "utf-8")
    assert read(TriosJsonReader, path)["heat_flow"][0] == -2.0
    path.write_text(json.dumps(dsc(None)), "utf-8")
    with pytest.raises(ValueError, match='say exotherm = "up" or "down"'):
        read(TriosJsonReader, path)
    assert TriosJsonReader.knows(path)
    assert TriosJsonReader.ready(path)


def test_half_a_file_is_not_ready_and_refused(tmp_path: Path, read: Any) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(dsc())[:-40], "utf-8")
    assert not TriosJsonReader.ready(path)
    with pytest.raises(ValueError, match=r"a.json: is cut, or no JSON"):
        read(TriosJsonReader, path)
    path.write_text('{"Results": 3}')
    with pytest.raises(ValueError, match="JSON, but no export of TRIOS"):
        read(TriosJsonReader, path)
