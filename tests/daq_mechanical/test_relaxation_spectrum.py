"""Spectra of relaxation times from sweeps, master curves and decays, by the analysis."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import daq
from daq.testing import Records, check_analysis, make_stream, run_analysis
from daq_mechanical.master_curve import MasterCurve
from daq_mechanical.relaxation_spectrum import RelaxationSpectrum
from tests.daq_mechanical import swept

F = np.logspace(-2, 2, 13)


def run(records: Any, **config: Any) -> Any:
    return run_analysis(
        RelaxationSpectrum, {records.name: records.stream}, records.batches(20), config
    )["spectrum"]


def decays() -> Records:
    """Two steps of KWW at a strain of 0.1 %."""
    t = np.logspace(-1, 3.3, 90)
    stress = [
        1e-3 * (1e10 + 2e10 * np.exp(-((t / tau) ** 0.6)))
        + 1e4 * np.random.default_rng(k).standard_normal(len(t))
        for k, tau in enumerate((20.0, 80.0))
    ]
    arrays = make_stream("relaxation", {
        "temperature": np.repeat([460.0, 450.0], len(t)), "stress": np.concatenate(stress),
        "strain": np.full(2 * len(t), 1e-3), "elapsed": np.tile(t, 2),
        "segment": np.repeat(np.arange(2, dtype=np.int32), len(t)),
    })  # fmt: skip
    units = {"temperature": "K", "stress": "Pa", "elapsed": "s"}
    fields = {
        n: daq.Field(f.dtype, f.shape, units.get(n, "")) for n, f in arrays.stream.fields.items()
        if n != "time"
    }  # fmt: skip
    return Records(daq.Stream("relaxation", fields), arrays.arrays)


def test_each_sweep_has_a_spectrum() -> None:
    found = run(swept.readings([476.0, 484.0], F, noise=(2e-3, 1e-3)))
    assert found["readings"].tolist() == [13, 13]
    np.testing.assert_allclose(found["temperature"], [476, 484], atol=0.05)
    assert found["ln_tau_peak"][1] < found["ln_tau_peak"][0]
    np.testing.assert_allclose(found["strength"] + found["relaxed"], swept.M_U, rtol=0.2)
    tau = found["tau"][0]
    assert np.isfinite(tau).sum() < 256
    assert np.nanmin(found["density"][0]) >= 0


def test_a_master_curve_has_a_spectrum() -> None:
    records = swept.readings(swept.T, seed=2)
    curve = run_analysis(MasterCurve, {"dma": records.stream}, records.batches(), {})["curve"]
    given = make_stream("m.curve", {n: curve[n][-1:] for n in curve.stream.fields})
    found = run(given)
    assert found["readings"][0] == records["time"].size
    assert found["strength"][0] + found["relaxed"][0] == pytest.approx(swept.M_U, rel=0.03)
    # the spectrum of HN has its edge near tau, at the first temperature
    assert found["ln_tau_peak"][0] == pytest.approx(swept.ln_tau(swept.T[0]), abs=1.0)


def test_steps_of_stress_relaxation_have_spectra() -> None:
    found = run(decays())
    np.testing.assert_allclose(found["relaxed"], 1e10, rtol=0.1)
    np.testing.assert_allclose(found["strength"], 2e10, rtol=0.1)
    assert found["ln_tau_peak"][1] - found["ln_tau_peak"][0] == pytest.approx(np.log(4), abs=0.5)
    assert found["temperature"].tolist() == [460, 450]


def test_keeps_its_promises() -> None:
    check_analysis(RelaxationSpectrum, swept.readings([476.0, 484.0], F[::2]), {}, runs=1)


def test_what_it_cannot_take_is_refused() -> None:
    camera = make_stream("camera", {"frame": ("<u2", (4, 4))})
    with pytest.raises(ValueError, match="mechanical spectrometer"):
        run(camera)
