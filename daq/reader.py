"""The reader interface: a foreign file as streams."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from daq.config import Config as BaseConfig
from daq.streams import Batch, Missing, Stream


class Reader:
    """Reads one kind of file. A plugin returns the class from the hook ``daq_readers``."""

    name: ClassVar[str] = ""
    """Short name of the format."""

    suffixes: ClassVar[tuple[str, ...]] = ()
    """Endings of the files that it reads, with the dot, lower case."""

    class Config(BaseConfig):
        """What ``[sources.NAME]`` with ``type = "file"`` may say besides ``path``."""

    def open(self, path: Path, config: Any) -> Sequence[Stream]:
        """Open the file and describe its streams; raise ValueError in one clear line if it is bad."""
        raise NotImplementedError

    def batches(self, start: dict[str, int]) -> Iterator[Batch | Missing]:
        """Yield the records of every stream, from ``start`` on (see `daq.Source.batches`)."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the file."""
