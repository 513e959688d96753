"""Virtual detectors against plain numpy, against known truth, and on bad days."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import daq
from daq.testing import check_analysis, make_stream, record_source, run_analysis
from daq_simulators.moving_spots import MovingSpots
from daq_stem.virtual.analysis import Virtual

SHAPE = (19, 26)
RINGS = {"discs": {"bf": 5.0}, "annuli": {"haadf": [6.5, 11.0], "adf": [5.0, 6.5]}}


def frames(dtype: str, count: int = 50, shape: tuple[int, int] = SHAPE, seed: int = 1) -> Any:
    draw = np.random.default_rng(seed)
    kind = np.dtype(dtype)
    if kind.kind == "b":
        return draw.random((count, *shape)) < 0.3
    if kind.kind == "f":
        return draw.normal(3.0, 2.0, (count, *shape)).astype(kind)
    limits = np.iinfo(kind)
    # the largest and smallest values too: they find accumulators that overflow
    values = draw.integers(limits.min, limits.max, (count, *shape), kind, endpoint=True)
    values[::7] = limits.max
    values[3::7] = limits.min
    return values


def radius(centre: tuple[float, float], shape: tuple[int, int] = SHAPE) -> Any:
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.round(np.sqrt((y - centre[0]) ** 2 + (x - centre[1]) ** 2), 9)


def reference(frame: Any, rings: dict[str, tuple[float, float]], centre: tuple[float, float],
              good: Any, weighed: float = np.inf) -> dict[str, float]:  # fmt: skip
    """One pattern, slowly; Python integers for integers."""
    r = radius(centre, frame.shape)
    number = (lambda v: int(v)) if frame.dtype.kind in "uib" else float
    total, moment_y, moment_x, weight = 0, 0, 0, 0
    sums: dict[str, Any] = dict.fromkeys(rings, 0)
    for y, x in np.argwhere(good).tolist():
        value = number(frame[y, x])
        total += value
        if r[y, x] < weighed:
            weight, moment_y, moment_x = weight + value, moment_y + y * value, moment_x + x * value
        for name, (inner, outer) in rings.items():
            if inner <= r[y, x] < outer:
                sums[name] += value
    return {
        "total": total, **sums,
        "centre_of_mass_y": moment_y / weight if weight else np.nan,
        "centre_of_mass_x": moment_x / weight if weight else np.nan,
    }  # fmt: skip


def ringed(config: dict[str, Any]) -> dict[str, tuple[float, float]]:
    discs = {name: (0.0, outer) for name, outer in config.get("discs", {}).items()}
    return discs | {name: tuple(ring) for name, ring in config.get("annuli", {}).items()}


@pytest.mark.parametrize(
    "dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", "?"]
)
@pytest.mark.parametrize("masked", [False, True])
def test_sums_are_those_of_plain_numpy(dtype: str, masked: bool) -> None:
    data = frames(dtype, 16)
    mask = np.random.default_rng(2).random(SHAPE) < 0.2
    constants = {"mask": mask} if masked else {}
    camera = make_stream("camera", {"frame": data}, constants=constants)
    config = {**RINGS, "centre": [8.2, 13.9], "centre_of_mass_radius": 7.0}
    sums = run_analysis(Virtual, {"camera": camera.stream}, camera.batches(5), config)["sums"]
    good = ~mask if masked else np.ones(SHAPE, bool)
    expected = [reference(frame, ringed(config), (8.2, 13.9), good, 7.0) for frame in data]
    exact = np.dtype(dtype).itemsize <= 4 and dtype not in ("f2", "f4")
    for name in ("total", "bf", "haadf", "adf"):
        wanted = np.array([row[name] for row in expected], np.float64)
        if exact:
            np.testing.assert_array_equal(sums[name], wanted, err_msg=name)
        else:
            scale = np.abs(data.astype(float)).sum(axis=(1, 2)).max()
            np.testing.assert_allclose(sums[name], wanted, rtol=1e-13, atol=1e-13 * scale)
    for axis in ("y", "x"):
        wanted = np.array([row[f"centre_of_mass_{axis}"] for row in expected])
        usable = np.abs(wanted) < 100  # signed numbers may almost cancel
        got = sums[f"centre_of_mass_{axis}"]
        np.testing.assert_allclose(got[usable], wanted[usable], rtol=1e-9)


def test_large_frames_of_large_values_do_not_overflow() -> None:
    data = np.full((3, 300, 700), np.iinfo(np.uint16).max, np.uint16)
    camera = make_stream("camera", {"frame": data})
    out = run_analysis(Virtual, {"camera": camera.stream}, camera.batches(), {})
    assert set(out["sums"]["total"]) == {65535 * 300 * 700}
    assert set(out["sums"]["centre_of_mass_x"]) == {349.5}
    assert set(out["sums"]["centre_of_mass_y"]) == {149.5}
    assert set(out["image"]["mean"].ravel()) == {65535.0}


def test_moving_spots_have_their_known_sums() -> None:
    config = MovingSpots.Config(records=400, scan=(20, 20), rate=0, spots=4, batch=37)
    camera = record_source(MovingSpots, config, name="camera")["camera"]
    source = MovingSpots()
    source.open(config)
    truth = source.truth()
    out = run_analysis(
        Virtual, {"camera": camera.stream}, camera.batches(64), {"discs": {"all": 200.0}}
    )
    sums = out["sums"]
    np.testing.assert_array_equal(sums["total"], truth["total"])
    np.testing.assert_array_equal(sums["all"], truth["total"])
    found = np.stack([sums["centre_of_mass_y"], sums["centre_of_mass_x"]], axis=1)
    np.testing.assert_allclose(found, truth["centre_of_mass"], rtol=1e-14)
    assert sums.stream.scan_shape == (20, 20)


@pytest.mark.parametrize("dtype", ["<u2", "<f4"])
@pytest.mark.parametrize("corrected", [False, True])
def test_keeps_its_promises(dtype: str, corrected: bool) -> None:
    draw = np.random.default_rng(5)
    constants = {}
    if corrected:
        constants = {
            "dark": draw.random(SHAPE).astype(np.float32),
            "gain": (1 + 0.1 * draw.random(SHAPE)).astype(np.float32),
            "mask": draw.random(SHAPE) < 0.1,
        }
    camera = make_stream(
        "camera", {"frame": (dtype, SHAPE, "counts"), "extra": "<f8"}, records=60,
        constants=constants, scan={"shape": [6, 10]},
    )  # fmt: skip
    config = {**RINGS, "image_every": 7}
    moved = {**config, "centre": [7.0, 11.5], "discs": {"bf": 3.0}}
    check_analysis(Virtual, camera, config, reconfigure_to=moved)


def test_corrections_are_applied_to_what_is_summed() -> None:
    draw = np.random.default_rng(3)
    data = draw.poisson(20, (30, *SHAPE)).astype(np.uint16)
    dark, gain = draw.random(SHAPE).astype("f4"), 1 + draw.random(SHAPE).astype("f4")
    mask = draw.random(SHAPE) < 0.1
    camera = make_stream(
        "camera", {"frame": data}, constants={"dark": dark, "gain": gain, "mask": mask}
    )
    out = run_analysis(Virtual, {"camera": camera.stream}, camera.batches(11), RINGS)
    corrected = np.where(mask, 0.0, (data - dark) * gain).astype(np.float64)
    r = radius(((SHAPE[0] - 1) / 2, (SHAPE[1] - 1) / 2))
    np.testing.assert_allclose(out["sums"]["total"], corrected.sum(axis=(1, 2)), rtol=1e-5)
    ring = (r >= 6.5) & (r < 11.0)
    np.testing.assert_allclose(out["sums"]["haadf"], corrected[:, ring].sum(axis=1), rtol=1e-5)
    mean = corrected.mean(axis=0)
    image = out["image"]["mean"][-1]
    assert np.isnan(image[mask]).all()
    np.testing.assert_allclose(image[~mask], mean[~mask], rtol=1e-5)
    ring_3 = (r >= 3) & (r < 4) & ~mask
    np.testing.assert_allclose(out["profile"]["intensity"][-1, 3], mean[ring_3].mean(), rtol=1e-5)


def test_image_and_profile_every_so_many_patterns() -> None:
    data = frames("u2", 25)
    camera = make_stream("camera", {"frame": data})
    out = run_analysis(Virtual, {"camera": camera.stream}, camera.batches(9), {"image_every": 10})
    image, profile = out["image"], out["profile"]
    assert image["count"].tolist() == [10, 20, 25]
    assert profile["count"].tolist() == [10, 10, 5]
    assert out["image"].stream.fields["mean"].dtype == "<f8"
    r = radius(((SHAPE[0] - 1) / 2, (SHAPE[1] - 1) / 2))
    bins = len(profile.stream.constants["radius"])
    np.testing.assert_array_equal(profile.stream.constants["radius"], np.arange(bins) + 0.5)
    for number, stop in enumerate((10, 20, 25)):
        np.testing.assert_array_equal(
            image["mean"][number], data[:stop].sum(axis=0, dtype=np.int64) / stop
        )
        assert image["time"][number] == camera["time"][stop - 1] == profile["time"][number]
        mean = data[10 * number : stop].mean(axis=0)
        for ring in range(bins):
            inside = (r >= ring) & (r < ring + 1)
            expected = mean[inside].mean() if inside.any() else np.nan
            np.testing.assert_allclose(profile["intensity"][number, ring], expected, rtol=1e-12)


def test_lost_records_are_nan_and_count_nowhere() -> None:
    data = frames("u2", 30) | 1
    camera = make_stream("camera", {"frame": data}).with_missing((3, 2), (10, 12))
    out = run_analysis(Virtual, {"camera": camera.stream}, camera.batches(8), {"image_every": 10})
    lost = np.zeros(30, bool)
    lost[3:5] = lost[10:22] = True
    for name in ("total", "centre_of_mass_x", "centre_of_mass_y"):
        np.testing.assert_array_equal(np.isnan(out["sums"][name]), lost)
    np.testing.assert_array_equal(out["sums"].valid, ~lost)
    assert out["profile"]["count"].tolist() == [8, 0, 8]
    assert out["image"]["count"].tolist() == [8, 8, 16]
    assert np.isnan(out["profile"]["intensity"][1]).all()
    assert out["profile"]["time"][1] == daq.NO_TIME
    np.testing.assert_array_equal(
        out["image"]["mean"][-1], data[~lost].sum(axis=0, dtype=np.int64) / 16
    )


def test_a_pattern_with_nan_spoils_its_own_sums_alone() -> None:
    data = frames("f4", 20)
    data[4, 9, 12] = np.nan  # within bf
    data[7, 0, 0] = np.inf  # in no ring
    camera = make_stream("camera", {"frame": data})
    out = run_analysis(Virtual, {"camera": camera.stream}, camera.batches(6), RINGS)
    sums = out["sums"]
    assert np.flatnonzero(~np.isfinite(sums["total"])).tolist() == [4, 7]
    assert np.flatnonzero(~np.isfinite(sums["bf"])).tolist() == [4]
    assert np.isfinite(sums["haadf"]).all()
    assert out["image"]["count"].tolist() == [18]
    kept = np.delete(data, [4, 7], axis=0)
    np.testing.assert_allclose(out["image"]["mean"][0], kept.mean(axis=0, dtype="f8"), rtol=1e-12)


def test_an_empty_pattern_has_no_centre_of_mass() -> None:
    camera = make_stream("camera", {"frame": np.zeros((2, *SHAPE), np.uint8)})
    sums = run_analysis(Virtual, {"camera": camera.stream}, camera.batches(), {})["sums"]
    assert sums["total"].tolist() == [0, 0]
    assert np.isnan(sums["centre_of_mass_y"]).all()


def axes(units: str, step: float, offsets: tuple[float, float]) -> dict[str, Any]:
    return {
        "frame": [
            {"name": name, "units": units, "offset": offset, "step": step}
            for name, offset in zip(("qy", "qx"), offsets, strict=True)
        ]
    }


def test_radii_in_reciprocal_nanometres() -> None:
    data = frames("u2", 4)
    expected = run_analysis(
        Virtual,
        {"camera": (camera := make_stream("camera", {"frame": data})).stream},
        camera.batches(),
        {"annuli": {"ring": [4.0, 8.0]}, "centre": [9.0, 12.0]},
    )
    along = make_stream("camera", {"frame": data}, axes=axes("1/nm", 0.25, (-2.25, -3.0)))
    plain = make_stream("camera", {"frame": data}, attributes={"centre": [9.0, 12.0]})
    ring = {"annuli": {"ring": [1.0, 2.0]}, "units": "1/nm"}
    for camera, config in ((along, ring), (plain, {**ring, "pixel_size": 0.25})):
        out = run_analysis(Virtual, {"camera": camera.stream}, camera.batches(), config)
        np.testing.assert_array_equal(out["sums"]["ring"], expected["sums"]["ring"])
        (axis,) = out["profile"].stream.axes["intensity"]
        assert axis["units"] == "1/nm"
        np.testing.assert_allclose(np.diff(out["profile"].stream.constants["radius"]), 0.25)
        np.testing.assert_array_equal(out["profile"]["intensity"], expected["profile"]["intensity"])


def test_rings_that_touch_share_no_pixel() -> None:
    data = frames("u2", 3)
    camera = make_stream("camera", {"frame": data})
    rings = {f"r{n}": [float(n), float(n + 1)] for n in range(16)}
    sums = run_analysis(Virtual, {"camera": camera.stream}, camera.batches(), {"annuli": rings})[
        "sums"
    ]
    np.testing.assert_array_equal(sum(sums[f"r{n}"] for n in range(16)), sums["total"])


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"annuli": {"a": [5.0, 4.0]}}, "annuli.a: the inner radius"),
        ({"annuli": {"a": [5.0, 9.0]}, "discs": {"a": 3.0}}, "'a' is a disc and an annulus"),
        ({"discs": {"total": 3.0}}, "may be called 'total'"),
        ({"annulus": {"a": [5.0, 9.0]}}, "did you mean 'annuli'"),
        ({"discs": {"bf": -1.0}}, "greater than 0"),
        ({"annuli": {"far": [100.0, 200.0]}}, "far: its region holds no good pixel; the frame is"),
        ({"units": "1/nm"}, "does not say how large a pixel is"),
        ({"field": "frme"}, "no field 'frme' with two axes .* there is frame"),
        ({"discs": {"no good name": 3.0}}, "field name 'no good name'"),
    ],
)
def test_says_what_does_not_fit(config: dict[str, Any], said: str) -> None:
    camera = make_stream("camera", {"frame": ("<u2", SHAPE), "height": "<f8"}, records=3)
    with pytest.raises(ValueError, match=said):
        run_analysis(Virtual, {"camera": camera.stream}, camera.batches(), config)


def test_needs_an_image() -> None:
    furnace = make_stream("furnace", {"temperature": "<f8"}, records=3)
    with pytest.raises(ValueError, match="furnace has no field with two axes"):
        run_analysis(Virtual, {"furnace": furnace.stream}, furnace.batches(), {})


@pytest.mark.parametrize(
    "changed",
    [{"image_every": 9}, {"profile_bins": 3}, {"discs": {"other": 5.0}}, {"discs": {"bf": 0.001}}],
)
def test_what_cannot_change_while_it_runs(changed: dict[str, Any]) -> None:
    camera = make_stream("camera", {"frame": ("<u2", SHAPE)}, records=20)
    config = {"discs": {"bf": 5.0}, "centre": [8.5, 12.5]}
    with pytest.raises(ValueError, match=r"cannot change|no good pixel"):
        run_analysis(
            Virtual, {"camera": camera.stream}, camera.batches(), config,
            reconfigure={"camera": [(0, {**config, **changed})]},
        )  # fmt: skip
