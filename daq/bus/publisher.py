"""The source's side of the bus: open streams, send within credit, survive a bus that restarts.

What was sent is kept until the bus says that nobody needs it any more. When the bus dies, its
successor says which index it expects, and everything from there on is sent again.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from daq.bus.connection import Connection, ConnectionLost, Refused
from daq.bus.outgoing import Kept, Outgoing
from daq.bus.ring import HEADER_BYTES, RingShape, part_offsets
from daq.protocol import Message
from daq.streams import Array, Batch, Stream, check_batch

log = logging.getLogger("bus")

RING_FROM_BYTES = 4096
"""Streams with smaller records travel inline: a slot would cost more than the copy."""

RING_SLOTS = 64

_FATAL = frozenset({"owned", "replaced", "closed", "not_allowed"})
_FATAL_AT_OPEN = _FATAL | {
    "stream_changed", "bad_name", "bad_dtype", "bad_shape", "bad_part", "bad_header", "too_large",
    "too_many", "internal",
}  # fmt: skip
_FATAL_AT_CLOSE = frozenset({
    "owned", "replaced", "not_open", "bad_count", "bad_index", "bad_header", "internal",
})  # fmt: skip


class Publisher:
    """Opens and sends streams. For one thread, but for `allocate` and `in_slot`.

    Parameters
    ----------
    endpoint, name
        Of the bus, and of this party.
    role
        ``source``, or ``control`` for the supervisor's own streams.
    on_command
        Called with (name, arguments) of each command; returns the fields of ``done``, or raises
        ValueError with the reason why not.
    ring
        Whether to ask for shared memory where records are large.

    Attributes
    ----------
    errors
        The last errors that the bus has sent, without those that were raised.
    bus_restarts, resent
        How often the bus was found again, and how many records were sent again.
    """

    def __init__(
        self,
        endpoint: str,
        name: str,
        role: str = "source",
        *,
        timeout: float | None = 10.0,
        on_command: Callable[[str, dict[str, Any]], dict[str, Any]] | None = None,
        ring: bool = True,
    ) -> None:
        self._connection = Connection(endpoint, name, role)
        self._outgoing: dict[str, Outgoing] = {}
        self._on_command = on_command
        self._ring = ring
        self.errors: deque[Refused] = deque(maxlen=100)
        self.bus_restarts = 0
        self.resent = 0
        self._lost = False
        try:
            self._connection.start(timeout)
        except BaseException:
            self._connection.close()
            raise

    # -- what a source does ---------------------------------------------------------------------

    def open(
        self,
        stream: Stream,
        *,
        batch_records: int = 64,
        timeout: float | None = None,
        wait: bool = True,
    ) -> int:
        """Open a stream and return the index that comes next: 0, or where a source goes on.

        Waits until the bus, and the recorder where there is one, are ready for its first record.
        ``batch_records`` is the number of records that a ring slot is made for. With ``wait``
        False it returns at once; `ready` tells when a batch can be sent without waiting.
        Raises `Refused` where the bus refuses it, TimeoutError after ``timeout`` seconds.
        """
        most = self._connection.welcome.get("batch_bytes")
        if most is not None and sum(a.nbytes for a in stream.constants.values()) > most:
            # Sent, it would end the connection.
            raise Refused(
                "too_large", f"{stream.name}: constants of more than {most} bytes", stream.name
            )
        out = self._outgoing[stream.name] = Outgoing(stream, batch_records)
        if not self._lost:
            self._send_open(out)
        if wait:
            self._wait(lambda: out.opened, timeout, f"{stream.name} was not opened in time", out)
        return out.next

    def ready(self, stream: str) -> bool:
        """Tell whether a batch of the stream can be sent without waiting."""
        return not self._lost and self._clear(self._outgoing[stream])

    def next(self, stream: str) -> int:
        """Return the index of the record that comes next."""
        return self._outgoing[stream].next

    def progress(self, stream: str) -> tuple[int | None, int | None]:
        """Return how many records are written, and durable (None where nothing is recorded)."""
        out = self._outgoing[stream]
        return out.written, out.durable

    def in_slot(self, stream: str, batch: Batch) -> bool:
        """Tell whether a batch lies in memory from `allocate`, and travels without another copy."""
        out = self._outgoing.get(stream)
        return out is not None and out.in_place(batch)

    def allocate(
        self, stream: str, count: int, stopping: Callable[[], bool] = lambda: False
    ) -> dict[str, Array]:
        """Return writable arrays for ``count`` records: in a free ring slot, or ordinary memory.

        Sent as one whole batch they are not copied again, and belong to the bus from then on. May
        be called from another thread than the one that sends. It waits for a free slot, but
        gives ordinary memory once ``stopping()``.
        """
        return self._outgoing[stream].allocate(count, stopping)

    def send(self, batch: Batch, timeout: float | None = None) -> None:
        """Send a batch; waits for credit. Repeats of what was sent before are dropped.

        A batch whose ``first`` is None is numbered on; a jump is declared as missing, and so are
        records that are not valid. Raises ValueError where fields, dtypes or shapes are not those that were opened, `Refused` where
        the stream is ours no more, and TimeoutError after ``timeout`` seconds.
        """
        out = self._outgoing[batch.stream]
        first = out.next if batch.first is None else batch.first
        if batch.count == 0:
            return
        if first > out.next:
            self.missing(batch.stream, out.next, first - out.next, "jump in the source")
        elif first < out.next:
            skip = out.next - first
            if skip >= batch.count:
                return
            batch = batch.slice(skip, batch.count)
        if not batch.valid.all():
            self._send_pieces(batch, timeout)
            return
        if out.in_place(batch):
            self._wait_clear(out, timeout)
            kept = out.placed(batch)
            if kept is not None:
                self._keep(out, kept)
                return
        batch = check_batch(out.stream, batch)
        most = max(1, out.batch_bytes // max(1, out.stream.record_bytes))
        for start in range(0, batch.count, most):
            self._wait_clear(out, timeout)
            self._keep(out, out.copied(batch.slice(start, min(start + most, batch.count))))

    def _send_pieces(self, batch: Batch, timeout: float | None) -> None:
        """Send what is valid and declare the rest as missing, in order."""
        first = self._outgoing[batch.stream].next
        edges = [0, *(np.flatnonzero(np.diff(batch.valid)) + 1).tolist(), batch.count]
        for start, stop in itertools.pairwise(edges):
            if batch.valid[start]:
                piece = batch.slice(start, stop)
                piece.first = first + start
                self.send(piece, timeout)
            else:
                self.missing(batch.stream, first + start, stop - start, "not valid")

    def missing(self, stream: str, first: int, count: int, reason: str) -> None:
        """Declare records that the instrument lost; a jump before them is lost as well."""
        out = self._outgoing[stream]
        end = first + count
        if end > out.next:
            self._keep(out, Kept(out.next, end - out.next, reason=reason))

    def close_stream(
        self, stream: str, status: str = "complete", reason: str = "", timeout: float | None = None
    ) -> dict[str, Any]:
        """End a stream; return the header of ``closed`` once everyone has taken everything.

        Raises `Refused` where it is not ours to close, TimeoutError after ``timeout`` seconds.
        """
        out = self._outgoing[stream]
        out.close_header = {
            "stream": stream, "count": out.next, "status": status, "reason": reason,
        }  # fmt: skip
        self._flush(out)
        what = f"{stream} was not closed in time"
        self._wait(lambda: out.closed is not None, timeout, what, out)
        return out.closed or {}

    def pump(self, timeout: float | None = 0) -> None:
        """Take what the bus has sent: credit, commands, errors. Waits at most ``timeout`` seconds."""
        try:
            if self._lost:
                self._reconnect(timeout)
                return
            message = self._connection.receive(timeout)
            while message is not None:
                self._take(message)
                message = self._connection.receive(0)
        except ConnectionLost:
            self._lost = True

    def close(self) -> None:
        """Leave the bus."""
        self._connection.close()
        for out in self._outgoing.values():
            if out.ring is not None:
                out.ring.close()

    # -- inside ---------------------------------------------------------------------------------

    def _send_open(self, out: Outgoing) -> None:
        header = out.stream.header()
        if self._ring and out.stream.record_bytes >= RING_FROM_BYTES:
            shapes = [
                (field.dtype, (out.batch_records, *field.shape))
                for field in out.stream.fields.values()
            ]
            header["ring"] = {
                "slots": RING_SLOTS, "slot_bytes": part_offsets(shapes)[1] - HEADER_BYTES,
            }  # fmt: skip
        parts = [array.tobytes() for array in out.stream.constants.values()]
        self._connection.send("open", header, parts)

    @staticmethod
    def _clear(out: Outgoing) -> bool:
        return out.opened and out.credit > 0 and not out.unsent

    def _wait_clear(self, out: Outgoing, timeout: float | None) -> None:
        what = f"{out.stream.name}: no credit"
        self._wait(lambda: self._clear(out) and not self._lost, timeout, what, out)

    def _keep(self, out: Outgoing, kept: Kept) -> None:
        out.keep(kept)
        self._flush(out)
        self.pump(0)

    def _flush(self, out: Outgoing) -> None:
        """Send what waits, as far as there is credit; after the last of it the close."""
        while not self._lost and (kept := out.due()) is not None:
            out.unsent -= 1
            kept = out.sendable(kept)
            header: dict[str, Any] = {
                "stream": out.stream.name, "first": kept.first, "count": kept.count,
            }  # fmt: skip
            if kept.arrays is None:
                self._connection.send("missing", {**header, "reason": kept.reason})
                continue
            out.credit -= 1
            header["parts"] = [
                {"field": name, "dtype": array.dtype.str, "shape": list(array.shape)}
                for name, array in kept.arrays.items()
            ]
            if kept.slot is not None and kept.ring is not None:
                out.sequence += 1
                kept.ring.set_sequence(kept.slot, out.sequence)
                header |= {"slot": kept.slot, "sequence": out.sequence}
            self._connection.send("data", header, kept.payload or ())
        ready = out.opened and not out.unsent and not self._lost
        if ready and out.close_header is not None and not out.close_sent:
            out.close_sent = True
            self._connection.send("close", out.close_header)

    def _take(self, message: Message) -> None:
        header = message.header
        out = self._outgoing.get(header.get("stream") or header.get("about") or "")
        if message.kind == "credit" and out is not None:
            out.credit += header["batches"]
            for slot in header.get("slots") or ():
                out.free(slot)
            out.written, out.durable = header.get("written"), header.get("durable")
            out.done_through(header["through"])
            self._flush(out)
        elif message.kind == "opened" and out is not None:
            self._opened(out, header)
        elif message.kind == "closed" and out is not None:
            out.closed = header
        elif message.kind == "error":
            if header["code"] == "hello_first":
                self._lost = True
            elif header["code"] == "closed" and out is not None and out.close_header is not None:
                pass  # It was taken before the connection was lost; `closed` comes as well.
            else:
                self.errors.append(Refused(header["code"], header["message"], header.get("about")))
        elif message.kind == "command":
            self._command(header)

    def _command(self, header: dict[str, Any]) -> None:
        answer: dict[str, Any] = {"id": header["id"], "stream": None, "index": None}
        try:
            if self._on_command is None:
                raise ValueError(f"{self._connection.name} takes no commands")
            answer |= self._on_command(header["name"], header["arguments"])
        except (ValueError, TypeError, LookupError) as error:
            log.debug("command refused", exc_info=True)
            answer["error"] = str(error) or type(error).__name__
        self._connection.send("done", answer)

    def _opened(self, out: Outgoing, header: dict[str, Any]) -> None:
        out.credit = header["credit"]
        out.batch_bytes = header["batch_bytes"]
        ring = header.get("ring")
        out.attach(None if ring is None else RingShape.from_header(ring))
        out.opened, out.close_sent = True, False
        self.resent += out.send_again_from(header["next"])
        self._flush(out)

    def _reconnect(self, timeout: float | None) -> None:
        try:
            self._connection.start(timeout)
        except TimeoutError:
            return
        self._lost = False
        self.bus_restarts += 1
        for out in self._outgoing.values():
            if out.closed is None:
                out.credit = 0
                out.opened = False
                self._send_open(out)

    def _wait(
        self, condition: Callable[[], bool], timeout: float | None, what: str, out: Outgoing
    ) -> None:
        """Pump until a condition holds; raise the error that says that it never will."""
        deadline = None if timeout is None else time.monotonic() + timeout
        self._raise_fatal(out)
        while not condition():
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError(what)
            self.pump(0.2 if left is None else min(left, 0.2))
            self._raise_fatal(out)

    def _raise_fatal(self, out: Outgoing) -> None:
        name = out.stream.name
        if out.closed is not None and out.close_header is None:
            raise Refused("closed", f"{name} was closed by another party", name)
        fatal = _FATAL if out.opened else _FATAL_AT_OPEN
        if out.close_header is not None:
            fatal = fatal | _FATAL_AT_CLOSE
        for error in self.errors:
            if error.about == name and error.code in fatal:
                self.errors.remove(error)
                raise error
