"""Wire protocol, version 1: how a message looks, and what may stand in it.

A message is ``[kind, header, part, part ...]``: the kind in ASCII, the header one JSON object in
UTF-8, each part the raw bytes of one array, C order, little endian. There is no pickle anywhere.
``docs/reference/protocol.md`` describes every kind; this module only packs, unpacks and refuses.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

VERSION: Final = 1
MAX_HEADER_BYTES: Final = 1 << 20
MAX_PART_BYTES: Final = 1 << 30
MAX_PARTS: Final = 256
MAX_STRING_BYTES: Final = 65536
MAX_DEPTH: Final = 32

ROLES: Final = frozenset({"source", "consumer", "recorder", "control"})
POLICIES: Final = frozenset({"lossless", "latest"})
CLOSE_STATUS: Final = frozenset({"complete", "aborted", "failed"})

_NUMERIC: Final = frozenset("|b1 |u1 |i1 <u2 <i2 <u4 <i4 <u8 <i8 <f2 <f4 <f8 <c8 <c16".split())
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,62}(\.[A-Za-z0-9_-]{1,63}){0,2}")
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_STRING = re.compile(r"\|S[1-9][0-9]{0,4}")
_RESERVED = frozenset(
    "entry sample user instrument process truth configuration environment run bus recorder "
    "supervisor viewer default title start_time end_time".split()
)


class ProtocolError(ValueError):
    """A message that breaks the protocol; ``code`` is what goes into the ``error`` reply."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(slots=True)
class Message:
    """One unpacked message: ``kind``, ``header`` and the raw ``parts`` (buffers, not copied)."""

    kind: str
    header: dict[str, Any]
    parts: list[Any] = field(default_factory=list)


def pack(kind: str, header: Mapping[str, Any], parts: Sequence[Any] = ()) -> list[Any]:
    """Return the frames of a message, ready for ``send_multipart``.

    Raises `ProtocolError` where the header holds a number that JSON readers in other languages
    would round (integers beyond 2**53), NaN and infinities, which JSON does not have, or more
    than `MAX_DEPTH` levels.
    """
    try:
        text = json.dumps(header, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise ProtocolError("bad_header", f"{kind}: header is not plain JSON: {error}") from None
    if len(text) > MAX_HEADER_BYTES:
        raise ProtocolError(
            "bad_header", f"{kind}: the header is larger than {MAX_HEADER_BYTES} bytes"
        )
    if len(text) > 16 and (reason := _unfit(header)) is not None:
        raise ProtocolError("bad_header", f"{kind}: {reason}")
    return [kind.encode("ascii"), text.encode(), *parts]


def unpack(frames: Sequence[Any]) -> Message:
    """Return the message in ``frames`` (bytes, memoryviews or zmq frames); raise `ProtocolError`."""
    if len(frames) < 2:
        raise ProtocolError("malformed", "a message is [kind, header, part ...]")
    if len(frames) > MAX_PARTS + 2:
        raise ProtocolError("malformed", f"more than {MAX_PARTS} parts")
    kind, raw = bytes(_buffer(frames[0])), bytes(_buffer(frames[1]))
    if len(kind) > 16 or not kind.isalpha() or not kind.isascii():
        raise ProtocolError("malformed", "the kind is a short ASCII word")
    if len(raw) > MAX_HEADER_BYTES:
        raise ProtocolError("malformed", f"the header is larger than {MAX_HEADER_BYTES} bytes")
    try:
        header = json.loads(raw.decode())
    except (ValueError, RecursionError):
        raise ProtocolError("malformed", "the header is not JSON in UTF-8") from None
    if not isinstance(header, dict):
        raise ProtocolError("malformed", "the header is not a JSON object")
    # What could not be packed again must not come in: it would fail on the way to the others.
    if (reason := _unfit(header)) is not None:
        raise ProtocolError("malformed", f"header: {reason}")
    if b"\\u" in raw:
        try:
            json.dumps(header, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ProtocolError("malformed", "header: half a surrogate pair is no text") from None
    return Message(kind.decode(), header, [_buffer(part) for part in frames[2:]])


def check_stream_name(name: object, *, reserved_ok: bool = False) -> str:
    """Return ``name`` if a stream may be called so; raise `ProtocolError`.

    Letters, digits, ``_`` and ``-``, up to three components joined by dots, first a letter: safe
    as the name of a file and of an HDF5 group. Some first components are the run's own.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ProtocolError(
            "bad_name",
            f"stream name {str(name)[:80]!r}: use letters, digits, _ and -, parts joined by dots",
        )
    if not reserved_ok and name.split(".")[0].lower() in _RESERVED:
        raise ProtocolError("bad_name", f"stream name {name!r} is reserved; choose another")
    return name


def check_field_name(name: object) -> str:
    """Return ``name`` if a field may be called so; raise `ProtocolError`."""
    if not isinstance(name, str) or not _FIELD.fullmatch(name):
        raise ProtocolError("bad_name", f"field name {str(name)[:80]!r}: use letters, digits and _")
    return name


def check_dtype(dtype: object) -> np.dtype[Any]:
    """Return the numpy dtype of an allowed dtype string; raise `ProtocolError`.

    Allowed are booleans, integers and floats up to 8 bytes, complex, little endian, and fixed
    byte strings ``|S1`` to ``|S65536`` (UTF-8, padded with zeros).
    """
    if isinstance(dtype, str):
        if dtype in _NUMERIC:
            return np.dtype(dtype)
        if _STRING.fullmatch(dtype) and int(dtype[2:]) <= MAX_STRING_BYTES:
            return np.dtype(dtype)
    raise ProtocolError("bad_dtype", f"dtype {str(dtype)[:40]!r} is not allowed")


def check_shape(shape: object) -> tuple[int, ...]:
    """Return ``shape`` as a tuple of at most 6 positive integers; raise `ProtocolError`."""
    if isinstance(shape, list | tuple) and len(shape) <= 6:
        if all(type(n) is int and 0 < n <= 1 << 31 for n in shape):
            return tuple(shape)
    raise ProtocolError("bad_shape", f"shape {str(shape)[:80]}: at most 6 positive integers")


def check_count(header: Mapping[str, Any], key: str, *, least: int = 0) -> int:
    """Return the integer ``header[key]``, at least ``least`` and below 2**53."""
    value = header.get(key)
    if type(value) is not int or not least <= value < 1 << 53:
        raise ProtocolError("bad_header", f"{key}: an integer of at least {least} is needed")
    return value


def array_from_part(part: Any, dtype: str, shape: Sequence[int]) -> npt.NDArray[Any]:
    """Return a read-only array over ``part`` without copying; raise `ProtocolError` on a mismatch."""
    kind, dims = check_dtype(dtype), check_shape(shape)
    view = memoryview(part).cast("B") if not isinstance(part, bytes) else memoryview(part)
    if view.nbytes != kind.itemsize * math.prod(dims):
        raise ProtocolError(
            "bad_part", f"{view.nbytes} bytes do not make an array of {dtype} {list(dims)}"
        )
    array = np.frombuffer(view, dtype=kind).reshape(dims)
    array.flags.writeable = False
    return array


def wire_dtype(dtype: npt.DTypeLike) -> str:
    """Return the protocol's string for a numpy dtype (little endian); raise `ProtocolError`."""
    text = np.dtype(dtype).newbyteorder("<").str
    check_dtype(text)
    return text


def _buffer(frame: Any) -> Any:
    return getattr(frame, "buffer", frame)


def _unfit(value: Any, depth: int = 0) -> str | None:
    """Say what in a header readers in other languages could not take as it is, or None."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return f"{value} exceeds 2^53; send it as an array" if abs(value) > 1 << 53 else None
    if isinstance(value, float):
        return None if math.isfinite(value) else f"JSON has no {value}"
    children: Any = ()
    if isinstance(value, Mapping):
        children = value.values()
    elif isinstance(value, list | tuple):
        children = value
    if children and depth == MAX_DEPTH:
        return f"more than {MAX_DEPTH} levels"
    for child in children:
        if (found := _unfit(child, depth + 1)) is not None:
            return found
    return None
