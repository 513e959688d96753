"""How a simulated force microscope scans: which lines come, when, and what goes wrong with them."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pydantic

import daq

Floats = npt.NDArray[np.float64]
Image = Mapping[str, npt.NDArray[Any]]
"""The fields of the lines of one sweep, [row, ...], rows in increasing y."""

OWN_FIELDS: Final = frozenset({"time", "line", "scan", "place", "y"})


class ScanConfig(daq.Config):
    """What all simulated force microscopes may be told."""

    scan: tuple[pydantic.PositiveInt, pydantic.PositiveInt] = daq.setting(
        (512, 512), "px", "shape of an image, [rows, columns], columns along the fast axis"
    )
    step: tuple[pydantic.PositiveFloat, pydantic.PositiveFloat] = daq.setting(
        (0.488, 0.488), "nm", "from row to row, and from column to column"
    )
    line_time: float = daq.setting(1.0, "s", "of one line, trace and retrace", gt=0)
    pause: float = daq.setting(10.0, "s", "from the end of a scan to the next", ge=0)
    direction: Literal["up", "down", "alternate"] = daq.setting(
        "up", "", "order of the rows; alternate: up, then down"
    )
    drift: tuple[float, float] = daq.setting(
        (0.0, 0.0), "nm/min", "velocity of the specimen, [y, x]"
    )
    retrace: bool = daq.setting(True, "", "record the way back too")
    lag: float = daq.setting(
        0.0, "nm", "by which trace and retrace are shifted, each from the other"
    )
    places: int = daq.setting(1, "", "on each sample", ge=1)
    scans_per_place: int = daq.setting(1, "", "one after another", ge=1)
    height_noise: float = daq.setting(0.02, "nm", "of a pixel of the height, rms", ge=0)
    line_noise: float = daq.setting(0.0, "nm", "offset of the height from line to line, rms", ge=0)
    tilt: tuple[float, float] = daq.setting((0.0, 0.0), "nm/nm", "slope of the height, [y, x]")
    bow: float = daq.setting(
        0.0, "nm", "height of the scanner's arc, ends of a line over its middle"
    )
    # what goes wrong; scans are counted from 0, without those that a restart adds
    nan_lines: list[tuple[pydantic.NonNegativeInt, pydantic.NonNegativeInt]] = daq.setting(
        [], "scan, line", "lines that hold NaN"
    )
    broken_off: list[tuple[pydantic.NonNegativeInt, pydantic.PositiveInt]] = daq.setting(
        [], "scan, lines", "scans left after so many lines; the next place follows"
    )
    restarted: list[tuple[pydantic.NonNegativeInt, pydantic.PositiveInt]] = daq.setting(
        [], "scan, lines", "scans left after so many lines and begun again, as a new scan"
    )
    rewound: list[tuple[pydantic.NonNegativeInt, pydantic.PositiveInt]] = daq.setting(
        [], "scan, lines", "likewise, but the number of the scan stays"
    )
    swapped: list[pydantic.NonNegativeInt] = daq.setting(
        [], "scan", "scans that give trace as retrace and retrace as trace"
    )
    truth_maps: int = daq.setting(16, "scans", "whose maps are in the truth", ge=0)
    seed: int = daq.setting(0, "", "of everything random", ge=0)
    speed: float = daq.setting(
        1.0, "", "1: the instrument's pace; X: X times that; 0: as fast as it goes", ge=0
    )
    batch: int = daq.setting(1, "", "lines that travel together", ge=1, le=65536)
    start_time: pydantic.AwareDatetime = daq.setting(
        datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), "", "time stamp of record 0"
    )

    @pydantic.model_validator(mode="after")
    def _scannable(self) -> ScanConfig:
        if min(self.scan) < 2:
            raise ValueError("scan: at least 2 rows and 2 columns")
        for name in ("broken_off", "restarted", "rewound"):
            given = getattr(self, name)
            if any(lines >= self.scan[0] for _, lines in given):
                raise ValueError(f"{name}: after fewer lines than a scan has ({self.scan[0]})")
            if len({scan for scan, _ in given}) < len(given):
                raise ValueError(f"{name}: each scan once")
        if any(line >= self.scan[0] for _, line in self.nan_lines):
            raise ValueError(f"nan_lines: a scan has {self.scan[0]} lines, counted from 0")
        if self.swapped and not self.retrace:
            raise ValueError("swapped: without retrace there is nothing to swap")
        down, across = (abs(v) * self.line_time / 60 for v in self.drift)
        if down > self.step[0] / 2 or across > 5 * self.step[1]:
            raise ValueError("drift: by half a line and more while one line is scanned")
        if self.direction == "alternate" and any(self.drift) and self.scans_per_place > 1:
            raise ValueError(
                "direction: with drift, a place can be scanned again only in the same direction"
            )
        return self


@dataclasses.dataclass(frozen=True, slots=True)
class Sweep:
    """One way over the image, or its beginning.

    ``nominal`` counts scans without restarts; ``scan`` is the number that the lines carry.
    ``first`` is its first record, ``seconds`` when it begins.
    """

    number: int
    nominal: int
    scan: int
    sample: int
    place: int
    lines: int
    first: int
    seconds: float
    upwards: bool
    whole: bool


class Plan:
    """All sweeps of a run: sample after sample, place after place."""

    def __init__(self, config: Any, samples: int) -> None:
        self._config = config
        rows = config.scan[0]
        broken, restarted, rewound = (
            dict(given) for given in (config.broken_off, config.restarted, config.rewound)
        )
        per_sample = config.places * config.scans_per_place
        nominals = samples * per_sample
        for name in ("broken_off", "restarted", "rewound", "nan_lines"):
            for scan, _ in getattr(config, name):
                _exists(name, scan, nominals)
        for scan in config.swapped:
            _exists("swapped", scan, nominals)
        self.sweeps: list[Sweep] = []
        scan, first, seconds = 0, 0, 0.0
        for nominal in range(nominals):
            # lines of each beginning, and whether the next one is a scan of its own
            parts = [(restarted[nominal], True)] if nominal in restarted else []
            parts += [(rewound[nominal], False)] if nominal in rewound else []
            parts += [(broken.get(nominal, rows), True)]
            for lines, counted in parts:
                upwards = config.direction == "up" or (
                    config.direction == "alternate" and nominal % 2 == 0
                )
                self.sweeps.append(
                    Sweep(
                        len(self.sweeps), nominal, scan, nominal // per_sample,
                        nominal // config.scans_per_place, lines, first, seconds, upwards,
                        lines == rows,
                    )
                )  # fmt: skip
                first += lines
                seconds += lines * config.line_time + config.pause * counted
                scan += counted
        self.count = first
        """Number of records."""
        self.scans = scan
        """Number of scans, restarts among them."""
        self._firsts = np.array([sweep.first for sweep in self.sweeps])

    def at(self, record: int) -> Sweep:
        """Return the sweep to which a record belongs."""
        return self.sweeps[int(np.searchsorted(self._firsts, record, side="right")) - 1]

    def rows(self, sweep: Sweep) -> npt.NDArray[np.int64]:
        """Return the rows of a sweep in the order in which they come."""
        order = np.arange(sweep.lines)
        return order if sweep.upwards else self._config.scan[0] - 1 - order

    def seconds(self, sweep: Sweep) -> Floats:
        """Return when each row [row] of a sweep is scanned, s since the beginning of the run."""
        rows = np.arange(self._config.scan[0])
        order = rows if sweep.upwards else rows[::-1]
        return np.asarray(sweep.seconds + order * self._config.line_time)

    def last_sweeps(self) -> list[Sweep]:
        """Return for each scan its last sweep."""
        return list({sweep.scan: sweep for sweep in self.sweeps}.values())


def _exists(name: str, scan: int, nominals: int) -> None:
    if scan >= nominals:
        raise ValueError(f"{name}: scan {scan}, but there are {nominals}, counted from 0")


class LineSource(daq.Source):
    """A source of lines; a subclass says what there is to see.

    A record is one line, trace and retrace together, columns always in increasing x. It depends on
    the configuration and its index alone. Scalars: ``line`` int32 (row; 0 is the lowest y),
    ``scan`` int32, ``place`` int32 (counted on over the run), ``y`` nm. Time stamps are simulated
    time, the beginning of each line.
    """

    _config: Any
    _plan: Plan
    _stream: daq.Stream

    def image(self, sweep: Sweep) -> Image:
        """Return the fields of all rows [row, ...] of a sweep, apart from `OWN_FIELDS`."""
        raise NotImplementedError

    def describe(
        self,
        config: Any,
        samples: int,
        fields: Mapping[str, daq.Field],
        attributes: Mapping[str, Any],
        constants: Mapping[str, npt.NDArray[Any]] | None = None,
    ) -> Sequence[daq.Stream]:
        """Plan the scans and return the stream."""
        self._config = config
        self._plan = Plan(config, samples)
        self._epoch = int(
            np.datetime64(config.start_time.astimezone(datetime.UTC).replace(tzinfo=None), "ns")
            .astype(int)
        )  # fmt: skip
        self._image = functools.lru_cache(maxsize=2)(self._faulty)
        across = {"name": "x", "units": "nm", "offset": 0.0, "step": config.step[1]}
        axes: dict[str, Any] = {
            name: [across, *([{"name": "frequency", "units": "Hz", "values": "sweep_frequency"}]
                             if len(field.shape) == 2 else [])]
            for name, field in fields.items() if field.shape
        }  # fmt: skip
        number = functools.partial(daq.Field, "<i4", ())
        self._stream = daq.Stream(
            "",
            {
                **fields,
                "line": number("", "row of the image, 0 is the lowest y"),
                "scan": number("", "number of the image"),
                "place": number("", "place on the sample"),
                "y": daq.Field("<f8", (), "nm", "position of the line"),
            },
            axes=axes,
            scan={"shape": list(config.scan), "step": list(config.step), "units": "nm"},
            attributes={
                "direction": config.direction,
                "line_time": config.line_time,
                "seed": config.seed,
                **attributes,
            },
            expect=self._plan.count,
            constants=constants or {},
        )
        return [self._stream]

    def batches(self, start: Mapping[str, int]) -> Iterator[daq.Batch]:
        """Yield the lines from ``start`` on, at the pace of ``speed``."""
        config, plan = self._config, self._plan
        begin = min(start.get("", 0), plan.count)
        began = time.monotonic()
        # a line is there when it has been scanned
        passed = self._ends(begin - 1) if begin else 0.0
        for first in range(begin, plan.count, config.batch):
            stop = min(first + config.batch, plan.count)
            if config.speed:
                lasts = self._ends(stop - 1) - passed
                if self.context.wait_until(began + lasts / config.speed):
                    return
            if self.context.stopping:
                return
            arrays = self.context.empty(self._stream, stop - first)
            at = first
            while at < stop:
                at = self._fill(at, stop, first, arrays)
            yield daq.Batch("", arrays, first)

    def _fill(
        self, record: int, stop: int, first: int, arrays: Mapping[str, npt.NDArray[Any]]
    ) -> int:
        """Write the records of one sweep from ``record`` on; return the next."""
        plan = self._plan
        sweep = plan.at(record)
        end = min(stop, sweep.first + sweep.lines)
        rows = plan.rows(sweep)[record - sweep.first : end - sweep.first]
        into = slice(record - first, end - first)
        for name, values in self._image(sweep).items():
            arrays[name][into] = values[rows]
        arrays["line"][into] = rows
        arrays["scan"][into] = sweep.scan
        arrays["place"][into] = sweep.place
        arrays["y"][into] = rows * self._config.step[0]
        seconds = plan.seconds(sweep)[rows]
        arrays["time"][into] = self._epoch + np.rint(seconds * 1e9).astype(np.int64)
        return end

    def _ends(self, record: int) -> float:
        """When a line has been scanned, s since the beginning of the run."""
        sweep = self._plan.at(record)
        return float(sweep.seconds + (record - sweep.first + 1) * self._config.line_time)

    def _faulty(self, sweep: Sweep) -> Image:
        """The image of a sweep, with what goes wrong with it."""
        image = dict(self.image(sweep))
        if sweep.nominal in self._config.swapped:
            back = {name.removesuffix("_retrace") for name in image if name.endswith("_retrace")}
            for name in back:
                image[name], image[f"{name}_retrace"] = image[f"{name}_retrace"], image[name]
        if lost := [line for scan, line in self._config.nan_lines if scan == sweep.nominal]:
            for name, values in image.items():
                if self._stream.fields[name].shape:
                    image[name] = values.copy()
                    image[name][lost] = np.nan
        return image


def directions(channel: str, field: daq.Field, retrace: bool) -> dict[str, daq.Field]:
    """Return the fields of a channel: trace, and retrace where it is recorded."""
    back = dataclasses.replace(field, long_name=f"{field.long_name}, retrace")
    return {channel: field, **({f"{channel}_retrace": back} if retrace else {})}


def generator(seed: int, *which: int) -> np.random.Generator:
    """Return the random numbers for one purpose, the same however often they are asked for."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=which))
