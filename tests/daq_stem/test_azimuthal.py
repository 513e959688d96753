"""Azimuthal averages against plain numpy, against known harmonics, and whether their errors hold."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daq.testing import Records, check_analysis, make_stream, record_source, run_analysis
from daq_simulators.stem_camera import StemCamera
from daq_stem.calibration.file import Calibration as CalibrationFile
from daq_stem.geometry.azimuthal_sectors import SECTORS, neighbour_share, share_factors
from daq_stem.geometry.ellipse import Ellipse
from daq_stem.scattering.azimuthal import Azimuthal

SHAPE = (48, 52)
CENTRE = (22.7, 26.1)
SIZE = 0.25
RANGE = (2.0, 5.0)


def camera_of(frames: Any, scan: tuple[int, int] = (2, 3), **more: Any) -> Records:
    attributes = {"pixel_size": SIZE, "centre": list(CENTRE)}
    return make_stream(
        "camera", {"frame": frames}, scan={"shape": list(scan), "step": 0.5},
        attributes=attributes, **more,
    )  # fmt: skip


def run(camera: Records, **config: Any) -> Any:
    return run_analysis(
        Azimuthal, {"camera": camera.stream}, camera.batches(5), {"q_range": RANGE, **config}
    )


def polar(ellipse: Ellipse | None = None) -> tuple[Any, Any]:
    y, x = np.indices(SHAPE) - np.array(CENTRE)[:, None, None]
    y, x = (ellipse or Ellipse()).circular(y, x)
    return np.hypot(y, x) * SIZE, np.arctan2(y, x)


def test_means_are_those_of_plain_numpy() -> None:
    draw = np.random.default_rng(1)
    frames = draw.poisson(20, (14, *SHAPE)).astype("u2")
    dark, gain = draw.random(SHAPE).astype("f4"), (1 + draw.random(SHAPE)).astype("f4")
    mask = draw.random(SHAPE) < 0.1
    camera = camera_of(frames, constants={"dark": dark, "gain": gain, "mask": mask})
    out = run(camera, regions=(1, 3), region_sectors=True)
    profile, regions = out["profile"], out["regions"]
    # the parts weigh as many patterns as they have: together they are the whole
    means, weights = regions["sectors"], regions["patterns"][..., None, None]
    together = np.nansum(means * weights, axis=(1, 2)) / weights.sum(axis=(1, 2))
    assert together == pytest.approx(profile["sectors"], rel=0.01, nan_ok=True)
    q, phi = polar()
    ring = np.floor((q - RANGE[0]) / SIZE).astype(int)
    sector = np.floor(phi / np.pi % 1 * SECTORS).astype(int)
    corrected = (frames - dark) * gain
    good = [(ring == k) & ~mask for k in range(12)]
    at = np.array([q[g].mean() for g in good])
    level = np.array([corrected[:6, g].mean() for g in good])
    slope = np.gradient(level, at)
    for k in (0, 3, 11):
        for s in (0, 5, 11):
            inside = good[k] & (sector == s)
            wanted = corrected[:6, inside].mean() - slope[k] * (q[inside].mean() - at[k])
            assert profile["sectors"][0, s, k] == pytest.approx(wanted, rel=1e-5)
        inside = (ring == k) & ~mask
        design = np.stack([np.ones(inside.sum()), np.cos(2 * phi[inside]), np.sin(2 * phi[inside])])
        value = corrected[:6, inside].mean(axis=0)
        solved = np.linalg.lstsq(design.T, value, rcond=None)[0]
        errors = profile["intensity_errors"][0, k]
        assert profile["intensity"][0, k] == pytest.approx(solved[0], abs=2 * errors)
        assert profile.stream.constants["q"][k] == pytest.approx(q[inside].mean())
    assert profile["patterns"].tolist() == [6, 6, 2]
    assert regions["patterns"].reshape(3, 3).tolist() == [[2] * 3, [2] * 3, [1, 1, 0]]
    assert np.isnan(regions["intensity"][2, 0, 2]).all()
    # position 0 and 3 are the first part
    one = corrected[[0, 3]][:, (ring == 5) & ~mask].mean()
    assert regions["intensity"][0, 0, 0, 5] == pytest.approx(one, rel=0.02)


@pytest.mark.parametrize("masked", [False, True])
def test_known_harmonics_come_back(masked: bool) -> None:
    q, phi = polar()
    pattern = 100 + 10 * q + 5 * np.cos(2 * phi) - 3 * np.sin(2 * phi)
    mask = (phi > -0.3) & (phi < 0.2) if masked else np.zeros(SHAPE, bool)
    frames = np.broadcast_to(np.where(mask, 9999, pattern), (6, *SHAPE)).astype("f4")
    # a shadow on one side and a centre that is off look like nothing with l = 2, almost
    frames = frames + (2 * np.cos(phi)).astype("f4") * (not masked)
    out = run(camera_of(frames, constants={"mask": mask}))["profile"]
    at = out.stream.constants["q"]
    assert out["intensity"][0] == pytest.approx(100 + 10 * at, rel=2e-3)
    assert out["cos2"][0] == pytest.approx(5, abs=0.25)
    assert out["sin2"][0] == pytest.approx(-3, abs=0.25)


def test_an_ellipse_is_taken_out_by_the_calibration(tmp_path: Path) -> None:
    ellipse = Ellipse(1.06, 35.0)
    q, _ = polar(ellipse)
    pattern = 100 * np.exp(-((q - 3.5) ** 2) / 0.5)
    frames = np.broadcast_to(pattern, (6, *SHAPE)).astype("f4")
    path = tmp_path / "camera.toml"
    CalibrationFile(
        frame=SHAPE, centre=CENTRE, ellipse_ratio=1.06, ellipse_angle=35.0, pixel_size=SIZE
    ).save(path)
    plain, right = run(camera_of(frames)), run(camera_of(frames), calibration=path)
    size = [
        np.hypot(out["profile"]["cos2"], out["profile"]["sin2"]).max() for out in (plain, right)
    ]
    assert size[0] > 4
    assert size[1] < 1
    at = right["profile"].stream.constants["q"]
    assert right["profile"]["intensity"][0] == pytest.approx(
        100 * np.exp(-((at - 3.5) ** 2) / 0.5), abs=1.5
    )


@functools.cache
def glass(seed: int) -> Records:
    config = StemCamera.Config(
        scan=(5, 8), step=0.8, scans=1, scan_time=10.0, dwell_time=5e-4, frame=(66, 66),
        pixel_size=0.232, dtype="u1", speed=0, edge=0.0, seed=seed, w_sd=0.0, drift=(0, 0),
        thickness_gradient=0.0,
    )  # fmt: skip
    return record_source(StemCamera, config, name="camera")["camera"]


def test_errors_cover() -> None:
    """Scatter of eight glasses about their mean, in units of the errors that each of them gives."""
    found: dict[str, list[Any]] = {}
    for seed in range(8):
        camera = glass(seed)
        out = run_analysis(
            Azimuthal, {"camera": camera.stream}, camera.batches(40), {"q_range": (2.5, 6.5)}
        )["profile"]
        for name in ("intensity", "cos2", "sin2"):
            for field in (name, f"{name}_errors"):
                found.setdefault(field, []).append(out[field][0])
    for name in ("intensity", "cos2", "sin2"):
        values, errors = np.array(found[name]), np.array(found[f"{name}_errors"])
        scatter = values.var(axis=0, ddof=1 if name == "intensity" else 0)
        if name != "intensity":
            scatter = (values**2).mean(axis=0)  # the truth is 0
        ratio = np.sqrt((scatter / (errors**2).mean(axis=0)).mean())
        assert 0.75 < ratio < 1.3, (name, ratio)


def test_what_neighbouring_sectors_share() -> None:
    draw = np.random.default_rng(2)
    for rho in (0.0, 0.2, 0.35):
        # moving average of order 1 around the circle
        t = (1 - np.sqrt(1 - 4 * rho**2)) / (2 * rho) if rho else 0.0
        noise = draw.normal(size=(400, SECTORS, 10))
        noise = (noise + t * np.roll(noise, 1, axis=1)) / np.sqrt(1 + t * t)
        turn = 2 * np.pi * (np.arange(SECTORS) + 0.5) / SECTORS
        design = np.stack([np.ones(SECTORS), np.cos(turn), np.sin(turn)], axis=1)
        coefficients = np.einsum("is,psq->piq", np.linalg.pinv(design), noise)
        residual = noise - np.einsum("si,piq->psq", design, coefficients)
        assert neighbour_share(residual) == pytest.approx(rho, abs=0.03)
        naive = (residual**2).sum(axis=1) / (SECTORS - 3)
        told = naive.mean() * share_factors(np.array(rho)) * np.array([1, 2, 2]) / SECTORS
        assert coefficients.var(axis=(0, 2)) == pytest.approx(told, rel=0.1)


def test_the_series_is_summed_over_scans() -> None:
    frames = np.random.default_rng(3).poisson(9, (12, *SHAPE)).astype("u2")
    camera = camera_of(frames)
    scans, series = run(camera)["profile"], run(camera, total="series")["profile"]
    mean = scans["sectors"].mean(axis=0)
    assert series["sectors"][-1] == pytest.approx(mean, nan_ok=True)
    assert series["patterns"].tolist() == [6, 12]


@pytest.mark.parametrize("kind", ["u2", "f4"])
def test_keeps_its_promises(kind: str) -> None:
    frames = np.random.default_rng(4).poisson(9, (12, *SHAPE)).astype(kind)
    gain = (1 + 0.1 * np.random.default_rng(5).random(SHAPE)).astype("f4")
    camera = camera_of(frames, constants={"gain": gain})
    check_analysis(
        Azimuthal,
        camera,
        {"q_range": RANGE, "regions": (2, 2), "region_sectors": True, "total": "series"},
    )


def test_what_cannot_be_is_refused() -> None:
    frames = np.zeros((6, *SHAPE), "u2")
    with pytest.raises(ValueError, match="fewer than 4 rings"):
        run(camera_of(frames), q_range=(2.0, 2.3))
    with pytest.raises(ValueError, match="more than the positions"):
        run(camera_of(frames), regions=(3, 3))
    with pytest.raises(ValueError, match="smaller radius comes first"):
        run(camera_of(frames), q_range=(3.0, 2.0))
    silent = make_stream("camera", {"frame": frames}, scan={"shape": [2, 3]})
    with pytest.raises(ValueError, match="how large a pixel"):
        run(silent)
