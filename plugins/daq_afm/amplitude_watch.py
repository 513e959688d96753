"""Watches the amplitude while the tip taps: too low for long, and it wears."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

import daq
from daq_afm.image_lines import ImageLines, Line, factor, only_stream, record, setting_of

log = logging.getLogger(__name__)


class AmplitudeWatch(daq.Analysis):
    """Warns when A/A_0 stays below the band about the set point.

    A feedback that cannot keep up taps harder than was asked, and wears the tip (Zhu2016 holds
    A/A_0 near 0.85). Takes scan lines with an amplitude. Gives:

    ``lines``
        Each line: ``amplitude_ratio``, mean A/A_0 of its pixels, trace and (where there is one) retrace;
        ``lowest``; ``least``, the lower end of the band; ``below``, part of the pixels below the band; ``low_lines``, how many lines in a row had their mean
        below it; ``alarm``, 1 from the ``lines``-th of them until as many in a row are back.
    ``alarms``
        One record when an alarm begins (``raised`` 1) and one when it ends (0), with ``amplitude_ratio`` of
        that line, and ``set_point``. It is written into the log of the run too.

    Lines without a finite pixel neither raise an alarm nor end one.
    """

    name = "amplitude_watch"

    class Config(daq.Config):
        """What ``[analyses.NAME]`` with ``type = "amplitude_watch"`` may say."""

        amplitude: str = daq.setting("amplitude", "", "channel; its retrace counts too")
        free_amplitude: float | None = daq.setting(
            None, "nm", "A_0; by default what the stream says", gt=0
        )
        amplitude_setpoint: float | None = daq.setting(
            None, "nm", "by default what the stream says", gt=0
        )
        band: float = daq.setting(
            0.05, "", "of A/A_0, below the set point, that is let pass", gt=0, lt=1
        )
        lines: int = daq.setting(3, "", "in a row that raise an alarm, and that end it", ge=1)

    def open(self, streams: Mapping[str, daq.Stream], config: Any) -> Sequence[daq.Stream]:
        """Find channel, A_0 and set point; ValueError without them."""
        stream = only_stream(streams, self.name)
        names = [config.amplitude]
        if f"{config.amplitude}_retrace" in stream.fields:
            names.append(f"{config.amplitude}_retrace")
        self._lines = ImageLines(stream, {n: factor(stream, n, "length") for n in names}, keep=[])
        self._free = setting_of(stream, config, "free_amplitude", "nm")
        if not self._free > 0:
            raise ValueError(f"{stream.name}: a free_amplitude of {self._free:g} nm")
        self._set_point = setting_of(stream, config, "amplitude_setpoint", "nm") / self._free
        if not 0 < self._set_point < 1.5:
            raise ValueError(
                f"{stream.name}: the set point is {self._set_point:.3g} of the free amplitude; "
                "give amplitude_setpoint and free_amplitude in nm"
            )
        self._config, self._name = config, stream.name
        self._low = self._back = 0
        self._alarm = False
        ratio = daq.Field("<f8", (), "", "A/A0")
        self._line_fields = {
            "amplitude_ratio": ratio, "lowest": ratio, "least": ratio,
            "below": daq.Field("<f8", (), "", "part of the pixels below the band"),
            "low_lines": daq.Field("<i4"), "alarm": daq.Field("|u1"), **self._lines.line_fields(),
        }  # fmt: skip
        self._alarm_fields = {
            "raised": daq.Field("|u1"), "amplitude_ratio": ratio, "set_point": ratio,
            **self._lines.line_fields(),
        }  # fmt: skip
        attributes = {"set_point": self._set_point, "free_amplitude": self._free}
        return [
            daq.Stream(
                "lines", self._line_fields, attributes=attributes, expect=stream.expect
            ),
            daq.Stream("alarms", self._alarm_fields, attributes=attributes),
        ]  # fmt: skip

    def process(self, batch: daq.Batch) -> Iterable[daq.Batch]:
        """Look at each line."""
        for item in self._lines.take(batch):
            if isinstance(item, Line):
                yield from self._line(item)

    def reconfigure(self, config: Any) -> None:
        """Change ``band`` and ``lines`` from the next line on; the rest cannot change."""
        for key in ("amplitude", "free_amplitude", "amplitude_setpoint"):
            if getattr(config, key) != getattr(self._config, key):
                raise ValueError(f"{self.name}: {key} cannot change while it runs; start it anew")
        self._config = config

    @classmethod
    def memory(cls, streams: Mapping[str, daq.Stream], config: Any) -> int:
        """Return what one line needs."""
        return 10 * sum(stream.record_bytes for stream in streams.values())

    def _line(self, line: Line) -> Iterable[daq.Batch]:
        u = np.concatenate(list(line.values.values())) / self._free
        u = u[np.isfinite(u)]
        mean = lowest = below = math.nan
        change = None
        least = self._set_point - self._config.band
        if len(u):
            mean, lowest = float(np.mean(u)), float(np.min(u))
            below = np.count_nonzero(u < least) / len(u)
            self._low = self._low + 1 if mean < least else 0
            self._back = self._back + 1 if mean >= least else 0
            if not self._alarm and self._low >= self._config.lines:
                change = self._alarm = True
            elif self._alarm and self._back >= self._config.lines:
                change = self._alarm = False
        where = self._lines.line_values(line)
        yield record(
            "lines", line.time, self._line_fields, amplitude_ratio=mean, lowest=lowest, least=least, below=below,
            low_lines=self._low, alarm=self._alarm, **where,
        )  # fmt: skip
        if change is None:
            return
        if change:
            log.warning(
                "%s: A/A0 is %.3f for %d lines, the set point %.3f: the tip wears; scan more "
                "slowly, raise the gain, or approach anew",
                self._name, mean, self._config.lines, self._set_point,
            )  # fmt: skip
        else:
            log.info("%s: A/A0 is %.3f again", self._name, mean)
        yield record(
            "alarms", line.time, self._alarm_fields, raised=change, amplitude_ratio=mean,
            set_point=self._set_point, **where,
        )  # fmt: skip
