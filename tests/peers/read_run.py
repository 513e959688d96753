"""Run in an environment of its own: what HyperSpy's reader, silx and nexusformat see in a run."""

import json
import sys
from pathlib import Path

import hdf5plugin  # noqa: F401 - registers the filters
import numpy as np
import silx.io
from nexusformat.nexus import nxload
from rsciio.nexus import file_reader
from silx.io.nxdata import get_default

path = json.loads(Path(sys.argv[1]).read_text())["path"]
answer = {}
for signal in file_reader(path):
    title = signal["metadata"]["General"]["title"]
    if title == "camera":
        answer["hyperspy.frames"] = np.asarray(signal["data"])
        answer["hyperspy.axes"] = np.array([axis["name"] for axis in signal["axes"]])
        break
with silx.io.open(path) as file:
    plotted = get_default(file)
    answer["silx.frames"] = plotted.signal[()]
    answer["silx.axes"] = np.array(plotted.axes_dataset_names)
entry = nxload(path).entry
answer["nexusformat.frames"] = entry["camera/frame"].nxdata
answer["nexusformat.units"] = np.array(entry["camera/frame"].attrs["units"])
np.savez(sys.argv[2], **answer)
