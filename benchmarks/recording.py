"""What recording costs, beside writing the same bytes to a plain file.

    python benchmarks/recording.py [--folder DIR] [--batch 16] [--rounds 5] [--megabytes 500]

Frames are 264 x 264 uint16, Poisson(0.4). Every row ends with the data on the disk (fsync) and
begins with its file open; plain file and recorder write the same bytes in the same folder. Rows
over the bus begin with the first batch and end when the recorder has reported everything durable.
"Longest pause" is the longest time, in seconds, for which the source could not send.
"""

from __future__ import annotations

import itertools
import os
import secrets
import shutil
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from processes import SIDE, Processes, control, frames
from table import Measured, arguments, measure, show
from throughput import analyse

from daq.bus.publisher import Publisher
from daq.recording.settings import RecordingSettings
from daq.recording.writer import RunWriter
from daq.run import Run
from daq.streams import Batch, Field, Stream

PLAIN = "plain file"
CAMERA = Stream("camera", {"frame": Field("<u2", (SIDE, SIDE), "counts")})
SENSOR = Stream("sensor", {f"value_{n}": Field("<f8") for n in range(8)})


def plain_file(pool: list[np.ndarray], batches: int, folder: Path) -> Measured:
    """Write batches to a plain file, one call each."""
    path, size = folder / "plain", pool[0].nbytes
    with path.open("wb", buffering=0) as file:
        cpu, began = time.process_time(), time.perf_counter()
        for number in range(batches):
            file.write(pool[number % len(pool)].data)
        os.fsync(file.fileno())
        elapsed, cpu = time.perf_counter() - began, time.process_time() - cpu
    path.unlink()
    return Measured(batches * len(pool[0]), batches * size, elapsed, cpu)


def recorder(
    stream: Stream, pool: list[dict[str, np.ndarray]], batches: int, folder: Path, compression: Any
) -> Measured:
    """Write batches as the recorder does, in this process: files, journal, checksums, fsync."""
    uid = secrets.token_hex(4)
    writer = RunWriter.create(Run(uid), folder, RecordingSettings(compression=compression))
    writer.open_stream(stream)
    size = len(pool[0]["time"])
    cpu, began = time.process_time(), time.perf_counter()
    for number in range(batches):
        writer.write(Batch(stream.name, pool[number % len(pool)], number * size))
    writer.sync()
    elapsed, cpu = time.perf_counter() - began, time.process_time() - cpu
    writer.abandon()
    nbytes = sum(array.nbytes for array in pool[0].values()) * batches
    stored = sum(path.stat().st_size for path in (folder / uid).iterdir())
    shutil.rmtree(folder / uid)
    return Measured(batches * size, nbytes, elapsed, cpu, {"stored, of raw": stored / nbytes})


def through_bus(
    pool: list[np.ndarray], batches: int, folder: Path, compression: str | None, virtual: bool
) -> Measured:
    """Send batches over the ring to a recorder (None: nothing is recorded) and to ``virtual``."""
    uid = secrets.token_hex(4)
    with Processes(folder, run=uid, recording=compression is not None) as run:
        if compression is not None:
            run.start(record, uid, folder, compression)
        if virtual:
            run.start(analyse)
        publisher = Publisher(run.endpoint, "camera")
        publisher.open(CAMERA, batch_records=len(pool[0]))
        if virtual:
            run.until_open("virtual.sums")
        times, pause = np.arange(len(pool[0])), 0.0
        cpu = run.cpu()
        last = began = time.perf_counter()
        for number in range(batches):
            arrays = publisher.allocate("camera", len(times))
            np.copyto(arrays["frame"], pool[number % len(pool)])
            np.copyto(arrays["time"], times)
            publisher.send(Batch("camera", arrays))
            now = time.perf_counter()
            pause, last = max(pause, now - last), now
        publisher.close_stream("camera")
        elapsed, cpu = time.perf_counter() - began, run.cpu() - cpu
        publisher.close()
        if compression is not None:
            with control(run.endpoint) as controller:
                controller.command("recorder", "finish", timeout=60)
    shutil.rmtree(folder / uid, ignore_errors=True)
    size = CAMERA.fields["frame"].record_bytes
    count = batches * len(times)
    return Measured(count, count * size, elapsed, cpu, {"longest pause": pause})


def record(endpoint: str, ready: Any, leave: Any, uid: str, folder: Path, compression: Any) -> None:
    """Be the process of the recorder."""
    from daq.runtime.recorder_process import Recorder

    recorder = Recorder(endpoint, Run(uid), folder, RecordingSettings(compression=compression))
    ready.set()
    recorder.run()
    leave.wait(60)


def main() -> None:
    """Print two tables: camera frames, and small records."""
    parser = arguments(__doc__)
    parser.add_argument("--folder", type=Path, help="on the disk to be measured", default=None)
    parser.add_argument("--batch", type=int, default=16, help="frames in a batch")
    parser.add_argument("--megabytes", type=int, default=500, help="of frames, for each row")
    options = parser.parse_args()
    made = frames(8 * options.batch)
    pool = [made[i * options.batch : (i + 1) * options.batch] for i in range(8)]
    times = np.arange(options.batch)
    batches = max(1, options.megabytes * 1_000_000 // pool[0].nbytes)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        alone = partial(recorder, CAMERA, [{"frame": f, "time": times} for f in pool])
        bus = partial(through_bus, pool, batches, folder)
        found = measure({
            PLAIN: partial(plain_file, pool, batches, folder),
            "recorder, none": partial(alone, batches, folder, "none"),
            "recorder, bitshuffle-lz4": partial(alone, batches, folder, "bitshuffle-lz4"),
            "recorder, gzip": partial(alone, max(1, batches // 10), folder, "gzip"),
            "ring, recorder none": partial(bus, "none", False),
            "ring, recorder bitshuffle-lz4": partial(bus, "bitshuffle-lz4", False),
            "ring, virtual, no recorder": partial(bus, None, True),
            "ring, virtual, recorder none": partial(bus, "none", True),
            "ring, virtual, recorder bitshuffle-lz4": partial(bus, "bitshuffle-lz4", True),
        }, options.rounds, options.only, (PLAIN,), touch=2_000_000 * options.megabytes)  # fmt: skip
        show(f"Frames of {SIDE} x {SIDE} uint16 in batches of {options.batch}, to the disk",
             found, (PLAIN,), things="records", path=options.json)  # fmt: skip
        small = {
            f"recorder, 8 numbers, batches of {size}": partial(
                recorder, SENSOR, [_numbers(size)], 2000, folder, "bitshuffle-lz4"
            )
            for size in (1, 64)
        }
        if any(options.only in row for row in small):
            found = measure(small, options.rounds, options.only)
            show("Small records, to the disk", found, (), things="records", per_byte=False)


def _numbers(count: int) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {
        name: np.random.default_rng(n).normal(size=count) for n, name in zip(itertools.count(), SENSOR.fields)
        if name != "time"
    }  # fmt: skip
    return {**arrays, "time": np.arange(count)}


if __name__ == "__main__":
    main()
