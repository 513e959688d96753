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
import numpy.typing as npt

import daq

MAGIC = b"MQ1,"

PIXELS = {b"U01": "u1", b"U08": "u1", b"U16": "u2", b"U32": "u4", b"U64": "u8"}
"""dtype of processed pixels, which are big endian. U01 may be packed, eight pixels in a byte; the
cameras seen so far say U08 for one bit."""

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
    packed: bool = False
    """Eight pixels in a byte (U01), the first one in its highest bit."""


def parse_first(header: bytes, stored: int | None = None) -> FrameHeader:
    """Return what the first frame header says; raise ValueError in one clear line.

    ``stored`` is the number of bytes of the pixels where it is known: it tells whether U01 is packed.
    """
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
    raw, packed = kind == b"R64", False
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
        packed = kind == b"U01" and width % 8 == 0 and stored == size // 8
        if packed:
            size //= 8
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
    fixed = tuple(parts[2:9])
    return FrameHeader(offset, shape, raw, dtype, offset + size, fixed, attributes, packed)


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
    plus the exposure time; if it is the first, ``changed``, when the file was last changed.
    """

    def __init__(self, exposure: float, changed: int, timezone: str) -> None:
        self._step = round(exposure * 1e9)
        self._before = changed - self._step
        self._zone = time_zone(timezone)
        self.unreadable = 0
        """Frames without a time stamp that could be read."""

    def stamps(self, headers: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
        """Return the times of the next frames, whose headers are the rows [frame, byte].

        As `stamp` for each; all at once where all have their time stamp at the same place.
        """
        if not len(headers):
            return np.empty(0, np.int64)
        times = self._alike(headers)
        if times is None:
            times = np.array([self.stamp(row.tobytes()) for row in headers], np.int64)
        self._before = int(times[-1])
        return times

    def _alike(self, headers: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64] | None:
        """Return all times, None where that takes a look at each header."""
        first = headers[0].tobytes()
        found = first.rfind(b"MQ1A,")
        if found >= 0:
            begin = found + 5
            text = first[begin:].split(b",", 1)[0].rstrip(b"Z")
            before = found
        else:
            parts = first.split(b",", 10)
            text = parts[9]
            begin = sum(map(len, parts[:9])) + 9
            before = begin - 1
        end = begin + len(text)
        around = [*range(before, begin), end]
        if (
            not 10 <= len(text) <= 40
            or end >= headers.shape[1]
            or (headers[:, around] != headers[0, around]).any()
        ):
            return None
        if found < 0 and b"MQ1A," in headers.tobytes():
            return None
        texts = np.ascontiguousarray(headers[:, begin:end]).view(f"S{len(text)}")[:, 0]
        try:
            times = texts.astype("M8[ns]").astype(np.int64)
        except ValueError:
            return None
        if (times <= 0).any():
            return None
        if found >= 0:
            return times
        offsets = {self._offset(int(time)) for time in (times.min(), times.max())}
        return times - offsets.pop() if len(offsets) == 1 else None

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
        return None if time is None else time - self._offset(time)

    def _offset(self, wall: int) -> int:
        """Return local time less UTC, ns, at a local time."""
        # the offset from UTC belongs to whole seconds
        local = datetime.fromtimestamp(wall // 10**9, UTC).replace(tzinfo=self._zone)
        offset = local.utcoffset()
        assert offset is not None
        return round(offset.total_seconds()) * 10**9


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
        return parse_hdr_text(path.read_bytes()[: 1 << 16])
    except OSError:
        return {}


def parse_hdr_text(content: bytes) -> dict[str, str]:
    """Return the keys and values of an acquisition header, empty where it is none."""
    text = content.decode("latin-1")
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


def frames_expected(hdr: dict[str, str]) -> int | None:
    """Return the number of frames of an acquisition, None where it is open."""
    try:
        return int(hdr["Frames in Acquisition (Number)"]) or None
    except (KeyError, ValueError):
        return None


def scan_shape(hdr: dict[str, str]) -> tuple[int, int] | None:
    """Return the scan [y, x]: ScanX and ScanY, or a line for each trigger; else None."""
    try:
        x, y = int(hdr["ScanX"]), int(hdr["ScanY"])
        if x > 0 and y > 0:
            return y, x
    except (KeyError, ValueError):
        pass
    try:
        frames = int(hdr["Frames in Acquisition (Number)"])
        line = int(hdr["Frames per Trigger (Number)"])
    except (KeyError, ValueError):
        return None
    if 1 < line < frames and frames % line == 0:
        return frames // line, line
    return None
