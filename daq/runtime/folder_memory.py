"""What a watched folder's source knows again after a restart: which files it took, and where."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from daq.streams import Stream

Status = Literal["begun", "taken", "stopped", "cut", "refused"]


@dataclasses.dataclass
class TakenFile:
    """One file of the folder and what became of it.

    ``first`` and ``count`` are by stream: the index of its first record, and how many there are.
    ``offsets`` and ``last`` are by stream and field: what was added to its counters, and the
    highest value given so far. ``attributes`` are those of its streams that differ from the first
    file's.
    """

    name: str
    status: Status = "begun"
    reason: str = ""
    size: int = 0
    modified: int = 0
    first: dict[str, int] = dataclasses.field(default_factory=dict)
    count: dict[str, int] = dataclasses.field(default_factory=dict)
    offsets: dict[str, dict[str, int]] = dataclasses.field(default_factory=dict)
    last: dict[str, dict[str, int]] = dataclasses.field(default_factory=dict)
    attributes: dict[str, Any] = dataclasses.field(default_factory=dict)


class FolderMemory:
    """Keeps the files that were taken, their order and the streams, one JSON line at a time.

    What is written survives the death of the process (not that of the machine, which ends the
    run). A file is written down before its first record is given.

    Parameters
    ----------
    path
        Where it is kept; None: nowhere.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.streams: list[Stream] | None = None
        """What the source opened; None before the first file."""
        self.passed_over: set[str] | None = None
        """Names that were there before the run and are not taken; None before that is known."""
        self.files: list[TakenFile] = []
        """In the order in which they were begun or refused."""
        self._places: dict[str, int] = {}
        self.over: list[TakenFile] = []
        """Those that are not being read any more, in the order in which they ended."""
        if path is not None and path.exists():
            for line in path.read_bytes().split(b"\n"):
                try:
                    self._recall(json.loads(line))
                except ValueError:
                    continue  # The last line of a process that was killed while it wrote.

    def keep_streams(self, streams: Sequence[Stream]) -> None:
        """Write down what is opened."""
        self.streams = list(streams)
        self._write({"streams": [_plain(stream) for stream in streams]})

    def pass_over(self, names: Iterable[str]) -> None:
        """Write down the files that are not taken because they were there before."""
        self.passed_over = set(names)
        self._write({"passed_over": sorted(self.passed_over)})

    def begin(self, file: TakenFile) -> None:
        """Write down a file before it is read."""
        self._append(file)
        self._write({"begin": dataclasses.asdict(file)})

    def end(self, file: TakenFile) -> None:
        """Write down what became of a file, whether it was begun or refused."""
        self._ended(file)
        self._write({"end": dataclasses.asdict(file)})

    def _ended(self, file: TakenFile) -> None:
        if file.name in self._places:
            self.files[self._places[file.name]] = file
        else:
            self._append(file)
        self.over.append(file)

    def _append(self, file: TakenFile) -> None:
        self._places[file.name] = len(self.files)
        self.files.append(file)

    def _recall(self, line: dict[str, Any]) -> None:
        match line:
            case {"streams": streams}:
                self.streams = [_stream(entry) for entry in streams]
            case {"passed_over": names}:
                self.passed_over = set(names)
            case {"begin": entry}:
                self._append(TakenFile(**entry))
            case {"end": entry}:
                self._ended(TakenFile(**entry))

    def _write(self, line: dict[str, Any]) -> None:
        if self._path is None:
            return
        with self._path.open("ab") as file:
            # A half line of an earlier life is ended first; an empty line is nothing.
            file.write(b"\n" + json.dumps(line).encode() + b"\n")


def _plain(stream: Stream) -> dict[str, Any]:
    parts = [base64.b64encode(array.tobytes()).decode() for array in stream.constants.values()]
    # A name is needed there; the empty one is the source's own.
    return {"name": stream.name, "header": stream.renamed("x").header(), "parts": parts}


def _stream(entry: dict[str, Any]) -> Stream:
    parts = [base64.b64decode(part) for part in entry["parts"]]
    return Stream.from_header(entry["header"], parts).renamed(entry["name"])
