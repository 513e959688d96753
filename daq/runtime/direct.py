"""Drives an analysis by direct calls: in its worker process, in reprocessing and in tests alike.

`AnalysisDriver` is the only place where records meet an analysis, so that live, replay,
reprocessing and `daq.testing` cannot differ. It knows no clock, no socket and no file.
"""

from __future__ import annotations

import dataclasses
import logging
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from daq import protocol
from daq.analysis import Analysis
from daq.config import Config, nearest, validated
from daq.corrections import Corrections, corrections_for
from daq.rebatch import Rebatch
from daq.streams import NO_TIME, Array, Batch, Missing, Stream, check_batch, filled

log = logging.getLogger("analysis")


class AnalysisDriver:
    """Feeds one analysis and numbers what it gives.

    Call `open` once, then `feed` and `reconfigure` in any order, `end` for each input that has
    closed, and `close`. Errors of the analysis pass through unchanged; what it gives wrongly
    (an unknown stream, a wrong dtype, None) raises ValueError or TypeError. After an error the
    driver is to be thrown away.

    Parameters
    ----------
    analysis_class
        Of the analysis; the driver makes the instance, ``driver.analysis``.
    name
        What the configuration calls this analysis: prefix of its output streams.
    config
        The analysis's `Config`, or a mapping that is validated as one.
    """

    def __init__(
        self, analysis_class: type[Analysis], name: str, config: Config | Mapping[str, Any]
    ) -> None:
        block = analysis_class.block
        if block is not None and (type(block) is not int or block < 1):
            raise ValueError(f"{analysis_class.__name__}.block is {block!r}: at least 1, or None")
        self.name = name
        self.config = resolved_config(analysis_class, config)
        self.analysis = analysis_class()
        self.processing: tuple[str, int, int] | None = None
        """Input stream, first index and count of the records that `process` has at the moment."""
        self._inputs: dict[str, _Input] = {}
        self._outputs: dict[str, _Output] = {}
        self._closed = False

    def open(
        self,
        streams: Mapping[str, Stream] | Sequence[Stream],
        *,
        start: Mapping[str, int | None] | None = None,
    ) -> list[Stream]:
        """Open the analysis on its input streams; return its output streams, ``<name>.<stream>``.

        Parameters
        ----------
        streams
            The inputs, by the name that batches will carry.
        start
            For each input the index of the first record to come, 0 where not given; None accepts
            whatever comes first (an analysis that joins in mid-run and cannot catch up).
        """
        if self._inputs:
            raise RuntimeError(f"{self.name} is open already")
        if not isinstance(streams, Mapping):
            streams = {stream.name: stream for stream in streams}
        if not streams:
            raise ValueError(f"{self.name}: an analysis needs at least one input stream")
        for name, stream in streams.items():
            first = 0 if start is None else start.get(name, 0)
            self._inputs[name] = _Input(_guarded(stream, name), first, self.analysis.block)
        given = self.analysis.open(
            {name: entry.stream for name, entry in self._inputs.items()}, self.config
        )
        if given is None or isinstance(given, Stream):
            raise TypeError(f"{self.name}: open returns a list of streams, not {given!r}")
        for stream in given:
            if not stream.name:
                raise ValueError(f"{self.name}: a stream that open returned has no name")
            if stream.name in self._outputs:
                raise ValueError(f"{self.name}: open returned the stream {stream.name!r} twice")
            full = protocol.check_stream_name(f"{self.name}.{stream.name}", reserved_ok=True)
            self._outputs[stream.name] = _Output(stream.renamed(full), 0)
        return self.streams

    @property
    def streams(self) -> list[Stream]:
        """The output streams, as `open` returned them."""
        return [entry.stream for entry in self._outputs.values()]

    @property
    def latest_config(self) -> Config:
        """The configuration that holds once every waiting command has taken effect."""
        waiting = [entry.commands[-1] for entry in self._inputs.values() if entry.commands]
        return waiting[-1][1] if waiting else self.config

    def renumber(self, numbering: Mapping[str, int]) -> None:
        """Number output streams (full names) on from an index, before the first record."""
        for entry in self._outputs.values():
            entry.next = numbering.get(entry.stream.name, entry.next)

    @property
    def expected(self) -> dict[str, int | None]:
        """For each input the index of the next record to `feed`; None before the first, if open."""
        return {name: entry.expected for name, entry in self._inputs.items()}

    @property
    def processed(self) -> dict[str, int]:
        """For each input the index of the next record that the analysis will see.

        Behind `expected` by the records that wait for the rest of their block.
        """
        return {name: entry.processed or 0 for name, entry in self._inputs.items()}

    @property
    def given(self) -> dict[str, int]:
        """For each output stream (full name) the index that its next record will have."""
        return {entry.stream.name: entry.next for entry in self._outputs.values()}

    def feed(self, item: Batch | Missing) -> list[Batch]:
        """Give the analysis the next records of one input; return what it gave, numbered.

        Missing records reach the analysis as fill values with ``valid`` False. The arrays of
        ``item`` may be overwritten once this returns; those returned belong to the caller.
        Raises ValueError where ``item`` does not follow on the records before it.
        """
        entry = self._input(item.stream)
        if entry.ended:
            raise ValueError(f"{item.stream} has ended: it can give no more records")
        first = entry.follow(item)
        if isinstance(item, Missing):
            batches: Iterable[Batch] = filled(entry.stream, first, item.count)
        else:
            batch = check_batch(entry.stream, item)
            batch.first = first
            batches = (batch,)
        results: list[Batch] = []
        for batch in batches:
            entry.expected = first = first + batch.count
            for piece in entry.cut(batch):
                results += self._process(entry, piece)
        return results

    def end(self, stream: str) -> list[Batch]:
        """An input has closed: give the analysis what is left of its last block, and tell it."""
        entry = self._input(stream)
        results: list[Batch] = []
        if not entry.ended:
            entry.ended = True
            for piece in entry.rest():
                results += self._process(entry, piece)
            results += self._take(self.analysis.ended(stream), "ended")
        return results

    def close(self) -> list[Batch]:
        """All inputs have ended (those not yet ended are): return the last batches."""
        if self._closed:
            return []
        results = [batch for stream in self._inputs for batch in self.end(stream)]
        self._closed = True
        return results + self._take(self.analysis.close(), "close")

    def reconfigure(self, config: Config | Mapping[str, Any], stream: str, index: int) -> Config:
        """Change parameters exactly at record ``index`` of the input ``stream``; return them.

        The batch that holds this record is split there: records before it are processed with
        the old parameters. Commands on one input come in order of index. One whose index the
        stream never reaches does nothing. Raises ValueError if the analysis has already seen
        that record, if a later command is waiting, if the analysis cannot be reconfigured, or if
        it refuses these parameters now; refused later, they are logged and nothing changes.
        """
        entry = self._input(stream)
        if type(self.analysis).reconfigure is Analysis.reconfigure:
            raise ValueError(f"{self.name} cannot be reconfigured while it runs; restart it")
        if entry.ended:
            raise ValueError(f"{stream} has ended: no record {index} will come")
        if index < (entry.processed or 0):
            raise ValueError(
                f"{self.name} is at record {entry.processed} of {stream}: too late for {index}"
            )
        if entry.commands and index < entry.commands[-1][0]:
            raise ValueError(f"{self.name}: a later command waits for {entry.commands[-1][0]}")
        config = resolved_config(type(self.analysis), config)
        if index == (entry.processed or 0) and not entry.commands:
            self._apply(config)
        else:
            entry.commands.append((index, config))
        return config

    def _apply(self, config: Config) -> None:
        self.analysis.reconfigure(config)
        self.config = config

    def _input(self, stream: str) -> _Input:
        if self._closed:
            raise RuntimeError(f"{self.name} is closed")
        try:
            return self._inputs[stream]
        except KeyError:
            known = nearest(stream, self._inputs)
            raise ValueError(f"{self.name} has no input {stream!r}{known}") from None

    def _process(self, entry: _Input, batch: Batch) -> list[Batch]:
        """Process ``batch``, split where commands take effect."""
        results: list[Batch] = []
        assert batch.first is not None
        start = 0
        while start < batch.count:
            while entry.commands and entry.commands[0][0] <= batch.first + start:
                index, config = entry.commands.popleft()
                try:
                    self._apply(config)
                except ValueError as error:
                    # The analysis goes on as it was: at every replay, at the same record.
                    log.error(
                        "%s: refused at record %d of %s: %s", self.name, index, batch.stream, error
                    )
            stop = batch.count
            if entry.commands:
                stop = min(stop, entry.commands[0][0] - batch.first)
            piece = entry.guarded(batch, start, stop)
            self.processing = (batch.stream, batch.first + start, piece.count)
            results += self._take(self.analysis.process(piece), "process")
            self.processing = None
            entry.processed = batch.first + stop
            start = stop
        return results

    def _take(self, batches: Iterable[Batch] | None, method: str) -> list[Batch]:
        if batches is None or isinstance(batches, Batch):
            what = "None" if batches is None else "a batch"
            raise TypeError(
                f"{self.name}: {method} returned {what}; return a list of batches "
                "(empty where there is none), or yield them"
            )
        return [self._numbered(batch, method) for batch in batches]

    def _numbered(self, batch: Batch, method: str) -> Batch:
        if not isinstance(batch, Batch):
            raise TypeError(f"{self.name}: {method} gave {type(batch).__name__}, not a daq.Batch")
        output = self._outputs.get(batch.stream)
        if output is None:
            known = nearest(batch.stream, self._outputs)
            raise ValueError(f"{self.name}: {method} gave a batch of {batch.stream!r}, "
                             f"which was not opened{known}")  # fmt: skip
        if batch.first is not None and batch.first != output.next:
            raise ValueError(
                f"{output.stream.name}: a batch begins at {batch.first}, the next record is "
                f"{output.next}; leave first out, the runtime numbers on"
            )
        valid = np.array(batch.valid, bool)
        if valid.shape != (batch.count,):
            raise ValueError(f"{output.stream.name}: valid has shape {list(valid.shape)}, "
                             f"not one entry for each of {batch.count} records")  # fmt: skip
        checked = check_batch(output.stream, _widened(output.stream, batch))
        if not valid.all():
            checked = _emptied(output.stream, checked, valid)
        # An analysis may give views of its input, or of state that it goes on changing.
        arrays = {
            name: array.copy() if np.may_share_memory(array, batch.raw[name]) else array
            for name, array in checked.raw.items()
        }
        first, output.next = output.next, output.next + batch.count
        return Batch(output.stream.name, arrays, first, valid)


class OutputStream:
    """What an analysis gave on one of its streams, from the first record to the last.

    ``output["g2"]`` is the whole field, record axis first; `stream` its description, `batches`
    how it came.
    """

    def __init__(self, stream: Stream, batches: Sequence[Batch] = ()) -> None:
        self.stream = stream
        self.batches: list[Batch] = list(batches)

    def __repr__(self) -> str:
        return f"<OutputStream {self.stream.name}: {len(self)} records>"

    def __len__(self) -> int:
        return sum(batch.count for batch in self.batches)

    def __getitem__(self, field: str) -> Array:
        if field not in self.stream.fields:
            raise KeyError(f"{self.stream.name}: {field}{nearest(field, self.stream.fields)}")
        return self.arrays[field]

    @cached_property
    def arrays(self) -> dict[str, Array]:
        """Every field, record axis first."""
        return {
            name: np.concatenate(
                [
                    np.empty((0, *field.shape), field.numpy_dtype),
                    *(batch.raw[name] for batch in self.batches),
                ]
            )
            for name, field in self.stream.fields.items()
        }

    @cached_property
    def valid(self) -> npt.NDArray[np.bool_]:
        """One bool per record."""
        return np.concatenate([np.empty(0, bool), *(batch.valid for batch in self.batches)])


def run_analysis(
    analysis_class: type[Analysis],
    streams: Mapping[str, Stream],
    batches: Iterable[Batch | Missing],
    config: Config | Mapping[str, Any],
    *,
    name: str = "",
    reconfigure: Mapping[str, Sequence[tuple[int, Config | Mapping[str, Any]]]] | None = None,
) -> dict[str, OutputStream]:
    """Run an analysis from its first record to its last; return its streams by their short names.

    Parameters
    ----------
    analysis_class, config
        The analysis and its configuration (its `Config`, or a mapping validated as one).
    streams
        Input streams by name.
    batches
        The records of all inputs, each stream in order of index; batches whose ``first`` is None
        are numbered on.
    name
        Of the analysis; by default what its class is called in the configuration.
    reconfigure
        For each input that changes parameters, ``[(index, config), ...]`` in order of index.
    """
    name = name or analysis_class.name or analysis_class.__name__.lower()
    driver = AnalysisDriver(analysis_class, name, config)
    outputs = {stream.name: OutputStream(stream) for stream in driver.open(streams)}
    for stream, commands in (reconfigure or {}).items():
        for index, changed in commands:
            driver.reconfigure(changed, stream, index)
    for item in batches:
        for result in driver.feed(item):
            outputs[result.stream].batches.append(result)
    for result in driver.close():
        outputs[result.stream].batches.append(result)
    return {full.removeprefix(f"{name}."): output for full, output in outputs.items()}


def resolved_config(analysis_class: type[Analysis], config: Config | Mapping[str, Any]) -> Config:
    """Return ``config`` as the analysis's own `Config`; raise `daq.ConfigError` in one line."""
    if isinstance(config, analysis_class.Config):
        return config
    if not isinstance(config, Mapping):
        raise TypeError(
            f"{analysis_class.__name__} takes its own Config, not {type(config).__name__}"
        )
    where = f"analyses.{analysis_class.name or analysis_class.__name__}"
    return validated(analysis_class.Config, dict(config), where)


class _Input:
    """One input stream: what is expected next, what is held, what shall change and when."""

    def __init__(self, stream: Stream, first: int | None, block: int | None) -> None:
        self.stream = stream
        self.corrections: Corrections | None = corrections_for(stream)
        self.expected = first
        self.processed = first
        self.ended = False
        self.commands: deque[tuple[int, Config]] = deque()
        self._rebatch = None if block is None else Rebatch(block)

    def follow(self, item: Batch | Missing) -> int:
        """Return the index of the first record of ``item``; raise ValueError if not the next."""
        if item.count < 0:
            raise ValueError(f"{item!r}: a negative number of records")
        if self.expected is None:
            self.expected = self.processed = 0 if item.first is None else item.first
        if item.first is not None and item.first != self.expected:
            raise ValueError(
                f"{self.stream.name}: records {item.first}+{item.count} came where "
                f"{self.expected} was next"
            )
        return self.expected

    def cut(self, batch: Batch) -> list[Batch]:
        return [batch] if self._rebatch is None else self._rebatch.push(batch)

    def rest(self) -> list[Batch]:
        return [] if self._rebatch is None else self._rebatch.flush()

    def guarded(self, batch: Batch, start: int, stop: int) -> Batch:
        """Return records of ``batch`` for the analysis: with corrections, and read-only."""
        assert batch.first is not None
        return Batch(
            self.stream.name,
            {name: _read_only(array[start:stop]) for name, array in batch.raw.items()},
            batch.first + start,
            _read_only(batch.valid[start:stop]),
            self.corrections,
        )


@dataclasses.dataclass
class _Output:
    stream: Stream
    next: int


def _widened(stream: Stream, batch: Batch) -> Batch:
    """Return ``batch`` with fields in the dtype of the stream where no value can change by that."""
    arrays = dict(batch.raw)
    for name, field in stream.fields.items():
        array = arrays.get(name)
        if array is not None and np.can_cast(array.dtype, field.numpy_dtype, "safe"):
            arrays[name] = array.astype(field.numpy_dtype, copy=False)
    return Batch(batch.stream, arrays, batch.first, batch.valid)


def _emptied(stream: Stream, batch: Batch, valid: npt.NDArray[np.bool_]) -> Batch:
    """Return a batch whose records that are not valid hold fill values: they travel as missing."""
    arrays = {name: array.copy() for name, array in batch.raw.items()}
    for name, array in arrays.items():
        array[~valid] = NO_TIME if name == "time" else stream.fields[name].fill
    return Batch(stream.name, arrays, batch.first, valid)


def _guarded(stream: Stream, name: str) -> Stream:
    constants = {key: _read_only(array) for key, array in stream.constants.items()}
    return dataclasses.replace(stream, name=name, constants=constants)


def _read_only(array: Array) -> Array:
    view = array.view()
    view.flags.writeable = False
    return view
