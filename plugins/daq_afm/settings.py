"""What the configuration may say about a scan, whatever it comes from."""

from __future__ import annotations

import datetime
import re
import zoneinfo
from typing import Any, Final

import pydantic

import daq
from daq_afm.phase_convention import UNKNOWN, Controller, PhaseConvention, Side, chosen

FROM_NAME: Final = (
    "annealing_temperature_K", "annealing_temperature_degC", "annealing_time_s",
    "annealing_time_min", "annealing_time_h", "place",
)  # fmt: skip
"""Groups that ``from_name`` may have."""

CANTILEVER: Final = (
    "spring_constant", "resonance_frequency", "drive_frequency", "quality_factor",
    "free_amplitude", "amplitude_setpoint",
)  # fmt: skip
"""Attributes of a stream that the configuration may say, named alike."""


class CantileverSettings(daq.Config):
    """Keys of every source of scans: cantilever, phase, channels."""

    spring_constant: float | None = daq.setting(None, "N/m", "of the cantilever", gt=0)
    resonance_frequency: float | None = daq.setting(None, "Hz", "free", gt=0)
    drive_frequency: float | None = daq.setting(None, "Hz", "of the drive", gt=0)
    quality_factor: float | None = daq.setting(None, "", "of the free cantilever", gt=0)
    free_amplitude: float | None = daq.setting(None, "nm", "at the drive frequency", gt=0)
    amplitude_setpoint: float | None = daq.setting(None, "nm", "of the feedback", gt=0)
    phase_convention: Controller | None = daq.setting(
        None, "", "of the controller: lag, asylum or bruker; by default what the source knows"
    )
    phase_at_resonance: float | None = daq.setting(
        None, "deg", "that the controller shows for the free cantilever"
    )
    attractive_phase: Side | None = daq.setting(
        None, "", "where attraction stands in the controller's phase: above resonance or below"
    )
    channels: dict[str, str | int] = daq.setting(
        {}, "", "channel of a field, by name or number from 0: { height = 'ZSensor' }"
    )
    only: tuple[str, ...] = daq.setting((), "", "fields to take; by default all channels")
    units: dict[str, str] = daq.setting({}, "", "of channels whose unit is not known")

    def cantilever(self, known: dict[str, float]) -> dict[str, Any]:
        """Return the attributes of the cantilever: those known, replaced by those said here."""
        said = {name: getattr(self, name) for name in CANTILEVER}
        return known | {name: value for name, value in said.items() if value is not None}

    def convention(self, default: PhaseConvention | None = None) -> PhaseConvention | None:
        """Return what the controller means by phase, None where that is not known."""
        return chosen(
            self.phase_convention, self.phase_at_resonance, self.attractive_phase, default
        )

    def phase_attributes(self, convention: PhaseConvention | None) -> dict[str, Any]:
        """Return what the stream's attributes say of its phase."""
        return dict(UNKNOWN) if convention is None else convention.attributes


class FileSettings(CantileverSettings):
    """Keys of every reader of images."""

    step: tuple[pydantic.PositiveFloat, pydantic.PositiveFloat] | None = daq.setting(
        None, "nm", "[dy, dx] of two pixels, where the file does not say"
    )
    line_time: float | None = daq.setting(
        None, "s", "from line to line, where the file does not say; else 1 s", gt=0
    )
    start_time: datetime.datetime | None = daq.setting(
        None, "", "of the scan, ISO 8601, where the file does not say"
    )
    timezone: str = daq.setting("UTC", "", "of times that have none, such as Europe/Berlin")
    annealing_temperature: float | None = daq.setting(None, "K", "before the scan", gt=0)
    annealing_time: float | None = daq.setting(None, "s", "before the scan; 0: as made", ge=0)
    place: int | None = daq.setting(None, "", "number of the place on the sample", ge=0)
    from_name: str | None = daq.setting(
        None, "", "regular expression on the file's name, with groups such as annealing_time_min"
    )

    @pydantic.field_validator("timezone")
    @classmethod
    def _zone(cls, name: str) -> str:
        try:
            zoneinfo.ZoneInfo(name)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"{name!r} is no time zone; write Europe/Berlin, or UTC") from None
        return name

    @pydantic.field_validator("from_name")
    @classmethod
    def _groups(cls, pattern: str | None) -> str | None:
        try:
            groups = re.compile(pattern or "").groupindex
        except re.error as error:
            raise ValueError(f"no regular expression: {error}") from None
        for group in groups:
            if group not in FROM_NAME:
                raise ValueError(f"{group!r}: the groups are {', '.join(FROM_NAME)}")
        return pattern

    def nanoseconds(self, moment: datetime.datetime) -> int:
        """Return a moment as nanoseconds since 1970 UTC; one without a zone is in ``timezone``."""
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=zoneinfo.ZoneInfo(self.timezone))
        since = moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
        return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1000

    def history(self, file_name: str) -> dict[str, float]:
        """Return what is known of the sample: ``annealing_temperature`` (K), ``annealing_time`` (s), ``place``.

        A quantity that ``from_name`` asks for and this name does not hold is NaN. Raises ValueError where a
        group holds no number, or the place is missing.
        """
        found: dict[str, float] = {}
        for key in ("annealing_temperature", "annealing_time", "place"):
            if (value := getattr(self, key)) is not None:
                found[key] = float(value)
        if self.from_name is None:
            return found
        match = re.search(self.from_name, file_name)
        for group in re.compile(self.from_name).groupindex:
            key = group.removesuffix("_" + group.rsplit("_", 1)[-1]) if "_" in group else group
            text = match[group] if match else None
            if text is None:
                if group == "place":
                    raise ValueError(f"{file_name}: from_name finds no place in this name")
                found.setdefault(key, float("nan"))
                continue
            try:
                number = float(text)
            except ValueError:
                raise ValueError(
                    f"{file_name}: from_name: {group} is {text!r}, no number"
                ) from None
            factor = {"min": 60.0, "h": 3600.0}.get(group.rsplit("_", 1)[-1], 1.0)
            found[key] = number * factor + (273.15 if group.endswith("degC") else 0.0)
        return found
