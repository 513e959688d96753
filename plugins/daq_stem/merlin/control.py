"""A Merlin camera that is set up, started and triggered from here."""

from __future__ import annotations

import contextlib
import logging
import time
from typing import Final, Literal

import daq
from daq_stem.merlin.commands import ARMED, BUSY, IDLE, Commands, RefusedError
from daq_stem.merlin.settings import Settings

log = logging.getLogger("merlin")

LOOK: Final = 0.05
"""s; how long to wait for the camera before looking whether the source shall end."""


class EndedEarlyError(Exception):
    """The acquisition cannot go on; the message says why."""


class Control:
    """Tells a camera what to do; connects to its command socket when there is something to say.

    Parameters
    ----------
    config
        What is to be set, and where the camera is.
    context
        Tells whether the source is to end.
    """

    def __init__(self, config: Settings, context: daq.SourceContext) -> None:
        self._config, self._context = config, context
        self._commands: Commands | None = None

    def set_up(self) -> None:
        """Set the parameters; an acquisition that runs is stopped before."""
        if self._command().status() in (BUSY, ARMED):
            log.warning("an acquisition was running: stopped")
            self._command().do("STOPACQUISITION")
        for name, value in self._config.parameters_to_set().items():
            try:
                self._insist("set", name, value)
            except RefusedError as error:
                raise ValueError(f"Merlin at {self._config.where} refuses {error}") from None

    def start(self) -> None:
        """Start an acquisition."""
        self._insist("do", "STARTACQUISITION")

    def stop(self) -> None:
        """Stop the acquisition that runs, if the camera can be reached and will."""
        with contextlib.suppress(RefusedError, OSError):
            self._command().do("STOPACQUISITION")

    def trigger(self) -> None:
        """Give the software trigger once the camera is armed."""
        deadline = time.monotonic() + min(1.0, self._config.timeout)
        while self.status() == IDLE and time.monotonic() < deadline:
            if self._context.wait(LOOK / 5):
                return
        try:
            self._command().do("SOFTTRIGGER")
        except OSError as error:
            raise EndedEarlyError(f"SOFTTRIGGER: {in_words(error)}") from None

    def status(self) -> int | None:
        """Return DETECTORSTATUS, None where it cannot be had."""
        try:
            return self._command().status()
        except OSError:
            self.hang_up()
            return None

    def hang_up(self) -> None:
        """Close the command connection."""
        if self._commands is not None:
            self._commands.close()
            self._commands = None

    def _insist(self, verb: Literal["set", "do"], name: str, *value: object) -> None:
        """Tell the camera something, again while it is busy with what it did before.

        A connection that was lost meanwhile is made again.
        """
        deadline = time.monotonic() + self._config.timeout
        while not self._context.stopping:
            try:
                getattr(self._command(), verb)(name, *value)
                return
            except RefusedError as error:
                if not error.busy or time.monotonic() > deadline:
                    raise
            except OSError as error:
                self.hang_up()
                if time.monotonic() > deadline:
                    raise EndedEarlyError(f"{name}: {in_words(error)}") from None
            self._context.wait(LOOK)

    def _command(self) -> Commands:
        """Return the command connection, made if need be."""
        if self._commands is None:
            config = self._config
            try:
                self._commands = Commands(config.host, config.command_port, config.timeout)
            except OSError as error:
                raise ConnectionError(
                    f"the command port {config.command_port}: {in_words(error)}"
                ) from None
        return self._commands


def in_words(error: Exception) -> str:
    """Return what an error says, without the number of the operating system."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
