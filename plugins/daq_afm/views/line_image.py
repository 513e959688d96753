"""Images put together from the newest lines of a scan, and their axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

import daq

Floats = npt.NDArray[np.float64]

LINES: Final = 1024
"""Newest lines that a view is given at a time; what came before them is kept in its images."""

KEPT: Final = 3
"""Scans that are kept."""

MICROMETRES: Final = 5000.0
"""Images of at least so many nm along a side have axes in um."""


def is_line_stream(stream: daq.Stream) -> bool:
    """Tell whether the records of a stream are lines of a scan that say where they belong."""
    shape = stream.scan_shape
    return shape is not None and len(shape) == 2 and {"line", "scan"} <= set(stream.fields)


def channels_of(stream: daq.Stream) -> list[str]:
    """Return the fields with one value for each column: traces first, then retraces."""
    columns = (stream.scan_shape or (0, 0))[-1]
    names = [
        name
        for name, field in stream.fields.items()
        if field.shape == (columns,)
        and field.numpy_dtype.kind in "fiu"
        and not name.endswith("_errors")
    ]
    return sorted(names, key=lambda name: name.endswith("_retrace"))


class LineImages:
    """The newest scans of some channels, from the newest lines of a stream.

    Parameters
    ----------
    stream
        Of lines, see `is_line_stream`.
    channels
        Fields [column].

    Attributes
    ----------
    scan, row
        Of the newest line; None before the first.
    """

    def __init__(self, stream: daq.Stream, channels: Sequence[str]) -> None:
        self.rows, self.columns = (int(n) for n in stream.scan_shape or (1, 1))
        self._channels = list(channels)
        self._images: dict[int, dict[str, npt.NDArray[np.float32]]] = {}
        self._came: dict[int, npt.NDArray[np.bool_]] = {}
        self.scan: int | None = None
        self.row: int | None = None

    def take(self, batch: daq.Batch) -> None:
        """Put the lines of a batch into their images; one that comes again lies over the older one."""
        row = batch["line"].astype(np.int64)
        good = np.flatnonzero(batch.valid & (row >= 0) & (row < self.rows))
        if not len(good):
            return
        row, scan = row[good], batch["scan"][good].astype(np.int64)
        self.scan, self.row = int(scan[-1]), int(row[-1])
        order = list(dict.fromkeys(scan.tolist()))[-KEPT:]
        for number in order:
            there = scan == number
            if number not in self._images:
                shape = (self.rows, self.columns)
                self._images[number] = {
                    name: np.full(shape, np.nan, np.float32) for name in self._channels
                }
                self._came[number] = np.zeros(self.rows, bool)
            for name, image in self._images[number].items():
                image[row[there]] = batch[name][good[there]]
            self._came[number][row[there]] = True
        # the newest last
        for number in order:
            self._images[number] = self._images.pop(number)
        for number in list(self._images)[:-KEPT]:
            del self._images[number], self._came[number]

    def image(self, channel: str, scan: int | None = None) -> npt.NDArray[np.float32] | None:
        """Return a scan [row, column], NaN where no line came; the newest if None, None if it is gone."""
        images = self._images.get(-1 if self.scan is None else self.scan if scan is None else scan)
        return None if images is None else images[channel]

    @property
    def done(self) -> float:
        """How much of the newest scan has come, 0 to 1."""
        return 0.0 if self.scan is None else float(np.mean(self._came[self.scan]))

    @property
    def came(self) -> npt.NDArray[np.bool_]:
        """Which rows of the newest scan have come."""
        return np.zeros(self.rows, bool) if self.scan is None else self._came[self.scan]


class ScanFrame:
    """The axes of a scan on a picture: nm (um where it is large), true in shape, row 0 at the bottom."""

    def __init__(self, stream: daq.Stream) -> None:
        self.rows, self.columns = (int(n) for n in stream.scan_shape or (1, 1))
        step = (stream.scan or {}).get("step")
        steps = list(step) if isinstance(step, list | tuple) else [step, step]
        known = len(steps) == 2 and all(isinstance(s, int | float) and s > 0 for s in steps)
        self.dy, self.dx = (float(s) for s in steps) if known else (1.0, 1.0)
        self._start(known)

    @classmethod
    def of_map(cls, stream: daq.Stream, field: str) -> ScanFrame:
        """Return the axes of a field [row, column] that a stream describes in nm."""
        frame = cls.__new__(cls)
        frame.rows, frame.columns = (int(n) for n in stream.fields[field].shape[-2:])
        steps = [axis.get("step") for axis in stream.axes.get(field, ())]
        known = len(steps) == 2 and all(isinstance(s, int | float) and s > 0 for s in steps)
        frame.dy, frame.dx = (float(s) for s in steps) if known else (1.0, 1.0)  # type: ignore[arg-type]
        frame._start(known)
        return frame

    def _start(self, known: bool) -> None:
        large = max(self.rows * self.dy, self.columns * self.dx) >= MICROMETRES
        self.units = ("\u00b5m" if large else "nm") if known else "px"
        self.factor = 1e-3 if known and large else 1.0

    def put_on(self, area: Any) -> None:
        """Give a picture these axes and a scale bar."""
        dy, dx = self.dy * self.factor, self.dx * self.factor
        x = (f"x ({self.units})", -dx / 2, (self.columns - 0.5) * dx)
        y = (f"y ({self.units})", -dy / 2, (self.rows - 0.5) * dy)
        area.frame(x, y, upwards=True)
        if self.units != "px":
            area.scale_bar(self.units)

    def x(self, column: Any) -> Any:
        """Return the coordinate of a column, or of a place between."""
        return np.asarray(column) * (self.dx * self.factor)

    def y(self, row: Any) -> Any:
        """Return the coordinate of a row, or of a place between."""
        return np.asarray(row) * (self.dy * self.factor)

    def nm(self, values: Any) -> Any:
        """Return nm in the units of the axes."""
        return np.asarray(values) * self.factor


def outlines(labels: npt.NDArray[Any]) -> tuple[Floats, Floats]:
    """Return rows and columns of the edges between labels and 0, as pieces with NaN between them.

    Parameters
    ----------
    labels
        [row, column], 0 where there is no region. Pixels have their middles at whole numbers.
    """
    inside = np.pad(np.asarray(labels) > 0, 1)
    r, c = np.nonzero(inside[1:] != inside[:-1])  # edges along a row, above row r - 1
    across = np.stack([r - 0.5, r - 0.5]), np.stack([c - 1.5, c - 0.5])
    r, c = np.nonzero(inside[:, 1:] != inside[:, :-1])
    down = np.stack([r - 1.5, r - 0.5]), np.stack([c - 0.5, c - 0.5])
    pieces = []
    for one, other in zip(across, down, strict=True):
        ends = np.concatenate([one, other], axis=1).astype(np.float64)
        pieces.append(np.vstack([ends, np.full(ends.shape[1], np.nan)]).T.reshape(-1))
    return pieces[0], pieces[1]
