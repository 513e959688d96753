"""One HDF5 file with consecutive rows of one stream: complete in structure, then SWMR, then rows."""

from __future__ import annotations

import contextlib
import itertools
import os
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from daq.recording import layout
from daq.recording.compression import Codec, Encoded, codec_for
from daq.recording.journal import CHUNK
from daq.streams import Array, Stream

if TYPE_CHECKING:
    import h5py

LIBVER = "v110"
_NUMBERS = itertools.count()
_SUPERBLOCK = struct.Struct("<28xQ")
"""Of version 2 or 3 the address of the end of the file."""


class PartFile:
    """Writes rows of a stream; ``rows`` counts those in this file, ``first`` is its first row.

    From `append` on the part is ``broken`` until `accept` says that the journal has the rows too;
    one that stays so is never written again. Raises OSError.
    """

    def __init__(self, path: Path, stream: Stream, first: int, compression: str) -> None:
        import h5py

        self.path = path
        self.stream = stream
        self.first = first
        self.rows = 0
        self.broken = False
        self.large = {
            name: field for name, field in stream.fields.items() if layout.is_large(field)
        }
        self.codecs: dict[str, Codec] = {
            name: codec_for(compression, field) for name, field in self.large.items()
        }
        # HDF5 may crash where a write fails: the structure is made in memory and written here, and
        # space is reserved before HDF5 writes.
        with in_memory() as file:
            self._structure(file)
            write_image(path, file)
        # A descriptor of our own: to reserve, to fsync, and to see where a chunk went.
        self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._reserved = 0
        try:
            self._file = h5py.File(path, "r+", libver=LIBVER, locking="best-effort")
            self._reserve(0)
            group = self._file[layout.group_path(stream.name)]
            self._datasets = {name: group[name] for name in (*stream.fields, "valid")}
            self._file.swmr_mode = True
        except BaseException:
            self.abandon()
            path.unlink(missing_ok=True)
            raise

    def append(
        self, small: Mapping[str, Array], large: Mapping[str, Iterable[Encoded]], count: int
    ) -> dict[str, npt.NDArray[np.void]]:
        """Append ``count`` valid records; return for each large field a table of its chunks.

        ``small`` holds arrays [record, ...] of the small fields, ``large`` the encoded records of
        the others. Everything is handed to the system on return.
        """
        self._reserve(count)
        self.broken, row = True, self.rows
        self._extend(row + count)
        for name, array in small.items():
            self._put(name, row, array)
        tables = {}
        for name, chunks in large.items():
            table = np.zeros(count, CHUNK)
            for number, (data, crc, mask) in enumerate(chunks):
                offset = self._write_chunk(name, row + number, data, mask)
                table[number] = offset, len(data), crc, mask
            tables[name] = table
        self._put("valid", row, np.ones(count, bool))
        self._flush()
        self.rows = row + count
        return tables

    def append_missing(self, count: int) -> None:
        """Append rows that hold fill values; no chunk is written for large fields."""
        self._reserve(0)
        self.broken = True
        self._extend(self.rows + count)
        self._flush()
        self.rows += count

    def accept(self) -> None:
        """Rows that were appended are in the journal too: the file is as it should be."""
        self.broken = False

    def sync(self) -> None:
        """Make the rows durable."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file; afterwards it may be opened without SWMR."""
        self._file.close()
        # What was reserved and not used goes back: the superblock says where the file ends.
        head = os.pread(self._descriptor, _SUPERBLOCK.size, 0)
        os.ftruncate(self._descriptor, _SUPERBLOCK.unpack(head)[0])
        os.close(self._descriptor)

    def abandon(self) -> None:
        """Close as well as can be, after an error."""
        self.broken = True
        with contextlib.suppress(OSError):
            os.close(self._descriptor)
        # HDF5 may fail again to write what it still holds; nobody relies on that.
        with contextlib.suppress(Exception):
            self._file.close()

    def _structure(self, file: h5py.File) -> None:
        stream = self.stream
        entry = file.create_group("entry")
        entry.attrs["NX_class"] = "NXentry"
        file.attrs["default"] = "entry"
        file.attrs["NX_class"] = "NXroot"
        group = file.create_group(layout.group_path(stream.name))
        layout.describe_group(group, stream, -1, "open", complete=False)
        group.attrs["first_row"] = self.first
        if group.attrs["NX_class"] == "NXdata":
            entry.attrs["default"] = stream.name
        for name, field in stream.fields.items():
            options = layout.dataset_options(field, name, stream.expect)
            filters = self.codecs[name].filters if name in self.codecs else {}
            dataset = group.create_dataset(name, **options, **filters)
            layout.describe_field(dataset, stream, name)
        dataset = group.create_dataset(
            "valid", (0,), bool, maxshape=(None,), fillvalue=False,
            chunks=(max(1, min(stream.expect or 1 << 20, layout.SMALL_CHUNK_RECORDS)),),
        )  # fmt: skip
        layout.describe_field(dataset, stream, "valid")
        if stream.constants:
            constants = file.create_group(layout.constants_path(stream.name))
            constants.attrs["NX_class"] = "NXcollection"
            constants.parent.attrs["NX_class"] = "NXcollection"
            layout.put_constants(constants, stream.constants)

    def _reserve(self, count: int) -> None:
        """Take the space that ``count`` records may need, or raise OSError before HDF5 notices."""
        if not hasattr(os, "posix_fallocate"):
            return
        end = int(self._file.id.get_filesize())
        # A chunk of every small field and a piece of the index of every field may be new.
        index = len(self.stream.fields) * (2 * layout.SMALL_CHUNK_BYTES + (end >> 12)) + 65536
        needed = end + count * (self.stream.record_bytes + 64) * 17 // 16 + index
        if needed > self._reserved:
            needed += min(max(end >> 3, index), 64 << 20)
            os.posix_fallocate(self._descriptor, end, needed - end)
            self._reserved = needed

    def _flush(self) -> None:
        """Hand everything to the system: `h5py.File.flush`, of one dataset would not be enough."""
        self._file.flush()

    def _extend(self, rows: int) -> None:
        for name, dataset in self._datasets.items():
            shape = () if name == "valid" else self.stream.fields[name].shape
            dataset.id.set_extent((rows, *shape))

    def _put(self, name: str, row: int, array: Array) -> None:
        """Write rows as ``dataset[row:] = array`` does, at a fifth of its price for a few numbers."""
        from h5py import h5s

        identifier = self._datasets[name].id
        space = identifier.get_space()
        space.select_hyperslab((row,) + (0,) * (array.ndim - 1), array.shape)
        identifier.write(h5s.create_simple(array.shape), space, array)

    def _write_chunk(self, name: str, row: int, data: Any, mask: int) -> int:
        """Write one chunk once, at the end of the file; return where it lies."""
        identifier = self._datasets[name].id
        coordinates = (row,) + (0,) * len(self.large[name].shape)
        size, before = len(data), self._file.id.get_filesize()
        identifier.write_direct_chunk(coordinates, data, mask)
        after = self._file.id.get_filesize()
        if after - before == size:
            return int(before)
        # HDF5 has also allocated a piece of its index, before or after the chunk. Asking it where
        # the chunk is takes a walk over all chunks: look first.
        here = os.pread(self._descriptor, size, before) == bytes(data)
        there = os.pread(self._descriptor, size, after - size) == bytes(data)
        if here != there:
            return int(before if here else after - size)
        return int(identifier.get_chunk_info_by_coord(coordinates).byte_offset)


def is_clean(path: Path) -> bool:
    """Tell whether an HDF5 file was closed: no writer's mark in its superblock (version 2 or 3)."""
    with path.open("rb") as file:
        head = file.read(12)
    return len(head) == 12 and head[8] in (2, 3) and head[11] & 0x05 == 0


def in_memory() -> h5py.File:
    """Return a new HDF5 file in memory, of the version that all files of a run have."""
    import h5py

    # Without the aggregators of HDF5 every chunk will lie where the file ended before.
    return h5py.File(
        f"glasswatch-{next(_NUMBERS)}", "x", driver="core", backing_store=False,
        libver=LIBVER, fs_strategy="none", track_order=True,
    )  # fmt: skip


def write_image(path: Path, file: h5py.File) -> None:
    """Write a file in memory to a new one at ``path``; nothing is left where that fails."""
    file.flush()
    try:
        with path.open("xb") as output:
            output.write(file.id.get_file_image())
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        raise
