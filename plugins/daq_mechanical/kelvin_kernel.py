"""The compiled part of `daq_mechanical.kelvin`: a load delayed by t_c, and the way back."""

from __future__ import annotations

import math

import numba
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@numba.njit(cache=True, nogil=True)
def delayed_load(t: Floats, load: Floats, t_c: float, begin: float, delayed: Floats) -> None:
    """Fill ``delayed`` with u of t_c du/dt + u = P(t), P in straight lines through the samples.

    ``begin`` is u at the first sample.
    """
    u = begin
    delayed[0] = u
    for i in range(1, len(t)):
        dt = t[i] - t[i - 1]
        if dt > 0:
            lag = (load[i] - load[i - 1]) / dt * t_c
            u = load[i] - lag + (u - load[i - 1] + lag) * math.exp(-dt / t_c)
        delayed[i] = u


@numba.njit(cache=True, nogil=True)
def delayed_back(t: Floats, t_c: float, weights: Floats, found: Floats) -> None:
    """Fill ``found`` with what each sample of the load adds to sum_i weights_i u_i."""
    carried = later = 0.0  # through u of the next sample, and through the next sample of the load
    for i in range(len(t) - 1, -1, -1):
        total = weights[i] + carried
        own, before, e = 1.0, 0.0, 0.0  # the first sample is where u begins
        if i > 0 and t[i] > t[i - 1]:
            x = (t[i] - t[i - 1]) / t_c
            e = math.exp(-x)
            own, before = 1 - (1 - e) / x, (1 - e) / x - e
        found[i] = own * total + later
        carried, later = e * total, before * total
