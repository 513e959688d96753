"""Shifts of simulated sweeps are those of their truth, with errors that cover, in any order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from daq.testing import Records, check_analysis, run_analysis
from daq_mechanical.master_curve import MasterCurve
from daq_mechanical.superposition import OPEN, Channels, superpose
from tests.daq_mechanical import swept

TRUE = swept.ln_tau(swept.T) / np.log(10)
MIDDLE = len(swept.T) // 2


def channels(seed: int, kind: Any = "phase", **values: Any) -> list[Channels]:
    random = np.random.default_rng(seed)
    found = [swept.moduli(T, swept.F, random, **values) for T in swept.T]
    return [Channels.of(swept.F, M.real, M.imag, kind) for M in found]


def run(records: Records, **config: Any) -> dict[str, Any]:
    return run_analysis(MasterCurve, {"dma": records.stream}, records.batches(16), config)


def test_shifts_without_bias_and_with_errors_that_cover() -> None:
    errors, z = [], []
    for seed in range(16):
        found = superpose(channels(seed), list(swept.T), MIDDLE)
        assert found.converged
        assert np.all(found.flag == 0)
        errors.append(found.shift - (TRUE - TRUE[MIDDLE]))
        z.append(np.delete(errors[-1] / np.where(found.errors > 0, found.errors, 1), MIDDLE))
    assert np.max(np.abs(np.mean(errors, axis=0))) < 0.03
    assert 0.5 < np.mean(np.abs(z) < 1) < 0.85
    assert np.max(np.abs(errors)) < 0.15


@pytest.mark.parametrize("kind", ["phase", "moduli"])
def test_exact_sweeps_have_exact_shifts(kind: Any) -> None:
    found = superpose(channels(0, kind, noise=(1e-5, 1e-5)), list(swept.T), 0)
    np.testing.assert_allclose(found.shift, TRUE - TRUE[0], atol=2e-3)


def test_the_curve_is_the_law() -> None:
    found = superpose(channels(1), list(swept.T), MIDDLE)
    x = np.linspace(-1.5, 2.5, 30)
    M = swept.moduli(swept.T[MIDDLE], 10**x, np.random.default_rng(0), noise=(0.0, 0.0))
    value, error = found.curve(x)
    z = (value - np.stack([np.log(np.abs(M)), np.angle(M)])) / error
    assert np.sqrt(np.mean(z**2)) < 2.0


def test_a_sweep_that_tells_nothing_says_so() -> None:
    """Debye loss falls to the noise in the glass, and storage is flat there."""
    T = np.append(swept.T, 440.0)
    random = np.random.default_rng(3)
    moduli = [swept.moduli(t, swept.F, random, shape=(1.0, 1.0)) for t in T]
    sweeps = [Channels.of(swept.F, M.real, M.imag, "phase") for M in moduli]
    found = superpose(sweeps, T.tolist(), 4)
    true = swept.ln_tau(440.0) / np.log(10) - TRUE[4]
    assert found.flag[-1] == OPEN
    assert abs(found.shift[-1] - true) < 2.5 * found.errors[-1]
    assert found.errors[-1] > 0.3


def test_sweeps_that_do_not_superpose_say_so() -> None:
    random = np.random.default_rng(4)
    moduli = [
        swept.moduli(T, swept.F, random, shape=(0.95, gamma))
        for T, gamma in zip(swept.T, np.linspace(0.25, 0.7, len(swept.T)), strict=True)
    ]
    sweeps = [Channels.of(swept.F, M.real, M.imag, "phase") for M in moduli]
    alike = superpose(channels(4), list(swept.T), MIDDLE)
    found = superpose(sweeps, list(swept.T), MIDDLE)
    assert found.superposition[1] > 3 * alike.superposition[1]


def test_vertical_factors_are_found_where_they_are_sought() -> None:
    levels = 0.004 * (swept.T - swept.T[0])
    sweeps = [
        Channels(c.x, c.y + np.array([[level], [0.0]]))
        for c, level in zip(channels(5, noise=(2e-3, 1e-3)), levels, strict=True)
    ]
    found = superpose(sweeps, list(swept.T), 0, vertical=True)
    assert np.max(np.abs((found.vertical - levels)[1:] / found.vertical_errors[1:])) < 4
    np.testing.assert_allclose(found.shift, TRUE - TRUE[0], atol=0.1)


def test_temperatures_in_any_order_give_the_same_shifts() -> None:
    order = np.random.default_rng(6).permutation(len(swept.T))
    parts = [swept.readings([T], seed=int(k)) for k, T in enumerate(swept.T)]
    plain = run(swept.joined(*parts), reference_temperature=477.0)["shifts"]
    mixed = run(swept.joined(*(parts[k] for k in order)), reference_temperature=477.0)["shifts"]
    assert plain["count"].tolist() == list(range(1, len(swept.T) + 1)), "after each sweep"
    n = len(swept.T)
    np.testing.assert_allclose(mixed["temperature"][-1], plain["temperature"][-1])
    apart = mixed["log10_shift"][-1, :n] - plain["log10_shift"][-1, :n]
    assert np.max(np.abs(apart)) < 0.2 * np.max(plain["log10_shift_errors"][-1, :n])
    assert plain["reference_temperature"][-1] == pytest.approx(477, abs=0.05)
    near = np.argmin(np.abs(swept.T - 477))
    z = (plain["log10_shift"][-1, :n] - (TRUE - TRUE[near])) / 0.03
    assert np.max(np.abs(z)) < 3.5


def test_streams_of_a_run() -> None:
    other = swept.readings([470.0, 474.0, 478.0], seed=9, sample=1)
    one_point = swept.readings([465.0], swept.F[:1], seed=8)
    found = run(swept.joined(swept.readings([474.0, 470.0, 478.0]), one_point, other))
    shifts, curve = found["shifts"], found["curve"]
    assert shifts["sample"].tolist() == [0] * 3 + [1] * 3
    assert shifts["count"].tolist() == [1, 2, 3, 1, 2, 3]
    assert np.all(np.diff(shifts["temperature"][2, :3]) > 0), "in order of temperature"
    f = curve["reduced_frequency"][-1]
    assert np.isfinite(f).sum() == 30
    assert np.all(np.diff(f[:30]) >= 0)
    z = curve["storage_smooth"][-1, :30] / curve["storage_modulus"][-1, :30] - 1
    assert np.max(np.abs(z)) < 0.03
    assert np.all(curve["loss_smooth_errors"][-1, :30] > 0)


def test_keeps_its_promises() -> None:
    records = swept.readings([470.0, 474.0, 478.0], swept.F[::2])
    check_analysis(MasterCurve, records, {"sweeps": 4, "readings": 64}, runs=2)
