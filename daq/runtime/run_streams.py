"""What happens to the run, as streams: ``run.log`` and ``run.status``, recorded like any other."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

from daq.bus.connection import Refused
from daq.bus.publisher import Publisher
from daq.streams import Batch, Field, Stream

LOG = Stream(
    "run.log",
    {
        "level": Field("|S8", long_name="info, warning, error"),
        "origin": Field("|S64", long_name="process that says it"),
        "event": Field("|S16", long_name="log, restart, command, note, ..."),
        "stream": Field("|S192", long_name="stream that it is about"),
        "index": Field("<i8", long_name="index of the record at which it takes effect, or -1"),
        "message": Field("|S4096", long_name="what is said; JSON for commands"),
    },
)
STATUS = Stream(
    "run.status",
    {
        "stream": Field("|S192", long_name="stream"),
        "records": Field("<i8", long_name="records taken by the bus"),
        "bytes": Field("<i8", units="byte", long_name="bytes taken by the bus"),
        "rate": Field("<f8", units="1/s", long_name="records per second"),
        "written": Field("<i8", long_name="records in the file, or -1"),
        "durable": Field("<i8", long_name="records on the disk, or -1"),
        "missing": Field("<i8", long_name="records that the instrument lost"),
        "repeats": Field("<i8", long_name="records that came again"),
        "lag": Field("<i8", long_name="records that the slowest lossless consumer is behind"),
    },
)
MOST_WAITING = 10_000


class RunStreams:
    """Sends the run's own streams without ever waiting: what cannot leave yet is kept in order."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._closed = False
        self._log: deque[dict[str, Any]] = deque(maxlen=MOST_WAITING)
        self._status: deque[dict[str, Any]] = deque(maxlen=MOST_WAITING)
        for stream in (LOG, STATUS):
            publisher.open(stream, wait=False)

    def log(
        self, level: str, origin: str, message: str, *,
        event: str = "log", stream: str = "", index: int = -1, at: int | None = None,
    ) -> None:  # fmt: skip
        """Add a record to ``run.log``; ``at`` is its time in nanoseconds, now by default."""
        self._log.append({
            "time": time.time_ns() if at is None else at,
            "level": level, "origin": origin, "event": event, "stream": stream,
            "index": index, "message": message,
        })  # fmt: skip

    def status(self, status: Mapping[str, Any]) -> None:
        """Add one record for each stream to ``run.status``."""
        now = time.time_ns()
        lag = dict.fromkeys(status["streams"], 0)
        for streams in status["consumers"].values():
            for name, counters in streams.items():
                if counters["policy"] == "lossless":
                    lag[name] = max(lag.get(name, 0), counters["lag"])
        for name, counters in status["streams"].items():
            if name.startswith("run."):
                continue
            self._status.append({
                "time": now, "stream": name, "lag": lag[name], "rate": counters["rate"],
                **{key: counters[key] for key in ("records", "bytes", "missing", "repeats")},
                **{key: -1 if counters[key] is None else counters[key]
                   for key in ("written", "durable")},
            })  # fmt: skip

    def pump(self) -> None:
        """Send what can be sent now."""
        self._publisher.pump(0)
        if self._closed:
            return
        for stream, waiting in ((LOG, self._log), (STATUS, self._status)):
            while waiting and self._publisher.ready(stream.name):
                records = [waiting.popleft() for _ in range(min(256, len(waiting)))]
                self._publisher.send(_batch(stream, records))

    @property
    def waiting(self) -> int:
        """Number of records that have not been sent."""
        return len(self._log) + len(self._status)

    def close(self, status: str, timeout: float) -> None:
        """Send what is left and close both streams."""
        deadline = time.monotonic() + timeout
        while self.waiting and time.monotonic() < deadline:
            self.pump()
            self._publisher.pump(0.02)
        self._closed = True
        for stream in (STATUS, LOG):
            left = max(0.1, deadline - time.monotonic())
            try:
                self._publisher.close_stream(stream.name, status, timeout=left)
            except (TimeoutError, Refused):
                continue


def _batch(stream: Stream, records: list[dict[str, Any]]) -> Batch:
    arrays = {}
    for name, field in stream.fields.items():
        values: list[Any] = [record[name] for record in records]
        if field.numpy_dtype.kind == "S":
            most = field.numpy_dtype.itemsize
            values = [_cut(str(value), most) for value in values]
        arrays[name] = np.array(values, dtype=field.numpy_dtype)
    return Batch(stream.name, arrays)


def _cut(text: str, most: int) -> bytes:
    """Return text in UTF-8, cut at a whole character."""
    return text.encode("utf-8", "replace")[:most].decode("utf-8", "ignore").encode()
