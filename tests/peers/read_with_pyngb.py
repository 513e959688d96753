"""Run in the environment of pyngb: a NETZSCH file, as pyngb gives it and by our own reader."""

import json
import sys
from pathlib import Path

import numpy as np
import pyngb

asked = json.loads(Path(sys.argv[1]).read_text())
sys.path[:0] = asked["packages"]

from daq_exports.netzsch_binary import NetzschBinaryReader  # noqa: E402

path = Path(asked["path"])
table = pyngb.read_ngb(path)
facts = json.loads(table.schema.metadata[b"file_metadata"])
answer = {f"raw_{name}": table[name].to_numpy() for name in table.column_names}
answer["calibration"] = np.array([facts["calibration_constants"][f"p{n}"] for n in range(6)])

reader = NetzschBinaryReader()
(stream,) = reader.open(path, NetzschBinaryReader.Config(also=("mass change",)))
batches = list(reader.batches({"": asked["start"]}))
for name in stream.fields:
    answer[name] = np.concatenate([batch.raw[name] for batch in batches])
reader.close()
answer["attributes"] = np.array(json.dumps(stream.attributes))
answer["units"] = np.array(json.dumps({name: f.units for name, f in stream.fields.items()}))
answer["error"] = np.array("")
try:
    NetzschBinaryReader().open(Path(asked["damaged"]), NetzschBinaryReader.Config())
except ValueError as error:
    answer["error"] = np.array(str(error))
np.savez(sys.argv[2], **answer)
