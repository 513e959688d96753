"""Messages of the DECTRIS stream, version 2: CBOR, as the public SIMPLON documentation has it.

Arrays are the typed and multi-dimensional arrays of RFC 8746; their bytes may be compressed by tag
56500. Tags are left to stand by cbor2 and read here: how it calls a hook for them differs between
its versions.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from daq_stem.dectris.compression import unpack
from daq_stem.dectris.messages import (
    LARGEST,
    PIXELS,
    DamagedError,
    End,
    Image,
    Message,
    Packed,
    Start,
    whole,
)

MATRIX: Final = 40
COMPRESSED: Final = 56500
TYPED: Final = {
    64: "u1", 65: ">u2", 66: ">u4", 67: ">u8", 68: "u1", 69: "<u2", 70: "<u4", 71: "<u8",
    72: "i1", 73: ">i2", 74: ">i4", 75: ">i8", 77: "<i2", 78: "<i4", 79: "<i8",
    80: ">f2", 81: ">f4", 82: ">f8", 84: "<f2", 85: "<f4", 86: "<f8",
}  # fmt: skip
"""dtype of each tag of RFC 8746, section 2; floats of 16 bytes (83, 87) are not taken."""
DTYPES: Final = {tag: np.dtype(name) for tag, name in TYPED.items()}

EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
MICROSECOND: Final = datetime.timedelta(microseconds=1)

ATTRIBUTES: Final = (
    "arm_date", "beam_center_x", "beam_center_y", "count_time", "countrate_correction_enabled",
    "detector_description", "detector_serial_number", "detector_translation", "flatfield_enabled",
    "frame_time", "incident_energy", "incident_wavelength", "number_of_images", "pixel_mask_enabled",
    "pixel_size_x", "pixel_size_y", "saturation_value", "sensor_material", "sensor_thickness",
    "series_id", "series_unique_id", "threshold_energy", "user_data",
    "virtual_pixel_interpolation_enabled",
)  # fmt: skip
"""What of a start message stands in the attributes of the stream."""


class Decoder:
    """Makes messages of what comes; ``channels`` are those whose arrays are wanted (None: all)."""

    def __init__(self) -> None:
        import cbor2

        self._loads = cbor2.loads
        self.channels: tuple[str, ...] | None = None
        self._date: datetime.datetime | None = None
        self._epoch = 0

    def message(self, parts: Sequence[Any]) -> Message | None:
        """Return the message, None for one of a kind that is not known; raise `DamagedError`."""
        if len(parts) != 1:
            raise DamagedError(f"a message of {len(parts)} parts; stream v2 has one: is it v1?")
        try:
            found = self._loads(bytes(parts[0]))
        except Exception as error:  # whatever cbor2 makes of bytes that are no CBOR
            raise DamagedError(f"no CBOR: {error}") from None
        if not isinstance(found, Mapping):
            raise DamagedError(f"a {type(found).__name__}, not a map")
        kind = found.get("type")
        if kind == "image":
            return self._image(found)
        if kind == "start":
            return start_of(found)
        if kind == "end":
            return End(whole(found.get("series_id"), "series_id"))
        return None

    def clock(self) -> list[int | None]:
        """Return what `resume` needs in another life: nothing, each image says it all."""
        return []

    def resume(self, clock: Sequence[int | None]) -> None:
        """Go on in the middle of a series."""

    def _image(self, found: Mapping[str, Any]) -> Image:
        data = found.get("data")
        if not isinstance(data, Mapping):
            raise DamagedError("an image without data")
        channels = self.channels
        arrays = {
            name: packed_of(array)
            for name, array in data.items()
            if channels is None or name in channels
        }
        series, number = found.get("series_id"), found.get("image_id")
        return Image(
            whole(series, "series_id"), whole(number, "image_id"), self._time(found), arrays
        )

    def _time(self, found: Mapping[str, Any]) -> int | None:
        date, since = found.get("series_date"), found.get("start_time")
        if not isinstance(date, datetime.datetime) or since is None:
            return None
        if date != self._date:
            self._date, self._epoch = date, (date - EPOCH) // MICROSECOND * 1000
        return self._epoch + nanoseconds(since)


def nanoseconds(rational: Any) -> int:
    """Return [numerator, denominator] in s as whole ns; raise `DamagedError`."""
    try:
        numerator, denominator = rational
    except (TypeError, ValueError):
        raise DamagedError(f"a time that is {rational!r:.40}, not two numbers") from None
    return whole(numerator, "a time") * 1_000_000_000 // whole(denominator, "a time base", 1)


def packed_of(value: Any) -> Packed:
    """Return the array of two axes in tag 40; raise `DamagedError`."""
    try:
        if value.tag != MATRIX:
            raise DamagedError(f"tag {value.tag} where an array (tag 40) is needed")
        (rows, columns), typed = value.value
        dtype = DTYPES[typed.tag]
        data = typed.value
    except DamagedError:
        raise
    except (AttributeError, TypeError, ValueError, KeyError):
        raise DamagedError("an array that is not as RFC 8746 has it") from None
    shape = (whole(rows, "rows", 1), whole(columns, "columns", 1))
    if math.prod(shape) * dtype.itemsize > LARGEST:
        raise DamagedError(f"an array of {rows} x {columns}, which cannot be")
    if isinstance(data, bytes):
        if len(data) != math.prod(shape) * dtype.itemsize:
            raise DamagedError(f"{len(data)} bytes for {rows} x {columns} of {dtype.str}")
        return Packed(data, "none", 1, dtype, shape)
    try:
        if data.tag != COMPRESSED:
            raise DamagedError(f"tag {data.tag} where bytes or tag {COMPRESSED} are needed")
        method, element, compressed = data.value
    except (AttributeError, TypeError, ValueError) as error:
        if isinstance(error, DamagedError):
            raise
        raise DamagedError("compressed data that are not as tag 56500 has it") from None
    if method not in ("lz4", "bslz4") or not isinstance(compressed, bytes):
        raise DamagedError(f"data compressed by {method!r:.40}; known are lz4 and bslz4")
    return Packed(compressed, method, element if method == "bslz4" else 1, dtype, shape)


def start_of(found: Mapping[str, Any]) -> Start:
    """Return what a start message says; raise `DamagedError`."""
    name = found.get("image_dtype")
    if name not in PIXELS:
        raise DamagedError(f"pixels of type {name!r:.40}; known are {', '.join(PIXELS)}")
    channels = found.get("channels")
    if not (
        isinstance(channels, list | tuple)
        and channels
        and all(isinstance(c, str) for c in channels)
    ):
        raise DamagedError("a start message without names of channels")
    shape = tuple(whole(found.get(key), key, 1) for key in ("image_size_y", "image_size_x"))
    return Start(
        series=whole(found.get("series_id"), "series_id"),
        channels=tuple(channels),
        shape=(shape[0], shape[1]),
        dtype=np.dtype(PIXELS[name]),
        images=whole(found.get("number_of_images"), "number_of_images", 1),
        attributes={key: plain(found[key]) for key in ATTRIBUTES if key in found},
        gain={
            channel: unpack(packed_of(array)).astype(np.float32)
            for channel, array in (found.get("flatfield") or {}).items()
        },
        mask={
            channel: unpack(packed_of(array)).astype(np.uint32)
            for channel, array in (found.get("pixel_mask") or {}).items()
        },
        flat=bool(found.get("flatfield_enabled", False)),
        user_data=plain(found.get("user_data")),
    )


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it; what it cannot is text."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        # integers beyond 2**53 are no JSON numbers
        return value if abs(value) < 1 << 53 else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return f"{value!r:.200}"
