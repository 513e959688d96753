"""Correlation functions: g2 over delay, the two-time matrix, and tau against waiting time."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

import daq
from daq_stem.views.positions import bands_of, joined, number, with_error


class CorrelationFunction(daq.View):
    """The mean g2 over positions with its fit, and below what the fit leaves, in standard errors."""

    name = "mean g\u2082"
    rank = 16
    records = 1

    @classmethod
    def can_draw(cls, stream: daq.Stream) -> bool:
        """Tell whether these are mean correlation functions with their fit."""
        return {"g2", "g2_errors", "fit", "delay_difference"} <= set(stream.fields)

    def widget(self, stream: daq.Stream) -> Any:
        """Return two plots that share the axis of delays."""
        self._band, self._batch = 0, None
        figure = self._figure = self.figure()
        figure.choice(bands_of(stream, stream.fields["g2"].shape[0]), self._choose)
        self._colours = figure.colours.curves
        self._plot = figure.plot(
            (), ("correlation g\u2082", "g\u2082"),
            logarithmic="x", share=3,
        )  # fmt: skip
        self._residuals = figure.plot(
            ("delay (s)",),
            ("residual (\u03c3)", "res. (\u03c3)", "\u03c3"),
            logarithmic="x",
            above=self._plot,
        )
        self._residuals.level("zero", 0.0)
        points = (self._colours[0], "mean over positions")
        figure.key(
            [points, (self._colours[1], "KWW fit: a spread of \u03c4 looks stretched")],
            [(self._colours[1], "fit to the mean: a spread of \u03c4 looks stretched")],
            [(self._colours[1], "fit: spread of \u03c4 looks stretched")],
        )
        return figure

    def update(self, batch: daq.Batch) -> None:
        """Draw the newest correlation function."""
        self._batch = batch
        self._draw(batch)

    def _choose(self, band: int) -> None:
        self._band = band
        if self._batch is not None:
            self._draw(self._batch)

    def _draw(self, batch: daq.Batch) -> None:
        band = self._band
        delay = batch["delay_difference"][-1]
        g2, errors, fit = (batch[name][-1, band] for name in ("g2", "g2_errors", "fit"))
        used = np.flatnonzero(np.isfinite(delay) & (delay > 0) & np.isfinite(g2))
        used = used[np.argsort(delay[used], kind="stable")]
        delay, g2, errors, fit = delay[used], g2[used], errors[used], fit[used]
        self._plot.points("g2", delay, g2, errors, self._colours[0], size=4)
        self._plot.curve("fit", delay, fit, self._colours[1], width=2)
        with np.errstate(divide="ignore", invalid="ignore"):
            residual = np.where(errors > 0, (g2 - fit) / errors, np.nan)
        self._residuals.points("residuals", delay, residual, None, self._colours[0], size=4)
        scan = f"scan {batch.indices[-1]}"
        if not len(used):
            self._figure.say(joined([scan, "no delays yet"]))
            return
        if not np.isfinite(batch["tau"][-1, band]):
            self._figure.say(joined([scan, "no fit yet"]))
            return
        tau, gamma, beta = (
            number(float(batch[name][-1, band])) for name in ("tau", "gamma", "beta")
        )
        long = f"\u03c4 {tau} s \u00b7 \u03b3 {gamma} \u00b7 \u03b2 {beta}"
        self._figure.say(joined([scan, long]), long)


class TwoTime(daq.View):
    """The two-time matrix: correlation of each scan with each one before it."""

    name = "two-time correlation"
    rank = 150
    records = 1024

    @classmethod
    def can_draw(cls, stream: daq.Stream) -> bool:
        """Tell whether these are rows of two-time matrices."""
        return {"two_time", "age"} <= set(stream.fields)

    def widget(self, stream: daq.Stream) -> Any:
        """Return the matrix, and a choice of the band where there are several."""
        self._band, self._batch = 0, None
        self._figure = self.figure()
        self._figure.choice(bands_of(stream, stream.fields["two_time"].shape[0]), self._choose)
        self._area = self._figure.picture()
        self._area.set_map("viridis")
        self._area.label_bar("two-time correlation G", "G")
        return self._figure

    def update(self, batch: daq.Batch) -> None:
        """Draw the rows so far, mirrored."""
        self._batch = batch
        self._draw(batch)

    def _choose(self, band: int) -> None:
        self._band = band
        if self._batch is not None:
            self._draw(self._batch)

    def _draw(self, batch: daq.Batch) -> None:
        there = batch.valid
        scan = batch.indices[there]
        rows, ages = batch["two_time"][there, self._band], batch["age"][there]
        matrix = two_time_matrix(scan, rows, ages)
        low, high, label = _scan_times(scan, batch.time[there])
        self._area.frame((label, low, high), (label, low, high))
        self._area.show(matrix, percentiles=(1, 99.5))
        count = f"{len(scan)} scan{'s' * (len(scan) != 1)}"
        self._figure.say(f"{count}, the later one downwards", count)


def two_time_matrix(
    scan: npt.NDArray[np.int64],
    rows: npt.NDArray[np.float64],
    ages: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """Return the symmetric matrix G from the first of some scans to the last, NaN where unknown.

    Parameters
    ----------
    scan
        Number of the scan of each record, ascending.
    rows, ages
        [record, scan kept before it, the oldest first]: G, and the age of those scans, NaN beyond
        the last of them. The last one is the record before, the one ahead of it the record before that.
    """
    place = scan - scan[0]
    matrix = np.full((int(place[-1]) + 1,) * 2, np.nan)
    for at in range(1, len(scan)):
        known = np.flatnonzero(np.isfinite(ages[at]))
        used = int(known[-1]) + 1 if len(known) else 0
        count = min(used, at)
        if count:
            matrix[place[at], place[at - count : at]] = rows[at, used - count : used]
    return np.where(np.isnan(matrix), matrix.T, matrix)


def _scan_times(
    scan: npt.NDArray[np.int64], time: npt.NDArray[np.int64]
) -> tuple[float, float, str]:
    """Return the edges and the label of the axes: time where scans followed on evenly, else scans."""
    first, last = int(scan[0]), int(scan[-1])
    seconds = (time - time[0]) / 1e9
    if last > first and seconds[-1] > 0:
        period = seconds[-1] / (last - first)
        if np.abs(seconds - (scan - first) * period).max() < period / 2:
            return (first - 0.5) * period, (last + 0.5) * period, "time (s)"
    return first - 0.5, last + 0.5, "scan number"


class Ageing(daq.View):
    """Tau against waiting time: a glass that ages slows down."""

    name = "ageing"
    rank = 40
    records = 1

    @classmethod
    def can_draw(cls, stream: daq.Stream) -> bool:
        """Tell whether this is tau [band, window] against waiting time."""
        return {"waiting_time", "tau", "tau_errors"} <= set(stream.fields)

    def widget(self, stream: daq.Stream) -> Any:
        """Return the plot."""
        figure = self._figure = self.figure()
        self._bands = bands_of(stream, stream.fields["tau"].shape[0])
        self._colours = figure.colours.curves
        self._plot = figure.plot(
            ("waiting time (s)",), ("relaxation time \u03c4 (s)", "\u03c4 (s)"), logarithmic="y"
        )
        if len(self._bands) > 1:
            key = [(self._colours[n % len(self._colours)], b) for n, b in enumerate(self._bands)]
            figure.key(key, key[:2])
        return figure

    def update(self, batch: daq.Batch) -> None:
        """Draw the newest tau of each window."""
        waiting = batch["waiting_time"][-1]
        tau, errors = batch["tau"][-1], batch["tau_errors"][-1]
        for band in range(len(self._bands)):
            colour = self._colours[band % len(self._colours)]
            self._plot.curve(f"line {band}", waiting, tau[band], colour, width=1)
            self._plot.points(f"tau {band}", waiting, tau[band], errors[band], colour)
        known = np.flatnonzero(np.isfinite(waiting) & np.isfinite(tau[0]))
        if not len(known):
            self._figure.say("no window yet")
            return
        last = int(known[np.argmax(waiting[known])])
        said = f"\u03c4 {with_error(tau[0, last], errors[0, last])} s"
        self._figure.say(f"{said} after {number(waiting[last])} s", said)
