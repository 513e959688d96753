"""A source without daq that fills the shared-memory ring: large frames, on the bus's own host.

    python ring_source_client.py ENDPOINT STREAM DATA.npz

As source_client.py; what differs is marked with `ring`.
"""

import json
import sys
from pathlib import Path

import numpy as np
import zmq

endpoint, stream, path = sys.argv[1:]
data = dict(np.load(path))
total = len(data["time"])
free = []


def send(kind, **header):
    """Send a message: kind and header."""
    bus.send_multipart([kind.encode(), json.dumps(header).encode()])


def wait_for(kind):
    """Return the header of the next message of this kind."""
    while True:
        while not bus.poll(3000):
            send("status")
        got, raw, *_ = bus.recv_multipart()
        header = json.loads(raw)
        if got == b"error":
            sys.exit(raw.decode())
        free.extend(header["slots"] if got == b"credit" else ())  # ring: free again
        if got.decode() == kind:
            return header


def padded(nbytes):
    """Round up to a multiple of 64, where the next part begins (ring)."""
    return -(-nbytes // 64) * 64


with zmq.Context() as context, context.socket(zmq.DEALER) as bus:
    bus.connect(endpoint)
    send("hello", protocol=1, name=f"{stream} client", role="source")
    fields = {name: {"dtype": a.dtype.str, "shape": a.shape[1:]} for name, a in data.items()}
    wanted = {"slots": 32, "slot_bytes": sum(padded(a[:64].nbytes) for a in data.values())}
    send("open", stream=stream, fields=fields, expect=total, ring=wanted)
    opened = wait_for("opened")
    first, credit, ring = opened["next"], opened["credit"], opened["ring"]
    if ring is None or ring["slot_bytes"] < 64 + wanted["slot_bytes"]:
        sys.exit("no ring for batches of this size: use source_client.py")
    memory = np.memmap(Path("/dev/shm") / ring["name"], np.uint8, "r+")
    slots = memory.reshape(ring["slots"], ring["slot_bytes"])  # ring: all of them free at first
    free, sequence = list(range(ring["slots"])), 0
    while first < total:
        while credit == 0 or not free:
            credit += wait_for("credit")["batches"]
        batch = {name: a[first : first + 64] for name, a in data.items()}
        count = len(batch["time"])
        parts = [{"field": n, "dtype": a.dtype.str, "shape": a.shape} for n, a in batch.items()]
        number, sequence = free.pop(0), sequence + 1
        slot, offset = slots[number], 64
        slot[:8].view("<u8")[0] = 0  # ring: nobody may read it now
        for array in batch.values():
            slot[offset : offset + array.nbytes] = np.frombuffer(array.tobytes(), np.uint8)
            offset += padded(array.nbytes)
        slot[:8].view("<u8")[0] = sequence  # ring: whole again
        about = {"stream": stream, "first": first, "count": count, "parts": parts}
        send("data", **about, slot=number, sequence=sequence)
        first, credit = first + count, credit - 1
    send("close", stream=stream, count=total, status="complete", reason="")
    closed = wait_for("closed")
print(f"{stream}: {closed['count']} records taken, on disk: {closed['durable']}")
