"""What goes wrong again and again: counted, and said when it is new and now and then."""

from __future__ import annotations

import logging

log = logging.getLogger("secop")


class Troubles:
    """Counts by kind; the first of a kind is logged, then the tenth, the hundredth and so on."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def add(self, kind: str, what: str) -> None:
        """Count one of a ``kind`` (``sample:value is not known``); ``what`` says this one's reason."""
        count = self.counts[kind] = self.counts.get(kind, 0) + 1
        if str(count).strip("0") == "1":
            times = "" if count == 1 else f" ({count} times so far)"
            log.warning("%s%s%s", kind, f": {what}" if what else "", times)

    def report(self) -> None:
        """Log what has been counted more than once."""
        for kind, count in self.counts.items():
            if count > 1:
                log.warning("%s: %d times in all", kind, count)
