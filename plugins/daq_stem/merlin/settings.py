"""What a configuration may say of a Merlin camera, and what of it the camera is told."""

from __future__ import annotations

from typing import Any, Final, Literal

import pydantic

import daq
from daq_stem.merlin.commands import COMMAND_PORT
from daq_stem.merlin.header import time_zone
from daq_stem.merlin.stream import DATA_PORT

TRIGGERS: Final = {
    "internal": 0, "rising_ttl": 1, "falling_ttl": 2, "rising_lvds": 3, "falling_lvds": 4, "soft": 5,
}  # fmt: skip
"""TRIGGERSTART by name."""


class Settings(daq.Config):
    """What ``[sources.NAME]`` with ``type = "merlin"`` may say."""

    host: str = daq.setting("localhost", "", "of the Merlin software", min_length=1)
    port: int = daq.setting(DATA_PORT, "", "of the data socket", ge=1, le=65535)
    command_port: int = daq.setting(COMMAND_PORT, "", "of the command socket", ge=1, le=65535)
    arm: bool = daq.setting(False, "", "set and start the camera; false: listen only")
    trigger: Literal["internal", "rising_ttl", "falling_ttl", "rising_lvds", "falling_lvds", "soft"] | None = daq.setting(
        None, "", "what starts frames; soft: this source does; by default as the camera is set"
    )  # fmt: skip
    frames: int | None = daq.setting(
        None, "", "of an acquisition; by default the scan, or as the camera is set", ge=1
    )
    frames_per_trigger: int | None = daq.setting(
        None, "", "by default as the camera is set; all of them where the trigger is soft", ge=1
    )
    acquisition_time: float | None = daq.setting(None, "s", "exposure of a frame", gt=0)
    acquisition_period: float | None = daq.setting(None, "s", "from frame to frame", gt=0)
    counter_depth: Literal[1, 6, 12, 24] | None = daq.setting(None, "bit", "of a pixel")
    continuous: bool | None = daq.setting(
        None, "", "continuous read and write: no dead time between frames, up to 12 bit"
    )
    parameters: dict[str, bool | int | float | str] = daq.setting(
        {}, "", "others, as the camera calls them: { HVBIAS = 120, THRESHOLD0 = 40 }"
    )
    acquisitions: int = daq.setting(
        1, "", "end after so many; 0: go on until the run is stopped", ge=0
    )
    scan: tuple[pydantic.PositiveInt, pydantic.PositiveInt] | None = daq.setting(
        None, "", "shape of the scan, [y, x], fast axis last; by default from the camera"
    )
    step: float | None = daq.setting(None, "nm", "distance of two scan positions", gt=0)
    timezone: str = daq.setting("UTC", "", "of the camera's clock, if it does not send UTC")
    timeout: float = daq.setting(
        5.0, "s", "for a connection, an answer, an acquisition that was started", gt=0, le=3600
    )
    reconnect: float = daq.setting(
        60.0, "s", "how long a camera that goes away is waited for; 0: not at all", ge=0
    )
    stall: float | None = daq.setting(
        None, "s", "without a frame for so long the acquisition is over; by default never", gt=0
    )
    if_changed: Literal["end", "wait"] = daq.setting(
        "end", "", "frames of another size or type: end, or leave them out and wait"
    )
    batch: int = daq.setting(64, "", "frames that travel together, at most", ge=1, le=4096)

    @pydantic.field_validator("timezone")
    @classmethod
    def _known(cls, timezone: str) -> str:
        time_zone(timezone)
        return timezone

    @pydantic.model_validator(mode="after")
    def _armed(self) -> Any:
        given = [
            key for key in ("trigger", "frames", "frames_per_trigger", "acquisition_time",
                            "acquisition_period", "counter_depth", "continuous", "parameters")
            if getattr(self, key) not in (None, {})
        ]  # fmt: skip
        if given and not self.arm:
            raise ValueError(f"{given[0]} is set only with arm = true")
        times = self.acquisition_time, self.acquisition_period
        if None not in times and times[1] < times[0]:  # type: ignore[operator]
            raise ValueError("acquisition_period is shorter than acquisition_time")
        if self.scan is not None and self.frames is not None:
            check_scan(self.scan, self.frames)
        return self

    @property
    def where(self) -> str:
        """Host and port of the data socket."""
        return f"{self.host}:{self.port}"

    def together(self) -> int | None:
        """Return the frames per trigger, None as the camera is set."""
        if self.frames_per_trigger is not None or self.trigger != "soft":
            return self.frames_per_trigger
        return self.frames or (self.scan and self.scan[0] * self.scan[1])

    def parameters_to_set(self) -> dict[str, object]:
        """Return what is to be set, by the camera's names, in order; times in ms."""
        frames = self.frames
        if frames is None and self.scan is not None:
            frames = self.scan[0] * self.scan[1]
        wanted = {
            "COUNTERDEPTH": self.counter_depth,
            "CONTINUOUSRW": None if self.continuous is None else int(self.continuous),
            "ACQUISITIONTIME": _milliseconds(self.acquisition_time),
            "ACQUISITIONPERIOD": _milliseconds(self.acquisition_period),
            "NUMFRAMESTOACQUIRE": frames,
            "NUMFRAMESPERTRIGGER": self.together(),
            "TRIGGERSTART": None if self.trigger is None else TRIGGERS[self.trigger],
        }
        others: dict[str, object] = {
            name: int(value) if isinstance(value, bool) else value
            for name, value in self.parameters.items()
        }
        given: dict[str, object] = {k: v for k, v in wanted.items() if v is not None}
        return given | others


def check_scan(scan: tuple[int, int], frames: int) -> None:
    """Raise ValueError where scans and acquisitions do not fit."""
    positions = scan[0] * scan[1]
    if frames % positions and positions % frames:
        raise ValueError(
            f"an acquisition has {frames} frames, and a scan of {scan[0]} x {scan[1]} has {positions} "
            "positions: set scan, or the camera, so that one is a multiple of the other"
        )


def _milliseconds(seconds: float | None) -> str | None:
    return None if seconds is None else f"{seconds * 1e3:.6f}".rstrip("0").rstrip(".")
