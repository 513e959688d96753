"""Dark, gain, bad pixels, descan: whole frames, single pixels and sums of bins alike."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import daq
from daq.corrections import Corrections, corrections_for, with_attributes, with_corrections
from daq.runtime.experiment import load_corrections

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
    by_pixel = corrections.gather(raw, index)
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


# -- bad pixels -------------------------------------------------------------------------------


def test_a_pixel_without_dark_or_gain_is_bad():
    gain = np.ones(SHAPE)
    gain[0, 1], gain[2, 2] = np.nan, np.inf
    corrections = Corrections("frame", SHAPE, {"gain": gain})
    assert np.argwhere(corrections.bad).tolist() == [[0, 1], [2, 2]]
    raw = np.ones((1, *SHAPE), "<u2")
    assert corrections.apply(raw)[0, 0, :3].tolist() == [1, 0, 1]
    assert corrections.gather(raw, np.array([0, 1]))[0].tolist() == [1, 0]


def test_a_mask_never_spreads():
    """Neighbours of bad pixels keep their values, whatever the bad ones hold."""
    frames = np.random.default_rng(3).poisson(20, (2, 9, 9)).astype("<f4")
    mask = np.zeros((9, 9), bool)
    mask[4, 4:6] = mask[0, 0] = True
    broken = np.where(mask, np.nan, frames)
    for interpolate in (False, True):
        constants = {"mask": mask, "interpolate": np.array(interpolate)}
        found = Corrections("frame", (9, 9), constants).apply(broken)
        assert np.array_equal(found[:, ~mask], frames[:, ~mask])
        assert np.isfinite(found).all()


def test_interpolation_keeps_an_even_slope_and_never_reads_bad_pixels():
    y, x = np.mgrid[:12, :10]
    plane = (100 + 3 * y - 2 * x).astype("<f4")
    mask = np.zeros(plane.shape, bool)
    mask[3, 3] = mask[6, :] = True  # alone; a row
    mask[8:11, 6:9] = True  # a cluster, whose middle has no neighbour
    corrections = Corrections("frame", plane.shape, {"mask": mask, "interpolate": np.array(True)})
    found = corrections.apply(np.where(mask, np.inf, plane)[None])[0]
    repaired = mask & ~corrections.bad
    assert repaired[3, 3] and repaired[9, 7] and repaired[6, 2:8].all()
    np.testing.assert_allclose(found[repaired], plane[repaired], rtol=1e-6)
    assert not found[corrections.bad].any()


def test_what_has_nothing_on_both_sides_stays_bad():
    mask = np.zeros((9, 9), bool)
    mask[0, 0] = True  # a corner
    mask[3:, 3:] = True  # a beam stop
    corrections = Corrections("frame", mask.shape, {"mask": mask, "interpolate": np.array(True)})
    assert corrections.bad[0, 0]
    assert corrections.bad[5:, 5:].all()


def test_only_images_are_interpolated():
    with pytest.raises(ValueError, match="only pixels of an image"):
        Corrections("x", (4,), {"interpolate": np.array(True)})


# -- descan -----------------------------------------------------------------------------------

SCAN = (3, 4)


def moving_disc(table, shape=(24, 20), centre=(11, 9)):
    """Frames of a disc that stands at centre + shift, shifts rounded: [position, y, x]."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    frames = []
    for dy, dx in np.rint(table).reshape(-1, 2):
        frames.append(10 * (np.hypot(y - centre[0] - dy, x - centre[1] - dx) < 3.5) + y * 0 + 1)
    return np.array(frames, "<u2")


def descanned(table, frames, **more):
    return daq.Stream(
        "camera", {"frame": daq.Field(frames.dtype.str, frames.shape[1:])},
        scan={"shape": list(SCAN)}, constants={"descan": np.asarray(table, "<f4"), **more},
    )  # fmt: skip


AFFINE = np.array([[-2.0, 1.0], [1.5, -0.25], [0.25, 0.75]])


def table_of(affine):
    row, column = np.mgrid[: SCAN[0], : SCAN[1]][..., None]
    return affine[0] + row * affine[1] + column * affine[2]


def test_a_pattern_that_wanders_stands_still():
    table = table_of(AFFINE)
    frames = np.concatenate([moving_disc(table)] * 2)  # two scans
    by_table, by_affine = (corrections_for(descanned(given, frames)) for given in (table, AFFINE))
    for corrections in (by_table, by_affine):
        found = corrections.apply(frames, 0)
        assert (found == found[0]).all()
        assert found[0, 11, 9] == 11
        assert not found[:, corrections.bad].any()
        # records may begin anywhere
        assert np.array_equal(corrections.apply(frames[5:9], 5), found[5:9])
        index = np.array([0, 11 * 20 + 9, 150])
        assert np.array_equal(
            corrections.gather(frames[5:9], index, 5), found[5:9].reshape(4, -1)[:, index]
        )
    # 0 is bad everywhere at some position, as far as a pattern moved
    good = ~by_table.bad
    shifts = np.rint(table).reshape(-1, 2)
    height, width = 24 - np.ptp([*shifts[:, 0], 0]), 20 - np.ptp([*shifts[:, 1], 0])
    assert good.sum() == height * width


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(["<u2", "<f4"]),
    st.sets(st.sampled_from(["dark", "gain", "mask", "interpolate", "descan"])),
    st.integers(0, 15),
)
@settings(deadline=None, max_examples=60)
def test_bins_are_sums_of_corrected_pixels(seed, dtype, which, first):
    draw = np.random.default_rng(seed)
    shape = (13, 11)
    everything = {
        "dark": draw.normal(3, 1, shape).astype("<f4"),
        "gain": draw.uniform(0.5, 2, shape).astype("<f4"),
        "mask": draw.random(shape) < 0.1,
        "interpolate": np.array(True),
        "descan": draw.uniform(-2.4, 2.4, (*SCAN, 2)).astype("<f4"),
    }
    constants = {name: everything[name] for name in which}
    stream = daq.Stream(
        "camera", {"frame": daq.Field(dtype, shape)}, scan={"shape": SCAN}, constants=constants
    )
    frames = draw.integers(0, 200, (6, *shape)).astype(dtype)
    if dtype == "<f4" and "mask" in which:
        frames[:, everything["mask"]] = np.nan
    labels = draw.integers(-1, 5, shape)
    corrections = corrections_for(stream)
    batch = daq.Batch(
        "camera", {"time": np.arange(6), "frame": frames}, first, corrections=corrections
    )
    bins = daq.PixelBins(stream, "frame", labels, 5)
    found = bins.sums(batch)
    corrected = batch["frame"].astype(np.float64)
    expected = np.stack([corrected[:, labels == k].sum(axis=1) for k in range(5)], axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-3)
    good = np.ones(shape, bool) if corrections is None else ~corrections.bad
    assert bins.pixels.tolist() == [int(((labels == k) & good).sum()) for k in range(5)]
    single = np.concatenate([bins.sums(batch.slice(n, n + 1)) for n in range(6)])
    assert single.tobytes() == found.tobytes()


def test_sums_of_moved_integers_are_exact():
    table = table_of(AFFINE)
    frames = moving_disc(table)
    stream = descanned(table, frames)
    labels = np.where(corrections_for(stream).bad, -1, 0)
    sums = daq.PixelBins(stream, "frame", labels).sums(
        daq.Batch("camera", {"time": np.arange(12), "frame": frames}, 0)
    )
    assert (sums == sums[0]).all()
    assert sums[0, 0] == sums[0, 0].round()


@pytest.mark.parametrize(
    ("descan", "scan", "message"),
    [
        (np.zeros((2, 2, 2)), SCAN, r"descan has shape \[2, 2, 2\]; a scan of \[3, 4\] needs"),
        (np.zeros((3, 2)), None, "says the shape of its scan"),
        (np.full((3, 2), 9.0), SCAN, "more than half of a frame of 5 x 5"),
        (np.full((*SCAN, 2), np.nan), SCAN, "not a number at row 0, column 0"),
    ],
)
def test_descan_that_does_not_fit(descan, scan, message):
    with pytest.raises(ValueError, match=message):
        Corrections("frame", (5, 5), {"descan": descan}, scan)
    with pytest.raises(ValueError, match="moves images"):
        Corrections("x", (5,), {"descan": descan}, scan)


def test_descan_needs_numbered_records():
    frames = moving_disc(table_of(AFFINE))
    corrections = corrections_for(descanned(AFFINE, frames))
    with pytest.raises(ValueError, match="records that are numbered"):
        corrections.apply(frames)


# -- given by the configuration ---------------------------------------------------------------


def test_given_corrections_replace_those_of_the_images():
    camera = _stream(dark=np.ones(SHAPE), columns=np.zeros(4))
    heater = daq.Stream("heater", {"temperature": daq.Field("<f8", (), "K")})
    first, second = with_corrections([camera, heater], {"dark": np.array(7.0), "gain": np.array(2)})
    assert corrections_for(first).dark.tolist() == [7.0] * 12
    assert corrections_for(first).gain.tolist() == [2.0] * 12
    assert "columns" in first.constants
    assert second == heater
    with pytest.raises(ValueError, match="dark has shape"):
        with_corrections([camera], {"dark": np.ones((2, 2))})
    own = _stream(mask=np.zeros(SHAPE, bool), gain=np.full(SHAPE, 3.0))
    (kept,) = with_corrections([own], {"interpolate": np.array(True)})
    assert kept.constants["gain"][0, 0] == 3
    (alone,) = with_corrections([heater], {"gain": np.array(2.0)})
    assert corrections_for(alone).apply(np.array([3.0])).tolist() == [6.0]


def test_the_configuration_gives_descan_and_interpolation(tmp_path):
    np.save(tmp_path / "descan.npy", np.ones((3, 4, 2)))
    by_table = load_corrections(
        {"bad_pixels": "interpolate", "descan": {"table": "descan.npy"}}, tmp_path
    )
    assert by_table["interpolate"] == np.array(True)
    assert by_table["descan"].shape == (3, 4, 2)
    by_steps = load_corrections({"descan": {"offset": [1, 2], "per_row": [0.5, 0]}}, tmp_path)
    assert by_steps["descan"].tolist() == [[1, 2], [0.5, 0], [0, 0]]
    assert load_corrections({"bad_pixels": "mask"}, tmp_path)["interpolate"] == np.array(False)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"descan": {"tabel": "x.npy"}}, r"descan\.tabel: no such key; did you mean 'table'\?"),
        ({"descan": {"table": "absent.npy"}}, r"corrections\.descan\.table: .*absent\.npy"),
        ({"descan": {"table": "d.npy", "offset": [1, 0]}}, "table, or offset, per_row and"),
        ({"bad_pixels": "median"}, "Input should be 'mask' or 'interpolate', not 'median'"),
    ],
)
def test_corrections_that_cannot_be_meant(tmp_path, wrong, message):
    with pytest.raises(daq.ConfigError, match=message):
        load_corrections(wrong, tmp_path)


def test_attributes_of_the_configuration_are_for_images() -> None:
    camera = daq.Stream(
        "camera", {"frame": daq.Field("<u2", (4, 4))}, attributes={"centre": [1, 1], "kV": 200}
    )
    heat = daq.Stream("camera.temperature", {"temperature": daq.Field("<f8", (), "K")})
    found = with_attributes([camera, heat], {"centre": [2.5, 1.0]})
    assert found[0].attributes == {"centre": [2.5, 1.0], "kV": 200}
    assert found[1].attributes == {}
    assert with_attributes([heat], {"serial": "A1"})[0].attributes == {"serial": "A1"}
