"""One more line in a running height-height correlation, beside SurfaceTopography on the whole image.

    python benchmarks/surface_correlation.py [--size 512] [--rounds 5] [--json FILE]

A self-affine surface, xi 1/40 of its side; lags up to an eighth of it. ``sums``: a line is paired with all
lines in reach. ``sums and read-out``: and the isotropic structure function of the image so far is
worked out, after each line. ``analysis``: all that `surface_correlation` does live (the fit too, records in
and out, no errors), after each line. SurfaceTopography has no running mode: with it, one more line costs a
whole image, its correlation along the profiles alone or over all directions. It is installed at the
first time, in the environment that its tests use; one thread each. A ratio counts lines per second
against whole images per second, both of the same round.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
from table import Measured, Rows, arguments, measure, show

import daq
from daq.runtime.direct import AnalysisDriver
from daq_afm.height_correlation import LagSums, rings
from daq_afm.surface_correlation import SurfaceCorrelation
from daq_simulators.afm_surface import Lattice, RandomSurfaces, SelfAffine, white_waves

HERE = Path(__file__).resolve().parent
PEERS = HERE.parent / "tests" / "peers"
AREA, PROFILE = "SurfaceTopography, area", "SurfaceTopography, profiles"


def surface(size: int) -> np.ndarray:
    """Return an image [row, column], nm."""
    grid = Lattice((size, size), (1.0, 0.0), (0.0, 1.0))
    surfaces = RandomSurfaces(grid, [SelfAffine(size / 40, 0.7)])
    waves = white_waves(surfaces.period, np.random.default_rng(1))
    return np.ascontiguousarray(surfaces.image(0, waves))


def sums(image: np.ndarray, read_out: bool) -> Measured:
    """Add all lines of the image; those of the first half only fill it."""
    size = len(image)
    running = LagSums(rings(image.shape, (1.0, 1.0), size / 8))
    half = size // 2
    for row in range(half):
        running.add(row, image[row])
    begin = time.perf_counter()
    for row in range(half, size):
        running.add(row, image[row])
        if read_out:
            running.structure()
    seconds = time.perf_counter() - begin
    return Measured(size - half, image[half:].nbytes, seconds, seconds)


def analysis(image: np.ndarray) -> Measured:
    """Give the lines of the image to the analysis, one by one."""
    size = len(image)
    fields = {"height": daq.Field("<f4", (size,), "nm"), "line": daq.Field("<i4"),
              "scan": daq.Field("<i4")}  # fmt: skip
    stream = daq.Stream("afm", fields, scan={"shape": [size, size], "step": 1.0, "units": "nm"})
    driver = AnalysisDriver(SurfaceCorrelation, "surface", {"replicas": 0})
    driver.open([stream])
    lines = [
        daq.Batch("afm", {
            "time": np.array([row]), "height": image[row : row + 1].astype("<f4"),
            "line": np.array([row], "<i4"), "scan": np.zeros(1, "<i4"),
        })
        for row in range(size)
    ]  # fmt: skip
    half = size // 2
    for line in lines[:half]:
        driver.feed(line)
    begin = time.perf_counter()
    for line in lines[half:-1]:
        driver.feed(line)
    seconds = time.perf_counter() - begin
    return Measured(size - half - 1, image[half:-1].nbytes, seconds, seconds)


def peer(python: Path, path: Path, kind: str) -> Measured:
    """Let SurfaceTopography correlate the whole image, some times."""
    calls = 10
    asked = json.dumps({"path": str(path), "kind": kind, "calls": calls})
    script = HERE / "peers" / "surface_correlation_with_surface_topography.py"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        [python, script, asked], capture_output=True, text=True, check=True, env=environment
    )
    seconds = json.loads(done.stdout)["seconds"]
    return Measured(calls, calls * path.stat().st_size, seconds, seconds)


def main() -> int:
    """Measure and print the table."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = "1"
    parser = arguments(__doc__)
    parser.add_argument("--size", type=int, default=512, help="rows and columns")
    options = parser.parse_args()
    image = surface(options.size)
    sys.path.insert(0, str(PEERS))
    from conftest import cache_folder, environment

    python = environment(PEERS / "surface_topography.txt", cache_folder())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "image.npy")
        np.save(path, image)
        rows: Rows = {
            AREA: partial(peer, python, path, "area"),
            PROFILE: partial(peer, python, path, "profile"),
            "sums": partial(sums, image, False),
            "sums and read-out": partial(sums, image, True),
            "analysis": partial(analysis, image),
        }
        found = measure(rows, options.rounds, options.only, keep=(AREA, PROFILE))
    show(
        f"One more line of {options.size}; of SurfaceTopography, one whole image", found,
        (AREA, PROFILE), things="lines", per_byte=False, path=options.json,
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
