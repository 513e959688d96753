"""Stress relaxation: the KWW decay of each step, refit as points arrive, and b against T."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np

import daq
from daq_mechanical.time_steps import Step, StepConfig, Steps, record, single
from daq_relaxation.kww_fit import (
    DETERMINED,
    LOWER_BOUND,
    MASKED,
    KwwFit,
    LnTauInterval,
    fit_kww,
    ln_tau_interval,
)
from daq_relaxation.laws import kww_decay, kww_mean_time

POINTS: Final = 256
"""Points that ``fits`` shows for drawing."""
SLOTS: Final = 64
"""Temperatures that ``exponents`` has room for."""
LARGEST: Final = 1e3
"""How many times what is seen of a decay its amplitude may be."""
SHORT: Final = 5
"""Flag, besides those of `daq_relaxation.kww_fit`: less of the decay was seen than `SEEN`, or no bend."""
BENT: Final = 6.0
"""By how much AICc must prefer a decay to a power law for it to be determined."""
POWERS: Final = np.arange(0.02, 1.51, 0.04)
SEEN: Final = 0.5
"""Part of the fitted decay that must lie within the step for errors that can be trusted."""


class StressRelaxation(daq.Analysis):
    """sigma(t) = dsigma exp(-(t/tau)^b) + sigma_r at each temperature (Qiao2019, 2-2 and 2-7).

    Takes readings of ``temperature`` (K, degC) and ``stress`` (Pa, MPa, GPa; N with ``area``), with
    ``strain``, ``elapsed`` s, ``segment`` or ``step`` and ``sample`` where known: see
    `daq_mechanical.time_steps` for how they become steps. A compressive stress may be negative: the sign of the first reading counts.
    Gives:

    ``fits``
        A record for each point that arrives, and one with ``final`` at the end of a step.
        ``decay`` dsigma and ``remnant`` sigma_r, Pa; ``ln_tau`` (s), ``b``, each with ``_errors``
        from the covariance, the scatter taken as noise; ``ln_tau_lower`` and ``ln_tau_upper``,
        the 68 % interval of the profile, which is right where the covariance is not;
        ``ln_mean_tau``, of (tau/b) Gamma(1/b); ``noise`` Pa, the scatter of a reading; ``seen``,
        the part of the decay within the step; ``points``, ``readings``, ``left_out``; ``flag``: 0
        determined, 1 tau is open above (take ``ln_tau_lower``), 2 at a bound, 3 not converged, 4
        too few points, 5 too little of the decay seen for tau and b. For drawing, NaN after the last:
        ``point_elapsed`` s, ``point_stress`` Pa, ``curve`` Pa.
    ``exponents``
        After each step, of all steps so far in order of temperature, NaN after the last: ``b``,
        ``ln_tau``, ``decay_part`` (dsigma over the fitted stress at t = 0), each with ``_errors``,
        against ``temperature``, [step]. Only those with flag 0.
    """

    name = "stress_relaxation"

    class Config(StepConfig):
        """What ``[analyses.NAME]`` with ``type = "stress_relaxation"`` may say."""

        b: float | None = daq.setting(None, "", "hold the exponent at this", gt=0.1, le=1.5)
        remnant: float | None = daq.setting(None, "Pa", "hold the remnant stress at this")

    def open(self, streams: Mapping[str, daq.Stream], config: Any) -> Sequence[daq.Stream]:
        """Check the input; ValueError where it has no stress."""
        self._steps = Steps(single(streams, self.name), "stress", "strain", config)
        self._config = config
        self._found: list[tuple[float, ...]] = []
        plain, number = daq.Field("<f8"), daq.Field("<i4")
        stress = daq.Field("<f8", (), "Pa")
        ln_s = daq.Field("<f8", (), "", "ln of tau in s")
        fits = {
            "temperature": daq.Field("<f8", (), "K", "temperature"),
            "segment": number, "sample": number, "final": daq.Field("|u1"),
            "strain": daq.Field("<f8", (), "", "strain that is held"),
            "elapsed": daq.Field("<f8", (), "s", "time since the step began"),
            "decay": stress, "decay_errors": stress, "remnant": stress, "remnant_errors": stress,
            "ln_tau": ln_s, "ln_tau_errors": ln_s, "ln_tau_lower": ln_s, "ln_tau_upper": ln_s,
            "b": daq.Field("<f8", (), "", "KWW exponent"), "b_errors": plain,
            "ln_mean_tau": ln_s, "noise": stress, "seen": plain,
            "points": number, "readings": number, "left_out": number, "flag": daq.Field("|u1"),
            "point_elapsed": daq.Field("<f8", (POINTS,), "s", "time since the step began"),
            "point_stress": daq.Field("<f8", (POINTS,), "Pa", "stress"),
            "curve": daq.Field("<f8", (POINTS,), "Pa", "KWW fit"),
        }  # fmt: skip
        row = daq.Field("<f8", (SLOTS,))
        exponents = {
            "temperature": daq.Field("<f8", (SLOTS,), "K", "temperature"),
            "b": daq.Field("<f8", (SLOTS,), "", "KWW exponent"), "b_errors": row,
            "ln_tau": daq.Field("<f8", (SLOTS,), "", "ln of tau in s"), "ln_tau_errors": row,
            "decay_part": row, "decay_part_errors": row, "steps": number,
        }  # fmt: skip
        return [daq.Stream("fits", fits), daq.Stream("exponents", exponents)]

    def process(self, batch: daq.Batch) -> Iterable[daq.Batch]:
        """Take readings and fit anew at each point."""
        for step, ended in self._steps.push(batch):
            yield from self._fitted(step, ended)

    def close(self) -> Iterable[daq.Batch]:
        """Fit the last step."""
        for step, ended in self._steps.close():
            yield from self._fitted(step, ended)

    def reconfigure(self, config: Any) -> None:
        """Fit otherwise from the next reading on."""
        self._config = self._steps.config = config

    @classmethod
    def memory(cls, streams: Mapping[str, daq.Stream], config: Any) -> int:
        """Return what a step of ten decades and its fits need."""
        return 480 * 400 + 64 * 8 * (3 * POINTS + 40)

    def _fitted(self, step: Step, ended: bool) -> Iterable[daq.Batch]:
        t, stress, weight = step.points
        sign = -1.0 if stress[0] < 0 else 1.0
        if len(t) < self._config.least:
            yield self._record(step, ended, t, sign * stress, sign, None, None)
            return
        fixed = {}
        if self._config.b is not None:
            fixed["shape"] = self._config.b
        if self._config.remnant is not None:
            fixed["baseline"] = self._config.remnant
        fit, interval = fit_decay(t, sign * stress, weight, fixed)
        yield self._record(step, ended, t, sign * stress, sign, fit, interval)
        if ended:
            yield from self._exponents(step, fit, interval)

    def _record(
        self, step: Step, ended: bool, t: Any, stress: Any, sign: float,
        fit: KwwFit | None, interval: LnTauInterval | None,
    ) -> daq.Batch:  # fmt: skip
        nan = math.nan
        values, errors = np.full(4, nan), np.full(4, nan)
        lower = upper = noise = seen = nan
        flag = MASKED
        shown = np.full((3, POINTS), nan)
        # the latest points are the ones that a long step shows
        kept = slice(max(0, len(t) - POINTS), None)
        count = len(t[kept])
        shown[0, :count], shown[1, :count] = t[kept], sign * stress[kept]
        if fit is not None and interval is not None:
            flag = flag_of(fit, interval, t, stress, step.points[2])
            values = fit.parameters[0].copy()
            errors = fit.errors[0].copy()
            lower, upper = float(interval.lower[0]), float(interval.upper[0])
            noise = math.sqrt(fit.chi2[0] / fit.dof[0]) if fit.dof[0] > 0 else nan
            seen = seen_part(fit, t)
            decays = kww_decay(t[kept], math.exp(values[1]), values[2])
            shown[2, :count] = sign * (values[3] + values[0] * decays)
        mean = math.log(float(kww_mean_time(1.0, values[2]))) if values[2] > 0 else nan
        return record("fits", step.time, {
            "temperature": step.temperature, "segment": np.int32(step.segment),
            "sample": np.int32(step.sample), "final": np.uint8(ended), "strain": step.mean_load,
            "elapsed": step.elapsed, "decay": sign * values[0], "decay_errors": errors[0],
            "remnant": sign * values[3], "remnant_errors": errors[3],
            "ln_tau": values[1], "ln_tau_errors": errors[1],
            "ln_tau_lower": lower, "ln_tau_upper": upper,
            "b": values[2], "b_errors": errors[2], "ln_mean_tau": values[1] + mean,
            "noise": noise, "seen": seen, "points": np.int32(len(t)),
            "readings": np.int32(step.readings), "left_out": np.int32(step.left_out),
            "flag": np.uint8(flag), "point_elapsed": shown[0], "point_stress": shown[1],
            "curve": shown[2],
        })  # fmt: skip

    def _exponents(self, step: Step, fit: KwwFit, interval: LnTauInterval) -> Iterable[daq.Batch]:
        t, stress, weights = step.points
        if flag_of(fit, interval, t, stress, weights) != DETERMINED:
            return
        p, C = fit.parameters[0], fit.covariance[0]
        whole = p[0] + p[3]
        slope = np.array([p[3], 0.0, 0.0, -p[0]]) / whole**2
        error = math.sqrt(max(float(slope @ C @ slope), 0.0))
        e = fit.errors[0]
        self._found.append((step.temperature, p[2], e[2], p[1], e[1], p[0] / whole, error))
        rows = np.full((7, SLOTS), np.nan)
        for i, row in enumerate(sorted(self._found)[:SLOTS]):
            rows[:, i] = row
        names = ("temperature", "b", "b_errors", "ln_tau", "ln_tau_errors", "decay_part",
                 "decay_part_errors")  # fmt: skip
        yield record("exponents", step.time, {
            **dict(zip(names, rows, strict=True)), "steps": np.int32(len(self._found)),
        })  # fmt: skip


def fit_decay(
    t: Any, values: Any, weights: Any, fixed: Mapping[str, float], *, rises: bool = False
) -> tuple[KwwFit, LnTauInterval]:
    """Fit amplitude exp(-(t/tau)^b) + baseline to points [n], and profile ln tau.

    tau lies between a tenth of the first time and a thousand times the last, the amplitude within
    `LARGEST` of what is seen: else a decay that was over before the first point has an amplitude
    without end. ``rises``: the amplitude may be negative. Where a parameter other than tau is at a
    bound, there is no interval: NaN.
    """
    most = LARGEST * max(float(np.ptp(values)), 1e-300)
    bounds = {
        "shape": (0.1, 1.5),
        "ln_tau": (math.log(t[0] / 10), math.log(t[-1] * 1e3)),
        "amplitude": (-most if rises else 0.0, most),
    }
    y = np.asarray(values)[None]
    fit = fit_kww(t, y, form="decay", weights=weights, scaled=True, fixed=fixed, bounds=bounds)
    if fit.flag[0] not in (DETERMINED, LOWER_BOUND):
        nan = np.array([np.nan])
        return fit, LnTauInterval(nan, nan, fit.flag)
    return fit, ln_tau_interval(
        t, y, fit, form="decay", weights=weights, fixed=fixed, bounds=bounds
    )


def seen_part(fit: KwwFit, t: Any) -> float:
    """Return the part of the fitted decay that lies between the first point and the last."""
    ends = kww_decay(np.array([t[0], t[-1]]), float(fit.tau[0]), float(fit.shape[0]))
    return float(ends[0] - ends[1])


def flag_of(fit: KwwFit, interval: LnTauInterval, t: Any, values: Any, weights: Any) -> int:
    """Return the flag of a fit, with what its profile, the part seen and its bend add to it."""
    flag = int(fit.flag[0])
    if flag == DETERMINED and int(interval.flag[0]) == LOWER_BOUND:
        flag = LOWER_BOUND
    if flag == DETERMINED and not (
        seen_part(fit, t) >= SEEN and bend(fit, t, values, weights) > BENT
    ):
        flag = SHORT
    return flag


def bend(fit: KwwFit, t: Any, values: Any, weights: Any) -> float:
    """Return by how much AICc prefers the fit to a power law, c - s t^p.

    That is what the beginning of any stretched decay is, so that tau cannot be told from it; p from
    near 0, a straight line in ln t, to 1.5.
    """
    w = np.asarray(weights)
    y = values - np.sum(w * values) / np.sum(w)
    x = np.expm1(POWERS[:, None] * np.log(t)) / POWERS[:, None]
    x = x - (w * x).sum(axis=1, keepdims=True) / np.sum(w)
    slope = (w * x * y).sum(axis=1) / (w * x * x).sum(axis=1)
    law = float((w * (y - slope[:, None] * x) ** 2).sum(axis=1).min())
    n, free = len(t), len(t) - int(fit.dof[0])

    def aicc(chi2: float, k: int) -> float:
        return n * math.log(max(chi2, 1e-300) / n) + 2 * k + 2 * k * (k + 1) / max(n - k - 1, 0.5)

    return aicc(law, 4) - aicc(float(fit.chi2[0]), free + 1)
