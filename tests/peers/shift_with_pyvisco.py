"""Run in the environment of pyvisco: shift factors of sweeps, pair by pair, from storage moduli."""

import json
import os
import sys
import warnings
from pathlib import Path

os.environ["MPLBACKEND"] = "Agg"
warnings.simplefilter("ignore")
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from pyvisco import master  # noqa: E402

asked = json.loads(Path(sys.argv[1]).read_text())
with np.load(asked["path"]) as given:
    f, storage, loss, T = (given[name] for name in ("f", "storage", "loss", "T"))
rounded = T.round(1)
frame = pd.DataFrame({
    "f_set": f.reshape(-1), "T_round": np.repeat(rounded, f.shape[1]),
    "E_stor": storage.reshape(-1) / 1e6, "E_loss": loss.reshape(-1) / 1e6,
    "Set": np.repeat(np.arange(len(T)), f.shape[1]),
})  # fmt: skip
frame.modul, frame.domain = "E", "freq"
shift = master.get_aT(frame, rounded[asked["reference"]])[0]["log_aT"]
np.savez(sys.argv[2], shift=np.asarray(shift, float))
