"""Whether errors of stress relaxation, creep, ageing peaks and indents hold.

    python benchmarks/mechanical_time_coverage.py [--seeds 100]

Instruments are simulated as the configurations have them; each number is compared with the truth, in units
of its error. Prints a table in Markdown. A share of 100 seeds has an error of 5 % by chance.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np

from daq.testing import record_source, run_analysis
from daq_mechanical.ageing import Ageing
from daq_mechanical.creep import Creep
from daq_mechanical.indentation import Indentation
from daq_mechanical.stress_relaxation import StressRelaxation
from daq_simulators.mechanical_indenter import Nanoindenter
from daq_simulators.mechanical_relaxation_tester import RelaxationTester
from daq_simulators.mechanical_spectrometer import MechanicalSpectrometer

Found = tuple[str, float, float, float, bool]
"""Quantity, value, error, truth, and whether it is told to be determined."""


def analysed(source: Any, analysis: Any, settings: dict[str, Any], stream: str) -> tuple[Any, Any]:
    """Simulate, analyse, and return the results of one stream and the truth."""
    settings = {"speed": 0.0, **settings}
    readings = record_source(source, settings, name="x")["x"]
    found = run_analysis(analysis, {"x": readings.stream}, readings.batches(4096), {})[stream]
    instrument = source()
    instrument.open(source.Config(**settings))
    return found, instrument.truth()


def relaxation(seed: int) -> Iterator[Found]:
    """Yield what stress relaxation gives at three temperatures."""
    kelvin = [400.0, 450.0, 470.0]
    settings = {"temperatures": kelvin, "points": 60, "seed": seed}
    found, truth = analysed(RelaxationTester, StressRelaxation, settings, "fits")
    for k, i in enumerate(np.flatnonzero(found["final"] == 1).tolist()):
        told = bool(found["flag"][i] == 0)
        for name in ("ln_tau", "b", "decay", "remnant"):
            values = (float(found[n][i]) for n in (name, f"{name}_errors"))
            yield (
                f"stress relaxation, {kelvin[k]:g} K: {name}",
                *values,
                float(truth[name][k]),
                told,
            )


def creep(seed: int) -> Iterator[Found]:
    """Yield what creep gives at three temperatures."""
    kelvin = [420.0, 440.0, 460.0]
    settings = {
        "programme": "creep", "temperatures": kelvin, "points": 40, "stress": 2e7, "seed": seed,
    }  # fmt: skip
    found, truth = analysed(RelaxationTester, Creep, settings, "fits")
    for k, i in enumerate(np.flatnonzero(found["final"] == 1).tolist()):
        told = bool(np.isin(found["flag"][i], (0, 2)))
        values = (float(found[n][i]) for n in ("viscosity", "viscosity_errors"))
        yield f"creep, {kelvin[k]:g} K: viscosity", *values, float(truth["viscosity"][k]), told


def ageing(seed: int) -> Iterator[Found]:
    """Yield the time of the beta peak before ageing, at a temperature where alpha is far."""
    settings = {
        "programme": "ageing", "temperatures": [343.0], "interval": 3000.0, "seed": seed,
        "frequencies": np.logspace(-1, 2, 13).tolist(), "ageing_times": [6000.0],
        "fast_strength": 0.0,
    }  # fmt: skip
    found, truth = analysed(MechanicalSpectrometer, Ageing, settings, "states")
    # the law is Cole-Cole in the modulus: tau of the loss peak is that of the law
    at = 12
    values = (float(found[n][0]) for n in ("ln_tau_beta", "ln_tau_beta_errors"))
    told = bool(found["flag"][0] == 0)
    yield "ageing, first state: ln_tau_beta", *values, float(truth["ln_tau_beta"][at]), told


def indents(seed: int) -> Iterator[Found]:
    """Yield G, t_c and eta of four indents, and the mean G of a map of nine."""
    settings = {"shape": [3, 3], "sampling_rate": 10_000.0, "seed": seed}
    found, truth = analysed(Nanoindenter, Indentation, settings, "indents")
    for i in range(4):
        told = bool(found["flag"][i] == 0)
        for name in ("G", "t_c", "eta"):
            values = (float(found[n][i]) for n in (name, f"{name}_errors"))
            yield f"indent: {name}", *values, float(truth[name][i]), told


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100)
    seeds = parser.parse_args().seeds
    rows: dict[str, list[Found]] = {}
    for measure in (relaxation, creep, ageing, indents):
        for seed in range(seeds):
            for found in measure(seed):
                rows.setdefault(found[0], []).append(found)
    print(f"{seeds} seeds; z: (found - truth)/error\n")
    print("| quantity | determined | mean z | sd z | within 1 |\n|---|--:|--:|--:|--:|")
    for name, every in rows.items():
        z = np.array([(value - true) / error for _, value, error, true, told in every if told])
        part = f"{len(z) / len(every):.0%}"
        if not len(z):
            print(f"| {name} | {part} | | | |")
            continue
        print(
            f"| {name} | {part} | {z.mean():.2f} | {z.std():.2f} | {np.mean(np.abs(z) < 1):.0%} |"
        )


if __name__ == "__main__":
    main()
