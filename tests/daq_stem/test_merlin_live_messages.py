"""Pieces of the live Merlin source: messages, commands, numbers, times and indices."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from merlin_cameras import START, Script, frame, frames, header, made

from daq_simulators.merlin_detector import Images, MerlinDetector
from daq_stem.merlin.acquisitions import BEYOND, Acquisitions
from daq_stem.merlin.commands import Commands, RefusedError, request
from daq_stem.merlin.header import Clock, parse_first
from daq_stem.merlin.sequence import NOT_ALIKE, NumberColumns, in_order
from daq_stem.merlin.stream import MessageStream

IMAGES = made(12)
FRAME = len(frame(IMAGES[0], 1)) - 15


# -- messages ---------------------------------------------------------------------------------------


def received(
    port: int, together: int, expect: bool
) -> tuple[list[bytes], list[int], MessageStream]:
    """Headers, and numbers of frames, in the order in which they came."""
    stream = MessageStream("127.0.0.1", port, 5.0)
    if expect:
        stream.expect(FRAME, together)
    headers, numbers, over = [], [], False
    while not over:
        try:
            stream.fill(5.0, 0.001)
        except ConnectionResetError:
            over = True
        while (message := stream.take()) is not None:
            if isinstance(message, bytes):
                headers.append(message)
                continue
            for row in message:
                numbers.append(int(row[4:10].tobytes()))
                assert row.tobytes() == frame(IMAGES[numbers[-1] % 12], numbers[-1])[15:]
    stream.close()
    return headers, numbers, stream


@settings(max_examples=40, deadline=None)
@given(
    garbage=st.lists(st.binary(max_size=300) | st.just(b"MPX,0000"), min_size=13, max_size=13),
    pieces=st.lists(st.integers(1, 700), min_size=1, max_size=30),
    together=st.integers(1, 8),
    expect=st.booleans(),
)
def test_whatever_is_between_messages_they_come_whole_and_in_order(
    garbage: list[bytes], pieces: list[int], together: int, expect: bool
) -> None:
    parts = [header(12), *(frame(IMAGES[n % 12], n) for n in range(1, 13))]
    text = b"".join(g + part for g, part in zip(garbage, parts, strict=True))
    cuts = np.cumsum(pieces)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            client, _ = server.accept()
            with client:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
                    client.sendall(text[begin:end])

        thread = threading.Thread(target=serve)
        thread.start()
        headers, numbers, stream = received(server.getsockname()[1], together, expect)
        thread.join()
    assert headers == [header(12)[15:]]
    assert numbers == list(range(1, 13))
    assert stream.skipped == sum(map(len, garbage))


def test_frames_larger_than_the_buffer_that_was_made() -> None:
    image = made(1, shape=(512, 512))[0]
    with Script(header(1) + frames(IMAGES[:2]) + frame(image, 7) + frames(IMAGES[:2])) as script:
        stream = MessageStream("127.0.0.1", script.port, 5.0)
        stream.expect(FRAME, 2)
        sizes = []
        with contextlib.suppress(ConnectionResetError):
            while True:
                while (message := stream.take()) is not None:
                    sizes.append(
                        np.shape(message)[1:] if isinstance(message, np.ndarray) else "HDR"
                    )
                stream.fill(1.0, 0.01)
        while (message := stream.take()) is not None:
            sizes.append(np.shape(message)[1:])
        stream.close()
    assert sizes[0] == "HDR"
    assert (len(frame(image, 7)) - 15,) in sizes
    assert sizes[-1] == (FRAME,)


# -- commands ---------------------------------------------------------------------------------------


@pytest.fixture
def answering() -> Iterator[Callable[..., Commands]]:
    """Commands to a camera that answers each request with the next text."""
    with contextlib.ExitStack() as stack:

        def make(*answers: bytes) -> Commands:
            server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

            def serve() -> None:
                client, _ = server.accept()
                with client:
                    for answer in answers:
                        if not client.recv(4096):
                            return
                        client.sendall(answer)
                    client.recv(1)

            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            commands = Commands("127.0.0.1", server.getsockname()[1], 0.3)
            stack.callback(thread.join, 5)
            stack.callback(commands.close)
            return commands

        yield make


def test_a_request_counts_the_comma_before_it() -> None:
    assert request("GET", "SOFTWAREVERSION") == b"MPX,0000000020,GET,SOFTWAREVERSION"
    assert request("SET", "HVBIAS", 120) == b"MPX,0000000015,SET,HVBIAS,120"


def test_answers(answering: Callable[..., Commands]) -> None:
    commands = answering(
        b"MPX,0000000016,GET,HVBIAS,15,0",
        # of a camera that does not count the comma
        b"MPX,0000000015,GET,HVBIAS,15,0",
        # late, and after something else
        b"junk MPX,0000000013,SET,HVBIAS,0MPX,0000000023,GET,DETECTORSTATUS,4,0",
        b"MPX,0000000026,GET,DETECTORSTATUS,undef,0",
        b"MPX,0000000013,SET,HVBIAS,3",
        b"MPX,0000000023,CMD,STARTACQUISITION,1",
    )
    assert commands.get("HVBIAS") == "15"
    assert commands.get("HVBIAS") == "15"
    assert commands.status() == 4
    assert commands.status() is None
    with pytest.raises(RefusedError, match="SET HVBIAS 900: the value is out of range") as caught:
        commands.set("HVBIAS", 900)
    assert not caught.value.busy
    with pytest.raises(RefusedError, match="CMD STARTACQUISITION: it is busy") as caught:
        commands.do("STARTACQUISITION")
    assert caught.value.busy


def test_no_answer_and_no_sense(answering: Callable[..., Commands]) -> None:
    with pytest.raises(TimeoutError, match=r"does not answer within 0.3 s"):
        answering(b"MPX,00000").get("HVBIAS")
    with pytest.raises(ConnectionError, match="the answer to GET HVBIAS makes no sense"):
        answering(b"MPX,0000000017,GET,HVBIAS,15,no").get("HVBIAS")


def test_the_simulated_camera_answers() -> None:
    with MerlinDetector(Images(IMAGES)) as camera:
        commands = Commands("127.0.0.1", camera.command_port)
        commands.set("ACQUISITIONTIME", 2.5)
        assert commands.get("ACQUISITIONTIME") == "2.5"
        assert commands.status() == 0
        for words, said in (("COUNTERDEPTH", 13), "range"), (("COLOUR", 1), "know"):
            with pytest.raises(RefusedError, match=said):
                commands.set(*words)
        commands.close()


# -- numbers and times ------------------------------------------------------------------------------


def rows(*one: bytes) -> np.ndarray:
    return np.array([np.frombuffer(entry[15 : 15 + 384], np.uint8) for entry in one])


def test_numbers_of_many_headers_at_once() -> None:
    good = [frame(IMAGES[0], number) for number in (1, 20, 999_999)]
    wide = good[0].replace(b"MQ1,000001,", b"MQ1,1000001,")
    other = good[0].replace(b",U16,", b",U08,")
    broken = good[0].replace(b"000001", b"0000x1")
    none = good[0].replace(b"MQ1,", b"XQ1,")
    headers = rows(*good, wide, other, broken, none)
    first = headers[0].tobytes()
    found = NumberColumns(first, parse_first(first)).numbers(headers)
    assert found.tolist() == [1, 20, 999_999, 1_000_001, NOT_ALIKE, NOT_ALIKE, NOT_ALIKE]


@given(st.lists(st.integers(0, 30), max_size=30), st.integers(0, 10))
def test_runs_hold_each_number_once_in_order(numbers: list[int], following: int) -> None:
    expected: list[tuple[int, int]] = []
    highest = following - 1
    for position, number in enumerate(numbers):
        if number > highest:
            expected.append((number, position))
            highest = number
    runs = list(in_order(np.array(numbers, np.int64), following))
    found = [(first + n, int(p)) for first, run in runs for n, p in enumerate(run)]
    assert found == expected
    ends = [first + len(run) for first, run in runs]
    assert all(first > end for end, (first, _) in zip(ends, runs[1:], strict=False))


STAMPS = [
    b"2021-04-15T13:44:43.100924481Z", b"2021-10-31T00:59:59.999999999Z", b"1999-01-01T00:00:00.000000000Z",
    b"", b"yesterday", b"2021-04-15T13:44:43Z", b"2021-13-41T13:44:43.100924481Z", b"0001-04-15T13:44:43.100924481Z",
]  # fmt: skip


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from(STAMPS), st.sampled_from([True, True, False])), max_size=6),
    st.booleans(),
    st.sampled_from(["UTC", "Europe/London"]),
)
def test_times_of_many_headers_are_those_of_each(
    stamps: list[tuple[bytes, bool]], utc: bool, zone: str
) -> None:
    mine = b"2023-11-14T22:13:20.001000000Z"
    headers = []
    for text, extended in stamps:
        one = frame(IMAGES[0], 1)[15 : 15 + 384]
        assert mine in one
        local = text.rstrip(b"Z")[:26].replace(b"T", b" ")
        one = one.replace(mine, text).replace(b"2023-11-14 22:13:20.001000", local)
        if not (utc and extended):
            one = one.replace(b"MQ1A", b"MQ0A")
        headers.append(one[:384].ljust(384, b"\0"))
    each, together = (Clock(0.001, START, zone) for _ in range(2))
    expected = [each.stamp(one) for one in headers]
    table = np.array([np.frombuffer(one, np.uint8) for one in headers]).reshape(-1, 384)
    assert together.stamps(table).tolist() == expected
    assert together.unreadable == each.unreadable
    again = frame(IMAGES[0], 1)[15:].replace(mine, b"").replace(b"2023-11-14 22:13:20.001000", b"")
    assert together.stamp(again) == each.stamp(again)


# -- indices ----------------------------------------------------------------------------------------


def test_numbers_of_six_digits_begin_again() -> None:
    acquisitions = Acquisitions(None)
    acquisitions.next_acquisition(1)
    acquisitions.following = 999_998
    numbers = np.array([999_999, 0, 1, 2])
    assert acquisitions.indices(numbers).tolist() == [999_998, 999_999, 1_000_000, 1_000_001]
    acquisitions.following = 2_400_000
    assert acquisitions.indices(np.array([400_001]))[0] == 2_400_000
    # a camera whose numbers grow wider
    assert acquisitions.indices(np.array([2_400_001]))[0] == 2_400_000


def test_indices_of_acquisitions_of_known_size() -> None:
    acquisitions = Acquisitions(10)
    acquisitions.next_acquisition(3)
    assert acquisitions.indices(np.array([0, 1, 10, 11])).tolist() == [BEYOND, 0, 9, BEYOND]
    acquisitions.following = 4
    assert not acquisitions.whole
    acquisitions.next_acquisition(1)
    assert acquisitions.indices(np.array([1, 10])).tolist() == [10, 19]
    acquisitions.following = 20
    assert acquisitions.whole


def test_numbers_that_count_on_over_acquisitions() -> None:
    acquisitions = Acquisitions(10)
    acquisitions.next_acquisition(1)
    acquisitions.following = 10
    acquisitions.next_acquisition(13)
    assert acquisitions.indices(np.array([13, 20, 21])).tolist() == [12, 19, BEYOND]
