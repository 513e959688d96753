"""One annulus through one temperature stage: from scans to relaxation times with errors.

What is learnt from the data, the static pattern, the speckles and with them the `Replicas`, is
looked at again when the number of scans has doubled; where it has changed by more than it matters,
what was correlated or simulated before is done anew. So the result depends on the scans alone.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from daq_stem.ecm.common_shape import CommonShape, common_shape
from daq_stem.ecm.ln_tau_errors import Interval, LnTauErrors
from daq_stem.ecm.mean_correlation import MeanCorrelation, mean_correlation
from daq_stem.ecm.population import error_of_mean, matched_population
from daq_stem.ecm.replicas import Replicas
from daq_stem.ecm.specimen import overlap_rate, static_pattern
from daq_stem.ecm.speckle import Speckle, measure_speckle, pixel_covariance
from daq_stem.ecm.standing import mean_square_gradient, standing_error
from daq_stem.ecm.two_time import TwoTime
from daq_stem.ecm.waiting_time import TwoTimeMatrix
from daq_stem.geometry.annulus import Annulus

Floats = npt.NDArray[np.float64]

DETERMINED, LOWER_BOUND, AT_BOUND, NOT_CONVERGED, MASKED = range(5)

BLOCKS = (2, 4)
"""Regions, rows and columns of them, whose scatter gives the errors of means."""

RELAXATION_TIMES = 20
"""Times the number of replicas that is configured: so many there are, evenly over ln tau."""

WEAK = 0.35
"""A fit that finds less than this part of the contrast has seen no decay: it was over before."""

LAST = 1.1
"""Errors, and `AnnulusSeries.ageing`, are found anew when the series has grown by this factor."""

MATTERS_STATIC, MATTERS_SPECKLE, MATTERS_GLASS, MATTERS_RANGE = 0.003, 0.05, 0.01, 0.7
"""Changes that matter: rms of the static pattern, of contrast and aperture (relative), part of the
positions, ends of the range of ln tau."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """How an annulus is evaluated; see `Ecm.Config`."""

    shape: tuple[int, int]
    step: float
    gamma: float | None
    common: bool
    baseline: bool
    static_pattern: str
    minimum_intensity: float
    longest: float
    scans: int
    variance_per_count: float
    drifts: bool
    waiting_times: int
    replicas: int
    seed: list[int]


@dataclasses.dataclass(frozen=True)
class Maps:
    """Relaxation of an annulus, [position]; see `Ecm`."""

    tau: Floats
    tau_errors: Floats
    tau_lower: Floats
    tau_upper: Floats
    gamma: Floats
    beta: Floats
    flag: npt.NDArray[np.uint8]
    sector_ln_tau: Floats
    sector_flag: npt.NDArray[np.uint8]
    estimate: Floats


class AnnulusSeries:
    """Takes the scans of one temperature stage; gives maps after each."""

    def __init__(self, annulus: Annulus, settings: Settings, gamma: float | None = None) -> None:
        self.annulus, self.settings = annulus, settings
        positions = settings.shape[0] * settings.shape[1]
        blocks = _blocks(settings.shape)
        self.series = TwoTime(positions, settings.scans, annulus.pixels, annulus.sets, blocks)
        self._all_blocks = blocks.copy()
        self._static = np.ones(annulus.pixels)
        self._rate = 0.0
        self.glass = np.zeros(positions, np.bool_)
        self.speckle: Speckle | None = None
        self._replicas: Replicas | None = None
        self._errors: LnTauErrors | None = None
        self.gamma = gamma if settings.common and gamma is not None else settings.gamma
        """Exponent of the fits, to begin with that of the stage before; None where it is free."""
        self._shape: CommonShape | None = None
        self._learnt_at = self._aged_at = 0
        self._ages: tuple[int, Floats] = (-1, np.zeros(0))
        self._aged: tuple[Floats, Floats, Floats] | None = None
        self._start: Any = None
        count, kept = BLOCKS[0] * BLOCKS[1], settings.scans
        self._residuals, self._shift_errors = np.zeros((kept, 2)), np.zeros(kept)
        self._matrix = TwoTimeMatrix(count, kept)

    @staticmethod
    def memory(positions: int, pixels: int, scans: int, gamma: float | None, replicas: int) -> int:
        """Return the bytes needed: the series, its replicas, and two-time means of the blocks."""
        return (
            TwoTime.memory(positions, scans, pixels)
            + Replicas.memory(RELAXATION_TIMES * replicas, scans, pixels, gamma or 1.0)
            + TwoTimeMatrix.memory(BLOCKS[0] * BLOCKS[1], scans)
            + positions * 500
        )

    def add(
        self,
        patterns: Floats,
        usable: npt.NDArray[np.bool_],
        times: npt.NDArray[np.int64],
        source: npt.NDArray[np.int64],
        residual: tuple[float, float],
        shift_error: float = 0.0,
    ) -> None:
        """Take a scan (see `TwoTime.add`); ``shift_error`` is that of its drift, nm."""
        series = self.series
        slot, earlier = series.taken % series.scans, series.slots
        self._residuals[slot], self._shift_errors[slot] = residual, shift_error
        if len(earlier) == series.scans:
            earlier = earlier[1:]
        found = series.add(
            patterns, usable, times, source, self._static, residual, self._rate
        )  # fmt: skip
        self._matrix.keep(slot, earlier, *found)
        n = series.taken
        if n & (n - 1) == 0:
            self._learn()
        if self._replicas is not None and n > 2:
            self._add_replicas(slot)
        if series.period and (n <= 10 or n >= LAST * self._learnt_at or n == series.scans):
            self._learn_errors()

    @property
    def ages(self) -> Floats:
        """Time of each scan kept, s since the first one: [scan], the oldest first; NaN if lost."""
        series = self.series
        if self._ages[0] != series.taken:
            found = np.full(len(series.slots), np.nan)
            first = None
            for at, slot in enumerate(series.slots):
                good = series.good[:, slot] & self.glass
                if good.any():
                    middle = int(np.median(series.time[good, slot]))
                    first = middle if first is None else first
                    found[at] = (middle - first) * 1e-9
            self._ages = (series.taken, found)
        return self._ages[1]

    def maps(self) -> Maps:
        """Fit every position and bound its relaxation time."""
        positions = len(self.glass)
        nan = np.full(positions, np.nan)
        flag = np.where(self.glass, NOT_CONVERGED, MASKED).astype(np.uint8)
        empty = Maps(
            nan, nan.copy(), nan.copy(), nan.copy(), nan.copy(), nan.copy(), flag,
            np.full((2, positions), np.nan), np.stack([flag, flag]), nan.copy(),
        )  # fmt: skip
        at = np.flatnonzero(self.glass)
        if self._errors is None or not len(at):
            return empty
        fit = self._fit(at, 0, self._start)
        self._start = np.full((positions, 4), np.nan)
        self._start[at] = np.where((fit.flag == 0)[:, None], fit.parameters, np.nan)
        longest = self._longest()
        estimate = np.where(fit.flag == LOWER_BOUND, longest, np.minimum(fit.ln_tau, longest))
        interval = self._errors.interval(estimate, np.log(self.series.mean_intensity()[at]))
        interval = interval.stretched(self._seldom_seen(at))
        if self._shape is not None:
            error = self._shape.ln_tau_error(estimate, self._ln_lasts(), place=True)
            interval = interval.widened(error)
        self._fit_sectors(at, empty)
        interval = interval.widened(np.full(len(at), self._standing(empty)))
        fast = self._weak(fit) | (fit.flag == AT_BOUND)
        flags = _flags(np.where(fast, AT_BOUND, fit.flag).astype(np.uint8), interval)
        tau = np.exp(np.where(flags == LOWER_BOUND, interval.bound, interval.middle))
        # what relaxed before the first delay did so within a period
        upper = np.exp(interval.upper)
        upper[fast & (flags == AT_BOUND)] = self.series.period * 1e-9
        tau = np.where(flags == AT_BOUND, upper, tau)
        tau = np.where(flags >= NOT_CONVERGED, np.nan, tau)
        half = np.full(len(at), np.nan)
        sure = flags == DETERMINED
        half[sure] = (interval.upper[sure] - interval.lower[sure]) / 2
        lower = np.where(flags == LOWER_BOUND, interval.bound, interval.lower)
        fitted = flags < NOT_CONVERGED
        empty.tau[at], empty.tau_errors[at] = tau, tau * half
        empty.tau_lower[at] = np.where(fitted & (flags != AT_BOUND), np.exp(lower), np.nan)
        empty.tau_upper[at] = np.where(fitted, upper, np.nan)
        empty.gamma[at] = np.where(fitted, fit.shape, np.nan)
        # of a decay that was over before the first delay the contrast is not known
        empty.beta[at] = np.where(flags < AT_BOUND, fit.amplitude, np.nan)
        empty.flag[at] = flags
        empty.estimate[at] = self._estimates(fit)
        return empty

    def _fit_sectors(self, at: npt.NDArray[np.int64], maps: Maps) -> None:
        """Fit each set of azimuthal sectors by itself, where it holds enough pixels."""
        if min(self.annulus.sets) < 8:
            return
        longest = self._longest()
        for k in (0, 1):
            fit = self._fit(at, k + 1, self._start)
            maps.sector_ln_tau[k, at] = np.where(
                fit.flag == LOWER_BOUND, longest, np.minimum(fit.ln_tau, longest)
            )
            maps.sector_flag[k, at] = fit.flag

    def _seldom_seen(self, at: npt.NDArray[np.int64]) -> Floats:
        """Return how much larger errors are at positions seen in fewer scans than replicas are.

        The scatter of ln tau goes as 1 / sqrt(scans): where a place drifts out of the field, its
        series is shorter. Replicas have the gaps of positions drawn from all of them.
        """
        assert self._replicas is not None
        seen = self.series.good[:, self.series.slots].sum(axis=1)
        usual = float(np.median(seen[self._replicas.positions]))
        return np.asarray(np.sqrt(usual / np.clip(seen[at], 1, None)))

    def _standing(self, maps: Maps) -> float:
        """Return the error of ln tau from not knowing where the map stands, 1 sigma."""
        slots = self.series.slots
        error = standing_error(self._shift_errors[slots], self._residuals[slots])
        known = np.where(maps.sector_flag == DETERMINED, maps.sector_ln_tau, np.nan)
        square = mean_square_gradient(*known, self.settings.shape, self.settings.step)
        return float(error * np.sqrt(square))

    def mean_correlation(self) -> MeanCorrelation:
        """Return g2 averaged over the positions that are glass, and a fit to it."""
        return mean_correlation(self.series, BLOCKS[0] * BLOCKS[1], self.settings.baseline)

    def two_time_row(self) -> Floats:
        """Return the mean G of the last scan with each scan kept before it, [scan]."""
        return self._matrix.row(self.series.slots)

    def ageing(self) -> tuple[Floats, Floats, Floats]:
        """Return waiting time, tau and its error in windows of the mean age of two scans, s.

        With the exponent of the whole mean; see `TwoTimeMatrix.ageing`.
        """
        taken = self.series.taken
        if self._aged is None or taken >= LAST * self._aged_at or taken == self.series.scans:
            self._aged = self._matrix.ageing(
                self.series, self.ages, self.settings.waiting_times, self.mean_correlation().gamma
            )
            self._aged_at = taken
        return self._aged

    def population(self, maps: Maps) -> dict[str, float]:
        """Return what the map says of all positions: see `Ecm`, stream ``summary``."""
        determined = maps.flag == DETERMINED
        errors = self._errors
        mean, spread, replicas = (
            (np.nan, np.nan, 0.0)
            if errors is None
            else matched_population(maps.estimate[self.glass], errors.truth, errors.estimate)
        )
        both = determined & (maps.sector_flag == DETERMINED).all(axis=0)
        noise = np.where(both, (maps.sector_ln_tau[0] - maps.sector_ln_tau[1]) / 2, np.nan)
        # a common offset of the two sets is no noise of the mean of both
        noise = noise - np.nanmean(noise) if both.any() else noise
        error, effective = error_of_mean(noise, self.settings.shape)
        if replicas and determined.any():
            # what the replicas tell of bias is itself known with an error that all positions share
            half = np.mean(maps.tau_errors[determined] / maps.tau[determined])
            error = float(np.hypot(error, half / np.sqrt(replicas)))
        beta = maps.beta[determined]
        shape = self._shape
        if shape is not None and np.isfinite(mean):
            of_shape = shape.ln_tau_error(np.array([mean]), self._ln_lasts(), place=False)
            error = float(np.hypot(error, of_shape[0]))
        fitted = maps.gamma[determined]
        return {
            "gamma": float(np.mean(fitted)) if len(fitted) else np.nan,
            "gamma_errors": np.nan if shape is None else shape.error,
            "mean_ln_tau": mean,
            "mean_ln_tau_errors": error,
            "ln_tau_sd": spread,
            "n_effective": effective,
            "independent_speckles": np.nan if self.speckle is None else self.speckle.independent,
            "beta": float(beta.mean()) if len(beta) else np.nan,
        }

    def _learn(self) -> None:
        """Find anew what is glass, the static pattern, the speckles; correlate anew."""
        series, settings = self.series, self.settings
        mean = series.mean_intensity()
        seen = mean[mean > 0]
        if not len(seen):
            return
        # the median of what is not vacuum
        bright = np.median(seen[seen > 0.2 * np.quantile(seen, 0.9)])
        glass = mean > settings.minimum_intensity * bright
        changed = np.mean(glass != self.glass) > MATTERS_GLASS
        if changed:
            self.glass = glass
            series.blocks[...] = np.where(glass, self._all_blocks, -1)
        static = static_pattern(settings.static_pattern, series, self.glass, self.annulus.q)
        if static is not None and np.sqrt(np.mean((static - 1) ** 2)) > MATTERS_STATIC:
            series.divide(static)
            self._static = self._static * static
            changed = True
        before, rate = self.speckle, self._rate
        self._measure()
        if changed or self._rate != rate:
            for at, found in enumerate(series.again(self._rate)):
                self._matrix.keep(int(series.slots[at]), series.slots[:at], *found)
        if series.period and self.speckle is not None:
            self._make_replicas(changed or _differ(before, self.speckle))

    def _measure(self) -> None:
        """Measure speckles and, where the specimen drifts, how far places share them."""
        series, settings = self.series, self.settings
        rows, columns = settings.shape
        chosen = np.arange(rows * columns).reshape(rows, columns)[::2, ::2].reshape(-1)
        chosen = chosen[self.glass[chosen]]
        # at most 16 scans, evenly: what is near in time says little more
        every = max(1, len(series.slots) // 16)
        slots = series.slots[::every]
        total = np.zeros((self.annulus.pixels, self.annulus.pixels))
        n, noise = pixel_covariance(
            series.intensity, series.good, series.counts, chosen, slots, total
        )
        if n < 4:
            return
        found = measure_speckle(
            total / n, self.annulus.q_y, self.annulus.q_x, settings.variance_per_count * noise / n
        )
        if found is not None and _differ(self.speckle, found):
            self.speckle = found
        if settings.drifts:
            rate = overlap_rate(series, self.glass, settings.shape, settings.step, slots)
            if abs(rate - self._rate) > MATTERS_SPECKLE * rate:
                self._rate = rate

    def _make_replicas(self, changed: bool) -> None:
        """Replace the replicas by some of what was measured now, if it differs; they catch up."""
        series, settings = self.series, self.settings
        assert self.speckle is not None
        ends = self._range()
        if self._replicas is not None and not changed:
            had = self._replicas.ln_tau[[0, -1]]
            if np.abs(had - ends).max() < MATTERS_RANGE:
                return
        ln_tau = np.linspace(*ends, RELAXATION_TIMES * settings.replicas)
        random = np.random.default_rng([*settings.seed, series.taken])
        glass = np.flatnonzero(self.glass)
        self._replicas = None  # the memory of the old ones is given back first
        self._replicas = Replicas(
            self.annulus, self.speckle, ln_tau, random.choice(glass, len(ln_tau)),
            self._simulated_gamma, settings.variance_per_count, settings.scans,
            [*settings.seed, series.taken, 1],
        )  # fmt: skip
        self._replicas.use_period(series.period)
        slots = series.slots
        # the newest is added where every scan is
        for slot in slots if series.taken <= 2 else slots[:-1]:
            self._add_replicas(int(slot))

    def _range(self) -> tuple[float, float]:
        """Return the lowest and highest ln tau of interest: wide at first, then as estimated.

        What relaxes in half a period has decayed to 0.02 at the first delay: nothing is left to fit.
        """
        series, settings = self.series, self.settings
        period = series.period * 1e-9
        low, high = np.log(period / 2), np.log(settings.longest * settings.scans * period)
        if series.taken > 4 and np.isfinite(series.delays()).sum() > 2:
            fit = self._fit(np.flatnonzero(self.glass), 0, None)
            fit.flag[self._weak(fit)] = NOT_CONVERGED
            known = np.where(fit.flag == LOWER_BOUND, high, fit.ln_tau)[fit.flag < NOT_CONVERGED]
            if len(known) >= 16:
                first, last = np.quantile(known, [0.005, 0.98])
                low, high = max(low, min(first - 1.0, high - 3)), min(high, max(last + 2, low + 3))
        return float(low), float(high)

    def _add_replicas(self, slot: int) -> None:
        assert self._replicas is not None
        series = self.series
        self._replicas.add(series.good[:, slot], series.time[:, slot], series.counts[:, slot])

    def _learn_errors(self) -> None:
        replicas, n = self._replicas, self.series.taken
        if replicas is None or n < 3:
            return
        fit = self._fit_replicas(np.arange(len(replicas.ln_tau)))
        estimate = self._estimates(fit)
        if self.settings.common and n >= 8:
            self._learn_shape()
        # what is known is (t/tau)^gamma: the smaller gamma is, the less is known of ln tau
        wider = 1.0 if self.gamma is None else self._simulated_gamma / self.gamma
        estimate = replicas.ln_tau + wider * (estimate - replicas.ln_tau)
        try:
            self._errors = LnTauErrors(
                replicas.ln_tau, estimate, replicas.ln_counts, self._longest()
            )
        except ValueError:
            return
        self._learnt_at = n

    def _estimates(self, fit: Any) -> Floats:
        """Return ln tau as fitted: inf open above, -inf for a decay not seen, NaN for no fit."""
        found = np.where(fit.flag == DETERMINED, fit.ln_tau, np.nan)
        found = np.where(fit.flag == LOWER_BOUND, np.inf, found)
        return np.where(self._weak(fit) | (fit.flag == AT_BOUND), -np.inf, found)

    def _weak(self, fit: Any) -> npt.NDArray[np.bool_]:
        assert self.speckle is not None
        return np.asarray(fit.amplitude < WEAK * self.speckle.contrast)

    def _longest(self) -> float:
        """Ln of the longest tau that is told, s."""
        return self._ln_lasts() + float(np.log(self.settings.longest))

    def _ln_lasts(self) -> float:
        """Ln of how long the series is so far, s."""
        ages = self.ages
        lasts = float(np.nanmax(ages)) if np.isfinite(ages).any() else 0.0
        return float(np.log(max(lasts, self.series.period * 1e-9)))

    @property
    def _simulated_gamma(self) -> float:
        settings = self.settings
        return 1.0 if settings.common or settings.gamma is None else settings.gamma

    def _fit(self, at: npt.NDArray[np.int64], which: int, start: Any) -> Any:
        return self._fit_series(
            self.series, at, which, None if start is None else start[at], self.gamma
        )

    def _fit_replicas(self, at: npt.NDArray[np.int64]) -> Any:
        assert self._replicas is not None
        gamma = None if self.gamma is None else self._simulated_gamma
        return self._fit_series(self._replicas.series, at, 0, None, gamma)

    def _learn_shape(self) -> None:
        """Measure the exponent that all positions share."""
        replicas = self._replicas
        if replicas is None:
            return
        glass = np.flatnonzero(self.glass)
        # at most some 600: neighbours say the same
        glass = glass[:: max(1, len(glass) // 600)]
        known = self._estimates(self._fit(glass, 0, None))
        known = known[np.isfinite(known)]
        if not len(known):
            return
        low, high = np.quantile(known, [0.1, 0.9])
        like = np.flatnonzero((replicas.ln_tau >= low) & (replicas.ln_tau <= high))
        like = like[:: max(1, len(like) // 600)]

        def misfits(series: TwoTime, at: npt.NDArray[np.int64], gamma: float) -> Any:
            fit = self._fit_series(series, at, 0, None, gamma)
            seen = fit.flag == DETERMINED
            return np.where(seen, fit.chi2, np.nan), np.where(seen, fit.ln_tau, np.nan)

        found = common_shape(
            lambda gamma: misfits(self.series, glass, gamma),
            lambda gamma: misfits(replicas.series, like, gamma),
            self.series.blocks[glass],
        )
        if found is not None:
            self._shape, self.gamma, self._start = found, found.gamma, None

    def _fit_series(
        self, series: TwoTime, at: npt.NDArray[np.int64], which: int, start: Any,
        gamma: float | None,
    ) -> Any:  # fmt: skip
        from daq_relaxation.kww_fit import fit_kww

        delay = series.delays()
        known = np.isfinite(delay)
        with np.errstate(invalid="ignore", divide="ignore"):
            g = series.g_sum[at, which][:, known] / series.weight[at][:, known]
        fixed = {} if self.settings.baseline else {"baseline": 0.0}
        if gamma is not None:
            fixed["shape"] = gamma
        period, longest = self.series.period * 1e-9, float(np.nanmax(delay))
        # every octave of delays counts alike: short ones are many, and know tau best
        return fit_kww(
            delay[known], g, weights=series.pairs[at][:, known] / delay[known],
            fixed=fixed, start=start,
            bounds={
                "ln_tau": (np.log(period / 10), np.log(1e3 * self.settings.longest * longest))
            },
        )  # fmt: skip


def _differ(before: Speckle | None, now: Speckle) -> bool:
    """Tell whether speckles changed by more than it matters."""
    if before is None:
        return True
    pairs = ((before.contrast, now.contrast), (before.aperture, now.aperture))
    if any(abs(a - b) > MATTERS_SPECKLE * a for a, b in pairs):
        return True
    return abs(before.friedel - now.friedel) > 2 * MATTERS_SPECKLE


def _flags(fitted: npt.NDArray[np.uint8], interval: Interval) -> npt.NDArray[np.uint8]:
    flags = fitted.copy()
    flags[(flags == DETERMINED) & ~np.isfinite(interval.upper)] = LOWER_BOUND
    flags[(flags == DETERMINED) & ~np.isfinite(interval.lower)] = AT_BOUND
    flags[(flags == LOWER_BOUND) & ~np.isfinite(interval.bound)] = NOT_CONVERGED
    # a position without pairs is not vacuum
    flags[flags == MASKED] = NOT_CONVERGED
    return flags


def _blocks(shape: tuple[int, int]) -> npt.NDArray[np.int64]:
    """Return the block of each position, row by row."""
    y = np.arange(shape[0])[:, None] * BLOCKS[0] // shape[0]
    x = np.arange(shape[1])[None, :] * BLOCKS[1] // shape[1]
    return np.asarray((y * BLOCKS[1] + x).reshape(-1), np.int64)
