"""Whether `beta_relaxation` tells peak, shoulder and wing apart, and whether the errors of its energies hold.

    python benchmarks/beta_relaxation_confusion.py [--seeds 100] [--noise 1,3] [--energies 30]

Simulated ramps at 3 K/min and 1 Hz of three alloys (CR-AFM, Fig. 2: La60Ni15Al25 has a peak, La60Cu15Al25
a shoulder, Vit105 a wing), a reading each 10 s, with noise of the phase of 5e-4 rad, or that many times
as much. Prints a confusion table per noise. Then ramps at 1 K/min and four frequencies: the energy of
the fit, and of the Arrhenius line through the maxima where there are any, against the truth.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from daq.config import validated
from daq.testing import record_source, run_analysis
from daq_mechanical.beta_relaxation import BetaRelaxation
from daq_simulators.mechanical_spectrometer import MechanicalSpectrometer

ALLOYS = {"La60Ni15Al25": "peak", "La60Cu15Al25": "shoulder", "Vit105": "wing"}
KINDS = ("peak", "shoulder", "wing", "undecided")
PHASE_NOISE = 5e-4
"""rad, of the simulated instrument by default."""


def looked_at(config: dict[str, Any]) -> dict[str, Any]:
    """Simulate a ramp and return the last record of the summary."""
    (ramp,) = record_source(MechanicalSpectrometer, config).values()
    output = run_analysis(
        BetaRelaxation, {ramp.name: ramp.stream}, ramp.batches(), {"every": 100_000}
    )["summary"]
    return {name: output[name][-1] for name in output.stream.fields}


def confusion(seeds: int, noise: float) -> dict[str, dict[str, int]]:
    """Return how often each alloy is called what."""
    found = {name: dict.fromkeys(KINDS, 0) for name in ALLOYS}
    for name in ALLOYS:
        for seed in range(seeds):
            config = {"alloy": name, "seed": seed, "phase_noise": noise * PHASE_NOISE}
            found[name][looked_at(config)["kind"].decode()] += 1
    return found


def energies(name: str, seeds: int) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return energy, error and deviation from the truth in errors, of fit and of maxima."""
    config = {"alloy": name, "frequencies": [1.0, 3.0, 10.0, 30.0], "heating_rate": 1.0}
    source = MechanicalSpectrometer()
    source.open(validated(MechanicalSpectrometer.Config, config, "dma"))
    truth = float(source.truth()["beta_energy"][0]) / 1e3
    rows = [looked_at({**config, "seed": seed}) for seed in range(seeds)]
    found = {}
    for key in ("energy", "peak_energy"):
        E = np.array([row[key] for row in rows], np.float64)
        e = np.array([row[f"{key}_errors"] for row in rows], np.float64)
        found[key] = E, e, (E - truth) / e
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--noise", default="1,3")
    parser.add_argument("--energies", type=int, default=30)
    arguments = parser.parse_args()
    for noise in (float(text) for text in arguments.noise.split(",")):
        print(f"\nphase noise {noise * PHASE_NOISE:g} rad, {arguments.seeds} seeds\n")
        print("| alloy | is a | " + " | ".join(KINDS) + " |")
        print("|---|---|" + "---|" * len(KINDS))
        for name, row in confusion(arguments.seeds, noise).items():
            counts = " | ".join(str(row[kind]) for kind in KINDS)
            print(f"| {name} | {ALLOYS[name]} | {counts} |", flush=True)
    if arguments.energies:
        print(
            f"\nenergy from four frequencies, {arguments.energies} seeds; z: (found - truth)/error\n"
        )
        print(
            "| alloy | energy of | determined | mean kJ/mol | sd | error | mean z | sd z | within 1 |"
        )
        print("|---|---|---|---|---|---|---|---|---|")
        for name in ALLOYS:
            for key, (E, e, z) in energies(name, arguments.energies).items():
                at = np.isfinite(z)
                if not at.any():
                    continue
                print(
                    f"| {name} | {'the fit' if key == 'energy' else 'maxima'} | {at.mean():.0%} "
                    f"| {E[at].mean():.1f} | {E[at].std():.1f} | {np.median(e[at]):.1f} "
                    f"| {z[at].mean():.2f} | {z[at].std():.2f} | {(abs(z[at]) < 1).mean():.0%} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
