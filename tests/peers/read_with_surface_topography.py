"""Run in the environment of SurfaceTopography: images, as it gives them and by our own readers."""

import json
import sys
import warnings
from pathlib import Path

import numpy as np

asked = json.loads(Path(sys.argv[1]).read_text())
sys.path[:0] = asked["packages"]
warnings.simplefilter("ignore")

import SurfaceTopography  # noqa: E402

from daq_afm.gwyddion import GwyddionReader  # noqa: E402
from daq_afm.ibw import AsylumReader  # noqa: E402
from daq_afm.surface_topography import SurfaceTopographyReader  # noqa: E402

answer = {}


def ours(reader_class, path, key, **config):
    """Keep every field of our reader, and its scan."""
    reader = reader_class()
    (stream,) = reader.open(Path(path), reader_class.Config(**config))
    batches = list(reader.batches({"": 0}))
    for name in stream.fields:
        answer[f"{key}_{name}"] = np.concatenate([batch.raw[name] for batch in batches])
    answer[f"{key}_scan"] = np.array(json.dumps(stream.scan))
    answer[f"{key}_units"] = np.array(json.dumps({n: f.units for n, f in stream.fields.items()}))


folder = Path(asked["folder"])
rng = np.random.default_rng(1)
heights = rng.normal(size=(16, 12))  # [x, y] from the top
made = SurfaceTopography.Topography(heights, (32.0, 12.0), unit="nm")
answer["heights"] = heights
made.to_netcdf(str(folder / "made.nc"))
SurfaceTopography.IO.GWY.write_gwy(made, str(folder / "made.gwy"))
ours(SurfaceTopographyReader, folder / "made.nc", "nc", channels={"height": 0})
ours(GwyddionReader, folder / "made.gwy", "gwy", channels={"height": 0})

broken = folder / "broken.nid"
broken.write_bytes(b"[DataSet]\nVersion=2\n")
try:
    SurfaceTopographyReader().open(broken, SurfaceTopographyReader.Config())
except ValueError as error:
    answer["error"] = np.array(str(error))

if asked.get("cypher"):
    ours(AsylumReader, asked["cypher"], "asylum")
    ours(SurfaceTopographyReader, asked["cypher"], "surface")
    with SurfaceTopography.open_topography(asked["cypher"]) as reader:
        for channel in reader.channels:
            image = reader.topography(channel_index=channel.index).heights()
            answer[f"theirs_{channel.name}"] = np.asarray(image).T[::-1]
np.savez(sys.argv[2], **answer)
