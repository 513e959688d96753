"""Batches to message parts and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from daq import protocol
from daq.corrections import Corrections
from daq.streams import Array, Batch


def parts_of(arrays: Mapping[str, Array]) -> tuple[list[dict[str, Any]], list[bytes]]:
    """Return the ``parts`` entries of a header, and the bytes of each array (one copy)."""
    parts, payload = [], []
    for name, array in arrays.items():
        dtype = protocol.wire_dtype(array.dtype)
        parts.append({"field": name, "dtype": dtype, "shape": list(array.shape)})
        payload.append(np.ascontiguousarray(array, dtype).tobytes())
    return parts, payload


def arrays_of(header: Mapping[str, Any], parts: Sequence[Any]) -> dict[str, Array]:
    """Return read-only arrays over the parts of an inline message, by field, without copying."""
    return {
        part["field"]: protocol.array_from_part(buffer, part["dtype"], part["shape"])
        for part, buffer in zip(header["parts"], parts, strict=True)
    }


def batch_of(
    header: Mapping[str, Any], arrays: Mapping[str, Array], corrections: Corrections | None = None
) -> Batch:
    """Return the batch of a ``data`` or ``fetched`` message."""
    arrays = dict(arrays)
    valid = arrays.pop("valid", None)
    return Batch(header["stream"], arrays, header["first"], valid, corrections)
