"""Frames of a Merlin camera received and decoded: our source, a bare socket, LiberTEM-live's receiver.

    python benchmarks/merlin_stream.py [--shape 256] [--bytes 2] [--acquisitions 4] [--rounds 3]

All three receive from the same program, LiberTEM-live's simulated camera, which sends acquisitions from
memory as fast as it goes (``--cached MEMFD``), in a process of its own. The bare socket throws away what
comes. Our source gives counts in the byte order of the machine, top row first, with time stamps, into memory
that is used again as the ring's is. LiberTEM-live's receiver decodes likewise into one array. The first acquisition
of each connection does not count. The peer is installed at the first time, in an environment of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from programs import Program, started
from table import Measured, arguments, measure, show

import daq
from daq_simulators.merlin_detector import Images, rings
from daq_stem.merlin.source import Merlin

TREE = Path(__file__).resolve().parents[1]
PIXELS = {1: ("U08", "u1"), 2: ("U16", "u2"), 4: ("U32", "u4")}


def write_recording(folder: Path, side: int, itemsize: int, count: int) -> Path:
    """Write a .mib file of simulated frames and the .hdr file beside it; return the latter."""
    kind, dtype = PIXELS[itemsize]
    camera = Images(rings((side, side), 16).astype(dtype), kind)
    header = folder / "frames.hdr"
    with header.with_suffix(".mib").open("wb") as file:
        for number in range(1, count + 1):
            file.write(camera.frame(number, 12, 1e-3, 1_700_000_000 * 10**9 + number * 10**6))
    header.write_text(
        "HDR,\t\nCounter Depth (number):\t12\n"
        f"Frames in Acquisition (Number):\t{count}\nFrames per Trigger (Number):\t1\nEnd\t"
    )
    return header


@contextlib.contextmanager
def camera(python: Path, header: Path, count: int) -> Iterator[int]:
    """Start the simulated camera; give the port of its data socket."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(3)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        data, control, trigger = (one.getsockname()[1] for one in sockets)
    command = [python.parent / "libertem-live-mib-sim", header, "--nav-shape", 1, count, "--cached",
               "MEMFD", "--host", "127.0.0.1", "--data-port", data, "--control-port", control,
               "--trigger-port", trigger]  # fmt: skip
    with started(command, header.parent / "camera.log", clean()) as program:
        while not listens(data):
            program.check()
            time.sleep(0.05)
        yield data


def listens(port: int) -> bool:
    """Tell without connecting: it would begin to send."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(f[1].endswith(f":{port:04X}") and f[3] == "0A" for f in map(str.split, lines))


def clean() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}


def bare(port: int, acquisitions: int, count: int, size: int, header: int) -> Measured:
    """Receive the bytes of so many acquisitions."""
    one = header + count * (size + 384 + 15)
    buffer = bytearray(8 << 20)
    with socket.socket() as data:
        data.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 << 20)
        data.connect(("127.0.0.1", port))
        receive(data, one, buffer)
        began, cpu = time.perf_counter(), time.process_time()
        receive(data, acquisitions * one, buffer)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    return Measured(acquisitions * count, acquisitions * count * size, seconds, cpu)


def receive(data: socket.socket, count: int, buffer: bytearray) -> None:
    view = memoryview(buffer)
    while count:
        count -= data.recv_into(view[: min(count, len(buffer))])


def ours(port: int, acquisitions: int, count: int, size: int) -> Measured:
    """Receive and decode with the source, into the same memory again and again."""
    source = Merlin()
    held: dict[str, np.ndarray] = {}
    streams: dict[str, daq.Stream] = {}

    def allocate(name: str, records: int) -> dict[str, np.ndarray]:
        if not held:
            for field, described in streams[name].fields.items():
                held[field] = np.zeros((64, *described.shape), described.numpy_dtype)
        return {field: array[:records] for field, array in held.items()}

    source.context = daq.SourceContext(None, allocate)
    (stream,) = source.open(
        Merlin.Config(host="127.0.0.1", port=port, acquisitions=acquisitions + 1)
    )
    streams[""] = stream
    began = cpu = 0.0
    taken = 0
    for batch in source.batches({"": 0}):
        assert isinstance(batch, daq.Batch)
        if not began and batch.first is not None and batch.first + batch.count >= count:
            taken, began, cpu = -batch.count, time.perf_counter(), time.process_time()
        if began:
            taken += batch.count
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    source.close()
    return Measured(taken, taken * size, seconds, cpu)


def theirs(
    python: Path, port: int, acquisitions: int, count: int, size: int, folder: Path,
    shape: tuple[int, int], dtype: str,
) -> Measured:  # fmt: skip
    """Receive and decode with LiberTEM-live's receiver."""
    asked, answer = folder / "asked.json", folder / "answer.npz"
    asked.write_text(
        json.dumps({"port": port, "acquisitions": acquisitions + 1, "shape": shape, "dtype": dtype,
                    "keep": 64})
    )  # fmt: skip
    command = [python, TREE / "tests" / "peers" / "receive_merlin.py", asked, answer]
    program: Program
    with started(command, folder / "receiver.log", clean()) as program:
        program.end()
    with np.load(answer) as found:
        seconds, cpu = float(found["seconds"][1:].sum()), float(found["cpu"][1:].sum())
    return Measured(acquisitions * count, acquisitions * count * size, seconds, cpu)


def main() -> None:
    """Print the table."""
    sys.path.insert(0, str(TREE / "tests" / "peers"))
    from conftest import cache_folder, environment

    parser = arguments(__doc__, rounds=3)
    parser.add_argument("--shape", type=int, default=256, help="pixels of a side")
    parser.add_argument("--bytes", type=int, default=2, choices=list(PIXELS), help="of a pixel")
    parser.add_argument("--frames", type=int, default=1024, help="of an acquisition")
    parser.add_argument("--acquisitions", type=int, default=4, help="that are measured in each row")
    given = parser.parse_args()
    python = Path(environment(TREE / "benchmarks" / "peers" / "libertem_live.txt", cache_folder()))
    shape, count = (given.shape, given.shape), given.frames
    size = given.shape**2 * given.bytes
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        header = write_recording(folder, given.shape, given.bytes, count)
        told = 15 + header.stat().st_size
        with camera(python, header, count) as port:
            rows = {
                "bare socket": partial(bare, port, given.acquisitions, count, size, told),
                "glasswatch, decoded": partial(ours, port, given.acquisitions, count, size),
                "LiberTEM-live's receiver": partial(
                    theirs, python, port, given.acquisitions, count, size, folder, shape,
                    PIXELS[given.bytes][1],
                ),
            }  # fmt: skip
            found = measure(rows, given.rounds, given.only, ("bare socket",))
    show(
        f"Merlin, {given.shape} x {given.shape}, {PIXELS[given.bytes][0]}, {count} frames an acquisition",
        found, ("bare socket", "LiberTEM-live's receiver"), things="frames", path=given.json,
    )  # fmt: skip


if __name__ == "__main__":
    main()
