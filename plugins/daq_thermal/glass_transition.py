"""The glass transition and the crystallisation of each heating, as the trace grows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pydantic

import daq
from daq_thermal.constructions import NUMBERS, Construction, Ranges, construct, errors
from daq_thermal.flags import NOT_HEATED
from daq_thermal.lines import Line, crossing
from daq_thermal.ramp_analysis import RampAnalysis, RampConfig
from daq_thermal.scans import Ramp

Range = tuple[pydantic.PositiveFloat, pydantic.PositiveFloat]

UNITS: Final = dict(
    zip(NUMBERS, ("K", "K", "K", "J/(g K)", "K", "J/(g K)", "J/g", "K", "K", "J/g"), strict=True)
)
WHOLE: Final = ("ramp", "sample", "heating", "readings", "left_out", "repeated", "backward")
CURVES: Final = (
    "heat_flow", "glass_line", "liquid_line", "tangent", "crystallisation_tangent",
    "crystallisation_baseline",
)  # fmt: skip


class GlassTransition(RampAnalysis):
    """T_g, fictive temperature, overshoot, T_x and its heat, of every heating in the stream.

    Takes a calorimeter's readings (`daq_thermal.readings`). Gives two streams, a record each
    whenever the index has reached a multiple of ``every``, and one with ``final`` set when a ramp
    has ended:

    ``transition``
        ``ramp``, ``sample``, ``heating`` (0 the first of its sample), ``readings``, ``left_out``
        (lost, not finite), ``repeated``, ``backward`` (temperature stood or went back; not used),
        int32; ``began`` uint8, why the ramp began (`daq_thermal.flags`); ``flags`` uint16
        (there too); ``final``; ``heating_rate`` K/min; ``end_temperature`` K so
        far; ``annealing_temperature`` K and ``annealing_time`` s as the stream has them; and the
        numbers of `daq_thermal.constructions.Construction`, each with ``_errors`` beside it (from
        noise, at the end of a ramp only). What was not found is NaN. ``glass_from`` ...
        ``liquid_to`` K: the ranges.
    ``trace``
        Against the constant ``temperature``: heat flow, lines and tangents, W/g, for drawing.

    A cooling gives one record, flagged as such.
    """

    name = "glass_transition"

    class Config(RampConfig):
        """What ``[analyses.NAME]`` with ``type = "glass_transition"`` may say."""

        glass: Range | None = daq.setting(
            None, "K", "[from, to] of the line of the glass; by default from the trace"
        )
        liquid: Range | None = daq.setting(None, "K", "[from, to] of the line of the liquid")
        crystal: Range | None = daq.setting(None, "K", "[from, to] of the line after the exotherm")
        smoothing: float = daq.setting(2.0, "K", "half width of pieces for slopes", gt=0)
        least_step: float = daq.setting(
            0.02, "J/(g K)", "a smaller step of the heat capacity is no glass transition", gt=0
        )
        least_exotherm: float = daq.setting(
            0.5, "J/(g K)", "a shallower exotherm is no crystallisation", gt=0
        )
        settling: float = daq.setting(
            5.0, "K", "at the beginning of a heating, left out: the instrument settles", ge=0
        )
        liquid_slope: float | None = daq.setting(
            None, "J/(g K^2)",
            "of the liquid's line less the glass's, where its range is too short to tell; by default "
            "0, with an error as large as step / T",
        )  # fmt: skip
        replicates: int = daq.setting(32, "", "of the bootstrap that gives errors", ge=2, le=1000)
        grid: tuple[pydantic.PositiveFloat, pydantic.PositiveFloat, pydantic.PositiveFloat] = (
            daq.setting((300.0, 900.0, 1.0), "K", "[from, to, step] of trace")
        )

        @pydantic.model_validator(mode="after")
        def _ordered(self) -> GlassTransition.Config:
            for name in ("glass", "liquid", "crystal"):
                given = getattr(self, name)
                if given is not None and given[0] >= given[1]:
                    raise ValueError(f"{name}: [from, to], the smaller one first")
            if self.glass and self.liquid and self.glass[1] > self.liquid[0]:
                raise ValueError("the glass lies below the liquid")
            if not 2 <= (self.grid[1] - self.grid[0]) / self.grid[2] <= 20000:
                raise ValueError("grid: [from, to, step] with 2 to 20000 points")
            return self

        @property
        def ranges(self) -> Ranges:
            """What `construct` takes."""
            return Ranges(
                self.glass, self.liquid, self.crystal, self.smoothing, self.least_step,
                self.least_exotherm, self.settling, self.liquid_slope,
            )  # fmt: skip

    def open(self, streams: Mapping[str, daq.Stream], config: Any) -> Sequence[daq.Stream]:
        """Check the input; ValueError where unit or sign of the heat flow is not known."""
        self.open_readings(streams, config)
        self._config = config
        begin, end, step = config.grid
        self._grid = np.arange(int((end - begin) / step + 1.5)) * step + begin
        integers = {name: daq.Field("<i4", (), "", name.replace("_", " ")) for name in WHOLE}
        kelvin = daq.Field("<f8", (), "K")
        numbers: dict[str, daq.Field] = {}
        for name, units in UNITS.items():
            numbers[name] = daq.Field("<f8", (), units, name.replace("_", " "))
            numbers[f"{name}_errors"] = daq.Field("<f8", (), units)
        transition = daq.Stream(
            "transition",
            {
                **numbers,
                **integers,
                "began": daq.Field("|u1", (), "", "why the ramp began"),
                "flags": daq.Field("<u2", (), "", "what was not found"),
                "final": daq.Field("|b1", (), "", "the ramp has ended"),
                "heating_rate": daq.Field("<f8", (), "K/min", "heating rate, measured"),
                "end_temperature": daq.Field("<f8", (), "K", "temperature reached"),
                "annealing_temperature": daq.Field("<f8", (), "K", "annealed before at"),
                "annealing_time": daq.Field("<f8", (), "s", "annealed before for"),
                **dict.fromkeys(("glass_from", "glass_to", "liquid_from", "liquid_to"), kelvin),
            },
        )
        axis = [{"name": "temperature", "units": "K", "values": "temperature"}]
        points = (len(self._grid),)
        trace = daq.Stream(
            "trace",
            {
                **{n: daq.Field("<f8", points, "W/g", n.replace("_", " ")) for n in CURVES},
                "ramp": integers["ramp"],
                "sample": integers["sample"],
                "heating": integers["heating"],
            },
            axes=dict.fromkeys(CURVES, axis),
            constants={"temperature": self._grid},
        )
        return [transition, trace]

    def growing(self, ramp: Ramp) -> Iterable[daq.Batch]:
        """Give the constructions so far of a heating."""
        if ramp.rate > 0:
            yield from self._given(ramp, False)

    def finished(self, ramp: Ramp) -> Iterable[daq.Batch]:
        """Give the constructions of a whole ramp, with errors."""
        yield from self._given(ramp, True)

    def reconfigure(self, config: Any) -> None:
        """Change ranges and thresholds from the next look on; ``every`` and ``grid`` stay."""
        for key in ("every", "grid", "heat_flow_sign", "mass"):
            if getattr(config, key) != getattr(self._config, key):
                raise ValueError(f"{self.name}: {key} cannot change while it runs; start it anew")
        self._config = config

    @classmethod
    def memory(cls, streams: Mapping[str, daq.Stream], config: Any) -> int:
        """Return 200 bytes per reading of a ramp of a million readings."""
        return 200_000_000

    def _given(self, ramp: Ramp, final: bool) -> Iterable[daq.Batch]:
        ranges = self._config.ranges
        spread = np.full(len(NUMBERS), np.nan)
        if ramp.rate > 0:
            c = ramp.heat_flow / ramp.rate
            found = construct(ramp.temperature, c, ranges)
            if final:
                spread = errors(
                    ramp.temperature, c, ranges, self._config.replicates, seed=ramp.number
                )
        else:
            found = Construction(flags=NOT_HEATED)
        time = np.array([ramp.time], np.int64)
        row: dict[str, Any] = {
            **dict(zip(NUMBERS, found.numbers, strict=True)),
            **dict(zip((f"{name}_errors" for name in NUMBERS), spread, strict=True)),
            "ramp": ramp.number, "sample": ramp.sample, "heating": ramp.heating,
            "readings": len(ramp), "left_out": ramp.left_out, "repeated": ramp.repeated,
            "backward": ramp.backward, "began": ramp.cause, "flags": found.flags, "final": final,
            "heating_rate": 60 * ramp.rate, "end_temperature": ramp.temperature[-1],
            "annealing_temperature": ramp.annealing_temperature,
            "annealing_time": ramp.annealing_time,
            "glass_from": found.glass.begin, "glass_to": found.glass.end,
            "liquid_from": found.liquid.begin, "liquid_to": found.liquid.end,
        }  # fmt: skip
        yield daq.Batch("transition", {"time": time, **_one(row)})
        if ramp.rate > 0:
            numbers = {n: np.array([row[n]], np.int32) for n in ("ramp", "sample", "heating")}
            curves = {n: v[np.newaxis] for n, v in self._curves(ramp, found).items()}
            yield daq.Batch("trace", {"time": time, **numbers, **curves})

    def _curves(self, ramp: Ramp, found: Construction) -> dict[str, npt.NDArray[np.float64]]:
        T, grid = ramp.temperature, self._grid
        inside = (grid >= T[0]) & (grid <= T[-1])

        def drawn(line: Line, begin: float, end: float) -> npt.NDArray[np.float64]:
            return np.where(
                inside & (grid >= begin) & (grid <= end), ramp.rate * line(grid), np.nan
            )

        # tangents from the line that they meet, which lies between two points of the grid
        step = grid[1] - grid[0]
        tangent, fall = found.tangent, found.fall
        meets = np.fmin(tangent.end, crossing(tangent, found.liquid))
        rising = drawn(tangent, found.onset - step, meets + step)
        falling = drawn(fall, found.crystallisation_onset - step, fall.begin)
        baseline = found.crystallisation_baseline
        return {
            "heat_flow": np.where(inside, np.interp(grid, T, ramp.heat_flow), np.nan),
            "glass_line": drawn(found.glass, found.glass.begin, found.liquid.end),
            "liquid_line": drawn(
                found.liquid, found.onset, np.fmax(found.liquid.end, found.crystallisation_onset)
            ),
            "tangent": np.maximum(rising, ramp.rate * found.glass(grid)),
            "crystallisation_tangent": np.minimum(falling, ramp.rate * found.liquid(grid)),
            "crystallisation_baseline": ramp.rate
            * (
                np.interp(grid, found.T, baseline, np.nan, np.nan)
                if len(baseline)
                else grid * np.nan
            ),
        }


def _one(row: Mapping[str, Any]) -> dict[str, npt.NDArray[Any]]:
    """Return a record's numbers as arrays of one, in the dtypes of ``transition``."""
    kinds = {**dict.fromkeys(WHOLE, np.int32), "began": np.uint8, "flags": np.uint16, "final": bool}
    return {name: np.array([value], kinds.get(name, np.float64)) for name, value in row.items()}
