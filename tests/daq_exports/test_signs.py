"""Endothermic is positive inside, whichever way a file points: round trips through every reader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daq_exports.netzsch_binary import _exotherm
from daq_exports.netzsch_text import NetzschTextReader
from daq_exports.pyris import PyrisReader
from daq_exports.q_series import QSeriesReader
from daq_exports.table import TableReader
from daq_exports.trios_json import TriosJsonReader
from daq_exports.trios_lims import TriosLimsReader
from tests.daq_exports import test_pyris, test_text_exports, test_trios_json

FLOW = [0.25, 0.5, -3.0, 0.125]
"""W/g, endothermic positive: a heat capacity, and an exotherm."""


def rows(form: str, flow: list[float]) -> str:
    return "".join(form.format(t=n / 2, T=100 + 10 * n, q=q) for n, q in enumerate(flow))


def q_series(flow: list[float], direction: str) -> tuple[str, dict[str, Any]]:
    text = rows("{t}\t{T}\t{q:.6f}\n", [10 * q for q in flow])
    return test_text_exports.q_text(text, exotherm=direction.upper()), {}


def lims(flow: list[float], direction: str) -> tuple[str, dict[str, Any]]:
    head = "TA Instruments LIMS export format version\t0\n[Header]\n[Sample]\nName\tZr\n"
    head += f"[Parameters: File Parameters]\nExotherm direction\t{direction.title()}\n"
    head += "[Step]\nVariables\tTime\tTemperature\tHeat flow (normalized)\nUnits\tmin\t°C\tW/g\n"
    return head + rows("Data point\t{t}\t{T}\t{q}\n", flow), {}


def netzsch(flow: list[float], direction: str) -> tuple[str, dict[str, Any]]:
    head = test_text_exports.NETZSCH.format(sample="Zr", date="9.3.2026 10:48:37", decimal="POINT")
    return head + rows("{T}; {t};{q};1.0\n", flow), {"exotherm": direction}


def table(flow: list[float], direction: str) -> tuple[str, dict[str, Any]]:
    head = "Time (min);Temperature (°C);Heat Flow (W/g)\n"
    return head + rows("{t};{T};{q}\n", flow), {"exotherm": direction}


def pyris(flow: list[float], direction: str) -> tuple[str, dict[str, Any]]:
    head = test_pyris.HEAD.format(date="", degrees="°C") + "".join(
        test_pyris.ROWS.splitlines(keepends=True)[:3]
    )
    text = rows("\t{t}\t{q}\t0.0\t{T}\t{T}\t20.0 \n", [5 * q for q in flow])
    return head + text, {"exotherm": direction}


def trios_json(flow: list[float], direction: str) -> tuple[str, dict[str, Any]]:
    content = test_trios_json.dsc(direction.title())
    content["Results"]["Original"]["Rows"] = [
        {"t": n / 2, "T": 100.0 + 10 * n, "q": q} for n, q in enumerate(flow)
    ]
    return json.dumps(content), {}


READERS = [
    (QSeriesReader, q_series, "txt"), (TriosLimsReader, lims, "txt"),
    (NetzschTextReader, netzsch, "txt"), (TableReader, table, "csv"),
    (PyrisReader, pyris, "txt"), (TriosJsonReader, trios_json, "json"),
]  # fmt: skip


@pytest.mark.parametrize(("reader", "write", "suffix"), READERS)
def test_exotherm_up_and_down_give_the_same(
    tmp_path: Path, read: Any, reader: Any, write: Any, suffix: str
) -> None:
    for direction, sign in (("up", -1), ("down", 1)):
        text, keys = write([sign * q for q in FLOW], direction)
        path = tmp_path / f"{direction}.{suffix}"
        path.write_text(text, "utf-8")
        dsc = read(reader, path, **keys)
        np.testing.assert_allclose(dsc["heat_flow"], FLOW, rtol=1e-12)
        assert dsc.units["heat_flow"] == "W/g"
        assert dsc.attributes["heat_flow_sign"] == "endothermic_positive"
        expected = "exothermic_up" if direction == "up" else "endothermic_up"
        assert dsc.attributes["exported_sign"] == expected


@pytest.mark.parametrize(("reader", "write", "suffix"), READERS)
def test_a_sign_that_is_not_known_is_never_guessed(
    tmp_path: Path, read: Any, reader: Any, write: Any, suffix: str
) -> None:
    text, _ = write(FLOW, "up")
    text = text.replace("Exotherm direction\tUp\n", "").replace("Exotherm\tUP\n", "")
    text = text.replace(', "ExothermDirection": "Up"', "")
    (tmp_path / f"a.{suffix}").write_text(text, "utf-8")
    with pytest.raises(ValueError, match=r'whether exothermic .* say exotherm = "up" or "down"'):
        read(reader, tmp_path / f"a.{suffix}")


def test_the_metals_of_a_netzsch_calibration_tell_the_sign() -> None:
    """They melt, so take up heat: peaks below 0 are endothermic, and exothermic points up."""
    assert _exotherm({"fixpoints": [{"peak_area": -33.4}, {"peak_area": -63.9}]}) == "up"
    assert _exotherm({"fixpoints": [{"peak_area": 33.4}]}) == "down"
    assert _exotherm({"fixpoints": [{"peak_area": -33.4}, {"peak_area": 63.9}]}) is None
    assert _exotherm({}) is None
