"""The journal: what goes in comes out, and damage is seen."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daq.recording.journal import MAGIC, JournalReader, JournalWriter


def write(path: Path, count: int = 5) -> list[int]:
    """Write entries; return where each begins."""
    journal, starts = JournalWriter(path), []
    for number in range(count):
        starts.append(journal.end)
        journal.append("batch", {"number": number}, [np.full(number * 7, number, "<u4"), b"tail"])
    journal.close()
    return starts


def numbers(reader: JournalReader) -> list[int]:
    return [entry.header["number"] for entry in reader.entries()]


def test_entries_come_back_with_their_payload(tmp_path: Path) -> None:
    write(tmp_path / "j")
    reader = JournalReader(tmp_path / "j")
    for number, entry in enumerate(reader.entries()):
        expected = np.full(number * 7, number, "<u4").tobytes() + b"tail"
        assert (entry.kind, entry.header) == ("batch", {"number": number})
        assert bytes(entry.payload) == expected
        assert reader.payload(entry.offset, len(expected)) == expected
    assert (reader.tail, reader.damage) == (0, [])
    reader.close()


@given(cut=st.integers(len(MAGIC), 500))
@settings(max_examples=40, deadline=None)
def test_a_torn_tail_ends_the_journal_and_can_be_written_over(
    new_folder: Callable[[], Path], cut: int
) -> None:
    path = new_folder() / "j"
    starts = write(path)
    cut = min(cut, path.stat().st_size)
    whole = sum(start <= cut for start in [*starts[1:], path.stat().st_size])
    os.truncate(path, cut)
    reader = JournalReader(path)
    found = numbers(reader)
    journal = JournalWriter(path, reader.end)
    journal.append("batch", {"number": 99})
    journal.close()
    found += numbers(reader)
    reader.close()
    assert found == [*range(whole), 99]


def test_a_reader_follows_a_journal_that_grows(tmp_path: Path) -> None:
    journal = JournalWriter(tmp_path / "j")
    reader = JournalReader(tmp_path / "j")
    for number in range(4):
        assert numbers(reader) == []
        journal.append("batch", {"number": number})
        assert numbers(reader) == [number]
    journal.close()
    reader.close()


def test_entries_written_between_two_looks_are_not_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = JournalWriter(tmp_path / "journal")
    reader = JournalReader(tmp_path / "journal", resync=True)
    look = os.pread

    def pread_then_append(descriptor: int, size: int, offset: int) -> bytes:
        seen = look(descriptor, size, offset)
        monkeypatch.setattr(os, "pread", look)
        for number in range(3):
            writer.append("entry", {"number": number})
        return seen

    monkeypatch.setattr(os, "pread", pread_then_append)
    assert [entry.header["number"] for entry in reader.entries()] == [0, 1, 2]
    assert reader.damage == []
    writer.close()
    reader.close()


def test_damage_inside_is_skipped_and_told(tmp_path: Path) -> None:
    starts = write(tmp_path / "j")
    data = bytearray((tmp_path / "j").read_bytes())
    data[starts[2] + 30] ^= 1
    (tmp_path / "j").write_bytes(data)
    reader = JournalReader(tmp_path / "j", resync=True)
    assert numbers(reader) == [0, 1, 3, 4]
    assert reader.damage == [(starts[2], starts[3] - starts[2])]
    reader.close()
    stops = JournalReader(tmp_path / "j")
    assert numbers(stops) == [0, 1]
    stops.close()


def test_a_failed_append_leaves_the_journal_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = JournalWriter(tmp_path / "j")
    journal.append("batch", {"number": 0})
    plain = os.pwrite

    def full(descriptor: int, data: bytes, offset: int) -> int:
        plain(descriptor, bytes(data)[:10], offset)
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="full"):
        journal.append("batch", {"number": 1})
    monkeypatch.undo()
    assert (tmp_path / "j").stat().st_size == journal.end
    journal.append("batch", {"number": 2})
    journal.close()
    reader = JournalReader(tmp_path / "j")
    assert numbers(reader) == [0, 2]
    reader.close()


def test_what_is_no_journal_is_refused(tmp_path: Path) -> None:
    (tmp_path / "j").write_bytes(b"something else altogether, and long enough")
    with pytest.raises(ValueError, match="not a journal"):
        JournalReader(tmp_path / "j")
