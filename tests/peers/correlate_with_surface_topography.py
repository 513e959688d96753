"""Run in the environment of SurfaceTopography: height-height correlations of a map."""

import json
import sys
from pathlib import Path

import numpy as np
from SurfaceTopography import Topography

asked = json.loads(Path(sys.argv[1]).read_text())
with np.load(asked["path"]) as given:
    heights = given["heights"]
sizes = tuple(n * d for n, d in zip(heights.shape, asked["step"], strict=True))
topography = Topography(np.ma.masked_invalid(heights), sizes)
# its profiles run along the first axis
r, profile = topography.autocorrelation_from_profile(reliable=False, resampling_method=None)
_, _, area = topography.autocorrelation_from_area(
    reliable=False, return_map=True, collocation="linear", nb_points=10
)
np.savez(sys.argv[2], r=np.asarray(r), profile=np.asarray(profile), area=np.asarray(area))
