"""Streams that had ended before the bus died: its successor is told of them again.

Their sources are gone and will not tell it themselves; without this an analysis that was behind
would wait for ever, and the recorder would not know how they ended.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from typing import Any

from daq.bus.connection import Refused
from daq.bus.publisher import Publisher
from daq.streams import Stream


def ending(stream: Stream, closed: Mapping[str, Any], reason: str) -> dict[str, Any]:
    """Return what a process says of a stream that it has ended: ``closed``, and how to open it.

    The constants are left out: they matter to records, and none will come.
    """
    header = dataclasses.replace(stream, constants={}, axes={}).header()
    return {**closed, "reason": reason, "open": header}


def open_or_ended(
    publisher: Publisher, stream: Stream, batch_records: int = 64
) -> tuple[int, dict[str, Any] | None]:
    """Open a stream; return the index that comes next and, where it has ended, how.

    A process that was killed between the close of its stream and its own end comes back to a
    stream that is closed.
    """
    try:
        return publisher.open(stream, batch_records=batch_records), None
    except Refused as error:
        if error.code != "closed":
            raise
    while True:
        try:
            closed = publisher.close_stream(stream.name)
        except Refused as error:
            if error.code != "closed":
                raise
            continue  # The bus says it twice, as the answer to `open` and to an earlier close.
        return closed["count"], closed


class EndedStreams:
    """Opens and closes, on a bus that lacks them, the streams that have ended.

    Parameters
    ----------
    publisher
        Of the supervisor, which may open any stream.
    """

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._opening: dict[str, Mapping[str, Any]] = {}

    def remind(self, closed: Mapping[str, Mapping[str, Any]], present: Mapping[str, Any]) -> None:
        """Open what is ``closed`` and not ``present`` on the bus, and close what is open by now."""
        for name, header in closed.items():
            if name not in present and name not in self._opening and "open" in header:
                self._opening[name] = header
                self._publisher.open(Stream.from_header(header["open"]), wait=False)
        for name, header in list(self._opening.items()):
            if self._publisher.ready(name):
                del self._opening[name]
                # The answer comes when everyone has taken everything; nobody waits for it here.
                with contextlib.suppress(TimeoutError, Refused):
                    self._publisher.close_stream(
                        name, header["status"], str(header["reason"])[:400], timeout=0.0
                    )
