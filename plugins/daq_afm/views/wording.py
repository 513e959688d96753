"""How views say numbers: as many digits as their errors tell, and what was done to a sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import daq


def number(value: float, digits: int = 3) -> str:
    """Return a number with a few significant digits and no exponent; a dash for NaN."""
    if not np.isfinite(value):
        return "\u2013"
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - int(np.floor(np.log10(abs(value)))))
    return f"{value:.{min(decimals, 9)}f}".replace("-", "\u2212")


def with_error(value: float, error: float) -> str:
    """Return ``value \u00b1 error``, both to the last digit that the error leaves.

    That is the second one of an error that begins with 1 or 2, else the first.
    """
    if not np.isfinite(value):
        return "\u2013"
    if not (np.isfinite(error) and error > 0):
        return number(value)
    power = int(np.floor(np.log10(error)))
    decimals = max(0, (1 if error < 2.95 * 10.0**power else 0) - power)
    return f"{value:.{decimals}f} \u00b1 {error:.{decimals}f}".replace("-", "\u2212")


def percent(part: float) -> str:
    """Return a share as people read it: ``12 %``."""
    return "< 1\u2009%" if 0 < part < 0.005 else f"{part:.0%}".replace("%", "\u2009%")


def joined(*parts: str) -> str:
    """Return the parts that are not empty, with dots between."""
    return " \u00b7 ".join(part for part in parts if part)


def shorter(parts: Sequence[str]) -> list[str]:
    """Return the parts joined: all of them, then one less each, from the last."""
    there = [part for part in parts if part]
    return [joined(*there[:n]) for n in range(len(there), 0, -1)] or [""]


def duration(seconds: float) -> str:
    """Return an annealing time as it is said: ``30 min``, ``12 h``."""
    if not np.isfinite(seconds):
        return "\u2013"
    if seconds < 120:
        return f"{seconds:g} s"
    return f"{seconds / 60:g} min" if seconds < 36000 else f"{seconds / 3600:g} h"


def history(seconds: float, kelvin: float) -> str:
    """Return what was done to a sample: ``553 K, 30 min`` or ``as quenched``."""
    if seconds == 0:
        return "as quenched"
    if not np.isfinite(seconds):
        return ""
    return f"{kelvin:g} K, {duration(seconds)}" if np.isfinite(kelvin) else duration(seconds)


def where(batch: daq.Batch, at: int = -1) -> list[str]:
    """Return the scan of a record, its place where that is another number, and its history."""
    found = [f"scan {int(batch['scan'][at])}"] if "scan" in batch.raw else []
    if "place" in batch.raw and found and batch["place"][at] != batch["scan"][at]:
        found.append(f"place {int(batch['place'][at])}")
    if "annealing_time" in batch.raw and np.ndim(batch["annealing_time"]) == 1:
        kelvin = batch.raw.get("annealing_temperature")
        T = float("nan") if kelvin is None else float(kelvin[at])
        found.append(history(float(batch["annealing_time"][at]), T))
    return [part for part in found if part]


def units_of(stream: daq.Stream, field: str) -> str:
    """Return the units of a field with a space before, or nothing."""
    units = stream.fields[field].units
    return f" {units}" if units and units != "1" else ""


def configured(stream: daq.Stream, name: str) -> Any:
    """Return what the analysis of a stream was told, or None."""
    process = stream.attributes.get("process")
    settings = process.get("configuration") if isinstance(process, dict) else None
    return settings.get(name) if isinstance(settings, dict) else None


def inputs_of(stream: daq.Stream) -> list[str]:
    """Return the names of the streams that an analysis takes, where its stream says so."""
    process = stream.attributes.get("process")
    inputs = process.get("inputs") if isinstance(process, dict) else None
    return [str(name) for name in inputs] if isinstance(inputs, list | tuple) else []


def newest(batch: daq.Batch) -> int | None:
    """Return the place of the newest record that was not lost, or None."""
    good = np.flatnonzero(batch.valid)
    return int(good[-1]) if len(good) else None
