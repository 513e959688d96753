"""How long a record is under way, and how many small messages go in a second.

    python benchmarks/latency.py [--rounds 3] [--messages 1000]

First table: records of 8 numbers, sent as fast as they go, beside PUSH and PULL with the same
parts and no protocol. Second table: the time from the moment a batch is stamped at the source to
the moment it is in a consumer's hands, at a rate that nobody has trouble with; the row of
``virtual`` measures from the camera's frames to the result that rests on them. Median, 99th
percentile and longest, in ms.
"""

from __future__ import annotations

import secrets
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import zmq
from processes import SIDE, Processes, consume, control, forks, frames
from table import Measured, arguments, measure, show
from throughput import analyse

from daq.bus.client import Closed, Delivery
from daq.bus.publisher import Publisher
from daq.streams import Batch, Field, Stream

BARE = "bare socket, 1 record"
SENSOR = Stream("sensor", {f"value_{n}": Field("<f8") for n in range(8)})
CAMERA = Stream("camera", {"frame": Field("<u2", (SIDE, SIDE), "counts")})


def bare_rate(size: int, messages: int, folder: Path) -> Measured:
    """Send the arrays of a batch of ``size`` records by PUSH and PULL, as fast as it goes."""
    endpoint = f"ipc://{folder / secrets.token_hex(4)}"
    ready, done = forks.Event(), forks.SimpleQueue()
    child = forks.Process(target=_pull, args=(endpoint, ready, done))
    child.start()
    ready.wait(60)
    context = zmq.Context()
    socket = context.socket(zmq.PUSH)
    socket.connect(endpoint)
    arrays = list(_numbers(size).values())
    cpu, began = time.process_time(), time.perf_counter()
    for _ in range(messages):
        socket.send_multipart([array.tobytes() for array in arrays])
    socket.send(b"")
    theirs = done.get()
    elapsed = time.perf_counter() - began
    cpu = time.process_time() - cpu + theirs
    child.join()
    socket.close()
    context.term()
    return Measured(messages, sum(array.nbytes for array in arrays) * messages, elapsed, cpu)


def _pull(endpoint: str, ready: Any, done: Any) -> None:
    context = zmq.Context()
    socket = context.socket(zmq.PULL)
    socket.bind(endpoint)
    ready.set()
    cpu = time.process_time()
    while len(parts := socket.recv_multipart()) > 1:
        [np.frombuffer(part, "<f8") for part in parts]
    done.put(time.process_time() - cpu)
    socket.close()
    context.term()


def bus_rate(size: int, messages: int, folder: Path) -> Measured:
    """Send batches of ``size`` records over the bus, as fast as it goes."""
    with Processes(folder) as run:
        run.start(consume, "sensor", None)
        publisher = Publisher(run.endpoint, "sensor")
        publisher.open(SENSOR)
        arrays = _numbers(size)
        cpu, began = run.cpu(), time.perf_counter()
        for _ in range(messages):
            publisher.send(Batch("sensor", arrays))
        publisher.close_stream("sensor")
        elapsed, cpu = time.perf_counter() - began, run.cpu() - cpu
        publisher.close()
    return Measured(messages, sum(a.nbytes for a in arrays.values()) * messages, elapsed, cpu)


def under_way(
    stream: Stream, arrays: dict[str, np.ndarray], messages: int, interval: float, folder: Path,
    watched: str = "", virtual: bool = False,
) -> Measured:  # fmt: skip
    """Send a batch each ``interval`` seconds; measure when those of ``watched`` arrive."""
    with Processes(folder) as run:
        done = forks.SimpleQueue()
        run.start(_stopwatch, watched or stream.name, done)
        if virtual:
            run.start(analyse)
        publisher = Publisher(run.endpoint, "source")
        publisher.open(stream, batch_records=len(arrays["time"]))
        if virtual:
            run.until_open(watched)
        cpu, began = run.cpu(), time.perf_counter()
        for number in range(messages):
            # Nothing is sent in a hurry to make up for a late one.
            publisher.pump(max(0.0, began + number * interval - time.perf_counter()))
            while (left := began + number * interval - time.perf_counter()) > 0:
                time.sleep(left)
            sent = publisher.allocate(stream.name, len(arrays["time"]))
            for name, array in arrays.items():
                np.copyto(sent[name], array)
            sent["time"][:] = time.time_ns()
            publisher.send(Batch(stream.name, sent))
        publisher.close_stream(stream.name)
        elapsed, cpu = time.perf_counter() - began, run.cpu() - cpu
        publisher.close()
        # The first ones find pages that nobody has touched yet.
        times = np.array(done.get()[len(arrays) :]) / 1e6
    median, late = np.percentile(times, [50, 99])
    more = {"median ms": float(median), "99 % ms": float(late), "longest ms": float(times.max())}
    return Measured(messages, 0, elapsed, cpu, more)


def _stopwatch(endpoint: str, ready: Any, leave: Any, stream: str, done: Any) -> None:
    with control(endpoint, "consumer") as consumer:
        consumer.subscribe([stream], start=0, ring=True, credit=6)
        consumer.receive(0)
        ready.set()
        found = []
        while not isinstance(event := consumer.receive(60), Closed):
            if isinstance(event, Delivery):
                found.append(time.time_ns() - int(event.batch.time[-1]))
                consumer.release(event)
        done.put(found)
        leave.wait(60)


def _numbers(size: int) -> dict[str, np.ndarray]:
    arrays = {name: np.zeros(size, field.numpy_dtype) for name, field in SENSOR.fields.items()}
    return {**arrays, "time": np.arange(size)}


def main() -> None:
    """Print two tables: rates of small messages, and times under way."""
    parser = arguments(__doc__, rounds=3)
    parser.add_argument("--messages", type=int, default=1000)
    options = parser.parse_args()
    messages = options.messages
    few = {"frame": frames(16), "time": np.arange(16)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = measure({
            BARE: partial(bare_rate, 1, 4 * messages, folder),
            "bare socket, 64 records": partial(bare_rate, 64, 4 * messages, folder),
            "bus, 1 record": partial(bus_rate, 1, messages, folder),
            "bus, 64 records": partial(bus_rate, 64, messages, folder),
        }, options.rounds, options.only, (BARE,))  # fmt: skip
        show("8 numbers and a time, as fast as it goes", found, (BARE,), things="messages",
             per_byte=False)  # fmt: skip
        found = measure({
            "8 numbers, 500 messages/s": partial(
                under_way, SENSOR, _numbers(1), messages, 0.002, folder
            ),
            "16 frames, ring, 100 batches/s": partial(
                under_way, CAMERA, few, messages // 5, 0.01, folder
            ),
            "16 frames to virtual.sums, 50 batches/s": partial(
                under_way, CAMERA, few, messages // 4, 0.02, folder, "virtual.sums", True
            ),
        }, options.rounds, options.only)  # fmt: skip
        show("From the source's time stamp to the consumer", found, (), things="messages",
             per_byte=False, path=options.json)  # fmt: skip


if __name__ == "__main__":
    main()
