"""Arrays of a DECTRIS stream, from the bytes that came to the pixels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from daq_stem.dectris.messages import DamagedError, Packed

METHODS: Final = ("none", "lz4_block", "lz4", "bslz4")
"""Ways to compress; their place is the number by which `daq_stem.dectris.kernel` knows them."""

AT_LEAST: Final = 8
"""Fewer frames than this are not worth a thread of their own."""


class Unpacker:
    """Decodes frames, many at once in ``threads`` threads where that pays."""

    def __init__(self, threads: int = 1) -> None:
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, "decode") if threads > 1 else None

    def frames(self, frames: Sequence[Packed], out: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Decode ``frames`` into ``out`` [frame, y, x]; return which of them could be decoded.

        A frame of another shape, or of a dtype whose values ``out`` cannot hold all, is none that
        could.
        """
        good = np.zeros(len(frames), bool)
        begin = 0
        while begin < len(frames):
            end = begin + 1
            while end < len(frames) and _alike(frames[begin], frames[end]):
                end += 1
            first = frames[begin]
            if first.shape == out.shape[1:] and np.can_cast(first.dtype, out.dtype, "safe"):
                self._run(frames[begin:end], out[begin:end], good[begin:end])
            begin = end
        return good

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()

    def _run(
        self, frames: Sequence[Packed], out: npt.NDArray[Any], good: npt.NDArray[np.bool_]
    ) -> None:
        """Decode frames that are alike and fit."""
        first, count = frames[0], len(frames)
        if first.method == "none":
            for number, packed in enumerate(frames):
                if len(packed.data) == math.prod(packed.shape) * packed.dtype.itemsize:
                    out[number] = np.frombuffer(packed.data, packed.dtype).reshape(packed.shape)
                    good[number] = True
            return
        if first.method not in METHODS or first.element not in (1, 2, 4, 8):
            return
        in_place = out.dtype.itemsize == first.dtype.itemsize and out.flags.c_contiguous
        rows = out if in_place else np.empty(out.shape, first.dtype.newbyteorder("="))
        octets = rows.reshape(count, -1).view(np.uint8)
        parts = max(1, min(self._threads, count // AT_LEAST))
        borders = [count * part // parts for part in range(parts + 1)]
        tasks = [_task(frames[a:b], octets[a:b], good[a:b]) for a, b in itertools.pairwise(borders)]
        if self._pool is None or parts == 1:
            for task in tasks:
                task()
        else:
            for done in [self._pool.submit(task) for task in tasks]:
                done.result()
        if not first.dtype.isnative:
            rows.byteswap(inplace=True)
        if not in_place:
            out[...] = rows


def unpack(packed: Packed) -> npt.NDArray[Any]:
    """Return one array, in the byte order of this machine; raise `DamagedError`."""
    out = np.empty((1, *packed.shape), packed.dtype.newbyteorder("="))
    if not Unpacker().frames([packed], out)[0]:
        raise DamagedError(f"the {packed.method} data of an array cannot be decoded")
    return out[0]


def _alike(one: Packed, other: Packed) -> bool:
    return (one.method, one.element, one.dtype, one.shape) == (
        other.method, other.element, other.dtype, other.shape,
    )  # fmt: skip


def _task(
    frames: Sequence[Packed], octets: npt.NDArray[np.uint8], good: npt.NDArray[np.bool_]
) -> Callable[[], None]:
    """Return what decodes some frames; it holds the GIL only to put their bytes together."""
    from daq_stem.dectris.kernel import expand_frames

    def decode() -> None:
        begins = np.zeros(len(frames) + 1, np.int64)
        np.cumsum([len(packed.data) for packed in frames], out=begins[1:])
        data = np.frombuffer(b"".join([packed.data for packed in frames]), np.uint8)
        method, element = METHODS.index(frames[0].method), frames[0].element
        expand_frames(data, begins, method, element, octets, good)

    return decode


def warm_up() -> None:
    """Compile, or load what was compiled, before the first frame is there."""
    _task([Packed(b"", "bslz4", 1, np.dtype("u1"), (1, 1))], np.zeros((1, 1), np.uint8),
          np.zeros(1, bool))()  # fmt: skip
