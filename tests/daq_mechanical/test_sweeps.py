"""Readings become sweeps by temperature, direction, sample and step."""

from __future__ import annotations

import numpy as np
import pytest

from daq_mechanical.moduli import ModuliConfig, ModulusReader
from daq_mechanical.sweeps import Sweep, SweepCutter
from tests.daq_mechanical import swept


def cut(records: object, tolerance: float = 1.0) -> list[Sweep]:
    reader = ModulusReader(records.stream, ModuliConfig())  # type: ignore[attr-defined]
    cutter = SweepCutter(tolerance)
    found: list[Sweep] = []
    for batch in records.batches(7):  # type: ignore[attr-defined]
        rows, negative = reader.read(batch)
        found += cutter.push(rows, batch.indices[negative])
    return [s for s in [*found, *cutter.close()] if s.whole]


def test_each_temperature_is_a_sweep() -> None:
    sweeps = cut(swept.readings())
    assert [len(s) for s in sweeps] == [10] * len(swept.T)
    np.testing.assert_allclose([s.temperature for s in sweeps], swept.T, atol=0.03)
    assert [s.number for s in sweeps] == list(range(len(swept.T)))


def test_direction_and_sample_end_a_sweep() -> None:
    up, down = swept.readings([470.0]), swept.readings([470.0], swept.F[::-1])
    assert [len(s) for s in cut(swept.joined(up, down))] == [10 + 1, 9]
    assert [len(s) for s in cut(swept.joined(down, down))] == [10, 10]
    again = swept.readings([470.0], sample=1)
    assert [s.sample for s in cut(swept.joined(up, again))] == [0, 1]


def test_temperature_may_wander_within_the_tolerance() -> None:
    records = swept.readings([470.0])
    records["temperature"][:] += np.linspace(-0.7, 0.7, 10)
    assert len(cut(records)) == 1
    assert len(cut(records, 0.2)) > 2


def test_negative_readings_are_counted_with_their_sweep() -> None:
    records = swept.readings([470.0, 480.0])
    records["loss_modulus"][[3, 12, 19]] = -1.0
    first, second = cut(records)
    assert (len(first), first.negative) == (9, 1)
    assert len(second) == 8
    assert second.negative == pytest.approx(1.5, abs=0.5)
