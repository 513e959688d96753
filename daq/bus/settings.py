"""What a bus may be told, and the limits that nobody can change from outside."""

from __future__ import annotations

import dataclasses
from typing import Final

MOST_STREAMS: Final = 4096
"""Streams that one bus takes."""

MOST_CREDIT: Final = 1024
"""Batches that one consumer may have under way in one stream; more is not granted."""

MOST_SUBSCRIPTIONS: Final = 4096
"""Globs that one consumer may give."""

MOST_MISSING: Final = 1 << 32
"""Records that may be declared missing, or jumped over, at once: more is a broken counter."""

MOST_PATTERN: Final = 200
"""Characters of one glob."""

SEND_QUEUE: Final = 8192
"""Messages that may wait for one peer; one that lets more pile up is dropped, and begins anew."""

ERRORS_PER_SECOND: Final = 100
"""Errors that one peer is told (and that are logged) in a second; all of them are counted."""

FETCH_BYTES: Final = 8 << 20
"""Largest answer to a ``fetch``: a far viewer asks again, and nobody waits long behind it."""


@dataclasses.dataclass(frozen=True, slots=True)
class BusSettings:
    """How a bus is run; sizes in bytes, times in seconds."""

    endpoint: str
    run: str | None = None
    recording: bool = False
    credit: int = 8
    ring_bytes: int = 256 << 20
    batch_bytes: int = 64 << 20
    lookback: float = 5.0
    lookback_bytes: int = 64 << 20
    close_deadline: float = 60.0
