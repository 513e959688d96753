"""The process of a source: its iterator in one thread, the bus in another."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from daq.bus.connection import Refused
from daq.bus.publisher import Publisher
from daq.config import ConfigError, validated
from daq.corrections import with_attributes, with_corrections
from daq.discovery import Plugins
from daq.runtime import child
from daq.runtime.ended_streams import ending, open_or_ended
from daq.runtime.experiment import load_corrections
from daq.source import Aborted, Source, SourceContext
from daq.streams import Array, Batch, Field, Missing, Stream

log = logging.getLogger("source")

STOP_SECONDS = 10.0


class SourceRunner:
    """Runs one source until its end, a ``stop`` command, or the death of the supervisor.

    Parameters
    ----------
    source, name, config
        The source, what the run calls it, and its validated configuration.
    endpoint
        Of the bus.
    constants
        Corrections (see `daq.corrections`) that the configuration gives to the streams.
    attributes
        Attributes that it gives to the streams of images.
    memory
        File for what the source must know again after a restart, see `daq.SourceContext`.
    """

    def __init__(
        self,
        source: Source,
        name: str,
        config: Any,
        endpoint: str,
        *,
        constants: Mapping[str, Array] | None = None,
        attributes: Mapping[str, Any] | None = None,
        parent: child.Parent | None = None,
        ring: bool = True,
        memory: Path | None = None,
    ) -> None:
        self.name = name
        self._source = source
        self._config = config
        self._constants = dict(constants or {})
        self._attributes = dict(attributes or {})
        self._parent = parent
        self._stop = threading.Event()
        self._stop_reason = ""
        self._items: queue.Queue[Batch | Missing | BaseException | None] = queue.Queue(1)
        self._names: dict[str, str] = {}
        self._endpoint = endpoint
        self._ring = ring
        self._memory = memory
        self._publisher: Publisher | None = None
        self._ended: dict[str, dict[str, Any]] = {}

    def run(self) -> dict[str, dict[str, Any]]:
        """Run; return the ``closed`` header of each stream. Raises what the source raises."""
        self._source.context = SourceContext(self._stop, self._allocate, self._memory)
        try:
            publisher = Publisher(
                self._endpoint, self.name, on_command=self._command, ring=self._ring, timeout=None
            )
            try:
                try:
                    opened = [self._named(stream) for stream in self._opened(publisher)]
                    told = with_attributes(opened, self._attributes)
                    streams = with_corrections(told, self._constants)
                except (ValueError, OSError) as error:
                    raise child.FatalError(f"{self.name}: {error}") from error
                self._publisher = publisher
                start = self._open(publisher, streams)
                if self._ended.keys() >= {stream.name for stream in streams}:
                    return self._ended
                bad = None
                try:
                    status, reason = self._pump(publisher, start)
                except Aborted as error:
                    status, reason = "aborted", str(error)
                except ValueError as error:
                    # Bad data: it would be as bad after a restart. What came before it is kept.
                    bad, status, reason = error, "failed", str(error)
                for stream in streams:
                    if stream.name in self._ended:
                        continue
                    status_now, why = self._ending(stream, status, reason)
                    header = publisher.close_stream(stream.name, status_now, why[:400])
                    self._ended[stream.name] = ending(stream, header, why)
                if bad is not None:
                    raise child.FatalError(f"{self.name}: {bad}") from bad
                return self._ended
            finally:
                publisher.close()
        finally:
            self._source.close()

    def stop(self, reason: str) -> None:
        """Ask the source to end."""
        self._stop_reason = self._stop_reason or reason
        self._stop.set()

    # -- inside ---------------------------------------------------------------------------------

    def _opened(self, publisher: Publisher) -> Sequence[Stream]:
        """Open the source in a thread of its own: it may wait long, and is told to stop meanwhile."""
        answers: queue.Queue[Sequence[Stream] | BaseException] = queue.Queue(1)

        def open_source() -> None:
            try:
                answers.put(self._source.open(self._config))
            except BaseException as error:
                answers.put(error)

        threading.Thread(target=open_source, name="open", daemon=True).start()
        while True:
            try:
                answer = answers.get(timeout=0.02)
            except queue.Empty:
                publisher.pump(0)
                if self._parent is not None and self._parent.gone.is_set():
                    self.stop("the supervisor is gone")
                continue
            if isinstance(answer, BaseException):
                raise answer
            return answer

    def _named(self, stream: Stream) -> Stream:
        full = f"{self.name}.{stream.name}" if stream.name else self.name
        self._names[stream.name] = full
        return stream.renamed(full)

    def _open(self, publisher: Publisher, streams: list[Stream]) -> dict[str, int]:
        start = {}
        for stream in streams:
            batch = getattr(self._config, "batch", 64)
            start[stream.name], ended = open_or_ended(
                publisher, stream, batch if isinstance(batch, int) else 64
            )
            if ended is not None:
                self._ended[stream.name] = ending(stream, ended, "")
        self._send_truth(publisher)
        if self._parent is not None:
            self._parent.tell("opened", streams=start)
        short = {full: name for name, full in self._names.items()}
        return {short[full]: index for full, index in start.items()}

    def _send_truth(self, publisher: Publisher) -> None:
        # What has no elements (no frame was repeated, say) is told by its absence.
        arrays = {name: np.asarray(value) for name, value in self._source.truth().items()}
        truth = {name: array for name, array in arrays.items() if array.size}
        if not truth:
            return
        name = f"truth.{self.name}"
        stream = Stream(
            name, {key: Field(a.dtype.str, a.shape) for key, a in truth.items()}, expect=1
        )
        _, ended = open_or_ended(publisher, stream)
        if ended is None:
            arrays = {key: array[None] for key, array in truth.items()}
            publisher.send(Batch(name, {**arrays, "time": np.array([time.time_ns()])}, 0))
            ended = publisher.close_stream(name)
        if self._parent is not None:
            closed = {name: ending(stream, ended, "")}
            self._parent.tell("closed", streams=closed, more=True)

    def _pump(self, publisher: Publisher, start: Mapping[str, int]) -> tuple[str, str]:
        thread = threading.Thread(target=self._iterate, args=(start,), name="iterator", daemon=True)
        thread.start()
        deadline = None
        while True:
            publisher.pump(0)
            if self._parent is not None and self._parent.gone.is_set():
                self.stop("the supervisor is gone")
            if self._stop.is_set():
                deadline = deadline or time.monotonic() + STOP_SECONDS
                if time.monotonic() > deadline:
                    return "aborted", f"the source did not stop within {STOP_SECONDS:g} s"
            try:
                item = self._items.get(timeout=0.02)
            except queue.Empty:
                continue
            if item is None:
                return "complete", ""
            if isinstance(item, BaseException):
                raise item
            name = self._names.get(item.stream)
            if name is None:
                raise ValueError(f"{self.name}: the stream {item.stream!r} was not opened")
            if name in self._ended:
                pass  # In an earlier life.
            elif isinstance(item, Missing):
                first = publisher.next(name) if item.first is None else item.first
                publisher.missing(name, first, item.count, item.reason)
            else:
                publisher.send(Batch(name, item.raw, item.first, item.valid))
            self._items.task_done()

    def _iterate(self, start: Mapping[str, int]) -> None:
        try:
            for item in self._source.batches(start):
                in_slot = isinstance(item, Batch) and self._in_slot(item)
                self._items.put(item)
                if not in_slot:
                    # The source may fill the same array again: let it be copied first.
                    self._items.join()
                if self._stop.is_set():
                    break
            self._items.join()
            self._items.put(None)
        except BaseException as error:
            self._items.put(error)

    def _in_slot(self, batch: Batch) -> bool:
        publisher, name = self._publisher, self._names.get(batch.stream, "")
        return publisher is not None and publisher.in_slot(name, batch)

    def _allocate(self, stream: str, count: int) -> dict[str, Array]:
        publisher = self._publisher
        assert publisher is not None, "ask for memory in batches, not in open"
        name = self._names.get(stream, stream)
        return publisher.allocate(name, count, stopping=self._stop.is_set)

    def _command(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if name != "stop":
            raise ValueError(f"a source knows no command {name!r}; known: stop")
        self.stop(str(arguments.get("reason") or "stopped by command"))
        return {}

    def _ending(self, stream: Stream, status: str, reason: str) -> tuple[str, str]:
        assert self._publisher is not None
        count = self._publisher.next(stream.name)
        if status != "failed" and stream.expect is not None and count < stream.expect:
            why = reason or self._stop_reason or "the source ended early"
            return "aborted", f"{why}: {count} of {stream.expect} records"
        if status == "complete" and self._stop_reason == "the supervisor is gone":
            return "aborted", self._stop_reason
        return status, reason or self._stop_reason


def work(order: Mapping[str, Any], parent: child.Parent) -> None:
    """Make the source that the order names, and run it."""
    name = order["name"]
    try:
        plugins = Plugins.load(Path(order["plugins_dir"]) if order.get("plugins_dir") else None)
        source_class = plugins.source(order["type"], f"sources.{name}.type")
        config = validated(source_class.Config, order["config"], f"sources.{name}")
        constants = load_corrections(order.get("corrections"), Path(order["base"]))
        runner = SourceRunner(
            source_class(), name, config, order["endpoint"],
            constants=constants, attributes=order.get("attributes"), parent=parent, ring=order.get("ring", True),
            memory=Path(order["memory"]) if order.get("memory") else None,
        )  # fmt: skip
    except (ConfigError, OSError) as error:
        raise child.FatalError(f"sources.{name}: {error}") from None
    try:
        closed = runner.run()
    except Refused as error:
        raise child.FatalError(f"{name}: {error}") from error
    parent.tell("closed", streams=closed)


if __name__ == "__main__":
    child.main(work)
