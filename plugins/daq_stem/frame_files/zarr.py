"""Reader of Zarr stores, versions 2 and 3: patterns in any array, by its path."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import daq
from daq_stem.frame_files.frame_array import FrameArray, FramesConfig, flat_chunk, read_flat

log = logging.getLogger(__name__)


class ZarrReader(daq.Reader):
    """Patterns of a Zarr store (a folder ``NAME.zarr``): ``""`` with the field ``frame`` [y, x].

    ``dataset`` is the path of the array in the store; by default the one array of three to five
    axes that is larger than all others. See `daq_stem.frame_files.frame_array.FrameArray` for axes, scan and
    times. A store leaves out chunks that hold its fill value only, so chunks that were never
    written look alike: how many are not there is logged.

    Needs the package zarr (``pip install 'glasswatch[zarr]'``). Source type ``file`` only: nothing in a
    store says that it is whole, so a watched folder does not take it.
    """

    name = "zarr"
    suffixes = (".zarr",)

    class Config(FramesConfig):
        """What ``[sources.NAME]`` may say about a Zarr store."""

        dataset: str | None = daq.setting(
            None, "", "path in the store, such as data/0; by default the largest array"
        )

    def open(self, path: Path, config: Any) -> Sequence[daq.Stream]:
        """Find the array; ValueError where it is not there, or the package zarr is not."""
        self._path = path
        try:
            import zarr
        except ImportError:
            raise ValueError(
                f"{path}: reading it needs the package zarr: pip install 'glasswatch[zarr]'"
            ) from None
        try:
            store = zarr.open(path, mode="r")
        except Exception as error:
            # what zarr raises differs from version to version
            raise ValueError(f"{path}: is no Zarr store: {error}") from None
        array = self._array = _array(store, config.dataset, path)
        shape, chunks = tuple(array.shape), getattr(array, "shards", None) or array.chunks
        absent = array.nchunks - array.nchunks_initialized
        if absent:
            log.warning(
                "%s: %d of %d chunks are not there: they read as %s",
                path.name, absent, array.nchunks, array.fill_value,
            )  # fmt: skip
        self._frames = FrameArray(
            path, config, shape, array.dtype, self._read, chunk=flat_chunk(shape, chunks),
            attributes={"dataset": array.path or "/"},
        )  # fmt: skip
        return [self._frames.stream]

    def batches(self, start: dict[str, int]) -> Iterator[daq.Batch]:
        """Yield the patterns from ``start`` on; ValueError where a chunk cannot be unpacked."""
        yield from self._frames.batches(start.get("", 0))

    def close(self) -> None:
        """Let go of the store."""
        self._array = None

    def _read(self, first: int, count: int) -> npt.NDArray[Any]:
        try:
            return read_flat(self._array, first, count)
        except (OSError, RuntimeError, ValueError, TypeError) as error:
            raise ValueError(
                f"{self._path}: patterns {first} to {first + count - 1} cannot be read: {error}"
            ) from None


def _array(store: Any, dataset: str | None, path: Path) -> Any:
    import zarr

    if isinstance(store, zarr.Array):
        if dataset not in (None, "", "/"):
            raise ValueError(f"{path}: is one array, without a {dataset!r} in it")
        return store
    arrays = {
        array.path: math.prod(array.shape) * np.dtype(array.dtype).itemsize
        for array in _arrays_in(store)
        if 3 <= len(array.shape) <= 5 and np.dtype(array.dtype).kind in "buif"
    }
    there = sorted(arrays, key=lambda name: (-arrays[name], name))
    if dataset is not None:
        found = store.get(dataset.strip("/"))
        if not isinstance(found, zarr.Array):
            known = ", ".join(there) or "none of three axes or more"
            raise ValueError(f"{path}: no array {dataset!r}; there is {known}")
        return found
    if not there:
        raise ValueError(f"{path}: no array of three to five axes; give dataset = its path")
    if len(there) > 1 and arrays[there[0]] == arrays[there[1]]:
        largest = " or ".join(name for name in there if arrays[name] == arrays[there[0]])
        raise ValueError(f"{path}: say dataset = {largest}")
    return store[there[0]]


def _arrays_in(group: Any) -> Iterator[Any]:
    for _, array in group.arrays():
        yield array
    for _, inner in group.groups():
        yield from _arrays_in(inner)
