"""The source type ``wire``: an outside client opens the stream of this name over the bus."""

from __future__ import annotations

from typing import Any

from daq.config import Config as BaseConfig
from daq.config import setting
from daq.source import Source


class WireSource(Source):
    """Waits for a client that speaks the protocol; no process of ours is started for it.

    The run goes on until the stream that carries the source's name is closed.
    """

    name = "wire"

    class Config(BaseConfig):
        """What the configuration may say."""

        note: str = setting("", "", "what the client is, for the people who read the file")

    def open(self, config: Any) -> Any:
        """Never called: the client opens its stream itself."""
        raise ValueError("a wire source is opened by its client")
