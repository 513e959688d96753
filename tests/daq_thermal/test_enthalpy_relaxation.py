"""KWW and E of simulated annealing series: the truth, within errors that cover, over 20 seeds."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from daq.testing import Records, check_analysis, make_stream, run_analysis
from daq_relaxation.kww_fit import MASKED
from daq_thermal.enthalpy_relaxation import EnthalpyRelaxation
from daq_thermal.excess_enthalpy import ExcessEnthalpy
from daq_thermal.relaxation_fit import Point, covariance, fit_decays, fit_line
from tests.daq_thermal.simulated import QUIET, measured, noisy

T_A = np.array([473.0, 503.0, 523.0, 553.0])
TIMES = np.array([300.0, 1800.0, 10800.0, 43200.0])
B, ENERGY = 0.3, 26 * 8.314 * 695
LN_TAU = -24.2 + 26 * 695 / T_A


def points(draw: np.random.Generator | None = None, own: float = 0.1, shared: float = 0.0,
           same: bool = True) -> list[Point]:  # fmt: skip
    """What the law gives, with errors as they are told."""
    draw = draw or np.random.default_rng(0)
    common = shared * draw.standard_normal()
    made = [(np.nan, 0.0, 25.0)]
    for T, ln_tau in zip(T_A, LN_TAU, strict=True):
        made += [(T, t, 25 * np.exp(-((t / np.exp(ln_tau)) ** B))) for t in TIMES]
    return [
        Point(T, t, H + own * draw.standard_normal()
              + (common if same else shared * draw.standard_normal()),
              own, shared, 0 if same else i)
        for i, (T, t, H) in enumerate(made)
    ]  # fmt: skip


def series(seed: int | None) -> Records:
    """The stream ``excess`` of a measured series: noise, and baselines that bend."""
    dsc, _ = measured(annealing_temperatures=T_A.tolist(), annealing_times=TIMES.tolist(),
                      programme=[745.0, 300.0, 752.0], interval=3.0, **QUIET)  # fmt: skip
    if seed is not None:
        dsc = noisy(dsc, seed, 1e-4, (0.002, 0.001, 5e-5))
    output = run_analysis(ExcessEnthalpy, {"dsc": dsc.stream}, dsc.batches(512), {})["excess"]
    final = output["final"]
    return make_stream(
        "excess.excess", {name: output[name][final] for name in output.stream.fields}
    )


def fitted(excess: Records, **config: Any) -> Any:
    return run_analysis(
        EnthalpyRelaxation, {"excess.excess": excess.stream}, excess.batches(), config
    )


def test_the_law_is_found_where_there_is_no_noise() -> None:
    exact = [dataclasses.replace(p, own=1e-4) for p in points(own=0.0)]
    decays = fit_decays(exact, 0.0)
    for decay, ln_tau in zip(decays, LN_TAU, strict=True):
        assert decay.ln_tau == pytest.approx(ln_tau, abs=1e-4)
        assert decay.b == pytest.approx(B, abs=1e-5)
        assert decay.quenched == pytest.approx(25, abs=1e-4)
    line = fit_line(decays, exact, 0.0)
    assert line is not None
    assert line.energy == pytest.approx(ENERGY, rel=1e-4)
    assert line.ln_tau0 == pytest.approx(-24.2, abs=0.01)


@pytest.mark.parametrize(("own", "shared"), [(0.2, 0.0), (0.05, 0.2)])
@pytest.mark.parametrize("known", [True, False], ids=["told", "from scatter"])
def test_errors_cover_what_is_drawn(own: float, shared: float, known: bool) -> None:
    """Also where all samples share a standard, and H_0 in any case."""
    z: list[list[float]] = []
    for seed in range(24):
        drawn = points(np.random.default_rng(seed), own, shared)
        decays = fit_decays(drawn, 0.0 if known else None)
        line = fit_line(decays, drawn, 0.0 if known else None)
        assert line is not None
        z.append(
            [(d.ln_tau - ln_tau) / d.ln_tau_error for d, ln_tau in zip(decays, LN_TAU, strict=True)]
            + [(d.b - B) / d.b_error for d in decays]
            + [(line.energy - ENERGY) / line.energy_error]
        )
    inside = np.mean(np.abs(z) < 1, axis=0)
    assert 0.58 < inside.mean() < 0.85
    assert inside[-1] > 0.5, "the energy"


def test_scatter_widens_what_noise_alone_would_say() -> None:
    """Samples that scatter five times as much as they were told to."""
    z, inside = [], []
    for seed in range(40):
        told = [dataclasses.replace(p, own=0.04) for p in points(np.random.default_rng(seed), 0.2)]
        decays = fit_decays(told)
        line = fit_line(decays, told)
        assert line is not None
        assert decays[0].scatter > 1.3
        z.append((line.energy - ENERGY) / line.energy_error)
        inside += [
            abs(d.ln_tau - ln_tau) < d.ln_tau_error
            for d, ln_tau in zip(decays, LN_TAU, strict=True)
        ]
    assert 0.5 < np.mean(np.abs(z) < 1) < 0.9
    assert 0.55 < np.mean(inside) < 0.85


def test_measured_series_are_covered() -> None:
    """From heat flow to E: the whole way, baselines that bend included.

    Of 20 seeds: `benchmarks/calorimetry_coverage.py`, table in `docs/coverage.md`.
    """
    z, energies = [], []
    for seed in range(4):
        output = fitted(series(seed), reproducibility=0.27)
        kww = {name: output["kww"][name][-4:] for name in output["kww"].stream.fields}
        np.testing.assert_array_equal(kww["annealing_temperature"], T_A)
        line = {name: output["arrhenius"][name][-1] for name in output["arrhenius"].stream.fields}
        energies.append(line["energy_rtg"])
        z.append(
            [*(kww["ln_tau"] - LN_TAU) / kww["ln_tau_errors"], *(kww["b"] - B) / kww["b_errors"],
             (line["energy_rtg"] - 26) / line["energy_rtg_errors"]]
        )  # fmt: skip
    z = np.array(z)
    assert 0.5 < np.mean(np.abs(z) < 1) < 0.85
    assert np.mean(np.abs(z) < 2) > 0.85
    assert np.mean(energies) == pytest.approx(26, abs=1.5)


def test_fits_come_as_samples_come() -> None:
    output = fitted(series(None))
    kww = output["kww"]
    first = kww["annealing_temperature"] == 473
    assert kww["samples"][first][:4].tolist() == [1, 2, 3, 4]
    assert (kww["flag"][first][:2] == MASKED).all()
    assert np.isfinite(kww["ln_tau"][first][2:]).all()
    temperatures = output["arrhenius"]["temperatures"]
    assert temperatures[0] == 2
    assert temperatures[-1] == 4
    decay = output["decay"]
    assert np.isfinite(decay["fraction"][-1][:4]).all()
    assert np.isnan(decay["fraction"][-1][4:]).all()
    np.testing.assert_allclose(decay["annealing_time"][-1][:4], TIMES)
    assert decay["fraction"][-1][3] == pytest.approx(0.144, abs=0.01)


def test_nothing_is_said_before_the_quenched_sample() -> None:
    excess = series(None)
    annealed = Records(excess.stream, {name: values[1:] for name, values in excess.arrays.items()})
    assert len(fitted(annealed)["kww"]) == 0
    with pytest.raises(ValueError, match="as quenched"):
        fit_decays([Point(500.0, 10.0, 1.0, 0.1, 0.0, 0)])


def test_samples_of_unknown_history_or_without_a_number_are_left_out() -> None:
    excess = series(None)
    arrays = {name: values.copy() for name, values in excess.arrays.items()}
    arrays["annealing_time"][3] = np.nan
    arrays["excess"][5] = np.nan
    output = fitted(Records(excess.stream, arrays))
    assert output["kww"]["left_out"][-1] == 2
    assert output["kww"]["samples"][-1] == 4
    assert output["kww"]["samples"][-4] == 3


def test_a_b_that_is_held_is_held() -> None:
    output = fitted(series(None), b=0.3)
    assert (output["kww"]["b"][-4:] == 0.3).all()
    assert output["arrhenius"]["energy_rtg"][-1] == pytest.approx(26, abs=0.5)


def test_standards_that_are_shared_tie_points_together() -> None:
    made = points(own=0.1, shared=0.2)
    found = covariance(made, 0.3)
    assert found[0, 1] == pytest.approx(0.04)
    assert found[0, 0] == pytest.approx(0.01 + 0.04 + 0.09)
    apart = covariance(points(own=0.1, shared=0.2, same=False))
    assert apart[0, 1] == 0


def test_keeps_its_promises() -> None:
    excess = series(None)
    few = {name: values[[0, 10, 11, 12, 14, 15]] for name, values in excess.arrays.items()}
    check_analysis(
        EnthalpyRelaxation, Records(excess.stream, few), {"b": 0.3},
        reconfigure_to={"b": 0.3, "reproducibility": 0.5}, runs=1,
    )  # fmt: skip


def test_needs_an_excess() -> None:
    camera = make_stream("camera", {"frame": ("<u2", (4, 4))})
    with pytest.raises(ValueError, match="'excess' of an analysis of type"):
        fitted(camera)
