"""Geometry and counts per electron of simulated cameras whose truth is known."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import daq
from daq.testing import Records, check_analysis, make_stream, record_source, run_analysis
from daq_simulators.halo import BeamStop, Halo
from daq_simulators.stem_camera import StemCamera
from daq_stem.calibration.analysis import Calibration
from daq_stem.calibration.file import Calibration as CalibrationFile
from daq_stem.calibration.file import circular_coordinates, geometry
from daq_stem.calibration.ring_fit import find_ring, fit_ring, start_centre
from daq_stem.geometry.annulus import binned_annulus
from daq_stem.geometry.detector import detector_for
from daq_stem.geometry.ellipse import Ellipse
from daq_stem.scattering.ring_peak import peak_positions

SIZE = 0.232
PEAK = 4.4
SMALL: dict[str, Any] = {
    "scan": (6, 10), "step": 0.6, "scans": 2, "scan_time": 300.0, "dwell_time": 5e-4,
    "frame": (66, 66), "pixel_size": SIZE, "dtype": "u1", "median_tau": 150.0, "speed": 0,
    "edge": 0.0,
}  # fmt: skip


@functools.cache
def glass(seed: int, **changed: Any) -> tuple[Records, dict[str, Any]]:
    """A camera whose centre and ellipse nobody knows, and what they are."""
    draw = np.random.default_rng(seed)
    truth = {
        "centre": tuple(32.5 + draw.uniform(-5, 5, 2)),
        "ellipticity": float(draw.uniform(1, 1.06)),
        "ellipticity_angle": float(draw.uniform(0, 180)),
    }
    config = StemCamera.Config(**{**SMALL, **truth, "seed": seed, **changed})
    camera = record_source(StemCamera, config, name="camera")["camera"]
    # the stream may not tell
    stream = daq.Stream(
        "camera", camera.stream.fields, scan=camera.stream.scan, constants=camera.stream.constants
    )
    return Records(stream, camera.arrays, camera.missing), truth


def found(camera: Records, **config: Any) -> Any:
    return run_analysis(Calibration, {"camera": camera.stream}, camera.batches(50), config)[
        "geometry"
    ]


def halo(centre: Any, ellipse: Ellipse, shape: tuple[int, int] = (66, 66)) -> Any:
    """The mean pattern without any noise, and where the beam stop lets it through."""
    y, x = np.indices(shape)
    q = ellipse.radius(y - centre[0], x - centre[1]) * SIZE
    stop = BeamStop(1.2, 0.5, 180.0).covers((y - centre[0]) * SIZE, (x - centre[1]) * SIZE)
    return 1000 * Halo(PEAK, 0.47, 0.25, 0.05).density(q), ~stop


@settings(max_examples=4, deadline=None)
@given(
    st.floats(-6, 6), st.floats(-6, 6), st.floats(1, 1.1), st.floats(0, 179)
)  # fmt: skip
def test_without_noise_the_geometry_is_found_exactly(
    down: float, across: float, ratio: float, angle: float
) -> None:
    centre, ellipse = (32.5 + down, 32.5 + across), Ellipse(ratio, angle)
    mean, good = halo(centre, ellipse)
    mean = np.where(good, mean, np.nan)
    start = start_centre(mean, good, (32.5, 32.5), 10.0)
    radius = find_ring(mean, good, start)
    assert radius is not None
    fit = fit_ring(mean, good, start, Ellipse(), (0.7 * radius, 1.3 * radius))
    assert fit is not None
    assert fit.centre == pytest.approx(centre, abs=2e-3)
    assert fit.distortion == pytest.approx(ellipse.distortion, abs=2e-4)
    assert fit.radius == pytest.approx(PEAK / SIZE, rel=1e-3)


def test_errors_cover_the_truth() -> None:
    """Six glasses: centre, ellipse and pixel size from 120 patterns of each, far from the middle.

    With sixty: benchmarks/stem_calibration_coverage.py.
    """
    z = []
    for seed in range(6):
        camera, truth = glass(seed)
        last = found(camera, ring_q=PEAK)
        ellipse = Ellipse(truth["ellipticity"], truth["ellipticity_angle"])
        for name, true in (
            ("centre", truth["centre"]), ("distortion", ellipse.distortion), ("pixel_size", SIZE)
        ):  # fmt: skip
            z += np.ravel((last[name][-1] - true) / last[f"{name}_errors"][-1]).tolist()
        assert np.all(last["centre_errors"][-1] < 0.2)
        assert np.all(last["distortion_errors"][-1] < 0.02)
        assert last["pixel_size_errors"][-1] < 0.01 * SIZE
    rms = float(np.sqrt(np.mean(np.square(z))))
    assert 0.7 < rms < 1.4
    assert np.mean(np.abs(z) < 1.96) > 0.8


@pytest.mark.parametrize("counts", [1, 7])
def test_counts_per_electron(counts: int) -> None:
    """The glass moves between scans, which counting noise must not be mistaken for."""
    camera, _ = glass(3, counts_per_electron=counts, dtype="u2", scans=6)
    last = found(camera)
    assert np.isnan(last["counts_per_electron"][0])
    value, error = last["counts_per_electron"][-1], last["counts_per_electron_errors"][-1]
    assert error < 0.06 * counts
    assert abs(value - counts) < 3 * error
    # dark counts are no electrons
    dark = make_stream(
        "camera", {"frame": camera["frame"] + np.uint16(20)}, scan=camera.stream.scan,
        constants={**camera.stream.constants, "dark": np.full((66, 66), 20, "f4")},
    )  # fmt: skip
    assert found(dark)["counts_per_electron"][-1] == pytest.approx(value, rel=1e-9)


def speckled(seed: int, counts: int) -> Records:
    """30 positions, scanned twice: speckle 2 px wide that keeps half of itself, on a ring."""
    draw = np.random.default_rng(seed)
    y, x = np.indices((60, 60)) - 29.5
    mean = 9 * np.exp(-((np.hypot(y, x) - 19) ** 2) / 18) + 1
    wide = np.exp(-(2 * np.pi**2) * sum(f**2 for f in np.meshgrid(*[np.fft.fftfreq(60)] * 2)) * 2)

    def fields() -> Any:
        white = draw.normal(size=(30, 60, 60, 2)).view(np.complex128)[..., 0]
        field = np.fft.ifft2(np.fft.fft2(white) * wide)
        return field / np.sqrt((np.abs(field) ** 2).mean())

    first = fields()
    second = np.sqrt(0.5) * (first + fields())
    speckle = 0.4 + 0.6 * np.abs(np.concatenate([first, second])) ** 2
    frames = counts * draw.poisson(mean * speckle)
    return make_stream("camera", {"frame": frames.astype("u2")}, scan={"shape": [5, 6]})


def test_errors_of_counts_per_electron_hold_in_every_single_case() -> None:
    """Twenty small glasses: errors are right one by one, not only on average.

    With a hundred of the simulated camera: benchmarks/stem_calibration_coverage.py.
    """
    values, errors = np.array(
        [
            [out[name][-1] for name in ("counts_per_electron", "counts_per_electron_errors")]
            for out in (found(speckled(seed, 4), ring=(13.0, 25.0)) for seed in range(20))
        ]
    ).T
    z = (values - 4) / errors
    assert abs(z.mean()) < 0.6
    assert 0.55 < np.sqrt(np.mean(z**2)) < 1.4  # 3 sigma of twenty
    assert errors.std() < 0.18 * errors.mean()


def test_more_patterns_make_errors_smaller_and_bad_pixels_count_nowhere() -> None:
    camera, truth = glass(1, scans=8)
    mask = camera.stream.constants["mask"] | (np.random.default_rng(0).random((66, 66)) < 0.05)
    frames = np.where(mask, 200, camera["frame"]).astype("u1")
    spoilt = make_stream(
        "camera", {"frame": frames}, scan=camera.stream.scan,
        constants={**camera.stream.constants, "mask": mask},
    )  # fmt: skip
    out = found(spoilt)
    assert np.all(out["centre_errors"][-1] < 0.8 * out["centre_errors"][0])
    assert out["patterns"].tolist() == [60 * n for n in range(1, 9)]
    assert np.all(np.abs(out["centre"][-1] - truth["centre"]) < 4 * out["centre_errors"][-1])
    assert np.isnan(out["mean"][-1][mask]).all()


def test_file_and_what_reads_it(tmp_path: Path) -> None:
    camera, _ = glass(2)
    path = tmp_path / "camera.toml"
    last = found(camera, ring_q=PEAK, ring_q_error=0.01, save=path)
    told = CalibrationFile.load(path)
    assert told.centre == tuple(last["centre"][-1])
    assert told.ellipse.distortion == pytest.approx(last["distortion"][-1], abs=1e-12)
    assert told.pixel_size == last["pixel_size"][-1]
    assert told.pixel_size_error is not None
    assert told.pixel_size_error > 0.01 / PEAK * SIZE
    assert told.counts_per_electron == last["counts_per_electron"][-1]
    told.save(path)
    assert CalibrationFile.load(path) == told
    detector, ellipse = geometry(camera.stream, "frame", path, None, None)
    assert (detector.centre, detector.pixel_size) == (told.centre, told.pixel_size)
    y, x = circular_coordinates(detector, ellipse)
    assert np.hypot(y, x) == pytest.approx(
        ellipse.radius(*(np.indices((66, 66)) - np.array(told.centre)[:, None, None]))
        * detector.pixel_size
    )
    assert geometry(camera.stream, "frame", path, (1.0, 2.0), 0.5)[0].centre == (1.0, 2.0)
    told = dataclasses.replace(
        camera.stream, attributes={"pixel_size": 0.2, "ellipse_ratio": 1.02, "ellipse_angle": 5}
    )
    assert geometry(told, "frame", None, None, None)[1] == Ellipse(1.02, 5.0)
    other = make_stream("other", {"frame": ("<u2", (8, 8), "counts")}, scan={"shape": [2, 2]})
    with pytest.raises(ValueError, match="holds for frames of"):
        geometry(other.stream, "frame", path, None, None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("centre = [1, 2", "not TOML"), ("centre = [1, 2]", "frame"),
        ('frame = [4, 4]\ncentre = [1, "x"]', "centre"),
        ("frame = [4, 4]\ncentre = [1, 2]\npixel = 3", "pixel"),
    ],
)  # fmt: skip
def test_a_bad_file_is_refused_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=said) as caught:
        CalibrationFile.load(path)
    assert "\n" not in str(caught.value).strip()
    assert "bad.toml" in str(caught.value)
    with pytest.raises(ValueError, match="No such file"):
        CalibrationFile.load(tmp_path / "none.toml")


@pytest.mark.parametrize("kind", ["u2", "f4"])
def test_keeps_its_promises(kind: str, tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    mean, good = halo((15.7, 17.1), Ellipse(1.03, 30), (48, 52))
    frames = draw.poisson(mean * 3, (12, 48, 52)).astype(kind)
    camera = make_stream(
        "camera", {"frame": frames}, scan={"shape": [2, 3] if kind == "u2" else [3, 4]},
        constants={"mask": ~good, "gain": np.full((48, 52), 1.1, "f4")},
    )  # fmt: skip
    check_analysis(Calibration, camera, {"ring": (13.0, 25.0), "save": str(tmp_path / "c.toml")})


def test_without_a_ring_there_is_no_result() -> None:
    frames = np.random.default_rng(0).poisson(5, (12, 40, 40)).astype("u2")
    camera = make_stream("camera", {"frame": frames}, scan={"shape": [2, 3]})
    assert not found(camera).valid.any()
    empty = make_stream("camera", {"frame": 0 * frames}, scan={"shape": [2, 3]})
    assert not found(empty).valid.any()


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    camera, _ = glass(2)
    with pytest.raises(ValueError, match="no folder"):
        found(camera, save=tmp_path / "none" / "c.toml")
    with pytest.raises(ValueError, match="the smaller one"):
        found(camera, ring=(5.0, 3.0))
    unscanned = make_stream("camera", {"frame": camera["frame"]})
    with pytest.raises(ValueError, match="how it was scanned"):
        found(unscanned)


@settings(max_examples=20, deadline=None)
@given(st.floats(3.6, 5.0), st.floats(0.2, 0.6), st.floats(0, 2), st.floats(-0.2, 0.2))
def test_the_middle_of_a_ring_on_a_straight_background(
    middle: float, width: float, base: float, slope: float
) -> None:
    q = np.arange(3.0, 6.0, 0.05)
    value = np.exp(-((q - middle) ** 2) / (2 * width**2)) + base + slope * (q - 4)
    value = np.stack([value, value * 1e6, np.where(q > 5.8, np.nan, value), 0 * q])
    at = peak_positions(q, value, (3.0, 6.0))
    assert at[:3] == pytest.approx(middle, abs=2e-3)
    assert np.isnan(at[3])


@given(st.floats(-0.3, 0.3), st.floats(-0.3, 0.3))
def test_ellipses_and_their_distortion(a: float, b: float) -> None:
    ellipse = Ellipse.of_distortion(a, b)
    assert ellipse.distortion == pytest.approx((a, b), abs=1e-12)
    turn = np.radians(ellipse.angle)
    long = np.sqrt(ellipse.ratio)
    assert ellipse.radius(long * np.sin(turn), long * np.cos(turn)) == pytest.approx(1.0)
    assert ellipse.radius(np.cos(turn) / long, -np.sin(turn) / long) == pytest.approx(1.0)


def test_attributes_of_the_camera_make_its_rings_round_again() -> None:
    """A ring that the camera shows as an ellipse: all of it within what `detector_for` says."""
    ellipse = Ellipse(1.08, 30.0)
    y, x = np.mgrid[:80, :80].astype(float)
    told = {"centre": [41.0, 38.5], "pixel_size": 0.1, "ellipse_ratio": 1.08, "ellipse_angle": 30.0}
    stream = daq.Stream("camera", {"frame": daq.Field("<f4", (80, 80))}, attributes=told)
    detector = detector_for(stream, "frame", None, None, "1/nm")

    ring = ellipse.radius(y - 41.0, x - 38.5)
    shown = (ring >= 20) & (ring < 24)
    np.testing.assert_array_equal(detector.within(2.0, 2.4), shown)
    annulus = binned_annulus(detector, 2.0, 2.4, 1, np.zeros((80, 80), bool))
    np.testing.assert_array_equal(annulus.labels >= 0, shown)
    assert annulus.q.min() >= 2.0 and annulus.q.max() < 2.4
    round_one = detector_for(
        dataclasses.replace(stream, attributes={**told, "ellipse_ratio": 1.0}), "frame", None, None, "1/nm"
    )  # fmt: skip
    assert (round_one.within(2.0, 2.4) != shown).mean() > 0.01
    bad = dataclasses.replace(stream, attributes={**told, "ellipse_ratio": 0.5})
    with pytest.raises(ValueError, match="ellipse_ratio"):
        detector_for(bad, "frame", None, None, "1/nm")
