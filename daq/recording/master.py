"""The master of a run, ``<uid>.nxs``: NeXus, links to the files of the streams, written whole."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import daq
from daq.posix import fsync_directory
from daq.recording import layout
from daq.recording.contents import StreamContents
from daq.recording.part_file import in_memory, write_image
from daq.run import Run
from daq.streams import Batch, Stream

if TYPE_CHECKING:
    import h5py


class LiveMaster:
    """The master of a run that goes on: kept in memory, written whole and swapped in."""

    def __init__(self, folder: Path, run: Run) -> None:
        self._path = folder / f"{run.uid}.nxs"
        self._streams: dict[str, StreamContents] = {}
        self._file = in_memory()
        _entry(self._file, run, None)

    def add(self, contents: StreamContents) -> None:
        """Add a stream, or describe it anew when it has another file."""
        name = contents.stream.name
        for path in (layout.group_path(name), layout.constants_path(name)):
            if path in self._file:
                del self._file[path]
        self._streams[name] = contents
        _stream(self._file, contents, None, ended=False)
        _processes(self._file["entry"], {name: contents})
        _set_default(self._file["entry"], self._streams)

    def write(self) -> None:
        """Swap the master in; raises OSError."""
        _swap_in(self._file, self._path)

    def close(self) -> None:
        """Free the memory."""
        self._file.close()


def write_final_master(
    folder: Path, run: Run, streams: Mapping[str, StreamContents], end: tuple[str, str, int],
    read: Callable[[str], Batch], copied: Callable[[Stream, int], bool],
) -> Path:  # fmt: skip
    """Write the master of a run that has ended, and make it durable; return its path.

    Parameters
    ----------
    folder, run, streams
        Of the run, and what it holds.
    end
        Status, reason and time (ns since 1970) of the end of the run.
    read
        Returns all records of a stream.
    copied
        Tells of a stream with so many records whether they are copied in.

    Raises OSError.
    """
    path = folder / f"{run.uid}.nxs"
    with in_memory() as file:
        _entry(file, run, end)
        for contents in streams.values():
            if contents.files:
                copy = copied(contents.stream, contents.count)
                _stream(file, contents, read if copy else None, ended=True)
        _processes(file["entry"], streams)
        _set_default(file["entry"], streams)
        _swap_in(file, path, durable=True)
    fsync_directory(folder)
    return path


def _swap_in(file: h5py.File, path: Path, *, durable: bool = False) -> None:
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    write_image(new, file)
    if durable:
        with new.open("rb") as written:
            os.fsync(written.fileno())
    new.replace(path)


def iso_time(nanoseconds: int) -> str:
    """Return a time in ISO 8601, UTC, to the microsecond."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.replace(microsecond=rest // 1000).isoformat()


def _entry(file: h5py.File, run: Run, end: tuple[str, str, int] | None) -> None:
    file.attrs["NX_class"] = "NXroot"
    file.attrs["default"] = "entry"
    file.attrs["creator"] = "glasswatch"
    file.attrs["creator_version"] = daq.__version__
    entry = file.create_group("entry")
    entry.attrs["NX_class"] = "NXentry"
    plain = run.plain()
    entry.attrs[layout.RUN] = json.dumps(plain)
    entry["title"] = run.title
    entry["start_time"] = iso_time(run.start_time)
    entry["entry_identifier"] = run.uid
    entry["program_name"] = "glasswatch"
    entry["program_name"].attrs["version"] = daq.__version__
    if end is not None:
        status, reason, time = end
        entry["end_time"] = iso_time(time)
        entry["end_time"].attrs["nanoseconds"] = time
        entry.attrs["status"], entry.attrs["reason"] = status, reason
    entry.attrs["complete"] = end is not None and end[0] == "complete"
    for name, nx_class in (("sample", "NXsample"), ("user", "NXuser")):
        group = entry.create_group(name)
        group.attrs["NX_class"] = nx_class
        for key, value in plain[name].items():
            layout.put(group, key, value)
    note = entry.create_group("configuration")
    note.attrs["NX_class"] = "NXnote"
    note["type"] = "application/toml"
    note["data"] = run.config_text
    note["resolved"] = json.dumps(plain["config"], indent=1)
    layout.put(entry, "environment", plain["environment"])
    entry.create_group("instrument").attrs["NX_class"] = "NXinstrument"


def _stream(
    file: h5py.File, contents: StreamContents, read: Callable[[str], Batch] | None,
    *, ended: bool,
) -> None:  # fmt: skip
    import h5py

    stream, name = contents.stream, contents.stream.name
    path = layout.group_path(name)
    count, status, reason = contents.closed or (contents.count if ended else -1, "open", "")
    if path.startswith("/entry/truth/") and "truth" not in file["entry"]:
        file["entry"].create_group("truth").attrs["NX_class"] = "NXcollection"
    group = file.create_group(path)
    layout.describe_group(group, stream, count, status, complete=status == "complete")
    if reason:
        group.attrs["reason"] = reason
    if read is not None:
        batch = read(name)
        arrays = {field: batch.raw[field] for field in stream.fields}
        for field, array in {**arrays, "valid": batch.valid}.items():
            layout.describe_field(group.create_dataset(field, data=array), stream, field)
    elif len(contents.files) == 1:
        for field in (*stream.fields, "valid"):
            group[field] = h5py.ExternalLink(contents.files[0][0], f"{path}/{field}")
    else:
        for field in (*stream.fields, "valid"):
            _virtual(group, contents, field)
    _instrument(file, stream, contents, ended=ended)


def _virtual(group: h5py.Group, contents: StreamContents, name: str) -> None:
    """Make one dataset of several files; the last of them may still grow."""
    import h5py
    import numpy as np

    stream = contents.stream
    shape: tuple[int, ...] = ()
    dtype, fill = np.dtype(bool), False
    if name != "valid":
        field = stream.fields[name]
        shape, dtype = field.shape, field.numpy_dtype
        fill = layout.fill_value(field, name)
    unlimited, rows = h5py.h5s.UNLIMITED, (None, *shape)
    layout_ = h5py.VirtualLayout((contents.files[-1][1] + 1, *shape), dtype, maxshape=rows)
    starts = [first for _, first in contents.files]
    for number, (file, first) in enumerate(contents.files):
        last = number + 1 == len(contents.files)
        count = 1 if last else starts[number + 1] - first
        if not count:
            continue
        source = h5py.VirtualSource(
            file, f"{group.name}/{name}", (count, *shape), dtype, maxshape=rows
        )
        stop, own = (unlimited, unlimited) if last else (first + count, count)
        layout_[first:stop] = source[0:own]
    group.create_virtual_dataset(name, layout_, fillvalue=fill)
    layout.describe_field(group[name], stream, name)


def _instrument(file: h5py.File, stream: Stream, contents: StreamContents, *, ended: bool) -> None:
    import h5py

    raw = layout.is_raw(stream)
    if not raw and not stream.constants:
        return
    path = layout.constants_path(stream.name)
    group = file.create_group(path)
    group.attrs["NX_class"] = "NXcollection"
    if raw:
        imaging = any(field.shape for field in stream.fields.values())
        group.attrs["NX_class"] = "NXdetector" if imaging else "NXsensor"
        for key, value in stream.attributes.items():
            layout.put(group, key, value)
    if ended:
        layout.put_constants(group, stream.constants)
    else:
        for name in stream.constants:
            if name in group:
                del group[name]
            group[name] = h5py.ExternalLink(contents.files[0][0], f"{path}/{name}")
    if raw and (plotted := layout.signal(stream)) is not None and "data" not in group:
        target = f"{layout.group_path(stream.name)}/{plotted}"
        linked = file.get(target, getlink=True)
        # A link to a link: readers that ask a dataset for its parent (HyperSpy's) find none.
        group["data"] = linked if isinstance(linked, h5py.ExternalLink) else h5py.SoftLink(target)


def _processes(entry: h5py.Group, streams: Mapping[str, StreamContents]) -> None:
    for name, contents in streams.items():
        process = contents.stream.attributes.get("process")
        analysis = name.split(".")[0]
        if not isinstance(process, Mapping) or f"process/{analysis}" in entry:
            continue
        if "process" not in entry:
            entry.create_group("process").attrs["NX_class"] = "NXcollection"
        group = entry.create_group(f"process/{analysis}")
        group.attrs["NX_class"] = "NXprocess"
        for key, value in process.items():
            if key == "configuration":
                note = group.create_group("configuration")
                note.attrs["NX_class"] = "NXnote"
                note["type"] = "application/json"
                note["data"] = value if isinstance(value, str) else json.dumps(value, indent=1)
            else:
                layout.put(group, key, value)


def _set_default(entry: h5py.Group, streams: Mapping[str, StreamContents]) -> None:
    """Name the stream that a viewer shows first: of the sources the one with the largest records."""
    shown = [
        contents.stream
        for contents in streams.values()
        if contents.files and layout.signal(contents.stream) and layout.is_raw(contents.stream)
    ]
    if shown:
        entry.attrs["default"] = max(shown, key=lambda stream: stream.record_bytes).name
