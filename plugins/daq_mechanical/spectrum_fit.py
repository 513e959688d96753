"""Relaxation laws fitted to frequency sweeps, again as each reading arrives, and compared."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

import daq
from daq_mechanical.moduli import COMPLIANCE, DOUBTS, ModuliConfig, ModulusReader
from daq_mechanical.sweeps import Sweep, SweepCutter

log = logging.getLogger(__name__)

MODELS: Final = ("debye", "cole_cole", "cole_davidson", "havriliak_negami", "kww")
"""The order of models in every field with an axis ``model``."""
Model = Literal["debye", "cole_cole", "cole_davidson", "havriliak_negami", "kww"]

REFUSED: Final = 5
"""Flag: not fitted, since the sweep is no modulus (see ``doubts``)."""
DECIDED: Final = 0.9
"""Akaike weight from which on a model counts as the one."""


class SweepConfig(ModuliConfig):
    """What analyses of sweeps may be told about them."""

    temperature_tolerance: float = daq.setting(
        1.0, "K", "from the mean of its sweep, within which a reading belongs to it", gt=0
    )
    doubted: Literal["refuse", "fit"] = daq.setting(
        "refuse", "", "sweeps whose storage modulus falls with frequency, as a compliance does"
    )


class SpectrumFit(daq.Analysis):
    """Fits M* = M_u - dM chi(omega tau) to both moduli of each sweep (Qiao2019, 2-3 to 2-7).

    Takes readings of a mechanical spectrometer (see `daq_mechanical.moduli`), collected into
    sweeps (`daq_mechanical.sweeps`). Models are Debye, Cole-Cole, Cole-Davidson,
    Havriliak-Negami and KWW, fitted to the same readings with the same weights. Gives:

    ``fits``
        A record after each good reading, so that the last one of a ``sweep`` is that of the whole.
        ``sweep``, ``sample``, ``segment``, ``temperature`` K, ``readings``, how many there are;
        ``doubts`` (attribute ``doubts`` says what they mean), ``negative`` readings left out.
        [model]: ``unrelaxed`` M_u, ``strength`` dM, ``relaxed`` M_u - dM (Pa), ``ln_tau`` (tau
        in s), ``ln_tau_peak`` ln(1/omega) of the loss peak, ``alpha``, ``gamma``, ``b``, each
        with ``_errors``; ``weight``, Akaike's; ``flag`` 0 determined, 1 tau not shown by the
        sweep, 2 a shape at its bound, 3 not converged, 4 too few readings, 5 refused.
        ``best``, the model of the lowest AICc, -1 none; ``decided``, whether its weight is over
        0.9: else the sweep does not tell models apart. ``tau_model``, the model that counts for
        ``ln_tau_peak_best`` and its errors, which may be compared between sweeps of different
        models, as tau may not. ``noise`` [2], of one reading, see ``noise``.
    ``curves``
        With it: ``frequency`` Hz, ``storage_modulus``, ``loss_modulus`` Pa [reading], those of
        the model in ``storage_fit`` and ``loss_fit``, and what is left over the noise in
        ``storage_residual`` and ``loss_residual``. NaN after the last reading.

    Errors are half-widths of intervals that hold the truth in 68 % of cases; they are conditional
    on the model. In simulations they do in 59-78 % for sweeps of ten readings or more, in 56-86 %
    for five (benchmarks/mechanical_coverage.py).
    """

    name = "spectrum_fit"

    class Config(SweepConfig):
        """What ``[analyses.NAME]`` with ``type = "spectrum_fit"`` may say."""

        models: list[Model] = daq.setting(list(MODELS), "", "those that are fitted", min_length=1)
        model: Model | Literal["best"] = daq.setting(
            "best", "", "which one counts for ln_tau_peak_best and the curves"
        )
        noise: Literal["phase", "moduli", "absolute"] = daq.setting(
            "phase", "", "independent are: amplitude and phase; each modulus relative; or in Pa"
        )
        noise_levels: tuple[float, float] | None = daq.setting(
            None, "1, rad or Pa", "the two standard deviations; by default from the residuals"
        )
        relaxes: Literal["in part", "all"] = daq.setting(
            "in part", "", '"all": M_u = dM, as in a liquid'
        )
        room: int = daq.setting(64, "", "readings of a sweep in the stream curves", ge=2, le=4096)

    def open(self, streams: Mapping[str, daq.Stream], config: Any) -> Sequence[daq.Stream]:
        """Check the input; ValueError where it is not one of moduli."""
        self._config = config
        self._reader = ModulusReader(single(streams, self.name), config)
        self._cutter = SweepCutter(config.temperature_tolerance)
        self._sweep = -1
        self._fit: Any = None
        self._said = 0
        return [daq.Stream("fits", _fields(), attributes=_attributes()), _curves(config.room)]

    def process(self, batch: daq.Batch) -> Iterator[daq.Batch]:
        """Take readings; fit their sweep again after each."""
        rows, negative = self._reader.read(batch)
        records = [
            self._record(sweep)
            for sweep in self._cutter.push(rows, batch.indices[negative])
            if not sweep.whole
        ]
        if records:
            for stream in ("fits", "curves"):
                yield daq.Batch(stream, _stacked([record[stream] for record in records]))

    @classmethod
    def memory(cls, streams: Mapping[str, daq.Stream], config: Any) -> int:
        """Return 4 kB and 200 bytes for each reading of the curves."""
        return 4096 + 200 * int(config.room)

    def _record(self, sweep: Sweep) -> dict[str, dict[str, Any]]:
        from daq_relaxation.susceptibility_fit import fit_susceptibility

        config = self._config
        doubts = sweep.doubts
        self._warn(sweep, doubts)
        refused = bool(doubts & COMPLIANCE) and config.doubted == "refuse"
        warm = self._fit if sweep.number == self._sweep else None
        self._sweep, self._fit = sweep.number, None
        record = {
            "time": sweep.time, "sweep": sweep.number, "sample": sweep.sample,
            "segment": sweep.segment, "temperature": sweep.temperature, "readings": len(sweep),
            "doubts": doubts, "negative": sweep.negative,
        }  # fmt: skip
        if not refused:
            self._fit = fit_susceptibility(
                sweep.frequency, sweep.storage, sweep.loss, noise=config.noise,
                known=config.noise_levels, models=config.models,
                relaxed=config.relaxes == "in part", start=warm,
            )  # fmt: skip
        return {"fits": record | _fitted(self._fit, config.model), "curves": self._curve(sweep)}

    def _curve(self, sweep: Sweep) -> dict[str, Any]:
        room = self._config.room
        shown = min(len(sweep), room)
        columns = np.full((7, room), np.nan)
        columns[0, :shown] = sweep.frequency[:shown]
        columns[1, :shown], columns[2, :shown] = sweep.storage[:shown], sweep.loss[:shown]
        model = -1 if self._fit is None else _chosen(self._fit, self._config.model)
        if model >= 0:
            fitted = self._fit.moduli(model, sweep.frequency)
            columns[3, :shown], columns[4, :shown] = fitted.real[:shown], fitted.imag[:shown]
            measured = sweep.storage + 1j * sweep.loss
            left = {
                "phase": (measured - fitted) / fitted,
                "moduli": (measured.real - fitted.real) / fitted.real
                + 1j * (measured.imag - fitted.imag) / fitted.imag,
                "absolute": measured - fitted,
            }[self._config.noise]
            columns[5, :shown] = left.real[:shown] / self._fit.noise[0]
            columns[6, :shown] = left.imag[:shown] / self._fit.noise[1]
        return {"time": sweep.time, "sweep": sweep.number} | dict(
            zip(_CURVES, columns, strict=True)
        )

    def _warn(self, sweep: Sweep, doubts: int) -> None:
        for bit, text in DOUBTS.items():
            if doubts & bit & ~self._said:
                log.warning("%s: sweep %d (%.1f K): %s", self._reader.name, sweep.number,
                            sweep.temperature, text)  # fmt: skip
        self._said |= doubts


def single(streams: Mapping[str, daq.Stream], what: str) -> daq.Stream:
    """Return the only input; ValueError where there are several."""
    if len(streams) != 1:
        raise ValueError(f"{what} takes one input, not {len(streams)}")
    (stream,) = streams.values()
    return stream


_PER_MODEL: Final = {
    "unrelaxed": ("Pa", "modulus at high frequency, M_u"),
    "strength": ("Pa", "relaxation strength, dM"),
    "relaxed": ("Pa", "modulus at low frequency, M_u - dM"),
    "ln_tau": ("", "ln(tau/s)"),
    "ln_tau_peak": ("", "ln of 1/omega of the loss peak, s"),
    "alpha": ("", "exponent alpha"),
    "gamma": ("", "exponent gamma"),
    "b": ("", "exponent of KWW"),
}
_CURVES: Final = (
    "frequency", "storage_modulus", "loss_modulus", "storage_fit", "loss_fit", "storage_residual",
    "loss_residual",
)  # fmt: skip


def _fields() -> dict[str, daq.Field]:
    shape = (len(MODELS),)
    fields = {
        "sweep": daq.Field("<i8", (), "", "number of the sweep"),
        "sample": daq.Field("<i8", (), "", "number of the sample, -1: none"),
        "segment": daq.Field("<i8", (), "", "step of the programme, -1: none"),
        "temperature": daq.Field("<f8", (), "K", "mean temperature of the sweep"),
        "readings": daq.Field("<i8", (), "", "good readings so far"),
        "doubts": daq.Field("<i8", (), "", "what is doubtful: sum of bits"),
        "negative": daq.Field("<i8", (), "", "readings left out: a modulus not above 0"),
        "best": daq.Field("<i8", (), "", "model of the lowest AICc, -1: none"),
        "decided": daq.Field("|b1", (), "", "its weight is over 0.9"),
        "tau_model": daq.Field("<i8", (), "", "model of ln_tau_peak_best, -1: none"),
        "ln_tau_peak_best": daq.Field("<f8", (), "", "ln of 1/omega of the loss peak, s"),
        "ln_tau_peak_best_errors": daq.Field("<f8", (), "", "its error"),
        "weight": daq.Field("<f8", shape, "", "Akaike weight"),
        "flag": daq.Field("|u1", shape, "", "0 determined"),
        "noise": daq.Field("<f8", (2,), "", "of one reading"),
    }
    for name, (units, text) in _PER_MODEL.items():
        fields[name] = daq.Field("<f8", shape, units, text)
        fields[f"{name}_errors"] = daq.Field("<f8", shape, units, f"{text}: error")
    return fields


def _attributes() -> dict[str, Any]:
    return {
        "models": list(MODELS),
        "doubts": {str(bit): text for bit, text in DOUBTS.items()},
        "flags": [
            "determined", "tau not shown by the sweep", "a shape at its bound", "not converged",
            "too few readings", "refused",
        ],
    }  # fmt: skip


def _curves(room: int) -> daq.Stream:
    units = ("Hz", "Pa", "Pa", "Pa", "Pa", "", "")
    fields = {n: daq.Field("<f8", (room,), u) for n, u in zip(_CURVES, units, strict=True)}
    return daq.Stream("curves", {"sweep": daq.Field("<i8"), **fields})


def _chosen(fit: Any, wanted: str) -> int:
    """Return the model that counts, -1 for none."""
    if wanted == "best":
        return int(fit.best)
    model = MODELS.index(wanted)
    return model if np.isfinite(fit.chi2[model]) else -1


def _fitted(fit: Any, wanted: str) -> dict[str, Any]:
    """Return the fields of a fit; of None, those of a refusal."""
    nan = np.full(len(MODELS), np.nan)
    record: dict[str, Any] = {
        "best": -1, "decided": False, "tau_model": -1, "ln_tau_peak_best": np.nan,
        "ln_tau_peak_best_errors": np.nan, "weight": np.zeros(len(MODELS)),
        "flag": np.full(len(MODELS), REFUSED, np.uint8), "noise": np.full(2, np.nan),
    }  # fmt: skip
    for name in _PER_MODEL:
        record[name] = record[f"{name}_errors"] = nan
    if fit is None:
        return record
    for place, name in enumerate(("unrelaxed", "strength", "ln_tau", "alpha", "gamma", "b")):
        record[name], record[f"{name}_errors"] = fit.parameters[:, place], fit.errors[:, place]
    for name in ("relaxed", "ln_tau_peak"):
        record[name] = getattr(fit, name)
        record[f"{name}_errors"] = getattr(fit, f"{name}_errors")
    model = _chosen(fit, wanted)
    record |= {
        "best": fit.best, "weight": fit.weight, "flag": fit.flag, "noise": fit.noise,
        "decided": fit.best >= 0 and bool(fit.weight[fit.best] > DECIDED), "tau_model": model,
    }  # fmt: skip
    if model >= 0 and fit.flag[model] in (0, 2):
        record["ln_tau_peak_best"] = fit.ln_tau_peak[model]
        record["ln_tau_peak_best_errors"] = fit.ln_tau_peak_errors[model]
    return record


def _stacked(records: Iterable[dict[str, Any]]) -> dict[str, npt.NDArray[Any]]:
    many = list(records)
    return {name: np.array([record[name] for record in many]) for name in many[0]}
