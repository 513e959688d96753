"""Where two results differ, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from daq.runtime.direct import OutputStream
from daq.streams import Array

Results = Mapping[str, OutputStream]
"""What an analysis gave: its streams by their short names."""


def first_difference(
    expected: Results,
    found: Results,
    *,
    tolerance: float | None = None,
    valid_only: bool = False,
) -> str | None:
    """Return where two results first differ, or None.

    Equal means the same bits (NaN equals NaN); with ``tolerance``, floats and complex may differ
    by this fraction of the largest finite magnitude in the field. ``valid_only`` leaves out the
    values of records that are not valid in both.
    """
    for name, stream in expected.items():
        one, other = stream, found[name]
        if one.stream.fields != other.stream.fields:
            return (
                f"stream {name!r} was opened with {_described(other)}, "
                f"on the whole with {_described(one)}"
            )
        if len(one) != len(other):
            return f"stream {name!r} has {len(other)} records, expected {len(one)}"
        if record := _first(one.valid != other.valid):
            return f"stream {name!r}, record {record[0]}: valid is {other.valid[record]}"
        for field in stream.stream.fields:
            differ = ~_equal(one[field], other[field], tolerance)
            if valid_only:
                differ &= one.valid.reshape(-1, *(1,) * (differ.ndim - 1))
            if index := _first(differ):
                at = f" at {list(index[1:])}" if index[1:] else ""
                return (
                    f"stream {name!r}, field {field!r}, record {index[0]}{at}: "
                    f"{_shown(other[field][index])}, expected {_shown(one[field][index])}"
                )
    return None


def _described(output: OutputStream) -> str:
    return ", ".join(f"{k} {f.dtype} {list(f.shape)}" for k, f in output.stream.fields.items())


def _equal(one: Array, other: Array, tolerance: float | None) -> npt.NDArray[np.bool_]:
    if one.dtype.kind not in "fc":
        return np.asarray(one == other)
    nan = np.isnan(one) & np.isnan(other)
    if tolerance is not None:
        finite = np.abs(one[np.isfinite(one)])
        allowed = tolerance * (float(finite.max()) if finite.size else 0.0)
        with np.errstate(invalid="ignore"):
            return np.asarray(nan | (one == other) | (np.abs(one - other) <= allowed))
    bits = f"u{one.real.dtype.itemsize}"
    same = one.real.copy().view(bits) == other.real.copy().view(bits)
    if one.dtype.kind == "c":
        same &= one.imag.copy().view(bits) == other.imag.copy().view(bits)
    return np.asarray(nan | same)


def _first(differ: npt.NDArray[np.bool_]) -> tuple[int, ...]:
    """Return the index of the first true entry, () if there is none."""
    flat = differ.reshape(-1)
    if not flat.any():
        return ()
    return tuple(int(i) for i in np.unravel_index(int(np.argmax(flat)), differ.shape))


def _shown(value: Any) -> str:
    return repr(value.item() if hasattr(value, "item") else value)
