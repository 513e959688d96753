"""A run: one experiment from start to end, with one uid and one folder."""

from __future__ import annotations

import dataclasses
import json
import re
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """What is known of a run when it begins.

    ``config_text`` is the TOML word for word, ``config`` as resolved; ``environment`` the versions
    of everything, hosts and clock offsets. ``folder`` is None while nothing is recorded.
    """

    uid: str
    title: str = ""
    sample: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    user: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    folder: Path | None = None
    config_text: str = ""
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    environment: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    start_time: int = 0
    """Nanoseconds since 1970 UTC."""

    def plain(self) -> dict[str, Any]:
        """Return everything but the folder as plain JSON, for another process."""
        names = [f.name for f in dataclasses.fields(self) if f.name != "folder"]
        values: dict[str, Any] = json.loads(
            json.dumps({name: getattr(self, name) for name in names}, default=str)
        )
        return values


def new_uid(title: str = "") -> str:
    """Return a new run uid: UTC date and time, a few letters of the title, four random digits."""
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:32].strip("-")
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    return "-".join(part for part in (stamp, slug, secrets.token_hex(2)) if part)
