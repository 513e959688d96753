"""The source type ``file``: finds the reader, opens archives, keeps its pace."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import daq
from daq.config import validated
from daq.runtime.file_source import FileSource
from daq.testing import check_source


class Lines(daq.Reader):
    """A file of numbers, one a line; ``x`` is a missing one."""

    name = "lines"
    suffixes = (".txt", ".txt.gz")
    closed: ClassVar[list[Path]] = []

    class Config(daq.Config):
        factor: float = daq.setting(1.0, "", "times this")

    def open(self, path: Path, config: Any) -> Sequence[daq.Stream]:
        self.path, self.factor = path, config.factor
        self.lines = path.read_text().split()
        beside = path.with_suffix(".hdr")
        hdr = beside.read_text() if beside.exists() else None
        return [daq.Stream("", {"value": daq.Field("<f8")}, attributes={"hdr": hdr})]

    def batches(self, start: dict[str, int]) -> Iterator[daq.Batch | daq.Missing]:
        at = start.get("", 0)
        while at < len(self.lines):
            if self.lines[at] == "x":
                yield daq.Missing("", 1, "x", at)
                at += 1
                continue
            stop = at
            while stop < len(self.lines) and self.lines[stop] != "x":
                stop += 1
            values = np.array(self.lines[at:stop], np.float64) * self.factor
            yield daq.Batch("", {"value": values, "time": np.arange(at, stop)}, at)
            at = stop

    def close(self) -> None:
        self.closed.append(self.path)


class Packed(Lines):
    """Knows a longer ending."""

    name = "packed"
    suffixes = (".gz", ".best.txt")


READERS: dict[str, type[daq.Reader]] = {"lines": Lines, "packed": Packed}


def opened(path: Path | str, **values: Any) -> tuple[FileSource, daq.Stream]:
    source = FileSource(READERS)
    config = validated(FileSource.Config, {"path": str(path), **values}, "sources.old")
    (stream,) = source.open(config)
    return source, stream


def taken(source: FileSource, start: int = 0) -> list[tuple[int, int]]:
    return [(item.first, item.count) for item in source.batches({"": start})]


@pytest.fixture
def numbers(tmp_path: Path) -> Path:
    path = tmp_path / "numbers.txt"
    path.write_text(" ".join("x" if n in (10, 11) else str(n) for n in range(30)))
    return path


def test_cuts_batches_and_keeps_gaps(numbers: Path) -> None:
    source, _ = opened(numbers, batch=8)
    assert taken(source) == [(0, 8), (8, 2), (10, 1), (11, 1), (12, 8), (20, 8), (28, 2)]
    assert taken(source, 25) == [(25, 5)]
    source.close()
    assert Lines.closed[-1] == numbers


def test_keys_of_the_reader_reach_it_and_are_checked(numbers: Path) -> None:
    source, _ = opened(numbers, factor=2.0)
    first = next(iter(source.batches({})))
    assert first.raw["value"][3] == 6.0
    with pytest.raises(daq.ConfigError, match=r"factr: no such key; did you mean 'factor'\?"):
        opened(numbers, factr=2.0)


@pytest.mark.parametrize(
    ("name", "reader"),
    [
        ("a.txt", Lines),
        ("A.TXT", Lines),
        ("a.gz", Packed),
        ("a.txt.gz", Lines),
        ("a.best.txt", Packed),
    ],
)
def test_the_longest_ending_decides(
    tmp_path: Path, name: str, reader: type[Lines], monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = []
    monkeypatch.setattr(
        Lines, "open", lambda self, path, config: chosen.append(type(self)) or [daq.Stream(
            "", {"value": daq.Field("<f8")})]
    )  # fmt: skip
    (tmp_path / name).write_text("1")
    opened(tmp_path / name)
    assert chosen == [reader]


def test_the_format_may_be_said(tmp_path: Path) -> None:
    (tmp_path / "a.dat").write_text("1 2")
    source, _ = opened(tmp_path / "a.dat", format="lines")
    assert taken(source) == [(0, 2)]
    with pytest.raises(ValueError, match=r"no reader 'linse'; did you mean 'lines'\?"):
        opened(tmp_path / "a.dat", format="linse")


def test_what_is_not_there_or_not_known_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.tx").write_text("1")
    (tmp_path / "scan_042.txt").write_text("1")
    with pytest.raises(ValueError, match=r"a.tx: no plugin reads files ending in '.tx'; did you"):
        opened(tmp_path / "a.tx")
    with pytest.raises(OSError, match=r"no such file; did you mean 'scan_042.txt'\?"):
        opened(tmp_path / "scan_024.txt")
    with pytest.raises(OSError, match="no such file"):
        opened(tmp_path / "no" / "folder" / "a.txt")
    with pytest.raises(ValueError, match="is a folder"):
        opened(tmp_path)


def test_two_readers_for_one_ending_must_be_told_apart(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("1")
    source = FileSource({"lines": Lines, "other": Lines})
    with pytest.raises(ValueError, match="say format = 'lines' or 'other'"):
        source.open(FileSource.Config(path=tmp_path / "a.txt"))


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "all.zip"
    with zipfile.ZipFile(path, "w") as content:
        content.writestr("day/one.txt", "1 2 3")
        content.writestr("day/one.hdr", "beside it")
        content.writestr("day/two.txt", "4 5")
        content.writestr("../../escape.txt", "6")
    return path


def test_reads_a_member_of_an_archive_and_cleans_up(archive: Path) -> None:
    source, stream = opened(archive / "day" / "one.txt")
    assert stream.attributes["hdr"] == "beside it"
    assert taken(source) == [(0, 3)]
    source.close()
    extracted = Lines.closed[-1]
    assert extracted.name == "one.txt"
    assert not extracted.parent.exists()


def test_nothing_is_extracted_to_a_path_of_the_archive(archive: Path) -> None:
    source, _ = opened(f"{archive}/../../escape.txt")
    assert taken(source) == [(0, 1)]
    source.close()
    assert Lines.closed[-1].parent != archive.parent
    assert not list(archive.parent.parent.glob("escape.txt"))


def test_says_which_member_of_an_archive(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no 'day/on.txt'; did you mean 'day/one.txt'\?; write"):
        opened(archive / "day" / "on.txt")
    with pytest.raises(ValueError, match="holds several files; known: "):
        opened(archive)
    (tmp_path / "broken.zip").write_bytes(b"PK no")
    with pytest.raises(ValueError, match="cannot be read as a zip archive"):
        opened(tmp_path / "broken.zip" / "a.txt")


class Waiting(daq.SourceContext):
    """Does not wait, but notes until when it would."""

    def __init__(self) -> None:
        super().__init__()
        self.until: list[float] = []

    def wait_until(self, monotonic: float) -> bool:
        self.until.append(monotonic)
        return len(self.until) == 4


def test_keeps_its_pace_and_stops(numbers: Path) -> None:
    source, _ = opened(numbers, rate=10, batch=5)
    source.context = Waiting()
    assert taken(source, 12) == [(12, 5), (17, 5), (22, 5)]
    np.testing.assert_allclose(np.diff(source.context.until), [0.5, 0.5, 0.3], atol=1e-9)


def test_keeps_the_promises_of_a_source(numbers: Path) -> None:
    class Known(FileSource):
        def __init__(self) -> None:
            super().__init__(READERS)

    check_source(Known, {"path": str(numbers), "batch": 4}, records=30)


def test_asks_the_plugins_where_no_readers_are_given(
    numbers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Found:
        readers = READERS
        failed: ClassVar = {"daq_dull": "ImportError: no dull"}

    monkeypatch.setattr("daq.discovery.Plugins.load", Found)
    source = FileSource()
    source.open(FileSource.Config(path=numbers))
    assert taken(source)[0] == (0, 10)
    unknown = numbers.with_suffix(".dull")
    unknown.write_text("1")
    with pytest.raises(ValueError, match="plugin daq_dull failed: ImportError: no dull"):
        source.open(FileSource.Config(path=unknown))
