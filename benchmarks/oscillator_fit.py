"""Fits of contact-resonance curves a second, beside scipy, one pixel at a time.

    python benchmarks/oscillator_fit.py [--pixels 4096] [--peers 100] [--rounds 5]

Complex curves of 48 frequencies over six widths of the resonance, Q 150, noise of 2 % of the
amplitude; neighbours differ by 0.3 kHz. Four parameters: frequency, quality factor, amplitude and
phase. scipy starts at the middle of the truth, with residuals of both parts, in the same scaled
parameters; the second row is given the analytic Jacobian. Before the clock runs the minima are
compared.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from scipy.optimize import least_squares
from table import Measured, Rows, arguments, measure, show

from daq_afm.oscillator_fit import DETERMINED, fit_oscillators, oscillator

F0 = 9e5
SWEEP = F0 + np.linspace(-3, 3, 48) * F0 / 150
SCALE = np.array([F0, 150.0, 0.5, 90.0])
SCIPY = "scipy least_squares"


def curves(count: int) -> np.ndarray:
    """Return curves [pixel, frequency]."""
    draw = np.random.default_rng(0)
    f0 = F0 + 300 * draw.standard_normal(count)
    Q = 150 + 5 * draw.standard_normal(count)
    y = np.stack([oscillator(SWEEP, a, b, 0.5, -90.0) for a, b in zip(f0, Q, strict=True)])
    return y + 0.01 * (draw.standard_normal(y.shape) + 1j * draw.standard_normal(y.shape))


def residuals(p: np.ndarray, y: np.ndarray) -> np.ndarray:
    left = y - oscillator(SWEEP, *(p * SCALE))
    return np.concatenate([left.real, left.imag])


def jacobian(p: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the derivatives of `residuals`."""
    f0, Q, A, phase = p * SCALE
    D = f0 * f0 - SWEEP * SWEEP + 1j * SWEEP * f0 / Q
    model = oscillator(SWEEP, f0, Q, A, phase)
    columns = [
        model * (2 / f0 - (2 * f0 + 1j * SWEEP / Q) / D),
        model * (-1 / Q + 1j * SWEEP * f0 / Q**2 / D),
        model / A,
        model * 1j * np.pi / 180,
    ]
    return -np.stack(
        [np.concatenate([c.real, c.imag]) * s for c, s in zip(columns, SCALE, strict=True)], axis=1
    )


def by_scipy(y: np.ndarray, **options: Any) -> np.ndarray:
    """Return parameters [pixel, 4]."""
    start = np.array([1.0, 1.0, 1.0, -1.0])
    fits = [least_squares(residuals, start, args=(row,), method="lm", **options) for row in y]
    return np.array([fit.x * SCALE for fit in fits])


def timed(count: int, work: Callable[[], Any]) -> Measured:
    cpu, began = time.process_time(), time.perf_counter()
    work()
    return Measured(count, 0, time.perf_counter() - began, time.process_time() - cpu)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--pixels", type=int, default=4096)
    parser.add_argument("--peers", type=int, default=100, help="pixels that scipy is given")
    options = parser.parse_args()
    y = curves(options.pixels)
    few = y[: options.peers]
    began = time.perf_counter()
    fit = fit_oscillators(SWEEP, y)
    print(f"first call, compiled or from the cache: {time.perf_counter() - began:.1f} s")
    theirs = by_scipy(few, jac=jacobian, xtol=1e-15, ftol=1e-15, gtol=1e-15)
    apart = np.abs(fit.values[: len(few)] - theirs) / fit.errors[: len(few)]
    print(
        f"{np.mean(fit.flag == DETERMINED):.1%} determined; largest difference from scipy's minimum "
        f"{apart.max():.1e} of the error; {fit.steps.mean():.1f} steps a pixel\n"
    )
    rows: Rows = {
        SCIPY: partial(timed, len(few), partial(by_scipy, few)),
        "scipy, jacobian": partial(timed, len(few), partial(by_scipy, few, jac=jacobian)),
        "cold starts": partial(timed, len(y), partial(fit_oscillators, SWEEP, y, warm=False)),
        "from the neighbour": partial(timed, len(y), partial(fit_oscillators, SWEEP, y)),
    }
    found = measure(rows, options.rounds, options.only, (SCIPY,))
    show("damped oscillator, 4 parameters, 48 complex points", found, (SCIPY,),
         things="pixels", per_byte=False, path=options.json)  # fmt: skip


if __name__ == "__main__":
    main()
