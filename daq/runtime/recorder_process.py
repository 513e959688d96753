"""The process of the recorder: a lossless consumer that writes streams to the run's folder.

Nothing is given back to the bus before it is in the file and flushed to the system (`written`);
`durable` follows when it is on the disk. The recorder that follows a killed one goes on where the
file ends.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from daq.bus.client import (
    Closed,
    Command,
    Consumer,
    Delivery,
    Disconnected,
    Event,
    Lost,
    Opened,
    Refused,
)
from daq.recording.reader import RunReader
from daq.recording.writer import RecordingError, RecordingSettings, RunWriter
from daq.run import Run
from daq.runtime import child

log = logging.getLogger("recorder")

ORPHAN_SECONDS = 10.0
STREAMS = ["*", "truth.*"]

DRAIN_SECONDS = 3.0
"""So long it waits, once told to finish, for a word from streams that are not closed."""


class Recorder:
    """Writes what the bus sends until it is told to finish.

    Parameters
    ----------
    endpoint
        Of the bus.
    run
        What is known of the run.
    folder
        Parent of the run's folder; where the run's folder holds a journal, recording goes on.
    settings
        Of the files; ``durable_interval`` says how often data are made durable, in seconds.
    """

    def __init__(
        self, endpoint: str, run: Run, folder: Path, settings: RecordingSettings, *,
        durable_interval: float = 1.0, parent: child.Parent | None = None, ring: bool = True,
    ) -> None:  # fmt: skip
        self._consumer = Consumer(endpoint, "recorder", "recorder", timeout=None)
        self._interval = durable_interval
        self._parent = parent
        self._ring = ring
        self._durable: dict[str, int] = {}
        self._dirty = False
        self._ending: tuple[Command, str, str] | None = None
        self._open: set[str] = set()
        own = folder / run.uid
        if _began(own):
            self._writer = RunWriter.resume(own, settings)
            log.info("recording goes on in %s", own)
        else:
            # Killed before the first entry of the journal: the folder holds nothing of the run.
            shutil.rmtree(own, ignore_errors=True)
            self._writer = RunWriter.create(run, folder, settings)

    def run(self) -> Path:
        """Record until ``finish`` or the end of everything; return the path of the ``.nxs``."""
        consumer = self._consumer
        consumer.subscribe(STREAMS, credit=8, ring=self._ring)
        if self._parent is not None:
            self._parent.tell("recording")
        synced = quiet = time.monotonic()
        try:
            now = quiet
            # what was recorded late may still be on its way when everything else has ended
            while self._ending is None or (self._open and now - quiet < DRAIN_SECONDS):
                event = consumer.receive(min(0.1, self._interval))
                now = time.monotonic()
                if event is not None:
                    quiet = now
                    self._take(event)
                if now - synced >= self._interval and self._dirty:
                    self._sync()
                    synced = time.monotonic()
                orphaned = self._parent is not None and self._parent.gone.is_set()
                if orphaned and now - quiet > ORPHAN_SECONDS:
                    return self._writer.finish("aborted", "the supervisor ended")
            command, status, reason = self._ending
            path = self._writer.finish(status, reason)
            consumer.done(command, path=str(path))
            return path
        finally:
            consumer.close()

    def abandon(self) -> None:
        """Close the files as they are; the journal tells how far they can be trusted."""
        self._writer.abandon()

    # -- inside ---------------------------------------------------------------------------------

    def _take(self, event: Event) -> None:
        writer = self._writer
        match event:
            case Delivery():
                stream = event.batch.stream
                if not event.intact():
                    raise RuntimeError(f"{stream}: a slot changed while it was written")
                writer.write(event.batch)
                self._dirty = True
                self._consumer.release(
                    event, written=writer.written(stream), durable=writer.durable(stream)
                )
            case Opened():
                self._begin(event)
            case Lost():
                writer.write_missing(event.stream, event.first, event.count, event.reason)
                self._dirty = True
                self._report(event.stream)
            case Closed():
                writer.close_stream(event.stream, event.count, event.status, event.reason)
                self._open.discard(event.stream)
                self._sync()
                self._report(event.stream)
            case Command():
                self._command(event)
            case Refused():
                log.warning("the bus refused: %s", event.message)
            case Disconnected():
                log.warning("the bus was restarted")

    def _begin(self, event: Opened) -> None:
        writer, name = self._writer, event.stream.name
        self._open.add(name)
        rows = writer.open_stream(event.stream)
        begins = event.next
        if begins is not None and begins > rows:
            reason = "before the recording began" if rows == 0 else "lost while nothing recorded"
            writer.write_missing(name, rows, begins - rows, reason)
        self._report(name)

    def _report(self, stream: str) -> None:
        writer = self._writer
        written = writer.written(stream)
        self._consumer.credit(
            stream, 0, through=written, written=written, durable=writer.durable(stream)
        )

    def _sync(self) -> None:
        self._dirty = False
        for stream, durable in self._writer.sync().items():
            if self._durable.get(stream) != durable:
                self._durable[stream] = durable
                self._report(stream)

    def _command(self, command: Command) -> None:
        if command.name == "finish":
            arguments = command.arguments
            status = str(arguments.get("status", "complete"))
            self._ending = command, status, str(arguments.get("reason", ""))
        else:
            self._consumer.done(command, error="the recorder knows one command: finish")


def _began(own: Path) -> bool:
    """Tell whether a folder holds what an earlier life of the recorder has written."""
    if not own.is_dir():
        return False
    if any(own.glob("*.h5")):
        return True
    try:
        with RunReader(own) as reader:
            return bool(reader.run.uid)
    except (OSError, ValueError, LookupError):
        return False


def is_finished(path: Path) -> bool:
    """Tell whether a run was finished: nothing can be added."""
    with RunReader(path) as reader:
        return reader.finished is not None


def work(order: Mapping[str, Any], parent: child.Parent) -> None:
    """Record; exit with `child.DISK_FULL` where the disk is full, to go on when there is space."""
    run = Run(**{**order["run"], "folder": Path(order["folder"])})
    settings = RecordingSettings(**order["settings"])
    recorder = None
    finished = Path(order["folder"]) / run.uid / f"{run.uid}.nxs"
    if finished.exists() and is_finished(finished):
        # Killed between the end of the file and its answer.
        parent.tell("finished", path=str(finished))
        return
    try:
        recorder = Recorder(
            order["endpoint"], run, Path(order["folder"]), settings,
            durable_interval=order["durable_interval"], parent=parent, ring=order.get("ring", True),
        )  # fmt: skip
        path = recorder.run()
    except RecordingError as error:
        parent.tell("error", message=str(error), fatal=False, disk_full=error.disk_full)
        if recorder is not None:
            recorder.abandon()
        raise SystemExit(child.DISK_FULL if error.disk_full else 1) from None
    except OSError as error:
        raise child.FatalError(f"recorder.output: {error}") from error
    parent.tell("finished", path=str(path))


if __name__ == "__main__":
    child.main(work)
