"""A DECTRIS detector that is set up, armed, triggered and aborted from here."""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

import daq
from daq_stem.dectris.rest import Simplon, SimplonError
from daq_stem.dectris.series import Tally
from daq_stem.dectris.settings import Settings

log = logging.getLogger("dectris")

ARMING: Final = 120.0
"""s; a detector may take so long to answer that it is armed."""

SETTLING: Final = 5.0
"""s; after the end of a series a detector is ready for the next within this time."""

ASK_EVERY: Final = 2.0
"""s, at least, between two questions what the detector does."""


class Arming:
    """Tells a detector what to do.

    Parameters
    ----------
    config
        What is to be set, and where the control unit is.
    context
        Tells whether the source is to end.
    tally
        Counts questions without an answer.

    Attributes
    ----------
    active
        The detector was armed from here, and the series has not ended.
    triggered
        The triggers of the present series were sent, or are being sent.
    """

    def __init__(self, config: Settings, context: daq.SourceContext, tally: Tally) -> None:
        self._config, self._context, self._tally = config, context, tally
        self._camera = Simplon(config.host, config.control_port)
        self._thread: threading.Thread | None = None
        self._series = 0
        self._asked = time.monotonic()
        self.active = self.triggered = False
        self.trouble = ""
        """Why it could not be triggered."""

    def set_up(self) -> None:
        """Set the detector up as configured; ValueError where it is not there."""
        config, camera = self._config, self._camera
        where = f"{config.host}:{config.control_port}"
        try:
            state = camera.state()
            if state == "na":
                raise ValueError(f"the detector at {where} is not initialized: do that first")
            if state not in ("idle", "error"):
                log.warning("the detector is in state %r: aborted", state)
                camera.command("abort")
            for name, value in config.detector_settings().items():
                camera.set("detector", name, value)
            for name, value in (
                ("mode", "enabled"), ("format", config.format), ("header_detail", "all"),
            ):  # fmt: skip
                camera.set("stream", name, value)
        except OSError as error:
            raise ValueError(
                f"no detector control unit at {where}: {error}; is it on, and are host and "
                "control_port right?"
            ) from None

    def arm(self) -> int | None:
        """Arm the detector; return the number of the series, if it says one.

        Its end message may come while it is not yet done: that is waited for. Raises OSError where it
        does not answer, `SimplonError` where it will not.
        """
        until = time.monotonic() + SETTLING
        while self._camera.state() in ("acquire", "busy") and time.monotonic() < until:
            if self._context.wait(0.02):
                break
        series = self._camera.command("arm", timeout=ARMING)
        self.active = True
        return series

    def resume(self, *, again: bool) -> None:
        """Take up what was armed in an earlier life; ``again``: arm for the next series if it is idle."""
        try:
            state = self._camera.state()
            if again and state == "idle":
                self._camera.command("arm", timeout=ARMING)
        except OSError as error:
            raise ValueError(f"no detector control unit: {error}") from None
        self.active = True
        self.triggered = state != "ready"

    def trigger(self, images: int) -> None:
        """Send the triggers that the mode wants, in a thread: each waits for its images."""
        mode, series = self._config.trigger_mode, self._series
        if self.triggered or mode in ("exts", "exte"):
            return
        self.triggered = True

        def over() -> bool:
            return self._context.stopping or self._series != series

        def send() -> None:
            try:
                for _ in range(images if mode == "inte" else 1):
                    if over():
                        return
                    self._camera.command("trigger", timeout=86_400.0)
            except (OSError, SimplonError) as error:
                if not over():
                    self.trouble = str(error)

        self._thread = threading.Thread(target=send, name="trigger", daemon=True)
        self._thread.start()

    def is_idle(self) -> bool:
        """Tell whether the detector says that it does nothing; it is asked every `ASK_EVERY` s."""
        now = time.monotonic()
        if now - self._asked < ASK_EVERY:
            return False
        self._asked = now
        try:
            return self._camera.state() in ("idle", "error", "na")
        except (OSError, SimplonError) as error:
            self._tally.add("times the detector did not say what it does", str(error))
            return False

    def ended(self) -> None:
        """The series has ended: no more triggers for it."""
        self._series += 1
        self.active = False

    def abort(self) -> bool:
        """Abort the series that was armed here; return whether there was one, and the detector heard it."""
        active = self.active
        self.ended()
        if not active:
            return False
        try:
            self._camera.command("abort")
        except (OSError, SimplonError) as error:
            log.warning("the detector could not be told to abort: %s", error)
            return False
        return True

    def close(self) -> None:
        """Wait for the thread that triggers."""
        if self._thread is not None:
            self._thread.join(2.0)
