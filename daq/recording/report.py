"""What `verify` and `repair` found, in a form for people and for programs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any


@dataclasses.dataclass(slots=True)
class Report:
    """The state of a run.

    ``streams`` gives for each stream ``records``, ``missing``, ``durable``, ``bytes``, ``files``
    and ``status``; ``problems`` are lines for people, ``notes`` lines that tell of no fault.
    ``sealed`` is true where the run was finished and nothing can be added.
    """

    path: Path
    sealed: bool = False
    problems: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    streams: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    damaged_files: set[str] = dataclasses.field(default_factory=set)

    @property
    def ok(self) -> bool:
        """True where there is no problem."""
        return not self.problems

    def lines(self) -> list[str]:
        """Return the report as lines of text."""
        rows = [
            f"{name}: " + ", ".join(f"{key} {value}" for key, value in counts.items())
            for name, counts in self.streams.items()
        ]
        return [
            *rows,
            *self.notes,
            *self.problems,
            f"{self.path}: {'whole' if self.ok else 'not whole'}",
        ]

    def __str__(self) -> str:
        return "\n".join(self.lines())
