"""Files that arrive in a folder: which of them are whole, and in which order they are taken."""

from __future__ import annotations

import dataclasses
import fnmatch
import logging
import math
import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, Literal

from daq.reader import Reader
from daq.runtime.readers import UnknownFormatError

log = logging.getLogger("folder")

Order = Literal["name", "time"]

TRIES: Final = 10
"""How often a file that the system does not let us open (it is locked, say) is tried."""


@dataclasses.dataclass(slots=True)
class Arrival:
    """A file that is there. ``version`` is its size and modification time (ns).

    ``since`` is when it was seen to have them (`time.monotonic`), ``whole`` whether it has not
    changed for long enough. ``reader`` is None until it is known, ``problem`` why it will never
    be, ``unready`` what version of it was found unfinished, and whether that was whole, ``tries``
    how often the system did not let us open it.
    """

    path: Path
    version: tuple[int, int]
    since: float
    whole: bool = False
    reader: type[Reader] | None = None
    problem: str = ""
    unready: tuple[tuple[int, int], bool] | None = None
    tries: int = 0

    def is_unready(self) -> None:
        """Note that as it is now it cannot be opened yet."""
        self.unready = (self.version, self.whole)

    def try_again(self) -> bool:
        """Let the file settle anew; False when that was done often enough."""
        self.tries += 1
        self.since = time.monotonic()
        return self.tries < TRIES


class Arrivals:
    """Looks at a folder and says which files can be opened.

    A file can be opened once it has not changed for ``settle`` seconds and its reader finds it
    `daq.Reader.ready`; one that grows, as soon as its reader finds it ready. Empty files and those
    whose name begins with a dot are not there yet. The clock of the file's machine does not
    matter: changes are timed as they are seen here.

    Parameters
    ----------
    folder, pattern
        Files whose names match the pattern (``*``, ``?``, ``[a-z]``).
    reader_for
        Gives the reader of a file; raises ValueError where there is none.
    settle
        In seconds.
    order
        Of files that can be opened at the same moment: by ``name`` (numbers in it by their
        value), or by the ``time`` of their last change.
    known
        Names that are not looked at.
    """

    def __init__(
        self, folder: Path, pattern: str, reader_for: Callable[[Path], type[Reader]],
        settle: float, order: Order, known: Iterable[str] = (),
    ) -> None:  # fmt: skip
        self._folder = folder
        self._pattern = pattern
        self._reader_for = reader_for
        self._settle = settle
        self._order = order
        self._known = set(known)
        self._there: dict[str, Arrival] = {}
        self._queue: deque[Arrival] = deque()
        self._away = False
        self.looked = -math.inf
        """When the folder was looked at (`time.monotonic`)."""
        self.changed = time.monotonic()
        """When a file was last seen to come or to change (`time.monotonic`)."""

    def take(self, name: str) -> None:
        """Look no more at a file: it is taken, or refused."""
        self._known.add(name)
        self._there.pop(name, None)

    def look(self) -> None:
        """See what has come and changed. A folder that is away (a network drive) may come back."""
        now = self.looked = time.monotonic()
        found = {}
        try:
            with os.scandir(self._folder) as entries:
                for entry in entries:
                    if entry.name in self._known or not self._matches(entry.name):
                        continue
                    try:
                        if not entry.is_file():
                            continue
                        status = entry.stat()
                    except OSError:
                        continue  # It has gone again.
                    if status.st_size:
                        found[entry.name] = (status.st_size, status.st_mtime_ns)
        except OSError as error:
            if not self._away:
                log.warning("%s: cannot be read now: %s", self._folder, error.strerror)
            self._away = True
            return
        if self._away:
            log.info("%s: is there again", self._folder)
        self._away = False
        for name in self._there.keys() - found.keys():
            del self._there[name]
        for name, version in found.items():
            arrival = self._there.get(name)
            if arrival is None:
                self._there[name] = Arrival(self._folder / name, version, now)
                self.changed = now
            elif arrival.version != version:
                arrival.version, arrival.since = version, now
                self.changed = now
        self._queue = deque(sorted(self._there.values(), key=self._place))

    def ready(self) -> Arrival | None:
        """Return the file to open next, or that has a ``problem``, of those seen; None: wait."""
        settled = time.monotonic() - self._settle
        while self._queue and self._queue[0].path.name in self._known:
            self._queue.popleft()
        for arrival in self._queue:
            if arrival.path.name in self._known:
                continue
            arrival.whole = arrival.since <= settled
            if self._know(arrival) and (arrival.problem or self._ready(arrival)):
                return arrival
        return None

    def waiting(self) -> list[Arrival]:
        """Return the files that may still become ready."""
        return list(self._there.values())

    def pending(self) -> bool:
        """Tell whether a file was seen that `ready` has not yet judged as it is now."""
        return any(arrival.unready != (arrival.version, True) for arrival in self._there.values())

    def _matches(self, name: str) -> bool:
        if name.startswith(".") and not self._pattern.startswith("."):
            return False
        return fnmatch.fnmatchcase(name, self._pattern)

    def _know(self, arrival: Arrival) -> bool:
        """Find the reader of a file; False where there is none, or none yet."""
        if arrival.reader is not None or arrival.problem:
            return True
        try:
            arrival.reader = self._reader_for(arrival.path)
        except UnknownFormatError as error:
            log.info("passed over: %s", error)
            self.take(arrival.path.name)
            return False
        except OSError as error:
            if not arrival.whole or arrival.try_again():
                return False
            arrival.problem = str(error)
        except ValueError as error:
            if arrival.whole:  # Before that its beginning may not be there.
                arrival.problem = str(error)
            return arrival.whole
        return True

    def _ready(self, arrival: Arrival) -> bool:
        reader = arrival.reader
        if reader is None or not (arrival.whole or reader.grows):
            return False
        if arrival.unready == (arrival.version, arrival.whole):
            return False
        try:
            if reader.ready(arrival.path):
                return True
        except OSError:
            pass
        arrival.is_unready()
        if arrival.whole:
            log.info("%s: is waited for, its end is not there", arrival.path.name)
        return False

    def _place(self, arrival: Arrival) -> tuple[object, ...]:
        name = natural(arrival.path.name)
        return (name,) if self._order == "name" else (arrival.version[1], name)


def natural(name: str) -> list[tuple[int, int, str]]:
    """Return the key that sorts ``scan_2`` before ``scan_10``."""
    pieces = re.split(r"([0-9]+)", name)
    key: list[tuple[int, int, str]] = [
        (0, int(piece), piece) if piece.isdecimal() else (1, 0, piece) for piece in pieces
    ]
    return key
