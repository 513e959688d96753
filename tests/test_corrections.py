"""Dark, gain and mask: the formula, on whole frames and on single pixels alike."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import daq
from daq.corrections import Corrections, corrections_for

SHAPE = (3, 4)


@st.composite
def constants(draw):
    """Any of the three, as a frame or as one number."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    forms = st.sampled_from(["frame", "number", "one", "absent"])
    given_ = {}
    for name, values in (("dark", rng.normal(5, 2, SHAPE)), ("gain", rng.uniform(0.5, 2, SHAPE))):
        form = draw(forms)
        if form != "absent":
            number = values[0, 0]
            given_[name] = {"frame": values, "number": number, "one": np.array([number])}[form]
    if draw(st.booleans()):
        given_["mask"] = rng.random(SHAPE) < 0.3
    return {name: np.asarray(value) for name, value in given_.items()}


@given(
    constants(),
    st.sampled_from(["<u2", "<i4", "<f4", "<f8", "|u1", "|b1"]),
    st.lists(st.integers(0, 11), min_size=1, max_size=15),
    st.integers(0, 5),
)
def test_formula_whole_and_by_pixel(given_constants, dtype, pixels, records):
    raw = np.random.default_rng(1).poisson(20, (records, *SHAPE)).astype(dtype)
    before = raw.copy()
    corrections = Corrections("frame", SHAPE, given_constants)
    found = corrections.apply(raw)
    dark, gain = (
        np.broadcast_to(given_constants.get(name, default), SHAPE).astype(np.float32)
        for name, default in (("dark", 0.0), ("gain", 1.0))
    )
    bad = given_constants.get("mask", np.zeros(SHAPE, bool))
    expected = np.where(bad, np.float32(0), (raw.astype(np.float32) - dark) * gain)
    assert found.dtype == np.float32
    assert found.shape == raw.shape
    assert np.array_equal(found, expected)
    assert np.array_equal(raw, before)
    assert np.array_equal(corrections.bad, bad)
    index = np.array(pixels)
    by_pixel = corrections.apply(raw.reshape(records, 12)[:, index], index)
    assert by_pixel.tobytes() == expected.reshape(records, 12)[:, index].tobytes()


def test_masked_pixel_reads_as_zero_whatever_it_holds():
    raw = np.full((1, *SHAPE), np.nan, np.float32)
    mask = np.ones(SHAPE, "<u1")
    corrections = Corrections("frame", SHAPE, {"mask": mask, "gain": np.array(np.inf)})
    assert not corrections.apply(raw).any()


@pytest.mark.parametrize("name", ["dark", "gain", "mask"])
def test_shapes_that_do_not_fit_are_named(name):
    with pytest.raises(ValueError, match=rf"{name} has shape \[4, 3\], the field 'frame' has"):
        Corrections("frame", SHAPE, {name: np.zeros((4, 3))})


def _stream(**named):
    fields = {"frame": daq.Field("<u2", SHAPE), "x": daq.Field("<f8")}
    return daq.Stream("camera", fields, constants=named)


def test_streams_without_corrections():
    assert corrections_for(_stream()) is None
    assert corrections_for(_stream(columns=np.zeros(4))) is None
    assert corrections_for(daq.Stream("s", {}, constants={"dark": np.zeros(1)})) is None


def test_corrections_act_on_the_largest_field():
    corrections = corrections_for(_stream(dark=np.ones(SHAPE), columns=np.zeros(4)))
    assert corrections.field == "frame"
    arrays = {"time": np.arange(2), "x": np.arange(2.0), "frame": np.ones((2, *SHAPE), "<u2")}
    batch = daq.Batch("camera", arrays, corrections=corrections)
    assert not batch["frame"].any()
    assert batch["x"].tolist() == [0.0, 1.0]
    assert batch.raw["frame"].all()
    with pytest.raises(ValueError, match="dark has shape"):
        corrections_for(_stream(dark=np.ones((2, 2))))


def test_stream_of_plain_numbers():
    fields = {"time": daq.streams.TIME, "x": daq.Field("<f8")}
    stream = daq.Stream("s", fields, constants={"dark": np.array([2.0])})
    assert corrections_for(stream).field == "x"
    assert corrections_for(stream).apply(np.array([5.0, 2.0])).tolist() == [3.0, 0.0]
