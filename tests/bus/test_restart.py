"""The bus is killed and started again: sources and consumers go on without gap or repeat."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daq.bus.client import (
    Closed,
    Consumer,
    Delivery,
    Disconnected,
    Lost,
    Opened,
    Refused,
    consumer,
)
from daq.bus.publisher import Publisher
from daq.streams import Stream
from tests.bus.conftest import DEADLINE, FRAMES, SMALL, check, numbers, until

NAME = f"restarted{os.getpid()}"

BUS = """
import sys
from daq.bus.broker import Broker, BusSettings
Broker(BusSettings(sys.argv[1], recording=sys.argv[2] == "recorded", credit=4, lookback=60.0)).serve()
"""


class KilledBus:
    """A bus in a process of its own."""

    def __init__(self, endpoint: str, recorded: bool) -> None:
        self.endpoint = endpoint
        self._mode = "recorded" if recorded else "unrecorded"
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen([sys.executable, "-c", BUS, self.endpoint, self._mode])

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class FakeRecorder(threading.Thread):
    """Writes to a list, and says so; the list outlives the bus."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(name="recorder", daemon=True)
        self._consumer = Consumer(endpoint, "recorder", "recorder", timeout=DEADLINE)
        self.rows: dict[str, list[int]] = {}
        self.failed: str | None = None
        self.ending = threading.Event()
        self.pause = threading.Event()

    def report(self, stream: str) -> None:
        count = len(self.rows[stream])
        self._consumer.credit(stream, 0, through=count, written=count, durable=count)

    def run(self) -> None:
        try:
            self._consumer.subscribe(["*"], credit=6, ring=True)
            while not self.ending.is_set():
                event = None if self.pause.is_set() else self._consumer.receive(0.02)
                match event:
                    case Opened():
                        self.rows.setdefault(event.stream.name, [])
                        self.report(event.stream.name)
                    case Delivery():
                        rows = self.rows[event.batch.stream]
                        check(event.batch)
                        assert event.batch.first == len(rows), (event.batch, len(rows))
                        rows += [int(i) for i in event.batch.raw["time"]]
                        assert event.intact()
                        self._consumer.release(event, written=len(rows), durable=len(rows))
                    case Lost():
                        rows = self.rows[event.stream]
                        assert event.first == len(rows)
                        rows += [-1] * event.count
                        self.report(event.stream)
        except BaseException as error:
            self.failed = repr(error)
        finally:
            self._consumer.close()


class Listener(threading.Thread):
    """A consumer that notes what it gets; what the bus no longer holds it reads from the file."""

    def __init__(
        self, endpoint: str, stream: Stream, file: FakeRecorder | None, **more: Any
    ) -> None:
        super().__init__(name="listener", daemon=True)
        self._file, self._more = file, more
        self._consumer = Consumer(endpoint, f"listener-{more}"[:60], timeout=DEADLINE)
        self._consumer.subscribe([stream.name], start=0, **more)
        self.got: list[int] = []
        self.restarts = 0
        self.closed: Closed | None = None
        self.trouble: list[Any] = []
        self.ending = threading.Event()

    def run(self) -> None:
        try:
            while not self.ending.is_set():
                event = self._consumer.receive(0.02)
                match event:
                    case Delivery():
                        check(event.batch)
                        self.got += [int(i) for i in event.batch.indices]
                        if event.intact():
                            self._consumer.release(event)
                        else:
                            self.trouble.append(event)
                    case Disconnected():
                        self.restarts += 1
                    case Closed():
                        self.closed = event
                    case Refused(code="gone") if self._file is not None:
                        name, held = str(event.about), event.header["held"]
                        self.got += self._file.rows[name][len(self.got) : held]
                        self._consumer.forget(name)
                        self._consumer.subscribe([name], start=held, **self._more)
                    case Lost() | Refused():
                        self.trouble.append(event)
        except BaseException as error:
            self.trouble.append(repr(error))
        finally:
            self._consumer.close()


@pytest.fixture(params=["recorded", "unrecorded"])
def recorded(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "recorded")


@pytest.fixture
def bus(tmp_path_factory: pytest.TempPathFactory, recorded: bool) -> Iterator[KilledBus]:
    made = KilledBus(f"ipc://{tmp_path_factory.mktemp('r') / 'bus'}", recorded)
    before = set(Path("/dev/shm").glob(f"glasswatch-*-{NAME}-*"))
    yield made
    made.process.terminate()
    made.process.wait()
    # What a killed bus leaves, the next one sweeps.
    made.start()
    with consumer(made.endpoint, "control", "control", DEADLINE) as control:
        control.command("bus", "stop")
    made.process.wait(DEADLINE)
    assert set(Path("/dev/shm").glob(f"glasswatch-*-{NAME}-*")) <= before


@pytest.mark.parametrize("large", [True, False])
def test_bus_killed_twice(bus: KilledBus, recorded: bool, large: bool) -> None:
    stream = (FRAMES if large else SMALL).renamed(NAME)
    recorder = FakeRecorder(bus.endpoint) if recorded else None
    listeners = [
        Listener(bus.endpoint, stream, recorder),
        Listener(bus.endpoint, stream, recorder, ring=True, credit=2),
    ]
    threads: list[Any] = [*listeners, *([recorder] if recorder else [])]
    for thread in threads:
        thread.start()
    source = Publisher(bus.endpoint, "camera", timeout=DEADLINE)
    try:
        source.open(stream, batch_records=5, timeout=DEADLINE)
        for first in range(0, 600, 5):
            if first == 400:
                # What is not recorded was in the history of the bus until they were back: a bus
                # that dies before that takes it along.
                until(lambda: all(len(one.got) == 400 for one in listeners))
            if first in (200, 400):
                if first == 400 and recorder is not None:
                    # The recorder lags: the bus dies with records that nobody else has.
                    recorder.pause.set()
                bus.kill()
                bus.start()
                if recorder is not None:
                    recorder.pause.clear()
            if large and first % 3:
                arrays = source.allocate(NAME, 5, stopping=lambda: False)
                for key, array in numbers(stream, first, 5).raw.items():
                    arrays[key][...] = array
                batch = numbers(stream, first, 5)
                batch.raw.update(arrays)
                source.send(batch, timeout=DEADLINE)
            else:
                source.send(numbers(stream, first, 5), timeout=DEADLINE)
        answer = source.close_stream(NAME, timeout=DEADLINE)
        assert answer["given_up"] == [] and answer["count"] == 600
        assert source.bus_restarts == 2
        for listener in listeners:
            until(lambda one=listener: one.closed is not None)
            assert listener.trouble == []
            assert listener.got == list(range(600)), "neither gap nor repeat"
            assert listener.closed == Closed(NAME, 600, "complete", "")
            assert listener.restarts == 2
        if recorder is not None:
            assert recorder.failed is None
            assert recorder.rows[NAME] == list(range(600))
            assert answer["durable"] == 600
    finally:
        source.close()
        for thread in threads:
            thread.ending.set()
            thread.join(DEADLINE)


def test_bus_killed_while_a_close_waits(bus: KilledBus, recorded: bool) -> None:
    stream = SMALL.renamed(NAME)
    recorder = FakeRecorder(bus.endpoint) if recorded else None
    if recorder is not None:
        recorder.start()
    late = Consumer(bus.endpoint, "late", timeout=DEADLINE)
    late.subscribe([NAME], credit=9)
    source = Publisher(bus.endpoint, "camera", timeout=DEADLINE)
    try:
        source.open(stream, timeout=DEADLINE)
        for first in range(3):
            source.send(numbers(stream, first, 1), timeout=DEADLINE)
        with pytest.raises(TimeoutError):
            source.close_stream(NAME, timeout=0.2)
        bus.kill()
        bus.start()
        got: list[int] = []
        closed = None
        deadline = time.monotonic() + DEADLINE
        while closed is None:
            assert time.monotonic() < deadline, got
            source.pump(0.01)
            event = late.receive(0.01)
            if isinstance(event, Delivery):
                got += [int(i) for i in event.batch.indices]
                late.release(event)
            elif isinstance(event, Closed):
                closed = event
        assert source.close_stream(NAME, timeout=DEADLINE)["count"] == 3
        assert got == [0, 1, 2]
    finally:
        source.close()
        late.close()
        if recorder is not None:
            recorder.ending.set()
            recorder.join(DEADLINE)
            assert recorder.failed is None
            assert recorder.rows[NAME] == [0, 1, 2]


@pytest.mark.parametrize("recorded", [False], indirect=True)
def test_commands_and_status_work_on_the_next_bus(bus: KilledBus) -> None:
    control = Consumer(bus.endpoint, "control", "control", timeout=DEADLINE)
    try:
        assert control.status()["peers"] == ["control"]
        bus.kill()
        with pytest.raises((ConnectionError, TimeoutError)):
            control.status(timeout=0.5)
        bus.start()
        # Without anybody calling `receive`.
        assert control.status(timeout=DEADLINE)["peers"] == ["control"]
        assert isinstance(control.receive(0), Disconnected)
    finally:
        control.close()
