"""A bus and the parties on it, each in a process of its own, as the benchmarks start them."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from daq.bus.broker import Broker, BusSettings
from daq.bus.client import Closed, Consumer, Delivery

SIDE = 264
"""Pixels along one side of a frame."""

# Forked from a server without threads: they begin at once, and none inherits a socket.
forks = multiprocessing.get_context("forkserver")
forks.set_forkserver_preload(["numpy", "zmq", "h5py", "daq.bus.broker", "daq.bus.publisher",
                              "daq.recording.writer", "daq.runtime.analysis_process"])  # fmt: skip


def frames(count: int) -> np.ndarray:
    """Return Poisson frames at the dose of a published 5D-STEM experiment, uint16 [frame, y, x]."""
    return np.random.default_rng(0).poisson(0.4, (count, SIDE, SIDE)).astype("<u2")


def annulus() -> np.ndarray:
    """Return the flat indices of the pixels of a ring (radius 60 to 62 px), which a consumer reads."""
    y, x = np.indices((SIDE, SIDE)) - (SIDE - 1) / 2
    return np.flatnonzero((np.hypot(y, x) >= 60) & (np.hypot(y, x) < 62))


class Processes:
    """A bus in a process of its own, and others beside it; all end with the block.

    Parameters
    ----------
    folder
        Where the bus's socket goes.
    settings
        Of `BusSettings`.
    """

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.endpoint = f"ipc://{folder / secrets.token_hex(4)}"
        self._children: list[Any] = []
        self._leave = forks.Event()
        self.start(serve, {"ring_bytes": 512 << 20, **settings}, daemon=True)

    def start(self, work: Callable[..., None], *arguments: Any, daemon: bool = False) -> None:
        """Run ``work(endpoint, ready, leave, *arguments)`` in a process; wait until it is ready."""
        ready = forks.Event()
        child = forks.Process(
            target=work, args=(self.endpoint, ready, self._leave, *arguments), daemon=daemon
        )
        child.start()
        self._children.append(child)
        deadline = time.monotonic() + 60
        while not ready.wait(0.1):
            if not child.is_alive() or time.monotonic() > deadline:
                raise RuntimeError(f"{work.__name__} did not start")

    def until_open(self, stream: str) -> None:
        """Wait until a stream is there."""
        with control(self.endpoint) as consumer:
            while stream not in consumer.status()["streams"]:
                time.sleep(0.01)

    def cpu(self) -> float:
        """Return the CPU seconds of this process and of all others here, so far."""
        own = resource.getrusage(resource.RUSAGE_SELF)
        total = own.ru_utime + own.ru_stime
        for child in self._children:
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{child.pid}/stat").read_text().rsplit(")", 1)[1].split()
                total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return total

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        self._leave.set()
        bus, *others = self._children
        for child in others:
            child.join(30)
        bus.terminate()
        for child in self._children:
            child.join(5)
            if child.is_alive():
                child.kill()
                child.join()


def serve(endpoint: str, ready: Any, leave: Any, settings: dict[str, Any]) -> None:
    """Be the bus."""
    broker = Broker(BusSettings(endpoint, **settings))
    ready.set()
    broker.serve()


def consume(
    endpoint: str, ready: Any, leave: Any, stream: str, index: np.ndarray | None,
    ring: bool = True, policy: Any = "lossless",
) -> None:  # fmt: skip
    """Be a consumer that reads the pixels ``index`` of every frame; ``latest``: as a viewer does, 30 a second."""
    with control(endpoint, "consumer") as consumer:
        consumer.subscribe([stream], start=0 if policy == "lossless" else "now", policy=policy,
                           ring=ring, credit=6)  # fmt: skip
        consumer.receive(0)
        ready.set()
        while not isinstance(event := consumer.receive(60), Closed):
            if isinstance(event, Delivery):
                if index is not None:
                    event.batch.gather("frame", index).sum(axis=1)
                assert event.intact()
                if policy == "latest":
                    time.sleep(1 / 30)
                consumer.release(event)
        leave.wait(60)


@contextlib.contextmanager
def control(endpoint: str, role: str = "control") -> Any:
    """Open a client of the bus for a block."""
    consumer = Consumer(endpoint, f"{role}-{secrets.token_hex(2)}", role, timeout=30)
    try:
        yield consumer
    finally:
        consumer.close()
