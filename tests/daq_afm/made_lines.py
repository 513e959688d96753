"""Scan lines made of given maps, for tests of what is computed from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import daq
from daq.testing import Records

START = 1_700_000_000_000_000_000
UNITS = {"height": "nm", "phase": "deg", "amplitude": "nm", "frequency": "Hz", "quality_factor": "",
         "dissipated_energy": "eV", "modulus": "GPa"}  # fmt: skip

TAPPING = {"spring_constant": 5.0, "resonance_frequency": 160e3, "drive_frequency": 160e3,
           "quality_factor": 400.0, "free_amplitude": 10.0, "amplitude_setpoint": 8.5,
           "phase_at_resonance": 90.0, "mode": "tapping"}  # fmt: skip


def scan_lines(
    maps: Mapping[str, Any],
    *,
    step: Any = (0.5, 0.5),
    rows: Sequence[int] | None = None,
    scalars: Mapping[str, Sequence[float]] | None = None,
    units: Mapping[str, str] | None = None,
    **description: Any,
) -> Records:
    """Return scan lines of maps [scan, row, column, ...], one line a second.

    ``rows`` is the order of the rows in each scan; ``scalars`` one number for each scan.
    """
    first = np.asarray(next(iter(maps.values())))
    scans, height, width = first.shape[:3]
    order = np.arange(height) if rows is None else np.asarray(rows)
    fields, arrays = {}, {}
    for name, values in maps.items():
        taken = np.asarray(values, "<f4")[:, order].reshape(
            scans * len(order), *np.shape(values)[2:]
        )
        unit = (units or {}).get(name, UNITS.get(name, ""))
        fields[name] = daq.Field("<f4", taken.shape[1:], unit)
        arrays[name] = taken
    fields |= {"line": daq.Field("<i4"), "scan": daq.Field("<i4"), "y": daq.Field("<f8", (), "nm")}
    arrays["line"] = np.tile(order, scans).astype("<i4")
    arrays["scan"] = np.repeat(np.arange(scans), len(order)).astype("<i4")
    dy = step[0] if isinstance(step, (tuple, list)) else step
    arrays["y"] = arrays["line"] * float(dy)
    for name, values in (scalars or {}).items():
        kind = "<i4" if name == "place" else "<f8"
        fields[name] = daq.Field(kind)
        arrays[name] = np.repeat(np.asarray(values, kind), len(order))
    count = len(arrays["line"])
    arrays["time"] = START + np.arange(count) * 10**9
    scan = {"shape": [height, width], "step": step, "units": "nm"}
    stream = daq.Stream("afm", fields, scan=scan, **description)
    return Records(stream, arrays)


def smooth_field(
    shape: tuple[int, int], length: float, seed: int, step: tuple[float, float] = (1.0, 1.0)
) -> np.ndarray:
    """Return a field of mean 0 and variance 1 with correlation exp(-(r/length)^2), exactly.

    White noise times the root of the spectrum, on a grid twice as large as what is cut out.
    """
    big = [2 * n for n in shape]
    y, x = (np.fft.fftfreq(n, 1 / n) * d for n, d in zip(big, step, strict=True))
    covariance = np.exp(-(y[:, None] ** 2 + x[None] ** 2) / length**2)
    spectrum = np.maximum(np.fft.fft2(covariance).real, 0)
    noise = np.random.default_rng(seed).standard_normal(big)
    field = np.fft.ifft2(np.fft.fft2(noise) * np.sqrt(spectrum)).real
    return field[: shape[0], : shape[1]]
