"""Dissipated energy: its map while it is scanned, the regions of the highest, and their sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

import daq
from daq_afm.dissipation_mechanism import LAWS
from daq_afm.views.line_image import (
    LINES,
    LineImages,
    ScanFrame,
    is_line_stream,
    outlines,
)
from daq_afm.views.wording import (
    inputs_of,
    joined,
    newest,
    number,
    percent,
    shorter,
    where,
    with_error,
)

Floats = npt.NDArray[np.float64]

OUTLINE: Final = "#ffffff"
MANY: Final = 16384
ENERGY: Final = ("energy lost per cycle (eV)", "E (eV)")


class EnergyMap(daq.View):
    """The map of the energy lost per cycle, line by line."""

    name = "energy map"
    rank = 10
    records = LINES

    @classmethod
    def can_draw(cls, stream: daq.Stream) -> bool:
        """Tell whether these are lines of energies."""
        return is_line_stream(stream) and "dissipated_energy" in stream.fields

    def widget(self, stream: daq.Stream) -> Any:
        """Return the picture."""
        self._figure = self.figure()
        self._images = LineImages(stream, ["dissipated_energy"])
        self._frame = ScanFrame(stream)
        self._area = self._figure.picture()
        self._frame.put_on(self._area)
        self._area.set_map("plasma")
        self._area.label_bar(*ENERGY)
        return self._figure

    def update(self, batch: daq.Batch) -> None:
        """Draw the newest lines."""
        images = self._images
        images.take(batch)
        image = images.image("dissipated_energy")
        at = newest(batch)
        if image is None or at is None or images.row is None:
            return
        self._area.show(image, percentiles=(0.5, 99.5))
        done = images.done
        self._area.scanned(None if done == 1 else float(self._frame.y(images.row)))
        known = image[np.isfinite(image)]
        mean = f"mean {number(float(known.mean(dtype=np.float64)))} eV" if known.size else ""
        state = "" if done == 1 else percent(done)
        self._figure.say(*shorter([mean, *where(batch, at), state]))


class Regions(daq.View):
    """The newest whole image with the outlines of its regions, and what they are like."""

    name = "regions"
    rank = 12
    records = LINES

    @classmethod
    def can_draw(cls, stream: daq.Stream) -> bool:
        """Tell whether these are maps of regions."""
        field = stream.fields.get("cluster")
        return field is not None and len(field.shape) == 2

    @classmethod
    def beside(cls, stream: daq.Stream) -> Sequence[str]:
        """Return the summary, and the lines that were cut."""
        return (f"{stream.name.rpartition('.')[0]}.summary", *inputs_of(stream)[:1])

    def widget(self, stream: daq.Stream) -> Any:
        """Return the picture."""
        self._figure = self.figure()
        self._stream = stream
        self._channel = str(stream.attributes.get("channel", "dissipated_energy"))
        self._frame = ScanFrame.of_map(stream, "cluster")
        self._images: LineImages | None = None
        self._labels: npt.NDArray[np.int32] | None = None
        self._scan = -1
        self._area = self._figure.picture()
        self._frame.put_on(self._area)
        self._area.set_map("plasma")
        return self._figure

    def update(self, batch: daq.Batch) -> None:
        """Take lines and regions, or say what the newest summary says."""
        at = newest(batch)
        if at is None:
            return
        if batch.stream == self._stream.name:
            self._labels, self._scan = batch["cluster"][at], int(batch["scan"][at])
        elif "mean_radius" in batch.raw:
            self._say(batch)
            return
        elif self._channel in batch.raw and "line" in batch.raw:
            if self._images is None:
                scan = {"shape": [self._frame.rows, self._frame.columns]}
                fields = {self._channel: daq.Field("<f4", (self._frame.columns,))}
                self._images = LineImages(daq.Stream("lines", fields, scan=scan), [self._channel])
            self._images.take(batch)
        self._draw()

    def _draw(self) -> None:
        if self._labels is None:
            return
        image = self._images and self._images.image(self._channel, self._scan)
        rows, columns = outlines(self._labels)
        line = self._frame.x(columns), self._frame.y(rows)
        if image is None:
            # the lines are not there any more: the regions themselves
            self._area.show(np.where(self._labels > 0, 1.0, 0.0), levels=(0.0, 1.0))
            self._area.line("regions", *line, OUTLINE, width=1.0, edge=False)
            self._area.label_bar("in a region")
            return
        self._area.show(image, percentiles=(0.5, 99.5))
        energy = self._channel == "dissipated_energy"
        self._area.label_bar(*(ENERGY if energy else (self._channel.replace("_", " "),)))
        self._area.line("regions", *line, OUTLINE, width=1.0, edge=False)

    def _say(self, batch: daq.Batch) -> None:
        ended = np.flatnonzero(batch.valid & (batch["ended"] > 0))
        if not len(ended):
            return
        i = int(ended[-1])
        radius = with_error(float(batch["mean_radius"][i]), float(batch["mean_radius_errors"][i]))
        aspect = with_error(
            float(batch["mean_aspect_ratio"][i]), float(batch["mean_aspect_ratio_errors"][i])
        )
        parts = [
            f"{int(batch['clusters'][i])} regions",
            f"R {radius} nm",
            f"aspect {aspect}",
            *where(batch, i),
        ]
        self._figure.say(*shorter(parts))


class RegionSizes(daq.View):
    """N(>= R), the number of regions of at least a radius, with Gaussian and power law."""

    name = "sizes of regions"
    rank = 20
    records = 64

    @classmethod
    def can_draw(cls, stream: daq.Stream) -> bool:
        """Tell whether these are numbers of regions over their radius."""
        return {"count_above", "size_law", "gaussian_radius"} <= set(stream.fields)

    def widget(self, stream: daq.Stream) -> Any:
        """Return the plot."""
        figure = self._figure = self.figure()
        self._radius = np.asarray(stream.constants["radius"], np.float64)
        self._least = int(stream.attributes.get("least_pixels", 1))
        self._colours = figure.colours.curves
        self._plot = figure.plot(
            ("radius R (nm)",), ("regions of at least R, N(\u2265R)", "N(\u2265R)"),
            logarithmic="xy",
        )  # fmt: skip
        figure.key(
            [
                (self._colours[0], "N(\u2265R)"), (self._colours[1], "Gaussian"),
                (self._colours[2], "power law"),
            ],
            [(self._colours[1], "Gaussian"), (self._colours[2], "power")],
        )  # fmt: skip
        return figure

    def update(self, batch: daq.Batch) -> None:
        """Draw the newest image that has ended, or the one that is scanned where none has."""
        good = np.flatnonzero(batch.valid)
        if not len(good):
            return
        ended = good[batch["ended"][good] > 0]
        i = int(ended[-1] if len(ended) else good[-1])
        count = batch["count_above"][i]
        there = count > 0
        self._plot.points("count", self._radius[there], count[there], None, self._colours[0])
        law, b = int(batch["size_law"][i]), float(batch["size_exponent"][i]) - 1
        # radii are those of whole numbers of pixels: the smallest that counts begins half a pixel below
        low = float(self._radius[0]) * np.sqrt(max(self._least - 0.5, 0.5))
        if there.any():
            top = float(np.interp(low, self._radius, count))
            R = np.geomspace(low, 1.5 * float(self._radius[there].max()), 200)
            self._curve("power", R, top * (R / low) ** -b, 2)
            mean, sd = (float(batch[n][i]) for n in ("gaussian_radius", "gaussian_radius_sd"))
            self._curve(
                "Gaussian", R, top * above(R, mean, sd) / above(np.array([low]), mean, sd), 1
            )
            self._plot.range((0.8 * float(self._radius[0]), float(R[-1])), (0.5, 1.5 * float(count.max())))  # fmt: skip
        weight = float(batch["power_weight"][i])
        exponent = with_error(b + 1, float(batch["size_exponent_errors"][i]))
        said = {
            0: f"undecided: power law {percent(weight) if np.isfinite(weight) else ''}",
            1: f"Gaussian, {number(float(batch['gaussian_radius'][i]))} \u00b1 sd {number(float(batch['gaussian_radius_sd'][i]), 2)} nm",
            2: f"power law, a = {exponent}",
        }.get(law, f"{int(batch['clusters'][i])} regions: too few for a law")
        extra = []
        if law in (0, 1) and np.isfinite(b):
            extra.append(f"a would be {exponent}")
        if np.isfinite(batch["dimension"][i]):
            D = with_error(float(batch["dimension"][i]), float(batch["dimension_errors"][i]))
            extra.append(f"box dimension {D}")
        self._figure.say(*shorter([said, *extra, *where(batch, i)]))

    def _curve(self, name: str, R: Floats, N: Floats, colour: int) -> None:
        if np.isfinite(N).any():
            self._plot.curve(name, R, N, self._colours[colour], width=2)
        else:
            self._plot.drop(name)


class Clusters(daq.View):
    """Each region by its radius and its aspect ratio."""

    name = "shapes of regions"
    rank = 82
    aside = True
    records = MANY

    @classmethod
    def can_draw(cls, stream: daq.Stream) -> bool:
        """Tell whether these are regions, one by one."""
        return {"radius", "aspect_ratio", "orientation", "at_edge"} <= set(stream.fields)

    def widget(self, stream: daq.Stream) -> Any:
        """Return the plot."""
        self._figure = self.figure()
        self._plot = self._figure.plot(
            ("equivalent radius (nm)", "R (nm)"), ("aspect ratio",), logarithmic="x"
        )
        return self._figure

    def update(self, batch: daq.Batch) -> None:
        """Draw the regions of the newest image."""
        if (at := newest(batch)) is None:
            return
        use = batch.valid & (batch["scan"] == batch["scan"][at])
        colours = self._figure.colours
        for name, which, colour in (
            ("whole", use & (batch["at_edge"] == 0), colours.curves[0]),
            ("edge", use & (batch["at_edge"] > 0), colours.muted),
        ):
            self._plot.points(name, batch["radius"][which], batch["aspect_ratio"][which], None, colour, opacity=150)  # fmt: skip
        self._figure.key(((colours.curves[0], "whole"), (colours.muted, "at the edge")))
        self._figure.say(*shorter([f"{int(use.sum())} regions", *where(batch, at)]))


class Mechanism(daq.View):
    """Energy against A/A_0 with the laws of three mechanisms (Garcia2006)."""

    name = "mechanism of dissipation"
    rank = 16
    records = 1

    @classmethod
    def can_draw(cls, stream: daq.Stream) -> bool:
        """Tell whether these are laws compared."""
        return {"mechanism", "law", "law_derivative", "weights"} <= set(stream.fields)

    @classmethod
    def beside(cls, stream: daq.Stream) -> Sequence[str]:
        """Return the points."""
        return (f"{stream.name.rpartition('.')[0]}.curve",)

    def widget(self, stream: daq.Stream) -> Any:
        """Return the plot."""
        figure = self._figure = self.figure()
        self._grid = np.asarray(stream.constants["grid"], np.float64)
        self._laws = [str(name).replace("_", " ") for name in stream.attributes.get("laws", LAWS)]
        self._colours = figure.colours.curves
        self._plot = figure.plot(("A/A\u2080",), ENERGY)
        self._top = 0.0
        figure.key([(self._colours[1 + n], name) for n, name in enumerate(self._laws)])
        return figure

    def update(self, batch: daq.Batch) -> None:
        """Draw points or laws."""
        if (at := newest(batch)) is None:
            return
        if "derivative" in batch.raw:
            ratio, energy = batch["ratio"][at], batch["energy"][at]
            self._plot.points("points", ratio, energy, None, self._colours[0], size=7)
            if np.isfinite(energy).any():
                self._top = float(np.nanmax(energy))
                low = min(0.0, 1.2 * float(np.nanmin(energy)))
                self._plot.range((0.0, 1.0), (low, 1.6 * max(self._top, 1e-3)))
            return
        for n, law in enumerate(batch["law"][at]):
            self._plot.curve(f"law {n}", self._grid, law, self._colours[1 + n])
        kind, count = int(batch["mechanism"][at]), int(batch["amplitudes"][at])
        weights = batch["weights"][at]
        if kind == 0:
            said = "undecided: " + joined(*(f"{name} {percent(float(w))}" for name, w in zip(self._laws, weights, strict=True)))  # fmt: skip
        elif kind == 5:
            said = f"{count} amplitudes: five are needed"
        elif kind == 4:
            said = "none of the laws fits"
        else:
            said = f"{self._laws[kind - 1]}, weight {percent(float(weights[kind - 1]))}"
        self._figure.say(said, said.split(":")[0])


class EndedMap(daq.View):
    """A map of an image that has ended, as its lines were drawn before."""

    name = "map"
    rank = 84
    aside = True
    records = 1

    @classmethod
    def can_draw(cls, stream: daq.Stream) -> bool:
        """Tell whether these are maps of images of a scan."""
        return {"scan", "place"} <= set(stream.fields) and bool(maps_of(stream))

    def widget(self, stream: daq.Stream) -> Any:
        """Return the picture, and a choice where there are several."""
        self._figure = self.figure()
        self._stream, self._names = stream, maps_of(stream)
        self._chosen, self._batch = 0, None
        self._figure.choice([name.replace("_", " ") for name in self._names], self._choose)
        self._area = self._figure.picture()
        ScanFrame.of_map(stream, self._names[0]).put_on(self._area)
        self._area.set_map("plasma")
        return self._figure

    def update(self, batch: daq.Batch) -> None:
        """Draw the newest map."""
        self._batch = batch
        self._draw(batch)

    def _choose(self, number: int) -> None:
        self._chosen = number
        if self._batch is not None:
            self._draw(self._batch)

    def _draw(self, batch: daq.Batch) -> None:
        if (at := newest(batch)) is None:
            return
        name = self._names[self._chosen]
        field = self._stream.fields[name]
        units = f" ({field.units})" if field.units else ""
        words = field.long_name or name.replace("_", " ")
        self._area.label_bar(f"{words}{units}", f"{name.replace('_', ' ')}{units}", field.units)
        self._area.show(batch[name][at], percentiles=(0.5, 99.5))
        self._figure.say(*shorter(where(batch, at)))


def maps_of(stream: daq.Stream) -> list[str]:
    """Return the fields [row, column] of numbers that a stream describes in nm along both axes."""
    return [
        name
        for name, field in stream.fields.items()
        if len(field.shape) == 2
        and field.numpy_dtype.kind in "fu"
        and [axis.get("units") for axis in stream.axes.get(name, ())] == ["nm", "nm"]
    ]


def above(R: Floats, mean: float, sd: float) -> Floats:
    """Return the part of a Gaussian above each R."""
    from scipy.special import ndtr

    return np.asarray(ndtr((mean - R) / sd)) if sd > 0 else np.full(np.shape(R), np.nan)


VIEWS: Sequence[type[daq.View]] = (EnergyMap, Regions, Mechanism, RegionSizes, Clusters, EndedMap)
