"""The wire protocol: what packs comes back, what is hostile is refused with a code."""

from __future__ import annotations

import contextlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daq import protocol
from daq.protocol import ProtocolError

DTYPES = "|b1 |u1 |i1 <u2 <i2 <u4 <i4 <u8 <i8 <f2 <f4 <f8 <c8 <c16 |S1 |S7 |S65536".split()

safe = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False,
    allow_infinity=False), st.text(max_size=10),
)  # fmt: skip
headers = st.dictionaries(
    st.text(max_size=8),
    st.recursive(
        safe,
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
        ),
        max_leaves=10,
    ),
    max_size=6,
)


def code(call, *arguments, **options):
    """The code with which a call is refused."""
    with pytest.raises(ProtocolError) as caught:
        call(*arguments, **options)
    assert str(caught.value)
    return caught.value.code


@given(headers, st.lists(st.binary(max_size=20), max_size=4))
def test_what_packs_comes_back(header, parts):
    message = protocol.unpack(protocol.pack("data", header, parts))
    assert message.kind == "data"
    assert message.header == header
    assert message.parts == parts


@given(st.lists(st.binary(max_size=200), max_size=5))
def test_any_bytes_are_a_message_or_a_protocol_error(frames):
    with contextlib.suppress(ProtocolError):
        assert isinstance(protocol.unpack(frames).header, dict)


@given(st.text(max_size=3), st.text(max_size=20))
def test_any_text_is_a_message_or_a_protocol_error(kind, header):
    with contextlib.suppress(ProtocolError):
        protocol.unpack([kind.encode("utf-8", "replace"), header.encode("utf-8", "replace")])


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [b"data"],
        [b"", b"{}"],
        [b"da ta", b"{}"],
        [b"x" * 17, b"{}"],
        ["dätä".encode(), b"{}"],
        [b"data", b""],
        [b"data", b"[]"],
        [b"data", b"null"],
        [b"data", b"\xff{}"],
        [b"data", b"{" * 100_000],
        [b"data", b'{"a":' * 100_000 + b"1" + b"}" * 100_000],
        [b"data", b"[" * 500_000],
        [b"data", b'{"a":' + b"1" * 5000 + b"}"],
        [b"data", b'{"a":"' + b"x" * protocol.MAX_HEADER_BYTES + b'"}'],
        [b"data", b"{}", *[b""] * (protocol.MAX_PARTS + 1)],
        [b"data", b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00."],  # a pickle
    ],
)
def test_hostile_messages_are_malformed(frames):
    assert code(protocol.unpack, frames) == "malformed"


def test_parts_are_not_copied():
    class Frame:
        """As zmq's: the bytes are behind an attribute."""

        def __init__(self, data):
            self.buffer = memoryview(data)

    data = np.arange(5)
    message = protocol.unpack([Frame(b"data"), Frame(b"{}"), Frame(data)])
    array = protocol.array_from_part(message.parts[0], "<i8", [5])
    assert np.shares_memory(array, data)
    assert not array.flags.writeable


@pytest.mark.parametrize("value", [float("nan"), float("inf"), b"x", {1, 2}, object()])
def test_headers_that_are_not_json_are_refused(value):
    assert code(protocol.pack, "open", {"a": [value]}) == "bad_header"


@pytest.mark.parametrize(
    "header",
    [
        {"time": 1_700_000_000_000_000_000},
        {"a": [{"b": [-(2**53) - 1]}]},
        {"a": 2**64, "padding": "xxxxxxxxxxxxxxxx"},
    ],
)
def test_integers_that_other_languages_round_are_refused(header):
    assert code(protocol.pack, "data", header) == "bad_header"


def test_largest_exact_integer_passes():
    assert json.loads(protocol.pack("data", {"first": 2**53})[1]) == {"first": 2**53}


def test_header_that_is_too_large():
    header = {"a": "x" * protocol.MAX_HEADER_BYTES}
    assert code(protocol.pack, "data", header) == "bad_header"


@pytest.mark.parametrize(
    "name", ["a", "camera", "ecm.maps", "a.b.c", "Stage_2-x", "run-1", "a" * 63]
)
def test_good_stream_names(name):
    assert protocol.check_stream_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "", ".", "..", "a.", ".a", "a..b", "a.b.c.d", "1a", "a/b", "../etc", "a\\b", "a b", "a\n",
        "a\x00", "ä", "a" * 64, "a." + "b" * 64, None, 3, ["a"], b"camera", "con\u2024x",
        "camera\n", "run", "Run", "entry", "bus.x", "truth", "default",
    ],
)  # fmt: skip
def test_bad_stream_names(name):
    assert code(protocol.check_stream_name, name) == "bad_name"


def test_reserved_names_are_for_the_run():
    assert protocol.check_stream_name("run.log", reserved_ok=True) == "run.log"
    assert code(protocol.check_stream_name, "run.log/x", reserved_ok=True) == "bad_name"


@given(st.text(max_size=12))
def test_a_stream_name_is_safe_as_a_file_name(name):
    try:
        protocol.check_stream_name(name)
    except ProtocolError:
        return
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")
    assert ".." not in name
    assert name[0].isalpha()


@pytest.mark.parametrize("name", ["x", "_x", "storage_modulus", "G2"])
def test_good_field_names(name):
    assert protocol.check_field_name(name) == name


@pytest.mark.parametrize("name", ["", "1", "a.b", "a-b", "a/b", "a ", "é", "x" * 64, None, "a\n"])
def test_bad_field_names(name):
    assert code(protocol.check_field_name, name) == "bad_name"


@pytest.mark.parametrize("dtype", DTYPES)
def test_allowed_dtypes(dtype):
    assert protocol.check_dtype(dtype).str == dtype
    assert protocol.wire_dtype(dtype) == dtype
    assert protocol.wire_dtype(np.dtype(dtype).newbyteorder(">")) == dtype


@pytest.mark.parametrize(
    "dtype",
    [
        "|O", "O", ">f8", "f8", "<f16", "<U4", "|V8", "<M8[ns]", "<m8[s]", "|S0", "|S", "|S65537",
        "|S01", "|S-1", "|S" + "1" * 5000, "|S²", "|S٣", "<i4,<f8", "[('a','<i4')]", "", None, 8, ["<f8"], b"<f8",
        "<f8 ", "<f8\n", "|S1\n",
    ],
)  # fmt: skip
def test_other_dtypes_are_refused(dtype):
    assert code(protocol.check_dtype, dtype) == "bad_dtype"


@pytest.mark.parametrize("dtype", [object, "datetime64[ns]", [("a", "<i4")], "<U3", np.longdouble])
def test_arrays_of_other_dtypes_have_no_name(dtype):
    assert code(protocol.wire_dtype, dtype) == "bad_dtype"


@pytest.mark.parametrize("shape", [[], [1], (264, 264), [1] * 6, [1 << 31]])
def test_good_shapes(shape):
    assert protocol.check_shape(shape) == tuple(shape)


@pytest.mark.parametrize(
    "shape", [[0], [-1], [1] * 7, [1.0], [True], ["3"], None, 3, "33", [None], [1 << 40], {"a": 1}]
)
def test_bad_shapes(shape):
    assert code(protocol.check_shape, shape) == "bad_shape"


@pytest.mark.parametrize("value", [-1, 1.0, True, "3", None, 1 << 53, [1]])
def test_bad_counts(value):
    assert code(protocol.check_count, {"count": value}, "count") == "bad_header"
    assert code(protocol.check_count, {}, "count") == "bad_header"


def test_good_counts():
    assert protocol.check_count({"count": 0}, "count") == 0
    assert protocol.check_count({"count": (1 << 53) - 1}, "count") == (1 << 53) - 1
    assert code(protocol.check_count, {"count": 0}, "count", least=1) == "bad_header"


@given(
    st.sampled_from(DTYPES[:-1]), st.lists(st.integers(1, 5), max_size=6), st.integers(0, 2**32 - 1)
)
def test_arrays_travel_as_bytes(dtype, shape, seed):
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.random.default_rng(seed).bytes(size)
    for part in (raw, bytearray(raw), memoryview(raw), np.frombuffer(raw, np.uint8)):
        array = protocol.array_from_part(part, dtype, shape)
        assert array.shape == tuple(shape)
        assert array.tobytes() == raw
        assert not array.flags.writeable


@pytest.mark.parametrize(
    ("part", "dtype", "shape", "expected"),
    [
        (b"1234567", "<f8", [1], "bad_part"),
        (b"12345678", "<f8", [2], "bad_part"),
        (b"", "<f8", [1], "bad_part"),
        (b"12345678", "<f8", [1 << 31] * 6, "bad_part"),
        (b"", "|u1", [1 << 31] * 6, "bad_part"),
        (b"12345678", "|O", [1], "bad_dtype"),
        (b"12345678", "<f8", [-1], "bad_shape"),
        (b"12345678", "<f8", [0], "bad_shape"),
    ],
)
def test_parts_that_do_not_fit_are_refused(part, dtype, shape, expected):
    assert code(protocol.array_from_part, part, dtype, shape) == expected
