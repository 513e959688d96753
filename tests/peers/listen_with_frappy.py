"""Run in the environment of frappy: what its client says of a node, and what it hears from it."""

import json
import sys
import time
from pathlib import Path

import numpy as np
from frappy.client import SecopClient

asked = json.loads(Path(sys.argv[1]).read_text())
heard = []


def update(module, parameter, value, timestamp, readerror):
    """Keep a number that is heard; NaN for an error."""
    if (module, parameter) == (asked["module"], "value"):
        heard.append((timestamp, float("nan") if readerror else float(value)))


client = SecopClient(asked["uri"])
client.connect(10)
client.register_callback(None, updateEvent=update)
if "target" in asked:
    client.setParameter(asked["module"], "target", asked["target"])
deadline = time.monotonic() + asked["seconds"]
while time.monotonic() < deadline and len(heard) < asked["count"]:
    time.sleep(0.02)
described = {
    name: {p: repr(info["datatype"]) for p, info in module["parameters"].items()}
    for name, module in client.modules.items()
}
status = client.getParameter(asked["module"], "status").value
refused = ""
try:
    client.setParameter(asked["module"], "setpoint", 1)
except Exception as error:
    refused = type(error).__name__
if asked.get("stop"):
    client.execCommand(asked["module"], "stop")
np.savez(
    sys.argv[2],
    heard=np.array(heard),
    described=np.array(json.dumps(described)),
    status=np.array(int(status[0])),
    target=np.array(float(client.getParameter(asked["module"], "target").value)),
    refused=np.array(refused),
)
client.disconnect()
