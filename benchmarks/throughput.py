"""How fast camera frames go through the bus, beside memcpy and a bare socket.

    python benchmarks/throughput.py [--batch 64] [--rounds 5] [--seconds 0.5]

Frames are 264 x 264 uint16, Poisson(0.4). Source, bus and each consumer are processes of their
own. In every row a consumer gathers the same ring of pixels out of each frame, and the clock runs
from the first batch until everyone has taken the last. "Copies in": the source copies frames out
of an array of its own, as an adapter of a vendor's library does; "fills in place": frames are
written to shared memory by whoever makes them (here nobody: the row is what the bus costs).
"""

from __future__ import annotations

import itertools
import secrets
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import zmq
from processes import SIDE, Processes, annulus, consume, forks, frames
from table import Measured, arguments, measure, show

from daq.bus.publisher import Publisher
from daq.streams import Batch, Field, Stream

INDEX = annulus()
MEMCPY, BARE = "memcpy", "bare socket"


def memcpy(pool: list[np.ndarray], seconds: float) -> Measured:
    """Copy batches within one process, into memory that was touched before."""
    target, done = np.empty_like(pool[0]), 0
    cpu, began = time.process_time(), time.perf_counter()
    while (elapsed := time.perf_counter() - began) < seconds:
        np.copyto(target, pool[done % len(pool)])
        done += 1
    count = done * len(target)
    return Measured(count, done * target.nbytes, elapsed, time.process_time() - cpu)


def bare_socket(pool: list[np.ndarray], seconds: float, folder: Path, copy: bool) -> Measured:
    """Send batches by PUSH and PULL over ipc; with ``copy`` out of memory that is filled again."""
    endpoint = f"ipc://{folder / secrets.token_hex(4)}"
    ready, done = forks.Event(), forks.SimpleQueue()
    child = forks.Process(target=_pull, args=(endpoint, ready, done))
    child.start()
    ready.wait(60)
    context = zmq.Context()
    socket = context.socket(zmq.PUSH)
    socket.setsockopt(zmq.SNDHWM, 8)
    socket.connect(endpoint)
    batches, cpu, began = 0, time.process_time(), time.perf_counter()
    while time.perf_counter() - began < seconds:
        batch = pool[batches % len(pool)]
        socket.send(batch.tobytes() if copy else batch, copy=False)
        batches += 1
    socket.send(b"")
    theirs = done.get()
    elapsed = time.perf_counter() - began
    cpu = time.process_time() - cpu + theirs
    child.join()
    socket.close()
    context.term()
    return Measured(batches * len(pool[0]), batches * pool[0].nbytes, elapsed, cpu)


def _pull(endpoint: str, ready: Any, done: Any) -> None:
    context = zmq.Context()
    socket = context.socket(zmq.PULL)
    socket.setsockopt(zmq.RCVHWM, 8)
    socket.bind(endpoint)
    ready.set()
    cpu = time.process_time()
    while len(data := socket.recv(copy=False)):
        batch = np.frombuffer(data.buffer, "<u2").reshape(-1, SIDE * SIDE)
        np.take(batch, INDEX, axis=1).sum(axis=1)
    done.put(time.process_time() - cpu)
    socket.close()
    context.term()


def through_bus(
    pool: list[np.ndarray], seconds: float, folder: Path, *,
    consumers: list[tuple[bool, str]], ring: bool = True, copies: bool = True, virtual: bool = False,
) -> Measured:  # fmt: skip
    """Send batches over the bus to consumers, each given as (ring, policy), and to ``virtual``."""
    with Processes(folder) as run:
        for wants_ring, policy in consumers:
            run.start(consume, "camera", INDEX, wants_ring, policy)
        if virtual:
            run.start(analyse)
        publisher = Publisher(run.endpoint, "camera", ring=ring)
        stream = Stream("camera", {"frame": Field("<u2", (SIDE, SIDE), "counts")})
        publisher.open(stream, batch_records=len(pool[0]))
        if virtual:
            run.until_open("virtual.sums")
        elapsed, cpu, count = _send(publisher, pool, seconds, copies=copies, ring=ring, cpu=run.cpu)
        publisher.close()
    return Measured(count, count * stream.fields["frame"].record_bytes, elapsed, cpu)


def _send(
    publisher: Publisher, pool: list[np.ndarray], seconds: float, *,
    copies: bool, ring: bool, cpu: Callable[[], float],
) -> tuple[float, float, int]:  # fmt: skip
    times = np.arange(len(pool[0]))
    used, began = cpu(), time.perf_counter()
    for number in itertools.count():
        if time.perf_counter() - began > seconds:
            break
        batch = pool[number % len(pool)]
        if ring:
            arrays = publisher.allocate("camera", len(batch))
            if copies:
                np.copyto(arrays["frame"], batch)
            np.copyto(arrays["time"], times)
            publisher.send(Batch("camera", arrays))
        else:
            publisher.send(Batch("camera", {"frame": batch, "time": times}))
    publisher.close_stream("camera")
    return time.perf_counter() - began, cpu() - used, number * len(times)


def analyse(endpoint: str, ready: Any, leave: Any) -> None:
    """Be the process of the analysis ``virtual``: a disc, a ring, centre of mass, image, profile."""
    from daq.runtime.analysis_process import AnalysisOrder, AnalysisRunner
    from daq_stem.virtual.analysis import Virtual

    config = {"discs": {"bright": 30.0}, "annuli": {"dark": [40.0, 100.0]}}
    runner = AnalysisRunner(
        Virtual, AnalysisOrder("virtual", "virtual", ["camera"], config), endpoint
    )
    ready.set()
    runner.run()
    leave.wait(60)


def main() -> None:
    """Print the table."""
    parser = arguments(__doc__)
    parser.add_argument("--batch", type=int, default=64, help="frames in a batch")
    parser.add_argument("--seconds", type=float, default=0.5, help="of each measurement")
    options = parser.parse_args()
    made = frames(4 * options.batch)
    pool = [made[i * options.batch : (i + 1) * options.batch] for i in range(4)]
    in_ring, inline, latest = (True, "lossless"), (False, "lossless"), (False, "latest")
    with tempfile.TemporaryDirectory() as name:
        folder, seconds = Path(name), options.seconds
        bus = partial(through_bus, pool, seconds, folder)
        found = measure({
            MEMCPY: partial(memcpy, pool, seconds),
            BARE: partial(bare_socket, pool, seconds, folder, True),
            "bare socket, by reference": partial(bare_socket, pool, seconds, folder, False),
            "inline": partial(bus, consumers=[inline], ring=False),
            "ring, source copies in": partial(bus, consumers=[in_ring]),
            "ring, source fills in place": partial(bus, consumers=[in_ring], copies=False),
            "ring source, inline consumer": partial(bus, consumers=[inline]),
            "ring + inline + latest at once": partial(bus, consumers=[in_ring, inline, latest]),
            "ring + latest at once": partial(bus, consumers=[in_ring, latest]),
            "ring, analysis virtual": partial(bus, consumers=[], virtual=True),
        }, options.rounds, options.only, (MEMCPY, BARE))  # fmt: skip
    title = f"Frames of {SIDE} x {SIDE} uint16 in batches of {options.batch}"
    show(title, found, (MEMCPY, BARE), things="records", path=options.json)


if __name__ == "__main__":
    main()
