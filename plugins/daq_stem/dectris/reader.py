"""Reader of the HDF5 masters that DECTRIS detectors (ARINA, QUADRO, EIGER) write."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import daq
from daq_stem.frame_files.frame_array import FrameArray, FramesConfig
from daq_stem.frame_files.hdf5 import open_hdf5, read_frames, unreadable

DETECTOR = "/entry/instrument/detector"
SPECIFIC = f"{DETECTOR}/detectorSpecific"
"""Where a master keeps what it says of the detector; flags are found in either, by version."""

TOLD = {
    "description": f"{DETECTOR}/description",
    "serial_number": f"{DETECTOR}/detector_number",
    "software_version": f"{SPECIFIC}/software_version",
    "count_time": f"{DETECTOR}/count_time",
    "frame_time": f"{DETECTOR}/frame_time",
    "incident_energy_eV": "/entry/instrument/beam/incident_energy",
    "threshold_energy_eV": f"{DETECTOR}/threshold_energy",
    "bit_depth_image": f"{DETECTOR}/bit_depth_image",
    "trigger_mode": f"{SPECIFIC}/trigger_mode",
}
"""Attributes of the stream, and where a master has them."""


class ArinaReader(daq.Reader):
    """Patterns of ``NAME_master.h5`` and the files that it links to: ``frame`` [y, x], counts.

    They lie in ``/entry/data/data_000001`` and so on, in files of their own beside the master, or
    in ``/entry/data/data``. The constant ``mask`` is true where ``pixel_mask`` is not 0. The
    constant ``gain`` is the flat field, unless the detector has applied it. The time is
    ``data_collection_date`` (UTC, unless it names a zone) plus the number times ``frame_time``.

    A series of ``ntrigger`` triggers of ``nimages`` each, both over 1, is taken for a scan with one
    trigger per row; otherwise the master does not tell the scan. Where fewer patterns are there
    than ntrigger * nimages, those that are there are given, and then ValueError says so.

    In a watched folder (pattern = "*_master.h5") a master is waited for until all its files are there.
    """

    name = "arina"
    suffixes = ("_master.h5", "_master.hdf5")
    Config = FramesConfig

    def __init__(self) -> None:
        self._file: Any = None

    @classmethod
    def ready(cls, path: Path) -> bool:
        """Tell whether all patterns that the master speaks of are there."""
        with open_hdf5(path) as file:
            expected = _expected(file)
            try:
                there = sum(len(part) for part in _parts(file, path))
            except ValueError:
                return False
            return there > 0 and (expected is None or there >= expected)

    def open(self, path: Path, config: Any) -> Sequence[daq.Stream]:
        """Open the master and what it links to; ValueError where that is no series of patterns."""
        self._path = path
        try:
            self._file = open_hdf5(path)
        except OSError as error:
            raise ValueError(unreadable(path, error)) from None
        parts = self._parts = _parts(self._file, path)
        shapes = {(part.shape[1:], part.dtype) for part in parts}
        if len(shapes) > 1 or parts[0].ndim != 3:
            said = ", ".join(f"{list(part.shape)} {part.dtype}" for part in parts)
            raise ValueError(f"{path}: its files do not fit each other: {said}")
        self._edges = np.cumsum([0, *(len(part) for part in parts)])
        count = int(self._edges[-1])
        expected = _expected(self._file)
        self._lacking = max(0, (expected or 0) - count)
        if self._lacking:
            # the message at the end says what is lacking
            config = config.model_copy(update={"partial": True})
        (shape, dtype), *_ = shapes
        chunks = parts[0].chunks
        self._frames = FrameArray(
            path, config, (count, *shape), dtype, self._read,
            chunk=1 if chunks is None else chunks[0],
            start=_start(self._file), dwell_time=_positive(_told(self._file, TOLD["frame_time"])),
            scan=_rows(self._file), attributes=self._attributes(),
            constants=_constants(self._file, shape, path),
        )  # fmt: skip
        return [self._frames.stream]

    def batches(self, start: dict[str, int]) -> Iterator[daq.Batch]:
        """Yield the patterns from ``start`` on; ValueError where some are lacking or damaged."""
        yield from self._frames.batches(start.get("", 0))
        if self._lacking:
            count = int(self._edges[-1])
            raise ValueError(
                f"{self._path}: {count} patterns are there, the master speaks of "
                f"{count + self._lacking}"
            )

    def close(self) -> None:
        """Close the master and its files."""
        self._parts = []
        if self._file is not None:
            self._file.close()
            self._file = None

    def _read(self, first: int, count: int) -> npt.NDArray[Any]:
        pieces = []
        stop = first + count
        while first < stop:
            part = int(np.searchsorted(self._edges, first, side="right")) - 1
            n = min(stop, int(self._edges[part + 1])) - first
            begin = first - int(self._edges[part])
            pieces.append(read_frames(self._parts[part], begin, n, self._path))
            first += n
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def _attributes(self) -> dict[str, Any]:
        told = {name: _told(self._file, place) for name, place in TOLD.items()}
        x, y = (_told(self._file, f"{DETECTOR}/beam_center_{axis}") for axis in "xy")
        if _positive(x) and _positive(y):
            told["centre"] = [float(y), float(x)]
        return {name: value for name, value in told.items() if value is not None}


def _parts(file: Any, path: Path) -> list[Any]:
    """Return the datasets of the patterns, in order; ValueError where a file is not there."""
    import h5py

    data = file.get("/entry/data")
    if not isinstance(data, h5py.Group):
        raise ValueError(f"{path}: no group /entry/data: this is no master of a DECTRIS detector")
    names = sorted(name for name in data if name.startswith("data"))
    parts = []
    for name in names:
        link = data.get(name, getlink=True)
        try:
            part = data[name]
        except (KeyError, OSError):
            part = None
        if not isinstance(part, h5py.Dataset):
            where = link.filename if isinstance(link, h5py.ExternalLink) else f"/entry/data/{name}"
            raise ValueError(f"{path}: {where} is not there, or damaged")
        parts.append(part)
    if not any(len(part) for part in parts):
        raise ValueError(f"{path}: /entry/data holds no patterns")
    return parts


def _told(file: Any, place: str) -> Any:
    """Return a number or a text of the file, None where it is not there."""
    found = file.get(place)
    if found is None or getattr(found, "size", 0) != 1:
        return None
    value = np.asarray(found[()]).reshape(-1)[0]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value.item() if isinstance(value, np.generic) else value


def _flag(file: Any, name: str) -> bool:
    return any(bool(_told(file, f"{group}/{name}")) for group in (DETECTOR, SPECIFIC))


def _positive(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and value > 0 else None


def _triggers(file: Any) -> tuple[int, int] | None:
    numbers = [_told(file, f"{SPECIFIC}/{name}") for name in ("ntrigger", "nimages")]
    if not all(isinstance(number, int) and number > 0 for number in numbers):
        return None
    return int(numbers[0]), int(numbers[1])


def _expected(file: Any) -> int | None:
    triggers = _triggers(file)
    return None if triggers is None else triggers[0] * triggers[1]


def _rows(file: Any) -> tuple[int, int] | None:
    triggers = _triggers(file)
    return triggers if triggers is not None and min(triggers) > 1 else None


def _start(file: Any) -> int | None:
    """Time of the first pattern, ns since 1970 UTC; None where the master does not say."""
    text = _told(file, f"{SPECIFIC}/data_collection_date")
    if not isinstance(text, str):
        return None
    try:
        # nanoseconds are written by some versions, microseconds are what is understood
        head, _, rest = text.strip().partition(".")
        digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
        when = datetime.datetime.fromisoformat(head + rest[len(digits) :])
    except ValueError:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=datetime.UTC)
    return int(when.timestamp()) * 10**9 + int(digits[:9].ljust(9, "0"))


def _constants(file: Any, shape: tuple[int, int], path: Path) -> dict[str, npt.NDArray[Any]]:
    constants: dict[str, npt.NDArray[Any]] = {}
    for name, place in (("mask", "pixel_mask"), ("gain", "flatfield")):
        found = file.get(f"{SPECIFIC}/{place}")
        if found is None or found.ndim < 2:
            continue
        # detectors with several thresholds have one for each
        array = np.asarray(found[(0,) * (found.ndim - 2)])
        if array.shape != shape:
            raise ValueError(
                f"{path}: {place} has shape {list(array.shape)}, the patterns have {list(shape)}"
            )
        constants[name] = array != 0 if name == "mask" else array.astype(np.float32)
    if _flag(file, "flatfield_correction_applied"):
        constants.pop("gain", None)
    return constants
