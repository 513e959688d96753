"""Messages of the DECTRIS stream, version 1: JSON headers and blobs in messages of several parts.

``dheader-1.0`` begins a series; an image is ``dimage-1.0``, ``dimage_d-1.0``, the blob and
``dconfig-1.0``; ``dseries_end-1.0`` ends it. Blobs are little or big endian, and compressed as
``[bs<bits>][-]lz4``; a plain lz4 is one bare block, without the framing that HDF5 has.
"""

from __future__ import annotations

import datetime
import functools
import json
import re
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

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
from daq_stem.dectris.v2 import EPOCH, MICROSECOND, plain

CHANNEL: Final = "threshold_1"
"""Stream v1 has one channel, which it does not name."""

TYPES: Final = {**PIXELS, "float32": "<f4"}

_parse: Final = json.JSONDecoder().decode

_ENCODING = re.compile(r"(?:bs(8|16|32|64))?-?(lz4)?([<>])")


class Decoder:
    """Makes messages of what comes; it remembers what the beginning of a series said.

    Times are counted by the camera from a moment that it does not tell. Here the first image that
    comes stands at the date of the series (``data_collection_date``); `zero` is what the camera's
    counter said then.
    """

    def __init__(self) -> None:
        self.channels: tuple[str, ...] | None = None
        self._header: dict[str, Any] | None = None
        self._date: int | None = None
        self.zero: int | None = None

    def message(self, parts: Sequence[Any]) -> Message | None:
        """Return the message, None for one that says nothing by itself; raise `DamagedError`."""
        head = _parsed(parts[0])
        kind = head.get("htype")
        if kind == "dimage-1.0":
            return self._image(head, parts)
        if kind == "dheader-1.0":
            self._header = head
            if len(parts) == 1:
                # some programs send the configuration in a message of its own
                self._refuse_none()
                return None
            return self._start(parts[1:])
        if kind == "dseries_end-1.0":
            return End(whole(head.get("series"), "series"))
        if kind is None and self._header is not None:
            return self._start(parts)
        return None

    def clock(self) -> list[int | None]:
        """Return what `resume` needs in another life: date of the series, and the counter's zero."""
        return [self._date, self.zero]

    def resume(self, clock: Sequence[int | None]) -> None:
        """Go on in the middle of a series."""
        self._date, self.zero = clock

    def _refuse_none(self) -> None:
        if self._header is not None and self._header.get("header_detail") == "none":
            raise DamagedError('header_detail is "none": set it to "basic" or "all" in the camera')

    def _start(self, parts: Sequence[Any]) -> Start:
        header, self._header = self._header or {}, None
        if header.get("header_detail") == "none":
            self._header = header
            self._refuse_none()
        config = _parsed(parts[0])
        shape = [
            whole(config.get(f"{axis}_pixels_in_detector"), f"{axis}_pixels", 1) for axis in "yx"
        ]
        bits = config.get("bit_depth_image")
        if bits not in (8, 16, 32):
            raise DamagedError(f"pixels of {bits!r:.20} bits; known are 8, 16 and 32")
        triggers = whole(config.get("ntrigger", 1), "ntrigger", 1)
        # one image for each trigger, whatever nimages says
        each = config.get("trigger_mode") in ("exte", "inte")
        images = triggers if each else triggers * whole(config.get("nimages"), "nimages", 1)
        self.zero = None
        self._date = _date(config.get("data_collection_date"))
        arrays = _arrays(parts[1:])
        appendix = plain(header.get("appendix") or config.get("header_appendix"))
        return Start(
            series=whole(header.get("series"), "series"),
            channels=(CHANNEL,),
            shape=(shape[0], shape[1]),
            dtype=np.dtype(f"<u{bits // 8}"),
            images=images,
            attributes=_attributes(config, images),
            gain={CHANNEL: flat.astype(np.float32)}
            if (flat := arrays.get("flat")) is not None
            else {},
            mask={CHANNEL: mask.astype(np.uint32)}
            if (mask := arrays.get("mask")) is not None
            else {},
            flat=bool(config.get("flatfield_correction_applied", False)),
            user_data=appendix,
        )

    def _image(self, head: dict[str, Any], parts: Sequence[Any]) -> Image:
        if len(parts) < 3:
            raise DamagedError(f"an image of {len(parts)} parts; there should be 4")
        described = _parsed(parts[1])
        packed = _packed(described, parts[2])
        time = None
        if len(parts) > 3 and self._date is not None:
            began = whole(_parsed(parts[3]).get("start_time"), "start_time")
            if self.zero is None:
                self.zero = began
            time = self._date + began - self.zero
        number = whole(head.get("frame"), "frame")
        return Image(whole(head.get("series"), "series"), number, time, {CHANNEL: packed})


def _packed(described: dict[str, Any], blob: Any) -> Packed:
    encoding, kind, shape = (described.get(key) for key in ("encoding", "type", "shape"))
    if not isinstance(shape, list) or len(shape) < 2:
        raise DamagedError("an array without shape")
    columns, rows = (whole(length, "shape", 1) for length in shape[:2])
    method, element, dtype = _coding(str(encoding or "<"), str(kind))
    if rows * columns * dtype.itemsize > LARGEST:
        raise DamagedError(f"an array of {rows} x {columns}, which cannot be")
    return Packed(blob, method, element, dtype, (rows, columns))


@functools.lru_cache(64)
def _coding(text: str, kind: str) -> tuple[str, int, np.dtype[Any]]:
    """Return method, bytes of an element that is shuffled, and dtype."""
    encoding = _ENCODING.fullmatch(text)
    if encoding is None or kind not in TYPES or (encoding[1] and not encoding[2]):
        raise DamagedError(f"an array of {kind!r:.20} in {text!r:.20}")
    method = "bslz4" if encoding[1] else "lz4_block" if encoding[2] else "none"
    dtype = np.dtype(TYPES[kind]).newbyteorder(encoding[3])
    return method, int(encoding[1] or 8) // 8, dtype


def _arrays(parts: Sequence[Any]) -> dict[str, npt.NDArray[Any]]:
    """Return ``flat`` and ``mask``, which come as header and blob where header_detail is "all"."""
    found = {}
    for head, blob in zip(parts[::2], parts[1::2], strict=False):
        described = _parsed(head)
        name = str(described.get("htype"))
        for key, word in (("flat", "flatfield"), ("mask", "pixelmask")):
            if word in name:
                found[key] = unpack(_packed(described, blob))
    return found


def _attributes(config: dict[str, Any], images: int) -> dict[str, Any]:
    """Return the detector's configuration, under the names that stream v2 has for it."""
    renamed = {
        "description": "detector_description", "detector_number": "detector_serial_number",
        "countrate_correction_count_cutoff": "saturation_value",
        "flatfield_correction_applied": "flatfield_enabled",
        "pixel_mask_applied": "pixel_mask_enabled",
        "x_pixel_size": "pixel_size_x", "y_pixel_size": "pixel_size_y",
        "photon_energy": "incident_energy",
    }  # fmt: skip
    found = {renamed.get(key, key): plain(value) for key, value in config.items()}
    return {**found, "number_of_images": images}


def _date(text: Any) -> int | None:
    try:
        date = datetime.datetime.fromisoformat(str(text))
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=datetime.UTC)
    return (date - EPOCH) // MICROSECOND * 1000


def _parsed(part: Any) -> dict[str, Any]:
    try:
        # json.loads would look first which encoding it is
        found = _parse(str(part, "utf-8"))
    except ValueError:
        raise DamagedError("a header that is no JSON") from None
    if not isinstance(found, dict):
        raise DamagedError("a header that is no JSON object")
    return found
