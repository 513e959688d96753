"""Run in the environment of libertem-qd-mpx: RAW frames from a camera, received by our own source."""

import json
import sys
from pathlib import Path

import numpy as np

asked = json.loads(Path(sys.argv[1]).read_text())
sys.path[:0] = asked["packages"]

from daq_stem.merlin.source import Merlin  # noqa: E402

source = Merlin()
source.open(Merlin.Config(host="127.0.0.1", port=asked["port"], acquisitions=2, batch=5))
batches = list(source.batches({"": 0}))
source.close()
np.savez(
    sys.argv[2],
    frames=np.concatenate([batch.raw["frame"] for batch in batches]),
    times=np.concatenate([batch.time for batch in batches]),
)
