"""Live 5D-STEM from source to refreshed maps, beside LiberTEM-live on the same frames.

    python benchmarks/stem_live.py [--scans 106] [--rounds 3] [--json FILE]

Scans of 60 x 120 positions, patterns of 264 x 264 uint16, drawn once by the simulated camera, so
that what stands at a position changes from scan to scan as a glass does. Every row of ours is a
whole `daq run` in its own processes. The source copies frames into the ring, around the caches of
the processor, as fast as credit allows; the clock runs from its first frame until a consumer
outside has the results of the last scan, of every analysis in the row. What `ecm` does for a scan
grows with the number of scans before it: with fewer than the published 106 it is too fast.

LiberTEM-live gets the frames of the first scan, over and over, from its own simulator of a Merlin
camera through a socket on this machine, and runs its FEM (standard deviation on a ring) on as many
workers as there are cores. It is installed at the first time, in an environment of its own.

The second table is with the recorder on, at the published pace and as fast as it goes. "Latency"
is the time from when the last frame of a scan was due to the last result of that scan, median
over scans; "machine" is the part of all cores that the run took.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from processes import control
from programs import Program, machine_share, started
from stem_frames import POSITIONS, SHAPE, Pool, make_pool, write_merlin_file
from table import Measured, Rows, arguments, measure, show

from daq.bus.client import Closed, Delivery

HERE = Path(__file__).resolve().parent
PUBLISHED_RATE = 1500
"""Patterns per second, Nakazawa2024 at 0.5 ms."""

BAND, FEM_BAND = (4.2, 4.6), (3.0, 5.8)
"""1/nm: of the correlations, and of the variance."""

CEILING, PEER = "ring, touched only", "LiberTEM-live, FEM 4.2-4.6 1/nm"
OURS = ("ecm", "fem", "drift")
TOGETHER = " + ".join(OURS)

ANALYSES: dict[str, dict[str, Any]] = {
    "touch": {"type": "touch"},
    "drift": {"type": "drift"},
    "fem": {"type": "fem", "q_range": FEM_BAND},
    "ecm": {"type": "ecm", "bands": [BAND]},
}
RESULTS = {"touch": "touch.scans", "drift": "drift.shifts", "fem": "fem.maps", "ecm": "ecm.maps"}
"""The stream that is waited for, one record per scan."""


def live(
    names: Sequence[str], scans: int, pool: Pool, folder: Path, *,
    batch: int, credit: int = 8, ring: int = 0, rate: float = 0.0, record: bool = False,
    grouped: bool = False,
) -> Measured:  # fmt: skip
    """Run analyses on the prepared frames; ``grouped``: all in one process."""
    # the bus keeps as many slots for latecomers as there are batches under way
    ring = ring or 2 * credit * (batch + 1) * pool.frames[0].nbytes // 2**20 + 1
    endpoint, log = f"ipc://{folder / secrets.token_hex(4)}", folder / "run.log"
    source = {"type": "prepared_frames", "folder": str(pool.folder), "scans": scans, "rate": rate,
              "batch": batch}  # fmt: skip
    config = folder / "run.toml"
    config.write_text(
        _toml({
            "bus": {"endpoint": endpoint, "credit": credit, "ring": ring},
            "recorder": {"record": "now" if record else "never"},
            "viewer": {"enabled": False, "picture": False},
            "sources": {"camera": source},
            "analyses": _analyses(names, grouped),
        })
    )  # fmt: skip
    go = pool.folder / "go"
    go.unlink(missing_ok=True)
    wanted = [RESULTS[name] for name in names]
    command = [sys.executable, "-m", "daq", "run", config, "--headless",
               "--output", folder / "runs", "--plugins-dir", HERE / "plugins"]  # fmt: skip
    with started(command, log) as program, control(endpoint, "consumer") as results:
        while not set(wanted) <= results.status()["streams"].keys():
            program.check()
            time.sleep(0.02)
        results.subscribe(wanted, start=0, credit=16)
        results.receive(0)
        cpu, began = program.cpu(), time.perf_counter()
        go.touch()
        arrived = _receive(results, wanted, scans, program)
        seconds, cpu = arrived[-1] - began, program.cpu() - cpu
        program.end()
    more = {"machine, %": machine_share(cpu, seconds)}
    if rate:
        late = arrived - (began + np.arange(1, scans + 1) * POSITIONS / rate)
        more |= {"latency, s": float(np.median(late)), "longest, s": float(late.max())}
    return Measured(
        scans * POSITIONS, scans * POSITIONS * pool.frames[0].nbytes, seconds, cpu, more
    )


def _analyses(names: Sequence[str], grouped: bool) -> dict[str, dict[str, Any]]:
    tables = {name: dict(ANALYSES[name]) for name in names}
    for name, table in tables.items():
        drifts = "drift" in names and name != "drift"
        table["inputs"] = ["camera", "drift.shifts"] if drifts else ["camera"]
        if grouped:
            table["group"] = "together"
    return tables


def _toml(tables: dict[str, Any], name: str = "") -> str:
    """Write nested tables of numbers, texts and lists as TOML."""
    lines, parts = [f"[{name}]"] if name else [], []
    for key, value in tables.items():
        if isinstance(value, dict):
            parts.append(_toml(value, f"{name}.{key}".strip(".")))
        else:
            lines.append(f"{key} = {json.dumps(value)}")
    return "\n".join([*lines, *parts])


def _receive(results: Any, wanted: Sequence[str], scans: int, program: Program) -> np.ndarray:
    """Return when each scan had its last result."""
    arrived: dict[str, list[float]] = {name: [] for name in wanted}
    while any(len(times) < scans for times in arrived.values()):
        event = results.receive(1.0)
        if isinstance(event, Delivery):
            now = time.perf_counter()
            arrived[event.batch.stream] += [now] * len(event.batch)
            results.release(event)
        elif isinstance(event, Closed) and len(arrived[event.stream]) < scans:
            program.end()
            program.fail()
        elif event is None:
            program.check()
    return np.max([times[:scans] for times in arrived.values()], axis=0)


def libertem(
    python: Path, ring: tuple[float, float] | None, scans: int, pool: Pool, header: Path
) -> Measured:
    """Run LiberTEM-live on scans of the Merlin file; ``ring`` in 1/nm, or None for its sum."""
    attributes, folder = pool.attributes, header.parent
    pixels = None if ring is None else [q / attributes["pixel_size"] for q in ring]
    result = folder / "libertem.npy"
    asked = {"header": str(header), "shape": SHAPE, "scans": scans, "ring": pixels,
             "centre": attributes["centre"], "result": str(result)}  # fmt: skip
    command = [python, HERE / "peers" / "fem_with_libertem_live.py", json.dumps(asked)]
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    with started(command, folder / "libertem.log", clean) as program:
        program.until("begin")
        cpu, began = program.cpu(), time.perf_counter()
        program.until("end")
        seconds, cpu = time.perf_counter() - began, program.cpu() - cpu
        program.end()
    if pixels is not None:
        _check(np.load(result), pool, attributes["centre"], pixels)
    count = scans * POSITIONS
    return Measured(count, count * pool.frames[0].nbytes, seconds, cpu,
                    {"machine, %": machine_share(cpu, seconds)})  # fmt: skip


def _check(found: np.ndarray, pool: Pool, centre: list[float], ring: list[float]) -> None:
    """Hold the peer's result against numpy: it must have seen the same frames in the same order."""
    y, x = np.indices(pool.frames.shape[1:])
    radius = np.hypot(y - centre[0], x - centre[1])
    mask = (radius >= ring[0]) & (radius < ring[1])
    some = np.arange(0, POSITIONS, 97)
    expected = np.array([pool.frames[n][mask].std() for n in pool.first_scan[some].tolist()])
    # which pixels lie on the ring's edge is a matter of convention
    if not np.allclose(found.reshape(-1)[some], expected, rtol=0.02):
        raise SystemExit("LiberTEM-live saw other frames")


def peer_python() -> Path:
    """Return the Python of LiberTEM-live's environment, made as those of `tests/peers` are."""
    sys.path.insert(0, str(HERE.parent / "tests" / "peers"))
    from conftest import cache_folder, environment

    return Path(environment(HERE / "peers" / "libertem_live.txt", cache_folder()))


def main() -> None:
    """Print both tables."""
    parser = arguments(__doc__, rounds=3)
    parser.add_argument(
        "--scans", type=int, default=106, help="of 7200 frames, for each row of ours"
    )
    parser.add_argument(
        "--short", type=int, default=20, help="likewise, of the ceiling and the peer"
    )
    parser.add_argument("--recorded", type=int, default=12, help="with the recorder on; 0: none")
    parser.add_argument("--batch", type=int, default=240, help="frames in a batch")
    parser.add_argument("--credit", type=int, default=8, help="batches under way")
    parser.add_argument("--folder", type=Path, help="on the disk that is recorded to", default=None)
    parser.add_argument("--without-peer", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gw-", dir=options.folder) as name:
        folder = Path(name)
        (folder / "pool").mkdir()
        pool = make_pool(folder / "pool", max(options.scans, options.short, options.recorded))
        run = partial(live, pool=pool, folder=folder, batch=options.batch, credit=options.credit)
        rows: Rows = {CEILING: partial(run, ["touch"], options.short)}
        if not options.without_peer:
            header = folder / "scan.hdr"
            write_merlin_file(pool, header)
            peer = partial(libertem, peer_python(), scans=options.short, pool=pool, header=header)
            rows |= {
                PEER: partial(peer, BAND),
                "LiberTEM-live, FEM 3.0-5.8 1/nm": partial(peer, FEM_BAND),
                "LiberTEM-live, sum": partial(peer, None),
            }
        rows |= {f"{one} alone": partial(run, [one], options.scans) for one in OURS}
        rows |= {
            TOGETHER: partial(run, OURS, options.scans),
            "the same, in one process": partial(run, OURS, options.scans, grouped=True),
        }
        found = measure(rows, options.rounds, options.only, (CEILING, PEER))
        show(f"5D-STEM live, 264 x 264 uint16, {options.scans} scans of {SHAPE[0]} x {SHAPE[1]} (ceiling and "
             f"LiberTEM-live: {options.short}), batches of {options.batch}, credit {options.credit}",
             found, (CEILING, PEER), things="patterns", per_byte=False, path=options.json)  # fmt: skip
        if not options.recorded or options.only:
            return
        recorded = partial(run, OURS, options.recorded, record=True)
        found = measure({
            f"{TOGETHER}, {PUBLISHED_RATE}/s": partial(recorded, rate=PUBLISHED_RATE),
            f"{TOGETHER}, as fast as it goes": recorded,
        }, options.rounds)  # fmt: skip
        path = options.json and options.json.with_stem(options.json.stem + "-recorded")
        show(f"The same with the recorder on, {options.recorded} scans", found, (),
             things="patterns", per_byte=False, path=path)  # fmt: skip


if __name__ == "__main__":
    main()
