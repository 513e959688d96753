"""Images in the formats of other vendors, by SurfaceTopography."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import daq
from daq_afm.channels import Channel
from daq_afm.image_file import Image, ImageLines, length_in_nm
from daq_afm.settings import FileSettings


class SurfaceTopographyReader(daq.Reader):
    """Images that SurfaceTopography reads (``pip install SurfaceTopography``, 1.27 or later).

    See `ImageLines` for the records. Names, units and directions are those of its channels; channels that do not
    have the shape and size of the first are left out. The phase stays as it is unless the configuration says a
    convention; lines lie ``line_time`` apart up to the time that the file has, the top one first: whether a scan went up
    is not known.

    Tried on: one file each of Bruker (.spm; named .di there), Nanosurf (.nid), Park (.tiff), PicoView (.mi) and WSxM (.stp,
    .top) from its own test data, and .nc files that it wrote. With ``format = "surface_topography"`` other endings go to it
    too, untried.
    """

    name = "surface_topography"
    suffixes = (".spm", ".nid", ".tiff", ".mi", ".stp", ".top", ".nc")
    counters = ("scan",)

    class Config(FileSettings):
        """What ``[sources.NAME]`` may say about such a file."""

    def open(self, path: Path, config: Any) -> Sequence[daq.Stream]:
        """Read the file; ValueError where it cannot be, or SurfaceTopography is not installed."""
        try:
            import SurfaceTopography
        except ImportError:
            raise ValueError(
                f"{path.name}: {path.suffix} files need SurfaceTopography: pip install SurfaceTopography"
            ) from None
        try:
            with SurfaceTopography.open_topography(str(path)) as reader:
                image = _image(reader)
        # it raises what its many parsers meet
        except Exception as error:
            why = str(error).splitlines()[0] if str(error) else repr(error)
            raise ValueError(f"{path.name}: cannot be read: {why}") from None
        self._lines = ImageLines(path.name, image, config, self.name)
        return [self._lines.stream]

    def batches(self, start: dict[str, int]) -> Iterator[daq.Batch | daq.Missing]:
        """Yield the lines from ``start`` on."""
        yield from self._lines.batches(start.get("", 0))


def _image(reader: Any) -> Image:
    channels, values, form, first = [], [], None, None
    for entry in reader.channels:
        if entry.dim != 2:
            continue
        topography = reader.topography(channel_index=entry.index)
        unit = str(topography.unit or "")
        sizes = [float(size) for size in topography.physical_sizes]
        mine = (topography.nb_grid_pts, [length_in_nm(size, unit) for size in sizes])
        if form is None:
            form, first = mine, entry
        elif form[0] != mine[0] or not _close(form[1], mine[1]):
            continue
        heights = np.ma.filled(np.ma.asarray(topography.heights(), np.float64), np.nan)
        # lengths come in the unit of the plane, whatever the file has
        data_unit = str(entry.data_unit or "")
        value_unit = unit if length_in_nm(1.0, data_unit) else data_unit
        label = Channel.labelled(str(entry.name))
        channels.append(Channel(label.name, value_unit, label.direction))
        values.append(heights.T[::-1])  # [x, y] from the top
    if form is None or first is None:
        raise ValueError("it holds no image")
    (columns, rows), (width, height) = form
    step = None if width is None or height is None else (height / rows, width / columns)
    attributes = {}
    instrument = first.info.get("instrument") or {}
    if text := " ".join(str(instrument[key]) for key in ("vendor", "name") if key in instrument):
        attributes["instrument"] = text
    return Image(
        channels, values, step, attributes, downwards=True, end=first.info.get("acquisition_time")
    )


def _close(one: list[float | None], other: list[float | None]) -> bool:
    return all(
        a is not None and b is not None and abs(a - b) <= 1e-6 * abs(a)
        for a, b in zip(one, other, strict=True)
    )
