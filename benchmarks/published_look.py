"""Whether the simulated experiment looks as the published one, and how much of that says nothing.

    python benchmarks/published_look.py [--only NAME ...] [--whole] [--scans 106] [--seeds 1]

The published size: 60 x 120 positions, 106 scans, the dose of each temperature; patterns of 66 x 66
pixels of 0.232 1/nm, which the published ones have after binning. `ecm`, `fem` and
`structure_dynamics` as they run live, all with their defaults but gamma = 1 in the maps, as published.
As in the paper only the right half counts, where the specimen is thick: those 60 x 60 positions alone are
simulated, unless ``--whole``. Cases:

633K, 643K, 653K, 663K, 673K
    The defaults of the simulated camera (tau and V coupled); 0.5 ms and 4.8 s a scan from 653 K on.
uncoupled
    At 633 K, tau and w vary as much, but do not know of each other.
uniform
    At 633 K, a glass that is the same everywhere: what maps and ``naive`` show is made of speckles.

Percentiles are of the estimates of tau (bounds at their value; the share of positions that are lower
bounds beside them) and of V. ``naive`` is Spearman's correlation of the two maps; ``disjoint`` the
one of disjoint sectors, ``spearman`` that corrected for reliability; ``true`` that of the true
tau and V. A case takes some three minutes of one core, six with ``--whole``.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from typing import Any

import numpy as np
from scipy.stats import spearmanr

import daq
from daq.runtime.direct import AnalysisDriver
from daq_simulators.stem_camera import StemCamera
from daq_stem.ecm.analysis import Ecm
from daq_stem.fem.analysis import Fem
from daq_stem.structure_dynamics.analysis import TauMaps, VMaps, summarised

BINNED: dict[str, Any] = {"frame": (66, 66), "pixel_size": 0.232, "dtype": "u1", "speed": 0}
SLOW: dict[str, Any] = {"dwell_time": 1e-3, "scan_time": 9.2}
FAST: dict[str, Any] = {"dwell_time": 5e-4, "scan_time": 4.8}
CASES: dict[str, dict[str, Any]] = {
    **{f"{T}K": {"temperature": float(T), **(SLOW if T < 650 else FAST)}
       for T in range(633, 674, 10)},
    "uncoupled": {**SLOW, "coupling": 0.0},
    "uniform": {**SLOW, "ln_tau_sd": 0.0, "w_sd": 0.0},
}  # fmt: skip
WHOLE: dict[str, Any] = {"scan": (60, 120)}
HALF: dict[str, Any] = {"scan": (60, 60), "edge": 0.0}
MASKED = 4


def maps_of(config: dict[str, Any]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Run the camera to its end; return the last maps by stream name, and the truth."""
    source = StemCamera()
    stream = source.open(StemCamera.Config(**BINNED, **config))[0]
    camera = dataclasses.replace(stream, name="camera")
    ecm = AnalysisDriver(Ecm, "ecm", {"gamma": 1.0})
    drivers = [ecm, AnalysisDriver(Fem, "fem", {})]
    for driver in drivers:
        driver.open([camera])
    last: dict[str, Any] = {}

    def keep(results: list[daq.Batch]) -> None:
        last.update({batch.stream: batch.raw for batch in results})

    for batch in source.batches({}):
        if batch.stream:
            continue
        batch.stream = "camera"
        for driver in drivers:
            keep(driver.feed(batch))
    for driver in drivers:
        keep(driver.close())
    return last, {name: np.asarray(value) for name, value in source.truth().items()}


def look(config: dict[str, Any]) -> dict[str, float]:
    """Return what is to be seen of a case, in the thick half of the scan."""
    last, truth = maps_of(config)
    tau, flag = (last["ecm.maps"][name][0, 0] for name in ("tau", "flag"))
    flag = flag.copy()
    if config["scan"] == WHOLE["scan"]:
        flag[:, : flag.shape[1] // 2] = MASKED
    sectors = {name: last["ecm.sectors"][name][0, 0] for name in ("ln_tau", "flag")}
    V, intensity = (last["fem.maps"][name][0] for name in ("V", "intensity"))
    there = (flag < 3) & np.isfinite(tau) & np.isfinite(V)
    found = summarised(
        TauMaps(tau, flag, sectors["ln_tau"], sectors["flag"]),
        VMaps(V, intensity, last["fem.sectors"]["V"][0]),
        StemCamera.Config().step,
    )
    known = there & np.isfinite(truth["tau"])
    varies = np.ptp(truth["tau"][known]) > 1e-6 * truth["tau"][known].max()
    return {
        "positions": float(there.sum()),
        **{f"tau {p} %": float(np.quantile(tau[there], p / 100)) for p in (2, 50, 98)},
        "lower bounds": float(np.mean(flag[there] == 1)),
        "true tau 2 %": float(np.quantile(truth["tau"][known], 0.02)),
        "true tau 98 %": float(np.quantile(truth["tau"][known], 0.98)),
        **{f"V {p} %": float(np.quantile(V[there], p / 100)) for p in (2, 98)},
        "V mean": float(V[there].mean()),
        "naive": found["spearman_naive"],
        "disjoint": found["spearman_disjoint"],
        "spearman": found["spearman"],
        "error": found["spearman_errors"],
        "true": float(spearmanr(truth["tau"][known], truth["V"][known]).statistic)
        if varies
        else 0.0,
    }


def main() -> int:
    """Print every case and seed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=list(CASES), default=list(CASES))
    parser.add_argument("--whole", action="store_true", help="the left half too, with its edge")
    parser.add_argument("--scans", type=int, default=106)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first-seed", type=int, default=0)
    arguments = parser.parse_args()
    size = WHOLE if arguments.whole else HALF
    for name in arguments.only:
        for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
            began = time.process_time()
            found = look({**size, "scans": arguments.scans, "seed": seed, **CASES[name]})
            figures = "  ".join(f"{key} {value:.3g}" for key, value in found.items())
            print(
                f"{name} seed {seed}: {figures}  ({time.process_time() - began:.0f} s)", flush=True
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
