"""Loops that decode LZ4 and bitshuffle: compiled, without the GIL, straight into the frames.

Nothing that comes from outside is trusted: every read and write is checked against its array.
"""

from __future__ import annotations

from typing import Any, Final

import numba
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

LZ4_BLOCK: Final = 1
"""One LZ4 block and nothing else (stream v1, ``lz4<``)."""

LZ4_FRAMED: Final = 2
"""As the LZ4 filter of HDF5 frames it (stream v2, ``lz4``)."""

BITSHUFFLE_LZ4: Final = 3
"""As the bitshuffle filter of HDF5 frames it (both, ``bslz4``)."""

_DEFAULT_BLOCK: Final = 8192
_LARGEST_BLOCK: Final = 1 << 24

_OPTIONS: Any = {"nogil": True, "cache": True}


@numba.njit(**_OPTIONS)  # type: ignore[untyped-decorator]
def expand_frames(
    data: npt.NDArray[np.uint8],
    begins: npt.NDArray[np.int64],
    method: int,
    element: int,
    out: npt.NDArray[np.uint8],
    good: npt.NDArray[np.bool_],
) -> None:
    """Decode frames into the rows of ``out``; ``good`` tells which of them could be.

    Parameters
    ----------
    data
        Compressed frames, one after the other.
    begins
        [frame + 1]: where each begins, and where the last one ends.
    method
        `LZ4_BLOCK`, `LZ4_FRAMED` or `BITSHUFFLE_LZ4`.
    element
        Bytes of what was shuffled: 1, 2, 4 or 8.
    out
        [frame, byte]; the row of a frame that is damaged holds anything.
    good
        [frame].
    """
    shuffled = np.empty(0, np.uint8)
    words, planes = np.empty(0, np.uint64), np.empty(0, np.uint64)
    for frame in range(len(begins) - 1):
        begin, end = begins[frame], begins[frame + 1]
        row = out[frame]
        if method == LZ4_BLOCK:
            good[frame] = _block(data, begin, end, row, 0, len(row))
            continue
        good[frame] = False
        if end - begin < 12:
            continue
        total, block = _big(data, begin, 8), _big(data, begin + 8, 4)
        # a header of zeros is what the filter takes as "default"
        if total != len(row) and not (total == 0 and block == 0):
            continue
        if method == LZ4_FRAMED:
            good[frame] = block > 0 and _framed(data, begin + 12, end, row, block)
            continue
        if block == 0:
            block = _DEFAULT_BLOCK // element // 8 * 8 * element
        if block > _LARGEST_BLOCK or block % (8 * element):
            continue
        if len(shuffled) < block:
            shuffled = np.empty(block, np.uint8)
            # a plane is rounded up to whole words
            words = np.empty(block // element // 8 + 8, np.uint64)
            planes = np.empty(block // 8 + 8 * element, np.uint64)
        good[frame] = _shuffled(data, begin + 12, end, row, block, element, shuffled, words, planes)


@numba.njit(**_OPTIONS)  # type: ignore[untyped-decorator]
def _big(data: npt.NDArray[np.uint8], at: int, count: int) -> int:
    """Return a big-endian unsigned number; one beyond 2**62 comes as -1."""
    value = 0
    for k in range(count):
        if value >= 1 << 54:
            return -1
        value = value << 8 | np.int64(data[at + k])
    return value


@numba.njit(**_OPTIONS)  # type: ignore[untyped-decorator]
def _framed(
    data: npt.NDArray[np.uint8], begin: int, end: int, row: npt.NDArray[np.uint8], block: int
) -> bool:
    """Decode blocks, each after its length; one that did not shrink is stored as it is."""
    done = 0
    while done < len(row):
        size = min(block, len(row) - done)
        if end - begin < 4:
            return False
        length = _big(data, begin, 4)
        begin += 4
        if length > end - begin:
            return False
        if length == size:
            _move(row, done, data, begin, size)
        elif not _block(data, begin, begin + length, row, done, done + size):
            return False
        begin += length
        done += size
    return begin == end


@numba.njit(**_OPTIONS)  # type: ignore[untyped-decorator]
def _shuffled(
    data: npt.NDArray[np.uint8],
    begin: int,
    end: int,
    row: npt.NDArray[np.uint8],
    block: int,
    element: int,
    shuffled: npt.NDArray[np.uint8],
    words: npt.NDArray[np.uint64],
    planes: npt.NDArray[np.uint64],
) -> bool:
    """Decode blocks of shuffled bits; what does not fill 8 elements follows as it is."""
    group = 8 * element
    whole = len(row) // group * group
    done = 0
    while done < whole:
        size = min(block, whole - done)
        if end - begin < 4:
            return False
        length = _big(data, begin, 4)
        begin += 4
        if length > end - begin or not _block(data, begin, begin + length, shuffled, 0, size):
            return False
        begin += length
        _unshuffle(shuffled, size // element, element, words, planes, row[done : done + size])
        done += size
    if end - begin != len(row) - whole:
        return False
    _move(row, whole, data, begin, end - begin)
    return True


@intrinsic  # type: ignore[untyped-decorator]
def _move_word(typing: Any, out: Any, to: Any, data: Any, at: Any) -> Any:
    """Copy 8 bytes from ``data[at]`` to ``out[to]``, aligned or not; nothing is checked."""
    del typing

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target, source = _pointers(context, builder, signature, arguments)
        word = ir.IntType(64).as_pointer()
        value = builder.load(builder.bitcast(source, word), align=1)
        builder.store(value, builder.bitcast(target, word), align=1)
        return context.get_dummy_value()

    return types.void(out, to, data, at), generate


@intrinsic  # type: ignore[untyped-decorator]
def _move(typing: Any, out: Any, to: Any, data: Any, at: Any, count: Any) -> Any:
    """Copy ``count`` bytes from ``data[at]`` to ``out[to]``, which do not overlap; nothing is checked."""
    del typing

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target, source = _pointers(context, builder, signature, arguments)
        cgutils.raw_memcpy(builder, target, source, arguments[4], 1)
        return context.get_dummy_value()

    return types.void(out, to, data, at, count), generate


def _pointers(context: Any, builder: Any, signature: Any, arguments: Any) -> list[Any]:
    """Return the addresses of the bytes that the arguments (array, index, array, index) name."""
    found = []
    for array, index in ((0, 1), (2, 3)):
        made = context.make_array(signature.args[array])(context, builder, arguments[array])
        found.append(builder.gep(made.data, [arguments[index]]))
    return found


@numba.njit(**_OPTIONS)  # type: ignore[untyped-decorator]
def _block(
    data: npt.NDArray[np.uint8], at: int, end: int, out: npt.NDArray[np.uint8], to: int, stop: int
) -> bool:
    """Decode ``data[at:end]``, one LZ4 block, into all of ``out[to:stop]``; tell whether it is sound."""
    first = to
    while at < end:
        token = np.int64(data[at])
        at += 1
        length = token >> 4
        if length == 15:
            more = 255
            while more == 255:
                if at >= end:
                    return False
                more = np.int64(data[at])
                at += 1
                length += more
        if length > end - at or length > stop - to:
            return False
        if length <= 16 and end - at >= 16 and stop - to >= 16:
            # whole words, also beyond the end: what is too much is overwritten next
            _move_word(out, to, data, at)
            _move_word(out, to + 8, data, at + 8)
        else:
            _move(out, to, data, at, length)
        at += length
        to += length
        if at == end:
            return to == stop
        if end - at < 2:
            return False
        offset = np.int64(data[at]) | np.int64(data[at + 1]) << 8
        at += 2
        length = token & 15
        if length == 15:
            more = 255
            while more == 255:
                if at >= end:
                    return False
                more = np.int64(data[at])
                at += 1
                length += more
        length += 4
        if offset == 0 or offset > to - first or length > stop - to:
            return False
        source = to - offset
        done = 0
        if offset >= 8 and length <= 32 and length <= stop - to - 8:
            while done < length:
                _move_word(out, to + done, out, source + done)
                done += 8
        while done < length:
            # what overlaps repeats itself: each piece is twice as long as the one before
            part = min(offset + done, length - done)
            _move(out, to + done, out, source, part)
            done += part
        to += length
    return False


@numba.njit(**_OPTIONS)  # type: ignore[untyped-decorator]
def _swap(a: Any, b: Any, shift: Any, mask: Any) -> tuple[Any, Any]:
    """Exchange the upper part of each unit of ``a`` with the lower part of that of ``b``."""
    changed = ((a >> shift) ^ b) & mask
    return a ^ (changed << shift), b ^ changed


@numba.njit(**_OPTIONS)  # type: ignore[untyped-decorator]
def _transpose_bits(words: npt.NDArray[np.uint64], out: npt.NDArray[np.uint64], count: int) -> None:
    """Turn 8 planes of ``count`` words, one bit of every number each, into the numbers: bytes in order."""
    four, two, one = np.uint64(4), np.uint64(2), np.uint64(1)
    half, quarter, eighth = np.uint64(32), np.uint64(16), np.uint64(8)
    m4, m2, m1 = (
        np.uint64(0x0F0F0F0F0F0F0F0F), np.uint64(0x3333333333333333), np.uint64(0x5555555555555555),
    )  # fmt: skip
    m32, m16, m8 = (
        np.uint64(0x00000000FFFFFFFF), np.uint64(0x0000FFFF0000FFFF), np.uint64(0x00FF00FF00FF00FF),
    )  # fmt: skip
    for k in range(count):
        a, b, c, d = words[k], words[count + k], words[2 * count + k], words[3 * count + k]
        e, f, g, h = (
            words[4 * count + k], words[5 * count + k], words[6 * count + k], words[7 * count + k],
        )  # fmt: skip
        # bits among the planes: word j then holds number j of each eight
        a, e = _swap(a, e, four, m4)
        b, f = _swap(b, f, four, m4)
        c, g = _swap(c, g, four, m4)
        d, h = _swap(d, h, four, m4)
        a, c = _swap(a, c, two, m2)
        b, d = _swap(b, d, two, m2)
        e, g = _swap(e, g, two, m2)
        f, h = _swap(f, h, two, m2)
        a, b = _swap(a, b, one, m1)
        c, d = _swap(c, d, one, m1)
        e, f = _swap(e, f, one, m1)
        g, h = _swap(g, h, one, m1)
        # bytes among the words: word j then holds the j-th eight, in order
        a, e = _swap(a, e, half, m32)
        b, f = _swap(b, f, half, m32)
        c, g = _swap(c, g, half, m32)
        d, h = _swap(d, h, half, m32)
        a, c = _swap(a, c, quarter, m16)
        b, d = _swap(b, d, quarter, m16)
        e, g = _swap(e, g, quarter, m16)
        f, h = _swap(f, h, quarter, m16)
        a, b = _swap(a, b, eighth, m8)
        c, d = _swap(c, d, eighth, m8)
        e, f = _swap(e, f, eighth, m8)
        g, h = _swap(g, h, eighth, m8)
        at = 8 * k
        out[at], out[at + 1], out[at + 2], out[at + 3] = a, b, c, d
        out[at + 4], out[at + 5], out[at + 6], out[at + 7] = e, f, g, h


@numba.njit(**_OPTIONS)  # type: ignore[untyped-decorator]
def _unshuffle(
    shuffled: npt.NDArray[np.uint8],
    count: int,
    element: int,
    words: npt.NDArray[np.uint64],
    planes: npt.NDArray[np.uint64],
    out: npt.NDArray[np.uint8],
) -> None:
    """Put the bits of ``count`` numbers of ``element`` bytes back in order."""
    groups = count // 8
    whole = -(-groups // 8)
    room = words.view(np.uint8)
    for byte in range(element):
        for bit in range(8):
            begin = (8 * byte + bit) * groups
            _move(room, 8 * whole * bit, shuffled, begin, groups)
        _transpose_bits(words, planes[8 * whole * byte :], whole)
    numbers, step = planes.view(np.uint8), 64 * whole
    if element == 1:
        _move(out, 0, numbers, 0, count)
    elif element == 2:
        pairs = out.view(np.uint16)
        for k in range(count):
            pairs[k] = np.uint16(numbers[k]) | np.uint16(numbers[step + k]) << np.uint16(8)
    elif element == 4:
        fours = out.view(np.uint32)
        for k in range(count):
            fours[k] = (
                np.uint32(numbers[k])
                | np.uint32(numbers[step + k]) << np.uint32(8)
                | np.uint32(numbers[2 * step + k]) << np.uint32(16)
                | np.uint32(numbers[3 * step + k]) << np.uint32(24)
            )
    else:
        for byte in range(element):
            for k in range(count):
                out[k * element + byte] = numbers[step * byte + k]
