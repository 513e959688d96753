"""Whether the errors of `ecm` hold: its 1-sigma intervals against the truth of the simulated camera.

    python benchmarks/relaxation_coverage.py [--scan 24x36] [--scans 106] [--seeds 3] [--ratios 0.3,1,3,10]

For each ratio of series length T to median tau: simulated scans with everything on that the published
experiment has (its dose, static profile, gain and dead pixels, edge, thickness wedge, overlapping
probe positions, a specimen that drifts at random by 0.02 nm a scan), `drift` and `ecm` as they run
live, and every position of the last map that is not vacuum against its truth. Prints a table
in Markdown; the share covered is over those determined, by thirds of the true tau.

Frames are 66 x 66 pixels of 0.232 1/nm, as the published 264 x 264 of 0.058 1/nm are after binning.
Maps of 24 x 36 positions, 0.24 nm apart, hold some 50 independent places, so a share of one seed has an
error of about 7 % by chance.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

import daq
from daq.runtime.direct import AnalysisDriver
from daq_simulators.stem_camera import StemCamera
from daq_stem.drift.analysis import Drift
from daq_stem.ecm.analysis import Ecm

SCAN_TIME = 9.2
"""s, as published at 633 K."""


def live(config: dict[str, Any]) -> tuple[dict[str, list[daq.Batch]], dict[str, np.ndarray]]:
    """Run camera, `drift` and `ecm`; return the records of `ecm` by stream, and the truth."""
    source = StemCamera()
    streams = source.open(StemCamera.Config(**config))
    camera = dataclasses.replace(streams[0], name="camera")
    drift = AnalysisDriver(Drift, "drift", {})
    shifts = next(s for s in drift.open([camera]) if s.name == "drift.shifts")
    ecm = AnalysisDriver(Ecm, "ecm", {})
    ecm.open([camera, shifts])
    found: dict[str, list[daq.Batch]] = {}

    def keep(results: list[daq.Batch]) -> None:
        for batch in results:
            found.setdefault(batch.stream.removeprefix("ecm."), []).append(batch)

    def shifts_of(results: list[daq.Batch]) -> Iterator[daq.Batch]:
        return (batch for batch in results if batch.stream == "drift.shifts")

    for batch in source.batches({}):
        if batch.stream:
            continue
        batch.stream = "camera"
        drifted = drift.feed(batch)
        keep(ecm.feed(batch))
        for shift in shifts_of(drifted):
            keep(ecm.feed(shift))
    for shift in shifts_of(drift.close()):
        keep(ecm.feed(shift))
    keep(ecm.close())
    return found, dict(source.truth())


def at_ratio(ratio: float, scan: tuple[int, int], scans: int, seed: int) -> dict[str, np.ndarray]:
    """Return flag, z of ln tau, third of the true tau, and bound below truth, by position."""
    config = {
        "scan": scan, "scans": scans, "frame": (66, 66), "pixel_size": 0.232,
        "dtype": "u1", "step": 0.24, "speed": 0,
        "scan_time": SCAN_TIME,
        "median_tau": scans * SCAN_TIME / ratio, "drift_walk": 0.02 / np.sqrt(SCAN_TIME),
        "seed": seed,
    }  # fmt: skip
    found, truth = live(config)
    maps = found["maps"][-1].raw
    tau, errors, flag = (maps[name][0, 0].reshape(-1) for name in ("tau", "tau_errors", "flag"))
    true = truth["tau"].reshape(-1)
    there = np.isfinite(true) & (flag != 4)
    tau, errors, flag, true = tau[there], errors[there], flag[there], true[there]
    third = np.digitize(true, np.quantile(true, [1 / 3, 2 / 3]))
    with np.errstate(invalid="ignore"):
        z = np.log(tau / true) / (errors / tau)
    summary = found["summary"][-1].raw
    return {
        "flag": flag, "z": z, "third": third, "below": tau < true,
        "offset": np.log(tau / true),
        "speckles": np.array([summary["independent_speckles"][0, 0]]),
        "gamma": np.array([summary["gamma"][0, 0]]),
        "true_gamma": np.array([np.nanmedian(truth["gamma"])]),
    }  # fmt: skip


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scan", default="24x36", help="positions, rows x columns")
    parser.add_argument("--scans", type=int, default=106)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--ratios", default="0.3,1,3,10", help="T / median tau")
    arguments = parser.parse_args()
    rows, columns = (int(part) for part in arguments.scan.split("x"))
    print("| T/tau | positions | determined | lower bound | at a bound | not converged | covered: "
          "fast | middle | slow third | all | bounds below truth | median offset of ln tau | N_s | gamma | true |")  # fmt: skip
    print("|" + "---:|" * 15)
    for ratio in (float(part) for part in arguments.ratios.split(",")):
        runs = [
            at_ratio(ratio, (rows, columns), arguments.scans, seed)
            for seed in range(arguments.seeds)
        ]
        r = {name: np.concatenate([run[name] for run in runs]) for name in runs[0]}
        sure, bound = r["flag"] == 0, r["flag"] == 1
        shares = [f"{np.mean(r['flag'] == flag):.1%}" for flag in range(4)]
        covered = [
            f"{np.mean(np.abs(r['z'][sure & (r['third'] == k)]) <= 1):.0%}"
            if (sure & (r["third"] == k)).any() else "-"
            for k in range(3)
        ]  # fmt: skip
        cells = [
            f"{ratio:g}", str(len(r["flag"])), *shares, *covered,
            f"{np.mean(np.abs(r['z'][sure]) <= 1):.1%}",
            f"{np.mean(r['below'][bound]):.0%}" if bound.any() else "none",
            f"{np.median(r['offset'][sure]):+.3f}", f"{r['speckles'].mean():.0f}",
            f"{r['gamma'].mean():.2f}", f"{r['true_gamma'].mean():.2f}",
        ]  # fmt: skip
        print("| " + " | ".join(cells) + " |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
