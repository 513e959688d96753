"""Is an HDF5 file readable? Asked of another process: a damaged one can hang or crash who opens it.

``python -m daq.recording.probe`` reads questions from its standard input, one JSON list a line, and
answers each with a line: ``["rows", FILE, GROUP, FIRST, END]`` reads those rows of every field in a
group (END -1: to the last) and is answered with the rows of the shortest field; ``["master", FILE]``
with 1 where the master of a run can be understood; both with -1 where HDF5 refuses.
"""

from __future__ import annotations

import contextlib
import json
import selectors
import subprocess
import sys
from pathlib import Path
from typing import Any

from daq.recording.contents import MasterContents
from daq.recording.layout import HEADER
from daq.recording.swmr import open_for_reading

SECONDS = 60.0
_STEP = 64


class Probe:
    """Asks of files whether they can be read; a context manager. The process starts when needed."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def readable_rows(self, path: Path, group: str, first: int = 0, end: int = 0) -> int | None:
        """Return the rows of a stream's group, or None where ``first`` to ``end`` cannot be read.

        ``end`` -1 reads to the last row.
        """
        rows = self._ask("rows", str(path), group, first, end)
        return rows if rows >= 0 else None

    def master_is_readable(self, path: Path) -> bool:
        """Tell whether the master of a run can be opened and understood."""
        return self._ask("master", str(path)) == 1

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None and process.stdout is not None
        process.kill()
        process.wait()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        process.stdout.close()

    def __enter__(self) -> Probe:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, *question: Any) -> int:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "daq.recording.probe"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            )  # fmt: skip
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        answer = ""
        with contextlib.suppress(BrokenPipeError), selectors.DefaultSelector() as selector:
            print(json.dumps(question), file=process.stdin, flush=True)
            selector.register(process.stdout, selectors.EVENT_READ)
            if selector.select(SECONDS):
                answer = process.stdout.readline().strip()
        if not answer:
            # It hangs or has died of the file: the next question goes to another.
            self.close()
            return -1
        return int(answer)


def _answer(question: list[Any]) -> int:
    try:
        if question[0] == "master":
            MasterContents(Path(question[1]))
            return 1
        return _rows(*question[1:])
    except Exception:  # whatever a damaged file provokes
        return -1


def _rows(path: str, group: str, first: int, end: int) -> int:
    with open_for_reading(Path(path)) as file:
        fields = json.loads(file[group].attrs[HEADER])["fields"]
        datasets = [file[group][name] for name in (*fields, "valid")]
        rows = min(len(dataset) for dataset in datasets)
        stop = rows if end < 0 else end
        for dataset in datasets:
            for start in range(first, stop, _STEP):
                dataset[start : min(start + _STEP, stop)]
    return int(rows)


if __name__ == "__main__":
    for line in sys.stdin:
        print(_answer(json.loads(line)), flush=True)
