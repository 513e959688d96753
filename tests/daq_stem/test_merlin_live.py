"""The live Merlin source: what the camera sends comes out in its place, and what goes wrong is said."""

from __future__ import annotations

import contextlib
import json
import re
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from merlin_cameras import (
    START,
    Live,
    Script,
    frame,
    frames,
    header,
    made,
    message,
    refused_port,
)

from daq.config import ConfigError, validated
from daq.testing import check_source
from daq_simulators.merlin_detector import Images, MerlinDetector, Recording
from daq_stem.merlin.reader import MerlinReader
from daq_stem.merlin.source import Merlin

IMAGES = made(10)


def camera(images: np.ndarray = IMAGES, kind: str | None = None, **keys: Any) -> MerlinDetector:
    made_ = MerlinDetector(Images(images, kind), **({"speed": 0} | keys))
    made_.parameters["NUMFRAMESTOACQUIRE"] = str(len(images))
    return made_


def armed(detector: MerlinDetector, **keys: Any) -> dict[str, Any]:
    return {"command_port": detector.command_port, "arm": True, **keys}


# -- what comes out ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "depth", "kind"),
    [("u1", 6, "U08"), ("u2", 12, "U16"), ("u4", 24, "U32"), ("u8", 24, "U64")],
)
def test_every_depth(dtype: str, depth: int, kind: str) -> None:
    images = made(5, dtype)
    with camera(images, kind) as detector:
        live = Live(detector.data_port, **armed(detector, counter_depth=depth))
    live.holds(images)
    assert live.stream.fields["frame"].dtype == np.dtype(dtype).newbyteorder("<").str
    assert live.stream.attributes["counter_depth_bits"] == depth


@pytest.mark.parametrize("packed", [True, False])
def test_one_bit(packed: bool, tmp_path: Path) -> None:
    images = (made(5) & 1).astype("u1")
    if packed:
        content = b"".join(frame(image, n, "U01") for n, image in enumerate(images, 1))
    else:
        content = b"".join(
            frame(i, n, "U08").replace(b",U08,", b",U01,") for n, i in enumerate(images, 1)
        )
    with Script(header(5) + content) as script:
        Live(script.port).holds(images)
    # the same frames in a file
    path = tmp_path / "one.mib"
    size = len(content) // 5
    path.write_bytes(b"".join(content[n * size + 15 : (n + 1) * size] for n in range(5)))
    reader = MerlinReader()
    reader.open(path, MerlinReader.Config())
    np.testing.assert_array_equal(next(iter(reader.batches({}))).raw["frame"], images)
    reader.close()


@pytest.mark.parametrize("chips", ["Single", "Quad"])
def test_a_recording_comes_as_from_its_file(recordings: Path, chips: str) -> None:
    path = recordings / f"{chips}_9_Frame_CounterDepth_12_Rows_256.mib"
    with MerlinDetector(Recording(path), free_running=True, speed=0) as detector:
        live = Live(detector.data_port, scan=(3, 3), step=0.5)
    reader = MerlinReader()
    (stream,) = reader.open(path, MerlinReader.Config())
    (batch,) = reader.batches({})
    live.holds(batch.raw["frame"])
    assert list(live.times.values()) == batch.time.tolist()
    assert live.stream.fields == stream.fields
    assert live.stream.scan == {"shape": [3, 3], "step": 0.5}
    assert live.stream.expect == 9


def test_the_promises_of_a_source() -> None:
    with camera(free_running=True) as detector:
        keys = {"host": "127.0.0.1", "port": detector.data_port, "acquisitions": 3, "batch": 4}
        check_source(Merlin, keys, records=24)


def test_the_acquisition_header_is_in_the_attributes_and_says_the_scan() -> None:
    sent = header(12, ScanX=3, ScanY=2, Gain="SLGM") + frames(made(12))
    with Script(sent) as script:
        live = Live(script.port)
    assert live.stream.scan == {"shape": [2, 3]}
    assert live.stream.attributes["hdr"]["Gain"] == "SLGM"
    lines = header(12, **{"Frames per Trigger (Number)": 4}) + frames(made(12))
    with Script(lines) as script:
        live = Live(script.port)
    assert live.stream.scan == {"shape": [3, 4]}
    assert list(live.times.values()) == [START + n * 1_000_000 for n in range(1, 13)]


def test_local_time_where_the_camera_sends_no_utc() -> None:
    detector = MerlinDetector(Images(IMAGES, utc=False), free_running=True, speed=0)
    detector.parameters["NUMFRAMESTOACQUIRE"] = "10"
    with detector:
        plain = Live(detector.data_port)
        there = Live(detector.data_port, timezone="Asia/Tokyo")
    assert (np.diff(list(plain.times.values())) == 1_000_000).all()
    assert plain.times[0] - there.times[0] == pytest.approx(9 * 3600e9, abs=60e9)


# -- acquisitions -----------------------------------------------------------------------------------


def test_listens_to_one_acquisition_after_another() -> None:
    with camera(free_running=True) as detector:
        live = Live(detector.data_port, acquisitions=3, batch=4)
        assert detector.said == []
    live.holds(np.concatenate([IMAGES] * 3))
    assert live.stream.expect == 30


def test_sets_arms_and_triggers() -> None:
    wanted = {
        "trigger": "soft", "scan": (2, 5), "acquisition_time": 0.0005, "acquisition_period": 0.001,
        "counter_depth": 12, "continuous": True, "parameters": {"HVBIAS": 110, "FILEENABLE": False},
    }  # fmt: skip
    with camera() as detector:
        live = Live(detector.data_port, **armed(detector, acquisitions=2, **wanted))
        said = [word for word in detector.said if not word.startswith("GET")]
    live.holds(np.concatenate([IMAGES, IMAGES]))
    assert live.stream.attributes["exposure_time"] == 0.0005
    start = ["CMD,STARTACQUISITION", "CMD,SOFTTRIGGER"]
    assert said == [
        "SET,COUNTERDEPTH,12", "SET,CONTINUOUSRW,1", "SET,ACQUISITIONTIME,0.5",
        "SET,ACQUISITIONPERIOD,1", "SET,NUMFRAMESTOACQUIRE,10", "SET,NUMFRAMESPERTRIGGER,10",
        "SET,TRIGGERSTART,5", "SET,HVBIAS,110", "SET,FILEENABLE,0", *start, *start,
    ]  # fmt: skip


def test_a_software_trigger_for_each_line() -> None:
    with camera() as detector:
        keys = {"trigger": "soft", "scan": (2, 5), "frames_per_trigger": 5}
        Live(detector.data_port, **armed(detector, **keys)).holds(IMAGES)
        assert detector.said.count("CMD,SOFTTRIGGER") == 2


def test_stopped_in_mid_scan_it_stops_the_camera_and_can_begin_again() -> None:
    with camera(speed=1) as detector:
        detector.parameters["ACQUISITIONPERIOD"] = "20"
        live = Live(detector.data_port, stop=3, batch=1, **armed(detector, trigger="internal"))
        assert 3 <= len(live.frames) < 10
        assert detector.said[-1] == "CMD,STOPACQUISITION"
        detector.parameters["ACQUISITIONPERIOD"] = "1"
        Live(detector.data_port, **armed(detector, trigger="internal")).holds(IMAGES)


def test_an_acquisition_that_runs_is_stopped_before_arming() -> None:
    with camera() as detector:
        detector.parameters["TRIGGERSTART"] = "1"
        detector._done("CMD", "STARTACQUISITION", "")
        Live(detector.data_port, **armed(detector, trigger="internal")).holds(IMAGES)
        assert detector.said[:2] == ["GET,DETECTORSTATUS", "CMD,STOPACQUISITION"]


def test_what_began_before_the_source_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    others = made(4, seed=1)
    with Script(frames(others, [3, 4, 5, 6]) + header(10) + frames(IMAGES)) as script:
        Live(script.port).holds(IMAGES)
    assert "had begun before: left out" in caplog.text


def test_an_open_acquisition_ends_when_nothing_comes() -> None:
    with Script(header(0) + frames(IMAGES), stay=True) as script:
        live = Live(script.port, stall=0.2)
    live.holds(IMAGES)
    assert live.stream.expect is None


def test_an_open_acquisition_is_followed_by_the_next_at_a_whole_scan() -> None:
    first, second = IMAGES[:5], IMAGES[5:]
    sent = header(0) + frames(first) + header(0) + frames(second)
    with Script(sent, stay=True) as script:
        live = Live(script.port, stall=0.2, scan=(2, 4), acquisitions=2)
    live.holds(IMAGES, [0, 1, 2, 3, 4, 8, 9, 10, 11, 12])
    assert live.missing == [5, 6, 7]


# -- numbers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_a_missing_number_is_a_gap_and_a_repeat_is_dropped(
    batch: int, caplog: pytest.LogCaptureFixture
) -> None:
    # 1 and 5, 6 are lost; 3 comes twice, 2 again later
    numbers = [2, 3, 3, 4, 7, 2, 8, 9, 10]
    with Script(header(10) + frames(IMAGES[[n - 1 for n in numbers]], numbers)) as script:
        live = Live(script.port, batch=batch)
    live.holds(IMAGES[[1, 2, 3, 6, 7, 8, 9]], [1, 2, 3, 6, 7, 8, 9])
    assert live.missing == [0, 4, 5]
    assert "had come before: dropped" in caplog.text


def test_an_acquisition_cut_off_does_not_shift_the_next(caplog: pytest.LogCaptureFixture) -> None:
    sent = header(10) + frames(IMAGES[:6]) + header(10) + frames(IMAGES)
    with Script(sent) as script:
        live = Live(script.port, acquisitions=2)
    live.holds(np.concatenate([IMAGES[:6], IMAGES]), [*range(6), *range(10, 20)])
    assert live.missing == [6, 7, 8, 9]
    assert "acquisition 1 ended after 6 of 10 frames" in caplog.text


@pytest.mark.parametrize("begins", [0, 7, 4321])
def test_cameras_that_do_not_begin_at_one(begins: int) -> None:
    numbers = range(begins, begins + 5)
    with Script(header(5) + frames(IMAGES[:5], numbers)) as script:
        Live(script.port).holds(IMAGES[:5])


def test_frames_of_two_counters_are_refused() -> None:
    two = [
        frame(image, n // 2 + 1).replace(b"0.001000,0,", b"0.001000,%d," % (n % 2))
        for n, image in enumerate(IMAGES)
    ]
    with Script(header(10) + b"".join(two), stay=True) as script:
        live = Live(script.port)
    assert "ENABLECOUNTER1 to 0" in live.aborted
    assert len(live.frames) <= 1 < live.stream.expect


# -- what goes wrong --------------------------------------------------------------------------------


def open_(port: int, **keys: Any) -> None:
    Live(port, **keys)


def test_connection_refused() -> None:
    said = r"no Merlin at 127.0.0.1:\d+: Connection refused; is"
    with refused_port() as port, pytest.raises(ValueError, match=said):
        open_(port)


def test_the_command_port_is_refused() -> None:
    said = r"the command port \d+: Connection refused"
    with camera() as detector, refused_port() as port, pytest.raises(ValueError, match=said):
        open_(detector.data_port, command_port=port, arm=True)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"parameters": {"HVBIAS": 900}}, "refuses SET HVBIAS 900: the value is out of range"),
        ({"parameters": {"HVBAIS": 100}}, "refuses SET HVBAIS 100: it does not know this"),
    ],
)
def test_a_camera_that_refuses(keys: dict[str, Any], said: str) -> None:
    with camera() as detector, pytest.raises(ValueError, match=said):
        open_(detector.data_port, **armed(detector, **keys))


def test_armed_and_nothing_comes() -> None:
    with camera() as detector, Script(b"", stay=True) as script:
        keys = armed(detector, trigger="internal", timeout=0.2)
        with pytest.raises(
            ValueError, match=r"no acquisition header came within 0.2 s; does another"
        ):
            open_(script.port, **keys)
        assert detector.said[-1] == "CMD,STOPACQUISITION"


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"frames": 10}, "frames is set only with arm = true"),
        ({"arm": True, "scan": [3, 3], "frames": 10}, "one is a multiple of the other"),
        ({"arm": True, "acquisition_time": 2.0, "acquisition_period": 1.0}, "shorter than"),
        ({"timezone": "Atlantis/City"}, "Atlantis/City"),
        ({"triger": "soft"}, "did you mean 'trigger'"),
    ],
)
def test_configurations_that_make_no_sense(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        validated(Merlin.Config, keys, "sources.merlin")


def test_a_scan_that_does_not_fit() -> None:
    said = r"10 frames, and a scan of 3 x 3 has 9 positions"
    with Script(header(10) + frames(IMAGES)) as script, pytest.raises(ValueError, match=said):
        open_(script.port, scan=(3, 3))


def test_the_camera_disappears_in_mid_scan() -> None:
    cut = frames(IMAGES)[:-1000]
    with Script(header(10) + cut) as script:
        live = Live(script.port)
    whole = len(cut) // (len(frames(IMAGES)) // 10)
    live.holds(IMAGES[:whole])
    assert f"is gone (it closed the connection) after {whole} of 10 frames" in live.aborted


def test_a_camera_that_comes_back_goes_on_in_the_acquisition(
    caplog: pytest.LogCaptureFixture,
) -> None:
    before, after = frames(IMAGES[:4]), frames(IMAGES[6:], [7, 8, 9, 10])
    with Script(header(10) + before + frame(IMAGES[4], 5)[:100], after) as script:
        live = Live(script.port, reconnect=20)
    live.holds(IMAGES[[0, 1, 2, 3, 6, 7, 8, 9]], [0, 1, 2, 3, 6, 7, 8, 9])
    assert live.missing == [4, 5]
    assert "connected to" in caplog.text


def test_a_camera_that_stays_away(caplog: pytest.LogCaptureFixture) -> None:
    with Script(header(10) + frames(IMAGES[:4])) as script:
        live = Live(script.port, reconnect=0.3)
    live.holds(IMAGES[:4])
    assert "is away (it closed the connection): waited for, 0.3 s at most" in caplog.text
    assert "is gone (Connection refused) after 4 of 10 frames of acquisition 1" in live.aborted


def test_gone_where_nobody_knows_how_many_there_should_be() -> None:
    with Script(header(0) + frames(IMAGES[:4])) as script:
        live = Live(script.port)
    live.holds(IMAGES[:4])
    assert re.search(r"gone .* after 4 frames", live.aborted)


def test_an_armed_camera_that_is_idle_has_ended_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daq_stem.merlin.source.ASK_AFTER", 0.1)
    lost = {9: b"", 10: b""}
    with camera(fault=lambda number, text: lost.get(number, text)) as detector:
        live = Live(detector.data_port, **armed(detector, trigger="internal"))
    live.holds(IMAGES[:8])
    assert "ended after 8 of 10 frames: the camera is idle" in live.aborted


def test_an_armed_camera_whose_acquisition_was_cut_off_takes_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("daq_stem.merlin.source.ASK_AFTER", 0.1)
    seen: list[int] = []

    def fault(number: int, text: bytes) -> bytes:
        seen.append(number)
        return b"" if len(seen) in (9, 10) else text

    with camera(fault=fault) as detector:
        live = Live(
            detector.data_port, **armed(detector, trigger="soft", frames=10, acquisitions=2)
        )
    live.holds(np.concatenate([IMAGES[:8], IMAGES]), [*range(8), *range(10, 20)])


def test_a_command_connection_that_was_lost_is_made_again() -> None:
    with camera() as detector:

        def fault(number: int, text: bytes) -> bytes:
            for client in detector._clients:
                # one may be gone already, from the frame before
                with contextlib.suppress(OSError):
                    if client.getsockname()[1] == detector.command_port:
                        client.shutdown(socket.SHUT_RDWR)
            return text

        detector.fault = fault
        keys = armed(detector, trigger="internal", frames=10, acquisitions=2)
        Live(detector.data_port, **keys).holds(np.concatenate([IMAGES, IMAGES]))


def test_an_acquisition_that_stalls() -> None:
    with Script(header(10) + frames(IMAGES[:4]), stay=True) as script:
        live = Live(script.port, stall=0.2)
    live.holds(IMAGES[:4])
    assert "ended after 4 of 10 frames: no frame for 0.2 s" in live.aborted


OTHER = header(10) + frames(made(10, shape=(4, 8)))
WIDER = header(10) + frames(made(10, "u4"))


@pytest.mark.parametrize(("other", "size"), [(OTHER, "4 x 8 (U16"), (WIDER, "6 x 8 (U32")])
def test_another_size_after_arming_again_ends_it(other: bytes, size: str) -> None:
    with Script(header(10) + frames(IMAGES) + other, stay=True) as script:
        live = Live(script.port, acquisitions=2)
    live.holds(IMAGES)
    assert f"the camera now sends frames of {size}" in live.aborted
    assert "the stream is of 6 x 8 (U16, 1x1, chips 01)" in live.aborted


@pytest.mark.parametrize("other", [OTHER, WIDER])
def test_another_size_is_left_out_until_it_is_as_before(other: bytes) -> None:
    with Script(header(10) + frames(IMAGES) + other + header(10) + frames(IMAGES)) as script:
        live = Live(script.port, acquisitions=2, if_changed="wait")
    live.holds(np.concatenate([IMAGES, IMAGES]))


def test_another_number_of_frames_ends_it() -> None:
    with Script(header(10) + frames(IMAGES) + header(20) + frames(IMAGES), stay=True) as script:
        live = Live(script.port, acquisitions=2)
    live.holds(IMAGES)
    assert "an acquisition of 20 frames begins, and the first one had 10" in live.aborted


GARBAGE = [
    b"GARBAGE" * 3000,
    b"MPX,",
    b"MPX,0000000100,nothing that is known" + b"x" * 90,
    b"MPX,9999999999,MQ1,000003,00384,01,0008,0006,U16,   1x1,01,x,0.001000,0,",
    b"MPX,0000900000,HDR,too long",
    b"MPX,0000000300,MQ1,a,b,c,d" + b"y" * 280,
    b"MPX,MPX,MPX,0000000017,",
    message(frame(IMAGES[0], 3)[15:-10]),
    message(frame(IMAGES[0], 3)[15:100]),
    b"\0",
]


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize("batch", [2, 64])
def test_garbage_is_skipped_up_to_the_next_message(
    garbage: bytes, batch: int, caplog: pytest.LogCaptureFixture
) -> None:
    sent = garbage + header(10) + garbage + frames(IMAGES[:5]) + garbage
    with Script(sent + frames(IMAGES[5:], range(6, 11))) as script:
        Live(script.port, batch=batch).holds(IMAGES)
    assert "bytes skipped that are no message" in caplog.text


def test_a_frame_whose_header_is_damaged_is_missing(caplog: pytest.LogCaptureFixture) -> None:
    damaged = frame(IMAGES[4], 5).replace(b"000005", b"00x005")
    sent = frames(IMAGES[:4]) + damaged + frames(IMAGES[5:], range(6, 11))
    with Script(header(10) + sent) as script:
        live = Live(script.port)
    live.holds(np.delete(IMAGES, 4, 0), [0, 1, 2, 3, 5, 6, 7, 8, 9])
    assert "damaged header: left out" in caplog.text


def test_a_number_beyond_the_acquisition_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    sent = frames(IMAGES[[0, 1, 2]], [1, 2, 900]) + frames(IMAGES[2:], range(3, 11))
    with Script(header(10) + sent) as script:
        Live(script.port).holds(IMAGES)
    assert "1 frames with a number that is not of their acquisition" in caplog.text


@pytest.mark.parametrize("short", [b"HDR,", b"HDR,\t\r\nFrames in Acq", b"HDR\n\n\nEnd\t"])
def test_a_short_acquisition_header_leaves_the_number_open(short: bytes) -> None:
    with Script(message(short) + frames(IMAGES), stay=True) as script:
        live = Live(script.port, stall=0.2)
    live.holds(IMAGES)
    assert live.stream.expect is None


# -- lives ------------------------------------------------------------------------------------------


def test_a_restarted_source_goes_on_where_the_camera_is(tmp_path: Path) -> None:
    memory = tmp_path / "memory"
    first = (
        header(10, Started="12:00")
        + frames(IMAGES)
        + header(10, Started="12:01")
        + frames(IMAGES[:3])
    )
    rest = frames(IMAGES[5:], range(6, 11)) + header(10, Started="12:02") + frames(IMAGES)
    with Script(first, rest) as script:
        before = Live(script.port, acquisitions=3, memory=memory)
        # the bus had not taken the last one
        after = Live(script.port, start=12, acquisitions=3, memory=memory)
    assert before.next == 13
    assert after.stream == before.stream
    after.next = 30
    after.missing += range(12)
    after.holds(np.concatenate([IMAGES[5:], IMAGES]), [*range(15, 20), *range(20, 30)])


def test_a_memory_that_was_cut_off_is_not_taken(tmp_path: Path) -> None:
    memory = tmp_path / "memory"
    memory.write_text(json.dumps({"hdr": ""})[:5])
    with Script(header(10) + frames(IMAGES)) as script:
        Live(script.port, memory=memory).holds(IMAGES)


def test_raw_without_the_extra_says_how_to_get_it(
    recordings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    path = recordings / "Single_9_Frame_CounterDepth_1_Rows_256RAW.mib"
    detector = MerlinDetector(Recording(path), free_running=True, speed=0)
    with detector, pytest.raises(ValueError, match=r"pip install 'glasswatch\[raw\]'"):
        open_(detector.data_port)


def test_frames_travel_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daq_stem.merlin.source.LATENCY", 5.0)
    images = made(64)
    with Script(header(64) + frames(images)) as script:
        live = Live(script.port, batch=16)
    # the first one was needed to describe the stream
    assert live.sizes == [1, 16, 16, 16, 15]


def test_is_registered() -> None:
    import daq_stem

    assert Merlin in daq_stem.daq_sources()
