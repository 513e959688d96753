"""Havriliak-Negami fits are those of lmfit; master curves beside pyvisco, simulated and measured."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daq_mechanical.superposition import Channels, superpose
from daq_relaxation.susceptibility_fit import MODELS, fit_susceptibility
from tests.daq_mechanical import swept

pytestmark = [pytest.mark.peers, pytest.mark.timeout(600)]

HN = MODELS.index("havriliak_negami")
NOISE = (3e-3, 1e-3)


def test_fits_are_those_of_lmfit(peer: Callable[[str], Any], tmp_path: Path) -> None:
    f = np.logspace(-2, 2, 25)
    random = np.random.default_rng(0)
    M = np.stack([swept.moduli(478.0, f, random, NOISE) for _ in range(6)])
    ours = [
        fit_susceptibility(f, m.real, m.imag, models=["havriliak_negami"], known=NOISE) for m in M
    ]
    # the weights of the last round: relative to the moduli as fitted
    scale = np.stack([fit.moduli(HN, f) for fit in ours])
    path = tmp_path / "given.npz"
    np.savez(path, f=f, storage=M.real, loss=M.imag, scale=scale)
    theirs = peer("lmfit").run("fit_with_lmfit.py", path=path, noise=NOISE)
    values = np.stack([fit.parameters[HN][:5] for fit in ours])
    errors = np.stack([fit.errors[HN][:5] for fit in ours])
    assert np.max(np.abs(values - theirs["values"]) / errors) < 0.02
    np.testing.assert_allclose(errors, theirs["errors"], rtol=0.01)


def shifted(
    peer: Callable[[str], Any], path: Path, f: Any, M: Any, T: Any, reference: int
) -> np.ndarray:
    np.savez(path, f=f, storage=M.real, loss=M.imag, T=T)
    found = peer("pyvisco").run("shift_with_pyvisco.py", path=path, reference=reference)
    return np.asarray(found["shift"])


def test_shifts_lie_nearer_to_the_truth_than_pyvisco(
    peer: Callable[[str], Any], tmp_path: Path
) -> None:
    random = np.random.default_rng(1)
    M = np.stack([swept.moduli(T, swept.F, random) for T in swept.T])
    true = swept.ln_tau(swept.T) / np.log(10)
    f = np.tile(swept.F, (len(M), 1))
    theirs = shifted(peer, tmp_path / "given.npz", f, M, swept.T, 4) - (true - true[4])
    sweeps = [Channels.of(swept.F, m.real, m.imag, "phase") for m in M]
    ours = superpose(sweeps, swept.T.tolist(), 4).shift - (true - true[4])
    assert np.max(np.abs(ours)) < 0.06
    assert np.max(np.abs(theirs)) > 2 * np.max(np.abs(ours))


def test_a_measured_polymer(peer: Callable[[str], Any], tmp_path: Path) -> None:
    """Where sweeps overlap both agree, as well as sweeps allow that lie on no common curve."""
    data = Path(
        os.environ.get("GLASSWATCH_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data")
    )
    table = data / "dma_frequency_sweeps.csv"
    if not table.is_file():
        pytest.skip(f"no {table.name} in {data} (set GLASSWATCH_SHARED_DATA)")
    columns = np.genfromtxt(table, delimiter=",", skip_header=2).reshape(21, 10, 5)
    f, M = columns[:, :, 0], 1e6 * (columns[:, :, 1] + 1j * columns[:, :, 2])
    T = columns[:, :, 3].mean(axis=1) + 273.15
    theirs = shifted(peer, tmp_path / "given.npz", f, M, T, 12)
    sweeps = [
        Channels.of(one[one < 50], m.real[one < 50], m.imag[one < 50], "phase")
        for one, m in zip(f, M, strict=True)
    ]
    ours = superpose(sweeps, T.tolist(), 12)
    apart = np.abs(ours.shift - theirs)
    assert np.max(apart[7:]) < 0.2
    assert np.max(apart) < 1
    assert np.all(np.diff(ours.shift) < 0)
    assert np.all(ours.superposition > 1.2), "this polymer does not superpose within its noise"
