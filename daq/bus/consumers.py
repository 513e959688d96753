"""Who wants which streams, and what is sent to whom: the consumers' side of the bus."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from daq import protocol
from daq.bus.channel import Channel
from daq.bus.ledger import Position
from daq.bus.peers import Peer, Peers
from daq.bus.settings import MOST_CREDIT, MOST_PATTERN, MOST_SUBSCRIPTIONS
from daq.protocol import ProtocolError
from daq.streams import matches


class Consumers:
    """Matches subscriptions and streams, and sends to each consumer what it has credit for.

    Parameters
    ----------
    peers, channels
        Of the bus.
    """

    def __init__(self, peers: Peers, channels: Mapping[str, Channel]) -> None:
        self._peers = peers
        self._channels = channels

    def note(self, peer: Peer, header: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a ``subscribe`` asks for, and keep it for streams that open later.

        Raises `ProtocolError` where it is not sound.
        """
        patterns = header.get("streams")
        if not isinstance(patterns, list) or not all(
            isinstance(p, str) and len(p) <= MOST_PATTERN for p in patterns
        ):
            raise ProtocolError("bad_header", "streams: a list of names or globs")
        policy, start = header.get("policy", "lossless"), header.get("start", "now")
        if not isinstance(policy, str) or policy not in protocol.POLICIES:
            raise ProtocolError("bad_header", "policy is lossless or latest")
        if peer.role == "recorder" and policy != "lossless":
            raise ProtocolError("bad_header", "a recorder is lossless")
        if start != "now":
            protocol.check_count(header, "start")
        subscription = {
            "streams": patterns, "policy": policy, "start": start,
            "credit": min(protocol.check_count(header, "credit"), MOST_CREDIT),
            "ring": header.get("ring") is True,
        }  # fmt: skip
        # Asked again (from another index, for instance), it takes the place of what it repeats.
        others = [s for s in peer.subscriptions if s["streams"] != patterns]
        if sum(len(s["streams"]) for s in others) + len(patterns) > MOST_SUBSCRIPTIONS:
            raise ProtocolError("too_many", f"more than {MOST_SUBSCRIPTIONS} globs")
        peer.subscriptions = [*others, subscription]
        return subscription

    def add(self, who: bytes, peer: Peer, subscription: Mapping[str, Any]) -> None:
        """Give a consumer every stream that there is and that its new subscription names."""
        for channel in list(self._channels.values()):
            if _wanted(subscription, peer, channel):
                self._add(who, peer, subscription, channel)

    def announce(self, channel: Channel) -> None:
        """Give a stream that has opened to everyone who asked for it, as first asked."""
        for who, peer in list(self._peers.known.items()):
            for subscription in peer.subscriptions:
                if _wanted(subscription, peer, channel):
                    self._add(who, peer, subscription, channel)
                    break

    def serve_all(self, channel: Channel) -> None:
        """Send every consumer of a stream what it can be sent."""
        for who in list(channel.ledger.positions):
            self.serve(channel, who)

    def serve(self, channel: Channel, who: bytes) -> None:
        """Send one consumer what it can be sent, and the close of the stream after the last record."""
        ledger = channel.ledger
        for entry, first in ledger.deliverable(who):
            kind, header, parts = channel.message(entry, first, ledger.positions[who])
            if not self._peers.send(who, kind, header, parts):
                return
        closing = ledger.closing
        if closing is not None and ledger.at_end(who):
            ledger.end_for(who)
            self._peers.send(who, "close", {
                "stream": ledger.name, "count": closing.count,
                "status": closing.status, "reason": closing.reason,
            })  # fmt: skip

    def _add(
        self, who: bytes, peer: Peer, subscription: Mapping[str, Any], channel: Channel
    ) -> None:
        ledger, recorder = channel.ledger, peer.role == "recorder"
        if who in ledger.positions or (channel.opening and not recorder):
            return
        start, newest = subscription["start"], ledger.newest()
        if recorder:
            first = ledger.held_from  # Until it reports where its file stands.
        elif subscription["policy"] == "latest":
            # The newest batch at once, so that a viewer that comes late shows something.
            first = ledger.next if newest is None else newest.first
        else:
            first = ledger.next if start == "now" else start
        position = Position(
            subscription["policy"], first, subscription["credit"], subscription["ring"],
            recorder=recorder, reported=not recorder,
        )  # fmt: skip
        try:
            ledger.subscribe(who, position, time.monotonic())
        except ProtocolError as error:
            held = {"held": ledger.held_from, "next": ledger.next}
            self._peers.refuse(who, error, ledger.name, held)
            return
        known = None if channel.opening else position.next
        header = {**channel.header, "next": known, "owner": channel.owner_name}
        if self._peers.send(who, "open", header, channel.constants):
            self.serve(channel, who)


def _wanted(subscription: Mapping[str, Any], peer: Peer, channel: Channel) -> bool:
    """Tell whether a subscription names a stream.

    What a simulator knows is not for analyses: it goes by its exact name only, or to the recorder.
    """
    private = channel.name.startswith("truth.") and peer.role != "recorder"
    return any(
        channel.name == pattern if private else matches(pattern, channel.name)
        for pattern in subscription["streams"]
    )
