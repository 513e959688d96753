"""How a series of a DECTRIS camera becomes streams, and whether another one fits into them."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

import daq
from daq_stem.dectris.messages import Start
from daq_stem.dectris.settings import Settings

log = logging.getLogger("dectris")


def chosen(start: Start, config: Settings) -> tuple[str, ...]:
    """Return the channels that are wanted; ValueError where the camera has one of them not."""
    if config.channels == "first":
        return start.channels[:1]
    if config.channels == "all":
        return start.channels
    for channel in config.channels:
        if channel not in start.channels:
            raise ValueError(f"no channel {channel!r}; the camera has {', '.join(start.channels)}")
    return tuple(config.channels)


def stream_name(channel: str) -> str:
    """Return how the stream of a channel is called where there are several."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", channel)


def scan_of(user_data: Any) -> tuple[int, int] | None:
    """Return the shape of the scan that the user data tell: ``{"scan": [y, x]}``."""
    shape = user_data.get("scan") if isinstance(user_data, Mapping) else None
    if (
        isinstance(shape, list) and len(shape) == 2
        and all(isinstance(length, int) and length > 0 for length in shape)
    ):  # fmt: skip
        return shape[0], shape[1]
    return None


def described(
    start: Start, channel: str, config: Settings, name: str, scan: tuple[int, int] | None,
    expect: int | None,
) -> daq.Stream:  # fmt: skip
    """Return the stream ``name`` of a channel of the series that ``start`` begins."""
    attributes = {
        "instrument": f"DECTRIS {start.attributes.get('detector_description', 'camera')}",
        "channel": channel,
        **start.attributes,
    }
    if (count_time := start.attributes.get("count_time")) is not None:
        attributes["dwell_time"] = count_time
    for key in ("centre", "pixel_size", "counts_per_electron"):
        if (value := getattr(config, key)) is not None:
            attributes[key] = list(value) if isinstance(value, tuple) else value
    centre = config.centre or [(length - 1) / 2 for length in start.shape]
    axes = [{"name": axis, "units": "px", "offset": 0, "step": 1} for axis in "yx"]
    if (size := config.pixel_size) is not None:
        axes = [
            {"name": f"q_{axis}", "units": "1/nm", "offset": -middle * size, "step": size}
            for axis, middle in zip("yx", centre, strict=True)
        ]
    grid: dict[str, Any] | None = None
    if scan is not None:
        grid = {"shape": list(scan)} | ({"step": config.step} if config.step else {})
    return daq.Stream(
        name,
        {"frame": daq.Field(start.dtype.str, start.shape, "counts", "pattern")},
        {"frame": axes}, grid, attributes, expect, constants(start, channel, config),
    )  # fmt: skip


def constants(start: Start, channel: str, config: Settings) -> dict[str, npt.NDArray[Any]]:
    """Return mask and gain of a channel, and as they were sent: ``pixel_mask``, ``flatfield``."""
    found: dict[str, npt.NDArray[Any]] = {}
    bad = np.zeros(start.shape, bool)
    bits, flat = start.mask.get(channel), start.gain.get(channel)
    for name, array in (("pixel_mask", bits), ("flatfield", flat)):
        if array is not None and array.shape != start.shape:
            raise ValueError(
                f"the {name} is {array.shape[0]} x {array.shape[1]}, the images are "
                f"{start.shape[0]} x {start.shape[1]}"
            )
    if bits is None:
        log.warning(
            "the start message has no pixel mask (set header_detail to all in the camera): pixels "
            "that count nothing, or %d, are taken as they come", np.iinfo(start.dtype).max,
        )  # fmt: skip
    else:
        found["pixel_mask"] = bits
        bad |= bits != 0
    if flat is not None:
        found["flatfield"] = flat
        if applies(start, config):
            useless = ~np.isfinite(flat) | (flat <= 0)
            bad |= useless
            found["gain"] = np.where(useless, np.float32(1), flat).astype(np.float32)
    if bad.any():
        found["mask"] = bad
    return found


def applies(start: Start, config: Settings) -> bool:
    """Tell whether frames are multiplied by the flat field here."""
    how = config.flatfield
    return bool(how == "apply" or (how == "auto" and not start.flat))


def difference(
    first: Start, start: Start, channels: Sequence[str], config: Settings, counted: bool
) -> str:
    """Return in what a series differs from the first so that one stream cannot hold both.

    ``counted``: the stream says how many records it will have.
    """
    if (start.shape, start.dtype) != (first.shape, first.dtype):
        (y, x), (height, width) = start.shape, first.shape
        return f"{y} x {x} pixels {start.dtype.name}, not {height} x {width} {first.dtype.name}"
    if not set(channels) <= set(start.channels):
        return f"the channels {', '.join(start.channels)}"
    if counted and start.images != first.images:
        return f"{start.images} images, not {first.images}"
    for name in ("mask", "gain"):
        if name == "gain" and not (applies(first, config) or applies(start, config)):
            continue
        if name == "gain" and applies(first, config) != applies(start, config):
            return "a flat field that the camera applies in one and not in the other"
        for channel in channels:
            one, other = getattr(first, name).get(channel), getattr(start, name).get(channel)
            same = one is other or (
                one is not None and other is not None and np.array_equal(one, other)
            )
            if not same:
                return f"another {'pixel mask' if name == 'mask' else 'flat field'}"
    return ""
