"""Says what is doubtful about readings, each doubt once in a run."""

from __future__ import annotations

import logging

from daq_mechanical.moduli import DOUBTS

log = logging.getLogger(__name__)


class DoubtLog:
    """Warns of doubts about one stream.

    Parameters
    ----------
    stream
        Its name.
    """

    def __init__(self, stream: str) -> None:
        self._stream = stream
        self._said = 0

    def warn(self, doubts: int, where: str) -> None:
        """Warn of those doubts (see `daq_mechanical.moduli.DOUBTS`) that were not said yet."""
        for bit, text in DOUBTS.items():
            if doubts & bit & ~self._said:
                log.warning("%s: %s: %s", self._stream, where, text)
        self._said |= doubts
