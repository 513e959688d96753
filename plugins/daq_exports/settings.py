"""What the configuration may say about an export file, whatever its format."""

from __future__ import annotations

import datetime
import re
import zoneinfo
from typing import Literal

import pydantic

import daq
from daq_exports.quantities import KNOWN

FROM_NAME = (
    "annealing_temperature_K", "annealing_temperature_degC", "annealing_time_s",
    "annealing_time_min", "annealing_time_h", "mass_mg", "sample_name",
)  # fmt: skip
"""Groups that ``from_name`` may have."""


class ExportSettings(daq.Config):
    """Keys of every reader of exports."""

    columns: dict[str, str | int] = daq.setting(
        {}, "", "column of a field, by name or number from 1: { temperature = 'T' }"
    )
    units: dict[str, str] = daq.setting({}, "", "of columns whose units the file does not say")
    also: tuple[str, ...] = daq.setting((), "", "names of further columns to keep, as they are")
    exotherm: Literal["up", "down"] | None = daq.setting(
        None, "", "direction of exothermic heat flow in the file, where it does not say"
    )
    mass: float | None = daq.setting(None, "mg", "of the sample, instead of the file's", gt=0)
    annealing_temperature: float | None = daq.setting(
        None, "K", "at which the sample was annealed before the scan", gt=0
    )
    annealing_time: float | None = daq.setting(
        None, "s", "for which it was annealed; 0: as quenched", ge=0
    )
    from_name: str | None = daq.setting(
        None, "", "regular expression on the file's name, with groups such as annealing_time_min"
    )
    start_time: datetime.datetime | None = daq.setting(
        None, "", "of the measurement, ISO 8601, where the file does not say"
    )
    timezone: str = daq.setting("UTC", "", "of times that have none, such as Europe/Berlin")
    encoding: str | None = daq.setting(
        None, "", "of text; by default UTF-8 or UTF-16, and cp1252 where it is neither"
    )
    decimal: Literal[".", ","] | None = daq.setting(
        None, "", "sign of decimals; by default seen from the numbers"
    )

    @pydantic.field_validator("columns")
    @classmethod
    def _fields(cls, columns: dict[str, str | int]) -> dict[str, str | int]:
        for field in columns:
            if field not in KNOWN:
                raise ValueError(f"{field!r} is no field; there are {', '.join(KNOWN)}")
        return columns

    @pydantic.field_validator("timezone")
    @classmethod
    def _zone(cls, name: str) -> str:
        try:
            zoneinfo.ZoneInfo(name)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"{name!r} is no time zone; write Europe/Berlin, or UTC") from None
        return name

    @pydantic.field_validator("encoding")
    @classmethod
    def _codec(cls, name: str | None) -> str | None:
        try:
            "".encode(name or "utf-8")
        except LookupError:
            raise ValueError(f"{name!r} is no encoding; write cp1252, for instance") from None
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
        whole = since.days * 86_400 + since.seconds
        return (whole * 1_000_000 + since.microseconds) * 1000
