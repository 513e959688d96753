"""The process of the bus."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from daq.bus.broker import Broker, BusSettings
from daq.bus.endpoint import EndpointError
from daq.runtime import child
from daq.streams import Batch

ORPHAN_SECONDS = 30.0


class RunHistory:
    """Reads the records of a run for ``fetch``: the file is opened when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._reader: Any = None

    def __call__(self, stream: str, first: int, count: int, stride: int) -> Batch:
        """Return records from the file; raises LookupError where they are not there."""
        from daq.recording.reader import RunReader

        if self._reader is None:
            if not self._folder.is_dir():
                raise LookupError("nothing is recorded")
            self._reader = RunReader(self._folder)
        self._reader.refresh()
        if stream not in self._reader.streams:
            raise LookupError("not recorded")
        count = min(count, self._reader.count(stream) - first)
        if count <= 0:
            raise LookupError(f"record {first} is not in the file yet")
        batch: Batch = self._reader.read(stream, first, count, stride)
        return batch


def work(order: Mapping[str, Any], parent: child.Parent) -> None:
    """Serve until stopped, or until the supervisor and everybody else is gone."""
    settings = BusSettings(**order["settings"])
    folder = order.get("folder")
    try:
        broker = Broker(settings, RunHistory(Path(folder)) if folder else None)
    except EndpointError as error:
        raise child.FatalError(str(error)) from None
    threading.Thread(target=_stop_orphan, args=(broker, parent), daemon=True).start()
    parent.tell("ready", endpoint=settings.endpoint)
    reason = broker.serve()
    parent.tell("ended", reason=reason)


def _stop_orphan(broker: Broker, parent: child.Parent) -> None:
    """Without a supervisor: let the others bring their streams to an end, then stop."""
    parent.gone.wait()
    deadline = time.monotonic() + ORPHAN_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(RuntimeError):  # The loop changes what is read here.
            if not [peer for peer in broker.status()["peers"] if not peer.startswith("viewer")]:
                break
        time.sleep(0.1)
    broker.stop("the supervisor is gone")


if __name__ == "__main__":
    child.main(work)
