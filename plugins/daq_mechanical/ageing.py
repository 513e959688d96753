"""Ageing seen by a mechanical spectrometer: tan delta(t), and the beta peak state by state."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np

import daq
from daq_mechanical.doubt_log import DoubtLog
from daq_mechanical.moduli import Floats, ModuliConfig, ModulusReader, doubts_of
from daq_mechanical.stress_relaxation import fit_decay, flag_of, seen_part
from daq_mechanical.time_steps import Step, record, single
from daq_relaxation.kww_fit import MASKED
from daq_relaxation.laws import kww_decay

POINTS: Final = 256
"""Points of a series that ``loss`` shows for drawing."""
SLOTS: Final = 64
"""Points of a sweep that ``states`` shows for drawing."""
LEAST: Final = 8
"""Points before the first fit of a series."""

DETERMINED: Final = 0
OUTSIDE: Final = 2
"""Flag of a sweep: the peak lies outside its frequencies."""
NOT_CONVERGED: Final = 3
TOO_FEW: Final = 4
ONE_SIGMA: Final = 0.8413447460685429


@dataclasses.dataclass(frozen=True, slots=True)
class LossPeak:
    """A Cole-Cole peak of the loss in frequency.

    ``ln_tau`` (s, omega tau = 1 at the maximum), ``ln_loss`` (ln of M''_max in the unit given),
    ``cole_cole``; ``covariance`` [3, 3] of them in that order, from the scatter, such that its
    roots hold 68 % (Student); ``noise``, the scatter of ln M''.
    """

    ln_tau: float
    ln_loss: float
    cole_cole: float
    covariance: Floats
    noise: float
    dof: int
    flag: int

    @property
    def errors(self) -> Floats:
        """[3]: standard errors."""
        return np.asarray(np.sqrt(np.diagonal(self.covariance)))

    def loss(self, omega: Floats) -> Floats:
        """Return M'' at omega, rad/s."""
        return np.exp(_ln_loss(np.log(omega), self.ln_tau, self.ln_loss, self.cole_cole))


def fit_peak(omega: Floats, loss: Floats) -> LossPeak:
    """Fit ln M'' = ln M''_max - ln[(cosh(a ln(omega tau)) + c)/(1 + c)], c = cos(pi a/2).

    The Cole-Cole law (Qiao2019, 2-5 with gamma = 1), written for its maximum; in the logarithm,
    since errors of readings are about a part of them. ``omega`` rad/s, ``loss`` > 0, [n].
    """
    from scipy.optimize import least_squares
    from scipy.stats import t as student

    nan3 = np.full((3, 3), math.nan)
    x, y = np.log(omega), np.log(loss)
    if len(np.unique(x)) < 4 or len(x) < 5:
        return LossPeak(math.nan, math.nan, math.nan, nan3, math.nan, 0, TOO_FEW)
    top = int(np.argmax(y))

    def residual(p: Floats) -> Floats:
        return _ln_loss(x, p[0], p[1], p[2]) - y

    low = np.array([-x.max() - 10, -np.inf, 0.05])
    high = np.array([-x.min() + 10, np.inf, 1.0])
    best = None
    for a in (0.35, 0.7):
        start = np.array([-x[top], y[top], a])
        found = least_squares(residual, start, bounds=(low, high), x_scale="jac")
        if best is None or found.cost < best.cost:
            best = found
    assert best is not None
    dof = len(x) - 3
    variance = 2 * float(best.cost) / dof
    try:
        C = np.linalg.inv(best.jac.T @ best.jac) * variance
    except np.linalg.LinAlgError:
        return LossPeak(*best.x, nan3, math.sqrt(variance), dof, NOT_CONVERGED)
    flag = DETERMINED
    if not best.success or not best.x[2] < 0.999:
        flag = NOT_CONVERGED
    elif not -x.max() < best.x[0] < -x.min():
        flag = OUTSIDE
    factor = float(student.ppf(ONE_SIGMA, dof)) ** 2
    return LossPeak(*(float(v) for v in best.x), C * factor, math.sqrt(variance), dof, flag)


def _ln_loss(x: Floats, ln_tau: float, ln_loss: float, a: float) -> Floats:
    c = math.cos(math.pi * a / 2)
    return np.asarray(
        ln_loss - np.log((np.cosh(np.clip(a * (x + ln_tau), -300, 300)) + c) / (1 + c))
    )


class Ageing(daq.Analysis):
    """tan delta while a sample ages, and the beta peak in each state of it.

    Takes readings of a mechanical spectrometer (see `daq_mechanical.moduli`) with ``ageing_time``,
    s; without that field, time since the first reading of the sample. Readings that repeat one
    frequency at one temperature are a series; readings of four frequencies or more at one
    temperature and one age are a sweep, a state. Gives:

    ``loss``
        For each point that arrives in a series: tan delta(t) = tan_end + change exp(-(t/tau)^b).
        ``tan_end``, ``change``, ``ln_tau`` (s), ``b``, each with ``_errors``; ``ln_tau_lower`` and
        ``ln_tau_upper`` of the profile; ``seen``; ``flag`` as in `stress_relaxation`; ``drop``, by how
        many standard errors the last third lies below the first. For drawing, NaN after the last:
        ``point_time`` s, ``point_tan_delta``, ``curve``.
    ``states``
        After each sweep: ``ageing_time`` s, ``temperature`` K, ``sample``; ``ln_tau_beta`` (s),
        ``ln_loss_max`` (ln Pa) and ``cole_cole``, each with ``_errors``, and the ``covariance`` of
        the first two; against the first state of the run, ``ln_tau_difference`` and
        ``ln_loss_difference`` with ``_errors``, and ``ln_tau_p``, ``ln_loss_p``, the chance of a
        difference as large between two equal states (Welch); ``flag``: 0 determined, 2 the peak lies
        outside the sweep, 3 not converged, 4 too few points. For drawing: ``frequency`` Hz, ``loss_modulus``
        Pa, ``curve`` Pa.
    """

    name = "ageing"

    class Config(ModuliConfig):
        """What ``[analyses.NAME]`` with ``type = "ageing"`` may say."""

        temperature_step: float = daq.setting(
            2.0, "K", "readings that are farther apart are not of one series or sweep", gt=0
        )

    def open(self, streams: Mapping[str, daq.Stream], config: Any) -> Sequence[daq.Stream]:
        """Check the input; ValueError where it is not one of moduli, or the age is not in s."""
        stream = single(streams, self.name)
        self._reader = ModulusReader(stream, config)
        self._has_age = "ageing_time" in stream.fields
        if self._has_age and stream.fields["ageing_time"].units != "s":
            raise ValueError(f"{stream.name}: ageing_time is not in s: let the reader convert it")
        self._config = config
        self._run: list[tuple[float, float, float, float, float, int]] = []
        self._key = (-1, -1)
        self._began: dict[int, int] = {}
        self._series: dict[tuple[int, int, float], Step] = {}
        self._first: LossPeak | None = None
        self._doubts = DoubtLog(stream.name)
        plain, number = daq.Field("<f8"), daq.Field("<i4")
        kelvin = daq.Field("<f8", (), "K", "temperature")
        ln_s = daq.Field("<f8", (), "", "ln of tau in s")
        loss = {
            "sample": number, "temperature": kelvin, "frequency": daq.Field("<f8", (), "Hz"),
            "ageing_time": daq.Field("<f8", (), "s", "ageing time"),
            "tan_end": plain, "tan_end_errors": plain, "change": plain, "change_errors": plain,
            "ln_tau": ln_s, "ln_tau_errors": ln_s, "ln_tau_lower": ln_s, "ln_tau_upper": ln_s,
            "b": plain, "b_errors": plain, "seen": plain, "drop": plain,
            "points": number, "flag": daq.Field("|u1"),
            "point_time": daq.Field("<f8", (POINTS,), "s", "ageing time"),
            "point_tan_delta": daq.Field("<f8", (POINTS,), "", "tan delta"),
            "curve": daq.Field("<f8", (POINTS,), "", "fit"),
        }  # fmt: skip
        states = {
            "sample": number, "temperature": kelvin,
            "ageing_time": daq.Field("<f8", (), "s", "ageing time"),
            "ln_tau_beta": ln_s, "ln_tau_beta_errors": ln_s,
            "ln_loss_max": daq.Field("<f8", (), "", "ln of the loss maximum in Pa"),
            "ln_loss_max_errors": plain, "covariance": plain,
            "cole_cole": plain, "cole_cole_errors": plain,
            "ln_tau_difference": plain, "ln_tau_difference_errors": plain, "ln_tau_p": plain,
            "ln_loss_difference": plain, "ln_loss_difference_errors": plain, "ln_loss_p": plain,
            "noise": plain, "points": number, "flag": daq.Field("|u1"),
            "frequency": daq.Field("<f8", (SLOTS,), "Hz", "frequency"),
            "loss_modulus": daq.Field("<f8", (SLOTS,), "Pa", "loss modulus"),
            "curve": daq.Field("<f8", (SLOTS,), "Pa", "Cole-Cole fit"),
        }  # fmt: skip
        return [daq.Stream("loss", loss), daq.Stream("states", states)]

    def process(self, batch: daq.Batch) -> Iterable[daq.Batch]:
        """Take readings; fit series as they grow, sweeps when they end."""
        rows, _ = self._reader.read(batch)
        first = batch.first or 0
        ages = np.asarray(batch["ageing_time"], np.float64) if self._has_age else None
        for i in range(len(rows)):
            key = (int(rows.segment[i]), int(rows.sample[i]))
            T, f, time = float(rows.temperature[i]), float(rows.frequency[i]), int(rows.time[i])
            if ages is not None:
                age = float(ages[int(rows.index[i]) - first])
                if not math.isfinite(age):
                    continue
            else:
                age = (time - self._began.setdefault(key[1], time)) / 1e9
            apart = self._run and abs(T - self._run[0][0]) > self._config.temperature_step
            if self._run and (key != self._key or apart):
                yield from self._sweep()
            self._key = key
            tan = float(rows.loss[i] / rows.storage[i])
            last = self._run[-1] if self._run else None
            if last is not None and last[1] == f:
                if len(self._run) == 1:
                    self._grown(key[1], *self._run[0])
                if self._grown(key[1], T, f, float(rows.loss[i]), tan, age, time):
                    yield from self._fitted(key[1], T, f)
            self._run.append((T, f, float(rows.loss[i]), tan, age, time))

    def close(self) -> Iterable[daq.Batch]:
        """Fit the last sweep, and each series once more."""
        yield from self._sweep()
        for sample, T, f in list(self._series):
            yield from self._fitted(sample, float(T), f)

    def reconfigure(self, config: Any) -> None:
        """Cut otherwise from the next reading on."""
        self._config = config

    @classmethod
    def memory(cls, streams: Mapping[str, daq.Stream], config: Any) -> int:
        """Return what ten series of ten decades and a sweep need."""
        return 10 * 480 * 400 + 64 * 8 * (3 * POINTS + 40)

    # -- series -----------------------------------------------------------------------------------

    def _grown(
        self, sample: int, T: float, f: float, loss: float, tan: float, age: float, time: int
    ) -> bool:
        """Take a reading of a series; True where a fit is due."""
        key = self._place(sample, T, f)
        step = self._series.setdefault(key, Step(len(self._series), -1, sample))
        if age <= 0 or age < step.elapsed:
            return False
        step.time = time
        return step.add(age, tan, T, math.nan) and len(step) >= LEAST

    def _place(self, sample: int, T: float, f: float) -> tuple[int, int, float]:
        for other in self._series:
            near = abs(other[1] - T) <= self._config.temperature_step
            if other[0] == sample and near and other[2] == f:
                return other
        return sample, round(T), f

    def _fitted(self, sample: int, T: float, f: float) -> Iterable[daq.Batch]:
        step = self._series[self._place(sample, T, f)]
        if len(step) < LEAST:
            return
        t, tan, weights = step.points
        fit, interval = fit_decay(t, tan, weights, {}, rises=True)
        p, e = fit.parameters[0], fit.errors[0]
        shown = np.full((3, POINTS), np.nan)
        kept = slice(max(0, len(t) - POINTS), None)
        count = len(t[kept])
        shown[0, :count], shown[1, :count] = t[kept], tan[kept]
        flag = flag_of(fit, interval, t, tan, weights)
        if flag != MASKED:
            shown[2, :count] = p[3] + p[0] * kww_decay(t[kept], math.exp(p[1]), p[2])
        yield record("loss", step.time, {
            "sample": np.int32(sample), "temperature": step.temperature, "frequency": f,
            "ageing_time": step.elapsed, "tan_end": p[3], "tan_end_errors": e[3],
            "change": p[0], "change_errors": e[0], "ln_tau": p[1], "ln_tau_errors": e[1],
            "ln_tau_lower": interval.lower[0], "ln_tau_upper": interval.upper[0],
            "b": p[2], "b_errors": e[2], "seen": seen_part(fit, t), "drop": _drop(tan, weights),
            "points": np.int32(len(t)), "flag": np.uint8(flag),
            "point_time": shown[0], "point_tan_delta": shown[1], "curve": shown[2],
        })  # fmt: skip

    # -- states -----------------------------------------------------------------------------------

    def _sweep(self) -> Iterable[daq.Batch]:
        run, self._run = self._run, []
        if len({row[1] for row in run}) < 4:
            return
        T, f, loss, tan, age, _ = (np.array(column) for column in zip(*run, strict=True))
        self._doubts.warn(doubts_of(f, loss / tan, loss), f"sweep at {np.mean(T):.1f} K")
        peak = fit_peak(2 * np.pi * f, loss)
        e = peak.errors
        nan = math.nan
        differences = [nan] * 6
        if peak.flag == DETERMINED:
            if self._first is None:
                self._first = peak
            else:
                differences = [*_compared(peak, self._first, 0), *_compared(peak, self._first, 1)]
        shown = np.full((3, SLOTS), np.nan)
        count = min(len(f), SLOTS)
        order = np.argsort(f, kind="stable")[:count]
        shown[0, :count], shown[1, :count] = f[order], loss[order]
        if peak.flag != TOO_FEW:
            shown[2, :count] = peak.loss(2 * np.pi * f[order])
        yield record("states", run[-1][5], {
            "sample": np.int32(self._key[1]), "temperature": float(np.mean(T)),
            "ageing_time": float(np.mean(age)),
            "ln_tau_beta": peak.ln_tau, "ln_tau_beta_errors": e[0],
            "ln_loss_max": peak.ln_loss, "ln_loss_max_errors": e[1],
            "covariance": peak.covariance[0, 1],
            "cole_cole": peak.cole_cole, "cole_cole_errors": e[2],
            "ln_tau_difference": differences[0], "ln_tau_difference_errors": differences[1],
            "ln_tau_p": differences[2],
            "ln_loss_difference": differences[3], "ln_loss_difference_errors": differences[4],
            "ln_loss_p": differences[5],
            "noise": peak.noise, "points": np.int32(len(f)), "flag": np.uint8(peak.flag),
            "frequency": shown[0], "loss_modulus": shown[1], "curve": shown[2],
        })  # fmt: skip


def _compared(peak: LossPeak, other: LossPeak, which: int) -> tuple[float, float, float]:
    """Return a difference, its error, and its p value (Welch)."""
    from scipy.stats import t as student

    values = (peak.ln_tau, peak.ln_loss), (other.ln_tau, other.ln_loss)
    difference = values[0][which] - values[1][which]
    # the errors are widened by Student's factor; the test needs them as they were
    plain = [
        p.covariance[which, which] / float(student.ppf(ONE_SIGMA, p.dof)) ** 2
        for p in (peak, other)
    ]
    whole = sum(plain)
    dof = whole**2 / (plain[0] ** 2 / peak.dof + plain[1] ** 2 / other.dof)
    p_value = 2 * float(student.sf(abs(difference) / math.sqrt(whole), dof))
    return difference, math.sqrt(whole) * float(student.ppf(ONE_SIGMA, dof)), p_value


def _drop(tan: Floats, weights: Floats) -> float:
    """Return by how many standard errors the last third lies below the first."""
    third = max(2, len(tan) // 3)
    means, variances = [], []
    for part in (slice(None, third), slice(-third, None)):
        w = weights[part]
        mean = float(np.sum(w * tan[part]) / np.sum(w))
        means.append(mean)
        variances.append(float(np.sum(w * (tan[part] - mean) ** 2) / np.sum(w)) / (third - 1))
    whole = sum(variances)
    return (means[0] - means[1]) / math.sqrt(whole) if whole > 0 else math.nan
