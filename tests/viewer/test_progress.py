"""Rate, lag, skipped, stale and complete, with a clock of the test's own."""

from __future__ import annotations

import pytest

from daq.viewer.progress import STALE_AFTER, RateMeter, StreamProgress


def test_rate_counts_skipped_records_too_and_falls_when_nothing_comes():
    meter = RateMeter()
    assert meter.rate(0) == 0
    for tick in range(100):
        meter.moved(tick * 50, tick * 0.1)
    assert meter.rate(9.9) == pytest.approx(500, rel=0.05)
    assert meter.rate(30.0) < 130
    assert meter.rate(1000.0) < 3


def test_rate_of_a_slow_stream():
    meter = RateMeter()
    for minute in range(5):
        meter.moved(minute, minute * 60.0)
    assert meter.rate(240.0) == pytest.approx(1 / 60)


def test_memory_of_a_fast_stream_is_bounded():
    meter = RateMeter(samples=64)
    for tick in range(100_000):
        meter.moved(tick, tick * 1e-4)
    assert len(meter._samples) <= 64
    assert meter.rate(10.0) == pytest.approx(10_000, rel=0.05)


def live(**more) -> StreamProgress:
    progress = StreamProgress(0.0)
    for tick in range(10):
        progress.drew(tick * 100, 100, 0, tick * 0.1)
    return progress


def test_waiting_live_stale_and_live_again():
    progress = StreamProgress(0.0)
    assert progress.report(0.1).state == "waiting"
    progress = live()
    assert (progress.report(1.0).state, progress.report(1.0).badge) == ("live", "")
    report = progress.report(0.9 + STALE_AFTER + 3)
    assert (report.state, report.badge) == ("stale", "stale for 8.0 s")
    progress.drew(1000, 10, 0, 9.0)
    assert progress.report(9.1).state == "live"


def test_a_slow_stream_is_not_stale_between_its_records():
    progress = StreamProgress(0.0)
    for minute in range(4):
        progress.drew(minute, 1, 0, minute * 60.0)
    assert progress.report(180 + 100).state == "live"
    assert progress.report(180 + 300).state == "stale"


def test_source_or_bus_gone_is_stale_at_once():
    progress = live()
    progress.known(1000, source_gone=True, missing=0)
    assert progress.report(1.0).badge == "stale: source gone"
    progress.drew(1000, 1, 0, 1.0)
    assert progress.report(1.0).state == "live"
    progress.connected = False
    assert progress.report(1.0).badge == "stale: no bus"


def test_closed_streams_say_how_and_are_never_stale():
    progress = live()
    progress.closed(1000, "complete", "")
    assert (progress.report(1e6).state, progress.report(1e6).badge) == ("complete", "complete")
    progress.closed(1000, "failed", "camera: no trigger")
    assert progress.report(1e6).badge == "failed: camera: no trigger"


def test_lag_in_records_and_seconds_and_skipped():
    progress = live()
    progress.known(1500, source_gone=False, missing=7)
    progress.drew(1200, 100, 200, 1.0)
    progress.known(1800, source_gone=False, missing=7)
    report = progress.report(1.0)
    assert (report.lag_records, report.skipped) == (500, 200)
    assert report.lag_seconds == pytest.approx(500 / report.rate)
    for word in ("1\u2009300 records", "/s", "LOST 7", "lag 500 (", "skipped 200"):
        assert word in report.line


def test_what_is_filled_in_later_was_not_skipped():
    progress = live()
    progress.drew(1200, 100, 200, 1.0)
    progress.drew(1000, 150, -150, 1.1)
    report = progress.report(1.2)
    assert report.skipped == 50
    assert progress.end == 1300


def test_a_recorded_run_has_no_lag_and_is_not_stale():
    progress = StreamProgress(0.0, live=False)
    progress.drew(0, 10, 0, 0.0)
    report = progress.report(1e6)
    assert (report.state, report.badge) == ("recorded", "not closed")
    assert "lag" not in report.line
    assert "skipped" not in report.line
