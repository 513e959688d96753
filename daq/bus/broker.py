"""The bus itself: one ROUTER socket, one loop, and the ledgers of its streams.

Data's way: a batch arrives as zmq frames (inline) or as the name of a ring slot that its source
has filled. The bus keeps it in the stream's ledger and sends it on to each consumer that has
granted credit: frames are passed on by reference, slots by name to those who asked for the ring,
and as one copy to everyone else. When nobody needs it any more the source gets its credit back.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

import zmq

import daq
from daq import posix, protocol
from daq.bus import counters
from daq.bus.channel import Channel
from daq.bus.commands import Commands
from daq.bus.consumers import Consumers
from daq.bus.fetcher import Answers, History
from daq.bus.ledger import Entry, Released
from daq.bus.peers import Peer, Peers
from daq.bus.settings import MOST_STREAMS, BusSettings
from daq.protocol import Message, ProtocolError
from daq.streams import Stream

log = logging.getLogger("bus")


class Broker:
    """The bus of one run. `serve` runs until `stop` is called or a ``stop`` command comes.

    Memory: for each stream at most ::

        credit * batch_bytes + max(lookback_bytes, batch_bytes)    needed batches, and history
        + batch_bytes                                              constants
        + ring_bytes                                               where it has a ring, and there
                                                                   the two above lie in the ring

    and for each consumer that does not read, what it granted credit for: by reference, or one
    copy of a batch where the stream has a ring and the consumer takes it inline. Whatever else a
    peer asks for and does not read ends at `settings.SEND_QUEUE` messages: then it is dropped.

    Parameters
    ----------
    settings
        See `BusSettings`.
    history
        Reads from the run's file, for ``fetch``; called in a thread of its own.

    Raises `daq.bus.endpoint.EndpointError` where it cannot listen there.
    """

    def __init__(self, settings: BusSettings, history: History | None = None) -> None:
        self.settings = settings
        self.run = settings.run
        self.recording = settings.recording
        self._context = zmq.Context()
        try:
            self._peers = Peers(self._context, settings)
        except BaseException:
            self._context.term()
            raise
        self._channels: dict[str, Channel] = {}
        self._consumers = Consumers(self._peers, self._channels)
        self._history = Answers(self._context, self._peers, self._channels, history)
        self._commands = Commands(self._peers, self._command_bus)
        self._stopping: str | None = None
        self._handlers: dict[str, Callable[[bytes, Peer, Message], None]] = {
            "open": self._open,
            "data": self._data,
            "missing": self._missing,
            "close": self._close,
            "subscribe": self._subscribe,
            "credit": self._credit,
            "fetch": self._history.fetch,
            "command": self._commands.command,
            "done": self._commands.done,
            "status": self._status,
        }
        if swept := posix.sweep_shared_memory():
            log.info("removed %d rings that killed processes left behind", len(swept))

    def stop(self, reason: str = "stopped") -> None:
        """Leave the loop soon; may be called from a signal handler or another thread."""
        self._stopping = reason

    def serve(self) -> str:
        """Run the loop; return why it ended. Closes socket, rings and context in any case."""
        poller = zmq.Poller()
        for socket in (self._peers.socket, self._peers.monitor, self._history.socket):
            poller.register(socket, zmq.POLLIN)
        ticked = forgiven = 0.0
        try:
            while self._stopping is None:
                ready = dict(poller.poll(100))
                if self._peers.socket in ready:
                    self._receive()
                if self._peers.monitor in ready:
                    self._peers.drain_monitor()
                if self._history.socket in ready:
                    self._history.send()
                now = time.monotonic()
                if now - ticked > 0.1:
                    ticked = now
                    self._peers.probe()
                    self._tick(now)
                if now - forgiven > 1.0:
                    forgiven = now
                    self._peers.forgive()
                self._bury()
            return self._stopping
        finally:
            self.shutdown()

    def shutdown(self) -> None:
        """Close everything; `serve` does it at its end."""
        self._history.close()
        for channel in self._channels.values():
            channel.close()
        self._peers.close()
        self._context.term()

    def status(self) -> dict[str, Any]:
        """Return every counter, per stream and consumer, as the ``status`` reply has them."""
        peers = self._peers.known
        streams, consumers = counters.report(self._channels.values(), peers, time.monotonic())
        return {
            "run": self.run,
            "recording": self.recording,
            "streams": streams,
            "consumers": consumers,
            "errors": dict(self._peers.errors),
            "peers": sorted(peer.name for peer in peers.values()),
        }

    # -- the loop -------------------------------------------------------------------------------

    def _receive(self) -> None:
        for _ in range(64):
            received = self._peers.receive()
            if received is None:
                return
            who, frames = received
            about = more = None
            try:
                message = protocol.unpack(frames)
                about, identity = message.header.get("stream"), message.header.get("id")
                if isinstance(identity, str | int):
                    more = {"id": identity}
                # Frames rather than views into them: they are sent on by reference.
                message.parts = frames[2:]
                self._handle(who, message, frames[0])
            except ProtocolError as error:
                self._peers.refuse(who, error, about, more, limited=True)
            except zmq.ZMQError:
                raise
            except Exception as error:
                # Nothing that a message says may end the bus.
                known = isinstance(error, TypeError | ValueError | LookupError | AttributeError)
                log.log(logging.DEBUG if known else logging.ERROR, "refused", exc_info=True)
                refusal = ProtocolError("bad_header" if known else "internal", f"{error!r}"[:400])
                self._peers.refuse(who, refusal, about, more, limited=True)
            self._bury()

    def _handle(self, who: bytes, message: Message, frame: zmq.Frame) -> None:
        if message.kind == "hello":
            self._hello(who, message, frame)
            return
        peer = self._peers.known.get(who)
        if peer is None:
            raise ProtocolError("hello_first", "say hello before anything else")
        handler = self._handlers.get(message.kind)
        if handler is None:
            raise ProtocolError("unknown_kind", f"no such kind: {message.kind}")
        handler(who, peer, message)

    def _tick(self, now: float) -> None:
        self._history.send()
        for channel in self._channels.values():
            channel.mark(now)
            self._settle(channel, channel.ledger.evict(now))
            closing = channel.ledger.closing
            if closing is not None:
                if not closing.answered:
                    self._answer_close(channel, now)
                else:
                    channel.retire_ring()

    def _bury(self) -> None:
        """Clear up after those who are gone."""
        while self._peers.dead:
            who, _ = self._peers.dead.pop()
            self._commands.bury(who)
            for channel in self._channels.values():
                if channel.owner == who:
                    channel.owner = None
                self._settle(channel, channel.ledger.unsubscribe(who))

    def _settle(self, channel: Channel, released: Released) -> None:
        """Give credit and slots back to the source, and tell it how far the recorder is."""
        ledger, slots = channel.ledger, channel.freed(released)
        progress = ledger.written, ledger.durable
        if channel.owner is None or not (released.batches or slots or progress != channel.told):
            return
        channel.told = progress
        self._peers.send(channel.owner, "credit", {
            "stream": ledger.name, "batches": released.batches, "slots": slots,
            "through": ledger.needed_from, "written": ledger.written, "durable": ledger.durable,
        })  # fmt: skip

    # -- what anyone says -----------------------------------------------------------------------

    def _hello(self, who: bytes, message: Message, frame: zmq.Frame) -> None:
        name, role = message.header.get("name"), message.header.get("role")
        if message.header.get("protocol") != protocol.VERSION:
            raise ProtocolError("bad_protocol", f"this bus speaks protocol {protocol.VERSION}")
        if not isinstance(role, str) or role not in protocol.ROLES:
            raise ProtocolError("bad_role", f"role is one of {', '.join(sorted(protocol.ROLES))}")
        if not isinstance(name, str) or not 0 < len(name) <= 64 or not name.isprintable():
            raise ProtocolError("bad_name", "name: up to 64 printable characters")
        recorder = self._peers.recorder()
        if role == "recorder" and recorder not in (None, who) and self._peers.alive(recorder):
            raise ProtocolError("taken", "this run has a recorder already")
        self._peers.add(who, name, role, frame)
        self._peers.send(who, "welcome", {
            "protocol": protocol.VERSION, "bus": daq.__version__, "run": self.run,
            "batch_bytes": self.settings.batch_bytes,
        })  # fmt: skip

    def _status(self, who: bytes, peer: Peer, message: Message) -> None:
        answer = self.status()
        if isinstance(identity := message.header.get("id"), str | int):
            answer["id"] = identity
        self._peers.send(who, "status", answer)

    def _command_bus(self, name: str) -> None:
        if name == "stop":
            self.stop("stopped by command")
        elif name == "unrecord":
            self.recording = False
            for channel in self._channels.values():
                self._settle(channel, channel.ledger.stop_recording())
                if channel.opening:
                    self._opened(channel)
        else:
            raise ProtocolError("bad_command", f"the bus knows no {name[:64]!r}")

    # -- what a source says ---------------------------------------------------------------------

    def _open(self, who: bytes, peer: Peer, message: Message) -> None:
        header, name = message.header, str(message.header.get("stream"))
        if peer.role not in ("source", "control"):
            raise ProtocolError("not_allowed", f"a {peer.role} may not open streams")
        own = peer.role == "control" and name.startswith("run.")
        protocol.check_stream_name(name, reserved_ok=own or name.startswith("truth."))
        stream = Stream.from_header(header, message.parts)
        channel = self._channels.get(name)
        if channel is None:
            if len(self._channels) >= MOST_STREAMS:
                raise ProtocolError("too_many", f"this bus has {MOST_STREAMS} streams already")
            channel = Channel(stream, message.parts, self.settings, recording=self.recording)
            channel.make_ring(header.get("ring"))
            channel.owner, channel.owner_name = who, peer.name
            self._channels[name] = channel
            log.info("%s opens %s", peer.name, name)
            self._consumers.announce(channel)
        else:
            self._take_over(who, peer, channel, stream)
            channel.make_ring(header.get("ring"))
            log.info("%s opens %s again, from index %d", peer.name, name, channel.ledger.next)
        if not channel.opening:
            self._opened(channel)

    def _take_over(self, who: bytes, peer: Peer, channel: Channel, stream: Stream) -> None:
        """Let a source that comes back own its stream: its own, by name, or one without owner."""
        name, before = channel.name, channel.owner if channel.owner != who else None
        if before is not None and channel.owner_name != peer.name:
            if self._peers.alive(before):
                raise ProtocolError("owned", f"{name} belongs to {channel.owner_name}")
            self._bury()
        if stream.header()["fields"] != channel.header["fields"]:
            raise ProtocolError(
                "stream_changed", f"{name} was opened with other fields, dtypes or shapes"
            )
        channel.owner, channel.owner_name = who, peer.name
        if (closing := channel.ledger.closing) is not None:
            # It may still wait for the answer to its close.
            closing.answered = False
            raise ProtocolError("closed", f"{name} is closed")
        if before is not None:
            self._peers.refuse(before, ProtocolError("replaced", f"{name} was opened again"), name)

    def _opened(self, channel: Channel) -> None:
        if channel.opening:
            channel.opening = False
            self._consumers.announce(channel)
        if channel.owner is None:
            return
        ledger = channel.ledger
        self._peers.send(channel.owner, "opened", {
            "stream": ledger.name,
            "credit": max(0, ledger.credit - ledger.in_flight),
            "next": ledger.next,
            "batch_bytes": self.settings.batch_bytes,
            "ring": channel.ring.shape.header() if channel.ring else None,
        })  # fmt: skip

    def _data(self, who: bytes, peer: Peer, message: Message) -> None:
        channel = self._owned_by(who, message.header)
        if channel.ledger.full() and channel.ledger.closing is None:
            self._settle(channel, Released(0, channel.unusable(message.header.get("slot")).slots))
            raise ProtocolError("no_credit", f"{channel.name}: sent beyond its credit, and dropped")
        try:
            entry = channel.entry(message.header, message.parts, time.monotonic())
            self._take(channel, entry)
        except Exception:
            # A refused batch costs neither credit nor slot; the next one will show a gap.
            self._settle(channel, channel.unusable(message.header.get("slot")))
            raise

    def _missing(self, who: bytes, peer: Peer, message: Message) -> None:
        channel = self._owned_by(who, message.header)
        first = protocol.check_count(message.header, "first")
        count = protocol.check_count(message.header, "count", least=1)
        reason = _line(message.header, "reason") or "not said"
        self._take(channel, Entry(first, count, reason=reason, arrived=time.monotonic()))

    def _take(self, channel: Channel, entry: Entry) -> None:
        ledger = channel.ledger
        gap, released = channel.take(entry)
        if gap is not None:
            what = f"{ledger.name}: {gap.count} records from {gap.first} never came"
            self._peers.refuse(
                channel.owner, ProtocolError("jump", what), ledger.name, limited=True
            )
        self._consumers.serve_all(channel)
        released.add(ledger.release()).add(ledger.evict(time.monotonic()))
        self._settle(channel, released)

    def _close(self, who: bytes, peer: Peer, message: Message) -> None:
        header = message.header
        name, status, now = header.get("stream"), header.get("status"), time.monotonic()
        channel = self._channels.get(name) if isinstance(name, str) else None
        if channel is None or (channel.owner != who and peer.role != "control"):
            raise ProtocolError("not_open", f"{str(name)[:80]!r} is not yours to close")
        ledger = channel.ledger
        channel.asked_to_close = who
        if ledger.closing is not None:
            ledger.closing.answered = False
            return
        if not isinstance(status, str) or status not in protocol.CLOSE_STATUS:
            raise ProtocolError("bad_header", "status is complete, aborted or failed")
        count = ledger.next
        if header.get("count") is not None and channel.owner == who:
            count = protocol.check_count(header, "count")
        ledger.close(count, status, _line(header, "reason"), now)
        log.info("%s is %s after %d records", ledger.name, status, count)
        if channel.opening:
            # The recorder has not said where it stands, and need not any more.
            channel.opening = False
            self._consumers.announce(channel)
        self._consumers.serve_all(channel)
        self._settle(channel, ledger.release())
        self._answer_close(channel, now)

    def _answer_close(self, channel: Channel, now: float) -> None:
        """Answer the close of a stream once all have taken everything, or were given up on."""
        ledger, deadline = channel.ledger, self.settings.close_deadline
        closing = ledger.closing
        if closing is None:
            return
        for who in ledger.laggards():
            if now - max(ledger.positions[who].progressed, closing.at) > deadline:
                peer = self._peers.known.get(who)
                channel.given_up.append(peer.name if peer else "?")
                self._settle(channel, ledger.unsubscribe(who))
                what = f"{ledger.name} has ended, and you took too long"
                self._peers.refuse(who, ProtocolError("given_up", what), ledger.name)
        if ledger.laggards():
            return
        if ledger.awaits_recorder():
            if now - max(ledger.recorded_at, closing.at) <= deadline:
                return
            # Its records are held all the same, for a recorder that may yet come.
            if "recorder" not in channel.given_up:
                channel.given_up.append("recorder")
        closing.answered = True
        header = {
            "stream": ledger.name, "count": closing.count, "status": closing.status,
            "durable": ledger.durable, "given_up": channel.given_up,
        }  # fmt: skip
        for waiting in {channel.owner, channel.asked_to_close}:
            if waiting is not None:
                self._peers.send(waiting, "closed", header)

    def _owned_by(self, who: bytes, header: Mapping[str, Any]) -> Channel:
        name = header.get("stream")
        channel = self._channels.get(name) if isinstance(name, str) else None
        if channel is None:
            raise ProtocolError("not_open", f"stream {str(name)[:80]!r} is not open")
        if channel.owner != who:
            raise ProtocolError("owned", f"{name} belongs to {channel.owner_name}")
        if channel.opening:
            raise ProtocolError("not_open", f"wait for 'opened' before data of {name}")
        return channel

    # -- what a consumer says -------------------------------------------------------------------

    def _subscribe(self, who: bytes, peer: Peer, message: Message) -> None:
        subscription = self._consumers.note(peer, message.header)
        if peer.role == "recorder" and not self.recording:
            self.recording = True
            for channel in self._channels.values():
                channel.ledger.start_recording()
        self._consumers.add(who, peer, subscription)

    def _credit(self, who: bytes, peer: Peer, message: Message) -> None:
        header, now = message.header, time.monotonic()
        name = header.get("stream")
        channel = self._channels.get(name) if isinstance(name, str) else None
        if channel is None or who not in channel.ledger.positions:
            return  # A late answer about a stream that it no longer has.
        batches = protocol.check_count(header, "batches")
        through, written, durable = (
            None if header.get(key) is None else protocol.check_count(header, key)
            for key in ("through", "written", "durable")
        )
        ledger, released = channel.ledger, Released()
        if peer.role == "recorder":
            if written is not None:
                self._recorder_stands(channel, who, written)
            released.add(ledger.recorded(written, durable, now))
        released.add(ledger.returned(who, batches, through, now)).add(ledger.evict(now))
        self._settle(channel, released)
        self._consumers.serve(channel, who)
        if ledger.closing is not None and not ledger.closing.answered:
            self._answer_close(channel, now)

    def _recorder_stands(self, channel: Channel, who: bytes, written: int) -> None:
        """Go on where the recorder's file ends, the first time that it says so."""
        ledger = channel.ledger
        if ledger.positions[who].reported:
            return
        if channel.opening:
            ledger.resume_at(written)
        # Not before what is held: the recorder fills the rows before that itself, see its `open`.
        ledger.move(who, max(min(written, ledger.next), ledger.held_from))
        if channel.opening:
            self._opened(channel)


def _line(header: Mapping[str, Any], key: str) -> str:
    """Return a text of a header in one printable line, cut at 500 characters."""
    value = header.get(key)
    text = value[:500] if isinstance(value, str) else ""
    return "".join(c if c.isprintable() else " " for c in text)


__all__ = ["Broker", "BusSettings"]
