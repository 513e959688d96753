"""How a stream is doing, as its panels say it: rate, lag, skipped, stale, complete."""

from __future__ import annotations

import dataclasses
from collections import deque

from daq.viewer import labels

STALE_AFTER = 5.0
"""Seconds without a record after which a stream is called stale, at least."""

STALE_INTERVALS = 4.0
"""And at least this many times the usual time between two batches: slow streams are not stale."""

WINDOW = 5.0
"""Seconds over which a rate is taken; longer where fewer than two batches came."""


class RateMeter:
    """Records per second, from the indices that were seen (skipped records count as well)."""

    def __init__(self, window: float = WINDOW, samples: int = 64) -> None:
        self._window = window
        self._samples: deque[tuple[float, int]] = deque(maxlen=samples)

    def moved(self, end: int, now: float) -> None:
        """Note that the stream has reached index ``end`` at ``now`` (s)."""
        samples = self._samples
        if len(samples) > 1 and now - samples[-2][0] < self._window / (samples.maxlen or 64):
            samples.pop()
        samples.append((now, end))
        while len(samples) > 2 and now - samples[1][0] > self._window:
            samples.popleft()

    def rate(self, now: float) -> float:
        """Return records per second at ``now``; falls towards zero where nothing comes."""
        if len(self._samples) < 2:
            return 0.0
        (start, first), (_, last) = self._samples[0], self._samples[-1]
        elapsed = now - start
        return (last - first) / elapsed if elapsed > 0 else 0.0


@dataclasses.dataclass(frozen=True)
class Report:
    """What a panel says about its stream.

    ``state`` is ``waiting`` (no record yet), ``live``, ``stale``, ``complete``, ``aborted``,
    ``failed`` or ``recorded``; ``badge`` is that in a word or two for the panel's head (empty
    while live), ``line`` the counters.
    """

    state: str
    badge: str
    line: str
    rate: float
    lag_records: int
    lag_seconds: float | None
    skipped: int


class StreamProgress:
    """Book-keeping of one stream as the viewer sees it; no clock of its own (``now`` in s).

    ``result``: an analysis gives it. What is missing of it has no result, but nothing was lost.
    """

    def __init__(self, now: float, *, live: bool = True, result: bool = False) -> None:
        self.live = live
        self.result = result
        self.end = 0
        self.skipped = 0
        self.lost = 0
        self.empty = False
        """True once the bus (or the file) has said that there are no records yet."""
        self.lag_records = 0
        self.closing: tuple[int, str, str] | None = None
        self.source_gone = False
        self.connected = True
        self._meter = RateMeter()
        self._moved: float | None = None
        self._began = now
        self._interval = 0.0

    def drew(self, first: int, count: int, skipped: int, now: float) -> None:
        """Note that records were taken; ``skipped`` is what the bus left out just before them.

        A negative ``skipped`` says how many records that had been skipped are there after all.
        """
        self.skipped = max(0, self.skipped + skipped)
        if first + count <= self.end:
            return
        self.end = first + count
        self.source_gone = False
        if self._moved is not None:
            gap = now - self._moved
            self._interval = gap if self._interval == 0 else 0.7 * self._interval + 0.3 * gap
        self._moved = now
        self._meter.moved(self.end, now)

    def known(self, records: int, *, source_gone: bool, missing: int) -> None:
        """Note what the bus (or the file) says: records taken, source there or not, records lost."""
        self.lag_records = max(0, records - self.end)
        self.empty = records == 0
        self.source_gone = source_gone
        self.lost = missing

    def closed(self, count: int, status: str, reason: str) -> None:
        """Note that the stream has ended."""
        self.closing = (count, status, reason)
        self.lag_records = max(0, count - self.end)

    def report(self, now: float) -> Report:
        """Return what the panels of this stream say now."""
        rate = self._meter.rate(now)
        seconds = self.lag_records / rate if rate > 0 and self.lag_records else None
        state, badge = self._state(now)
        records = f"{labels.count(self.end)} records"
        parts = [f"{records}, {labels.significant(rate)}/s" if state == "live" else records]
        if self.lost:
            many = labels.count(self.lost)
            parts.append(f"{many} without result" if self.result else f"LOST {many}")
        if state in ("live", "stale"):
            behind = f" ({labels.duration(seconds)})" if seconds is not None else ""
            parts.append(f"lag {labels.count(self.lag_records)}{behind}")
        if self.live and self.end:
            parts.append(f"skipped {labels.count(self.skipped)}")
        line = " \u00b7 ".join(parts)
        return Report(state, badge, line, rate, self.lag_records, seconds, self.skipped)

    def _state(self, now: float) -> tuple[str, str]:
        if self.closing is not None:
            _, status, reason = self.closing
            return status, status if status == "complete" or not reason else f"{status}: {reason}"
        if not self.live:
            return "recorded", "not closed"
        if not self.connected:
            return "stale", "stale: no bus"
        if self.source_gone:
            return "stale", "stale: source gone"
        if self._moved is None:
            return "waiting", "waiting for records"
        idle = now - self._moved
        if idle > max(STALE_AFTER, STALE_INTERVALS * self._interval):
            return "stale", f"stale for {labels.duration(idle)}"
        return "live", ""
