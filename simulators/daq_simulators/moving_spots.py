"""A camera that sees a few moving spots on a dark field: every sum is known as an integer.

Spot k of record n stands at a whole pixel and is an integer template times an integer brightness;
no noise. So the total, the sum of each spot and the centre of mass are exact.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pydantic

import daq

Integers = npt.NDArray[np.int64]

LARGEST_BRIGHTNESS = 7
"""The brightness of a spot goes from 1 to this."""


class MovingSpots(daq.Source):
    """Moving spots: stream ``""`` with the field ``frame`` [y, x], uint16, counts.

    Record n depends on the configuration and n alone, so that a source that was restarted goes on
    with the same records. Positions and brightness vary smoothly over the scan, and slowly from
    one scan to the next. With ``rate`` 0 the records come as fast as they can be made, and their
    time stamps are 1 ms apart; otherwise they are 1 / rate apart and the source keeps that pace.
    """

    name = "moving_spots"

    class Config(daq.Config):
        """What ``[sources.NAME]`` with ``type = "moving_spots"`` may say."""

        shape: tuple[pydantic.PositiveInt, pydantic.PositiveInt] = daq.setting(
            (128, 128), "px", "shape of a frame, [y, x], at least 16 each"
        )
        scan: tuple[pydantic.PositiveInt, pydantic.PositiveInt] | None = daq.setting(
            None, "", "shape of the scan, [y, x], fast axis last; none: a plain series"
        )
        step: float = daq.setting(1.0, "nm", "distance of two scan positions", gt=0)
        records: int | None = daq.setting(
            None, "", "number of records; by default one scan, or 10 000", ge=1
        )
        spots: int = daq.setting(3, "", "number of spots", ge=1, le=16)
        peak: int = daq.setting(100, "counts", "brightest pixel of a spot of brightness 1", ge=1)
        seed: int = daq.setting(0, "", "of positions, sizes and paths", ge=0)
        rate: float = daq.setting(1000.0, "1/s", "records per second; 0: as fast as it goes", ge=0)
        batch: int = daq.setting(64, "", "records that travel together", ge=1, le=65536)
        start_time: pydantic.AwareDatetime | Literal["now"] = daq.setting(
            datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), "",
            'time stamp of record 0; "now" is the moment of opening, which a restart does not keep',
        )  # fmt: skip

        @pydantic.model_validator(mode="after")
        def _fits(self) -> MovingSpots.Config:
            if min(self.shape) < 16:
                raise ValueError("shape: frames of at least 16 x 16 pixels are needed")
            if self.peak * LARGEST_BRIGHTNESS * self.spots > np.iinfo(np.uint16).max:
                raise ValueError(
                    f"peak x {LARGEST_BRIGHTNESS} x spots exceeds 65535 counts where spots overlap"
                )
            return self

        @property
        def count(self) -> int:
            """Number of records to come."""
            if self.records is not None:
                return self.records
            return 10_000 if self.scan is None else self.scan[0] * self.scan[1]

    def open(self, config: Any) -> Sequence[daq.Stream]:
        """Draw the spots from the seed and describe the stream."""
        self._config = config
        self._epoch = _nanoseconds(config.start_time)
        self._paths = _Paths(config)
        height, width = config.shape
        pixels = [{"name": name, "units": "px", "offset": 0, "step": 1} for name in ("y", "x")]
        self._stream = daq.Stream(
            "",
            {"frame": daq.Field("<u2", (height, width), "counts", "moving spots")},
            axes={"frame": pixels},
            scan=None if config.scan is None else {"shape": list(config.scan), "step": config.step},
            attributes={
                "instrument": "moving spots (simulated)",
                "centre": [(height - 1) / 2, (width - 1) / 2],
                "seed": config.seed,
            },
            expect=config.count,
        )
        return [self._stream]

    def batches(self, start: Mapping[str, int]) -> Iterator[daq.Batch | daq.Missing]:
        """Yield the records from ``start`` on, at the pace of ``rate``."""
        config = self._config
        begin = start.get("", 0)
        began = time.monotonic()
        for first in range(begin, config.count, config.batch):
            stop = min(first + config.batch, config.count)
            if config.rate and self.context.wait_until(began + (stop - begin) / config.rate):
                return
            if self.context.stopping:
                return
            arrays = self.context.empty(self._stream, stop - first)
            indices = np.arange(first, stop, dtype=np.int64)
            self._paths.draw(indices, arrays["frame"])
            period = 1e9 / config.rate if config.rate else 1e6
            arrays["time"][:] = self._epoch + np.rint(indices * period).astype(np.int64)
            yield daq.Batch("", arrays, first)

    def truth(self) -> Mapping[str, npt.NDArray[Any]]:
        """Return what is known, one row per record.

        ``total`` int64 [record], counts; ``spot_sum`` int64 [record, spot], counts;
        ``spot_position`` int64 [record, spot, (y, x)], px; ``centre_of_mass`` float64
        [record, (y, x)], px.
        """
        indices = np.arange(self._config.count, dtype=np.int64)
        positions, sums = self._paths.positions(indices), self._paths.sums(indices)
        total = sums.sum(axis=1)
        # templates are symmetric, so the centre of mass of a spot is its position
        moment = (sums[:, :, None] * positions).sum(axis=1)
        return {
            "total": total,
            "spot_sum": sums,
            "spot_position": positions,
            "centre_of_mass": moment / total[:, None],
        }


class _Paths:
    """Where each spot stands and how bright it is, as functions of the index."""

    def __init__(self, config: Any) -> None:
        draw = np.random.default_rng(config.seed)
        count, shape = config.spots, np.array(config.shape)
        # without a scan, one "scan" is a row of 1000 records
        self._scan = config.scan or (1, 1000)
        largest = max(1, int(shape.min()) // 10)
        self._templates = []
        for radius in draw.integers(1, largest, size=count, endpoint=True):
            offset = np.arange(-radius, radius + 1)
            square = offset[:, None] ** 2 + offset[None, :] ** 2
            profile = np.rint(config.peak * np.exp(-2.0 * square / radius**2))
            self._templates.append(profile.astype(np.uint16))
        self._scaled = [
            [template * np.uint16(b) for b in range(LARGEST_BRIGHTNESS + 1)]
            for template in self._templates
        ]
        self._radius = np.array([len(template) // 2 for template in self._templates])
        # a path stays inside the frame, template and all
        room = (shape[None, :] - 1) / 2 - self._radius[:, None]
        self._amplitude = room * draw.uniform(0.1, 0.5, size=(count, 2))
        self._middle = (shape - 1) / 2 + (room - self._amplitude - 1).clip(0) * draw.uniform(
            -1, 1, size=(count, 2)
        )
        self._phase = draw.uniform(0, 2 * np.pi, size=(count, 4))
        self._cycles = draw.integers(1, 3, size=(count, 4), endpoint=True)

    def _waves(self, indices: Integers) -> npt.NDArray[np.float64]:
        """Four smooth waves per spot, -1 to 1: [record, spot, wave]."""
        rows, columns = self._scan
        scan, position = np.divmod(indices, rows * columns)
        row, column = np.divmod(position, columns)
        down, across = row / rows, column / columns
        turn = 2 * np.pi * np.stack([down, across, down, across], axis=1)[:, None, :]
        return np.sin(turn * self._cycles + self._phase + 0.1 * scan[:, None, None])

    def positions(self, indices: Integers) -> Integers:
        """Pixel of the middle of each spot: [record, spot, (y, x)]."""
        waves = self._waves(indices)[:, :, :2]
        return np.asarray(np.rint(self._middle + self._amplitude * waves), np.int64)

    def brightness(self, indices: Integers) -> Integers:
        """Integer factor of each spot's template: [record, spot]."""
        waves = self._waves(indices)
        middle = (LARGEST_BRIGHTNESS + 1) / 2
        mixed = waves[:, :, 2] * waves[:, :, 3]
        return np.rint(middle + (middle - 1) * mixed).astype(np.int64)

    def sums(self, indices: Integers) -> Integers:
        """Counts of each spot: [record, spot]."""
        whole = np.array([int(template.sum()) for template in self._templates], np.int64)
        return np.asarray(self.brightness(indices) * whole)

    def draw(self, indices: Integers, frames: npt.NDArray[np.uint16]) -> None:
        """Fill ``frames`` [record, y, x] with the records of ``indices``."""
        frames[...] = 0
        corners = (self.positions(indices) - self._radius[None, :, None]).tolist()
        brightness = self.brightness(indices).tolist()
        sizes = [len(template) for template in self._templates]
        for frame, places, factors in zip(frames, corners, brightness, strict=True):
            for scaled, size, (y, x), factor in zip(
                self._scaled, sizes, places, factors, strict=True
            ):
                frame[y : y + size, x : x + size] += scaled[factor]


def _nanoseconds(start: datetime.datetime | str) -> int:
    if isinstance(start, str):
        return time.time_ns()
    return int(np.datetime64(start.astimezone(datetime.UTC).replace(tzinfo=None), "ns").astype(int))
