"""The rows of an export file as records: units, sign, time, and the numbers of samples and steps."""

from __future__ import annotations

import dataclasses
import logging
import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

import daq
from daq_exports.quantities import Column, Found, find_columns
from daq_exports.settings import ExportSettings
from daq_exports.units import UNITS

log = logging.getLogger(__name__)

Floats = npt.NDArray[np.float64]

AT_ONCE: Final = 4096
"""Records in a batch, at most."""

_FLOWS: Final = ("heat_flow", "reversing_heat_flow")


@dataclasses.dataclass
class Facts:
    """What the head of a file says of a measurement; None and empty: it does not.

    ``exotherm`` is the direction of exothermic heat flow, ``start`` in nanoseconds since 1970 UTC.
    """

    mass_mg: float | None = None
    exotherm: Literal["up", "down"] | None = None
    start: int | None = None
    sample_name: str = ""
    instrument: str = ""
    heating_rate: float | None = None


class Series:
    """Makes records of the rows of one file.

    One record is one row. Fields are the known quantities that the columns hold (see
    `daq_exports.quantities`), float64, in K, s, Hz, Pa, W/g and 1; with ``heat_flow`` also ``mass``
    (mg), and the annealing before it where it is configured; ``sample`` and, where steps are told
    apart, ``segment`` (int32, from 0). Heat flow is endothermic positive; in W/g where the file
    has it so or the mass is known, else in mW.

    The time is the start of the measurement and the row's own since then. Where the start is not
    known it counts from 1970 (attribute ``start_time`` is None), without a column of time by one
    nanosecond a row. Within a step a time that goes back begins another sample; in a new step it
    was counted from the step's beginning, and goes on.

    Rows are kept as they are: repeats, a temperature that goes back, NaN. What is no number in a
    number's place is NaN, counted and named in the log.

    Parameters
    ----------
    name
        Of the file, for messages.
    settings
        What the configuration says.
    form
        Name of the format.
    """

    def __init__(self, name: str, settings: ExportSettings, form: str) -> None:
        self._name = name
        self._settings = settings
        self._form = form
        self._found: dict[str, Found] = {}
        self._fields: dict[str, daq.Field] = {}
        self._attributes: dict[str, Any] = {}
        self._facts = Facts()
        self._named = self._from_name()
        self._chunks: list[dict[str, npt.NDArray[Any]]] = []
        self._starts: list[int] = []
        self.count = 0
        """Records so far."""
        self.unreadable = 0
        """Numbers that could not be read."""
        self._sample = self._segment = -1
        self._new_step = True
        self._steps = False
        self._offset = self._last = -math.inf
        self._label = math.nan
        self._comma: bool | None = None if settings.decimal is None else settings.decimal == ","

    # -- the head -------------------------------------------------------------------------------

    @property
    def begun(self) -> bool:
        """Whether the columns are known."""
        return bool(self._fields)

    def begin(self, columns: Sequence[Column], facts: Facts, *, steps: bool, run: bool) -> None:
        """Begin a table: the columns of the rows to come.

        ``steps``: the format tells steps apart, and this is a new one. ``run``: a measurement
        begins, another sample. Raises ValueError where units or the sign of heat flow are not
        known, or nothing is that could be read.
        """
        settings = self._settings
        try:
            found = find_columns(columns, settings.columns, settings.units, settings.also)
        except ValueError as error:
            raise ValueError(f"{self._name}: {error}") from None
        first = not self.begun
        if first:
            self._steps = steps or "segment" in found
            self._describe(found, facts, columns)
        if first or run:
            self._facts = facts
            self._sample += 1
            self._offset = self._last = -math.inf
        if first or steps:
            self._segment += 1
            self._new_step = True
        if lost := sorted(set(self._found) - set(found)):
            log.warning("%s: a step without %s: NaN", self._name, ", ".join(lost))
        # The fields are those of the first table.
        self._found = {field: found[field] for field in self._found_at_first if field in found}
        self._factors = self._flow_factors(facts)

    def decimals(self, sign: str) -> None:
        """Take the sign of decimals from the head of the file."""
        if self._settings.decimal is None:
            self._comma = sign == ","

    def stream(self) -> daq.Stream:
        """Return the description of the stream."""
        return daq.Stream("", self._fields, attributes=self._attributes)

    def _describe(self, found: dict[str, Found], facts: Facts, columns: Sequence[Column]) -> None:
        values = [field for field in found if field not in ("time", "segment")]
        if not values:
            names = ", ".join(column.name for column in columns)
            raise ValueError(
                f"{self._name}: none of its columns is known: {names}; say "
                'columns = { temperature = "...", heat_flow = "..." }'
            )
        if "heat_flow" in found and "temperature" not in found:
            raise ValueError(
                f'{self._name}: heat flow without a temperature; say columns = {{ temperature = "..." }}'
            )
        mass = self._mass(facts)
        self._per_gram = "heat_flow" in found and (
            mass is not None or found["heat_flow"].units == "W/g"
        )
        for field in values:
            units = found[field].units
            if field in _FLOWS:
                units = "W/g" if self._per_gram else "mW"
            self._fields[field] = daq.Field("<f8", (), units, found[field].long_name)
        self._found_at_first = found
        self._found = found
        self._attributes = {
            "file": self._name, "format": self._form, "start_time": None,
            "columns": {f: _written(entry.column) for f, entry in found.items()},
        }  # fmt: skip
        if facts.instrument:
            self._attributes["instrument"] = facts.instrument
        if name := self._named.get("sample_name") or facts.sample_name:
            self._attributes["sample_name"] = name
        if (start := self._start(facts)) is not None:
            self._attributes["start_time"] = str(np.datetime64(start, "ns"))[:23] + "Z"
        if "heat_flow" in found:
            self._describe_heat_flow(facts, mass)
        self._fields["sample"] = daq.Field("<i4", (), "", "number of the measurement")
        if self._steps:
            self._fields["segment"] = daq.Field("<i4", (), "", "number of the step")

    def _describe_heat_flow(self, facts: Facts, mass: float | None) -> None:
        exotherm = self._exotherm(facts)
        self._attributes |= {
            "heat_flow_sign": "endothermic_positive",
            "exported_sign": "exothermic_up" if exotherm == "up" else "endothermic_up",
        }
        if mass is not None:
            self._attributes["mass_mg"] = mass
        if facts.heating_rate is not None:
            self._attributes["heating_rate_K_per_min"] = facts.heating_rate
        self._fields["mass"] = daq.Field("<f8", (), "mg", "mass of the sample")
        for field, units in (("annealing_temperature", "K"), ("annealing_time", "s")):
            if self._annealing()[field] is not None:
                self._fields[field] = daq.Field("<f8", (), units, "before the scan")
                self._attributes[f"{field}_{units}"] = self._annealing()[field]

    # -- the rows -------------------------------------------------------------------------------

    def add(self, rows: Sequence[Sequence[str]]) -> None:
        """Add rows of text."""
        if rows:
            self.add_numbers(
                {
                    field: self._numbers([row[entry.index] for row in rows])
                    for field, entry in self._found.items()
                },
                len(rows),
            )

    def found_numbers(self, column: Callable[[int], Any]) -> dict[str, Floats]:
        """Return the numbers of each field, of ``column(index)``; None and text are NaN."""
        return {field: _floats(column(entry.index)) for field, entry in self._found.items()}

    def add_numbers(
        self, values: dict[str, Floats], count: int, times: npt.NDArray[np.int64] | None = None
    ) -> None:
        """Add rows of numbers, by field, in the units of the file; ``times`` where they are known."""
        arrays: dict[str, npt.NDArray[Any]] = {}
        for field in self._found_at_first:
            if field in ("time", "segment"):
                continue
            entry = self._found.get(field)
            if entry is None:
                arrays[field] = np.full(count, np.nan)
                continue
            factor, offset = entry.conversion
            factor *= self._factors.get(field, 1.0)
            arrays[field] = values[field] * factor + offset
        label = values.get("segment")
        samples, segments, elapsed = self._counted(
            values["time"] * self._found["time"].conversion[0] if "time" in self._found else None,
            label, count,
        )  # fmt: skip
        arrays["sample"] = samples
        if self._steps:
            arrays["segment"] = segments
        if "mass" in self._fields:
            mass = self._mass(self._facts)
            arrays["mass"] = np.full(count, np.nan if mass is None else mass)
        for field in ("annealing_temperature", "annealing_time"):
            if field in self._fields:
                arrays[field] = np.full(count, self._annealing()[field])
        start = self._start(self._facts) or 0
        if times is None and elapsed is None:
            times = start + np.arange(self.count, self.count + count)
        elif times is None:
            assert elapsed is not None
            times = start + np.rint(elapsed * 1e9).astype(np.int64)
        arrays["time"] = times.astype(np.int64)
        self._chunks.append(arrays)
        self._starts.append(self.count)
        self.count += count

    def batches(self, start: int) -> Iterator[daq.Batch]:
        """Yield the records from ``start`` on that there are now."""
        for first, chunk in zip(self._starts, self._chunks, strict=True):
            length = len(chunk["time"])
            for at in range(max(0, start - first), length, AT_ONCE):
                piece = {field: array[at : at + AT_ONCE] for field, array in chunk.items()}
                yield daq.Batch("", piece, first + at)

    def report(self) -> None:
        """Say in the log what could not be read."""
        if self.unreadable:
            log.warning("%s: %d numbers cannot be read: NaN", self._name, self.unreadable)
            self.unreadable = 0

    def _counted(
        self, elapsed: Floats | None, labels: Floats | None, count: int
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], Floats | None]:
        """Return the number of sample and step of each row, and the time since the start (s)."""
        samples = np.full(count, self._sample, np.int32)
        segments = np.full(count, self._segment, np.int32)
        if labels is not None and count:
            before = np.concatenate(([self._label], labels[:-1]))
            changed = (labels != before) & np.isfinite(labels)
            if not math.isfinite(self._label):
                changed[0] = False  # The first step is number 0 already.
            segments += np.cumsum(changed, dtype=np.int32)
            self._segment, self._label = int(segments[-1]), float(labels[-1])
        if elapsed is None:
            return samples, segments, None
        elapsed = elapsed.copy()
        last, offset = self._last, self._offset if math.isfinite(self._offset) else 0.0
        finite = np.flatnonzero(np.isfinite(elapsed))
        if self._new_step and len(finite):
            self._new_step = False
            own = self._found["time"].column.name.strip().lower() == "step time"
            if math.isfinite(last) and (own or elapsed[finite[0]] + offset < last):
                offset = last  # The times of a step count from its own beginning.
        # A row without a time has that of the row before.
        places = np.maximum.accumulate(np.where(np.isfinite(elapsed), np.arange(count), -1))
        filled = np.where(places >= 0, elapsed[places], last - offset)
        filled = np.where(np.isfinite(filled), filled, 0.0)
        back = np.diff(filled, prepend=filled[:1] if not math.isfinite(last) else last - offset) < 0
        if back.any():
            samples += np.cumsum(back, dtype=np.int32)
            self._sample = int(samples[-1])
            offsets = np.where(np.cumsum(back) > 0, 0.0, offset)
            offset = 0.0
        else:
            offsets = np.full(count, offset)
        filled = filled + offsets
        self._last, self._offset = float(filled[-1]), offset
        return samples, segments, filled

    def _numbers(self, texts: list[str]) -> Floats:
        if self._comma is None and any("." in text for text in texts):
            self._comma = any("," in text and "." not in text for text in texts)
        if not self._comma:
            try:
                return np.array(texts, np.float64)
            except ValueError:
                pass
        return np.array([self._number(text) for text in texts], np.float64)

    def _number(self, text: str) -> float:
        text = text.strip().strip('"').strip()
        if not text or text in ("-", "--"):
            return math.nan
        if "," in text:
            if "." in text or self._comma is False:
                raise ValueError(
                    f"{self._name}: {text!r} has a comma where decimals have a point; say "
                    'decimal = "," or ".", or export without separators of thousands'
                )
            self._comma = True
            text = text.replace(",", ".")
        elif "." in text and self._comma:
            raise ValueError(
                f"{self._name}: {text!r} has a point where decimals have a comma; say "
                'decimal = "," or ".", or export without separators of thousands'
            )
        try:
            return float(text)
        except ValueError:
            self.unreadable += 1
            return math.nan

    # -- facts of the measurement ---------------------------------------------------------------

    def _exotherm(self, facts: Facts) -> str:
        given = self._settings.exotherm
        if facts.exotherm is None and given is None:
            raise ValueError(
                f"{self._name}: it does not say whether exothermic heat flow points up or down; "
                'say exotherm = "up" or "down"'
            )
        if None not in (facts.exotherm, given) and facts.exotherm != given:
            raise ValueError(
                f"{self._name}: the file says that exothermic points {facts.exotherm}, the "
                f"configuration {given}; take exotherm out"
            )
        return str(facts.exotherm or given)

    def _flow_factors(self, facts: Facts) -> dict[str, float]:
        """Return what heat flows are multiplied by, besides their units."""
        factors: dict[str, float] = {}
        mass = self._mass(facts)
        for field in _FLOWS:
            if field not in self._found:
                continue
            sign = -1.0 if self._exotherm(facts) == "up" else 1.0
            if self._found[field].units == "mW" and self._per_gram:
                if mass is None:
                    raise ValueError(
                        f"{self._name}: {field} is in mW and its mass is not known; say mass = (mg)"
                    )
                sign /= mass  # mW/mg = W/g
            elif self._found[field].units == "W/g" and not self._per_gram:
                raise ValueError(f"{self._name}: heat flow in mW, {field} in W/g; say mass = (mg)")
            factors[field] = sign
        return factors

    def _mass(self, facts: Facts) -> float | None:
        named = self._named.get("mass_mg")
        return self._settings.mass or (float(named) if named else None) or facts.mass_mg

    def _start(self, facts: Facts) -> int | None:
        if facts.start is not None:
            return facts.start
        given = self._settings.start_time
        return None if given is None else self._settings.nanoseconds(given)

    def _annealing(self) -> dict[str, float | None]:
        named, settings = self._named, self._settings
        temperature, duration = settings.annealing_temperature, settings.annealing_time
        for group, (factor, offset) in (
            ("annealing_temperature_K", (1.0, 0.0)), ("annealing_temperature_degC", (1.0, 273.15)),
        ):  # fmt: skip
            if group in named:
                temperature = float(named[group]) * factor + offset
        for unit in ("s", "min", "h"):
            if f"annealing_time_{unit}" in named:
                duration = float(named[f"annealing_time_{unit}"]) * UNITS["time"][unit][0]
        if self._settings.from_name and "annealing_time" in self._settings.from_name:
            duration = math.nan if duration is None else duration
        if self._settings.from_name and "annealing_temperature" in self._settings.from_name:
            temperature = math.nan if temperature is None else temperature
        return {"annealing_temperature": temperature, "annealing_time": duration}

    def _from_name(self) -> dict[str, str]:
        match = (
            re.search(self._settings.from_name, self._name) if self._settings.from_name else None
        )
        named = {key: text for key, text in (match.groupdict() if match else {}).items() if text}
        for key, text in named.items():
            if key != "sample_name":
                try:
                    float(text)
                except ValueError:
                    raise ValueError(
                        f"{self._name}: from_name: {key} is {text!r}, no number"
                    ) from None
        return named


def _floats(values: Any) -> Floats:
    if isinstance(values, np.ndarray):
        return values
    return np.array(
        [value if isinstance(value, int | float) else math.nan for value in values], np.float64
    )


def _written(column: Column) -> str:
    return f"{column.name} ({column.unit})" if column.unit else column.name
