"""Whether the energy of `arrhenius` and the relation of `structure_dynamics` hold their errors.

    python benchmarks/relation_and_energy.py [--seeds 20] [--only energy|uniform]

For each seed a simulated glass of 24 x 36 positions, 0.3 nm apart:

energy
    Five temperatures from 633 to 673 K, 24 scans each, tau 200 s at first (T/tau 1.2 to 3.6), 97
    kJ/mol, ln tau and w coupled with 0.5. z = (found - true) / error of the energy, and of
    ``spearman`` after the first and the last temperature, against the rank correlation of the true
    maps at the positions scanned.
uniform
    A glass that is the same everywhere, one temperature: no relation at all. z of ``spearman``, and
    ``spearman_naive``.

Camera, `ecm`, `fem`, `structure_dynamics` and `arrhenius` as they run live, without the bus.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from typing import Any

import numpy as np
from scipy.stats import spearmanr

import daq
from daq.runtime.direct import AnalysisDriver
from daq_relaxation.arrhenius import Arrhenius
from daq_simulators.stem_camera import StemCamera
from daq_stem.ecm.analysis import Ecm
from daq_stem.fem.analysis import Fem
from daq_stem.structure_dynamics.analysis import StructureDynamics

CAMERA: dict[str, Any] = {
    "scan": (24, 36), "step": 0.3, "speed": 0, "scan_time": 10.0, "dwell_time": 5e-4,
    "frame": (66, 66), "pixel_size": 0.232, "dtype": "u1", "median_tau": 200.0,
}  # fmt: skip
SCANS = 24
ENERGY = 97.0


class Chain:
    """Analyses that feed each other, fed by a source, in one process."""

    def __init__(self, config: dict[str, Any], analyses: list[tuple[Any, str, list[str]]]) -> None:
        self.source = StemCamera()
        self.streams = {
            name: dataclasses.replace(stream, name=name)
            for stream in self.source.open(StemCamera.Config(**config))
            for name in [f"camera.{stream.name}" if stream.name else "camera"]
        }
        self.last: dict[str, daq.Batch] = {}
        self.all: dict[str, list[daq.Batch]] = {}
        self._drivers = []
        for kind, name, inputs in analyses:
            driver = AnalysisDriver(kind, name, {})
            given = driver.open([self.streams[i] for i in inputs if i in self.streams])
            self.streams |= {stream.name: stream for stream in given}
            self._drivers.append((driver, set(inputs)))

    def run(self) -> dict[str, np.ndarray]:
        """Run to the end; return the truth."""
        for batch in self.source.batches({}):
            batch.stream = f"camera.{batch.stream}" if batch.stream else "camera"
            self._pass(batch)
        for driver, _ in self._drivers:
            for batch in driver.close():
                self._pass(batch)
        return {name: np.asarray(value) for name, value in self.source.truth().items()}

    def _pass(self, batch: daq.Batch) -> None:
        if batch.stream != "camera" and batch.valid.any():
            self.all.setdefault(batch.stream, []).append(batch)
        for driver, inputs in self._drivers:
            if batch.stream in inputs:
                for result in driver.feed(batch):
                    self._pass(result)


STEM: list[tuple[Any, str, list[str]]] = [
    (Ecm, "ecm", ["camera", "camera.temperature"]),
    (Fem, "fem", ["camera", "camera.temperature"]),
    (StructureDynamics, "structure_dynamics",
     ["ecm.maps", "ecm.sectors", "fem.maps", "fem.sectors"]),
]  # fmt: skip


def energy(seed: int) -> dict[str, float]:
    """Return z of the energy and of spearman, and what they are made of."""
    steps = [(SCANS * k, 633.0 + 10 * k) for k in range(1, 5)]
    chain = Chain(
        {**CAMERA, "scans": 5 * SCANS, "temperature_steps": steps, "temperature_noise": 0.1,
         "activation_energy": ENERGY, "seed": seed},
        [*STEM, (Arrhenius, "arrhenius", ["ecm.summary"])],
    )  # fmt: skip
    truth = chain.run()
    fit = chain.all["arrhenius.fit"][-1].raw
    found, error = float(fit["energy"][0]), float(fit["energy_errors"][0])
    result = {"E": found, "E_error": error, "E_z": (found - ENERGY) / error}
    stages: dict[int, Any] = {}
    for batch in chain.all["structure_dynamics.summary"]:
        stages[int(batch.raw["stage"][0])] = batch.raw
    there = np.isfinite(truth["tau"]) & np.isfinite(truth["V"])
    rho = float(spearmanr(truth["tau"][there], truth["V"][there]).statistic)
    for stage in (0, max(stages)):
        raw = stages[stage]
        value = float(raw["spearman"][0])
        result[f"rho{stage}"] = value
        result[f"rho_z{stage}"] = (value - rho) / float(raw["spearman_errors"][0])
        result[f"rho_measured_z{stage}"] = (value - rho) / float(
            raw["spearman_measurement_errors"][0]
        )
        result[f"naive{stage}"] = float(raw["spearman_naive"][0])
    result["rho_true"] = rho
    return result


def uniform(seed: int) -> dict[str, float]:
    """Return z of spearman where nothing varies, and the naive value."""
    chain = Chain(
        {**CAMERA, "scans": SCANS, "ln_tau_sd": 0.0, "w_sd": 0.0, "seed": 1000 + seed}, STEM
    )
    chain.run()
    raw = chain.all["structure_dynamics.summary"][-1].raw
    value, error = float(raw["spearman"][0]), float(raw["spearman_errors"][0])
    return {
        "rho": value, "rho_error": error, "rho_z": value / error,
        "naive": float(raw["spearman_naive"][0]), "corrected": float(raw["corrected"][0]),
    }  # fmt: skip


def main() -> int:
    """Print every seed, then means."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--only", choices=["energy", "uniform"], default=None)
    arguments = parser.parse_args()
    for name, study in (("uniform", uniform), ("energy", energy)):
        if arguments.only not in (None, name):
            continue
        rows = []
        for seed in range(arguments.seeds):
            rows.append(study(seed))
            print(name, seed, " ".join(f"{k} {v:.3f}" for k, v in rows[-1].items()), flush=True)
        print(f"{name}: {len(rows)} seeds")
        for key in rows[0]:
            values = np.array([row[key] for row in rows])
            print(f"  {key:20s} mean {values.mean():+.3f}  sd {values.std(ddof=1):.3f}  "
                  f"mean |.| {np.abs(values).mean():.3f}")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
