"""Two-time correlations G(t1, t2) of whole regions, and how tau changes with waiting time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from daq_stem.ecm.mean_correlation import jackknife
from daq_stem.ecm.two_time import TwoTime

Floats = npt.NDArray[np.float64]


class TwoTimeMatrix:
    """G(t1, t2) summed over the positions of each block, for all pairs of the scans kept."""

    def __init__(self, blocks: int, scans: int) -> None:
        self._sums = np.zeros((blocks, scans, scans), np.float32)
        self._pairs = np.zeros((blocks, scans, scans), np.int32)

    @staticmethod
    def memory(blocks: int, scans: int) -> int:
        """Return the bytes needed."""
        return 8 * blocks * scans**2

    def keep(
        self, slot: int, earlier: npt.NDArray[np.int64], sums: Floats, pairs: npt.NDArray[np.int64]
    ) -> None:
        """Take the sums and pairs [block, earlier scan] of the scan in ``slot`` with ``earlier`` ones."""
        if len(earlier) and len(sums):
            self._sums[: len(sums), slot, earlier] = sums
            self._pairs[: len(pairs), slot, earlier] = pairs

    def row(self, slots: npt.NDArray[np.int64]) -> Floats:
        """Return the mean G of the last scan with each scan kept before it, [scan]."""
        if len(slots) < 2:
            return np.zeros(0)
        with np.errstate(invalid="ignore", divide="ignore"):
            sums = self._sums[:, slots[-1], slots[:-1]].sum(axis=0, dtype=np.float64)
            pairs = self._pairs[:, slots[-1], slots[:-1]].sum(axis=0)
            return np.asarray(1 + sums / pairs)

    def ageing(
        self, series: TwoTime, ages: Floats, windows: int, shape: float
    ) -> tuple[Floats, Floats, Floats]:
        """Return waiting time, tau and its error in windows of the mean age of two scans, s.

        tau of the mean G(t1, t2) over positions, with the exponent ``shape``; errors from a
        jackknife over blocks of positions. ``ages`` [scan] s are those of the scans kept.
        """
        waiting, tau, errors = (np.full(windows, np.nan) for _ in range(3))
        slots = series.slots
        known = np.isfinite(ages)
        if known.sum() < 4 * windows or not series.period:
            return waiting, tau, errors
        slots, ages = slots[known], ages[known]
        edges = np.linspace(0, ages[-1] * (1 + 1e-9), windows + 1)
        later, earlier = np.tril_indices(len(slots), -1)
        middle = (ages[later] + ages[earlier]) / 2
        sums = self._sums[:, slots[later], slots[earlier]].astype(np.float64)
        pairs = self._pairs[:, slots[later], slots[earlier]].astype(np.float64)
        periods = np.rint((ages[later] - ages[earlier]) / (series.period * 1e-9))
        bins = series.table[np.clip(periods, 0, len(series.table) - 1).astype(np.int64)]
        for k in range(windows):
            at = (edges[k] <= middle) & (middle < edges[k + 1]) & (bins >= 0)
            waiting[k] = (edges[k] + edges[k + 1]) / 2
            found = [
                _tau_of(bins[at], ages[later[at]] - ages[earlier[at]], s, n, shape)
                for s, n in _left_out(sums[:, at], pairs[:, at])
            ]
            tau[k] = np.exp(found[0])
            errors[k] = tau[k] * jackknife(np.array(found[1:])[:, None])[0]
        return waiting, tau, errors


def _tau_of(
    bins: npt.NDArray[np.int32], delay: Floats, sums: Floats, pairs: Floats, shape: float
) -> float:
    """Return ln tau of mean correlations given pair by pair, NaN for fewer than 3 delays."""
    from daq_relaxation.kww_fit import fit_kww

    count = int(bins.max(initial=-1)) + 1
    number = np.bincount(bins, weights=pairs, minlength=count)
    there = number > 0
    if there.sum() < 3 or not np.isfinite(shape):
        return float("nan")
    g = np.bincount(bins, weights=sums, minlength=count)[there] / number[there]
    mean_delay = np.bincount(bins, weights=delay * pairs, minlength=count)[there]
    mean_delay = mean_delay / number[there]
    fit = fit_kww(
        mean_delay, g[None], weights=number[there] / mean_delay,
        fixed={"baseline": 0.0, "shape": shape},
    )  # fmt: skip
    return float(fit.ln_tau[0]) if fit.flag[0] == 0 else float("nan")


def _left_out(sums: Floats, pairs: Floats) -> list[tuple[Floats, Floats]]:
    """Return sums and pairs of all blocks, then of all but each."""
    whole, number = sums.sum(axis=0), pairs.sum(axis=0)
    used = np.flatnonzero(pairs.sum(axis=1) > 0)
    return [(whole, number)] + [(whole - sums[b], number - pairs[b]) for b in used]
