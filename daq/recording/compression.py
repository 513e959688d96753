"""Records of large fields become the bytes of HDF5 chunks here, in threads.

The bytes are those that the HDF5 filters of the dataset would make, so that any reader with the
filter decodes them: ``>QI`` (bytes, bytes of a block) and bitshuffle-LZ4 blocks; byte-shuffled
zlib; or the record itself.
"""

from __future__ import annotations

import itertools
import os
import struct
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np

from daq.streams import Array, Field

BLOCK_BYTES: Final = 8192
GZIP_LEVEL: Final = 4

_NUMBERS = itertools.count()

Encoded = tuple[Any, int, int]
"""Bytes of a chunk, their crc32, and the HDF5 filter mask (0: all filters were applied)."""


class Codec:
    """How one field is compressed.

    ``filters`` are the arguments for `h5py.Group.create_dataset`; ``encode`` takes one record
    (C order) and returns the bytes of its chunk and the filter mask.
    """

    def __init__(
        self, filters: Mapping[str, Any], encode: Callable[[Array], tuple[Any, int]]
    ) -> None:
        self.filters = filters
        self.encode = encode


def codec_for(compression: str, field: Field, *, in_filter: bool = False) -> Codec:
    """Return the codec of a large field.

    Byte strings are stored as they are. ``in_filter`` True compresses in the HDF5 filter of
    hdf5plugin (slower, one thread), as is done where the package bitshuffle is absent.
    """
    dtype = field.numpy_dtype
    if compression == "none" or dtype.kind == "S":
        return Codec({}, lambda record: (record.data.cast("B"), 0))
    if compression == "gzip":
        filters = {"compression": "gzip", "compression_opts": GZIP_LEVEL, "shuffle": True}
        return Codec(filters, _gzip)
    import hdf5plugin

    filters = dict(hdf5plugin.Bitshuffle())
    compress = None if in_filter else _bitshuffle()
    if compress is None:
        return Codec(filters, _InFilter(field, filters))
    elements = max(128, BLOCK_BYTES // dtype.itemsize // 8 * 8)
    head = struct.pack(">QI", field.record_bytes, elements * dtype.itemsize)

    def encode(record: Array) -> tuple[Any, int]:
        return b"".join((head, compress(record, elements).data)), 0

    return Codec(filters, encode)


class Encoder:
    """Threads that compress the records of a batch; results come in order."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, "compress") if threads > 1 else None

    def encode(self, codec: Codec, records: Array) -> Iterator[Encoded]:
        """Yield each record of ``records`` [record, ...] as the bytes of its chunk."""
        if self._pool is None or len(records) < 2:
            yield from _encode(codec, records)
            return
        # Pieces of a few records keep all threads busy and let the writer begin early.
        step = max(1, min(8, -(-len(records) // self._threads)))
        pieces = [records[start : start + step] for start in range(0, len(records), step)]
        for encoded in self._pool.map(lambda piece: _encode(codec, piece), pieces):
            yield from encoded

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()


def _encode(codec: Codec, records: Array) -> list[Encoded]:
    encoded = []
    for record in records:
        data, mask = codec.encode(record)
        encoded.append((data, zlib.crc32(data), mask))
    return encoded


def _gzip(record: Array) -> tuple[Any, int]:
    octets = record.reshape(-1).view(np.uint8).reshape(-1, record.dtype.itemsize)
    return zlib.compress(np.ascontiguousarray(octets.T).data, GZIP_LEVEL), 0


def _bitshuffle() -> Callable[[Array, int], Array] | None:
    # Its OpenMP threads cost a factor of 30 on a busy machine; we have threads of our own.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        import bitshuffle
    except ImportError:
        return None
    compress: Callable[[Array, int], Array] = bitshuffle.compress_lz4
    return compress


class Decoder:
    """Decodes chunks of one field through HDF5, in memory."""

    def __init__(self, compression: str, field: Field) -> None:
        self._dataset = _in_memory(field, codec_for(compression, field).filters)

    def decode(self, data: bytes, mask: int) -> Array:
        """Return the record in a chunk's bytes; raises OSError where they cannot be decoded."""
        self._dataset.id.write_direct_chunk((0,) * self._dataset.ndim, data, mask)
        record: Array = self._dataset[0]
        return record


class _InFilter:
    """Compresses by writing to a file in memory through the HDF5 filter."""

    def __init__(self, field: Field, filters: Mapping[str, Any]) -> None:
        self._dataset = _in_memory(field, filters)
        self._lock = threading.Lock()

    def __call__(self, record: Array) -> tuple[Any, int]:
        with self._lock:
            self._dataset[0] = record
            mask, data = self._dataset.id.read_direct_chunk((0,) * self._dataset.ndim)
            return data, mask


def _in_memory(field: Field, filters: Mapping[str, Any]) -> Any:
    """Return a dataset of one record in a file that is only in memory."""
    import h5py

    name = f"glasswatch-{next(_NUMBERS)}"
    file = h5py.File(name, "w", driver="core", backing_store=False)
    shape = (1, *field.shape)
    return file.create_dataset("record", shape, field.numpy_dtype, chunks=shape, **filters)
