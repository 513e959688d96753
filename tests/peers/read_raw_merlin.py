"""Run in the environment of libertem-qd-mpx: RAW frames, read by our own reader."""

import json
import sys
from pathlib import Path

import numpy as np

asked = json.loads(Path(sys.argv[1]).read_text())
sys.path[:0] = asked["packages"]

from daq_stem.merlin.reader import MerlinReader  # noqa: E402

answer = {}
for path in map(Path, asked["paths"]):
    reader = MerlinReader()
    reader.open(path, MerlinReader.Config())
    batches = list(reader.batches({"": asked["start"]}))
    answer[path.stem] = np.concatenate([batch.raw["frame"] for batch in batches])
    reader.close()
np.savez(sys.argv[2], **answer)
