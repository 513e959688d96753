"""Coordinates along the axes of a record or a scan, as a stream describes them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from daq.streams import Stream
from daq.viewer import labels

LOGARITHMIC_SPAN = 50.0
"""Positive uneven coordinates whose ends differ by this factor or more get a logarithmic axis."""


@dataclasses.dataclass(frozen=True)
class Axis:
    """One axis: its label with units and the coordinate of each of its points."""

    label: str
    units: str
    coordinates: npt.NDArray[np.float64]
    counts: bool = False
    """Whether between its whole numbers there is nothing: scans, pixels, positions, channels."""

    @property
    def even(self) -> bool:
        """True where the coordinates are evenly spaced."""
        steps = np.diff(self.coordinates)
        return len(steps) < 2 or bool(np.allclose(steps, steps[0], rtol=1e-3, atol=0))

    @property
    def logarithmic(self) -> bool:
        """True where the coordinates ask for a logarithmic axis (delays, frequencies)."""
        c = self.coordinates
        positive = c[c > 0]
        if self.even or len(positive) < len(c) - 1 or len(positive) < 3 or bool((c < 0).any()):
            return False
        return bool(positive.max() / positive.min() >= LOGARITHMIC_SPAN)

    @property
    def edges(self) -> tuple[float, float]:
        """Outer edges of the first and the last pixel, half a step beyond their coordinates."""
        c = self.coordinates
        if len(c) < 2 or not self.even:
            return -0.5, len(c) - 0.5
        half = (c[-1] - c[0]) / (len(c) - 1) / 2
        return float(c[0] - half), float(c[-1] + half)


def record_axis(stream: Stream, field: str, number: int) -> Axis:
    """Return axis ``number`` (negative counts from the last) of a record of ``field``.

    Where the stream says nothing, or nothing that fits, the axis counts pixels.
    """
    shape = stream.fields[field].shape
    length = shape[number]
    described = list(stream.axes.get(field, []))
    axis: Mapping[str, Any] | None = None
    if len(described) == len(shape) and isinstance(described[number], Mapping):
        axis = described[number]
    fallback = "x" if number == -1 else "y" if number == -2 else f"axis {number % len(shape)}"
    if len(shape) == 1:
        fallback = "index"
    coordinates = None if axis is None else _coordinates(stream, axis, length)
    if axis is None or coordinates is None:
        return Axis(
            labels.with_units(fallback, "px"), "px", np.arange(length, dtype=np.float64), True
        )
    units, label = str(axis.get("units") or ""), labels.axis_label(axis, fallback)
    values = stream.constants.get(str(axis.get("values")))
    whole = units in ("", "1") and values is not None and values.dtype.kind in "iu"
    return Axis(label, units, coordinates, whole or labels.counts_scans(label))


def scan_axis(stream: Stream, number: int, length: int) -> Axis:
    """Return the x (-1) or y (-2) axis of a scan: in positions where its step is not known.

    The step is one number for both or ``[dy, dx]``, in nm where the scan does not say its units.
    """
    scan = stream.scan or {}
    step, units = scan.get("step"), str(scan.get("units") or "nm")
    if isinstance(step, list | tuple):
        step = step[number] if len(step) >= -number else None
    name = "x" if number == -1 else "y"
    positions = np.arange(length, dtype=np.float64)
    if isinstance(step, int | float) and not isinstance(step, bool) and step > 0:
        return Axis(labels.with_units(name, units), units, positions * float(step))
    return Axis(labels.with_units(name, "positions"), "positions", positions, True)


def _coordinates(
    stream: Stream, axis: Mapping[str, Any], length: int
) -> npt.NDArray[np.float64] | None:
    if "values" in axis:
        values = stream.constants.get(str(axis["values"]))
        if values is None or values.shape != (length,) or values.dtype.kind not in "iuf":
            return None
        return values.astype(np.float64)
    offset, step = axis.get("offset", 0.0), axis.get("step", 1.0)
    if not isinstance(offset, int | float) or not isinstance(step, int | float) or not step:
        return None
    return offset + step * np.arange(length, dtype=np.float64)
