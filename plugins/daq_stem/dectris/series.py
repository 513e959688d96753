"""Which record an image is, what must outlive a restart, and how often something went wrong."""

from __future__ import annotations

import base64
import dataclasses
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

MOST_LOST: Final = 1_000_000
"""If more images than this lack at the end of a series, they were never meant to come."""


@dataclasses.dataclass
class Numbering:
    """Index of an image: its number, plus the series before; each begins with a whole scan.

    Parameters
    ----------
    series
        Number of the present one, as the camera counts.
    images
        That it will have.
    scan
        Shape of the scan, or None.

    Attributes
    ----------
    base
        Index of the first image of the present series.
    done
        Series that have ended.
    """

    series: int
    images: int
    scan: tuple[int, int] | None = None
    base: int = 0
    done: int = 0

    @property
    def unit(self) -> int:
        """Records of a scan; 1 where there is none."""
        return 1 if self.scan is None else self.scan[0] * self.scan[1]

    @property
    def end(self) -> int:
        """Index after the last image of the present series."""
        return self.base + self.images

    def index(self, number: int) -> int | None:
        """Return the index of an image of the present series, None where there cannot be such a one."""
        return self.base + number if number < self.images else None

    def following(self, upto: int) -> int:
        """Return the index of the first image of the next series, given that of the next record."""
        last = upto if self.end - upto > MOST_LOST else max(upto, self.end)
        return -(-last // self.unit) * self.unit

    def next(self, series: int, images: int, base: int) -> None:
        """The next series begins at index ``base``."""
        self.series, self.images, self.base = series, images, base


@dataclasses.dataclass(frozen=True)
class Kept:
    """What a source that was restarted goes on from."""

    messages: list[list[bytes]]
    numbering: Numbering
    clock: list[int | None]
    ended: bool


class Memory:
    """A file with the first start message and where the numbering stands."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._messages: list[list[str]] | None = None

    def load(self) -> Kept | None:
        """Return what was kept, None where this is the first life."""
        if self._path is None or not self._path.exists():
            return None
        kept = json.loads(self._path.read_text())
        self._messages = kept["messages"]
        numbering = dict(kept["numbering"])
        if numbering["scan"] is not None:
            numbering["scan"] = tuple(numbering["scan"])
        messages = [[base64.b64decode(part) for part in parts] for parts in kept["messages"]]
        return Kept(messages, Numbering(**numbering), kept["clock"], kept["ended"])

    def save(
        self,
        messages: Sequence[Sequence[bytes]],
        numbering: Numbering,
        clock: Sequence[int | None],
        *,
        ended: bool,
    ) -> None:
        """Keep where the numbering stands; of the messages, those of the first call."""
        if self._path is None:
            return
        if self._messages is None:
            self._messages = [
                [base64.b64encode(part).decode() for part in parts] for parts in messages
            ]
        kept = {
            "messages": self._messages, "numbering": dataclasses.asdict(numbering),
            "clock": list(clock), "ended": ended,
        }  # fmt: skip
        beside = self._path.with_name(self._path.name + ".new")
        beside.write_text(json.dumps(kept))
        beside.replace(self._path)


class Tally:
    """Counts what went wrong; the log has the first, the tenth, the hundredth ... of each kind."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self.counts: dict[str, int] = {}
        self.examples: dict[str, str] = {}

    def add(self, what: str, example: Any, count: int = 1) -> None:
        """Count something that happened."""
        before = self.counts.get(what, 0)
        after = self.counts[what] = before + count
        self.examples[what] = str(example)
        if len(str(after)) > len(str(before)) or not before:
            self._log.warning("%s: %d (%s)", what, after, example)

    def report(self) -> None:
        """Say how often each thing happened, where it was more than once."""
        for what, count in self.counts.items():
            if count > 1:
                self._log.warning("%s: %d in all", what, count)
