"""What a run of these tests is told, what its file must hold, and whether it does."""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import daq
from daq import posix
from daq.recording.reader import RunReader
from daq.recording.verify import verify
from daq.runtime.direct import run_analysis
from daq_simulators.moving_spots import MovingSpots

HERE = Path(__file__).parent
PLUGINS = HERE / "plugins"
RECORDS = 400
CONFIG = """
[sources.camera]
type = "moving_spots"
shape = [48, 48]
records = {records}
rate = {rate}
batch = {batch}
[analyses.sums]
type = "watched"
input = "camera"
[bus]
ring = 8
[recorder]
durable_interval = 0.01
"""
Arrays = Mapping[str, np.ndarray]


def spots_config(records: int = RECORDS, rate: float = 0, batch: int = 8) -> str:
    """Return the configuration of a small run."""
    return CONFIG.format(records=records, rate=rate, batch=batch)


def plugin() -> Any:
    """Return the plugin of these tests as a module."""
    spec = importlib.util.spec_from_file_location("watched", PLUGINS / "watched.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclasses.dataclass
class Faults:
    """Aimed kills for one run, and what came of them."""

    folder: Path
    kills: Sequence[Mapping[str, Any]] = ()

    @property
    def env(self) -> dict[str, str]:
        """Environment of the run."""
        faults = {
            "kills": list(self.kills), "fired": str(self.folder / "fired"),
            "claims": str(self.folder / "claims"), "delay": 0.02,
            "free": str(self.folder / "free"), "rings": str(self.folder / "rings"),
        }  # fmt: skip
        path = os.pathsep.join(filter(None, [str(HERE / "faults"), os.environ.get("PYTHONPATH")]))
        return {"GLASSWATCH_TEST_FAULTS": json.dumps(faults), "PYTHONPATH": path}

    @property
    def fired(self) -> int:
        """How many have fired."""
        path = self.folder / "fired"
        return len(path.read_text().splitlines()) if path.exists() else 0

    @property
    def rings(self) -> list[str]:
        """Names of the rings that the run has made."""
        path = self.folder / "rings"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def durable(self) -> dict[str, int]:
        """What the recorder has reported durable, by stream."""
        claims: dict[str, int] = {}
        path = self.folder / "claims"
        for line in path.read_text().splitlines() if path.exists() else ():
            stream, _, count = line.partition(" ")
            claims[stream] = max(claims.get(stream, 0), int(count))
        return claims


def camera(records: int = RECORDS, rate: float = 0) -> Arrays:
    """Return the records of the camera, as they must be in the file."""
    source = MovingSpots()
    source.open(MovingSpots.Config(shape=(48, 48), records=records, rate=0))
    arrays = [batch.raw for batch in source.batches({"": 0})]
    whole = {name: np.concatenate([a[name] for a in arrays]) for name in arrays[0]}
    if rate:
        period = np.rint(np.arange(records) * 1e9 / rate).astype(np.int64)
        whole["time"] = whole["time"][0] + period
    return whole


def expected(
    frames: Arrays, skipped: Sequence[int] = (), **more: Any
) -> dict[str, dict[str, np.ndarray]]:
    """Return what the analysis ``sums`` gives for frames, by direct calls in odd batches.

    Records ``skipped`` are given to it as missing.
    """
    count = len(frames["time"])
    field = daq.Field(frames["frame"].dtype.str, frames["frame"].shape[1:])
    edges = {*range(0, count, 37), count, *skipped, *(index + 1 for index in skipped)}
    items: list[daq.Batch | daq.Missing] = []
    for first, stop in itertools.pairwise(sorted(edges)):
        if first in skipped:
            items.append(daq.Missing("camera", 1, "skipped", first))
        else:
            piece = {name: array[first:stop] for name, array in frames.items()}
            items.append(daq.Batch("camera", piece, first))
    stream = daq.Stream("camera", {"frame": field})
    outputs = run_analysis(plugin().Watched, {"camera": stream}, items, {}, name="sums", **more)
    return {
        f"sums.{short}": {**output.arrays, "valid": output.valid}
        for short, output in outputs.items()
    }


def log(folder: Path, event: str) -> list[tuple[str, int, str]]:
    """Return origin or stream, index and message of the entries of one kind in a run's log."""
    entries = recorded(folder, ["run.log"])["run.log"]
    return [
        (entries["stream"][n].decode(), int(entries["index"][n]), entries["message"][n].decode())
        for n in np.flatnonzero(entries["event"] == event.encode())
    ]


def recorded(
    folder: Path, streams: Sequence[str] | None = None
) -> dict[str, dict[str, np.ndarray]]:
    """Return the streams in a run's file, by name and field."""
    with RunReader(folder) as reader:
        found = {}
        for name in reader.streams if streams is None else streams:
            batch = reader.read(name, 0, reader.count(name))
            found[name] = {**batch.raw, "valid": batch.valid}
        return found


def assert_begins_like(found: Arrays, whole: Arrays, least: int, what: str) -> None:
    """At least so many rows are there, and all that are there are right, bit by bit."""
    count = len(found["time"])
    assert least <= count <= len(whole["time"]), what
    for field, array in whole.items():
        assert found[field].tobytes() == array[:count].tobytes(), (
            what,
            field,
            [
                (i, found[field][i], array[i])
                for i in range(count)
                if found[field][i].tobytes() != array[i].tobytes()
            ][:5],
        )


def assert_whole(folder: Path, frames: Arrays) -> None:
    """The file verifies, and holds every frame and every result, bit by bit."""
    report = verify(folder)
    assert report.ok, str(report)
    count = len(frames["time"])
    skipped = [index for _, index, _ in log(folder, "skip")]
    valid = np.ones(count, bool)
    results = expected(frames, skipped)
    whole = {"camera": {**frames, "valid": valid}, **results}
    found = recorded(folder, list(whole))
    with RunReader(folder) as reader:
        assert reader.finished is not None
        for name, fields in whole.items():
            lost = np.flatnonzero(~fields["valid"]).tolist()
            missing = [
                n for first, rows, _ in reader.missing(name) for n in range(first, first + rows)
            ]
            assert missing == lost, name
            assert reader.closed(name) == (len(fields["time"]), "complete", ""), name
    for name, fields in whole.items():
        assert_begins_like(found[name], fields, len(fields["time"]), name)


def left_behind(run: Any) -> list[str]:
    """Return processes and rings that a run has left, and the lock of its endpoint if it is held."""
    left = [f"process {pid}" for pid in processes(run)]
    lock = run.folder / "bus.lock"
    if lock.exists():
        try:
            posix.Lock(lock).release()
        except BlockingIOError:
            left.append(str(lock))
    return left + [name for name in run.faults.rings if (Path("/dev/shm") / name).exists()]


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 40.0) -> Any:
    """Wait for a condition, with a deadline."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError(f"{what} did not come within {seconds:g} s")


def processes(run: Any) -> list[int]:
    """Return the processes of a run: those that were started in its folder."""
    found = []
    for path in Path("/proc").iterdir():
        try:
            if path.name.isdigit() and (path / "cwd").readlink() == run.folder:
                found.append(int(path.name))
        except OSError:
            continue
    return found
