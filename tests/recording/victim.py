"""A process that records, and forks one child for each order on its standard input.

An order is one JSON object: ``folder``, ``uid``, ``seed``, and perhaps ``kill`` [phase, n] (SIGKILL
at the n-th write of that phase), ``fail`` n (ENOSPC from the n-th write on, until the next try),
``log`` (path of a write log), ``compression``. The child notes in ``folder/../progress`` what was reported
written and durable. The answer is one JSON line with how the child ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from daq.recording.part_file import PartFile
from daq.recording.writer import RecordingError, RecordingSettings, RunWriter
from daq.run import Run
from daq.streams import Batch, Field, Stream

STREAMS = {
    "camera": Stream(
        "camera",
        {"frame": Field("<u2", (64, 64), "counts"), "dose": Field("<f4", (), "C")},
        constants={"mask": np.eye(64, dtype=bool)},
    ),
    "fem.profile": Stream("fem.profile", {"V": Field("<f8", (20,)), "count": Field("<i4")}),
    "afm": Stream("afm", {"height": Field("<f4", (2, 600), "nm"), "note": Field("|S5000")}),
    "late": Stream("late", {"value": Field("<c16"), "flag": Field("|b1", (3,))}),
}
BATCHES = 14
LOST = 7
"""Records of ``camera`` whose index modulo 50 lies below this, from 50 on, are lost."""
NEVER = 1 << 40


def values(stream: Stream, first: int, count: int) -> dict[str, np.ndarray[Any, Any]]:
    """The records of a stream: known from their index."""
    arrays = {}
    for number, (name, field) in enumerate(stream.fields.items()):
        index = np.arange(first, first + count)
        shape = (count, *field.shape)
        if name == "time":
            arrays[name] = 1_700_000_000_000_000_000 + index
        elif field.numpy_dtype.kind == "S":
            arrays[name] = np.array([b"record %d" % i for i in index], field.numpy_dtype)
        else:
            pixel = np.arange(int(np.prod(field.shape, dtype=int)))
            mixed = (index[:, None] * 2654435761 + pixel * 40503 + number) % 251 // 40
            arrays[name] = mixed.astype(field.numpy_dtype).reshape(shape)
    return arrays


def is_lost(name: str, index: int) -> bool:
    """Tell whether the instrument loses a record."""
    return name == "camera" and index >= 50 and index % 50 < LOST


def counts(seed: int) -> dict[str, int]:
    """How many records each stream gets in the end."""
    rng = np.random.default_rng(seed)
    return {name: int(rng.integers(60, 140)) for name in STREAMS}


def record(
    writer: RunWriter, seed: int, shim: Any = None, order: dict[str, Any] | None = None
) -> None:
    """Record from where the writer stands to the end, in batches of seeded sizes."""
    order = order or {}
    phase, n = order.get("kill", ("", 0))
    rng = np.random.default_rng(seed + 1000)
    at = int(rng.integers(3, BATCHES - 4)) if phase != "close" else BATCHES
    progress = os.open(
        Path(writer.folder).parent / "progress", os.O_WRONLY | os.O_CREAT | os.O_APPEND
    )

    def note(kind: str, told: dict[str, int]) -> None:
        line = (json.dumps({kind: told}) + "\n").encode()
        os.write(progress, line)
        if shim is not None:
            shim.shim_note(line, len(line))

    fuse = Fuse(shim, n)

    def danger(here: str, step: int) -> contextlib.AbstractContextManager[None]:
        return fuse.lit() if phase == here and step == at else contextlib.nullcontext()

    ends, begins = counts(seed), {"late": at if phase == "open" else BATCHES // 2}
    written: dict[str, int] = {}
    for step in range(BATCHES + 1):
        for name, stream in STREAMS.items():
            if step < begins.get(name, 0):
                continue
            if name not in written:
                with danger("open", step):
                    written[name] = writer.open_stream(stream)
            left = ends[name] - written[name]
            count = left if step == BATCHES else min(left, int(rng.integers(0, 18)))
            if phase == "flush" and step == at:
                with fuse.lit_in_flush():
                    put(writer, stream, written[name], count)
            else:
                with danger("chunk", step):
                    put(writer, stream, written[name], count)
            written[name] += count
            note("written", {name: writer.written(name)})
        if step % 3 == 0:
            note("durable", writer.sync())
    for name in STREAMS:
        writer.close_stream(name, written[name], "complete", "")
    with danger("close", BATCHES):
        writer.finish("complete", "")
    note("used", {"writes": n - fuse.left})


def put(writer: RunWriter, stream: Stream, first: int, count: int) -> None:
    """Write records ``first`` to ``first + count``, and what is lost of them as missing."""
    at, end = first, first + count
    while at < end:
        lost, stop = is_lost(stream.name, at), at
        while stop < end and is_lost(stream.name, stop) == lost:
            stop += 1
        if lost:
            writer.write_missing(stream.name, at, stop - at, "the instrument lost it")
        else:
            writer.write(Batch(stream.name, values(stream, at, stop - at), at))
        at = stop


class Fuse:
    """Kills at the n-th of the writes that are made while it is lit."""

    def __init__(self, shim: Any, n: int) -> None:
        self._shim = shim
        self.left = n

    @contextlib.contextmanager
    def lit(self) -> Iterator[None]:
        self._shim.shim_kill(self.left)
        yield
        self.left = self._shim.shim_left()
        self._shim.shim_kill(0)

    @contextlib.contextmanager
    def lit_in_flush(self) -> Iterator[None]:
        plain = PartFile._flush

        def flush(part: PartFile) -> None:
            with self.lit():
                plain(part)

        PartFile._flush = flush
        yield
        PartFile._flush = plain


def child(order: dict[str, Any], shim: Any) -> None:
    """Carry out one order."""
    folder = Path(order["folder"])
    settings = RecordingSettings(
        reserve_bytes=0, compression=order.get("compression", "bitshuffle-lz4"), threads=1
    )
    if log := order.get("log"):
        shim.shim_log(log.encode())
    if fail := order.get("fail"):
        full(folder, order, shim, settings, fail)
        return
    uid = order["uid"]
    if (folder / uid).exists():
        writer = RunWriter.resume(folder / uid, settings)
    else:
        writer = RunWriter.create(Run(uid, "victim"), folder, settings)
    record(writer, order["seed"], shim, order)


def full(
    folder: Path, order: dict[str, Any], shim: Any, settings: RecordingSettings, n: int
) -> None:
    """Record on a disk that is full from the n-th write on: wait, make space, go on."""
    writer = RunWriter.create(Run(order["uid"]), folder, settings)
    progress = (folder / "progress").open("w")
    shim.shim_fail(n)
    stream, errors, batch = STREAMS["camera"], 0, 5

    def insist(call: Any) -> Any:
        nonlocal errors
        while True:
            try:
                return call()
            except RecordingError as error:
                if not error.disk_full:
                    raise
                errors += 1
                if errors > 2:
                    shim.shim_fail(0)

    assert insist(lambda: writer.open_stream(stream)) == 0
    for first in range(0, 50, batch):
        insist(
            lambda first=first: writer.write(Batch("camera", values(stream, first, batch), first))
        )
        if first % 20 == 15:
            insist(writer.sync)
    shim.shim_fail(0)
    writer.close_stream("camera", 50, "complete", "")
    print(json.dumps({"errors": errors}), file=progress, flush=True)
    writer.finish("complete", "")


def serve() -> None:
    """Read orders, fork, answer."""
    shim = ctypes.CDLL(os.environ["LD_PRELOAD"])
    shim.shim_kill.argtypes = [ctypes.c_long]
    shim.shim_fail.argtypes = [ctypes.c_long]
    shim.shim_left.restype = ctypes.c_long
    import h5py  # noqa: F401
    import hdf5plugin  # noqa: F401

    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            try:
                child(json.loads(line), shim)
            except BaseException:
                import traceback

                traceback.print_exc()
                sys.stderr.flush()
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        print(json.dumps({"status": os.waitstatus_to_exitcode(status)}), flush=True)


if __name__ == "__main__":
    serve()
