"""Checks what every source promises, and takes records from one."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import numpy as np

from daq import protocol
from daq.config import Config, validated
from daq.runtime.direct import OutputStream
from daq.source import Aborted, Source, SourceContext
from daq.streams import Array, Batch, Missing, Stream, check_batch
from daq.testing.comparison import first_difference
from daq.testing.records import Records, overwrite

DEADLINE_S: Final = 30.0
"""A source that does not give its next batch, or does not end, within this time is said to hang."""

_AFTER_STOP: Final = 100


def record_source(
    source_class: type[Source],
    config: Config | Mapping[str, Any],
    *,
    records: int | None = None,
    name: str = "",
) -> dict[str, Records]:
    """Run a source and return its streams with their records, to be fed to `check_analysis`.

    Where the source raises `daq.Aborted`, what came before is returned, and each stream's
    ``aborted`` says why.

    Parameters
    ----------
    source_class, config
        The source and its configuration, a `Config` or a mapping.
    records
        Stop once every stream has this many; None waits until the source ends by itself.
    name
        Of the source; by default what the class is called in the configuration.
    """
    session = _Session(source_class, config, name)
    try:
        session.run(records)
        return session.records()
    finally:
        session.close()


def check_source(
    source_class: type[Source],
    config: Config | Mapping[str, Any],
    *,
    records: int = 100,
    repeatable: bool = True,
    name: str = "",
) -> dict[str, Records]:
    """Check that a source keeps the promises of `daq.Source`; return what it gave.

    - it opens, and gives batches as it has described them, numbered without gaps
    - it ends soon after it is asked to stop, and gives ``expect`` records if it ends by itself
    - memory from ``context.empty`` is filled anew for each batch, and not read again
    - restarted at an index it goes on there, sends again from before, or declares what it lost
    - a simulator's truth is made of arrays and is not in the streams

    Parameters
    ----------
    source_class, config
        The source and its configuration, a `Config` or a mapping. Let it run as fast as it can.
    records
        How many records of each stream to take.
    repeatable
        The source gives the same records each time (a simulator with a seed, a file): compared,
        apart from ``time``. Say False for an instrument.
    name
        Of the source; by default what the class is called in the configuration.

    Raises
    ------
    AssertionError
        With the promise that is not kept, what to do, and where it first shows.
    """
    found = _checked(source_class, config, records, name)
    if not any(len(stream) for stream in found.values()):
        raise AssertionError(f"{source_class.__name__} gave no records at all")
    again = _checked(source_class, config, records, name, slots=True)
    if repeatable:
        _compare(
            source_class, found, again, {},
            "a second run, with memory that is used again, gives other records: fill all of what "
            "context.empty returns, and keep no reference to it (or say repeatable=False)",
        )  # fmt: skip
    start = {stream: len(entry) // 2 for stream, entry in found.items()}
    late = _checked(source_class, config, records, name, start=start)
    if repeatable:
        _compare(
            source_class, found, late, start,
            "restarted in mid-run it gives other records: begin at `start`, or set first",
        )  # fmt: skip
    return found


def _checked(
    source_class: type[Source],
    config: Config | Mapping[str, Any],
    records: int,
    name: str,
    *,
    slots: bool = False,
    start: Mapping[str, int] | None = None,
) -> dict[str, Records]:
    session = _Session(source_class, config, name, slots=slots, start=start)
    try:
        truth = session.truth()
        session.run(records)
        session.ended_as_expected()
        found = session.records()
        truth.update(session.truth())
    finally:
        session.close()
    _truth_is_hidden(source_class, found, truth)
    return found


class _Session:
    """One instance of a source from open to close, every call under a deadline."""

    def __init__(
        self,
        source_class: type[Source],
        config: Config | Mapping[str, Any],
        name: str,
        *,
        slots: bool = False,
        start: Mapping[str, int] | None = None,
    ) -> None:
        self.who = source_class.__name__
        self.name = name or source_class.name or self.who.lower()
        if not isinstance(config, source_class.Config):
            values = dict(config) if isinstance(config, Mapping) else config.model_dump()
            config = validated(source_class.Config, values, f"sources.{self.name}")
        self.stop = threading.Event()
        self.source = source_class()
        self.source.context = SourceContext(self.stop, self._slot if slots else self._fresh)
        self._slots: dict[str, dict[str, Array]] = {}
        self.stopped = False
        self.aborted = ""
        given = self._within(lambda: self.source.open(config), "open")
        if given is None or isinstance(given, Stream):
            raise AssertionError(f"{self.who}: open returns a list of streams, not {given!r}")
        self.streams: dict[str, Stream] = {}
        for stream in given:
            if stream.name in self.streams:
                raise AssertionError(f"{self.who}: open returned {stream.name!r} twice")
            self.streams[stream.name] = stream
        full = {name: f"{self.name}.{name}" if name else self.name for name in self.streams}
        for text in full.values():
            protocol.check_stream_name(text)
        self.full = full
        first = {short: (start or {}).get(full[short], 0) for short in self.streams}
        self.first = first
        self.expected = dict(first)
        self.items: dict[str, list[Batch | Missing]] = {name: [] for name in self.streams}

    def run(self, records: int | None) -> None:
        """Take batches until every stream has ``records`` (or the source ends), then stop it."""
        iterator: Iterator[Batch | Missing] = iter(self.source.batches(dict(self.first)))
        after = 0
        while True:
            try:
                item = self._within(lambda: next(iterator, None), "batches")
            except Aborted as error:
                self.aborted = str(error)
                break
            if item is None:
                break
            self._take(item)
            if self.stop.is_set():
                after += 1
                if after > _AFTER_STOP:
                    raise AssertionError(
                        f"{self.who}: it still gives batches after it was asked to stop; leave "
                        "`batches` once context.stopping is true"
                    )
            elif records is not None and min(self.expected.values()) >= records:
                self.stopped = True
                self.stop.set()

    def ended_as_expected(self) -> None:
        """A source that ended by itself has given all that it announced."""
        for short, stream in self.streams.items():
            count = self.expected[short]
            if self.aborted:
                raise AssertionError(f"{self.who}: aborted after {count} records: {self.aborted}")
            if stream.expect is not None and (
                count > stream.expect or (count < stream.expect and not self.stopped)
            ):
                raise AssertionError(
                    f"{self.who}: {self.full[short]} announced {stream.expect} records (expect) "
                    f"and gave {count}"
                )

    def records(self) -> dict[str, Records]:
        """Return what was taken, by the full names of the streams."""
        return {
            self.full[short]: dataclasses.replace(
                Records.of(stream.renamed(self.full[short]), self.items[short]),
                aborted=self.aborted,
            )
            for short, stream in self.streams.items()
        }

    def truth(self) -> dict[str, Array]:
        """Return the truth as arrays."""
        truth = {}
        for name, value in self.source.truth().items():
            try:
                protocol.wire_dtype(np.asarray(value).dtype)
            except protocol.ProtocolError as error:
                raise AssertionError(f"{self.who}: truth {name!r}: {error}") from error
            truth[name] = np.array(value)
        return truth

    def close(self) -> None:
        """Stop and close."""
        self.stop.set()
        self._within(self.source.close, "close")

    def _take(self, item: Batch | Missing) -> None:
        if not isinstance(item, Batch | Missing):
            raise AssertionError(f"{self.who}: batches gave {type(item).__name__}, not a Batch")
        stream = self.streams.get(item.stream)
        if stream is None:
            raise AssertionError(
                f"{self.who}: a batch of {item.stream!r}, but opened were {sorted(self.streams)}"
            )
        name, expected = self.full[item.stream], self.expected[item.stream]
        first = expected if item.first is None else item.first
        if first > expected:
            raise AssertionError(
                f"{self.who}: {name} jumps from record {expected} to {first}; declare what was "
                f"lost: yield Missing({item.stream!r}, {first - expected}, 'why')"
            )
        self.expected[item.stream] = max(expected, first + item.count)
        repeated = min(item.count, expected - first)
        if isinstance(item, Missing):
            if item.count > repeated:
                lost = Missing(item.stream, item.count - repeated, item.reason)
                self.items[item.stream].append(lost)
            return
        try:
            checked = check_batch(stream, item)
        except ValueError as error:
            raise AssertionError(f"{self.who}: a batch is not as opened: {error}") from error
        if np.shape(item.valid) != (item.count,):
            raise AssertionError(f"{self.who}: {name}: valid has not {item.count} entries")
        if item.count > repeated:
            self.items[item.stream].append(checked.slice(repeated, item.count).copy())

    def _fresh(self, name: str, count: int) -> dict[str, Array]:
        """Give new memory, zeros."""
        return {
            field: np.zeros((count, *described.shape), described.numpy_dtype)
            for field, described in self.streams[name].fields.items()
        }

    def _slot(self, name: str, count: int) -> dict[str, Array]:
        """Give the same memory each time, overwritten with other values, as a ring of one slot."""
        held = self._slots.get(name)
        if held is None or len(held["time"]) < count:
            held = self._slots[name] = self._fresh(name, count)
        for array in held.values():
            overwrite(array)
        return {field: array[:count] for field, array in held.items()}

    def _within(self, call: Callable[[], Any], what: str) -> Any:
        """Return what ``call`` returns; a source that hangs fails instead of hanging the test."""
        outcome: list[Any] = []

        def target() -> None:
            try:
                outcome.extend((call(), None))
            except BaseException as error:
                outcome.extend((None, error))

        thread = threading.Thread(target=target, daemon=True)
        thread.start()
        thread.join(DEADLINE_S)
        if not outcome:
            raise AssertionError(
                f"{self.who}: {what} hangs; wait with context.wait, which ends when it is to stop"
            )
        if outcome[1] is not None:
            raise outcome[1]
        return outcome[0]


def _compare(
    source_class: type[Source],
    one: Mapping[str, Records],
    other: Mapping[str, Records],
    start: Mapping[str, int],
    advice: str,
) -> None:
    """Compare the records that both hold, apart from time; ``other`` begins at ``start``."""
    for name, records in one.items():
        first = start.get(name, 0)
        count = min(len(records) - first, len(other[name]))
        results = []
        for entry, offset in ((records, first), (other[name], 0)):
            whole = OutputStream(entry.stream)
            for item in entry.items(offset, offset + count):
                if isinstance(item, Batch):
                    item.raw["time"] = np.zeros(item.count, np.int64)
                    whole.batches.append(item)
            results.append({name: whole})
        if other[name].missing and first:
            continue  # it says what it cannot give again
        if (difference := first_difference(*results)) is not None:
            raise AssertionError(f"{source_class.__name__}: {advice}.\n  {difference}")


def _truth_is_hidden(
    source_class: type[Source], found: Mapping[str, Records], truth: Mapping[str, Array]
) -> None:
    for name, records in found.items():
        given = {
            **{f"field {key!r}": array for key, array in records.arrays.items()},
            **{f"constant {key!r}": array for key, array in records.stream.constants.items()},
            **{
                f"attribute {key!r}": np.asarray(value)
                for key, value in records.stream.attributes.items()
                if isinstance(value, bool | int | float | list | tuple)
            },
        }
        for key, value in truth.items():
            for what, array in given.items():
                if _tells(value, array, same_name=what.endswith(f"{key!r}")):
                    raise AssertionError(
                        f"{source_class.__name__}: {name} gives the truth {key!r} away as its "
                        f"{what}; an analysis must not see it"
                    )


def _tells(truth: Array, given: Array, *, same_name: bool) -> bool:
    """Tell whether ``given`` holds the truth; a single number only counts under the same name."""
    length = min(len(truth), len(given)) if truth.ndim and given.ndim else 0
    if length and truth.shape[1:] == given.shape[1:]:
        truth, given = truth[:length], given[:length]
    if truth.shape != given.shape or not np.array_equal(truth, given):
        return False
    return same_name or (truth.size > 2 and bool(np.any(truth != truth.flat[0])))
