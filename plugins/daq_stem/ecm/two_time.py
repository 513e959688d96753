"""Two-time correlations at every scan position, one more scan at a time.

G(t1, t2) = <I(t1) I(t2)> / (<I(t1)> <I(t2)>), means over the pixels of an annulus
(Nakazawa2024, eq. 1), and its mean g over pairs of scans by delay (eq. 2). Each pattern is
divided by its own mean over the annulus, so that no noise at equal times enters and a beam that
flickers does no harm; g is the mean of ratios, not the ratio of means.

A new scan meets every earlier one that is kept, once: what that costs grows with the number of
scans kept, not with those that were.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from daq_stem.ecm.delays import bin_count, delay_bins

SETS = 3
"""Whole annulus, sector set 0, sector set 1."""


class TwoTime:
    """The patterns of an annulus at each position, over the scans kept, and their correlations.

    Parameters
    ----------
    positions, scans, pixels
        Positions, scans kept (the oldest is overwritten), binned pixels.
    sets
        How many of the pixels are in sector set 0 and in set 1: the first ones and the next.
    blocks
        [position] int: region of each position, for means and errors of means; -1: in none.

    Attributes
    ----------
    intensity
        [position, slot, pixel] float32: patterns divided by their mean.
    counts
        [position, slot] float32: that mean.
    good
        [position, slot] bool.
    time
        [position, slot] int64, ns.
    g_sum, weight, pairs
        [position, 3, delay] float64, [position, delay] float64, [position, delay] int32:
        sums of w (G - 1) for the whole annulus and both sector sets, of w^2, and the number of
        pairs; w is the overlap of the places seen (see `add`).
    delay_sum, delay_pairs
        [delay] int64: sum of delays in ns, and number of pairs.
    """

    def __init__(
        self,
        positions: int,
        scans: int,
        pixels: int,
        sets: tuple[int, int],
        blocks: npt.NDArray[np.int64] | None = None,
    ) -> None:
        self.scans, self.sets = scans, sets
        self.blocks = np.full(positions, -1, np.int64) if blocks is None else blocks
        self.table = delay_bins(2 * scans)
        count = bin_count(2 * scans)
        # filled, so that the system gives the pages now and not one by one between two scans
        self.intensity = np.empty((positions, scans, pixels), np.float32)
        self.intensity.fill(0)
        self.set_mean = np.zeros((positions, scans, 2), np.float32)
        self.counts = np.zeros((positions, scans), np.float32)
        self.good = np.zeros((positions, scans), np.bool_)
        self.time = np.zeros((positions, scans), np.int64)
        self.g_sum = np.zeros((positions, SETS, count))
        self.weight = np.zeros((positions, count))
        self.pairs = np.zeros((positions, count), np.int32)
        self.delay_sum = np.zeros(count, np.int64)
        self.delay_pairs = np.zeros(count, np.int64)
        self.residual = np.zeros((scans, 2))
        self.taken = 0
        """Scans taken so far."""
        self.period = 0
        """ns between scans, the unit of the grid of delays; 0 until two scans are there."""

    @staticmethod
    def memory(positions: int, scans: int, pixels: int) -> int:
        """Return the bytes needed: positions (scans (4 pixels + 21) + 44 delays)."""
        return positions * (scans * (4 * pixels + 21) + 44 * bin_count(2 * scans))

    @property
    def slots(self) -> npt.NDArray[np.int64]:
        """Slots of the scans kept, the oldest first."""
        kept = min(self.taken, self.scans)
        return np.arange(self.taken - kept, self.taken) % self.scans

    def add(
        self,
        patterns: npt.NDArray[np.float64],
        usable: npt.NDArray[np.bool_],
        times: npt.NDArray[np.int64],
        source: npt.NDArray[np.int64],
        static: npt.NDArray[np.float64],
        residual: tuple[float, float] = (0.0, 0.0),
        overlap_rate: float = 0.0,
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        """Take a scan and correlate it with those kept.

        Parameters
        ----------
        patterns, usable, times
            [record, pixel], [record], [record] of the scan as it was taken.
        source
            [position] the record that shows it, -1 where none does.
        static
            [pixel] the static pattern that patterns are divided by.
        residual
            nm, (y, x): how far the places seen are from the positions.
        overlap_rate
            1/nm^2: two places at a distance d share exp(-rate d^2) of their correlation. What
            differing residuals take away is put back: g = sum w (G - 1) / sum w^2.

        Returns
        -------
        sums, pairs
            [block, scan kept before this one] of G - 1 over the positions of each block.
        """
        earlier = self.slots
        if len(earlier) == self.scans:
            earlier = earlier[1:]
        slot = self.taken % self.scans
        _place(
            patterns, usable, times, source, 1.0 / static, *self.sets,
            slot, self.intensity, self.set_mean, self.counts, self.good, self.time,
        )  # fmt: skip
        self.residual[slot] = residual
        self.taken += 1
        if self.period == 0 and len(earlier):
            self._find_period(slot, earlier)
        apart = np.sum((self.residual[earlier] - self.residual[slot]) ** 2, axis=1)
        blocks = int(self.blocks.max(initial=-1)) + 1
        sums, pairs = np.zeros((blocks, len(earlier))), np.zeros((blocks, len(earlier)), np.int64)
        if self.period:
            _correlate(
                self.intensity, self.set_mean, self.good, self.time, slot, earlier,
                np.exp(-overlap_rate * apart), *self.sets, self.period, self.table, self.blocks,
                self.g_sum, self.weight, self.pairs, self.delay_sum, self.delay_pairs, sums, pairs,
            )  # fmt: skip
        return sums, pairs

    def divide(self, static: npt.NDArray[np.float64]) -> None:
        """Divide what is kept by a further static pattern [pixel]; `again` then correlates anew."""
        _divide(self.intensity, self.set_mean, self.counts, self.good, 1.0 / static, *self.sets)

    def again(self, overlap_rate: float) -> list[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
        """Correlate all scans kept anew; return for each what `add` returned."""
        for array in (self.g_sum, self.weight, self.pairs, self.delay_sum, self.delay_pairs):
            array[...] = 0
        slots, found = self.slots, []
        blocks = int(self.blocks.max(initial=-1)) + 1
        for at, slot in enumerate(slots.tolist()):
            earlier = slots[:at]
            apart = np.sum((self.residual[earlier] - self.residual[slot]) ** 2, axis=1)
            sums, pairs = np.zeros((blocks, at)), np.zeros((blocks, at), np.int64)
            if self.period and at:
                _correlate(
                    self.intensity, self.set_mean, self.good, self.time, slot, earlier,
                    np.exp(-overlap_rate * apart), *self.sets, self.period, self.table, self.blocks,
                    self.g_sum, self.weight, self.pairs, self.delay_sum, self.delay_pairs,
                    sums, pairs,
                )  # fmt: skip
            found.append((sums, pairs))
        return found

    def correlations(self) -> npt.NDArray[np.float64]:
        """Return g - 1, [position, 3, delay]; NaN where there is no pair."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self.g_sum / self.weight[:, None, :])

    def delays(self) -> npt.NDArray[np.float64]:
        """Return the mean delay of each bin, s; NaN where there is none."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self.delay_sum / self.delay_pairs * 1e-9)

    def mean_intensity(self) -> npt.NDArray[np.float64]:
        """Return the mean of ``counts`` over the scans kept, [position]; 0 where none is good."""
        return np.asarray(
            np.where(self.good, self.counts, 0).sum(axis=1, dtype=np.float64)
            / np.maximum(1, self.good.sum(axis=1))
        )

    def _find_period(self, slot: int, earlier: npt.NDArray[np.int64]) -> None:
        # where every second pattern is lost, no position is seen twice in scans that follow on
        # each other: the newest scan with which there is one in common tells
        for back, before in enumerate(earlier[::-1].tolist(), start=1):
            both = self.good[:, slot] & self.good[:, before]
            if both.any():
                apart = np.median(self.time[both, slot] - self.time[both, before])
                self.period = max(1, int(apart) // back)
                return


# "reassoc" lets sums use vector lanes; the code, so the order, is the same for every pattern
_FAST = {"reassoc", "nsz", "contract"}


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def _weighted_sum(values, weight):  # type: ignore[no-untyped-def]
    total = 0.0
    for i in range(len(values)):
        total += values[i] * weight[i]
    return total


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def _mean(values):  # type: ignore[no-untyped-def]
    total = 0.0
    for i in range(len(values)):
        total += np.float64(values[i])
    return total / max(1, len(values))


@numba.njit(cache=True, nogil=True)
def _place(  # type: ignore[no-untyped-def]
    patterns, usable, times, source, inverse, n0, n1,
    slot, intensity, set_mean, counts, good, time,
):  # fmt: skip
    pixels = patterns.shape[1]
    for p in range(len(source)):
        record = source[p]
        good[p, slot] = False
        if record < 0 or not usable[record]:
            continue
        pattern = patterns[record]
        mean = _weighted_sum(pattern, inverse) / pixels
        if not (mean > 0 and mean < np.inf):
            continue
        row = intensity[p, slot]
        scale = 1.0 / mean
        for i in range(pixels):
            row[i] = pattern[i] * inverse[i] * scale
        first, second = _mean(row[:n0]), _mean(row[n0 : n0 + n1])
        # a set without a count, in the vacuum: nothing to divide by
        if min(n0, n1) > 0 and not (first > 0 and second > 0):
            continue
        set_mean[p, slot, 0], set_mean[p, slot, 1] = first, second
        counts[p, slot] = mean
        time[p, slot] = times[record]
        good[p, slot] = True


@numba.njit(cache=True, nogil=True)
def _divide(intensity, set_mean, counts, good, inverse, n0, n1):  # type: ignore[no-untyped-def]
    positions, slots, pixels = intensity.shape
    for p in range(positions):
        for slot in range(slots):
            if not good[p, slot]:
                continue
            row = intensity[p, slot]
            mean = _weighted_sum(row, inverse) / pixels
            scale = 1.0 / mean
            for i in range(pixels):
                row[i] = row[i] * inverse[i] * scale
            counts[p, slot] *= mean
            set_mean[p, slot, 0] = _mean(row[:n0])
            set_mean[p, slot, 1] = _mean(row[n0 : n0 + n1])


# The sum of a row's products is in float32, in the same order for every pair: within 1e-6.
@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def _dot(a, b):  # type: ignore[no-untyped-def]
    total = np.float32(0)
    for i in range(len(a)):
        total += a[i] * b[i]
    return total


@numba.njit(cache=True, nogil=True)
def _correlate(  # type: ignore[no-untyped-def]
    intensity, set_mean, good, time, slot, earlier, overlap, n0, n1, period, table, blocks,
    g_sum, weight, pairs, delay_sum, delay_pairs, sums, counts,
):  # fmt: skip
    pixels = intensity.shape[2]
    both = n0 + n1
    for p in range(len(good)):
        if not good[p, slot]:
            continue
        now = intensity[p, slot]
        block = blocks[p]
        for k in range(len(earlier)):
            other = earlier[k]
            if not good[p, other]:
                continue
            then = intensity[p, other]
            dot0 = np.float64(_dot(now[:n0], then[:n0]))
            dot1 = np.float64(_dot(now[n0:both], then[n0:both]))
            rest = np.float64(_dot(now[both:], then[both:]))
            excess = (dot0 + dot1 + rest) / pixels - 1.0
            if block >= 0:
                sums[block, k] += excess / overlap[k]
                counts[block, k] += 1
            delay = time[p, slot] - time[p, other]
            periods = (delay + period // 2) // period
            if periods < 1 or periods >= len(table):
                continue
            at = table[periods]
            w = overlap[k]
            g_sum[p, 0, at] += w * excess
            if n0 > 0 and n1 > 0:
                mean = np.float64(set_mean[p, slot, 0]) * set_mean[p, other, 0]
                g_sum[p, 1, at] += w * (dot0 / n0 / mean - 1.0)
                mean = np.float64(set_mean[p, slot, 1]) * set_mean[p, other, 1]
                g_sum[p, 2, at] += w * (dot1 / n1 / mean - 1.0)
            weight[p, at] += w * w
            pairs[p, at] += 1
            delay_sum[at] += delay
            delay_pairs[at] += 1
