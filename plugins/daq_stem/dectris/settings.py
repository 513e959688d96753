"""What a configuration may say of a DECTRIS camera, and what of it the detector is told."""

from __future__ import annotations

from typing import Any, Final, Literal

import pydantic

import daq

PORTS: Final = {"cbor": 31001, "legacy": 9999}


class Settings(daq.Config):
    """What ``[sources.NAME]`` with ``type = "dectris"`` may say."""

    host: str = daq.setting("localhost", "", "of the detector control unit", min_length=1)
    format: Literal["cbor", "legacy"] = daq.setting(
        "cbor", "", "of the stream: cbor is version 2, legacy version 1"
    )
    port: int | None = daq.setting(
        None, "", "of the stream; by default 31001 (cbor) or 9999 (legacy)", ge=1, le=65535
    )
    control: Literal["listen", "arm"] = daq.setting(
        "listen", "", "listen: others arm the camera; arm: it is set up, armed and aborted here"
    )
    channels: Literal["first", "all"] | tuple[str, ...] = daq.setting(
        "first", "", 'first, "all", or names such as ["threshold_1"]'
    )
    series: pydantic.PositiveInt | None = daq.setting(
        None, "", "how many to take; by default one if armed here, else all until it is stopped"
    )
    scan: tuple[pydantic.PositiveInt, pydantic.PositiveInt] | None = daq.setting(
        None, "", "positions, [y, x], fast axis last; by default `scan` in the user_data"
    )
    step: float | None = daq.setting(None, "nm", "distance of two positions", gt=0)
    centre: tuple[float, float] | None = daq.setting(None, "px", "[y, x] of the direct beam")
    pixel_size: float | None = daq.setting(None, "1/nm", "size of a pixel; Q is 1/d", gt=0)
    counts_per_electron: float | None = daq.setting(None, "counts", "what one electron adds", gt=0)
    flatfield: Literal["auto", "apply", "ignore"] = daq.setting(
        "auto", "", "auto: multiply by it unless the camera says that it has"
    )
    clock: Literal["camera", "arrival"] = daq.setting(
        "camera", "", "time of a record: what the camera says, or when it arrived"
    )
    reconnect: float = daq.setting(
        600.0, "s", "how long a camera that is away is waited for; 0: not at all", ge=0
    )
    silence: float | None = daq.setting(
        None, "s", "longest pause within a series; by default there is none", gt=0
    )
    different: Literal["end", "skip"] = daq.setting(
        "end", "", "what to do with a series of another shape: end, or wait for the next"
    )
    # for control = "arm"
    control_port: int = daq.setting(80, "", "of the control unit", ge=1, le=65535)
    trigger_mode: Literal["ints", "inte", "exts", "exte"] = daq.setting(
        "exte", "", "as SIMPLON calls it: internal or external, series or each image"
    )
    images: pydantic.PositiveInt | None = daq.setting(
        None, "", "of a series; by default one for each position of the scan"
    )
    count_time: float | None = daq.setting(None, "s", "exposure of an image", gt=0)
    frame_time: float | None = daq.setting(None, "s", "from image to image", gt=0)
    settings: dict[str, Any] = daq.setting(
        {}, "", 'of the detector besides, set first: { roi_mode = "merge2x2" }'
    )
    # how it is received
    batch: int = daq.setting(64, "", "frames that travel together, at most", ge=1, le=4096)
    threads: pydantic.PositiveInt | None = daq.setting(
        None, "", "that decode; by default one for each core, at most 8"
    )
    queue: int = daq.setting(1000, "", "messages that may wait to be decoded", ge=1)

    @pydantic.model_validator(mode="after")
    def _possible(self) -> Settings:
        if self.control == "arm" and self.images is None and self.scan is None:
            raise ValueError('control = "arm" needs images, or scan')
        if isinstance(self.channels, tuple) and not self.channels:
            raise ValueError('channels: at least one, or "first"')
        return self

    def detector_settings(self) -> dict[str, Any]:
        """Return the settings of the detector in the order in which they are made."""
        images = self.images or self.scan[0] * self.scan[1]
        each = self.trigger_mode in ("inte", "exte")
        found = {**self.settings, "trigger_mode": self.trigger_mode}
        found |= {"nimages": 1 if each else images, "ntrigger": images if each else 1}
        # the exposure first: the other way round it may not fit
        for name in ("count_time", "frame_time"):
            if (value := getattr(self, name)) is not None:
                found[name] = value
        return found
