"""The status of modules, in words: warnings and errors are logged when they begin."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from daq_secop.messages import Message
from daq_secop.troubles import Troubles

GROUPS: Final = {0: "disabled", 2: "warning", 4: "error"}
"""Hundreds of the status codes that are said (SECoP 1.1, "Basic Parameters"); the others are idle and
busy."""


class Statuses:
    """Watches ``module:status`` of the modules given; its codes are in the records as well."""

    def __init__(self, modules: Iterable[str], troubles: Troubles) -> None:
        self._codes: dict[str, int | None] = dict.fromkeys(modules)
        self._troubles = troubles

    def take(self, message: Message) -> None:
        """Say a status that is not as it should be and was another before; leave the rest out."""
        if message.action not in ("update", "reply") or message.parameter != "status":
            return
        module, report = message.module, message.data
        if module not in self._codes or not isinstance(report, list) or not report:
            return
        status = report[0] if isinstance(report[0], list) else [report[0]]
        code = status[0] if status else None
        if not isinstance(code, int) or isinstance(code, bool) or code == self._codes[module]:
            return
        self._codes[module] = code
        if code // 100 in GROUPS:
            text = str(status[1])[:200] if len(status) > 1 else ""
            self._troubles.add(f"{module} says {GROUPS[code // 100]} ({code})", text)
