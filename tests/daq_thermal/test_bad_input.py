"""Bad files, from the text to the glass transition: the same number, or a clear word; no guess."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import daq
from daq.config import validated
from daq.testing import Records, run_analysis
from daq_exports.q_series import QSeriesReader
from daq_exports.table import TableReader
from daq_thermal.flags import NO_GLASS_TRANSITION, words
from daq_thermal.glass_transition import GlassTransition
from tests.daq_thermal.simulated import STANDARD, measured

HEAD = """Instrument\tDSC Q2000
Size\t10.0\tmg
Exotherm\t{exotherm}
Nsig\t3
Sig1\tTime (min)
Sig2\tTemperature (\N{DEGREE SIGN}C)
Sig3\tHeat Flow (mW)
Date\t2026-03-09
Time\t10:48:37
StartOfData
"""


@functools.cache
def lines(heated_to: float = 745.0) -> list[str]:
    """The rows of a scan, exothermic up, in min, degrees Celsius and mW."""
    dsc, _ = measured(**{**STANDARD, "programme": [heated_to]})
    minutes = (dsc["time"] - dsc["time"][0]) / 6e10
    columns = zip(minutes, dsc["temperature"] - 273.15, -10 * dsc["heat_flow"], strict=True)
    return [f"{t:.5f}\t{T:.4f}\t{q:.6f}\n" for t, T, q in columns]


def export(rows: list[str], exotherm: str = "UP") -> str:
    return HEAD.format(exotherm=exotherm) + "".join(rows)


def taken(path: Path, text: str, reader: Any = QSeriesReader, encoding: str = "utf-8",
          **keys: Any) -> tuple[Records, str]:  # fmt: skip
    """What a reader takes from a file, as records, and what it says at the end."""
    path.write_bytes(text.encode(encoding))
    opened, error = reader(), ""
    (stream,) = opened.open(path, validated(reader.Config, keys, ""))
    batches: list[daq.Batch] = []
    try:
        batches.extend(opened.batches({"": 0}))
    except ValueError as said:
        error = str(said)
    arrays = {name: np.concatenate([b.raw[name] for b in batches]) for name in stream.fields}
    return Records(dataclasses.replace(stream, name="dsc"), arrays), error


def heatings(dsc: Records, **config: Any) -> dict[str, np.ndarray]:
    """What the glass transition's last word on each ramp is."""
    found = run_analysis(
        GlassTransition, {"dsc": dsc.stream}, dsc.batches(100), {"replicates": 3, **config}
    )["transition"]
    return {name: found[name][found["final"]] for name in found.stream.fields}


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    dsc, error = taken(tmp_path_factory.mktemp("good") / "a.txt", export(lines()))
    assert error == ""
    found = heatings(dsc)
    assert found["onset"] == pytest.approx([694.9], abs=0.3)
    return found


def test_a_file_cut_in_mid_line(tmp_path: Path, expected: Any) -> None:
    dsc, error = taken(tmp_path / "a.txt", export(lines())[:-12])
    assert (
        error == f"a.txt: its last line is cut off; the {len(lines()) - 1} rows before it are taken"
    )
    np.testing.assert_allclose(heatings(dsc)["onset"], expected["onset"], atol=1e-9)


def test_locale_commas(tmp_path: Path, expected: Any) -> None:
    text = "Time (min);Temperature (\N{DEGREE SIGN}C);Heat Flow (mW)\n"
    text += "".join(lines()).replace("\t", ";").replace(".", ",")
    dsc, _ = taken(tmp_path / "a.csv", text, TableReader, mass=10.0, exotherm="up")
    np.testing.assert_array_equal(heatings(dsc)["onset"], expected["onset"])
    with pytest.raises(ValueError, match=r"a.csv: commas both separate columns and mark decimals"):
        taken(tmp_path / "a.csv", text.replace(";", ","), TableReader, exotherm="up")


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16"])
def test_cp1252_and_utf_16(tmp_path: Path, expected: Any, encoding: str) -> None:
    dsc, _ = taken(tmp_path / "a.txt", export(lines()), encoding=encoding)
    np.testing.assert_array_equal(heatings(dsc)["onset"], expected["onset"])


def test_a_temperature_that_goes_back(tmp_path: Path, expected: Any) -> None:
    rows = [line.split("\t") for line in lines()]
    for i in (60, 61, 300):
        # a reading as of a kelvin before: instruments do that as they begin to heat
        rows[i][1] = f"{float(rows[i][1]) - 1:.4f}"
    found = heatings(taken(tmp_path / "a.txt", export(["\t".join(row) for row in rows]))[0])
    assert found["backward"].tolist() == [3]
    np.testing.assert_allclose(found["onset"], expected["onset"], atol=0.05)


def test_two_runs_in_one_file(tmp_path: Path, expected: Any) -> None:
    for text in (export(lines()) * 2, export(lines() * 2)):
        found = heatings(taken(tmp_path / "a.txt", text)[0])
        assert found["sample"].tolist() == [0, 1]
        assert found["heating"].tolist() == [0, 0]
        np.testing.assert_array_equal(found["onset"], np.repeat(expected["onset"], 2))


def test_duplicate_rows(tmp_path: Path, expected: Any) -> None:
    rows = lines()[:100] + lines()[95:100] + lines()[100:]
    twice = [line for line in rows[:50] for _ in range(2)] + rows[50:]
    found = heatings(taken(tmp_path / "a.txt", export(twice))[0])
    # rows of the same time are kept and not used; a time that goes back is another run
    assert found["repeated"].tolist()[0] == 50
    plain = [line for line in lines()[:200] for _ in range(2)] + lines()[200:]
    once = heatings(taken(tmp_path / "b.txt", export(plain))[0])
    assert once["repeated"].tolist() == [200]
    assert once["sample"].tolist() == [0]
    np.testing.assert_array_equal(once["onset"], expected["onset"])


def test_a_trace_without_a_glass_transition(tmp_path: Path) -> None:
    found = heatings(taken(tmp_path / "a.txt", export(lines(660.0)))[0])
    assert found["flags"][0] & NO_GLASS_TRANSITION
    assert "no glass transition" in words(int(found["flags"][0]))
    for name in ("onset", "half_step", "fictive_temperature", "step", "crystallisation_heat"):
        assert np.isnan(found[name][0]), name


def test_a_sign_that_is_not_known(tmp_path: Path) -> None:
    text = export(lines()[:50], exotherm="?")
    with pytest.raises(ValueError, match=r'a.txt: .*say exotherm = "up" or "down"'):
        taken(tmp_path / "a.txt", text)
    dsc, _ = taken(tmp_path / "b.txt", export(lines()[:50]))
    silent = dataclasses.replace(dsc.stream, attributes={})
    with pytest.raises(ValueError, match='heat_flow_sign = "endothermic_positive" or'):
        heatings(Records(silent, dsc.arrays))
