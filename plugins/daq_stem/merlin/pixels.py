"""The pixels of Merlin frames, from the bytes of file or socket to counts in rows from the top."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from daq_stem.merlin.header import FrameHeader
from daq_stem.merlin.raw import decode


def unpack(
    header: FrameHeader, frames: npt.NDArray[np.uint8], out: npt.NDArray[Any]
) -> npt.NDArray[Any]:
    """Write the pixels of ``frames`` [frame, byte], header and pixels each, to ``out`` [frame, y, x].

    The camera sends the bottom row first, big endian; ``out`` has the top row first, in the byte
    order of this machine, and the dtype of ``header``. Raises ValueError where RAW frames cannot
    be decoded.
    """
    count, (height, width) = len(frames), header.shape
    if header.raw:
        raw = [frame.tobytes() for frame in frames]
        out[:] = decode(raw, header.shape, header.dtype)[:, ::-1]
        return out
    pixels = frames[:, header.offset : header.frame_bytes]
    if header.packed:
        bits = np.unpackbits(pixels, axis=1).reshape(count, height, width)
        out[:] = bits[:, ::-1]
        return out
    stored = header.dtype.newbyteorder(">")
    out[:] = pixels.view(stored).reshape(count, height, width)[:, ::-1]
    return out
