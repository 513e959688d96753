"""Run in an environment with cbor2 5: decode messages by our code, and by a hook as version 5 calls it."""

import json
import sys
from pathlib import Path

import cbor2
import numpy as np

asked = json.loads(Path(sys.argv[1]).read_text())
sys.path[:0] = [asked["tree"], str(Path(asked["tree"], "plugins"))]

from daq_stem.dectris.compression import unpack  # noqa: E402
from daq_stem.dectris.v2 import Decoder  # noqa: E402

tags = []


def hook(decoder: object, tag: cbor2.CBORTag) -> cbor2.CBORTag:
    tags.append(tag.tag)
    return tag


decoder = Decoder()
frames, masks, times = [], [], []
for path in sorted(Path(asked["folder"]).glob("*.cbor")):
    text = path.read_bytes()
    cbor2.loads(text, tag_hook=hook)
    message = decoder.message([text])
    if hasattr(message, "data"):
        frames.append(unpack(message.data["threshold_1"]))
        times.append(message.time)
    elif hasattr(message, "mask"):
        masks.append(message.mask["threshold_1"])
np.savez(sys.argv[2], frames=frames, masks=masks, times=times, tags=sorted(set(tags)),
         version=np.array(cbor2.__spec__.origin or ""))  # fmt: skip
