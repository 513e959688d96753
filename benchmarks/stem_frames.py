"""Frames of a glass for `stem_live`, drawn once: as a pool for our source, as a file for the peer."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from daq_simulators.stem_camera import Camera, StemCamera

SHAPE = (60, 120)
POSITIONS = SHAPE[0] * SHAPE[1]
SCAN_TIME = 9.2
"""s, Nakazawa2024."""

PLACES, PHASES, SPECKLE = 6, 48, 5
"""Places in the pool, scan times by which positions are late, positions that share a speckle."""


@dataclasses.dataclass(frozen=True)
class Pool:
    """A folder with ``frames.npy`` and what else the source `prepared_frames` wants."""

    folder: Path

    @property
    def frames(self) -> np.ndarray:
        """[frame, y, x] uint16."""
        found: np.ndarray = np.load(self.folder / "frames.npy", mmap_mode="r")
        return found

    @property
    def first_scan(self) -> np.ndarray:
        """[position] which frames the first scan shows."""
        found: np.ndarray = np.load(self.folder / "order.npy", mmap_mode="r")[0]
        return found

    @property
    def attributes(self) -> dict[str, Any]:
        """Of the stream: ``pixel_size`` 1/nm, ``centre`` [y, x] px and others."""
        found: dict[str, Any] = json.loads((self.folder / "stream.json").read_text())["attributes"]
        return found


def make_pool(folder: Path, scans: int, seed: int = 0) -> Pool:
    """Draw frames of 264 x 264 uint16.

    The camera looks at `PLACES` places, the first of them vacuum, at ``scans`` + `PHASES` times.
    The left tenth of each scan is the vacuum. Elsewhere, blocks of `SPECKLE` x `SPECKLE`
    positions see one place, each at another time, so that neighbours see the same speckles in
    different frames; what a position sees in the next scan is what there was a scan time later.
    """
    config = StemCamera.Config(
        scan=(1, PLACES), scans=scans + PHASES, step=1.5, scan_time=SCAN_TIME, seed=seed
    )
    (stream,) = StemCamera().open(config)
    camera = Camera(config)
    frames = np.zeros((config.count, *config.frame), "<u2")
    for record, frame in enumerate(frames):
        camera.expose(record, frame)
    draw = np.random.default_rng(seed)
    blocks, one = (SHAPE[0] // SPECKLE, SHAPE[1] // SPECKLE), np.ones((SPECKLE, SPECKLE), int)
    place = np.kron(draw.integers(1, PLACES, blocks), one)
    place[:, : SHAPE[1] // 10] = 0
    late = np.kron(draw.integers(0, PHASES - one.size + 1, blocks), one)
    late += np.tile(np.arange(one.size).reshape(one.shape), blocks)
    order = (np.arange(scans)[:, None] + late.reshape(-1)) * PLACES + place.reshape(-1)
    np.save(folder / "frames.npy", frames)
    np.save(folder / "order.npy", order)
    np.savez(folder / "constants.npz", **stream.constants)
    described = {
        "scan": {"shape": SHAPE, "step": 0.16},
        "attributes": dict(stream.attributes),
        "axes": [dict(axis) for axis in stream.axes["frame"]],
    }
    (folder / "stream.json").write_text(json.dumps(described))
    return Pool(folder)


def write_merlin_file(pool: Pool, path: Path) -> None:
    """Write the first scan as a Merlin camera does; ``path`` is that of the .hdr file."""
    frames = pool.frames
    height, width = frames.shape[1:]
    with path.with_suffix(".mib").open("wb") as file:
        for number, frame in enumerate(pool.first_scan.tolist(), 1):
            head = f"MQ1,{number:06d},00384,01,{width:04d},{height:04d},U16,   1x1,01,"
            head += "2026-01-01 00:00:00.000000,0.001000,0,0,0,2.000000E+0,12,"
            file.write(head.encode().ljust(384, b"\0"))
            file.write(frames[frame].astype(">u2").data)
    path.write_text(
        "HDR,\t\nCounter Depth (number):\t12\n"
        f"Frames in Acquisition (Number):\t{POSITIONS}\n"
        f"Frames per Trigger (Number):\t{SHAPE[1]}\nEnd\t"
    )
