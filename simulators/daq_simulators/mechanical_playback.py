"""Measurements that are computed whole and played as an instrument would give them."""

from __future__ import annotations

import dataclasses
import datetime
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pydantic

import daq


class PlaybackConfig(daq.Config):
    """What every simulated mechanical instrument may be told."""

    seed: int = daq.setting(0, "", "of the noise", ge=0)
    speed: float = daq.setting(
        0.0, "", "seconds of the experiment in a second; 0: as fast as it goes", ge=0
    )
    batch: int = daq.setting(16, "", "records that travel together", ge=1, le=65536)
    start_time: pydantic.AwareDatetime = daq.setting(
        datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), "", "time stamp of second 0"
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Measurement:
    """All records of a measurement.

    Parameters
    ----------
    stream
        Its description; ``expect`` is set by the number of records.
    seconds
        [n] float64, when each record is complete, since the start.
    fields
        By name, record axis first, all but ``time``.
    truth
        What `daq.Source.truth` shall give.
    """

    stream: daq.Stream
    seconds: npt.NDArray[np.float64]
    fields: Mapping[str, npt.NDArray[Any]]
    truth: Mapping[str, npt.NDArray[Any]]


class Playback(daq.Source):
    """Plays the `Measurement` that a subclass computes from its configuration alone."""

    Config = PlaybackConfig

    def measure(self, config: Any) -> Measurement:
        """Return the whole measurement."""
        raise NotImplementedError

    def open(self, config: Any) -> Sequence[daq.Stream]:
        """Compute the measurement and describe its stream."""
        self._config = config
        self._measured = self.measure(config)
        start = config.start_time.astimezone(datetime.UTC).replace(tzinfo=None)
        epoch = int(np.datetime64(start, "ns").astype(int))
        self._time = epoch + np.rint(1e9 * self._measured.seconds).astype(np.int64)
        self._stream = dataclasses.replace(self._measured.stream, expect=len(self._time))
        return [self._stream]

    def batches(self, start: Mapping[str, int]) -> Iterator[daq.Batch | daq.Missing]:
        """Yield the records from ``start`` on, at ``speed``."""
        config, seconds = self._config, self._measured.seconds
        begin = start.get("", 0)
        began = time.monotonic()
        for first in range(begin, len(seconds), config.batch):
            stop = min(first + config.batch, len(seconds))
            if config.speed:
                ahead = float(seconds[stop - 1] - seconds[begin]) / config.speed
                if self.context.wait_until(began + ahead):
                    return
            if self.context.stopping:
                return
            arrays = self.context.empty(self._stream, stop - first)
            for name, values in self._measured.fields.items():
                arrays[name][:] = values[first:stop]
            arrays["time"][:] = self._time[first:stop]
            yield daq.Batch("", arrays, first)

    def truth(self) -> Mapping[str, npt.NDArray[Any]]:
        """Return what is known of the sample; see the class."""
        return self._measured.truth
