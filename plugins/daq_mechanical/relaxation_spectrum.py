"""Spectra of relaxation times from a master curve, from sweeps, or from stress relaxation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

import daq
from daq_mechanical.moduli import COMPLIANCE, ModulusReader
from daq_mechanical.spectrum_fit import SweepConfig, single
from daq_mechanical.sweeps import SweepCutter
from daq_mechanical.time_steps import StepConfig, Steps

_ROWS: Final = {
    "tau": ("s", "relaxation time"),
    "density": ("Pa", "strength per unit of ln tau"),
    "density_errors": ("Pa", "its standard deviation from noise"),
    "resolution": ("", "decades: width of the response to one relaxation time"),
}
_NUMBERS: Final = {
    "relaxed": ("Pa", "modulus that does not relax, M_r"),
    "relaxed_errors": ("Pa", "its standard deviation from noise"),
    "strength": ("Pa", "integral of the spectrum over ln tau"),
    "strength_errors": ("Pa", "its standard deviation from noise"),
    "ln_tau_peak": ("", "ln(tau/s) where the spectrum is highest"),
    "smoothing": ("", "relative weight of the second differences"),
    "noise": ("", "relative, of a reading"),
    "excess": ("", "chi2 over that of hardly any smoothing"),
    "temperature": ("K", "of the sweep or step, or that of reference"),
}


class RelaxationSpectrum(daq.Analysis):
    """Inverts moduli or a decay into a spectrum H(ln tau) >= 0, as smooth as the readings allow.

    See `daq_relaxation.spectrum_inversion` for the rule. Takes ``curve`` of `master_curve` (best:
    it is the widest), readings of a mechanical spectrometer (a spectrum for each whole sweep),
    or of stress relaxation: ``stress`` Pa, ``temperature`` K, ``elapsed`` s, ``strain`` where it
    is measured (a spectrum for each whole step: of stress, or of stress over strain). Gives:

    ``spectrum``
        [tau], NaN after the last: ``tau`` s, ``density`` H in Pa per unit of ln tau with
        ``_errors`` from noise, ``resolution`` in decades: peaks closer than that, or narrower, are
        not told apart. Times more than the reach of the readings are included by one decade on
        either side, and are guesswork. ``relaxed`` M_r and ``strength`` with ``_errors``,
        ``ln_tau_peak``, ``smoothing``, ``noise``, ``excess``, ``temperature``, ``readings``.

    Fewer than eight readings, and sweeps that are no modulus, give nothing.
    """

    name = "relaxation_spectrum"

    class Config(SweepConfig):
        """What ``[analyses.NAME]`` with ``type = "relaxation_spectrum"`` may say."""

        skip: float = daq.setting(0.0, "s", "of a decay, left out at its beginning", ge=0)
        times: int = daq.setting(256, "", "relaxation times there is room for", ge=32, le=4096)

    def open(self, streams: Mapping[str, daq.Stream], config: Any) -> Sequence[daq.Stream]:
        """Tell what the input is; ValueError where it is none of the three."""
        stream = single(streams, self.name)
        self._config = config
        self._cutter: SweepCutter | None = None
        self._steps: Steps | None = None
        if "reduced_frequency" not in stream.fields:
            if "stress" in stream.fields and "storage_modulus" not in stream.fields:
                self._steps = Steps(stream, "stress", "strain", StepConfig(skip=config.skip))
            else:
                self._reader = ModulusReader(stream, config)
                self._cutter = SweepCutter(config.temperature_tolerance)
        row = (config.times,)
        fields = {name: daq.Field("<f8", row, *about) for name, about in _ROWS.items()}
        fields |= {name: daq.Field("<f8", (), *about) for name, about in _NUMBERS.items()}
        return [daq.Stream("spectrum", {**fields, "readings": daq.Field("<i8")})]

    def process(self, batch: daq.Batch) -> Iterator[daq.Batch]:
        """Take readings; invert whole sweeps or steps, or each curve."""
        if self._cutter is not None:
            rows, negative = self._reader.read(batch)
            yield from self._swept(self._cutter.push(rows, batch.indices[negative]))
        elif self._steps is not None:
            yield from self._stepped(self._steps.push(batch))
        else:
            for i in range(len(batch)):
                if batch.valid[i]:
                    yield from self._curve(batch, i)

    def close(self) -> Iterator[daq.Batch]:
        """Invert the last sweep or step."""
        if self._cutter is not None:
            yield from self._swept(self._cutter.close())
        elif self._steps is not None:
            yield from self._stepped(self._steps.close())

    def _curve(self, batch: daq.Batch, i: int) -> Iterator[daq.Batch]:
        f, M1, M2 = (
            np.asarray(batch[name][i], np.float64)
            for name in ("reduced_frequency", "storage_modulus", "loss_modulus")
        )
        good = np.isfinite(f) & (f > 0) & np.isfinite(M1) & np.isfinite(M2)
        yield from self._moduli(int(batch.time[i]), math.nan, f[good], M1[good], M2[good])

    def _swept(self, sweeps: Any) -> Iterator[daq.Batch]:
        for sweep in sweeps:
            refused = bool(sweep.whole and sweep.doubts & COMPLIANCE)
            if sweep.whole and not (refused and self._config.doubted == "refuse"):
                yield from self._moduli(
                    sweep.time, sweep.temperature, sweep.frequency, sweep.storage, sweep.loss
                )

    def _moduli(self, time: int, T: float, f: Any, M1: Any, M2: Any) -> Iterator[daq.Batch]:
        from daq_relaxation.spectrum_inversion import invert_moduli

        if len(np.unique(f)) >= 4 and 2 * len(f) >= 8:
            yield self._record(time, T, invert_moduli(f, M1, M2), len(f))

    def _stepped(self, steps: Any) -> Iterator[daq.Batch]:
        from daq_relaxation.spectrum_inversion import invert_decay

        for step, ended in steps:
            if not ended or len(step) < 8:
                continue
            t, stress, counts = step.points
            load = step.mean_load
            modulus = stress / load if math.isfinite(load) and load else np.abs(stress)
            yield self._record(
                step.time, step.temperature, invert_decay(t, modulus, counts), len(t)
            )

    def _record(self, time: int, T: float, found: Any, readings: int) -> daq.Batch:
        room = self._config.times
        shown = min(len(found.tau), room)
        rows = np.full((len(_ROWS), room), np.nan)
        for row, values in zip(
            rows, (found.tau, found.density, found.errors, found.resolution), strict=True
        ):
            row[:shown] = values[:shown]
        numbers = (
            found.relaxed, found.relaxed_error, found.strength, found.strength_error,
            math.log(found.tau[int(np.argmax(found.density))]), found.smoothing, found.noise,
            found.chi2, T,
        )  # fmt: skip
        arrays = dict(zip(_ROWS, rows, strict=True)) | dict(zip(_NUMBERS, numbers, strict=True))
        return daq.Batch(
            "spectrum",
            {name: np.array([value]) for name, value in arrays.items()}
            | {"time": np.array([time], np.int64), "readings": np.array([readings], np.int64)},
        )
