"""How fast the simulated 5D-STEM camera makes patterns, on one core.

    python benchmarks/stem_camera.py [--seconds 3]

Frames of 264 x 264 pixels at full dose, beside the rates of the instrument: 1500 patterns/s on
average at 0.5 ms, 780 at 1 ms. Rates are per second of processor time, so that other work on the
machine matters little. The last rows leave out one part each: intensities without electrons (the
transform), and the small frames of the newcomer's run.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

import daq
from daq_simulators.stem_camera import Camera, StemCamera


def rate(step: Callable[[int], object], seconds: float) -> float:
    """Calls per second of processor time; the first one compiles and is left out."""
    step(3000)
    began, done = time.process_time(), 0
    while time.process_time() - began < seconds:
        step(3000 + done % 4000)
        done += 1
    return done / (time.process_time() - began)


def batches_per_second(seconds: float, **values: Any) -> float:
    """Records per second of processor time through the source, batches and all."""
    source = StemCamera()
    source.open(StemCamera.Config(speed=0, **values))
    made = source.batches({"": 3000})
    next(made)
    began, done = time.process_time(), 0
    while time.process_time() - began < seconds:
        batch = next(made)
        assert isinstance(batch, daq.Batch)
        done += batch.count
    return done / (time.process_time() - began)


def main() -> None:
    """Print one row per case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0)
    seconds = parser.parse_args().seconds
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores")
    began = time.process_time()
    Camera(StemCamera.Config())
    print(f"{'open, 60 x 120 positions':<34}{time.process_time() - began:>10.2f} s")
    for dwell, needed in ((5e-4, 1500), (1e-3, 780)):
        found = batches_per_second(seconds, dwell_time=dwell)
        print(f"{f'264 x 264, {dwell * 1e3:g} ms':<34}{found:>10.0f} /s{found / needed:>8.2f} x")
    camera = Camera(StemCamera.Config(dwell_time=5e-4))
    frame = np.zeros((264, 264), np.uint16)
    print(f"{'  intensities only':<34}{rate(camera.intensity, seconds):>10.0f} /s")
    print(f"{'  without batches':<34}{rate(lambda n: camera.expose(n, frame), seconds):>10.0f} /s")
    small = {"frame": (66, 66), "pixel_size": 0.232}
    print(f"{'66 x 66, 1 ms':<34}{batches_per_second(seconds, **small):>10.0f} /s")


if __name__ == "__main__":
    main()
