"""The inputs of an analysis: from the bus, or first from the file where the bus holds them no more.

Whoever catches up reads the file until the bus still holds the record that comes next, then
subscribes with its index. It never holds up the source while it is behind.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from daq.bus.client import Closed, Command, Consumer, Delivery, Lost, Opened, Refused
from daq.streams import Batch, Missing, Stream

log = logging.getLogger("inputs")

READ_BYTES = 16 << 20
"""How much is read from the file at once while catching up."""


@dataclasses.dataclass(slots=True)
class _Input:
    stream: Stream | None = None
    next: int = 0
    on_bus: bool = False
    waiting: bool = True
    ended: bool = False
    closed: Closed | None = None
    missed: int = 0


class Inputs:
    """The records of several streams, each from its first record to its close, without a gap.

    Parameters
    ----------
    endpoint, name
        Of the bus, and of the analysis.
    streams
        Names of the input streams.
    folder
        Of the run, where it is recorded; None where nothing can be read back.
    """

    def __init__(
        self, endpoint: str, name: str, streams: Sequence[str], folder: Path | None, *,
        ring: bool = True, credit: int = 4,
    ) -> None:  # fmt: skip
        self._inputs = {stream: _Input() for stream in streams}
        self._folder = folder
        self._reader: Any = None
        self._ring, self._credit = ring, credit
        self._early: list[Delivery | Lost | Closed] = []
        self.consumer = Consumer(endpoint, name, timeout=None)
        self.commands: list[Command] = []
        for stream in streams:
            self._subscribe(stream, 0)

    def open(self, idle: Callable[[], None], warn_after: float = 10.0) -> dict[str, Stream]:
        """Wait until every input is open; return their descriptions. ``idle`` is called meanwhile."""
        since, warned = time.monotonic(), False
        while any(entry.stream is None for entry in self._inputs.values()):
            idle()
            event = self.consumer.receive(0.1)
            if isinstance(event, Delivery | Lost | Closed):
                # Kept, unreleased: the source waits for the other inputs to open.
                self._early.append(event)
            elif event is not None:
                self._note(event)
            self._describe_from_file()
            if not warned and time.monotonic() - since > warn_after:
                warned = True
                names = [n for n, entry in self._inputs.items() if entry.stream is None]
                log.warning("still waiting for %s to open", ", ".join(names))
        return {name: entry.stream for name, entry in self._inputs.items() if entry.stream}

    @property
    def start(self) -> Mapping[str, int]:
        """For each input the index of the first record that will come: 0 unless some are lost."""
        return {name: entry.missed for name, entry in self._inputs.items()}

    @property
    def endings(self) -> Mapping[str, Closed | None]:
        """How each input has ended."""
        return {name: entry.closed for name, entry in self._inputs.items()}

    def items(self, idle: Callable[[], None]) -> Iterator[Delivery | Batch | Missing | Closed]:
        """Yield what comes, until every input has closed; the caller releases each `Delivery`.

        Records read from the file come as `Batch`. ``idle`` is called at least ten times a second.
        """
        early, self._early = self._early, []
        for kept in early:
            yield from self._follow(kept)
        while not all(entry.ended for entry in self._inputs.values()):
            idle()
            behind = [name for name, e in self._inputs.items() if not e.on_bus and not e.waiting]
            event = self.consumer.receive(0.0 if behind else 0.05)
            if isinstance(event, Delivery | Lost | Closed):
                yield from self._follow(event)
            elif event is not None:
                self._note(event)
            for name in behind:
                yield from self._from_file(name)

    def release(self, delivery: Delivery) -> None:
        """Give a delivery back."""
        self.consumer.release(delivery)

    def close(self) -> None:
        """Leave the bus and close the file."""
        self.consumer.close()
        if self._reader is not None:
            self._reader.close()

    # -- inside ---------------------------------------------------------------------------------

    def _subscribe(self, stream: str, start: int) -> None:
        self._inputs[stream].waiting = True
        self.consumer.subscribe([stream], start=start, credit=self._credit, ring=self._ring)

    def _note(self, event: Any) -> None:
        if isinstance(event, Opened):
            entry = self._inputs[event.stream.name]
            entry.stream = entry.stream or event.stream
            entry.on_bus, entry.waiting = True, False
        elif isinstance(event, Refused) and event.code == "gone":
            entry = self._inputs[event.about or ""]
            self.consumer.forget(event.about or "")
            entry.on_bus, entry.waiting = False, False
            if self._folder is None:
                held = event.header["held"]
                log.warning("%s: records %d to %d are lost: nothing is recorded",
                            event.about, entry.next, held - 1)  # fmt: skip
                entry.missed = held if entry.next == 0 else entry.missed
                entry.next = held
                self._subscribe(event.about or "", held)
        elif isinstance(event, Command):
            self.commands.append(event)

    def _describe_from_file(self) -> None:
        for name, entry in self._inputs.items():
            if entry.stream is None and not entry.waiting and self._refreshed():
                entry.stream = self._reader.streams.get(name)

    def _follow(self, event: Delivery | Lost | Closed) -> Iterator[Delivery | Missing | Closed]:
        if isinstance(event, Delivery):
            entry = self._inputs[event.batch.stream]
            entry.next = event.through
            yield event
        elif isinstance(event, Lost):
            end = self._inputs[event.stream].next = event.first + event.count
            yield Missing(event.stream, event.count, event.reason, event.first)
            # Taken: a stream that ends in lost records is not held up by us.
            self.consumer.credit(event.stream, 0, through=end)
        else:
            entry = self._inputs[event.stream]
            if not entry.ended:
                entry.ended, entry.closed = True, event
                yield event

    def _from_file(self, name: str) -> Iterator[Batch]:
        """Read on from the file; where it has no more, ask the bus for the next record."""
        entry = self._inputs[name]
        if not self._refreshed() or name not in self._reader.streams:
            self._subscribe(name, entry.next)
            return
        count = self._reader.count(name) - entry.next
        if count <= 0:
            self._subscribe(name, entry.next)
            return
        stream = self._reader.streams[name]
        count = min(count, max(1, READ_BYTES // max(1, stream.record_bytes)))
        # Rows that the instrument lost are fill values and not valid, as a Missing becomes.
        batch = self._reader.read(name, entry.next, count)
        entry.next += count
        yield batch

    def _refreshed(self) -> bool:
        if self._folder is None:
            return False
        from daq.recording.reader import RunReader

        with contextlib.suppress(OSError, LookupError):
            if self._reader is None:
                self._reader = RunReader(self._folder)
            self._reader.refresh()
            return True
        return False
