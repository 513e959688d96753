"""The beta relaxation in temperature ramps: peak, shoulder or wing; its energy and temperature."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np

import daq
from daq_mechanical import loss_curve
from daq_mechanical.beta_fit import DETERMINED, BetaFit, fit_beta, nothing
from daq_mechanical.doubt_log import DoubtLog
from daq_mechanical.loss_curve import (
    UNDECIDED,
    Floats,
    Kind,
    LossCurve,
    clear_from,
    flank_top,
    kind_of,
    peak_at,
    smooth,
)
from daq_mechanical.moduli import ModuliConfig, ModulusReader, doubts_of
from daq_mechanical.time_steps import record, single
from daq_relaxation.arrhenius_fit import fit_arrhenius
from daq_relaxation.laws import R

SLOTS: Final = 16
"""Frequencies that there is room for."""
GRID: Final = 128
"""Points of the curve that is drawn."""
BACK: Final = 5.0
"""Kelvin by which the temperature must come back for another ramp to begin."""
WIDER: Final = (1.0, 1.5, 2.0)
"""Windows that are tried until the rule decides, over that of the configuration."""
ROUNDS: Final = 10
"""Rounds of frequencies over which the change of temperature within one hardly counts."""
LOWEST: Final = 0.55
"""Part of the temperature of the alpha peak above which a relaxation is the slow beta one."""


class BetaRelaxation(daq.Analysis):
    """What the slow beta relaxation shows as beside the alpha peak, and its energy.

    Takes temperature ramps of a mechanical spectrometer (see `daq_mechanical.moduli`), at one
    frequency or several, up over the alpha peak. `daq_mechanical.loss_curve` states the rule by
    which peak, shoulder and wing are told apart, at the frequency nearest to 1 Hz;
    `daq_mechanical.beta_fit` the formula from which the energy comes. Gives:

    ``summary``
        A record each ``every`` readings, and one with ``final`` at the end of a ramp:

        ``kind``, ``peak``, ``shoulder``, ``wing`` or ``undecided``, and ``margin``, by how many
        standard errors; ``alpha_temperature`` K with ``_errors``, NaN as long as the ramp has not
        passed it, and ``alpha_loss`` Pa; ``glass_temperature`` K, where the flank bends into the
        glass; ``kind_temperature`` K, where the loss peaks or its slope is least; ``kind_loss``,
        the loss there over that of the alpha peak.

        From several frequencies: ``energy`` kJ/mol and ``energy_rtg`` (R T_g), ``ln_tau0`` (s),
        ``beta_temperature`` K (omega tau = 1 at the frequency above), ``strength`` (part of the
        modulus), ``cole_cole``, each with ``_errors``; ``reduced_chi2``; ``flag`` of that fit. Only
        where there is a peak: ``peak_energy`` kJ/mol with ``_errors``, the Arrhenius line through the
        temperatures of maxima, as is published; the flank shifts maxima of a broad peak a little.

        A peak below `LOWEST` of the alpha temperature is the fast beta': ``fast_temperature`` K,
        ``fast_energy`` kJ/mol, with ``_errors``, and ``fast_ratio`` = fast_energy/energy (about 0.5
        in brittle glasses, 0.3 in ductile ones).

        ``frequency`` Hz, that of the rule; ``frequencies``, ``readings``, ``left_out``.
    ``curve``
        With each: ``temperature`` over that of the alpha peak (else K), ``loss`` over that of the
        alpha peak, ``slope`` d ln M''/dT (1/K) with ``_errors``, [point], NaN after the last, at the
        frequency of the rule. For drawing, of all frequencies: ``inverse_temperature`` 1000/K of the
        maxima and ``ln_tau`` = -ln(omega).
    """

    name = "beta_relaxation"

    class Config(ModuliConfig):
        """What ``[analyses.NAME]`` with ``type = "beta_relaxation"`` may say."""

        T_g: float | None = daq.setting(
            None, "K", "for energies in R T_g; by default where the flank bends", gt=0
        )
        window: float = daq.setting(
            0.025, "", "half width of the smoothing, part of the alpha temperature", gt=0, le=0.1
        )
        every: int = daq.setting(64, "", "readings after which a ramp is looked at", ge=1)

    def open(self, streams: Mapping[str, daq.Stream], config: Any) -> Sequence[daq.Stream]:
        """Check the input; ValueError where it is not one of moduli."""
        self._reader = ModulusReader(single(streams, self.name), config)
        self._config = config
        self._doubts = DoubtLog(self._reader.name)
        self._rows: list[tuple[float, float, float, float]] = []
        self._key = (-1, -1)
        self._extreme = self._direction = 0.0
        self._time = 0
        self._left_out = 0
        plain, number = daq.Field("<f8"), daq.Field("<i4")
        kelvin = daq.Field("<f8", (), "K")
        energy = daq.Field("<f8", (), "kJ/mol")
        summary = {
            "segment": number, "sample": number, "final": daq.Field("|u1"),
            "kind": daq.Field("|S10"), "margin": plain,
            "alpha_temperature": kelvin, "alpha_temperature_errors": kelvin,
            "alpha_loss": daq.Field("<f8", (), "Pa", "highest loss modulus"),
            "glass_temperature": kelvin, "kind_temperature": kelvin, "kind_loss": plain,
            "energy": energy, "energy_errors": energy,
            "energy_rtg": plain, "energy_rtg_errors": plain,
            "ln_tau0": plain, "ln_tau0_errors": plain,
            "beta_temperature": kelvin, "beta_temperature_errors": kelvin,
            "strength": plain, "strength_errors": plain,
            "cole_cole": plain, "cole_cole_errors": plain,
            "reduced_chi2": plain, "flag": daq.Field("|u1"),
            "peak_energy": energy, "peak_energy_errors": energy,
            "fast_temperature": kelvin, "fast_temperature_errors": kelvin,
            "fast_energy": energy, "fast_energy_errors": energy, "fast_ratio": plain,
            "frequency": daq.Field("<f8", (), "Hz"),
            "frequencies": number, "readings": number, "left_out": number,
        }  # fmt: skip
        row, slots = daq.Field("<f8", (GRID,)), daq.Field("<f8", (SLOTS,))
        curve = {
            "temperature": daq.Field("<f8", (GRID,), "", "T/T_alpha"),
            "loss": daq.Field("<f8", (GRID,), "", "loss over that of the alpha peak"),
            "slope": daq.Field("<f8", (GRID,), "1/K"), "slope_errors": row,
            "inverse_temperature": daq.Field("<f8", (SLOTS,), "1/K", "1000/T of the maxima"),
            "ln_tau": slots,
        }  # fmt: skip
        return [daq.Stream("summary", summary), daq.Stream("curve", curve)]

    def process(self, batch: daq.Batch) -> Iterable[daq.Batch]:
        """Take readings and look at the ramp when its time has come."""
        rows, negative = self._reader.read(batch)
        before = np.flatnonzero(negative) + (batch.first or 0)
        passed = 0
        for i in range(len(rows)):
            while passed < len(before) and before[passed] < rows.index[i]:
                passed += 1
                self._left_out += 1
            key = (int(rows.segment[i]), int(rows.sample[i]))
            T = float(rows.temperature[i])
            if self._rows and (key != self._key or self._turned(T)):
                yield from self._looked_at(True)
                self._rows = []
                self._direction = 0.0
                self._left_out = 0
            if not self._rows:
                self._extreme = T
            self._key, self._time = key, int(rows.time[i])
            if self._direction == 0.0 and abs(T - self._extreme) > BACK:
                self._direction = math.copysign(1.0, T - self._extreme)
            if self._direction * (T - self._extreme) > 0:
                self._extreme = T
            self._rows.append(
                (T, float(rows.frequency[i]), float(rows.storage[i]), float(rows.loss[i]))
            )
            if len(self._rows) % self._config.every == 0:
                yield from self._looked_at(False)
        self._left_out += len(before) - passed

    def close(self) -> Iterable[daq.Batch]:
        """Look at the last ramp."""
        if self._rows:
            yield from self._looked_at(True)

    def reconfigure(self, config: Any) -> None:
        """Look otherwise from the next reading on."""
        self._config = config

    @classmethod
    def memory(cls, streams: Mapping[str, daq.Stream], config: Any) -> int:
        """Return what a ramp of ten thousand readings needs."""
        return 10_000 * 300

    def _turned(self, T: float) -> bool:
        return self._direction != 0.0 and self._direction * (self._extreme - T) > BACK

    def _looked_at(self, ended: bool) -> Iterable[daq.Batch]:
        table = np.array(self._rows)
        self._doubts.warn(_doubts(table), f"ramp up to {table[:, 0].max():.1f} K")
        # by temperature, whichever way the ramp went; readings at one temperature in their order
        table = table[np.argsort(table[:, 0], kind="stable")]
        yield from _Ramp(table, self._config).records(self._time, self._key, ended, self._left_out)


class _Ramp:
    """What can be said of one ramp: readings [n, (K, Hz, storage Pa, loss Pa)] at rising T."""

    def __init__(self, table: Floats, config: Any) -> None:
        self.table, self.config = table, config
        self.frequencies = np.unique(table[:, 1])
        self.rule = float(self.frequencies[np.argmin(np.abs(np.log(self.frequencies)))])
        self.modulus = float(np.max(table[:, 2]))
        self.curves: dict[float, LossCurve] = {}
        # the smoothing is a part of T_alpha, or of the highest T as long as that is not known
        T_alpha = self._rough_alpha()
        for f in self.frequencies[:SLOTS]:
            at = table[:, 1] == f
            if np.count_nonzero(at) >= 2 * loss_curve.LEAST:
                curve = smooth(table[at, 0], table[at, 3], config.window * T_alpha)
                if curve is not None:
                    self.curves[float(f)] = curve
        self.top: int | None = None
        self.glass: int | None = None
        self.alpha = (math.nan, math.nan)
        curve = self.curves.get(self.rule)
        if curve is not None and self.passed:
            self.top = int(np.argmax(curve.loss))
            self.alpha = peak_at(curve, self.top)
            if math.isfinite(self.alpha[0]):
                self.glass = flank_top(curve, self.top)

    def _rough_alpha(self) -> float:
        at = self.table[:, 1] == self.rule
        T, loss = self.table[at, 0], self.table[at, 3]
        top = int(np.argmax(loss))
        half = self.table[at, 2] < 0.5 * self.modulus
        self.passed = bool(half.any() and T[top] < T[-1] - 1.0)
        return float(T[top]) if self.passed else float(T[-1])

    def kind(self) -> Kind:
        """Return what the beta relaxation shows as; noisy readings are smoothed in wider windows."""
        kind = Kind(UNDECIDED, math.nan, math.nan)
        if self.glass is None:
            return kind
        limit = float(self.curves[self.rule].temperature[self.glass])
        at = self.table[:, 1] == self.rule
        for wider in WIDER:
            curve = smooth(
                self.table[at, 0], self.table[at, 3], wider * self.config.window * self.alpha[0]
            )
            if curve is None:
                continue
            # windows hold glass alone, whatever their width
            end = limit - 0.5 * (wider - 1) * self.config.window * self.alpha[0]
            stop = int(np.searchsorted(curve.temperature, end, side="right")) - 1
            start = clear_from(curve, stop, LOWEST * self.alpha[0])
            kind = kind_of(curve, start, stop, self.alpha[0], wide=wider > 1)
            if kind.kind != UNDECIDED:
                break
        return kind

    def beta(self, kind: Kind) -> BetaFit:
        """Fit the beta relaxation in the glass, at all frequencies."""
        if self.glass is None or len(self.curves) < 2:
            return nothing()
        limit = float(self.curves[self.rule].temperature[self.glass])
        parts = []
        for f, curve in self.curves.items():
            glass = int(np.searchsorted(curve.temperature, limit, side="right"))
            clear = curve.loss > loss_curve.CLEAR * curve.scatter
            clear &= curve.temperature >= LOWEST * self.alpha[0]
            hidden = np.flatnonzero(~clear[:glass])
            low = curve.temperature[hidden[-1] + 1] if len(hidden) else curve.temperature[0]
            at = (self.table[:, 1] == f) & (self.table[:, 0] >= low) & (self.table[:, 0] <= limit)
            error = np.interp(self.table[at, 0], curve.temperature, curve.scatter)
            parts.append(np.column_stack([self.table[at], error]))
        used = np.concatenate(parts)
        if len(used) < 24:
            return nothing()
        T = kind.temperature if math.isfinite(kind.temperature) else 0.8 * self.alpha[0]
        curve = self.curves[self.rule]
        height = float(np.interp(T, curve.temperature, curve.loss)) / self.modulus
        return fit_beta(
            2 * np.pi * used[:, 1], used[:, 0], used[:, 2] / self.modulus,
            used[:, 3] / self.modulus, used[:, 4] / self.modulus,
            (T, 26 * 0.93 * self.alpha[0], height),
        )  # fmt: skip

    def maxima(self, low: float, high: float) -> tuple[Floats, Floats, Floats]:
        """Return frequency, temperature and error of the maxima between two temperatures."""
        found = []
        for f, curve in self.curves.items():
            inside = (curve.temperature > low) & (curve.temperature < high)
            d = curve.derivatives[:, 0]
            falls = np.flatnonzero(inside[1:] & inside[:-1] & (d[:-1] > 0) & (d[1:] <= 0))
            # the clearest of those that noise makes
            peaks = [(float(curve.loss[i]), *peak_at(curve, int(i))) for i in falls]
            peaks = [
                p
                for p in peaks
                if p[2] > 0 and p[0] > 5 * np.interp(p[1], curve.temperature, curve.scatter)
            ]
            if peaks:
                _, T, error = max(peaks)
                if error < 0.25 * curve.half_width:
                    found.append((f, T, error))
        rows = np.array(found).reshape(-1, 3)
        return rows[:, 0], rows[:, 1], rows[:, 2]

    def records(
        self, time: int, key: tuple[int, int], ended: bool, left_out: int
    ) -> Iterable[daq.Batch]:
        """Return the records of both streams."""
        nan = math.nan
        kind = self.kind()
        fit = self.beta(kind)
        known = fit.flag == DETERMINED
        T_beta = fit.peak_temperature(self.rule) if known else (nan, nan)
        glass = nan
        if self.glass is not None:
            curve = self.curves[self.rule]
            glass = float(curve.temperature[self.glass] + 0.5 * curve.half_width)
        T_g = self.config.T_g or glass
        peaks = self.maxima(LOWEST * self.alpha[0], glass) if kind.kind == loss_curve.PEAK else None
        peak_energy = _energy(*peaks) if peaks is not None else (nan, nan)
        fast = self.maxima(0.0, LOWEST * self.alpha[0])
        fast_energy = _energy(*fast)
        nearest = int(np.argmin(np.abs(np.log(fast[0] / self.rule)))) if len(fast[0]) else -1
        loss = nan
        if self.top is not None:
            loss = float(self.curves[self.rule].loss[self.top])
        kind_loss = nan
        if math.isfinite(kind.temperature):
            curve = self.curves[self.rule]
            kind_loss = float(np.interp(kind.temperature, curve.temperature, curve.loss)) / loss
        E, error = (fit.energy, fit.energy_error) if known else (nan, nan)
        yield record("summary", time, {
            "segment": np.int32(key[0]), "sample": np.int32(key[1]), "final": np.uint8(ended),
            "kind": np.bytes_(kind.kind.encode()), "margin": kind.margin,
            "alpha_temperature": self.alpha[0], "alpha_temperature_errors": self.alpha[1],
            "alpha_loss": loss, "glass_temperature": glass,
            "kind_temperature": kind.temperature, "kind_loss": kind_loss,
            "energy": E / 1e3, "energy_errors": error / 1e3,
            "energy_rtg": E / (R * T_g), "energy_rtg_errors": error / (R * T_g),
            "ln_tau0": fit.ln_tau0 if known else nan,
            "ln_tau0_errors": fit.ln_tau0_error if known else nan,
            "beta_temperature": T_beta[0], "beta_temperature_errors": T_beta[1],
            "strength": fit.strength if known else nan,
            "strength_errors": fit.strength_error if known else nan,
            "cole_cole": fit.cole_cole if known else nan,
            "cole_cole_errors": fit.cole_cole_error if known else nan,
            "reduced_chi2": fit.chi2 / fit.dof if fit.dof else nan, "flag": np.uint8(fit.flag),
            "peak_energy": peak_energy[0] / 1e3, "peak_energy_errors": peak_energy[1] / 1e3,
            "fast_temperature": fast[1][nearest] if len(fast[0]) else nan,
            "fast_temperature_errors": fast[2][nearest] if len(fast[0]) else nan,
            "fast_energy": fast_energy[0] / 1e3, "fast_energy_errors": fast_energy[1] / 1e3,
            "fast_ratio": fast_energy[0] / E,
            "frequency": self.rule, "frequencies": np.int32(len(self.frequencies)),
            "readings": np.int32(len(self.table)), "left_out": np.int32(left_out),
        })  # fmt: skip
        yield self._curve(time, loss, peaks)

    def _curve(
        self, time: int, loss: float, peaks: tuple[Floats, Floats, Floats] | None
    ) -> daq.Batch:
        rows = np.full((4, GRID), np.nan)
        curve = self.curves.get(self.rule)
        if curve is not None:
            # every so many points, so that the whole curve has room
            step = 1 + (len(curve) - 1) // GRID
            count = len(curve.temperature[::step])
            known = math.isfinite(self.alpha[0])
            rows[0, :count] = curve.temperature[::step] / (self.alpha[0] if known else 1.0)
            rows[1, :count] = curve.loss[::step] / (loss if known else self.modulus)
            rows[2, :count] = curve.slope[::step]
            rows[3, :count] = curve.slope_error[::step]
        maxima = np.full((2, SLOTS), np.nan)
        if peaks is not None:
            maxima[0, : len(peaks[0])] = 1e3 / peaks[1]
            maxima[1, : len(peaks[0])] = -np.log(2 * np.pi * peaks[0])
        return record("curve", time, {
            "temperature": rows[0], "loss": rows[1], "slope": rows[2], "slope_errors": rows[3],
            "inverse_temperature": maxima[0], "ln_tau": maxima[1],
        })  # fmt: skip


def _doubts(table: Floats) -> int:
    """Return what is doubtful about a ramp: see `daq_mechanical.moduli.doubts_of`."""
    frequencies = np.unique(table[:, 1])
    if len(frequencies) < 5 or len(table) < ROUNDS * len(frequencies):
        # no trend yet that is one of frequency alone: their values tell of their unit
        ones = np.ones(len(frequencies))
        return doubts_of(frequencies, ones, ones)
    means = np.array([table[table[:, 1] == f].mean(axis=0) for f in frequencies])
    return doubts_of(means[:, 1], means[:, 2], means[:, 3])


def _energy(frequency: Floats, T: Floats, errors: Floats) -> tuple[float, float]:
    """Return the Arrhenius energy through temperatures of maxima, and its error, J/mol."""
    if len(np.unique(T)) < 2:
        return math.nan, math.nan
    ln_tau = -np.log(2 * np.pi * frequency)
    E = fit_arrhenius(T, ln_tau).unweighted.energy
    line = fit_arrhenius(T, ln_tau, abs(E) / (R * T**2) * errors, scaled=False).weighted
    assert line is not None
    wider = math.sqrt(max(1.0, line.chi2 / line.dof)) if line.dof else 1.0
    return line.energy, line.energy_error * wider
