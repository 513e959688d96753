"""The chunks of large fields as the journal knows them: where they lie, and whether they are whole."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from daq.recording import layout
from daq.recording.contents import Contents, MasterContents, Segment, StreamContents
from daq.recording.journal import CHUNK
from daq.streams import Array


class ChunkFiles:
    """The files of a run, open to read pieces that the journal points to; ``folder`` is the run's."""

    def __init__(self, folder: Path, journal: Path | None) -> None:
        self._folder = folder
        self._journal = None if journal is None else os.open(journal, os.O_RDONLY | os.O_CLOEXEC)
        self._files: dict[str, int | None] = {}

    def table(self, segment: Segment, field: str) -> npt.NDArray[np.void]:
        """Return the table of a large field's chunks (`CHUNK`), one per row of the segment."""
        return np.frombuffer(self._payload(segment, field, CHUNK.itemsize), CHUNK)

    def small(self, contents: StreamContents, segment: Segment, field: str) -> Array:
        """Return the values of a small field in a segment."""
        description = contents.stream.fields[field]
        data = self._payload(segment, field, description.record_bytes)
        return np.frombuffer(data, description.numpy_dtype).reshape(-1, *description.shape)

    def chunks(
        self, segment: Segment, field: str, rows: slice = slice(None)
    ) -> Iterator[tuple[bytes, int, int] | None]:
        """Yield of each row's chunk the bytes, crc32 and filter mask; None where it is damaged."""
        file = self._file(segment.file)
        for row in self.table(segment, field)[rows]:
            size, crc = int(row["size"]), int(row["crc"])
            data = b"" if file is None else os.pread(file, size, int(row["offset"]))
            whole = len(data) == size and zlib.crc32(data) == crc
            yield (data, crc, int(row["mask"])) if whole else None

    def close(self) -> None:
        """Close all files."""
        for file in (self._journal, *self._files.values()):
            if file is not None:
                os.close(file)

    def __enter__(self) -> ChunkFiles:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _payload(self, segment: Segment, field: str, item: int) -> bytes:
        assert self._journal is not None
        return os.pread(self._journal, segment.count * item, segment.part(field)[0])

    def _file(self, name: str) -> int | None:
        if name not in self._files:
            path = self._folder / name
            opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC) if path.is_file() else None
            self._files[name] = opened
        return self._files[name]


def large_fields(contents: StreamContents) -> list[str]:
    """Return the fields of a stream that have one chunk per record."""
    return [name for name, field in contents.stream.fields.items() if layout.is_large(field)]


def extents(
    contents: Contents | MasterContents, files: ChunkFiles
) -> dict[str, npt.NDArray[np.uint64]]:
    """Return for each file the chunks that the journal knows, [offset, size], in file order."""
    found: dict[str, list[Any]] = {}
    for stream in contents.streams.values():
        for segment in stream.segments:
            if segment.kind == "batch":
                for name in large_fields(stream):
                    table = files.table(segment, name)
                    both = np.stack([table["offset"], table["size"].astype(np.uint64)], 1)
                    found.setdefault(segment.file, []).append(both)
    ordered = {}
    for name, tables in found.items():
        joined = np.concatenate(tables)
        ordered[name] = joined[np.argsort(joined[:, 0], kind="stable")]
    return ordered


def checksum_outside(path: Path, chunks: npt.NDArray[np.uint64] | None) -> list[int]:
    """Return size and crc32 of all bytes of a file outside ``chunks`` [offset, size]."""
    crc, at = 0, 0
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size
        for offset, length in [*([] if chunks is None else chunks.tolist()), (size, 0)]:
            while at < min(offset, size):
                data = os.pread(descriptor, min(1 << 20, offset - at), at)
                if not data:
                    break
                crc = zlib.crc32(data, crc)
                at += len(data)
            at = max(at, offset + length)
    finally:
        os.close(descriptor)
    return [size, crc]


def whole_rows(contents: StreamContents, files: ChunkFiles) -> int:
    """Return how many rows can be trusted: the durable ones, and those after that arrived whole."""
    for segment in contents.segments:
        if segment.end > contents.durable and segment.kind == "batch":
            for name in large_fields(contents):
                for row, chunk in enumerate(files.chunks(segment, name)):
                    if chunk is None and segment.first + row >= contents.durable:
                        return segment.first + row
    return contents.count
