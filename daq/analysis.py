"""The analysis interface: streams in, streams out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from daq.config import Config as BaseConfig
from daq.streams import Batch, Stream


class Analysis:
    """Takes streams, gives streams.

    What an analysis gives depends on the records and on `reconfigure` alone: never on how the
    records were cut into batches, on the order between streams, or on the clock. `daq.testing`
    checks that. A plugin subclasses this, and returns the class from the hook ``daq_analyses``.
    """

    name: ClassVar[str] = ""
    """What ``type = "..."`` in the configuration calls it."""

    split_axes: ClassVar[tuple[str, ...]] = ()
    """Axes along which records may be split over several instances, see `merge`."""

    block: ClassVar[int | None] = None
    """If set, `process` gets batches cut at multiples of this many records (the last may be shorter)."""

    class Config(BaseConfig):
        """What the configuration may say, with units."""

    def open(self, streams: Mapping[str, Stream], config: Any) -> Sequence[Stream]:
        """Take the description of each input stream, by name, and return the streams to be given.

        Names of the returned streams are short (``maps``); the runtime prefixes the analysis's
        own (``ecm.maps``). Raise ValueError, in one clear line, where the input does not fit.
        """
        raise NotImplementedError

    def process(self, batch: Batch) -> Iterable[Batch]:
        """Take the next records of ``batch.stream``; return any number of batches.

        Returned batches are numbered by the runtime and carry the ``time`` of what they rest on.
        Arrays of ``batch`` are read-only and valid until the last returned batch was taken.
        """
        raise NotImplementedError

    def ended(self, stream: str) -> Iterable[Batch]:
        """One input has ended, others may go on: return what was waiting for it (optional)."""
        return ()

    def close(self) -> Iterable[Batch]:
        """All inputs have ended: return the last batches."""
        return ()

    def reconfigure(self, config: Any) -> None:
        """Change parameters from the next record on (optional)."""
        raise NotImplementedError(f"{self.name} cannot be reconfigured while it runs")

    def merge(self, other: Analysis) -> None:
        """Take over what ``other`` has found in its part of a split stream (optional)."""
        raise NotImplementedError(f"{self.name} cannot be split")

    @classmethod
    def memory(cls, streams: Mapping[str, Stream], config: Any) -> int:
        """Return the memory that the analysis will need, in bytes, as a formula of its input."""
        return sum(stream.record_bytes for stream in streams.values())
