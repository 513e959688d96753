"""An image from a file as the lines of a scan."""

from __future__ import annotations

import dataclasses
import datetime
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

import daq
from daq_afm.channels import LENGTHS, Channel, find_channels, spelled
from daq_afm.phase_convention import PhaseConvention
from daq_afm.settings import FileSettings

log = logging.getLogger(__name__)

AT_ONCE: Final = 64
"""Lines in a batch, at most."""


@dataclasses.dataclass
class Image:
    """What a file holds.

    ``values`` has for each channel an array [rows, columns] in the channel's unit, lowest row first,
    x increasing. ``size`` is the distance of neighbouring pixels, (dy, dx) in nm, None where not known;
    ``downwards``: the top line was scanned first. ``seconds`` is the duration of the scan, ``start`` or ``end`` (naive times
    are in the time zone of the configuration) its place in time; None: not known.
    """

    channels: Sequence[Channel]
    values: Sequence[npt.NDArray[Any]]
    step: tuple[float, float] | None
    attributes: dict[str, Any] = dataclasses.field(default_factory=dict)
    cantilever: dict[str, float] = dataclasses.field(default_factory=dict)
    convention: PhaseConvention | None = None
    downwards: bool = False
    seconds: float | None = None
    start: datetime.datetime | None = None
    end: datetime.datetime | None = None


class ImageLines:
    """Makes records of an image: one per line, trace and retrace together, in the order of the scan.

    Fields: each channel [columns] float32 (nm, deg, Hz; see `daq_afm.channels`), ``line`` (int32, 0 the lowest),
    ``scan`` (int32, 0), ``y`` (float64, nm above the lowest line), and, where they are known, ``place`` (int32),
    ``annealing_time`` (s) and ``annealing_temperature`` (K), float64. Lines without a single number were not
    scanned, and are left out. The phase is converted where the convention is known.

    Times are spread evenly over the duration of the scan; where that is not known, they lie ``line_time``
    apart, or 1 s. Without a start they count from 1970 (attribute ``start_time`` is None).

    Parameters
    ----------
    name
        Of the file, for messages.
    image
        What it holds.
    settings
        What the configuration says.
    form
        Name of the format.
    """

    def __init__(self, name: str, image: Image, settings: FileSettings, form: str) -> None:
        try:
            found = find_channels(image.channels, settings.channels, settings.units, settings.only)
            convention = settings.convention(image.convention)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        if not found:
            raise ValueError(f"{name}: it holds no image")
        rows, columns = _common_shape(name, image)
        step = settings.step or image.step
        if step is None:
            raise ValueError(
                f"{name}: the distance of its pixels is not known; say step = [dy, dx]"
            )
        history = settings.history(name)
        self._arrays: dict[str, npt.NDArray[Any]] = {}
        fields: dict[str, daq.Field] = {}
        for entry in found.values():
            values = np.asarray(image.values[entry.index], np.float64) * entry.factor
            if entry.field.split("_retrace")[0] == "phase" and entry.units == "deg" and convention:
                values = convention.to_lag(values)
            self._arrays[entry.field] = values.astype("<f4")
            fields[entry.field] = daq.Field("<f4", (columns,), entry.units, entry.long_name)
        order = np.arange(rows)[::-1] if image.downwards else np.arange(rows)
        scanned = np.zeros(rows, bool)
        for values in self._arrays.values():
            scanned |= np.isfinite(values).any(1)
        taken = scanned[order]
        if not taken.any():
            raise ValueError(f"{name}: no line of it was scanned: every pixel is NaN")
        if not taken.all():
            log.warning("%s: %d of %d lines scanned", name, int(taken.sum()), rows)
        times, start = self._times(image, settings, rows)
        lines = order[taken]
        self._arrays = {field: values[lines] for field, values in self._arrays.items()}
        self._arrays |= {
            "time": times[taken],
            "line": lines.astype("<i4"),
            "scan": np.zeros(len(lines), "<i4"),
            "y": lines * float(step[0]),
        }
        fields |= {
            "line": daq.Field("<i4", (), "", "row of the image, 0 the lowest"),
            "scan": daq.Field("<i4", (), "", "number of the image"),
            "y": daq.Field("<f8", (), "nm", "of the line above the lowest one"),
        }
        described = {
            "place": ("<i4", "", "place on the sample"),
            "annealing_time": ("<f8", "s", "before the scan"),
            "annealing_temperature": ("<f8", "K", "before the scan"),
        }
        for field, value in history.items():
            dtype, units, long_name = described[field]
            self._arrays[field] = np.full(len(lines), value).astype(dtype)
            fields[field] = daq.Field(dtype, (), units, long_name)
        attributes = {
            "file": name, "format": form, "start_time": start,
            "direction": "down" if image.downwards else "up",
            "channels": {entry.field: image.channels[entry.index].name for entry in found.values()},
            **image.attributes,
            **settings.cantilever(image.cantilever),
        }  # fmt: skip
        if "phase" in fields or "phase_retrace" in fields:
            attributes |= settings.phase_attributes(convention)
        x = {"name": "x", "units": "nm", "offset": 0.0, "step": float(step[1])}
        self.stream = daq.Stream(
            "",
            fields,
            {field: [x] for field in found},
            {"shape": [rows, columns], "step": [float(step[0]), float(step[1])], "units": "nm"},
            attributes,
            len(lines),
        )
        """The description of the stream."""

    def batches(self, start: int) -> Iterator[daq.Batch]:
        """Yield the lines from ``start`` on."""
        for first in range(start, len(self._arrays["time"]), AT_ONCE):
            piece = {field: array[first : first + AT_ONCE] for field, array in self._arrays.items()}
            yield daq.Batch("", piece, first)

    def _times(
        self, image: Image, settings: FileSettings, rows: int
    ) -> tuple[npt.NDArray[np.int64], str | None]:
        """Return the time of each line in the order of the scan (its end), and the start as text."""
        line_time = image.seconds / rows if image.seconds else settings.line_time or 1.0
        since = np.rint(np.arange(1, rows + 1) * line_time * 1e9).astype(np.int64)
        if image.start is not None:
            start = settings.nanoseconds(image.start)
        elif image.end is not None:
            start = settings.nanoseconds(image.end) - int(since[-1])
        elif settings.start_time is not None:
            start = settings.nanoseconds(settings.start_time)
        else:
            return since, None
        return start + since, str(np.datetime64(start, "ns"))[:23] + "Z"


def length_in_nm(length: float, unit: str) -> float | None:
    """Return a length in nm, None where its unit is none of a length."""
    factor = LENGTHS.get(spelled(unit))
    return None if factor is None else length * factor


def numbers(note: Mapping[str, str], names: Mapping[str, str]) -> dict[str, float]:
    """Return the finite positive numbers of a header: ``names`` maps our names to its keys."""
    found = {}
    for name, key in names.items():
        try:
            value = float(note[key])
        except (KeyError, ValueError):
            continue
        if np.isfinite(value) and value > 0:
            found[name] = value
    return found


def _common_shape(name: str, image: Image) -> tuple[int, int]:
    shapes = {np.shape(values) for values in image.values}
    if len(shapes) != 1:
        raise ValueError(f"{name}: its channels differ in shape: {sorted(shapes)}")
    (shape,) = shapes
    if len(shape) != 2 or 0 in shape:
        raise ValueError(f"{name}: its channels have shape {list(shape)}: no image")
    return shape[0], shape[1]
