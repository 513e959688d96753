"""KWW fits a second, beside scipy's curve_fit and, where it is installed, lmfit.

    python benchmarks/kww_fits.py [--curves 7200] [--peers 150] [--rounds 5] [--threads 2]

Correlation curves of 105 lags with noise of 1 % of the square of the mean, tau 300 s (sd of ln
tau 0.4), shape 0.6-1.6, contrast 0.1-0.3; three free parameters. Cold starts know nothing of the
curve; warm ones begin at the fit of the same curve with other noise of a tenth. The peers begin
at the middle of the truth, in ln tau, as here. curve_fit is its default, MINPACK without bounds;
the other rows of scipy are given the Jacobian, or the bounds. Before the clock runs, the minima
are compared.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from scipy.optimize import curve_fit
from table import Measured, Rows, arguments, measure, show

from daq_relaxation.kww_fit import KwwFit, fit_kww, ln_tau_interval

TIMES = 9.2 * np.arange(1, 106)
START = (0.2, np.log(300), 1.0)
LOWER, UPPER = (0.0, -3.0, 0.1), (np.inf, 17.0, 4.0)
SCIPY = "scipy curve_fit"


def curves(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return curves [curve, lag], and the same with a little more noise."""
    random = np.random.default_rng(0)
    tau = np.exp(random.normal(np.log(300), 0.4, (count, 1)))
    shape, contrast = random.uniform(0.6, 1.6, (count, 1)), random.uniform(0.1, 0.3, (count, 1))
    y = contrast * np.exp(-2 * (TIMES / tau) ** shape) + random.normal(0, 0.01, (count, len(TIMES)))
    return y, y + random.normal(0, 0.001, y.shape)


def law(t: np.ndarray, contrast: float, ln_tau: float, shape: float) -> np.ndarray:
    return contrast * np.exp(-2 * (t * np.exp(-ln_tau)) ** shape)


def jacobian(t: np.ndarray, contrast: float, ln_tau: float, shape: float) -> np.ndarray:
    far = np.log(t) - ln_tau
    z = np.exp(shape * far)
    e = np.exp(-2 * z)
    ze = 2 * contrast * z * e
    return np.stack([e, shape * ze, -far * ze], axis=1)


def by_scipy(y: np.ndarray, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return parameters and errors of each curve; NaN where scipy gives up."""
    found = np.full((2, len(y), 3), np.nan)
    for n, row in enumerate(y):
        try:
            p, covariance = curve_fit(law, TIMES, row, p0=START, **options)
        except RuntimeError:
            continue
        found[:, n] = p, np.sqrt(np.diag(covariance))
    return found[0], found[1]


def by_lmfit(y: np.ndarray) -> None:
    """Fit each curve with lmfit, within bounds."""
    import lmfit

    model = lmfit.Model(law)
    parameters = model.make_params()
    for name, value, low, high in zip(parameters, START, LOWER, UPPER, strict=True):
        parameters[name].set(value=value, min=low, max=high)
    for row in y:
        model.fit(row, parameters, t=TIMES)


def timed(count: int, work: Callable[[], Any]) -> Measured:
    cpu, began = time.process_time(), time.perf_counter()
    work()
    return Measured(count, 0, time.perf_counter() - began, time.process_time() - cpu)


def compare(y: np.ndarray, fit: KwwFit) -> None:
    """Say how far the minima lie apart."""
    p, errors = by_scipy(y, ftol=1e-14, xtol=1e-14, gtol=1e-14, jac=jacobian)
    ours = fit.parameters[: len(y), :3]
    residuals = y - np.array([law(TIMES, *row) for row in p])
    chi2 = np.sum(residuals**2, axis=1)
    both = np.isfinite(chi2) & (fit.flag[: len(y)] == 0)
    lower = fit.chi2[: len(y)] / chi2 - 1
    same = both & (np.abs(lower) < 1e-9)
    apart = np.abs(ours - p)[same]
    print(
        f"{len(y)} curves: same minimum as curve_fit in {same.sum()}, a lower one in "
        f"{np.sum(both & (lower < -1e-9))}, a higher one in {np.sum(both & (lower > 1e-9))}, "
        f"curve_fit failed in {np.sum(~np.isfinite(chi2))}, flagged here {np.sum(fit.flag[: len(y)] > 0)};\n"
        f"largest difference {np.max(apart / np.abs(p[same])):.1e} of the parameter, "
        f"{np.max(apart / errors[same]):.1e} of its error\n"
    )


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--curves", type=int, default=7200)
    parser.add_argument("--peers", type=int, default=150, help="curves that the peers are given")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    y, before = curves(options.curves)
    few, count, threads = y[: options.peers], options.curves, options.threads
    began = time.perf_counter()
    warm, fit = fit_kww(TIMES, before), fit_kww(TIMES, y)
    print(f"first call, compiled or from the cache: {time.perf_counter() - began:.1f} s")
    compare(y[: max(1000, options.peers)], fit)
    rows: Rows = {
        SCIPY: partial(timed, len(few), partial(by_scipy, few)),
        "scipy curve_fit, jacobian": partial(timed, len(few), partial(by_scipy, few, jac=jacobian)),
        "scipy curve_fit, bounds": partial(
            timed, len(few) // 3, partial(by_scipy, few[: len(few) // 3], bounds=(LOWER, UPPER))
        ),
    }
    if importlib.util.find_spec("lmfit"):
        third = few[: len(few) // 3]
        rows = {**rows, "lmfit, bounds": partial(timed, len(third), partial(by_lmfit, third))}
    for name, start in (("cold", None), ("warm", warm)):
        for used in sorted({1, threads}):
            work = partial(fit_kww, TIMES, y, start=start, threads=used)
            rows = {**rows, f"{name}, threads {used}": partial(timed, count, work)}
    part = y[: count // 4]
    of_part = fit_kww(TIMES, part)
    work = partial(ln_tau_interval, TIMES, part, of_part, threads=threads)
    rows = {**rows, f"interval of ln tau, threads {threads}": partial(timed, len(part), work)}
    inverse = np.eye(len(TIMES)) + 0.01
    work = partial(fit_kww, TIMES, part, precision=inverse, threads=threads)
    rows = {**rows, f"cold, precision matrix, threads {threads}": partial(timed, len(part), work)}
    found = measure(rows, options.rounds, options.only, (SCIPY,))
    show(f"KWW fits, 3 parameters, {len(TIMES)} lags", found, (SCIPY,),
         things="fits", per_byte=False, path=options.json)  # fmt: skip


if __name__ == "__main__":
    main()
