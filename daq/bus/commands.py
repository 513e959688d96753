"""Commands on their way: who asked, whom, and under which id the answer must come back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from daq import protocol
from daq.bus.peers import Peer, Peers
from daq.protocol import Message, ProtocolError


@dataclasses.dataclass(frozen=True, slots=True)
class _Asked:
    by: bytes
    identity: str | int | None
    target: bytes


class Commands:
    """Passes ``command`` on to its target, and ``done`` back to who asked.

    Every command gets an id of the bus's own, so that two askers never mix. An asker always gets
    an answer: ``done``, or an ``error`` with its id.

    Parameters
    ----------
    peers
        Of the bus.
    on_bus
        Does what is asked of the target ``bus``; raises `ProtocolError` where it cannot.
    """

    MOST = 1000

    def __init__(self, peers: Peers, on_bus: Callable[[str], None]) -> None:
        self._peers = peers
        self._on_bus = on_bus
        self._waiting: dict[str, _Asked] = {}
        self._number = 0

    def command(self, who: bytes, peer: Peer, message: Message) -> None:
        """Take a ``command``."""
        if peer.role != "control":
            raise ProtocolError("not_allowed", f"a {peer.role} may not give commands")
        header = message.header
        target, name = header.get("target"), header.get("name")
        arguments, identity = header.get("arguments") or {}, header.get("id")
        if not isinstance(target, str) or not isinstance(name, str):
            raise ProtocolError("bad_header", "command: id, target, name, arguments")
        if not isinstance(identity, str | int | None):
            raise ProtocolError("bad_header", "id: text or an integer is needed")
        if not isinstance(arguments, dict):
            raise ProtocolError("bad_header", "arguments: an object is needed")
        if target == "bus":
            self._on_bus(name)
            self._peers.send(who, "done", {"id": identity, "stream": None, "index": None})
            return
        found = self._peers.named(target)
        if found is None:
            known = ", ".join(sorted({p.name for p in self._peers.known.values()}))
            raise ProtocolError(
                "no_target", f"nobody here is called {target[:64]!r}; here: {known}"
            )
        own = str(self._number + 1)
        order = {"id": own, "target": target, "name": name, "arguments": arguments}
        # What cannot be sent on is refused before anything is noted.
        protocol.pack("command", order)
        self._number += 1
        self._waiting[own] = _Asked(who, identity, found)
        if len(self._waiting) > self.MOST:
            oldest = self._waiting.pop(next(iter(self._waiting)))
            self._fail(oldest, "no_answer", "too many commands wait for an answer")
        self._peers.send(found, "command", order)

    def done(self, who: bytes, peer: Peer, message: Message) -> None:
        """Take a ``done``; one that nobody waits for, or not from this peer, is dropped."""
        own = message.header.get("id")
        if not isinstance(own, str) or own not in self._waiting:
            return
        asked = self._waiting[own]
        if asked.target != who:
            return
        del self._waiting[own]
        header = {**message.header, "id": asked.identity, "target": peer.name}
        self._peers.send(asked.by, "done", header)

    def bury(self, gone: bytes) -> None:
        """Drop the commands of a peer that is gone, and answer those that it will not."""
        for own, asked in list(self._waiting.items()):
            if gone in (asked.by, asked.target):
                del self._waiting[own]
                if asked.by != gone:
                    self._fail(asked, "no_target", "the target is gone and has not answered")

    def _fail(self, asked: _Asked, code: str, message: str) -> None:
        self._peers.refuse(asked.by, ProtocolError(code, message), None, {"id": asked.identity})
