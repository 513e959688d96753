"""Records from updates: the last known value of every field, whenever the first one is updated."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

import daq
from daq_secop.client import error_of, timestamp
from daq_secop.datainfo import Number, Value
from daq_secop.messages import Message
from daq_secop.selection import Key, Selection
from daq_secop.troubles import Troubles


class Readings:
    """Takes updates in the order in which they came, and gives records. It knows no socket.

    An update of the first field of a stream begins a record. The record is made ``hold`` seconds
    later, or when the next one begins: what a node reads in one round arrives together, and belongs
    together. A field is NaN before its first update, and where its last one was an error or is not
    what the node has described. The same value of the first field with the same time makes no
    second record.

    Parameters
    ----------
    selections
        The streams.
    hold
        Seconds.
    node_time
        Records have the time that the node gives (where it does), not that of arrival.
    troubles
        Where errors are counted.
    clock
        Seconds that never go back.
    """

    def __init__(
        self, selections: Sequence[Selection], hold: float, node_time: bool, troubles: Troubles,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._tables = [_Table(selection, troubles) for selection in selections]
        self._wanted = {key for selection in selections for key in selection.keys}
        self._hold = hold
        self._node_time = node_time
        self._troubles = troubles
        self._clock = clock
        self.ahead = 0.0
        """s; how far the node's clock is ahead of this machine's, for updates without a time."""

    @property
    def latest(self) -> int | None:
        """The latest time of all records, ns; None before the first."""
        return max((t.latest for t in self._tables if t.latest is not None), default=None)

    def forget(self) -> None:
        """Nothing is known any more: the connection was lost. What has begun is finished first."""
        for table in self._tables:
            table.finish()
            table.forget()

    def present(self, messages: Sequence[Message]) -> None:
        """Take the present values, in any order, as a node gives them when updates are activated.

        They make one record of each stream, however often a value is among them.
        """
        for message in messages:
            self._take(message, one_record=True)

    def take(self, message: Message) -> None:
        """Take an update, an error, or the answer to a read; other messages are left out."""
        self._take(message, one_record=False)

    def batches(self, everything: bool = False) -> Iterator[daq.Batch]:
        """Give the records that are made; ``everything``: also those that were to be held."""
        now = self._clock()
        for table in self._tables:
            if everything or table.is_due(now):
                table.finish()
            if (batch := table.batch()) is not None:
                yield batch

    def _take(self, message: Message, one_record: bool) -> None:
        failed = message.action in ("error_update", "error_read")
        if not failed and message.action not in ("update", "reply"):
            return
        # An old short form of the specifier means the main value.
        key = (message.module, message.parameter or "value")
        if key not in self._wanted:
            return
        now = self._clock()
        for table in self._tables:
            if not one_record and (table.main == key or table.is_due(now)):
                table.finish()
            if table.main == key:
                table.begin(self._time_of(message), now + self._hold)
        value = None if failed else self._value(message)
        if failed:
            kind, text = error_of(message.data)
            self._troubles.add(f"{message.specifier} is not known ({kind})", text)
        for table in self._tables:
            table.update(key, value)

    def _time_of(self, message: Message) -> int:
        if not self._node_time:
            return message.arrived
        seconds = timestamp(message.data)
        return round(message.arrived + self.ahead * 1e9 if seconds is None else seconds * 1e9)

    def _value(self, message: Message) -> Any:
        if isinstance(message.data, list) and message.data and message.data[0] is not None:
            return message.data[0]
        self._troubles.add(f"{message.specifier} came without a value", repr(message.data)[:80])
        return None


class _Table:
    """The records of one stream that are made, the one that is held, and what is known."""

    def __init__(self, selection: Selection, troubles: Troubles) -> None:
        self.main = selection.main
        self.latest: int | None = None
        self._due: float | None = None
        self._name = selection.stream.name
        self._cells = [
            _Cell(field, origin.key, origin.number) for field, origin in selection.origins.items()
        ]
        self._offsets = {
            field: _Cell("", (origin.key[0], "offset"), origin.offset)
            for field, origin in selection.origins.items()
            if origin.offset is not None
        }
        self._troubles = troubles
        self._begun = 0
        self._made: list[tuple[int, list[Value]]] = []
        self._last_main: list[Value] = []

    def begin(self, time_ns: int, due: float) -> None:
        """The first field is updated: the next record has this time."""
        self._begun, self._due = time_ns, due

    def is_due(self, now: float) -> bool:
        """Tell whether a record has been held long enough."""
        return self._due is not None and self._due <= now

    def update(self, key: Key, value: Any) -> None:
        """Keep what is known now of a parameter; None: nothing."""
        for cell in (*self._cells, *self._offsets.values()):
            if cell.key != key:
                continue
            try:
                cell.value = cell.number.unknown if value is None else cell.number.read(value)
            except ValueError as error:
                cell.value = cell.number.unknown
                self._troubles.add(f"{':'.join(key)} is not as described", str(error))

    def forget(self) -> None:
        """Nothing is known any more."""
        for cell in (*self._cells, *self._offsets.values()):
            cell.value = cell.number.unknown

    def finish(self) -> None:
        """Make the record that has begun, if there is one."""
        if self._due is None:
            return
        self._due = None
        main = [cell.value for cell in self._cells if cell.key == self.main]
        if self.latest is not None and self._begun <= self.latest:
            if self._begun == self.latest and all(map(_same, main, self._last_main)):
                return  # An answer beside its update, or the present value after a reconnect.
            if self._begun < self.latest:
                back = (self.latest - self._begun) / 1e9
                self._troubles.add(f"the times of {self._name} went back", f"by {back:.3g} s")
        self.latest, self._last_main = self._begun, main
        row = [
            cell.value + self._offsets[cell.field].value
            if cell.field in self._offsets
            else cell.value
            for cell in self._cells
        ]
        self._made.append((self._begun, row))

    def batch(self) -> daq.Batch | None:
        """Return the records that were made since, or None."""
        if not self._made:
            return None
        made, self._made = self._made, []
        arrays: dict[str, Any] = {"time": np.array([time_ns for time_ns, _ in made], np.int64)}
        for at, cell in enumerate(self._cells):
            arrays[cell.field] = np.stack([row[at] for _, row in made])
        return daq.Batch(self._name, arrays)


class _Cell:
    """What is known of one field."""

    def __init__(self, field: str, key: Key, number: Number) -> None:
        self.field, self.key, self.number = field, key, number
        self.value = number.unknown


def _same(one: Value, other: Value) -> bool:
    return np.array_equal(one, other, equal_nan=True)
