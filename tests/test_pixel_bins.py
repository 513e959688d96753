"""Sums of pixels in bins: the formula of the corrections, exact for integers, bad pixels unread."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import daq

SHAPE = (7, 9)


def stream(dtype="<u2", shape=SHAPE, **constants):
    return daq.Stream("camera", {"frame": daq.Field(dtype, shape)}, constants=constants)


def batch(frames, name="camera"):
    return daq.Batch(name, {"time": np.arange(len(frames)), "frame": frames})


def slow(frames, labels, count, dark=0.0, gain=1.0, mask=None):
    """Sum (raw - dark) * gain of the good pixels of each bin, one at a time."""
    dark, gain = (np.broadcast_to(np.float64(a), labels.shape) for a in (dark, gain))
    sums = np.zeros((len(frames), count))
    for n, frame in enumerate(frames):
        for at in np.ndindex(*labels.shape):
            if labels[at] >= 0 and not (mask is not None and mask[at]):
                sums[n, labels[at]] += (float(frame[at]) - dark[at]) * gain[at]
    return sums


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(["|u1", "<u2", "<u4", "<i4", "<f4", "<f8", "|b1"]),
    st.sets(st.sampled_from(["dark", "gain", "mask"])),
    st.integers(0, 4),
)
@settings(deadline=None)
def test_is_the_formula(seed, dtype, which, records):
    draw = np.random.default_rng(seed)
    frames = draw.integers(0, 2 if dtype == "|b1" else 200, (records, *SHAPE)).astype(dtype)
    labels = draw.integers(-1, 5, SHAPE)
    everything = {
        "dark": draw.normal(3, 1, SHAPE).astype("<f4"),
        "gain": draw.uniform(0.5, 2, SHAPE).astype("<f4"),
        "mask": draw.random(SHAPE) < 0.2,
    }
    constants = {name: everything[name] for name in which}
    bins = daq.PixelBins(stream(dtype, **constants), "frame", labels, 6)
    found = bins.sums(batch(frames))
    expected = slow(frames, labels, 6, **constants)
    assert found.shape == (records, 6)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-6)
    if not {"dark", "gain"} & which and dtype[1] != "f":
        assert np.array_equal(found, expected)
    good = ~constants.get("mask", np.zeros(SHAPE, bool))
    assert bins.pixels.tolist() == [int(((labels == k) & good).sum()) for k in range(6)]


@given(
    st.integers(0, 2**32 - 1),
    st.integers(2, 9),
    st.sampled_from(["|u1", "<u2", "<u4", "<i4", "<f4"]),
    st.sets(st.sampled_from(["dark", "gain", "mask", "interpolate"])),
    st.sampled_from([np.float64, np.float32]),
)
@settings(deadline=None, max_examples=40)
def test_squares_of_pixels_are_the_formula(seed, side, dtype, which, rounded):
    """Binned frames, whose edge is no whole square, with holes in the middle."""
    draw = np.random.default_rng(seed)
    squares = draw.integers(-1, 8, (3, 4))
    over = draw.integers(0, side, 2)
    labels = np.pad(
        np.kron(squares, np.ones((side, side), int)), [(0, n) for n in over], constant_values=-1
    )
    frames = draw.integers(0, 200, (5, *labels.shape)).astype(dtype)
    everything = {
        "dark": draw.normal(3, 1, labels.shape).astype("<f4"),
        "gain": draw.uniform(0.5, 2, labels.shape).astype("<f4"),
        "mask": draw.random(labels.shape) < 0.2,
    }
    constants = {name: everything[name] for name in which - {"interpolate"}}
    told = constants | ({"interpolate": np.array(True)} if "interpolate" in which else {})
    camera = stream(dtype, labels.shape, **told)
    bins = daq.PixelBins(camera, "frame", labels, 9, rounded)
    found = bins.sums(batch(frames))
    assert found.dtype == rounded
    if "interpolate" in which and "mask" in which:
        whole = daq.corrections_for(camera).apply(frames).reshape(len(frames), -1)
        expected = [np.bincount(labels.reshape(-1) + 1, f, 10)[1:] for f in whole]
    else:
        expected = slow(frames, labels, 9, **constants)
    exact = rounded is np.float64 and "interpolate" not in which
    np.testing.assert_allclose(
        found, expected, rtol=1e-9 if exact else 1e-5, atol=1e-6 if exact else 1e-2
    )
    single = [bins.sums(batch(frames[n : n + 1]))[0] for n in range(len(frames))]
    assert np.array_equal(found, single)
    whole = daq.PixelBins(camera, "frame", labels, 9).sums(batch(frames))
    assert np.array_equal(found, whole.astype(rounded))


def test_does_not_depend_on_the_batch():
    draw = np.random.default_rng(1)
    frames = draw.normal(10, 3, (20, *SHAPE)).astype("<f4")
    gain = draw.uniform(0.5, 2, SHAPE).astype("<f4")
    bins = daq.PixelBins(stream("<f4", gain=gain), "frame", draw.integers(-1, 3, SHAPE))
    whole = bins.sums(batch(frames))
    single = np.concatenate([bins.sums(batch(frames[n : n + 1])) for n in range(20)])
    assert np.array_equal(whole, single)


def test_bad_pixels_are_not_read():
    mask = np.zeros(SHAPE, bool)
    mask[2, 3] = True
    frames = np.ones((1, *SHAPE), "<f4")
    frames[0, 2, 3] = np.nan
    bins = daq.PixelBins(stream("<f4", mask=mask), "frame", np.zeros(SHAPE, int))
    assert bins.sums(batch(frames))[0, 0] == 62
    frames[0, 0, 0] = np.nan
    assert np.isnan(bins.sums(batch(frames))[0, 0])


def test_labels_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"integers \[7, 9\] are needed"):
        daq.PixelBins(stream(), "frame", np.zeros((3, 3), int))
    with pytest.raises(ValueError, match="there are 2 bins"):
        daq.PixelBins(stream(), "frame", np.full(SHAPE, 2), 2)


@given(st.integers(0, 2**32 - 1), st.sampled_from(["|u1", "<u2", "<f4"]))
@settings(deadline=None, max_examples=20)
def test_frames_binned_by_four_with_gain_and_bad_pixels(seed, dtype):
    draw = np.random.default_rng(seed)
    shape = (8, 16)
    frames = draw.integers(0, 200, (3, *shape)).astype(dtype)
    y, x = np.mgrid[: shape[0], : shape[1]]
    labels = (y // 4) * 4 + x // 4
    gain = draw.uniform(0.5, 2, shape).astype("<f4")
    mask = draw.random(shape) < 0.1
    if dtype == "<f4":
        frames[:, mask] = np.nan
    camera = daq.Stream(
        "camera", {"frame": daq.Field(dtype, shape)}, constants={"gain": gain, "mask": mask}
    )
    found = daq.PixelBins(camera, "frame", labels, 8).sums(batch(frames))
    corrected = np.where(mask, 0, np.where(mask, 0, frames) * gain.astype(float))
    expected = corrected.reshape(3, 2, 4, 4, 4).sum(axis=(2, 4)).reshape(3, 8)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
