"""What analyses of whole ramps share: readings in, ramps out, at fixed indices while they grow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import daq
from daq_thermal.readings import Readings, ReadingsConfig, single
from daq_thermal.scans import Ramp, RampCutter


class RampConfig(ReadingsConfig):
    """What analyses of ramps may be told besides."""

    every: int = daq.setting(
        64, "", "readings after which a growing trace is looked at again", ge=1, le=65536
    )


class RampAnalysis(daq.Analysis):
    """Hands each ramp to `growing` at every multiple of ``every`` in the index, and to `finished`.

    Ramps depend on the readings alone, and so does what is made of them.
    """

    def open_readings(self, streams: Mapping[str, daq.Stream], config: Any) -> daq.Stream:
        """Check the input and begin; return its description."""
        stream = single(streams, self.name)
        self._readings = Readings(stream, config)
        self._cutter = RampCutter()
        self._every = config.every
        return stream

    def growing(self, ramp: Ramp) -> Iterable[daq.Batch]:
        """Give what can be said of a ramp that goes on."""
        return ()

    def finished(self, ramp: Ramp) -> Iterable[daq.Batch]:
        """Give what can be said of a whole ramp."""
        raise NotImplementedError

    def process(self, batch: daq.Batch) -> Iterator[daq.Batch]:
        """Cut readings into ramps and look at them when their time has come."""
        start = 0
        while start < len(batch):
            assert batch.first is not None
            left = self._every - (batch.first + start) % self._every
            part = batch.slice(start, min(start + left, len(batch)))
            start += len(part)
            for ramp in self._cutter.push(self._readings.read(part)):
                yield from self.finished(ramp)
            if len(part) == left and (grown := self._cutter.growing()) is not None:
                yield from self.growing(grown)

    def close(self) -> Iterator[daq.Batch]:
        """Look at the last ramp."""
        for ramp in self._cutter.close():
            yield from self.finished(ramp)
