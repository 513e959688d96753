"""Which reader reads a file: by its ending, and where several have that, by its beginning."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from daq.config import nearest
from daq.reader import Reader


class UnknownFormatError(ValueError):
    """No reader has the ending of the file."""


class Readers:
    """The readers that files are asked of.

    Parameters
    ----------
    readers
        By name; by default those of all plugins.
    """

    def __init__(self, readers: Mapping[str, type[Reader]] | None = None) -> None:
        self._failed = ""
        if readers is None:
            from daq.discovery import Plugins

            plugins = Plugins.load()
            readers = plugins.readers
            # the reader may be one of a plugin that failed
            self._failed = "".join(
                f"; plugin {name} failed: {why}" for name, why in plugins.failed.items()
            )
        self._readers = readers

    def named(self, name: str) -> type[Reader]:
        """Return the reader of that name; raise ValueError with the nearest one."""
        if name not in self._readers:
            raise ValueError(f"no reader {name!r}{nearest(name, self._readers)}{self._failed}")
        return self._readers[name]

    def have_ending(self, path: Path) -> bool:
        """Tell whether any reader has the ending of a file, or of a folder that is one."""
        name = path.name.lower()
        return any(
            name.endswith(suffix) for reader in self._readers.values() for suffix in reader.suffixes
        )

    def reader_for(self, path: Path) -> type[Reader]:
        """Return the reader that knows the ending of a file, the longest one best.

        Where several have it, their `daq.Reader.knows` decides. Raises `UnknownFormatError` where
        none has it, and ValueError where the choice is left to the configuration.
        """
        ending = path.name.lower()
        fits = {
            name: max(len(suffix) for suffix in reader.suffixes if ending.endswith(suffix))
            for name, reader in self._readers.items()
            if any(ending.endswith(suffix) for suffix in reader.suffixes)
        }
        # of .tar.gz and .gz the longer one knows better
        best = sorted(name for name, length in fits.items() if length == max(fits.values()))
        if not best:
            known = {suffix for reader in self._readers.values() for suffix in reader.suffixes}
            raise UnknownFormatError(
                f"{path.name}: no plugin reads files ending in {path.suffix!r}"
                f"{nearest(path.suffix, known)}{self._failed}"
            )
        if len(best) > 1:
            knowing = [name for name in best if self._readers[name].knows(path)]
            if not knowing:
                raise ValueError(
                    f"{path.name}: none of {', '.join(best)} knows how it begins; if it is one of "
                    f"them, say format = {best[0]!r} (or another)"
                )
            best = knowing
        if len(best) > 1:
            raise ValueError(f"{path.name}: say format = {' or '.join(map(repr, best))}")
        return self._readers[best[0]]
