"""Datainfo: which numbers are in a value, and what is none of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daq_secop.datainfo import numbers_of

STATUS = {
    "type": "tuple",
    "members": [{"type": "enum", "members": {"IDLE": 100, "ERROR": 400}}, {"type": "string"}],
}
TENS = {"type": "scaled", "scale": 0.1, "min": 0, "max": 2500, "unit": "K"}
FRAME = {
    "type": "struct",
    "members": {"force": {"type": "double", "unit": "N"}, "at": {"type": "double", "unit": "mm"}},
}
THREE = {"type": "array", "maxlen": 3, "members": {"type": "double", "unit": "V"}}
NAN = float("nan")


@pytest.mark.parametrize(
    ("datainfo", "value", "found"),
    [
        ({"type": "double", "unit": "K"}, 295.5, {"": 295.5}),
        ({"type": "double"}, 3, {"": 3.0}),
        ({"type": "int", "min": 0, "max": 9}, 7, {"": 7.0}),
        ({"type": "bool"}, True, {"": 1.0}),
        (TENS, 1255, {"": 125.5}),
        ({"type": "enum", "members": {"a": 0, "b": 5}}, 5, {"": 5.0}),
        ({"type": "enum", "members": {"a": 0, "b": 5}}, "b", {"": 5.0}),
        (STATUS, [400, "broken"], {"0": 400.0}),
        (FRAME, {"at": 2, "force": 1.5}, {"force": 1.5, "at": 2.0}),
        (THREE, [1, 2], {"": [1.0, 2.0, NAN]}),
        ({"type": "array", "maxlen": 2, "members": THREE}, [[1], [2, 3, 4]],
         {"": [[1.0, NAN, NAN], [2.0, 3.0, 4.0]]}),
        ({"type": "tuple", "members": [FRAME, THREE]}, [{"force": 1, "at": 2}, []],
         {"0_force": 1.0, "0_at": 2.0, "1": [NAN, NAN, NAN]}),
    ],
)  # fmt: skip
def test_numbers_are_found(datainfo: Any, value: Any, found: dict[str, Any]) -> None:
    numbers = numbers_of(datainfo)

    assert [number.suffix for number in numbers] == list(found)
    for number in numbers:
        read = number.read(value)
        np.testing.assert_allclose(read, found[number.suffix], rtol=1e-15)
        assert read.shape == number.shape
        assert read.dtype == np.float64


def test_units_are_those_of_each_number() -> None:
    assert [number.units for number in numbers_of(FRAME)] == ["N", "mm"]


@pytest.mark.parametrize(
    ("datainfo", "why"),
    [
        ({"type": "string"}, "string, not a number"),
        ({"type": "blob", "maxbytes": 8}, "blob, not a number"),
        ({"type": "command"}, "of the type command"),
        ({"type": "matrix"}, "of the type matrix"),
        ({}, "described without a type"),
        (["double", {}], "described without a type"),
        ({"type": "array", "maxlen": 3, "members": STATUS}, "array of tuples"),
        ({"type": "array", "members": {"type": "double"}}, "without a proper maxlen"),
        ({"type": "array", "maxlen": 10**9, "members": {"type": "double"}}, "more than 65536"),
        ({"type": "scaled", "scale": "x"}, "scaled by 'x'"),
        ({"type": "enum"}, "enum without codes"),
    ],
)
def test_what_cannot_be_a_field_is_refused(datainfo: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        numbers_of(datainfo)


def test_types_that_contain_each_other_end() -> None:
    datainfo: Any = {"type": "double"}
    for _ in range(100):
        datainfo = {"type": "tuple", "members": [datainfo]}

    with pytest.raises(ValueError, match="too many levels"):
        numbers_of(datainfo)


@pytest.mark.parametrize(
    ("datainfo", "value"),
    [
        ({"type": "double"}, "295"),
        ({"type": "double"}, True),
        ({"type": "double"}, None),
        ({"type": "double"}, 10**400),
        ({"type": "bool"}, 2),
        ({"type": "enum", "members": {"a": 0}}, "b"),
        (STATUS, 100),
        (STATUS, []),
        (FRAME, {"force": 1.0}),
        (FRAME, [1.0, 2.0]),
        (THREE, [1, 2, 3, 4]),
        (THREE, [1, "x"]),
        (THREE, 1.0),
    ],
)
def test_what_is_not_as_described_is_refused(datainfo: Any, value: Any) -> None:
    with pytest.raises(ValueError, match=r"is no|no member|too large"):
        [number.read(value) for number in numbers_of(datainfo)]


@given(
    st.sampled_from([{"type": "double"}, {"type": "bool"}, TENS, STATUS, FRAME, THREE]),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.sampled_from(["force", "at", "x"]), inner)
        ),
        max_leaves=5,
    ),
)
def test_any_value_is_read_or_refused(datainfo: Any, value: Any) -> None:
    for number in numbers_of(datainfo):
        try:
            assert number.read(value).shape == number.shape
        except ValueError:
            continue
