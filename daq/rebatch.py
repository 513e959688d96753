"""Cuts a stream at fixed record boundaries, so that sums over a block do not depend on batching.

Floating-point sums, and matrix products most of all, round differently when they run over other
numbers of records. An analysis that needs the same bits however its input was batched works on
blocks: it sets `daq.Analysis.block`, and the runtime puts a `Rebatch` before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from daq.streams import Array, Batch


class Rebatch:
    """Cuts one stream at multiples of ``block`` records, counted by index.

    Every batch that comes out begins at a multiple of ``block`` and holds ``block`` records,
    except the first, if the stream was joined between two multiples, and the last.

    A block that lies within one incoming batch is a view of it; only what spans batches is
    copied. Held between two calls: the copied records of one unfinished block, so memory is
    below ``block * record_bytes``.

    Parameters
    ----------
    block
        Records per block, at least 1.
    """

    def __init__(self, block: int) -> None:
        if block < 1:
            raise ValueError(f"block is {block}: at least 1 record is needed")
        self.block = block
        self._held: _Block | None = None
        self._next: int | None = None

    @property
    def held(self) -> int:
        """Number of records that wait for the rest of their block."""
        return 0 if self._held is None else self._held.count

    def push(self, batch: Batch) -> list[Batch]:
        """Take the next batch and return the blocks that it completes, in order.

        The batch is numbered (``first`` is given). Raises ValueError if it is not, or does not
        follow on the last one.
        """
        if batch.first is None:
            raise ValueError(f"{batch!r} is not numbered: a block is found by index")
        if self._next is not None and batch.first != self._next:
            raise ValueError(f"{batch!r} does not follow on record {self._next - 1}")
        self._next = batch.first + batch.count
        blocks = []
        start = 0
        while start < batch.count:
            index = batch.first + start
            stop = min(batch.count, start + self.block - index % self.block)
            ends = (batch.first + stop) % self.block == 0
            piece = batch if stop - start == batch.count else batch.slice(start, stop)
            if ends and self._held is None:
                blocks.append(piece)
            else:
                if self._held is None:
                    self._held = _Block(piece, self.block - index % self.block)
                self._held.add(piece)
                if ends:
                    blocks.extend(self.flush())
            start = stop
        return blocks

    def flush(self) -> list[Batch]:
        """Return what is held, if anything: the last, unfinished block of a stream that ends."""
        held, self._held = self._held, None
        return [] if held is None else [held.batch()]


def rebatch(batches: Iterable[Batch], block: int) -> Iterator[Batch]:
    """Yield the records of one stream again, cut at multiples of ``block`` (see `Rebatch`)."""
    cutter = Rebatch(block)
    for batch in batches:
        yield from cutter.push(batch)
    yield from cutter.flush()


class _Block:
    """Memory for one block, filled from the front."""

    def __init__(self, like: Batch, size: int) -> None:
        self.first, self.stream, self.corrections = like.first, like.stream, like.corrections
        self.arrays: dict[str, Array] = {
            name: np.empty((size, *array.shape[1:]), array.dtype)
            for name, array in like.raw.items()
        }
        self.valid = np.empty(size, bool)
        self.count = 0

    def add(self, piece: Batch) -> None:
        stop = self.count + piece.count
        if piece.raw.keys() != self.arrays.keys():
            raise ValueError(f"{piece!r} has other fields than the batch before it")
        for name, array in self.arrays.items():
            if piece.raw[name].dtype != array.dtype:
                raise ValueError(f"{piece!r}: {name} has another dtype than in the batch before it")
            array[self.count : stop] = piece.raw[name]
        self.valid[self.count : stop] = piece.valid
        self.count = stop

    def batch(self) -> Batch:
        arrays = {name: array[: self.count] for name, array in self.arrays.items()}
        return Batch(self.stream, arrays, self.first, self.valid[: self.count], self.corrections)
