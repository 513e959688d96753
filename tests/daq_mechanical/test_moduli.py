"""Readings of moduli: units once, and what cannot be a modulus is said."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import daq
from daq.testing import make_stream
from daq_mechanical.moduli import (
    ANGULAR,
    COMPLIANCE,
    NEGATIVE,
    TAN_DELTA,
    Moduli,
    ModuliConfig,
    ModulusReader,
    doubts_of,
    said,
)
from daq_relaxation.laws import havriliak_negami
from tests.daq_mechanical import swept

F = np.logspace(-2, 2, 13)
CHI = np.asarray(havriliak_negami(2 * np.pi * F, 1.0, 0.9, 0.5))


def read(records: Any, **config: Any) -> tuple[Moduli, np.ndarray]:
    reader = ModulusReader(records.stream, ModuliConfig(**config))
    (batch,) = records.batches()
    return reader.read(batch)


def test_units_are_converted_once() -> None:
    rows, _ = read(swept.readings([470.0], noise=(0.0, 0.0)))
    M = swept.moduli(470.0, swept.F, np.random.default_rng(0), noise=(0.0, 0.0))
    np.testing.assert_allclose(rows.storage, M.real, rtol=1e-12)
    np.testing.assert_allclose(rows.loss, M.imag, rtol=1e-12)
    np.testing.assert_allclose(rows.temperature, 470, atol=0.1)
    units = {"frequency": "rad/s", "storage_modulus": "GPa", "tan_delta": "", "temperature": "K"}
    values = {
        "frequency": 2 * np.pi,
        "storage_modulus": 2.0,
        "tan_delta": 0.1,
        "temperature": 400.0,
    }
    stream = make_stream("dma", {n: np.full(3, v) for n, v in values.items()})
    fields = {n: daq.Field("<f8", (), u) for n, u in units.items()}
    rows, _ = read(type(stream)(daq.Stream("dma", fields), stream.arrays))
    np.testing.assert_allclose(rows.frequency, 1)
    np.testing.assert_allclose(rows.loss, 2e8)
    assert np.all(rows.segment == -1)


def test_bad_readings_are_left_out_and_counted() -> None:
    records = swept.readings([470.0])
    records["storage_modulus"][2] = -5.0
    records["loss_modulus"][3] = 0.0
    records["temperature"][4] = np.nan
    records["frequency"][5] = 0.0
    records["storage_modulus"][6] = np.nan
    rows, negative = read(records.with_missing())
    assert rows.index.tolist() == [0, 1, 7, 8, 9]
    assert np.flatnonzero(negative).tolist() == [2, 3]


def test_a_range_of_frequencies() -> None:
    rows, _ = read(swept.readings([470.0]), frequency_range=(1.0, 50.0))
    assert rows.frequency.min() >= 1
    assert rows.frequency.max() <= 50
    with pytest.raises(ValueError, match="lower one first"):
        ModuliConfig(frequency_range=(5.0, 1.0))


@pytest.mark.parametrize(
    ("field", "units", "why"),
    [
        ("storage_modulus", "1/Pa", "it is a compliance"),
        ("storage_modulus", "mm", "known are Pa"),
        ("frequency", "K", "known are Hz"),
        ("temperature", "Pa", "known are K"),
        ("tan_delta", "Pa", "a number is needed"),
    ],
)
def test_wrong_units_are_refused_in_one_line(field: str, units: str, why: str) -> None:
    stream = swept.readings([470.0]).stream
    fields = {**stream.fields, field: daq.Field("<f8", (), units)}
    with pytest.raises(ValueError, match=why) as raised:
        ModulusReader(daq.Stream("dma", fields), ModuliConfig())
    assert "\n" not in str(raised.value)


def test_what_lacks_is_named() -> None:
    camera = make_stream("camera", {"frame": ("<u2", (4, 4))})
    with pytest.raises(ValueError, match="no field 'temperature'"):
        ModulusReader(camera.stream, ModuliConfig())
    one = make_stream("dma", {"temperature": "<f8", "storage_modulus": "<f8"}).stream
    fields = {
        "temperature": daq.Field("<f8", (), "K"),
        "storage_modulus": one.fields["storage_modulus"],
    }
    with pytest.raises(ValueError, match="loss_modulus are needed"):
        ModulusReader(daq.Stream("dma", fields), ModuliConfig())
    fields |= {n: daq.Field("<f8", (), "Pa") for n in ("storage_modulus", "loss_modulus")}
    with pytest.raises(ValueError, match="frequency = "):
        ModulusReader(daq.Stream("dma", fields), ModuliConfig())
    ModulusReader(daq.Stream("dma", fields), ModuliConfig(frequency=1.0))
    ModulusReader(daq.Stream("dma", fields, attributes={"frequency_Hz": 1.0}), ModuliConfig())


def test_a_compliance_told_as_a_modulus_is_seen() -> None:
    M = 3e10 - 2.5e10 * CHI
    for seed in range(20):
        noise = 1 + 0.02 * np.random.default_rng(seed).standard_normal(len(F))
        J = 1 / (M * noise)
        assert doubts_of(F, J.real, -J.imag) == COMPLIANCE
        assert doubts_of(F, M.real * noise, M.imag) == 0
        # far below T_g there is nothing but noise about a constant
        assert doubts_of(F, 3e10 * noise, 1e8 * noise) & ~COMPLIANCE == 0


def test_flat_noise_is_hardly_ever_taken_for_a_compliance() -> None:
    found = [
        doubts_of(F, 3e10 * (1 + 0.02 * np.random.default_rng(seed).standard_normal(13)), F)
        for seed in range(400)
    ]
    assert np.mean(np.array(found) == COMPLIANCE) < 0.015


def test_rad_per_s_told_as_hertz_are_seen() -> None:
    M = 3e10 - 2.5e10 * CHI
    assert doubts_of(2 * np.pi * F, M.real, M.imag) == ANGULAR
    assert doubts_of(F, M.real, M.imag) == 0
    # sweeps of rheometers are round in rad/s, and in Hz 10^k / (2 pi)
    assert doubts_of(F / (2 * np.pi), M.real, M.imag) == 0
    assert doubts_of([2 * np.pi], [1e9], [1e8]) == 0


def test_tan_delta_must_agree_with_both_moduli() -> None:
    M = 3e10 - 2.5e10 * CHI
    tan = M.imag / M.real
    assert doubts_of(F, M.real, M.imag, np.round(tan, 4)) == 0
    assert doubts_of(F, M.real, M.imag, np.degrees(np.arctan(tan))) == TAN_DELTA
    assert doubts_of(F, M.real, M.imag, np.full(13, np.nan)) == 0
    assert doubts_of(F, M.real, M.imag, tan, negative=3) == NEGATIVE
    assert "rad/s" in said(ANGULAR | NEGATIVE)
    assert said(0) == ""
