"""Streams of any shape: seeded data, lost records, or what a source gave."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from daq.runtime.direct import OutputStream
from daq.streams import NO_TIME, Array, Batch, Field, Missing, Stream

START_TIME: Final = 1_700_000_000_000_000_000
"""Time of the first record that `make_stream` makes, nanoseconds since 1970 UTC."""

FieldLike = Field | str | tuple[Any, ...] | Array
"""A `daq.Field`, a dtype, ``(dtype, shape[, units])``, or the data itself, record axis first."""


@dataclasses.dataclass(frozen=True)
class Records:
    """A stream with its records: what a test feeds to an analysis.

    Attributes
    ----------
    stream
        The description.
    arrays
        All records of each field, record axis first, ``time`` among them.
    missing
        ``(first, count)`` of the records that the instrument lost, in order, not overlapping.
    valid
        One bool per record for those not missing, all true if None.
    aborted
        Why the instrument ended it (`daq.Aborted`), empty where it did not.
    """

    stream: Stream
    arrays: dict[str, Array]
    missing: tuple[tuple[int, int], ...] = ()
    valid: npt.NDArray[np.bool_] | None = None
    aborted: str = ""

    def __post_init__(self) -> None:
        batch = Batch(self.stream.name, self.arrays)
        if set(batch.raw) != set(self.stream.fields):
            raise ValueError(f"{self.name}: fields {sorted(batch.raw)} are not those described")
        end = 0
        for first, count in self.missing:
            if first < end or count < 1 or first + count > len(self):
                raise ValueError(f"{self.name}: missing {first}+{count} overlaps or is outside")
            end = first + count

    @property
    def name(self) -> str:
        """Name of the stream."""
        return self.stream.name

    def __len__(self) -> int:
        return len(self.arrays["time"])

    def __getitem__(self, field: str) -> Array:
        return self.arrays[field]

    def __repr__(self) -> str:
        return f"<Records {self.name}: {len(self)}, {len(self.missing)} gaps>"

    def items(self, start: int, stop: int) -> Iterator[Batch | Missing]:
        """Yield records ``start`` to ``stop``: one batch, and what is missing in its place.

        The arrays are views of `arrays`.
        """
        at = start
        for first, count in (*self.missing, (len(self), 0)):
            first, end = max(first, at), min(first + count, stop)
            if at < min(first, stop):
                taken = slice(at, min(first, stop))
                arrays = {name: array[taken] for name, array in self.arrays.items()}
                yield Batch(
                    self.name, arrays, at, None if self.valid is None else self.valid[taken]
                )
            if first < end:
                yield Missing(self.name, end - first, "lost in a test", first)
            at = max(at, end)

    def batches(self, size: int | None = None) -> Iterator[Batch | Missing]:
        """Yield all records in batches of ``size`` (one batch if None)."""
        size = size or max(1, len(self))
        for start in range(0, len(self), size):
            yield from self.items(start, min(len(self), start + size))

    def with_missing(self, *missing: tuple[int, int]) -> Records:
        """Return the same records with other ones lost, each ``(first, count)``."""
        return dataclasses.replace(self, missing=tuple(sorted(missing)))

    def replaced(self, **arrays: Array) -> Records:
        """Return the same records with other values in some fields."""
        return dataclasses.replace(self, arrays={**self.arrays, **arrays})

    @classmethod
    def of(cls, stream: Stream, items: Iterable[Batch | Missing]) -> Records:
        """Return the batches of one stream as records (copied)."""
        whole = OutputStream(stream)
        missing: list[tuple[int, int]] = []
        count = 0
        for item in items:
            if isinstance(item, Missing):
                missing.append((count, item.count))
                item = _lost(stream, item.count)
            whole.batches.append(item)
            count += item.count
        return cls(stream, whole.arrays, tuple(missing))


def make_stream(
    name: str = "stream",
    fields: Mapping[str, FieldLike] | None = None,
    *,
    records: int = 64,
    seed: int = 0,
    rate: float = 1000.0,
    missing: Sequence[tuple[int, int]] = (),
    **description: Any,
) -> Records:
    """Return a stream of any shape with seeded data.

    Parameters
    ----------
    name
        Of the stream.
    fields
        By name: a `daq.Field`, a dtype, ``(dtype, shape[, units])``, or the data itself (record
        axis first; then it says how many records there are). By default ``{"value": "<f8"}``.
    records
        Number of records.
    seed
        Of the data: normal for floats, counts of mean 20 for integers (negative ones too, where
        they are signed), any for booleans, letters for byte strings.
    rate
        Records per second, for the field ``time`` unless it is given.
    missing
        ``(first, count)`` of records that the instrument lost.
    description
        What else `daq.Stream` takes: ``axes``, ``scan``, ``attributes``, ``constants`` ...
    """
    rng = np.random.default_rng(seed)
    given = dict({"value": "<f8"} if fields is None else fields)
    lengths = {len(value) for value in given.values() if isinstance(value, np.ndarray)}
    if len(lengths) > 1:
        raise ValueError(f"{name}: the arrays given have {sorted(lengths)} records")
    if lengths:
        records = lengths.pop()
    described: dict[str, Field] = {}
    arrays: dict[str, Array] = {}
    for key, value in given.items():
        if isinstance(value, np.ndarray):
            described[key] = Field(value.dtype.str, value.shape[1:])
            arrays[key] = value.astype(described[key].numpy_dtype)
            continue
        if isinstance(value, Field):
            described[key] = value
        else:
            described[key] = Field(*value) if isinstance(value, tuple) else Field(value)
        arrays[key] = _random(described[key], records, rng)
    if "time" not in given:
        step = np.arange(records, dtype=np.float64) * (1e9 / rate)
        arrays["time"] = START_TIME + np.rint(step).astype(np.int64)
    return Records(Stream(name, described, **description), arrays, tuple(missing))


def _random(field: Field, records: int, rng: np.random.Generator) -> Array:
    shape, dtype = (records, *field.shape), field.numpy_dtype
    if dtype.kind == "b":
        return np.asarray(rng.random(shape) < 0.5)
    if dtype.kind == "u":
        return rng.poisson(20.0, shape).astype(dtype)
    if dtype.kind == "i":
        return np.asarray(rng.poisson(20.0, shape) * rng.choice([-1, 1], shape), dtype)
    if dtype.kind == "S":
        letters = rng.integers(97, 123, (*shape, dtype.itemsize), dtype=np.uint8)
        words: Array = letters.view(dtype).reshape(shape)
        return words
    if dtype.kind == "c":
        return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(dtype)
    return np.asarray(rng.standard_normal(shape), dtype)


def _lost(stream: Stream, count: int) -> Batch:
    arrays: dict[str, Array] = {
        name: np.full((count, *field.shape), field.fill, field.numpy_dtype)
        for name, field in stream.fields.items()
    }
    arrays["time"] = np.full(count, NO_TIME)
    return Batch(stream.name, arrays)


def by_name(inputs: Records | Iterable[Records] | Mapping[str, Records]) -> dict[str, Records]:
    """Return inputs by the name of the stream; the keys of a mapping become the names."""
    if isinstance(inputs, Records):
        inputs = [inputs]
    if not isinstance(inputs, Mapping):
        inputs = {records.name: records for records in inputs}
    if not inputs:
        raise ValueError("an analysis needs at least one input")
    return {
        name: dataclasses.replace(records, stream=records.stream.renamed(name))
        for name, records in inputs.items()
    }


def lost_mask(records: Records) -> npt.NDArray[np.bool_]:
    """Return one bool per record, true where it was lost."""
    mask = np.zeros(len(records), bool)
    for first, count in records.missing:
        mask[first : first + count] = True
    return mask


def overwrite(array: Array) -> None:
    """Overwrite every value with another one."""
    if array.dtype.kind == "b":
        np.logical_not(array, out=array)
    elif array.size:
        octets = array.view(np.uint8) if array.ndim else array.reshape(1).view(np.uint8)
        np.invert(octets, out=octets)
