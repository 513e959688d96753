"""How many frames of a DECTRIS stream are received and decoded in a second.

    python benchmarks/dectris_stream.py [--frames 8000] [--rounds 3]

Frames are 192 x 192 uint16 of few counts, bslz4. Version 2 comes from the simulated detector of this tree;
version 1 from the simulator of libertem-dectris, with the same frames, to our source and to LiberTEM's own receiver
(LiberTEM-live has no version 2). Senders are processes of their own and share the cores.
"""

from __future__ import annotations

import contextlib
import json
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import zmq
from table import Measured, arguments, measure, show

import daq
from daq_simulators.dectris_cbor import compressed
from daq_simulators.dectris_detector import pattern
from daq_stem.dectris.source import Dectris

TREE = Path(__file__).resolve().parents[1]
PEERS = TREE / "tests" / "peers"
SHAPE = (192, 192)
BARE_2, BARE_1 = "v2, bare socket", "v1, bare socket"


@contextlib.contextmanager
def running(command: list[Any]) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Start a sender; give it and its port."""
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline().split("127.0.0.1:")[1].split(",")[0])
        yield process, port
    finally:
        process.kill()
        process.wait()


def version_2(frames: int) -> list[Any]:
    """Return the command of our detector."""
    return [sys.executable, "-m", "daq_simulators.dectris_detector", "--listen", "0", "--api", "0",
            "--images", str(frames), "--rate", "0", "--series", "1"]  # fmt: skip


def version_1(python: Path, recording: Path) -> list[Any]:
    """Return the command of libertem-dectris's detector."""
    return [python, PEERS / "serve_libertem_dectris.py", recording]


def record(path: Path, frames: int) -> None:
    """Write messages of stream v1 as libertem-dectris reads them: each after its length."""
    pool = [(f, compressed(f, "bslz4")) for f in pattern(SHAPE, "u2", 64, 0)]
    config = {"x_pixels_in_detector": SHAPE[1], "y_pixels_in_detector": SHAPE[0],
              "bit_depth_image": 16, "nimages": 1, "ntrigger": frames, "trigger_mode": "exte",
              "data_collection_date": "2026-01-01T00:00:00+00:00"}  # fmt: skip
    with path.open("wb") as file:

        def write(message: Any) -> None:
            data = message if isinstance(message, bytes) else json.dumps(message).encode()
            file.write(np.int64(len(data)).tobytes() + data)

        write({"header_detail": "basic", "htype": "dheader-1.0", "series": 1})
        write(config)
        for number in range(frames):
            _, blob = pool[number % len(pool)]
            write({"frame": number, "hash": "0", "htype": "dimage-1.0", "series": 1})
            write({"encoding": "bs16-lz4<", "htype": "dimage_d-1.0", "shape": list(SHAPE[::-1]),
                   "size": len(blob), "type": "uint16"})  # fmt: skip
            write(blob)
            write(
                {"htype": "dconfig-1.0", "real_time": 9, "start_time": number, "stop_time": number}
            )


def bare(command: list[Any], frames: int) -> Measured:
    """Receive as many messages as there are frames, and look at none."""
    with (
        running(command) as (process, port),
        zmq.Context() as context,
        context.socket(zmq.PULL) as socket,
    ):
        socket.linger = 0
        socket.connect(f"tcp://127.0.0.1:{port}")
        _go(process)
        socket.recv_multipart()
        begin, cpu = time.perf_counter(), time.process_time()
        for _ in range(frames - 2):
            socket.recv_multipart()
        seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
    return _measured(frames, seconds, cpu)


def ours(command: list[Any], frames: int, threads: int, format: str) -> Measured:
    """Receive and decode through the source, into memory that is used again, as a ring's slots are."""
    arrays = {"frame": np.zeros((64, *SHAPE), "<u2"), "time": np.zeros(64, "<i8")}
    with running(command) as (process, port):
        source = Dectris()
        source.context = daq.SourceContext(
            allocate=lambda _, count: {name: array[:count] for name, array in arrays.items()}
        )
        _go(process)
        source.open(
            Dectris.Config(host="127.0.0.1", port=port, format=format, series=1, threads=threads)
        )
        begin, cpu, count = time.perf_counter(), time.process_time(), 0
        for batch in source.batches({}):
            count += len(batch) if isinstance(batch, daq.Batch) else 0
        seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
        source.close()
    if count != frames:
        raise SystemExit(f"{count} of {frames} frames came")
    return _measured(frames, seconds, cpu)


def libertem(python: Path, command: list[Any], frames: int, folder: Path) -> Measured:
    """Receive and decode with the receiver of LiberTEM-live."""
    with running(command) as (process, port):
        script = TREE / "benchmarks" / "peers" / "receive_with_libertem_dectris.py"
        receiver = subprocess.Popen([python, "-W", "ignore", script, str(port), folder / "handle"],
                                    stdout=subprocess.PIPE, text=True)  # fmt: skip
        _go(process)
        said, _ = receiver.communicate(timeout=300)
    found = json.loads(said)
    if found["count"] != frames:
        raise SystemExit(f"LiberTEM's receiver got {found['count']} of {frames} frames")
    return _measured(frames, found["seconds"], found["cpu"])


def _go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write("go\n")
        process.stdin.flush()


def _measured(frames: int, seconds: float, cpu: float) -> Measured:
    return Measured(frames, frames * 2 * SHAPE[0] * SHAPE[1], seconds, cpu)


def main() -> None:
    """Print the table."""
    parser = arguments(__doc__, rounds=3)
    parser.add_argument("--frames", type=int, default=8000)
    parser.add_argument("--without-peer", action="store_true")
    options = parser.parse_args()
    logging.getLogger("dectris").setLevel(logging.ERROR)
    frames, second = options.frames, version_2(options.frames)
    with tempfile.TemporaryDirectory(prefix="gw-") as name:
        rows = {
            BARE_2: partial(bare, second, frames),
            "v2, decoded, 1 thread": partial(ours, second, frames, 1, "cbor"),
            "v2, decoded, 2 threads": partial(ours, second, frames, 2, "cbor"),
        }
        if not options.without_peer:
            sys.path.insert(0, str(PEERS))
            from conftest import cache_folder, environment

            python = environment(PEERS / "libertem_dectris.txt", cache_folder())
            recording = Path(name, "recording")
            record(recording, frames)
            first = version_1(python, recording)
            rows |= {
                BARE_1: partial(bare, first, frames),
                "v1, decoded, 1 thread": partial(ours, first, frames, 1, "legacy"),
                "v1, decoded, 2 threads": partial(ours, first, frames, 2, "legacy"),
                "v1, LiberTEM's receiver": partial(libertem, python, first, frames, Path(name)),
            }
        references = tuple(reference for reference in (BARE_2, BARE_1) if reference in rows)
        found = measure(rows, options.rounds, options.only, references)
        show(f"DECTRIS stream, {SHAPE[0]} x {SHAPE[1]} uint16, bslz4, {frames} frames", found,
             references, things="frames", path=options.json)  # fmt: skip


if __name__ == "__main__":
    main()
