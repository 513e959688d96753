"""An array of patterns in a file as a stream: its scan, its times, and batches of it."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydantic

import daq

log = logging.getLogger(__name__)

BATCH_BYTES = 8 << 20
"""A batch holds at most this much, and at least one frame, or one chunk of the file."""

MOST_FRAMES = 256
"""Frames in a batch, at most, where a chunk has fewer."""

UNKNOWN_DWELL = 1e-3
"""s between patterns whose times nobody told."""


class FramesConfig(daq.Config):
    """What a file of patterns does not say, or says wrongly."""

    scan: tuple[pydantic.PositiveInt, pydantic.PositiveInt] | None = daq.setting(
        None, "", "positions, [rows, columns]; by default from the axes of the array"
    )
    step: float | None = daq.setting(None, "nm", "distance of two scan positions", gt=0)
    partial: bool = daq.setting(False, "", "take a series that ends within a scan")
    dwell_time: float | None = daq.setting(None, "s", "from pattern to pattern", gt=0)
    scan_time: float | None = daq.setting(
        None, "s", "from scan to scan; by default the positions times dwell_time", gt=0
    )
    pixel_size: float | None = daq.setting(None, "1/nm", "of the detector", gt=0)
    centre: tuple[float, float] | None = daq.setting(
        None, "px", "[y, x] of the direct beam; by default the middle"
    )
    counts_per_electron: float | None = daq.setting(None, "", "of the detector", gt=0)


class FrameArray:
    """Patterns [..., y, x] as records, row by row of the scan.

    Two axes are one pattern; three are [record, y, x]; four are [row, column, y, x], one scan;
    five are [scan, row, column, y, x].

    Time of pattern p of scan s = start + s * scan_time + p * dwell_time. Without a start, the last
    pattern has the time of the file's last change. Without ``dwell_time``, times are made up, 1 ms
    apart, and the stream's attribute ``time`` says so.

    Parameters
    ----------
    path, config
        The file, and what is told of it. What is told wins over what the file says.
    shape, dtype
        Of the array. Frames in another byte order, and of half floats, are converted.
    read
        ``(first, count) -> [record, y, x]``, of the flat series of records.
    chunk
        Records that are best read together.
    start
        Time of the first pattern, ns since 1970 UTC.
    dwell_time
        s, as the file says.
    attributes, constants
        Of the stream.

    Raises
    ------
    ValueError
        Where the array holds no patterns, or they do not fit the scan.
    """

    def __init__(
        self,
        path: Path,
        config: FramesConfig,
        shape: Sequence[int],
        dtype: npt.DTypeLike,
        read: Callable[[int, int], npt.NDArray[Any]],
        *,
        chunk: int = 1,
        start: int | None = None,
        dwell_time: float | None = None,
        scan: tuple[int, int] | None = None,
        attributes: Mapping[str, Any] | None = None,
        constants: Mapping[str, npt.NDArray[Any]] | None = None,
    ) -> None:
        self._read, self._chunk = read, chunk
        leading, frame = _split(path, tuple(shape))
        self._count = math.prod(leading)
        self._scan = _scan_of(path, config, leading, scan)
        self._kind = _frame_dtype(path, np.dtype(dtype))
        self._set_times(path, config, start, dwell_time)
        told = {
            "file": path.name,
            **(attributes or {}),
            "time": self._time_from,
            **{
                key: value
                for key in (
                    "dwell_time",
                    "scan_time",
                    "pixel_size",
                    "centre",
                    "counts_per_electron",
                )
                if (value := getattr(config, key)) is not None
            },
        }
        if config.centre is not None:
            told["centre"] = list(config.centre)
        if self._time_from == "dwell_time":
            told["dwell_time"] = self._dwell
        said: dict[str, Any] | None = None
        if self._scan is not None:
            said = {"shape": list(self._scan)}
            if config.step is not None:
                said["step"] = config.step
        self.stream = daq.Stream(
            "",
            {"frame": daq.Field(self._kind.str, frame, "counts", "diffraction pattern")},
            {"frame": _axes(frame, told)},
            said,
            told,
            self._count,
            dict(constants or {}),
        )

    def batches(self, start: int) -> Iterator[daq.Batch]:
        """Yield the patterns from index ``start`` on."""
        most = min(MOST_FRAMES, BATCH_BYTES // max(1, self.stream.record_bytes))
        at_once = max(1, self._chunk, most // self._chunk * self._chunk)
        first = start
        while first < self._count:
            stop = min(self._count, (first // at_once + 1) * at_once)
            frames = np.ascontiguousarray(self._read(first, stop - first), self._kind)
            yield daq.Batch("", {"time": self._times(first, stop), "frame": frames}, first)
            first = stop

    def _set_times(
        self, path: Path, config: FramesConfig, start: int | None, dwell_time: float | None
    ) -> None:
        dwell = config.dwell_time or dwell_time
        self._time_from = "dwell_time" if dwell else "made up"
        if not dwell:
            log.warning(
                "%s: does not say when patterns were taken, 1 ms apart is assumed; give dwell_time (s)",
                path.name,
            )
        self._dwell = dwell or UNKNOWN_DWELL
        self._positions = math.prod(self._scan) if self._scan is not None else self._count
        lasts = self._positions * self._dwell
        if config.scan_time is not None and config.scan_time < lasts * (1 - 1e-9):
            raise ValueError(
                f"scan_time: {config.scan_time:g} s are less than {self._positions} positions of "
                f"{self._dwell:g} s"
            )
        self._period = config.scan_time or lasts
        self._start = 0
        if start is None:
            start = path.stat().st_mtime_ns - int(self._times(self._count - 1, self._count)[0])
        self._start = start

    def _times(self, first: int, stop: int) -> npt.NDArray[np.int64]:
        scan, position = np.divmod(np.arange(first, stop), self._positions)
        seconds = scan * self._period + position * self._dwell
        return np.asarray(self._start + np.rint(seconds * 1e9).astype(np.int64))


def read_flat(array: Any, first: int, count: int) -> npt.NDArray[Any]:
    """Return records ``first`` to ``first + count`` of an array [..., y, x], in one array.

    The array may be of numpy, h5py or zarr; only what is asked for is read.
    """
    leading = tuple(array.shape[:-2])
    if not leading:
        return np.asarray(array[...])[None]
    pieces = []
    stop = first + count
    while first < stop:
        *outer, inner = (int(n) for n in np.unravel_index(first, leading))
        last = min(leading[-1], inner + stop - first)
        pieces.append(np.asarray(array[(*outer, slice(inner, last))]))
        first += last - inner
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def flat_chunk(shape: Sequence[int], chunks: Sequence[int] | None) -> int:
    """Return how many records, flat, are best read together, where chunks have ``chunks``."""
    if chunks is None or len(shape) < 3:
        return 1
    return min(int(chunks[-3]), int(shape[-3]))


def _split(path: Path, shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, int]]:
    if not 2 <= len(shape) <= 5:
        raise ValueError(
            f"{path.name}: the array has shape {list(shape)}; patterns are [record, y, x], "
            "[row, column, y, x] or [scan, row, column, y, x]"
        )
    if not math.prod(shape):
        raise ValueError(f"{path.name}: the array of shape {list(shape)} is empty")
    return shape[:-2], (shape[-2], shape[-1])


def _scan_of(
    path: Path, config: FramesConfig, leading: tuple[int, ...], said: tuple[int, int] | None
) -> tuple[int, int] | None:
    count = math.prod(leading)
    own = (leading[-2], leading[-1]) if len(leading) >= 2 else None
    if own is not None and config.scan is not None and own != config.scan:
        raise ValueError(
            f"{path.name}: the array has {own[0]} x {own[1]} positions, scan says "
            f"{config.scan[0]} x {config.scan[1]}"
        )
    scan = config.scan or own or said
    if scan is None:
        return None
    positions = math.prod(scan)
    if count % positions and not config.partial:
        raise ValueError(
            f"{path.name}: {count} patterns are not whole scans of {scan[0]} x {scan[1]} = "
            f"{positions}; correct scan, or say partial = true where the last was broken off"
        )
    return scan


def _frame_dtype(path: Path, dtype: np.dtype[Any]) -> np.dtype[Any]:
    if dtype.kind not in "buif" or dtype.itemsize > 8:
        raise ValueError(
            f"{path.name}: an array of {dtype.name} holds no patterns; real numbers of at most 64 bit do"
        )
    return np.dtype("<f4") if dtype == np.float16 else dtype.newbyteorder("<")


def _axes(frame: tuple[int, int], told: Mapping[str, Any]) -> list[dict[str, Any]]:
    size = told.get("pixel_size")
    if size is None:
        return [{"name": name, "units": "px", "offset": 0, "step": 1} for name in ("y", "x")]
    centre = told.get("centre") or [(length - 1) / 2 for length in frame]
    return [
        {"name": name, "units": "1/nm", "offset": -float(middle) * size, "step": size}
        for name, middle in zip(("q_y", "q_x"), centre, strict=True)
    ]
