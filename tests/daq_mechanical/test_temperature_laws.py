"""Laws of temperature from fits and from shifts, by the analysis."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from daq.testing import Records, check_analysis, make_stream, run_analysis
from daq_mechanical.temperature_laws import TemperatureLaws
from daq_relaxation import laws
from tests.daq_mechanical import swept

T = np.linspace(460.0, 500.0, 8)
ERROR = 0.03


def fits(seed: int = 0, ln_tau: np.ndarray | None = None) -> Records:
    """Three readings of each sweep, of which the last counts."""
    random = np.random.default_rng(seed)
    true = swept.ln_tau(T) if ln_tau is None else ln_tau
    y = np.repeat(true + random.normal(0, ERROR, len(T)), 3)
    y[::3] = np.nan
    y[1::3] += 1
    return make_stream("spectrum.fits", {
        "sweep": np.repeat(np.arange(len(T)), 3), "temperature": np.repeat(T, 3),
        "ln_tau_peak_best": y, "ln_tau_peak_best_errors": np.full(len(y), ERROR),
    })  # fmt: skip


def shifts(seed: int = 0) -> Records:
    """Two records with shifts against T[3] whose errors hang together, and an open one."""
    random = np.random.default_rng(seed)
    walk = np.tril(np.full((8, 8), 0.02))
    walk = walk - walk[3]
    true = (swept.ln_tau(T) - swept.ln_tau(T[3])) / np.log(10)
    flag = np.zeros((2, 8), "u1")
    flag[:, 0] = 1
    shift = true + walk @ random.standard_normal(8)
    shift[0] += 5
    return make_stream("master.shifts", {
        "temperature": np.stack([T, T]), "log10_shift": np.stack([shift, shift]), "flag": flag,
        "covariance": np.stack([walk @ walk.T] * 2),
        "reference_temperature": np.full(2, T[3]),
    })  # fmt: skip


def run(records: Records, **config: Any) -> Any:
    return run_analysis(
        TemperatureLaws, {records.name: records.stream}, records.batches(5), config
    )["fit"]


def test_fits_give_law_and_fragility() -> None:
    found = run(fits())
    assert found["points"].tolist()[-1] == len(T)
    assert found["flag"][-1] == 0
    T_g = swept.VFT[2] + swept.VFT[1] / (np.log(100) - swept.VFT[0])
    m = laws.vft_fragility(T_g, *swept.VFT[1:])
    for name, true in (("T_g", T_g), ("fragility", m), ("T0", swept.VFT[2])):
        assert abs(found[name][-1] - true) < 3 * found[f"{name}_errors"][-1]
        assert found[f"{name}_errors"][-1] < 0.2 * true
    E = found["fragility"][-1] * 8.314e-3 * found["T_g"][-1] * np.log(10)
    assert found["energy"][-1] == pytest.approx(E)
    assert found["energy_rtg"][-1] == pytest.approx(found["fragility"][-1] * np.log(10))
    assert found["dof"][-1] == len(T) - 3
    assert np.isnan(found["vft"][-1, len(T) :]).all()
    assert not found["extrapolated"][-1] or found["T_g"][-1] < T[0]


def test_shifts_give_them_without_tau() -> None:
    z = []
    for seed in range(60):
        found = run(shifts(seed), T_g=470.0)
        true = laws.vft_fragility(470.0, *swept.VFT[1:])
        z.append((found["fragility"][-1] - true) / found["fragility_errors"][-1])
    assert 0.55 < np.mean(np.abs(z) < 1) < 0.85
    assert found["points"][-1] == 7, "the open shift takes no part"
    assert np.isnan(found["ln_tau0"][-1])
    assert np.isnan(run(shifts())["T_g"][-1]), "shifts say nothing of tau"


def test_arrhenius_below_and_vft_above() -> None:
    kink = 478.0
    true = np.where(
        kink > T, swept.ln_tau(kink) + 1.5e5 / 8.314 * (1 / T - 1 / kink), swept.ln_tau(T)
    )
    found = run(fits(1, true), liquid_from=kink)
    energy, error = found["arrhenius_energy"][-1], found["arrhenius_energy_errors"][-1]
    assert abs(energy - 150) < 3 * error
    assert found["arrhenius_dof"][-1] + 2 + found["dof"][-1] + 3 == len(T)


def test_a_sweep_that_is_no_more_determined_takes_no_part() -> None:
    records = fits()
    records["ln_tau_peak_best"][-1] = np.nan
    assert run(records)["points"][-1] == len(T) - 1


def test_keeps_its_promises() -> None:
    check_analysis(TemperatureLaws, fits(), {}, runs=2)
    check_analysis(TemperatureLaws, shifts(), {"T_g": 470.0, "points": 8}, runs=1)


def test_what_it_cannot_take_is_refused() -> None:
    camera = make_stream("camera", {"frame": ("<u2", (4, 4))})
    with pytest.raises(ValueError, match="'fits' of an analysis"):
        run(camera)
    with pytest.raises(ValueError, match="points = 8"):
        run(shifts(), points=4)
    with pytest.raises(ValueError, match="model = number"):
        run(fits(), model=2)
