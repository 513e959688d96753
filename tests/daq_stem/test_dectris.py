"""The source `dectris` and a simulated detector: series, gaps, faults, and lives after a kill."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq

import daq
from daq.testing import Records, check_source, record_source
from daq_simulators.dectris_detector import Detector, Faults
from daq_stem.dectris.series import Memory, Numbering
from daq_stem.dectris.source import Dectris
from tests.daq_stem.test_dectris_messages import CONFIG, image_parts, js

SHAPE = (20, 34)


@pytest.fixture
def detectors() -> Iterator[Callable[..., Detector]]:
    made: list[Detector] = []

    def make(*arguments: Any, **settings: Any) -> Detector:
        made.append(Detector(*(arguments or (SHAPE,)), **{"rate": 0, "images": 60} | settings))
        return made[-1]

    yield make
    for detector in made:
        detector.close()


def armed(detector: Detector, **config: Any) -> dict[str, Any]:
    return {
        "host": "127.0.0.1", "port": detector.port, "control": "arm", "trigger_mode": "ints",
        "control_port": detector.api_port, "images": 60, "threads": 2, **config,
    }  # fmt: skip


def listening(detector: Detector, **config: Any) -> dict[str, Any]:
    return {"host": "127.0.0.1", "port": detector.port, "threads": 1, **config}


def runs(detector: Detector, count: int = 1, **settings: Any) -> threading.Thread:
    """Arm and trigger so often, as another program would."""

    def work() -> None:
        for number in range(count):
            detector.detector |= {key: value[number] for key, value in settings.items()}
            detector.command("arm")
            detector.command("trigger")

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def are_frames(records: Records, detector: Detector, numbers: list[int], channel: int = 0) -> None:
    """All valid records are the images of these numbers, in order."""
    lost = np.zeros(len(records), bool)
    for first, count in records.missing:
        lost[first : first + count] = True
    assert (~lost).sum() == len(numbers)
    for frame, number in zip(records.arrays["frame"][~lost], numbers, strict=True):
        np.testing.assert_array_equal(frame, detector.frame(number, channel))


def test_it_keeps_the_promises_of_a_source(detectors: Callable[..., Detector]) -> None:
    detector = detectors()
    found = check_source(Dectris, armed(detector), records=60, repeatable=False)["dectris"]
    are_frames(found, detector, list(range(60)))
    assert detector.detector["nimages"] == 60
    assert detector.stream["header_detail"] == "all"
    stream = found.stream
    assert stream.expect == 60
    assert stream.attributes["instrument"] == "DECTRIS Simulated ARINA"
    assert stream.attributes["dwell_time"] == 1e-3
    assert stream.attributes["threshold_energy"] == {"threshold_1": 30000.0}
    np.testing.assert_array_equal(stream.constants["mask"], detector.mask != 0)
    np.testing.assert_array_equal(stream.constants["pixel_mask"], detector.mask)


def test_series_in_a_row_are_one_stream_of_whole_scans(detectors: Callable[..., Detector]) -> None:
    detector = detectors(user_data={"scan": [5, 8]}, faults=Faults(stop_after=55))
    runs(detector, 3, nimages=[60, 70, 80])
    # series of other lengths only where nobody was promised a number
    found = record_source(Dectris, listening(detector), records=240)["dectris"]
    assert found.stream.scan == {"shape": [5, 8]}
    # 55 of 60, up to 80; 70, up to 160; 80
    assert found.missing == ((55, 25), (150, 10))
    are_frames(found, detector, [*range(55), *range(70), *range(80)])


def test_times_are_the_camera_s_or_those_of_arrival(detectors: Callable[..., Detector]) -> None:
    detector = detectors(images=9)
    for clock in ("camera", "arrival"):
        found = record_source(Dectris, armed(detector, images=9, frame_time=2e-3, clock=clock))
        times = found["dectris"].arrays["time"]
        np.testing.assert_array_equal(np.diff(times), 2_000_000)
        date = np.datetime64(detector._date.removesuffix("+00:00"), "ns").astype(np.int64)
        assert (times[0] == date) == (clock == "camera")


def test_each_channel_has_its_own_stream_and_corrections(
    detectors: Callable[..., Detector],
) -> None:
    detector = detectors(channels=["low", "high one"], images=6, flat_applied=False)
    found = record_source(Dectris, armed(detector, images=6, channels="all"), name="camera")
    assert list(found) == ["camera.low", "camera.high_one"]
    for channel, name in enumerate(found):
        are_frames(found[name], detector, list(range(6)), channel)
        gain = found[name].stream.constants["gain"]
        np.testing.assert_array_equal(gain, detector.flatfield)
    chosen = record_source(Dectris, armed(detector, images=6, channels=["high one"]))
    are_frames(chosen["dectris"], detector, list(range(6)), 1)
    with pytest.raises(ValueError, match="no channel 'third'; the camera has low, high one"):
        record_source(Dectris, armed(detector, images=6, channels=["third"]))


@pytest.mark.parametrize(
    ("applied", "how", "factor"),
    [(False, "auto", 2), (True, "auto", 1), (True, "apply", 2), (False, "ignore", 1)],
)
def test_the_flat_field_is_applied_once(
    detectors: Callable[..., Detector], applied: bool, how: str, factor: int
) -> None:
    detector = detectors(images=3, flat_applied=applied)
    detector.flatfield[...] = 2.0
    detector.flatfield[3, 4] = 0.0
    found = record_source(Dectris, armed(detector, images=3, flatfield=how))["dectris"]
    corrections = daq.corrections_for(found.stream)
    assert corrections is not None
    good = detector.mask == 0
    if factor == 2:
        good[3, 4] = False
    np.testing.assert_array_equal(corrections.bad, ~good)
    raw = found.arrays["frame"]
    np.testing.assert_array_equal(corrections.apply(raw), raw * good * np.float32(factor))
    assert "flatfield" in found.stream.constants


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4"])
@pytest.mark.parametrize("compression", ["none", "lz4", "bslz4"])
def test_every_pixel_type_compressed_in_every_way_and_big_endian(
    detectors: Callable[..., Detector], dtype: str, compression: str
) -> None:
    detector = detectors(
        (9, 31), dtype, images=4, compression=compression, faults=Faults(big_endian=True)
    )
    found = record_source(Dectris, armed(detector, images=4))["dectris"]
    assert found.stream.fields["frame"].dtype == np.dtype(dtype).newbyteorder("<").str
    are_frames(found, detector, list(range(4)))


def test_what_is_lost_repeated_or_damaged_is_accounted_for(
    detectors: Callable[..., Detector], caplog: pytest.LogCaptureFixture
) -> None:
    faults = Faults(drop=(0, 5, 6), repeat=(3, 9), damage=(17,), cut=(20,))
    detector = detectors(faults=faults)
    found = record_source(Dectris, armed(detector))["dectris"]
    lost = [0, 5, 6, 17, 20]
    assert found.missing == ((0, 1), (5, 2), (17, 1), (20, 1))
    are_frames(found, detector, [n for n in range(60) if n not in lost])
    said = caplog.text
    assert "images that cannot be decoded: 1 (image 17, threshold_1: (20, 34) <u2, bslz4)" in said
    assert "messages that cannot be read: 1 (no CBOR" in said
    assert "images dropped that had come before: 2 in all" in said
    assert "gaps: 1 (image 1 came after -1; a second program at the same port" in said


def test_no_end_message_and_an_early_end(
    detectors: Callable[..., Detector], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    detector = detectors(faults=Faults(no_end=True))
    are_frames(record_source(Dectris, armed(detector))["dectris"], detector, list(range(60)))
    assert "series 1 is whole; its end message did not come" in caplog.text
    detector = detectors(faults=Faults(stop_after=41))
    found = record_source(Dectris, armed(detector))["dectris"]
    are_frames(found, detector, list(range(41)))
    assert "series 1 ended: the last 19 of its 60 images did not come" in caplog.text
    assert found.stream.expect == 60  # so that the run ends as aborted


def test_another_shape_after_arming_again(detectors: Callable[..., Detector]) -> None:
    def fresh() -> Detector:
        return detectors(images=30, faults=Faults(shape_after=(20, 36)))

    detector = fresh()
    runs(detector, 2)
    found = record_source(Dectris, listening(detector))["dectris"]
    assert "series 2 has 20 x 36 pixels uint16, not 20 x 34 uint16" in found.aborted
    assert len(found) == 30 and not found.missing
    # where a number of records was promised, it is the records that lack
    detector = fresh()
    assert len(record_source(Dectris, armed(detector, images=30, series=2))["dectris"]) == 30

    detector = fresh()
    taken: list[Records] = []

    def take() -> None:
        config = listening(detector, different="skip")
        taken.append(record_source(Dectris, config, records=60)["dectris"])

    thread = threading.Thread(target=take)
    thread.start()
    runs(detector, 2).join()
    detector._make(SHAPE, "u2")
    runs(detector)
    thread.join(20)
    are_frames(taken[0], detector, [*range(30), *range(30)])


def test_another_flat_field_is_another_run(detectors: Callable[..., Detector]) -> None:
    detector = detectors(images=5, flat_applied=False)
    source = _opened(Dectris(), armed(detector, images=5, series=2))
    batches = source.batches({})
    next(batches)
    detector.flatfield[0, 0] = 1.5
    source._expects = False
    with pytest.raises(ValueError, match="series 2 has another flat field"):
        list(batches)
    source.close()


def test_several_series_are_armed_from_here_and_one_is_aborted(
    detectors: Callable[..., Detector],
) -> None:
    detector = detectors()
    found = record_source(Dectris, armed(detector, images=20, series=3, trigger_mode="exte"))
    are_frames(found["dectris"], detector, 3 * list(range(20)))
    assert (detector.detector["ntrigger"], detector.detector["nimages"]) == (20, 1)
    detector.rate = 200.0
    record_source(Dectris, armed(detector, images=10_000), records=10)
    assert detector.state == "idle"
    assert detector.sent < 1000
    each = record_source(Dectris, armed(detector, images=4, trigger_mode="inte"))
    are_frames(each["dectris"], detector, list(range(4)))


def test_bad_addresses_and_refusals(detectors: Callable[..., Detector]) -> None:
    detector = detectors()
    with pytest.raises(ValueError, match=r"no detector control unit at 127.0.0.1:1: .*refused"):
        record_source(Dectris, armed(detector, control_port=1))
    with pytest.raises(ValueError, match=r"PUT .*roi_mood: 404"):
        record_source(Dectris, armed(detector, settings={"roi_mood": "lines"}))
    with pytest.raises(ValueError, match=r"no camera at tcp://127\.0\.0\.1:1 for 0 s"):
        record_source(Dectris, {"host": "127.0.0.1", "port": 1, "reconnect": 0})
    with pytest.raises(ValueError, match='control = "arm" needs images, or scan'):
        Dectris.Config(control="arm")
    with pytest.raises(ValueError, match="at least one"):
        Dectris.Config(channels=())


def test_a_camera_that_falls_silent_or_is_gone(
    detectors: Callable[..., Detector], caplog: pytest.LogCaptureFixture
) -> None:
    detector = detectors()
    detector.detector |= {"trigger_mode": "inte", "ntrigger": 5}

    def three() -> None:
        detector.command("arm")
        for _ in range(3):
            detector.command("trigger")

    thread = threading.Thread(target=three)
    thread.start()
    found = record_source(Dectris, listening(detector, silence=0.3))["dectris"]
    assert "nothing came for 0.3 s after 3 of 5 images" in found.aborted
    are_frames(found, detector, list(range(3)))
    thread.join()
    detector.command("abort")

    detector = detectors(faults=Faults(die_after=25))
    runs(detector)
    found = record_source(Dectris, listening(detector, series=1, reconnect=0))["dectris"]
    are_frames(found, detector, list(range(25)))
    assert f"tcp://127.0.0.1:{detector.port} is away: waiting for it" in caplog.text
    assert "any more, for 0 s: gone after 25 of 60 images of series" in found.aborted


def test_a_camera_that_comes_back(detectors: Callable[..., Detector]) -> None:
    first = detectors(images=30, faults=Faults(die_after=10), user_data={"scan": [3, 10]})
    runs(first)
    taken: list[Records] = []

    def take() -> None:
        taken.append(record_source(Dectris, listening(first), records=60)["dectris"])

    thread = threading.Thread(target=take)
    thread.start()
    for _ in range(1000):
        if first.state == "gone":
            break
        threading.Event().wait(0.01)
    first.close()
    second = detectors(images=30, port=first.port)
    second.series = 4
    runs(second)
    thread.join(20)
    (found,) = taken
    assert found.missing == ((10, 20),)
    are_frames(found, second, [*range(10), *range(30)])


# -- lives after a kill -------------------------------------------------------------------------


def _opened(source: Dectris, config: dict[str, Any], memory: Path | None = None) -> Dectris:
    source.context = daq.SourceContext(memory=memory)
    source.open(Dectris.Config(**config))
    return source


@pytest.mark.parametrize("control", ["listen", "arm"])
def test_a_source_that_was_killed_goes_on(
    detectors: Callable[..., Detector], tmp_path: Path, control: str
) -> None:
    """The socket of the life before stays open, as that of a process that was killed for a moment."""
    detector = detectors(images=400, rate=800.0)
    make = armed if control == "arm" else listening
    config = make(detector, images=400, series=2, scan=(10, 50), batch=16)
    if control == "listen":
        runs(detector, 2)
    one = _opened(Dectris(), config, tmp_path / "memory")
    described = one._streams
    taken = 0
    for batch in one.batches({"": 0}):
        taken += len(batch)
        if taken > 60:
            break
    assert one._connection is not None
    one._connection.close()

    other = _opened(Dectris(), config, tmp_path / "memory")
    assert other._streams[0].header() == described[0].header()
    index, lost = taken, 0
    for item in other.batches({"": taken}):
        assert item.first == index
        if isinstance(item, daq.Missing):
            lost += item.count
        else:
            for place, frame in enumerate(item.raw["frame"]):
                number = index + place if index < 400 else index + place - 500
                np.testing.assert_array_equal(frame, detector.frame(number))
        index += item.count
    other.close()
    assert index == 900
    assert 100 <= lost < 450
    third = _opened(Dectris(), config, tmp_path / "memory")
    assert list(third.batches({"": 900})) == []
    third.close()


def test_memory_and_numbering(tmp_path: Path) -> None:
    assert Memory(None).load() is None
    memory = Memory(tmp_path / "m")
    assert memory.load() is None
    numbering = Numbering(3, 50, (4, 5))
    memory.save([[b"\x00\xff", b"b"]], numbering, [None, 7], ended=False)
    assert numbering.index(49) == 49
    assert numbering.index(50) is None
    assert numbering.following(12) == 60
    numbering.next(4, 30, 60)
    memory.save([[b"other"]], numbering, [1, 2], ended=True)
    kept = Memory(tmp_path / "m").load()
    assert kept is not None
    assert kept.messages == [[b"\x00\xff", b"b"]]
    assert (kept.numbering, kept.clock, kept.ended) == (numbering, [1, 2], True)
    # what was never meant to come is not filled
    assert Numbering(1, 2_000_000_000, (4, 5)).following(33) == 40


# -- version 1 ----------------------------------------------------------------------------------


@contextmanager
def sent(messages: list[list[bytes]]) -> Iterator[int]:
    """Send messages to whoever comes; give the port."""
    with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
        socket.linger, socket.sndtimeo = 0, 20_000
        port = socket.bind_to_random_port("tcp://127.0.0.1")

        def work() -> None:
            for parts in messages:
                socket.send_multipart(parts)

        thread = threading.Thread(target=work)
        thread.start()
        yield port
        thread.join()


def test_version_1_over_a_socket() -> None:
    frames = np.random.default_rng(8).integers(0, 60_000, (6, 4, 6), "u2")
    messages = [
        [js(htype="dheader-1.0", series=34, header_detail="basic")], [js(**CONFIG)],
        *(image_parts(n, frames[n], "<", frames[n].tobytes()) for n in (0, 1, 2, 5)),
        [js(htype="dseries_end-1.0", series=34)],
    ]  # fmt: skip
    with sent(messages) as port:
        config = {"host": "127.0.0.1", "port": port, "format": "legacy", "series": 1}
        found = record_source(Dectris, config)["dectris"]
    assert found.missing == ((3, 2),)
    np.testing.assert_array_equal(found.arrays["frame"][[0, 1, 2, 5]], frames[[0, 1, 2, 5]])
    np.testing.assert_array_equal(np.diff(found.arrays["time"][:3]), 100)
    assert found.stream.attributes["flatfield_enabled"] is False


def test_the_other_version_is_told_apart() -> None:
    with (
        sent(12 * [[b"{}", b"{}"]]) as port,
        pytest.raises(ValueError, match=r"stream v2 has one: is it v1\?"),
    ):
        record_source(Dectris, {"host": "127.0.0.1", "port": port})
