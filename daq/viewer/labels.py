"""The words on a panel: axis labels with units, numbers and durations as people read them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from daq.streams import Field, Stream


def with_units(name: str, units: str) -> str:
    """Return ``name (units)``, or the name alone where there are no units."""
    return f"{name} ({units})" if units and units != "1" else name


def field_label(name: str, field: Field) -> str:
    """Return what an axis or colour bar says of a field: long name (or name) and units."""
    return with_units(field.long_name or name.replace("_", " "), field.units)


def title(stream: Stream, fields: Sequence[str]) -> str:
    """Return the title of a panel: ``stream.field``, or all fields where it draws several."""
    if len(fields) == 1:
        return f"{stream.name}.{fields[0]}"
    return f"{stream.name}: {', '.join(fields)}" if fields else stream.name


def count(number: float) -> str:
    """Return a whole number with thin spaces between thousands: ``12 034``."""
    return f"{round(number):,}".replace(",", "\u2009")


def significant(number: float, digits: int = 3) -> str:
    """Return a number with a few significant digits, without an exponent where that is readable."""
    if not math.isfinite(number):
        return "-"
    if number == 0:
        return "0"
    magnitude = math.floor(math.log10(abs(number)))
    if magnitude >= digits - 1:
        return count(number) if magnitude < 9 else f"{number:.{digits - 1}e}"
    if magnitude < -4:
        return f"{number:.{digits - 1}e}"
    return f"{number:.{digits - 1 - magnitude}f}"


def duration(seconds: float) -> str:
    """Return a duration in the unit that reads best: ``0.35 s``, ``12 min``, ``3.2 h``."""
    if seconds < 120:
        return f"{significant(seconds, 2)} s"
    if seconds < 7200:
        return f"{significant(seconds / 60, 2)} min"
    return f"{significant(seconds / 3600, 2)} h"


def time_unit(span: float) -> tuple[float, str]:
    """Return seconds per unit and the unit, for a time axis that covers ``span`` seconds."""
    if span < 1e-3:
        return 1e-6, "\u00b5s"
    if span < 1:
        return 1e-3, "ms"
    if span < 300:
        return 1.0, "s"
    return (60.0, "min") if span < 10800 else (3600.0, "h")


def counts_scans(label: str) -> bool:
    """Tell whether the label of an axis says that it counts scans."""
    return label in ("scan", "scans", "scan number")


def axis_label(axis: Mapping[str, Any] | None, fallback: str) -> str:
    """Return the label of an axis that a stream describes (``name``, ``units``)."""
    if axis is None:
        return with_units(fallback, "px")
    return with_units(str(axis.get("name") or fallback), str(axis.get("units") or ""))
