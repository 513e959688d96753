"""How a run ended, in words: each reason once, and no stream that only followed its input."""

from __future__ import annotations

from daq.runtime.result import named, verdict


def stream(status: str, owner: str) -> dict[str, str]:
    return {"status": status, "owner": owner}


def test_all_well() -> None:
    assert verdict([], {}, {"camera": stream("complete", "camera")}, {}) == ("complete", "")


def test_a_cause_is_told_once() -> None:
    streams = {
        "camera": stream("failed", "camera"),
        "virtual.sums": stream("aborted", "virtual"),
        "run.log": stream("aborted", "supervisor"),
    }
    closed = {"virtual.sums": {"stream": "virtual.sums", "reason": "camera failed: a cut frame"}}
    ended = verdict([], {"camera": "camera: a cut frame"}, streams, closed)
    assert ended == ("failed", "camera: a cut frame")


def test_an_interrupted_source_and_who_did_not_take_everything() -> None:
    closed = {"camera": {"stream": "camera", "reason": "interrupted", "given_up": ["slow"]}}
    status, reason = verdict(["bus: lost"], {}, {"camera": stream("aborted", "camera")}, closed)
    assert status == "aborted"
    assert reason == "bus: lost; camera: interrupted; camera: slow did not take everything"


def test_names_are_not_doubled() -> None:
    assert named("camera", "camera: gone") == "camera: gone"
    assert named("camera", "gone") == "camera: gone"
