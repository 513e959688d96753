"""Lines and messages: whatever comes, it is a message, malformed, or too long, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daq_secop.messages import Lines, Message, line_of, parse

WORDS = st.text("abcXYZ019_:.", min_size=1, max_size=12)
JSON: Any = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"active", Message("active")),
        (b"active\r", Message("active")),
        (b"active t1", Message("active", "t1")),
        (b'update t1:value [295.13,{"t":1.5}]\r',
         Message("update", "t1:value", [295.13, {"t": 1.5}])),
        # an empty specifier between two spaces
        (b'pong  [null, {"t": 2}]', Message("pong", "", [None, {"t": 2}])),
        (b"ISSE&SINE2020,SECoP,V2019-09-16,v1.0",
         Message("*IDN?", "", "ISSE&SINE2020,SECoP,V2019-09-16,v1.0")),
    ],
)  # fmt: skip
def test_lines_as_the_protocol_has_them(line: bytes, message: Message) -> None:
    assert parse(line) == message


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"update t1:value [1, {", "not JSON"),
        (b"update t1:value " + b"[" * 100_000, "not JSON"),
        (b"update t1:value " + b"9" * 10_000, "not JSON"),
        (b"\xff\xfe", "UTF-8"),
        (b" update", "no action"),
    ],
)
def test_malformed_lines_are_refused(line: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse(line)


def test_the_specifier_is_module_and_parameter_and_the_rest_is_ignored() -> None:
    message = parse(b"update t1:target:unit [1, {}]")

    assert (message.module, message.parameter) == ("t1", "target")


@given(WORDS, WORDS, JSON.filter(lambda value: value is not None))
def test_what_is_written_is_read(action: str, specifier: str, data: Any) -> None:
    line = line_of(action, specifier, data)

    assert line.count(b"\n") == 1
    assert parse(line[:-1]) == Message(action, specifier, json.loads(json.dumps(data)))


@given(st.binary(max_size=200))
def test_no_line_does_harm(line: bytes) -> None:
    try:
        parse(line)
    except ValueError:
        return


@given(st.lists(st.binary(max_size=30)), st.lists(st.integers(1, 40)))
def test_lines_do_not_depend_on_how_they_are_received(parts: list[bytes], sizes: list[int]) -> None:
    stream = b"\n".join(parts)
    lines, longest = Lines(longest=20), []
    at = 0
    for size in [*sizes, len(stream)]:
        longest += list(lines.feed(stream[at : at + size]))
        at += size

    whole = [line for line in stream.split(b"\n")[:-1] if line.strip()]
    assert longest == [line for line in whole if len(line) <= 20]
    assert lines.too_long == sum(len(line) > 20 for line in stream.split(b"\n"))
