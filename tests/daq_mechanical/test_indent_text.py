"""Indents from text: one indent a file, tables of many, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import daq
from daq.config import validated
from daq_mechanical.indent_text import IndentText

T = np.arange(60) * 1e-3
P = 800 * np.interp(T, [0, 0.01, 0.04, 0.06], [0, 1, 1, 0])
H = 27 * (P / 800) ** (2 / 3)
HEAD = (
    "02/03/2014 12:01:31 PM\r\nX = 0.3 um\r\nY (mm): 0.0025\r\nNumber of Points = {count}\r\n\r\n"
    "Depth (nm)\tLoad (µN)\tTime (s)\tDepth (V)\tLoad (V)\r\n"
)


def rows(sign: str = "\t", decimal: str = ".", count: int = 60) -> str:
    return "".join(
        sign.join(f"{v:.6f}" for v in (h, p, t, h / 100, p / 100)).replace(".", decimal) + "\r\n"
        for h, p, t in zip(H[:count], P[:count], T[:count], strict=True)
    )


def read(path: Path, **config: Any) -> tuple[daq.Stream, dict[str, np.ndarray]]:
    reader = IndentText()
    (stream,) = reader.open(path, validated(IndentText.Config, config, ""))
    batches = list(reader.batches({"": 0}))
    return stream, {n: np.concatenate([b.raw[n] for b in batches]) for n in stream.fields}


@pytest.mark.parametrize("encoding", ["cp1252", "utf-8", "utf-16"])
def test_a_file_of_one_indent(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes((HEAD.format(count=60) + rows()).encode(encoding))
    stream, arrays = read(path, tip_radius=2e-6, poisson_ratio=0.363)
    np.testing.assert_allclose(arrays["load"][0], P, atol=1e-6)
    np.testing.assert_allclose(arrays["depth"][0], H, atol=1e-6)
    np.testing.assert_allclose(arrays["elapsed"][0], T, atol=1e-9)
    assert (arrays["x"][0], arrays["y"][0]) == pytest.approx((0.3, 2.5))
    assert stream.attributes["tip_radius"] == 2e-6
    assert IndentText.knows(path)


def test_a_table_of_many_indents_with_other_units(tmp_path: Path) -> None:
    path = tmp_path / "many.csv"
    lines = ["Indent,Time [ms],Force [mN],Displacement [um],X [um],Y [um]"]
    for number, count in ((4, 60), (5, 50)):
        lines += [
            f"{number},{1e3 * T[k]:.6f},{1e-3 * P[k]:.9f},{1e-3 * H[k]:.9f},{0.1 * number:.2f},0.7"
            for k in range(count)
        ]
    path.write_text("\n".join(lines))
    stream, arrays = read(path, shape=[1, 2], step=100.0)
    np.testing.assert_allclose(arrays["load"][0], P, atol=1e-5)
    np.testing.assert_allclose(arrays["depth"][1][:50], H[:50], atol=1e-5)
    assert np.isnan(arrays["elapsed"][1][50:]).all()
    assert arrays["indent"].tolist() == [0, 1]
    np.testing.assert_allclose(arrays["x"], [0.4, 0.5])
    assert stream.scan == {"shape": [1, 2], "step": 100.0}
    assert (np.diff(arrays["time"]) > 0).all()


def test_decimal_commas_and_lines_that_are_no_rows(tmp_path: Path, caplog: Any) -> None:
    path = tmp_path / "comma.txt"
    broken = rows(decimal=",").replace("\r\n", "\r\nSegment 2\r\n", 1)
    path.write_text(HEAD.format(count=60) + broken, encoding="utf-8", newline="")
    _, arrays = read(path)
    np.testing.assert_allclose(arrays["load"][0], P, atol=1e-6)
    assert "1 lines left out" in caplog.text


def test_a_file_is_ready_when_all_its_points_are_there(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(HEAD.format(count=60) + rows(count=40), encoding="utf-8", newline="")
    assert not IndentText.ready(path)
    path.write_text(HEAD.format(count=60) + rows(), encoding="utf-8", newline="")
    assert IndentText.ready(path)


def test_columns_and_units_can_be_told(tmp_path: Path) -> None:
    path = tmp_path / "own.dat"
    own = "zeit;kraft;tiefe\n" + "".join(
        f"{t:.6f};{p:.6f};{h:.6f}\n" for t, p, h in zip(T, P, H, strict=True)
    )
    path.write_text(own)
    assert not IndentText.knows(path)
    columns = {"elapsed": "zeit", "load": "kraft", "depth": "tiefe"}
    _, arrays = read(path, columns=columns, units={"elapsed": "s", "load": "uN", "depth": "nm"})
    np.testing.assert_allclose(arrays["depth"][0], H, atol=1e-6)
    with pytest.raises(ValueError, match="no line of names"):
        read(path, columns=columns)
    with pytest.raises(daq.ConfigError, match="is no field"):
        validated(IndentText.Config, {"columns": {"force": "kraft"}}, "")


def test_what_is_wrong_is_said_in_a_line(tmp_path: Path) -> None:
    empty = tmp_path / "empty.txt"
    empty.write_text(HEAD.format(count=0), encoding="utf-8")
    with pytest.raises(ValueError, match="no rows of numbers"):
        read(empty)
    other = tmp_path / "other.txt"
    other.write_text("Temperature (K)\tTime (s)\n300\t1\n")
    assert not IndentText.knows(other)
    with pytest.raises(ValueError, match="no line of names"):
        read(other)
    long = tmp_path / "long.txt"
    long.write_text(HEAD.format(count=60) + rows(), encoding="utf-8")
    with pytest.raises(ValueError, match="say samples = 60"):
        read(long, samples=50)
    _, arrays = read(long, samples=70)
    assert np.isnan(arrays["load"][0][60:]).all()
