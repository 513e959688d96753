"""NETZSCH binary files without pyngb; with it they are tested in `tests/peers`."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from daq_exports.netzsch_binary import NetzschBinaryReader


@pytest.mark.skipif(importlib.util.find_spec("pyngb") is not None, reason="pyngb is installed")
def test_says_what_to_install(tmp_path: Path, read: Any) -> None:
    (tmp_path / "a.ngb-ds3").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"need pyngb: pip install 'glasswatch\[netzsch\]'"):
        read(NetzschBinaryReader, tmp_path / "a.ngb-ds3")


def test_half_a_file_is_not_ready(netzsch_file: Path, tmp_path: Path) -> None:
    assert NetzschBinaryReader.ready(netzsch_file)
    half = tmp_path / "half.ngb-ds3"
    half.write_bytes(netzsch_file.read_bytes()[:150_000])
    assert not NetzschBinaryReader.ready(half)
