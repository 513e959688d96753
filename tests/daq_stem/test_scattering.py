"""S(Q), g(r) and strain against structures that are known exactly."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daq.testing import Records, check_analysis, make_stream, record_source, run_analysis
from daq_simulators.stem_camera import StemCamera
from daq_stem.geometry.azimuthal_sectors import SECTORS
from daq_stem.scattering.pair_distribution import (
    affine_second,
    second_matrix,
    sine_matrix,
    split_strain,
    uniaxial_second,
)
from daq_stem.scattering.ring_strain import RingStrain
from daq_stem.scattering.scattering_factors import (
    LOBATO,
    composition_of,
    mean_scattering,
    scattering_factor,
)
from daq_stem.scattering.structure_factor import StructureFactor

BOHR = 0.529177210903


# -- single atoms -------------------------------------------------------------------------------


@pytest.mark.parametrize("element", LOBATO)
def test_far_out_an_atom_scatters_as_its_nucleus(element: str) -> None:
    """Mott and Bethe: f g^2 goes to Z / (2 pi^2 a_0), a sum rule of the whole table."""
    number, a, b = LOBATO[element]
    rule = sum(x / y for x, y in zip(a, b, strict=True))
    assert rule == pytest.approx(number / (2 * np.pi**2 * BOHR), rel=1e-6)
    f = scattering_factor(element, np.linspace(0, 20, 50))
    assert np.all(f > 0)
    assert np.all(np.diff(f) < 0)


def test_compositions() -> None:
    assert composition_of("Zr50Cu40Al10") == pytest.approx({"Zr": 0.5, "Cu": 0.4, "Al": 0.1})
    assert composition_of("Pd40Ni40P20")["P"] == pytest.approx(0.2)
    assert composition_of("TiO2") == pytest.approx({"Ti": 1 / 3, "O": 2 / 3})
    for wrong, said in (("zr50", "no formula"), ("Zr50 Cu50", "no formula"), ("Xx5", "of 'Xx'")):
        with pytest.raises(ValueError, match=said):
            composition_of(wrong)
    squares, square = mean_scattering({"Zr": 1.0}, [3.0, 5.0])
    assert squares == pytest.approx(square)
    assert square == pytest.approx(scattering_factor("Zr", [3.0, 5.0]) ** 2)


# -- transforms ---------------------------------------------------------------------------------

Q = np.arange(1, 1201) * 0.25  # 1/nm, 4 pi sin(theta)/lambda
SHELL, WIDTH = 0.3, 0.02  # nm


def shell_structure(q: Any, radius: float = SHELL, width: float = WIDTH) -> Any:
    """S - 1 of G(r) = a Gaussian around ``radius``, height 1."""
    return width * np.sqrt(2 * np.pi) * np.exp(-0.5 * (q * width) ** 2) * np.sin(q * radius) / q


def test_a_gaussian_shell_comes_back() -> None:
    r = np.arange(1, 400) * 0.002
    G = 2 / np.pi * sine_matrix(Q, r) @ shell_structure(Q)
    assert pytest.approx(np.exp(-0.5 * ((r - SHELL) / WIDTH) ** 2), abs=2e-3) == G


@given(st.floats(0.5, 2.0))
@settings(max_examples=10, deadline=None)
def test_scaling(size: float) -> None:
    """A structure ``size`` times as large: Q shrinks, G(r) dr by its square."""
    r = np.arange(1, 60) * 0.01
    one = sine_matrix(Q, r, damped=True) @ shell_structure(Q)
    other = sine_matrix(Q / size, size * r, damped=True) @ shell_structure(Q)
    assert other == pytest.approx(one / size**2, rel=1e-9, abs=1e-9)


def percus_yevick(q: Any, filling: float) -> Any:
    """S of hard spheres of diameter 1 (Wertheim 1963)."""
    low = (1 + 2 * filling) ** 2 / (1 - filling) ** 4
    slope = -6 * filling * (1 + filling / 2) ** 2 / (1 - filling) ** 4
    cube = filling * low / 2
    # -24 eta / q^3 ... of c(r) = -(low + slope r + cube r^3) within the diameter
    s, c = np.sin(q), np.cos(q)
    direct = (
        low * (s - q * c) / q**3
        + slope * (2 * q * s + (2 - q**2) * c - 2) / q**4
        + cube * ((4 * q**3 - 24 * q) * s - (q**4 - 12 * q**2 + 24) * c + 24) / q**6
    )
    return 1 / (1 + 24 * filling * direct)


def test_hard_spheres_touch_as_percus_and_yevick_say() -> None:
    filling = 0.4
    q = np.arange(1, 8001) * 0.05
    q = np.concatenate([[0.02], q])
    density = 6 * filling / np.pi
    r = np.concatenate([[0.3, 0.5, 0.7, 0.9], np.arange(1.03, 1.25, 0.002)])
    g = 1 + sine_matrix(q, r) @ (percus_yevick(q, filling) - 1) / (2 * np.pi**2 * r * density)
    assert g[:4] == pytest.approx(0, abs=0.05)
    contact = (1 + filling / 2) / (1 - filling) ** 2
    # the step itself is as wide as 2 pi / Q_max
    assert np.polyval(np.polyfit(r[4:], g[4:], 2), 1.0) == pytest.approx(contact, rel=0.03)


def test_an_affine_strain_is_that_of_equation_3_3() -> None:
    """S of a strained shell has an l = 2 part; 3-2 must give what 3-3 gives from g_0."""
    strain, poisson, density = 0.01, 0.36, 55.0
    S = shell_structure(Q)
    q_slope = Q * np.gradient(S, Q, edge_order=2)
    second = strain * 2 * (1 + poisson) / 3 / np.sqrt(5) * q_slope
    r = np.arange(100, 250) * 0.002
    g2 = second_matrix(Q, r) @ second / (2 * np.pi**2 * density)
    g0 = 1 + sine_matrix(Q, r) @ S / (2 * np.pi**2 * r * density)
    wanted = strain * affine_second(r, g0, poisson)
    assert g2[3:-3] == pytest.approx(wanted[3:-3], abs=0.02 * np.abs(wanted).max())


def test_elastic_and_anelastic_strain_are_told_apart() -> None:
    r = np.arange(50, 200) * 0.005
    g0 = 1 + np.exp(-0.5 * ((r - 0.3) / 0.02) ** 2)
    affine = affine_second(r, g0, 0.36)
    crept = 0.7 * affine * np.exp(-((r - 0.3) ** 2) / 0.001)
    applied = 0.012
    noise = 1e-4 * np.random.default_rng(0).normal(size=len(r))
    seen = 0.24 * applied * crept + 0.76 * applied * affine + noise
    strain, error, elastic = split_strain(seen, affine, crept, applied)
    assert abs(strain - 0.24 * applied) < 3 * error
    assert elastic == pytest.approx(0.76, abs=3 * error / applied)
    with pytest.raises(ValueError, match="the same"):
        split_strain(seen, affine, affine, applied)


def test_the_part_of_p2_seen_across_the_axis() -> None:
    phi = np.linspace(0, np.pi, 400, endpoint=False)
    p2 = (3 * np.cos(phi) ** 2 - 1) / 2
    seen = 2.0 + 0.3 * np.sqrt(5) * p2
    second = 2 * (seen * np.cos(2 * phi)).mean()
    assert uniaxial_second(seen.mean(), second) == pytest.approx((2.0, 0.3))


# -- structure factor ---------------------------------------------------------------------------

AT = np.arange(1, 108) * 0.15  # 1/nm, 1/d
ATOMS = "Zr50Cu40Al10"


def averages(S: Any, noise: float = 0.0, records: int = 1, seed: int = 0) -> Records:
    """What `azimuthal` gives of a glass with this S: N = 3e4, B = 40."""
    f2, f_squared = mean_scattering(composition_of(ATOMS), AT)
    intensity = 3e4 * (f2 + f_squared * (S - 1)) + 40
    draw = np.random.default_rng(seed)
    spread = 1 + noise * draw.normal(size=(records, SECTORS, len(AT)))
    turn = 2 * np.pi * (np.arange(SECTORS) + 0.5) / SECTORS
    basis = np.stack([np.cos(turn), np.sin(turn)], axis=1)[:, None, :]
    return make_stream(
        "azimuthal.profile", {"sectors": intensity * spread},
        constants={
            "q": AT, "pixels": np.full((SECTORS, len(AT)), 9),
            "basis": np.repeat(basis, len(AT), axis=1),
        },
    )  # fmt: skip


def true_structure(q: Any) -> Any:
    return 1 + shell_structure(2 * np.pi * q, 0.27, 0.045) * 20


def transformed(profile: Records, **config: Any) -> Any:
    return run_analysis(
        StructureFactor, {profile.name: profile.stream}, profile.batches(7),
        {"composition": ATOMS, "fit_range": (8.0, 17.0), **config},
    )  # fmt: skip


def test_a_known_structure_factor_comes_back() -> None:
    out = transformed(averages(true_structure(AT)), density=55.0, lorch=False, r_max=1.0)
    structure, pair = out["structure"], out["pair"]
    assert structure["scale"][0] == pytest.approx(3e4, rel=1e-3)
    assert structure["background"][0] == pytest.approx(40, abs=1)
    assert structure["S"][0] == pytest.approx(true_structure(AT), abs=3e-3)
    assert structure.stream.constants["q"] == pytest.approx(2 * np.pi * AT)
    r = pair.stream.constants["r"]
    assert pair["G"][0][np.argmin(np.abs(r - 0.27))] == pytest.approx(20, rel=0.05)
    assert r[np.argmax(pair["G"][0])] == pytest.approx(0.27, abs=0.01)
    assert pair["g"][0] == pytest.approx(1 + pair["G"][0] / (4 * np.pi * r * 55))
    assert np.abs(structure["S_cos2"]).max() < 1e-9


def test_errors_of_the_transforms_cover() -> None:
    out = transformed(averages(true_structure(AT), 0.02, 100, 3), r_max=1.0, r_step=0.02)
    for stream, names in (("structure", ("S", "S_cos2")), ("pair", ("G",))):
        for name in names:
            values, errors = out[stream][name], out[stream][f"{name}_errors"]
            ratio = np.sqrt((values.var(axis=0) / (errors**2).mean(axis=0)).mean())
            assert 0.85 < ratio < 1.15, (name, ratio)


def test_structure_factor_keeps_its_promises() -> None:
    profile = averages(true_structure(AT), 0.02, 5)
    check_analysis(
        StructureFactor, profile,
        {"composition": ATOMS, "density": 55.0, "r_step": 0.05, "r_max": 1.0},
    )  # fmt: skip


def test_each_part_of_a_scan_has_its_own() -> None:
    """Parts of one input give what each gives alone; a part without patterns is not a number."""
    parts = [averages(true_structure(AT), 0.02, 2, seed) for seed in range(3)]
    sectors = np.stack([part["sectors"] for part in parts] + [np.nan * parts[0]["sectors"]], axis=1)
    constants = parts[0].stream.constants
    regions = make_stream(
        "azimuthal.regions", {"sectors": sectors.reshape(2, 2, 2, SECTORS, -1)}, constants=constants
    )
    config = {"density": 55.0, "r_max": 1.0, "r_step": 0.05, "strain_axis": 0.0}
    out = transformed(regions, **config)
    assert out["pair"]["g"].shape == (2, 2, 2, 20)
    for number, part in enumerate(parts):
        alone, at = transformed(part, **config), divmod(number, 2)
        for name, result in alone.items():
            for field in result.stream.fields:
                if field != "time":
                    np.testing.assert_array_equal(out[name][field][:, *at], result[field])
    assert np.isnan(out["structure"]["S"][:, 1, 1]).all()
    assert out["structure"].valid.all()
    with pytest.raises(ValueError, match="as a whole"):
        transformed(regions, **config, crept_strain=0.1, save_crept="x.txt")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"r_max": 5.0}, "tell of distances"), ({"q_range": (2.0, 2.5)}, "8 are needed"),
        ({"fit_range": (15.8, 17.0)}, "4 are needed"), ({"composition": "Qq"}, "of 'Qq'"),
        ({"fit_range": (9.0, 8.0)}, "smaller one"), ({"r_max": 1.0, "r_step": 0.9}, "r_step"),
    ],
)  # fmt: skip
def test_what_cannot_be_transformed_is_refused(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        transformed(averages(true_structure(AT)), **config)


def test_another_input_is_refused() -> None:
    other = make_stream("other", {"x": "<f8"})
    with pytest.raises(ValueError, match="profile of azimuthal"):
        run_analysis(StructureFactor, {"other": other.stream}, [], {"composition": ATOMS})


# -- strain -------------------------------------------------------------------------------------

SHAPE, CENTRE, SIZE = (64, 60), (31.3, 29.8), 0.2


def ring(strain: float, cos2: float, sin2: float) -> Any:
    """A pattern whose ring at 4.4 1/nm is strained."""
    y, x = (np.indices(SHAPE) - np.array(CENTRE)[:, None, None]) * SIZE
    q, phi = np.hypot(y, x), np.arctan2(y, x)
    at = q * (1 + strain + cos2 * np.cos(2 * phi) + sin2 * np.sin(2 * phi))
    return 400 * np.exp(-((at - 4.4) ** 2) / (2 * 0.47**2)) + 150 - 15 * q


def strained(frames: Any, scan: tuple[int, int]) -> Records:
    return make_stream(
        "camera", {"frame": frames}, scan={"shape": list(scan), "step": 1.0},
        attributes={"centre": list(CENTRE), "pixel_size": SIZE},
    )  # fmt: skip


def strain_of(camera: Records, **config: Any) -> Any:
    return run_analysis(RingStrain, {"camera": camera.stream}, camera.batches(5), config)["strain"]


@pytest.mark.parametrize("reference", [None, 4.4])
def test_a_known_strain_comes_back(reference: float | None) -> None:
    draw = np.random.default_rng(1)
    truth = (0.006, 0.009, -0.004)
    # left and right part of the scan: only the right one is strained, in the second scan
    still, moved = ring(0, 0, 0), ring(*truth)
    means = [still] * 8 + [still, still, moved, moved] * 2
    frames = draw.poisson(means).astype("u2")
    config = {} if reference is None else {"reference_q": reference}
    out = strain_of(strained(frames, (2, 4)), regions=(1, 2), **config)
    for name, true in zip(("strain", "strain_cos2", "strain_sin2"), truth, strict=True):
        value, error = out[name][1, 0], out[f"{name}_errors"][1, 0]
        assert np.all(error < 1.5e-3)
        assert abs(value[1] - true) < 3.5 * error[1] + 3e-4
        assert abs(value[0]) < 3.5 * error[0] + 3e-4
        if reference is None:
            assert np.all(out[name][0] == 0)
    assert out["q_peak"][0] == pytest.approx(4.4, abs=0.02)


@functools.cache
def glass(seed: int) -> Records:
    config = StemCamera.Config(
        scan=(4, 6), step=0.8, scans=1, scan_time=10.0, dwell_time=5e-4, frame=(66, 66),
        pixel_size=0.232, dtype="u1", speed=0, edge=0.0, seed=seed,
    )  # fmt: skip
    return record_source(StemCamera, config, name="camera")["camera"]


def test_errors_of_strain_cover() -> None:
    """Eight unstrained glasses; with more: benchmarks/stem_calibration_coverage.py."""
    z = []
    for seed in range(8):
        out = strain_of(glass(seed), reference_q=4.4)
        for name in ("strain", "strain_cos2", "strain_sin2"):
            assert out[f"{name}_errors"][0, 0, 0] < 0.02
            z.append(out[name][0, 0, 0] / out[f"{name}_errors"][0, 0, 0])
    assert 0.7 < np.sqrt(np.mean(np.square(z))) < 1.4


def test_ring_strain_keeps_its_promises() -> None:
    frames = np.random.default_rng(4).poisson([ring(0, 0.01, 0)] * 10).astype("u2")
    config = {"regions": (1, 2), "total": "series", "q_range": (3.6, 5.2)}
    check_analysis(RingStrain, strained(frames, (2, 2)), config)


def test_strain_of_nothing_is_not_a_number() -> None:
    frames = np.random.default_rng(0).poisson(4, (6, *SHAPE)).astype("u2")
    out = strain_of(strained(0 * frames, (2, 3)))
    assert np.isnan(out["strain"]).all()
    with pytest.raises(ValueError, match="8 are needed"):
        strain_of(strained(frames, (2, 3)), q_range=(4.0, 5.0))
