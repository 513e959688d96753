"""Ways to cut streams into batches and to interleave them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from daq.testing.records import Records

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy


@dataclasses.dataclass(frozen=True)
class Batching:
    """In which pieces and in which order the records of all inputs arrive.

    ``pieces`` holds ``(stream, start, stop)``; ``how`` says in words where it comes from.
    """

    pieces: tuple[tuple[str, int, int], ...]
    how: str

    def __str__(self) -> str:
        several = len({stream for stream, _, _ in self.pieces}) > 1
        sizes = [
            f"{stream} {stop - start}" if several else str(stop - start)
            for stream, start, stop in self.pieces[:12]
        ]
        more = ", ..." if len(self.pieces) > 12 else ""
        return f"{self.how}: batches of {', '.join(sizes)}{more} records"

    def __repr__(self) -> str:
        return f"<Batching {self}>"


def whole(inputs: Mapping[str, Records]) -> Batching:
    """Return the batching with each input in one batch, one input after the other."""
    pieces = [(name, 0, len(records)) for name, records in inputs.items()]
    return Batching(tuple(pieces), "one batch for each input")


def one_by_one(inputs: Mapping[str, Records]) -> Batching:
    """Return the batching with every record in a batch of its own, one input after the other."""
    pieces = [
        (name, index, index + 1)
        for name, records in inputs.items()
        for index in range(len(records))
    ]
    return Batching(tuple(pieces), "record by record")


def random_batching(
    inputs: Mapping[str, Records], seed: int, *, interleaved: bool = False
) -> Batching:
    """Return a batching with random sizes; inputs one after the other, or randomly interleaved."""
    rng = np.random.default_rng(seed)
    cut: dict[str, list[tuple[str, int, int]]] = {}
    for name, records in inputs.items():
        # Mean sizes differ from seed to seed, from single records to nearly the whole.
        mean = max(1.0, len(records) ** rng.uniform(0.0, 1.0))
        at, pieces = 0, []
        while at < len(records):
            stop = min(len(records), at + int(rng.geometric(1.0 / mean)))
            pieces.append((name, at, stop))
            at = stop
        cut[name] = pieces
    if not interleaved:
        ordered = [piece for pieces in cut.values() for piece in pieces]
        return Batching(tuple(ordered), f"seed {seed}")
    turns = [name for name, pieces in cut.items() for _ in pieces]
    order = [turns[i] for i in rng.permutation(len(turns))]
    waiting = {name: iter(pieces) for name, pieces in cut.items()}
    return Batching(tuple(next(waiting[name]) for name in order), f"interleaved, seed {seed}")


def reversed_inputs(inputs: Mapping[str, Records]) -> Batching:
    """Return the batching with each input in one batch, the last input first."""
    pieces = tuple(reversed(whole(inputs).pieces))
    return Batching(pieces, "inputs in reverse order")


def batchings(
    inputs: Mapping[str, Records] | Records, *, interleaved: bool = True
) -> SearchStrategy[Batching]:
    """Return a hypothesis strategy of batchings, which shrinks to one batch for each input.

    Use it with `daq.testing.run_batched` for properties of your own.
    """
    from hypothesis import strategies as st

    streams = {inputs.name: inputs} if isinstance(inputs, Records) else dict(inputs)

    @st.composite
    def batching(draw: Any) -> Batching:
        waiting: dict[str, list[tuple[str, int, int]]] = {}
        for name, records in streams.items():
            inner = st.integers(1, max(1, len(records) - 1))
            marks = sorted(draw(st.sets(inner, max_size=max(0, len(records) - 1))))
            edges = [0, *(mark for mark in marks if mark < len(records)), len(records)]
            waiting[name] = [(name, a, b) for a, b in itertools.pairwise(edges) if b > a]
        pieces = []
        while left := [name for name, rest in waiting.items() if rest]:
            name = draw(st.sampled_from(left)) if interleaved and len(left) > 1 else left[0]
            pieces.append(waiting[name].pop(0))
        return Batching(tuple(pieces), "drawn by hypothesis")

    return batching()
