"""Run in the environment of tadatakit: the table of a TRIOS JSON file."""

import json
import sys
from pathlib import Path

import numpy as np
from tadatakit.classes import Experiment

asked = json.loads(Path(sys.argv[1]).read_text())
frame = Experiment.from_json(asked["path"]).get_dataframe("processed")
numbers = frame.select_dtypes("number")
np.savez(
    sys.argv[2],
    names=np.array([str(name) for name in numbers.columns]),
    values=numbers.to_numpy(float),
)
