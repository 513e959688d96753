"""What views say alike: the colours of positions without a value, bands, scans, temperatures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

import daq

DETERMINED: Final = 0
LOWER_BOUND: Final = 1
UPPER_BOUND: Final = 2
MASKED: Final = 4

LOWER_BOUND_COLOUR: Final = "#ff9ec7"
UPPER_BOUND_COLOUR: Final = "#9fd8ff"
NOT_FITTED_COLOUR: Final = "#c4693f"
MASKED_COLOUR: Final = "#747b87"
"""Of positions: none of them is in viridis or plasma, and they differ in lightness."""


def classes(
    flag: npt.NDArray[np.uint8], value: npt.NDArray[np.float64]
) -> dict[str, tuple[str, npt.NDArray[np.bool_]]]:
    """Return the kinds of positions that a map does not colour by value: {name: (colour, where)}.

    ``flag`` [y, x] as in ``ecm.maps``; whatever is called determined and has no finite value is
    masked, so that no position is drawn as what it is not.
    """
    slow, fast = flag == LOWER_BOUND, flag == UPPER_BOUND
    masked = (flag >= MASKED) | ((flag == DETERMINED) & ~np.isfinite(value))
    return {
        "lower bound": (LOWER_BOUND_COLOUR, slow),
        "upper bound": (UPPER_BOUND_COLOUR, fast),
        "no fit": (NOT_FITTED_COLOUR, (flag != DETERMINED) & ~slow & ~fast & ~masked),
        "masked": (MASKED_COLOUR, masked),
    }


def painted(
    shape: tuple[int, ...], kinds: Sequence[tuple[str, npt.NDArray[np.bool_]]]
) -> npt.NDArray[np.uint8]:
    """Return [y, x, rgba]: each kind (colour, where) in its colour, the rest transparent."""
    picture = np.zeros((*shape, 4), np.uint8)
    for colour, where in kinds:
        picture[where] = [*bytes.fromhex(colour[1:]), 255]
    return picture


def percent(part: float) -> str:
    """Return a share as people read it: ``12 %``, and ``< 1 %`` where it is not nothing."""
    return "< 1 %" if 0 < part < 0.005 else f"{part:.0%}".replace("%", "\u2009%")


def number(value: float, digits: int = 3) -> str:
    """Return a number with a few significant digits and no exponent; a dash for NaN."""
    if not np.isfinite(value):
        return "\u2013"
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - int(np.floor(np.log10(abs(value)))))
    return f"{value:.{decimals}f}".replace("-", "\u2212")


def with_error(value: float, error: float, digits: int = 2) -> str:
    """Return ``value ± error``, both to the last digit that the error leaves."""
    if not np.isfinite(value):
        return "\u2013"
    if not (np.isfinite(error) and error > 0):
        return number(value)
    decimals = max(0, digits - 1 - int(np.floor(np.log10(error))))
    return f"{value:.{decimals}f} \u00b1 {error:.{decimals}f}".replace("-", "\u2212")


def bands_of(stream: daq.Stream, count: int) -> list[str]:
    """Return the names of the bands of an ``ecm`` stream: their limits where those are known."""
    process = stream.attributes.get("process")
    configured = process.get("configuration") if isinstance(process, dict) else None
    for told in (stream.attributes, configured):
        bands = told.get("bands") if isinstance(told, dict) else None
        if isinstance(bands, list) and len(bands) == count:
            return [f"{low:g}\u2013{high:g} nm\u207b\u00b9" for low, high in bands]
    return [f"band {band + 1}" for band in range(count)]


def scan_and_temperature(batch: daq.Batch) -> list[str]:
    """Return the scan of the last record (its index), and the temperature where it is known."""
    found = [f"scan {batch.indices[-1]}"]
    if "temperature" in batch.raw and np.isfinite(batch["temperature"][-1]):
        found.append(f"{float(batch['temperature'][-1]):.1f} K")
    return found


def joined(parts: Sequence[str]) -> str:
    """Return the parts that are not empty, with dots between."""
    return " \u00b7 ".join(part for part in parts if part)
