"""What every process of a run has in common: its order, its voice to the supervisor, its orphanhood.

The supervisor writes one JSON line, the order, to a child's standard input and leaves the pipe
open: when it ends, the supervisor is gone and the child brings its work to an end. The child
answers with JSON lines, one event each. Whatever a plugin prints goes to standard error, and from
there into ``run.log``.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import IO, Any

FATAL = 3
"""Exit status of a child that must not be restarted: its configuration or input does not fit."""

DISK_FULL = 75
"""Exit status of a recorder that waits for space on the disk."""


class FatalError(Exception):
    """Something that a restart does not mend; one clear line."""


class Parent:
    """The supervisor, as a child sees it."""

    def __init__(self, events: IO[str]) -> None:
        self._events = events
        self._lock = threading.Lock()
        self.gone = threading.Event()

    def tell(self, event: str, **fields: Any) -> None:
        """Send an event; when the supervisor is gone nobody hears it."""
        try:
            with self._lock:
                self._events.write(json.dumps({"event": event, **fields}, default=str) + "\n")
                self._events.flush()
        except (OSError, ValueError):
            self.gone.set()


class _Handler(logging.Handler):
    def __init__(self, parent: Parent) -> None:
        super().__init__()
        self._parent = parent

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            message += f" ({record.exc_info[1]!r})"
        self._parent.tell(
            "log", level=record.levelname.lower(), time=time.time_ns(), message=message
        )


def main(work: Callable[[Mapping[str, Any], Parent], None]) -> None:
    """Take the order, run ``work(order, parent)``, and exit with a status the supervisor knows."""
    # Events keep the pipe; everything that prints goes to standard error instead.
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.enable()
    parent = Parent(events)
    root = logging.getLogger()
    root.addHandler(_Handler(parent))
    root.setLevel(logging.INFO)
    line = sys.stdin.readline()
    if not line:
        raise SystemExit("this program is started by 'daq run'")
    order = json.loads(line)
    # A thread that reads standard input must not hold its lock when the interpreter ends.
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    status = 0
    try:
        work(order, parent)
    except FatalError as error:
        parent.tell("error", message=str(error), fatal=True)
        status = FATAL
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except Exception as error:
        import traceback

        traceback.print_exc()
        parent.tell("error", message=f"{type(error).__name__}: {error}", fatal=False)
        status = 1
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads of plugins and libraries must not keep a finished process alive.
    os._exit(status)


def _watch(parent: Parent) -> None:
    while os.read(0, 4096):
        pass
    parent.gone.set()
