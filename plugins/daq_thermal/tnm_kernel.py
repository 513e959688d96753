"""The compiled recursion of `daq_thermal.tnm`; apart, so that numba loads only where it is used."""

from __future__ import annotations

import math

import numba
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

NO_SAMPLE = -1


@numba.njit(cache=True, nogil=True)
def advance(
    dt_whole: float, rise_whole: float, parameters: Floats, times: Floats, weights: Floats,
    behind: Floats, state: Floats,
) -> None:  # fmt: skip
    """Take one reading: ``dt_whole`` s and ``rise_whole`` K after the last.

    ``parameters``: h/R K, T_g K, ln tau_g, x, longest step K. ``behind`` [mode] and ``state`` are
    those of `daq_thermal.tnm.History`.
    """
    h_over_r, T_g, ln_tau_g, x, longest = parameters
    parts = 1
    if dt_whole > 0.0:
        parts = max(1, math.ceil(abs(rise_whole) / longest))
    dt = dt_whole / parts
    rise = rise_whole / parts
    for _ in range(parts):
        middle = state[0] + 0.5 * rise
        # a slope from a step of another length would mislead
        change = state[2] if 0.5 * state[3] < dt < 2.0 * state[3] else 0.0
        guess = state[1] + 0.5 * change * dt
        ln_tau = ln_tau_g + h_over_r * (
            x * (1 / middle - 1 / T_g) + (1 - x) * (1 / guess - 1 / T_g)
        )
        step = dt * math.exp(-ln_tau) if ln_tau > -600.0 else 1e250
        total = 0.0
        for k in range(len(times)):
            # the rise comes at the middle of the step's reduced time
            half = math.exp(-0.5 * step / times[k])
            behind[k] = (behind[k] * half - rise) * half
            total += weights[k] * behind[k]
        state[0] += rise
        now = state[0] + total
        state[2] = (now - state[1]) / dt if dt > 0.0 else 0.0
        state[1], state[3] = now, dt


@numba.njit(cache=True, nogil=True)
def follow(
    dt: Floats, T: Floats, parameters: Floats, times: Floats, weights: Floats, behind: Floats,
    state: Floats, fictive: Floats,
) -> None:  # fmt: skip
    """Fill ``fictive`` [n] for readings at T [n] K, each ``dt`` [n] s after the one before."""
    for i in range(len(dt)):
        advance(dt[i], T[i] - state[0], parameters, times, weights, behind, state)
        state[0] = T[i]
        fictive[i] = state[1]


@numba.njit(cache=True, nogil=True)
def begin(
    T: float, past: Floats, parameters: Floats, times: Floats, weights: Floats, behind: Floats,
    state: Floats,
) -> None:  # fmt: skip
    """Begin a sample at its first reading.

    ``past``: its T_f K, else its cooling rate K/s and from where K; all NaN: it is in equilibrium.
    """
    fictive, rate, hot = past
    start = T
    if rate > 0.0 and hot > T:
        start = hot
    state[:] = 0.0
    state[0] = start
    state[1] = start if math.isnan(fictive) else fictive
    behind[:] = state[1] - start
    if start > T:
        advance((start - T) / rate, T - start, parameters, times, weights, behind, state)
        # what comes has another pace
        state[0], state[2], state[3] = T, 0.0, 0.0


@numba.njit(cache=True, nogil=True)
def follow_readings(
    time: Integers, T: Floats, good: npt.NDArray[np.bool_], sample: Integers, step: float,
    past: Floats, parameters: Floats, times: Floats, weights: Floats, behind: Floats,
    state: Floats, last: Integers, out: Floats,
) -> None:  # fmt: skip
    """Fill ``out`` [4, n] with T_f K, ln tau, dT_f/dT and heat flow W/g; NaN where not ``good``.

    ``last``: time in ns and sample of the last good reading, and whether there was one. ``sample``
    may be empty: then only a time that goes back tells another sample. ``step`` in J/(g K).
    """
    h_over_r, T_g, ln_tau_g, x = parameters[0], parameters[1], parameters[2], parameters[3]
    for i in range(len(time)):
        out[:, i] = math.nan
        if not good[i]:
            continue
        number = sample[i] if len(sample) else NO_SAMPLE
        if last[2] == 0 or time[i] < last[0] or number != last[1]:
            begin(T[i], past, parameters, times, weights, behind, state)
        else:
            before, rise = state[1], T[i] - state[0]
            dt = (time[i] - last[0]) * 1e-9
            advance(dt, rise, parameters, times, weights, behind, state)
            state[0] = T[i]
            change = state[1] - before
            if rise != 0.0:
                out[2, i] = change / rise
            if dt > 0.0:
                out[3, i] = step * change / dt
        last[0], last[1], last[2] = time[i], number, 1
        fictive = state[1]
        out[0, i] = fictive
        out[1, i] = ln_tau_g + h_over_r * (
            x * (1 / T[i] - 1 / T_g) + (1 - x) * (1 / fictive - 1 / T_g)
        )
