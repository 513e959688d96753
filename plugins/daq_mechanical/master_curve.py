"""Master curves: sweeps at many temperatures laid on one curve as each temperature arrives."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

import daq
from daq_mechanical.moduli import COMPLIANCE, DOUBTS, Floats, ModulusReader
from daq_mechanical.spectrum_fit import SweepConfig, single
from daq_mechanical.sweeps import Sweep, SweepCutter

log = logging.getLogger(__name__)

LEAST: Final = 3
"""Readings that a sweep needs to be shifted."""


class MasterCurve(daq.Analysis):
    """Shifts sweeps along log frequency until both moduli of all of them lie on one curve.

    Takes readings of a mechanical spectrometer (see `daq_mechanical.moduli`), collected into
    sweeps. Temperatures may come in any order and again. A new ``sample`` begins a new curve.
    See `daq_mechanical.superposition` for the way. Gives, after each sweep (when the next one
    begins, or as soon as it has as many readings as the one before):

    ``shifts``
        [sweep], in order of temperature, NaN after the last: ``temperature`` K, ``log10_shift``
        (log10 a_T; tau = a_T tau_ref, the abscissa is f a_T) with ``_errors``, ``flag`` 0
        determined, 1 the sweep does not tell its shift (its error says how far it may be),
        ``misfit`` rms residual over the noise, ``doubts``, ``sweep`` number, ``vertical`` ln b_T
        with ``_errors`` (0 unless sought). ``covariance`` [sweep, sweep] of the shifts: errors
        of neighbours hang together, since all are against the reference. One each:
        ``reference_temperature`` K, of the sweep whose shift is 0; ``count``; ``left_out``
        sweeps, too short, refused or without room; ``noise`` [2]; ``superposition`` [2], noise
        over that of sweeps by themselves: well above 1 where sweeps differ in shape, and no
        shift lays them on one curve; ``sample``; ``converged``.
    ``curve``
        The master curve [reading], in order of ``reduced_frequency`` Hz = f a_T:
        ``storage_modulus``, ``loss_modulus`` Pa as measured (over b_T), ``temperature`` K, and
        the common curve in ``storage_smooth`` and ``loss_smooth`` with ``_errors``.

    Errors are half-widths that hold the truth in 64-70 % of simulated shifts
    (benchmarks/mechanical_coverage.py), if the sweeps do superpose.
    """

    name = "master_curve"

    class Config(SweepConfig):
        """What ``[analyses.NAME]`` with ``type = "master_curve"`` may say."""

        reference_temperature: float | None = daq.setting(
            None, "K", "the sweep nearest to it has shift 0; by default the first sweep", gt=0
        )
        vertical: bool = daq.setting(False, "", "seek a factor on moduli at each temperature too")
        noise: str = daq.setting(
            "phase", "", "channels: phase, ln |M| and loss angle; moduli, ln M' and ln M''",
            pattern="^(phase|moduli)$",
        )  # fmt: skip
        sweeps: int = daq.setting(48, "", "how many there is room for", ge=2, le=512)
        readings: int = daq.setting(1024, "", "room in the curve", ge=8, le=65536)

    def open(self, streams: Mapping[str, daq.Stream], config: Any) -> Sequence[daq.Stream]:
        """Check the input; ValueError where it is not one of moduli."""
        self._config = config
        self._reader = ModulusReader(single(streams, self.name), config)
        self._cutter = SweepCutter(config.temperature_tolerance)
        self._before = 0
        self._said = 0
        self._begin()
        return [
            daq.Stream("shifts", _shift_fields(config.sweeps), attributes={
                "doubts": {str(bit): text for bit, text in DOUBTS.items()},
                "flags": ["determined", "open: the sweep does not tell its shift"],
            }),
            daq.Stream("curve", _curve_fields(config.readings)),
        ]  # fmt: skip

    def process(self, batch: daq.Batch) -> Iterator[daq.Batch]:
        """Take readings; shift again when a sweep is complete."""
        rows, negative = self._reader.read(batch)
        for sweep in self._cutter.push(rows, batch.indices[negative]):
            yield from self._take(sweep)

    def close(self) -> Iterator[daq.Batch]:
        """Shift the last sweep."""
        for sweep in self._cutter.close():
            yield from self._take(sweep)

    @classmethod
    def memory(cls, streams: Mapping[str, daq.Stream], config: Any) -> int:
        """Return what the normal matrix and the records need: 100 unknowns and two per sweep."""
        unknowns = 100 + 2 * int(config.sweeps)
        return 40 * int(config.readings) * unknowns + 8 * int(config.sweeps) ** 2 * 8

    def _begin(self) -> None:
        self._sweeps: list[Sweep] = []
        self._found: Any = None
        self._left_out = 0

    def _take(self, sweep: Sweep) -> Iterator[daq.Batch]:
        if self._sweeps and sweep.sample != self._sweeps[0].sample:
            self._begin()
        complete = len(sweep) == self._before and not sweep.whole
        if sweep.whole:
            self._before = len(sweep)
        if not (complete or sweep.whole):
            return
        if self._sweeps and self._sweeps[-1].number == sweep.number:
            if len(self._sweeps[-1]) == len(sweep):
                return  # it was complete before
            self._sweeps.pop()
            self._found = None
        doubts = sweep.doubts
        for bit, text in DOUBTS.items():
            if doubts & bit & ~self._said:
                log.warning("%s: sweep %d (%.1f K): %s", self._reader.name, sweep.number,
                            sweep.temperature, text)  # fmt: skip
        self._said |= doubts
        refused = bool(doubts & COMPLIANCE) and self._config.doubted == "refuse"
        short = len(np.unique(sweep.frequency)) < LEAST
        readings = sum(len(one) for one in self._sweeps) + len(sweep)
        full = len(self._sweeps) >= self._config.sweeps or readings > self._config.readings
        if refused or short or full:
            self._left_out += sweep.whole
            return
        self._sweeps.append(sweep)
        yield from self._shifted()

    def _shifted(self) -> Iterator[daq.Batch]:
        from daq_mechanical.superposition import Channels, superpose

        sweeps, config = self._sweeps, self._config
        kelvin = [sweep.temperature for sweep in sweeps]
        wanted = config.reference_temperature
        reference = (
            0 if wanted is None else min(range(len(kelvin)), key=lambda k: abs(kelvin[k] - wanted))
        )
        channels = [Channels.of(s.frequency, s.storage, s.loss, config.noise) for s in sweeps]
        found = self._found = superpose(
            channels, kelvin, reference, vertical=config.vertical, start=self._found
        )
        order = np.argsort(kelvin, kind="stable")
        room, count = config.sweeps, len(sweeps)
        covariance = np.full((room, room), np.nan)
        covariance[:count, :count] = found.covariance[np.ix_(order, order)]

        def padded(values: Any, fill: Any = np.nan) -> npt.NDArray[Any]:
            given = np.asarray(values)[order]
            row = np.full(room, fill, given.dtype)
            row[:count] = given
            return row

        record = {
            "temperature": padded(kelvin),
            "log10_shift": padded(found.shift),
            "log10_shift_errors": padded(found.errors),
            "vertical": padded(found.vertical),
            "vertical_errors": padded(found.vertical_errors),
            "flag": padded(found.flag, 0),
            "misfit": padded(found.misfit),
            "doubts": padded([s.doubts for s in sweeps], 0),
            "sweep": padded([s.number for s in sweeps], -1),
            "covariance": covariance,
            "reference_temperature": kelvin[reference],
            "count": count,
            "left_out": self._left_out,
            "noise": found.noise,
            "superposition": found.superposition,
            "sample": sweeps[-1].sample,
            "converged": found.converged,
            "time": max(s.time for s in sweeps),
        }
        yield daq.Batch("shifts", {name: np.array([value]) for name, value in record.items()})
        curve = self._curve() | {"time": record["time"]}
        yield daq.Batch("curve", {name: np.array([value]) for name, value in curve.items()})

    def _curve(self) -> dict[str, Any]:
        sweeps, found = self._sweeps, self._found
        reduced = np.concatenate([
            np.log10(s.frequency) + shift for s, shift in zip(sweeps, found.shift, strict=True)
        ])  # fmt: skip
        factor = np.concatenate([
            np.full(len(s), np.exp(-v)) for s, v in zip(sweeps, found.vertical, strict=True)
        ])  # fmt: skip
        order = np.argsort(reduced, kind="stable")
        (storage, loss), errors = self._smooth(reduced[order])
        columns = {
            "reduced_frequency": 10 ** reduced[order],
            "storage_modulus": (np.concatenate([s.storage for s in sweeps]) * factor)[order],
            "loss_modulus": (np.concatenate([s.loss for s in sweeps]) * factor)[order],
            "temperature": np.concatenate([np.full(len(s), s.temperature) for s in sweeps])[order],
            "storage_smooth": storage,
            "storage_smooth_errors": errors[0],
            "loss_smooth": loss,
            "loss_smooth_errors": errors[1],
        }
        room = self._config.readings
        return {
            name: np.concatenate([column, np.full(room - len(column), np.nan)])
            for name, column in columns.items()
        }

    def _smooth(self, x: Floats) -> tuple[Floats, Floats]:
        """Return storage and loss of the common curve [2, n], and their errors."""
        (first, second), (error, other) = self._found.curve(x)
        if self._config.noise == "moduli":
            moduli = np.exp(np.stack([first, second]))
            return moduli, moduli * np.stack([error, other])
        cosine, sine = np.cos(second), np.sin(second)
        moduli = np.exp(first) * np.stack([cosine, sine])
        return moduli, np.exp(first) * np.stack([
            np.hypot(cosine * error, sine * other), np.hypot(sine * error, cosine * other)
        ])  # fmt: skip


def _shift_fields(room: int) -> dict[str, daq.Field]:
    row = (room,)
    return {
        "temperature": daq.Field("<f8", row, "K", "temperature of each sweep"),
        "log10_shift": daq.Field("<f8", row, "", "log10 a_T"),
        "log10_shift_errors": daq.Field("<f8", row, "", "its standard error"),
        "vertical": daq.Field("<f8", row, "", "ln b_T"),
        "vertical_errors": daq.Field("<f8", row, "", "its standard error"),
        "flag": daq.Field("|u1", row, "", "0 determined, 1 open"),
        "misfit": daq.Field("<f8", row, "", "rms residual over the noise"),
        "doubts": daq.Field("<i8", row, "", "what is doubtful: sum of bits"),
        "sweep": daq.Field("<i8", row, "", "number of the sweep, -1: none"),
        "covariance": daq.Field("<f8", (room, room), "", "of log10 a_T"),
        "reference_temperature": daq.Field("<f8", (), "K", "where the shift is 0"),
        "count": daq.Field("<i8", (), "", "sweeps"),
        "left_out": daq.Field("<i8", (), "", "sweeps left out"),
        "noise": daq.Field("<f8", (2,), "", "of one reading in each channel"),
        "superposition": daq.Field("<f8", (2,), "", "noise over that of sweeps by themselves"),
        "sample": daq.Field("<i8", (), "", "number of the sample, -1: none"),
        "converged": daq.Field("|b1", (), "", "the shifts stand"),
    }


def _curve_fields(room: int) -> dict[str, daq.Field]:
    row = (room,)
    names = {
        "storage_modulus": "storage modulus", "loss_modulus": "loss modulus",
        "storage_smooth": "common curve", "storage_smooth_errors": "its standard error",
        "loss_smooth": "common curve", "loss_smooth_errors": "its standard error",
    }  # fmt: skip
    return {
        "reduced_frequency": daq.Field("<f8", row, "Hz", "frequency times a_T"),
        "temperature": daq.Field("<f8", row, "K", "at which it was measured"),
        **{name: daq.Field("<f8", row, "Pa", text) for name, text in names.items()},
    }
