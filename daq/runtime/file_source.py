"""The source type ``file``: a foreign file, read by the reader that knows its ending.

An archive is a folder here: ``recording.zip/frames.mib`` is the member ``frames.mib``. The member
is extracted to a temporary folder, with the members beside it that differ in their ending only
(readers look for ``frames.hdr``, say), and removed when the source closes. A folder whose ending a
reader has (``series.zarr``) is given to that reader.
"""

from __future__ import annotations

import shutil
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pydantic

from daq.config import Config as BaseConfig
from daq.config import nearest, setting, validated
from daq.reader import Reader
from daq.runtime.readers import Readers
from daq.source import Source
from daq.streams import Batch, Missing, Stream


class FileSource(Source):
    """Reads one file; its streams are those of the reader.

    Keys that are not listed here go to the reader, and are checked by its own `Config`.

    Parameters
    ----------
    readers
        By name; by default those of all plugins.
    """

    name = "file"

    class Config(BaseConfig):
        """What ``[sources.NAME]`` with ``type = "file"`` may say, besides the reader's own keys."""

        model_config = pydantic.ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

        path: Path = setting(..., "", "of the file, or archive.zip/member")
        format: str | None = setting(
            None, "", "name of the reader; by default the one that knows the file's ending"
        )
        rate: float = setting(
            0.0, "1/s", "records per second of a stream; 0: as fast as it goes", ge=0
        )
        batch: int = setting(64, "", "records that travel together, at most", ge=1, le=65536)

    def __init__(self, readers: Mapping[str, type[Reader]] | None = None) -> None:
        super().__init__()
        self._readers = readers
        self._reader: Reader | None = None
        self._folder: Path | None = None

    def open(self, config: Any) -> Sequence[Stream]:
        """Find the file and its reader, and open it; ValueError or OSError in one clear line."""
        self._config = config
        readers = Readers(self._readers)
        path = config.path.expanduser()
        if not (path.is_dir() and (config.format or readers.have_ending(path))):
            path = self._locate(path)
        reader_class = readers.named(config.format) if config.format else readers.reader_for(path)
        options = validated(reader_class.Config, dict(config.model_extra or {}), "")
        self._reader = reader_class()
        return self._reader.open(path, options)

    def batches(self, start: Mapping[str, int]) -> Iterator[Batch | Missing]:
        """Yield what the reader gives, in batches of at most ``batch`` records, at ``rate``."""
        assert self._reader is not None
        began = time.monotonic()
        given: dict[str, int] = {}
        for item in self._reader.batches(dict(start)):
            pieces: Iterator[Batch | Missing] = iter((item,))
            if isinstance(item, Batch):
                pieces = (
                    item.slice(first, min(first + self._config.batch, len(item)))
                    for first in range(0, len(item), self._config.batch)
                )
            for piece in pieces:
                count = given[piece.stream] = given.get(piece.stream, 0) + piece.count
                if self._config.rate and self.context.wait_until(began + count / self._config.rate):
                    return
                if self.context.stopping:
                    return
                yield piece

    def close(self) -> None:
        """Close the reader and remove what was extracted."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _locate(self, path: Path) -> Path:
        """Return the file, extracted first where it is the member of an archive."""
        if path.is_file() and path.suffix.lower() != ".zip":
            return path
        for archive in (path, *path.parents):
            if archive.suffix.lower() == ".zip" and archive.is_file():
                return self._extract(archive, path.relative_to(archive).as_posix())
        if path.is_dir():
            raise ValueError(f"{path} is a folder; give a file")
        there = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        hint = nearest(path.name, there) if there else ""
        raise FileNotFoundError(f"{path}: no such file{hint if 'mean' in hint else ''}")

    def _extract(self, archive: Path, member: str) -> Path:
        try:
            with zipfile.ZipFile(archive) as content:
                members = {info.filename: info for info in content.infolist() if not info.is_dir()}
                if member not in members:
                    shown = "" if member == "." else f" no {member!r}"
                    raise ValueError(
                        f"{archive} holds{shown or ' several files'}"
                        f"{nearest(member, members)}; write {archive.name}/MEMBER"
                    )
                self._folder = Path(tempfile.mkdtemp(prefix="glasswatch-"))
                stem = PurePosixPath(member).with_suffix("")
                beside = [
                    info
                    for name, info in members.items()
                    if PurePosixPath(name).with_suffix("") == stem
                ]
                needed = sum(info.file_size for info in beside)
                if needed > shutil.disk_usage(self._folder).free:
                    raise ValueError(
                        f"{archive}: {needed / 1e6:.0f} MB are too much for {self._folder.parent}; "
                        "set TMPDIR to a larger disk, or extract it yourself"
                    )
                for info in beside:
                    # the name within our folder is the last part alone: no path from an archive
                    target = self._folder / PurePosixPath(info.filename).name
                    with content.open(info) as source, target.open("wb") as sink:
                        shutil.copyfileobj(source, sink, 1 << 20)
                return self._folder / PurePosixPath(member).name
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
            raise ValueError(f"{archive}: cannot be read as a zip archive: {error}") from None
