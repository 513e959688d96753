"""Pairs streams by time: the temperature for each frame, the load for each scan line.

A `Join` defers results, never frames: the analysis reduces each primary record as it comes, hands
the small result to the join, and gets it back with the values of the slow streams once those are
known, in order of index. What comes back depends on the records alone, not on which stream
arrived first nor on how they were cut into batches::

    def open(self, streams, config):
        values = {"temperature": ("furnace", "sample")}
        self.join = daq.Join(streams, "camera", values, tolerance=2.0)
        return [daq.Stream("intensity", {"intensity": daq.Field("<f8"),
                                         "temperature": daq.Field("<f8", units="K")})]

    def process(self, batch):
        small = {"sum": batch["frame"].sum((1, 2))} if batch.stream == "camera" else {}
        return self.given(self.join.push(batch, small))

    def close(self):
        return self.given(self.join.close())

    def given(self, pairs):
        return [daq.Batch("intensity", {"time": p.time, "intensity": p.kept["sum"],
                                        "temperature": p["temperature"]}) for p in pairs]
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from daq.config import nearest
from daq.streams import NO_TIME, Array, Batch, Field, Stream

Method = Literal["previous", "linear"]


@dataclasses.dataclass(frozen=True, slots=True)
class Joined:
    """Consecutive primary records whose values are decided; ``joined["temperature"]`` is one.

    Attributes
    ----------
    first
        Index of the first of these primary records.
    time
        Their own time, nanoseconds since 1970 UTC, `daq.NO_TIME` where it was lost.
    valid
        What the primary batch said of them.
    values
        By name, float64, record axis first, NaN where no reading lies within the tolerance.
    matched
        By name, one bool per record: whether there was one (a reading may itself be NaN).
    kept
        What the analysis handed to `Join.push` with these records.
    """

    first: int
    time: npt.NDArray[np.int64]
    valid: npt.NDArray[np.bool_]
    values: dict[str, npt.NDArray[np.float64]]
    matched: dict[str, npt.NDArray[np.bool_]]
    kept: dict[str, Array]

    @property
    def count(self) -> int:
        """Number of records."""
        return len(self.time)

    def __getitem__(self, name: str) -> npt.NDArray[np.float64]:
        return self.values[name]


class Join:
    """Gives, for each record of a primary stream, the values of slower streams at its time.

    A primary record is decided once every secondary stream has a reading later than it, or has
    ended. Decided records come out in order of index.

    Times that do not grow: a reading that is earlier than the one before it is left out and
    counted in `disordered`. A primary record that is earlier than one before it gets the values
    at the latest primary time so far, none if that is further away than the tolerance. Lost
    records (`daq.NO_TIME`) get no values as primary and are left out as readings; so are
    readings that are not valid.

    Memory: 17 bytes and what the analysis handed over, for each primary record since the latest
    reading of the slowest secondary stream; 8 bytes and its values (float64), for each reading
    since the latest primary record. Nothing else is held, so it is bounded by how far the
    streams are apart in time (a secondary stream that stops without ending holds back all).

    Parameters
    ----------
    streams
        The descriptions that `daq.Analysis.open` was given.
    primary
        Name of the stream whose records get values.
    values
        ``{name: (stream, field)}``: what each value is called, and where it comes from. The
        field holds numbers, in any shape. Raises ValueError if there is no such field.
    tolerance
        Seconds. The largest distance in time to a reading that is still used.
    method
        ``previous``: the latest reading not after the record. ``linear``: interpolated between
        that one and the next; where only one of the two is within the tolerance, it is taken.
    """

    def __init__(
        self,
        streams: Mapping[str, Stream],
        primary: str,
        values: Mapping[str, tuple[str, str]],
        *,
        tolerance: float,
        method: Method = "previous",
    ) -> None:
        if not values:
            raise ValueError("a join needs at least one value: {name: (stream, field)}")
        if any(stream == primary for stream, _ in values.values()):
            raise ValueError(f"{primary!r} cannot be joined to itself")
        self.primary = primary
        self.method: Method = method
        if primary not in streams:
            raise ValueError(f"join: no input {primary!r}{nearest(primary, streams)}")
        self._tolerance = _nanoseconds(tolerance)
        _check_method(method)
        self._sources = dict(values)
        self._readings: dict[str, _Readings] = {}
        for stream, field in self._sources.values():
            if stream not in streams:
                raise ValueError(f"join: no input {stream!r}{nearest(stream, streams)}")
            fields = streams[stream].fields
            if field not in fields:
                raise ValueError(f"join: {stream} has no field {field!r}{nearest(field, fields)}")
            _check_numbers(fields[field].numpy_dtype, f"{stream}: {field}")
            readings = self._readings.setdefault(stream, _Readings(fields))
            readings.values.setdefault(field, [])
        self._waiting: deque[_Waiting] = deque()
        self._latest = NO_TIME
        self._next: int | None = None

    @property
    def waiting(self) -> int:
        """Number of primary records that are not decided yet."""
        return sum(len(chunk.time) for chunk in self._waiting)

    @property
    def held(self) -> int:
        """Number of readings, of all secondary streams, that may still be needed."""
        chunks = [chunk for readings in self._readings.values() for chunk in readings.times]
        return sum(len(chunk) for chunk in chunks)

    @property
    def disordered(self) -> dict[str, int]:
        """For each secondary stream the number of readings left out because time went back."""
        return {name: readings.disordered for name, readings in self._readings.items()}

    def push(self, batch: Batch, kept: Mapping[str, Array] | None = None) -> list[Joined]:
        """Take the next records of any of the streams; return what is decided now.

        ``kept`` are small results for these primary records, one entry per record, which come
        back with them (they are copied). Raises ValueError for a stream that is not joined, for
        a primary batch that is not numbered or does not follow on, and for ``kept`` of the wrong
        length.
        """
        if batch.stream == self.primary:
            self._push_primary(batch, kept or {})
        elif batch.stream in self._readings:
            if kept:
                raise ValueError(f"kept belongs to records of {self.primary}, not {batch.stream}")
            self._readings[batch.stream].push(batch)
        else:
            raise ValueError(f"{batch.stream!r} is not one of the joined streams")
        return self._decided()

    def close(self, stream: str | None = None) -> list[Joined]:
        """``stream`` has ended (all streams, if None); return what is decided now."""
        if stream is not None and stream != self.primary and stream not in self._readings:
            raise ValueError(f"{stream!r} is not one of the joined streams")
        for name, readings in self._readings.items():
            if stream in (None, name):
                readings.ended = True
        return self._decided()

    def _push_primary(self, batch: Batch, kept: Mapping[str, Array]) -> None:
        if batch.first is None:
            raise ValueError(f"{batch!r} is not numbered")
        if self._next is not None and batch.first != self._next:
            raise ValueError(f"{batch!r} does not follow on record {self._next - 1}")
        arrays = {name: np.array(array) for name, array in kept.items()}
        for name, array in arrays.items():
            if array.ndim == 0 or len(array) != batch.count:
                raise ValueError(f"kept: {name} has not {batch.count} records like {batch!r}")
        self._next = batch.first + batch.count
        if not batch.count:
            return
        time = np.array(batch.time, np.int64)
        # NO_TIME is the smallest integer, so a lost record leaves the maximum as it is.
        reached = np.maximum(np.maximum.accumulate(time), self._latest)
        self._latest = int(reached[-1])
        valid = np.array(batch.valid, bool)
        self._waiting.append(_Waiting(batch.first, time, reached, valid, arrays))

    def _decided(self) -> list[Joined]:
        horizon = min((r.latest for r in self._readings.values() if not r.ended), default=None)
        ready: list[_Waiting] = []
        while self._waiting:
            chunk = self._waiting[0]
            count = len(chunk.time)
            if horizon is not None:  # those strictly before it
                count = int(np.searchsorted(chunk.reached, horizon))
            if count == len(chunk.time):
                ready.append(self._waiting.popleft())
                continue
            if count:
                ready.append(chunk.slice(0, count))
                self._waiting[0] = chunk.slice(count, len(chunk.time))
            break
        joined = [self._join(_merged(ready))] if ready else []
        if joined or not self._waiting:
            since = int(self._waiting[0].reached[0]) if self._waiting else self._latest
            for readings in self._readings.values():
                readings.forget_before(since)
        return joined

    def _join(self, chunk: _Waiting) -> Joined:
        values, matched = {}, {}
        # Unsigned, the difference of two int64 is exact whatever they are.
        behind = chunk.reached.view(np.uint64) - chunk.time.view(np.uint64)
        usable = (chunk.time != NO_TIME) & (behind <= self._tolerance)
        for name, (stream, field) in self._sources.items():
            times, readings = self._readings[stream].arrays(field)
            values[name], matched[name] = _values_at(
                chunk.reached, usable, times, readings, self.method, self._tolerance
            )
        return Joined(chunk.first, chunk.time, chunk.valid, values, matched, chunk.kept)


def values_at(
    time: npt.NDArray[np.int64],
    reading_time: npt.NDArray[np.int64],
    readings: Array,
    *,
    tolerance: float,
    method: Method = "previous",
) -> npt.NDArray[np.float64]:
    """Return the readings at each ``time`` as a `Join` gives them: float64, NaN where none.

    ``time`` and ``reading_time`` are nanoseconds; ``reading_time`` must not decrease (raises
    ValueError), ``time`` may come in any order. ``tolerance`` in seconds.
    """
    _check_method(method)
    time = np.asarray(time, np.int64)
    reading_time = np.asarray(reading_time, np.int64)
    if len(reading_time) != len(readings):
        raise ValueError(f"{len(reading_time)} times for {len(readings)} readings")
    if np.any(reading_time[1:] < reading_time[:-1]):
        raise ValueError("reading_time must not decrease")
    _check_numbers(np.asarray(readings).dtype, "readings")
    numbers = np.asarray(readings, np.float64)
    usable = time != NO_TIME
    return _values_at(time, usable, reading_time, numbers, method, _nanoseconds(tolerance))[0]


def _values_at(
    time: npt.NDArray[np.int64],
    usable: npt.NDArray[np.bool_],
    reading_time: npt.NDArray[np.int64],
    readings: npt.NDArray[np.float64],
    method: Method,
    tolerance: np.uint64,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Return the value for each time, and whether there is one."""
    count = len(reading_time)
    if count == 0:
        return np.full((len(time), *readings.shape[1:]), np.nan), np.zeros(len(time), bool)
    left = np.searchsorted(reading_time, time, "right") - 1
    before = usable & (left >= 0)
    left = np.maximum(left, 0)
    since = time.view(np.uint64) - reading_time[left].view(np.uint64)
    before &= since <= tolerance
    value = readings[left]
    if method == "linear":
        right = np.searchsorted(reading_time, time, "right")
        after = usable & (right < count)
        right = np.minimum(right, count - 1)
        until = reading_time[right].view(np.uint64) - time.view(np.uint64)
        after &= until <= tolerance
        inner = before & after & (since > 0)
        span = np.where(inner, since.astype(float) + until.astype(float), 1.0)
        weight = _per_record(np.where(inner, since.astype(float) / span, 0.0), value)
        between = value + weight * (readings[right] - value)
        value = np.where(_per_record(inner, value), between, value)
        value = np.where(_per_record(after & ~before, value), readings[right], value)
        before |= after
    return np.where(_per_record(before, value), value, np.nan), before


class _Readings:
    """The readings of one secondary stream that may still be needed."""

    def __init__(self, fields: Mapping[str, Field]) -> None:
        self.fields = fields
        self.latest = NO_TIME
        self.ended = False
        self.disordered = 0
        self.times: list[npt.NDArray[np.int64]] = []
        self.values: dict[str, list[npt.NDArray[np.float64]]] = {}

    def push(self, batch: Batch) -> None:
        if self.ended:
            raise ValueError(f"{batch.stream} has ended: it can give no more readings")
        time = np.array(batch.time, np.int64)
        keep = batch.valid & (time != NO_TIME)
        if not keep.any():
            return
        # What is left out does not count for the order of what follows.
        reached = np.maximum.accumulate(np.where(keep, time, NO_TIME))
        back = keep & (time < np.maximum(reached, self.latest))
        self.disordered += int(back.sum())
        keep = keep & ~back
        if not keep.any():
            return
        for field, chunks in self.values.items():
            chunks.append(np.array(batch[field][keep], np.float64))
        self.times.append(time[keep])
        self.latest = int(time[keep][-1])

    def arrays(self, field: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        self._gather()
        if not self.times:
            return np.empty(0, np.int64), np.empty((0, *self.fields[field].shape))
        return self.times[0], self.values[field][0]

    def forget_before(self, time: int) -> None:
        """Drop what no record from ``time`` on can need: all before the last reading up to it."""
        if not self.times:
            return
        if len(self.times) > 1 and int(self.times[0][-1]) <= time:
            self._gather()
        times = self.times[0]
        first = int(np.searchsorted(times, time, "right")) - 1
        # Copying the rest is worth it once most is to be dropped, or little is left.
        if first > 0 and (2 * first >= len(times) or len(times) < 1024):
            self.times[0] = times[first:].copy()
            for chunks in self.values.values():
                chunks[0] = chunks[0][first:].copy()

    def _gather(self) -> None:
        if len(self.times) > 1:
            self.times = [np.concatenate(self.times)]
            for field, chunks in self.values.items():
                self.values[field] = [np.concatenate(chunks)]


@dataclasses.dataclass(slots=True)
class _Waiting:
    """Primary records that are not decided: ``reached`` is the latest time up to each."""

    first: int
    time: npt.NDArray[np.int64]
    reached: npt.NDArray[np.int64]
    valid: npt.NDArray[np.bool_]
    kept: dict[str, Array]

    def slice(self, start: int, stop: int) -> _Waiting:
        return _Waiting(
            self.first + start,
            self.time[start:stop],
            self.reached[start:stop],
            self.valid[start:stop],
            {name: array[start:stop] for name, array in self.kept.items()},
        )


def _merged(chunks: list[_Waiting]) -> _Waiting:
    if len(chunks) == 1:
        return chunks[0]
    if any(chunk.kept.keys() != chunks[0].kept.keys() for chunk in chunks):
        raise ValueError("kept must have the same names for every batch of the primary stream")
    return _Waiting(
        chunks[0].first,
        np.concatenate([chunk.time for chunk in chunks]),
        np.concatenate([chunk.reached for chunk in chunks]),
        np.concatenate([chunk.valid for chunk in chunks]),
        {name: np.concatenate([chunk.kept[name] for chunk in chunks]) for name in chunks[0].kept},
    )


def _check_numbers(dtype: np.dtype[Any], what: str) -> None:
    if dtype.kind not in "biuf":
        raise ValueError(f"{what} has dtype {dtype}: only real numbers can be joined")


def _per_record(array: Array, like: Array) -> Array:
    """Return one entry per record shaped to broadcast against ``like``."""
    return array.reshape((-1,) + (1,) * (like.ndim - 1))


def _nanoseconds(tolerance: float) -> np.uint64:
    if not tolerance >= 0:
        raise ValueError(f"tolerance is {tolerance}: seconds, 0 or more (inf for any)")
    return np.uint64(round(min(tolerance * 1e9, 2**64 - 1)))


def _check_method(method: str) -> None:
    if method not in ("previous", "linear"):
        raise ValueError(f"method {method!r}: 'previous' or 'linear'")
