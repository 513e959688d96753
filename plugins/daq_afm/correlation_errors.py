"""Errors of a correlation fit by simulation: surfaces like the one found, measured the same way.

Lags of one image share their pixels, so the errors that a fit to them reports are 6 to 50 times too small.
Here surfaces with the fitted sigma, xi, alpha and nugget, with the size, the steps, the missing pixels,
the levelling and the distribution of heights (`translation`) of the image go through the same correlation and fit. How their
results scatter is the error. Levelling takes roughness away: the same surfaces are fitted with
and without it, and what that changes is the bias. Other biases are small beside the errors and are
left: what a fit does near a nugget of 0 cannot be taken off without making things worse.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from daq_afm.correlation_fit import HURST_BOUNDS, fit_correlation, structure_model
from daq_afm.height_correlation import Floats, Rings
from daq_afm.levelling import level
from daq_afm.translation import Translation

NEGLIGIBLE: Final = 1e-3
"""Covariance, as a part of the variance, beyond which the periodic lattice may wrap around."""
LEAST: Final = 8
"""Simulated surfaces with a fit that are needed for an error."""
ITERATIONS: Final = 60
"""Steps that the fit of a simulated surface may take; from the truth it needs about 6."""
ONE_SIGMA: Final = (0.15865525393145707, 0.8413447460685429)
"""Probabilities below -1 and 1 standard deviations of a Gaussian."""


@dataclasses.dataclass(frozen=True, slots=True)
class SimulatedErrors:
    """How simulated surfaces scatter about what they were made with.

    Parameters
    ----------
    errors
        [4]: of ln sigma, ln xi, alpha, and of the nugget in units of sigma; half the width of the
        middle 68 %, for the nugget, which cannot be below 0, the longer side of what was put in. NaN where
        too few surfaces could be fitted.
    bias
        [4]: what levelling does to ln sigma, ln xi, alpha, nugget / sigma: the median change.
    structure
        [ring]: relative standard deviation of P(r).
    replicas
        How many surfaces had a fit.
    """

    errors: Floats
    bias: Floats
    structure: Floats
    replicas: int


def simulated_errors(
    where: Rings,
    parameters: Floats,
    present: npt.NDArray[np.bool_],
    levelling: str,
    replicas: int,
    seed: int | Sequence[int],
    values: Floats | None = None,
) -> SimulatedErrors:
    """Return the errors of a fit with these results.

    Parameters
    ----------
    where
        The rings that were fitted.
    parameters
        [4], in the order of `daq_afm.correlation_fit.PARAMETERS`: what the fit found.
    present
        [row, column] bool: the pixels of the image that were there.
    levelling
        What was done to the lines, one of `daq_afm.levelling.METHODS`.
    replicas
        How many surfaces; the errors themselves are uncertain by about 1/sqrt(replicas).
    seed
        Of the surfaces, as `numpy.random.default_rng` takes it; the same call gives the same errors.
    values
        The values of the pixels that are there, for their distribution. None: Gaussian.
    """
    law = None
    if values is not None and np.ptp(np.quantile(values, (0.01, 0.99))) > 0:
        law = Translation.to(values)
    if levelling != "none":
        # what was scanned is rougher than what levelling has left, and scatters more
        first = _simulated(where, parameters, present, levelling, max(replicas // 4, 16), seed, law)
        if not np.isfinite(first.bias).all():
            return first
        parameters = unbiased(parameters, first.bias)
    return _simulated(where, parameters, present, levelling, replicas, seed, law)


def unbiased(parameters: Floats, bias: Floats) -> Floats:
    """Return sigma^2, ln xi, alpha, n^2 less the ``bias`` of ln sigma, ln xi, alpha, n / sigma."""
    variance, ln_length, hurst, noise = (float(value) for value in parameters)
    relative = max(np.sqrt(noise / variance) - bias[3], 0.0)
    variance *= np.exp(-2 * bias[0])
    hurst = min(max(hurst - bias[2], HURST_BOUNDS[0]), HURST_BOUNDS[1])
    return np.array([variance, ln_length - bias[1], hurst, variance * relative**2])


def _simulated(
    where: Rings,
    parameters: Floats,
    present: npt.NDArray[np.bool_],
    levelling: str,
    replicas: int,
    seed: int | Sequence[int],
    law: Translation | None,
) -> SimulatedErrors:
    rows = np.flatnonzero(present.any(axis=1))
    mask = present[rows[0] : rows[-1] + 1]
    variance, ln_length, hurst, noise = (float(value) for value in parameters)
    draw = np.random.default_rng(seed)
    relative = float(np.sqrt(noise / variance))
    surfaces = _surfaces(mask.shape, where.step, np.exp(ln_length), hurst, draw, law)
    lags = LagsOfImages(where, mask)
    both = levelling != "none"
    curves = np.empty((2 if both else 1, replicas, len(where.radius)))
    for k in range(replicas):
        image = next(surfaces)
        if relative > 0:
            image = image + np.float32(relative) * draw.standard_normal(mask.shape, np.float32)
        curves[-1, k] = lags.structure(image)
        if both:
            levelled = level(image.astype(np.float64), levelling).astype(np.float32)
            curves[0, k] = lags.structure(levelled)
    truth = np.array([1.0, ln_length, hurst, relative**2])
    scatter = np.std(curves[0], axis=0, ddof=1) / structure_model(where, truth[np.newaxis])[0]
    tables = [_table(where, some, truth) for some in curves]
    good = np.all([np.isfinite(table).all(axis=1) for table in tables], axis=0)
    count = int(np.count_nonzero(good))
    if count < max(LEAST, replicas // 2):
        nothing = np.full(4, np.nan)
        return SimulatedErrors(nothing, nothing, scatter, count)
    found, plain = tables[0][good], tables[-1][good]
    bias = np.median(found - plain, axis=0)
    # what is taken off grows with the xi that was found, as what levelling removes does: so an
    # estimate without bias scatters more than one with it
    grown = np.exp(found[:, 1] - np.median(found[:, 1]))
    low, high = np.quantile(found - bias * grown[:, np.newaxis], ONE_SIGMA, axis=0)
    errors = (high - low) / 2
    errors[3] = max(high[3] - relative, relative - low[3])
    return SimulatedErrors(errors, bias, scatter, count)


def _table(where: Rings, curves: Floats, truth: Floats) -> Floats:
    """Return ln sigma, ln xi, alpha and nugget of each curve, [n, 4]; NaN where there is no fit."""
    start = np.tile(truth, (len(curves), 1))
    found = fit_correlation(where, curves, start, ITERATIONS).parameters
    return np.stack(
        [np.log(found[:, 0]) / 2, found[:, 1], found[:, 2], np.sqrt(found[:, 3])], axis=1
    )


def _surfaces(
    shape: tuple[int, ...], step: tuple[float, float], length: float, hurst: float,
    draw: np.random.Generator, law: Translation | None = None,
) -> Iterator[npt.NDArray[np.float32]]:  # fmt: skip
    """Yield surfaces of variance 1 without end, float32 (circulant embedding, two at a time).

    The lattice is so much larger than the image that covariances wrap around below `NEGLIGIBLE`.
    """
    import scipy.fft

    far = length * (-np.log(NEGLIGIBLE)) ** (1 / (2 * hurst))
    period = [
        scipy.fft.next_fast_len(n + min(n, int(np.ceil(far / d)) + 1))
        for n, d in zip(shape, step, strict=True)
    ]
    y, x = (
        d * np.minimum(np.arange(n), n - np.arange(n)) for n, d in zip(period, step, strict=True)
    )
    r = np.hypot(y[:, np.newaxis], x[np.newaxis, :])
    covariance = np.exp(-((r / length) ** (2 * hurst)))
    if law is not None:
        covariance = law.correlation(covariance)
    spectrum = np.maximum(scipy.fft.fft2(covariance).real, 0.0)
    amplitude = np.sqrt(spectrum / spectrum.mean() / spectrum.size).astype(np.float32)
    while True:
        noise = draw.standard_normal((2, *period), np.float32)
        waves: npt.NDArray[Any] = amplitude * (noise[0] + 1j * noise[1])
        both = scipy.fft.fft2(waves, overwrite_x=True)[: shape[0], : shape[1]]
        for part in (both.real, both.imag):
            surface = np.ascontiguousarray(part)
            yield surface if law is None else law(surface)


class LagsOfImages:
    """Structure functions of whole images that lack the same pixels, in single precision."""

    def __init__(self, where: Rings, mask: npt.NDArray[np.bool_]) -> None:
        import scipy.fft

        self._fft = scipy.fft
        self._where, self._mask = where, mask.astype(np.float32)
        down, across = where.reach
        self._down = min(down, len(mask) - 1)
        self._length = (
            scipy.fft.next_fast_len(len(mask) + self._down),
            scipy.fft.next_fast_len(mask.shape[1] + across, real=True),
        )
        self._there = scipy.fft.rfft2(self._mask, self._length)
        number = where.number[: self._down + 1]
        self._at = np.flatnonzero(number >= 0)
        self._ring = number.reshape(-1)[self._at]
        self._lags = np.arange(-across, across + 1)
        pairs = np.rint(self._back(np.abs(self._there) ** 2))
        self._pairs = np.bincount(self._ring, pairs, len(where.radius))

    def structure(self, image: npt.NDArray[np.float32]) -> Floats:
        """Return P [ring]."""
        centred = (image - image.mean()) * self._mask
        waves = self._fft.rfft2(centred, self._length)
        squares = self._fft.rfft2(centred * centred, self._length)
        sums = self._back(2 * ((squares * self._there.conj()).real - np.abs(waves) ** 2))
        total = np.bincount(self._ring, sums, len(self._where.radius))
        return np.asarray(total / np.where(self._pairs > 0, self._pairs, np.nan))

    def _back(self, spectrum: npt.NDArray[Any]) -> Floats:
        near = self._fft.ifft(spectrum, axis=0)[: self._down + 1]
        lags = self._fft.irfft(near, self._length[1], axis=1)[:, self._lags]
        return np.asarray(lags.reshape(-1)[self._at], np.float64)
