"""Pyris ASCII exports: steps, units of the head, what follows the rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daq_exports import daq_readers
from daq_exports.pyris import PyrisReader
from daq_exports.table import TableReader

HEAD = """Filename:\tC:\\data\\glass.ds8d\x20
Operator ID:\t\x20
Sample ID:\tLa60Ni15Al25 ribbon\x20
Comment: \t\x20
Data Collected:\t{date}\x20
Sample Weight:\t5.000 mg\x20
Display Weight:\t5.000\x20
Initial Conditions\x20
Temperature:\t 50.00 {degrees}\x20
Total Points in Run:\t5\x20
Method Steps:\x20
Pre-Run Actions\x20
Start the Run\x20
\tAction occurs Immediately\x20
1)\tHold for 1.0 min at 50.00{degrees}\x20
\x20
2)\tHeat from 50.00{degrees} to 90.00{degrees} at 20.00{degrees}/min\x20
\x20
"""
ROWS = """1) DSC 8500 Isothermal\x20
\tTime     \tUnsubtracted\tBaseline     \tProgram     \tSample     \tApprox.     \x20
\t          \tHeat Flow     \tHeat Flow     \tTemperature\tTemperature\tGas Flow      \x20
\t0.000000\t-10.000000\t0.000000\t50.000000\t49.900000\t20.000000\x20
\t0.500000\t-11.000000\t0.000000\t50.000000\t50.000000\t20.000000\x20
2) DSC 8500 Temperature Scan\x20
\t1.000000\t5.000000\t0.000000\t50.000000\t49.800000\t20.000000\x20
\t1.500000\t-1.#IND00\t0.000000\t60.000000\t59.800000\t20.000000\x20
\t2.000000\t7.500000\t0.000000\t70.000000\t69.800000\t20.000000\x20
"""
TAIL = """\x20
\x20
\tDSC8500 MANUAL TUNE CALIBRATION VALUES:\x20
Date: 22/12/2025 08:45:43\x20
Slope: 44\x20
\x20
\tFURNACE CALIBRATION COMPUTED RESULTS:\x20
Setpoints (\N{DEGREE SIGN}C)\tBoundaries (\N{DEGREE SIGN}C)\ty''\x20
 -50.000\t\t -41.350\t\t0\x20
"""


def export(
    date: str = "23/12/2025 12:18:26", degrees: str = "\N{DEGREE SIGN}C", tail: str = TAIL
) -> str:
    return HEAD.format(date=date, degrees=degrees) + ROWS + tail


def put(path: Path, text: str, encoding: str = "cp1252") -> Path:
    path.write_bytes(text.replace("\n", "\r\n").encode(encoding))
    return path


def test_steps_are_segments_and_calibrations_are_passed_over(
    tmp_path: Path, read: Any, caplog: pytest.LogCaptureFixture
) -> None:
    dsc = read(PyrisReader, put(tmp_path / "a.txt", export()), exotherm="down")
    assert dsc["segment"].tolist() == [0, 0, 1, 1, 1]
    assert dsc["sample"].tolist() == [0] * 5
    np.testing.assert_allclose(dsc["temperature"], np.array([49.9, 50, 49.8, 59.8, 69.8]) + 273.15)
    np.testing.assert_allclose(dsc["programme_temperature"][3], 333.15)
    np.testing.assert_allclose(dsc["heat_flow"], [-2, -2.2, 1, np.nan, 1.5])
    assert dsc.units["heat_flow"] == "W/g"
    assert dsc.elapsed == [0, 30, 60, 90, 120]
    assert dsc.attributes["sample_name"] == "La60Ni15Al25 ribbon"
    assert dsc.attributes["mass_mg"] == 5.0
    assert dsc.attributes["start_time"] == "2025-12-23T12:18:26.000Z"
    assert dsc.error == ""
    assert "a.txt: 1 numbers cannot be read: NaN" in caplog.text


def test_the_sign_is_asked_for(tmp_path: Path, read: Any) -> None:
    path = put(tmp_path / "a.txt", export())
    with pytest.raises(ValueError, match=r'a.txt: .*say exotherm = "up" or "down"'):
        read(PyrisReader, path)
    assert read(PyrisReader, path, exotherm="up")["heat_flow"][0] == 2.0


@pytest.mark.parametrize(
    ("degrees", "encoding", "first"),
    [("\N{DEGREE SIGN}C", "cp1252", 323.05), ("\N{REPLACEMENT CHARACTER}C", "utf-8", 323.05),
     ("K", "utf-8", 49.9), ("\N{DEGREE SIGN}F", "utf-8", (49.9 - 32) * 5 / 9 + 273.15)],
)  # fmt: skip
def test_the_head_tells_the_unit_of_temperatures(
    tmp_path: Path, read: Any, degrees: str, encoding: str, first: float
) -> None:
    path = put(tmp_path / "a.txt", export(degrees=degrees), encoding)
    assert read(PyrisReader, path, exotherm="up")["temperature"][0] == pytest.approx(first)


def test_a_head_without_a_unit_is_an_error(tmp_path: Path, read: Any) -> None:
    path = put(tmp_path / "a.txt", export(degrees=""))
    with pytest.raises(ValueError, match="the unit of column 'Sample Temperature' is not given"):
        read(PyrisReader, path, exotherm="up")


@pytest.mark.parametrize(
    ("date", "start"),
    [("06.12.2019 12:19:21", "2019-12-06"), ("12/27/2025 08:00:00", "2025-12-27"),
     ("06/12/2019 12:19:21", None), ("6/12/2019 1:19:21 PM", "2019-06-12"), ("", None)],
)  # fmt: skip
def test_a_date_that_could_be_two_is_none(
    tmp_path: Path, read: Any, date: str, start: str | None
) -> None:
    dsc = read(PyrisReader, put(tmp_path / "a.txt", export(date)), exotherm="up")
    found = dsc.attributes["start_time"]
    assert (found and found[:10]) == start


def test_two_measurements_in_one_file_are_two_samples(tmp_path: Path, read: Any) -> None:
    text = export() + export(tail="").replace("5.000 mg", "10.000 mg")
    dsc = read(PyrisReader, put(tmp_path / "a.txt", text), exotherm="down")
    assert dsc["sample"].tolist() == [0] * 5 + [1] * 5
    assert dsc["mass"].tolist() == [5.0] * 5 + [10.0] * 5
    assert dsc["segment"].tolist() == [0, 0, 1, 1, 1, 2, 2, 3, 3, 3]
    assert dsc["heat_flow"][5] == -1.0


def test_a_cut_file_is_said(tmp_path: Path, read: Any) -> None:
    dsc = read(PyrisReader, put(tmp_path / "a.txt", export(tail="")[:-30]), exotherm="down")
    assert len(dsc) == 4
    assert dsc.error == "a.txt: its last line is cut off; the 4 rows before it are taken"


def test_it_is_told_from_the_other_formats(tmp_path: Path) -> None:
    path = put(tmp_path / "a.txt", export())
    knows = [r.name for r in daq_readers() if ".txt" in r.suffixes and r.knows(path)]
    assert knows == ["pyris"]
    assert not TableReader.knows(path)
    assert PyrisReader.ready(path)
    half = put(tmp_path / "half.txt", HEAD.format(date="", degrees="K"))
    assert not PyrisReader.ready(half)
