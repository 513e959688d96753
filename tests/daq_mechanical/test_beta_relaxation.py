"""Peak, shoulder and wing told apart; energies whose errors cover; ramps as they come.

`benchmarks/beta_relaxation_confusion.py` has the table of 100 seeds.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

import daq
from daq.config import validated
from daq.testing import Records, check_analysis, record_source, run_analysis
from daq_mechanical.beta_fit import TOO_FEW, fit_beta
from daq_mechanical.beta_relaxation import BetaRelaxation
from daq_mechanical.loss_curve import peak_at, smooth
from daq_relaxation.laws import R, havriliak_negami
from daq_simulators.mechanical_spectrometer import MechanicalSpectrometer

SEVERAL = {"frequencies": [1.0, 3.0, 10.0, 30.0], "heating_rate": 1.0}


@functools.lru_cache(maxsize=64)
def _ramp(items: tuple[tuple[str, Any], ...]) -> Records:
    config = {k: list(v) if isinstance(v, tuple) else v for k, v in items}
    (records,) = record_source(MechanicalSpectrometer, config, name="dma").values()
    return records


def ramp(**config: Any) -> Records:
    return _ramp(tuple((k, tuple(v) if isinstance(v, list) else v) for k, v in config.items()))


def truth(**config: Any) -> Any:
    source = MechanicalSpectrometer()
    source.open(validated(MechanicalSpectrometer.Config, config, "dma"))
    return source.truth()


def summary(records: Records, **config: Any) -> dict[str, Any]:
    output = run_analysis(
        BetaRelaxation, {"dma": records.stream}, records.batches(), {"every": 100_000, **config}
    )["summary"]
    return {name: output[name][-1] for name in output.stream.fields}


@pytest.mark.parametrize(
    ("alloy", "kind"),
    [("La60Ni15Al25", b"peak"), ("La60Cu15Al25", b"shoulder"), ("Vit105", b"wing")],
)
def test_peak_shoulder_and_wing_are_told_apart(alloy: str, kind: bytes) -> None:
    called = [summary(ramp(alloy=alloy, seed=seed))["kind"] for seed in range(6)]
    assert called.count(kind) >= 5
    assert set(called) <= {kind, b"undecided"}


@pytest.mark.parametrize(("alloy", "kind"), [("La60Cu15Al25", b"shoulder"), ("Vit105", b"wing")])
def test_noise_leads_to_no_verdict_rather_than_to_a_wrong_one(alloy: str, kind: bytes) -> None:
    called = {summary(ramp(alloy=alloy, seed=s, phase_noise=1.5e-3))["kind"] for s in range(4)}
    assert called <= {kind, b"undecided"}


def test_a_glass_without_beta_relaxation_has_neither_peak_nor_shoulder() -> None:
    called = {summary(ramp(beta_strength=0.0, seed=seed))["kind"] for seed in range(4)}
    assert called <= {b"wing", b"undecided"}


def test_a_floor_of_the_loss_is_no_shoulder() -> None:
    records = ramp(beta_strength=0.0)
    loss = records["loss_modulus"] + 0.004 * records["storage_modulus"]
    found = summary(
        records.replaced(loss_modulus=loss, tan_delta=loss / records["storage_modulus"])
    )
    assert found["kind"] in (b"wing", b"undecided")


def test_temperatures_are_those_of_the_glass() -> None:
    found, known = summary(ramp(alloy="La60Ni15Al25")), truth()
    assert found["alpha_temperature"] == pytest.approx(known["alpha_peak"][0], abs=1.5)
    assert found["kind_temperature"] == pytest.approx(known["beta_peak"][0], abs=3)
    assert found["kind_loss"] == pytest.approx(0.166, abs=0.01)
    assert found["glass_temperature"] == pytest.approx(461, abs=15)
    assert np.isnan(found["energy"])  # from one frequency it cannot be known


@pytest.mark.parametrize("alloy", ["La60Ni15Al25", "La60Cu15Al25"])
def test_errors_of_the_energy_cover(alloy: str) -> None:
    known = truth(alloy=alloy, **SEVERAL)
    z = []
    for seed in range(6):
        found = summary(ramp(alloy=alloy, seed=seed, **SEVERAL))
        assert found["flag"] == 0
        assert found["reduced_chi2"] == pytest.approx(1, abs=0.25)
        z += [
            (found["energy"] - known["beta_energy"][0] / 1e3) / found["energy_errors"],
            (found["beta_temperature"] - known["beta_peak"][0]) / found["beta_temperature_errors"],
            (found["ln_tau0"] - known["beta_ln_tau0"][0]) / found["ln_tau0_errors"],
            (found["cole_cole"] - 0.35) / found["cole_cole_errors"],
        ]
    assert 0.45 < np.mean(np.abs(z) < 1) < 0.92
    assert np.abs(z).max() < 4


def test_the_energy_of_a_wing_is_vague_or_right() -> None:
    known = truth(alloy="Vit105")["beta_energy"][0] / 1e3
    for seed in range(3):
        found = summary(ramp(alloy="Vit105", seed=seed, **SEVERAL))
        if found["flag"] == 0:
            assert abs(found["energy"] - known) < 4 * found["energy_errors"]
        else:
            assert np.isnan(found["energy"])


def test_three_modes_have_two_energies() -> None:
    config = {"alloy": "Pd42.5Ni7.5Cu30P20", "start_temperature": 150.0, "fast_strength": 0.1}
    found, known = summary(ramp(**config, **SEVERAL)), truth(**config, **SEVERAL)
    assert found["kind"] == b"shoulder"
    assert found["fast_temperature"] == pytest.approx(known["fast_peak"][0], abs=8)
    for name in ("fast_energy", "energy"):
        true = known["beta_energy" if name == "energy" else "fast_energy"][0] / 1e3
        assert abs(found[name] - true) < 4 * found[f"{name}_errors"]
    assert 0.3 < found["fast_ratio"] < 0.65


def test_the_fit_is_exact_without_noise() -> None:
    T = np.tile(np.linspace(320, 440, 80), 3)
    omega = 2 * np.pi * np.repeat([1.0, 5.0, 25.0], 80)
    E, ln_tau0 = 26 * R * 461, -36.15
    chi = havriliak_negami(omega, np.exp(ln_tau0 + E / (R * T)), 0.35, 1.0)
    flank = 0.05 * omega**-0.39 * np.exp(-6000 * (1 / T - 1 / 440))
    loss = 0.25 * -chi.imag + flank
    storage = 1 - 0.25 * chi.real - flank / np.tan(np.pi * 0.39 / 2)
    softens = 1 - 4e-4 * (T - 350)
    fit = fit_beta(
        omega, T, storage * softens, loss * softens, np.full(240, 1e-5), (350.0, 11000.0, 0.03)
    )
    assert fit.energy == pytest.approx(E, rel=1e-3)
    assert fit.ln_tau0 == pytest.approx(ln_tau0, rel=1e-3)
    assert fit.cole_cole == pytest.approx(0.35, rel=1e-3)
    assert fit.wing == pytest.approx(0.39, rel=1e-2)
    one = fit_beta(omega[:80], T[:80], storage[:80], loss[:80], np.ones(80), (350.0, 11000.0, 0.03))
    assert one.flag == TOO_FEW


def test_smoothing_keeps_a_parabola_and_knows_its_scatter() -> None:
    T = np.arange(300.0, 400.0, 0.5)
    loss = 5 - ((T - 352.3) / 40) ** 2
    curve = smooth(T, loss, 10.0)
    assert curve is not None
    at = int(np.argmax(curve.loss))
    assert peak_at(curve, at)[0] == pytest.approx(352.3, abs=1e-6)
    np.testing.assert_allclose(curve.loss, 5 - ((curve.temperature - 352.3) / 40) ** 2, atol=1e-9)
    noisy = smooth(T, loss + 0.1 * np.random.default_rng(0).standard_normal(len(T)), 10.0)
    assert noisy is not None
    np.testing.assert_allclose(np.median(noisy.scatter), 0.1, rtol=0.2)
    assert smooth(T[:5], loss[:5], 10.0) is None


def test_a_ramp_is_judged_when_the_alpha_peak_is_passed() -> None:
    records = ramp(interval=20.0)
    output = run_analysis(
        BetaRelaxation, {"dma": records.stream}, records.batches(32), {"every": 32}
    )
    kinds = output["summary"]["kind"].tolist()
    assert kinds[0] == b"undecided"
    assert kinds[-1] == b"peak"
    assert np.isnan(output["summary"]["alpha_temperature"][0])


def test_cooling_and_heating_are_two_ramps_that_agree() -> None:
    up = ramp(interval=20.0, temperature_noise=0.0)
    arrays = {n: np.concatenate([a, a[::-1]]) for n, a in up.arrays.items()}
    arrays["time"] = np.arange(2 * len(up)) * 20 * 10**9
    records = Records(up.stream, arrays)
    output = run_analysis(
        BetaRelaxation, {"dma": records.stream}, records.batches(), {"every": 9999}
    )
    final = output["summary"]["final"] == 1
    assert final.sum() == 2
    assert len(set(output["summary"]["kind"][final].tolist())) == 1
    np.testing.assert_allclose(np.diff(output["summary"]["alpha_temperature"][final]), 0, atol=0.1)


def test_what_goes_wrong_is_left_out_and_counted() -> None:
    records = ramp(seed=3)
    loss, T = records["loss_modulus"].copy(), records["temperature"].copy()
    loss[10:14] = -1e7
    T[20] = np.nan
    loss[200] = np.nan
    found = summary(records.replaced(loss_modulus=loss, temperature=T))
    assert found["kind"] == b"peak"
    assert found["left_out"] == 4
    assert found["readings"] == len(records) - 6


@pytest.mark.parametrize("count", [1, 3, 12])
def test_few_readings_are_undecided(count: int) -> None:
    records = ramp()
    few = Records(records.stream, {n: a[:count] for n, a in records.arrays.items()})
    found = summary(few)
    assert found["kind"] == b"undecided"
    assert np.isnan(found["alpha_temperature"])


def test_input_that_does_not_fit_is_refused() -> None:
    stream = daq.Stream("x", {"temperature": daq.Field("<f8", (), "K")})
    with pytest.raises(ValueError, match="storage_modulus and loss_modulus"):
        BetaRelaxation().open({"x": stream}, BetaRelaxation.Config())


def test_keeps_its_promises() -> None:
    records = ramp(
        interval=60.0, start_temperature=320.0, frequencies=[1.0, 10.0], heating_rate=2.0
    )
    check_analysis(BetaRelaxation, records, {"every": 50}, runs=1)
