"""What a run ran on: versions of everything, host and clock, for the file."""

from __future__ import annotations

import importlib.metadata
import platform
from typing import Any

import daq


def environment() -> dict[str, Any]:
    """Return versions of all packages, host and clock: what goes into the file."""
    versions = {d.name: d.version for d in importlib.metadata.distributions() if d.name}
    return {
        "glasswatch": daq.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "hosts": {platform.node(): {"clock_offset_seconds": 0.0}},
        "packages": dict(sorted(versions.items())),
    }
