"""A child of the supervisor: started, heard, restarted with growing delay, given up on in the end."""

from __future__ import annotations

import json
import logging
import subprocess
import time
from collections import deque
from collections.abc import Callable
from typing import IO, Any

from daq import posix
from daq.runtime import child

log = logging.getLogger("supervisor")

RESTARTS = 5
FIRST_DELAY = 0.5
HEALTHY_SECONDS = 120.0
"""A child that ran this long without an end is given its restarts back."""


class Child:
    """One process of the run and what became of it.

    ``state`` is ``idle`` (not started), ``running``, ``waiting`` (to be restarted at `due`),
    ``ended`` (it finished its work) or ``failed`` (given up on, see `reason`).

    Parameters
    ----------
    name
        What the run calls it.
    module
        Python module whose ``__main__`` takes the order.
    order
        Called at every start, so that a restart knows what the last life has taught.
    on_event
        Called with (child, event) for every event.
    """

    def __init__(
        self, name: str, module: str, order: Callable[[], dict[str, Any]],
        on_event: Callable[[Child, dict[str, Any]], None],
    ) -> None:  # fmt: skip
        self.name = name
        self.state = "idle"
        self.reason = ""
        self.restarts = 0
        self.due = 0.0
        self.started = 0.0
        self.ready = False
        self.stderr: deque[str] = deque(maxlen=20)
        self.process: subprocess.Popen[bytes] | None = None
        self._module = module
        self._order = order
        self._on_event = on_event
        self._done = False
        self._fatal: str | None = None
        self._error: str | None = None
        self._buffers = {"stdout": b"", "stderr": b""}

    @property
    def over(self) -> bool:
        """True once the child will not come back."""
        return self.state in ("ended", "failed")

    def start(self) -> None:
        """Start the process and give it its order."""
        self._fatal = self._error = None
        self.ready = self._done = False
        self.stderr.clear()
        self._buffers = {"stdout": b"", "stderr": b""}
        self.process = posix.start_process(["-m", self._module])
        assert self.process.stdin and self.process.stdout and self.process.stderr
        posix.set_nonblocking(self.process.stdout)
        posix.set_nonblocking(self.process.stderr)
        self.state, self.started = "running", time.monotonic()
        try:
            self.process.stdin.write(json.dumps(self._order()).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # It died at once; `poll` says so.

    def poll(self) -> bool:
        """Hear what the child says, and notice its end; return True if its state has changed."""
        process = self.process
        if self.state == "waiting" and time.monotonic() >= self.due:
            self.restarts += 1
            self.start()
            return True
        if process is None or self.state != "running":
            return False
        returncode = process.poll()
        self._hear(process.stdout, "stdout")
        self._hear(process.stderr, "stderr")
        if returncode is None:
            if self.restarts and time.monotonic() - self.started > HEALTHY_SECONDS:
                self.restarts = 0
            return False
        self._close_pipes()
        self._ended(returncode)
        return True

    def give_up(self, reason: str) -> None:
        """End the child and do not restart it."""
        self.kill()
        if not self.over:
            self.state, self.reason = "failed", reason

    def kill(self) -> None:
        """Kill the process at once."""
        if self.process is not None and self.process.poll() is None:
            posix.kill_process(self.process)
            self.process.wait(10)
            self._close_pipes()

    def wait(self, seconds: float) -> bool:
        """Wait for the end of the process while hearing what it says; False on time-out."""
        deadline = time.monotonic() + seconds
        while self.state == "running":
            self.poll()
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    # -- inside ---------------------------------------------------------------------------------

    def _ended(self, returncode: int) -> None:
        if returncode == 0 and self._done:
            self.state = "ended"
            return
        how = self._fatal or self._error or posix.describe_exit(returncode)
        if returncode == 0:
            how = "it left before its work was done"
        if returncode == child.FATAL or self._fatal:
            self.state, self.reason = "failed", how
        elif returncode == child.DISK_FULL:
            self.state, self.due, self.reason = "waiting", time.monotonic() + 1.0, how
        elif self.restarts >= RESTARTS:
            self.state = "failed"
            self.reason = f"{how}; given up after {RESTARTS} restarts"
        else:
            delay = FIRST_DELAY * 2**self.restarts
            self.state, self.due, self.reason = "waiting", time.monotonic() + delay, how
        detail = f" ({self.stderr[-1]})" if self.stderr and returncode < 0 else ""
        log.warning("%s: %s%s", self.name, self.reason, detail)

    def _hear(self, pipe: IO[bytes] | None, which: str) -> None:
        while pipe is not None:
            try:
                chunk = pipe.read(65536)
            except (BlockingIOError, ValueError):
                break
            if not chunk:
                break
            *lines, self._buffers[which] = (self._buffers[which] + chunk).split(b"\n")
            for line in lines:
                self._line(line.decode("utf-8", "replace"), which)
            # A line without an end must not grow for ever.
            self._buffers[which] = self._buffers[which][-65536:]

    def _line(self, line: str, which: str) -> None:
        if which == "stderr":
            self.stderr.append(line)
            event: dict[str, Any] = {"event": "log", "level": "info", "message": line}
        else:
            try:
                event = json.loads(line)
            except ValueError:
                event = {"event": "log", "level": "info", "message": line}
        if event["event"] == "error":
            if event.get("fatal"):
                self._fatal = event["message"]
            self._error = event["message"]
        elif event["event"] in ("closed", "finished", "ended"):
            self._done = self._done or not event.get("more")
        elif event["event"] in ("ready", "subscribed", "recording", "opened"):
            self.ready = True
        self._on_event(self, event)

    def _close_pipes(self) -> None:
        if self.process is not None:
            for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
                if pipe is not None:
                    try:
                        pipe.close()
                    except BrokenPipeError:
                        pass
