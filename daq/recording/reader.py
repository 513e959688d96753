"""Reads a run that is being written, was finished, was cut off by a kill, or was repaired."""

from __future__ import annotations

import bisect
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from daq.recording import layout
from daq.recording.chunks import ChunkFiles
from daq.recording.compression import Decoder
from daq.recording.contents import Contents, MasterContents, StreamContents, locate
from daq.recording.journal import boot_identity
from daq.recording.swmr import open_for_reading
from daq.run import Run
from daq.streams import Array, Batch, Stream

if TYPE_CHECKING:
    import h5py

_TRIES = 5
_PAUSE = 0.02


class RunReader:
    """The records of a run, by stream and index; it may still grow (`refresh`).

    Parameters
    ----------
    path
        The folder of the run, or its ``.nxs``.

    Raises
    ------
    OSError
        Where there is no run, or a power loss left one that needs ``daq repair`` first.
    ValueError
        Where the file is no run of ours.
    """

    def __init__(self, path: Path) -> None:
        self.folder, uid = locate(Path(path))
        journal = self.folder / f"{uid}.journal"
        self._contents: Contents | MasterContents
        if journal.exists():
            self._contents = Contents(journal, resync=True)
        else:
            self._contents = MasterContents(self.folder / f"{uid}.nxs")
        if self._contents.run is None:
            self._contents.close()
            raise ValueError(f"{path}: the beginning of the journal is damaged; use daq repair")
        if self._contents.seal is None and self._contents.boot != boot_identity():
            # HDF5 may hang on a file that lost pages; only the journal can be trusted.
            self._contents.close()
            raise OSError(f"{path}: was cut off, by a power loss perhaps; use daq repair first")
        self.run: Run = self._contents.run
        self.streams: dict[str, Stream] = {}
        self._files: dict[tuple[str, str], _File] = {}
        self._describe()

    def refresh(self) -> None:
        """See new streams, and new records of known ones."""
        contents = self._contents
        contents.follow()
        if isinstance(contents, Contents) and contents.journal.was_replaced:
            # The run was finished or repaired, and parts have become one file.
            self._contents = Contents(contents.journal.path, resync=True)
            contents.close()
            self._close_files()
        self._describe()

    def count(self, stream: str) -> int:
        """Return how many records can be read now; raises KeyError where there is no such stream."""
        return self._of(stream).count

    def durable(self, stream: str) -> int:
        """Return how many records are known to be on the disk."""
        return self._of(stream).durable

    def closed(self, stream: str) -> tuple[int, str, str] | None:
        """Return count, status and reason of a stream that has ended, else None."""
        return self._of(stream).closed

    def missing(self, stream: str) -> list[tuple[int, int, str]]:
        """Return the lost records: index of the first, count, reason."""
        return list(self._of(stream).missing)

    @property
    def contents(self) -> Contents | MasterContents:
        """What the journal tells, up to the last `refresh`."""
        return self._contents

    @property
    def finished(self) -> tuple[str, str] | None:
        """Status and reason of the run where it was finished, else None."""
        contents = self._contents
        if contents.seal is None or contents.ending is None:
            return None
        return contents.ending[:2]

    def read(
        self,
        stream: str,
        first: int,
        count: int,
        stride: int = 1,
        fields: Sequence[str] | None = None,
    ) -> Batch:
        """Return every ``stride``-th of the records ``first`` to ``first + count``, raw.

        Fewer come where the stream is shorter. ``fields`` are all by default; ``time`` always
        comes. ``valid`` is False for lost records, which hold fill values. Corrections are not
        attached. Raises KeyError for an unknown stream or field, ValueError for a bad range.
        """
        contents = self._of(stream)
        if first < 0 or count < 0 or stride < 1:
            raise ValueError(f"{stream}: records {first}+{count} by {stride} cannot be read")
        names = list(contents.stream.fields) if fields is None else list(fields)
        for name in names:
            if name not in contents.stream.fields:
                raise KeyError(f"{stream}: no field {name!r}")
        if "time" not in names:
            names.append("time")
        end = min(first + count, contents.count)
        pieces: list[dict[str, Array]] = []
        starts = [begins for _, begins in contents.files]
        at = first
        while at < end:
            # Several files may begin at one row; the last of them holds it.
            number = bisect.bisect_right(starts, at) - 1
            stop = min(end, starts[number + 1] if number + 1 < len(starts) else end)
            pieces.append(self._piece(contents, number, at, stop, stride, names))
            at += -(-(stop - at) // stride) * stride
        arrays = {}
        for name in (*names, "valid"):
            parts = [piece[name] for piece in pieces]
            if len(parts) == 1:
                arrays[name] = parts[0]
            elif parts:
                arrays[name] = np.concatenate(parts)
            else:
                arrays[name] = _none(contents.stream, name)
        valid = arrays.pop("valid")
        return Batch(stream, arrays, first, valid)

    def close(self) -> None:
        """Close all files."""
        self._close_files()
        self._contents.close()

    def __enter__(self) -> RunReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- inside ---------------------------------------------------------------------------------

    def _of(self, stream: str) -> StreamContents:
        if stream not in self.streams:
            known = ", ".join(sorted(self.streams)) or "none"
            raise KeyError(f"no stream {stream!r} in the run; there are {known}")
        return self._contents.streams[stream]

    def _close_files(self) -> None:
        for file in self._files.values():
            file.close()
        self._files.clear()

    def _describe(self) -> None:
        for name, contents in self._contents.streams.items():
            if name not in self.streams and contents.files:
                self.streams[name] = contents.stream

    def _piece(
        self, contents: StreamContents, number: int, first: int, end: int, stride: int,
        names: Sequence[str],
    ) -> dict[str, Array]:  # fmt: skip
        name, begins = contents.files[number]
        group = layout.group_path(contents.stream.name)
        error: Exception | None = None
        trusted = self._contents.seal is not None or name not in contents.distrusted
        for attempt in range(_TRIES if trusted else 0):
            # A file that is being written may be caught between two of its blocks: look again.
            if attempt:
                self._forget(name, group)
                time.sleep(_PAUSE)
            try:
                file = self._open(name, group)
                return file.read(names, first - begins, end - begins, stride)
            except (OSError, RuntimeError, EOFError, KeyError) as caught:
                error = caught
        # The writer was killed in the middle of a block of HDF5's index: the journal is enough.
        arrays = _from_journal(self.folder, self._contents, contents, first, end, names)
        if arrays is None:
            raise OSError(
                f"{self.folder / name}: records {first} to {end - 1} cannot be read ({error})"
            )
        return {field: array[::stride] for field, array in arrays.items()}

    def _open(self, name: str, group: str) -> _File:
        if (name, group) not in self._files:
            self._files[name, group] = _File(self.folder / name, group)
        return self._files[name, group]

    def _forget(self, name: str, group: str) -> None:
        if (file := self._files.pop((name, group), None)) is not None:
            file.close()


class _File:
    """The group of a stream in one file."""

    def __init__(self, path: Path, group: str) -> None:
        self._file = open_for_reading(path)
        self._group = group
        self._datasets: dict[str, h5py.Dataset] = {}

    def read(self, names: Sequence[str], first: int, end: int, stride: int) -> dict[str, Array]:
        arrays: dict[str, Array] = {}
        for name in (*names, "valid"):
            dataset = self._dataset(name)
            if len(dataset) < end:
                dataset.refresh()
            if len(dataset) < end:
                raise EOFError(f"{name} has {len(dataset)} rows, {end} are expected")
            arrays[name] = dataset[first:end:stride]
        return arrays

    def close(self) -> None:
        self._datasets.clear()
        self._file.close()

    def _dataset(self, name: str) -> h5py.Dataset:
        if name not in self._datasets:
            self._datasets[name] = self._file[f"{self._group}/{name}"]
        return self._datasets[name]


def _from_journal(
    folder: Path, contents: Contents | MasterContents, stream: StreamContents,
    first: int, end: int, names: Sequence[str],
) -> dict[str, Array] | None:  # fmt: skip
    """Return rows by what the journal tells of them, or None where they are not whole there."""
    if not isinstance(contents, Contents):
        return None
    fields = stream.stream.fields
    arrays = {
        name: np.full(
            (end - first, *fields[name].shape), layout.fill_value(fields[name], name),
            fields[name].numpy_dtype,
        )
        for name in names
    }  # fmt: skip
    arrays["valid"] = np.zeros(end - first, bool)
    known = Contents(contents.journal.path, segments=True, resync=True)
    known.close()
    with ChunkFiles(folder, contents.journal.path) as files:
        told = known.streams[stream.stream.name]
        for segment in told.segments:
            start, stop = max(first, segment.first), min(end, segment.end)
            if start >= stop or segment.kind == "missing":
                continue
            if segment.kind != "batch":
                return None
            rows, own = slice(start - first, stop - first), segment.rows(start, stop)
            for name in names:
                if layout.is_large(fields[name]):
                    decoder = Decoder(told.compression[segment.file], fields[name])
                    chunks = list(files.chunks(segment, name, own))
                    if None in chunks:
                        return None
                    whole = [decoder.decode(c[0], c[2]) for c in chunks if c is not None]
                    arrays[name][rows] = whole
                else:
                    arrays[name][rows] = files.small(stream, segment, name)[own]
            arrays["valid"][rows] = True
    return arrays


def _none(stream: Stream, name: str) -> Array:
    fields: Mapping[str, Any] = stream.fields
    if name == "valid":
        return np.zeros(0, bool)
    return np.empty((0, *fields[name].shape), fields[name].numpy_dtype)
