"""The headers of a Merlin .mib file and of the .hdr file beside it.

A frame header is ASCII, comma separated, padded to the offset it states::

    MQ1,sequence,offset,chips,width,height,dtype,layout,chip select,timestamp,
    shutter (s),counter,colour,gain,8 thresholds (keV),DACs...,MQ1A,UTC timestamp,shutter (ns),depth,
"""

from __future__ import annotations

import dataclasses
import zoneinfo
from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any

import numpy as np

import daq

MAGIC = b"MQ1,"

PIXELS = {b"U08": "u1", b"U16": "u2", b"U32": "u4", b"U64": "u8"}
"""dtype of the pixels in a processed file, where they are big endian."""

RAW_PIXELS = {1: "u1", 6: "u1", 12: "u2", 24: "u4"}
"""dtype of decoded pixels in a RAW file, by counter depth in bits."""

RAW_BYTES = {1: 1 / 8, 6: 1, 12: 2, 24: 4}
"""Bytes per pixel in a RAW file, by counter depth in bits."""

LEAD = 512
"""Bytes that hold every field that is read of the header's beginning."""


@dataclasses.dataclass(frozen=True, slots=True)
class FrameHeader:
    """What the header of the first frame says; all others must agree, but for number and time."""

    offset: int
    shape: tuple[int, int]
    """Of the frame that comes out, [y, x]."""
    raw: bool
    dtype: np.dtype[Any]
    """Of the frame that comes out."""
    frame_bytes: int
    """Header and pixels."""
    fixed: tuple[bytes, ...]
    attributes: dict[str, Any]


def parse_first(header: bytes) -> FrameHeader:
    """Return what the first frame header says; raise ValueError in one clear line."""
    if not header.startswith(MAGIC):
        raise ValueError("it does not begin with MQ1, so it is not a Merlin file")
    parts = header.split(b",")
    try:
        offset, chips, width, height = (int(parts[k]) for k in (2, 3, 4, 5))
        kind, layout = parts[6], parts[7].strip().decode("ascii")
        exposure = float(parts[10])
    except (IndexError, ValueError):
        raise ValueError("the header of the first frame is damaged") from None
    if not (64 <= offset <= 1 << 16 and 0 < width <= 1 << 16 and 0 < height <= 1 << 16):
        raise ValueError(
            f"the header of the first frame lies: offset {offset}, {width} x {height} pixels"
        )
    depth = _depth(header)
    raw = kind == b"R64"
    if raw:
        if depth not in RAW_PIXELS:
            raise ValueError(f"RAW needs a counter depth of 1, 6, 12 or 24 bit, not {depth}")
        shape = (height, width)
        if layout.startswith("2x2"):
            # the four chips come side by side
            if chips != 4 or width % 4:
                raise ValueError(f"the header lies: layout 2x2 with {chips} chips, {width} wide")
            shape = (2 * height, width // 2)
        dtype = np.dtype(RAW_PIXELS[depth])
        size = int(width * height * RAW_BYTES[depth])
    elif kind in PIXELS:
        shape, dtype = (height, width), np.dtype(PIXELS[kind])
        size = width * height * dtype.itemsize
    else:
        raise ValueError(f"pixels of type {kind.decode('ascii', 'replace')} are not known")
    attributes: dict[str, Any] = {
        "instrument": "Quantum Detectors Merlin",
        "chips": chips,
        "layout": layout,
        "chip_select": parts[8].decode("ascii", "replace"),
        "exposure_time": exposure,
        "raw": raw,
        **_rest(parts),
    }
    if depth is not None:
        attributes["counter_depth_bits"] = depth
        attributes["saturation_value"] = (1 << depth) - 1
    return FrameHeader(offset, shape, raw, dtype, offset + size, tuple(parts[2:9]), attributes)


def _rest(parts: Sequence[bytes]) -> dict[str, Any]:
    """Counter, colour mode, gain and thresholds, where they can be read."""
    try:
        return {
            "counter": int(parts[11]),
            "colour_mode": int(parts[12]),
            "gain_mode": int(parts[13]),
            "thresholds_keV": [float(part) for part in parts[14:22]],
        }
    except (IndexError, ValueError):
        return {}


def _depth(header: bytes) -> int | None:
    _, found, extension = header.rpartition(b"MQ1A,")
    parts = extension.split(b",")
    if not found or len(parts) < 3:
        return None
    text = parts[2].strip(b" \0")
    return int(text) if text.isdigit() else None


def sequence_and_fixed(header: bytes) -> tuple[int, tuple[bytes, ...], bytes]:
    """Return the number of a frame, what must be the same in all frames, and its counter.

    Raises ValueError where this is not a frame header.
    """
    parts = header.split(b",", 12)
    if parts[0] != b"MQ1" or len(parts) < 13:
        raise ValueError("no frame header")
    return int(parts[1]), tuple(parts[2:9]), parts[11]


class Clock:
    """Time stamps from frame headers, nanoseconds since 1970 UTC.

    The extension MQ1A holds the time in UTC, to the nanosecond. A header without it holds local
    time: it is read in ``timezone``. A frame without either gets the time of the frame before it
    plus the exposure time; if it is the first, the time when the file was last changed.
    """

    def __init__(self, exposure: float, changed: int, timezone: str) -> None:
        self._step = round(exposure * 1e9)
        self._before = changed - self._step
        self._zone = time_zone(timezone)
        self.unreadable = 0
        """Frames without a time stamp that could be read."""

    def stamp(self, header: bytes) -> int:
        """Return the time of the next frame."""
        time = self._utc(header)
        if time is None:
            time = self._local(header)
        if time is None:
            self.unreadable += 1
            time = self._before + self._step
        self._before = time
        return time

    @staticmethod
    def _utc(header: bytes) -> int | None:
        _, found, extension = header.rpartition(b"MQ1A,")
        return _nanoseconds(extension.split(b",", 1)[0].rstrip(b"Z")) if found else None

    def _local(self, header: bytes) -> int | None:
        time = _nanoseconds(header.split(b",", 10)[9])
        if time is None:
            return None
        # the offset from UTC belongs to whole seconds
        wall = datetime.fromtimestamp(time // 10**9, UTC).replace(tzinfo=self._zone)
        offset = wall.utcoffset()
        assert offset is not None
        return time - round(offset.total_seconds()) * 10**9


def time_zone(name: str) -> tzinfo:
    """Return a time zone by its IANA name; raise ValueError in one line."""
    if name == "UTC":
        return UTC
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"timezone {name!r} is not known; write Europe/London for instance"
        ) from None


def _nanoseconds(text: bytes) -> int | None:
    try:
        time = int(np.datetime64(text.strip().decode("ascii"), "ns").astype(np.int64))
    except (ValueError, UnicodeDecodeError):
        return None
    # what numpy makes of "" and "NaT", and years that 64 bit cannot hold in nanoseconds
    return time if time != daq.NO_TIME and time > 0 else None


def parse_hdr(path: Path) -> dict[str, str]:
    """Return the keys and values of a .hdr file, empty where there is none or it is no such file."""
    try:
        text = path.read_bytes()[: 1 << 16].decode("latin-1")
    except OSError:
        return {}
    if not text.startswith("HDR"):
        return {}
    values = {}
    for line in text.splitlines()[1:]:
        key, tab, value = line.partition("\t")
        if key.strip() == "End":
            break
        if tab:
            values[key.strip().rstrip(":")] = value.strip()
    return values


def scan_shape(hdr: dict[str, str]) -> tuple[int, int] | None:
    """Return the scan [y, x] where the camera was triggered once a line, else None."""
    try:
        frames = int(hdr["Frames in Acquisition (Number)"])
        line = int(hdr["Frames per Trigger (Number)"])
    except (KeyError, ValueError):
        return None
    if 1 < line < frames and frames % line == 0:
        return frames // line, line
    return None
