"""Images of Asylum Research microscopes: Igor binary waves (.ibw), by igor2."""

from __future__ import annotations

import datetime
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

import daq
from daq_afm.channels import Channel
from daq_afm.image_file import Image, ImageLines, length_in_nm, numbers
from daq_afm.phase_convention import CONVENTIONS
from daq_afm.settings import FileSettings

HEAD: Final = 64
"""Bytes of the first header of a wave of version 5."""

IGOR_EPOCH: Final = datetime.datetime(1904, 1, 1)
"""Igor counts seconds of local time from here."""

_UNITS: Final = (
    ("Height", "m"), ("ZSensor", "m"), ("Deflection", "m"), ("Amplitude", "m"), ("Phase", "deg"),
    ("Frequency", "Hz"), ("Current", "A"), ("Potential", "V"), ("Capacitance", "F"),
    ("QFactor", "1"), ("Count", "1"),
)  # fmt: skip
"""Units by the beginning of a channel's name: the wave has one unit for all channels, that of height."""


class AsylumReader(daq.Reader):
    """Images of Asylum microscopes (.ibw); needs the extra ``afm``.

    See `ImageLines` for the records. The lowest row is the first of the wave. Igor writes a file at
    once, at the end of the scan: lines are spread over ``ImageFrameTime`` before it, from the bottom
    or the top (``ScanDown``). Lines that were not scanned are NaN in the file, and left out.

    Attributes from the note: ``drive_frequency``, ``resonance_frequency`` and ``quality_factor`` of the
    last tune, ``free_amplitude`` and ``amplitude_setpoint`` (volts times AmpInvOLS), ``spring_constant``
    (but not 1 N/m, which stands for a cantilever that nobody calibrated), ``scan_angle`` in deg. Phase is taken as 90 deg
    at resonance and above it where attraction prevails, as the tune of the controller leaves it; what it was
    in air is ``free_phase``.

    Tried on: the tapping-mode image of a Cypher in the test data of SurfaceTopography.
    """

    name = "asylum"
    suffixes = (".ibw",)
    counters = ("scan",)

    class Config(FileSettings):
        """What ``[sources.NAME]`` may say about an .ibw file."""

    @classmethod
    def ready(cls, path: Path) -> bool:
        """Tell whether the file is as long as its header says."""
        with path.open("rb") as file:
            needed = _needed(file.read(HEAD))
        return needed is None or path.stat().st_size >= needed

    def open(self, path: Path, config: Any) -> Sequence[daq.Stream]:
        """Read the file; ValueError where it is damaged, no image, or igor2 is not installed."""
        try:
            from igor2 import binarywave
        except ImportError:
            raise ValueError(
                f"{path.name}: .ibw files need igor2: pip install 'glasswatch[afm]'"
            ) from None
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(HEAD)
            needed = _needed(head)
            if needed is None:
                raise ValueError(f"{path.name}: no Igor wave of version 5")
            if size < needed:
                raise ValueError(f"{path.name}: cut off after {size} of {needed} bytes")
            file.seek(0)
            try:
                wave = binarywave.load(file)["wave"]
            # igor2 raises whatever its parser meets
            except Exception as error:
                raise ValueError(f"{path.name}: cannot be read: {error}") from None
        self._lines = ImageLines(path.name, _image(path.name, wave), config, self.name)
        return [self._lines.stream]

    def batches(self, start: dict[str, int]) -> Iterator[daq.Batch | daq.Missing]:
        """Yield the lines from ``start`` on."""
        yield from self._lines.batches(start.get("", 0))


def _needed(head: bytes) -> int | None:
    """Return the bytes of the whole file by its first header, None where that is not one."""
    if len(head) < HEAD:
        return HEAD
    for order in "<>":
        if struct.unpack_from(f"{order}h", head)[0] == 5:
            parts = struct.unpack_from(f"{order}13i", head, 4)
            # wave, formula, note, data units, four dimension units and labels, string indices
            if min(parts) >= 0:
                return HEAD + int(sum(parts))
    return None


def _image(name: str, wave: Mapping[str, Any]) -> Image:
    data = wave["wData"]
    if data.ndim != 3 or np.iscomplexobj(data):
        raise ValueError(
            f"{name}: a wave of {data.ndim} dimensions, no image: a force curve, perhaps"
        )
    note = _note(wave["note"])
    count = data.shape[2]
    labels = [label.decode("latin-1") for label in wave["labels"][2][1:]][:count]
    labels += [f"channel {number}" for number in range(len(labels), count)]
    channels = [_channel(label, note) for label in labels]
    cantilever = numbers(note, {
        "spring_constant": "SpringConstant", "drive_frequency": "DriveFrequency",
        "resonance_frequency": "TuneFreqResult", "quality_factor": "TuneQResult",
    })  # fmt: skip
    if cantilever.get("spring_constant") == 1.0:
        del cantilever["spring_constant"]
    for field, key in (("free_amplitude", "FreeAirAmplitude"),
                       ("amplitude_setpoint", "AmplitudeSetpointVolts")):  # fmt: skip
        volts = numbers(note, {"volts": key, "sensitivity": "AmpInvOLS"})
        if len(volts) == 2:
            cantilever[field] = volts["volts"] * volts["sensitivity"] * 1e9
    attributes: dict[str, Any] = {}
    for attribute, key in (("free_phase", "FreeAirPhase"), ("scan_angle", "ScanAngle")):
        try:
            attributes[attribute] = float(note[key])
        except (KeyError, ValueError):
            continue
    if "AC Mode" in note.get("ImagingMode", ""):
        attributes["mode"] = "tapping"
    if "MicroscopeModel" in note:
        attributes["instrument"] = f"Asylum {note['MicroscopeModel']}"
    timing = numbers(note, {"frame": "ImageFrameTime", "rate": "ScanRate", "end": "Seconds"})
    seconds = timing.get("frame")
    if seconds is None and "rate" in timing:
        seconds = data.shape[1] / timing["rate"]
    end = None
    if "end" in timing:
        end = IGOR_EPOCH + datetime.timedelta(seconds=timing["end"])
    return Image(
        channels,
        # [fast, slow] to [row, column]; the first of the slow axis is the lowest
        [data[:, :, number].T for number in range(count)],
        _step(wave["wave_header"]),
        attributes,
        cantilever,
        CONVENTIONS["asylum"] if note else None,
        note.get("ScanDown") == "1",
        seconds,
        end=end,
    )


def _note(raw: bytes) -> dict[str, str]:
    text = raw.decode("latin-1").replace("\r", "\n")
    pairs = (line.partition(":") for line in text.splitlines())
    return {key.strip(): value.strip() for key, _, value in reversed([*pairs])}


def _channel(label: str, note: Mapping[str, str]) -> Channel:
    channel = Channel.labelled(label)
    base = channel.name.removeprefix("Nap").removeprefix("DAC")
    unit = note.get(f"{channel.name}Unit", "")
    if not unit and note:
        unit = next((unit for begin, unit in _UNITS if base.startswith(begin)), "V")
    return Channel(channel.name, unit, channel.direction)


def _step(header: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return (dy, dx) in nm, None where the wave has no length along its axes."""
    sizes = []
    for axis in (1, 0):
        unit = b"".join(header["dimUnits"][axis]).decode("latin-1").rstrip("\0")
        nm = length_in_nm(float(header["sfA"][axis]), unit)
        if nm is None or not nm > 0:
            return None
        sizes.append(nm)
    return sizes[0], sizes[1]
