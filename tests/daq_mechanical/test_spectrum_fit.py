"""Sweeps are fitted as their readings arrive."""

from __future__ import annotations

import numpy as np
import pytest

from daq.testing import Records, check_analysis, make_stream, run_analysis
from daq_mechanical.moduli import ANGULAR, COMPLIANCE
from daq_mechanical.spectrum_fit import MODELS, REFUSED, SpectrumFit
from daq_relaxation.havriliak_negami import ln_havriliak_negami_peak
from tests.daq_mechanical import swept

HN = MODELS.index("havriliak_negami")
F = np.logspace(-2, 2, 13)


def run(records: Records, **config: object) -> dict[str, dict[str, np.ndarray]]:
    output = run_analysis(SpectrumFit, {"dma": records.stream}, records.batches(16), config)
    return {n: {f: s[f] for f in s.stream.fields} for n, s in output.items()}


def last(fits: dict[str, np.ndarray]) -> np.ndarray:
    return np.flatnonzero(np.diff(fits["sweep"], append=10**6))


def test_each_sweep_has_its_relaxation_time() -> None:
    temperatures = [472.0, 476.0, 480.0, 484.0]
    found = run(swept.readings(temperatures, F, noise=(2e-3, 1e-3)))
    fits, at = found["fits"], last(found["fits"])
    assert len(fits["sweep"]) == 4 * len(F), "a record with each reading"
    assert fits["readings"][at].tolist() == [13] * 4
    assert np.all(fits["best"][at] == HN)
    assert np.all(fits["decided"][at])
    true = swept.ln_tau(temperatures)
    z = (fits["ln_tau"][at, HN] - true) / fits["ln_tau_errors"][at, HN]
    assert np.max(np.abs(z)) < 4
    peak = true - ln_havriliak_negami_peak(*swept.SHAPE)
    np.testing.assert_allclose(fits["ln_tau_peak_best"][at], peak, atol=0.05)
    np.testing.assert_allclose(fits["alpha"][at, HN], 0.95, atol=0.02)
    # the first reading alone tells nothing
    assert np.all(fits["best"][:1] == -1)
    curves = found["curves"]
    residuals = np.stack([curves["storage_residual"][at], curves["loss_residual"][at]])
    assert np.nanstd(residuals) == pytest.approx(1, abs=0.3)
    np.testing.assert_allclose(
        curves["storage_fit"][at, :13], curves["storage_modulus"][at, :13], rtol=0.02
    )
    assert np.isnan(curves["frequency"][at, 13:]).all()


def test_keeps_its_promises() -> None:
    records = swept.readings([476.0, 484.0], F[::2])
    check_analysis(SpectrumFit, records, {"models": ["debye", "havriliak_negami"]}, runs=2)


def test_a_compliance_is_refused_and_rad_per_s_are_doubted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    records = swept.readings([476.0], F)
    M = records["storage_modulus"] + 1j * records["loss_modulus"]
    J = 1e6 / M
    compliance = records.replaced(storage_modulus=J.real, loss_modulus=-J.imag)
    fits = run(compliance)["fits"]
    assert fits["doubts"][-1] == COMPLIANCE
    assert np.all(fits["flag"][-1] == REFUSED)
    assert np.isnan(fits["ln_tau"][-1]).all()
    assert sum("as a compliance does" in r.getMessage() for r in caplog.records) == 1, "said once"
    assert np.any(run(compliance, doubted="fit")["fits"]["flag"][-1] != REFUSED)
    angular = records.replaced(frequency=2 * np.pi * records["frequency"])
    fits = run(angular)["fits"]
    assert fits["doubts"][-1] == ANGULAR
    assert np.isfinite(fits["ln_tau"][-1, HN])


def test_one_model_may_count_for_all() -> None:
    fits = run(swept.readings([476.0], F), model="kww", models=["kww", "debye"])["fits"]
    assert fits["tau_model"][-1] == MODELS.index("kww")
    assert fits["ln_tau_peak_best"][-1] == fits["ln_tau_peak"][-1, MODELS.index("kww")]


def test_what_is_no_spectrometer_is_refused() -> None:
    camera = make_stream("camera", {"frame": ("<u2", (4, 4))})
    with pytest.raises(ValueError, match="readings of a mechanical spectrometer"):
        run_analysis(SpectrumFit, {"camera": camera.stream}, camera.batches(), {})
