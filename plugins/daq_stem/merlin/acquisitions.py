"""Which index the frames of one acquisition after another get."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from daq_stem.merlin.sequence import LARGEST_GAP

WRAP = 1_000_000
"""Numbers have six digits: after 999999 they may begin at 0 again."""

BEYOND = -1
"""In the place of an index: a number that is in no frame of this acquisition."""


@dataclasses.dataclass
class Acquisitions:
    """Frame n of acquisition k, of N frames each, has the index ``k N + n - 1``.

    Where the number of frames is open, an acquisition begins after the last frame of the one before
    it, at a whole scan.

    Parameters
    ----------
    frames
        N, None where it is open.
    positions
        Of a scan; 1 where there is none.
    """

    frames: int | None
    positions: int = 1
    ordinal: int = -1
    """k of the present acquisition, -1 before the first one."""
    begin: int = 0
    """Index of its first frame."""
    base: int = 1
    """Number of its first frame."""
    following: int = 0
    """Index that comes next."""

    def next_acquisition(self, first_number: int) -> None:
        """Begin the next one; ``first_number`` is that of the first frame that came.

        The camera counts from 1, or on from the acquisition before. Where the number is 0, or can be of
        neither, it is taken for the number of the first frame.
        """
        on = self.base + (self.frames or 0)
        if self.ordinal >= 0:
            if self.frames is not None:
                self.begin += self.frames
            else:
                self.begin = -(-self.following // self.positions) * self.positions
        self.ordinal += 1
        self.base = 1
        if self.frames is not None and self.ordinal and on <= first_number < on + self.frames:
            self.base = on
        elif not 1 <= first_number <= (self.frames or LARGEST_GAP):
            self.base = first_number

    def indices(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the index of each frame by its number, `BEYOND` where there is none."""
        indices = numbers - self.base + self.begin
        if self.frames is None or self.frames + self.base > WRAP:
            turns = np.rint((self.following - indices) / WRAP).astype(np.int64)
            indices += np.where(numbers < WRAP, WRAP * np.maximum(turns, 0), 0)
        end = self.following + LARGEST_GAP if self.frames is None else self.begin + self.frames
        return np.where((indices >= self.begin) & (indices < end), indices, BEYOND)

    @property
    def came(self) -> int:
        """Frames of the present acquisition up to the last one that came."""
        return max(0, self.following - self.begin) if self.ordinal >= 0 else 0

    @property
    def whole(self) -> bool:
        """Whether the last frame of the present acquisition has come."""
        return self.frames is not None and self.ordinal >= 0 and self.came >= self.frames
