"""Messages of SECoP: one line each, ``action specifier data``, the data in JSON.

Sample Environment Communication Protocol 1.0 and 1.1, "Message Syntax".
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any, Final

LONGEST_LINE: Final = 1 << 24
"""Bytes of the longest line that is read: descriptions of large nodes are long lines."""


@dataclasses.dataclass(frozen=True, slots=True)
class Message:
    """One message.

    Parameters
    ----------
    action
        What it is: ``update``, ``describe``, ``error_read``, ...
    specifier
        ``module:parameter``, a module, a token, or nothing.
    data
        The JSON value; None where there is none.
    arrived
        When it was received, nanoseconds since 1970 UTC by this machine's clock.
    """

    action: str
    specifier: str = ""
    data: Any = None
    arrived: int = 0

    @property
    def module(self) -> str:
        """The module that it is about."""
        return self.specifier.partition(":")[0]

    @property
    def parameter(self) -> str:
        """The parameter or command that it is about; what follows a second colon is ignored."""
        return self.specifier.partition(":")[2].partition(":")[0]


def parse(line: bytes, arrived: int = 0) -> Message:
    """Return the message of a line, without its end; raise ValueError where it is malformed.

    The answer to ``*IDN?`` is no message of the common form: it comes as the action ``*IDN?`` with
    the whole line as data.
    """
    try:
        text = line.decode("utf-8").rstrip("\r")
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    if _identifies(text):
        return Message("*IDN?", "", text, arrived)
    action, _, rest = text.partition(" ")
    specifier, _, data = rest.partition(" ")
    if not action:
        raise ValueError("no action")
    if not data.strip():
        return Message(action, specifier, None, arrived)
    try:
        return Message(action, specifier, json.loads(data), arrived)
    except (ValueError, RecursionError):
        raise ValueError("its data are not JSON") from None


def line_of(action: str, specifier: str = "", data: Any = None) -> bytes:
    """Return the line of a request; ``data`` is left out where it is None."""
    parts = [action]
    if specifier or data is not None:
        parts.append(specifier)
    if data is not None:
        parts.append(json.dumps(data, allow_nan=False))
    return " ".join(parts).encode() + b"\n"


class Lines:
    """Cuts what is received into lines; one that is too long is dropped and counted."""

    def __init__(self, longest: int = LONGEST_LINE) -> None:
        self._longest = longest
        self._begun: list[bytes] = []
        self._size = 0
        self._dropping = False
        self.too_long = 0
        """How many lines were dropped."""

    def feed(self, received: bytes) -> Iterator[bytes]:
        """Yield the lines that are whole now, without their ends; empty ones are left out."""
        *ended, rest = received.split(b"\n")
        for end in ended:
            self._add(end)
            line, dropped = b"".join(self._begun), self._dropping
            self._begun, self._size, self._dropping = [], 0, False
            if line.strip() and not dropped:
                yield line
        self._add(rest)

    def _add(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > self._longest and not self._dropping:
            self._begun, self._dropping = [], True
            self.too_long += 1
        if part and not self._dropping:
            self._begun.append(part)


def _identifies(text: str) -> bool:
    """Tell whether a line answers ``*IDN?``: ``ISSE&SINE2020,SECoP,V2019-09-16,v1.0``."""
    parts = text.split(",")
    return len(parts) >= 3 and parts[1].strip() == "SECoP" and " " not in parts[0]
