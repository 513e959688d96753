"""Is a run whole? Every byte of a finished run is under one checksum of its journal."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from daq import posix
from daq.recording import layout
from daq.recording.chunks import ChunkFiles, checksum_outside, extents, large_fields
from daq.recording.contents import Contents, MasterContents, StreamContents, locate
from daq.recording.part_file import is_clean
from daq.recording.probe import Probe
from daq.recording.report import Report
from daq.recording.swmr import open_for_reading

Progress = Callable[[float, float | None, object], None]

_MOST_LINES = 20


def verify(path: Path, progress: Progress | None = None) -> Report:
    """Check counts, gaps and checksums of a run; change nothing.

    ``progress`` is called with records done, of how many, and the stream. Raises OSError or
    ValueError where there is no run.
    """
    folder, uid = locate(Path(path))
    report = Report(folder)
    journal = folder / f"{uid}.journal"
    if not journal.exists():
        report.problems.append(
            f"{journal.name} is missing: nothing can be checked; daq repair makes a new one"
        )
        _count(report, folder, MasterContents(folder / f"{uid}.nxs"))
        return report
    contents = Contents(journal, segments=True, resync=True)
    contents.close()
    _count(report, folder, contents)
    report.sealed = contents.seal is not None
    _check_journal(report, contents)
    with ChunkFiles(folder, journal) as files:
        _check_chunks(report, contents, files, progress)
        if contents.seal is not None:
            _check_files(report, folder, contents, files)
        else:
            _check_unfinished(report, folder, journal, contents)
    return report


def damaged_rows(
    contents: StreamContents, files: ChunkFiles, advance: Callable[[int], None] = lambda count: None
) -> list[int]:
    """Return the rows of a stream whose chunks do not have their checksum."""
    bad: set[int] = set()
    for segment in contents.segments:
        if segment.kind == "batch":
            for name in large_fields(contents):
                chunks = enumerate(files.chunks(segment, name))
                bad.update(segment.first + row for row, chunk in chunks if chunk is None)
        advance(segment.count)
    return sorted(bad)


def ranges(rows: Iterable[int]) -> list[tuple[int, int]]:
    """Return rows (ascending) as ranges ``(first, count)``."""
    found: list[tuple[int, int]] = []
    for row in rows:
        if found and sum(found[-1]) == row:
            found[-1] = found[-1][0], found[-1][1] + 1
        else:
            found.append((row, 1))
    return found


def records(first: int, count: int) -> str:
    """Return rows in words, with their verb: ``record 5 is``, ``records 5 to 7 are``."""
    return f"record {first} is" if count == 1 else f"records {first} to {first + count - 1} are"


def _count(report: Report, folder: Path, contents: Contents | MasterContents) -> None:
    for name, stream in contents.streams.items():
        sizes = [(folder / f).stat().st_size for f, _ in stream.files if (folder / f).is_file()]
        report.streams[name] = {
            "records": stream.count,
            "missing": sum(count for _, count, _ in stream.missing),
            "durable": stream.durable,
            "bytes": sum(sizes),
            "files": len(stream.files),
            "status": "open" if stream.closed is None else stream.closed[1],
        }


def _check_journal(report: Report, contents: Contents) -> None:
    name = contents.journal.path.name
    for offset, count in contents.damage:
        report.problems.append(f"{name}: {count} bytes at {offset} are damaged")
    if contents.run is None:
        report.problems.append(f"{name}: says nothing of the run")
    if contents.journal.tail:
        line = f"{name}: {contents.journal.tail} bytes at its end are no entry"
        if contents.seal is not None:
            report.problems.append(line)
        else:
            report.notes.append(f"{line} (normal after a kill)")
    for stream, told in contents.streams.items():
        lost = sum(segment.count for segment in told.segments if segment.kind == "unknown")
        if lost:
            report.problems.append(f"{stream}: the journal does not know of {lost} records")
        if told.closed is not None and told.closed[0] != told.count:
            report.problems.append(
                f"{stream}: has {told.count} records, but was closed with {told.closed[0]}"
            )


def _check_chunks(
    report: Report, contents: Contents, files: ChunkFiles, progress: Progress | None
) -> None:
    total, done = sum(stream.count for stream in contents.streams.values()), 0
    for name, stream in contents.streams.items():

        def advance(count: int, name: str = name) -> None:
            nonlocal done
            done += count
            if progress is not None:
                progress(done, total, name)

        bad = damaged_rows(stream, files, advance)
        for first, count in ranges(bad)[:_MOST_LINES]:
            durable = "" if first < stream.durable else " (never reported durable)"
            report.problems.append(f"{name}: {records(first, count)} damaged{durable}")
        if len(ranges(bad)) > _MOST_LINES:
            report.problems.append(f"{name}: {len(bad)} records are damaged")
        for segment in stream.segments if bad else []:
            if any(segment.first <= row < segment.end for row in bad):
                report.damaged_files.add(segment.file)


def _check_files(report: Report, folder: Path, contents: Contents, files: ChunkFiles) -> None:
    """Check sizes and checksums of all files of a finished run, then what HDF5 finds in them."""
    assert contents.seal is not None
    sealed, chunks = contents.seal, extents(contents, files)
    damaged = report.damaged_files
    for name, expected in sealed.items():
        path = folder / name
        if not path.is_file():
            report.problems.append(f"{name} is missing")
            damaged.add(name)
            continue
        size, crc = checksum_outside(path, chunks.get(name))
        if [size, crc] != expected:
            damaged.add(name)
            report.problems.append(
                f"{name}: has {size} bytes, sealed with {expected[0]}" if size != expected[0]
                else f"{name}: is damaged outside the data of large fields"
            )  # fmt: skip
    for stream in contents.streams.values():
        for number, (name, first) in enumerate(stream.files):
            later = [begins for _, begins in stream.files[number + 1 :]]
            expected_rows = min([stream.count, *later]) - first
            if name not in sealed and not expected_rows:
                continue
            if name not in sealed:
                report.problems.append(f"{name}: is not sealed")
                damaged.add(name)
            if name in damaged or not report.ok:
                # A damaged file is not opened: HDF5 may hang on it.
                continue
            rows = _rows(folder / name, stream) if expected_rows else 0
            if rows is None:
                report.problems.append(f"{name}: cannot be opened")
                damaged.add(name)
            elif rows < expected_rows:
                report.problems.append(f"{name}: has {rows} rows, {expected_rows} were written")
                damaged.add(name)


def _check_unfinished(report: Report, folder: Path, journal: Path, contents: Contents) -> None:
    try:
        posix.Lock(journal).release()
    except BlockingIOError:
        report.problems.append("the run is being recorded: it is not finished yet")
        return
    report.problems.append("the run was cut off before it was finished; daq repair makes it whole")
    with Probe() as probe:
        for name, stream in contents.streams.items():
            for file, first in stream.files:
                path = folder / file
                if not path.is_file():
                    report.problems.append(f"{file} is missing")
                elif probe.readable_rows(path, layout.group_path(name)) is None:
                    report.problems.append(f"{file}: cannot be opened (from row {first} of {name})")
                elif not is_clean(path):
                    report.notes.append(f"{file}: was left open by its writer")


def _rows(path: Path, stream: StreamContents) -> int | None:
    try:
        with open_for_reading(path) as file:
            group = file[layout.group_path(stream.stream.name)]
            return min(len(group[name]) for name in (*stream.stream.fields, "valid"))
    except (OSError, KeyError, RuntimeError):
        return None
