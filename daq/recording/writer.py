"""Writes a run: data into one HDF5 file per stream, and into the journal what they must hold.

`RunWriter.write` returns when a batch is *written*: handed to the system, safe against the death
of this process. `RunWriter.sync` makes everything written *durable*: safe against power loss.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from daq import posix
from daq.recording import layout
from daq.recording.chunks import ChunkFiles, checksum_outside, extents, whole_rows
from daq.recording.compression import Encoder
from daq.recording.contents import Contents, StreamContents, locate
from daq.recording.journal import JournalWriter, boot_identity
from daq.recording.master import LiveMaster, write_final_master
from daq.recording.part_file import PartFile, is_clean
from daq.recording.settings import FAILED_WRITES, RecordingError, RecordingSettings
from daq.run import Run
from daq.streams import Batch, Stream, check_batch

log = logging.getLogger("recorder")

LOCK_SECONDS = 3.0

__all__ = ["RecordingError", "RecordingSettings", "RunWriter"]


class RunWriter:
    """The one writer of a run's folder; not for several threads.

    After a `RecordingError` with ``disk_full`` everything written before is still there, and the
    same call may be made again when there is space; a file in which a write failed is left as it
    is, and the stream goes on in another.
    """

    def __init__(
        self, run: Run, folder: Path, settings: RecordingSettings, journal: JournalWriter,
        lock: posix.Lock,
    ) -> None:  # fmt: skip
        self._run = run
        self._folder = folder
        self._settings = settings
        self._journal = journal
        self._lock = lock
        self._encoder = Encoder(settings.threads)
        self._master = LiveMaster(folder, run)
        self._streams: dict[str, StreamContents] = {}
        self._parts: dict[str, PartFile] = {}
        self._unsynced: set[str] = set()
        self._names_changed = True
        self._failed: str | None = None
        self._ended = False

    @classmethod
    def create(cls, run: Run, folder: Path, settings: RecordingSettings) -> RunWriter:
        """Make ``folder/<uid>/`` and begin to record.

        Raises OSError in one clear line: FileExistsError where the run is there already.
        """
        own = folder / run.uid
        try:
            own.mkdir(parents=True)
        except FileExistsError:
            raise FileExistsError(
                errno.EEXIST,
                "the folder of the run exists already; runs are never overwritten",
                str(own),
            ) from None
        except OSError as error:
            raise type(error)(
                error.errno, f"{error.strerror}; choose another folder", str(own)
            ) from None
        try:
            writer = cls._begin(run, own, settings, None)
            writer._journal.append(
                "run", {"run": run.plain(), "boot": boot_identity(), "format": 1}
            )
            writer._write_master()
            writer.sync()
            posix.fsync_directory(folder)
        except OSError as error:
            raise RecordingError.of(error, str(own)) from error
        return writer

    @classmethod
    def resume(cls, run_folder: Path, settings: RecordingSettings) -> RunWriter:
        """Go on recording after the death of the recorder, at the rows that were written.

        After a power loss at the rows that are whole. Streams are opened again with `open_stream`,
        and go on in a new file. Raises OSError, and ValueError for a run that was finished.
        """
        folder, uid = locate(run_folder)
        path = folder / f"{uid}.journal"
        lock = locked(path)
        try:
            contents = _resumable(path)
        except BaseException:
            lock.release()
            raise
        try:
            assert contents.run is not None
            writer = cls._begin(contents.run, folder, settings, contents.journal.end, lock)
        except OSError as error:
            lock.release()
            raise RecordingError.of(error, str(folder)) from error
        writer._adopt(contents)
        return writer

    @property
    def folder(self) -> Path:
        """The folder of the run."""
        return self._folder

    def open_stream(self, stream: Stream, header_extra: Mapping[str, Any] | None = None) -> int:
        """Make the file of a stream; return the number of rows that it has already.

        That is 0, or where a resumed stream goes on. A stream may be opened again with the same
        fields; ValueError where they differ. ``header_extra`` is added to its attributes. Raises
        `RecordingError`.
        """
        if header_extra:
            attributes = {**stream.attributes, **header_extra}
            stream = dataclasses.replace(stream, attributes=attributes)
        known = self._streams.get(stream.name)
        if known is not None:
            if dict(known.stream.fields) != dict(stream.fields):
                raise ValueError(
                    f"{stream.name}: was opened with other fields in this run; give it another name"
                )
            return known.count
        self._check_running()
        self._check_space(stream.name, sum(array.nbytes for array in stream.constants.values()))
        contents = StreamContents(stream)
        with self._recording(stream.name):
            header = stream.header()
            self._journal.append("open", {"open": header}, list(stream.constants.values()))
            self._new_part(contents)
        self._streams[stream.name] = contents
        self._unsynced.add(stream.name)
        self._master.add(contents)
        self._write_master()
        return 0

    def write(self, batch: Batch) -> None:
        """Write the next records of a stream; they are `written` on return.

        Takes ``batch.raw``; records that are not valid become missing ones. Raises ValueError
        where the batch does not begin at `written` or its arrays do not fit, KeyError where the
        stream is not open, `RecordingError` where it cannot be written (nothing of it counts).
        """
        contents = self._of(batch.stream)
        if batch.first is not None and batch.first != contents.count:
            raise ValueError(
                f"{batch.stream}: the batch begins at {batch.first}, the file goes on at {contents.count}"
            )
        checked = check_batch(contents.stream, batch)
        self._check_running()
        self._check_space(batch.stream, sum(a.nbytes for a in checked.raw.values()))
        valid = np.asarray(batch.valid, bool)
        if valid.all():
            self._write_valid(contents, checked)
            return
        edges = np.flatnonzero(np.diff(valid)) + 1
        for start, stop in zip([0, *edges], [*edges, len(valid)], strict=True):
            if valid[start]:
                self._write_valid(contents, checked.slice(int(start), int(stop)))
            else:
                self._missing(contents, int(stop - start), "not valid")

    def write_missing(self, stream: str, first: int, count: int, reason: str) -> None:
        """Write rows for records that the instrument lost: fill values, ``valid`` false.

        ``time`` is `daq.NO_TIME`; nothing is stored for large fields. Raises as `write`.
        """
        contents = self._of(stream)
        if first != contents.count or count < 0:
            raise ValueError(
                f"{stream}: missing {first}+{count}, but the file goes on at {contents.count}"
            )
        self._check_running()
        self._check_space(stream, 0)
        if count:
            self._missing(contents, count, reason)

    def close_stream(self, stream: str, count: int, status: str, reason: str) -> None:
        """Note the end of a stream. It may come again after a restart; the last one holds."""
        contents = self._of(stream)
        self._check_running()
        ending = (count, status, reason)
        if contents.closed == ending:
            return
        header = {"stream": stream, "count": count, "status": status, "reason": reason}
        with self._recording(stream):
            self._journal.append("close", header)
        contents.closed = ending
        self._unsynced.add(stream)

    def sync(self) -> dict[str, int]:
        """Make everything that is written durable; return the durable rows of each stream.

        Raises `RecordingError`. After a failed fsync nobody knows what is on the disk: recording
        ends, what was durable before stays so.
        """
        self._check_running()
        if self._unsynced or self._names_changed:
            counts = {n: c.count for n, c in self._streams.items() if c.durable != c.count}
            self._sync_data()
            if counts:
                try:
                    self._journal.append("durable", {"counts": counts})
                except OSError as error:
                    raise RecordingError.of(error, str(self._folder)) from error
            self._sync_or_end(self._journal.sync)
            self._names_changed = False
            self._unsynced.clear()
            for name, count in counts.items():
                self._streams[name].durable = count
        return {name: contents.durable for name, contents in self._streams.items()}

    def written(self, stream: str) -> int:
        """Return how many rows of a stream are written."""
        return self._of(stream).count

    def durable(self, stream: str) -> int:
        """Return how many rows of a stream are durable."""
        return self._of(stream).durable

    def finish(self, status: str, reason: str) -> Path:
        """End the run: close the files, write the final master, seal; return the ``.nxs``.

        Streams that were not closed end with ``status``. Raises `RecordingError`; then the run is
        as after a kill, and ``daq repair`` makes it whole.
        """
        self._check_running()
        for name, contents in self._streams.items():
            if contents.closed is None:
                ended = "aborted" if status == "complete" else status
                self.close_stream(name, contents.count, ended, reason or "the run ended before it")
            if not contents.files or not (self._folder / contents.files[0][0]).exists():
                with self._recording(name):
                    self._part(contents)  # Its file could not be made, or was not yet.
        self.sync()
        try:
            for part in self._parts.values():
                part.close()
            self._parts.clear()
            end = (status, reason, time.time_ns())
            path = seal(self._folder, self._run, self._journal, end, self._settings)
        except FAILED_WRITES as error:
            self.abandon()
            raise RecordingError.of(error, str(self._folder)) from error
        left = self._left_open()
        self.abandon()
        if left:
            from daq.recording.repair import merge

            try:
                merge(self._folder, left, self._settings)
            except RecordingError as error:
                log.warning("%s; daq repair makes one file of each stream later", error)
        return path

    def abandon(self) -> None:
        """Close everything as it is: the run can be resumed or repaired."""
        if self._ended:
            return
        self._ended, self._failed = True, f"{self._folder}: recording has ended"
        for name in list(self._parts):
            self._drop_part(name)
        self._encoder.close()
        self._master.close()
        self._journal.close()
        self._lock.release()

    # -- inside ---------------------------------------------------------------------------------

    @classmethod
    def _begin(
        cls, run: Run, folder: Path, settings: RecordingSettings, end: int | None,
        lock: posix.Lock | None = None,
    ) -> RunWriter:  # fmt: skip
        path = folder / f"{run.uid}.journal"
        journal = JournalWriter(path, end)
        return cls(run, folder, settings, journal, lock or locked(path))

    def _adopt(self, contents: Contents) -> None:
        """Take over what the journal tells; check what a power loss may have taken."""
        with ChunkFiles(self._folder, self._journal.path) as files:
            whole = {n: whole_rows(stream, files) for n, stream in contents.streams.items()}
        for name, stream in contents.streams.items():
            if whole[name] < stream.count:
                stream.cut(whole[name])
                self._journal.append("cut", {"stream": name, "count": whole[name]})
            stream.segments.clear()
            self._streams[name] = stream
            self._unsynced.add(name)
            if stream.files:
                self._master.add(stream)
        # Files that this process has not written must be on the disk before rows are durable.
        for stream in self._streams.values():
            for file, _ in stream.files:
                with contextlib.suppress(FileNotFoundError):
                    _fsync(self._folder / file)
        self._journal.append("run", {"run": self._run.plain(), "boot": boot_identity()})

    def _sync_data(self) -> None:
        for name in self._unsynced:
            if (part := self._parts.get(name)) is not None:
                self._sync_or_end(part.sync)
        if self._names_changed:
            self._sync_or_end(lambda: posix.fsync_directory(self._folder))

    def _sync_or_end(self, sync: Callable[[], None]) -> None:
        try:
            sync()
        except OSError as error:
            # The system has forgotten which pages it could not write: no second try can succeed.
            self._failed = f"{self._folder}: the disk fails ({error}); check it, then daq repair"
            raise RecordingError(self._failed) from error

    def _left_open(self) -> list[str]:
        """Return the streams in several files, or in one that its writer left open, if not too large."""
        found = []
        for name, contents in self._streams.items():
            paths = [self._folder / file for file, _ in contents.files]
            size = sum(path.stat().st_size for path in paths if path.exists())
            if size <= self._settings.merge_bytes and (len(paths) > 1 or not is_clean(paths[0])):
                found.append(name)
        return found

    def _of(self, stream: str) -> StreamContents:
        if stream not in self._streams:
            raise KeyError(f"stream {stream!r} is not open")
        return self._streams[stream]

    def _check_running(self) -> None:
        if self._failed is not None:
            raise RecordingError(self._failed)

    def _check_space(self, what: str, size: int) -> None:
        """Stop while there is still room for the journal and the master."""
        status = os.statvfs(self._folder)
        free = status.f_bavail * status.f_frsize
        if free < size + self._settings.reserve_bytes:
            raise RecordingError(
                f"{what}: {free >> 20} MiB are left in {self._folder}; free some space to go on",
                disk_full=True,
            )

    @contextlib.contextmanager
    def _recording(self, stream: str) -> Iterator[None]:
        """Turn a failed write into a `RecordingError`, and leave the file in which it failed."""
        try:
            yield
        except FAILED_WRITES as error:
            if stream in self._parts and self._parts[stream].broken:
                self._drop_part(stream)
            raise RecordingError.of(error, stream) from error

    def _write_valid(self, contents: StreamContents, batch: Batch) -> None:
        name, count = contents.stream.name, batch.count
        if not count:
            return
        with self._recording(name):
            part = self._part(contents)
            small = {n: a for n, a in batch.raw.items() if n not in part.large}
            encoded = {n: self._encoder.encode(part.codecs[n], batch.raw[n]) for n in part.large}
            tables = part.append(small, encoded, count)
            payload = [tables[n] if n in tables else small[n] for n in contents.stream.fields]
            parts = [
                [n, array.nbytes] for n, array in zip(contents.stream.fields, payload, strict=True)
            ]
            header = {"stream": name, "first": contents.count, "count": count, "parts": parts}
            self._journal.append("batch", header, payload)
            part.accept()
        contents.count += count
        contents.closed = None
        self._unsynced.add(name)

    def _missing(self, contents: StreamContents, count: int, reason: str) -> None:
        name = contents.stream.name
        with self._recording(name):
            part = self._part(contents)
            part.append_missing(count)
            header = {"stream": name, "first": contents.count, "count": count, "reason": reason}
            self._journal.append("missing", header)
            part.accept()
        contents.count += count
        contents.closed = None
        self._unsynced.add(name)

    def _part(self, contents: StreamContents) -> PartFile:
        """Return the file to write to: a new one after a restart, or where a write failed."""
        part = self._parts.get(contents.stream.name)
        if part is not None and part.broken:
            self._drop_part(contents.stream.name)
            part = None
        if part is None:
            part = self._new_part(contents)
            self._master.add(contents)
            self._write_master()
        return part

    def _new_part(self, contents: StreamContents) -> PartFile:
        """Begin a new file; the journal knows of it first, so no file is without an owner."""
        stream, compression = contents.stream, self._settings.compression
        path = self._folder / layout.free_file_name(self._folder, stream.name)
        self._journal.append("part", {
            "stream": stream.name, "file": path.name, "first": contents.count,
            "compression": compression,
        })  # fmt: skip
        self._names_changed = True
        part = PartFile(path, stream, contents.count, compression)
        self._parts[stream.name] = part
        contents.add_file(path.name, contents.count, compression)
        return part

    def _drop_part(self, name: str) -> None:
        if (part := self._parts.pop(name, None)) is not None:
            part.abandon()

    def _write_master(self) -> None:
        try:
            self._master.write()
        except FAILED_WRITES as error:
            raise RecordingError.of(error, f"{self._run.uid}.nxs") from error
        self._names_changed = True


def seal(
    folder: Path, run: Run, journal: JournalWriter, end: tuple[str, str, int],
    settings: RecordingSettings,
) -> Path:  # fmt: skip
    """Write the final master and the checksums of all files; return the ``.nxs``.

    All files are closed, and the journal holds everything else. Raises OSError.
    """
    from daq.recording.reader import RunReader

    def copied(stream: Stream, count: int) -> bool:
        small = stream.record_bytes * count <= settings.copy_bytes
        return small and (settings.copy_raw or not layout.is_raw(stream))

    status, reason, time_ns = end
    journal.append("end", {"status": status, "reason": reason, "time": time_ns})
    with RunReader(folder / journal.path.name) as reader:
        path = write_final_master(
            folder, run, reader.contents.streams, end,
            lambda name: reader.read(name, 0, reader.count(name)), copied,
        )  # fmt: skip
    contents = Contents(journal.path, segments=True)
    contents.close()
    with ChunkFiles(folder, journal.path) as chunk_files:
        chunks = extents(contents, chunk_files)
    files = {path.name: checksum_outside(path, None)}
    for stream in contents.streams.values():
        for name, _ in stream.files:
            if not (folder / name).exists():
                continue  # It could not be made, and holds no row.
            _fsync(folder / name)
            files[name] = checksum_outside(folder / name, chunks.get(name))
    posix.fsync_directory(folder)
    journal.sync()
    journal.append("seal", {"files": files})
    journal.sync()
    return path


def _resumable(journal: Path) -> Contents:
    """Return what a journal tells up to where it can be trusted; raise ValueError."""
    contents = Contents(journal, segments=True, resync=True)
    contents.close()
    if contents.seal is not None:
        raise ValueError(f"{journal.parent}: was finished; nothing can be added")
    if contents.damage and contents.damage[0][0] > contents.durable_at:
        # A power loss took a page of what was not yet durable: what stands after it is void.
        contents = Contents(journal, segments=True)
        contents.close()
    elif contents.damage:
        raise ValueError(f"{journal.parent}: the journal is damaged; use daq repair")
    if contents.run is None:
        raise ValueError(f"{journal.parent}: the journal is damaged; use daq repair")
    return contents


def _fsync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def locked(journal: Path) -> posix.Lock:
    """Return the lock of the one process that may change a run; raise `RecordingError`.

    Waits a moment: who was killed just now holds it until the system has cleared up.
    """
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            return posix.Lock(journal)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise RecordingError(
                    f"{journal.parent}: another process is recording or repairing this run; "
                    "wait for it"
                ) from None
        time.sleep(0.02)
