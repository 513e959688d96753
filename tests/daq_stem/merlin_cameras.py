"""Cameras for the tests of the live Merlin source: one that says what a test decides, byte by byte."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import daq
from daq.config import validated
from daq_simulators.merlin_detector import Images
from daq_stem.merlin.source import Merlin

SHAPE = (6, 8)
START = 1_700_000_000_000_000_000


def made(count: int, dtype: str = "u2", shape: tuple[int, int] = SHAPE, seed: int = 0) -> Any:
    draw = np.random.default_rng(seed)
    return draw.integers(0, np.iinfo(dtype).max, (count, *shape), dtype, endpoint=True)


def message(payload: bytes) -> bytes:
    return b"MPX,%010d," % (len(payload) + 1) + payload


def header(frames: int | None, **keys: object) -> bytes:
    lines = [f"{key}:\t{value}\r\n" for key, value in keys.items()]
    if frames is not None:
        lines.append(f"Frames in Acquisition (Number):\t{frames}\r\n")
    return message(("HDR,\t\r\n" + "".join(lines) + "End\t").encode())


def frame(image: np.ndarray, number: int, kind: str | None = None) -> bytes:
    """One frame as a message, a millisecond after the one before."""
    kind = kind or {1: "U08", 2: "U16", 4: "U32", 8: "U64"}[image.itemsize]
    depth = {"U01": 1, "U08": 6, "U16": 12, "U32": 24, "U64": 24}[kind]
    one = Images(image[None], kind).frame(1, depth, 0.001, START + number * 1_000_000)
    return message(b"MQ1,%06d" % number + one[10:])


def frames(images: np.ndarray, numbers: Sequence[int] | None = None) -> bytes:
    numbers = range(1, len(images) + 1) if numbers is None else numbers
    return b"".join(frame(image, number) for image, number in zip(images, numbers, strict=True))


class Script:
    """A data socket that sends to its first client the first text, to the second the second, ...

    It closes each connection after its text, but the last one if it is to ``stay``.
    """

    def __init__(self, *texts: bytes, stay: bool = False) -> None:
        self._texts, self._stay = texts, stay
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        for number, text in enumerate(self._texts):
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            with client, contextlib.suppress(OSError):
                client.sendall(text)
                if number + 1 == len(self._texts):
                    # whoever comes later is refused
                    self._server.close()
                    if self._stay:
                        self._over.wait(20)

    def __enter__(self) -> Script:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(5)


class Live:
    """A source driven by hand; what it gave is in ``frames`` and ``missing`` by index.

    ``aborted`` holds the reason where the source says that its instrument ended it.
    """

    def __init__(
        self, port: int, *, start: int = 0, memory: Path | None = None, stop: int | None = None,
        **keys: Any,
    ) -> None:  # fmt: skip
        self.stop = threading.Event()
        self.source = Merlin()
        self.source.context = daq.SourceContext(self.stop, None, memory)
        self.frames: dict[int, np.ndarray] = {}
        self.times: dict[int, int] = {}
        self.missing: list[int] = []
        self.next = start
        self.sizes: list[int] = []
        self.aborted = ""
        keys = {"host": "127.0.0.1", "port": port, "timeout": 5.0, "reconnect": 0} | keys
        try:
            (self.stream,) = self.source.open(validated(Merlin.Config, keys, ""))
            for item in self.source.batches({"": start}):
                self._take(item)
                if stop is not None and self.next >= stop:
                    self.stop.set()
        except daq.Aborted as error:
            self.aborted = str(error)
        finally:
            self.source.close()

    def _take(self, item: daq.Batch | daq.Missing) -> None:
        first = item.first
        assert first is not None and first <= self.next, "gapless"
        if isinstance(item, daq.Missing):
            self.missing += range(first, first + item.count)
        else:
            self.sizes.append(item.count)
            for at in range(item.count):
                self.frames[first + at] = item.raw["frame"][at].copy()
                self.times[first + at] = int(item.time[at])
        self.next = max(self.next, first + item.count)

    def holds(self, images: np.ndarray, indices: Sequence[int] | None = None) -> None:
        """Check that exactly these frames came, at these indices."""
        indices = range(len(images)) if indices is None else indices
        assert sorted(self.frames) == sorted(indices)
        for image, index in zip(images, indices, strict=True):
            np.testing.assert_array_equal(self.frames[index], image)
        assert sorted([*self.frames, *self.missing]) == list(range(self.next))


@contextlib.contextmanager
def refused_port() -> Iterator[int]:
    """A port at which nobody listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        yield one.getsockname()[1]
