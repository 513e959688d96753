"""Feeds against a bus and a file that the test plays."""

from __future__ import annotations

import queue
import time
from types import SimpleNamespace

import numpy as np
import pytest

import daq
from daq.bus import client as bus
from daq.bus.connection import ConnectionLost
from daq.bus.connection import Refused as RefusedError
from daq.viewer import feed as feeds
from daq.viewer.feed import LiveFeed, RunFeed
from daq.viewer.scene import Scene

SUMS = daq.Stream("sums", {"total": daq.Field("<f8", (), "counts")})
CAMERA = daq.Stream("camera", {"frame": daq.Field("<u2", (128, 128), "counts")})


def until(condition, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to pass"
        time.sleep(0.005)


class FakeConsumer:
    """Gives the events that the test puts in; records what the feed does."""

    def __init__(self) -> None:
        self.events: queue.Queue = queue.Queue()
        self.subscribed: list = []
        self.released: list = []
        self.credits: list = []
        self.fetched: list = []
        self.counters: dict = {}
        self.recording = True
        self.history = None
        self.failing: Exception | None = None
        self.closed = False
        self.made = 0
        self.turns = 0
        self.asked = 0

    def __call__(self, endpoint, name, timeout):
        assert endpoint == "ipc:///tmp/fake"
        assert name.startswith("viewer-")
        self.made += 1
        return self

    def subscribe(self, streams, **how):
        self.subscribed.append((streams, how))

    def receive(self, timeout):
        self.turns += 1
        if self.failing is not None:
            error, self.failing = self.failing, None
            raise error
        try:
            return self.events.get(timeout=timeout) if timeout > 0 else self.events.get_nowait()
        except queue.Empty:
            return None

    def release(self, delivery):
        self.released.append(delivery)

    def credit(self, stream, batches):
        self.credits.append((stream, batches))

    def status(self, timeout):
        self.asked += 1
        return {"run": "uid-1", "recording": self.recording, "streams": self.counters}

    def fetch(self, stream, first, count, stride=1, timeout=0):
        self.fetched.append((stream, first, count, stride))
        if self.history is None:
            raise RefusedError("gone", "no longer held")
        return self.history(first, count, stride)

    def close(self):
        self.closed = True

    def deliver(self, batch, skipped=0):
        self.events.put(bus.Delivery(batch, skipped))


@pytest.fixture
def fake():
    return FakeConsumer()


@pytest.fixture
def live(fake, monkeypatch):
    """A live feed on the fake bus, filling a scene; asks for status often."""
    monkeypatch.setattr(LiveFeed, "STATUS_EVERY", 0.02)
    monkeypatch.setattr(LiveFeed, "FILL_EVERY", 0.01)
    feed = LiveFeed("ipc:///tmp/fake", connect=fake)
    scene = Scene()
    feed.start(scene)
    yield feed, scene
    feed.close()
    assert fake.closed


def totals(make_batch, first, count, stride=1):
    index = first + stride * np.arange(-(-count // stride))
    return make_batch("sums", first, {"total": index.astype(float)})


def points(scene):
    with scene.lock:
        content = scene.content(scene.arrange()[0][0])
        return content.curves(0)[0].y.tolist() if content is not None else []


def test_latest_and_nothing_else(live, fake):
    until(lambda: fake.subscribed)
    ((streams, how),) = fake.subscribed
    assert streams == ["*"]
    assert how["policy"] == "latest"
    assert not how.get("ring")


def test_what_comes_is_drawn_released_and_its_end_said(live, fake, make_batch):
    _, scene = live
    fake.events.put(bus.Opened(SUMS, {"next": 0}))
    fake.deliver(totals(make_batch, 0, 5))
    fake.deliver(totals(make_batch, 5, 5))
    until(lambda: len(fake.released) == 2)
    fake.events.put(bus.Closed("sums", 10, "complete", ""))
    until(lambda: scene.report("sums").state == "complete")
    assert points(scene) == list(range(10))
    assert scene.uid == "uid-1"
    assert scene.recording is True


def test_small_streams_get_more_credit(live, fake):
    fake.events.put(bus.Opened(SUMS, {"next": 0}))
    fake.events.put(bus.Opened(CAMERA, {"next": 0}))
    until(lambda: fake.events.empty() and fake.credits)
    assert fake.credits == [("sums", feeds.SMALL_CREDIT - feeds.LARGE_CREDIT)]


def test_large_records_are_taken_no_faster_than_they_are_drawn(fake, make_batch):
    """Credit goes back at 30 Hz by the scene's clock, however fast pictures come."""
    clock = SimpleNamespace(now=100.0)
    feed, scene = LiveFeed("ipc:///tmp/fake", connect=fake), Scene(clock=lambda: clock.now)
    feed.start(scene)
    fake.events.put(bus.Opened(CAMERA, {"next": 0}))
    for first in range(5):
        frame = np.zeros((1, 128, 128), np.uint16)
        fake.deliver(make_batch("camera", first, {"frame": frame}))
    until(lambda: scene.report("camera") and scene.report("camera").line.startswith("5 records"))
    for pictures in range(1, 5):
        until(lambda pictures=pictures: len(fake.released) == pictures)
        turns = fake.turns
        until(lambda turns=turns: fake.turns > turns + 2)
        assert len(fake.released) == pictures
        clock.now += 1.01 / feeds.LARGE_RATE
    feed.close()


def test_skipped_is_counted_from_the_running_total(live, fake, make_batch):
    _, scene = live
    fake.events.put(bus.Opened(CAMERA, {"next": 0}))
    frame = np.zeros((2, 128, 128), np.uint16)
    for first, skipped in ((0, 0), (10, 8), (12, 8), (30, 24)):
        fake.deliver(make_batch("camera", first, {"frame": frame}), skipped)
    until(lambda: scene.report("camera") and scene.report("camera").line.startswith("32 records"))
    assert scene.report("camera").skipped == 24


def test_what_was_skipped_of_small_streams_is_filled_in_from_the_file(live, fake, make_batch):
    feed, scene = live
    fake.history = lambda first, count, stride: totals(make_batch, first, min(count, 4), stride)
    fake.events.put(bus.Opened(SUMS, {"next": 10}))
    fake.deliver(totals(make_batch, 10, 5), 0)  # 0 to 9 were there before
    fake.deliver(totals(make_batch, 20, 5), 5)
    until(lambda: scene.report("sums") is not None and scene.report("sums").skipped == 5)
    asked = fake.asked
    until(lambda: fake.asked > asked + 2)
    assert fake.fetched == []  # not written yet
    fake.counters = {"sums": {"records": 25, "written": 25, "status": "open", "missing": 0}}
    until(lambda: points(scene) == list(range(25)))
    assert feed.settle(10)
    assert scene.report("sums").skipped == 0


class Both(daq.View):
    """Draws a stream, and ``sums`` beside it."""

    records = 100

    @classmethod
    def can_draw(cls, stream):
        return stream.name == "late"

    @classmethod
    def beside(cls, stream):
        return ["sums"]


def test_what_came_before_a_view_beside_was_opened_is_filled_in(fake, make_batch, monkeypatch):
    monkeypatch.setattr(LiveFeed, "STATUS_EVERY", 0.02)
    monkeypatch.setattr(LiveFeed, "FILL_EVERY", 0.01)
    feed, scene = LiveFeed("ipc:///tmp/fake", connect=fake), Scene([Both])
    feed.start(scene)
    fake.counters = {"sums": {"records": 15, "written": 15, "status": "open", "missing": 0}}
    fake.history = lambda first, count, stride: totals(make_batch, first, count, stride)
    fake.events.put(bus.Opened(SUMS, {"next": 0}))
    fake.deliver(totals(make_batch, 5, 5))
    fake.events.put(bus.Opened(SUMS.renamed("late"), {"next": 0}))
    fake.deliver(totals(make_batch, 10, 5))

    def seen():
        with scene.lock:
            specs = [s for s in scene.arrange()[0] if s.view is Both]
            batches = scene.content(specs[0]).since(-1) if specs else []
            return [b["total"].tolist() for b in batches]

    until(lambda: seen() == [list(range(15))])
    feed.close()


def test_history_that_is_gone_is_asked_for_once(live, fake, make_batch):
    fake.counters = {"sums": {"records": 25, "written": 25, "status": "open", "missing": 0}}
    fake.events.put(bus.Opened(SUMS, {"next": 10}))
    fake.deliver(totals(make_batch, 10, 5))
    until(lambda: fake.fetched)
    asked = fake.made, len(fake.fetched)
    fake.deliver(totals(make_batch, 15, 5))
    until(lambda: len(fake.released) == 2)
    assert (fake.made, len(fake.fetched)) == asked


def test_what_the_bus_still_holds_is_filled_in_where_nothing_is_recorded(live, fake, make_batch):
    feed, scene = live
    fake.recording = False
    fake.counters = {"sums": {"records": 25, "written": None, "held_from": 7, "status": "open"}}
    fake.history = lambda first, count, stride: totals(make_batch, first, count, stride)
    until(lambda: scene.recording is False)
    asked = fake.asked
    until(lambda: fake.asked > asked + 2)  # what the bus holds is known
    fake.events.put(bus.Opened(SUMS, {"next": 10}))
    fake.deliver(totals(make_batch, 10, 5), 0)  # 0 to 9 were there before; 7 to 9 still are
    fake.deliver(totals(make_batch, 20, 5), 5)
    until(lambda: scene.report("sums") is not None)
    until(lambda: points(scene) == list(range(7, 25)))
    assert feed.settle(10)
    assert all(first >= 7 for _, first, _, _ in fake.fetched)


def test_what_the_bus_has_let_go_meanwhile_takes_nothing_else_along(live, fake, make_batch):
    _, scene = live
    fake.recording = False
    fake.counters = {"sums": {"records": 25, "written": None, "held_from": 0, "status": "open"}}

    def history(first, count, stride):
        if first >= 15:
            raise RefusedError("gone", "no longer held")
        return totals(make_batch, first, count, stride)

    fake.history = history
    until(lambda: scene.recording is False)
    fake.events.put(bus.Opened(SUMS, {"next": 10}))
    fake.deliver(totals(make_batch, 10, 5), 0)
    fake.deliver(totals(make_batch, 20, 5), 5)
    until(lambda: scene.report("sums") is not None)
    until(lambda: points(scene) == [*range(15), *range(20, 25)])


def test_settling_waits_for_the_newest_records_and_hurries_for_them(fake, make_batch, monkeypatch):
    """A picture is asked for while large records are taken seldom, and some are under way."""
    monkeypatch.setattr(LiveFeed, "FILL_EVERY", 0.01)
    monkeypatch.setattr(feeds, "QUIET", 1e9)
    feed = LiveFeed("ipc:///tmp/fake", connect=fake, large_rate=1e-6)
    scene = Scene()
    feed.start(scene)
    frame = {"frame": np.zeros((1, 128, 128), np.uint16)}
    fake.counters = {"camera": {"records": 1, "written": None, "status": "open"}}
    fake.events.put(bus.Opened(CAMERA, {"next": 0}))
    fake.deliver(make_batch("camera", 0, frame))
    assert feed.settle(10)
    fake.deliver(make_batch("camera", 1, frame))
    until(lambda: scene.report("camera").line.startswith("2 records"))
    assert len(fake.released) < 2  # slowly
    fake.counters = {"camera": {"records": 3, "written": None, "status": "open"}}
    assert not feed.settle(0.2)  # the third is not there
    until(lambda: len(fake.released) == 2)
    fake.deliver(make_batch("camera", 2, frame))
    assert feed.settle(10)
    feed.close()


def test_settling_does_not_wait_for_records_that_are_lost(fake, make_batch, monkeypatch):
    monkeypatch.setattr(feeds, "QUIET", 0.05)
    feed, scene = LiveFeed("ipc:///tmp/fake", connect=fake), Scene()
    fake.counters = {"sums": {"records": 9, "missing": 4, "written": None, "status": "open"}}
    feed.start(scene)
    fake.events.put(bus.Opened(SUMS, {"next": 0}))
    fake.deliver(totals(make_batch, 0, 5))
    assert feed.settle(10)
    feed.close()


def test_source_gone_lost_records_and_lag_are_said(live, fake, make_batch):
    _, scene = live
    fake.events.put(bus.Opened(SUMS, {"next": 0}))
    fake.deliver(totals(make_batch, 0, 5))
    fake.counters = {"sums": {"records": 12, "written": None, "status": "stale", "missing": 3}}
    until(lambda: scene.report("sums") and scene.report("sums").badge == "stale: source gone")
    assert scene.report("sums").lag_records == 7
    assert scene.loss() == "3 records LOST"


def test_a_bus_that_goes_is_said_and_found_again(live, fake, make_batch):
    _, scene = live
    fake.events.put(bus.Opened(SUMS, {"next": 0}))
    fake.deliver(totals(make_batch, 0, 5))
    until(lambda: len(fake.released) == 1)
    seen = []
    scene.reachable, said = seen.append, scene.reachable
    fake.failing = ConnectionLost("gone")
    until(lambda: fake.made == 2 and len(fake.subscribed) == 2)
    scene.reachable = said
    assert seen == [False, True]
    fake.events.put(bus.Opened(SUMS, {"next": 5}))
    fake.deliver(totals(make_batch, 5, 5))
    until(lambda: points(scene) == list(range(10)))


def test_no_bus_yet_is_waited_for(fake):
    answers = [TimeoutError("no bus"), RefusedError("bad_protocol", "this bus speaks 2")]

    def connect(endpoint, name, timeout):
        if answers:
            raise answers.pop(0)
        return fake

    feed, scene = LiveFeed("ipc:///tmp/fake", connect=connect), Scene()
    feed.start(scene)
    until(lambda: fake.subscribed)
    feed.close()
    assert scene.refused == "this bus speaks 2"


def test_a_feed_that_breaks_says_so(fake):
    feed, scene = LiveFeed("ipc:///tmp/fake", connect=fake), Scene()
    fake.failing = RuntimeError("surprise")
    feed.start(scene)
    until(lambda: feed.error is not None)
    feed.close()
    assert feed.error == scene.refused == "RuntimeError: surprise"
    assert not scene.connected


def test_memory_stays_that_of_the_scene(live, fake, make_batch):
    """Whatever comes, nothing queues up in the feed but what the bus may have in flight."""
    feed, _ = live
    fake.events.put(bus.Opened(SUMS, {"next": 0}))
    for first in range(0, 4000, 2):
        fake.deliver(totals(make_batch, 2 * first, 1), first)  # every second batch is skipped
    until(fake.events.empty)
    assert len(feed._followed["sums"].gaps) <= feeds.MAX_GAPS


class FakeRun:
    """A run reader with two streams, one of which still grows."""

    def __init__(self, make_batch) -> None:
        self.make_batch = make_batch
        self.run = daq.Run("uid-2", "a run")
        mixed = {"frame": daq.Field("<u2", (128, 128)), "dose": daq.Field("<f8", (), "e/nm^2")}
        self.streams = {"sums": SUMS, "camera": daq.Stream("camera", mixed)}
        self.counts = {"sums": 1000, "camera": 20}
        self.ends: dict = {"camera": (20, "complete", "")}
        self.reads: list = []
        self.closed_file = False

    def refresh(self):
        pass

    def count(self, name):
        return self.counts[name]

    def closed(self, name):
        return self.ends.get(name)

    def missing(self, name):
        return [(19, 1, "no trigger")] if name == "camera" else []

    def read(self, name, first, count, stride=1, fields=None):
        self.reads.append((name, first, count, stride, tuple(fields)))
        index = np.arange(first, first + count, stride)
        arrays = {}
        for field in set(fields) - {"time"}:
            shape = self.streams[name].fields[field].shape
            arrays[field] = np.broadcast_to(
                index.reshape(-1, *[1] * len(shape)), (len(index), *shape)
            )
        valid = index != 19 if name == "camera" else None
        return self.make_batch(name, first, arrays, valid=valid)

    def close(self):
        self.closed_file = True


def test_a_run_is_read_whole_but_for_large_fields(make_batch, tmp_path, monkeypatch):
    monkeypatch.setattr(RunFeed, "POLL", 0.02)
    monkeypatch.setattr(feeds, "CHUNK_BYTES", 16 * 300)
    reader = FakeRun(make_batch)
    feed, scene = RunFeed(tmp_path, open_reader=lambda path: reader), Scene()
    feed.start(scene)
    assert feed.settle(10)
    assert (scene.uid, scene.title, scene.live) == ("uid-2", "a run", False)
    with scene.lock:
        specs = {spec.title: scene.content(spec) for spec in scene.arrange()[0]}
        assert specs["sums.total"].curves(0)[0].y.tolist() == list(range(1000))
        assert specs["camera.frame"].picture().values[0, 0] == 18  # 19 is missing
        assert specs["camera.dose"].curves(0)[0].y[:19].tolist() == list(range(19))
        assert np.isnan(specs["camera.dose"].curves(0)[0].y[19])
    assert scene.report("camera").state == "complete"
    assert scene.loss() == "1 records LOST"
    frames = [count for name, _, count, _, fields in reader.reads if "frame" in fields]
    assert frames == [1, 1]
    # it still grows
    assert scene.report("sums").state == "recorded"
    reader.counts["sums"] = 1500
    reader.ends["sums"] = (1500, "complete", "")
    until(lambda: scene.report("sums").state == "complete")
    with scene.lock:
        assert specs["sums.total"].curves(0)[0].y[-1] == 1499
    feed.close()
    assert reader.closed_file


def test_rows_of_a_picture_are_never_thinned(make_batch, tmp_path, monkeypatch):
    monkeypatch.setattr(feeds, "SMALL", 16)
    monkeypatch.setattr(feeds, "CHUNK_BYTES", 300)
    reader = FakeRun(make_batch)
    fields = {"height": daq.Field("<f4", (5,), "nm"), "line": daq.Field("<i4")}
    reader.streams = {"afm": daq.Stream("afm", fields, scan={"shape": [40, 5]})}
    reader.counts, reader.ends = {"afm": 40}, {"afm": (40, "complete", "")}
    monkeypatch.setattr(feeds, "MAX_READ", reader.streams["afm"].record_bytes * 30)
    feed, scene = RunFeed(tmp_path, open_reader=lambda path: reader), Scene()
    feed.start(scene)
    assert feed.settle(10)
    feed.close()
    (spec,) = scene.arrange()[0]
    rows = scene.content(spec).picture().values[:, 0]
    assert np.isnan(rows[:11]).all()
    assert rows[11:].tolist() == list(range(11, 40))


def test_long_runs_are_read_thinly(make_batch, tmp_path, monkeypatch):
    monkeypatch.setattr(feeds, "MAX_READ", 16 * 100)
    reader = FakeRun(make_batch)
    del reader.streams["camera"]
    reader.ends["sums"] = (1000, "complete", "")
    feed, scene = RunFeed(tmp_path, open_reader=lambda path: reader), Scene()
    feed.start(scene)
    assert feed.settle(10)
    feed.close()
    assert points(scene) == list(range(0, 1000, 11))


def test_a_folder_that_is_no_run_is_refused_at_the_start(tmp_path):
    def no_run(path):
        raise ValueError(f"{path} is no run")

    with pytest.raises(ValueError, match="is no run"):
        RunFeed(tmp_path, open_reader=no_run).start(Scene())


def test_a_file_that_breaks_while_it_is_read_is_said(make_batch, tmp_path):
    reader = FakeRun(make_batch)
    reader.read = lambda *_: (_ for _ in ()).throw(OSError("truncated"))
    feed, scene = RunFeed(tmp_path, open_reader=lambda path: reader), Scene()
    feed.start(scene)
    assert feed.settle(10)
    feed.close()
    assert scene.refused == "OSError: truncated"
