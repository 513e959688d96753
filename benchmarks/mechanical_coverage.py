"""Whether errors of mechanical spectroscopy hold: sweeps, master curves, laws of temperature.

    python benchmarks/mechanical_coverage.py [--seeds 150]

Simulated readings with noise of amplitude and phase (or of each modulus), many seeds; prints tables in
Markdown. A share of 150 seeds has an error of 4 % by chance. Biases are in decades of a_T.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from daq_mechanical.superposition import Channels, superpose
from daq_relaxation.kww_frequency import kww_susceptibility
from daq_relaxation.laws import havriliak_negami, vft_fragility, vft_ln_tau
from daq_relaxation.susceptibility_fit import MODELS, PARAMETERS, TAU_OPEN, fit_susceptibility
from daq_relaxation.temperature_law_fit import fit_temperature_law

M_U, DM = 3e10, 2.4e10
VFT = (-30.0, 4500.0, 330.0)
SHAPES = {
    "debye": (1.0, 1.0), "cole_cole": (0.5, 1.0), "cole_davidson": (1.0, 0.4),
    "havriliak_negami": (0.95, 0.41),
}  # fmt: skip


def chi(model: str, f: np.ndarray, ln_tau: float) -> np.ndarray:
    w, tau = 2 * np.pi * f, float(np.exp(ln_tau))
    if model == "kww":
        return np.asarray(kww_susceptibility(w, tau, 0.5))
    return np.asarray(havriliak_negami(w, tau, *SHAPES[model]))


def noisy(M: np.ndarray, seed: int, kind: str, levels: tuple[float, float]) -> np.ndarray:
    one, other = np.random.default_rng(seed).standard_normal((2, *M.shape))
    if kind == "phase":
        return np.asarray(M * (1 + levels[0] * one) * np.exp(1j * levels[1] * other))
    return np.asarray(M.real * (1 + levels[0] * one) + 1j * M.imag * (1 + levels[1] * other))


def sweeps(seeds: int) -> None:
    print(
        "| model | noise | readings | open | "
        + " | ".join(PARAMETERS)
        + " | relaxed | right model, decided |"
    )
    print("|---|---|--:|--:|" + "--:|" * 8)
    cases = [
        (model, "phase", points, 0.0)
        for points in (5, 10, 25)
        for model in MODELS
    ] + [("havriliak_negami", "moduli", 10, 0.0), ("havriliak_negami", "phase", 10, 3.0),
         ("havriliak_negami", "phase", 10, -5.0)]  # fmt: skip
    for model, kind, points, ln_tau in cases:
        m = MODELS.index(model)
        f = np.logspace(-2, 2, points)
        shape = {"kww": (np.nan, np.nan, 0.5), "debye": (np.nan,) * 3}.get(
            model, (*SHAPES.get(model, (1, 1)), np.nan)
        )
        truth = np.array([M_U, DM, ln_tau, *shape])
        z, flags, right, decided = [], [], 0, 0
        for seed in range(seeds):
            M = noisy(
                M_U - DM * chi(model, f, ln_tau),
                seed,
                kind,
                (3e-3, 1e-3 if kind == "phase" else 1e-2),
            )
            fit = fit_susceptibility(f, M.real, M.imag, noise=kind)  # type: ignore[arg-type]
            flags.append(fit.flag[m])
            right += fit.best == m
            decided += fit.best >= 0 and fit.best != m and fit.weight[fit.best] > 0.9
            if fit.flag[m] != TAU_OPEN:
                own = (fit.parameters[m] - truth) / fit.errors[m]
                z.append([*own, (fit.relaxed[m] - M_U + DM) / fit.relaxed_errors[m]])
        covered = np.mean(np.abs(np.array(z)) < 1, axis=0)
        covered = np.where(np.isnan(np.array(z)).all(axis=0), np.nan, covered)
        cells = " | ".join("" if np.isnan(c) else f"{c:.2f}" for c in covered)
        name = model if ln_tau == 0 else f"{model}, ln tau {ln_tau:g}"
        print(f"| {name} | {kind} | {points} | {np.mean(np.array(flags) == TAU_OPEN):.2f} | {cells} "
              f"| {right / seeds:.2f}, wrong and sure {decided / seeds:.2f} |")  # fmt: skip


def master_curves(seeds: int) -> None:
    print("\n| sweeps | noise | bias | largest error | covered | z sd | open | ms |")
    print("|---|---|--:|--:|--:|--:|--:|--:|")
    T = np.arange(455.0, 500.0, 4.5)
    f = np.logspace(-1, 2, 10)
    cases: list[tuple[str, Any]] = [
        ("HN", {}), ("HN", {"levels": (1e-3, 2e-4)}), ("HN", {"levels": (2e-2, 1e-2)}),
        ("HN", {"kind": "moduli", "levels": (1e-2, 3e-2)}), ("HN, 5 frequencies", {"f": f[::2]}),
        ("Debye, glass below the noise", {"shape": (1.0, 1.0)}),
        ("HN, steps of 1.3 decades", {"T": np.arange(440.0, 500.0, 9.0)}),
    ]  # fmt: skip
    import time

    for name, case in cases:
        kelvin, hertz = case.get("T", T), case.get("f", f)
        kind, levels = case.get("kind", "phase"), case.get("levels", (5e-3, 2e-3))
        u = np.asarray(vft_ln_tau(kelvin, *VFT))
        ref = len(kelvin) // 2
        true = (u - u[ref]) / np.log(10)
        errors, z, flags, spent = [], [], [], []
        for seed in range(seeds // 2):
            shape = case.get("shape", (0.95, 0.41))
            M = np.stack([
                M_U * (1 - 0.99 * havriliak_negami(2 * np.pi * hertz, np.exp(one), *shape)) for one in u
            ])  # fmt: skip
            M = noisy(M, seed, kind, levels)
            began = time.perf_counter()
            found = superpose(
                [Channels.of(hertz, m.real, m.imag, kind) for m in M], kelvin.tolist(), ref
            )
            spent.append(time.perf_counter() - began)
            errors.append(found.shift - true)
            z.append(np.delete(errors[-1] / np.where(found.errors > 0, found.errors, 1), ref))
            flags.append(found.flag)
        bias, largest = np.max(np.abs(np.mean(errors, axis=0))), np.max(np.abs(errors))
        print(
            f"| {name} | {kind} {levels[0]:g}, {levels[1]:g} | {bias:.4f} | {largest:.3f} "
            f"| {np.mean(np.abs(z) < 1):.2f} | {np.std(z):.2f} | {np.mean(flags):.2f} "
            f"| {1e3 * np.median(spent):.0f} |"
        )


def laws(seeds: int) -> None:
    T = np.linspace(455, 500, 10)
    T_g = VFT[2] + VFT[1] / (np.log(100) - VFT[0])
    print("\n| points | T0 | B | T_g | m |\n|---|--:|--:|--:|--:|")
    for error in (0.02, 0.1):
        z = []
        for seed in range(2 * seeds):
            y = np.asarray(vft_ln_tau(T, *VFT)) + np.random.default_rng(seed).normal(0, error, 10)
            law = fit_temperature_law(T, y, np.full(10, error**2))
            z.append([
                (found[0] - true) / found[1]
                for found, true in (
                    (law.vogel, VFT[2]), (law.B, VFT[1]), (law.glass_transition(), T_g),
                    (law.fragility(T_g), float(vft_fragility(T_g, *VFT[1:]))),
                )
            ])  # fmt: skip
        cells = " | ".join(f"{c:.2f}" for c in np.mean(np.abs(z) < 1, axis=0))
        print(f"| 10, ln tau +- {error:g} | {cells} |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=150)
    options = parser.parse_args()
    sweeps(options.seeds)
    master_curves(options.seeds)
    laws(options.seeds)


if __name__ == "__main__":
    main()
