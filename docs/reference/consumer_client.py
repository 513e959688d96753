"""A consumer without daq: follows a stream to its end and keeps it as a .npz file.

python consumer_client.py ENDPOINT STREAM RESULT.npz
"""

import json
import sys

import numpy as np
import zmq

endpoint, stream, path = sys.argv[1:]
batches = []


def send(kind, **header):
    """Send a message: kind and header."""
    bus.send_multipart([kind.encode(), json.dumps(header).encode()])


with zmq.Context() as context, context.socket(zmq.DEALER) as bus:
    bus.connect(endpoint)
    send("hello", protocol=1, name=f"{stream} reader", role="consumer")
    send("subscribe", streams=[stream], policy="lossless", credit=4, start=0)
    kind = ""
    while kind != "close":
        kind, header, *parts = bus.recv_multipart()
        kind, header = kind.decode(), json.loads(header)
        if kind == "error":
            sys.exit(f"{header['code']}: {header['message']}")
        if kind == "data":
            arrays = {
                part["field"]: np.frombuffer(buffer, part["dtype"]).reshape(part["shape"])
                for part, buffer in zip(header["parts"], parts, strict=True)
            }
            batches.append(arrays)
        if kind in ("data", "missing"):
            through = header["first"] + header["count"]
            send("credit", stream=stream, batches=int(kind == "data"), through=through)
print(f"{stream}: {header['count']} records, {header['status']}")
np.savez(path, **{name: np.concatenate([b[name] for b in batches]) for name in batches[0]})
