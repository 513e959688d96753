"""The laws of dissipation against forces integrated along the orbit of the tip."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import brentq

import daq
from daq.testing import Records, check_analysis, make_stream, run_analysis
from daq_afm.dissipation_curve import DissipationCurve
from daq_afm.dissipation_mechanism import (
    HYSTERESIS,
    LAWS,
    LONG_RANGE,
    NONE_FITS,
    TOO_FEW,
    UNDECIDED,
    VISCOELASTICITY,
    compare,
    reduced_energy,
)
from daq_simulators.afm_cantilever import Cantilever

K, Q, A0, R = 2.0, 150.0, 30.0, 20.0  # N/m, 1, nm, nm
PHASE = (np.arange(4000) + 0.5) / 4000 * 2 * np.pi
UNIT = np.pi * K * A0**2 / Q  # nN nm


def along_the_orbit(law: str, A: float, d: float) -> tuple[float, float]:
    """Return <F z> and the energy lost per cycle, nN nm, of a tip whose force is integrated.

    d: deepest indentation, or least distance out of contact, nm.
    """
    z, velocity = A * np.cos(PHASE), -np.sin(PHASE)
    if law == "long_range":
        distance = d + A + z
        here, back = 0.5, 0.56  # nN nm^2 x R/6: larger on the way out
        force = -np.where(velocity < 0, here, back) / distance**2
        virial = np.mean(force * z)
        return virial, -np.sum(force * velocity * A) * (2 * np.pi / len(PHASE))
    depth = np.maximum(d - A - z, 0)
    contact = depth > 0
    force = 4 / 3 * 2.0 * np.sqrt(R) * depth**1.5
    if law == "hysteresis":
        force = force - np.where(velocity < 0, 0.0, 1.5) * contact
    else:
        force = force - 0.006 * np.sqrt(R * depth) * (velocity * A) * contact
    virial = np.mean(force * z)
    return virial, -np.sum(force * velocity * A) * (2 * np.pi / len(PHASE))


def tapped(law: str, ratio: float) -> float:
    """Return the energy per cycle in units of pi k A0^2/Q, from the balance of force and energy."""
    A = ratio * A0

    def balance(d: float) -> float:
        virial, lost = along_the_orbit(law, A, d)
        sine = lost / (np.pi * K * A * A0 / Q) + ratio
        cosine = -2 * Q * virial / (K * A * A0)
        return sine**2 + cosine**2 - 1

    low, high = (0.05, 15.0) if law == "long_range" else (1e-4, 15.0)
    return along_the_orbit(law, A, brentq(balance, low, high))[1] / UNIT


RATIOS = np.linspace(0.25, 0.95, 12)


@pytest.mark.parametrize("law", LAWS)
def test_forces_integrated_along_the_orbit_are_told_apart(law: str) -> None:
    energy = np.array([tapped(law, u) for u in RATIOS])
    found = compare(RATIOS, energy, np.ones(12))
    k = LAWS.index(law)
    assert found.mechanism == k + 1
    assert found.misfit[k] < 0.06
    assert found.misfit[k] == found.misfit.min()


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("strength", [1e-3, 0.1, 1.0])
def test_the_laws_hold_with_the_losses_they_make(law: str, strength: float) -> None:
    u = np.linspace(0.05, 0.99, 40)
    e = reduced_energy(u, strength, law)
    sine = e / u + u
    power = {
        "long_range": (1 / 3, 1 / 3),
        "hysteresis": (1 / 4, 1 / 4),
        "viscoelasticity": (1, 0.5),
    }
    p, q = power[law]
    np.testing.assert_allclose(e, strength * u**p * (1 - sine**2) ** q, rtol=1e-6, atol=1e-12)
    assert (e > 0).all() and (sine < 1).all()
    assert reduced_energy(np.array([1.0]), strength, law)[0] == 0


@pytest.mark.parametrize("law", LAWS)
def test_the_simulated_cantilever_follows_the_same_laws(law: str) -> None:
    cantilever = Cantilever(5.0, 160e3, 160e3, 400.0, 10.0)
    unit = float(cantilever.energy(10.0))
    known = 1.9 / unit
    sine = known / 0.85 + 0.85
    p, q = {"long_range": (1 / 3, 2 / 3), "hysteresis": (1 / 4, 1 / 2), "viscoelasticity": (1, 1)}[
        law
    ]
    strength = known / (0.85**p * (1 - sine**2) ** (q / 2))
    for u in (0.3, 0.6, 0.95):
        theirs = float(cantilever.dissipation(1.9, 0.85, u, law)) / unit
        assert reduced_energy(np.array([u]), strength, law)[0] == pytest.approx(theirs, rel=1e-6)


def noisy(law: str, noise: float, seed: int, points: int = 10) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    u = np.linspace(0.2, 0.95, points)
    e = reduced_energy(u, 0.2, law)
    return u, e + noise * e.mean() * draw.standard_normal(points)


def test_the_right_law_is_named_or_none() -> None:
    """Alike in shape: long-range attraction and hysteresis need small errors to be told apart."""
    for law, number in zip(LAWS, (LONG_RANGE, HYSTERESIS, VISCOELASTICITY), strict=True):
        named = [compare(*noisy(law, 0.02, seed), np.ones(10)).mechanism for seed in range(24)]
        assert named.count(number) >= 15
        assert len(named) - named.count(number) - named.count(UNDECIDED) <= 3
    blurred = [compare(*noisy("hysteresis", 0.08, s), np.ones(10)).mechanism for s in range(24)]
    assert blurred.count(UNDECIDED) > 9
    assert blurred.count(VISCOELASTICITY) <= 3


def test_the_strength_covers() -> None:
    inside = []
    for seed in range(80):
        found = compare(*noisy("viscoelasticity", 0.03, seed), np.ones(10))
        inside.append(abs(found.strength[2] - 0.2) < found.strength_errors[2])
    assert np.mean(inside) == pytest.approx(0.66, abs=0.12)


def test_what_is_no_law_and_too_few() -> None:
    u = np.linspace(0.2, 0.9, 10)
    assert compare(u, np.where(u > 0.5, 1.0, 0.01), np.ones(10)).mechanism == NONE_FITS
    assert compare(u, np.zeros(10), np.ones(10)).mechanism == NONE_FITS
    assert compare(u[:4], u[:4], np.ones(4)).mechanism == TOO_FEW


def summary(law: str = "viscoelasticity", count: int = 27) -> Records:
    draw = np.random.default_rng(3)
    u = np.tile(np.linspace(0.3, 0.94, 9), 3)[:count]
    e = 22.0 * reduced_energy(u, 0.15, law) * (1 + 0.01 * draw.standard_normal(len(u)))
    fields = {"amplitude_ratio": u, "mean": e}
    made = make_stream("summary", fields, attributes={"energy_unit": 22.0})
    described = dict(made.stream.fields) | {"mean": daq.Field("<f8", (), "eV")}
    stream = daq.Stream("summary", described, attributes=made.stream.attributes)
    return Records(stream, made.arrays)


def run(records: Records, **config: Any) -> Any:
    return run_analysis(DissipationCurve, {"summary": records.stream}, records.batches(4), config)


def test_images_at_nine_set_points_make_a_curve() -> None:
    found = run(summary())
    curve, mechanism = found["curve"], found["mechanism"]
    assert curve["amplitudes"].tolist() == [*range(1, 10)] + [9] * 18
    assert mechanism["mechanism"][:4].tolist() == [TOO_FEW] * 4
    assert mechanism["mechanism"][-1] == VISCOELASTICITY
    assert curve["count"][-1, :9].tolist() == [3] * 9
    u, derivative = curve["ratio"][-1, :9], curve["derivative"][-1, :9]
    law = mechanism["law_derivative"][-1, 2]
    wanted = np.interp(u, mechanism.stream.constants["grid"], law)
    np.testing.assert_allclose(derivative[1:-1], wanted[1:-1], atol=0.15 * np.abs(wanted).max())


def test_an_approach_curve_is_one_record() -> None:
    u = np.linspace(0.15, 0.97, 300)[None]
    e = 22.0 * reduced_energy(u, 0.3, "long_range")
    fields = {"amplitude_ratio": u, "mean": e}
    made = make_stream("approach", fields)
    described = dict(made.stream.fields) | {"mean": daq.Field("<f8", (300,), "eV")}
    records = Records(daq.Stream("summary", described), made.arrays)
    found = run(records, energy_unit=22.0)["mechanism"]
    assert found["mechanism"].tolist() == [LONG_RANGE]
    assert found["strength"][0, 0] == pytest.approx(0.3, rel=0.01)


def test_keeps_its_promises() -> None:
    check_analysis(
        DissipationCurve, summary(count=9), {}, reconfigure_to={"range": (0.4, 0.98)}, runs=1
    )


def test_what_is_missing_is_named() -> None:
    records = summary()
    stream = daq.Stream("summary", records.stream.fields)
    with pytest.raises(ValueError, match="does not say its energy_unit"):
        run(Records(stream, records.arrays))
    with pytest.raises(ValueError, match="no channel 'energy'"):
        run(records, energy="energy")
