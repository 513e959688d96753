"""Simulated measurements that several tests share, made once."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

import daq
from daq.config import validated
from daq.testing import Records
from daq_simulators.calorimeter import Calorimeter

QUIET = {"noise": 0.0, "baseline_sd": [0.0, 0.0, 0.0]}
SHORT = {"start_temperature": 560.0, "programme": [745.0, 560.0, 830.0]}
"""From well below T_g, so that little is to be simulated."""
STANDARD = {"start_temperature": 560.0, "programme": [800.0], "beta_enthalpy": 0.0}
"""One heating of a sample that was cooled at 20 K/min."""

Truth = dict[str, np.ndarray]


def measured(**values: Any) -> tuple[Records, Truth]:
    """The readings of a simulated calorimeter, as a stream ``dsc``, and its truth."""
    return _measured(tuple((name, _frozen(value)) for name, value in values.items()))


@functools.lru_cache(maxsize=32)
def _measured(items: tuple[tuple[str, Any], ...]) -> tuple[Records, Truth]:
    values = {name: list(value) if isinstance(value, tuple) else value for name, value in items}
    source = Calorimeter()
    (stream,) = source.open(validated(Calorimeter.Config, values, "sources.dsc"))
    batches = list(source.batches({}))
    fields = {name: np.concatenate([b.raw[name] for b in batches]) for name in stream.fields}
    return records(stream, fields), dict(source.truth())


def records(stream: daq.Stream, fields: dict[str, np.ndarray], **attributes: Any) -> Records:
    """Fields as records that tests may change, with the units of ``stream``."""
    described = {
        name: daq.Field(array.dtype.str, array.shape[1:], stream.fields[name].units)
        for name, array in fields.items()
    }
    return Records(
        daq.Stream("dsc", described, attributes={**stream.attributes, **attributes}), fields
    )


def changed(dsc: Records, drop: tuple[str, ...] = (), **fields: np.ndarray) -> Records:
    """The same records with other fields, or without some."""
    arrays = {name: array for name, array in dsc.arrays.items() if name not in drop}
    return records(dsc.stream, {**arrays, **fields})


def noisy(
    dsc: Records, seed: int, noise: float = 1e-4, baseline: tuple[float, ...] = ()
) -> Records:
    """The same measurement with other noise, and other baselines (sd: at 600 K, per 100 K, ...)."""
    draw = np.random.default_rng(seed)
    flow = dsc.arrays["heat_flow"] + noise * draw.standard_normal(len(dsc.arrays["heat_flow"]))
    u = (dsc.arrays["temperature"] - 600) / 100
    segment = dsc.arrays["segment"]
    wander = draw.standard_normal((segment.max() + 1, len(baseline))) * baseline
    for power in range(len(baseline)):
        flow = flow + wander[segment, power] * u**power
    return changed(dsc, heat_flow=flow)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
