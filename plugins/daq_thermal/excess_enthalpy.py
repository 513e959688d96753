"""Excess and recovery enthalpy of annealed samples against a standard trace, as they are scanned."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pydantic

import daq
from daq_thermal.constructions import Ranges, construct
from daq_thermal.enthalpy_difference import Cells, Difference, difference
from daq_thermal.ramp_analysis import RampAnalysis, RampConfig
from daq_thermal.scans import Ramp

OPEN: Final = 1
"""Flag: the liquid is not reached; the excess is that so far, aligned in the low range only."""
NO_OVERLAP: Final = 2
"""Flag: sample and standard do not share the low range."""
OTHER_RATE: Final = 4
"""Flag: the standard was heated at a rate that differs by more than 5 %: not compared."""
NO_LIQUID: Final = 8
"""Flag: no range of the liquid was given, and the standard shows none."""
NO_STANDARD: Final = 16
"""Flag: the stream ended without the standard."""

Range = tuple[pydantic.PositiveFloat, pydantic.PositiveFloat]
NUMBERS: Final = ("excess", "below", "recovery")
RANGES: Final = ("low_from", "low_to", "liquid_from", "liquid_to", "split")


class ExcessEnthalpy(RampAnalysis):
    """What a sample has more enthalpy than its standard, and where it gives it off.

    Takes a calorimeter's readings. By default the first heating of each sample is compared with
    its second one: cooled from the liquid in between, it has become the standard (Zhu2016). Gives:

    ``excess``
        A record per comparison, ``final``, and before it one at every multiple of ``every`` in
        the index while a sample is heated whose standard is known. ``excess``, ``below`` and
        ``recovery`` J/g (`daq_thermal.enthalpy_difference`) with ``_errors``, and
        ``<name>_standard_errors``: the part that comes from the standard. ``sample``, ``ramp``,
        ``standard_ramp`` int32; ``annealing_temperature`` K, ``annealing_time`` s,
        ``heating_rate`` K/min, ``end_temperature`` K; ``low_from`` ... ``split`` K, the ranges;
        ``flags`` uint8.
    ``traces``
        Against the constant ``temperature``: ``heat_flow``, aligned, and ``standard``, W/g.

    Errors are those of noise. What baselines bend from scan to scan is not in them: it shows as
    scatter between samples, and can be told to `enthalpy_relaxation`.
    """

    name = "excess_enthalpy"

    class Config(RampConfig):
        """What ``[analyses.NAME]`` with ``type = "excess_enthalpy"`` may say."""

        heating: int = daq.setting(
            0, "", "which heating of a sample is compared, 0 the first", ge=0
        )
        standard_heating: int = daq.setting(1, "", "which heating is the standard", ge=0)
        standard_sample: int | None = daq.setting(
            None, "", "the sample whose heating is the standard of all; by default each its own"
        )
        low: Range | None = daq.setting(
            None, "K", "[from, to] below all relaxation; by default 5 to 30 K above the beginning"
        )
        liquid: Range | None = daq.setting(
            None, "K", "[from, to] in the liquid; by default where the standard shows it"
        )
        split: float | None = daq.setting(
            None,
            "K",
            "between excess and recovery; by default the onset of the standard's T_g",
            gt=0,
        )
        cell: float = daq.setting(1.0, "K", "width of the cells that are compared", gt=0)
        grid: tuple[pydantic.PositiveFloat, pydantic.PositiveFloat] = daq.setting(
            (300.0, 900.0), "K", "[from, to] of traces"
        )

        @pydantic.model_validator(mode="after")
        def _ordered(self) -> ExcessEnthalpy.Config:
            for name in ("low", "liquid", "grid"):
                given = getattr(self, name)
                if given is not None and given[0] >= given[1]:
                    raise ValueError(f"{name}: [from, to], the smaller one first")
            if self.low and self.liquid and self.low[1] > self.liquid[0]:
                raise ValueError("low lies below liquid")
            if self.standard_sample is None and self.heating == self.standard_heating:
                raise ValueError("heating and standard_heating: a trace is not its own standard")
            if (self.grid[1] - self.grid[0]) / self.cell > 20000:
                raise ValueError("grid: 20000 cells at most")
            return self

    def open(self, streams: Mapping[str, daq.Stream], config: Any) -> Sequence[daq.Stream]:
        """Check the input; ValueError where unit or sign of the heat flow is not known."""
        self.open_readings(streams, config)
        self._config = config
        self._samples: dict[int, Ramp] = {}
        self._standards: dict[int, Standard] = {}
        first, stop = (round(edge / config.cell) for edge in config.grid)
        self._grid_first, self._grid = first, (np.arange(first, stop) + 0.5) * config.cell
        numbers: dict[str, daq.Field] = {}
        for name, words in (
            ("excess", "excess enthalpy"), ("below", "excess below the split"),
            ("recovery", "recovery enthalpy"),
        ):  # fmt: skip
            numbers[name] = daq.Field("<f8", (), "J/g", words)
            numbers[f"{name}_errors"] = daq.Field("<f8", (), "J/g")
            numbers[f"{name}_standard_errors"] = daq.Field("<f8", (), "J/g", "of the standard")
        integers = {
            name: daq.Field("<i4", (), "", name.replace("_", " "))
            for name in ("sample", "ramp", "standard_ramp")
        }
        excess = daq.Stream(
            "excess",
            {
                **numbers,
                **integers,
                "final": daq.Field("|b1", (), "", "the ramp has ended"),
                "flags": daq.Field("|u1", (), "", "what is amiss"),
                "annealing_temperature": daq.Field("<f8", (), "K", "annealed before at"),
                "annealing_time": daq.Field("<f8", (), "s", "annealed before for"),
                "heating_rate": daq.Field("<f8", (), "K/min", "heating rate, measured"),
                "end_temperature": daq.Field("<f8", (), "K", "temperature reached"),
                **dict.fromkeys(RANGES, daq.Field("<f8", (), "K")),
            },
        )
        axis = [{"name": "temperature", "units": "K", "values": "temperature"}]
        points = (len(self._grid),)
        traces = daq.Stream(
            "traces",
            {
                "heat_flow": daq.Field("<f8", points, "W/g", "heat flow, aligned"),
                "standard": daq.Field("<f8", points, "W/g", "heat flow of the standard"),
                "sample": integers["sample"],
                "split": daq.Field("<f8", (), "K"),
            },
            axes={"heat_flow": axis, "standard": axis},
            constants={"temperature": self._grid},
        )
        return [excess, traces]

    def growing(self, ramp: Ramp) -> Iterable[daq.Batch]:
        """Compare a sample that is being heated with a standard that is known."""
        if self._is_sample(ramp) and (standard := self._standard_of(ramp)) is not None:
            yield from self._given(ramp, standard, False)

    def finished(self, ramp: Ramp) -> Iterable[daq.Batch]:
        """Keep the ramp, or compare it with its standard, or what waited for it."""
        config = self._config
        if self._is_sample(ramp):
            if (standard := self._standard_of(ramp)) is not None:
                yield from self._given(ramp, standard, True)
            else:
                self._samples[ramp.number] = ramp
        if ramp.rate > 0 and ramp.heating == config.standard_heating:
            if config.standard_sample not in (None, ramp.sample):
                return
            standard = self._standards[ramp.sample] = Standard.of(ramp, config)
            for number, waiting in list(self._samples.items()):
                if self._standard_of(waiting) is standard:
                    del self._samples[number]
                    yield from self._given(waiting, standard, True)
            if config.standard_sample is None:
                # each has its own: only the newest is still needed
                self._standards = {ramp.sample: standard}

    def close(self) -> Iterator[daq.Batch]:
        """Look at the last ramp, and name the samples whose standard never came."""
        yield from super().close()
        for ramp in self._samples.values():
            yield self._row(ramp, None, None, NO_STANDARD, True)

    @classmethod
    def memory(cls, streams: Mapping[str, daq.Stream], config: Any) -> int:
        """Return 100 bytes per reading of a hundred ramps of ten thousand readings that wait."""
        return 100 * 10_000 * 100

    def _is_sample(self, ramp: Ramp) -> bool:
        return ramp.rate > 0 and ramp.heating == self._config.heating and len(ramp) >= 5

    def _standard_of(self, ramp: Ramp) -> Standard | None:
        sample = self._config.standard_sample
        return self._standards.get(ramp.sample if sample is None else sample)

    def _given(self, ramp: Ramp, standard: Standard, final: bool) -> Iterable[daq.Batch]:
        flags = 0
        found = None
        if standard.liquid is None:
            flags |= NO_LIQUID
        elif abs(ramp.rate / standard.rate - 1) > 0.05:
            flags |= OTHER_RATE
        else:
            cells = Cells.of(ramp.temperature, ramp.heat_flow / ramp.rate, self._config.cell)
            low = self._config.low or standard.low_after(ramp)
            found = difference(cells, standard.cells, low, standard.liquid, standard.split)
            flags |= NO_OVERLAP if found is None else OPEN if found.open else 0
        yield self._row(ramp, standard, found, flags, final)
        if found is not None:
            yield self._traces(ramp, standard, found)

    def _row(
        self,
        ramp: Ramp,
        standard: Standard | None,
        found: Difference | None,
        flags: int,
        final: bool,
    ) -> daq.Batch:
        row: dict[str, Any] = {}
        for i, name in enumerate(NUMBERS):
            row[name] = np.nan if found is None else getattr(found, name)
            row[f"{name}_errors"] = np.nan if found is None else found.errors[i]
            row[f"{name}_standard_errors"] = np.nan if found is None else found.from_standard[i]
        low = liquid = (np.nan, np.nan)
        split = np.nan
        if standard is not None:
            low, liquid = self._config.low or standard.low_after(ramp), standard.liquid or liquid
            split = standard.split
        row |= dict(zip(RANGES, (*low, *liquid, split), strict=True))
        row |= {
            "annealing_temperature": ramp.annealing_temperature,
            "annealing_time": ramp.annealing_time,
            "heating_rate": 60 * ramp.rate,
            "end_temperature": ramp.temperature[-1],
        }
        arrays: dict[str, npt.NDArray[Any]] = {n: np.array([v], np.float64) for n, v in row.items()}
        for name, value in (
            ("sample", ramp.sample), ("ramp", ramp.number),
            ("standard_ramp", -1 if standard is None else standard.number),
        ):  # fmt: skip
            arrays[name] = np.array([value], np.int32)
        arrays["final"], arrays["flags"] = np.array([final]), np.array([flags], np.uint8)
        arrays["time"] = np.array([ramp.time], np.int64)
        return daq.Batch("excess", arrays)

    def _traces(self, ramp: Ramp, standard: Standard, found: Difference) -> daq.Batch:
        at = np.round(found.T / self._config.cell - 0.5).astype(np.int64) - self._grid_first
        inside = (at >= 0) & (at < len(self._grid))
        curves = {}
        for name, values in (("heat_flow", found.sample), ("standard", found.standard)):
            curves[name] = np.full((1, len(self._grid)), np.nan)
            curves[name][0, at[inside]] = values[inside] * ramp.rate
        return daq.Batch(
            "traces",
            {
                "time": np.array([ramp.time], np.int64),
                "sample": np.array([ramp.sample], np.int32),
                "split": np.array([standard.split]),
                **curves,
            },
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Standard:
    """A standard trace: its cells, rate K/s, and what it says of ranges, K."""

    number: int
    rate: float
    cells: Cells
    begin: float
    liquid: tuple[float, float] | None
    split: float

    @classmethod
    def of(cls, ramp: Ramp, config: Any) -> Standard:
        """Return the standard that a ramp gives."""
        c = ramp.heat_flow / ramp.rate
        found = construct(ramp.temperature, c, Ranges())
        liquid = config.liquid
        if liquid is None and np.isfinite(found.liquid.value) and np.isfinite(found.half_step):
            liquid = (found.liquid.begin, found.liquid.end)
        split = config.split or found.onset
        return cls(
            ramp.number, ramp.rate, Cells.of(ramp.temperature, c, config.cell),
            float(ramp.temperature[0]), liquid, float(split),
        )  # fmt: skip

    def low_after(self, ramp: Ramp) -> tuple[float, float]:
        """Return 5 to 30 K above where the later of both traces begins."""
        begin = max(self.begin, float(ramp.temperature[0]))
        return begin + 5, begin + 30
