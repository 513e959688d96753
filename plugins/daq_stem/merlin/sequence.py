"""The sequence numbers of Merlin frames, and which frames are taken in what order."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from daq_stem.merlin.header import LEAD, MAGIC, FrameHeader, sequence_and_fixed

LARGEST_GAP = 1_000_000
"""More missing frames than this in one place is taken for a damaged header."""

NOT_ALIKE = -1
"""In the place of a number: this is no frame header, or one of another size or type."""


class NumberColumns:
    """Reads the numbers of many frame headers at once, where they stand as in the first header.

    Parameters
    ----------
    first
        The first frame header, as bytes.
    header
        What it says; other frames must be of the same size and type.
    """

    def __init__(self, first: bytes, header: FrameHeader) -> None:
        digits = len(first.split(b",", 2)[1])
        begin = len(MAGIC)
        self._digits = slice(begin, begin + digits)
        after = begin + digits
        alike = after + 1 + len(b",".join(header.fixed)) + 1
        self._around = np.r_[0:begin, after:alike]
        self._template = np.frombuffer(first[:alike], np.uint8)[self._around]
        self._powers = 10 ** np.arange(digits - 1, -1, -1, dtype=np.int64)
        self._fixed = header.fixed

    def numbers(self, headers: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
        """Return the number of each header, the rows [frame, byte]; `NOT_ALIKE` where it is none."""
        digits = headers[:, self._digits].astype(np.int64) - ord("0")
        numbers = digits @ self._powers
        good = (headers[:, self._around] == self._template).all(1)
        good &= ((digits >= 0) & (digits <= 9)).all(1)
        for row in np.flatnonzero(~good).tolist():
            numbers[row] = self._number(headers[row, :LEAD].tobytes())
        return numbers

    def _number(self, header: bytes) -> int:
        """Return the number of a header that is laid out in another way than the first."""
        try:
            number, fixed, _ = sequence_and_fixed(header)
        except ValueError:
            return NOT_ALIKE
        return number if fixed == self._fixed and number >= 0 else NOT_ALIKE


def in_order(
    numbers: npt.NDArray[np.int64], following: int
) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """Yield runs of numbers without a gap: the first number, and the positions of their frames.

    ``following`` is the number that comes next. A number below it, or below one that came before,
    is a repeat and in no run.
    """
    if not len(numbers):
        return
    highest = np.maximum.accumulate(np.concatenate(([following - 1], numbers[:-1])))
    positions = np.flatnonzero(numbers > highest)
    taken = numbers[positions]
    for run in np.split(positions, np.flatnonzero(np.diff(taken) != 1) + 1):
        if len(run):
            yield int(numbers[run[0]]), run
