"""Contact resonance: the map of the frequency, its length, curves, and the classes of the modulus."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

import daq
from daq_afm.views.correlation import fit_in_words
from daq_afm.views.line_image import LINES, LineImages, ScanFrame, is_line_stream
from daq_afm.views.wording import configured, newest, number, percent, shorter, where

CLASSES: Final = ("#46327e", "#1fa187", "#fde725")
"""Compliant, intermediate, stiff: places of viridis."""
NAMES: Final = ("compliant", "intermediate", "stiff")
NO_CLASS: Final = 255


class FrequencyMap(daq.View):
    """The map of the contact resonance, line by line, with the line of the profile."""

    name = "frequency"
    rank = 10
    records = LINES

    @classmethod
    def can_draw(cls, stream: daq.Stream) -> bool:
        """Tell whether these are lines of `contact_resonance`."""
        return is_line_stream(stream) and {"frequency", "flag", "failed"} <= set(stream.fields)

    def widget(self, stream: daq.Stream) -> Any:
        """Return the picture, and a choice of what is drawn."""
        self._figure = self.figure()
        self._stream = stream
        there = ("frequency", "quality_factor", "modulus", "loss_tangent", "amplitude", "phase")
        self._names = [name for name in there if name in stream.fields]
        self._chosen = 0
        self._figure.choice([name.replace("_", " ") for name in self._names], self._choose)
        self._images = LineImages(stream, self._names)
        self._frame = ScanFrame(stream)
        self._area = self._figure.picture()
        self._frame.put_on(self._area)
        self._said: list[str] = []
        self._mark_profile()
        return self._figure

    def update(self, batch: daq.Batch) -> None:
        """Draw the newest lines."""
        self._images.take(batch)
        if (at := newest(batch)) is not None:
            self._said = where(batch, at)
        self._draw()

    def _choose(self, number: int) -> None:
        self._chosen = number
        self._draw()

    def _draw(self) -> None:
        name, images = self._names[self._chosen], self._images
        image = images.image(name)
        if image is None or images.row is None:
            return
        field = self._stream.fields[name]
        scale, units = (1e-3, "kHz") if field.units == "Hz" else (1.0, field.units)
        words = field.long_name or name.replace("_", " ")
        self._area.label_bar(*(f"{w} ({units})" if units else w for w in (words, name.replace("_", " "))), units or name)  # fmt: skip
        self._area.show(image * np.float32(scale), percentiles=(0.5, 99.5))
        done = images.done
        self._area.scanned(None if done == 1 else float(self._frame.y(images.row)))
        lost = np.count_nonzero(~np.isfinite(image[images.came]))
        parts = [*self._said, "" if done == 1 else percent(done)]
        if lost:
            parts.append(f"{percent(lost / max(1, image[images.came].size))} without a value")
        self._figure.say(*shorter(parts))

    def _mark_profile(self) -> None:
        """Draw where the profile is taken: along the middle row where nothing else was asked for."""
        start, stop = (configured(self._stream, f"profile_{end}") for end in ("from", "to"))
        if start is None or stop is None:
            y = float(self._frame.y((self._frame.rows - 1) // 2))
            ends = ([0.0, float(self._frame.x(self._frame.columns - 1))], [y, y])
        else:
            (y0, x0), (y1, x1) = (self._frame.nm(end) for end in (start, stop))
            ends = ([x0, x1], [y0, y1])
        self._area.line("profile", *ends, "#ffffff", width=1.0, dashed=True)


class ResonanceLength(daq.View):
    """The structure function of the frequency, its fit, and the characteristic length."""

    name = "length"
    rank = 12
    records = 1

    @classmethod
    def can_draw(cls, stream: daq.Stream) -> bool:
        """Tell whether this is a structure function with its length in one."""
        wanted = {"structure_function", "curve", "correlation_length", "size_over_length"}
        return wanted <= set(stream.fields)

    def widget(self, stream: daq.Stream) -> Any:
        """Return the plot."""
        figure = self._figure = self.figure()
        self._lag = np.asarray(stream.constants["lag"], np.float64)
        self._least = configured(stream, "least_size")
        self._colours = figure.colours.curves
        self._plot = figure.plot(
            ("lag r (nm)", "r (nm)"),
            ("mean squared difference P(r) (kHz\u00b2)", "P(r) (kHz\u00b2)"),
        )
        figure.key(
            [(self._colours[0], "P(r)"), (self._colours[1], "fit"), (self._colours[2], "\u03be")]
        )
        return figure

    def update(self, batch: daq.Batch) -> None:
        """Draw the newest image that has ended."""
        if (at := newest(batch)) is None:
            return
        P, curve = batch["structure_function"][at] * 1e-6, batch["curve"][at] * 1e-6
        self._plot.points("P", self._lag, P, None, self._colours[0], size=4)
        self._plot.curve("fit", self._lag, curve, self._colours[1], width=2)
        length = float(batch["correlation_length"][at])
        if np.isfinite(length) and length <= self._lag[-1]:
            height = float(np.interp(length, self._lag, curve))
            self._plot.curve("length", [length] * 2, [0.0, height], self._colours[2], dashed=True)
        else:
            self._plot.drop("length")
        known = P[np.isfinite(P)]
        if known.size:
            self._plot.range((0.0, float(self._lag[-1])), (0.0, 1.1 * float(known.max())))
        said = fit_in_words(batch, at, " Hz", self._least)
        self._figure.say(*shorter([*said, *where(batch, at)]))


class ModulusClasses(daq.View):
    """Where the sample is compliant, intermediate and stiff, and the shares of the area."""

    name = "classes"
    rank = 13
    records = LINES

    @classmethod
    def can_draw(cls, stream: daq.Stream) -> bool:
        """Tell whether these are lines of classes."""
        return is_line_stream(stream) and {"class", "centres", "fractions"} <= set(stream.fields)

    @classmethod
    def beside(cls, stream: daq.Stream) -> Sequence[str]:
        """Return the maps of whole images: lines have the classes of when they came."""
        return (f"{stream.name.rpartition('.')[0]}.maps",)

    def widget(self, stream: daq.Stream) -> Any:
        """Return the picture."""
        self._figure = self.figure()
        self._units = stream.fields["centres"].units
        self._channel = str(stream.attributes.get("channel", "modulus")).replace("_", " ")
        self._images = LineImages(stream, ["class"])
        self._frame = ScanFrame(stream)
        self._area = self._figure.picture()
        self._frame.put_on(self._area)
        self._area.show(np.full((self._frame.rows, self._frame.columns), np.nan, np.float32))
        self._whole: dict[int, npt.NDArray[np.uint8]] = {}
        return self._figure

    def update(self, batch: daq.Batch) -> None:
        """Draw the newest lines, or the whole image."""
        if (at := newest(batch)) is None:
            return
        scan = int(batch["scan"][at])
        if batch["class"].ndim == 3:
            self._whole = {scan: np.array(batch["class"][at])}
            if scan == self._images.scan or self._images.scan is None:
                self._draw(self._whole[scan], batch, at)
            return
        self._images.take(batch)
        lines = self._images.image("class")
        if lines is None or self._images.row is None:
            return
        done = self._images.done
        self._area.scanned(None if done == 1 else float(self._frame.y(self._images.row)))
        if scan in self._whole:
            return
        classes = np.where(np.isfinite(lines), lines, NO_CLASS).astype(np.uint8)
        self._draw(classes, batch, at)

    def _draw(self, classes: npt.NDArray[np.uint8], batch: daq.Batch, at: int) -> None:
        centres, fractions = batch["centres"][at], batch["fractions"][at]
        colours = colours_of(len(centres))
        picture = np.zeros((*classes.shape, 4), np.uint8)
        for n, colour in enumerate(colours):
            picture[classes == n] = [*bytes.fromhex(colour[1:]), 255]
        self._area.overlay("classes", picture)
        units = f" {self._units}" if self._units else ""
        named = NAMES if len(centres) == 3 else [f"class {n + 1}" for n in range(len(centres))]
        areas = [percent(float(share)) for share in fractions]
        values = [f"{centre}{units}" for centre in distinct(centres)]
        pairs = [f"{value}: {area}" for value, area in zip(values, areas, strict=True)]
        whole = [f"{name} {pair}" for name, pair in zip(named, pairs, strict=True)]
        versions = [list(zip(colours, words, strict=True)) for words in (whole, pairs, areas)]
        self._figure.key(*versions)
        explained = float(batch["explained"][at])
        share = f"{percent(explained)} of the variance" if np.isfinite(explained) else ""
        self._figure.say(*shorter([f"classes of the {self._channel}", share, *where(batch, at)]))


class Curves(daq.View):
    """The resonance curves of the newest line: magnitude over position and frequency."""

    name = "resonance curves"
    rank = 44
    records = 1

    @classmethod
    def can_draw(cls, stream: daq.Stream) -> bool:
        """Tell whether each pixel of a line has a resonance curve."""
        return "sweep_frequency" in stream.constants and bool(parts_of(stream))

    def widget(self, stream: daq.Stream) -> Any:
        """Return the picture."""
        self._figure = self.figure()
        self._parts = parts_of(stream)
        self._frame = ScanFrame(stream)
        f = np.asarray(stream.constants["sweep_frequency"], np.float64) / 1e3
        half = (f[-1] - f[0]) / (len(f) - 1) / 2
        dx = self._frame.dx * self._frame.factor
        self._area = self._figure.picture()
        self._area.frame(
            (f"x ({self._frame.units})", -dx / 2, (self._frame.columns - 0.5) * dx),
            ("frequency (kHz)", f[0] - half, f[-1] + half), square=False, upwards=True,
        )  # fmt: skip
        self._area.set_map("inferno")
        units = stream.fields[self._parts[0]].units
        self._area.label_bar(f"magnitude of the response ({units})", f"response ({units})")
        return self._figure

    def update(self, batch: daq.Batch) -> None:
        """Draw the newest line."""
        if (at := newest(batch)) is None or any(name not in batch.raw for name in self._parts):
            return
        values = [batch[name][at].astype(np.float64) for name in self._parts]
        magnitude = values[0] if len(values) == 1 else np.hypot(*values)
        self._area.show(magnitude.T, percentiles=(0.5, 99.8))
        row = [f"row {int(batch['line'][at])}"] if "line" in batch.raw else []
        self._figure.say(*shorter(["newest line", *where(batch, at), *row]))


def parts_of(stream: daq.Stream) -> list[str]:
    """Return the fields that the magnitude of the resonance curves follows from."""
    for names in (["response_real", "response_imag"], ["response_amplitude"]):
        if all(len(getattr(stream.fields.get(name), "shape", ())) == 2 for name in names):
            return names
    return []


def distinct(values: npt.NDArray[np.float64]) -> list[str]:
    """Return numbers in order with as many digits as tell them apart, three significant at least."""
    least = [float(np.abs(v)) / 10 for v in values if v]
    apart = [*(float(d) for d in np.abs(np.diff(values)) if d > 0), *least, 1.0]
    if not np.isfinite(apart).all():
        return [number(float(value)) for value in values]
    decimals = max(0, 1 - int(np.floor(np.log10(min(apart)))))
    return [f"{value:.{min(decimals, 9)}f}".replace("-", "\u2212") for value in values.tolist()]


def colours_of(count: int) -> list[str]:
    """Return colours of classes, from the lowest to the highest."""
    if count == len(CLASSES):
        return list(CLASSES)
    import pyqtgraph as pg

    return [str(c.name()) for c in pg.colormap.get("viridis").getColors(mode="qcolor")[:: 256 // count]][:count]  # fmt: skip


VIEWS: Sequence[type[daq.View]] = (FrequencyMap, ResonanceLength, ModulusClasses, Curves)
