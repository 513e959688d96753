"""Text exports: heads, units, sign, time; files that grow, are cut, or hold two measurements."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daq.config import validated
from daq_exports.netzsch_text import NetzschTextReader
from daq_exports.pyris import PyrisReader
from daq_exports.q_series import QSeriesReader
from daq_exports.table import TableReader
from daq_exports.trios_lims import TriosLimsReader
from tests.daq_exports.test_pyris import export as pyris

Q_HEAD = """CLOSED
Version\t2.0
Instrument\tDSC Q2000 V24.11 Build 124
Sample\tLa60Ni15Al25 ribbon
Size\t{mass}\tmg
Exotherm\t{exotherm}
Nsig\t3
Sig1\tTime (min)
Sig2\tTemperature (°C)
Sig3\tHeat Flow ({units})
Date\t2026-03-09
Time\t10:48:37
OrgMethod\t1: Ramp 20.00 °C/min to 550.00 °C
StartOfData
"""
Q_ROWS = "".join(
    f"{0.5 * n:.3f}\t{100 + 10 * n:.2f}\t{-5 - n * 0.25:.5f}\n" for n in range(6)
)  # fmt: skip


def q_text(
    rows: str = Q_ROWS, *, mass: str = "10.0000", exotherm: str = "UP", units: str = "mW"
) -> str:
    """Return a Q-series export."""
    return Q_HEAD.format(mass=mass, exotherm=exotherm, units=units) + rows


LIMS = """[Version]
TA Instruments LIMS export format version\t0
[Header]
Document ID\txxx
[Sample]
Name\tPMMA
[Parameters: File Parameters]
Instrument type\tRSA-G2
Run date\t6/26/2023 1:34:19 PM
[Step]
Step name\tFrequency sweep (50.0 °C)
Number of points\t2
Variables\tStep time\tTemperature\tAngular frequency\tOscillation strain\tStorage modulus\tLoss modulus\tStatus bits
Units\ts\t°C\trad/s\t%\tMPa\tMPa\t
Data point\t10\t50.01\t6.283185307179586\t0.1\t2500\t100\t0x100
Data point\t20\t50.02\t62.83185307179586\t0.1\t2600\t90\t0x100
[Step]
Step name\tFrequency sweep (60.0 °C)
Number of points\t1
Variables\tStep time\tTemperature\tAngular frequency\tStorage modulus\tLoss modulus
Units\tmin\tK\trad/s\tPa\tPa
Data point\t0.5\t333.15\t6.283185307179586\t2400000000\t95000000
"""

NETZSCH = """#EXPORTTYPE:DATA ALL
#FORMAT:NETZSCH5
#FTYPE:ANSI
#INSTRUMENT:NETZSCH DSC 204F1 Phoenix
#SAMPLE:{sample}
#DATE/TIME:{date}
#SAMPLE MASS /mg:4.98
#SEPARATOR:SEMICOLON
#DECIMAL:{decimal}
#EXO:-1
#RANGE:-30°C/10,0(K/min)/200°C
##Temp./°C;Time/min;DSC/(mW/mg);Sensit./(uV/mW)
"""
NETZSCH_ROWS = "  9.33910; 91.00083;-8.719357e-02;3.42446\n 10.33910; 91.10083; 9.5e-02;3.42441\n"


def netzsch(sample: str = "1-90", decimal: str = "POINT", date: str = "9.3.2026 10:48:37") -> str:
    head = NETZSCH.format(sample=sample, decimal=decimal, date=date)
    return head + (NETZSCH_ROWS if decimal == "POINT" else NETZSCH_ROWS.replace(".", ","))


def put(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


# -- what the head says ---------------------------------------------------------------------------


def test_q_series_gives_kelvin_watts_per_gram_and_the_time_of_the_instrument(
    tmp_path: Path, read: Any
) -> None:
    dsc = read(QSeriesReader, put(tmp_path / "a.txt", q_text()), timezone="Europe/Berlin")
    assert dsc.units == {
        "temperature": "K", "heat_flow": "W/g", "mass": "mg", "sample": "", "time": "ns",
    }  # fmt: skip
    np.testing.assert_allclose(dsc["temperature"], 373.15 + 10 * np.arange(6))
    np.testing.assert_allclose(dsc["heat_flow"], (5 + 0.25 * np.arange(6)) / 10)
    assert str(dsc["time"][:2].view("M8[ns]")[0]) == "2026-03-09T09:48:37.000000000"
    assert dsc.elapsed == [0, 30, 60, 90, 120, 150]
    assert dsc.attributes["heat_flow_sign"] == "endothermic_positive"
    assert dsc.attributes["exported_sign"] == "exothermic_up"
    assert dsc.attributes["mass_mg"] == 10.0
    assert dsc.attributes["instrument"].startswith("DSC Q2000")
    assert dsc.attributes["columns"]["heat_flow"] == "Heat Flow (mW)"
    assert dsc.error == ""


def test_the_sign_makes_a_round_trip(tmp_path: Path, read: Any) -> None:
    down = Q_ROWS.replace("\t-", "\t")
    one = read(QSeriesReader, put(tmp_path / "a.txt", q_text(exotherm="UP")))
    two = read(QSeriesReader, put(tmp_path / "b.txt", q_text(down, exotherm="DOWN")))
    assert one["heat_flow"].tolist() == two["heat_flow"].tolist()
    assert two.attributes["exported_sign"] == "endothermic_up"


@pytest.mark.parametrize(
    ("units", "mass", "expected", "given"),
    [
        ("W/g", "0", "W/g", 5.0),
        ("mW/mg", "10", "W/g", 5.0),
        ("mW", "0", "mW", 5.0),
        ("W", "0", "mW", 5000.0),
        ("mW", "10", "W/g", 0.5),
        ("µW", "10", "W/g", 0.0005),
        ("μW", "10", "W/g", 0.0005),
    ],
)
def test_heat_flow_is_per_gram_where_it_can_be(
    tmp_path: Path, read: Any, units: str, mass: str, expected: str, given: float
) -> None:
    dsc = read(QSeriesReader, put(tmp_path / "a.txt", q_text(units=units, mass=mass)))
    assert dsc.units["heat_flow"] == expected
    assert dsc["heat_flow"][0] == pytest.approx(given)


def test_an_unknown_sign_or_unit_is_an_error_that_says_what_to_configure(
    tmp_path: Path, read: Any
) -> None:
    path = put(tmp_path / "a.txt", q_text(exotherm="SIDEWAYS"))
    with pytest.raises(ValueError, match=r'a.txt: .*say exotherm = "up" or "down"'):
        read(QSeriesReader, path)
    assert read(QSeriesReader, path, exotherm="down")["heat_flow"][0] == -0.5
    path = put(tmp_path / "b.txt", q_text(units="furlong"))
    with pytest.raises(ValueError, match="'furlong' is no unit of power; say units = "):
        read(QSeriesReader, path)
    assert read(QSeriesReader, path, units={"Heat Flow": "mW"})["heat_flow"][0] == 0.5
    with pytest.raises(ValueError, match="says that exothermic points up, the configuration down"):
        read(QSeriesReader, put(tmp_path / "c.txt", q_text()), exotherm="down")


def test_lims_steps_are_segments_whose_times_go_on(tmp_path: Path, read: Any) -> None:
    dma = read(TriosLimsReader, put(tmp_path / "a.txt", LIMS))
    assert dma["segment"].tolist() == [0, 0, 1]
    assert dma["sample"].tolist() == [0, 0, 0]
    assert dma.elapsed == [0, 10, 40]
    assert str(dma["time"][:1].view("M8[ns]").astype("M8[s]")[0]) == "2023-06-26T13:34:29"
    np.testing.assert_allclose(dma["frequency"], [1, 10, 1])
    np.testing.assert_allclose(dma["temperature"], [323.16, 323.17, 333.15])
    np.testing.assert_allclose(dma["storage_modulus"], [2.5e9, 2.6e9, 2.4e9])
    np.testing.assert_allclose(dma["strain"], [1e-3, 1e-3, np.nan])
    assert dma.attributes["instrument"] == "RSA-G2"


def test_an_angular_frequency_in_hertz_is_refused(tmp_path: Path, read: Any) -> None:
    path = put(tmp_path / "a.txt", LIMS.replace("\trad/s", "\tHz"))
    with pytest.raises(ValueError, match="an angular frequency is in rad/s; say units"):
        read(TriosLimsReader, path)
    dma = read(TriosLimsReader, path, units={"Angular frequency": "rad/s"})
    np.testing.assert_allclose(dma["frequency"], [1, 10, 1])


def test_netzsch_text_follows_its_head(tmp_path: Path, read: Any) -> None:
    path = put(tmp_path / "a.txt", netzsch(sample="Fürpaß"), "cp1252")
    with pytest.raises(ValueError, match='say exotherm = "up" or "down"'):
        read(NetzschTextReader, path)
    dsc = read(NetzschTextReader, path, exotherm="down", also=["Sensit."])
    np.testing.assert_allclose(dsc["heat_flow"], [-0.08719357, 0.095])
    np.testing.assert_allclose(dsc["temperature"], [282.4891, 283.4891])
    assert dsc.elapsed == [0, 6]
    assert str(dsc["time"][:1].view("M8[ns]").astype("M8[s]")[0]) == "2026-03-09T12:19:37"
    assert dsc.units["sensit"] == "uV/mW"
    assert dsc.attributes["sample_name"] == "Fürpaß"
    assert dsc.attributes["heating_rate_K_per_min"] == 10.0
    assert dsc.attributes["mass_mg"] == 4.98
    comma = read(
        NetzschTextReader, put(tmp_path / "b.txt", netzsch(decimal="COMMA")), exotherm="down"
    )
    assert comma["heat_flow"].tolist() == dsc["heat_flow"].tolist()


MARKED = """-3.000000\t1.000000\t0.0000000
0.000\t100.00\t-5.00000
0.500\t110.00\t-5.25000
-3.000000\t2.000000\t0.0000000
1.000\t110.00\t-1.00000
-1.000000\t110.00\t0.0000000
"""


def test_marks_between_the_rows_of_q_series_are_no_readings(tmp_path: Path, read: Any) -> None:
    """Steps of the method, and the end: their time is below 0."""
    dsc = read(QSeriesReader, put(tmp_path / "a.txt", q_text(MARKED)))
    assert dsc["segment"].tolist() == [0, 0, 1]
    assert dsc["sample"].tolist() == [0, 0, 0]
    np.testing.assert_allclose(dsc["temperature"], [373.15, 383.15, 383.15])
    np.testing.assert_allclose(dsc["heat_flow"], [0.5, 0.525, 0.1])
    plain = read(QSeriesReader, put(tmp_path / "b.txt", q_text()))
    assert "segment" not in plain.units
    two = read(QSeriesReader, put(tmp_path / "c.txt", q_text(MARKED) + q_text(MARKED)))
    assert two["segment"].tolist() == [0, 0, 1, 2, 2, 3]
    assert two["sample"].tolist() == [0] * 3 + [1] * 3


def test_q_series_with_spaces_after_a_form_feed(tmp_path: Path, read: Any) -> None:
    whole = read(QSeriesReader, put(tmp_path / "a.txt", q_text()))
    head, rows = q_text().split("StartOfData\n")
    path = put(tmp_path / "b.txt", head + "\f" + rows.replace("\t", " "), "utf-16")
    assert QSeriesReader.ready(path)
    other = read(QSeriesReader, path)
    for field in whole.units:
        assert other[field].tolist() == whole[field].tolist()


# -- text that grows, is cut, is odd --------------------------------------------------------------


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le", "utf-16-be"]
)
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_every_encoding_gives_the_same(tmp_path: Path, read: Any, encoding: str, ends: str) -> None:
    whole = read(QSeriesReader, put(tmp_path / "a.txt", q_text()))
    text = q_text().replace("\n", ends)
    other = read(QSeriesReader, put(tmp_path / "b.txt", text, encoding))
    for field in whole.units:
        assert other[field].tolist() == whole[field].tolist()
    assert QSeriesReader.knows(tmp_path / "b.txt")
    assert QSeriesReader.ready(tmp_path / "b.txt")


FORMATS = [
    (QSeriesReader, q_text(Q_ROWS * 3), {}),
    (QSeriesReader, q_text() + q_text(Q_ROWS[:60], mass="5.0"), {}),
    (QSeriesReader, q_text(MARKED), {}),
    (PyrisReader, pyris(), {"exotherm": "up"}),
    (TriosLimsReader, LIMS, {}),
    (NetzschTextReader, netzsch(), {"exotherm": "up"}),
    (TableReader, "Time (s);Temperature (°C);Heat Flow (W/g)\n" + "".join(
        f"{n};{20 + n},5;-0,{n}\n" for n in range(10)), {"exotherm": "up"}),
]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    form=st.sampled_from(FORMATS),
    encoding=st.sampled_from(["utf-8", "cp1252", "utf-16"]),
    cuts=st.lists(st.floats(0, 1), max_size=6),
)
def test_a_file_read_as_it_grows_equals_the_whole(
    tmp_path_factory: Any, form: Any, encoding: str, cuts: list[float]
) -> None:
    reader_class, text, keys = form
    data = text.encode(encoding)
    path = tmp_path_factory.mktemp("grow") / "a.txt"
    path.write_bytes(data)
    config = validated(reader_class.Config, keys, "")
    whole_reader = reader_class()
    whole_reader.open(path, config)
    whole = list(whole_reader.batches({"": 0}))
    reader, taken = None, []
    path.write_bytes(b"")
    done = 0
    for end in [*sorted(int(cut * len(data)) for cut in cuts), len(data)]:
        with path.open("ab") as file:
            file.write(data[done:end])
        done = end
        if reader is None and reader_class.ready(path):
            reader = reader_class()
            reader.open(path, config)
        if reader is not None:
            taken += list(reader.more({"": sum(len(batch) for batch in taken)}))
    assert reader is not None
    taken += list(reader.batches({"": sum(len(batch) for batch in taken)}))
    for field in whole[0].raw:
        expected = np.concatenate([batch.raw[field] for batch in whole])
        found = np.concatenate([batch.raw[field] for batch in taken])
        assert found.tobytes() == expected.tobytes(), field


@pytest.mark.parametrize("form", FORMATS)
def test_line_by_line_equals_the_whole(tmp_path: Path, read: Any, form: Any) -> None:
    reader_class, text, keys = form
    whole = read(reader_class, put(tmp_path / "whole.txt", text), **keys)
    path = tmp_path / "a.txt"
    path.touch()
    reader, taken = None, []
    for line in text.splitlines(keepends=True):
        with path.open("a", encoding="utf-8") as file:
            file.write(line)
        if reader is None and reader_class.ready(path):
            reader = reader_class()
            reader.open(path, validated(reader_class.Config, keys, ""))
        if reader is not None:
            taken += list(reader.more({"": sum(len(batch) for batch in taken)}))
    assert reader is not None
    taken += list(reader.batches({"": sum(len(batch) for batch in taken)}))
    for field in whole.units:
        found = np.concatenate([batch.raw[field] for batch in taken])
        assert found.tobytes() == whole[field].tobytes(), field


def test_a_cut_line_is_said_and_what_is_before_it_stays(tmp_path: Path, read: Any) -> None:
    dsc = read(QSeriesReader, put(tmp_path / "a.txt", q_text()[:-13]))
    assert len(dsc) == 5
    assert dsc.error == "a.txt: its last line is cut off; the 5 rows before it are taken"


def test_a_last_number_that_may_be_cut_is_not_taken(
    tmp_path: Path, read: Any, caplog: pytest.LogCaptureFixture
) -> None:
    dsc = read(QSeriesReader, put(tmp_path / "a.txt", q_text()[:-3]))
    assert len(dsc) == 6
    assert dsc.error == ""
    assert dsc["temperature"][-1] == pytest.approx(423.15)
    assert np.isnan(dsc["heat_flow"][-1])
    assert "its last line has no end, its last number is left out" in caplog.text


def test_a_file_that_is_written_anew_is_refused(tmp_path: Path) -> None:
    path = put(tmp_path / "a.txt", q_text())
    reader = QSeriesReader()
    reader.open(path, validated(QSeriesReader.Config, {}, ""))
    assert sum(len(batch) for batch in reader.more({"": 0})) == 6  # type: ignore[arg-type]
    path.write_text(q_text(mass="11.0000") + Q_ROWS)
    list(reader.more({"": 6}))  # Only what is near the end is compared.
    path.write_text(q_text(Q_ROWS.replace("-5", "-6")) + Q_ROWS * 2)
    with pytest.raises(ValueError, match=r"a.txt: what was read has changed: .* written anew"):
        list(reader.more({"": 12}))


def test_two_measurements_in_one_file_are_two_samples(tmp_path: Path, read: Any) -> None:
    text = q_text() + q_text(Q_ROWS, mass="5.0000", exotherm="DOWN").replace("03-09", "03-10")
    dsc = read(QSeriesReader, put(tmp_path / "a.txt", text))
    assert dsc["sample"].tolist() == [0] * 6 + [1] * 6
    assert dsc["mass"].tolist() == [10.0] * 6 + [5.0] * 6
    assert dsc["heat_flow"][6] == pytest.approx(-1.0)
    assert dsc.elapsed[6] == 86400


def test_a_time_that_goes_back_begins_another_sample(tmp_path: Path, read: Any) -> None:
    dsc = read(QSeriesReader, put(tmp_path / "a.txt", q_text(Q_ROWS + Q_ROWS + Q_ROWS)))
    assert dsc["sample"].tolist() == [0] * 6 + [1] * 6 + [2] * 6
    assert dsc.elapsed[5:8] == [150, 0, 30]


def test_repeats_a_temperature_that_goes_back_and_nan_are_kept(
    tmp_path: Path, read: Any, caplog: pytest.LogCaptureFixture
) -> None:
    rows = "0\t100\t1\n0\t100\t1\n1\t90\t\n2\t101\t****\n\t102\t3\n3\t103\t4\n"
    dsc = read(QSeriesReader, put(tmp_path / "a.txt", q_text(rows)))
    np.testing.assert_allclose(dsc["temperature"], np.array([100, 100, 90, 101, 102, 103]) + 273.15)
    np.testing.assert_allclose(dsc["heat_flow"] * -10, [1, 1, np.nan, np.nan, 3, 4])
    assert dsc.elapsed == [0, 0, 60, 120, 120, 180]
    assert dsc["sample"].tolist() == [0] * 6
    assert "a.txt: 1 numbers cannot be read: NaN" in caplog.text


def test_lines_that_are_no_rows_are_counted(
    tmp_path: Path, read: Any, caplog: pytest.LogCaptureFixture
) -> None:
    rows = Q_ROWS.replace("1.000\t120.00\t-5.50000\n", "1.000\t120.00\n0\t1\t2\t3\n")
    dsc = read(QSeriesReader, put(tmp_path / "a.txt", q_text(rows)))
    assert len(dsc) == 5
    assert "a.txt: 2 lines left out that are no rows, the first is line 17" in caplog.text


@pytest.mark.parametrize(
    "reader", [QSeriesReader, TriosLimsReader, NetzschTextReader, TableReader, PyrisReader]
)
def test_a_file_of_another_kind_is_said(tmp_path: Path, read: Any, reader: Any) -> None:
    with pytest.raises(ValueError, match=r"a.txt: no table"):
        read(reader, put(tmp_path / "a.txt", "Dear diary,\nnothing happened\n"))


# -- what the configuration says ------------------------------------------------------------------


def test_a_name_can_tell_the_thermal_history(tmp_path: Path, read: Any) -> None:
    pattern = r"_(?P<annealing_temperature_degC>\d+)C_(?P<annealing_time_min>[\d.]+)min"
    dsc = read(QSeriesReader, put(tmp_path / "LaNiAl_150C_2.5min.txt", q_text()), from_name=pattern)
    assert dsc["annealing_temperature"].tolist() == [423.15] * 6
    assert dsc["annealing_time"].tolist() == [150.0] * 6
    other = read(QSeriesReader, put(tmp_path / "standard.txt", q_text()), from_name=pattern)
    assert np.isnan(other["annealing_time"]).all()
    assert other.units == dsc.units
    with pytest.raises(ValueError, match="'annealing_tim': the groups are annealing_temperature_K"):
        read(QSeriesReader, tmp_path / "standard.txt", from_name=r"(?P<annealing_tim>\d+)")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"columns": {"temprature": "T"}}, "'temprature' is no field; there are temperature"),
        ({"timezone": "Mars/Olympus"}, "'Mars/Olympus' is no time zone"),
        ({"encoding": "utf-99"}, "'utf-99' is no encoding"),
        ({"from_name": "("}, "no regular expression"),
        ({"columns": {"temperature": "Temp"}}, "there is no column 'Temp'; there are Time"),
        ({"columns": {"temperature": 4}}, "there is no column 4, but 3"),
        ({"also": ["Time"]}, "'Time' would be the field time, which is there already"),
        ({"mass": -1.0}, "mass: Input should be greater than 0"),
    ],
)
def test_a_wrong_key_is_said(tmp_path: Path, read: Any, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(QSeriesReader, put(tmp_path / "a.txt", q_text()), **keys)
