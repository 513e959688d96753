"""The correlation factor chi of the quasi-point-defect theory, at each temperature.

    chi(T) = -d ln(tan delta) / d ln(omega)                       (Qiao2019, 4-9 to 4-11)

chi runs from 0 (full order) to 1 (full disorder): constant below T_g, where the structure does not
change, rising above. A higher chi is a more mobile glass: rolling raises it, ageing lowers it. (One
sentence of the review has that reversed.)
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np

import daq
from daq_mechanical.moduli import Floats, ModuliConfig, ModulusReader
from daq_mechanical.time_steps import record, single

DETERMINED: Final = 0
BENT: Final = 1
"""Flag: ln(tan delta) is no straight line: a peak lies in the window of frequencies; chi is its mean slope."""
TOO_FEW: Final = 4
"""Flag: fewer than three frequencies, or than a fit needs."""
CURVED: Final = 3.0
"""How many standard errors of curvature call a line bent."""
POINTS: Final = 64
MOVES: Final = 0.2
"""Kelvin by which the temperature must move within a window to be fitted with it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Slope:
    """chi at one temperature: ``chi``, its error, the curvature d2 ln(tan delta)/d(ln omega)2."""

    chi: float
    chi_error: float
    curvature: float
    curvature_error: float
    dof: int
    flag: int


def fit_slope(omega: Floats, tan_delta: Floats, T: Floats) -> Slope:
    """Fit ln(tan delta) = c - chi ln(omega) + s (T - mean T); errors from the scatter.

    ``omega`` rad/s or Hz, ``tan_delta`` > 0, ``T`` K, all [n]. The term in T is there where the
    temperature moves. Errors hold 68 % for few points too (Student).
    """
    nan = math.nan
    x = np.log(omega)
    x = x - x.mean()
    columns = [np.ones_like(x), x]
    if np.ptp(T) > MOVES:
        columns.append((T - T.mean()) / np.ptp(T))
    if len(np.unique(np.round(x, 6))) < 3 or len(x) <= len(columns):
        return Slope(nan, nan, nan, nan, len(x) - len(columns), TOO_FEW)
    y = np.log(tan_delta)
    values, errors = _line(columns, y)
    curvature = error = nan
    if len(x) > len(columns) + 1:
        bent, its = _line([*columns, x**2 - np.mean(x**2)], y)
        curvature, error = 2 * bent[-1], 2 * its[-1]
    flag = BENT if abs(curvature) > CURVED * error else DETERMINED
    return Slope(-values[1], errors[1], curvature, error, len(x) - len(columns), flag)


def _line(columns: Sequence[Floats], y: Floats) -> tuple[Floats, Floats]:
    """Return coefficients and their errors."""
    from scipy.stats import t as student

    A = np.stack(columns, axis=1)
    inverse = np.linalg.inv(A.T @ A)
    values = inverse @ (A.T @ y)
    dof = len(y) - A.shape[1]
    variance = float(np.sum((y - A @ values) ** 2)) / dof
    factor = float(student.ppf(0.8413447460685429, dof))
    return values, factor * np.sqrt(variance * np.diagonal(inverse))


class QuasiPointDefects(daq.Analysis):
    """chi(T) = -d ln(tan delta)/d ln(omega), from sweeps or from ramps at several frequencies.

    Takes readings of a mechanical spectrometer (see `daq_mechanical.moduli`). Consecutive readings
    within ``width`` of temperature, of one segment and sample, are a window. Gives:

    ``chi``
        A record per window when it ends: ``temperature`` K, ``sample``, ``segment``; ``chi`` with
        ``chi_errors``; ``curvature`` with ``_errors``; ``frequencies``, ``readings``, how many;
        ``left_out``, readings with a modulus not above 0; ``flag``: 0 determined, 1 bent (a
        relaxation peak lies in the window: chi is not that of the theory), 4 too few. For drawing, NaN
        after the last: ``ln_omega`` (rad/s), ``ln_tan_delta``.
    ``states``
        Where ``T_g`` is given, a record per sample after each of its windows: ``chi_glass``, the mean
        below T_g less ``margin``, with ``_errors``; ``chi2`` and ``dof`` of its being constant;
        ``rise``, slope d chi/dT above T_g, 1/K, with ``_errors``; against the first sample
        ``difference`` with ``_errors`` and ``significance``, in standard errors.
    """

    name = "quasi_point_defects"

    class Config(ModuliConfig):
        """What ``[analyses.NAME]`` with ``type = "quasi_point_defects"`` may say."""

        width: float = daq.setting(5.0, "K", "of a window of temperature", gt=0)
        T_g: float | None = daq.setting(None, "K", "for the stream states", gt=0)
        margin: float = daq.setting(10.0, "K", "below T_g that counts for neither", ge=0)

    def open(self, streams: Mapping[str, daq.Stream], config: Any) -> Sequence[daq.Stream]:
        """Check the input; ValueError where it is not one of moduli."""
        self._reader = ModulusReader(single(streams, self.name), config)
        self._config = config
        self._window: list[tuple[float, float, float]] = []
        self._key = (-1, -1)
        self._time = 0
        self._left_out = 0
        self._found: dict[int, list[tuple[float, float, float]]] = {}
        plain, number = daq.Field("<f8"), daq.Field("<i4")
        chi = {
            "temperature": daq.Field("<f8", (), "K", "temperature"),
            "sample": number, "segment": number,
            "chi": daq.Field("<f8", (), "", "correlation factor"), "chi_errors": plain,
            "curvature": plain, "curvature_errors": plain,
            "frequencies": number, "readings": number, "left_out": number,
            "flag": daq.Field("|u1"),
            "ln_omega": daq.Field("<f8", (POINTS,), "", "ln of omega in rad/s"),
            "ln_tan_delta": daq.Field("<f8", (POINTS,), "", "ln of tan delta"),
        }  # fmt: skip
        states = {
            "sample": number, "windows": number,
            "chi_glass": daq.Field("<f8", (), "", "mean chi of the glass"),
            "chi_glass_errors": plain, "chi2": plain, "dof": number,
            "rise": daq.Field("<f8", (), "1/K", "d chi/dT above T_g"),
            "rise_errors": daq.Field("<f8", (), "1/K"),
            "difference": plain, "difference_errors": plain, "significance": plain,
        }  # fmt: skip
        return [daq.Stream("chi", chi), daq.Stream("states", states)]

    def process(self, batch: daq.Batch) -> Iterable[daq.Batch]:
        """Take readings; give chi of each window that has ended."""
        rows, negative = self._reader.read(batch)
        before = np.flatnonzero(negative) + (batch.first or 0)
        passed = 0
        for i in range(len(rows)):
            while passed < len(before) and before[passed] < rows.index[i]:
                self._left_out += 1
                passed += 1
            key = (int(rows.segment[i]), int(rows.sample[i]))
            T = float(rows.temperature[i])
            if self._window and (
                key != self._key or abs(T - self._window[0][0]) > self._config.width
            ):
                yield from self._ended()
            self._key = key
            self._time = int(rows.time[i])
            tan = float(rows.loss[i] / rows.storage[i])
            self._window.append((T, float(rows.frequency[i]), tan))
        self._left_out += len(before) - passed

    def close(self) -> Iterable[daq.Batch]:
        """Give chi of the last window."""
        yield from self._ended()

    def reconfigure(self, config: Any) -> None:
        """Cut and compare otherwise from the next reading on."""
        self._config = config

    def _ended(self) -> Iterable[daq.Batch]:
        if not self._window:
            return
        T, frequency, tan = np.array(self._window).T
        self._window = []
        omega = 2 * np.pi * frequency
        slope = fit_slope(omega, tan, T)
        segment, sample = self._key
        shown = np.full((2, POINTS), np.nan)
        count = min(len(T), POINTS)
        shown[0, :count], shown[1, :count] = np.log(omega[:count]), np.log(tan[:count])
        centre = float(np.mean(T))
        yield record("chi", self._time, {
            "temperature": centre, "sample": np.int32(sample), "segment": np.int32(segment),
            "chi": slope.chi, "chi_errors": slope.chi_error,
            "curvature": slope.curvature, "curvature_errors": slope.curvature_error,
            "frequencies": np.int32(len(np.unique(frequency))), "readings": np.int32(len(T)),
            "left_out": np.int32(self._left_out), "flag": np.uint8(slope.flag),
            "ln_omega": shown[0], "ln_tan_delta": shown[1],
        })  # fmt: skip
        self._left_out = 0
        if self._config.T_g is not None and slope.flag != TOO_FEW and slope.chi_error > 0:
            self._found.setdefault(sample, []).append((centre, slope.chi, slope.chi_error))
            yield self._state(sample)

    def _state(self, sample: int) -> daq.Batch:
        nan = math.nan
        mean, error, chi2, dof = self._glass(sample)
        T, chi, e = np.array(self._found[sample]).T
        above = self._config.T_g < T
        rise = rise_error = nan
        if np.count_nonzero(above) >= 3:
            w = e[above] ** -2
            x = T[above] - np.average(T[above], weights=w)
            rise = float(np.sum(w * x * chi[above]) / np.sum(w * x * x))
            rest = chi[above] - np.average(chi[above], weights=w) - rise * x
            wider = max(1.0, float(np.sum(w * rest**2)) / (len(x) - 2))
            rise_error = math.sqrt(wider / np.sum(w * x * x))
        difference = difference_error = nan
        first = next(iter(self._found))
        if sample != first:
            other, its, *_ = self._glass(first)
            difference, difference_error = mean - other, math.hypot(error, its)
        return record("states", self._time, {
            "sample": np.int32(sample), "windows": np.int32(len(T)),
            "chi_glass": mean, "chi_glass_errors": error, "chi2": chi2, "dof": np.int32(dof),
            "rise": rise, "rise_errors": rise_error,
            "difference": difference, "difference_errors": difference_error,
            "significance": difference / difference_error if difference_error > 0 else nan,
        })  # fmt: skip

    def _glass(self, sample: int) -> tuple[float, float, float, int]:
        """Return the mean chi in the glass, its error, and chi2 and dof of its being constant."""
        T, chi, e = np.array(self._found[sample]).T
        below = self._config.T_g - self._config.margin > T
        if not below.any():
            return math.nan, math.nan, math.nan, 0
        w = e[below] ** -2
        mean = float(np.sum(w * chi[below]) / np.sum(w))
        chi2 = float(np.sum(w * (chi[below] - mean) ** 2))
        dof = int(np.count_nonzero(below)) - 1
        wider = max(1.0, chi2 / dof) if dof else 1.0
        return mean, math.sqrt(wider / float(np.sum(w))), chi2, dof
