"""Streams of every kind that the viewer draws, and a feed that only fills a scene."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest

import daq
from daq.viewer import availability
from daq.viewer.feed import Feed
from daq.viewer.scene import Scene

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

START = 1_700_000_000_000_000_000
RESULT = {"process": {"program": "test", "version": "1", "configuration": {}, "inputs": []}}


def batch(stream: str, first: int, arrays: dict, step: float = 0.01, valid=None) -> daq.Batch:
    count = len(next(iter(arrays.values())))
    time = START + ((first + np.arange(count)) * step * 1e9).astype(np.int64)
    return daq.Batch(stream, {"time": time, **arrays}, first, valid)


class FilledFeed(Feed):
    """Gives what it was made with, at once."""

    def __init__(self, happenings) -> None:
        super().__init__()
        self.happenings = happenings
        self.done = threading.Event()

    def settle(self, timeout: float) -> bool:
        return self.done.wait(timeout)

    def _run(self, scene: Scene) -> None:
        for happening in self.happenings:
            happening(scene)
        self.done.set()


def camera(seed: int = 1) -> tuple[daq.Stream, daq.Batch]:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:128, :128] - 64
    r = np.hypot(y, x)
    rate = 40 * np.exp(-((r - 38) ** 2) / 30) + 400 * np.exp(-(r**2) / 18) + 1
    frames = rng.poisson(rate, (2, 128, 128)).astype(np.uint16)
    mask = np.zeros((128, 128), bool)
    mask[:, 90] = True
    axis = {"units": "1/nm", "offset": -64 * 0.058, "step": 0.058}
    stream = daq.Stream(
        "camera",
        {"frame": daq.Field("<u2", (128, 128), "counts", "diffraction pattern")},
        axes={"frame": [{"name": "Qy", **axis}, {"name": "Qx", **axis}]},
        scan={"shape": [40, 60], "step": 0.16},
        constants={"mask": mask},
    )
    return stream, batch("camera", 2398, {"frame": frames}, 0.001)


def sums(seed: int = 2) -> tuple[daq.Stream, daq.Batch]:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:40, :60]
    haadf = 5000 + 900 * np.sin(x / 7) * np.cos(y / 5) + rng.normal(0, 60, (40, 60))
    shift = np.sin(x / 9) * 0.4 + rng.normal(0, 0.05, (40, 60))
    n = 1900
    stream = daq.Stream(
        "virtual.sums",
        {
            "haadf": daq.Field("<f8", (), "counts", "high-angle annulus"),
            "shift_x": daq.Field("<f8", (), "px", "shift of the centre of mass, x"),
        },
        scan={"shape": [40, 60], "step": 0.16},
        attributes=RESULT,
    )
    arrays = {"haadf": haadf.reshape(-1)[:n], "shift_x": shift.reshape(-1)[:n]}
    return stream, batch("virtual.sums", 0, arrays, 0.001)


def correlation() -> tuple[daq.Stream, daq.Batch]:
    delays = np.geomspace(0.1, 1000, 40)
    g2 = 1 + 0.3 * np.exp(-2 * delays / 60)
    error = 0.004 + 0.02 * delays / 1000
    rng = np.random.default_rng(3)
    stream = daq.Stream(
        "ecm.g2",
        {
            "g2": daq.Field("<f8", (40,), "", "g2"),
            "g2_errors": daq.Field("<f8", (40,), "", "standard error"),
        },
        axes={"g2": [{"name": "delay", "units": "s", "values": "delay"}]},
        attributes=RESULT,
        constants={"delay": delays},
    )
    return stream, batch(
        "ecm.g2", 11, {"g2": (g2 + rng.normal(0, error))[None], "g2_errors": error[None]}, 10
    )


def moduli() -> tuple[daq.Stream, daq.Batch]:
    t = np.linspace(300, 480, 900)
    loss = 2.5 * np.exp(-(((t - 440) / 16) ** 2)) + 0.05
    stream = daq.Stream(
        "dma",
        {
            "storage_modulus": daq.Field("<f8", (), "GPa", "storage modulus"),
            "storage_modulus_errors": daq.Field("<f8", (), "GPa", ""),
            "loss_modulus": daq.Field("<f8", (), "GPa", "loss modulus"),
            "temperature": daq.Field("<f8", (), "K", "temperature"),
        },
    )
    storage = 30 - 25 / (1 + np.exp(-(t - 445) / 6))
    arrays = {
        "storage_modulus": storage,
        "storage_modulus_errors": np.full(900, 0.8),
        "loss_modulus": loss,
        "temperature": t,
    }
    return stream, batch("dma", 0, arrays, 4)


def volume() -> tuple[daq.Stream, daq.Batch]:
    rng = np.random.default_rng(4)
    stream = daq.Stream(
        "tau.by_ring", {"tau": daq.Field("<f4", (5, 40, 60), "s", "relaxation time")}
    )
    values = rng.lognormal(6, 0.4, (1, 5, 40, 60)).astype(np.float32)
    values[:, :, 5:9, 10:14] = np.nan
    return stream, batch("tau.by_ring", 3, {"tau": values}, 60)


def lines() -> tuple[daq.Stream, daq.Batch]:
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:90, :128]
    height = np.sin(x / 11 + y / 17) * 0.8 + rng.normal(0, 0.1, (90, 128))
    stream = daq.Stream(
        "afm",
        {"height": daq.Field("<f4", (128,), "nm", "height")},
        axes={"height": [{"name": "x", "units": "nm", "offset": 0.0, "step": 1.95}]},
        scan={"shape": [128], "step": 1.95},
    )
    return stream, batch("afm", 0, {"height": height.astype(np.float32)}, 0.5)


def rows(first: int = 0, count: int = 130) -> tuple[daq.Stream, daq.Batch]:
    """A scan of 80 rows downwards, and the beginning of the next: pixels twice as high as wide."""
    index = np.arange(first, first + count)
    scan, line = np.divmod(index, 80)
    line = 79 - line
    x = np.arange(100)
    height = np.where(x < 50, line[:, None], 100.0 * scan[:, None]).astype(np.float32)
    stream = daq.Stream(
        "scan",
        {
            "height": daq.Field("<f4", (100,), "nm", "height"),
            "line": daq.Field("<i4", (), "", "row of the image"),
            "scan": daq.Field("<i4", (), "", "number of the image"),
            "y": daq.Field("<f8", (), "nm", "position of the line"),
        },
        scan={"shape": [80, 100], "step": [1.0, 0.5], "units": "nm"},
    )
    arrays = {"height": height, "line": line.astype(np.int32), "scan": scan.astype(np.int32),
              "y": line * 1.0}  # fmt: skip
    return stream, batch("scan", first, arrays, 1.0)


def log() -> tuple[daq.Stream, daq.Batch]:
    stream = daq.Stream(
        "run.log",
        {"level": daq.Field("|S16"), "origin": daq.Field("|S64"), "message": daq.Field("|S256")},
    )
    rows = [
        (b"info", b"supervisor", b"run begins"),
        (
            b"warning",
            b"analyses.ecm",
            b"restarted after 0.5 s: it raised ValueError: no good pixel",
        ),
        (b"error", b"recorder", b"disk is full <nearly>: 12 MB left in runs/"),
    ]
    columns = dict(
        zip(("level", "origin", "message"), map(np.array, zip(*rows, strict=True)), strict=True)
    )
    return stream, batch("run.log", 0, columns, 3)


def happenings_of(*pairs):
    """What fills a scene with these (stream, batch) pairs."""
    found = []
    for stream, records in pairs:
        found.append(lambda scene, s=stream: scene.opened(s))
        found.append(lambda scene, b=records: scene.absorb(b))
    return found


EVERY_KIND = (camera, sums, correlation, moduli, volume, lines, rows, log)


@pytest.fixture(scope="session")
def drawing():
    """For tests that draw: skipped where Qt does not start."""
    if (reason := availability()) is not None:
        pytest.skip(reason)


@pytest.fixture
def every_kind():
    """(stream, batch) of every kind."""
    return [make() for make in EVERY_KIND]


@pytest.fixture
def filled_feed():
    """A function that makes a feed of (stream, batch) pairs and further happenings."""
    return lambda pairs, *more: FilledFeed([*happenings_of(*pairs), *more])


@pytest.fixture
def make_batch():
    """A function that makes a batch of arrays with times."""
    return batch
