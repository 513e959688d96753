"""Memory is bounded: a consumer is stopped while the source sends as fast as it can.

docs/benchmarks.md states the formula. What a process has held at most is read from the system
(``VmHWM``), so nothing depends on when it is looked at.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from daq.bus.client import Consumer
from tests.bus.conftest import DEADLINE, until

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="memory is read from /proc"
)

MIB = 1 << 20
BATCH_RECORDS = 8
BATCH = BATCH_RECORDS * 131072  # bytes: 1 MiB
CREDIT, CONSUMER_CREDIT, LOOKBACK = 8, 4, 16 * MIB
BATCHES = 300
RING = 32 * MIB
SLACK = 12 * MIB
"""What the allocators of C and Python keep beside, and buffers of sockets; a leak of one batch in
ten would be 30 MiB."""

BUS = """
import sys
from daq.bus.broker import Broker, BusSettings
credit, lookback, ring = map(int, sys.argv[2:])
Broker(BusSettings(
    sys.argv[1], credit=credit, lookback=3600.0, lookback_bytes=lookback, ring_bytes=ring
)).serve()
"""

SOURCE = """
import sys
import numpy as np
from daq.bus.publisher import Publisher
from daq.streams import Batch, Field, Stream
ring, records, batches = sys.argv[2] == "ring", int(sys.argv[3]), int(sys.argv[4])
def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
before = peak()
publisher = Publisher(sys.argv[1], "camera", ring=ring)
publisher.open(Stream("camera", {"frame": Field("<u2", (256, 256))}), batch_records=records)
for number in range(batches):
    arrays = {"frame": np.full((records, 256, 256), number, "<u2"), "time": np.arange(records)}
    publisher.send(Batch("camera", arrays))
    if number == batches // 3:
        print("a third", flush=True)
publisher.close_stream("camera")
print((peak() - before) * 1024, flush=True)
"""

CONSUMER = """
import sys
from daq.bus.client import Closed, Consumer, Delivery
consumer = Consumer(sys.argv[1], sys.argv[2])
consumer.subscribe(["camera"], start=0, credit=int(sys.argv[5]), policy=sys.argv[3], ring=sys.argv[4] == "ring")
print("there", flush=True)
records = 0
while not isinstance(event := consumer.receive(), Closed):
    if isinstance(event, Delivery):
        records += event.batch.count
        consumer.release(event)
print(records, flush=True)
"""


def peak(pid: int, key: str = "VmHWM") -> int:
    """Bytes that a process has held at most, memory shared with others counted in."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) * 1024


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start processes of a Python text; they are killed at the end of the test."""
    started: list[subprocess.Popen[str]] = []

    def one(text: str, *arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", text, *map(str, arguments)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield one
    for process in started:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.parametrize("kind", ["inline", "ring"])
def test_a_stopped_consumer_costs_what_was_stated(
    start: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory, kind: str
) -> None:
    endpoint = f"ipc://{tmp_path_factory.mktemp('m') / 'bus'}"
    bus = start(BUS, endpoint, CREDIT, LOOKBACK, RING if kind == "ring" else 0)
    control = Consumer(endpoint, "control", "control", timeout=DEADLINE)
    try:
        slow = start(CONSUMER, endpoint, "slow", "lossless", kind, CONSUMER_CREDIT)
        viewer = start(CONSUMER, endpoint, "viewer", "latest", "inline", 1)
        assert line(slow) == line(viewer) == "there"
        before, anonymous = peak(bus.pid), peak(bus.pid, "RssAnon")
        bus_bound = CREDIT * BATCH + LOOKBACK + CONSUMER_CREDIT * BATCH
        anonymous_bound = bus_bound
        if kind == "ring":
            bus_bound, anonymous_bound = RING + 2 * BATCH, 2 * BATCH
        source = start(SOURCE, endpoint, kind, BATCH_RECORDS, BATCHES)
        # A third of it with everyone awake, so that history is full and all buffers are in use.
        assert line(source) == "a third"
        os.kill(slow.pid, signal.SIGSTOP)
        os.kill(viewer.pid, signal.SIGSTOP)

        def full() -> bool:
            # The slow one returns nothing, so once the source's credit is gone it stays so.
            return bool(control.status()["streams"]["camera"]["in_flight"] == CREDIT)

        until(full, "the end of the source's credit")
        stream = control.status()["streams"]["camera"]
        assert stream["records"] < BATCHES * BATCH_RECORDS
        assert stream["held_bytes"] <= CREDIT * (BATCH + 4096) + LOOKBACK

        assert peak(bus.pid) - before < bus_bound + SLACK
        assert peak(bus.pid, "RssAnon") - anonymous < anonymous_bound + SLACK

        os.kill(slow.pid, signal.SIGCONT)
        os.kill(viewer.pid, signal.SIGCONT)
        source_bound = (RING if kind == "ring" else CREDIT * BATCH) + 3 * BATCH
        assert int(line(source)) < source_bound + SLACK
        # Nothing was lost, and the bound held to the end.
        assert line(slow) == str(BATCHES * BATCH_RECORDS)
        assert peak(bus.pid) - before < bus_bound + SLACK
    finally:
        control.close()
