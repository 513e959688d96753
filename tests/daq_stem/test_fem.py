"""V of rings against plain numpy, against speckle of known contrast, and on bad days."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import daq
from daq.testing import Records, check_analysis, make_stream, record_source, run_analysis
from daq_simulators.stem_camera import StemCamera
from daq_stem.fem.analysis import Fem
from daq_stem.geometry.sectors import sector_of

SIZE = 0.25
"""1/nm, a pixel of the small frames below; their rings reach from 1 to 2.5 1/nm."""
SHAPE = (24, 26)
CENTRE = (11.4, 12.8)
SCAN = (3, 4)
RANGE = (1.0, 2.5)
CONFIG = {"q_range": RANGE, "binning": 1, "outlier": 1e6}


def camera_stream(
    frames: Any, scan: tuple[int, int] = SCAN, *, step: float = 0.5, size: float = SIZE,
    centre: Any = CENTRE, constants: Any = None, times: Any = None, **attributes: Any,
) -> Records:  # fmt: skip
    fields = {"frame": frames}
    if times is not None:
        fields["time"] = times
    return make_stream(
        "camera", fields, scan={"shape": list(scan), "step": step}, constants=constants or {},
        attributes={"pixel_size": size, "centre": list(centre), **attributes},
    )  # fmt: skip


def run(camera: Records, config: dict[str, Any] | None = None, size: int | None = None) -> Any:
    return run_analysis(
        Fem, {camera.name: camera.stream}, camera.batches(size), {**CONFIG, **(config or {})}
    )


class Rings:
    """Bins and rings of a frame, slowly, from their definition."""

    def __init__(self, shape: tuple[int, int], centre: Any, size: float, q_range: Any, binning: int,
                 good: Any) -> None:  # fmt: skip
        self.pixels, self.ring, self.of, self.q, self.phi = [], [], [], [], []
        count = max(1, round((q_range[1] - q_range[0]) / (binning * size)))
        self.count, self.width = count, (q_range[1] - q_range[0]) / count
        for top in range(0, shape[0] - binning + 1, binning):
            for left in range(0, shape[1] - binning + 1, binning):
                y = (top + (binning - 1) / 2 - centre[0]) * size
                x = (left + (binning - 1) / 2 - centre[1]) * size
                q = round(np.hypot(y, x), 9)
                inside = [
                    (i, j)
                    for i in range(top, top + binning)
                    for j in range(left, left + binning)
                    if good[i, j]
                ]
                if not q_range[0] <= q < q_range[1] or 2 * len(inside) < binning**2:
                    continue
                self.pixels.append(inside)
                self.ring.append(int(round((q - q_range[0]) / self.width, 9)))
                self.of.append(int(sector_of(y, x)))
                self.q.append(q)
                self.phi.append(np.arctan2(y, x))
        self.ring, self.of = np.array(self.ring), np.array(self.of)
        self.q, self.phi = np.array(self.q), np.array(self.phi)

    def binned(self, frame: Any) -> Any:
        return np.array([np.mean([frame[p] for p in inside]) for inside in self.pixels])

    def static(self, mean: Any) -> Any:
        found = np.ones(len(mean))
        for k in range(self.count):
            i = self.ring == k
            phi, level = self.phi[i], mean[i].mean()
            middle = self.q[i].mean()
            columns = np.stack([
                np.ones(i.sum()), self.q[i] - middle, np.cos(phi), np.sin(phi), np.cos(2 * phi),
                np.sin(2 * phi),
            ]).T  # fmt: skip
            columns = columns if i.sum() >= 24 else columns[:, :2]
            solved = np.linalg.solve(columns.T @ columns, columns.T @ (mean[i] / level))
            found[i] = columns @ solved / (columns @ solved).mean()
        return found


def reference(frames: Any, rings: Rings, variance: Any) -> Any:
    """Slowly: V, V_raw and V of both sector sets of each pattern in each ring: [record, 4, ring].

    ``variance`` [pixel] over the mean intensity of each binned pixel.
    """
    binned = np.array([rings.binned(frame) for frame in frames])
    static = rings.static(binned.mean(axis=0))
    v = np.full((len(frames), 4, rings.count), np.nan)
    for n, k in np.ndindex(len(frames), rings.count):
        ring = rings.ring == k
        subsets = [ring, ring, ring & (rings.of == 0), ring & (rings.of == 1)]
        for row, subset in enumerate(subsets):
            u = binned[n, subset] / static[subset]
            noise = 0 * u if row == 1 else (variance / static)[subset] * u
            above = np.mean(u**2 - noise)
            below = np.mean(u) ** 2 - noise.sum() / len(u) ** 2
            v[n, row, k] = above / below - 1
    return v


def speckle(count: int, seed: int, *, size: int, aperture: float) -> Any:
    """Patterns of fully developed speckle, mean 1: [record, y, x], independent of each other.

    ``aperture`` in pixels of the pattern: speckles are about as wide.
    """
    draw = np.random.default_rng(seed)
    y, x = np.meshgrid(*[np.fft.fftfreq(size, 1 / size)] * 2, indexing="ij")
    probe = np.fft.ifft2(np.hypot(y, x) <= aperture)
    shape = (count, size, size)
    waves = np.fft.fft2((draw.standard_normal(shape) + 1j * draw.standard_normal(shape)) * probe)
    found = np.abs(waves) ** 2
    return found / found.mean()


@pytest.mark.parametrize("binning", [1, 2])
@pytest.mark.parametrize("corrected", [False, True])
def test_is_that_of_plain_numpy(binning: int, corrected: bool) -> None:
    draw = np.random.default_rng(2)
    shape, size = (SHAPE[0] * binning + 1, SHAPE[1] * binning), SIZE / binning
    centre = (CENTRE[0] * binning, CENTRE[1] * binning)
    frames = draw.poisson(30 * draw.gamma(3, 1 / 3, (24, *shape))).astype("u2")
    dark, gain, good, constants = np.zeros(shape), np.ones(shape), np.ones(shape, bool), {}
    if corrected:
        dark = draw.random(shape).astype("f4")
        gain = (1 + 0.2 * draw.random(shape)).astype("f4")
        good = draw.random(shape) > 0.1
        constants = {"dark": dark, "gain": gain, "mask": ~good}
    camera = camera_stream(frames, size=size, centre=centre, constants=constants)
    config = {"binning": binning, "variance_per_count": 1.7, "minimum_intensity": 0}
    out = run(camera, {**config, "scan": [6, 4]}, size=5)
    rings = Rings(shape, centre, size, RANGE, binning, good)
    variance = [1.7 * np.mean([gain[p] for p in i]) / len(i) for i in rings.pixels]
    v = reference((frames - dark) * gain, rings, np.array(variance))
    maps, profile = out["maps"], out["profile"]
    np.testing.assert_allclose(maps["V"].ravel(), v[:, 0].mean(1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(maps["V_raw"].ravel(), v[:, 1].mean(1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        out["sectors"]["V"].reshape(2, -1).T, v[:, 2:].mean(2), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(profile["V"][0], v[:, 0].mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(profile["V_raw"][0], v[:, 1].mean(0), rtol=1e-4, atol=1e-5)
    assert profile["pixels"][0].tolist() == np.bincount(rings.ring).tolist()
    np.testing.assert_allclose(profile.stream.constants["q"], 1.125 + 0.25 * np.arange(6))
    binned = np.array([rings.binned((frame - dark) * gain) for frame in frames])
    np.testing.assert_allclose(maps["intensity"].ravel(), binned.mean(1), rtol=0.02)
    assert maps["count"].ravel().tolist() == [1] * 24


def test_a_pattern_made_by_hand() -> None:
    # half of the pixels of each ring hold 1, half 3: <I^2> / <I>^2 - 1 = 5 / 4 - 1
    frames, mask = np.ones((12, *SHAPE), "f4"), np.zeros(SHAPE, bool)
    rings = Rings(SHAPE, CENTRE, SIZE, RANGE, 1, np.ones(SHAPE, bool))
    draw = np.random.default_rng(1)
    for k in range(rings.count):
        ring = [rings.pixels[i][0] for i in np.flatnonzero(rings.ring == k)]
        if len(ring) % 2:
            mask[ring.pop()] = True
        # what is bright in one pattern is not in the next: the static pattern is flat
        for n in range(0, 12, 2):
            for place, i in enumerate(draw.permutation(len(ring))):
                frames[n + place % 2][ring[i]] = 3.0
    camera = camera_stream(frames, constants={"mask": mask})
    out = run(camera, {"variance_per_count": 0.0})
    np.testing.assert_allclose(out["maps"]["V"], 0.25, rtol=1e-6)
    np.testing.assert_array_equal(out["maps"]["V"], out["maps"]["V_raw"])
    np.testing.assert_allclose(out["maps"]["intensity"], 2.0, rtol=1e-6)
    assert out["maps"].stream.axes["V"][0] == {"name": "y", "units": "nm", "offset": 0, "step": 0.5}


@settings(max_examples=15, deadline=None, derandomize=True)
@given(counts=st.integers(1, 500), light=st.floats(0.05, 20))
def test_units_and_light_do_not_matter(counts: int, light: float) -> None:
    electrons = np.random.default_rng(4).poisson(6, (12, *SHAPE))
    one = run(camera_stream(electrons.astype("u2")))
    many = run(camera_stream((electrons * counts).astype("u2"), counts_per_electron=counts))
    for name, field in (("maps", "V"), ("maps", "V_raw"), ("sectors", "V"), ("profile", "V")):
        np.testing.assert_allclose(many[name][field], one[name][field], rtol=1e-9, atol=1e-9)
    # no noise to take off: only the shape of patterns counts
    plain = run(camera_stream(electrons.astype("f8")), {"variance_per_count": 0.0})
    lit = run(camera_stream(electrons * light), {"variance_per_count": 0.0})
    np.testing.assert_allclose(lit["maps"]["V"], plain["maps"]["V"], rtol=1e-5)
    np.testing.assert_allclose(lit["maps"]["V"], one["maps"]["V_raw"], rtol=1e-5)


def test_mean_over_patterns_whatever_their_light() -> None:
    draw = np.random.default_rng(3)
    base = draw.gamma(2, 5, (36, *SHAPE))
    dim = np.repeat([1.0, 0.1, 3.0], 12)[:, None, None]
    camera = camera_stream((base * dim).astype("f4"))
    plain = {"variance_per_count": 0.0, "minimum_intensity": 0}
    out, even = (run(c, plain)["maps"] for c in (camera, camera_stream(base.astype("f4"))))
    alone = [run(camera_stream(base[12 * n :][:12].astype("f4")), plain) for n in range(3)]
    # each scan divides by the static pattern that is known by then, so only nearly equal
    mean = np.mean([one["maps"]["V"][0] for one in alone], axis=0)
    assert np.corrcoef(even["V"][2].ravel(), mean.ravel())[0, 1] > 0.95
    assert np.corrcoef(out["V"][2].ravel(), mean.ravel())[0, 1] > 0.95
    assert out["count"][2].tolist() == [[3] * 4] * 3


def test_v_does_not_depend_on_how_many_patterns_were_independent() -> None:
    """Ten times the same pattern, or ten patterns: V is that of one, so no relation with tau."""
    from numpy.fft import fft2

    draw = np.random.default_rng(4)
    size, places = 64, 120
    y, x = np.mgrid[:size, :size] - 31.5
    aperture = np.exp(-(y**2 + x**2) / (2 * 9.0**2))

    def speckles(number: int) -> Any:
        noise = draw.standard_normal((2, number, size, size))
        return np.abs(fft2((noise[0] + 1j * noise[1]) * aperture)) ** 2

    still = np.concatenate([speckles(places)] * 4)
    moving = speckles(4 * places)
    found = []
    for frames in (still, moving):
        frames = (frames / frames.mean() * 50).astype("f4")
        camera = camera_stream(frames, scan=(10, 12), size=0.1, centre=(31.5, 31.5))
        found.append(run(camera, {"q_range": (1.5, 2.7), "binning": 1, "variance_per_count": 0.0}))
    v = [result["maps"]["V"][-1] for result in found]
    error = np.hypot(v[0].std(), v[1].std()) / np.sqrt(places)
    assert abs(v[0].mean() - v[1].mean()) < 3 * error
    assert error < 0.02 * v[0].mean()


GLASS = {"scan": (16, 24), "size": 0.16, "centre": (31.3, 31.9)}
"""384 places; speckles about as wide as two binned pixels."""


@functools.cache
def glass(w: float = 0.82, seed: int = 5) -> Any:
    """Mean counts for one electron per pixel at the peak of a halo; 64 x 64 pixels."""
    rows, columns = GLASS["scan"]
    q = np.hypot(*np.meshgrid(*[(np.arange(64) - c) * 0.16 for c in GLASS["centre"]],
                              indexing="ij"))  # fmt: skip
    halo = 0.75 * np.exp(-((q - 3.4) ** 2) / 0.44) + 0.25 * np.exp(2 - q / 1.7)
    coherent = speckle(rows * columns, seed, size=64, aperture=3.5)
    return (w * coherent + 1 - w) * halo


RING = {"q_range": (2.4, 4.6), "binning": 2, "outlier": 8.0}


def v_of(frames: Any, variance: float = 0.0, **stream: Any) -> Any:
    camera = camera_stream(frames, **GLASS, **stream)
    return run(camera, {**RING, "variance_per_count": variance})


@pytest.mark.parametrize("electrons", [280, 900, 2800])
def test_counting_noise_changes_nothing(electrons: float) -> None:
    mean = glass()
    q = np.hypot(*np.meshgrid(*[(np.arange(64) - c) * 0.16 for c in GLASS["centre"]],
                              indexing="ij"))  # fmt: skip
    ring = (q >= 3.2) & (q < 3.6)
    scale = electrons / mean[:, ring].sum(axis=1).mean()
    draw = np.random.default_rng(7)
    exact = v_of(mean.astype("f4"))
    found = v_of(draw.poisson(mean * scale).astype("u2"), 1.0)
    truth = exact["maps"]["V"].mean()
    assert found["maps"]["V"].mean() == pytest.approx(truth, rel=0.02)
    assert found["sectors"]["V"].mean() == pytest.approx(exact["sectors"]["V"].mean(), rel=0.03)
    # and not only on the average of rings
    np.testing.assert_allclose(found["profile"]["V"], exact["profile"]["V"], rtol=0.06)
    raw = found["maps"]["V_raw"].mean() - truth
    per_ring = 1 / (scale * 4 * exact["profile"]["intensity"][0])
    assert raw == pytest.approx(per_ring.mean(), rel=0.05)


def test_counts_of_a_camera_in_its_own_units_with_gain_and_dead_pixels() -> None:
    mean = glass()
    draw = np.random.default_rng(8)
    gain = 1 + 0.3 * draw.standard_normal((64, 64)).clip(-2, 2)
    mask = draw.random((64, 64)) < 0.15
    electrons = draw.poisson(np.where(mask, 0, mean * 2 / gain))
    frames = np.where(mask, 60000, electrons * 40 + 100)
    constants = {"gain": gain.astype("f4"), "mask": mask, "dark": np.float32(100)}
    camera = camera_stream(
        frames.astype("u2"), **GLASS, constants=constants, counts_per_electron=40
    )
    found = run(camera, RING)
    assert found["maps"].stream.attributes["variance_per_count"] == 40.0
    # binned pixels of which some are dead blur less: the same pixels without noise
    exact = v_of(np.where(mask, 9e4, mean).astype("f4"), constants={"mask": mask})
    assert found["maps"]["V"].mean() == pytest.approx(exact["maps"]["V"].mean(), rel=0.02)
    assert found["maps"]["V_raw"].mean() > 1.3 * exact["maps"]["V"].mean()


@pytest.mark.parametrize("w", [0.5, 0.9])
def test_speckle_of_known_contrast(w: float) -> None:
    mean = glass(w, 9)
    found = v_of(mean.astype("f4"))
    # contrast of the ensemble, over all places: few speckles in a ring bias nothing there
    binned = mean.reshape(-1, 32, 2, 32, 2).mean(axis=(2, 4))
    u = binned / binned.mean(axis=0)
    q = np.hypot(*np.meshgrid(*[(2 * np.arange(32) + 0.5 - c) * 0.16 for c in GLASS["centre"]],
                              indexing="ij"))  # fmt: skip
    inside = (q >= 2.4) & (q < 4.6)
    contrast = u[:, inside].var()
    number = ((q[inside] - 2.4) / (2.2 / 7)).astype(int)
    # what <I> of each ring takes away, see the docstring: its variance is contrast / N_s
    share = [u[:, inside][:, number == k].mean(axis=1).var() / contrast for k in range(7)]
    expected = np.mean(
        [contrast * (1 + (3 * contrast - 4 * np.sqrt(contrast) - 1) * x) for x in share]
    )
    assert found["maps"]["V"].mean() == pytest.approx(expected, abs=0.025)
    assert found["maps"]["V"].mean() < contrast * 0.98


def test_static_patterns_are_divided_out() -> None:
    flat = np.ones((384, 64, 64))
    y, x = np.meshgrid(*[(np.arange(64) - c) * 0.16 for c in GLASS["centre"]], indexing="ij")
    # an ellipse, a centre half a pixel off, and a steep halo: no speckle at all
    q = np.hypot(1.01 * (y - 0.08), x / 1.01)
    halo = np.exp(-((q - 3.4) ** 2) / 0.44) + 0.1
    draw = np.random.default_rng(3)
    found = v_of(draw.poisson(flat * halo * 50).astype("u2"), 1.0)
    assert abs(found["maps"]["V"].mean()) < 0.002
    # without it, the slope alone would give more
    ring = (np.hypot(y, x) >= 4.0) & (np.hypot(y, x) < 4.3)
    assert halo[ring].var() / halo[ring].mean() ** 2 > 0.01


def test_hot_pixels_and_shadows_that_no_mask_tells_are_left_out() -> None:
    mean = glass()
    clean = v_of(mean.astype("f4"))
    frames = mean.copy()
    frames[:, 30:32, 48:50] = 500.0
    frames[:, 30:34, :14] *= 0.01
    found = v_of(frames.astype("f4"))
    assert found["profile"]["pixels"].sum() < clean["profile"]["pixels"].sum()
    assert found["maps"]["V"].mean() == pytest.approx(clean["maps"]["V"].mean(), rel=0.02)


def test_lost_and_repeated_frames_enter_nowhere() -> None:
    draw = np.random.default_rng(4)
    frames = draw.poisson(40 * draw.gamma(3, 1 / 3, (36, *SHAPE))).astype("u2")
    frames[17] = frames[16]
    time = np.arange(36) * 10**6 + 10**18
    time[17] = time[16]
    camera = camera_stream(frames, times=time).with_missing((3, 2), (30, 1))
    out = run(camera, {"minimum_intensity": 0}, size=7)["maps"]
    count = np.array([1] * 12)
    count[3:5] = 0
    assert out["count"][0].ravel().tolist() == count.tolist()
    count += 1
    count[5] -= 1
    assert out["count"][1].ravel().tolist() == count.tolist()
    assert np.isnan(out["V"][0].ravel()[3:5]).all()
    assert np.isfinite(out["V"][1]).all()
    assert out["time"].tolist() == [time[11], time[23], time[35]]
    # position 5 rests on its first pattern alone; the static pattern has changed a little
    assert out["V"][1].ravel()[5] == pytest.approx(out["V"][0].ravel()[5], rel=0.05)


def test_a_scan_that_is_lost_is_a_record_that_is_not_valid() -> None:
    camera = camera_stream(np.full((30, *SHAPE), 5, "u2")).with_missing((0, 12))
    out = run(camera, {"variance_per_count": 0.0}, size=7)
    for name in ("maps", "profile", "sectors"):
        assert out[name].valid.tolist() == [False, True, True]
        assert np.isnan(out[name]["V"][0]).all()
    # the last scan is not complete: what there is counts
    assert out["maps"]["scan"].tolist() == [0, 1, 2]
    assert out["maps"]["count"][2].ravel().tolist() == [2] * 6 + [1] * 6
    assert out["maps"]["time"][2] == camera["time"][29]
    lost_later = run(camera.with_missing((12, 12)), {"variance_per_count": 0.0})
    assert lost_later["maps"].valid.tolist() == [True, False, True]


def test_nan_pixels_are_left_out_of_their_pattern() -> None:
    mean = glass().astype("f4")
    clean = v_of(mean)["maps"]
    spoilt = mean.copy()
    spoilt[np.random.default_rng(1).random(mean.shape) < 0.01] = np.nan
    spoilt[7] = np.inf
    found = v_of(spoilt)["maps"]
    assert found["count"].ravel().tolist() == [n != 7 for n in range(384)]
    V = found["V"].ravel()
    assert np.isnan(V[7]) and np.isfinite(np.delete(V, 7)).all()
    np.testing.assert_allclose(np.delete(V, 7), np.delete(clean["V"].ravel(), 7), atol=0.15)
    assert np.nanmean(V) == pytest.approx(clean["V"].mean(), rel=0.01)


def test_vacuum_is_masked() -> None:
    draw = np.random.default_rng(6)
    bright = np.full((3, 4), 20.0)
    bright[:, 0] = 0.1
    frames = draw.poisson(bright.reshape(-1, 1, 1), (12, *SHAPE)).astype("u2")
    out = run(camera_stream(frames))
    for field in ("V", "V_raw", "intensity"):
        assert np.isnan(out["maps"][field][0][:, 0]).all()
        assert np.isfinite(out["maps"][field][0][:, 1:]).all()
    assert np.isnan(out["sectors"]["V"][0][:, :, 0]).all()
    assert out["maps"]["count"][0].tolist() == [[1] * 4] * 3
    assert out["profile"]["intensity"][0] == pytest.approx(20, rel=0.1)
    seen = run(camera_stream(frames), {"minimum_intensity": 0})
    assert np.isfinite(seen["maps"]["intensity"]).all()


def drift_stream(shifts: list[tuple[float, float]], name: str = "drift.shifts") -> Records:
    shift = np.array(shifts, float).reshape(-1, 2)
    return make_stream(
        name,
        {
            "scan": np.arange(len(shift)),
            "shift_y": shift[:, 0].copy(),
            "shift_x": shift[:, 1].copy(),
        },
    )


def run_all(*inputs: Records, config: dict[str, Any] | None = None) -> Any:
    streams = {records.name: records.stream for records in inputs}
    batches = [item for records in inputs for item in records.batches(5)]
    return run_analysis(Fem, streams, batches, {**CONFIG, **(config or {})})


def test_positions_follow_the_specimen() -> None:
    # each place has a contrast and a pattern of its own; the specimen moves by whole steps
    draw = np.random.default_rng(10)
    w = np.sqrt(draw.permutation(np.linspace(0.1, 1.0, 12))).reshape(3, 4, 1, 1)
    places = w * draw.exponential(1, (3, 4, *SHAPE)) + 1 - w
    steps = [(0, 0), (1, 0), (0, -1), (-2, 1)]
    frames = 0.6 * draw.exponential(1, (4, 3, 4, *SHAPE)) + 0.4
    count = np.zeros((3, 4), int)
    for scan, (down, across) in enumerate(steps):
        for y, x in np.ndindex(3, 4):
            if 0 <= y + down < 3 and 0 <= x + across < 4:
                frames[scan, y + down, x + across] = places[y, x]
                count[y, x] += 1
    camera = camera_stream(frames.reshape(48, *SHAPE).astype("f4"))
    drift = drift_stream([(0.5 * y + 0.1, 0.5 * x - 0.2) for y, x in steps])
    config = {"variance_per_count": 0.0, "minimum_intensity": 0}
    found = run_all(camera, drift, config=config)["maps"]
    still = run_all(camera, config=config)["maps"]
    np.testing.assert_array_equal(found["count"][3], count)
    # what differs is the static pattern, estimated anew with each scan
    np.testing.assert_allclose(found["V"][3], found["V"][0], atol=0.05)
    assert np.abs(still["V"][3] - found["V"][0]).max() > 0.2
    assert np.isfinite(found["V"][3]).all()


def test_a_scan_without_its_shift_stays_where_the_last_one_was() -> None:
    frames = np.random.default_rng(2).gamma(3, 10, (36, *SHAPE)).astype("f4")
    camera = camera_stream(frames)
    known = run_all(camera, drift_stream([(0, 0), (0.5, 0.0), (0.5, 0.0)]))
    unknown = run_all(camera, drift_stream([(0, 0), (0.5, 0.0), (np.nan, np.nan)]))
    np.testing.assert_array_equal(known["maps"]["V"], unknown["maps"]["V"])
    ended = run_all(camera, drift_stream([(0, 0), (0.5, 0.0)]))
    np.testing.assert_array_equal(known["maps"]["V"], ended["maps"]["V"])


def furnace_stream(kelvin: Any, times: Any) -> Records:
    made = make_stream("furnace", {"temperature": np.asarray(kelvin), "time": times})
    fields = {**made.stream.fields, "temperature": daq.Field("<f8", (), "K")}
    return Records(daq.Stream("furnace", fields), made.arrays)


def test_sums_begin_anew_with_each_temperature_stage() -> None:
    frames = np.random.default_rng(12).gamma(3, 10, (60, *SHAPE)).astype("f4")
    camera = camera_stream(frames)
    # scans 0, 1 at 600 K; 2 while it changes; 3, 4 at 650 K
    kelvin = np.repeat([600.0, 650.0], [31, 35])
    times = camera["time"][0] + np.arange(66) * 10**6
    out = run_all(camera, furnace_stream(kelvin, times))["maps"]
    assert out["stage"].tolist() == [0, 0, -1, 1, 1]
    assert out["count"][:, 0, 0].tolist() == [1, 2, 2, 1, 2]
    np.testing.assert_array_equal(out["V"][1], out["V"][2])
    np.testing.assert_allclose(out["temperature"][[0, 1, 3, 4]], [600, 600, 650, 650], atol=0.1)
    assert out["scan"].tolist() == [0, 1, 2, 3, 4]
    # nothing is known before the first stage
    kelvin = np.repeat([500.0, 600.0], [6, 60])
    out = run_all(camera, furnace_stream(kelvin, times))["maps"]
    assert out.valid.tolist() == [False, True, True, True, True]
    assert out["count"][1, 0, 0] == 1


@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_keeps_its_promises(dtype: str) -> None:
    draw = np.random.default_rng(5)
    frames = draw.poisson(20 * draw.gamma(3, 1 / 3, (64, *SHAPE))).astype(dtype)
    constants = {
        "gain": (1 + 0.1 * draw.random(SHAPE)).astype("f4"), "mask": draw.random(SHAPE) < 0.05,
    }  # fmt: skip
    camera = camera_stream(frames, constants=constants)
    drift = drift_stream([(0, 0), (0.2, 0.1), (0.4, 0.0), (0.6, -0.3), (0.9, -0.5), (1.0, -0.6)])
    kelvin = np.repeat([600.0, 650.0], [18, 20])
    furnace = furnace_stream(kelvin, camera["time"][0] + np.arange(38) * 2 * 10**6 - 10**6)
    out = check_analysis(Fem, [camera, drift, furnace], {**CONFIG, "outlier": 8.0}, runs=3)
    assert len(out["maps"]) == len(out["sectors"]) == len(out["profile"]) == 6


def test_the_static_pattern_is_that_of_the_glass() -> None:
    frames = np.ones((3, 4, *SHAPE))
    frames[:, 0] = 0.2 * (np.arange(SHAPE[1]) > CENTRE[1])
    found = run(camera_stream(frames.reshape(12, *SHAPE)), {"variance_per_count": 0.0})["maps"]
    np.testing.assert_allclose(found["V"][0][:, 1:], 0, atol=1e-9)


def test_the_simulated_camera() -> None:
    config = {
        "scan": [12, 30], "step": 0.5, "scans": 2, "scan_time": 300.0, "speed": 0, "seed": 3,
        "w_sd": 0.12, "median_tau": 200.0, "dropped_fraction": 0.01, "repeated_fraction": 0.01,
    }  # fmt: skip
    camera = record_source(StemCamera, config, name="camera")["camera"]
    out = run_analysis(Fem, {"camera": camera.stream}, camera.batches(100), {})["maps"]
    source = StemCamera()
    source.open(StemCamera.Config(**config))
    v, expected = out["V"][1], source.truth()["V"]
    both = np.isfinite(v) & np.isfinite(expected)
    assert both.mean() > 0.7
    assert np.corrcoef(v[both], expected[both])[0, 1] > 0.75
    # few speckles in a ring make it lower
    assert v[both].mean() == pytest.approx(0.935 * expected[both].mean(), rel=0.04)
    assert np.isnan(v[np.isnan(expected)]).mean() > 0.6
    assert (out["V_raw"][1][both] > v[both]).all()


def test_memory_is_that_of_one_scan_and_its_moments() -> None:
    camera = make_stream(
        "camera", {"frame": ("<u2", (264, 264), "counts")}, records=0,
        scan={"shape": [60, 120], "step": 0.16},
        attributes={"pixel_size": 0.058, "centre": [131.5, 131.5]},
    )  # fmt: skip
    assert 60e6 < Fem.memory({"camera": camera.stream}, Fem.Config()) < 90e6


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"q_range": [2.5, 1.0]}, "the smaller radius comes first"),
        ({"q_range": [1.0, 9.0]}, "the ring at .* holds 0 good binned pixels"),
        ({"q_range": [8.0, 9.0]}, "holds 0 good pixels"),
        ({"minimum_intensity": 1.5}, "less than 1"),
        ({"q_rnge": [1.0, 2.0]}, "did you mean 'q_range'"),
        ({"field": "frme"}, "no field 'frme'"),
    ],
)
def test_says_what_does_not_fit(config: dict[str, Any], said: str) -> None:
    camera = camera_stream(np.ones((12, *SHAPE), "u2"))
    with pytest.raises(ValueError, match=said):
        run(camera, config)


def test_says_what_is_not_known() -> None:
    frames = {"frame": np.ones((12, *SHAPE), "u2")}
    known = {"scan": {"shape": list(SCAN)}, "attributes": {"pixel_size": SIZE}}
    with pytest.raises(ValueError, match="does not say how it was scanned"):
        run(make_stream("camera", frames, attributes=known["attributes"]))
    with pytest.raises(ValueError, match="does not say how large a pixel is"):
        run(make_stream("camera", frames, scan=known["scan"]))
    plain = make_stream("camera", frames, **known)
    assert run(plain)["maps"].stream.axes["V"][0]["units"] == ""
    with pytest.raises(ValueError, match="does not say how far positions are apart: give step"):
        run_all(plain, drift_stream([(0, 0)]))
    with pytest.raises(ValueError, match="one input must have frames"):
        run_all(drift_stream([(0, 0)]))
