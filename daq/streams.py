"""Streams, fields and batches: what travels, described once for wire, file, analysis and viewer."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from daq import protocol

if TYPE_CHECKING:
    from daq.corrections import Corrections

Array = npt.NDArray[Any]

NO_TIME: Final = int(np.iinfo(np.int64).min)
"""The ``time`` of a record that the instrument lost: NaT when viewed as ``datetime64[ns]``."""

MISSING_BATCH: Final = 256
"""Missing records are given to consumers in filled batches of at most this many records."""


@dataclasses.dataclass(frozen=True, slots=True)
class Field:
    """A named array in each record of a stream.

    ``shape`` is that of one record, without the record axis; ``units`` in UDUNITS style
    (``nm``, ``K``, ``1/nm``, ``counts``; empty where there is none).
    """

    dtype: str
    shape: tuple[int, ...] = ()
    units: str = ""
    long_name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "dtype", protocol.wire_dtype(self.dtype))
        object.__setattr__(self, "shape", protocol.check_shape(tuple(self.shape)))

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """The numpy dtype of the field."""
        return np.dtype(self.dtype)

    @property
    def record_bytes(self) -> int:
        """Bytes of this field in one record."""
        return self.numpy_dtype.itemsize * math.prod(self.shape)

    @property
    def fill(self) -> Any:
        """What stands for a missing value: NaN for floats and complex, zero for the rest."""
        return (
            self.numpy_dtype.type(np.nan)
            if self.numpy_dtype.kind in "fc"
            else np.zeros((), self.numpy_dtype)[()]
        )


TIME: Final = Field("<i8", (), "ns", "time since 1970-01-01 UTC")


@dataclasses.dataclass(frozen=True)
class Stream:
    """The description of a stream: what its ``open`` message says.

    Parameters
    ----------
    name
        Of the stream. A source gives ``""`` for a stream that has the source's own name; other
        names are prefixed by the runtime with the name of the source or analysis and a dot.
    fields
        By name; ``time`` is added where it is not given.
    axes
        For each field, one entry per axis of a record: ``{"name", "units", "offset", "step"}``
        (coordinate = offset + step * index) or ``{"name", "units", "values"}`` with the name of
        a constant that holds the coordinates.
    scan
        ``{"shape": [y, x], "step": nm}`` where records run over a scan, fast axis last; ``step`` may
        be ``[dy, dx]``, and ``"units"`` may say that it is not in nm. Where a field has one value (or
        array) for each column, a record is a whole row instead, as an AFM gives it: the field ``line``
        says which one, 0 the lowest, and ``scan`` the number of the image, which begins anew when
        that changes. Its numbers beside the row belong to the row, not to a position.
    attributes
        Plain JSON values, with units in the name where they are not SI.
    expect
        Number of records to come, or None where that is open.
    constants
        Arrays that hold for the whole stream. ``dark``, ``gain`` and ``mask`` (true = bad pixel)
        are corrections, see `daq.corrections`.
    """

    name: str
    fields: Mapping[str, Field]
    axes: Mapping[str, Sequence[Mapping[str, Any]]] = dataclasses.field(default_factory=dict)
    scan: Mapping[str, Any] | None = None
    attributes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    expect: int | None = None
    constants: Mapping[str, Array] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.name:
            protocol.check_stream_name(self.name, reserved_ok=True)
        fields = dict(self.fields)
        fields.setdefault("time", TIME)
        for field_name, field in fields.items():
            protocol.check_field_name(field_name)
            if field_name == "valid":
                raise protocol.ProtocolError("bad_name", "the field name 'valid' is the file's own")
            if field_name == "time" and (field.dtype, field.shape) != ("<i8", ()):
                raise protocol.ProtocolError("bad_dtype", "the field 'time' is <i8, one per record")
        object.__setattr__(self, "fields", fields)
        constants = {
            protocol.check_field_name(key): np.ascontiguousarray(
                value, dtype=protocol.wire_dtype(np.asarray(value).dtype)
            )
            for key, value in self.constants.items()
        }
        object.__setattr__(self, "constants", constants)
        for key in self.axes:
            if key not in fields:
                raise protocol.ProtocolError("bad_header", f"axes: no field {key!r}")
        if self.scan is not None:
            protocol.check_shape(self.scan.get("shape"))

    @property
    def record_bytes(self) -> int:
        """Bytes of one record, all fields together."""
        return sum(field.record_bytes for field in self.fields.values())

    @property
    def scan_shape(self) -> tuple[int, ...] | None:
        """Shape of the scan, slow axis first, or None."""
        return None if self.scan is None else tuple(self.scan["shape"])

    def renamed(self, name: str) -> Stream:
        """Return the same description under another name."""
        return dataclasses.replace(self, name=name)

    def header(self) -> dict[str, Any]:
        """Return the header of the ``open`` message (the constants travel as parts)."""
        return {
            "stream": self.name,
            "fields": {
                name: {
                    "dtype": field.dtype,
                    "shape": list(field.shape),
                    "units": field.units,
                    "long_name": field.long_name,
                }
                for name, field in self.fields.items()
            },
            "axes": {name: [dict(axis) for axis in axes] for name, axes in self.axes.items()},
            "scan": None if self.scan is None else dict(self.scan),
            "attributes": dict(self.attributes),
            "expect": self.expect,
            "constants": [
                {
                    "name": name,
                    "dtype": protocol.wire_dtype(array.dtype),
                    "shape": list(array.shape),
                }
                for name, array in self.constants.items()
            ],
        }

    @classmethod
    def from_header(cls, header: Mapping[str, Any], parts: Sequence[Any] = ()) -> Stream:
        """Return the stream that an ``open`` message describes; raise `daq.protocol.ProtocolError`."""
        fields, expect = header.get("fields"), header.get("expect")
        if not isinstance(fields, dict) or not 0 < len(fields) <= protocol.MAX_PARTS:
            raise protocol.ProtocolError("bad_header", "fields: at least one field is needed")
        if expect is not None:
            expect = protocol.check_count(header, "expect")
        described = {}
        for name, entry in fields.items():
            if not isinstance(entry, dict):
                raise protocol.ProtocolError("bad_header", f"fields: {name}: an object is needed")
            protocol.check_dtype(entry.get("dtype"))
            described[name] = Field(
                entry["dtype"],
                protocol.check_shape(entry.get("shape", [])),
                _text(entry, "units"),
                _text(entry, "long_name"),
            )
        axes = header.get("axes") or {}
        if not isinstance(axes, dict) or not all(
            isinstance(a, list) and all(isinstance(b, dict) for b in a) for a in axes.values()
        ):
            raise protocol.ProtocolError("bad_header", "axes: {field: [{name, units, ...}]}")
        scan, attributes = header.get("scan"), header.get("attributes") or {}
        if not (scan is None or isinstance(scan, dict)) or not isinstance(attributes, dict):
            raise protocol.ProtocolError("bad_header", "scan and attributes are objects")
        entries = header.get("constants") or []
        if not isinstance(entries, list) or len(entries) != len(parts):
            raise protocol.ProtocolError("bad_header", "constants: one entry for each part")
        constants = {}
        for entry, part in zip(entries, parts, strict=True):
            if not isinstance(entry, dict):
                raise protocol.ProtocolError("bad_header", "constants: [{name, dtype, shape}]")
            array = protocol.array_from_part(part, entry.get("dtype", ""), entry.get("shape", ()))
            constants[protocol.check_field_name(entry.get("name"))] = array.copy()
        return cls(
            protocol.check_stream_name(header.get("stream"), reserved_ok=True),
            described, axes, scan, attributes, expect, constants,
        )  # fmt: skip


class Batch:
    """Consecutive records of one stream: each field an array with the record axis first.

    ``batch["frame"]`` gives the field with the stream's corrections applied; ``batch.raw`` holds
    what the instrument sent. ``batch.gather("frame", index)`` reads and corrects only the pixels
    of ``index``. Arrays given to an analysis are read-only and valid until ``process`` returns.

    Parameters
    ----------
    stream
        Name of the stream; an analysis or source gives the short name that it opened.
    arrays
        One array per field, record axis first; ``time`` in nanoseconds since 1970 UTC, int64.
    first
        Index of the first record; None where the runtime shall number on.
    valid
        One bool per record; False for records that the instrument lost, or results that rest on
        them. Such a record holds nothing: it travels as missing, and reads as fill values.
    """

    __slots__ = ("corrections", "count", "first", "raw", "stream", "valid")

    def __init__(
        self,
        stream: str,
        arrays: Mapping[str, Array],
        first: int | None = None,
        valid: npt.NDArray[np.bool_] | None = None,
        corrections: Corrections | None = None,
    ) -> None:
        if "time" not in arrays:
            raise ValueError(f"a batch of {stream!r} without 'time': every record has its own")
        self.stream = stream
        self.raw: dict[str, Array] = {name: np.asarray(array) for name, array in arrays.items()}
        self.count = len(self.raw["time"])
        for name, array in self.raw.items():
            if array.ndim == 0 or len(array) != self.count:
                raise ValueError(f"{stream}: {name} has not {self.count} records like 'time'")
        self.first = first
        self.valid = np.ones(self.count, bool) if valid is None else valid
        self.corrections = corrections

    def __len__(self) -> int:
        return self.count

    def __repr__(self) -> str:
        first = "?" if self.first is None else self.first
        return f"<Batch {self.stream} {first}+{self.count} ({', '.join(self.raw)})>"

    def __getitem__(self, field: str) -> Array:
        array = self.raw[field]
        if self.corrections is None or field != self.corrections.field:
            return array
        return self.corrections.apply(array, self.first)

    def gather(self, field: str, index: npt.NDArray[np.intp]) -> Array:
        """Return the pixels ``index`` (flat, into one record) of a field, corrected: [record, pixel]."""
        array = self.raw[field]
        if self.corrections is not None and field == self.corrections.field:
            return self.corrections.gather(array, index, self.first)
        flat = array.reshape(self.count, math.prod(array.shape[1:]))
        # In C order whatever the count: sums over pixels then do not depend on the batch.
        return np.take(flat, index, axis=1)

    @property
    def time(self) -> npt.NDArray[np.int64]:
        """Time stamp of each record, nanoseconds since 1970 UTC; `NO_TIME` where it was lost."""
        return self.raw["time"]

    @property
    def indices(self) -> npt.NDArray[np.int64]:
        """Index of each record in its stream; raises ValueError before the batch is numbered."""
        if self.first is None:
            raise ValueError(f"{self!r} is not numbered yet")
        return np.arange(self.first, self.first + self.count, dtype=np.int64)

    def slice(self, start: int, stop: int) -> Batch:
        """Return records ``start`` to ``stop`` (within the batch) as a batch, without copying."""
        first = None if self.first is None else self.first + start
        return Batch(
            self.stream,
            {name: array[start:stop] for name, array in self.raw.items()},
            first,
            self.valid[start:stop],
            self.corrections,
        )

    def copy(self) -> Batch:
        """Return the batch with arrays of its own."""
        arrays = {name: array.copy() for name, array in self.raw.items()}
        return Batch(self.stream, arrays, self.first, self.valid.copy(), self.corrections)


@dataclasses.dataclass(frozen=True, slots=True)
class Missing:
    """Records that the instrument lost: a source yields it in the place of a batch."""

    stream: str
    count: int
    reason: str
    first: int | None = None


def filled(
    stream: Stream, first: int, count: int, corrections: Corrections | None = None
) -> Iterator[Batch]:
    """Yield missing records as batches of fill values, ``valid`` False, at most 256 records each."""
    while count > 0:
        n = min(count, MISSING_BATCH)
        arrays = {
            name: np.broadcast_to(
                np.int64(NO_TIME) if name == "time" else field.fill, (n, *field.shape)
            )
            for name, field in stream.fields.items()
        }
        yield Batch(stream.name, arrays, first, np.zeros(n, bool), corrections)
        first, count = first + n, count - n


def check_batch(stream: Stream, batch: Batch) -> Batch:
    """Return ``batch`` with arrays as the stream describes them, contiguous and little endian.

    Raises ValueError naming the field whose dtype or shape differs, or that is absent.
    """
    arrays = {}
    for name, field in stream.fields.items():
        array = batch.raw.get(name)
        if array is None:
            raise ValueError(f"{stream.name}: the batch lacks the field {name!r}")
        if array.shape[1:] != field.shape:
            raise ValueError(
                f"{stream.name}: {name} has shape {list(array.shape[1:])} per record, "
                f"opened as {list(field.shape)}"
            )
        if array.dtype != field.numpy_dtype:
            if array.dtype.kind == "S" == field.numpy_dtype.kind or (
                np.can_cast(array.dtype, field.numpy_dtype, "same_kind")
                and array.dtype.newbyteorder("=") == field.numpy_dtype.newbyteorder("=")
            ):
                array = array.astype(field.numpy_dtype)
            else:
                raise ValueError(
                    f"{stream.name}: {name} has dtype {array.dtype.str}, opened as {field.dtype}"
                )
        arrays[name] = np.ascontiguousarray(array)
    if unknown := sorted(set(batch.raw) - set(stream.fields)):
        raise ValueError(f"{stream.name}: field {unknown[0]!r} was not opened")
    return Batch(stream.name, arrays, batch.first, batch.valid, batch.corrections)


def matches(pattern: str, name: str) -> bool:
    """Tell whether a stream name matches a glob (``*`` any characters, ``?`` one)."""
    # Not as a regular expression: many stars make those take for ever, and globs come from outside.
    at = begin = 0
    star, retry = -1, 0
    while at < len(name):
        if begin < len(pattern) and pattern[begin] == "*":
            star, retry = begin, at
            begin += 1
        elif begin < len(pattern) and pattern[begin] in ("?", name[at]):
            at, begin = at + 1, begin + 1
        elif star >= 0:
            retry += 1
            at, begin = retry, star + 1
        else:
            return False
    return not pattern[begin:].strip("*")


def _text(entry: Mapping[str, Any], key: str) -> str:
    value = entry.get(key) or ""
    if not isinstance(value, str):
        raise protocol.ProtocolError("bad_header", f"{key}: text is needed")
    return value
