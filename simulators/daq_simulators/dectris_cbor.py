"""Messages of the DECTRIS stream, version 2, written byte by byte as RFC 8949 and RFC 8746 have them."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy.typing as npt

BLOCK_BYTES: Final = 8192
"""Compressed blocks; cameras do the same."""

TAGS: Final = {
    "|u1": 64, ">u2": 65, ">u4": 66, ">u8": 67, "<u2": 69, "<u4": 70, "<u8": 71, "|i1": 72,
    "<i2": 77, "<i4": 78, "<f4": 85, "<f8": 86, ">f4": 81,
}  # fmt: skip
"""Tag of a typed array, RFC 8746 section 2.1."""


class Encoded(bytes):
    """CBOR that is ready to stand as a value."""


def head(major: int, number: int) -> bytes:
    """Return the head of a data item: major type and argument, in the shortest form."""
    if number < 24:
        return bytes([major << 5 | number])
    for code, (limit, form) in enumerate([(8, ">B"), (16, ">H"), (32, ">I"), (64, ">Q")]):
        if number < 1 << limit:
            return bytes([major << 5 | 24 + code]) + struct.pack(form, number)
    raise ValueError(f"{number} does not fit in 64 bits")


def tag(number: int, content: Any) -> Encoded:
    """Return ``content`` with a tag before it."""
    return Encoded(head(6, number) + encode(content))


def encode(value: Any) -> bytes:
    """Return CBOR of plain values, bytes and what is `Encoded`."""
    if isinstance(value, Encoded):
        return value
    if value is None or isinstance(value, bool):
        return {None: b"\xf6", False: b"\xf4", True: b"\xf5"}[value]
    if isinstance(value, int):
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, float):
        return b"\xfb" + struct.pack(">d", value)
    if isinstance(value, str):
        text = value.encode()
        return head(3, len(text)) + text
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, Mapping):
        pairs = b"".join(encode(key) + encode(entry) for key, entry in value.items())
        return head(5, len(value)) + pairs
    if isinstance(value, Sequence):
        return head(4, len(value)) + b"".join(encode(entry) for entry in value)
    raise TypeError(f"{type(value).__name__} is not sent")


def message(entries: Mapping[str, Any]) -> bytes:
    """Return a map as a message of its own, which says that it is CBOR (tag 55799), as cameras do."""
    return tag(55799, entries)


def matrix(array: npt.NDArray[Any], method: str = "none") -> Encoded:
    """Return an array of two axes, its bytes compressed: ``none``, ``lz4`` or ``bslz4``."""
    content: Any = array.tobytes()
    if method != "none":
        element = array.dtype.itemsize if method == "bslz4" else 0
        content = tag(56500, [method, element, compressed(array, method)])
    return tag(40, [list(array.shape), tag(TAGS[array.dtype.str], content)])


def compressed(array: npt.NDArray[Any], method: str) -> bytes:
    """Return what the HDF5 filter of that name makes of an array: by HDF5 itself, in memory."""
    import h5py
    import hdf5plugin

    filters = (
        hdf5plugin.LZ4(nbytes=BLOCK_BYTES)
        if method == "lz4"
        else hdf5plugin.Bitshuffle(nelems=BLOCK_BYTES // array.dtype.itemsize, cname="lz4")
    )
    plain = array.view(array.dtype.newbyteorder("=")) if array.dtype.byteorder == ">" else array
    with h5py.File("compressed", "w", driver="core", backing_store=False) as file:
        dataset = file.create_dataset(
            "array", plain.shape, plain.dtype, chunks=plain.shape, **filters
        )
        dataset[...] = plain
        mask, data = dataset.id.read_direct_chunk((0,) * plain.ndim)
    if mask:
        raise ValueError(f"HDF5 left the filter {method} out")
    return bytes(data)
