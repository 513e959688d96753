"""The reader interface: a foreign file as streams."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from daq.config import Config as BaseConfig
from daq.streams import Batch, Missing, Stream


class Reader:
    """Reads one kind of file. A plugin returns the class from the hook ``daq_readers``.

    `name`, `open` and `batches` are needed. The rest is for files that are not alone with their
    ending (`knows`), and for a watched folder: files that are there before they are whole
    (`ready`), that are read while the instrument appends to them (`grows`, `more`), and whose
    records are counted on from file to file (`counters`).
    """

    name: ClassVar[str] = ""
    """Short name of the format."""

    suffixes: ClassVar[tuple[str, ...]] = ()
    """Endings of the files that it reads, with the dot, lower case."""

    grows: ClassVar[bool] = False
    """Whether `more` gives what was appended to a file since it was opened."""

    counters: ClassVar[tuple[str, ...]] = ()
    """Integer fields that begin at 0 in every file and never fall within one (``sample``,
    ``segment``): a watched folder counts them on from file to file."""

    class Config(BaseConfig):
        """What ``[sources.NAME]`` with ``type = "file"`` or ``"folder"`` may say for this reader."""

    @classmethod
    def knows(cls, path: Path) -> bool:
        """Tell from the beginning of a file whether it is of this format.

        Asked only where several readers have its ending. It raises nothing but OSError.
        """
        return True

    @classmethod
    def ready(cls, path: Path) -> bool:
        """Tell whether the file holds enough for `open`, as far as its content shows.

        A watched folder asks before it opens a file: of a file that `grows`, whether its head is
        there; of any other, whether it has its end. It is quick, and raises nothing but OSError.
        """
        return True

    def open(self, path: Path, config: Any) -> Sequence[Stream]:
        """Open the file and describe its streams; raise ValueError in one clear line if it is bad."""
        raise NotImplementedError

    def batches(self, start: dict[str, int]) -> Iterator[Batch | Missing]:
        """Yield the records of every stream, from ``start`` on (see `daq.Source.batches`).

        The file is whole: an end that is cut off raises ValueError after the whole records.
        """
        raise NotImplementedError

    def more(self, start: dict[str, int]) -> Iterator[Batch | Missing]:
        """Yield the whole records from ``start`` on that the file holds now; for `grows` only.

        Called again and again while the file is appended to; an unfinished last record is left
        for the next call. `batches` is called once, at the end, when the file grows no more.
        Raises ValueError where what was read before has changed.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Close the file."""
