"""Run in the environment of SurfaceTopography: how long its correlations of a whole map take.

Arguments as JSON: ``path`` of a .npy file, ``kind`` (profile or area), ``calls``. Prints JSON.
"""

import json
import sys
import time

import numpy as np
from SurfaceTopography import Topography

asked = json.loads(sys.argv[1])
heights = np.load(asked["path"])
find = f"autocorrelation_from_{asked['kind']}"
getattr(Topography(heights, heights.shape), find)(reliable=False)  # warm
seconds = 0.0
for _ in range(asked["calls"]):
    fresh = Topography(heights, heights.shape)  # nothing is kept from the call before
    begin = time.perf_counter()
    getattr(fresh, find)(reliable=False)
    seconds += time.perf_counter() - begin
print(json.dumps({"seconds": seconds}))
