"""Whether the errors of calorimetry hold: 1-sigma intervals against the truth of the simulated DSC.

    python benchmarks/calorimetry_coverage.py [--seeds 20] [--only series,heating,modulated,streaming]

``series``: an annealing series as published (four temperatures, four times, one as quenched), from
heat flow to KWW and E, with noise and with baselines that bend anew in each ramp. ``heating``: what
is drawn into one heating of a standard, where crystallisation follows the glass transition closely
and not. ``modulated``: a modulated scan, against the same without noise. ``streaming``: the fictive
temperature, reading by reading, against the direct recursion, and what a reading costs. Prints
tables in Markdown.

The instrument is simulated once; seeds give it other noise and other baselines.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

import daq
from daq.runtime.direct import AnalysisDriver
from daq.testing import Records, make_stream, record_source, run_analysis
from daq_simulators.calorimeter import Calorimeter
from daq_thermal.enthalpy_relaxation import EnthalpyRelaxation
from daq_thermal.excess_enthalpy import ExcessEnthalpy
from daq_thermal.fictive_temperature import FictiveTemperature
from daq_thermal.glass_transition import GlassTransition
from daq_thermal.modulated import Modulated

QUIET = {"noise": 0.0, "baseline_sd": [0.0, 0.0, 0.0]}
NOISE = 1e-4
BASELINE_SD = (0.002, 0.001, 5e-5)
T_A = np.array([473.0, 503.0, 523.0, 553.0])
LN_TAU = -24.2 + 26 * 695 / T_A
B, E_RTG = 0.3, 26.0

Truth = Mapping[str, np.ndarray]


def simulated(**config: Any) -> tuple[Records, Truth]:
    """Return the readings without noise, and the truth."""
    found: dict[str, Records] = dict(record_source(Calorimeter, {**QUIET, **config}, name="dsc"))
    source = Calorimeter()
    source.open(Calorimeter.Config(**{**QUIET, **config}))
    return found["dsc"], source.truth()


def noisy(dsc: Records, seed: int, baseline: tuple[float, ...] = ()) -> Records:
    """Return the same measurement with noise, and with baselines that differ from ramp to ramp."""
    draw = np.random.default_rng(seed)
    T, segment = dsc.arrays["temperature"], dsc.arrays["segment"]
    flow = dsc.arrays["heat_flow"] + NOISE * draw.standard_normal(len(T))
    wander = draw.standard_normal((segment.max() + 1, len(baseline))) * baseline
    for power in range(len(baseline)):
        flow = flow + wander[segment, power] * ((T - 600) / 100) ** power
    return Records(dsc.stream, {**dsc.arrays, "heat_flow": flow})


def run(analysis: type[daq.Analysis], given: Any, **config: Any) -> Any:
    """Return what an analysis gives, by stream."""
    batches = given.batches(512) if callable(given.batches) else given.batches
    return run_analysis(analysis, {given.stream.name: given.stream}, batches, config)


def row(*cells: object) -> None:
    """Print a line of a table."""
    print("| " + " | ".join(str(cell) for cell in cells) + " |")


def shares(z: np.ndarray) -> tuple[str, str, str]:
    """Return the share within one and two errors, and the mean of z, as text."""
    flat = z[np.isfinite(z)]
    return (
        f"{np.mean(abs(flat) < 1):.0%}", f"{np.mean(abs(flat) < 2):.0%}", f"{flat.mean():+.2f}",
    )  # fmt: skip


def series(seeds: int) -> None:
    """Print how often the truth of an annealing series lies within its errors."""
    times = [300.0, 1800.0, 10800.0, 43200.0]
    dsc, _ = simulated(
        annealing_temperatures=T_A.tolist(), annealing_times=times, programme=[745, 300, 752]
    )
    ways = {"told: 0.27 J/g": 0.27, "from scatter": None}
    z: dict[str, list[np.ndarray]] = {way: [] for way in ways}
    energies: dict[str, list[float]] = {way: [] for way in ways}
    for seed in range(seeds):
        output = run(ExcessEnthalpy, noisy(dsc, seed, BASELINE_SD))["excess"]
        final = output["final"]
        excess = make_stream(
            "excess.excess", {name: output[name][final] for name in output.stream.fields}
        )
        for way, reproducibility in ways.items():
            found = run(EnthalpyRelaxation, excess, reproducibility=reproducibility)
            kww, line = found["kww"], found["arrhenius"]
            energies[way].append(line["energy_rtg"][-1])
            z[way].append(np.concatenate([
                (kww["ln_tau"][-4:] - LN_TAU) / kww["ln_tau_errors"][-4:],
                (kww["b"][-4:] - B) / kww["b_errors"][-4:],
                [(line["energy_rtg"][-1] - E_RTG) / line["energy_rtg_errors"][-1]],
            ]))  # fmt: skip
    row(
        "reproducibility", "quantity", "within 1", "within 2", "mean z", "mean E (R T_g)", "sd of E"
    )
    row(*["---"] * 2, *["---:"] * 5)
    for way in ways:
        every = np.array(z[way])
        mean, sd = np.mean(energies[way]), np.std(energies[way], ddof=1)
        for name, part in (("ln tau", every[:, :4]), ("b", every[:, 4:8]), ("E", every[:, 8:])):
            told = (f"{mean:.1f}", f"{sd:.1f}") if name == "E" else ("", "")
            row(way, name, *shares(part), *told)


def heating(seeds: int) -> None:
    """Print how often the truth of a heated standard lies within the errors of what is drawn."""
    row("T_x peak (K)", "quantity", "truth", "mean", "mean error quoted", "within 1", "within 2")
    row("---:", "---", *["---:"] * 5)
    for peak in (765.0, 775.0, 800.0):
        dsc, truth = simulated(
            start_temperature=560.0, programme=[peak + 45], beta_enthalpy=0.0,
            crystallisation_peak=peak, baseline=[0.02, 0.0, 0.0],
        )  # fmt: skip
        names = {
            "onset": "onset", "half_step": "half_step", "overshoot": "overshoot",
            "fictive_temperature": "standard_fictive_temperature",
            "crystallisation_onset": "crystallisation_onset",
            "crystallisation_peak": "crystallisation_peak",
        }  # fmt: skip
        true = {name: float(truth[key][0]) for name, key in names.items()}
        true |= {"crystallisation_heat": 60.0}
        found = [
            run(GlassTransition, noisy(dsc, seed), every=65536)["transition"]
            for seed in range(seeds)
        ]
        for name, value in true.items():
            values = np.array([output[name][-1] for output in found])
            errors = np.array([output[f"{name}_errors"][-1] for output in found])
            inside = shares((values - value) / errors)[:2]
            row(f"{peak:.0f}", name.replace("_", " "), f"{value:.4g}", f"{values.mean():.5g}",
                f"{errors.mean():.2g}", *inside)  # fmt: skip


MODULATED = {
    "heating_rates": [1.0], "start_temperature": 655.0, "programme": [745.0], "interval": 2.0,
    "modulation_amplitude": 0.5, "beta_enthalpy": 0.0, "crystallisation_heat": 0.0,
}  # fmt: skip


def modulated(seeds: int) -> None:
    """Print how often a modulated scan without noise lies within the errors of one with noise."""
    config = {"glass": [657.0, 680.0], "liquid": [728.0, 744.0], "mean_atomic_mass": 74.1}
    dsc, _ = simulated(**MODULATED)
    clean = run(Modulated, dsc, **config)["transition"]
    found = [run(Modulated, noisy(dsc, seed), **config)["transition"] for seed in range(seeds)]
    row("quantity", "without noise", "mean error quoted", "sd found", "within 1", "within 2")
    row("---", *["---:"] * 5)
    for name in ("temperature", "spread", "c_glass", "c_liquid", "reciprocal_step",
                 "correlated_units"):  # fmt: skip
        values = np.array([output[name][-1] for output in found])
        errors = np.array([output[f"{name}_errors"][-1] for output in found])
        inside = shares((values - clean[name][-1]) / errors)[:2]
        row(name.replace("_", " "), f"{clean[name][-1]:.4g}", f"{errors.mean():.2g}",
            f"{values.std(ddof=1):.2g}", *inside)  # fmt: skip


def streaming(seeds: int) -> None:
    """Print what a reading costs, and how far T_f is from the direct recursion."""
    config = {
        "cooling_rate": 20.0, "T_g": 695.0, "tau_g": 160.0, "fragility": 60.0,
        "nonlinearity": 0.7, "stretch": 0.55,
    }  # fmt: skip
    dsc, truth = simulated(annealing_temperatures=[553.0], annealing_times=[300.0])
    state = run(FictiveTemperature, dsc, **config)["state"]
    error = np.abs(state["fictive_temperature"] - truth["fictive_temperature"]).max()
    print(f"largest difference from the direct recursion: {error:.4f} K, {len(state)} readings\n")
    row("records in a batch", "us of CPU a reading, the analysis", "us, as a run calls it")
    row(*["---:"] * 3)
    for size in (1, 8, 64):
        best = []
        for driven in (False, True):
            spent = []
            for _ in range(5):
                driver = AnalysisDriver(FictiveTemperature, "tnm", config)
                driver.open([dsc.stream])
                given = list(dsc.batches(size))
                begin = time.thread_time()
                for batch in given:
                    if driven:
                        driver.feed(batch)
                    else:
                        list(driver.analysis.process(batch))
                spent.append((time.thread_time() - begin) / len(dsc))
            best.append(f"{1e6 * min(spent):.1f}")
        row(size, *best)


PARTS = {"series": series, "heating": heating, "modulated": modulated, "streaming": streaming}


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas")
    given = parser.parse_args()
    for part in given.only.split(","):
        print(f"\n### {part}\n")
        PARTS[part](given.seeds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
