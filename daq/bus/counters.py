"""The counters that ``status`` reports."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from daq.bus.channel import Channel
from daq.bus.peers import Peer


def report(
    channels: Iterable[Channel], peers: Mapping[bytes, Peer], now: float
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return the counters of each stream, and of each consumer by stream; from any thread.

    Parameters
    ----------
    channels, peers
        Of the bus. Of several consumers of one name the later ones are called ``name#2`` and on.
    now
        Time on the clock of the ledgers, seconds.
    """
    names: dict[bytes, str] = {}
    taken: dict[str, int] = {}
    for who, peer in list(peers.items()):
        if peer.subscriptions:
            number = taken[peer.name] = taken.get(peer.name, 0) + 1
            names[who] = peer.name if number == 1 else f"{peer.name}#{number}"
    streams: dict[str, Any] = {}
    consumers: dict[str, dict[str, Any]] = {}
    for channel in list(channels):
        ledger = channel.ledger
        closing = ledger.closing
        state = closing.status if closing else "stale" if channel.owner is None else "open"
        streams[channel.name] = {
            "open": closing is None,
            "status": state,
            "owner": channel.owner_name,
            "rate": round(channel.rate, 3),
            "ring": channel.ring is not None,
            "copies": channel.copies,
            "settled": bool(closing and closing.answered),
            **ledger.counters(),
        }
        for who, position in list(ledger.positions.items()):
            if (name := names.get(who)) is None:
                continue
            consumers.setdefault(name, {})[channel.name] = {
                "policy": position.policy,
                "in": position.records_in,
                "out": position.records_out,
                "skipped": position.skipped,
                "lag": max(0, ledger.next - position.next),
                "in_flight": position.in_flight,
                "returned": position.returned,
                "idle": round(now - position.progressed, 3),
            }
    return streams, consumers
