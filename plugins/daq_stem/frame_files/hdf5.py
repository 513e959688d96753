"""Reader of HDF5 files: patterns in any dataset, by its path."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import daq
from daq_stem.frame_files.frame_array import FrameArray, FramesConfig, flat_chunk, read_flat

LARGEST_CACHE = 1 << 30
"""Bytes of chunks that are kept unpacked, at most, while a file is read."""


class Hdf5Reader(daq.Reader):
    """Patterns of a dataset in an HDF5 file: stream ``""`` with the field ``frame`` [y, x].

    ``dataset`` is its path; by default the one dataset of three to five axes that is larger than
    all others. See `daq_stem.frame_files.frame_array.FrameArray` for axes, scan and times. Compressed with
    bitshuffle, LZ4, Blosc, Zstandard and what else hdf5plugin unpacks. Links to other files are
    followed. Where chunks hold several scan rows, a row of chunks is kept in memory (up to 1 GiB).

    In a watched folder a file is waited for until HDF5 opens it: not while it is cut off, or a
    program has it open for writing. Where neither shows (a network drive without locks), only
    ``settle`` of the source tells that a file is whole.
    """

    name = "hdf5"
    suffixes = (".h5", ".hdf5", ".hdf", ".hspy", ".emd", ".nxs")

    class Config(FramesConfig):
        """What ``[sources.NAME]`` may say about an HDF5 file."""

        dataset: str | None = daq.setting(
            None, "", "path in the file, such as /entry/data/data; by default the largest"
        )

    def __init__(self) -> None:
        self._file: Any = None

    @classmethod
    def knows(cls, path: Path) -> bool:
        """Tell whether the file begins as HDF5 files do."""
        with path.open("rb") as file:
            return file.read(8) == b"\x89HDF\r\n\x1a\n"

    @classmethod
    def ready(cls, path: Path) -> bool:
        """Tell whether HDF5 opens the file: it is not cut off, and nobody writes it."""
        with open_hdf5(path):
            return True

    def open(self, path: Path, config: Any) -> Sequence[daq.Stream]:
        """Find the dataset; ValueError where it is not there, or holds no patterns."""
        self._path = path
        try:
            self._file = open_hdf5(path)
        except OSError as error:
            raise ValueError(unreadable(path, error)) from None
        name = config.dataset or _largest(self._file, path)
        self._dataset = dataset_at(self._file, name, path)
        cache = _cache(self._dataset)
        if cache > 1 << 20:
            # the cache of a file is fixed when it is opened
            self._file.close()
            self._file = open_hdf5(path, rdcc_nbytes=cache, rdcc_nslots=10007)
            self._dataset = self._file[name]
        self._frames = FrameArray(
            path, config, self._dataset.shape, self._dataset.dtype, self._read,
            chunk=flat_chunk(self._dataset.shape, self._dataset.chunks),
            attributes={"dataset": self._dataset.name},
        )  # fmt: skip
        return [self._frames.stream]

    def batches(self, start: dict[str, int]) -> Iterator[daq.Batch]:
        """Yield the patterns from ``start`` on; ValueError where they cannot be unpacked."""
        yield from self._frames.batches(start.get("", 0))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _read(self, first: int, count: int) -> npt.NDArray[Any]:
        return read_frames(self._dataset, first, count, self._path)


def open_hdf5(path: Path, **options: Any) -> Any:
    """Open an HDF5 file for reading, with all compressions that hdf5plugin knows."""
    import h5py
    import hdf5plugin  # noqa: F401 - registers them

    return h5py.File(path, "r", **options)


def dataset_at(file: Any, name: str, path: Path) -> Any:
    """Return the dataset of that path; raise ValueError with those that are there, or why not."""
    import h5py

    try:
        found = file[name]
    except (KeyError, OSError):
        link = file.get(name, getlink=True) if name in _link_names(file, name) else None
        if isinstance(link, h5py.ExternalLink):
            raise ValueError(
                f"{path}: {name} is in {link.filename}, which is not there or damaged"
            ) from None
        there = ", ".join(name for name, _ in arrays_in(file)) or "none of three axes or more"
        raise ValueError(f"{path}: no dataset {name!r}; there is {there}") from None
    if not isinstance(found, h5py.Dataset):
        there = ", ".join(name for name, _ in arrays_in(file)) or "none of three axes or more"
        raise ValueError(f"{path}: {name} is a group; datasets: {there}")
    return found


def read_frames(dataset: Any, first: int, count: int, path: Path) -> npt.NDArray[Any]:
    """Return records of a dataset, flat; raise ValueError where they cannot be read."""
    try:
        return read_flat(dataset, first, count)
    except OSError as error:
        raise ValueError(
            f"{path}: patterns {first} to {first + count - 1} cannot be read: {error}"
        ) from None


def arrays_in(file: Any) -> list[tuple[str, int]]:
    """Return path and bytes of every dataset of three to five axes of real numbers, largest first."""
    import h5py

    found: dict[str, int] = {}

    def look(name: str, entry: Any) -> None:
        if isinstance(entry, h5py.Dataset) and 3 <= entry.ndim <= 5 and entry.dtype.kind in "buif":
            found[f"/{name}"] = math.prod(entry.shape) * entry.dtype.itemsize

    file.visititems(look)
    return sorted(found.items(), key=lambda entry: (-entry[1], entry[0]))


def unreadable(path: Path, error: OSError) -> str:
    """Say in a line why HDF5 does not open a file."""
    said = str(error)
    if "truncated" in said:
        return f"{path}: is cut off, or was not written to its end"
    if "signature" in said:
        return f"{path}: is no HDF5 file"
    if "lock" in said or "consistency flags" in said:
        return f"{path}: is open for writing; wait until its writer has closed it"
    return f"{path}: {said}"


def _link_names(file: Any, name: str) -> set[str]:
    """Return ``name`` if there is a link of that name, wherever it points."""
    group, _, last = name.rpartition("/")
    try:
        return {name} if last in list(file[group or "/"]) else set()
    except (KeyError, TypeError):
        return set()


def _largest(file: Any, path: Path) -> str:
    arrays = arrays_in(file)
    if not arrays and "glasswatch" in str(file.attrs.get("creator", "")):
        raise ValueError(f'{path}: is a run of glasswatch: type = "replay", or daq replay {path}')
    if not arrays:
        raise ValueError(f"{path}: no dataset of three to five axes; give dataset = its path")
    if len(arrays) > 1 and arrays[0][1] == arrays[1][1]:
        largest = " or ".join(name for name, size in arrays if size == arrays[0][1])
        raise ValueError(f"{path}: say dataset = {largest}")
    return arrays[0][0]


def _cache(dataset: Any) -> int:
    """Return the bytes of the chunks that the records of one scan row lie in."""
    chunks = dataset.chunks
    if chunks is None or dataset.ndim < 3:
        return 0
    if dataset.ndim > 3 and max(chunks[:-3]) > 1:
        across = dataset.shape[-3:]
    else:
        across = (min(chunks[-3], dataset.shape[-3]), *dataset.shape[-2:])
    along = [-(-length // chunk) for length, chunk in zip(across, chunks[-3:], strict=True)]
    held = math.prod(along) * math.prod(chunks) * np.dtype(dataset.dtype).itemsize
    return min(LARGEST_CACHE, 2 * held)
