"""What is known of each scan besides its frames: how far the specimen drifted, how hot it was.

Drift and temperature come as streams of their own, so later than the scan they belong to: results
wait for them, frames do not. Which stream is which is told by its fields.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

import daq
from daq_stem.geometry.detector import image_field


def camera_of(streams: Mapping[str, daq.Stream]) -> daq.Stream:
    """Return the one input whose records are frames; ValueError if there is none, or two."""
    cameras = [
        stream
        for stream in streams.values()
        if any(len(field.shape) == 2 for field in stream.fields.values())
    ]
    if len(cameras) != 1:
        found = ", ".join(stream.name for stream in cameras) or "none"
        raise ValueError(f"one input must have frames [y, x]; there is {found}")
    image_field(cameras[0], None)
    return cameras[0]


@dataclasses.dataclass(frozen=True, slots=True)
class Condition:
    """Of one scan.

    Parameters
    ----------
    stage
        Number of the temperature stage, from 0; -1 where the temperature changed meanwhile.
    temperature
        K, mean over the scan; NaN where nobody measured.
    shift
        nm, (y, x), how far the specimen has moved since the first scan; 0 without a drift stream.
    shift_known
        There was a drift stream, and it gave the shift of this scan.
    shift_error
        nm, 1 sigma of the shift along each axis; 0 where nobody said.
    """

    stage: int
    temperature: float
    shift: tuple[float, float] = (0.0, 0.0)
    shift_known: bool = False
    shift_error: float = 0.0


class ScanConditions:
    """Collects what the inputs beside the camera say, and gives it scan by scan, in order.

    A drift stream has the fields ``scan``, ``shift_y`` and ``shift_x`` (nm), maybe also
    ``shift_errors``; a temperature stream has ``temperature`` (K, or degC). A stage begins when the mean temperature of a scan
    differs from that of its stage by more than ``tolerance`` K; a scan in which it changes by
    more than that, from the reading before it to the one after, belongs to none. Without a temperature stream all is stage 0, at the camera's
    attribute ``temperature`` (K) if it has one.

    Raises ValueError for an input that is neither, for a second one of a kind, and for units of
    temperature that are not understood.
    """

    def __init__(self, streams: Mapping[str, daq.Stream], tolerance: float = 2.0) -> None:
        self.camera = camera_of(streams)
        self._tolerance = tolerance
        self._drift = self._thermometer = ""
        self._zero = 0.0
        for name, stream in streams.items():
            if stream is self.camera:
                continue
            if {"scan", "shift_y", "shift_x"} <= set(stream.fields):
                if self._drift:
                    raise ValueError(f"two inputs give drift: {self._drift} and {name}")
                self._drift = name
            elif "temperature" in stream.fields and not stream.fields["temperature"].shape:
                if self._thermometer:
                    raise ValueError(f"two inputs give a temperature: {self._thermometer}, {name}")
                self._thermometer = name
                self._zero = _zero_of(name, stream.fields["temperature"].units)
            else:
                raise ValueError(
                    f"{name} is neither drift (scan, shift_y, shift_x) nor a temperature"
                )
        self._shifts: dict[int, tuple[float, float, float]] = {}
        self._shifts_told = 0
        self._latest_shift = (0.0, 0.0, 0.0)
        self._times: list[int] = []
        self._kelvin: list[float] = []
        self._stage, self._stage_sum, self._stage_scans = -1, 0.0, 0
        self._over: set[str] = set()

    @property
    def has_drift(self) -> bool:
        """A drift stream is among the inputs."""
        return bool(self._drift)

    def push(self, batch: daq.Batch) -> None:
        """Take records of an input other than the camera; lost ones and NaN are left out."""
        valid = batch.valid
        if batch.stream == self._drift:
            # a lost record does not say which scan it was: its index does
            self._shifts_told = int(batch.indices[-1]) + 1
            names = ("scan", "shift_y", "shift_x")
            told = [batch[name][valid].tolist() for name in names]
            errors = (
                batch["shift_errors"][valid].tolist()
                if "shift_errors" in batch.raw
                else [0.0] * len(told[0])
            )
            for scan, y, x, error in zip(*told, errors, strict=True):
                self._shifts[int(scan)] = (y, x, error)
        else:
            kelvin = batch["temperature"] + self._zero
            good = valid & np.isfinite(kelvin)
            self._times += batch.time[good].tolist()
            self._kelvin += kelvin[good].tolist()

    def ended(self, stream: str) -> None:
        """Nothing more will come of this input: what it has not said is not waited for."""
        self._over.add(stream)

    def ready(self, scan: int, end: int) -> bool:
        """Tell whether all is known of a scan whose last record has the time ``end``, ns."""
        known = scan in self._shifts or scan < self._shifts_told
        if self._drift and self._drift not in self._over and not known:
            return False
        thermal = self._thermometer and self._thermometer not in self._over
        return not thermal or bool(self._times and self._times[-1] >= end)

    def take(self, scan: int, begin: int, end: int) -> Condition:
        """Return the condition of a scan from ``begin`` to ``end``, ns; in order of scans."""
        # where drift is not known, the specimen is where it was
        told = self._shifts.pop(scan, (np.nan, np.nan, np.nan))
        known = bool(np.isfinite(told).all())
        self._latest_shift = told if known else self._latest_shift
        y, x, error = self._latest_shift
        drift: dict[str, Any] = {"shift": (y, x), "shift_known": known, "shift_error": error}
        if not self._thermometer:
            attribute = self.camera.attributes.get("temperature")
            kelvin = float(attribute) if isinstance(attribute, int | float) else np.nan
            return Condition(0, kelvin, **drift)
        readings = self._readings(begin, end)
        if not len(readings):
            return Condition(max(self._stage, 0), np.nan, **drift)
        kelvin = float(readings.mean())
        if np.ptp(readings) > self._tolerance:
            return Condition(-1, kelvin, **drift)
        mean = self._stage_sum / max(1, self._stage_scans)
        if self._stage < 0 or abs(kelvin - mean) > self._tolerance:
            self._stage, self._stage_sum, self._stage_scans = self._stage + 1, 0.0, 0
        self._stage_sum += kelvin
        self._stage_scans += 1
        return Condition(self._stage, kelvin, **drift)

    def _readings(self, begin: int, end: int) -> npt.NDArray[np.float64]:
        """Readings in a span of time, and those next to it; older ones are forgotten."""
        first = int(np.searchsorted(self._times, begin, "right")) - 1
        stop = int(np.searchsorted(self._times, end, "left")) + 1
        found = np.array(self._kelvin[max(first, 0) : stop])
        del self._times[: max(first, 0)], self._kelvin[: max(first, 0)]
        return found


def _zero_of(name: str, units: str) -> float:
    if units in {"K", "kelvin"}:
        return 0.0
    if units in {"degC", "°C", "celsius"}:
        return 273.15
    raise ValueError(f"{name}: a temperature in {units or 'no units'}: K or degC is understood")


@dataclasses.dataclass(frozen=True, slots=True)
class Placement:
    """Where the positions of the specimen stood in one scan.

    Parameters
    ----------
    source
        [position] int64: the position of the scan that is nearest, -1 outside the scan.
    residual
        nm, (y, x): how far the specimen is from there, at most half a step.
    """

    source: npt.NDArray[np.int64]
    residual: tuple[float, float]


def placement(shape: tuple[int, int], step: float, shift: tuple[float, float]) -> Placement:
    """Return the placement for a specimen that moved by ``shift`` nm, (y, x).

    The place that stood at scan position p in the first scan stands at p + shift / step now. The
    nearest pattern is taken, not a mean of neighbours, which would change contrast and counting
    statistics with the shift.
    """
    whole = [round(part / step) for part in shift]
    y = np.arange(shape[0])[:, None] + whole[0]
    x = np.arange(shape[1])[None, :] + whole[1]
    inside = (y >= 0) & (y < shape[0]) & (x >= 0) & (x < shape[1])
    source = np.where(inside, y * shape[1] + x, -1).reshape(-1).astype(np.int64)
    residual = (shift[0] - whole[0] * step, shift[1] - whole[1] * step)
    return Placement(source, residual)
