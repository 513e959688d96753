"""The energy that the tip loses in each cycle of tapping, line by line."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

import daq
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
    setting_of,
)

EV_PER_NN_NM: Final = 6.241509074460763
"""eV in a nN nm."""
SAME_RATIO: Final = 0.03
"""Images whose mean A/A_0 differ by no more are of one set point."""
ONE_SIGMA: Final = 0.8413447460685429
"""Probability below one standard deviation of a Gaussian."""


@dataclasses.dataclass(frozen=True, slots=True)
class Cantilever:
    """What of the cantilever the energy depends on.

    ``spring_constant`` k, N/m; ``quality_factor`` Q; ``free_amplitude`` A_0 at resonance, nm;
    ``frequency_ratio`` omega/omega_0 of drive and free resonance.
    """

    spring_constant: float
    quality_factor: float
    free_amplitude: float
    frequency_ratio: float = 1.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{field.name} is {value:g}: it must be above 0")

    @property
    def energy_unit(self) -> float:
        """What energies are counted in, eV: pi k A_0^2 / Q."""
        k, Q, A0 = self.spring_constant, self.quality_factor, self.free_amplitude
        return math.pi * k * A0 * A0 / Q * EV_PER_NN_NM

    @property
    def force_unit(self) -> float:
        """F_0 = k A_0 / Q, nN."""
        return self.spring_constant * self.free_amplitude / self.quality_factor


def dissipated_energy(phase: Floats, amplitude: Floats, cantilever: Cantilever) -> Floats:
    """Return E_dis per cycle, eV (Qiao2019, eq. 3-10).

        E_dis = (sin phi - (omega/omega_0)(A/A_0)) pi k A A_0 / Q

    Parameters
    ----------
    phase
        phi, degrees: 90 at the free resonance.
    amplitude
        A, nm; same shape.
    """
    u = amplitude / cantilever.free_amplitude
    lost = np.sin(np.radians(phase)) - cantilever.frequency_ratio * u
    return np.asarray(cantilever.energy_unit * u * lost)


def dissipated_energy_errors(
    phase: Floats,
    amplitude: Floats,
    cantilever: Cantilever,
    phase_noise: float,
    amplitude_noise: float,
) -> Floats:
    """Return the standard error of E_dis, eV, from independent noise of phase (deg) and A (nm).

    To second order in the phase: at 90 degrees its first derivative is 0.
    """
    A0, w = cantilever.free_amplitude, cantilever.frequency_ratio
    u, phi = amplitude / A0, np.radians(phase)
    noise, spread = math.radians(phase_noise), amplitude_noise / A0
    by_phase = u * np.cos(phi) * noise
    bend = u * np.sin(phi) * noise * noise / math.sqrt(2)
    by_amplitude = (np.sin(phi) - 2 * w * u) * spread
    return np.asarray(cantilever.energy_unit * np.sqrt(by_phase**2 + bend**2 + by_amplitude**2))


def elastic_force(phase: Floats, cantilever: Cantilever) -> Floats:
    """Return the mean elastic force, nN: positive where the tip is pushed away.

        F = (F_0 / 2) cos(pi/2 - dphi),  F_0 = k A_0 / Q,  dphi = 90 deg - phi

    (Qiao2019, 3.3.1), which is (F_0 / 2) cos phi.
    """
    return np.asarray(cantilever.force_unit / 2 * np.cos(np.radians(phase)))


def impossible(phase: Floats, amplitude: Floats, cantilever: Cantilever) -> npt.NDArray[np.bool_]:
    """Tell where a surface would give energy to the tip: sin phi < (omega/omega_0)(A/A_0).

    At A/A_0 = 0.85 that is a phase outside 58-122 degrees. Around E_dis = 0, noise does it too.
    """
    u = amplitude / cantilever.free_amplitude
    with np.errstate(invalid="ignore"):
        return np.asarray(np.sin(np.radians(phase)) < cantilever.frequency_ratio * u)


def _mean_error(means: Floats) -> float:
    """Return the standard error of the mean of few places, with Student's factor for one sigma."""
    from scipy.special import stdtrit

    if len(means) < 2:
        return float("nan")
    factor_of_few = float(stdtrit(len(means) - 1, ONE_SIGMA))
    return float(np.std(means, ddof=1)) / math.sqrt(len(means)) * factor_of_few


class CantileverConfig(daq.Config):
    """What an analysis may be told about the cantilever, where the stream does not say it."""

    spring_constant: float | None = daq.setting(None, "N/m", "of the cantilever", gt=0)
    quality_factor: float | None = daq.setting(None, "", "of the free resonance", gt=0)
    resonance_frequency: float | None = daq.setting(None, "Hz", "free resonance", gt=0)
    drive_frequency: float | None = daq.setting(
        None, "Hz", "of the drive; the resonance where neither this nor the stream says it", gt=0
    )
    free_amplitude: float | None = daq.setting(
        None, "nm", "A_0: without a surface, at resonance", gt=0
    )

    def cantilever(self, stream: daq.Stream) -> Cantilever:
        """Return the cantilever of a stream; ValueError where something is not known."""
        resonance = setting_of(stream, self, "resonance_frequency", "Hz")
        if not resonance > 0:
            raise ValueError(f"{stream.name}: a resonance_frequency of {resonance:g} Hz")
        return Cantilever(
            setting_of(stream, self, "spring_constant", "N/m"),
            setting_of(stream, self, "quality_factor", ""),
            setting_of(stream, self, "free_amplitude", "nm"),
            setting_of(stream, self, "drive_frequency", "Hz", resonance) / resonance,
        )


class Dissipation(daq.Analysis):
    """Maps of dissipated energy and elastic force from phase and amplitude.

    Takes a stream of scan lines. Gives:

    ``lines``
        Each line: ``dissipated_energy`` eV and ``elastic_force`` nN [column], with ``_errors``
        where the noise of phase and amplitude is stated; ``outside``, how many pixels have a
        phase at which the energy would be negative, and ``pixels``, how many are finite.
        Negative energies are given as they are: cut off, noise would become a bias.
    ``maps``
        Each image that has ended: both, float32 [row, column].
    ``summary``
        Every ``every`` lines of an image, and when it has ended (``ended``): its distribution of energy so
        far (see `daq_afm.distribution`), ``lines``, ``relative_sd``, ``amplitude_ratio`` (mean A/A_0), ``phase_mean``
        deg, ``outside``; over all images that have ended of the same sample, that is of the same annealing
        time and temperature, and of the same A/A_0 (within 0.03): ``places``, ``mean_over_places``, ``sd_over_places`` (of their
        means; NaN for one), ``mean_over_places_errors`` (with Student's factor). ``complete``: no line was missing.

    The attributes of every stream say the cantilever, ``energy_unit`` = pi k A_0^2 / Q in eV and
    how the phase was taken. Errors of k, Q and A_0 scale the whole map and are not in ``_errors``.
    """

    name = "dissipation"

    class Config(CantileverConfig):
        """What ``[analyses.NAME]`` with ``type = "dissipation"`` may say."""

        phase: str = daq.setting("phase", "", "channel of the phase")
        amplitude: str = daq.setting("amplitude", "", "channel of the amplitude")
        constant_amplitude: bool = daq.setting(
            False, "", "no amplitude was recorded: take the stream's amplitude_setpoint"
        )
        amplitude_setpoint: float | None = daq.setting(None, "nm", "for constant_amplitude", gt=0)
        phase_at_resonance: float | None = daq.setting(
            None, "deg", "of the free cantilever; the phase is turned so that it is 90"
        )
        phase_sign: int | None = daq.setting(
            None, "", "-1 where phases rise with repulsion; then they are mirrored", ge=-1, le=1
        )
        phase_noise: float | None = daq.setting(
            None, "deg", "standard deviation in a pixel; with it, there are errors", ge=0
        )
        amplitude_noise: float = daq.setting(0.0, "nm", "standard deviation in a pixel", ge=0)
        every: int = daq.setting(32, "", "lines from one summary to the next", ge=1)

    def open(self, streams: Mapping[str, daq.Stream], config: Any) -> Sequence[daq.Stream]:
        """Find channels, cantilever and the convention of the phase; ValueError without them."""
        stream = only_stream(streams, self.name)
        self._config = config
        self._cantilever = config.cantilever(stream)
        channels = {config.phase: factor(stream, config.phase, "angle")}
        self._held: float | None = None
        if config.constant_amplitude:
            self._held = setting_of(stream, config, "amplitude_setpoint", "nm")
        else:
            channels[config.amplitude] = factor(stream, config.amplitude, "length")
        self._set_phase(stream, config)
        self._lines = ImageLines(stream, channels)
        self._places: list[tuple[tuple[float, ...], float, dict[int, float]]] = []
        return self._outputs(stream)

    def process(self, batch: daq.Batch) -> Iterable[daq.Batch]:
        """Give each line; and map and summary where an image ends."""
        for item in self._lines.take(batch):
            if isinstance(item, Line):
                yield self._line(item)
                if (image := self._lines.due(item, self._config.every)) is not None:
                    yield self._summary(image, ended=False)
            else:
                yield from self._image(item)

    def close(self) -> Iterable[daq.Batch]:
        """Give map and summary of an image that was left half done."""
        for image in self._lines.rest():
            yield from self._image(image)

    @classmethod
    def memory(cls, streams: Mapping[str, daq.Stream], config: Any) -> int:
        """Return eight numbers a pixel of one image."""
        (stream,) = streams.values()
        return 64 * math.prod(stream.scan_shape or (0,))

    def _set_phase(self, stream: daq.Stream, config: Any) -> None:
        at = config.phase_at_resonance
        if at is None:
            at = stream.attributes.get("phase_at_resonance")
        if at is None:
            raise ValueError(
                f"{stream.name} does not say which phase a free cantilever has: give "
                "phase_at_resonance (90, or 0 with some controllers) in the configuration"
            )
        sign = config.phase_sign
        if sign is None:
            sign = stream.attributes.get("phase_sign", 1)
        if sign not in (1, -1):
            raise ValueError(f"{stream.name}: phase_sign is {sign!r}, not 1 or -1")
        self._at, self._sign = float(at), int(sign)
        given = stream.attributes.get("phase_convention", "")
        turned = (
            "as it came"
            if (self._at, self._sign) == (90.0, 1)
            else f"90 + ({self._sign}) x (phase - {self._at:g})"
        )
        self._convention = f"{given}; phase taken {turned}" if given else f"phase taken {turned}"

    def _outputs(self, stream: daq.Stream) -> list[daq.Stream]:
        lines, columns, rows = self._lines, self._lines.columns, self._lines.rows
        with_errors = self._config.phase_noise is not None
        units = {"dissipated_energy": "eV", "elastic_force": "nN"}
        names = {"dissipated_energy": "energy lost per cycle", "elastic_force": "elastic force"}
        self._row_fields = {
            n + tail: daq.Field("<f4", (columns,), unit, names[n] if not tail else "")
            for n, unit in units.items()
            for tail in (("", "_errors") if with_errors else ("",))
        }
        count = daq.Field("<i4", (), "", "pixels")
        self._row_fields |= {"outside": count, "pixels": count, **lines.line_fields()}
        self._map_fields = {
            n: daq.Field("<f4", (rows, columns), unit, names[n]) for n, unit in units.items()
        } | lines.condition_fields()
        number = daq.Field("<f8", (), "eV")
        self._summary_fields = {
            **distribution_fields("eV"),
            "relative_sd": daq.Field("<f8", (), "", "sd / mean"),
            "amplitude_ratio": daq.Field("<f8", (), "", "mean A/A0"),
            "phase_mean": daq.Field("<f8", (), "deg"),
            "outside": daq.Field("<i8", (), "", "pixels of negative energy"),
            "lines": daq.Field("<i4", (), "", "rows so far"),
            "ended": daq.Field("|u1"),
            "complete": daq.Field("|u1"),
            "places": daq.Field("<i4"),
            "mean_over_places": number,
            "mean_over_places_errors": number,
            "sd_over_places": number,
            **lines.condition_fields(),
        }
        attributes = {
            "spring_constant": self._cantilever.spring_constant,
            "quality_factor": self._cantilever.quality_factor,
            "free_amplitude": self._cantilever.free_amplitude,
            "frequency_ratio": self._cantilever.frequency_ratio,
            "energy_unit": self._cantilever.energy_unit,
            "phase_at_resonance": 90.0,
            "phase_convention": self._convention,
        }
        for name in ("levelling", "amplitude_setpoint"):
            if name in stream.attributes:
                attributes[name] = stream.attributes[name]
        x = [image_axes(lines.step)[1]]
        return [
            daq.Stream(
                "lines", self._row_fields, {n: x for n in self._row_fields if n.startswith(tuple(units))},
                stream.scan, attributes, stream.expect,
            ),
            daq.Stream(
                "maps", self._map_fields, {n: image_axes(lines.step) for n in units},
                attributes=attributes,
            ),
            daq.Stream("summary", self._summary_fields, attributes=attributes),
        ]  # fmt: skip

    def _measured(self, values: Mapping[str, Floats]) -> tuple[Floats, Floats]:
        """Return phase (90 at resonance) and amplitude."""
        phase = 90.0 + self._sign * (values[self._config.phase] - self._at)
        if self._held is not None:
            return phase, np.full(phase.shape, self._held)
        return phase, values[self._config.amplitude]

    def _line(self, line: Line) -> daq.Batch:
        phase, amplitude = self._measured(line.values)
        energy = dissipated_energy(phase, amplitude, self._cantilever)
        given: dict[str, Any] = {
            "dissipated_energy": energy,
            "elastic_force": elastic_force(phase, self._cantilever),
        }
        if (noise := self._config.phase_noise) is not None:
            given["dissipated_energy_errors"] = dissipated_energy_errors(
                phase, amplitude, self._cantilever, noise, self._config.amplitude_noise
            )
            radians = math.radians(noise)
            given["elastic_force_errors"] = (
                self._cantilever.force_unit / 2
                * np.hypot(np.sin(np.radians(phase)) * radians,
                           np.cos(np.radians(phase)) * radians**2 / math.sqrt(2))
            )  # fmt: skip
        outside = np.count_nonzero(impossible(phase, amplitude, self._cantilever))
        return record(
            "lines", line.time, self._row_fields, **given, outside=outside,
            pixels=np.count_nonzero(np.isfinite(energy)), **self._lines.line_values(line),
        )  # fmt: skip

    def _image(self, image: Image) -> Iterable[daq.Batch]:
        phase, amplitude = self._measured(image.values)
        energy = dissipated_energy(phase, amplitude, self._cantilever)
        common = self._lines.condition_values(image)
        yield record(
            "maps", image.time, self._map_fields, **common, dissipated_energy=energy,
            elastic_force=elastic_force(phase, self._cantilever),
        )  # fmt: skip
        yield self._summary(image, ended=True)

    def _summary(self, image: Image, ended: bool) -> daq.Batch:
        phase, amplitude = self._measured(image.values)
        energy = dissipated_energy(phase, amplitude, self._cantilever)
        found = distribution(energy)
        good = np.isfinite(energy)
        ratio = relative = turned = mean = spread = math.nan
        if found.count:
            ratio = float(np.mean(amplitude[good])) / self._cantilever.free_amplitude
            relative = found.sd / found.mean
            turned = float(np.mean(phase[good]))
        places = self._same_sample(image, ratio, ended)
        if ended and found.count:
            places[image.place] = found.mean
        means = np.array(list(places.values()))
        if len(means):
            mean = float(np.mean(means))
        if len(means) > 1:
            spread = float(np.std(means, ddof=1))
        return record(
            "summary", image.time, self._summary_fields, **found.values(),
            **self._lines.condition_values(image), relative_sd=relative, amplitude_ratio=ratio,
            phase_mean=turned,
            outside=np.count_nonzero(impossible(phase, amplitude, self._cantilever)),
            lines=np.count_nonzero(image.present), ended=ended, complete=image.complete,
            places=len(means), mean_over_places=mean, sd_over_places=spread,
            mean_over_places_errors=_mean_error(means),
        )  # fmt: skip

    def _same_sample(self, image: Image, ratio: float, keep: bool) -> dict[int, float]:
        """Return the means by place of images with this history and nearly this A/A_0."""
        history = tuple(image.conditions[name] for name in self._lines.conditions)
        # NaN is unlike itself: without a known history every scan would be a sample of its own
        history = tuple(-1.0 if math.isnan(value) else value for value in history)
        for known, level, places in self._places:
            if known == history and abs(level - ratio) <= SAME_RATIO:
                return places
        found: dict[int, float] = {}
        if keep:
            self._places.append((history, ratio, found))
        return found
