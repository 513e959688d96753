"""The elastic part of a strain, from the l = 2 part of a pair distribution that is known."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daq.testing import Records, check_analysis, make_stream, run_analysis
from daq_stem.geometry.azimuthal_sectors import SECTORS
from daq_stem.scattering.scattering_factors import composition_of, mean_scattering
from daq_stem.scattering.structure_factor import StructureFactor

AT = np.arange(1, 108) * 0.15  # 1/nm, 1/d
ATOMS = "Zr50Cu40Al10"
AXIS, POISSON, SHARE, APPLIED, CREPT = 25.0, 0.36, 0.76, 0.012, 0.004
SHELLS = ((0.27, 0.045, 20.0), (0.46, 0.06, 8.0), (0.68, 0.08, 5.0))
CONFIG: dict[str, Any] = {
    "composition": ATOMS, "fit_range": (8.0, 17.0), "r_max": 1.0, "r_step": 0.01,
    "strain_axis": AXIS, "poisson": POISSON,
}  # fmt: skip


def shells(q: Any, which: Any) -> Any:
    """S - 1 of Gaussian shells in G(r)."""
    return sum(
        height * width * np.sqrt(2 * np.pi) * np.exp(-0.5 * (q * width) ** 2) * np.sin(q * at) / q
        for at, width, height in which
    )


def affine(which: Any) -> Any:
    """S_2^0 of a unit affine strain, from differences a thousand times finer than the rings."""
    q, h = 2 * np.pi * AT, 1e-3
    slope = (shells(q + h, which) - shells(q - h, which)) / (2 * h)
    return 2 * (1 + POISSON) / (3 * np.sqrt(5)) * q * slope


def strained(elastic: float, anelastic: float, noise: float = 0.0, records: int = 1) -> Records:
    """What `azimuthal` gives: neighbours of the first shell change in creep, no others."""
    second_0 = elastic * affine(SHELLS) + anelastic * 1.7 * affine(SHELLS[:1])
    second = second_0 * 0.75 * np.sqrt(5)
    mean = 1 + shells(2 * np.pi * AT, SHELLS) + second / 3
    turn = 2 * np.pi * (np.arange(SECTORS) + 0.5) / SECTORS
    S = mean + second * np.cos(turn - 2 * np.radians(AXIS))[:, None]
    f2, f_squared = mean_scattering(composition_of(ATOMS), AT)
    intensity = 3e4 * (f2 + f_squared * (S - 1)) + 40
    draw = np.random.default_rng(5)
    spread = 1 + noise * draw.normal(size=(records, SECTORS, len(AT)))
    basis = np.stack([np.cos(turn), np.sin(turn)], axis=1)[:, None, :]
    return make_stream(
        "azimuthal.profile", {"sectors": intensity * spread},
        constants={
            "q": AT, "pixels": np.full((SECTORS, len(AT)), 9),
            "basis": np.repeat(basis, len(AT), axis=1),
        },
    )  # fmt: skip


def split(profile: Records, **config: Any) -> Any:
    streams = {profile.name: profile.stream}
    return run_analysis(StructureFactor, streams, profile.batches(7), {**CONFIG, **config})["split"]


@pytest.fixture(scope="module")
def crept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run on a crept sample without load has written."""
    path = tmp_path_factory.mktemp("crept") / "crept.txt"
    split(strained(0.0, CREPT), crept_strain=CREPT, save_crept=path)
    return path


@pytest.mark.parametrize("lorch", [True, False])
@pytest.mark.parametrize("share", [1.0, SHARE, 0.3])
def test_a_known_elastic_share_comes_back(share: float, lorch: bool, tmp_path: Path) -> None:
    path = tmp_path / "crept.txt"
    split(strained(0.0, CREPT), crept_strain=CREPT, save_crept=path, lorch=lorch)
    out = split(
        strained(share * APPLIED, (1 - share) * APPLIED),
        applied_strain=APPLIED, crept=path, lorch=lorch,
    )  # fmt: skip
    assert out["elastic_share"][0] == pytest.approx(share, abs=0.01)
    assert out["elastic_strain"][0] == pytest.approx(share * APPLIED, abs=0.01 * APPLIED)
    assert out["anelastic_strain"][0] == pytest.approx((1 - share) * APPLIED, abs=0.01 * APPLIED)
    size = np.abs(out["G2"][0]).max()
    r = out.stream.constants["r"]
    inside = (r > 0.2) & (r < 0.8)
    assert out["G2_fit"][0][inside] == pytest.approx(out["G2"][0][inside], abs=0.01 * size)


def test_without_a_crept_sample_the_strain_is_taken_for_affine() -> None:
    out = split(strained(APPLIED, 0.0))
    assert out["affine_strain"][0] == pytest.approx(APPLIED, rel=0.01)
    assert np.isnan(out["elastic_share"]).all()
    # along another axis of the pattern there is less of it, and across the strain the opposite
    assert split(strained(APPLIED, 0.0), strain_axis=AXIS + 90)["affine_strain"][0] < -0.9 * APPLIED
    assert abs(split(strained(APPLIED, 0.0), strain_axis=AXIS + 45)["affine_strain"][0]) < 1e-4


def test_errors_of_the_split_cover(crept: Path) -> None:
    profile = strained(SHARE * APPLIED, (1 - SHARE) * APPLIED, 0.02, 100)
    out = split(profile, applied_strain=APPLIED, crept=crept)
    for name, true in (("elastic_share", SHARE), ("elastic_strain", SHARE * APPLIED)):
        z = (out[name] - true) / out[f"{name}_errors"]
        assert 0.85 < np.sqrt(np.mean(z**2)) < 1.25, name
        assert np.mean(np.abs(z) < 1.96) > 0.87, name
    for name in ("affine_strain", "G2"):
        ratio = np.sqrt((out[name].var(axis=0) / (out[f"{name}_errors"] ** 2).mean(axis=0)).mean())
        assert 0.8 < ratio < 1.2, (name, ratio)


def test_it_keeps_its_promises(crept: Path) -> None:
    profile = strained(SHARE * APPLIED, (1 - SHARE) * APPLIED, 0.02, 4)
    config = {**CONFIG, "applied_strain": APPLIED, "crept": str(crept), "r_step": 0.02}
    check_analysis(StructureFactor, profile, config)


@functools.cache
def plain() -> Records:
    return strained(APPLIED, 0.0)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"applied_strain": 0.01}, "applied_strain and crept go together"),
        ({"save_crept": "x.txt"}, "crept_strain and save_crept go together"),
        ({"strain_axis": None, "crept_strain": 0.1}, "crept_strain needs strain_axis"),
        ({"crept_strain": 0.0, "save_crept": "x.txt"}, "a strain of 0"),
        ({"crept_strain": 0.1, "save_crept": "none/x.txt"}, "no folder"),
        ({"strain_range": (0.2, 0.25)}, "10 are needed"),
        ({"strain_range": (0.8, 0.2)}, "smaller one"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        split(plain(), **config)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0.2 abc", "cannot be read"), ("0.1 1\n0.9 nan", "no number"),
        ("0.3 1\n0.1 2", "two columns"), ("1 2 3\n4 5 6", "two columns"),
        ("0.4 1\n0.41 1\n0.42 2", "is known from 0.4 to 0.42 nm"),
    ],
)  # fmt: skip
def test_a_bad_file_is_refused_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "bad.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=said) as caught:
        split(plain(), applied_strain=0.01, crept=path)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=r"none\.txt cannot be read"):
        split(plain(), applied_strain=0.01, crept=tmp_path / "none.txt")
