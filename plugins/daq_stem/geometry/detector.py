"""Geometry of a detector: where the centre is, how large a pixel is, which pixels a ring holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

import daq
from daq_stem.geometry.ellipse import Ellipse

RECIPROCAL = frozenset({"1/nm", "nm-1", "nm^-1", "1 / nm"})
"""Units of an axis that are understood as 1/nm."""


@dataclasses.dataclass(frozen=True, slots=True)
class Detector:
    """Shape [y, x], centre [y, x] in pixels, size of a pixel in ``units``, what circles become."""

    shape: tuple[int, int]
    centre: tuple[float, float]
    pixel_size: float = 1.0
    units: str = "px"
    ellipse: Ellipse = dataclasses.field(default_factory=Ellipse)

    def radius(self) -> npt.NDArray[np.float64]:
        """Distance of the middle of each pixel from the centre, in pixels: [y, x].

        On a camera that shows rings as ellipses, as it would be on one that does not. Rounded to 1e-9, so that on which side of a ring's edge a pixel lies that is just on it
        (3, 4 and 5, say) is no matter of the last bit.
        """
        y = np.arange(self.shape[0])[:, None] - self.centre[0]
        x = np.arange(self.shape[1])[None, :] - self.centre[1]
        return self.ellipse.radius(y, x)

    def within(self, inner: float, outer: float) -> npt.NDArray[np.bool_]:
        """Pixels with inner <= radius < outer, in ``units``.

        Rings that touch share no pixel and leave none out.
        """
        radius = self.radius()
        low, high = (round(limit / self.pixel_size, 9) for limit in (inner, outer))
        return (low <= radius) & (radius < high)


def image_field(stream: daq.Stream, field: str | None) -> str:
    """Return ``field`` if it is an image, by default the largest image; raise ValueError."""
    images = [name for name, entry in stream.fields.items() if len(entry.shape) == 2]
    if field is None:
        if not images:
            raise ValueError(f"{stream.name} has no field with two axes [y, x]")
        return max(images, key=lambda name: stream.fields[name].record_bytes)
    if field not in images:
        there = f"; there is {', '.join(images)}" if images else ""
        raise ValueError(f"{stream.name} has no field {field!r} with two axes [y, x]{there}")
    return field


def detector_for(
    stream: daq.Stream,
    field: str,
    centre: Sequence[float] | None,
    pixel_size: float | None,
    units: str,
) -> Detector:
    """Return the detector of an image field.

    The centre is what is given, or the stream's attribute ``centre`` ([y, x], px), or where axes
    in 1/nm cross zero, or the middle. The pixel size matters for ``units`` "1/nm" only and is what
    is given (1/nm), or the attribute ``pixel_size``, or the step of such axes; ValueError where
    it is not known. The attributes ``ellipse_ratio`` and ``ellipse_angle`` tell the distortion.
    """
    height, width = stream.fields[field].shape
    steps = _reciprocal_axes(stream.axes.get(field, ()))
    if centre is None:
        centre = stream.attributes.get("centre")
    if centre is None and steps is not None:
        centre = [-offset / step for offset, step in steps]
    if centre is None:
        centre = [(height - 1) / 2, (width - 1) / 2]
    if not (isinstance(centre, list | tuple) and len(centre) == 2):
        raise ValueError(f"{stream.name}: the attribute 'centre' is [y, x] in pixels")
    middle = (float(centre[0]), float(centre[1]))
    ellipse = _ellipse(stream)
    if units == "px":
        return Detector((height, width), middle, ellipse=ellipse)
    if pixel_size is None:
        told = stream.attributes.get("pixel_size")
        pixel_size = float(told) if isinstance(told, int | float) and told > 0 else None
    if pixel_size is None and steps is not None:
        (_, down), (_, across) = steps
        if abs(down - across) > 1e-6 * abs(down):
            raise ValueError(f"{stream.name}: pixels are not square ({down} and {across} 1/nm)")
        pixel_size = abs(down)
    if pixel_size is None:
        raise ValueError(
            f"{stream.name} does not say how large a pixel is: "
            'give pixel_size (1/nm), or radii in pixels with units = "px"'
        )
    return Detector((height, width), middle, pixel_size, units, ellipse)


def _ellipse(stream: daq.Stream) -> Ellipse:
    told = [
        stream.attributes.get(name, default)
        for name, default in (("ellipse_ratio", 1.0), ("ellipse_angle", 0.0))
    ]
    if not all(isinstance(value, int | float) for value in told) or not told[0] >= 1:
        raise ValueError(
            f"{stream.name}: the attributes ellipse_ratio (1 or more) and ellipse_angle (degrees) "
            f"are {told[0]!r} and {told[1]!r}"
        )
    return Ellipse(float(told[0]), float(told[1]))


def _reciprocal_axes(axes: Sequence[Mapping[str, Any]]) -> list[tuple[float, float]] | None:
    """(offset, step) of both axes where they are in 1/nm."""
    found = [
        (float(axis["offset"]), float(axis["step"]))
        for axis in axes
        if axis.get("units") in RECIPROCAL and axis.get("step") and "offset" in axis
    ]
    return found if len(found) == 2 else None
