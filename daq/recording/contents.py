"""What a run holds, as its journal tells (or, without one, its master)."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from daq.recording import layout
from daq.recording.journal import Entry, JournalReader
from daq.recording.swmr import open_for_reading
from daq.run import Run
from daq.streams import Stream


@dataclasses.dataclass(frozen=True, slots=True)
class Segment:
    """Consecutive rows of one stream that the journal tells of together.

    ``kind`` is ``batch``, ``missing`` or ``unknown`` (the journal is damaged there). Of a batch
    ``offset`` is where its payload begins in the journal, ``parts`` are its fields and their
    bytes, and ``file`` holds its chunks.
    """

    kind: str
    first: int
    count: int
    file: str = ""
    offset: int = 0
    parts: tuple[tuple[str, int], ...] = ()
    reason: str = ""

    @property
    def end(self) -> int:
        """Row after the last."""
        return self.first + self.count

    def rows(self, start: int, stop: int) -> slice:
        """Return the rows ``start`` to ``stop`` of the stream as rows of the segment."""
        return slice(start - self.first, stop - self.first)

    def part(self, field: str) -> tuple[int, int]:
        """Return offset in the journal and bytes of a field."""
        offset = self.offset
        for name, size in self.parts:
            if name == field:
                return offset, size
            offset += size
        raise KeyError(field)


@dataclasses.dataclass(slots=True)
class StreamContents:
    """One stream: its description, its files ``(name, first row)``, how far it goes.

    ``compression`` says of each file how its large fields are compressed; ``distrusted`` are files
    that were written before the machine started again: HDF5 may hang on them.
    """

    stream: Stream
    files: list[tuple[str, int]] = dataclasses.field(default_factory=list)
    count: int = 0
    durable: int = 0
    missing: list[tuple[int, int, str]] = dataclasses.field(default_factory=list)
    closed: tuple[int, str, str] | None = None
    segments: list[Segment] = dataclasses.field(default_factory=list)
    compression: dict[str, str] = dataclasses.field(default_factory=dict)
    distrusted: set[str] = dataclasses.field(default_factory=set)

    def add_file(self, name: str, first: int, compression: str) -> None:
        """Add the file that holds rows from ``first`` on."""
        if self.files and self.files[-1][0] == name:
            self.files.pop()  # It could not be made at the first try.
        self.files.append((name, first))
        self.compression[name] = compression

    def cut(self, count: int) -> None:
        """Make rows from ``count`` on void."""
        self.count = min(self.count, count)
        self.durable = min(self.durable, count)
        self.missing = [
            (first, min(n, count - first), why) for first, n, why in self.missing if first < count
        ]
        while self.segments and self.segments[-1].end > count:
            last = self.segments.pop()
            if last.first < count:
                # The batch before the cut keeps its payload: fewer of its rows are counted.
                self.segments.append(dataclasses.replace(last, count=count - last.first))


class Contents:
    """Everything that the journal tells, kept up to date by `follow`.

    ``seal`` holds size and checksum of each file of a run that was finished, ``ending`` status,
    reason and time of its end; ``durable_at`` is where the last ``durable`` entry lies;
    ``put_aside`` names files that repairs have put aside, and tells whether they are needed.

    Parameters
    ----------
    journal
        Path of the journal.
    segments
        Keep `Segment` of all rows (memory grows with the number of batches).
    resync
        Go on after damaged entries; ``damage`` says where they are.
    """

    def __init__(self, journal: Path, *, segments: bool = False, resync: bool = False) -> None:
        self.run: Run | None = None
        self.boot = ""
        self.streams: dict[str, StreamContents] = {}
        self.seal: dict[str, list[int]] | None = None
        self.ending: tuple[str, str, int] | None = None
        self.put_aside: dict[str, bool] = {}
        self.durable_at = 0
        self.journal = JournalReader(journal, resync=resync)
        self._keep = segments
        self._holes = 0
        self.follow()

    @property
    def damage(self) -> list[tuple[int, int]]:
        """Pieces of the journal that are not entries: offset and bytes."""
        return self.journal.damage

    def follow(self) -> None:
        """Read what the journal holds by now."""
        for entry in self.journal.entries():
            if self.seal is not None:
                self.journal.damage.append((entry.start, self.journal.end - entry.start))
            self._take(entry)

    def close(self) -> None:
        """Close the journal."""
        self.journal.close()

    def _take(self, entry: Entry) -> None:
        header = entry.header
        match entry.kind:
            case "run":
                boot = header.get("boot", "")
                if self.run is not None and boot != self.boot:
                    for stream in self.streams.values():
                        stream.distrusted.update(file for file, _ in stream.files)
                self.run, self.boot = Run(**header["run"]), boot
            case "repaired":
                self.put_aside = header["put_aside"]
            case "durable":
                self.durable_at = entry.start
                for name, count in header["counts"].items():
                    if name in self.streams:
                        self.streams[name].durable = count
            case "seal":
                self.seal = header["files"]
            case "end":
                self.ending = header["status"], header["reason"], header["time"]
            case "open":
                opened = stream_from(header["open"], entry.payload)
                if opened.name not in self.streams:
                    self.streams[opened.name] = StreamContents(opened)
            case _:
                contents = self.streams.get(header.get("stream", ""))
                if contents is not None:
                    self._take_of_stream(contents, entry)

    def _take_of_stream(self, contents: StreamContents, entry: Entry) -> None:
        header = entry.header
        match entry.kind:
            case "part":
                contents.add_file(header["file"], header["first"], header["compression"])
            case "cut":
                contents.cut(header["count"])
            case "close":
                contents.closed = header["count"], header["status"], header["reason"]
            case "batch" | "missing":
                first, count = header["first"], header["count"]
                reason = header.get("reason", "")
                if first < contents.count:
                    contents.cut(first)
                if first > contents.count:
                    self._add(contents, Segment("unknown", contents.count, first - contents.count))
                if entry.kind == "missing":
                    self._add(contents, Segment("missing", first, count, reason=reason))
                else:
                    parts = tuple((name, size) for name, size in header["parts"])
                    file = contents.files[-1][0] if contents.files else ""
                    self._add(contents, Segment("batch", first, count, file, entry.offset, parts))

    def _add(self, contents: StreamContents, segment: Segment) -> None:
        contents.count = segment.end
        contents.closed = None
        if segment.kind == "missing":
            lost = contents.missing
            if lost and lost[-1][2] == segment.reason and sum(lost[-1][:2]) == segment.first:
                lost[-1] = lost[-1][0], lost[-1][1] + segment.count, segment.reason
            else:
                lost.append((segment.first, segment.count, segment.reason))
        if self._keep:
            contents.segments.append(segment)


class MasterContents:
    """What the master of a run tells where the journal is not beside it.

    The attributes are those of `Contents`; it never grows. Raises ValueError where the file is no master of ours.
    """

    def __init__(self, master: Path) -> None:
        self.boot = ""
        self.seal: dict[str, list[int]] | None = {}
        self.damage: list[tuple[int, int]] = []
        self.streams: dict[str, StreamContents] = {}
        with open_for_reading(master) as file:
            entry = file.get("entry")
            if entry is None or layout.RUN not in entry.attrs:
                raise ValueError(f"{master}: is not a run of glasswatch")
            self.run: Run | None = Run(**json.loads(entry.attrs[layout.RUN]))
            self.ending: tuple[str, str, int] | None = None
            if "end_time" in entry:
                end = int(entry["end_time"].attrs["nanoseconds"])
                self.ending = entry.attrs["status"], entry.attrs["reason"], end
            import h5py

            groups = [*entry.values(), *entry.get("truth", {}).values()]
            for group in groups:
                if isinstance(group, h5py.Group) and layout.HEADER in group.attrs:
                    self._add(file, group, master.name)

    def follow(self) -> None:
        """Do nothing: a master does not grow."""

    def close(self) -> None:
        """Do nothing: the file is closed."""

    def _add(self, file: Any, group: Any, master: str) -> None:
        import h5py

        header = json.loads(group.attrs[layout.HEADER])
        constants = file.get(layout.constants_path(header["stream"]), {})
        parts = [np.asarray(constants[entry["name"]]) for entry in header["constants"]]
        stream = Stream.from_header(header, [part.tobytes() for part in parts])
        link = group.get("time", getlink=True)
        own = link.filename if isinstance(link, h5py.ExternalLink) else master
        contents = StreamContents(stream, [(own, 0)])
        fields = [group.get(name) for name in (*stream.fields, "valid")]
        contents.count = min(0 if field is None else len(field) for field in fields)
        if group.attrs["status"] != "open":
            contents.closed = (
                int(group.attrs["count"]), group.attrs["status"], group.attrs.get("reason", "")
            )  # fmt: skip
        if contents.count:
            valid = group["valid"][: contents.count]
            edges = np.flatnonzero(np.diff(np.concatenate([[True], valid, [True]])))
            contents.missing = [
                (int(a), int(b - a), "lost") for a, b in zip(edges[::2], edges[1::2], strict=True)
            ]
            contents.segments = [Segment("unknown", 0, contents.count)]
        contents.durable = contents.count
        self.streams[stream.name] = contents


def stream_from(header: dict[str, Any], payload: memoryview) -> Stream:
    """Return the stream of an ``open`` entry."""
    parts, offset = [], 0
    for constant in header["constants"]:
        size = np.dtype(constant["dtype"]).itemsize * int(
            np.prod(constant["shape"], dtype=np.int64)
        )
        parts.append(bytes(payload[offset : offset + size]))
        offset += size
    return Stream.from_header(header, parts)


def locate(path: Path) -> tuple[Path, str]:
    """Return folder and uid of the run at ``path``: its folder, its ``.nxs`` or its journal.

    Raises FileNotFoundError or ValueError in one clear line.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such run")
    if path.is_file():
        return path.parent, path.stem
    for pattern in ("*.journal", "*.nxs"):
        found = sorted(path.glob(pattern))
        if len(found) == 1:
            return path, found[0].stem
        if len(found) > 1:
            raise ValueError(f"{path}: holds several runs; name the .nxs of one")
    raise ValueError(f"{path}: is not the folder of a run (no .journal, no .nxs)")
