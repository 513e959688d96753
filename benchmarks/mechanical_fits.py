"""Havriliak-Negami refits beside lmfit, and master curves beside pyvisco, on the same readings.

    python benchmarks/mechanical_fits.py [--rounds 9] [--points 200]

A refit: one more reading of a sweep of 200 arrives, all five parameters are fitted again, to both
moduli. Ours begins at the fit of the sweep before it and estimates two parts of the noise besides,
which lmfit does not. lmfit is given the same residuals in relative units, bounds, and cold the middle
of the truth; warm it begins at its own fit of the sweep before. A master curve: 10 temperatures
of 10 frequencies (HN, VFT, noise of amplitude 0.5 % and phase 2 mrad), from nothing, and when the
last of the ten arrives. ``largest error`` is in decades of a_T. Peers run where they can be imported.
"""

from __future__ import annotations

import importlib.util
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from table import Measured, arguments, measure, show

from daq_mechanical.superposition import Channels, superpose
from daq_relaxation.laws import havriliak_negami, vft_ln_tau
from daq_relaxation.susceptibility_fit import MODELS, fit_susceptibility

HN = "havriliak_negami"
TRUTH = (3e10, 2.9e10, 0.0, 0.95, 0.41)
TEMPERATURES = np.arange(455.0, 500.0, 4.5)
VFT = (-30.0, 4500.0, 330.0)
REFERENCE = 5


def noisy(M: np.ndarray, random: np.random.Generator, noise: tuple[float, float]) -> np.ndarray:
    amplitude, phase = random.standard_normal((2, len(M)))
    return np.asarray(M * (1 + noise[0] * amplitude) * np.exp(1j * noise[1] * phase))


def sweep(points: int) -> tuple[np.ndarray, np.ndarray]:
    f = np.logspace(-2, 2, points)
    M = TRUTH[0] - TRUTH[1] * havriliak_negami(2 * np.pi * f, 1.0, *TRUTH[3:])
    return f, noisy(np.asarray(M), np.random.default_rng(0), (2e-3, 2e-3))


def timed(
    work: Callable[[], Any], count: int = 1, more: dict[str, float] | None = None
) -> Measured:
    cpu, began = time.process_time(), time.perf_counter()
    for _ in range(count):
        work()
    seconds = time.perf_counter() - began
    return Measured(count, 0, seconds, time.process_time() - cpu, more or {})


def lmfit_refit(f: np.ndarray, M: np.ndarray, warm: bool) -> Callable[[], Any]:
    """Return a fit with lmfit; each residual is relative, as ours are."""
    import lmfit

    w = 2 * np.pi * f
    p = lmfit.Parameters()
    p.add("M_u", value=3e10)
    p.add("dM", value=2.5e10, min=0)
    p.add("ln_tau", value=0.5)
    p.add("alpha", value=0.8, min=0.05, max=1)
    p.add("gamma", value=0.6, min=0.05, max=1)

    def left(p: Any, n: int) -> np.ndarray:
        v = p.valuesdict()
        chi = (1 + (1j * w[:n] * np.exp(v["ln_tau"])) ** v["alpha"]) ** -v["gamma"]
        found = (M[:n] - v["M_u"] + v["dM"] * chi) / M[:n]
        return np.concatenate([found.real, found.imag])

    begin = lmfit.minimize(left, p, args=(len(f) - 1,)).params if warm else p
    return lambda: lmfit.minimize(left, begin, args=(len(f),))


def lmfit_model(f: np.ndarray, M: np.ndarray) -> Callable[[], Any]:
    """Return a fit with lmfit's Model to complex data, as its documentation shows."""
    import lmfit

    def law(w: Any, M_u: float, dM: float, ln_tau: float, alpha: float, gamma: float) -> Any:
        return M_u - dM * (1 + (1j * w * np.exp(ln_tau)) ** alpha) ** -gamma

    model = lmfit.Model(law)
    p = model.make_params(
        M_u=3e10, dM={"value": 2.5e10, "min": 0}, ln_tau=0.5,
        alpha={"value": 0.8, "min": 0.05, "max": 1}, gamma={"value": 0.6, "min": 0.05, "max": 1},
    )  # fmt: skip
    return lambda: model.fit(M, p, w=2 * np.pi * f, weights=1 / np.abs(M))


def pyvisco_shifts(f: np.ndarray, moduli: list[np.ndarray]) -> Callable[[], np.ndarray]:
    import pandas
    from pyvisco import master

    rounded = TEMPERATURES.round(1)
    frame = pandas.DataFrame({
        "f_set": np.tile(f, len(moduli)), "T_round": np.repeat(rounded, len(f)),
        "E_stor": np.concatenate([M.real for M in moduli]) / 1e6,
        "E_loss": np.concatenate([M.imag for M in moduli]) / 1e6,
        "Set": np.repeat(np.arange(len(moduli)), len(f)),
    })  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas: columns by attribute
        frame.modul, frame.domain = "E", "freq"

    def work() -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return np.asarray(master.get_aT(frame, rounded[REFERENCE])[0]["log_aT"], float)

    return work


def refits(options: Any) -> None:
    f, M = sweep(options.points)
    before = fit_susceptibility(f[:-1], M.real[:-1], M.imag[:-1], models=[HN])
    all_before = fit_susceptibility(f[:-1], M.real[:-1], M.imag[:-1])
    ours = partial(fit_susceptibility, f, M.real, M.imag)
    rows: dict[str, Callable[[], Measured]] = {}
    reference: tuple[str, ...] = ()
    if importlib.util.find_spec("lmfit"):
        reference = ("lmfit, cold", "lmfit, warm")
        for name, warm in zip(reference, (False, True), strict=True):
            rows[name] = partial(timed, lmfit_refit(f, M, warm), 5)
        rows["lmfit Model, cold"] = partial(timed, lmfit_model(f, M), 5)
        theirs = lmfit_refit(f, M, True)().params.valuesdict()
        p = fit_susceptibility(f, M.real, M.imag, models=[HN], known=(1.0, 1.0), noise="phase")
        apart = p.parameters[MODELS.index(HN)][:5] - [
            theirs[k] for k in ("M_u", "dM", "ln_tau", "alpha", "gamma")
        ]
        print(
            f"minima apart by {np.max(np.abs(apart) / ours().errors[MODELS.index(HN)][:5]):.1e} errors"
        )
    rows["HN, warm"] = partial(timed, partial(ours, models=[HN], start=before), 20)
    rows["HN, cold"] = partial(timed, partial(ours, models=[HN]), 20)
    rows["all five models, warm"] = partial(timed, partial(ours, start=all_before), 2)
    found = measure(rows, options.rounds, options.only, reference)
    show(f"Refit of a sweep of {options.points} readings", found, reference, things="fits",
         per_byte=False, path=options.json)  # fmt: skip


def curves(options: Any) -> None:
    f = np.logspace(-1, 2, 10)
    ln_tau = vft_ln_tau(TEMPERATURES, *VFT)
    true = (np.asarray(ln_tau) - np.asarray(ln_tau)[REFERENCE]) / np.log(10)
    random = np.random.default_rng(0)
    moduli = [
        noisy(np.asarray(3e10 - 2.97e10 * havriliak_negami(2 * np.pi * f, np.exp(u), 0.95, 0.41)), random, (5e-3, 2e-3))
        for u in np.asarray(ln_tau)
    ]  # fmt: skip
    sweeps = [Channels.of(f, M.real, M.imag, "phase") for M in moduli]
    T = TEMPERATURES.tolist()
    nine = superpose(sweeps[:-1], T[:-1], REFERENCE)
    ours = partial(superpose, sweeps, T, REFERENCE)
    rows: dict[str, Callable[[], Measured]] = {}
    reference: tuple[str, ...] = ()
    if importlib.util.find_spec("pyvisco"):
        reference = ("pyvisco",)
        work = pyvisco_shifts(f, moduli)
        error = float(np.max(np.abs(work() - true)))
        rows["pyvisco"] = partial(timed, work, 1, {"largest error": error})
    for name, one in (("all ten at once", ours), ("the tenth arrives", partial(ours, start=nine))):
        error = float(np.max(np.abs(one().shift - true)))
        rows[name] = partial(timed, one, 3, {"largest error": error})
    found = measure(rows, options.rounds, options.only, reference)
    show("Master curve, 10 temperatures of 10 frequencies", found, reference, things="curves",
         per_byte=False)  # fmt: skip


def main() -> None:
    parser = arguments(__doc__, rounds=9)
    parser.add_argument("--points", type=int, default=200)
    options = parser.parse_args()
    refits(options)
    curves(options)


if __name__ == "__main__":
    main()
