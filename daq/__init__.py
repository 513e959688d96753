"""glasswatch: live correlations and fits beside the instrument. These are the public names."""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

__all__ = [
    "Aborted",
    "Analysis",
    "Batch",
    "Config",
    "ConfigError",
    "Field",
    "Join",
    "Missing",
    "NO_TIME",
    "PixelBins",
    "Reader",
    "Rebatch",
    "Run",
    "Source",
    "SourceContext",
    "Stream",
    "View",
    "corrections_for",
    "hookimpl",
    "setting",
]

_MODULES = {
    "Aborted": "source", "Analysis": "analysis", "Batch": "streams", "Config": "config", "ConfigError": "config",
    "Field": "streams", "Join": "join", "Missing": "streams", "NO_TIME": "streams",
    "PixelBins": "pixel_bins",
    "Reader": "reader", "Rebatch": "rebatch", "Run": "run", "Source": "source",
    "SourceContext": "source", "Stream": "streams", "View": "view",
    "corrections_for": "corrections", "hookimpl": "hooks", "setting": "config",
}  # fmt: skip

if TYPE_CHECKING:
    from daq.analysis import Analysis
    from daq.config import Config, ConfigError, setting
    from daq.corrections import corrections_for
    from daq.hooks import hookimpl
    from daq.join import Join
    from daq.pixel_bins import PixelBins
    from daq.reader import Reader
    from daq.rebatch import Rebatch
    from daq.run import Run
    from daq.source import Aborted, Source, SourceContext
    from daq.streams import NO_TIME, Batch, Field, Missing, Stream
    from daq.view import View


def __getattr__(name: str) -> object:
    """Import a public name when it is first used: ``daq --help`` shall not wait for numpy."""
    if name not in _MODULES:
        raise AttributeError(f"module 'daq' has no attribute {name!r}")
    import importlib

    value = globals()[name] = getattr(importlib.import_module(f"daq.{_MODULES[name]}"), name)
    return value
