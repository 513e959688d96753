"""Contact resonance line by line: frequency, damping, modulus, their spread and length."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pydantic

import daq
from daq_afm.characteristic_length import CharacteristicLength, characteristic_length, default_lags
from daq_afm.contact_stiffness import Beam, Calibration, Contact, Reference, calibrate
from daq_afm.distribution import distribution, distribution_fields
from daq_afm.image_lines import (
    Floats,
    Image,
    ImageLines,
    Line,
    factor,
    image_axes,
    only_stream,
    record,
)
from daq_afm.oscillator_fit import DETERMINED, GIVEN, MASKED, fit_oscillators

FITTED: Final = ("frequency", "quality_factor", "amplitude", "phase")
"""What a resonance curve gives, in the order of `daq_afm.oscillator_fit`."""
LEAST_SIZE: Final = 8
"""Rows and columns that a characteristic length needs."""


class ReferenceSample(daq.Config):
    """One entry of ``references``."""

    frequency: float = daq.setting(..., "Hz", "its contact resonance", gt=0)
    modulus: float = daq.setting(..., "GPa", "its indentation modulus", gt=0)
    frequency_error: float = daq.setting(0.0, "Hz", "standard error", ge=0)
    modulus_error: float = daq.setting(0.0, "GPa", "standard error", ge=0)


class ContactResonance(daq.Analysis):
    """Maps of contact resonance: how much it varies, over which length, and the modulus.

    Takes scan lines with resonance curves (``response_real`` and ``response_imag``, or
    ``response_amplitude`` and ``response_phase``, [column, frequency], and the constant
    ``sweep_frequency``), which are fitted, or else with the channel ``frequency``. Gives:

    ``lines``
        Each line, [column]: ``frequency`` Hz, from curves also ``quality_factor``, ``amplitude``,
        ``phase`` deg, each with ``_errors`` (standard errors from the scatter about the curve, or from
        ``frequency_noise``); ``flag`` (`daq_afm.oscillator_fit`; 5: given by the controller);
        where the free resonance is known ``stiffness`` k*/k, and with a quality factor
        ``loss_tangent`` of the contact; with ``references`` ``modulus`` GPa and its
        errors from the frequency. Only pixels of flag 0 or 5 have values, but for ``flag`` itself; ``failed``, how
        many have none.
    ``maps``
        Each image that has ended: ``frequency``, and ``modulus``, [row, column].
    ``summary``
        Every ``every`` lines of an image, and when it has ended (``ended``): the distribution of the
        frequency so far (see `daq_afm.distribution`), ``lines``; ``sd`` and ``range_5_95`` Hz; ``noise``, the rms of the errors;
        ``sd_without_noise``; ``quality_factor``, ``modulus``, ``loss_tangent``, their means with ``_sd``;
        ``modulus_common_error``, relative, of the references, the same for all
        pixels; ``profile`` [column] along ``profile_from`` to ``profile_to``, at ``profile_position`` nm;
        ``failed``.
    ``length``
        Each image that has ended: ``correlation_length`` nm (1/e of the correlation),
        ``sigma`` Hz without noise, ``hurst_exponent``, each with ``_errors`` from simulated maps;
        ``noise`` Hz, ``size_over_length``, ``structure_function`` and ``curve`` Hz^2 [lag], ``flag``: see
        `daq_afm.characteristic_length`.
    """

    name = "contact_resonance"

    class Config(daq.Config):
        """What ``[analyses.NAME]`` with ``type = "contact_resonance"`` may say."""

        frequency: str = daq.setting("frequency", "", "channel, where there are no curves")
        quality_factor: str = daq.setting("quality_factor", "", "channel that may be there with it")
        response: str = daq.setting(
            "response", "", "fields of the curves begin with this; response_retrace is _retrace"
        )
        retrace: bool = daq.setting(False, "", "the way back instead")
        frequency_noise: float | None = daq.setting(
            None, "Hz", "of a pixel of the channel, standard deviation", gt=0
        )
        free_frequency: float | None = daq.setting(
            None, "Hz", "without contact; by default what the stream says", gt=0
        )
        free_quality_factor: float | None = daq.setting(
            None, "", "without contact, for the damping; not known: none is taken off", gt=0
        )
        mode: int = daq.setting(1, "", "flexural mode, of both resonances", ge=1, le=3)
        tip_position: float = daq.setting(1.0, "", "part of the cantilever's length", gt=0.3, le=1)
        references: list[ReferenceSample] = daq.setting(
            [], "", "samples of known modulus: { frequency = ..., modulus = ... }"
        )
        contact: Contact = daq.setting("sphere", "", "sphere (Hertz) or flat")
        tip_modulus: float = daq.setting(
            165.0, "GPa", "indentation modulus of the tip; silicon (100) by default", gt=0
        )
        profile_from: tuple[float, float] | None = daq.setting(
            None, "nm", "[y, x]; by default the left end of the middle row"
        )
        profile_to: tuple[float, float] | None = daq.setting(None, "nm", "[y, x]")
        max_lag: float | None = daq.setting(
            None, "nm", "largest distance for the length; by default an eighth of the side", gt=0
        )
        least_size: float = daq.setting(
            15.0, "", "lengths that an image must hold for a characteristic length", ge=0
        )
        every: int = daq.setting(32, "", "lines from one summary to the next", ge=1)
        replicas: int = daq.setting(
            100, "", "simulated maps for its errors; 0: none", ge=0, le=10000
        )
        seed: int = daq.setting(1, "", "of the simulated maps", ge=0)

        @pydantic.model_validator(mode="after")
        def _sensible(self) -> ContactResonance.Config:
            if (self.profile_from is None) != (self.profile_to is None):
                raise ValueError("profile_from and profile_to: both or neither")
            if 0 < self.replicas < 16:
                raise ValueError("replicas: 16 at least, or 0 for no errors")
            return self

    def open(self, streams: Mapping[str, daq.Stream], config: Any) -> Sequence[daq.Stream]:
        """Find curves or channel, free resonance and references; ValueError where they do not fit."""
        stream = only_stream(streams, self.name)
        self._config = config
        self._channels(stream, config)
        self._lines = lines = ImageLines(stream, self._taken, keep=[])
        self._calibration: Calibration | None = None
        self._beam = self._find_beam(stream, config)
        if config.references:
            if self._beam is None:
                raise ValueError(
                    f"{stream.name} does not say its free resonance: give free_frequency = ... "
                    "(Hz), or no references"
                )
            known = [Reference(**sample.model_dump()) for sample in config.references]
            self._calibration = calibrate(self._beam, known, config.contact, config.tip_modulus)
        shape = (lines.rows, lines.columns)
        self._rings = None
        if min(shape) >= LEAST_SIZE:
            self._rings = default_lags(shape, lines.step, config.max_lag)
        self._find_profile()
        names = [
            n for n in ("frequency", "quality_factor", "modulus", "loss_tangent") if self._has(n)
        ]
        self._maps = {n: np.full(shape, np.nan) for n in (*names, "frequency_errors")}
        self._failed = np.zeros(shape[0], np.int64)
        self._scan: int | None = None
        if self._curves:
            # compiles, or loads what was compiled, before the first line is there
            fit_oscillators(self._sweep, np.zeros((1, len(self._sweep)), np.complex128))
        return self._outputs(stream)

    def process(self, batch: daq.Batch) -> Iterable[daq.Batch]:
        """Give each line; and what an image shows where it ends."""
        for item in self._lines.take(batch):
            if isinstance(item, Line):
                yield self._line(item)
                if (image := self._lines.due(item, self._config.every)) is not None:
                    yield self._summary(image, ended=False)
            else:
                yield from self._image(item)

    def close(self) -> Iterable[daq.Batch]:
        """Give what an image shows that was left half done."""
        for image in self._lines.rest():
            yield from self._image(image)

    @classmethod
    def memory(cls, streams: Mapping[str, daq.Stream], config: Any) -> int:
        """Return sixty numbers a pixel of one image, mostly for its structure function."""
        (stream,) = streams.values()
        return 480 * math.prod(stream.scan_shape or (0,)) + 10 * stream.record_bytes

    def _channels(self, stream: daq.Stream, config: Any) -> None:
        """Decide whether curves are fitted, and which channels are taken."""
        tail = "_retrace" if config.retrace else ""
        parts = [f"{config.response}_{part}{tail}" for part in ("real", "imag")]
        polar = [f"{config.response}_{part}{tail}" for part in ("amplitude", "phase")]
        self._curves: tuple[str, str] | None = None
        self._polar = False
        self._taken: dict[str, float] = {}
        for names, is_polar in ((parts, False), (polar, True)):
            if all(name in stream.fields for name in names):
                self._curves, self._polar = (names[0], names[1]), is_polar
                break
        self._units = ""
        if self._curves is None:
            if f"{config.response}_amplitude{tail}" in stream.fields:
                raise ValueError(
                    f"{stream.name} has magnitudes of resonance curves only: "
                    f"{config.response}_phase{tail} is needed too"
                )
            self._frequency = f"{config.frequency}{tail}"
            self._taken = {self._frequency: factor(stream, self._frequency, "frequency")}
            self._quality = f"{config.quality_factor}{tail}"
            self._has_quality = self._quality in stream.fields
            if self._has_quality:
                self._taken[self._quality] = factor(stream, self._quality, "ratio")
            return
        sweep = stream.constants.get("sweep_frequency")
        first, second = (stream.fields[name] for name in self._curves)
        if sweep is None or first.shape[1:] != sweep.shape or second.shape != first.shape:
            raise ValueError(
                f"{stream.name}: {self._curves[0]} needs the constant sweep_frequency (Hz) with one "
                f"number for each of its frequencies, {list(first.shape[1:])}"
            )
        self._sweep = np.array(sweep, np.float64)
        self._taken = dict.fromkeys(self._curves, 1.0)
        if self._polar:
            self._taken[self._curves[1]] = factor(stream, self._curves[1], "angle")
        self._units = first.units
        self._has_quality = True

    def _find_beam(self, stream: daq.Stream, config: Any) -> Beam | None:
        known = stream.attributes
        free = config.free_frequency or known.get(
            "free_resonance_frequency", known.get("resonance_frequency")
        )
        if free is None:
            return None
        if not (isinstance(free, int | float) and math.isfinite(free) and free > 0):
            raise ValueError(
                f"{stream.name}: its free resonance is {free!r}, not a frequency in Hz"
            )
        own = config.free_quality_factor or math.inf
        return Beam(float(free), config.mode, config.tip_position, float(own))

    def _find_profile(self) -> None:
        """Set the pixels, in steps of rows and columns, along which the profile is taken."""
        lines, config = self._lines, self._config
        dy, dx = lines.step
        if config.profile_from is None:
            middle = (lines.rows - 1) // 2
            start, stop = (float(middle), 0.0), (float(middle), lines.columns - 1.0)
        else:
            (y0, x0), (y1, x1) = config.profile_from, config.profile_to
            start, stop = (y0 / dy, x0 / dx), (y1 / dy, x1 / dx)
            for y, x in (start, stop):
                if not (0 <= y <= lines.rows - 1 and 0 <= x <= lines.columns - 1):
                    raise ValueError(
                        f"profile: {y * dy:g}, {x * dx:g} nm is outside of the image, "
                        f"{(lines.rows - 1) * dy:g} x {(lines.columns - 1) * dx:g} nm"
                    )
        t = np.linspace(0, 1, lines.columns)
        self._along = tuple(a + t * (b - a) for a, b in zip(start, stop, strict=True))
        self._position = t * math.hypot((stop[0] - start[0]) * dy, (stop[1] - start[1]) * dx)

    def _has(self, name: str) -> bool:
        return {
            "frequency": True,
            "quality_factor": self._has_quality,
            "modulus": self._calibration is not None,
            "loss_tangent": self._beam is not None and self._has_quality,
        }[name]

    def _outputs(self, stream: daq.Stream) -> list[daq.Stream]:
        lines = self._lines
        row = (lines.columns,)
        with_errors = bool(self._curves) or self._config.frequency_noise is not None
        hertz = daq.Field("<f8", row, "Hz", "contact resonance")
        plain = daq.Field("<f4", row)
        fields: dict[str, daq.Field] = {"frequency": hertz}
        if with_errors:
            fields["frequency_errors"] = daq.Field("<f4", row, "Hz")
        if self._has_quality:
            fields["quality_factor"] = daq.Field("<f4", row, "", "quality factor in contact")
        if self._curves:
            fields["quality_factor_errors"] = plain
            for name, units in (("amplitude", self._units), ("phase", "deg")):
                fields[name] = daq.Field("<f4", row, units, f"{name} at resonance")
                fields[f"{name}_errors"] = daq.Field("<f4", row, units)
        if self._beam is not None:
            fields["stiffness"] = daq.Field("<f4", row, "", "contact stiffness k*/k")
        if self._has("loss_tangent"):
            fields["loss_tangent"] = daq.Field("<f4", row, "", "of the contact")
        if self._calibration is not None:
            gpa = daq.Field("<f4", row, "GPa", "indentation modulus")
            fields["modulus"] = gpa
            if with_errors:
                fields["modulus_errors"] = daq.Field("<f4", row, "GPa")
        x = [image_axes(lines.step)[1]]
        axes = {name: x for name in fields}
        self._line_fields = {
            **fields, "flag": daq.Field("|u1", row), "failed": daq.Field("<i4", (), "", "pixels"),
            **lines.line_fields(),
        }  # fmt: skip
        shape = (lines.rows, lines.columns)
        common = lines.condition_fields()
        self._map_fields = {"frequency": daq.Field("<f8", shape, "Hz", "contact resonance")}
        if self._calibration is not None:
            self._map_fields["modulus"] = daq.Field("<f4", shape, "GPa", "indentation modulus")
        map_axes = {name: image_axes(lines.step) for name in self._map_fields}
        self._map_fields |= common
        hz = daq.Field("<f8", (), "Hz")
        summary = {**distribution_fields("Hz"), "noise": hz, "sd_without_noise": hz}
        for name, units in (("quality_factor", ""), ("modulus", "GPa"), ("loss_tangent", "")):
            if self._has(name):
                summary[name] = summary[f"{name}_sd"] = daq.Field("<f8", (), units)
        if self._calibration is not None:
            summary["modulus_common_error"] = daq.Field("<f8", (), "", "relative")
        self._summary_fields = {
            **summary,
            "profile": daq.Field("<f8", row, "Hz", "contact resonance along a line"),
            "failed": daq.Field("<i8", (), "", "pixels without a value"),
            "lines": daq.Field("<i4", (), "", "rows so far"),
            "ended": daq.Field("|u1"),
            "complete": daq.Field("|u1"),
            **common,
        }
        attributes = self._attributes(stream)
        along = [{"name": "position", "units": "nm", "values": "profile_position"}]
        found = [
            daq.Stream("lines", self._line_fields, axes, stream.scan, attributes, stream.expect),
            daq.Stream("maps", self._map_fields, map_axes, attributes=attributes),
            daq.Stream(
                "summary", self._summary_fields, {"profile": along}, attributes=attributes,
                constants={"profile_position": self._position},
            ),
        ]  # fmt: skip
        if self._rings is not None:
            found.append(self._length_stream(attributes, common))
        return found

    def _attributes(self, stream: daq.Stream) -> dict[str, Any]:
        given: dict[str, Any] = {"from": "resonance curves" if self._curves else "channel"}
        if self._beam is not None:
            given |= {
                "free_frequency": self._beam.free_frequency, "mode": self._beam.mode,
                "tip_position": self._beam.tip_position,
            }  # fmt: skip
        if self._calibration is not None:
            given |= {
                "contact": self._config.contact, "tip_modulus": self._calibration.tip_modulus,
                "ln_factor": self._calibration.ln_factor, "references": len(self._config.references),
            }  # fmt: skip
            if math.isfinite(self._calibration.ln_factor_error):
                given["ln_factor_error"] = self._calibration.ln_factor_error
        if "levelling" in stream.attributes:
            given["levelling"] = stream.attributes["levelling"]
        return given

    def _length_stream(
        self, attributes: Mapping[str, Any], common: Mapping[str, daq.Field]
    ) -> daq.Stream:
        assert self._rings is not None
        nm, hz, plain = daq.Field("<f8", (), "nm"), daq.Field("<f8", (), "Hz"), daq.Field("<f8")
        square = daq.Field("<f8", (len(self._rings.radius),), "Hz^2")
        self._length_fields = {
            "correlation_length": nm, "correlation_length_errors": nm, "sigma": hz,
            "sigma_errors": hz, "hurst_exponent": plain, "hurst_exponent_errors": plain,
            "noise": hz, "size_over_length": plain, "structure_function": square,
            "curve": square, "flag": daq.Field("|u1"), **common,
        }  # fmt: skip
        axis = [{"name": "lag", "units": "nm", "values": "lag"}]
        return daq.Stream(
            "length", self._length_fields, {"structure_function": axis, "curve": axis},
            attributes=attributes, constants={"lag": self._rings.radius},
        )  # fmt: skip

    def _line(self, line: Line) -> daq.Batch:
        values = self._fitted(line) if self._curves else self._given(line)
        f = values["frequency"]
        if self._beam is not None:
            values["stiffness"] = self._beam.stiffness(f)
            if "loss_tangent" in self._line_fields:
                values["loss_tangent"] = self._beam.loss_tangent(f, values["quality_factor"])
        if self._calibration is not None:
            values["modulus"] = self._calibration.modulus(f)
            if "modulus_errors" in self._line_fields:
                errors = values["frequency_errors"]
                values["modulus_errors"] = self._calibration.modulus_errors(f, errors)
        failed = int(np.count_nonzero(~np.isfinite(f)))
        image = self._lines.so_far()
        if image is not None and image.scan == line.scan:
            if self._scan != line.scan:
                self._clear()
                self._scan = line.scan
            for name, kept in self._maps.items():
                if name in values:
                    kept[line.row] = values[name]
            self._failed[line.row] = failed
        return record(
            "lines", line.time, self._line_fields, **values, failed=failed,
            **self._lines.line_values(line),
        )  # fmt: skip

    def _fitted(self, line: Line) -> dict[str, Any]:
        assert self._curves is not None
        first, second = (line.values[name] for name in self._curves)
        if self._polar:
            response = first * np.exp(1j * np.radians(second))
        else:
            response = first + 1j * second
        fits = fit_oscillators(self._sweep, response)
        good = fits.flag == DETERMINED
        values: dict[str, Any] = {"flag": fits.flag}
        for k, name in enumerate(FITTED):
            values[name] = np.where(good, fits.values[:, k], np.nan)
            values[f"{name}_errors"] = np.where(good, fits.errors[:, k], np.nan)
        return values

    def _given(self, line: Line) -> dict[str, Any]:
        f = line.values[self._frequency]
        good = np.isfinite(f) & (f > 0)
        values: dict[str, Any] = {
            "frequency": np.where(good, f, np.nan),
            "flag": np.where(good, GIVEN, MASKED),
        }
        if self._has_quality:
            Q = line.values[self._quality]
            values["quality_factor"] = np.where(good & (Q > 0.5), Q, np.nan)
        if (noise := self._config.frequency_noise) is not None:
            values["frequency_errors"] = np.where(good, noise, np.nan)
        return values

    def _clear(self) -> None:
        for kept in self._maps.values():
            kept[...] = np.nan
        self._failed[...] = 0
        self._scan = None

    def _image(self, image: Image) -> Iterable[daq.Batch]:
        common = self._lines.condition_values(image)
        maps = self._maps
        f = maps["frequency"]
        drawn = {name: maps[name] for name in self._map_fields if name in maps}
        yield record("maps", image.time, self._map_fields, **drawn, **common)
        yield self._summary(image, ended=True)
        if self._rings is not None:
            config = self._config
            length = characteristic_length(
                f, self._rings, replicas=config.replicas, seed=config.seed,
                least_size=config.least_size,
            )  # fmt: skip
            yield self._length(image, length, common)
        self._clear()

    def _summary(self, image: Image, ended: bool) -> daq.Batch:
        maps = self._maps
        f = maps["frequency"]
        found = distribution(f)
        errors = maps["frequency_errors"]
        known = np.isfinite(errors)
        noise = math.sqrt(float(np.mean(errors[known] ** 2))) if known.any() else math.nan
        given: dict[str, Any] = {}
        for name in ("quality_factor", "modulus", "loss_tangent"):
            if name in self._summary_fields:
                given[name], given[f"{name}_sd"] = _mean_sd(maps[name])
        if self._calibration is not None:
            middle = float(found.quantiles[2])
            given["modulus_common_error"] = float(self._calibration.common_error(middle))
        return record(
            "summary", image.time, self._summary_fields, **found.values(), **given,
            **self._lines.condition_values(image),
            noise=noise, sd_without_noise=math.sqrt(max(found.sd**2 - noise**2, 0.0)),
            profile=_sampled(f, *self._along),
            failed=int(self._failed[image.present].sum()), complete=image.complete,
            lines=np.count_nonzero(image.present), ended=ended,
        )  # fmt: skip

    def _length(
        self, image: Image, found: CharacteristicLength, common: Mapping[str, Any]
    ) -> daq.Batch:
        return record(
            "length", image.time, self._length_fields,
            correlation_length=found.length, correlation_length_errors=found.length_error,
            sigma=found.sigma, sigma_errors=found.sigma_error,
            hurst_exponent=found.hurst_exponent, hurst_exponent_errors=found.hurst_exponent_error,
            noise=found.noise, size_over_length=found.size_over_length,
            structure_function=found.structure, curve=found.curve, flag=found.flag, **common,
        )  # fmt: skip


def _mean_sd(values: Floats) -> tuple[float, float]:
    """Return mean and standard deviation of the finite values; NaN where there are none."""
    v = values[np.isfinite(values)]
    if not len(v):
        return math.nan, math.nan
    return float(np.mean(v)), float(np.std(v, ddof=1)) if len(v) > 1 else math.nan


def _sampled(image: Floats, row: Floats, column: Floats) -> Floats:
    """Return a map at places between pixels, linear in both directions; NaN where a pixel is missing."""
    last = np.array(image.shape) - 2
    r = np.clip(row.astype(np.int64), 0, max(last[0], 0))
    c = np.clip(column.astype(np.int64), 0, max(last[1], 0))
    down, right = row - r, column - c
    result = np.zeros(len(row))
    for i, share_r in ((0, 1 - down), (1, down)):
        for j, share_c in ((0, 1 - right), (1, right)):
            share = share_r * share_c
            at = image[np.minimum(r + i, len(image) - 1), np.minimum(c + j, image.shape[1] - 1)]
            # a pixel without a share may be missing
            result += np.where(share > 0, share * at, 0.0)
    return result
