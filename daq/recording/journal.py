"""The journal of a run: append-only, checksummed, what `verify` and `repair` go by.

``MAGIC``, then entries: ``MARK``, u32 length of the body, u32 crc32 of length and body, the body.
The body is u32 length of the header, the header (JSON in UTF-8), the payload (raw bytes). All
little endian. A torn entry at the end is normal after a crash.

===========  =====================================================================================
``run``      ``run`` (everything of `daq.Run`), ``boot``; first, and again when recording goes on
``open``     ``open`` (the header of the stream's ``open`` message); payload: the constants
``part``     ``stream``, ``file``, ``first``, ``compression``: rows from ``first`` on lie there
``batch``    ``stream``, ``first``, ``count``, ``parts`` [[field, bytes]]; payload in that order:
             raw values of a small field, a table of `CHUNK` (one per record) of a large one
``missing``  ``stream``, ``first``, ``count``, ``reason``: rows that hold fill values
``cut``      ``stream``, ``count``: rows from ``count`` on are void and come again
``close``    ``stream``, ``count``, ``status``, ``reason``
``durable``  ``counts`` {stream: rows}: everything before was fsynced before this was written
``repaired`` ``put_aside`` {name: needed}: files that a repair has replaced; they are needed where
             something in them could not be brought back
``end``      ``status``, ``reason``, ``time`` (ns since 1970): the run has ended
``seal``     ``files`` {name: [size, crc32 of all bytes outside chunks]}: the last entry of a run
             that was finished
===========  =====================================================================================

Order: data, fsync, ``durable``, fsync; only then rows are durable. Entries of a batch are written
with the batch: after a kill the journal holds every row that was reported written, and after a
power loss the checksums tell which of the rows beyond the last ``durable`` arrived.
"""

from __future__ import annotations

import dataclasses
import json
import os
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

MAGIC: Final = b"\x89glasswatch journal 1\r\n\n"
MARK: Final = b"\xabGJ\n"
CHUNK: Final = np.dtype([("offset", "<u8"), ("size", "<u4"), ("crc", "<u4"), ("mask", "<u4")])
"""Where the bytes of one record of a large field lie, their crc32, and the HDF5 filter mask."""

_HEAD = struct.Struct("<4sII")
_LENGTH = struct.Struct("<I")
_MAX_BODY = 1 << 31


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One entry; ``offset`` is where its payload begins in the file, ``start`` the entry itself."""

    kind: str
    header: dict[str, Any]
    payload: memoryview
    start: int
    offset: int


class JournalWriter:
    """Appends entries; a failed append leaves the journal as it was.

    Raises OSError.
    """

    def __init__(self, path: Path, end: int | None = None) -> None:
        """Create the journal at ``path``, or go on at ``end`` in one that exists."""
        self.path = path
        flags = os.O_WRONLY | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL if end is None else 0)
        self._descriptor = os.open(path, flags, 0o644)
        self.end = 0
        try:
            if end is None:
                self._write([MAGIC])
            else:
                os.ftruncate(self._descriptor, end)
                self.end = end
        except OSError:
            os.close(self._descriptor)
            raise

    def append(self, kind: str, header: Mapping[str, Any], parts: Sequence[Any] = ()) -> None:
        """Append an entry; it is safe against a kill on return, against power loss after `sync`."""
        text = json.dumps({"kind": kind, **header}, separators=(",", ":")).encode()
        views = [_octets(part) for part in parts]
        body: list[Any] = [_LENGTH.pack(len(text)), text, *views]
        length = sum(map(len, body))
        if length > _MAX_BODY:
            raise ValueError(f"a journal entry of {length} bytes; at most {_MAX_BODY}")
        crc = zlib.crc32(_LENGTH.pack(length))
        for part in body:
            crc = zlib.crc32(part, crc)
        self._write([_HEAD.pack(MARK, length, crc), *body])

    def sync(self) -> None:
        """Make every entry durable."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _write(self, parts: Sequence[Any]) -> None:
        data, offset = b"".join(parts), self.end
        try:
            done = 0
            while done < len(data):
                done += os.pwrite(self._descriptor, memoryview(data)[done:], offset + done)
        except OSError:
            os.ftruncate(self._descriptor, offset)
            raise
        self.end = offset + len(data)


class JournalReader:
    """Reads entries, also of a journal that still grows.

    ``end`` is where the next entry begins, ``tail`` the bytes that stood after it; ``damage`` the pieces ``(offset, bytes)`` inside that
    are not entries (they are skipped if ``resync``, else reading ends there).
    Raises OSError, or ValueError where the file is no journal.
    """

    def __init__(self, path: Path, *, resync: bool = False) -> None:
        self.path = path
        self._resync = resync
        # Not buffered: what stood after the last entry may be written over.
        self._file = path.open("rb", buffering=0)
        self.damage: list[tuple[int, int]] = []
        self.end = len(MAGIC)
        self.tail = 0
        magic = self._file.read(len(MAGIC))
        if magic != MAGIC:
            if not resync:
                self._file.close()
                raise ValueError(f"{path}: is not a journal, or its beginning is damaged")
            self.damage.append((0, len(MAGIC)))

    def entries(self) -> Iterator[Entry]:
        """Yield the entries from `end` on that are whole."""
        while True:
            entry, after = self._entry(self.end)
            if entry is None and self._resync:
                found = self._next_entry(self.end + 1)
                if found is None:
                    break
                if self._entry(self.end)[0] is not None:
                    continue  # It was being written; what follows it proves that it is whole now.
                self.damage.append((self.end, found - self.end))
                self.end = found
                continue
            if entry is None:
                break
            self.end = after
            yield entry
        self.tail = os.fstat(self._file.fileno()).st_size - self.end

    def payload(self, offset: int, size: int) -> bytes:
        """Return bytes of the payload of an entry that was read before."""
        return os.pread(self._file.fileno(), size, offset)

    @property
    def was_replaced(self) -> bool:
        """True where another journal has its name by now: a repair has written a new one."""
        try:
            return self.path.stat().st_ino != os.fstat(self._file.fileno()).st_ino
        except FileNotFoundError:
            return False

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _entry(self, start: int) -> tuple[Entry | None, int]:
        descriptor = self._file.fileno()
        head = os.pread(descriptor, _HEAD.size, start)
        if len(head) < _HEAD.size:
            return None, start
        mark, length, crc = _HEAD.unpack(head)
        if mark != MARK or not _LENGTH.size <= length <= _MAX_BODY:
            return None, start
        if start + _HEAD.size + length > os.fstat(descriptor).st_size:
            return None, start
        body = os.pread(descriptor, length, start + _HEAD.size)
        if len(body) < length or zlib.crc32(body, zlib.crc32(_LENGTH.pack(length))) != crc:
            return None, start
        (text,) = _LENGTH.unpack_from(body)
        header = json.loads(body[_LENGTH.size : _LENGTH.size + text])
        payload = memoryview(body)[_LENGTH.size + text :]
        after = start + _HEAD.size + length
        kind = header.pop("kind")
        return Entry(kind, header, payload, start, after - len(payload)), after

    def _next_entry(self, start: int) -> int | None:
        """Return where the next whole entry begins, at ``start`` or after it."""
        size = os.fstat(self._file.fileno()).st_size
        step = 1 << 20
        while start < size:
            window = os.pread(self._file.fileno(), step + len(MARK), start)
            at = window.find(MARK)
            while at >= 0:
                if self._entry(start + at)[0] is not None:
                    return start + at
                at = window.find(MARK, at + 1)
            start += step
        return None


def _octets(part: Any) -> memoryview:
    view = memoryview(part)
    return view.cast("B") if view.nbytes and view.contiguous else memoryview(bytes(view))


def boot_identity() -> str:
    """Return what changes whenever this machine starts, or ``""`` where that cannot be told."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else ""
