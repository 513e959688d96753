"""Run in the environment of dectris-compression: decode messages as the camera's maker says."""

import json
import sys
from pathlib import Path

import cbor2
import numpy as np
from dectris.compression import decompress

DTYPES = {64: "u1", 65: ">u2", 66: ">u4", 69: "<u2", 70: "<u4", 85: "<f4"}


def hook(tag: cbor2.CBORTag, immutable: bool) -> object:
    if tag.tag == 56500:
        algorithm, size, data = tag.value
        return decompress(data, algorithm, elem_size=size)
    if tag.tag in DTYPES:
        return np.frombuffer(tag.value, DTYPES[tag.tag])
    if tag.tag == 40:
        shape, values = tag.value
        return values.reshape(shape)
    return tag


asked = json.loads(Path(sys.argv[1]).read_text())
frames, masks = [], []
for path in sorted(Path(asked["folder"]).glob("*.cbor")):
    message = cbor2.loads(path.read_bytes(), tag_hook=hook)
    if message["type"] == "image":
        frames.append(message["data"]["threshold_1"])
    elif message["type"] == "start":
        masks.append(message["pixel_mask"]["threshold_1"])
np.savez(sys.argv[2], frames=frames, masks=masks)
