"""Readings of a calorimeter as every analysis here wants them: K, W/g, endothermic positive.

What a stream must say is asked once, when it is opened; a unit or a sign that is not known is an
error in one line, never a guess.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

import daq

Floats = npt.NDArray[np.float64]

SIGNS: Final = {"endothermic_positive": 1.0, "exothermic_positive": -1.0}
PER_MASS: Final = {"W/g": 1.0, "mW/mg": 1.0, "J/(s g)": 1.0, "kW/kg": 1.0}
POWER: Final = {"mW": 1.0, "W": 1e3, "uW": 1e-3, "µW": 1e-3, "\u03bcW": 1e-3}
"""Units of heat flow that need a mass: how many mW they are."""

Sign = Literal["endothermic_positive", "exothermic_positive"]


class ReadingsConfig(daq.Config):
    """What every analysis of calorimeter readings may be told about its input."""

    heat_flow_sign: Sign | None = daq.setting(
        None, "", "of the stream's heat flow, where the stream does not say it"
    )
    mass: float | None = daq.setting(
        None, "mg", "of the sample, where heat flow is in mW and the stream has no mass", gt=0
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Rows:
    """Good readings, in order; all [n].

    Parameters
    ----------
    index
        int64, of each reading in its stream.
    time
        int64, ns since 1970 UTC.
    temperature
        float64, K.
    heat_flow
        float64, W/g, endothermic positive.
    segment, sample
        int64; -1 where the stream has none.
    heating_rate
        float64, K/min, of the programme; NaN where not known.
    annealing_temperature, annealing_time
        float64, K and s; NaN where not known.
    """

    index: npt.NDArray[np.int64]
    time: npt.NDArray[np.int64]
    temperature: Floats
    heat_flow: Floats
    segment: npt.NDArray[np.int64]
    sample: npt.NDArray[np.int64]
    heating_rate: Floats
    annealing_temperature: Floats
    annealing_time: Floats

    def __len__(self) -> int:
        return len(self.index)

    def part(self, start: int | None, stop: int | None) -> Rows:
        """Return readings ``start`` to ``stop``, copied."""
        return Rows(*(getattr(self, f.name)[start:stop].copy() for f in dataclasses.fields(self)))

    def where(self, mask: npt.NDArray[np.bool_]) -> Rows:
        """Return the readings that a mask [n] keeps."""
        return Rows(*(getattr(self, f.name)[mask] for f in dataclasses.fields(self)))

    @classmethod
    def joined(cls, parts: list[Rows]) -> Rows:
        """Return readings one after another."""
        names = [f.name for f in dataclasses.fields(cls)]
        return cls(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))


class Readings:
    """Reads batches of one stream as `Rows`.

    Parameters
    ----------
    stream
        With ``temperature`` in K and ``heat_flow`` in W/g, mW or W. ``segment``, ``sample``,
        ``heating_rate`` (K/min), ``mass`` (mg), ``annealing_temperature`` (K) and
        ``annealing_time`` (s) are taken where the stream has them; ``mass_mg``,
        ``annealing_temperature_K`` and ``annealing_time_s`` may be its attributes.
    config
        A `ReadingsConfig`; what it says goes before what the stream says of the mass. A sign that
        contradicts the stream's is refused.

    Raises
    ------
    ValueError
        A field is absent, in other units, the sign is not known, or a mass is needed.
    """

    def __init__(self, stream: daq.Stream, config: Any) -> None:
        self.name = stream.name
        for field in ("temperature", "heat_flow"):
            if field not in stream.fields or stream.fields[field].shape:
                raise ValueError(
                    f"{self.name} has no field {field!r} with one number per record: a calorimeter's "
                    f"stream is needed; it has {', '.join(sorted(set(stream.fields) - {'time'}))}"
                )
        units = {name: field.units for name, field in stream.fields.items()}
        for field, wanted in (
            ("temperature", "K"), ("heating_rate", "K/min"), ("mass", "mg"),
            ("annealing_temperature", "K"), ("annealing_time", "s"),
        ):  # fmt: skip
            if field in units and units[field] != wanted:
                raise ValueError(
                    f"{self.name}: {field} is in {units[field] or 'no units'!r}, {wanted!r} is "
                    "needed: let the reader convert it"
                )
        self._fields = set(stream.fields)
        self._attributes = stream.attributes
        self._sign = self._known_sign(stream, config.heat_flow_sign)
        self._mass = config.mass or stream.attributes.get("mass_mg")
        self._mass_given = config.mass is not None
        unit = units["heat_flow"]
        if unit not in PER_MASS and unit not in POWER:
            raise ValueError(
                f"{self.name}: heat_flow is in {unit or 'no units'!r}; "
                f"known are {', '.join([*PER_MASS, *POWER])}"
            )
        self._power = POWER.get(unit)
        if self._power is not None and self._mass is None and "mass" not in self._fields:
            raise ValueError(
                f"{self.name}: heat_flow is in {unit}: say the mass of the sample, "
                "mass = ... (mg), in the analysis"
            )

    def _known_sign(self, stream: daq.Stream, told: Sign | None) -> float:
        said = stream.attributes.get("heat_flow_sign")
        if said is not None and said not in SIGNS:
            raise ValueError(f"{self.name}: heat_flow_sign {said!r}: {' or '.join(SIGNS)}")
        if said is not None and told is not None and said != told:
            raise ValueError(
                f"{self.name} says that it is {said.replace('_', ' ')}, the configuration "
                f"{told.replace('_', ' ')}: one of them is wrong"
            )
        if (sign := told or said) is None:
            raise ValueError(
                f"{self.name} does not say which sign of heat_flow is endothermic: set "
                'heat_flow_sign = "endothermic_positive" or "exothermic_positive"'
            )
        return SIGNS[sign]

    def read(self, batch: daq.Batch) -> Rows:
        """Return the good readings of a batch; ``index`` tells which were left out.

        Left out are records that were lost or have no time, and those whose temperature, heat
        flow or needed mass is not finite (or not above 0: temperature, mass).
        """
        count = len(batch)
        temperature = np.asarray(batch["temperature"], np.float64)
        flow = self._sign * np.asarray(batch["heat_flow"], np.float64)
        if self._power is not None:
            flow = flow * self._power / self._masses(batch)
        good = batch.valid & (batch.time != daq.NO_TIME)
        good &= np.isfinite(temperature) & (temperature > 0) & np.isfinite(flow)
        rows = Rows(
            batch.indices,
            batch.time,
            temperature,
            flow,
            self._whole(batch, "segment", count),
            self._whole(batch, "sample", count),
            self._real(batch, "heating_rate", "heating_rate_K_per_min", count),
            self._real(batch, "annealing_temperature", "annealing_temperature_K", count),
            self._real(batch, "annealing_time", "annealing_time_s", count),
        )
        return rows.where(good)

    def _masses(self, batch: daq.Batch) -> Floats | float:
        if self._mass_given or "mass" not in self._fields:
            return float(self._mass or np.nan)
        masses = np.asarray(batch["mass"], np.float64)
        return np.where(masses > 0, masses, np.nan)

    def _whole(self, batch: daq.Batch, field: str, count: int) -> npt.NDArray[np.int64]:
        if field not in self._fields:
            return np.full(count, -1, np.int64)
        return np.asarray(batch[field]).astype(np.int64)

    def _real(self, batch: daq.Batch, field: str, attribute: str, count: int) -> Floats:
        if field in self._fields:
            return np.asarray(batch[field], np.float64)
        return np.full(count, float(self._attributes.get(attribute, np.nan)))


def single(streams: Mapping[str, daq.Stream], what: str) -> daq.Stream:
    """Return the only input; ValueError where there are several."""
    if len(streams) != 1:
        raise ValueError(f"{what} takes one input, not {len(streams)}")
    (stream,) = streams.values()
    return stream
