"""How a run ended."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


@dataclasses.dataclass(frozen=True)
class RunResult:
    """How a run ended: ``complete`` or why not, its file and picture where there are any."""

    complete: bool
    reason: str
    file: Path | None
    picture: Path | None
    streams: Mapping[str, Any]


def named(name: str, message: str) -> str:
    """Return a message that begins with the name of who says it, once."""
    return message if message.startswith((f"{name}:", f"{name} ")) else f"{name}: {message}"


def verdict(
    problems: Sequence[str], failed: Mapping[str, str], streams: Mapping[str, Any],
    closed: Mapping[str, Mapping[str, Any]],
) -> tuple[str, str]:  # fmt: skip
    """Return ``complete``, ``aborted`` or ``failed``, and every reason once.

    Parameters
    ----------
    problems
        What the supervisor met.
    failed
        Processes that were given up on, and why.
    streams
        Counters of the bus, per stream.
    closed
        What each process said of the streams that it closed.
    """
    reasons = [*problems, *(named(name, reason) for name, reason in failed.items())]
    ended = [n for n, c in streams.items() if c["status"] in ("aborted", "failed", "stale")]
    for name in ended:
        own = closed.get(name, {}).get("reason") or streams[name].get("reason") or ""
        # A stream that ended because its input did, or its process, adds nothing.
        follows = any(own.startswith(f"{other} ") for other in ended if other != name)
        if not (follows or name.startswith("run.") or streams[name].get("owner") in failed):
            reasons.append(f"{name}: {own or streams[name]['status']}")
    for header in closed.values():
        given_up = header.get("given_up") or ()
        reasons += [f"{header['stream']}: {who} did not take everything" for who in given_up]
    if not reasons:
        return "complete", ""
    return ("failed" if failed else "aborted"), "; ".join(dict.fromkeys(reasons))
