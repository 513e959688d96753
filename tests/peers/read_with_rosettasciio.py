"""Run in the environment of `nexus_readers`, which has rosettasciio: its frames, and their sums, of Merlin files."""

import json
import sys
from pathlib import Path

import numpy as np
from rsciio.quantumdetector import file_reader

asked = json.loads(Path(sys.argv[1]).read_text())
answer = {}
for path in map(Path, asked["paths"]):
    (signal,) = file_reader(str(path))
    frames = np.asarray(signal["data"])
    frames = frames.reshape(-1, *frames.shape[-2:])
    answer[f"{path.stem}.frames"] = frames
    answer[f"{path.stem}.sums"] = frames.sum(axis=(1, 2), dtype=np.uint64)
np.savez(sys.argv[2], **answer)
