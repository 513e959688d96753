"""A camera whose frames were made before, and an analysis that only touches them."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import daq

sys.path.insert(0, str(Path(__file__).parent.parent))
from streaming_copy import take

GO = "go"
"""This file in the pool's folder starts the camera: analyses are ready by then."""

PAGE = 4096


class PreparedFrames(daq.Source):
    """Copies frames out of a pool into memory that the run lends, as an adapter of a camera does.

    The folder holds ``frames.npy`` [frame, y, x], ``order.npy`` [scan, position] (which frame
    comes), ``constants.npz`` and ``stream.json`` with ``scan``, ``attributes`` and ``axes``.
    """

    name = "prepared_frames"

    class Config(daq.Config):
        """What the configuration may say."""

        folder: Path = daq.setting(..., "", "the pool")
        scans: int = daq.setting(..., "", "how many; the pool's order may hold more", ge=1)
        rate: float = daq.setting(
            0.0, "1/s", "frames per second; 0: as fast as credit allows", ge=0
        )
        batch: int = daq.setting(64, "", "frames that travel together", ge=1)

    def open(self, config: Any) -> Sequence[daq.Stream]:
        """Load the pool."""
        self._config = config
        folder = config.folder
        self._frames = np.load(folder / "frames.npy")
        self._order = np.load(folder / "order.npy")[: config.scans].reshape(-1)
        described = json.loads((folder / "stream.json").read_text())
        self._scan_time = described["attributes"]["scan_time"]
        self._positions = math.prod(described["scan"]["shape"])
        with np.load(folder / "constants.npz") as constants:
            self._stream = daq.Stream(
                "",
                {"frame": daq.Field(self._frames.dtype.str, self._frames.shape[1:], "counts")},
                {"frame": described["axes"]},
                described["scan"],
                described["attributes"],
                len(self._order),
                dict(constants),
            )
        return [self._stream]

    def batches(self, start: Mapping[str, int]) -> Iterator[daq.Batch]:
        """Yield all frames, from the moment on when the file `GO` is there."""
        config, order = self._config, self._order
        while not (config.folder / GO).exists():
            if self.context.wait(0.001):
                return
        began = time.monotonic()
        for first in range(start.get("", 0), len(order), config.batch):
            stop = min(first + config.batch, len(order))
            due = began + stop / config.rate if config.rate else 0.0
            if self.context.wait_until(due) if config.rate else self.context.stopping:
                return
            arrays = self.context.empty(self._stream, stop - first)
            take(self._frames, order[first:stop], arrays["frame"])
            scan, position = np.divmod(np.arange(first, stop), self._positions)
            seconds = (scan + position / self._positions) * self._scan_time
            arrays["time"][:] = (seconds * 1e9).astype(np.int64)
            yield daq.Batch("", arrays, first)


class Touch(daq.Analysis):
    """Reads one pixel in each page of memory: what is left is the way of the data.

    Gives one record per scan, stream ``scans``: the sum of those pixels.
    """

    name = "touch"

    class Config(daq.Config):
        """Nothing."""

    def open(self, streams: Mapping[str, daq.Stream], config: Any) -> Sequence[daq.Stream]:
        """Note the shape of the scan."""
        (stream,) = streams.values()
        assert stream.scan_shape is not None
        self._positions, self._sum = math.prod(stream.scan_shape), 0
        self._step = PAGE // stream.fields["frame"].numpy_dtype.itemsize
        return [daq.Stream("scans", {"sum": daq.Field("<i8", (), "counts")})]

    def process(self, batch: daq.Batch) -> Iterable[daq.Batch]:
        """Touch every frame."""
        frames = batch.raw["frame"].reshape(len(batch), -1)
        sums = frames[:, :: self._step].sum(axis=1, dtype=np.int64)
        start = 0
        for end in np.flatnonzero((batch.indices + 1) % self._positions == 0).tolist():
            self._sum += int(sums[start : end + 1].sum())
            yield daq.Batch(
                "scans", {"time": batch.time[end : end + 1], "sum": np.array([self._sum])}
            )
            start, self._sum = end + 1, 0
        self._sum += int(sums[start:].sum())


@daq.hookimpl
def daq_sources() -> list[type[daq.Source]]:
    """Return the source."""
    return [PreparedFrames]


@daq.hookimpl
def daq_analyses() -> list[type[daq.Analysis]]:
    """Return the analysis."""
    return [Touch]
