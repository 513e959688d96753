"""Fits of a damped oscillator to complex resonance curves, many at once, with errors and flags.

    y(f) = A (i f_0^2/Q) / (f_0^2 - f^2 + i f f_0/Q) x exp(i phase)

A is the amplitude and ``phase`` the phase of y at resonance, whatever the controller calls 0.
Least squares of both parts at once, by Gauss-Newton with analytic derivatives. Magnitudes alone are
not fitted: without phases, f_0 and Q lean on what noise does to a magnitude.

A curve starts where the one before it ended (its neighbour in the line), else from a linear fit, which
needs no guess. Its minimum depends on itself; the last bits on the curves before it.
Compiled on first use and kept in numba's cache.
"""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np
import numpy.typing as npt

from daq_afm.image_lines import Floats

DETERMINED: Final = 0
"""Flag: converged, the resonance within the sweep."""
OUTSIDE: Final = 1
"""Flag: converged on a resonance beyond the sweep: extrapolated."""
WEAK: Final = 2
"""Flag: the amplitude is not ten times its error; errors are then no longer those of a Gaussian."""
NOT_CONVERGED: Final = 3
"""Flag: no minimum with a positive Q."""
MASKED: Final = 4
"""Flag: fewer than three finite points, or all 0."""
GIVEN: Final = 5
"""Flag: not fitted, a frequency that the controller gave."""


@dataclasses.dataclass(frozen=True, slots=True)
class OscillatorFits:
    """What `fit_oscillators` found; n curves. NaN where masked or not converged.

    Parameters
    ----------
    values, errors
        [n, 4] float64: f_0 (unit of the frequencies), Q, A (unit of y), phase at resonance (deg, -180 to
        180), and their standard errors, from the scatter of the points about the curve.
    noise
        [n]: standard deviation of each part of y about the curve.
    steps
        [n] int64: iterations.
    flag
        [n] uint8, see the flags of this module.
    """

    values: Floats
    errors: Floats
    noise: Floats
    steps: npt.NDArray[np.int64]
    flag: npt.NDArray[np.uint8]

    @property
    def frequency(self) -> Floats:
        """[n], f_0."""
        return self.values[:, 0]

    @property
    def quality_factor(self) -> Floats:
        """[n], Q."""
        return self.values[:, 1]

    @property
    def amplitude(self) -> Floats:
        """[n], A."""
        return self.values[:, 2]

    @property
    def phase(self) -> Floats:
        """[n], degrees."""
        return self.values[:, 3]


def oscillator(
    frequency: npt.ArrayLike, f0: float, Q: float, amplitude: float, phase: float
) -> npt.NDArray[np.complex128]:
    """Return y(f), complex, for numbers or arrays that go together; phase in degrees."""
    f = np.asarray(frequency, np.float64)
    turned = amplitude * 1j * np.exp(1j * np.radians(phase))
    return np.asarray(turned * f0 * f0 / Q / (f0 * f0 - f * f + 1j * f * f0 / Q))


def fit_oscillators(
    frequency: npt.ArrayLike,
    response: npt.ArrayLike,
    *,
    warm: bool = True,
    iterations: int = 50,
) -> OscillatorFits:
    """Fit the model of this module to many curves.

    Parameters
    ----------
    frequency
        [frequency], any order, > 0; need not be evenly spaced.
    response
        [n, frequency] complex. NaN is a missing point.
    warm
        Start each curve where the one before it ended.
    iterations
        At most so many for each start.

    Raises
    ------
    ValueError
        Shapes that do not agree, or frequencies that are not positive.
    """
    from daq_afm.oscillator_kernel import fit_curves

    f = np.ascontiguousarray(frequency, np.float64)
    y = np.asarray(response, np.complex128)
    if f.ndim != 1 or not len(f) or not np.all((f > 0) & np.isfinite(f)):
        raise ValueError("frequency: one axis of finite numbers above 0")
    if y.ndim != 2 or y.shape[1] != len(f):
        raise ValueError(f"response: [curve, {len(f)}], not {list(y.shape)}")
    n = len(y)
    found = OscillatorFits(
        np.empty((n, 4)),
        np.empty((n, 4)),
        np.empty(n),
        np.zeros(n, np.int64),
        np.zeros(n, np.uint8),
    )
    fit_curves(
        f, np.ascontiguousarray(y.real), np.ascontiguousarray(y.imag), (f.min() + f.max()) / 2,
        warm, iterations, found.values, found.errors, found.noise, found.steps, found.flag,
    )  # fmt: skip
    return found
