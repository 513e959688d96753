"""The amplitude over its set point: whether the tip is worn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

import daq
from daq_afm.views.wording import newest, shorter, where

MANY: Final = 16384
MINUTES: Final = 300.0
HOURS: Final = 10800.0
"""Seconds from which a time axis is in minutes, and in hours."""


class AmplitudeTrace(daq.View):
    """A/A_0 of each line with its set point, the band below it, and lines in alarm."""

    name = "amplitude"
    rank = 26
    records = MANY

    @classmethod
    def can_draw(cls, stream: daq.Stream) -> bool:
        """Tell whether these are lines of `amplitude_watch`."""
        return {"amplitude_ratio", "lowest", "least", "alarm", "low_lines"} <= set(stream.fields)

    def widget(self, stream: daq.Stream) -> Any:
        """Return the plot."""
        figure = self._figure = self.figure()
        self._set_point = float(stream.attributes.get("set_point", float("nan")))
        self._plot = figure.plot(("time",), ("mean A/A\u2080 of a line", "A/A\u2080"))
        c = figure.colours
        figure.key(
            [(c.curves[0], "line"), (c.muted, "set point"), (c.amber, "end of the band"),
             (c.red, "alarm")],
            [(c.curves[0], "line"), (c.red, "alarm")],
        )  # fmt: skip
        return figure

    def update(self, batch: daq.Batch) -> None:
        """Draw all lines."""
        if (at := newest(batch)) is None:
            return
        c, good = self._figure.colours, np.flatnonzero(batch.valid)
        seconds = (batch.time[good] - batch.time[good[0]]) / 1e9
        span = float(seconds[-1])
        unit, name = (60.0, "min") if span >= MINUTES else (1.0, "s")
        unit, name = (3600.0, "h") if span >= HOURS else (unit, name)
        self._plot.label((f"time ({name})",))
        t, ratio = seconds / unit, batch["amplitude_ratio"][good]
        alarm = batch["alarm"][good] > 0
        self._plot.curve("ratio", t, ratio, c.curves[0])
        self._plot.points("alarm", t[alarm], ratio[alarm], None, c.red, size=4)
        least = float(batch["least"][at])
        self._plot.level("set point", self._set_point)
        self._plot.level("least", least, c.amber)
        known = ratio[np.isfinite(ratio)]
        if known.size:
            shown = np.concatenate([known, [least, self._set_point]])
            shown = shown[np.isfinite(shown)]
            pad = 0.01 + 0.05 * float(np.ptp(shown))
            self._plot.range(None, (float(shown.min()) - pad, float(shown.max()) + pad))
        said = f"A/A\u2080 {ratio[-1]:.3f}, set point {self._set_point:.3f}"
        state = "ALARM: the tip wears" if alarm[-1] else ""
        ever = f"{int(alarm.sum())} lines in alarm" if alarm.any() and not state else ""
        self._figure.say(*shorter([state or said, said if state else "", ever, *where(batch, at)]))


class Alarms(daq.View):
    """When alarms of the amplitude began and ended."""

    name = "alarms of the amplitude"
    rank = 88
    aside = True
    records = 256

    @classmethod
    def can_draw(cls, stream: daq.Stream) -> bool:
        """Tell whether these are alarms."""
        return {"raised", "amplitude_ratio", "set_point"} <= set(stream.fields)

    def widget(self, stream: daq.Stream) -> Any:
        """Return the plot."""
        self._figure = self.figure()
        self._plot = self._figure.plot(("alarm",), ("A/A\u2080",))
        return self._figure

    def update(self, batch: daq.Batch) -> None:
        """Draw all alarms."""
        c = self._figure.colours
        for name, raised, colour in (("raised", True, c.red), ("over", False, c.green)):
            use = batch.valid & ((batch["raised"] > 0) == raised)
            self._plot.points(name, batch.indices[use], batch["amplitude_ratio"][use], None, colour, size=8)  # fmt: skip
        self._figure.key(((c.red, "raised"), (c.green, "over")))


VIEWS: Sequence[type[daq.View]] = (AmplitudeTrace, Alarms)
