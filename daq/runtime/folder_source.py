"""The source type ``folder``: files are read as they arrive, one after the other, as one series."""

from __future__ import annotations

import dataclasses
import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pydantic

from daq.config import Config as BaseConfig
from daq.config import ConfigError, setting, validated
from daq.reader import Reader
from daq.runtime.arrivals import Arrival, Arrivals, Order
from daq.runtime.folder_memory import FolderMemory, TakenFile
from daq.runtime.readers import Readers
from daq.source import Source
from daq.streams import Batch, Field, Missing, Stream, check_batch

log = logging.getLogger("folder")

FILES: Final = "files"
"""Name of the stream that says what became of each file."""

TEXT: Final = {"name": 256, "status": 8, "reason": 400, "attributes": 2048}
"""Texts of the stream ``files``, and the bytes that they may have."""


class FolderSource(Source):
    """Watches a folder; what its files hold follows on each other in the same streams.

    Files are taken whole, one after the other, in the order in which they can be opened (see
    `daq.runtime.arrivals.Arrivals`); ``order`` decides among those that can be opened at the same
    moment. One that grows is read as it grows, until it has not changed for ``settle`` seconds and
    another file waits, or the end has come. The first file that can be read says what the streams
    are. A file that gives others, or that cannot be read, is refused; one that is damaged further
    on, or ends in the middle of a record, is cut: what was whole before that stays. Both are named
    in the log and in the stream ``files``, and the rest goes on. Files without a reader are passed
    over, so are those that change after they were taken.

    Records are numbered on. So are the fields that the reader calls `daq.Reader.counters`. The
    attributes of the streams are those of the first file; what differs in another stands in
    ``files``, which has one record for each file: ``name``, ``status`` (taken, cut, refused, or
    stopped with the run),
    ``reason``, ``first`` and ``count`` by stream (in the order of its attribute ``streams``),
    ``size`` in bytes, ``attributes`` as JSON; its time is that of the file's last change.

    Ends after ``count`` files, after ``quiet`` seconds without anything new, when a file
    ``stop_name`` is there and everything else is taken, or when the run is ended. A source that is
    killed and restarted within the run goes on where it was. Keys that are not listed here go to
    the readers.

    Parameters
    ----------
    readers
        By name; by default those of all plugins.
    """

    name = "folder"

    class Config(BaseConfig):
        """What ``[sources.NAME]`` with ``type = "folder"`` may say, besides the readers' own keys."""

        model_config = pydantic.ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

        path: Path = setting(..., "", "of the folder")
        pattern: str = setting("*", "", "names of the files, such as *.ibw", min_length=1)
        format: str | None = setting(
            None, "", "name of the reader; by default the one that knows the file"
        )
        order: Order = setting(
            "name", "", 'of files that are there at the same moment: by "name" or "time" of change'
        )
        existing: bool = setting(True, "", "take files that are there when the run begins")
        settle: float = setting(
            1.0, "s", "a file that has not changed for so long is whole", ge=0, le=3600
        )
        look: float = setting(0.2, "s", "time between two looks at the folder", gt=0, le=60)
        count: int | None = setting(None, "", "end after so many files", ge=1)
        quiet: float | None = setting(
            None, "s", "end when nothing has come or changed for so long", gt=0
        )
        finished: float = setting(
            60.0, "s", "with count: the last file grows no more when unchanged for so long", gt=0
        )
        stop_name: str | None = setting(
            None, "", "end when a file of this name is there and the others are taken"
        )
        batch: int = setting(64, "", "records that travel together, at most", ge=1, le=65536)

    def __init__(self, readers: Mapping[str, type[Reader]] | None = None) -> None:
        super().__init__()
        self._given_readers = readers
        self._current: _OpenFile | None = None
        self._next: _OpenFile | None = None
        self._streams: dict[str, Stream] = {}

    # -- the interface of a source --------------------------------------------------------------

    def open(self, config: Any) -> Sequence[Stream]:
        """Wait for the first file that can be read, and return its streams and ``files``.

        Returns nothing where the run is ended before. Raises ValueError where there is no such
        folder, the readers do not know a key, or no file came until the end.
        """
        self._config = config
        self._folder = config.path.expanduser().absolute()
        if not self._folder.is_dir():
            raise ValueError(f"{config.path}: no such folder; make it, or correct the path")
        if config.stop_name is not None and Path(config.stop_name).name != config.stop_name:
            raise ValueError(f"stop_name: {config.stop_name!r} is not the name of a file")
        self._readers = Readers(self._given_readers)
        if config.format is not None:
            self._options(self._readers.named(config.format))
        self._memory = FolderMemory(self.context.memory)
        if self._memory.passed_over is None:
            there = [] if config.existing else [path.name for path in self._folder.iterdir()]
            self._memory.pass_over(there)
        known = {file.name for file in self._memory.files} | (self._memory.passed_over or set())
        self._arrivals = Arrivals(
            self._folder, config.pattern, self._reader_for, config.settle, config.order,
            known | {config.stop_name or ""},
        )  # fmt: skip
        self._taken = sum(file.status != "refused" for file in self._memory.files)
        self._unsaid = 0
        while self._memory.streams is None:
            self._look()
            if self._next is not None:
                break
            if self._over():
                self._end_waiting()
                raise ValueError(self._nothing_came())
            if self.context.wait(config.look):
                return []
        streams = self._memory.streams or []
        self._streams = {stream.name: stream for stream in streams}
        return [*streams, _files_stream(streams)]

    def batches(self, start: Mapping[str, int]) -> Iterator[Batch | Missing]:
        """Yield the records of the files, and a record of ``files`` for each that is over."""
        self._start = dict(start)
        yield from self._again()
        while not self.context.stopping:
            if self._current is not None:
                yield from self._read(self._current)
            elif self._next is not None:
                self._begin(self._next)
            elif self._over():
                break
            else:
                self.context.wait(self._config.look)
            if self._current is None:
                self._look()
            yield from self._say_files()
        self._end_waiting()
        yield from self._say_files()

    def close(self) -> None:
        """Close the files that are open."""
        for opened in (self._current, self._next):
            if opened is not None:
                opened.reader.close()
        self._current = self._next = None

    # -- which file comes next ------------------------------------------------------------------

    def _reader_for(self, path: Path) -> type[Reader]:
        if self._config.format is not None:
            return self._readers.named(self._config.format)
        return self._readers.reader_for(path)

    def _options(self, reader: type[Reader]) -> Any:
        return validated(reader.Config, dict(self._config.model_extra or {}), "")

    def _look(self) -> None:
        """Open the next file that can be opened and fits, if there is one; refuse what does not."""
        if self._next is not None or self._enough():
            return
        if time.monotonic() - self._arrivals.looked >= self._config.look:
            self._arrivals.look()
        while self._next is None and not self.context.stopping:
            arrival = self._arrivals.ready()
            if arrival is None:
                return
            try:
                if arrival.reader is None:
                    raise ValueError(arrival.problem)
                self._next = self._opened(arrival.path, arrival.reader)
            except ConfigError as error:
                if self._memory.streams is None:
                    raise  # A key that no reader knows: every file would be refused for it.
                self._refuse(arrival, str(error))
            except OSError as error:
                if not arrival.try_again():
                    self._refuse(arrival, str(error))
            except ValueError as error:
                if arrival.whole:
                    self._refuse(arrival, str(error))
                else:
                    arrival.is_unready()  # A file that grows: more of it may be needed.
            else:
                self._arrivals.take(arrival.path.name)
                self._next.file.size, self._next.file.modified = arrival.version
                self._next.since = arrival.since

    def _opened(self, path: Path, reader_class: type[Reader]) -> _OpenFile:
        """Open a file and check that its streams are those of the first, or keep them as such."""
        options = self._options(reader_class)
        reader = reader_class()
        try:
            streams = {stream.name: stream for stream in reader.open(path, options)}
            if FILES in streams:
                raise ValueError(f"{path.name}: a reader may not call a stream {FILES!r}")
            if self._memory.streams is None:
                self._memory.keep_streams(
                    [dataclasses.replace(stream, expect=None) for stream in streams.values()]
                )
            first = {stream.name: stream for stream in self._memory.streams or ()}
            if difference := _difference(first, streams):
                raise ValueError(f"{path.name}: does not fit the first file: {difference}")
        except BaseException:
            reader.close()
            raise
        file = TakenFile(path.name)
        for name, stream in streams.items():
            file.attributes |= {
                key: value
                for key, value in stream.attributes.items()
                if first[name].attributes.get(key) != value
            }
        return _OpenFile(file, reader, first)

    def _begin(self, opened: _OpenFile) -> None:
        """Say where the records of a file begin, now that those before it are over."""
        file = opened.file
        file.first = dict.fromkeys(self._streams, 0)
        file.count = dict.fromkeys(self._streams, 0)
        if (before := self._before()) is not None:
            file.first = {name: first + before.count[name] for name, first in before.first.items()}
            file.last = {name: dict(last) for name, last in before.last.items()}
        file.offsets = {
            name: {field: last + 1 for field, last in values.items()}
            for name, values in file.last.items()
        }
        self._taken += 1
        self._memory.begin(file)
        self._current, self._next = opened, None

    def _before(self) -> TakenFile | None:
        """Return the last file that was taken."""
        return next((f for f in reversed(self._memory.files) if f.status != "refused"), None)

    def _refuse(self, arrival: Arrival, reason: str) -> None:
        self._arrivals.take(arrival.path.name)
        size, modified = arrival.version
        file = TakenFile(arrival.path.name, "refused", reason, size, modified)
        log.warning("refused: %s", _named(file))
        self._memory.end(file)

    # -- the end --------------------------------------------------------------------------------

    def _enough(self) -> bool:
        """Tell whether no other file is to be taken after those begun."""
        return self._config.count is not None and self._taken >= self._config.count

    def _quiet(self) -> bool:
        limit = self._config.quiet
        return limit is not None and time.monotonic() - self._arrivals.changed > limit

    def _stop_file(self) -> bool:
        name = self._config.stop_name
        return name is not None and (self._folder / name).exists()

    def _over(self) -> bool:
        """Tell whether nothing more is to be taken; nothing is ready now."""
        if self._enough():
            return True
        if not (self._quiet() or self._stop_file()):
            return False
        self._arrivals.look()  # What came before the stop file is taken.
        return (self._quiet() or self._stop_file()) and not self._arrivals.pending()

    def _end_waiting(self) -> None:
        """Refuse what has been waited for in vain; what came too late is left without a word."""
        if self._enough() or self.context.stopping:
            return
        for arrival in self._arrivals.waiting():
            if arrival.unready is not None:
                self._refuse(arrival, "its end did not come")

    def _nothing_came(self) -> str:
        why = f"within {self._config.quiet:g} s" if self._quiet() else "before the stop file"
        refused = [_named(file) for file in self._memory.files]
        more = f"; refused: {refused[0]}" if refused else ""
        return (
            f"{self._config.path}: no file {self._config.pattern} that can be read came {why}{more}"
        )

    # -- reading --------------------------------------------------------------------------------

    def _again(self) -> Iterator[Batch | Missing]:
        """Give what an earlier life took and the bus lacks, and go on with its last file."""
        for file in list(self._memory.files):
            lacking = any(
                self._start.get(name, 0) < first + file.count[name]
                for name, first in file.first.items()
            )
            if file.status == "refused" or not (lacking or file.status == "begun"):
                continue
            try:
                opened = self._opened_again(file)
            except (ValueError, OSError) as error:
                yield from self._lost(file, str(error))
                continue
            if file.status == "begun":
                self._current = opened
            else:
                yield from self._read_again(opened)

    def _opened_again(self, file: TakenFile) -> _OpenFile:
        path = self._folder / file.name
        if not path.exists():
            raise FileNotFoundError(f"{file.name}: has gone from the folder")
        opened = self._opened(path, self._reader_for(path))
        return _OpenFile(file, opened.reader, self._streams)

    def _read_again(self, opened: _OpenFile) -> Iterator[Batch | Missing]:
        """Give the records of a file that was over before, as many as there were."""
        whole = dict(opened.file.count)
        local = self._local(opened.file)
        try:
            for item in opened.reader.batches(dict(local)):
                for piece in opened.give(item, local, self._start, self._config.batch, whole):
                    yield piece
                    if self.context.stopping:
                        return
        except (ValueError, OSError) as error:
            yield from self._lost(opened.file, str(error), local)
        finally:
            opened.reader.close()

    def _lost(
        self, file: TakenFile, reason: str, local: Mapping[str, int] | None = None
    ) -> Iterator[Missing]:
        """Declare what was taken from a file and cannot be read again."""
        log.warning("%s: cannot be read again: %s", file.name, reason)
        if file.status == "begun":
            for name, first in file.first.items():
                file.count[name] = max(0, self._start.get(name, 0) - first)
            self._end(file, "cut", reason)
            return
        for name, count in file.count.items():
            done = max((local or {}).get(name, 0), self._start.get(name, 0) - file.first[name], 0)
            if done < count:
                yield Missing(name, count - done, reason[:200], file.first[name] + done)

    def _local(self, file: TakenFile) -> dict[str, int]:
        """Return where to begin in a file: one record early, which tells where its counters are."""
        if self.context.memory is None:
            return dict.fromkeys(file.first, 0)
        return {
            name: max(0, self._start.get(name, 0) - first - 1)
            for name, first in file.first.items()
        }  # fmt: skip

    def _read(self, opened: _OpenFile) -> Iterator[Batch | Missing]:
        """Give the records of a file to its end."""
        local = self._local(opened.file)
        status, reason = "taken", ""
        try:
            if opened.reader.grows:
                yield from self._follow(opened, local)
            if not self.context.stopping:
                yield from self._items(opened, opened.reader.batches(dict(local)), local)
        except (ValueError, OSError) as error:
            status, reason = "cut", str(error)
        finally:
            opened.reader.close()
            self._current = None
            self._arrivals.changed = time.monotonic()
        if self.context.stopping:
            status, reason = "stopped", "the run was ended while it was read"
        self._end(opened.file, status, reason)

    def _follow(self, opened: _OpenFile, local: dict[str, int]) -> Iterator[Batch | Missing]:
        """Give what is appended to a file until it is over."""
        path, config = self._folder / opened.file.name, self._config
        version, since = None, opened.since
        while not self.context.stopping:
            try:
                status = path.stat()
            except OSError:
                if self._folder.is_dir():
                    raise
                self.context.wait(config.look)  # A network drive that is away.
                continue
            now = (status.st_size, status.st_mtime_ns)
            if version != now:
                if now != (opened.file.size, opened.file.modified):
                    self._arrivals.changed = since = time.monotonic()
                version = opened.file.size, opened.file.modified = now
                yield from self._items(opened, opened.reader.more(dict(local)), local)
                continue
            self._look()
            yield from self._say_files()
            unchanged = time.monotonic() - since
            if unchanged >= config.settle and (
                self._next is not None
                or self._quiet()
                or self._stop_file()
                or (self._enough() and unchanged >= config.finished)
            ):
                return
            self.context.wait(config.look)

    def _items(
        self, opened: _OpenFile, items: Iterator[Batch | Missing], local: dict[str, int]
    ) -> Iterator[Batch | Missing]:
        for item in items:
            for piece in opened.give(item, local, self._start, self._config.batch):
                yield piece
                if self.context.stopping:
                    return

    def _end(self, file: TakenFile, status: Any, reason: str) -> None:
        file.status, file.reason = status, reason
        if status == "cut":
            log.warning("cut: %s", _named(file))
        elif not any(file.count.values()):
            log.warning("%s: holds no records", file.name)
        self._memory.end(file)

    def _say_files(self) -> Iterator[Batch]:
        """Give a record of ``files`` for each file that is over and not yet told of."""
        over = self._memory.over
        for number in range(self._unsaid, len(over)):
            if number >= self._start.get(FILES, 0):
                yield _files_record(over[number], list(self._streams), number)
        self._unsaid = len(over)


class _OpenFile:
    """A file that is being read, and how far."""

    def __init__(self, file: TakenFile, reader: Reader, streams: Mapping[str, Stream]) -> None:
        self.file = file
        self.reader = reader
        self.since = time.monotonic()
        """When it was seen to have its present size and time of change."""
        self._streams = streams

    def give(
        self, item: Batch | Missing, local: dict[str, int], start: Mapping[str, int], most: int,
        whole: Mapping[str, int] | None = None,
    ) -> Iterator[Batch | Missing]:  # fmt: skip
        """Yield what the bus lacks of an item, numbered on, in batches of at most ``most`` records.

        ``local`` is moved on; ``whole`` is how many records of the file there are, where known.
        """
        name = item.stream
        stream = self._streams.get(name)
        if stream is None:
            raise ValueError(f"{self.file.name}: the stream {name!r} was not opened")
        begin = local[name] if item.first is None else item.first
        end = begin + item.count
        if whole is not None:
            end = min(end, whole[name])
        first = self.file.first[name]
        lacking = max(begin, local[name], start.get(name, 0) - first)
        if isinstance(item, Missing):
            pieces: list[Batch | Missing] = []
            if lacking < end:
                pieces.append(Missing(name, end - lacking, item.reason, first + lacking))
        else:
            batch = check_batch(stream, Batch(name, item.raw, begin, item.valid))
            batch = self._counted_on(batch.slice(0, max(0, end - begin)))
            pieces = []
            for at in range(lacking, end, most):
                piece = batch.slice(at - begin, min(at + most, end) - begin)
                piece.first = first + at
                pieces.append(piece)
        local[name] = max(local[name], end)
        if whole is None:
            self.file.count[name] = max(self.file.count[name], local[name])
        yield from pieces

    def _counted_on(self, batch: Batch) -> Batch:
        offsets = self.file.offsets.get(batch.stream, {})
        last = self.file.last.setdefault(batch.stream, {})
        for field in self.reader.counters:
            values = batch.raw.get(field)
            if values is None or not len(batch):
                continue
            if offset := offsets.get(field, 0):
                values = batch.raw[field] = values + values.dtype.type(offset)
            last[field] = max(last.get(field, -1), int(values.max()))
        return batch


def _files_stream(streams: Sequence[Stream]) -> Stream:
    per_stream = (len(streams),)
    return Stream(
        FILES,
        {
            "name": Field(f"|S{TEXT['name']}", long_name="of the file"),
            "status": Field(f"|S{TEXT['status']}", long_name="taken, cut, refused or stopped"),
            "reason": Field(f"|S{TEXT['reason']}", long_name="why it is cut or refused"),
            "first": Field("<i8", per_stream, "", "index of its first record, by stream"),
            "count": Field("<i8", per_stream, "", "records taken from it, by stream"),
            "size": Field("<i8", (), "byte", "of the file"),
            "attributes": Field(
                f"|S{TEXT['attributes']}", long_name="JSON: what differs from the first file"
            ),
        },
        attributes={"streams": [stream.name for stream in streams]},
    )


def _files_record(file: TakenFile, streams: Sequence[str], number: int) -> Batch:
    attributes = dict(file.attributes)
    while len(text := json.dumps(attributes, default=str).encode()) > TEXT["attributes"]:
        attributes.popitem()
    texts = {
        "name": file.name.encode("utf-8", "replace"),
        "status": file.status.encode(),
        "reason": file.reason.encode("utf-8", "replace"),
        "attributes": text,
    }
    arrays: dict[str, Any] = {
        key: np.array([_cut(value, TEXT[key])], f"S{TEXT[key]}") for key, value in texts.items()
    }
    for key, values in (("first", file.first), ("count", file.count)):
        arrays[key] = np.array([[values.get(name, 0) for name in streams]], np.int64)
    arrays["size"] = np.array([file.size], np.int64)
    arrays["time"] = np.array([file.modified], np.int64)
    return Batch(FILES, arrays, number)


def _cut(text: bytes, length: int) -> bytes:
    return text[:length].decode("utf-8", "ignore").encode()


def _named(file: TakenFile) -> str:
    """Return the reason, beginning with the name of the file."""
    reason = file.reason
    return reason if file.name in reason else f"{file.name}: {reason}"


def _difference(first: Mapping[str, Stream], other: Mapping[str, Stream]) -> str:
    """Return in what the streams of a file differ from those of the first, or nothing.

    Where an axis begins (``offset``) may differ: places differ from file to file.
    """
    if first.keys() != other.keys():
        return f"streams {sorted(other)}, not {sorted(first)}"
    for name, stream in first.items():
        new = other[name]
        where = f"{name}: " if name else ""
        for field in stream.fields.keys() | new.fields.keys():
            if field not in new.fields:
                return f"{where}no {field}"
            if field not in stream.fields:
                return f"{where}{field} was not there"
            old_field, new_field = stream.fields[field], new.fields[field]
            for what in ("units", "shape", "dtype"):
                if getattr(old_field, what) != getattr(new_field, what):
                    return (
                        f"{where}{what} of {field}: {getattr(new_field, what)}, "
                        f"not {getattr(old_field, what)}"
                    )
        if _steps(stream) != _steps(new):
            return f"{where}its axes"
        if stream.scan != new.scan:
            return f"{where}scan {new.scan}, not {stream.scan}"
        if stream.constants.keys() != new.constants.keys() or any(
            not np.array_equal(array, new.constants[key], equal_nan=array.dtype.kind == "f")
            for key, array in stream.constants.items()
        ):
            return f"{where}its constants ({', '.join(stream.constants) or 'none'})"
    return ""


def _steps(stream: Stream) -> Any:
    axes = {
        field: [{key: value for key, value in axis.items() if key != "offset"} for axis in entries]
        for field, entries in stream.axes.items()
    }
    return json.loads(json.dumps(axes, default=str))
