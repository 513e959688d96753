"""Asylum images: a real one, where it is, and made ones; from the file to the picture."""

from __future__ import annotations

import datetime
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import daq
from daq.config import validated
from daq.recording.reader import RunReader
from daq.runtime.folder_source import FolderSource
from daq.testing import check_source, record_source
from daq_afm.ibw import AsylumReader
from tests.daq_afm.scan_files import NOTE, image, write_ibw

pytest.importorskip("igor2", reason="the extra afm is not installed")

TREE = Path(__file__).resolve().parents[2]
IMAGE = {
    "HeightTrace": image(1) * 1e-9, "HeightRetrace": image(2) * 1e-9,
    "AmplitudeTrace": 8.5e-9 + image(3) * 1e-11, "PhaseTrace": 70 + image(4),
    "UserIn0Trace": image(5),
}  # fmt: skip


def read(path: Path, **keys: Any) -> tuple[daq.Stream, dict[str, Any]]:
    reader = AsylumReader()
    (stream,) = reader.open(path, validated(AsylumReader.Config, keys, ""))
    batches = list(reader.batches({"": 0}))
    reader.close()
    return stream, {
        name: np.concatenate([batch[name] for batch in batches])  # type: ignore[union-attr]
        for name in stream.fields
    }


@pytest.fixture
def cypher() -> Path:
    """A real tapping-mode image of a Cypher."""
    folder = Path(os.environ.get("GLASSWATCH_SHARED_DATA", TREE.parent / "shared" / "data"))
    path = folder / "afm_ac_mode_asylum.ibw"
    if not path.is_file():
        pytest.skip(f"no {path.name} in {path.parent} (set GLASSWATCH_SHARED_DATA)")
    return path


def test_a_real_image(cypher: Path) -> None:
    from igor2 import binarywave

    wave = binarywave.load(str(cypher))["wave"]
    stream, lines = read(cypher)
    labels = [label.decode() for label in wave["labels"][2][1:]]
    for field, label, factor in (
        ("height", "HeightTrace", 1e9), ("height_retrace", "HeightRetrace", 1e9),
        ("amplitude", "AmplitudeTrace", 1e9), ("phase", "PhaseTrace", 1.0),
        ("nap_potential_retrace", "NapPotentialRetrace", 1.0),
    ):  # fmt: skip
        theirs = wave["wData"][:, :, labels.index(label)].T.astype(np.float64) * factor
        np.testing.assert_array_equal(lines[field], theirs.astype(np.float32))
    assert (lines["line"] == np.arange(256)).all()
    assert {stream.fields[name].units for name in ("height", "amplitude")} == {"nm"}
    assert stream.fields["phase"].units == "deg"
    assert stream.scan is not None
    np.testing.assert_allclose(stream.scan["step"], 20e3 / 255)
    known = stream.attributes
    assert known["drive_frequency"] == 74243
    assert known["quality_factor"] == 144.93
    # The set point agrees with the mean of the amplitude.
    assert np.mean(lines["amplitude"]) == pytest.approx(known["amplitude_setpoint"], rel=0.01)
    assert known["free_amplitude"] == pytest.approx(83.3087)
    assert "spring_constant" not in known  # 1 N/m: never calibrated
    assert known["phase_at_resonance"] == 90
    assert np.median(lines["phase"]) > 90
    end = np.datetime64("2019-10-24T12:14:14.846", "ns").astype(np.int64)
    assert lines["time"][-1] == end
    assert (end - lines["time"][0]) / 1e9 == pytest.approx(511.18 * 255 / 256)


def test_lines_of_a_made_image(tmp_path: Path) -> None:
    path = write_ibw(tmp_path / "image.ibw", IMAGE)
    stream, lines = read(path)
    np.testing.assert_array_equal(
        lines["height"], (IMAGE["HeightTrace"].astype(np.float64) * 1e9).astype(np.float32)
    )
    np.testing.assert_array_equal(lines["phase"], IMAGE["PhaseTrace"])
    assert stream.scan == {"shape": [12, 16], "step": [2.0, 1.0], "units": "nm"}
    np.testing.assert_allclose(lines["y"], 2.0 * np.arange(12))
    assert stream.fields["user_in0"].units == "V"
    assert stream.attributes["spring_constant"] == 4.8
    assert stream.attributes["amplitude_setpoint"] == pytest.approx(8.5)
    # 2 lines a second, ended 3850000000 s after 1904
    epoch = datetime.datetime(1904, 1, 1, tzinfo=datetime.UTC)
    end = (epoch + datetime.timedelta(seconds=3850000000)).timestamp()
    np.testing.assert_allclose(lines["time"] / 1e9, end - 5.5 + 0.5 * np.arange(12), rtol=1e-15)
    guessed = write_ibw(tmp_path / "guessed.ibw", IMAGE, note=NOTE | {"SpringConstant": "1"})
    assert "spring_constant" not in read(guessed)[0].attributes  # nobody calibrated it
    assert read(guessed, spring_constant=3.0)[0].attributes["spring_constant"] == 3.0
    _, berlin = read(path, timezone="Europe/Berlin")
    assert set(lines["time"] - berlin["time"]) == {3_600_000_000_000}  # in winter


def test_a_scan_downwards_begins_at_the_top(tmp_path: Path) -> None:
    _, lines = read(write_ibw(tmp_path / "a.ibw", IMAGE, note=NOTE | {"ScanDown": "1"}))
    assert lines["line"].tolist() == list(range(11, -1, -1))
    np.testing.assert_array_equal(lines["phase"], IMAGE["PhaseTrace"][::-1])
    assert (np.diff(lines["time"]) > 0).all()


def test_half_an_image_gives_the_lines_that_were_scanned(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    half = {name: values.copy() for name, values in IMAGE.items()}
    for values in half.values():
        values[7:] = np.nan
    half["PhaseTrace"][3] = np.nan  # a lost channel is no lost line
    _, lines = read(write_ibw(tmp_path / "half.ibw", half))
    assert lines["line"].tolist() == list(range(7))
    assert np.isnan(lines["phase"][3]).all()
    assert "7 of 12 lines scanned" in caplog.text
    for values in half.values():
        values[:] = np.nan
    with pytest.raises(ValueError, match="no line of it was scanned"):
        read(write_ibw(tmp_path / "nothing.ibw", half))


def test_a_phase_of_0_at_resonance_is_converted(tmp_path: Path) -> None:
    path = write_ibw(tmp_path / "a.ibw", {"PhaseTrace": np.array([[0.0, -20.0], [10.0, 20.0]])})
    stream, lines = read(path, phase_at_resonance=0, attractive_phase="below")
    np.testing.assert_array_equal(lines["phase"], [[90, 110], [80, 70]])
    assert stream.attributes["phase_at_resonance"] == 90
    assert "0 deg at free resonance, attraction below" in stream.attributes["phase_convention"]


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    path = write_ibw(tmp_path / "a.ibw", IMAGE)
    whole = path.read_bytes()
    for length in (0, 40, 384, len(whole) - 1):
        cut = tmp_path / "cut.ibw"
        cut.write_bytes(whole[:length])
        assert not AsylumReader.ready(cut)
        with pytest.raises(ValueError, match=r"cut\.ibw: (cut off after|no Igor wave)"):
            read(cut)
    assert AsylumReader.ready(path)
    (tmp_path / "other.ibw").write_bytes(b"no wave at all" * 100)
    with pytest.raises(ValueError, match="no Igor wave of version 5"):
        read(tmp_path / "other.ibw")
    with pytest.raises(ValueError, match=r"a\.ibw: no channel 'phaze'; there are amplitude"):
        read(path, only=["phaze"])
    bare = write_ibw(tmp_path / "bare.ibw", {"Generated": image(1)}, note={}, units="")
    with pytest.raises(ValueError, match=r"'Generated' .* has no unit; say units"):
        read(bare)
    with pytest.raises(ValueError, match=r"say step = \[dy, dx\]"):
        read(bare, units={"Generated": "nm"})
    stream, _ = read(bare, units={"Generated": "nm"}, step=[2, 1], channels={"height": 0})
    assert stream.fields["height"].units == "nm"
    assert stream.attributes["start_time"] is None


def test_without_igor2_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_ibw(tmp_path / "a.ibw", IMAGE)
    monkeypatch.setitem(sys.modules, "igor2", None)
    with pytest.raises(ValueError, match=r"pip install 'glasswatch\[afm\]'"):
        read(path)


class Images(FolderSource):
    def __init__(self) -> None:
        super().__init__({AsylumReader.name: AsylumReader})


def test_images_in_a_folder_are_one_series(tmp_path: Path) -> None:
    for number, minutes in ((1, 0), (2, 0), (1, 30)):
        path = tmp_path / f"film_{minutes}min_p{number}.ibw"
        write_ibw(path, IMAGE)
    write_ibw(tmp_path / "film_5min_p3.ibw", IMAGE, step=(1e-9, 1e-9))  # another size
    keys = {
        "path": str(tmp_path), "settle": 0.0, "look": 0.01, "quiet": 0.1, "batch": 5,
        "from_name": r"_(?P<annealing_time_min>\d+)min_p(?P<place>\d+)",
    }  # fmt: skip
    found = record_source(Images, keys, name="scan")
    lines = found["scan"].arrays
    assert lines["scan"].tolist() == [0] * 12 + [1] * 12 + [2] * 12
    assert lines["place"].tolist() == [1] * 12 + [2] * 12 + [1] * 12
    assert lines["annealing_time"].tolist() == [0.0] * 24 + [1800.0] * 12
    reasons = found["scan.files"].arrays["reason"].tolist()
    assert b"scan {'shape': [12, 16], 'step': [1.0, 1.0]" in b"".join(reasons)
    check_source(Images, keys, records=4)


@pytest.mark.timeout(120)
def test_from_the_file_to_the_picture(
    start_run: Callable[..., Any], tmp_path: Path, cypher: Path
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    shutil.copy(cypher, folder / "film_0min_p1.ibw")
    config = (TREE / "configs" / "afm-folder.toml").read_text()
    run = start_run(
        config, "--set", f"sources.scan.path='{folder}'", "--set", "sources.scan.settle=0.05",
        "--set", "viewer.picture=true",
    )  # fmt: skip
    assert run.finish() == 0, run.said()
    reader = RunReader(run.run_folder)
    lines = reader.read("scan", 0, reader.count("scan"))
    _, expected = read(cypher)
    for name, values in expected.items():
        np.testing.assert_array_equal(lines.raw[name], values)
    assert reader.streams["scan"].attributes["phase_at_resonance"] == 90
    reader.close()
    (picture,) = run.run_folder.glob("*.png")
    assert picture.read_bytes().startswith(b"\x89PNG")
