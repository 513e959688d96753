"""The spectrum as an analysis, on traces of simulated samples."""

from __future__ import annotations

import numpy as np
import pytest

from daq.testing import Records, check_analysis, make_stream, run_analysis
from daq_thermal.activation_spectrum import ActivationSpectrum
from daq_thermal.excess_enthalpy import ExcessEnthalpy
from tests.daq_thermal.simulated import QUIET, measured

CONFIG = {"shear_modulus": 30.0, "density": 6.9}


def traces() -> tuple[Records, np.ndarray]:
    dsc, _ = measured(annealing_temperatures=[553.0], annealing_times=[300.0, 43200.0], **QUIET)
    output = run_analysis(ExcessEnthalpy, {"dsc": dsc.stream}, dsc.batches(512), {})
    made = make_stream(
        "excess_enthalpy.traces",
        {name: output["traces"][name] for name in output["traces"].stream.fields},
        constants=output["traces"].stream.constants,
    )
    return made, output["excess"]["below"]


def test_the_area_is_the_heat_over_the_modulus() -> None:
    records, below = traces()
    output = run_analysis(
        ActivationSpectrum, {records.name: records.stream}, records.batches(), CONFIG
    )["spectrum"]
    # rho H = G dc
    np.testing.assert_allclose(output["defects"], below * 1e3 * 6900 / 30e9, rtol=0.02)
    energy = output.stream.constants["energy"]
    n0 = output["density_of_energies"]
    shown = np.isfinite(n0).all(axis=0)
    assert 0.8 < energy[shown].min() < 1.0
    assert 2.0 < energy[shown].max() < 2.2
    # annealing takes away low energies first
    low, high = shown & (energy < 1.6), shown & (energy > 1.9)
    assert (n0[2, low].mean() / n0[0, low].mean()) < 0.1
    assert (n0[2, high].mean() / n0[0, high].mean()) > 0.2


def test_keeps_its_promises() -> None:
    check_analysis(ActivationSpectrum, traces()[0], CONFIG, runs=1)


def test_needs_traces() -> None:
    camera = make_stream("camera", {"frame": ("<u2", (4, 4))})
    with pytest.raises(ValueError, match="'traces' of an analysis of type"):
        run_analysis(ActivationSpectrum, {"camera": camera.stream}, camera.batches(), CONFIG)
