"""Reader of .npy files: patterns as numpy saves them, mapped into memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

import daq
from daq_stem.frame_files.frame_array import FrameArray, FramesConfig, read_flat


class NpyReader(daq.Reader):
    """Patterns of a .npy file: stream ``""`` with the field ``frame`` [y, x].

    See `daq_stem.frame_files.frame_array.FrameArray` for axes, scan and times. Patterns are read from the disk
    as they are given. In a watched folder a file is waited for until it has all bytes that its
    header speaks of. (Programs that reserve the whole file first, as numpy's ``open_memmap`` does,
    must write it elsewhere and move it there.)
    """

    name = "npy"
    suffixes = (".npy",)
    Config = FramesConfig

    def __init__(self) -> None:
        self._array: npt.NDArray[Any] | None = None

    @classmethod
    def ready(cls, path: Path) -> bool:
        """Tell whether the file is as long as its header says."""
        with path.open("rb") as file:
            try:
                shape, _, dtype = _header(file)
            except ValueError:
                return False
            return path.stat().st_size >= file.tell() + math.prod(shape) * dtype.itemsize

    def open(self, path: Path, config: Any) -> Sequence[daq.Stream]:
        """Map the file into memory; ValueError where it is cut off, or holds no patterns."""
        with path.open("rb") as file:
            try:
                shape, fortran, dtype = _header(file)
            except ValueError as error:
                raise ValueError(f"{path}: not a .npy file: {error}") from None
            offset = file.tell()
        if dtype.hasobject:
            raise ValueError(f"{path}: holds Python objects, not patterns")
        there = (path.stat().st_size - offset) // max(1, dtype.itemsize)
        if there < math.prod(shape):
            frame = math.prod(shape[-2:])
            raise ValueError(
                f"{path}: is cut off after {there // max(1, frame)} of "
                f"{math.prod(shape[:-2])} patterns"
            )
        self._frames = FrameArray(path, config, shape, dtype, self._read)
        order = "F" if fortran else "C"
        self._array = np.memmap(path, dtype, "r", offset, shape, order)
        return [self._frames.stream]

    def batches(self, start: dict[str, int]) -> Iterator[daq.Batch]:
        """Yield the patterns from ``start`` on."""
        yield from self._frames.batches(start.get("", 0))

    def close(self) -> None:
        """Let go of the file."""
        self._array = None

    def _read(self, first: int, count: int) -> npt.NDArray[Any]:
        return read_flat(self._array, first, count)


def _header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, whether in Fortran order, and dtype; the file then stands at the data."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(file)
    raise ValueError(f"version {version[0]}.{version[1]} is not known")
