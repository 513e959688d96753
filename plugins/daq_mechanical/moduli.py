"""Moduli as instruments give them, checked: units once, readings one by one, sweeps by what is physical.

Every analysis of oscillatory readings reads them here, so that all of them refuse the same things.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pydantic

import daq

Floats = npt.NDArray[np.float64]

PASCAL: Final = {"Pa": 1.0, "kPa": 1e3, "MPa": 1e6, "GPa": 1e9, "N/m2": 1.0, "N/mm2": 1e6}
"""Units of moduli and stresses: how many Pa they are."""
HERTZ: Final = {"Hz": 1.0, "1/s": 1.0, "mHz": 1e-3, "kHz": 1e3, "rad/s": 1 / (2 * math.pi)}
"""Units of frequency: how many Hz they are."""
ZERO_OF: Final = {"K": 0.0, "degC": 273.15, "°C": 273.15}
"""What is added to a temperature in these units to have it in K."""

COMPLIANCE: Final = 1
"""Doubt: the storage modulus falls with frequency. A compliance does, a modulus cannot."""
ANGULAR: Final = 2
"""Doubt: frequencies are 2 pi times round decades: rad/s that were told as Hz."""
TAN_DELTA: Final = 4
"""Doubt: tan delta is not loss over storage modulus."""
NEGATIVE: Final = 8
"""Doubt: over a tenth of the readings had a modulus that is not above 0, and were left out."""
DOUBTS: Final = {
    COMPLIANCE: "the storage modulus falls with frequency, as a compliance does and a modulus cannot: "
    "give M = 1/J",
    ANGULAR: "frequencies are 2 pi times round decades: they seem to be in rad/s, not in Hz; say the "
    'unit in the source, units = { frequency = "rad/s" }',
    TAN_DELTA: "tan delta is not loss over storage modulus: one of the three columns is another quantity",
    NEGATIVE: "moduli that are not above 0 are left out: is the sign or the column right?",
}  # fmt: skip
"""What each doubt says, and what to do."""

FALL: Final = 0.02
"""Part of its mean by which storage must fall over a sweep to be called a compliance."""
TREND: Final = -2.4
"""Kendall's statistic, in standard deviations, below which that fall is none of chance (p < 0.01)."""
DISAGREE: Final = 0.02
"""How far tan delta may be from loss / storage: relative, or 1e-3 as it stands (printed digits)."""


class ModuliConfig(daq.Config):
    """What every analysis of oscillatory readings may be told about its input."""

    frequency: float | None = daq.setting(
        None, "Hz", "of all readings, where the stream has none", gt=0
    )
    frequency_range: tuple[pydantic.NonNegativeFloat, pydantic.PositiveFloat] | None = daq.setting(
        None,
        "Hz",
        "[lowest, highest]: readings outside are left out, as where an instrument resonates",
    )

    @pydantic.model_validator(mode="after")
    def _ordered(self) -> ModuliConfig:
        if self.frequency_range is not None and self.frequency_range[0] >= self.frequency_range[1]:
            raise ValueError("frequency_range: [lowest, highest], the lower one first")
        return self


@dataclasses.dataclass(frozen=True, slots=True)
class Moduli:
    """Good readings, in order; all [n].

    Parameters
    ----------
    index
        int64, of each reading in its stream.
    time
        int64, ns since 1970 UTC.
    temperature
        float64, K.
    frequency
        float64, Hz.
    storage, loss
        float64, Pa, both above 0.
    tan_delta
        float64, as the stream has it; NaN where it has none.
    segment, sample
        int64; -1 where the stream has none.
    """

    index: npt.NDArray[np.int64]
    time: npt.NDArray[np.int64]
    temperature: Floats
    frequency: Floats
    storage: Floats
    loss: Floats
    tan_delta: Floats
    segment: npt.NDArray[np.int64]
    sample: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.index)

    def where(self, mask: npt.NDArray[np.bool_]) -> Moduli:
        """Return the readings that a mask [n] keeps, copied."""
        return Moduli(*(getattr(self, f.name)[mask] for f in dataclasses.fields(self)))


class ModulusReader:
    """Reads batches of one stream as `Moduli`.

    Parameters
    ----------
    stream
        With ``temperature`` (K or degC), ``storage_modulus`` and ``loss_modulus`` (Pa to GPa) or
        one of them and ``tan_delta``, and ``frequency`` (Hz, or rad/s where its units say so).
        ``segment`` or ``step``, and ``sample``, are taken where the stream has them; an attribute
        ``frequency_Hz`` stands for a frequency that all readings have.
    config
        A `ModuliConfig`.

    Raises
    ------
    ValueError
        A field is absent, or in units that are none of its quantity: a compliance in 1/Pa.
    """

    def __init__(self, stream: daq.Stream, config: Any) -> None:
        self.name = stream.name
        self._stream = stream
        self._offset = self._unit("temperature", ZERO_OF)
        there = [f for f in ("storage_modulus", "loss_modulus", "tan_delta") if f in stream.fields]
        if not {"storage_modulus", "loss_modulus"} & set(there) or len(there) < 2:
            raise ValueError(
                f"{stream.name} has {self._listed()}: storage_modulus and loss_modulus are needed, "
                "or one of them and tan_delta"
            )
        self._factors = {f: self._unit(f, PASCAL) for f in there if f != "tan_delta"}
        if "tan_delta" in there and stream.fields["tan_delta"].units not in ("", "1"):
            units = stream.fields["tan_delta"].units
            raise ValueError(f"{stream.name}: tan_delta is in {units!r}: a number is needed")
        self._tan_delta = "tan_delta" in there
        self._range = config.frequency_range
        told = config.frequency or stream.attributes.get("frequency_Hz")
        self._hertz = 1.0
        self._fixed: float | None = None
        if "frequency" in stream.fields:
            self._hertz = self._unit("frequency", HERTZ)
        elif told:
            self._fixed = float(told)
        else:
            raise ValueError(
                f"{stream.name} has no field 'frequency': say frequency = ... (Hz) in the analysis"
            )
        self._segment = next((f for f in ("segment", "step") if f in stream.fields), None)

    def read(self, batch: daq.Batch) -> tuple[Moduli, npt.NDArray[np.bool_]]:
        """Return the good readings of a batch, and which records [record] had a modulus <= 0.

        Left out besides are records that were lost or have no time, those in which a needed number
        is not finite, or temperature or frequency not above 0, and those outside the range.
        """
        temperature = self._numbers(batch, "temperature") + self._offset
        frequency = (
            np.full(len(batch), self._fixed)
            if self._fixed is not None
            else self._numbers(batch, "frequency") * self._hertz
        )
        tan = np.full(len(batch), np.nan)
        if self._tan_delta:
            tan = self._numbers(batch, "tan_delta")
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            storage, loss = (
                self._numbers(batch, field) * self._factors[field]
                if field in self._factors
                else None
                for field in ("storage_modulus", "loss_modulus")
            )
            if storage is None:
                assert loss is not None
                storage = loss / tan
            elif loss is None:
                loss = storage * tan
        good = batch.valid & (batch.time != daq.NO_TIME) & np.isfinite(temperature)
        good &= (temperature > 0) & np.isfinite(frequency) & (frequency > 0)
        good &= np.isfinite(storage) & np.isfinite(loss)
        if self._range is not None:
            good &= (frequency >= self._range[0]) & (frequency <= self._range[1])
        positive = (storage > 0) & (loss > 0)
        count = len(batch)
        rows = Moduli(
            batch.indices, batch.time, temperature, frequency, storage, loss, tan,
            self._whole(batch, self._segment, count), self._whole(batch, "sample", count),
        )  # fmt: skip
        return rows.where(good & positive), good & ~positive

    def _unit(self, field: str, known: Mapping[str, float]) -> float:
        if field not in self._stream.fields or self._stream.fields[field].shape:
            raise ValueError(
                f"{self.name} has no field {field!r} with one number per record: readings of a "
                f"mechanical spectrometer are needed; it has {self._listed()}"
            )
        units = self._stream.fields[field].units
        if units in known:
            return known[units]
        if known is PASCAL and units.replace(" ", "") in (
            "1/Pa",
            "1/MPa",
            "1/GPa",
            "Pa-1",
            "Pa^-1",
        ):
            raise ValueError(
                f"{self.name}: {field} is in {units}, so it is a compliance: moduli are needed, "
                "M' - and M'' from 1/J*, not 1/J'"
            )
        raise ValueError(
            f"{self.name}: {field} is in {units or 'no units'!r}; known are {', '.join(known)}: "
            "say it in the source, units = { ... }"
        )

    def _listed(self) -> str:
        return ", ".join(sorted(set(self._stream.fields) - {"time"})) or "no fields"

    def _numbers(self, batch: daq.Batch, field: str) -> Floats:
        return np.asarray(batch[field], np.float64)

    def _whole(self, batch: daq.Batch, field: str | None, count: int) -> npt.NDArray[np.int64]:
        if field is None or field not in self._stream.fields:
            return np.full(count, -1, np.int64)
        values = np.asarray(batch[field])
        if values.dtype.kind == "f":  # a table may have its numbers of steps as floats
            values = np.where(np.isfinite(values), values, -1)
        return values.astype(np.int64)


def doubts_of(
    frequency: npt.ArrayLike,
    storage: npt.ArrayLike,
    loss: npt.ArrayLike,
    tan_delta: npt.ArrayLike | None = None,
    negative: int = 0,
) -> int:
    """Return what is doubtful about a sweep: the sum of the constants of `DOUBTS` that hold.

    Parameters
    ----------
    frequency
        [n], Hz, in any order.
    storage, loss
        [n], in one unit.
    tan_delta
        [n], as the instrument gives it; NaN where it does not.
    negative
        Readings of the sweep that were left out since a modulus was not above 0.
    """
    f, M1, M2 = (np.asarray(a, np.float64) for a in (frequency, storage, loss))
    found = 0
    if _falls(f, M1):
        found |= COMPLIANCE
    if _angular(f):
        found |= ANGULAR
    if tan_delta is not None:
        tan = np.asarray(tan_delta, np.float64)
        told = np.isfinite(tan)
        ratio = M2 / M1
        wrong = np.abs(tan - ratio) > np.maximum(DISAGREE * ratio, 1e-3)
        if told.any() and np.count_nonzero(wrong & told) > 0.1 * np.count_nonzero(told):
            found |= TAN_DELTA
    if negative > 0.1 * (negative + len(f)):
        found |= NEGATIVE
    return found


def said(doubts: int) -> str:
    """Return what doubts say, in one line; empty for 0."""
    return "; ".join(text for bit, text in DOUBTS.items() if doubts & bit)


def _falls(f: Floats, M1: Floats) -> bool:
    """Tell whether storage falls with frequency, by more than chance and than `FALL`."""
    n = len(f)
    if n < 5 or not np.ptp(f) > 0:
        return False
    order = np.argsort(f, kind="stable")
    M1 = M1[order]
    s = sum(int(np.sum(np.sign(M1[i + 1 :] - M1[i]))) for i in range(n - 1))
    z = s / math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    third = max(1, n // 3)
    fall = float(np.median(M1[:third]) - np.median(M1[-third:]))
    return z <= TREND and fall > FALL * float(np.mean(M1))


def _angular(f: Floats) -> bool:
    """Tell whether two decades or more lie at 2 pi 10^k, and none at 10^k."""

    def round_ones(values: Floats) -> int:
        place = np.log10(values)
        return len(set(np.rint(place[np.abs(place - np.rint(place)) < 5e-4]).tolist()))

    return round_ones(f / (2 * math.pi)) >= 2 and round_ones(f) == 0
