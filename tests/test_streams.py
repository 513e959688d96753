"""Fields, streams and batches: described once, back from the wire unchanged, nonsense refused."""

from __future__ import annotations

import json
import string

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import daq
from daq import protocol
from daq.corrections import Corrections
from daq.protocol import ProtocolError
from daq.streams import (
    MISSING_BATCH,
    NO_TIME,
    Batch,
    Field,
    Stream,
    check_batch,
    filled,
    matches,
)

DTYPES = "|b1 |u1 |i1 <u2 <i2 <u4 <i4 <u8 <i8 <f2 <f4 <f8 <c8 <c16 |S1 |S7".split()

names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,10}", fullmatch=True).filter(
    lambda name: name not in ("time", "valid")
)
fields = st.builds(
    Field,
    st.sampled_from(DTYPES),
    st.lists(st.integers(1, 4), max_size=3).map(tuple),
    st.sampled_from(["", "nm", "1/nm", "counts", "Å"]),
    st.text(max_size=10),
)
json_values = st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.text(max_size=5))


@st.composite
def streams(draw):
    described = draw(st.dictionaries(names, fields, min_size=1, max_size=4))
    axes = {
        name: [{"name": f"axis{i}", "offset": 0.5, "step": 2} for i in range(len(field.shape))]
        for name, field in described.items()
    }
    constants = {
        name: np.zeros(draw(st.lists(st.integers(1, 3), min_size=1, max_size=3)), dtype)
        for name, dtype in draw(st.dictionaries(names, st.sampled_from(DTYPES), max_size=3)).items()
    }
    return Stream(
        "camera.frames",
        described,
        axes,
        draw(st.sampled_from([None, {"shape": [3, 4], "step": 2.5}])),
        draw(st.dictionaries(st.text(string.ascii_letters, max_size=5), json_values, max_size=3)),
        draw(st.one_of(st.none(), st.integers(0, 2**52))),
        constants,
    )


@given(streams())
def test_description_travels(stream):
    parts = [array.tobytes() for array in stream.constants.values()]
    message = protocol.unpack(protocol.pack("open", stream.header(), parts))
    back = Stream.from_header(message.header, message.parts)
    assert back.header() == stream.header()
    assert back.fields == stream.fields
    for name, array in stream.constants.items():
        assert np.array_equal(back.constants[name], array)
    assert back.record_bytes == sum(field.record_bytes for field in stream.fields.values())


def header(**changes):
    """A good header, changed."""
    stream = Stream("camera", {"frame": Field("<u2", (4, 4))}, constants={"dark": np.zeros(2)})
    return {**stream.header(), **changes}


GOOD_PARTS = [np.zeros(2).tobytes()]


def test_header_that_the_others_change_is_good():
    assert Stream.from_header(header(), GOOD_PARTS).name == "camera"


def _field(**changes):
    entry = {"dtype": "<f8", "shape": [2], "units": "nm", "long_name": "", **changes}
    return {"x": {key: value for key, value in entry.items() if value is not Ellipsis}}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"stream": None}, "bad_name"),
        ({"stream": "../x"}, "bad_name"),
        ({"stream": ["camera"]}, "bad_name"),
        ({"fields": None}, "bad_header"),
        ({"fields": {}}, "bad_header"),
        ({"fields": [1]}, "bad_header"),
        ({"fields": {"x": None}}, "bad_header"),
        ({"fields": {f"x{i}": _field()["x"] for i in range(300)}}, "bad_header"),
        ({"fields": {"a/b": _field()["x"]}}, "bad_name"),
        ({"fields": {"valid": _field()["x"]}}, "bad_name"),
        ({"fields": {"time": _field()["x"]}}, "bad_dtype"),
        ({"fields": _field(dtype="|O")}, "bad_dtype"),
        ({"fields": _field(dtype=...)}, "bad_dtype"),
        ({"fields": _field(dtype={"a": 1})}, "bad_dtype"),
        ({"fields": _field(dtype="|S²")}, "bad_dtype"),
        ({"fields": _field(shape=[0])}, "bad_shape"),
        ({"fields": _field(shape="22")}, "bad_shape"),
        ({"fields": _field(shape=None)}, "bad_shape"),
        ({"fields": _field(shape=[1] * 7)}, "bad_shape"),
        ({"fields": _field(units=3)}, "bad_header"),
        ({"fields": _field(long_name=["x"])}, "bad_header"),
        ({"expect": -1}, "bad_header"),
        ({"expect": "many"}, "bad_header"),
        ({"expect": 1.5}, "bad_header"),
        ({"axes": [1]}, "bad_header"),
        ({"axes": {"frame": 3}}, "bad_header"),
        ({"axes": {"frame": [3]}}, "bad_header"),
        ({"axes": {"other": []}}, "bad_header"),
        ({"scan": [3]}, "bad_header"),
        ({"scan": {}}, "bad_shape"),
        ({"scan": {"shape": [-1, 2]}}, "bad_shape"),
        ({"attributes": [1]}, "bad_header"),
        ({"attributes": "x"}, "bad_header"),
        ({"constants": []}, "bad_header"),
        ({"constants": 3}, "bad_header"),
        ({"constants": [3]}, "bad_header"),
        ({"constants": [{"name": "a", "dtype": "<f8", "shape": [3]}]}, "bad_part"),
        ({"constants": [{"name": "a", "dtype": "|O", "shape": [2]}]}, "bad_dtype"),
        ({"constants": [{"name": "a", "dtype": "<f8", "shape": None}]}, "bad_shape"),
        ({"constants": [{"name": "../a", "dtype": "<f8", "shape": [2]}]}, "bad_name"),
        ({"constants": [{"name": None, "dtype": "<f8", "shape": [2]}]}, "bad_name"),
        ({"constants": [{"dtype": "<f8", "shape": [2]}]}, "bad_name"),
        ({"constants": [{"name": "a"}]}, "bad_dtype"),
    ],
)
def test_hostile_headers_are_refused(changes, expected):
    with pytest.raises(ProtocolError) as caught:
        Stream.from_header(header(**changes), GOOD_PARTS)
    assert caught.value.code == expected


anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(st.sampled_from(sorted(header())), anything, st.lists(st.binary(max_size=20), max_size=2))
def test_any_header_is_a_stream_or_a_protocol_error(key, value, parts):
    try:
        stream = Stream.from_header(header(**{key: value}), parts)
    except ProtocolError:
        return
    json.dumps(stream.header()["fields"])


@given(st.dictionaries(st.sampled_from(["dtype", "shape", "units", "long_name"]), anything))
def test_any_field_is_a_field_or_a_protocol_error(entry):
    try:
        stream = Stream.from_header(header(fields={"x": entry}), GOOD_PARTS)
    except ProtocolError:
        return
    assert stream.fields["x"].record_bytes > 0


def test_header_is_plain_json():
    json.dumps(header(), allow_nan=False)


def test_time_is_added_and_has_one_form():
    assert Stream("s", {"x": Field("<f8")}).fields["time"].dtype == "<i8"
    with pytest.raises(ProtocolError, match="time"):
        Stream("s", {"time": Field("<f8")})
    with pytest.raises(ProtocolError, match="file's own"):
        Stream("s", {"valid": Field("|b1")})


def test_field_is_normalised():
    assert Field(">u2", [3, 4]) == Field("<u2", (3, 4))
    assert Field("float32").dtype == "<f4"
    with pytest.raises(ProtocolError):
        Field("O")
    with pytest.raises(ProtocolError):
        Field("<f8", (0,))


def test_size_of_a_huge_field_does_not_wrap_around():
    assert Field("<f8", (1 << 31,) * 6).record_bytes == 8 * (1 << 186)


@pytest.mark.parametrize("dtype", DTYPES)
def test_fill(dtype):
    value = Field(dtype).fill
    assert np.asarray(value).dtype == np.dtype(dtype) or np.dtype(dtype).kind == "S"
    if np.dtype(dtype).kind in "fc":
        assert np.isnan(value)
    else:
        assert not value


def test_no_time_is_not_a_time():
    assert np.isnat(np.int64(NO_TIME).view("datetime64[ns]"))


def test_names():
    stream = Stream("", {"x": Field("<f8")})
    assert stream.renamed("camera").name == "camera"
    assert stream.name == ""
    with pytest.raises(ProtocolError):
        stream.renamed("../x")


@given(st.integers(0, 1000), st.integers(0, 3 * MISSING_BATCH))
def test_missing_records_are_filled(first, count):
    fields = {"x": Field("<f4", (2,)), "n": Field("<i2"), "name": Field("|S4")}
    at = first
    for batch in filled(Stream("s", fields), first, count):
        assert batch.first == at
        assert 0 < batch.count <= MISSING_BATCH
        assert not batch.valid.any()
        assert (batch.time == NO_TIME).all()
        assert np.isnan(batch["x"]).all()
        assert batch["x"].shape == (batch.count, 2)
        assert not batch["n"].any()
        assert (batch["name"] == b"").all()
        at += batch.count
    assert at == first + count


def make_batch(count=5, first=3):
    arrays = {"time": np.arange(count), "frame": np.arange(count * 6.0).reshape(count, 2, 3)}
    return Batch("s", arrays, first)


def test_batch():
    batch = make_batch()
    assert len(batch) == 5
    assert batch.valid.all()
    assert batch.indices.tolist() == [3, 4, 5, 6, 7]
    assert repr(batch) == "<Batch s 3+5 (time, frame)>"
    assert repr(make_batch(first=None)) == "<Batch s ?+5 (time, frame)>"
    with pytest.raises(ValueError, match="not numbered"):
        _ = make_batch(first=None).indices
    with pytest.raises(KeyError):
        batch["other"]


def test_batch_that_is_none():
    with pytest.raises(ValueError, match="without 'time'"):
        Batch("s", {"x": np.zeros(3)})
    with pytest.raises(ValueError, match="x has not 2 records"):
        Batch("s", {"time": np.zeros(2, int), "x": np.zeros(3)})
    with pytest.raises(ValueError, match="x has not 2 records"):
        Batch("s", {"time": np.zeros(2, int), "x": np.float64(3)})


@given(st.integers(0, 5), st.integers(0, 5))
def test_slices_are_views_with_their_index(start, stop):
    batch = make_batch()
    part = batch.slice(start, stop)
    assert part.first == 3 + start
    assert part.count == max(0, stop - start)
    assert np.array_equal(part["frame"], batch["frame"][start:stop])
    if part.count:
        assert np.shares_memory(part["frame"], batch["frame"])
    copied = part.copy()
    assert not np.shares_memory(copied["frame"], batch["frame"])
    assert np.array_equal(copied["frame"], part["frame"])


def test_gather_is_the_corrected_frame_at_those_pixels():
    rng = np.random.default_rng(0)
    constants = {
        "dark": rng.random((2, 3)), "gain": rng.random((2, 3)), "mask": rng.random((2, 3)) < 0.3
    }  # fmt: skip
    index = np.array([5, 0, 3])
    for corrections in (None, Corrections("frame", (2, 3), constants)):
        batch = make_batch()
        batch.corrections = corrections
        whole = batch["frame"].reshape(5, 6)[:, index]
        assert np.array_equal(batch.gather("frame", index), whole)
        assert batch["time"].dtype.kind == "i"
        assert batch.slice(1, 3).corrections is corrections
        assert batch.slice(2, 2).gather("frame", index).shape == (0, 3)


@pytest.mark.parametrize("corrected", [False, True])
def test_sums_over_gathered_pixels_do_not_depend_on_the_batch(corrected):
    """numpy sums along an axis in another order where the array is laid out in another way."""
    frames = np.random.default_rng(2).normal(size=(30, 40, 40)).astype("<f4")
    constants = {"dark": np.full((40, 40), 0.1)}
    batch = Batch(
        "s", {"time": np.arange(30), "frame": frames}, 0,
        corrections=Corrections("frame", (40, 40), constants) if corrected else None,
    )  # fmt: skip
    index = np.arange(0, 1600, 3)
    whole = batch.gather("frame", index).sum(1)
    for size in (1, 2, 7):
        parts = [batch.slice(a, a + size).gather("frame", index).sum(1) for a in range(0, 30, size)]
        assert np.concatenate(parts).tobytes() == whole.tobytes()


STREAM = Stream("s", {"x": Field("<f4", (2,)), "name": Field("|S4")})


def arrays(**changes):
    good = {
        "time": np.zeros(3, np.int64), "x": np.ones((3, 2), "<f4"), "name": np.array([b"a"] * 3)
    }  # fmt: skip
    return {name: array for name, array in {**good, **changes}.items() if array is not None}


def test_check_batch_gives_what_the_wire_needs():
    given_ = arrays(x=np.ones((3, 4), ">f4")[:, ::2], name=np.array([b"abcd"] * 3))
    batch = check_batch(STREAM, Batch("other", given_, 7))
    assert batch.first == 7
    for name, field in STREAM.fields.items():
        assert batch.raw[name].dtype.str == field.dtype
        assert batch.raw[name].flags.c_contiguous
    assert (batch["x"] == 1).all()


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"x": None}, "lacks the field 'x'"),
        ({"x": np.ones((3, 3), "<f4")}, r"x has shape \[3\] per record, opened as \[2\]"),
        ({"x": np.ones(3, "<f4")}, r"x has shape \[\] per record"),
        ({"x": np.ones((3, 2), "<f8")}, "x has dtype <f8, opened as <f4"),
        ({"x": np.ones((3, 2), "<i4")}, "x has dtype <i4, opened as <f4"),
        ({"x": np.ones((3, 2), object)}, "x has dtype"),
        ({"name": np.array(["a"] * 3)}, "name has dtype"),
        ({"y": np.zeros(3)}, "field 'y' was not opened"),
    ],
)
def test_check_batch_names_what_is_wrong(changes, match):
    with pytest.raises(ValueError, match=match):
        check_batch(STREAM, Batch("s", arrays(**changes)))


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("*", "camera", True),
        ("ecm.*", "ecm.maps", True),
        ("ecm.*", "ecmXmaps", False),
        ("ecm", "ecm.maps", False),
        ("c?mera", "camera", True),
        ("*.maps", "ecm.maps", True),
        ("[a-z]*", "camera", False),
        ("", "camera", False),
    ],
)
def test_globs(pattern, name, expected):
    assert matches(pattern, name) is expected


@given(st.text(string.ascii_letters + "._-", max_size=10))
def test_a_name_matches_itself_and_the_star(name):
    assert matches(name, name)
    assert matches("*", name)
    assert not matches(name + "x", name)


def test_public_names():
    for name in daq.__all__:
        assert getattr(daq, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = daq.nothing
