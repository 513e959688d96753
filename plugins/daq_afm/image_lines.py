"""Lines of a scan, one after the other, and the images that they make up.

An image ends when each of its rows has come, when a line of another scan comes, or when the
stream ends. Rows may come in any order; one that comes again before the image has ended takes the
place of the first, later ones belong to no image.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

import daq

Floats = npt.NDArray[np.float64]

UNITS: Final[Mapping[str, Mapping[str, float]]] = {
    "length": {
        "nm": 1.0, "pm": 1e-3, "um": 1e3, "µm": 1e3, "\u03bcm": 1e3, "mm": 1e6, "m": 1e9,
        "Angstrom": 0.1, "angstrom": 0.1, "Å": 0.1,
    },
    "angle": {"deg": 1.0, "degree": 1.0, "degrees": 1.0, "°": 1.0, "rad": 180 / math.pi},
    "frequency": {"Hz": 1.0, "kHz": 1e3, "MHz": 1e6},
    "energy": {"eV": 1.0, "meV": 1e-3, "aJ": 6.241509074460763, "J": 6.241509074460763e18},
    "ratio": {"": 1.0, "1": 1.0, "%": 0.01},
}  # fmt: skip
"""What is accepted for each quantity, and how many nm, deg, Hz, eV or 1 it is."""

CONDITIONS: Final = ("annealing_time", "annealing_temperature")
"""Scalars of a line that say what was done to the sample; passed on where the input has them."""


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """One line of a scan.

    Parameters
    ----------
    time
        ns since 1970 UTC.
    scan, row, place
        Number of the image, row in it, place on the sample.
    values
        [column, ...] float64 by name, in the units of `ImageLines`.
    conditions
        What the input has of `CONDITIONS`, and ``y`` (nm).
    """

    time: int
    scan: int
    row: int
    place: int
    values: dict[str, Floats]
    conditions: dict[str, float]


@dataclasses.dataclass(frozen=True, slots=True)
class Image:
    """The lines of one scan, put together; NaN where no line came.

    Parameters
    ----------
    time
        Of its last line, ns since 1970 UTC.
    scan, place
        As in `Line`.
    values
        [row, column, ...] float64 by name.
    present
        [row] bool: a line came.
    conditions
        Those of its first line.
    """

    time: int
    scan: int
    place: int
    values: dict[str, Floats]
    present: npt.NDArray[np.bool_]
    conditions: dict[str, float]

    @property
    def complete(self) -> bool:
        """Every row has come."""
        return bool(self.present.all())


def only_stream(streams: Mapping[str, daq.Stream], who: str) -> daq.Stream:
    """Return the one input; ValueError if there are several."""
    if len(streams) != 1:
        raise ValueError(f"{who} takes one input, not {len(streams)}")
    return next(iter(streams.values()))


def factor(stream: daq.Stream, channel: str, quantity: str) -> float:
    """Return what a channel is to be multiplied with to be in nm, deg, Hz, eV or 1.

    Raises
    ------
    ValueError
        There is no such channel, or its units are of another quantity.
    """
    field = stream.fields.get(channel)
    if field is None:
        arrays = [n for n, f in stream.fields.items() if f.shape]
        raise ValueError(f"{stream.name} has no channel {channel!r}; it has {', '.join(arrays)}")
    known = UNITS[quantity]
    if field.units not in known:
        raise ValueError(
            f"{stream.name}: {channel} is in {field.units!r}; a calibrated channel is needed, "
            f"in {' or '.join(sorted(known)[:4] if quantity != 'ratio' else ['1', '%'])}"
        )
    return known[field.units]


def setting_of(
    stream: daq.Stream, config: Any, name: str, units: str, default: float | None = None
) -> float:
    """Return a number that the configuration gives, or the stream's attributes; in this order.

    Raises
    ------
    ValueError
        Neither gives it, and there is no default; or the attribute is not a finite number.
    """
    value = getattr(config, name)
    if value is None:
        value = stream.attributes.get(name, default)
    if value is None:
        raise ValueError(
            f"{stream.name} does not say its {name}: give {name} = ... "
            f"({units or 'a number'}) in the configuration of the analysis"
        )
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{stream.name}: its attribute {name} is {value!r}, not a number")
    return number


class ImageLines:
    """Cuts the records of a stream into lines and images.

    Parameters
    ----------
    stream
        With a ``scan`` ({"shape": [rows, columns], "step": [dy, dx] in nm}) and fields ``line``
        and ``scan``, one number per record.
    channels
        By name of the field: what it is multiplied with.
    keep
        Channels that images hold; all if None.

    Raises
    ------
    ValueError
        The stream is not one of scan lines.

    Attributes
    ----------
    rows, columns
        Of an image.
    step
        (dy, dx), nm.
    strays
        Lines so far whose row is not in the image.
    """

    def __init__(
        self,
        stream: daq.Stream,
        channels: Mapping[str, float],
        keep: Sequence[str] | None = None,
    ) -> None:
        shape = stream.scan_shape
        if shape is None or len(shape) != 2 or min(shape) < 1:
            raise ValueError(f"{stream.name} does not say the shape of its scan, [rows, columns]")
        self.rows, self.columns = shape
        assert stream.scan is not None
        step = stream.scan.get("step")
        steps = [step, step] if isinstance(step, int | float) else list(step or [])
        if len(steps) != 2 or not all(
            isinstance(s, int | float) and math.isfinite(s) and s > 0 for s in steps
        ):
            raise ValueError(f"{stream.name}: the step of its scan is {step!r}, not [dy, dx] in nm")
        unit = str(stream.scan.get("units", "nm"))
        if unit not in UNITS["length"]:
            raise ValueError(f"{stream.name}: the step of its scan is in {unit!r}, not in nm")
        self.step = (steps[0] * UNITS["length"][unit], steps[1] * UNITS["length"][unit])
        for needed in ("line", "scan"):
            if needed not in stream.fields or stream.fields[needed].shape:
                raise ValueError(
                    f"{stream.name} is no stream of scan lines: it has no field {needed!r}"
                )
        for name in channels:
            if stream.fields[name].shape[:1] != (self.columns,):
                raise ValueError(
                    f"{stream.name}: {name} has {list(stream.fields[name].shape)} values a line, "
                    f"its scan {self.columns} columns"
                )
        self._channels = dict(channels)
        self._keep = list(channels if keep is None else keep)
        self._shapes = {name: stream.fields[name].shape for name in self._keep}
        self._has_place = "place" in stream.fields
        self._has_y = "y" in stream.fields
        self.conditions = [name for name in CONDITIONS if name in stream.fields]
        self.strays = 0
        self._image: Image | None = None
        self._ended: int | None = None
        self._count = 0

    def condition_fields(self) -> dict[str, daq.Field]:
        """Return the fields ``scan``, ``place`` and the conditions, as results carry them."""
        units = {"annealing_time": "s", "annealing_temperature": "K"}
        return {
            "scan": daq.Field("<i4", (), "", "number of the image"),
            "place": daq.Field("<i4", (), "", "place on the sample"),
            **{name: daq.Field("<f8", (), units[name]) for name in self.conditions},
        }

    def line_fields(self) -> dict[str, daq.Field]:
        """Return `condition_fields`, ``line`` and ``y``."""
        return {
            "line": daq.Field("<i4", (), "", "row of the image"),
            "y": daq.Field("<f8", (), "nm", "position of the line"),
            **self.condition_fields(),
        }

    def condition_values(self, item: Line | Image) -> dict[str, Any]:
        """Return the values of `condition_fields` for a line or an image."""
        given = {name: item.conditions[name] for name in self.conditions}
        return {"scan": item.scan, "place": item.place, **given}

    def line_values(self, line: Line) -> dict[str, Any]:
        """Return the values of `line_fields`."""
        y = line.conditions["y"]
        return {"line": line.row, "y": y, **self.condition_values(line)}

    def take(self, batch: daq.Batch) -> Iterator[Line | Image]:
        """Yield each line of a batch, and each image as soon as it has ended.

        While a line is yielded, `so_far` has it.
        """
        for i in range(len(batch)):
            if not batch.valid[i]:
                continue
            row, scan = int(batch["line"][i]), int(batch["scan"][i])
            if not 0 <= row < self.rows:
                self.strays += 1
                continue
            if self._image is not None and self._image.scan != scan:
                yield self._image
                self._image = None
            conditions = {name: float(batch[name][i]) for name in self.conditions}
            y = float(batch["y"][i]) if self._has_y else row * self.step[0]
            line = Line(
                int(batch.time[i]),
                scan,
                row,
                int(batch["place"][i]) if self._has_place else scan,
                {
                    name: np.asarray(batch[name][i], np.float64) * scale
                    for name, scale in self._channels.items()
                },
                {"y": y, **conditions},
            )
            if self._ended != scan:
                self._add(line)
            yield line
            if self._image is not None and self._image.complete:
                image, self._image, self._ended = self._image, None, scan
                yield image

    def so_far(self) -> Image | None:
        """Return the image that is being scanned, without a copy."""
        return self._image

    def due(self, line: Line, every: int) -> Image | None:
        """Return the image so far after each ``every`` lines, as long as it has not ended; else None.

        For the line that `take` has just yielded.
        """
        image = self._image
        if image is None or image.scan != line.scan or image.complete:
            return None
        return image if self._count % every == 0 else None

    def rest(self) -> Iterator[Image]:
        """Yield the image that no more lines will come for, if there is one."""
        if self._image is not None:
            yield self._image
            self._image = None

    def bytes(self) -> int:
        """Return the memory of one image."""
        return sum(8 * self.rows * math.prod(shape) for shape in self._shapes.values())

    def _add(self, line: Line) -> None:
        image = self._image
        if image is None:
            self._count = 0
            image = Image(
                line.time,
                line.scan,
                line.place,
                {n: np.full((self.rows, *s), np.nan) for n, s in self._shapes.items()},
                np.zeros(self.rows, bool),
                line.conditions,
            )
        for name, array in image.values.items():
            array[line.row] = line.values[name]
        image.present[line.row] = True
        self._count += 1
        self._image = dataclasses.replace(image, time=line.time)
        self._ended = None


def record(stream: str, time: int, fields: Mapping[str, daq.Field], **values: Any) -> daq.Batch:
    """Return one record of a stream, each value in the dtype of its field."""
    arrays: dict[str, npt.NDArray[Any]] = {
        name: np.asarray(value, fields[name].numpy_dtype)[np.newaxis]
        for name, value in values.items()
    }
    return daq.Batch(stream, {"time": np.array([time], np.int64), **arrays})


def image_axes(step: tuple[float, float]) -> list[dict[str, Any]]:
    """Return the axes y and x of a map, nm."""
    return [
        {"name": name, "units": "nm", "offset": 0.0, "step": size}
        for name, size in zip(("y", "x"), step, strict=True)
    ]
