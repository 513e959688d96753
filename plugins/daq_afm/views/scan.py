"""Channels side by side while they are scanned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

import daq
from daq_afm.phase_histogram import fit_gaussian
from daq_afm.views.line_image import LINES, LineImages, ScanFrame, channels_of, is_line_stream
from daq_afm.views.wording import joined, percent, shorter, where

ORDER: Final = ("height", "phase", "amplitude", "frequency", "quality_factor")
"""Channels that are drawn first, in this order."""
COLOURS: Final = {
    "height": "inferno", "phase": "viridis", "amplitude": "cividis", "frequency": "viridis",
    "quality_factor": "magma",
}  # fmt: skip
BINS: Final = 128
SPREAD: Final = 3.0
"""Standard deviations on either side of the Gaussian that the colours of a phase cover (Zhu2016)."""
MOST_OUTSIDE: Final = 0.1
"""Part of the pixels beyond those colours from which the Gaussian is not that of the image."""
REFRESHED: Final = 1 / 16
"""Part of an image after which colour ranges are computed anew."""


class Channels(daq.View):
    """Some channels of a stream of scan lines, the newest scan, with the line that is scanned marked.

    Heights that were not levelled are drawn without tilt and offsets of rows, and say so: for the
    eye alone, no number rests on it. The colours of a phase follow from the Gaussian of its histogram
    where that describes it, those of others from percentiles.
    """

    records = LINES
    most: ClassVar[int] = 3

    @classmethod
    def drawn(cls, stream: daq.Stream) -> list[str]:
        """Return the channels that are drawn."""
        there = [name for name in channels_of(stream) if not name.endswith("_retrace")]
        first = [name for name in ORDER if name in there]
        return [*first, *(name for name in there if name not in first)][: cls.most]

    def widget(self, stream: daq.Stream) -> Any:
        """Return the pictures, side by side."""
        figure = self._figure = self.figure()
        self._fields = stream.fields
        self._names = self.drawn(stream)
        self._images = LineImages(stream, self._names)
        self._frame = ScanFrame(stream)
        done = stream.attributes.get("levelling")
        known = done if isinstance(done, dict) else {}
        self._flatten = {
            name: name.removesuffix("_retrace") == "height" and known.get(name) in (None, "none")
            for name in self._names
        }
        self._levelling = ["height drawn without tilt and medians of rows"]
        if not any(self._flatten.values()):
            done_to = [known[name] for name in self._names if known.get(name) not in (None, "none")]
            self._levelling = [f"levelled: {method}" for method in done_to[:1]]
        self._areas: list[Any] = []
        for name in self._names:
            area = figure.picture(*self._areas[:1])
            self._frame.put_on(area)
            area.set_map(COLOURS.get(name.removesuffix("_retrace"), "viridis"))
            area.label_bar(*self._labels(name, known.get(name)))
            self._areas.append(area)
        self._levels: dict[str, tuple[float, float] | None] = {}
        self._looked: tuple[int | None, float] = (None, -1.0)
        return figure

    def update(self, batch: daq.Batch) -> None:
        """Draw the newest lines."""
        images = self._images
        images.take(batch)
        if images.scan is None or images.row is None:
            return
        done = images.done
        scan, before = self._looked
        anew = scan != images.scan or done - before >= REFRESHED or done == 1
        if anew:
            self._looked = (images.scan, done)
        scanned = None if done == 1 else float(self._frame.y(images.row))
        for name, area in zip(self._names, self._areas, strict=True):
            image = images.image(name)
            assert image is not None
            values = flattened(image) if self._flatten[name] else image
            if anew:
                self._levels[name] = colour_range(values, name)
            area.show(values, levels=self._levels[name], percentiles=(0.5, 99.5))
            area.scanned(scanned)
        at = int(np.flatnonzero(batch.valid)[-1])
        state = "" if done == 1 else f"row {images.row} \u00b7 {percent(done)}"
        self._figure.say(*shorter([*where(batch, at), state, *self._levelling]))

    def _labels(self, name: str, method: Any) -> tuple[str, ...]:
        field = self._fields[name]
        units = f" ({field.units})" if field.units and field.units != "1" else ""
        words = name.replace("_", " ")
        said = "tilt and row medians off" if self._flatten[name] else ""
        if method not in (None, "none"):
            said = f"levelled: {method}"
        return (f"{joined(words, said)}{units}", f"{words}{units}", field.units or words)


class ThreeChannels(Channels):
    """Height, phase and amplitude, or the first three channels that there are."""

    name = "scan"
    rank = 5
    wide = 3

    @classmethod
    def can_draw(cls, stream: daq.Stream) -> bool:
        """Tell whether these are lines as an instrument gives them, with three channels or more."""
        return is_raw(stream) and len(cls.drawn(stream)) == 3


class ResonanceChannels(ThreeChannels):
    """Three channels in contact: what is made of them stands before them."""

    name = "scan in contact"
    rank = 45

    @classmethod
    def can_draw(cls, stream: daq.Stream) -> bool:
        """Tell whether one of them is the contact resonance."""
        return super().can_draw(stream) and "frequency" in cls.drawn(stream)


class TwoChannels(Channels):
    """Frequency and quality factor in contact, or both channels that there are."""

    name = "scan of two channels"
    rank = 45
    wide = 2

    @classmethod
    def can_draw(cls, stream: daq.Stream) -> bool:
        """Tell whether these are lines as an instrument gives them, with two channels."""
        return is_raw(stream) and len(cls.drawn(stream)) == 2


class OneChannel(Channels):
    """The only channel that there is."""

    name = "scan of one channel"
    rank = 45

    @classmethod
    def can_draw(cls, stream: daq.Stream) -> bool:
        """Tell whether these are lines as an instrument gives them, with one channel."""
        return is_raw(stream) and len(cls.drawn(stream)) == 1


class Levelled(Channels):
    """The channel that `levelling` has levelled."""

    name = "levelled"
    rank = 60
    most = 1

    @classmethod
    def drawn(cls, stream: daq.Stream) -> list[str]:
        """Return the first channel that was levelled."""
        done = stream.attributes.get("levelling")
        return [name for name in channels_of(stream) if isinstance(done, dict) and name in done][:1]

    @classmethod
    def can_draw(cls, stream: daq.Stream) -> bool:
        """Tell whether these are levelled lines, of an analysis."""
        return "process" in stream.attributes and is_line_stream(stream) and bool(cls.drawn(stream))


def is_raw(stream: daq.Stream) -> bool:
    """Tell whether these are lines that no analysis has made."""
    return "process" not in stream.attributes and is_line_stream(stream)


def flattened(image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return heights [row, column] without tilt along x and the median of each row; NaN stays.

    The tilt is the median difference of neighbours: steps and particles do not turn it.
    """
    steps = np.diff(image, axis=1)
    steps = steps[np.isfinite(steps)]
    tilt = float(np.median(steps)) if steps.size else 0.0
    level = image - np.float32(tilt) * np.arange(image.shape[1], dtype=np.float32)
    rows = np.flatnonzero(np.isfinite(level).any(axis=1))
    if len(rows):
        level[rows] -= np.nanmedian(level[rows], axis=1)[:, np.newaxis]
    return level


def colour_range(values: npt.NDArray[np.floating[Any]], channel: str) -> tuple[float, float] | None:
    """Return the ends of the colours of a channel, None where percentiles say them."""
    if channel.removesuffix("_retrace") != "phase":
        return None
    good = values[np.isfinite(values)]
    if good.size < BINS:
        return None
    low, high = np.percentile(good, (0.1, 99.9))
    if not high > low:
        return None
    counts, edges = np.histogram(good, BINS, (float(low), float(high)))
    _, centre, width = fit_gaussian((edges[1:] + edges[:-1]) / 2, counts.astype(np.int64))
    if not np.isfinite(width):
        return None
    ends = float(centre - SPREAD * width), float(centre + SPREAD * width)
    outside = np.count_nonzero((good < ends[0]) | (good > ends[1])) / good.size
    return ends if outside <= MOST_OUTSIDE else None


VIEWS: Sequence[type[daq.View]] = (
    ResonanceChannels,
    ThreeChannels,
    TwoChannels,
    OneChannel,
    Levelled,
)
