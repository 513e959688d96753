"""Where the viewer's data come from: a live bus, or the file of a run. Both fill a `Scene`.

A feed runs in a thread of its own. It never makes anybody wait: on the bus it is a consumer with
the policy ``latest``, whatever it cannot take is skipped and counted, and what was skipped of
small streams is filled in from the file where the run is recorded.
"""

from __future__ import annotations

import dataclasses
import os
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daq.bus import client as bus
from daq.bus.connection import Refused as RefusedError
from daq.streams import Stream
from daq.viewer import choice
from daq.viewer.history import MAX_POINTS
from daq.viewer.scene import Scene

if TYPE_CHECKING:
    from daq.recording.reader import RunReader

SMALL = 16 << 10
"""Records (in a file: fields of a record) up to this many bytes are small: all of them are wanted."""

SMALL_RATE, SMALL_CREDIT = 400.0, 32
"""Batches per second taken of a stream with small records, and how many may be in flight."""

ROW = 1 << 20
"""Rows of a scan (`daq.viewer.choice.records_are_rows`) up to this many bytes are small too: what is
skipped would be missing in the picture."""

LARGE_RATE, LARGE_CREDIT = 30.0, 2
"""The same for large records: as many as are drawn."""

WATCHED_RATE = 1.0
"""The same where nothing is drawn before the end."""

QUIET = 0.5
"""Seconds without a batch after which no newer one is waited for (the last records may be lost ones)."""

MAX_GAPS = 256
"""Pieces of one stream that may wait to be filled in from the file; older ones stay empty."""

CHUNK_BYTES = 4 << 20
"""Bytes read from the file at a time."""

MAX_READ = 256 << 20
"""Bytes read of the small fields of one stream; of longer runs every second (third ...) record."""


class Feed(ABC):
    """Fills a scene from a thread of its own."""

    def __init__(self) -> None:
        self.scene: Scene | None = None
        self.error: str | None = None
        """Why the feed has ended early, in one line."""
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, scene: Scene) -> None:
        """Begin to fill ``scene``."""
        self.scene = scene
        self._thread = threading.Thread(target=self._guarded, args=(scene,), name="viewer-feed")
        self._thread.daemon = True
        self._thread.start()

    def close(self) -> None:
        """End the thread and let go of bus or file."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(10.0)

    @abstractmethod
    def settle(self, timeout: float) -> bool:
        """Wait until the scene shows what there is by now; False if that takes over ``timeout`` s."""

    @abstractmethod
    def _run(self, scene: Scene) -> None: ...

    def _guarded(self, scene: Scene) -> None:
        try:
            self._run(scene)
        except Exception as error:  # whatever it is, the window says it and stays
            self.error = f"{type(error).__name__}: {error}"
            scene.refused = self.error
            scene.reachable(False)


# -- live ---------------------------------------------------------------------------------------


@dataclasses.dataclass
class _Followed:
    """What a live feed knows of one stream."""

    stream: Stream
    small: bool
    end: int
    skipped: int = 0
    due: float = 0.0
    gaps: deque[tuple[int, int, bool]] = dataclasses.field(
        default_factory=lambda: deque(maxlen=MAX_GAPS)
    )
    """What is not drawn: first index, end, and whether it was counted as skipped."""


class LiveFeed(Feed):
    """Follows a bus.

    Parameters
    ----------
    endpoint
        Of the bus; it is waited for, and found again after a restart.
    streams
        Globs of what is followed.
    connect
        Makes the consumer, for tests.
    large_rate
        Batches per second taken of a stream with large records.
    """

    STATUS_EVERY = 1.0
    """Seconds between two questions for the counters of the bus."""

    FILL_EVERY = 0.1
    """Seconds between two pieces of history that are read."""

    def __init__(
        self,
        endpoint: str,
        streams: tuple[str, ...] = ("*",),
        connect: Callable[..., Any] = bus.Consumer,
        large_rate: float = LARGE_RATE,
    ) -> None:
        super().__init__()
        self.endpoint = endpoint
        self._large_rate = large_rate
        self._patterns = list(streams)
        self._connect = connect
        self._followed: dict[str, _Followed] = {}
        self._held: deque[tuple[float, bus.Delivery]] = deque()
        self._written: dict[str, int] = {}
        self._held_from: dict[str, int] = {}
        self._records: dict[str, int] = {}
        self._heard = 0.0
        self._settling = threading.Condition()
        self._wanted = self._settled = 0
        """Calls of `settle`, and the last of them that got what it waits for."""

    def settle(self, timeout: float) -> bool:
        """Wait until each stream shows what it has by now, its history too where that is kept."""
        with self._settling:
            self._wanted += 1
            wanted = self._wanted
            return self._settling.wait_for(lambda: self._settled >= wanted, timeout)

    def _run(self, scene: Scene) -> None:
        while not self._stop.is_set():
            try:
                consumer = self._connect(self.endpoint, f"viewer-{os.getpid()}", timeout=1.0)
            except TimeoutError:
                scene.reachable(False)
                continue
            except RefusedError as error:
                scene.refused = str(error)
                scene.reachable(False)
                self._stop.wait(1.0)
                continue
            try:
                self._follow(consumer, scene)
            except (ConnectionError, TimeoutError):
                scene.reachable(False)
            finally:
                consumer.close()

    def _follow(self, consumer: Any, scene: Scene) -> None:
        self._followed.clear()
        self._held.clear()
        consumer.subscribe(self._patterns, policy="latest", credit=LARGE_CREDIT)
        scene.reachable(True)
        asked = filled = -float("inf")
        answered = 0
        self._heard = scene.clock()
        while not self._stop.is_set():
            now = scene.clock()
            waited_for = self._wanted
            # For whoever waits, the newest batches come at once.
            hurry = waited_for > self._settled
            while self._held and (hurry or self._held[0][0] <= now):
                consumer.release(self._held.popleft()[1])
            wait = self._held[0][0] - now if self._held else 0.05
            event = consumer.receive(timeout=max(0.0, min(wait, 0.05)))
            if event is not None:
                self._take(consumer, scene, event)
            if scene.clock() - asked >= self.STATUS_EVERY or answered < waited_for:
                self._ask(consumer, scene)
                asked, answered = scene.clock(), waited_for
            if scene.clock() - filled >= self.FILL_EVERY:
                more = self._fill(consumer, scene)
                filled = scene.clock()
                if not more and scene.drawn() and self._newest_there(scene):
                    with self._settling:
                        self._settled = answered
                        self._settling.notify_all()

    def _newest_there(self, scene: Scene) -> bool:
        """Tell whether the records that the bus spoke of last have come."""
        if scene.clock() - self._heard >= QUIET:
            return True
        return all(f.end >= self._records.get(name, 0) for name, f in self._followed.items())

    def _take(self, consumer: Any, scene: Scene, event: Any) -> None:
        match event:
            case bus.Opened():
                stream = event.stream
                rows = choice.records_are_rows(stream)
                small = stream.record_bytes <= (ROW if rows else SMALL)
                known = self._followed.get(stream.name)
                end = known.end if known else 0
                self._followed[stream.name] = _Followed(stream, small, end)
                scene.opened(stream)
                # What came of these before its view was there is not with that view.
                for name in scene.beside(stream.name) - {stream.name}:
                    other = self._followed.get(name)
                    if other is not None and other.small and other.end:
                        other.gaps.append((0, other.end, False))
                if small:
                    consumer.credit(stream.name, SMALL_CREDIT - LARGE_CREDIT)
            case bus.Delivery():
                self._heard = scene.clock()
                self._deliver(scene, event)
            case bus.Closed():
                scene.closed(event.stream, event.count, event.status, event.reason)
            case bus.Refused():
                scene.refused = f"{event.code}: {event.message}"
            case bus.Disconnected():
                self._held.clear()
                for followed in self._followed.values():
                    followed.skipped = 0
                scene.reachable(True)

    def _deliver(self, scene: Scene, delivery: bus.Delivery) -> None:
        batch = delivery.batch
        followed = self._followed.get(batch.stream)
        if followed is not None:
            skipped = max(0, delivery.skipped - followed.skipped)
            followed.skipped = delivery.skipped
            first = batch.first or 0
            if followed.small and first > followed.end:
                followed.gaps.append((followed.end, first, skipped > 0))
            scene.absorb(batch, skipped)
            followed.end = max(followed.end, first + batch.count)
        # Credit goes back in time for the next picture, no sooner: what comes between is skipped.
        now = scene.clock()
        due = now
        if followed is not None:
            rate = SMALL_RATE if followed.small else self._large_rate
            due = followed.due = max(now, followed.due + 1 / rate)
        at = len(self._held)
        while at and self._held[at - 1][0] > due:
            at -= 1
        self._held.insert(at, (due, delivery))

    def _ask(self, consumer: Any, scene: Scene) -> None:
        status = consumer.status(timeout=2.0)
        scene.run(status.get("run"), "", bool(status.get("recording")))
        for name, counters in status.get("streams", {}).items():
            records = int(counters.get("records") or 0)
            self._records[name] = records
            self._written[name] = int(counters.get("written") or 0)
            self._held_from[name] = int(counters.get("held_from") or 0)
            scene.known(
                name, records,
                source_gone=counters.get("status") == "stale",
                missing=int(counters.get("missing") or 0),
            )  # fmt: skip

    def _fill(self, consumer: Any, scene: Scene) -> bool:
        """Read one piece of what was skipped, or of what was there before, from the file.

        Where nothing is recorded, the bus still has what came just now. Returns whether there was
        anything to read.
        """
        for name, followed in self._followed.items():
            if not followed.gaps:
                continue
            first, end, counted = followed.gaps[-1]
            in_file = self._written.get(name, 0) >= end
            if not in_file and scene.recording is not False:
                continue
            followed.gaps.pop()
            if not in_file:
                first = max(first, self._held_from.get(name, 0))
                if first >= end:
                    return True
            first, stride = _wanted(followed.stream, first, end, followed.end)
            most = stride * max(1, CHUNK_BYTES // max(1, followed.stream.record_bytes))
            stop = min(end, first + most)
            try:
                batch = consumer.fetch(name, first, stop - first, stride, timeout=2.0)
            except RefusedError:
                if in_file:
                    followed.gaps.clear()
                return True
            if batch.count == 0:
                return True
            reached = min(end, first + batch.count * stride)
            scene.absorb(batch, first - reached if counted else 0, stride)
            if reached < end:
                followed.gaps.append((reached, end, counted))
            return True
        return False


def _wanted(stream: Stream, first: int, end: int, newest: int) -> tuple[int, int]:
    """Return from where on and at which stride history is worth reading."""
    if choice.records_are_rows(stream):
        # Not thinned: every row belongs to the picture.
        most = max(1, (MAX_READ - 1) // max(1, stream.record_bytes))
        return max(first, min(end - 1, newest - most)), 1
    kinds = {choice.kind_of(stream, f) for f in stream.fields if choice.drawn(stream, f)}
    if kinds == {"map"} and (size := _scan_records(stream)):
        return max(first, min(end - 1, newest - size)), 1
    if "map" in kinds:
        return first, 1
    return first, max(1, (end - first) // MAX_POINTS)


def _scan_records(stream: Stream) -> int:
    shape = (stream.scan_shape or ())[-2:]
    return shape[0] * shape[1] if len(shape) == 2 else shape[0] if shape else 0


# -- recorded -----------------------------------------------------------------------------------


class RunFeed(Feed):
    """Reads the file of a run, and follows it while it still grows.

    Of large fields only the newest record is read, of small ones everything (see `MAX_READ`).

    Parameters
    ----------
    path
        The folder of the run or its ``.nxs``.
    open_reader
        Opens it, for tests; raises OSError or ValueError where it is no run.
    """

    POLL = 0.5

    def __init__(self, path: Path, open_reader: Callable[[Path], RunReader] | None = None) -> None:
        super().__init__()
        self.path = path
        self._open = open_reader or _open_run
        self._reader: RunReader | None = None
        self._read: dict[str, int] = {}
        self._ready = threading.Event()

    def start(self, scene: Scene) -> None:
        """Open the run and begin to fill ``scene``."""
        self._reader = self._open(self.path)
        scene.live = False
        scene.run(self._reader.run.uid, self._reader.run.title, None)
        super().start(scene)

    def close(self) -> None:
        """End the thread and close the file."""
        super().close()
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def settle(self, timeout: float) -> bool:
        """Wait until everything that the file held was read once."""
        return self._ready.wait(timeout)

    def _guarded(self, scene: Scene) -> None:
        super()._guarded(scene)
        self._ready.set()

    def _run(self, scene: Scene) -> None:
        reader = self._reader
        assert reader is not None
        while not self._stop.is_set():
            reader.refresh()
            open_streams = 0
            streams = dict(reader.streams)
            for stream in streams.values():  # first: a view may draw a stream beside its own
                scene.opened(stream)
            for name, stream in streams.items():
                if self._stop.is_set():
                    return
                self._advance(reader, scene, stream)
                if (closed := reader.closed(name)) is not None:
                    scene.closed(name, *closed)
                else:
                    open_streams += 1
            self._ready.set()
            if not open_streams:
                return
            self._stop.wait(self.POLL)

    def _advance(self, reader: RunReader, scene: Scene, stream: Stream) -> None:
        name = stream.name
        if not choice.is_drawn_by_default(name):
            return
        count, done = reader.count(name), self._read.get(name, 0)
        missing = sum(lost for _, lost, _ in reader.missing(name))
        if count > done:
            # an image is none of which a history is drawn, however small
            rows = choice.records_are_rows(stream)
            small = [
                name
                for name, field in stream.fields.items()
                if field.record_bytes <= (ROW if rows and len(field.shape) == 1 else SMALL)
                and (len(field.shape) < 2 or min(field.shape[-2:]) < 8)
            ]
            large = [f for f in stream.fields if f not in small]
            if any(choice.drawn(stream, f) or choice.is_text(stream.fields[f]) for f in small):
                self._read_small(reader, scene, stream, small, done, count)
            if large:
                self._read_newest(reader, scene, name, [*large, "time"], done, count)
            self._read[name] = count
        scene.known(name, count, source_gone=False, missing=missing)

    def _read_small(
        self,
        reader: RunReader,
        scene: Scene,
        stream: Stream,
        small: list[str],
        first: int,
        end: int,
    ) -> None:
        width = sum(stream.fields[f].record_bytes for f in small)
        first, _ = _wanted(stream, first, end, end)
        stride = 1 + (end - first) * width // MAX_READ
        step = stride * max(1, CHUNK_BYTES // width)
        for start in range(first, end, step):
            if self._stop.is_set():
                return
            batch = reader.read(stream.name, start, min(step, end - start), stride, small)
            scene.absorb(batch, stride=stride)

    def _read_newest(
        self, reader: RunReader, scene: Scene, name: str, fields: list[str], first: int, end: int
    ) -> None:
        for at in range(end - 1, max(first, end - 257) - 1, -1):
            batch = reader.read(name, at, 1, 1, fields)
            if batch.valid.all():
                scene.absorb(batch)
                return


def _open_run(path: Path) -> RunReader:
    from daq.recording.reader import RunReader

    return RunReader(path)
