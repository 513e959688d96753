"""Height-height correlation of a scan while it grows: structure function, fit, series of places."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
import pydantic

import daq
from daq_afm.annealing_series import AnnealingSeries, Key, Place
from daq_afm.correlation_errors import SimulatedErrors, simulated_errors
from daq_afm.correlation_fit import (
    AT_BOUND,
    DETERMINED,
    TOO_FEW,
    TOO_LONG,
    fit_correlation,
    structure_model,
)
from daq_afm.height_correlation import Floats, LagSums, bytes_needed, rings
from daq_afm.image_lines import Image, ImageLines, Line, only_stream, record
from daq_afm.levelling import Method
from daq_relaxation.laws import kww_decay

LEAST_LINES: Final = 8
"""Lines that a fit needs."""
SLOTS: Final = 32
"""Annealing times of one temperature that ``decay`` shows."""
FIXED: Final = ("channel", "average", "max_lag", "levelling")
"""What cannot change while it runs."""


class SurfaceCorrelation(daq.Analysis):
    """P(r) = <(h(x + r) - h(x))^2> of one channel, line by line, with sigma, xi, alpha and nugget.

    Takes scan lines, raw or of `levelling`, in any order of rows; pixels that are not finite and
    rows that did not come belong to no pair. A row that comes again takes the place of the first. An
    image ends when each row has come, when a line of another scan comes, or with the stream. Gives:

    ``correlation``
        After every ``every`` lines, and at the end of an image: ``structure_function`` [lag], the
        isotropic average over all pairs of pixels so far in rings of one pixel (or along the fast
        axis alone, see ``average``), in squared units of the channel, with ``_errors``; ``pairs`` [lag]. The
        constant ``lag`` holds the mean distance in each ring, nm.
    ``fit``
        With it, of P = 2 sigma^2 (1 - exp(-(r/xi)^(2 alpha))) + 2 n^2 (Zhu2016, with noise n):
        ``sigma``, ``correlation_length`` (nm), ``hurst_exponent``, ``nugget`` = n, each with
        ``_errors``; ``bias``, what was taken off ln xi; ``curve`` [lag], the fit itself; ``misfit``, its mean
        residual relative to P; ``size_over_length``, the shorter side of what was scanned over xi;
        ``error_lines``, how many lines the errors were simulated for; ``final``, 1 at the end of an image;
        ``flag``: 0 determined, 1 too few correlation lengths in the image (below ``least_size``:
        nothing but their number is given), 2 alpha or xi at a bound, 3 not converged, 4 too few lines.
    ``series``
        After each final fit of flag 0: mean over the places with the same annealing, the
        standard deviation ``_sd`` from place to place, the error of the mean, ``places``.
    ``kww``, ``decay``
        Where the input has an ``annealing_time``: (xi/xi_0)^3 = exp(-(t_a/tau)^b) at each annealing
        temperature, fitted to xi^3 with weights, see `daq_afm.annealing_series`; flags of
        `daq_relaxation.kww_fit`. ``decay`` is for drawing: ``volume`` = (xi/xi_0)^3 by ``annealing_time``.

    Errors come from simulated surfaces (`daq_afm.correlation_errors`) made when an image has reached the
    parts ``stages`` of its rows, and at its end; before the first stage there are none. Between
    stages they are those of the last one, divided by the root of the number of lines; the bias is
    taken off as it was found there. They hold for surfaces that are Gaussian but for the
    distribution of their heights.
    """

    name = "surface_correlation"
    _latest: Line | None

    class Config(daq.Config):
        """What ``[analyses.NAME]`` with ``type = "surface_correlation"`` may say."""

        channel: str = daq.setting("height", "", "which channel; phase for Zhu2016")
        average: Literal["isotropic", "fast_axis"] = daq.setting(
            "isotropic",
            "",
            "over all directions, or along the lines only (drift does no harm there)",
        )
        max_lag: float | None = daq.setting(
            None, "nm", "largest distance; by default an eighth of the shorter side", gt=0
        )
        levelling: Method | None = daq.setting(
            None, "", "what was done to the lines, where the stream does not say it"
        )
        every: int = daq.setting(1, "", "lines per record of correlation and fit", ge=1)
        least_size: float = daq.setting(
            15.0, "", "correlation lengths that the scanned field must hold for a result", ge=0
        )
        replicas: int = daq.setting(
            100, "", "simulated surfaces for the errors; 0: no errors", ge=0, le=10000
        )
        stages: list[float] = daq.setting(
            [0.25, 0.5], "", "parts of the rows at which errors are simulated, besides the end"
        )
        b: float | None = daq.setting(None, "", "hold the KWW exponent at this", gt=0.1, le=2)
        seed: int = daq.setting(1, "", "of the simulated surfaces", ge=0)

        @pydantic.field_validator("stages")
        @classmethod
        def _parts(cls, stages: list[float]) -> list[float]:
            if any(not 0 < part < 1 for part in stages):
                raise ValueError("each stage is a part of the rows between 0 and 1")
            return sorted(stages)

        @pydantic.field_validator("replicas")
        @classmethod
        def _enough(cls, replicas: int) -> int:
            if 0 < replicas < 16:
                raise ValueError("16 at least, or 0 for no errors")
            return replicas

    def open(self, streams: Mapping[str, daq.Stream], config: Any) -> Sequence[daq.Stream]:
        """Find the channel and the lags; ValueError where they do not fit."""
        stream = only_stream(streams, self.name)
        field = stream.fields.get(config.channel)
        if field is None or len(field.shape) != 1 or field.numpy_dtype.kind not in "fiu":
            arrays = [n for n, f in stream.fields.items() if len(f.shape) == 1]
            raise ValueError(
                f"{stream.name} has no channel {config.channel!r}; it has "
                f"{', '.join(arrays) or 'none'}"
            )
        self._config = config
        self._lines = ImageLines(stream, {config.channel: 1.0}, keep=[])
        shape, step = (self._lines.rows, self._lines.columns), self._lines.step
        shorter = min(shape[0] * step[0], shape[1] * step[1])
        largest = config.max_lag or max(shorter / 8, min(8 * max(step), shorter / 2))
        self._rings = rings(shape, step, largest, config.average == "fast_axis")
        self._sums = LagSums(self._rings)
        said = (stream.attributes.get("levelling") or {}).get(config.channel)
        self._levelling = str(config.levelling or said or "none")
        self._series = AnnealingSeries()
        self._annealed = "annealing_time" in stream.fields
        self._times = np.geomspace(10.0, 1e6, 101)
        self._begin()
        self._finished: int | None = None
        attributes = {
            "channel": config.channel, "average": config.average,
            "levelling": config.levelling or said or "not known, taken as none",
            "fit": "P relative, each octave of lag alike; errors from simulated surfaces",
        }  # fmt: skip
        self._fields = self._described(field.units)
        axis = {"name": "lag", "units": "nm", "values": "lag"}
        lags = {"lag": self._rings.radius}
        drawn = {
            "correlation": ({n: [axis] for n in ("structure_function", "pairs")}, lags),
            "fit": ({"curve": [axis]}, lags),
            "decay": (
                {"curve": [{"name": "annealing time", "units": "s", "values": "time_axis"}]},
                {"time_axis": self._times},
            ),
        }
        return [
            daq.Stream(name, fields, drawn.get(name, ({}, {}))[0], attributes=attributes,
                       constants=drawn.get(name, ({}, {}))[1])
            for name, fields in self._fields.items()
        ]  # fmt: skip

    def process(self, batch: daq.Batch) -> Iterator[daq.Batch]:
        """Take each line; give what it changes."""
        for item in self._lines.take(batch):
            if isinstance(item, Image):
                yield from self._end()
                self._finished = item.scan if item.complete else None
                continue
            if item.scan == self._finished:
                continue  # after the end of its image
            self._finished = None
            self._sums.add(item.row, item.values[self._config.channel])
            self._latest = item
            self._count += 1
            staged = self._at_stage()
            if staged or self._count % self._config.every == 0:
                yield from self._look(staged, final=False)

    def close(self) -> Iterator[daq.Batch]:
        """Give the end of the last image."""
        if any(True for _ in self._lines.rest()):
            yield from self._end()

    def reconfigure(self, config: Any) -> None:
        """Change how often, and how errors are simulated, from the next line on."""
        for name in FIXED:
            if getattr(config, name) != getattr(self._config, name):
                raise ValueError(f"{self.name}: {name} cannot change while it runs; start it anew")
        self._config = config

    @classmethod
    def memory(cls, streams: Mapping[str, daq.Stream], config: Any) -> int:
        """Return what the sums of one image and one simulated surface need.

        That does not grow with the number of images, but for some 200 bytes of ``series`` for each.
        """
        stream = next(iter(streams.values()))
        rows, columns = stream.scan_shape or (1, 1)
        largest = max(4, min(rows, columns) // 8)
        sums = bytes_needed(rings((max(rows, 8), max(columns, 8)), (1.0, 1.0), largest))
        return sums + (100 * rows * columns if config.replicas else 0)

    def _begin(self) -> None:
        self._sums.clear()
        self._count = 0
        self._staged = 0
        self._errors: SimulatedErrors | None = None
        self._error_lines = 0
        self._start: Floats | None = None
        self._latest = None

    def _at_stage(self) -> bool:
        """Tell whether the rows that came have reached the next stage."""
        stages, reached = self._config.stages, False
        lines = self._sums.lines
        while self._staged < len(stages) and lines >= stages[self._staged] * self._lines.rows:
            self._staged += 1
            reached = True
        return reached

    def _end(self) -> Iterator[daq.Batch]:
        if self._latest is not None:
            yield from self._look(simulate=True, final=True)
        self._begin()

    def _look(self, simulate: bool, final: bool) -> Iterator[daq.Batch]:
        """Give the correlation and the fit as they stand."""
        line, config = self._latest, self._config
        assert line is not None
        lines = self._sums.lines
        P, pairs = self._sums.structure()
        fit = fit_correlation(self._rings, P, start=self._start)
        flag = int(fit.flag[0]) if lines >= LEAST_LINES else TOO_FEW
        p = fit.parameters[0]
        known = flag in (DETERMINED, AT_BOUND)
        self._start = p[np.newaxis] if known else None
        size = self._size() / math.exp(p[1]) if known else math.nan
        if known and size < config.least_size:
            flag = TOO_LONG
        if simulate and config.replicas and known and flag != TOO_LONG:
            self._errors = simulated_errors(
                self._rings,
                p,
                self._sums.present,
                self._levelling,
                config.replicas,
                # other surfaces for other images, or their means would share the chance
                (config.seed, line.scan % 2**32),
                self._sums.values,
            )
            self._error_lines = lines
        errors = self._errors
        growth = math.sqrt(self._error_lines / lines) if errors is not None and lines else math.nan
        relative = np.full(len(P), np.nan) if errors is None else errors.structure * growth
        yield self._record(
            "correlation", line, lines=lines, structure_function=P,
            structure_function_errors=P * relative, pairs=pairs,
        )  # fmt: skip
        values = dict.fromkeys(
            (n + e for n in ("sigma", "correlation_length", "hurst_exponent", "nugget")
             for e in ("", "_errors")), math.nan,
        )  # fmt: skip
        curve, bias = np.full(len(P), np.nan), math.nan
        if known and flag != TOO_LONG:
            values, bias = self._values(p, errors, growth)
            curve = structure_model(self._rings, p[np.newaxis])[0]
        yield self._record(
            "fit", line, lines=lines, **values, bias=bias, curve=curve, misfit=fit.misfit[0],
            size_over_length=size, error_lines=self._error_lines, final=final, flag=flag,
        )  # fmt: skip
        if final and flag == DETERMINED:
            yield from self._place(line, values)

    def _values(
        self, p: Floats, errors: SimulatedErrors | None, growth: float
    ) -> tuple[dict[str, float], float]:
        """Return sigma, xi, alpha and nugget with errors, and the bias of ln xi taken off them."""
        sigma, noise = math.sqrt(p[0]), math.sqrt(p[3])
        shift, error = np.zeros(4), np.full(4, np.nan)
        if errors is not None and np.isfinite(errors.bias).all():
            shift, error = errors.bias, errors.errors * growth
        noise = max(noise - float(shift[3]) * sigma, 0.0)
        sigma *= math.exp(-shift[0])
        length = math.exp(p[1] - shift[1])
        return {
            "sigma": sigma, "sigma_errors": sigma * float(error[0]),
            "correlation_length": length, "correlation_length_errors": length * float(error[1]),
            "hurst_exponent": float(p[2] - shift[2]), "hurst_exponent_errors": float(error[2]),
            "nugget": noise, "nugget_errors": sigma * float(error[3]),
        }, float(shift[1])  # fmt: skip

    def _size(self) -> float:
        """Return the shorter side of what was scanned, nm."""
        dy, dx = self._lines.step
        return float(min(self._sums.extent * dy, self._lines.columns * dx))

    def _place(self, line: Line, values: Mapping[str, float]) -> Iterator[daq.Batch]:
        """Take the result of an image into the series."""
        seconds = line.conditions.get("annealing_time", 0.0)
        temperature = line.conditions.get("annealing_temperature", math.nan)
        if not seconds >= 0:
            return
        place = Place(
            line.place, values["correlation_length"], values["correlation_length_errors"],
            values["sigma"],
        )  # fmt: skip
        key = self._series.add(line.scan, temperature, seconds, place)
        yield self._mean(line, key)
        if self._annealed:
            yield from self._shrinkage(line)

    def _mean(self, line: Line, key: Key) -> daq.Batch:
        group = self._series.group(key)
        return record(
            "series", line.time, self._fields["series"],
            annealing_temperature=group.temperature, annealing_time=group.seconds,
            places=group.places, correlation_length=group.length,
            correlation_length_sd=group.sd, correlation_length_errors=group.error,
            sigma=group.sigma, sigma_sd=group.sigma_sd,
        )  # fmt: skip

    def _shrinkage(self, line: Line) -> Iterator[daq.Batch]:
        groups = self._series.groups()
        for stage, temperature in enumerate(self._series.temperatures):
            fit = self._series.fit(temperature, self._config.b)
            if fit is None:
                continue
            yield record(
                "kww", line.time, self._fields["kww"],
                annealing_temperature=temperature, stage=stage, ln_tau=fit.ln_tau,
                ln_tau_errors=fit.ln_tau_error, b=fit.b, b_errors=fit.b_error,
                quenched=fit.quenched, quenched_errors=fit.quenched_error,
                reduced_chi2=fit.reduced_chi2, scatter=fit.scatter, times=fit.times, flag=fit.flag,
            )  # fmt: skip
            whole = fit.quenched
            if not math.isfinite(whole):
                whole = next(g.length for g in groups if g.seconds == 0)
            rows = np.full((3, SLOTS), np.nan)
            at = [g for g in groups if g.seconds > 0 and g.temperature == temperature]
            for i, group in enumerate(at[:SLOTS]):
                fraction = (group.length / whole) ** 3
                rows[:, i] = (
                    group.seconds, fraction,
                    3 * fraction * fit.scatter * group.error / group.length,
                )  # fmt: skip
            yield record(
                "decay", line.time, self._fields["decay"],
                annealing_temperature=temperature, annealing_time=rows[0], volume=rows[1],
                volume_errors=rows[2],
                curve=kww_decay(self._times, np.exp(fit.ln_tau), fit.b),
            )  # fmt: skip

    def _record(self, stream: str, line: Line, **values: Any) -> daq.Batch:
        where = {**self._lines.condition_values(line), "line": line.row}
        return record(stream, line.time, self._fields[stream], **where, **values)

    def _described(self, units: str) -> dict[str, dict[str, daq.Field]]:
        """Return the fields of each stream."""
        count = len(self._rings.radius)
        square = f"{units}^2" if units else ""
        where = {
            **self._lines.condition_fields(),
            "line": daq.Field("<i4", (), "", "row of the last line"),
            "lines": daq.Field("<i4", (), "", "rows so far"),
        }
        number, plain = daq.Field("<i4"), daq.Field("<f8")
        P = daq.Field("<f8", (count,), square, "mean squared difference")
        length = daq.Field("<f8", (), "nm", "correlation length")
        sigma = daq.Field("<f8", (), units, "rms roughness without noise")
        alpha = daq.Field("<f8", (), "", "exponent alpha (Hurst)")
        nugget = daq.Field("<f8", (), units, "rms noise of a pixel")
        correlation = {
            **where, "structure_function": P, "structure_function_errors": P,
            "pairs": daq.Field("<i8", (count,), "", "pairs of pixels"),
        }  # fmt: skip
        fit = {
            **where,
            "sigma": sigma, "sigma_errors": sigma,
            "correlation_length": length, "correlation_length_errors": length,
            "hurst_exponent": alpha, "hurst_exponent_errors": alpha,
            "nugget": nugget, "nugget_errors": nugget,
            "bias": daq.Field("<f8", (), "", "taken off ln xi"),
            "curve": P, "misfit": plain,
            "size_over_length": daq.Field("<f8", (), "", "shorter side over xi"),
            "error_lines": number, "final": daq.Field("|u1"), "flag": daq.Field("|u1"),
        }  # fmt: skip
        kelvin = daq.Field("<f8", (), "K", "annealing temperature")
        seconds = daq.Field("<f8", (), "s", "annealing time")
        series = {
            "annealing_temperature": kelvin, "annealing_time": seconds, "places": number,
            "correlation_length": length, "correlation_length_sd": length,
            "correlation_length_errors": length, "sigma": sigma, "sigma_sd": sigma,
        }  # fmt: skip
        found = {"correlation": correlation, "fit": fit, "series": series}
        if not self._annealed:
            return found
        slots = daq.Field("<f8", (SLOTS,), "", "(xi/xi_0)^3")
        kww = {
            "annealing_temperature": kelvin,
            "stage": daq.Field("<i4", (), "", "number of the temperature"),
            "ln_tau": daq.Field("<f8", (), "", "ln of tau in s"), "ln_tau_errors": plain,
            "b": daq.Field("<f8", (), "", "stretching exponent"), "b_errors": plain,
            "quenched": length, "quenched_errors": length,
            "reduced_chi2": plain, "scatter": plain, "times": number, "flag": daq.Field("|u1"),
        }  # fmt: skip
        decay = {
            "annealing_temperature": kelvin,
            "annealing_time": daq.Field("<f8", (SLOTS,), "s", "annealing time"),
            "volume": slots, "volume_errors": slots,
            "curve": daq.Field("<f8", (len(self._times),), "", "KWW fit"),
        }  # fmt: skip
        return {**found, "kww": kww, "decay": decay}
