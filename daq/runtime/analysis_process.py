"""The process of an analysis, or of several that the configuration groups."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import logging
import mmap
import os
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import daq
from daq.analysis import Analysis
from daq.bus.client import Closed, Delivery
from daq.bus.connection import Refused
from daq.bus.publisher import Publisher
from daq.config import ConfigError
from daq.discovery import Plugins
from daq.runtime import child
from daq.runtime.catch_up import Inputs
from daq.runtime.direct import AnalysisDriver
from daq.runtime.ended_streams import ending, open_or_ended
from daq.streams import Batch, Missing, Stream

log = logging.getLogger("analysis")

_Result = TypeVar("_Result")

_PROGRESS = struct.Struct("<dqqq")
_INDEX = struct.Struct("<q")


class Progress:
    """A few bytes shared with the supervisor: since when, and on which records, an analysis works.

    The supervisor reads them to find an analysis that hangs, and the record that killed it. They
    outlive the process, so that the next one goes on with `done`.

    Parameters
    ----------
    path
        Of the file that is shared.
    inputs
        How many input streams the analysis has.
    create
        Make the file.
    """

    def __init__(self, path: Path, inputs: int, *, create: bool = False) -> None:
        size = _PROGRESS.size + _INDEX.size * inputs
        if create:
            path.write_bytes(bytes(size))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), size)

    @contextlib.contextmanager
    def during(self, stream: int, first: int, count: int) -> Iterator[None]:
        """Work on records of the input number ``stream``; ``count`` 0 for work on none of them."""
        _PROGRESS.pack_into(self._map, 0, time.monotonic(), stream, first, count)
        yield
        # After an exception it stays: it was this work that ended the analysis.
        self.end()

    def end(self) -> None:
        """Work has ended."""
        _PROGRESS.pack_into(self._map, 0, 0.0, 0, 0, 0)

    def read(self) -> tuple[float, int, int, int] | None:
        """Return (since, input number, first, count), or None where no work is under way."""
        since, stream, first, count = _PROGRESS.unpack_from(self._map, 0)
        return (since, stream, first, count) if since else None

    def done(self, stream: int) -> int:
        """Return the index up to which an input was worked through, in this life or an earlier one."""
        index: int = _INDEX.unpack_from(self._map, _PROGRESS.size + _INDEX.size * stream)[0]
        return index

    def set_done(self, stream: int, index: int) -> None:
        """Note how far an input was worked through."""
        if index > self.done(stream):
            _INDEX.pack_into(self._map, _PROGRESS.size + _INDEX.size * stream, index)


@dataclasses.dataclass(slots=True)
class AnalysisOrder:
    """What one analysis is told."""

    name: str
    type: str
    inputs: list[str]
    config: dict[str, Any]
    progress: str | None = None
    skip: dict[str, list[int]] = dataclasses.field(default_factory=dict)
    careful: dict[str, list[int]] = dataclasses.field(default_factory=dict)
    reconfigurations: list[dict[str, Any]] = dataclasses.field(default_factory=list)


class AnalysisRunner:
    """Runs one analysis from the first record of its inputs to their end.

    A restarted analysis sees all records again, from the file and then from the bus, and gives
    the same results; those that the bus has already are not sent again.
    """

    def __init__(
        self, analysis_class: type[Analysis], order: AnalysisOrder, endpoint: str, *,
        folder: Path | None = None, parent: child.Parent | None = None, ring: bool = True,
    ) -> None:  # fmt: skip
        self._order = order
        self._endpoint = endpoint
        self._folder = folder
        self._parent = parent
        self._ring = ring
        self._driver = AnalysisDriver(analysis_class, order.name, order.config)
        self._progress = (
            Progress(Path(order.progress), len(order.inputs)) if order.progress else None
        )
        self._publisher: Publisher | None = None
        self._inputs: Inputs | None = None
        self._ended: dict[str, dict[str, Any]] = {}

    def run(self) -> dict[str, dict[str, Any]]:
        """Run; return the ``closed`` header of each stream that was given."""
        order = self._order
        inputs = self._inputs = Inputs(
            self._endpoint, order.name, order.inputs, self._folder, ring=self._ring
        )
        try:
            publisher = self._publisher = Publisher(
                self._endpoint, order.name, on_command=self._command, timeout=None, ring=self._ring
            )
            try:
                self._tell("subscribed", name=order.name)
                streams = inputs.open(self._idle)
                outputs = self._open(streams, publisher, inputs.start)
                if len(self._ended) == len(outputs) > 0:
                    return self._ended
                for item in inputs.items(self._idle):
                    self._take(item, publisher, inputs)
                self._send(self._watched(self._driver.close), publisher)
                return self._close(outputs, publisher, inputs)
            finally:
                publisher.close()
        finally:
            inputs.close()

    # -- inside ---------------------------------------------------------------------------------

    def _open(
        self, streams: Mapping[str, Stream], publisher: Publisher, start: Mapping[str, int]
    ) -> list[Stream]:
        order, driver = self._order, self._driver
        needed = type(driver.analysis).memory(streams, driver.config)
        if needed > (free := _free_memory()):
            raise child.FatalError(
                f"analyses.{order.name} needs {needed / 1e9:.1f} GB of memory for this input, "
                f"{free / 1e9:.1f} GB are free; choose fewer positions, records or bands"
            )
        first = {name: index for name, index in start.items() if index}
        try:
            given = self._watched(lambda: driver.open(streams, start=first))
        except (ValueError, ConfigError) as error:
            raise child.FatalError(f"analyses.{order.name}: {error}") from error
        process = {
            "program": type(driver.analysis).__module__.split(".")[0],
            "version": _version_of(type(driver.analysis)),
            "type": order.type,
            "configuration": driver.config.model_dump(mode="json"),
            "inputs": list(order.inputs),
        }
        outputs, numbering = [], {}
        for stream in given:
            described = dataclasses.replace(
                stream, attributes={**stream.attributes, "process": process}
            )
            numbering[stream.name], ended = open_or_ended(publisher, described)
            if ended is not None:
                self._ended[stream.name] = ending(described, ended, "")
            outputs.append(described)
        if first and len(self._ended) < len(outputs):
            # What came before is lost: go on numbering, and say what is missed.
            driver.renumber(numbering)
            self._tell("missed", name=order.name, streams=first)
        for change in order.reconfigurations:
            # One from the records that are lost takes effect at the first that is not.
            index = max(change["index"], first.get(change["stream"], 0))
            driver.reconfigure(change["config"], change["stream"], index)
        self._tell("opened", name=order.name, streams=numbering)
        return outputs

    def _take(
        self, item: Delivery | Batch | Missing | Closed, publisher: Publisher, inputs: Inputs
    ) -> None:
        if isinstance(item, Closed):
            self._send(self._watched(lambda: self._driver.end(item.stream)), publisher)
            return
        records = item.batch if isinstance(item, Delivery) else item
        results = [result for piece in self._pieces(records) for result in self._feed(piece)]
        if isinstance(item, Delivery):
            if not item.intact():
                raise RuntimeError(f"{records.stream}: a slot changed while it was read")
            inputs.release(item)
        self._send(results, publisher)
        publisher.pump(0)

    def _send(self, results: Sequence[Batch], publisher: Publisher) -> None:
        for result in results:
            if result.stream not in self._ended:  # In an earlier life.
                publisher.send(result)

    def _feed(self, item: Batch | Missing) -> list[Batch]:
        driver, name = self._driver, item.stream
        # With blocks, records that came before wait for these.
        first = driver.processed[name]
        count = (item.first or 0) + item.count - first
        results = self._watched(lambda: driver.feed(item), name, first, count)
        if self._progress is not None:
            self._progress.set_done(self._order.inputs.index(name), driver.processed[name])
        return results

    def _watched(
        self, work: Callable[[], _Result], stream: str | None = None, first: int = 0, count: int = 0
    ) -> _Result:
        """Do what the plugin may hang in, or die of."""
        if self._progress is None:
            return work()
        number = 0 if stream is None else self._order.inputs.index(stream)
        with self._progress.during(number, first, count):
            return work()

    def _pieces(self, item: Batch | Missing) -> Sequence[Batch | Missing]:
        """Cut out records that killed the analysis twice, and go singly where it died once."""
        order = self._order
        if isinstance(item, Missing) or not (order.skip or order.careful):
            return [item]
        skip = set(order.skip.get(item.stream, ()))
        first, count = order.careful.get(item.stream, (0, 0))
        begin = item.first or 0
        cuts = {0, item.count}
        for index in {*skip, *range(first, first + count)}:
            if begin <= index < begin + item.count:
                cuts |= {index - begin, index - begin + 1}
        edges = sorted(cuts)
        pieces: list[Batch | Missing] = []
        for start, stop in itertools.pairwise(edges):
            if begin + start in skip:
                reason = "skipped: it ended the analysis twice"
                pieces.append(Missing(item.stream, stop - start, reason, begin + start))
            else:
                pieces.append(item.slice(start, stop))
        return pieces

    def _close(
        self, outputs: Sequence[Stream], publisher: Publisher, inputs: Inputs
    ) -> dict[str, dict[str, Any]]:
        bad = [c for c in inputs.endings.values() if c is not None and c.status != "complete"]
        status, reason = "complete", ""
        if bad:
            status, reason = "aborted", f"{bad[0].stream} {bad[0].status}: {bad[0].reason}"
        for stream in outputs:
            if stream.name not in self._ended:
                closed = publisher.close_stream(stream.name, status, reason[:400])
                self._ended[stream.name] = ending(stream, closed, reason)
        return self._ended

    def _idle(self) -> None:
        if self._publisher is not None:
            self._publisher.pump(0)
        inputs = self._inputs
        while inputs is not None and inputs.commands:
            command = inputs.commands.pop(0)
            answer: dict[str, Any]
            try:
                answer = self._command(command.name, command.arguments)
            except ValueError as error:
                answer = {"error": str(error)}
            inputs.consumer.done(command, **answer)

    def _command(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """``reconfigure``: takes effect at the next record of the first input, or at ``index``."""
        if name != "reconfigure":
            raise ValueError(f"an analysis knows no command {name!r}; known: reconfigure")
        driver, stream = self._driver, self._order.inputs[0]
        changes = dict(arguments)
        wanted = changes.pop("index", None)
        index = driver.expected.get(stream) or 0 if wanted is None else wanted
        if type(index) is not int:
            raise ValueError("index: an integer is needed")
        current = driver.latest_config.model_dump(mode="json")
        config = driver.reconfigure({**current, **changes}, stream, index)
        resolved = config.model_dump(mode="json")
        change = {"stream": stream, "index": index, "config": resolved}
        self._order.reconfigurations.append(change)
        self._tell("reconfigured", name=self._order.name, **change)
        return {"stream": stream, "index": index}

    def _tell(self, event: str, **fields: Any) -> None:
        if self._parent is not None:
            self._parent.tell(event, **fields)


def work(order: Mapping[str, Any], parent: child.Parent) -> None:
    """Run the analyses of the order, each in a thread of its own where there are several."""
    # Threads of BLAS and OpenMP fight over the cores that the other processes need.
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    folder = Path(order["folder"]) if order.get("folder") else None
    runners = []
    try:
        plugins = Plugins.load(Path(order["plugins_dir"]) if order.get("plugins_dir") else None)
        for entry in order["analyses"]:
            one = AnalysisOrder(**entry)
            runners.append(
                AnalysisRunner(
                    plugins.analysis(one.type, f"analyses.{one.name}.type"),
                    one,
                    order["endpoint"],
                    folder=folder,
                    parent=parent,
                    ring=order.get("ring", True),
                ),
            )
    except ConfigError as error:
        raise child.FatalError(str(error)) from None
    failed: list[BaseException] = []

    def run(runner: AnalysisRunner) -> None:
        try:
            parent.tell("closed", streams=runner.run())
        except BaseException as error:
            failed.append(error)
            raise

    threads = [threading.Thread(target=run, args=(r,), daemon=True) for r in runners[1:]]
    for thread in threads:
        thread.start()
    run(runners[0])
    while any(thread.is_alive() for thread in threads) and not failed:
        time.sleep(0.02)
    if failed:
        raise failed[0]


def _free_memory() -> int:
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 1 << 62


def _version_of(analysis_class: type[Analysis]) -> str:
    import importlib.metadata

    package = analysis_class.__module__.split(".")[0]
    for name in importlib.metadata.packages_distributions().get(package, ()):
        return f"{name} {importlib.metadata.version(name)}"
    return f"glasswatch {daq.__version__}"


__all__ = ["AnalysisOrder", "AnalysisRunner", "Progress", "Refused", "work"]

if __name__ == "__main__":
    child.main(work)
