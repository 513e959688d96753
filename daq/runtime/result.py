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
    reasons = [*problems, *(f"{name}: {reason}" for name, reason in failed.items())]
    for name, counters in streams.items():
        if counters["status"] in ("aborted", "failed", "stale") and not name.startswith("run."):
            own = closed.get(name, {}).get("reason") or counters.get("reason")
            reasons.append(f"{name}: {own or counters['status']}")
    for header in closed.values():
        given_up = header.get("given_up") or ()
        reasons += [f"{header['stream']}: {who} did not take everything" for who in given_up]
    if not reasons:
        return "complete", ""
    return ("failed" if failed else "aborted"), "; ".join(dict.fromkeys(reasons))
