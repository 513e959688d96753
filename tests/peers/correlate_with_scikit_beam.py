"""Run in the environment of scikit-beam: two-time and one-time correlation of pixel series."""

import json
import sys
from pathlib import Path

import numpy as np
from skbeam.core.correlation import one_time_from_two_time, two_time_corr

asked = json.loads(Path(sys.argv[1]).read_text())
with np.load(asked["path"]) as given:
    series, labels = given["series"], given["labels"]
times, pixels = series.shape[1:]
even = times + times % 2
two, one = [], []
for position in series:
    # it changes the labels that it is given
    images = position.reshape(times, 1, pixels)
    found = two_time_corr(labels.reshape(1, pixels).copy(), images, times, even).g2
    two.append(found)
    one.append(one_time_from_two_time(found))
np.savez(sys.argv[2], two_time=np.array(two), one_time=np.array(one))
