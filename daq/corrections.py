"""Dark, gain and mask, applied to the pixels that are read; the file holds raw frames."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from daq.streams import Array, Stream


class Corrections:
    """corrected = (raw - dark) * gain, 0 where the mask is true; float32.

    ``dark``, ``gain`` and ``mask`` have the shape of one record of the field, or are scalars
    (``dark`` and ``gain``). Masked pixels read as 0 so that sums leave them out; `bad` tells an
    analysis that needs the number of good pixels; ``dark`` and ``gain`` [pixel] are float32, flat.
    """

    def __init__(self, field: str, shape: tuple[int, ...], constants: Mapping[str, Array]) -> None:
        self.field = field
        self.shape = shape
        size = math.prod(shape)
        dark = np.asarray(constants.get("dark", 0.0), np.float32)
        gain = np.asarray(constants.get("gain", 1.0), np.float32)
        mask = np.asarray(constants.get("mask", False)) != 0
        for name, array in (("dark", dark), ("gain", gain), ("mask", mask)):
            if array.shape not in (shape, (), (1,)):
                raise ValueError(
                    f"{name} has shape {list(array.shape)}, the field {field!r} has {list(shape)}"
                )
        self.bad: npt.NDArray[np.bool_] = _of_shape(mask, shape)
        self.dark: npt.NDArray[np.float32] = _of_shape(dark, shape).reshape(size)
        self.gain: npt.NDArray[np.float32] = _of_shape(gain, shape).reshape(size)
        self._bad = self.bad.reshape(size)

    def apply(self, values: Array, index: npt.NDArray[np.intp] | None = None) -> Array:
        """Return ``values`` corrected: whole records, or [record, pixel] for the pixels ``index``."""
        flat = values.reshape(len(values), math.prod(values.shape[1:]))
        dark, scale, bad = self.dark, self.gain, self._bad
        if index is not None:
            dark, scale, bad = dark[index], scale[index], bad[index]
        corrected = flat.astype(np.float32, order="C")
        corrected -= dark
        corrected *= scale
        corrected[:, bad] = 0.0
        return corrected.reshape(values.shape)


def corrections_for(stream: Stream) -> Corrections | None:
    """Return the corrections that a stream's constants ask for, or None where there are none.

    They act on the largest field of the stream, ``time`` apart. Raises ValueError where shapes do not fit.
    """
    if not {"dark", "gain", "mask"} & set(stream.constants):
        return None
    sizes = {name: f.record_bytes for name, f in stream.fields.items() if name != "time"}
    if not sizes:
        return None
    field = max(sizes, key=sizes.__getitem__)
    return Corrections(field, stream.fields[field].shape, stream.constants)


def _of_shape(array: Array, shape: tuple[int, ...]) -> Array:
    """Return a copy of ``array``, or of the one number in it, in the shape of a record."""
    return np.broadcast_to(array if array.shape == shape else array.reshape(()), shape).copy()
