"""Classes of a modulus map: compliant, intermediate, stiff, by k-means, line by line."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

import daq
from daq_afm.image_lines import Image, ImageLines, Line, image_axes, only_stream, record


class ModulusClasses(daq.Analysis):
    """Sorts the pixels of a channel into classes, from the lowest values to the highest.

    Takes scan lines, by default those of `contact_resonance` with their modulus. The classes are the
    best ones (`daq_afm.kmeans`) of all pixels of the image so far. Gives:

    ``lines``
        Each line: ``class`` [column] uint8, 0 compliant, 1 intermediate, 2 stiff, 255 without a
        value, as it stands with this line; ``centres``, ``sds`` in units of the channel and ``fractions`` of
        the area [class]; ``boundaries`` [class - 1]; ``explained``, the part of the variance that the
        classes explain. k-means finds classes in everything: one Gaussian, in three, has 0.810.
    ``maps``
        Each image that has ended: the same for all of it, ``class`` [row, column].
    """

    name = "modulus_classes"

    class Config(daq.Config):
        """What ``[analyses.NAME]`` with ``type = "modulus_classes"`` may say."""

        channel: str = daq.setting("modulus", "", "channel that is sorted, any units")
        classes: int = daq.setting(3, "", "how many", ge=2, le=10)
        every: int = daq.setting(
            1,
            "",
            "lines until the classes are found anew; between, lines get those there are",
            ge=1,
        )

    def open(self, streams: Mapping[str, daq.Stream], config: Any) -> Sequence[daq.Stream]:
        """Find the channel; ValueError without it."""
        stream = only_stream(streams, self.name)
        if config.channel not in stream.fields or not stream.fields[config.channel].shape:
            arrays = [n for n, f in stream.fields.items() if f.shape]
            raise ValueError(
                f"{stream.name} has no channel {config.channel!r}; it has {', '.join(arrays)}"
            )
        # compiled, or loaded, before the first line is there
        from daq_afm.kmeans import classify

        classify(np.arange(8.0), config.classes if config.classes < 8 else 2)
        self._classify = classify
        self._config = config
        self._lines = lines = ImageLines(stream, {config.channel: 1.0})
        self._classes = classify(np.zeros(0), config.classes)
        self._count, self._scan = 0, -1
        units, k = stream.fields[config.channel].units, config.classes
        about = {
            "centres": daq.Field("<f8", (k,), units, "mean of each class"),
            "sds": daq.Field("<f8", (k,), units),
            "fractions": daq.Field("<f8", (k,), "", "part of the area"),
            "boundaries": daq.Field("<f8", (k - 1,), units),
            "explained": daq.Field("<f8", (), "", "part of the variance"),
        }
        self._line_fields = {
            "class": daq.Field("|u1", (lines.columns,), "", "class"), **about, **lines.line_fields()
        }  # fmt: skip
        self._map_fields = {
            "class": daq.Field("|u1", (lines.rows, lines.columns), "", "class"), **about,
            **lines.condition_fields(),
        }  # fmt: skip
        attributes = {"channel": config.channel, "classes": k}
        axes = image_axes(lines.step)
        return [
            daq.Stream(
                "lines", self._line_fields, {"class": axes[1:]}, stream.scan, attributes,
                stream.expect,
            ),
            daq.Stream("maps", self._map_fields, {"class": axes}, attributes=attributes),
        ]  # fmt: skip

    def process(self, batch: daq.Batch) -> Iterable[daq.Batch]:
        """Give each line, and the map where an image ends."""
        for item in self._lines.take(batch):
            if isinstance(item, Line):
                yield self._line(item)
            else:
                yield self._image(item)

    def close(self) -> Iterable[daq.Batch]:
        """Give the map of an image that was left half done."""
        for image in self._lines.rest():
            yield self._image(image)

    @classmethod
    def memory(cls, streams: Mapping[str, daq.Stream], config: Any) -> int:
        """Return for each pixel of one image ten numbers, and half a one for each class."""
        (stream,) = streams.values()
        return math.prod(stream.scan_shape or (0,)) * (80 + 4 * config.classes)

    def _line(self, line: Line) -> daq.Batch:
        image = self._lines.so_far()
        if image is not None and image.scan == line.scan:
            if self._scan != line.scan:
                self._count, self._scan = 0, line.scan
            if self._count % self._config.every == 0:
                pixels = image.values[self._config.channel][image.present]
                self._classes = self._classify(pixels, self._config.classes)
            self._count += 1
        found = self._classes
        return record(
            "lines", line.time, self._line_fields,
            **{"class": found.of(line.values[self._config.channel])}, **self._about(),
            **self._lines.line_values(line),
        )  # fmt: skip

    def _image(self, image: Image) -> daq.Batch:
        values = image.values[self._config.channel]
        self._classes = self._classify(values, self._config.classes)
        self._scan = -1
        return record(
            "maps", image.time, self._map_fields, **{"class": self._classes.of(values)},
            **self._about(), **self._lines.condition_values(image),
        )  # fmt: skip

    def _about(self) -> dict[str, Any]:
        found = self._classes
        return {
            "centres": found.centres, "sds": found.sds, "fractions": found.fractions,
            "boundaries": found.boundaries, "explained": found.explained,
        }  # fmt: skip
