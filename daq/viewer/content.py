"""What the panels draw, kept while the data come: bounded memory, no Qt.

Each content takes batches (`Content.absorb`, in the thread of the feed) and gives what its panel
draws. `version` grows with each change, so that a panel draws only what is new.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from daq.corrections import corrections_for
from daq.streams import NO_TIME, Array, Batch, Stream
from daq.viewer import axes, choice, labels
from daq.viewer.canvas import MapCanvas, RowCanvas
from daq.viewer.choice import PanelSpec
from daq.viewer.history import MAX_POINTS, TraceHistory

Integers = npt.NDArray[np.int64]

POINTS_PER_STREAM = 20 * MAX_POINTS
"""Points that all traces of one stream keep together."""

MAX_SIDE = 2048
"""Pixels of an image along each side; of larger ones every second (third ...) pixel is drawn."""

TEXT_LINES = 200
"""Lines of text that are kept."""

VIEW_BYTES = 64 << 20
"""Newest records that are kept for a plugin's view: at most this many bytes (at least one)."""


class Content:
    """Base of what a panel draws."""

    def __init__(self, stream: Stream, spec: PanelSpec) -> None:
        self.stream = stream
        self.spec = spec
        self.version = 0

    def absorb(self, batch: Batch, index: Integers) -> None:
        """Take the records of a batch, with the index of each; its arrays are not kept."""
        raise NotImplementedError

    def note(self) -> str:
        """Return what the panel says besides the counters: which scan, which record."""
        return ""


@dataclasses.dataclass(frozen=True)
class Curve:
    """One curve: label, x, y and errors (one standard deviation, or None)."""

    label: str
    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    error: npt.NDArray[np.float64] | None


@dataclasses.dataclass(frozen=True)
class Picture:
    """One picture: values [y, x] (NaN where there is none) with its axes and colour bar label."""

    values: Array
    x: axes.Axis
    y: axes.Axis
    label: str
    upwards: bool = False
    """Row 0 is at the bottom."""
    scanned: float | None = None
    """Where along y a scan is that has not ended."""

    @property
    def square(self) -> bool:
        """True where a step along x is the same thing as one along y, so that shapes are true."""
        return self.x.units == self.y.units and self.x.even and self.y.even


class TraceContent(Content):
    """Numbers against time, see `daq.viewer.history`."""

    def __init__(self, stream: Stream, spec: PanelSpec) -> None:
        super().__init__(stream, spec)
        scalars = sum(field.shape == () for field in stream.fields.values())
        limit = max(1000, min(MAX_POINTS, POINTS_PER_STREAM // scalars))
        self.histories = {name: TraceHistory(limit) for name in spec.fields}

    def absorb(self, batch: Batch, index: Integers) -> None:
        """Add the records to the histories."""
        for name, history in self.histories.items():
            if name not in batch.raw:
                continue
            value = real(batch[name]).astype(np.float64)
            value[~batch.valid] = np.nan
            errors = f"{name}_errors"
            error = real(batch[errors]).astype(np.float64) if errors in batch.raw else None
            history.add(index, batch.time, value, error)
        self.version += 1

    def curves(self, origin: int) -> list[Curve]:
        """Return the curves, x in seconds since ``origin`` (ns since 1970 UTC)."""
        found = []
        for name, history in self.histories.items():
            time, value, error = history.points()
            seconds = (time - origin) / 1e9
            has_errors = f"{name}_errors" in self.stream.fields
            label = self.stream.fields[name].long_name or name.replace("_", " ")
            found.append(Curve(label, seconds, value, error if has_errors else None))
        return found


class MapContent(Content):
    """Numbers (or rows) of a scan, placed by their index, see `daq.viewer.canvas`."""

    def __init__(self, stream: Stream, spec: PanelSpec) -> None:
        super().__init__(stream, spec)
        shape = stream.fields[spec.fields[0]].shape
        self.canvas = MapCanvas(stream.scan_shape or (1, 1), shape[0] if shape else None)

    def absorb(self, batch: Batch, index: Integers) -> None:
        """Place the records."""
        name = self.spec.fields[0]
        if name not in batch.raw:
            return
        values = real(batch[name]).astype(np.float32)
        values[~batch.valid] = np.nan
        self.canvas.place(index, values)
        self.version += 1

    def picture(self) -> Picture:
        """Return the map as it stands."""
        name, canvas = self.spec.fields[0], self.canvas
        x = (
            axes.record_axis(self.stream, name, -1)
            if canvas.by_row
            else axes.scan_axis(self.stream, -1, canvas.columns)
        )
        y = (
            axes.scan_axis(self.stream, -1, canvas.rows)
            if canvas.by_row
            else axes.scan_axis(self.stream, -2, canvas.rows)
        )
        if canvas.by_row:
            y = dataclasses.replace(y, label=y.label.replace("x", "y", 1))
        label = labels.field_label(name, self.stream.fields[name])
        every = canvas.stride
        return Picture(canvas.values.copy(), _thinned(x, every), _thinned(y, every), label)

    def note(self) -> str:
        """Say which scan runs, and how far it is."""
        scan, done = self.canvas.progress
        return f"scan {scan}, {done:.0%}" if scan else ""


class RowsContent(Content):
    """Rows of a scan that say where they belong, see `daq.viewer.canvas.RowCanvas`.

    The row is the field ``line``, the scan the field ``scan`` where the stream has them; else both
    follow from the index.
    """

    def __init__(self, stream: Stream, spec: PanelSpec) -> None:
        super().__init__(stream, spec)
        rows, columns = stream.scan_shape or (1, 1)
        self.canvas = RowCanvas((rows, columns))
        self._numbered = choice.numbers_rows(stream)
        scan = stream.fields.get("scan")
        self._scans = scan is not None and scan.shape == () and scan.numpy_dtype.kind in "iu"

    def absorb(self, batch: Batch, index: Integers) -> None:
        """Place the rows; records that were lost are not drawn."""
        name, good = self.spec.fields[0], batch.valid
        needed = [name] + ["line"] * self._numbered + ["scan"] * self._scans
        if any(field not in batch.raw for field in needed) or not good.any():
            return
        scan, row = np.divmod(index[good], self.canvas.rows)
        if self._numbered:
            row = batch.raw["line"][good].astype(np.int64)
        if self._scans:
            scan = batch.raw["scan"][good].astype(np.int64)
        elif self._numbered:
            scan = np.zeros_like(row)
        self.canvas.place(index[good], row, scan, real(batch[name][good]).astype(np.float32))
        self.version += 1

    def picture(self) -> Picture:
        """Return the picture as it stands."""
        name, canvas, stream = self.spec.fields[0], self.canvas, self.stream
        described = choice.along_lengths(stream, name)
        x = axes.record_axis(stream, name, -1) if described else None
        if x is None or len(x.coordinates) != canvas.columns:
            x = axes.scan_axis(stream, -1, canvas.columns)
        y = axes.scan_axis(stream, -2, canvas.rows)
        label, every = labels.field_label(name, stream.fields[name]), canvas.stride
        scanned = None
        if canvas.row is not None and canvas.done < 1:
            scanned = float(y.coordinates[canvas.row])
        return Picture(
            canvas.values.copy(), _thinned(x, every), _thinned(y, every), label, True, scanned
        )  # fmt: skip

    def note(self) -> str:
        """Say which scan runs, which row was the last, and how far it is."""
        canvas = self.canvas
        if canvas.row is None:
            return ""
        scan = f"scan {canvas.scan}, " if self._scans else ""
        return f"{scan}row {canvas.row}, {canvas.done:.0%}"


class LatestContent(Content):
    """The newest valid record of some fields: images, profiles, stacks. Memory: one record."""

    def __init__(self, stream: Stream, spec: PanelSpec) -> None:
        super().__init__(stream, spec)
        self.record: Batch | None = None
        self._corrections = corrections_for(stream)

    def absorb(self, batch: Batch, index: Integers) -> None:
        """Keep the newest valid record, if it is newer than the one that is there."""
        if any(name not in batch.raw for name in self.spec.fields):
            return
        valid = np.flatnonzero(batch.valid)
        if len(valid) == 0:
            return
        at = int(valid[-1])
        if self.record is not None and int(index[at]) <= (self.record.first or 0):
            return
        wanted = {"time", *self.spec.fields, *(f"{name}_errors" for name in self.spec.fields)}
        arrays = {
            name: array[at : at + 1].copy() for name, array in batch.raw.items() if name in wanted
        }
        corrections = batch.corrections or self._corrections
        self.record = Batch(batch.stream, arrays, int(index[at]), None, corrections)
        self.version += 1

    def note(self) -> str:
        """Say which record is shown."""
        return "" if self.record is None else f"record {labels.count(self.record.first or 0)}"

    @property
    def planes(self) -> int:
        """How many planes a stack has."""
        return int(np.prod(self.stream.fields[self.spec.fields[0]].shape[:-2], dtype=np.int64))

    def plane_label(self, plane: int) -> str:
        """Return what is said of a plane: its number, and its coordinate where there is one."""
        name = self.spec.fields[0]
        said = f"plane {plane + 1} of {self.planes}"
        described = self.stream.axes.get(name)
        if described and len(self.stream.fields[name].shape) == 3:
            axis = axes.record_axis(self.stream, name, -3)
            said += f": {axis.label} {labels.significant(float(axis.coordinates[plane]))}"
        return said

    def picture(self, plane: int = 0) -> Picture | None:
        """Return the newest image, or one plane of the newest stack; None before the first record.

        Corrected as analyses see it, with masked pixels NaN.
        """
        if self.record is None:
            return None
        name = self.spec.fields[0]
        shape = self.stream.fields[name].shape
        x, y = axes.record_axis(self.stream, name, -1), axes.record_axis(self.stream, name, -2)
        values = real(self.record[name][0])
        corrections = self.record.corrections
        if corrections is not None and corrections.field == name and corrections.bad.any():
            values = np.where(corrections.bad, np.float32(np.nan), values)
        values = values.reshape(-1, *shape[-2:])[min(plane, self.planes - 1)]
        if values.dtype.kind in "b":
            values = values.astype(np.uint8)
        every = -(-max(values.shape) // MAX_SIDE)
        label = labels.field_label(name, self.stream.fields[name])
        return Picture(
            values[::every, ::every], _thinned(x, every), _thinned(y, every), label
        )  # fmt: skip

    def curves(self) -> tuple[axes.Axis, list[Curve]]:
        """Return the axis and the curves of the newest profiles (no curves before the first)."""
        axis = axes.record_axis(self.stream, self.spec.fields[0], -1)
        found = []
        for name in self.spec.fields if self.record is not None else ():
            assert self.record is not None
            y = real(self.record[name][0]).astype(np.float64)
            errors = self.record.raw.get(f"{name}_errors")
            error = None
            if errors is not None and errors.shape[1:] == y.shape:
                error = real(errors[0]).astype(np.float64)
            label = self.stream.fields[name].long_name or name.replace("_", " ")
            found.append(Curve(label, axis.coordinates, y, error))
        return axis, found


class TextContent(Content):
    """The last lines of a stream of text, such as ``run.log``."""

    def __init__(self, stream: Stream, spec: PanelSpec) -> None:
        super().__init__(stream, spec)
        self.lines: list[tuple[int, int, str]] = []
        """Index, time (ns since 1970 UTC) and text of each line, in order."""

    def absorb(self, batch: Batch, index: Integers) -> None:
        """Add one line per record, its text fields in their order; history goes where it belongs."""
        columns = [batch.raw[name][-TEXT_LINES:] for name in self.spec.fields if name in batch.raw]
        times = batch.time[-TEXT_LINES:]
        lines = {line[0]: line for line in self.lines}
        for row, number in enumerate(index[-TEXT_LINES:]):
            words = (bytes(column[row]).decode(errors="replace").strip() for column in columns)
            if text := "  ".join(word for word in words if word):
                lines[int(number)] = (int(number), int(times[row]), text)
        self.lines = [lines[number] for number in sorted(lines)][-TEXT_LINES:]
        self.version += 1


class ViewContent(Content):
    """The newest records for the view of a plugin: of its stream, and of those beside it."""

    def __init__(self, stream: Stream, spec: PanelSpec) -> None:
        super().__init__(stream, spec)
        self._limit = None if spec.view is None else spec.view.records
        self._newest: dict[str, NewestRecords] = {}
        self._versions: dict[str, int] = {}
        self.attend(stream)

    def attend(self, stream: Stream) -> None:
        """Expect records of a stream: the view's own, or one beside it."""
        known = self._newest.get(stream.name)
        if known is None or known.stream is not stream:
            self._newest[stream.name] = NewestRecords(stream, self._limit)

    def absorb(self, batch: Batch, index: Integers) -> None:
        """Keep a copy of the newest records, see `VIEW_BYTES`."""
        kept = self._newest.get(batch.stream)
        if kept is not None and kept.add(batch, index):
            self.version += 1
            self._versions[batch.stream] = self.version

    @property
    def batch(self) -> Batch | None:
        """The newest records of the view's own stream."""
        return self._newest[self.stream.name].batch

    def since(self, version: int) -> list[Batch]:
        """Return what changed after a version, those beside before the view's own stream."""
        found = [
            kept.batch
            for name, kept in self._newest.items()
            if self._versions.get(name, 0) > version and kept.batch is not None
        ]
        return sorted(found, key=lambda batch: batch.stream == self.stream.name)


class NewestRecords:
    """The newest records of one stream, however they came.

    That is in batches of any size, in any order, or with some of their fields in one batch and the
    rest in another, as files are read.

    Parameters
    ----------
    limit
        Records up to the newest valid one that are kept, at most `VIEW_BYTES` of them; those among
        them that are lost, or did not come, read as fill values. None: those of the newest batch.
    """

    def __init__(self, stream: Stream, limit: int | None) -> None:
        most = max(1, VIEW_BYTES // max(1, stream.record_bytes))
        self.stream = stream
        self._whole = limit is None
        self._most = most if limit is None else min(limit, most)
        self._index: Integers = np.empty(0, np.int64)
        self._room: dict[str, Array] = {}
        """Arrays with room behind the newest record; ``batch`` is a piece of them."""
        self._end = 0
        self._corrections = corrections_for(stream)
        self.batch: Batch | None = None

    def add(self, batch: Batch, index: Integers) -> bool:
        """Take copies of records; tell whether there is anything new."""
        if self._append(batch, index):
            return True
        rows = np.arange(batch.count) if self._whole else np.flatnonzero(batch.valid)
        rows = rows[-self._most :]
        index = index[rows]
        if self._whole and len(self._index) and len(index) and index[0] < self._index[0]:
            if len(batch.raw) == len(self.stream.fields) or index[-1] < self._index[-1]:
                return False
            # The rest of records that are there.
            there = np.isin(index, self._index)
            rows, index = rows[there], index[there]
        if len(index) == 0:
            return False
        wanted = index
        if not self._whole:
            both = np.union1d(self._index, index)
            wanted = np.arange(max(both[0], both[-1] - self._most + 1), both[-1] + 1)
        new = np.isin(wanted, index)
        if not new.any():
            return False
        self.batch = self._merged(batch, rows[np.searchsorted(index, wanted[new])], wanted, new)
        self._index, self._room = wanted, {}
        return True

    def _append(self, batch: Batch, index: Integers) -> bool:
        """Take whole valid records that follow on those there are; tell whether it could be done.

        Most do, so this makes no copy of everything. What was given before stays as it is.
        """
        kept, count = self.batch, batch.count
        if self._whole or kept is None or count == 0 or count > self._most:
            return False
        follows = index[0] == self._index[-1] + 1 and index[-1] - index[0] == count - 1
        complete = len(batch.raw) == len(kept.raw) == len(self.stream.fields)
        if not (follows and complete and batch.valid.all()):
            return False
        if not self._room or self._end + count > len(self._room["time"]):
            size = min(2 * (kept.count + count), self._most + self._most // 4 + count)
            for name, values in kept.raw.items():
                grown = np.empty((size, *values.shape[1:]), values.dtype)
                grown[: kept.count] = values
                self._room[name] = grown
            self._end = kept.count
        for name, room in self._room.items():
            room[self._end : self._end + count] = batch.raw[name]
        self._end += count
        there = min(kept.count + count, self._most)
        start = self._end - there
        self._index = np.arange(index[-1] + 1 - there, index[-1] + 1)
        valid = np.concatenate([kept.valid, np.ones(count, bool)])[-there:]
        arrays = {name: room[start : self._end] for name, room in self._room.items()}
        corrections = batch.corrections or self._corrections
        self.batch = Batch(batch.stream, arrays, int(self._index[0]), valid, corrections)
        return True

    def _merged(
        self, batch: Batch, rows: Integers, wanted: Integers, new: npt.NDArray[np.bool_]
    ) -> Batch:
        """Return the records ``wanted``: ``rows`` of a batch where they are new, else as they were."""
        kept = self.batch
        old = np.isin(wanted, self._index)
        before = np.searchsorted(self._index, wanted[old])
        arrays = {}
        for name, field in self.stream.fields.items():
            known = None if kept is None else kept.raw.get(name)
            if name not in batch.raw and known is None:
                continue
            values = np.empty((len(wanted), *field.shape), field.numpy_dtype)
            if not new.all() or name not in batch.raw:
                values[...] = NO_TIME if name == "time" else field.fill
            if known is not None:
                values[old] = known[before]
            if name in batch.raw:
                values[new] = batch.raw[name][rows]
            arrays[name] = values
        valid = np.zeros(len(wanted), bool)
        if kept is not None:
            valid[old] = kept.valid[before]
        valid[new] = batch.valid[rows]
        corrections = batch.corrections or self._corrections
        return Batch(batch.stream, arrays, int(wanted[0]), valid, corrections)


def content_for(stream: Stream, spec: PanelSpec) -> Content:
    """Return the empty content of a panel."""
    if spec.kind == "map" and len(stream.fields[spec.fields[0]].shape) < 2:
        rows = choice.records_are_rows(stream)
        return RowsContent(stream, spec) if rows else MapContent(stream, spec)
    kinds = {"trace": TraceContent, "text": TextContent, "view": ViewContent}
    return kinds.get(spec.kind, LatestContent)(stream, spec)


def real(values: Array) -> Array:
    """Return values that can be drawn: the modulus of complex ones, others as they are."""
    return np.abs(values) if values.dtype.kind == "c" else values


def first_time(batch: Batch) -> int | None:
    """Return the earliest time stamp of a batch (ns), or None where no record has one."""
    times = batch.time[batch.time != NO_TIME]
    return int(times.min()) if len(times) else None


def _thinned(axis: axes.Axis, every: int) -> axes.Axis:
    if every == 1:
        return axis
    return dataclasses.replace(axis, coordinates=axis.coordinates[::every])
