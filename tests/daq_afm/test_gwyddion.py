"""Gwyddion files that gwyfile writes; and what SurfaceTopography needs."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import daq
from daq.config import validated
from daq_afm.gwyddion import GwyddionReader
from daq_afm.surface_topography import SurfaceTopographyReader
from tests.daq_afm.scan_files import image, write_gwy

gwyfile = pytest.importorskip("gwyfile", reason="the extra afm is not installed")

CHANNELS = {
    "Height [Fwd]": (image(1) * 1e-9, "m"), "Height [Bwd]": (image(2) * 1e-9, "m"),
    "Phase": (image(3) + 20, "deg"),
}  # fmt: skip


def read(path: Path, **keys: Any) -> tuple[daq.Stream, dict[str, Any]]:
    reader = GwyddionReader()
    (stream,) = reader.open(path, validated(GwyddionReader.Config, keys, ""))
    batches = list(reader.batches({"": 0}))
    reader.close()
    return stream, {
        name: np.concatenate([batch[name] for batch in batches])  # type: ignore[union-attr]
        for name in stream.fields
    }


def test_channels_from_the_bottom_row(tmp_path: Path) -> None:
    stream, lines = read(write_gwy(tmp_path / "a.gwy", CHANNELS), line_time=0.5)
    np.testing.assert_allclose(lines["height"], image(1), rtol=2e-7)
    np.testing.assert_allclose(lines["height_retrace"], image(2), rtol=2e-7)
    np.testing.assert_array_equal(lines["phase"], image(3) + 20)
    assert stream.scan == {"shape": [12, 16], "step": [2.0, 1.0], "units": "nm"}
    assert "phase_at_resonance" not in stream.attributes
    assert stream.attributes["phase_convention"].startswith("unknown")
    assert stream.attributes["start_time"] is None
    assert set(np.diff(lines["time"])) == {500_000_000}


def test_a_convention_and_a_start_can_be_told(tmp_path: Path) -> None:
    path = write_gwy(tmp_path / "a.gwy", CHANNELS)
    stream, lines = read(path, phase_convention="bruker", start_time="2026-03-09T10:00:00")
    np.testing.assert_allclose(lines["phase"], 90 - (image(3) + 20), rtol=1e-6)
    assert stream.attributes["phase_convention"].startswith("bruker: 0 deg at free resonance")
    assert stream.attributes["start_time"] == "2026-03-09T10:00:00.000Z"


def test_another_size_is_left_out_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_gwy(tmp_path / "a.gwy", CHANNELS | {"Profile": (image(4, 5, 5), "m")})
    stream, _ = read(path)
    assert "profile" not in stream.fields
    assert "Profile has another shape" in caplog.text


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    path = write_gwy(tmp_path / "a.gwy", CHANNELS)
    whole = path.read_bytes()
    cut = tmp_path / "cut.gwy"
    for length in (10, 100, len(whole) - 1):
        cut.write_bytes(whole[:length])
        assert not GwyddionReader.ready(cut)
        with pytest.raises(ValueError, match=r"cut\.gwy: cut off after"):
            read(cut)
    assert GwyddionReader.ready(path)
    cut.write_bytes(b"something else that is long enough")
    with pytest.raises(ValueError, match="no file of Gwyddion"):
        read(cut)
    damaged = bytearray(whole)
    damaged[40:400] = b"\xff" * 360
    cut.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"cut\.gwy: "):
        read(cut)
    gwyfile.objects.GwyContainer().tofile(str(tmp_path / "empty.gwy"))
    with pytest.raises(ValueError, match=r"empty\.gwy: (it holds no image|cut off)"):
        read(tmp_path / "empty.gwy")
    with pytest.raises(ValueError, match=r"'Lift' .* has no unit"):
        read(write_gwy(tmp_path / "b.gwy", {"Lift": (image(1), "")}))
    with pytest.raises(ValueError, match=r"say step = \[dy, dx\]"):
        read(write_gwy(tmp_path / "b.gwy", {"Height": (image(1), "m")}, si_unit_xy="s"))


def test_without_gwyfile_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_gwy(tmp_path / "a.gwy", CHANNELS)
    monkeypatch.setitem(sys.modules, "gwyfile", None)
    with pytest.raises(ValueError, match=r"pip install 'glasswatch\[afm\]'"):
        read(path)


@pytest.mark.skipif(
    importlib.util.find_spec("SurfaceTopography") is not None, reason="it is installed"
)
def test_without_surface_topography_it_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\.nid files need SurfaceTopography: pip install"):
        SurfaceTopographyReader().open(tmp_path / "a.nid", SurfaceTopographyReader.Config())
