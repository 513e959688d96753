"""Image files as microscopes write them, made from arrays."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

NOTE = {
    "ImagingMode": "AC Mode", "ScanRate": "2", "ScanDown": "0", "Seconds": "3850000000",
    "ScanAngle": "0", "SpringConstant": "4.8", "DriveFrequency": "160100", "TuneFreqResult": "160000",
    "TuneQResult": "400", "FreeAirAmplitude": "0.1", "AmplitudeSetpointVolts": "0.085",
    "AmpInvOLS": "1e-07", "FreeAirPhase": "90.1", "MicroscopeModel": "Cypher",
}  # fmt: skip
"""What an Asylum note says; images of 10 nm amplitude."""


def write_ibw(
    path: Path,
    channels: Mapping[str, Any],
    *,
    note: Mapping[str, str] = NOTE,
    step: tuple[float, float] = (2e-9, 1e-9),
    units: str = "m",
) -> Path:
    """Write an Igor binary wave of version 5: arrays [row, column] by label, the lowest row first."""
    stack = np.stack([np.asarray(values, np.float32).T for values in channels.values()], 2)
    data = stack.tobytes(order="F")
    text = "".join(f"{key}: {value}\r" for key, value in note.items()).encode("latin-1")
    names = [b"", *(label.encode() for label in channels)]
    labels = b"".join(name.ljust(32, b"\0") for name in names)
    unit = units.encode().ljust(4, b"\0")
    wave = struct.pack("<4i2h", 0, 0, 0, stack.size, 2, 0) + bytes(8)
    wave += b"image".ljust(32, b"\0") + bytes(8)
    wave += struct.pack("<4i", *stack.shape, 0) + struct.pack("<4d", step[1], step[0], 1, 1)
    wave += struct.pack("<4d", 0, 0, 0, 0) + unit + unit + unit + bytes(8)
    wave = wave.ljust(320, b"\0")
    sizes = [320 + len(data), 0, len(text), 0, 0, 0, 0, 0, 0, 0, len(labels), 0, 0, 0, 0]
    head = struct.pack("<hH15i", 5, 0, *sizes)
    total = sum(struct.unpack("<192h", head + wave))
    head = struct.pack("<hH15i", 5, -total & 0xFFFF, *sizes)
    path.write_bytes(head + wave + data + text + labels)
    return path


def write_gwy(path: Path, channels: Mapping[str, tuple[Any, str]], **size: Any) -> Path:
    """Write a file of Gwyddion: (array [row, column], unit) by title, the lowest row first."""
    objects = pytest.importorskip("gwyfile.objects")
    content = objects.GwyContainer()
    for number, (title, (values, unit)) in enumerate(channels.items()):
        content[f"/{number}/data/title"] = title
        content[f"/{number}/data"] = objects.GwyDataField(
            np.asarray(values, float)[::-1].copy(), si_unit_z=unit,
            **{"xreal": 16e-9, "yreal": 24e-9, "si_unit_xy": "m", **size},
        )  # fmt: skip
    content.tofile(str(path))
    return path


def image(seed: int, rows: int = 12, columns: int = 16) -> Any:
    """Return seeded numbers [row, column], float32."""
    return np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)
