"""Readings of stress relaxation and creep as steps: one temperature, one sample, time from 0.

A step may last for hours at many readings a second. Readings are therefore averaged in bins of
log time, `BINS` to the decade, which changes a decay by less than 1e-4 of itself and bounds a fit.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

import daq
from daq_mechanical.moduli import ZERO_OF

Floats = npt.NDArray[np.float64]

BINS: Final = 48
"""Bins to a decade of time."""
FACTORS: Final = {"Pa": 1.0, "kPa": 1e3, "MPa": 1e6, "GPa": 1e9}
FORCES: Final = {"mN": 1e-3, "N": 1.0, "kN": 1e3}
STRAINS: Final = {"": 1.0, "1": 1.0, "%": 0.01}
LENGTHS: Final = {"um": 1e-6, "mm": 1e-3, "m": 1.0}


class StepConfig(daq.Config):
    """What analyses of steps in time may be told."""

    skip: float = daq.setting(
        0.0, "s", "readings earlier in a step are left out: the load is being applied", ge=0
    )
    temperature_step: float = daq.setting(
        2.0, "K", "where segments are not told, a change by more begins a step", gt=0
    )
    load_step: float = daq.setting(
        0.1, "", "so does a change of what is held by more, of the most that was held", gt=0
    )
    temperature: float | None = daq.setting(
        None, "K", "of the specimen, where readings do not tell it", gt=0
    )
    area: float | None = daq.setting(
        None, "m2", "cross-section: stress may be a force then, as load frames give it", gt=0
    )
    length: float | None = daq.setting(
        None, "m", "gauge length: strain may be a displacement then", gt=0
    )
    least: int = daq.setting(8, "", "points before the first fit", ge=6)


@dataclasses.dataclass(slots=True)
class Step:
    """One step, as far as it has come.

    Parameters
    ----------
    number
        Counted over the run.
    segment, sample
        As the stream has them, -1 where it does not.
    left_out
        Readings that were lost or not finite, or came before the time they follow.
    time
        ns since 1970 UTC of the last reading taken.
    """

    number: int
    segment: int
    sample: int
    left_out: int = 0
    time: int = 0
    begun: int = 0
    elapsed: float = -math.inf
    keys: list[int] = dataclasses.field(default_factory=list)
    sums: list[list[float]] = dataclasses.field(default_factory=list)
    kelvin: float = 0.0
    load: float = 0.0
    readings: int = 0
    first_load: float = math.nan

    def add(self, seconds: float, value: float, T: float, load: float) -> bool:
        """Take a reading; True where it begins a new bin."""
        self.elapsed = seconds
        self.kelvin += T
        self.load += load
        self.readings += 1
        key = math.floor(BINS * math.log10(seconds))
        if self.keys and key <= self.keys[-1]:
            entry = self.sums[-1]
            entry[0] += 1
            entry[1] += math.log(seconds)
            entry[2] += value
            return False
        self.keys.append(key)
        self.sums.append([1.0, math.log(seconds), value])
        return True

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def points(self) -> tuple[Floats, Floats, Floats]:
        """Times s, mean values, and how many readings each holds, [bin]."""
        table = np.array(self.sums)
        return np.exp(table[:, 1] / table[:, 0]), table[:, 2] / table[:, 0], table[:, 0]

    @property
    def temperature(self) -> float:
        """Mean temperature, K."""
        return self.kelvin / self.readings

    @property
    def mean_load(self) -> float:
        """Mean of what is held: strain, or stress in Pa; NaN where it is not measured."""
        return self.load / self.readings


class Steps:
    """Reads one stream as steps.

    Parameters
    ----------
    stream
        With ``temperature`` K or degC (or the setting) and the field ``value``, ``load`` where it is there, stresses in
        Pa to GPa (forces with ``area``), strains as numbers or % (lengths with ``length``);
        ``elapsed`` s, else time since the first reading of the step; ``segment`` or ``step`` and
        ``sample`` where known.
    value, load
        Fields: what changes, and what is held.
    config
        A `StepConfig`.

    Raises
    ------
    ValueError
        A field is absent or in other units.
    """

    def __init__(self, stream: daq.Stream, value: str, load: str, config: Any) -> None:
        self.name = stream.name
        told = "temperature" in stream.fields or config.temperature is None
        for field in ("temperature", value) if told else (value,):
            if field not in stream.fields or stream.fields[field].shape:
                raise ValueError(
                    f"{self.name} has no field {field!r} with one number per record; it has "
                    f"{', '.join(sorted(set(stream.fields) - {'time'}))}"
                    + ("; or give temperature = ... (K)" if field == "temperature" else "")
                )
        units = stream.fields["temperature"].units if told else "K"
        if units not in ZERO_OF:
            raise ValueError(
                f"{self.name}: temperature is in {units or 'no units'!r}, known are "
                f"{', '.join(ZERO_OF)}"
            )
        self._zero = ZERO_OF[units]
        self._most = 0.0
        if "elapsed" in stream.fields and stream.fields["elapsed"].units != "s":
            raise ValueError(f"{self.name}: elapsed is not in s: let the reader convert it")
        self._stream = stream
        self.config = config
        for field in {value, load} & set(stream.fields):
            self._factor(field)  # says what is wrong with its units
        self._value, self._load = value, load
        self._fields = set(stream.fields)
        self._segment = next((f for f in ("segment", "step") if f in stream.fields), None)
        self._step: Step | None = None
        self._count = 0
        self._left_out = 0

    def _factor(self, field: str) -> float:
        """Return what makes a field a strain or a stress in Pa."""
        units = self._stream.fields[field].units
        known, others, by, what = STRAINS, LENGTHS, self.config.length, "length = ... (m)"
        if field == "stress":
            known, others, by, what = FACTORS, FORCES, self.config.area, "area = ... (m2)"
        if units in known:
            return known[units]
        if units in others and by is not None:
            return others[units] / float(by)
        raise ValueError(
            f"{self.name}: {field} is in {units or 'no units'!r}, known are "
            f"{', '.join(k or 'none' for k in known)}"
            + (f", and this with {what}" if units in others else "")
        )

    def push(self, batch: daq.Batch) -> Iterator[tuple[Step, bool]]:
        """Take readings; yield (step, ended) where a fit is due."""
        columns = self._columns(batch)
        for i in range(len(batch)):
            t, value, T, load, segment, sample, seconds, good = (c[i] for c in columns)
            if not good:
                self._left_out += 1
                continue
            step = self._step
            if step is not None and self._breaks(
                step, int(segment), int(sample), float(T), float(load), seconds
            ):
                if len(step):
                    yield step, True
                step = None
            if step is None:
                step = Step(
                    self._count, int(segment), int(sample), self._left_out, begun=int(t),
                    first_load=float(load),
                )  # fmt: skip
                self._step, self._left_out = step, 0
                self._count += 1
            elapsed = float(seconds) if "elapsed" in self._fields else (int(t) - step.begun) / 1e9
            step.left_out += self._left_out
            self._left_out = 0
            if elapsed <= max(self.config.skip, 0.0) or elapsed < step.elapsed:
                # also the reading at 0, at which the load is being applied
                step.left_out += elapsed < step.elapsed
                continue
            step.time = int(t)
            if step.add(elapsed, float(value), float(T), float(load)) and (
                len(step) >= self.config.least
            ):
                yield step, False

    def close(self) -> Iterator[tuple[Step, bool]]:
        """Yield the last step."""
        if self._step is not None and len(self._step):
            yield self._step, True
        self._step = None

    def _breaks(
        self, step: Step, segment: int, sample: int, T: float, load: float, seconds: float
    ) -> bool:
        if segment != step.segment or sample != step.sample:
            return True
        if math.isfinite(load):
            self._most = max(self._most, abs(load))
        if self._segment is not None:
            return False
        # of the first reading too, which is in no fit: the load may come with the second
        if math.isfinite(load) and abs(load - step.first_load) > self.config.load_step * self._most:
            return True
        if not step.readings:
            return False
        restarted = "elapsed" in self._fields and seconds < 0.5 * step.elapsed
        return restarted or abs(T - step.temperature) > self.config.temperature_step

    def _columns(self, batch: daq.Batch) -> tuple[npt.NDArray[Any], ...]:
        count = len(batch)
        value = self._factor(self._value) * np.asarray(batch[self._value], np.float64)
        T = np.full(count, self.config.temperature, np.float64)
        if "temperature" in self._fields:
            T = np.asarray(batch["temperature"], np.float64) + self._zero
        load = np.full(count, np.nan)
        if self._load in self._fields:
            load = self._factor(self._load) * np.asarray(batch[self._load], np.float64)
        whole = np.full(count, -1)
        segment = whole if self._segment is None else np.asarray(batch[self._segment])
        sample = np.asarray(batch["sample"]) if "sample" in self._fields else whole
        seconds = np.zeros(count)
        if "elapsed" in self._fields:
            seconds = np.asarray(batch["elapsed"], np.float64)
        good = batch.valid & (batch.time != daq.NO_TIME) & np.isfinite(value)
        good &= np.isfinite(T) & (T > 0) & np.isfinite(seconds)
        if self._load in self._fields:
            good &= np.isfinite(load)
        return batch.time, value, T, load, segment, sample, seconds, good


def single(streams: Mapping[str, daq.Stream], what: str) -> daq.Stream:
    """Return the only input; ValueError where there are several."""
    if len(streams) != 1:
        raise ValueError(f"{what} takes one input, not {len(streams)}")
    (stream,) = streams.values()
    return stream


def record(stream: str, time: int, row: Mapping[str, Any]) -> daq.Batch:
    """Return a batch of one record."""
    arrays: dict[str, npt.NDArray[Any]] = {n: np.asarray(v)[np.newaxis] for n, v in row.items()}
    return daq.Batch(stream, {"time": np.array([time], np.int64), **arrays})
