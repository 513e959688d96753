"""What a DECTRIS stream tells, whichever version it speaks: start, image, end of a series."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

PIXELS: Final = {"uint8": "<u1", "uint16": "<u2", "uint32": "<u4"}
"""dtype of the pixels, by the name that the camera gives it."""

LARGEST: Final = 1 << 30
"""Bytes of one array; what claims to be larger is damaged."""


class DamagedError(ValueError):
    """A message that does not hold what it should; says what."""


@dataclasses.dataclass(frozen=True, slots=True)
class Packed:
    """An array as it was sent.

    Parameters
    ----------
    data
        Its bytes, compressed by ``method``: ``none``, ``lz4`` or ``bslz4`` (framed as by the HDF5
        filters), ``lz4_block`` (one bare block).
    element
        Bytes of the units whose bits were shuffled; of no meaning otherwise.
    dtype
        With the byte order of the data.
    """

    data: Any
    method: str
    element: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Start:
    """A series begins.

    ``images`` is their number. ``gain`` (factors of the flat field, float32) and ``mask`` (bits
    that say what is wrong with a pixel, uint32) by channel, [y, x]; ``flat`` tells that the camera
    has multiplied the images by the flat field already.
    """

    series: int
    channels: tuple[str, ...]
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    images: int
    attributes: Mapping[str, Any]
    gain: Mapping[str, npt.NDArray[np.float32]]
    mask: Mapping[str, npt.NDArray[np.uint32]]
    flat: bool
    user_data: Any = None


@dataclasses.dataclass(frozen=True, slots=True)
class Image:
    """One exposure: all channels, and when it began (ns since 1970 UTC; None where nobody says)."""

    series: int
    number: int
    time: int | None
    data: Mapping[str, Packed]


@dataclasses.dataclass(frozen=True, slots=True)
class End:
    """A series has ended."""

    series: int


Message = Start | Image | End


def whole(value: Any, what: str, least: int = 0) -> int:
    """Return a whole number that is at least ``least``; raise `DamagedError`."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 1 << 62:
        raise DamagedError(f"{what} is {value!r:.40}, not a whole number of at least {least}")
    return value
