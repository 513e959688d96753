"""Everything the viewer knows: streams, their contents and how they are doing. No Qt.

A feed tells the scene what happened, from its own thread; the window asks what to draw, from
Qt's. Both hold `Scene.lock` for as long as it takes to copy, so that neither waits for the other
to draw or to receive, and nothing queues up between them: memory is that of the contents.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from daq.streams import Batch, Stream
from daq.view import View
from daq.viewer import choice, labels
from daq.viewer.choice import PanelSpec
from daq.viewer.content import Content, ViewContent, content_for, first_time
from daq.viewer.progress import Report, StreamProgress

MAX_STREAMS = 256
"""Streams that are kept; further ones are counted and not drawn."""

SAME_CLOCK = 7 * 86400.0
"""Seconds between the beginnings of two streams from which they share no time axis."""


class _Stream:
    def __init__(self, stream: Stream, specs: list[PanelSpec], progress: StreamProgress) -> None:
        self.stream = stream
        self.specs = specs
        self.progress = progress
        self.start: int | None = None
        """Earliest time stamp seen, ns since 1970 UTC."""
        self.contents = {spec.key: content_for(stream, spec) for spec in specs}


class Scene:
    """What there is to draw.

    Parameters
    ----------
    views
        Views of plugins; which one draws a stream: `daq.viewer.choice.panels_for`.
    clock
        Seconds, monotonic.
    """

    def __init__(
        self, views: Iterable[type[View]] = (), clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.lock = threading.RLock()
        self.clock = clock
        self.views = list(views)
        self.live = True
        self.connected = True
        self.uid: str | None = None
        self.title = ""
        self.recording: bool | None = None
        self.structure = 0
        """Grows when panels come or go."""
        self.refused: str = ""
        """What the bus (or the file) refused last, in one line."""
        self.not_kept = 0
        self._streams: dict[str, _Stream] = {}
        self._beside: dict[str, list[ViewContent]] = {}
        """Contents of views that draw a stream beside their own, by the name of that stream."""

    # -- what a feed tells ----------------------------------------------------------------------

    def opened(self, stream: Stream) -> None:
        """Note a stream; the same again changes nothing."""
        if not choice.is_drawn_by_default(stream.name):
            return
        with self.lock:
            known = self._streams.get(stream.name)
            if known is not None and known.stream.header() == stream.header():
                return
            if known is None and len(self._streams) >= MAX_STREAMS:
                self.not_kept += 1
                return
            result = "process" in stream.attributes
            progress = StreamProgress(self.clock(), live=self.live, result=result)
            progress.connected = self.connected
            specs = choice.panels_for(stream, self.views)
            self._place(_Stream(stream, specs, progress))

    def absorb(self, batch: Batch, skipped: int = 0, stride: int = 1) -> None:
        """Take the records of a batch.

        ``skipped`` is what the bus left out just before it (negative: so many that had been left
        out are here); ``stride`` the step in index from one record to the next, for history that
        was read thinly.
        """
        with self.lock:
            known = self._streams.get(batch.stream)
            if known is None or batch.count == 0:
                return
            first = batch.first or 0
            index = first + stride * np.arange(batch.count, dtype=np.int64)
            for content in (*known.contents.values(), *self._beside.get(batch.stream, ())):
                content.absorb(batch, index)
            known.progress.drew(first, int(index[-1]) + 1 - first, skipped, self.clock())
            started = first_time(batch)
            if started is not None and (known.start is None or started < known.start):
                known.start = started

    def closed(self, name: str, count: int, status: str, reason: str) -> None:
        """Note the end of a stream."""
        with self.lock:
            if name in self._streams:
                self._streams[name].progress.closed(count, status, reason)

    def known(self, name: str, records: int, *, source_gone: bool, missing: int) -> None:
        """Note the counters of a stream."""
        with self.lock:
            if name in self._streams:
                self._streams[name].progress.known(
                    records, source_gone=source_gone, missing=missing
                )

    def run(self, uid: str | None, title: str, recording: bool | None) -> None:
        """Note which run this is. Another uid than before: everything begins anew."""
        with self.lock:
            if self.uid is not None and uid is not None and uid != self.uid:
                self._streams.clear()
                self._beside.clear()
                self.structure += 1
            self.uid, self.recording = uid or self.uid, recording
            self.title = title or self.title

    def reachable(self, connected: bool) -> None:
        """Note whether the bus is there."""
        with self.lock:
            self.connected = connected
            for known in self._streams.values():
                known.progress.connected = connected

    # -- what the window asks -------------------------------------------------------------------

    def streams(self) -> dict[str, Stream]:
        """Return the streams, in the order in which they opened."""
        with self.lock:
            return {name: known.stream for name, known in self._streams.items()}

    def arrange(self, limit: int = choice.MAX_SHOWN) -> tuple[list[PanelSpec], list[PanelSpec]]:
        """Return the panels to show by default and those that do not fit."""
        with self.lock:
            return choice.arrange([(k.stream, k.specs) for k in self._streams.values()], limit)

    def content(self, spec: PanelSpec) -> Content | None:
        """Return what a panel draws (hold `lock` while reading it), or None if it is gone."""
        with self.lock:
            known = self._streams.get(spec.stream)
            return None if known is None else known.contents.get(spec.key)

    def fall_back(self, spec: PanelSpec) -> None:
        """Draw a stream by its shape from now on: its view has failed."""
        with self.lock:
            known = self._streams.get(spec.stream)
            if known is None or spec.key not in known.contents:
                return
            specs = choice.default_panels(known.stream)
            self._place(_Stream(known.stream, specs, known.progress))

    def origin(self, name: str) -> int:
        """Return where the time axis of a stream begins, ns since 1970 UTC.

        That is the earliest time of all streams, so that their axes agree; streams whose clocks
        are more than `SAME_CLOCK` apart (a simulated one, say) do not count.
        """
        with self.lock:
            known = self._streams.get(name)
            if known is None or known.start is None:
                return 0
            own = known.start
            starts = [k.start for k in self._streams.values() if k.start is not None]
            return min(start for start in starts if abs(start - own) < SAME_CLOCK * 1e9)

    def beside(self, name: str) -> set[str]:
        """Return the names of the streams that views of a stream draw beside it."""
        with self.lock:
            known = self._streams.get(name)
            return {other for spec in known.specs for other in spec.beside} if known else set()

    def report(self, name: str) -> Report | None:
        """Return how a stream is doing."""
        with self.lock:
            known = self._streams.get(name)
            return None if known is None else known.progress.report(self.clock())

    def drawn(self) -> bool:
        """Tell whether there are streams, and all that have records by now show some."""
        with self.lock:
            progress = [known.progress for known in self._streams.values()]
            return bool(progress) and all(p.end > 0 or p.empty for p in progress)

    def loss(self) -> str:
        """Return what was lost by instruments, in a word: ``lossless`` or how much."""
        with self.lock:
            progress = [known.progress for known in self._streams.values()]
            lost = sum(p.lost for p in progress if not p.result)
        return "lossless" if lost == 0 else f"{labels.count(lost)} records LOST"

    def counters(self) -> Mapping[str, Any]:
        """Return how many bytes, streams and panels are held, for tests and status."""
        with self.lock:
            return {
                "streams": len(self._streams),
                "panels": sum(len(known.specs) for known in self._streams.values()),
                "not_kept": self.not_kept,
            }

    def _place(self, placed: _Stream) -> None:
        """Keep a stream under its name, and tell the views that draw it beside their own."""
        self._streams[placed.stream.name] = placed
        self._beside.clear()
        for known in self._streams.values():
            for content in known.contents.values():
                if not isinstance(content, ViewContent):
                    continue
                for name in content.spec.beside:
                    if name not in self._streams or name == known.stream.name:
                        continue
                    self._beside.setdefault(name, []).append(content)
                    if placed.stream.name in (name, known.stream.name):
                        content.attend(self._streams[name].stream)
        self.structure += 1
