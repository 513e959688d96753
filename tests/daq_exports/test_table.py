"""Plain tables: separators, decimals, units, and a real table of frequency sweeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daq_exports.netzsch_text import NetzschTextReader
from daq_exports.q_series import QSeriesReader
from daq_exports.table import TableReader

ROWS = [(0.0, 20.5, 1.25), (1.0, 21.5, 1.5), (2.0, 22.5, -1.75)]


def table(separator: str, decimal: str, *, units_row: bool = False, before: str = "") -> str:
    names = ["Time", "Temperature", "Heat Flow"]
    units = ["s", "°C", "W/g"]
    lines = [separator.join(names), separator.join(units)]
    if not units_row:
        lines = [separator.join(f"{n} ({u})" for n, u in zip(names, units, strict=True))]
    lines += [separator.join(f"{v:.3f}".replace(".", decimal) for v in row) for row in ROWS]
    return before + "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("separator", "decimal"), [("\t", "."), ("\t", ","), (";", ","), (";", "."), (",", ".")]
)
@pytest.mark.parametrize("units_row", [False, True])
@pytest.mark.parametrize("before", ["", "Export of today\n\nOperator: A, B\n"])
def test_every_separator_and_decimal_gives_the_same(
    tmp_path: Path, read: Any, separator: str, decimal: str, units_row: bool, before: str
) -> None:
    path = tmp_path / "a.csv"
    path.write_text(table(separator, decimal, units_row=units_row, before=before), "utf-8")
    dsc = read(TableReader, path, exotherm="down")
    np.testing.assert_allclose(dsc["temperature"], [293.65, 294.65, 295.65])
    assert dsc["heat_flow"].tolist() == [1.25, 1.5, -1.75]
    assert dsc.units["heat_flow"] == "W/g"
    assert dsc["time"].tolist() == [0, 10**9, 2 * 10**9]
    assert dsc.attributes["start_time"] is None
    assert TableReader.ready(path)


def test_spaces_separate_where_nothing_else_does(tmp_path: Path, read: Any) -> None:
    (tmp_path / "a.dat").write_text("t     T    G\n 0.0  300  1e9\n 1.0  301  0.9e9\n")
    found = read(
        TableReader, tmp_path / "a.dat",
        columns={"time": "t", "temperature": 2, "storage_modulus": "G"},
        units={"t": "min", "temperature": "K", "G": "Pa"},
        start_time="2026-03-09T10:00:00+01:00",
    )  # fmt: skip
    assert found["storage_modulus"].tolist() == [1e9, 0.9e9]
    assert found.elapsed == [0, 60]
    assert found.attributes["start_time"] == "2026-03-09T09:00:00.000Z"


def test_decimal_commas_between_commas_are_refused(tmp_path: Path, read: Any) -> None:
    (tmp_path / "a.csv").write_text("Temperature (K),Heat Flow (W/g)\n300,5,1,25\n301,5,1,5\n")
    with pytest.raises(ValueError, match="commas both separate columns and mark decimals"):
        read(TableReader, tmp_path / "a.csv", exotherm="up")
    (tmp_path / "b.csv").write_text(
        'Temperature (K),Heat Flow (W/g)\n"300,5","1,25"\n"301,5","1,5"\n'
    )
    assert read(TableReader, tmp_path / "b.csv", exotherm="down")["heat_flow"].tolist() == [
        1.25,
        1.5,
    ]


@pytest.mark.parametrize("number", ["1,234.5", "1.234,5", "1,5"])
def test_thousands_are_not_guessed(tmp_path: Path, read: Any, number: str) -> None:
    (tmp_path / "a.csv").write_text(f"Temperature (K);Stress (MPa)\n300.5;1.5\n301.5;{number}\n")
    with pytest.raises(ValueError, match=r'say decimal = "," or "\."'):
        read(TableReader, tmp_path / "a.csv")


def test_units_that_are_not_there_are_asked_for(tmp_path: Path, read: Any) -> None:
    (tmp_path / "a.csv").write_text("Temperature,Heat Flow (W/g)\n300,5\n301,5\n")
    with pytest.raises(ValueError, match=r"a.csv: the unit of column 'Temperature' is not given"):
        read(TableReader, tmp_path / "a.csv", exotherm="up")
    found = read(TableReader, tmp_path / "a.csv", exotherm="up", units={"Temperature": "K"})
    assert found["temperature"].tolist() == [300, 301]


def test_heat_flow_without_temperature_and_nothing_known_are_said(
    tmp_path: Path, read: Any
) -> None:
    (tmp_path / "a.csv").write_text("x;Heat Flow (W/g)\n300;5\n")
    with pytest.raises(ValueError, match="heat flow without a temperature; say columns"):
        read(TableReader, tmp_path / "a.csv", exotherm="up")
    (tmp_path / "b.csv").write_text("x;y\n300;5\n")
    with pytest.raises(ValueError, match="none of its columns is known: x, y; say"):
        read(TableReader, tmp_path / "b.csv")


def test_names_again_begin_another_sample_and_a_column_tells_steps(
    tmp_path: Path, read: Any
) -> None:
    head = "Time (s);Temperature (K);Stress (MPa);Step\n"
    rows = "0;300;1;4\n1;300;2;4\n2;300;3;7\n"
    (tmp_path / "a.csv").write_text(head + rows + head + rows)
    found = read(TableReader, tmp_path / "a.csv")
    assert found["sample"].tolist() == [0, 0, 0, 1, 1, 1]
    assert found["segment"].tolist() == [0, 0, 1, 2, 2, 3]


def test_frequency_in_radians_per_second_is_converted(tmp_path: Path, read: Any) -> None:
    (tmp_path / "a.csv").write_text(
        f"Frequency (rad/s);Temperature (K);Storage modulus (Pa)\n{2 * np.pi};300;1e9\n"
    )
    assert read(TableReader, tmp_path / "a.csv")["frequency"] == pytest.approx([1.0])


COLUMNS = {
    "frequency": "f", "temperature": "T", "storage_modulus": "E_stor", "loss_modulus": "E_loss",
    "segment": "Set",
}  # fmt: skip


def test_real_frequency_sweeps(dma_table: Path, read: Any) -> None:
    dma = read(TableReader, dma_table, columns=COLUMNS)
    assert dma.error == ""
    lines = dma_table.read_text("utf-8-sig").splitlines()[2:]
    rows = np.array([[float(number) for number in line.split(",")] for line in lines])
    assert len(dma) == len(rows) == 210
    np.testing.assert_array_equal(dma["frequency"], rows[:, 0])
    np.testing.assert_allclose(dma["storage_modulus"], rows[:, 1] * 1e6, rtol=1e-15)
    np.testing.assert_allclose(dma["loss_modulus"], rows[:, 2] * 1e6, rtol=1e-15)
    np.testing.assert_allclose(dma["temperature"], rows[:, 3] + 273.15, rtol=1e-15)
    assert dma["segment"].tolist() == rows[:, 4].tolist()
    assert dma.units == {
        "temperature": "K", "frequency": "Hz", "storage_modulus": "Pa", "loss_modulus": "Pa",
        "sample": "", "segment": "", "time": "ns",
    }  # fmt: skip


def test_a_table_is_told_from_the_other_formats(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(table(";", ","))
    (tmp_path / "b.csv").write_text("#SEPARATOR:SEMICOLON\n##Temp./°C;DSC/(mW/mg)\n1;2\n")
    (tmp_path / "c.txt").write_text("Nsig\t2\nSig1\tTime (min)\nStartOfData\n")
    (tmp_path / "d.txt").write_text("Nothing, here\n1,2\n")
    readers = (TableReader, NetzschTextReader, QSeriesReader)
    known = {p.name: [r.knows(p) for r in readers] for p in sorted(tmp_path.iterdir())}
    assert known == {
        "a.csv": [True, False, False], "b.csv": [False, True, False],
        "c.txt": [False, False, True], "d.txt": [False, False, False],
    }  # fmt: skip
