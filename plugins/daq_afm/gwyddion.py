"""Images in files of Gwyddion (.gwy), by gwyfile."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

import daq
from daq_afm.channels import Channel
from daq_afm.image_file import Image, ImageLines, length_in_nm
from daq_afm.settings import FileSettings

log = logging.getLogger(__name__)

MAGIC: Final = b"GWYP"


class GwyddionReader(daq.Reader):
    """Channels of a .gwy file; needs the extra ``afm``.

    See `ImageLines` for the records. The title of a channel says what it is, and its direction (``Phase [Bwd]``, ``Height
    retrace``); its units stand in the file. Channels that do not have the shape and size of the first are left
    out, with a word in the log. The file knows neither time nor phase convention: the phase stays as it is unless the
    configuration says one (``phase_convention``), and lines lie ``line_time`` apart. Masks are not looked at.

    Tried on: files that gwyfile and SurfaceTopography wrote, none of a microscope.
    """

    name = "gwyddion"
    suffixes = (".gwy",)
    counters = ("scan",)

    class Config(FileSettings):
        """What ``[sources.NAME]`` may say about a .gwy file."""

    @classmethod
    def ready(cls, path: Path) -> bool:
        """Tell whether the file is as long as it says."""
        with path.open("rb") as file:
            needed = _needed(file.read(64))
        return needed is None or path.stat().st_size >= needed

    def open(self, path: Path, config: Any) -> Sequence[daq.Stream]:
        """Read the file; ValueError where it is damaged, holds no image, or gwyfile is not installed."""
        try:
            import gwyfile
        except ImportError:
            raise ValueError(
                f"{path.name}: .gwy files need gwyfile: pip install 'glasswatch[afm]'"
            ) from None
        with path.open("rb") as file:
            needed = _needed(file.read(64))
        size = path.stat().st_size
        if needed is None:
            raise ValueError(f"{path.name}: no file of Gwyddion")
        if size < needed:
            raise ValueError(f"{path.name}: cut off after {size} of {needed} bytes")
        try:
            image = _image(path.name, gwyfile.load(str(path)))
        # gwyfile raises whatever its parser meets
        except Exception as error:
            raise ValueError(f"{path.name}: cannot be read: {error}") from None
        if image is None:
            raise ValueError(f"{path.name}: it holds no image")
        self._lines = ImageLines(path.name, image, config, self.name)
        return [self._lines.stream]

    def batches(self, start: dict[str, int]) -> Iterator[daq.Batch | daq.Missing]:
        """Yield the lines from ``start`` on."""
        yield from self._lines.batches(start.get("", 0))


def _needed(head: bytes) -> int | None:
    """Return the bytes of the whole file by its head, None where it is not one of Gwyddion."""
    if len(head) < 24:
        return 24 if MAGIC.startswith(head[:4]) else None
    end = head.find(b"\0", 4)
    if not head.startswith(MAGIC) or end < 0 or end + 5 > len(head):
        return None
    return int(end + 5 + struct.unpack_from("<I", head, end + 1)[0])


def _image(name: str, content: Mapping[str, Any]) -> Image | None:
    numbers = sorted(
        int(parts[1])
        for key in content
        if len(parts := key.split("/")) == 3 and parts[1].isdigit() and parts[2] == "data"
    )
    channels, values, form = [], [], None
    for number in numbers:
        field = content[f"/{number}/data"]
        unit, across = _unit(field, "si_unit_z"), _unit(field, "si_unit_xy")
        rows, columns = int(field["yres"]), int(field["xres"])
        mine = (rows, columns, float(field["yreal"]), float(field["xreal"]), across)
        title = str(content.get(f"/{number}/data/title", f"channel {number}"))
        if form is None:
            form = mine
        elif form != mine:
            log.warning("%s: %s has another shape or size than the first: left out", name, title)
            continue
        channels.append(Channel.labelled(title, unit))
        # stored from the top
        values.append(np.asarray(field.data, np.float64).reshape(rows, columns)[::-1])
    if form is None:
        return None
    rows, columns, height, width, across = form
    step = None
    if (dy := length_in_nm(height / rows, across)) and (
        dx := length_in_nm(width / columns, across)
    ):
        step = (dy, dx)
    return Image(channels, values, step)


def _unit(field: Mapping[str, Any], key: str) -> str:
    unit = field.get(key)
    return "" if unit is None else str(unit.get("unitstr", ""))
