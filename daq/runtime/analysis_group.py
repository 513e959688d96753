"""The analyses of one process, as the supervisor sees them: what they work on, what killed them."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from daq.runtime.analysis_process import Progress
from daq.runtime.experiment import AnalysisSettings


@dataclasses.dataclass(frozen=True, slots=True)
class Skipped:
    """A record that ended an analysis twice and is given to it as missing from now on."""

    analysis: str
    stream: str
    index: int


class AnalysisGroup:
    """What the supervisor knows of the analyses that share a process.

    Parameters
    ----------
    settings
        Of each analysis.
    scratch
        Folder for the few bytes in which each says what it works on.
    """

    def __init__(self, settings: Sequence[AnalysisSettings], scratch: Path) -> None:
        self.settings = list(settings)
        self._paths = {s.name: scratch / f"{s.name}.progress" for s in settings}
        self._progress = {
            s.name: Progress(self._paths[s.name], len(s.inputs), create=True) for s in settings
        }
        self._skip: dict[str, dict[str, list[int]]] = {}
        self._careful: dict[str, dict[str, list[int]]] = {}

    @property
    def names(self) -> list[str]:
        """Names of the analyses."""
        return [s.name for s in self.settings]

    def order(self, changes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return what each analysis is told; ``changes`` are the reconfigurations of the run."""
        return [
            {
                "name": s.name, "type": s.type, "inputs": list(s.inputs),
                "config": s.config.model_dump(mode="json"), "progress": str(self._paths[s.name]),
                "skip": self._skip.get(s.name, {}), "careful": self._careful.get(s.name, {}),
                "reconfigurations": [c for c in changes if c["analysis"] == s.name],
            }
            for s in self.settings
        ]  # fmt: skip

    def hanging(self) -> AnalysisSettings | None:
        """Return an analysis that has worked on one batch for longer than its time limit."""
        for settings in self.settings:
            work = self._progress[settings.name].read()
            if work is None:
                continue
            # To open and to end may take longer than any batch: a last fit of everything.
            limit = settings.timeout if work[3] else 10 * settings.timeout
            if time.monotonic() - work[0] > limit:
                return settings
        return None

    def learn(self) -> list[Skipped]:
        """After the death of the process: note where each was; return records to skip from now on.

        After the first death the batch at fault is gone through record by record; after the
        second the record is known, or the block where the analysis takes its records in blocks.
        Records that it got through in an earlier life are not at fault, and their results are
        out: they are never skipped.
        """
        skipped = []
        for settings in self.settings:
            progress = self._progress[settings.name]
            work = progress.read()
            progress.end()
            if work is None:
                continue
            _, number, first, count = work
            stream, end = settings.inputs[number], first + count
            first = max(first, progress.done(number))
            if first >= end:
                continue
            careful = self._careful.setdefault(settings.name, {})
            skip = self._skip.setdefault(settings.name, {}).setdefault(stream, [])
            begin, length = careful.get(stream, (0, 0))
            least = settings.analysis.block or 1
            if end - first <= least and begin <= first and end <= begin + length:
                new = [index for index in range(first, end) if index not in skip]
                skip += new
                skipped += [Skipped(settings.name, stream, index) for index in new]
            else:
                careful[stream] = [first, end - first]
        return skipped
