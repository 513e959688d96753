"""Which files go to LiberTEM, and what is said without it. With it: tests/peers/test_libertem.py."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from daq.runtime.file_source import FileSource
from daq.runtime.readers import Readers
from daq.runtime.replay import replay_experiment
from daq_stem.frame_files.libertem import LibertemReader


@pytest.mark.parametrize("name", ["a.blo", "a.DM4", "a.dm3", "a.mrc", "a.ser", "a_000.tvips"])
def test_the_endings_that_were_tried(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"\0" * 100)
    assert Readers().reader_for(path) is LibertemReader
    assert replay_experiment(path).sources["camera"].type == "file"


def test_an_xml_of_empad_is_known_among_others(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text('<?xml version="1.0"?><root><raw_file filename="a.raw"/></root>')
    assert LibertemReader.knows(path)
    path.write_text("<html/>")
    assert not LibertemReader.knows(path)


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "libertem"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "libertem", None)
    path = tmp_path / "a.dm4"
    path.write_bytes(b"\0" * 100)
    with pytest.raises(
        ValueError, match=r"needs the package LiberTEM: pip install 'glasswatch\[libertem\]'"
    ) as caught:
        FileSource().open(FileSource.Config(path=path))
    assert "\n" not in str(caught.value)
