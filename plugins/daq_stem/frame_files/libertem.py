"""Reader of other formats of 4D-STEM, by LiberTEM."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import daq
from daq_stem.frame_files.frame_array import BATCH_BYTES, FrameArray, FramesConfig

KINDS = {
    ".blo": "blo", ".dm3": "dm", ".dm4": "dm", ".mrc": "mrc", ".ser": "ser", ".tvips": "tvips",
    ".xml": "empad",
}  # fmt: skip
"""What LiberTEM calls the formats of the endings that were tried; it guesses that of others."""


class LibertemReader(daq.Reader):
    """Patterns that LiberTEM reads: stream ``""`` with the field ``frame`` [y, x].

    As LiberTEM gives them, in its order, without its corrections. See
    `daq_stem.frame_files.frame_array.FrameArray` for axes, scan and times. A file that holds fewer patterns than
    its scan has positions is taken with ``partial`` only. About 8 MB are read at a time, in this process.

    Tried, on files that were made after public layouts: NanoMegas .blo, EMPAD (the .xml, with its
    .raw beside it), Gatan .dm3 (a series) and .dm4 (a scan, pattern after pattern: "Data Order Swapped"), MRC,
    TIA .ser, TVIPS. With ``format = "libertem"`` other endings go to it too, untried.

    Needs the package LiberTEM (``pip install 'glasswatch[libertem]'``). In a watched folder only
    ``settle`` tells that a file is whole.
    """

    name = "libertem"
    suffixes = tuple(KINDS)
    Config = FramesConfig

    def __init__(self) -> None:
        self._partitions: list[Any] = []
        self._held: tuple[int, npt.NDArray[Any]] | None = None

    @classmethod
    def knows(cls, path: Path) -> bool:
        """Tell whether the beginning of an .xml speaks of a file of raw patterns, as EMPAD's does."""
        if path.suffix.lower() != ".xml":
            return True
        with path.open("rb") as file:
            return b"raw_file" in file.read(1 << 16)

    def open(self, path: Path, config: Any) -> Sequence[daq.Stream]:
        """Read the header; ValueError where LiberTEM cannot, is not there, or patterns are cut off."""
        self._path = path
        try:
            from libertem.executor.inline import InlineJobExecutor
            from libertem.io.dataset import detect, load
            from libertem.io.dataset.base import TilingScheme
        except ImportError:
            raise ValueError(
                f"{path}: reading it needs the package LiberTEM: pip install 'glasswatch[libertem]'"
            ) from None
        kind = KINDS.get(path.suffix.lower())
        try:
            executor = InlineJobExecutor(inline_threads=1)
            if kind is None:
                kind = detect(str(path), executor=executor).get("type")
            if kind is None:
                raise ValueError("it is of no format that it knows")
            opened = load(kind, str(path), executor=executor)
            nav, frame = tuple(opened.shape.nav), tuple(opened.shape.sig)
            dtype = np.dtype(opened.dtype)
            count = math.prod(nav)
            # a partition is what is read at a time
            parts = -(-count * math.prod(frame) * dtype.itemsize // BATCH_BYTES)
            parts = max(1, min(count, parts))
            opened = load(kind, str(path), executor=executor, num_partitions=parts)
            self._partitions = list(opened.get_partitions())
        # it raises what its many readers meet
        except Exception as error:
            raise ValueError(
                f"{path}: LiberTEM cannot read it; is it whole, and of this format? ({_why(error)})"
            ) from None
        if len(frame) != 2:
            raise ValueError(
                f"{path}: patterns of {len(frame)} axes {list(frame)} are not read; two are needed"
            )
        self._dtype = dtype.newbyteorder("=")
        self._frame = frame
        self._starts = [int(part.slice.origin[0]) for part in self._partitions]
        self._scheme = [
            TilingScheme.make_for_shape(tileshape=part.shape, dataset_shape=opened.shape)
            for part in self._partitions
        ]
        # LiberTEM fills up with frames of zeros what the scan has more than the file
        self._there = there = min(
            count, int(opened.meta.image_count) - max(0, int(opened.meta.sync_offset))
        )
        leading, scan = (nav, None) if there == count else ((there,), nav[-2:])
        self._frames = FrameArray(
            path, config, (*leading, *frame), self._dtype, self._read,
            scan=scan if scan is not None and len(scan) == 2 else None,
            attributes={"read_by": "LiberTEM"},
        )  # fmt: skip
        self._read(there - 1, 1)  # most readers of LiberTEM do not look whether a file is whole
        return [self._frames.stream]

    def batches(self, start: dict[str, int]) -> Iterator[daq.Batch]:
        """Yield the patterns from ``start`` on; ValueError where they cannot be read."""
        yield from self._frames.batches(start.get("", 0))

    def close(self) -> None:
        """Let go of the file."""
        self._partitions = []
        self._held = None

    def _read(self, first: int, count: int) -> npt.NDArray[Any]:
        frames = np.empty((count, *self._frame), self._dtype)
        done = 0
        while done < count:
            number = int(np.searchsorted(self._starts, first + done, "right")) - 1
            part = self._partition(number)
            offset = first + done - self._starts[number]
            taken = part[offset : offset + count - done]
            frames[done : done + len(taken)] = taken
            done += len(taken)
        return frames

    def _partition(self, number: int) -> npt.NDArray[Any]:
        """Return the patterns of a partition; the last one is kept."""
        if self._held is not None and self._held[0] == number:
            return self._held[1]
        part, first = self._partitions[number], self._starts[number]
        patterns = np.empty(tuple(part.shape), self._dtype)
        filled = 0
        try:
            for tile in part.get_tiles(self._scheme[number], dest_dtype=self._dtype):
                begin, shape = tile.tile_slice.origin, tuple(tile.tile_slice.shape)
                record, y, x = int(begin[0]) - first, int(begin[1]), int(begin[2])
                patterns[record : record + shape[0], y : y + shape[1], x : x + shape[2]] = (
                    tile.data.reshape(shape)
                )
                filled += math.prod(shape)
            if filled < (min(self._there, first + len(patterns)) - first) * math.prod(self._frame):
                raise ValueError("LiberTEM gives less than it announced")
        except Exception as error:
            raise ValueError(
                f"{self._path}: patterns {first} to {first + len(patterns) - 1} cannot be read "
                f"({_why(error)}); the file is cut off or damaged"
            ) from None
        self._held = number, patterns
        return patterns


def _why(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
