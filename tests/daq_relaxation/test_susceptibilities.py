"""KWW and Havriliak-Negami in frequency: exact values, derivatives, and the simulators' own formulas."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import wofz

from daq_relaxation import laws
from daq_relaxation.havriliak_negami import havriliak_negami_slopes, ln_havriliak_negami_peak
from daq_relaxation.kww_frequency import kww_peak, kww_susceptibility, kww_susceptibility_slopes
from daq_simulators import mechanical_material

# b, omega tau, Re chi, Im chi: trapezoidal rule in ln s along t = s exp(-i theta), theta = 0.9 pi/4
# min(2, 1/b), step 1/64, with 40 digits (mpmath), which for b = 1/2 gives 20 digits of the closed form
EXACT = (
    (0.1, 0.0001, 0.907888213035705, -0.03465143585270693),
    (0.1, 0.3, 0.6554204029793701, -0.05744185540750977),
    (0.1, 10000, 0.3125850826150443, -0.04055114053462907),
    (0.2, 7, 0.451659616388409, -0.10329350147223607),
    (0.35, 0.0001, 0.9999978787860851, -0.0005028912177303282),
    (0.35, 0.3, 0.7237992743590568, -0.18761852673632576),
    (0.35, 10000, 0.029921774349926756, -0.01790592326038769),
    (0.7, 0.0001, 0.9999999748542783, -0.00012658234440005906),
    (0.7, 7, 0.12384233633229996, -0.1741506089908331),
    (0.7, 10000, 0.0006547051645621352, -0.0012818719756488312),
    (0.9, 0.0001, 0.9999999876070303, -0.00010521837054570798),
    (0.9, 7, 0.04811513070802852, -0.1541539464202197),
    (0.9, 10000, 3.7842462263398656e-05, -0.00023859399273051086),
)


def test_kww_is_its_closed_form_at_one_half() -> None:
    x = np.logspace(-6, 6, 200)
    z = (1 + 1j) / np.sqrt(8 * x)
    closed = np.sqrt(np.pi) * (1 - 1j) / np.sqrt(8 * x) * wofz(z)
    found = kww_susceptibility(x, 1.0, 0.5)
    np.testing.assert_allclose(found.imag, closed.imag, rtol=1e-9)
    np.testing.assert_allclose(found.real, closed.real, rtol=1e-9)


@pytest.mark.parametrize(("b", "x", "real", "imaginary"), EXACT)
def test_kww_has_its_exact_values(b: float, x: float, real: float, imaginary: float) -> None:
    found = kww_susceptibility([x / 3], 3.0, b)[0]
    assert found.real == pytest.approx(real, rel=1e-10)
    assert found.imag == pytest.approx(imaginary, rel=1e-10)


def test_kww_with_b_of_one_is_debye() -> None:
    x = np.logspace(-4, 4, 50)
    np.testing.assert_allclose(kww_susceptibility(x, 1.0, 1.0), 1 / (1 + 1j * x), rtol=1e-12)


@given(st.floats(0.1, 1), st.floats(-12, 12))
@settings(max_examples=40, deadline=None)
def test_kww_lies_between_its_limits(b: float, ln_x: float) -> None:
    chi = complex(kww_susceptibility([np.exp(ln_x)], 1.0, b)[0])
    assert 0 < chi.real < 1
    assert chi.imag < 0
    assert abs(chi - 0.5) <= 0.5 + 1e-12, "spectra of Debye processes lie in Debye's semicircle"


@given(st.floats(0.15, 0.99), st.floats(-8, 8))
@settings(max_examples=25, deadline=None)
def test_slopes_of_kww(b: float, ln_x: float) -> None:
    x, step = np.exp([ln_x]), 1e-5
    _, by_ln_tau, by_b = kww_susceptibility_slopes(x, 1.0, b)
    tau = np.exp([step, -step])
    plain = (kww_susceptibility(x, tau[0], b) - kww_susceptibility(x, tau[1], b)) / (2 * step)
    np.testing.assert_allclose(by_ln_tau, plain, rtol=1e-5)
    plain = (kww_susceptibility(x, 1.0, b + step) - kww_susceptibility(x, 1.0, b - step)) / (
        2 * step
    )
    np.testing.assert_allclose(by_b, plain, rtol=1e-5, atol=1e-9)


@given(st.floats(0.1, 1), st.floats(0.1, 1), st.floats(-8, 8))
@settings(max_examples=40, deadline=None)
def test_slopes_of_havriliak_negami(alpha: float, gamma: float, ln_x: float) -> None:
    x, step = np.exp([ln_x]), 1e-6
    found = havriliak_negami_slopes(x, 1.0, alpha, gamma)
    np.testing.assert_allclose(found[0], laws.havriliak_negami(x, 1.0, alpha, gamma), rtol=1e-12)
    for place, (one, other) in enumerate(
        (
            ((np.exp(step), alpha, gamma), (np.exp(-step), alpha, gamma)),
            ((1.0, alpha + step, gamma), (1.0, alpha - step, gamma)),
            ((1.0, alpha, gamma + step), (1.0, alpha, gamma - step)),
        )
    ):
        plain = (laws.havriliak_negami(x, *one) - laws.havriliak_negami(x, *other)) / (2 * step)
        np.testing.assert_allclose(found[1 + place], plain, rtol=1e-6, atol=1e-9)


def test_loss_peaks_are_where_the_loss_is_highest() -> None:
    assert np.exp(ln_havriliak_negami_peak(0.95, 0.41)) == pytest.approx(2.15, abs=0.005)
    assert kww_peak(1.0, 1.0) == pytest.approx(1, rel=1e-6)
    for b in (0.2, 0.5, 0.8):
        near = kww_peak(2.0, b) * np.array([0.999, 1.0, 1.001])
        loss = -kww_susceptibility(near, 2.0, b).imag
        assert loss[1] > loss[0]
        assert loss[1] > loss[2]


def test_the_formulas_are_those_of_the_simulators() -> None:
    """Written twice, by different ways: what is fitted is what is simulated."""
    x = np.logspace(-4, 4, 40)
    for b in (0.3, 0.5, 0.9):
        np.testing.assert_allclose(
            mechanical_material.kww_susceptibility(x, b), kww_susceptibility(x, 1.0, b), rtol=1e-8
        )
    np.testing.assert_allclose(
        mechanical_material.hn_susceptibility(x, 0.95, 0.41),
        laws.havriliak_negami(x, 1.0, 0.95, 0.41), rtol=1e-12,
    )  # fmt: skip


def test_what_is_no_law_is_refused() -> None:
    with pytest.raises(ValueError, match="between"):
        kww_susceptibility([1.0], 1.0, 1.2)
    with pytest.raises(ValueError, match="above 0"):
        kww_susceptibility([0.0], 1.0, 0.5)
