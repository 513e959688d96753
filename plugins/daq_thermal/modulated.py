"""Modulated calorimetry: the complex heat capacity, and how many particles move together."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pydantic

import daq
from daq_thermal.cooperativity import (
    correlated_units,
    dynamic_units,
    reciprocal_step,
)
from daq_thermal.lines import straight
from daq_thermal.readings import Floats, Readings, ReadingsConfig, Rows, single
from daq_thermal.scans import breaks

Complexes = npt.NDArray[np.complex128]

LEAST: Final = 8
"""Readings in a window."""
NO_TRANSITION: Final = 1
"""Flag: no peak of the loss that stands above its ends, or no step."""
NO_RANGES: Final = 2
"""Flag: a range of the glass or of the liquid holds too few points (yet)."""


def demodulate(
    seconds: Floats, temperature: Floats, heat_flow: Floats, period: float
) -> tuple[float, float, complex, complex]:
    """Return mean T, dT/dt, and the complex amplitudes of T and of the heat flow.

    Both are fitted by least squares with a polynomial of second order and one wave,
    Re(A exp(i w t)) with w = 2 pi / period and t from the first reading.

    Parameters
    ----------
    seconds, temperature, heat_flow
        [n], s, K, W/g: about a whole number of periods, 8 readings or more.
    period
        s.
    """
    middle = float(np.mean(seconds))
    x = (seconds - middle) / period
    phase = 2 * np.pi * (seconds - seconds[0]) / period
    matrix = np.stack([np.ones_like(x), x, x * x, np.cos(phase), np.sin(phase)], axis=1)
    # normal equations summed by numpy, whose sums do not depend on where the arrays lie
    gram = np.array([[np.sum(a * b) for b in matrix.T] for a in matrix.T])
    right = np.array([[np.sum(a * y) for y in (temperature, heat_flow)] for a in matrix.T])
    found = np.linalg.solve(gram, right)
    return (
        float(found[0, 0] + found[2, 0] * np.mean(x * x)),
        float(found[1, 0] / period),
        complex(found[3, 0], -found[4, 0]),
        complex(found[3, 1], -found[4, 1]),
    )


@dataclasses.dataclass(frozen=True, slots=True)
class DynamicTransition:
    """The glass transition at the frequency of the modulation.

    Parameters
    ----------
    T
        K: middle of the Gaussian through c_p''.
    spread
        dT, K: its standard deviation.
    c_glass, c_liquid
        J/(g K): lines of c_p' at T.
    flags
        Bits, see the constants of this module.
    """

    T: float = np.nan
    spread: float = np.nan
    c_glass: float = np.nan
    c_liquid: float = np.nan
    flags: int = NO_RANGES

    @property
    def numbers(self) -> Floats:
        """T, spread, c_glass, c_liquid, D(1/c_p), g K/J: [5]."""
        step = float(reciprocal_step(self.c_glass, self.c_liquid))
        return np.array([self.T, self.spread, self.c_glass, self.c_liquid, step])


def dynamic_transition(
    T: Floats, c: Complexes, glass: tuple[float, float], liquid: tuple[float, float]
) -> DynamicTransition:
    """Return what the complex heat capacity shows.

    Parameters
    ----------
    T
        [n], K, growing.
    c
        [n] complex, J/(g K), c' - i c''.
    glass, liquid
        K (from, to), of the lines of c_p' and of the baseline of c_p''.
    """
    real, loss = c.real, -c.imag
    # the loss of the glass has a wing that belongs to the peak: it gives a level, not a slope
    lines = [straight(T, real, *r) for r in (glass, liquid)]
    lines += [straight(T, loss, *r, slope=0.0) for r in (glass, liquid)]
    if any(line is None for line in lines):
        return DynamicTransition()
    below, above, loss_below, loss_above = (line for line in lines if line is not None)
    inside = (glass[0] <= T) & (liquid[1] >= T)
    x, y = T[inside], real[inside]
    # a baseline for c'' that goes over as c' does: the instrument's phase changes with c'
    part = np.clip(
        (y - below(x)) / np.where(above(x) > below(x), above(x) - below(x), np.nan), 0, 1
    )
    part = np.nan_to_num(part)
    peak = loss[inside] - ((1 - part) * loss_below(x) + part * loss_above(x))
    found = _gaussian(x, peak)
    ends = (x <= glass[1]) | (x >= liquid[0])
    scatter = float(np.std(peak[ends]))
    if found is None or not found[0] > 5 * scatter or not below(found[1]) < above(found[1]):
        return DynamicTransition(flags=NO_TRANSITION)
    _, middle, width = found
    return DynamicTransition(middle, width, float(below(middle)), float(above(middle)), 0)


def transition_errors(
    T: Floats, c: Complexes, glass: tuple[float, float], liquid: tuple[float, float],
    replicates: int = 32,
) -> Floats:  # fmt: skip
    """Return the covariance [5, 5] of `DynamicTransition.numbers`, from the noise of the points.

    White noise of the size that second differences show where nothing happens (in ``glass`` and
    ``liquid``) is added to the points again and again, and all is read off anew. That the peak is
    no Gaussian is not in it: the spread is defined by the Gaussian's. NaN where nothing was found.
    """
    quiet = [c[(r[0] <= T) & (r[1] >= T)] for r in (glass, liquid)]
    curved = np.concatenate([np.diff(part, 2) for part in quiet])
    if len(curved) < 2:
        return np.full((5, 5), np.nan)
    noise = [float(np.sqrt(np.mean(part**2) / 6)) for part in (curved.real, curved.imag)]
    draw = np.random.default_rng(len(T))
    drawn = []
    for _ in range(replicates):
        added = draw.standard_normal((2, len(T)))
        other = c + noise[0] * added[0] + 1j * noise[1] * added[1]
        drawn.append(dynamic_transition(T, other, glass, liquid).numbers)
    numbers = np.array(drawn)
    numbers = numbers - np.sum(numbers, axis=0) / replicates
    products = numbers[:, :, None] * numbers[:, None, :]
    return np.asarray(np.sum(products, axis=0) / (replicates - 1))


def _gaussian(x: Floats, y: Floats) -> tuple[float, float, float] | None:
    """Return height, middle and standard deviation of a Gaussian."""
    from scipy.optimize import least_squares

    top = int(np.argmax(y))
    if not y[top] > 0:
        return None
    high = x[y > y[top] / 2]
    start = [y[top], x[top], max((high[-1] - high[0]) / 2.355, abs(x[1] - x[0]))]

    def shape(p: Floats) -> Floats:
        return np.asarray(np.exp(-0.5 * ((x - p[1]) / p[2]) ** 2))

    def rest(p: Floats) -> Floats:
        return np.asarray(p[0] * shape(p) - y)

    def slopes(p: Floats) -> Floats:
        z, g = (x - p[1]) / p[2], shape(p)
        return np.stack([g, p[0] * g * z / p[2], p[0] * g * z * z / p[2]], axis=1)

    found = least_squares(rest, start, slopes, method="lm", x_scale=np.abs(start))
    height, middle, width = found.x.tolist()
    if not found.success or not x[0] < middle < x[-1] or not 0 < abs(width) < x[-1] - x[0]:
        return None
    return height, middle, abs(width)


class Modulated(daq.Analysis):
    """The complex heat capacity c' - i c'' of a modulated scan, and N_alpha and N_c from it.

    Takes a calorimeter's readings whose temperature is modulated. Each window of ``periods``
    whole periods gives one point, c* = W/(i w Theta) with the complex amplitudes of heat flow and
    temperature. Windows begin with the readings, and anew where ``segment`` or ``sample`` changes
    or the time goes back; one with fewer than 8 readings, with a hole, or with an amplitude below
    ``least_amplitude`` is passed over. Gives:

    ``heat_capacity``
        A record per window: ``temperature`` K; ``c_real``, ``c_loss`` J/(g K); ``amplitude`` K;
        ``total``, mean heat flow over mean heating rate, J/(g K); ``heating_rate`` K/min.
    ``transition``
        Anew every ``every`` windows and at the end of a ramp (``final``): ``temperature`` and
        ``spread`` K, ``c_glass``, ``c_liquid`` J/(g K), ``reciprocal_step`` g K/J and
        ``correlated_units`` N_alpha, each with ``_errors`` from noise (`transition_errors`)
        at the end of a ramp only,
        ``dynamic_units`` N_c (NaN without ``b`` and ``fragility``), ``flags`` (of
        `daq_thermal.modulated`).

    Qiao2019, 4-12 and 4-14. The phase of a real instrument must have been calibrated out.
    """

    name = "modulated"

    class Config(ReadingsConfig):
        """What ``[analyses.NAME]`` with ``type = "modulated"`` may say."""

        period: float | None = daq.setting(
            None, "s", "of the modulation; by default the stream's modulation_period_s", gt=0
        )
        periods: int = daq.setting(1, "", "in one window", ge=1, le=100)
        least_amplitude: float = daq.setting(0.01, "K", "of the temperature", gt=0)
        glass: tuple[pydantic.PositiveFloat, pydantic.PositiveFloat] = daq.setting(
            ..., "K", "[from, to] of the line of the glass"
        )
        liquid: tuple[pydantic.PositiveFloat, pydantic.PositiveFloat] = daq.setting(
            ..., "K", "[from, to] of the line of the liquid"
        )
        mean_atomic_mass: float = daq.setting(..., "g/mol", "m0", gt=0)
        b: float | None = daq.setting(None, "", "exponent of the alpha relaxation, for N_c", gt=0)
        fragility: float | None = daq.setting(None, "", "m, for N_c", gt=0)
        replicates: int = daq.setting(32, "", "of the bootstrap that gives errors", ge=2, le=1000)
        every: int = daq.setting(16, "", "windows between two looks at the transition", ge=1)

        @pydantic.model_validator(mode="after")
        def _ordered(self) -> Modulated.Config:
            edges = (*self.glass, *self.liquid)
            if list(edges) != sorted(set(edges)):
                raise ValueError("glass and liquid: [from, to], the glass below the liquid")
            return self

    def open(self, streams: Mapping[str, daq.Stream], config: Any) -> Sequence[daq.Stream]:
        """Check the input; ValueError where nothing says how long a period is."""
        stream = single(streams, self.name)
        self._readings = Readings(stream, config)
        period = config.period or stream.attributes.get("modulation_period_s")
        if not period:
            raise ValueError(
                f"{stream.name} does not say how long a period of its modulation is: set period (s)"
            )
        self._config, self._period = config, float(period)
        self._held: Rows | None = None
        self._begin = 0
        self._points: list[tuple[float, complex]] = []
        per_gram = daq.Field("<f8", (), "J/(g K)", "heat capacity")
        kelvin, plain = daq.Field("<f8", (), "K", "temperature"), daq.Field("<f8", (), "")
        reciprocal = daq.Field("<f8", (), "g K/J", "step of 1/c")
        return [
            daq.Stream(
                "heat_capacity",
                {
                    "temperature": kelvin,
                    "c_real": daq.Field("<f8", (), "J/(g K)", "heat capacity, in phase"),
                    "c_loss": daq.Field("<f8", (), "J/(g K)", "heat capacity, loss"),
                    "total": daq.Field("<f8", (), "J/(g K)", "heat capacity, of the mean"),
                    "amplitude": daq.Field("<f8", (), "K", "amplitude of the temperature"),
                    "heating_rate": daq.Field("<f8", (), "K/min", "mean heating rate"),
                },
            ),
            daq.Stream(
                "transition",
                {
                    "temperature": kelvin, "temperature_errors": kelvin,
                    "spread": daq.Field("<f8", (), "K", "spread of the transition"),
                    "spread_errors": kelvin,
                    "c_glass": per_gram, "c_glass_errors": per_gram,
                    "c_liquid": per_gram, "c_liquid_errors": per_gram,
                    "reciprocal_step": reciprocal, "reciprocal_step_errors": reciprocal,
                    "correlated_units": daq.Field("<f8", (), "", "N alpha"),
                    "correlated_units_errors": plain,
                    "dynamic_units": daq.Field("<f8", (), "", "N c"),
                    "final": daq.Field("|b1", (), "", "the ramp has ended"),
                    "flags": daq.Field("|u1", (), "", "what was not found"),
                },
            ),
        ]  # fmt: skip

    def process(self, batch: daq.Batch) -> Iterator[daq.Batch]:
        """Take readings and give the windows that they complete."""
        rows = self._readings.read(batch)
        if not len(rows):
            return
        whole = rows if self._held is None else Rows.joined([self._held, rows])
        if self._held is None:
            self._begin = int(rows.time[0])
        edges = [0, *(at for at, _ in breaks(whole)), len(whole)]
        for begin, end in itertools.pairwise(edges):
            if begin:
                yield from self._transition(int(whole.time[begin - 1]), True)
                self._begin, self._points = int(whole.time[begin]), []
            part = whole.part(begin, end)
            part = yield from self._windows(part)
        self._held = part

    def close(self) -> Iterator[daq.Batch]:
        """Give the transition of the last ramp."""
        if self._held is not None and len(self._points):
            yield from self._transition(self._last, True)

    @classmethod
    def memory(cls, streams: Mapping[str, daq.Stream], config: Any) -> int:
        """Return what a window of 65536 readings and a hundred thousand windows need."""
        return 65536 * 100 + 100_000 * 100

    def _windows(self, rows: Rows) -> Generator[daq.Batch, None, Rows]:
        """Give every window that the readings of one ramp complete; return what is left."""
        length = round(self._period * self._config.periods * 1e9)
        while len(rows) and rows.time[-1] >= self._begin + length:
            end = self._begin + length
            inside = (rows.time >= self._begin) & (rows.time < end)
            window, rows = rows.where(inside), rows.where(rows.time >= end)
            # over a hole in one go
            self._begin = end + max(0, int(rows.time[0]) - end) // length * length
            if self._whole(window, length):
                yield from self._window(window)
        return rows

    def _whole(self, window: Rows, length: int) -> bool:
        if len(window) < LEAST * self._config.periods:
            return False
        holes = np.diff(window.time, append=window.time[0] + length)
        return bool(holes.max() < self._period * 1e9 / 4)

    def _window(self, window: Rows) -> Iterator[daq.Batch]:
        seconds = (window.time - window.time[0]) / 1e9
        T, rate, swing, flow = demodulate(
            seconds, window.temperature, window.heat_flow, self._period
        )
        if not abs(swing) >= self._config.least_amplitude:
            return
        c = flow / (2j * np.pi / self._period * swing)
        mean = float(np.mean(window.heat_flow))
        self._last = int(window.time[-1])
        self._points.append((T, c))
        yield _record("heat_capacity", self._last, {
            "temperature": T, "c_real": c.real, "c_loss": -c.imag,
            "total": mean / rate if rate else np.nan, "amplitude": abs(swing),
            "heating_rate": 60 * rate,
        })  # fmt: skip
        if len(self._points) % self._config.every == 0:
            yield from self._transition(self._last, False)

    def _transition(self, time: int, final: bool) -> Iterable[daq.Batch]:
        config = self._config
        if not self._points:
            return
        T = np.array([point[0] for point in self._points])
        order = np.argsort(T, kind="stable")
        c = np.array([point[1] for point in self._points])[order]
        found = dynamic_transition(T[order], c, config.glass, config.liquid)
        numbers = found.numbers
        units = float(correlated_units(found.T, found.spread, numbers[4], config.mean_atomic_mass))
        covariance = np.full((5, 5), np.nan)
        if final:
            covariance = transition_errors(
                T[order], c, config.glass, config.liquid, config.replicates
            )
        errors = np.sqrt(np.diagonal(covariance))
        # N goes as T^2 spread^-2 D(1/c)
        relative = np.array([2.0, -2.0, 0.0, 0.0, 1.0]) / numbers
        relative_error = np.sqrt(np.sum(relative[:, None] * relative[None, :] * covariance))
        dynamic = np.nan
        if config.b is not None and config.fragility is not None:
            step = found.c_liquid - found.c_glass
            slope = -config.fragility * np.log(10)
            dynamic = float(dynamic_units(step, config.b, slope, config.mean_atomic_mass))
        names = ("temperature", "spread", "c_glass", "c_liquid", "reciprocal_step")
        yield _record("transition", time, {
            **dict(zip(names, numbers, strict=True)),
            **dict(zip((f"{name}_errors" for name in names), errors, strict=True)),
            "correlated_units": units, "correlated_units_errors": units * relative_error,
            "dynamic_units": dynamic, "final": final, "flags": np.uint8(found.flags),
        })  # fmt: skip


def _record(stream: str, time: int, row: Mapping[str, Any]) -> daq.Batch:
    arrays = {name: np.asarray(value)[np.newaxis] for name, value in row.items()}
    return daq.Batch(stream, {"time": np.array([time], np.int64), **arrays})
