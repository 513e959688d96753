"""A source without daq: streams the arrays of a .npz file, axis 0 the records, one named `time`.

    python source_client.py ENDPOINT STREAM DATA.npz

Started again after an interruption, it goes on where the bus stands.
"""

import json
import sys

import numpy as np
import zmq

endpoint, stream, path = sys.argv[1:]
data = dict(np.load(path))
total = len(data["time"])


def send(kind, payload=(), **header):
    """Send a message: kind, header, parts."""
    bus.send_multipart([kind.encode(), json.dumps(header).encode(), *payload])


def wait_for(kind):
    """Return the header of the next message of this kind."""
    while True:
        while not bus.poll(3000):
            send("status")  # A bus that was started anew answers with the error hello_first.
        got, header, *_ = bus.recv_multipart()
        if got == b"error":
            sys.exit(header.decode())
        if got.decode() == kind:
            return json.loads(header)


with zmq.Context() as context, context.socket(zmq.DEALER) as bus:
    bus.connect(endpoint)
    send("hello", protocol=1, name=f"{stream} client", role="source")
    fields = {name: {"dtype": a.dtype.str, "shape": a.shape[1:]} for name, a in data.items()}
    send("open", stream=stream, fields=fields, expect=total)
    opened = wait_for("opened")
    first, credit = opened["next"], opened["credit"]
    most = min(64, opened["batch_bytes"] // sum(a[:1].nbytes for a in data.values()))
    while first < total:
        while credit == 0:
            credit += wait_for("credit")["batches"]
        batch = {name: a[first : first + most] for name, a in data.items()}
        count = len(batch["time"])
        parts = [{"field": n, "dtype": a.dtype.str, "shape": a.shape} for n, a in batch.items()]
        payload = [a.tobytes() for a in batch.values()]
        send("data", payload, stream=stream, first=first, count=count, parts=parts)
        first, credit = first + count, credit - 1
    send("close", stream=stream, count=total, status="complete", reason="")
    closed = wait_for("closed")
print(f"{stream}: {closed['count']} records taken, on disk: {closed['durable']}")
