"""Makes a run whole that a kill, a power loss or a bad disk has left, from its journal.

New files are built beside the old ones: chunk bytes from where the journal says they lie, if their
checksum is right, small fields from the journal itself. HDF5 is asked only for rows that the
journal does not know, and in another process first. Then, in this order: old files are put aside
as ``<name>.damaged``, new ones get their names, the new journal is swapped in (from here on the
repair holds; a repair that was cut off before is undone by the next), the run is sealed, and what
was put aside is removed, unless something in it could not be brought back.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from daq import posix
from daq.recording import layout
from daq.recording.chunks import ChunkFiles, large_fields
from daq.recording.compression import Decoder, Encoded, Encoder, codec_for
from daq.recording.contents import Contents, MasterContents, Segment, StreamContents, locate
from daq.recording.journal import JournalReader, JournalWriter, boot_identity
from daq.recording.part_file import PartFile, is_clean
from daq.recording.probe import Probe
from daq.recording.report import Report
from daq.recording.settings import RecordingError, RecordingSettings
from daq.recording.swmr import open_for_reading
from daq.recording.verify import Progress, damaged_rows, ranges, records, verify
from daq.recording.writer import locked, seal
from daq.run import Run
from daq.streams import Array

_DAMAGED_NAME = re.compile(r"(.+)\.damaged\d*")
_UNKNOWN_STEP = 64
_CUT_OFF = "the recorder was cut off"


def repair(path: Path, progress: Progress | None = None) -> Report:
    """Make a run readable and whole; return what `verify` says then, and what was lost.

    Rows whose data are damaged become missing ones, so that row equals index. Streams in several
    files become one file. ``progress`` is called as by `verify`. Raises OSError: `RecordingError`
    where the run is still being recorded.
    """
    folder, uid = locate(Path(path))
    return _Repair(folder, uid, RecordingSettings(), progress).run()


def merge(folder: Path, streams: list[str], settings: RecordingSettings) -> None:
    """Make one closed file of each of ``streams`` of a finished run; raises `RecordingError`."""
    folder, uid = locate(folder)
    _Repair(folder, uid, settings, None).rebuild(streams)


@dataclasses.dataclass(slots=True)
class _Rows:
    """Consecutive rows that are to be written: a batch, or missing (``small`` is None)."""

    first: int
    count: int
    small: dict[str, Array] | None = None
    large: dict[str, list[Encoded]] = dataclasses.field(default_factory=dict)
    reason: str = ""
    lost: bool = False


class _Repair:
    def __init__(
        self, folder: Path, uid: str, settings: RecordingSettings, progress: Progress | None
    ) -> None:
        self._folder = folder
        self._uid = uid
        self._settings = settings
        self._progress = progress
        self._path = folder / f"{uid}.nxs"
        self._journal = folder / f"{uid}.journal"
        self._new_journal = folder / f".{uid}.journal.new"
        self._probe = Probe()
        self._losses: list[str] = []
        self._notes: list[str] = []
        self._aside: dict[str, bool] = {}
        self._built_counts: dict[str, int] = {}

    def run(self) -> Report:
        """Rebuild what must be, and verify."""
        if (whole := self.rebuild(None)) is not None:
            return whole
        report = verify(self._journal, self._progress)
        report.notes += self._notes
        report.problems += self._losses
        return report

    def rebuild(self, only: list[str] | None) -> Report | None:
        """Rebuild ``only`` these streams, or all that must be; return a report if none must be."""
        lock = locked(self._journal) if self._journal.exists() else None
        try:
            self._undo()
            contents, run, ending = self._contents()
            streams = only
            if streams is None:
                sealed = isinstance(contents, Contents) and contents.seal is not None
                before = verify(self._journal, self._progress) if sealed else None
                streams = self._to_rebuild(contents, before)
                if before is not None and before.ok and not streams:
                    before.notes.append("there is nothing to repair")
                    return before
            self._check_space(contents, streams)
            self._rebuild(contents, run, set(streams), ending)
        except RecordingError:
            raise
        except OSError as error:
            raise RecordingError.of(error, f"{self._folder}: repair") from error
        finally:
            self._probe.close()
            self._remove_unfinished()
            if lock is not None:
                lock.release()
        return None

    def _remove_unfinished(self) -> None:
        for leftover in (*self._folder.glob(".*.new"), *self._folder.glob(".*.building")):
            leftover.unlink()

    def _check_space(self, contents: Contents | MasterContents, streams: list[str]) -> None:
        files = {file for name in streams for file, _ in contents.streams[name].files}
        paths = [self._folder / file for file in files]
        needed = sum(path.stat().st_size for path in paths if path.is_file())
        free = shutil.disk_usage(self._folder).free
        if free < needed:
            raise RecordingError(
                f"{self._folder}: new files need {needed >> 20} MiB, {free >> 20} MiB are free; free some space",
                disk_full=True,
            )

    # -- what there is --------------------------------------------------------------------------

    def _undo(self) -> None:
        """Undo a repair that was cut off before its journal was swapped in."""
        self._remove_unfinished()
        committed: dict[str, bool] = {}
        if self._journal.exists():
            contents = Contents(self._journal, resync=True)
            contents.close()
            committed = contents.put_aside
        for path in sorted(self._folder.glob("*.damaged*")):
            match = _DAMAGED_NAME.fullmatch(path.name)
            if match is not None and path.name not in committed:
                original = self._folder / match[1]
                if self._journal.exists() or not original.exists():
                    path.replace(original)
        for name, needed in committed.items():
            if needed:
                self._aside[name] = True
            else:
                (self._folder / name).unlink(missing_ok=True)

    def _contents(self) -> tuple[Contents | MasterContents, Run, tuple[str, str, int]]:
        """Return what the journal knows, completed by the master where it is damaged."""
        if not self._journal.exists():
            self._notes.append(f"{self._journal.name} was missing: made from the files")
            master = self._master()
            if master is None or master.run is None:
                raise RecordingError(f"{self._path}: neither journal nor master can be read")
            return master, master.run, master.ending or self._cut_off()
        contents = Contents(self._journal, segments=True, resync=True)
        contents.close()
        known = self._master() if contents.damage else None
        for offset, size in contents.damage:
            self._notes.append(f"{self._journal.name}: {size} bytes at {offset} were damaged")
        if contents.damage and known is not None:
            self._complete(contents, known)
        run = contents.run or (known.run if known is not None else None) or Run(self._uid)
        ending = contents.ending or (known.ending if known is not None else None)
        return contents, run, ending or self._cut_off()

    def _master(self) -> MasterContents | None:
        readable = self._path.exists() and self._probe.master_is_readable(self._path)
        return MasterContents(self._path) if readable else None

    def _complete(self, contents: Contents, master: MasterContents) -> None:
        """Add what the master tells of streams that the journal, damaged, tells less of."""
        for name, stream in master.streams.items():
            told = contents.streams.setdefault(name, stream)
            if told is stream:
                continue
            if not told.files or any(not s.file for s in told.segments if s.kind == "batch"):
                told.files = stream.files
                told.segments = [Segment("unknown", 0, told.count)]
            if told.count < stream.count:
                told.segments.append(Segment("unknown", told.count, stream.count - told.count))
                told.count = stream.count
            told.closed = told.closed or stream.closed

    def _cut_off(self) -> tuple[str, str, int]:
        path = self._journal if self._journal.exists() else self._path
        return "aborted", f"{_CUT_OFF}; repaired", path.stat().st_mtime_ns

    def _to_rebuild(self, contents: Contents | MasterContents, before: Report | None) -> list[str]:
        """Return the streams whose files are not as they should be; ``before`` of a sealed run."""
        wanted = []
        for name, stream in contents.streams.items():
            path = self._folder / (stream.files[0][0] if stream.files else "")
            whole = (
                len(stream.files) == 1
                and path.is_file()
                and path.suffix == ".h5"
                and is_clean(path)
                and all(segment.kind != "unknown" for segment in stream.segments)
                and (path.name not in before.damaged_files if before else self._holds(path, stream))
            )
            if not whole:
                wanted.append(name)
        return wanted

    def _holds(self, path: Path, stream: StreamContents) -> bool:
        """Tell whether a file that was closed but not sealed holds every row of its stream."""
        if (
            self._probe.readable_rows(path, layout.group_path(stream.stream.name), 0, -1)
            != stream.count
        ):
            return False
        with ChunkFiles(self._folder, self._journal) as files:
            return not damaged_rows(stream, files)

    # -- what is made of it ---------------------------------------------------------------------

    def _rebuild(
        self, contents: Contents | MasterContents, run: Run, streams: set[str],
        ending: tuple[str, str, int],
    ) -> None:  # fmt: skip
        journal = JournalWriter(self._new_journal)
        aside = {
            file: self._free_aside(file)
            for name in streams
            for file, _ in contents.streams[name].files
            if file.endswith(".h5")
        }
        old_journal = None
        if contents.damage and self._journal.exists():
            old_journal = self._free_aside(self._journal.name)
        put_aside = [*aside.values(), *([old_journal] if old_journal else [])]
        journal.append("run", {"run": run.plain(), "boot": boot_identity()})
        if isinstance(contents, Contents):
            self._copy_entries(journal, set(contents.streams) - streams)
        built = {}
        total = sum(contents.streams[name].count for name in streams)
        done = 0
        for name in sorted(streams):

            def advance(count: int, name: str = name) -> None:
                nonlocal done
                done += count
                if self._progress is not None:
                    self._progress(done, total, name)

            built.update(self._build(contents.streams[name], journal, advance))
        for name, stream in contents.streams.items():
            if name not in streams and stream.closed is None:
                journal.append("close", {
                    "stream": name, "count": stream.count, "status": "aborted", "reason": _CUT_OFF,
                })  # fmt: skip
        counts = {n: s.count for n, s in contents.streams.items() if n not in streams}
        needed = dict.fromkeys(put_aside, bool(self._losses))
        journal.append("repaired", {"put_aside": {**self._aside, **needed}})
        journal.append("durable", {"counts": {**counts, **self._built_counts}})
        journal.sync()
        # The new files have temporary names: a kill up to here changes nothing.
        for old, new_name in aside.items():
            if (self._folder / old).exists():
                (self._folder / old).replace(self._folder / new_name)
        for temporary, final in built.items():
            (self._folder / temporary).replace(self._folder / final)
        if old_journal is not None:
            os.link(self._journal, self._folder / old_journal)
        posix.fsync_directory(self._folder)
        self._new_journal.replace(self._journal)
        posix.fsync_directory(self._folder)
        end = journal.end
        journal.close()
        journal = JournalWriter(self._journal, end)
        try:
            seal(self._folder, run, journal, ending, self._settings)
        finally:
            journal.close()
        if not self._losses:
            for name in put_aside:
                (self._folder / name).unlink(missing_ok=True)
        elif put_aside:
            self._notes.append(f"the damaged files are kept: {', '.join(sorted(put_aside))}")

    def _copy_entries(self, journal: JournalWriter, streams: set[str]) -> None:
        """Copy what the old journal says of streams whose files stay as they are."""
        old = JournalReader(self._journal, resync=True)
        for entry in old.entries():
            header = entry.header
            stream = header["open"]["stream"] if entry.kind == "open" else header.get("stream")
            if stream in streams:
                journal.append(entry.kind, header, [entry.payload])
        old.close()

    def _build(
        self, contents: StreamContents, journal: JournalWriter, advance: Callable[[int], None]
    ) -> dict[str, str]:
        """Write a stream into one new file; return its temporary name and the one it is to get."""
        stream, name = contents.stream, contents.stream.name
        own = [file for file, _ in contents.files if file.endswith(".h5")]
        final = own[0] if own else layout.free_file_name(self._folder, name)
        temporary = f".{final}.building"
        kinds = list(dict.fromkeys(contents.compression.values()))
        compression = kinds[-1] if kinds else self._settings.compression
        part = PartFile(self._folder / temporary, stream, 0, compression)
        journal.append("open", {"open": stream.header()}, list(stream.constants.values()))
        header = {"stream": name, "file": final, "first": 0, "compression": compression}
        journal.append("part", header)
        lost: list[int] = []
        try:
            for rows in self._trimmed(contents, self._rows(contents, compression)):
                told = {"stream": name, "first": part.rows, "count": rows.count}
                if rows.small is None:
                    part.append_missing(rows.count)
                    journal.append("missing", {**told, "reason": rows.reason})
                    if rows.lost:
                        lost += range(rows.first, rows.first + rows.count)
                else:
                    self._append(part, journal, rows, told)
                advance(rows.count)
            part.sync()
        finally:
            part.close()
        for first, count in ranges(lost):
            self._losses.append(f"{name}: {records(first, count)} damaged, and missing from now on")
        if part.rows < contents.count:
            self._notes.append(f"{name}: records from {part.rows} on were not yet on the disk")
        closed = contents.closed
        if closed is None or closed[0] != part.rows:
            closed = part.rows, "aborted", _CUT_OFF
        journal.append("close", {
            "stream": name, "count": closed[0], "status": closed[1], "reason": closed[2],
        })  # fmt: skip
        with (self._folder / temporary).open("rb") as file:
            os.fsync(file.fileno())
        self._built_counts[name] = part.rows
        return {temporary: final}

    def _append(
        self, part: PartFile, journal: JournalWriter, rows: _Rows, told: dict[str, Any]
    ) -> None:
        assert rows.small is not None
        tables = part.append(rows.small, rows.large, rows.count)
        payload = {
            name: tables[name] if name in tables else rows.small[name]
            for name in part.stream.fields
        }
        sizes = [[name, array.nbytes] for name, array in payload.items()]
        arrays = [np.ascontiguousarray(array) for array in payload.values()]
        journal.append("batch", {**told, "parts": sizes}, arrays)

    def _trimmed(self, contents: StreamContents, pieces: Iterator[_Rows]) -> Iterator[_Rows]:
        """Leave out lost rows at the end that were never reported durable."""
        safe = contents.durable
        if contents.closed is not None:
            safe = max(safe, min(contents.closed[0], contents.count))
        waiting: list[_Rows] = []
        for rows in pieces:
            if rows.lost:
                waiting.append(rows)
                continue
            yield from waiting
            waiting = []
            yield rows
        for rows in waiting:
            if rows.first < safe:
                yield dataclasses.replace(rows, count=min(rows.count, safe - rows.first))

    def _rows(self, contents: StreamContents, compression: str) -> Iterator[_Rows]:
        journal = self._journal if self._journal.exists() else None
        with ChunkFiles(self._folder, journal) as files:
            for segment in contents.segments:
                match segment.kind:
                    case "missing":
                        yield _Rows(segment.first, segment.count, reason=segment.reason)
                    case "batch":
                        yield from self._from_journal(contents, segment, files, compression)
                    case _:
                        yield from self._from_file(contents, segment, compression)

    def _from_journal(
        self, contents: StreamContents, segment: Segment, files: ChunkFiles, compression: str
    ) -> Iterator[_Rows]:
        chunks = {name: list(files.chunks(segment, name)) for name in large_fields(contents)}
        small = {
            name: files.small(contents, segment, name)
            for name in contents.stream.fields
            if name not in chunks
        }
        good = np.array(
            [
                all(column[row] is not None for column in chunks.values())
                for row in range(segment.count)
            ]
        )
        recorded = contents.compression[segment.file]
        edges = [0, *(np.flatnonzero(np.diff(good)) + 1).tolist(), segment.count]
        for start, stop in itertools.pairwise(edges):
            first, count = segment.first + start, stop - start
            if not good[start]:
                yield _Rows(first, count, reason="damaged on the disk", lost=True)
                continue
            large = {}
            for name, column in chunks.items():
                whole = [chunk for chunk in column[start:stop] if chunk is not None]
                large[name] = [(data, crc, mask) for data, crc, mask in whole]
                if recorded != compression:
                    large[name] = self._transcoded(contents, name, recorded, compression, whole)
            yield _Rows(
                first, count, {name: array[start:stop] for name, array in small.items()}, large
            )

    def _transcoded(
        self, contents: StreamContents, name: str, before: str, after: str,
        chunks: list[tuple[bytes, int, int]],
    ) -> list[Encoded]:  # fmt: skip
        field = contents.stream.fields[name]
        decoder = Decoder(before, field)
        records = np.stack([decoder.decode(data, mask) for data, _, mask in chunks])
        return list(Encoder(1).encode(codec_for(after, field), records))

    def _from_file(
        self, contents: StreamContents, segment: Segment, compression: str
    ) -> Iterator[_Rows]:
        """Read rows that the journal does not know from HDF5, after another process could."""
        at = segment.first
        starts = [*contents.files, ("", segment.end)]
        for (file, first), (_, after) in itertools.pairwise(starts):
            stop = min(segment.end, max(after, first))
            if stop <= at or first > at:
                continue
            group = layout.group_path(contents.stream.name)
            path = self._folder / file
            if path.is_file():
                rows = self._probe.readable_rows(path, group, at - first, stop - first)
                if rows is not None and rows >= stop - first:
                    yield from self._read(contents, path, at, stop, first, compression)
                    at = stop
        if at < segment.end:
            yield _Rows(at, segment.end - at, reason="damaged on the disk", lost=True)

    def _read(
        self, contents: StreamContents, path: Path, start: int, stop: int, first: int,
        compression: str,
    ) -> Iterator[_Rows]:  # fmt: skip
        stream, encoder = contents.stream, Encoder(1)
        codecs = {n: codec_for(compression, stream.fields[n]) for n in large_fields(contents)}
        with open_for_reading(path) as file:
            group = file[layout.group_path(stream.name)]
            for begin in range(start, stop, _UNKNOWN_STEP):
                taken = slice(begin - first, min(begin + _UNKNOWN_STEP, stop) - first)
                valid = group["valid"][taken]
                arrays = {name: group[name][taken] for name in stream.fields}
                edges = [0, *(np.flatnonzero(np.diff(valid)) + 1).tolist(), len(valid)]
                for low, high in itertools.pairwise(edges):
                    if not valid[low]:
                        yield _Rows(begin + low, high - low, reason="lost")
                        continue
                    yield _Rows(
                        begin + low, high - low,
                        {n: a[low:high] for n, a in arrays.items() if n not in codecs},
                        {n: list(encoder.encode(c, arrays[n][low:high])) for n, c in codecs.items()},
                    )  # fmt: skip

    def _free_aside(self, name: str) -> str:
        number, candidate = 0, f"{name}.damaged"
        while (self._folder / candidate).exists():
            number += 1
            candidate = f"{name}.damaged{number}"
        return candidate
